//! The allocator of Firesteel programs: mimalloc, and a count of the bytes that are allocated.
//!
//! The count is what the memory budget is really held against: estimates of what users' values take can be wrong, the allocator
//! cannot. Each thread counts for itself and tells the process in steps of 64 KiB, so that counting costs next to nothing. Executors in
//! processes of their own have a limit besides: [`limit`].

use mimalloc::MiMalloc;
use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

/// What `#[firesteel::main]` makes the program's allocator, unless it is told `own_allocator`.
#[derive(Debug)]
pub struct Allocator;

/// A thread tells the process when it has allocated or freed so much.
const STEP: i64 = 64 << 10;

/// What all threads have told.
static TOLD: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// What this thread has allocated, and not told. Without a destructor, so that it can be used as long as the thread is.
    static UNTOLD: Cell<i64> = const { Cell::new(0) };
}

#[inline(always)]
fn count(bytes: i64) {
    UNTOLD.with(|untold| {
        let now = untold.get() + bytes;
        let tell = !(-STEP..=STEP).contains(&now);
        untold.set(if tell { 0 } else { now });
        if tell {
            let before = TOLD.fetch_add(now, Ordering::Relaxed);
            if now > 0 && before + now > LIMIT.load(Ordering::Relaxed) {
                passed();
            }
        }
    });
}

/// The most that may be allocated.
static LIMIT: AtomicI64 = AtomicI64::new(i64::MAX);
/// Who ends the process, and in how much time.
static WATCHER: OnceLock<(Thread, Duration)> = OnceLock::new();

/// From now on a thread that allocates while more than this is allocated wakes the watcher, which is to end the process; should it
/// not do so in time, the process aborts.
pub(crate) fn limit(bytes: u64, watcher: Thread, in_time: Duration) {
    if WATCHER.set((watcher, in_time)).is_ok() {
        LIMIT.store(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// Whether more is allocated than the limit.
pub(crate) fn is_over() -> bool {
    TOLD.load(Ordering::Relaxed) > LIMIT.load(Ordering::Relaxed)
}

/// Stands still until the process ends, or what is allocated is below the limit again.
#[cold]
fn passed() {
    let Some((watcher, in_time)) = WATCHER.get() else { return };
    if watcher.id() == thread::current().id() {
        return;
    }
    watcher.unpark();
    let pause = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    while is_over() {
        if waited > *in_time {
            std::process::abort();
        }
        thread::sleep(pause);
        waited += pause;
    }
}

/// How many bytes are allocated, to within 64 KiB for each thread. What ended threads had not told stays out.
pub(crate) fn allocated() -> u64 {
    TOLD.load(Ordering::Relaxed).max(0) as u64
}

/// Has the memory budget held against the count, if this is the program's allocator.
pub(crate) fn count_for_budgets() {
    let before = UNTOLD.get();
    let probe = std::hint::black_box(Box::new([0u8; 64]));
    let counts = UNTOLD.get() != before;
    drop(probe);
    if counts {
        firesteel_store::heap::counted_by(allocated);
        keep_freed_pages();
    }
}

/// Pages that were freed go back to the system after so many milliseconds, and not after mimalloc's ten: the next task wants as many, and
/// pages that the system must clear anew cost a quarter of a sort and of caching text.
const PURGE_DELAY: (i64, i64) = (10, 1000);

fn keep_freed_pages() {
    // Its place among mimalloc's options, which its Rust bindings do not name. Should it be another option's one day, or should the user
    // have set it (MIMALLOC_PURGE_DELAY), the value is not mimalloc's default, and stays.
    const OPTION: libmimalloc_sys::mi_option_t = 15;
    let (default, longer) = PURGE_DELAY;
    // SAFETY: options may be read and set at any time, by any thread.
    unsafe {
        if libmimalloc_sys::mi_option_get(OPTION) == default {
            libmimalloc_sys::mi_option_set(OPTION, longer);
        }
    }
}

// SAFETY: every call goes to mimalloc with the layout that it came with; counting touches no memory that is given out, does
// not allocate, and does not unwind. A thread may stand still before it is served.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's contract is this call's.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's contract is this call's; the memory came from mimalloc.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's contract is this call's.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's contract is this call's; the memory came from mimalloc.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }
}
