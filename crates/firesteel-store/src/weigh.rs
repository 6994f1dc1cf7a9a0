//! How much memory values take, estimated from a few of them.
//!
//! A value takes its size in place, which is known, and what it owns elsewhere, which is not: that is taken to be about what it takes in
//! the record format. Types that own nothing cost nothing to weigh.

use crate::record;
use serde::Serialize;
use std::{cell::RefCell, mem::needs_drop};

/// How many values of a batch are encoded.
const SAMPLE: usize = 8;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What one value owns outside itself, in bytes.
pub fn owned<T: Serialize>(value: &T) -> u64 {
    if !needs_drop::<T>() {
        return 0;
    }
    // Not held over the call: the user's `Serialize` may come back here.
    let mut bytes = BUFFER.with(|buffer| buffer.take());
    bytes.clear();
    // What cannot be encoded fails where it is needed, with a message.
    let _ = record::extend(&mut bytes, value);
    let owned = bytes.len() as u64;
    if bytes.capacity() <= 1 << 20 {
        BUFFER.with(|buffer| buffer.replace(bytes));
    }
    owned
}

/// What all values of a batch own outside themselves, from a sample of eight.
pub fn all_owned<T: Serialize>(values: &[T]) -> u64 {
    if !needs_drop::<T>() || values.is_empty() {
        return 0;
    }
    let stride = values.len().div_ceil(SAMPLE);
    let (mut sum, mut sampled) = (0, 0);
    for value in values.iter().step_by(stride) {
        sum += owned(value);
        sampled += 1;
    }
    sum * values.len() as u64 / sampled
}

/// What a vector owns: its room, and what its values own, from a sample.
pub fn of_vec<T: Serialize>(values: &Vec<T>) -> u64 {
    (values.capacity() * size_of::<T>()) as u64 + all_owned(values)
}

/// Weighs a stream of values of one type: every value of the first 16, then fewer and fewer, at last one in 64.
#[derive(Debug, Default)]
pub struct Weigher {
    seen: u64,
    next: u64,
    sampled: u64,
    sum: u64,
    average: u64,
}

impl Weigher {
    /// What this value owns outside itself: looked at, or as much as those before it on average.
    #[inline(always)]
    pub fn weigh<T: Serialize>(&mut self, value: &T) -> u64 {
        if !needs_drop::<T>() {
            return 0;
        }
        self.seen += 1;
        if self.seen > self.next { self.look(value) } else { self.average }
    }

    #[cold]
    #[inline(never)]
    fn look<T: Serialize>(&mut self, value: &T) -> u64 {
        let owned = owned(value);
        // The newest 64 samples count; a stream whose values grow is followed.
        if self.sampled == 64 {
            (self.sum, self.sampled) = (self.sum / 2, 32);
        }
        self.sum += owned;
        self.sampled += 1;
        self.average = self.sum / self.sampled;
        self.next = self.seen + (self.seen / 16).min(64);
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_own_nothing_and_strings_about_their_length() {
        assert_eq!(owned(&(1u64, 2.0f64)), 0);
        assert_eq!(all_owned(&[1u8; 1_000]), 0);
        let text = "x".repeat(1_000);
        assert!((1_000..1_100).contains(&owned(&text)));
        assert!((100_000..110_000).contains(&all_owned(&vec![text; 100])));
        assert_eq!(all_owned::<String>(&[]), 0);
    }

    #[test]
    fn a_stream_is_weighed_by_samples_and_followed_when_it_grows() {
        let mut weigher = Weigher::default();
        let (small, large) = ("x".repeat(100), "x".repeat(10_000));
        let sum: u64 = (0..10_000).map(|_| weigher.weigh(&small)).sum();
        assert!((1_000_000..1_100_000).contains(&sum), "{sum}");
        assert!(weigher.sampled <= 64);
        let sum: u64 = (0..20_000).map(|_| weigher.weigh(&large)).sum();
        assert!((150_000_000..210_000_000).contains(&sum), "{sum}");
    }
}
