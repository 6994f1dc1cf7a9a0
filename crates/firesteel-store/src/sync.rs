//! The locks of this crate: the standard library's. Built with `--cfg shuttle`, its unit tests get those of a scheduler instead that
//! tries out in which order threads can come by them; interleavings.rs has what is tried so.

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A fault that the tests must find: an eviction replaces whatever stands in its block's place.
#[inline(always)]
pub(crate) fn is_careless() -> bool {
    #[cfg(all(test, shuttle))]
    return CARELESS.get();
    #[cfg(not(all(test, shuttle)))]
    false
}

#[cfg(all(test, shuttle))]
thread_local! {
    /// All threads of a test are this one to the operating system.
    pub(crate) static CARELESS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
