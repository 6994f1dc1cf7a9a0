//! What the processor fetches into its cache before it is needed.

/// Lines of a processor's cache are so long, nearly everywhere.
pub const LINE: usize = 64;

/// Has the line of the cache in which something lies fetched; on processors for which there is no safe way to say so, by reading it:
/// then several at a time, one after another, cost little more than one.
#[inline(always)]
pub(crate) fn to_read(byte: &u8) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(byte);
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(*byte);
}

/// The same of a line that will be written to.
#[inline(always)]
pub(crate) fn to_write<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_et0(place);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
