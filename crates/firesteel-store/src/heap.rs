//! What the process really holds, if something counts it, against the budgets of all its executors.
//!
//! Reservations are estimates. An allocator that counts (the one that `#[firesteel::main]` installs) knows better: what was
//! allocated since the first budget was made is held against the sum of the budgets that live, and as long as it is more,
//! everything that can spill or be evicted does.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The sum of all live budgets.
static BUDGETS: AtomicU64 = AtomicU64::new(0);
/// What tells how many bytes are allocated.
static COUNT: OnceLock<fn() -> u64> = OnceLock::new();
/// What was allocated when the first budget was made.
static BEFORE: OnceLock<u64> = OnceLock::new();

/// From now on `count` is asked how many bytes the process has allocated. The first call counts.
pub fn counted_by(count: fn() -> u64) {
    let _ = COUNT.set(count);
}

/// How many bytes are allocated, if something counts them.
pub fn allocated() -> Option<u64> {
    COUNT.get().map(|count| count())
}

pub(crate) fn budget_added(bytes: u64) {
    BUDGETS.fetch_add(bytes, Ordering::Relaxed);
    if let Some(allocated) = allocated() {
        BEFORE.get_or_init(|| allocated);
    }
}

pub(crate) fn budget_gone(bytes: u64) {
    BUDGETS.fetch_sub(bytes, Ordering::Relaxed);
}

/// Whether the process holds more than its budgets allow.
#[inline]
pub(crate) fn is_over() -> bool {
    match (COUNT.get(), BEFORE.get()) {
        (Some(count), Some(before)) => count().saturating_sub(*before) > BUDGETS.load(Ordering::Relaxed),
        _ => false,
    }
}
