//! Partial results of keys that are whole numbers close together: each lies where its key says, so that nothing is looked up.
//!
//! Ids of vertices, users or products are such keys more often than not.

use super::aggregate::Aggregate;
use crate::stream::Loan;
use std::{
    any::{Any, TypeId},
    mem::needs_drop,
};

/// At most so many bytes of partial results lie so. It is twice what a table may take, since more of it pays: a million sums by key
/// (`firesteel-bench speed --only W4`) take a third less time than passed by.
pub(super) const MOST_BYTES: usize = 8 << 20;
/// The same where parts have a zero: each key would have a row otherwise, which takes several times as much.
pub(super) const MOST_BYTES_FROM_ZERO: usize = 16 << 20;

macro_rules! whole_numbers {
    ($($int:ty),*) => {
        /// The number that a key is, in the keys' order; `None` if its type is not a whole number of up to 64 bits.
        #[inline(always)]
        pub(super) fn number<K: 'static>(key: &K) -> Option<u64> {
            let key: &dyn Any = key;
            $(if let Some(n) = key.downcast_ref::<$int>() {
                return Some((*n as u64).wrapping_sub(<$int>::MIN as u64));
            })*
            None
        }

        /// Whether keys of this type are whole numbers.
        #[inline(always)]
        pub(super) fn are_numbers<K: 'static>() -> bool {
            $(TypeId::of::<K>() == TypeId::of::<$int>())||*
        }

        /// The key that is this number.
        #[inline(always)]
        fn key_of<K: 'static>(number: u64) -> Option<K> {
            let mut key: Option<K> = None;
            let any: &mut dyn Any = &mut key;
            $(if let Some(key) = any.downcast_mut::<Option<$int>>() {
                *key = Some(number.wrapping_add(<$int>::MIN as u64) as $int);
            })*
            key
        }
    };
}

whole_numbers!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);

/// Values wait to be added until there are so many.
const WAITING: usize = 1 << 10;

/// Partial results by number; none as long as it has no [window](Dense::around).
///
/// Values are not added one by one: of many at once it is first said, without a branch, which begin a part and which find one, and
/// then a processor fetches the parts that it needs next while it adds to those that have come.
pub(super) struct Dense<V, P> {
    /// The first number that has a place.
    base: u64,
    parts: Vec<P>,
    /// A bit for each place that is taken.
    taken: Vec<u64>,
    /// Values with their places.
    waiting: Vec<(u32, V)>,
}

/// Between which two numbers most of these are. One that stands for none, as 0 or -1 does here and there, may be far from all others.
fn most_between(mut numbers: Vec<u64>) -> Option<(u64, u64)> {
    let few = numbers.len() / 64;
    let last = numbers.len().checked_sub(few + 1)?;
    Some((*numbers.select_nth_unstable(few).1, *numbers.select_nth_unstable(last).1))
}

/// Whether keys of this type may be whole numbers. Unlike [`are_numbers`] it is known before anything is compiled for the type, so that
/// where it says no nothing is.
pub(super) const fn may_be_numbers<K>() -> bool {
    !needs_drop::<K>() && size_of::<K>() <= size_of::<u64>()
}

impl<V: Clone, P: Clone> Dense<V, P> {
    /// Whether parts and values of these types may lie so: they own nothing, and a value may be copied.
    pub(super) const fn fits() -> bool {
        !needs_drop::<V>() && !needs_drop::<P>() && size_of::<V>() <= 64
    }

    /// Places for no number.
    pub(super) fn none() -> Self {
        Dense { base: 0, parts: Vec::new(), taken: Vec::new(), waiting: Vec::new() }
    }

    pub(super) fn is_none(&self) -> bool {
        self.parts.is_empty()
    }

    /// Places for the numbers around most of these, if that would not take more than so many bytes; `any` fills the places that are free.
    pub(super) fn around(numbers: Vec<u64>, any: &P, bytes: usize) -> Option<Self> {
        let (least, most) = most_between(numbers)?;
        let room = bytes / size_of::<P>().max(1);
        let span = usize::try_from(most - least).ok()?.checked_add(1)?;
        // Others are likely to come, and some of them a little outside.
        let places = (span / 4).saturating_add(span).min(room);
        let base = least.saturating_sub((places.checked_sub(span)? / 2) as u64);
        let places = places.min(usize::try_from(u64::MAX - base).map_or(usize::MAX, |last| last.saturating_add(1)));
        let (parts, taken) = (vec![any.clone(); places], vec![0; places.div_ceil(64)]);
        Some(Dense { base, parts, taken, waiting: Vec::with_capacity(WAITING) })
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> u64 {
        let waiting = self.waiting.capacity() * size_of::<(u32, V)>();
        (size_of_val(&self.parts[..]) + size_of_val(&self.taken[..]) + waiting) as u64
    }

    /// Where a key's partial result lies, if it has a place.
    #[inline(always)]
    pub(super) fn place<K: 'static>(&self, key: &K) -> Option<u32> {
        let at = number(key)?.wrapping_sub(self.base);
        (at < self.parts.len() as u64).then_some(at as u32)
    }

    /// Puts the first partial result into a place.
    pub(super) fn put(&mut self, place: u32, part: P) {
        self.taken[place as usize / 64] |= 1 << (place % 64);
        self.parts[place as usize] = part;
    }

    /// Adds a value to the part at a place.
    #[inline(always)]
    pub(super) fn add<A: Aggregate<V, Part = P>>(&mut self, place: u32, value: V, aggregate: &A) {
        self.waiting.push((place, value));
        if self.waiting.len() == WAITING {
            self.settle(aggregate);
        }
    }

    /// Adds what waits, in the order in which it came.
    #[inline(never)]
    pub(super) fn settle<A: Aggregate<V, Part = P>>(&mut self, aggregate: &A) {
        let Dense { parts, taken, waiting, .. } = self;
        // The first of each key that has no part yet, and the others.
        let (mut first, mut further) = ([0u16; WAITING], [0u16; WAITING]);
        let (mut firsts, mut furthers) = (0, 0);
        for (i, (place, _)) in waiting.iter().enumerate() {
            let (word, bit) = (&mut taken[*place as usize / 64], place % 64);
            let known = (*word >> bit & 1) as usize;
            *word |= 1 << bit;
            (first[firsts % WAITING], further[furthers % WAITING]) = (i as u16, i as u16);
            (firsts, furthers) = (firsts + 1 - known, furthers + known);
        }
        for i in &first[..firsts] {
            let (place, value) = &waiting[*i as usize];
            parts[*place as usize] = aggregate.create(Loan(value));
        }
        for i in &further[..furthers] {
            let (place, value) = &waiting[*i as usize];
            let part = &mut parts[*place as usize];
            // A part without a destructor: what is there stays if the user's function panics.
            *part = aggregate.add(part.clone(), Loan(value));
        }
        waiting.clear();
    }

    /// Hands all on, in the order of their keys; nothing waits any more.
    #[inline(always)]
    pub(super) fn drain<K: 'static>(self, mut each: impl FnMut(K, P)) {
        let Dense { base, parts, taken, .. } = self;
        for (word, mut bits) in taken.into_iter().enumerate() {
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if let Some(key) = key_of(base + at as u64) {
                    each(key, parts[at].clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        func::Plain,
        shuffle::{Counting, Reducing},
    };
    use std::fmt::Debug;

    /// Keys that are so many apart, from the least or to the greatest of their type.
    fn find_their_parts<K: Copy + Debug + PartialEq + 'static>(keys: &[K]) {
        let numbers: Vec<u64> = keys.iter().filter_map(number).collect();
        assert_eq!(numbers.len(), keys.len());
        let mut dense = Dense::<u64, u64>::around(numbers, &0, MOST_BYTES).expect("few are close together");
        let add = Reducing(Plain::new(|a: u64, b: u64| a * 3 + b));
        for value in 0..3 {
            for key in keys {
                dense.add(dense.place(key).expect("it is one of them"), value, &add);
            }
        }
        dense.settle(&add);
        let mut all: Vec<(K, u64)> = Vec::new();
        dense.drain(|key, part| all.push((key, part)));
        all.sort_by_key(|(key, _)| keys.iter().position(|other| other == key));
        assert!(all.into_iter().eq(keys.iter().map(|key| (*key, 5))), "of {keys:?}");
    }

    #[test]
    fn keys_at_both_ends_of_their_types_have_places() {
        macro_rules! at_both_ends {
            ($($int:ty),*) => {$(
                find_their_parts(&(0..40).map(|i| <$int>::MIN + 3 * i).collect::<Vec<_>>());
                find_their_parts(&(0..40).map(|i| <$int>::MAX - 3 * i).collect::<Vec<_>>());
                find_their_parts(&[(<$int>::MIN / 2), <$int>::MIN / 2 + 1]);
            )*};
        }
        at_both_ends!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);
        assert_eq!(number(&'a'), None);
        assert_eq!(number(&(1u32,)), None);
    }

    #[test]
    fn those_that_are_far_from_most_have_no_place() {
        let mut numbers: Vec<u64> = (1 << 40..(1 << 40) + 1_000).collect();
        numbers.extend([0, u64::MAX]);
        let dense = Dense::<(), u64>::around(numbers, &0, MOST_BYTES).expect("most are close together");
        assert!(dense.place(&((1u64 << 40) + 500)).is_some());
        assert_eq!((dense.place(&0u64), dense.place(&u64::MAX)), (None, None));
        // Beyond the greatest number there is none, and not the least.
        let last = Dense::<(), u64>::around((u64::MAX - 1_000..=u64::MAX).collect(), &0, MOST_BYTES).expect("all are");
        assert!(last.place(&u64::MAX).is_some() && last.place(&(u64::MAX - 1_000)).is_some());
        assert_eq!(last.place(&0u64), None);
    }

    #[test]
    fn there_is_room_for_as_many_as_are_close_together_and_no_more() {
        let room = (MOST_BYTES / size_of::<u64>()) as u64;
        let most = Dense::<(), u64>::around(vec![7, 7 + room - 1], &0, MOST_BYTES).expect("there is room for these");
        assert!(most.place(&7u64).is_some() && most.place(&(7 + room - 1)).is_some());
        assert!(most.bytes() <= MOST_BYTES as u64 * 65 / 64 + (WAITING * 16) as u64);
        assert!(Dense::<(), u64>::around(vec![7, 7 + room], &0, MOST_BYTES).is_none());
        assert!(Dense::<(), u64>::around(vec![0, u64::MAX], &0, MOST_BYTES).is_none());
        assert!(Dense::<(), u64>::around(Vec::new(), &0, MOST_BYTES).is_none());
        assert!(Dense::<(), [u64; 1 << 12]>::around(vec![0, 256], &[0; 1 << 12], MOST_BYTES).is_none());
    }

    #[test]
    fn more_than_wait_at_a_time_are_counted_in_order() {
        let mut dense = Dense::<u64, u64>::around((0..100).collect(), &0, MOST_BYTES).expect("few are close together");
        for i in 0..WAITING as u64 * 3 + 7 {
            dense.add(dense.place(&(i % 100)).expect("it is one of them"), i, &Counting);
        }
        dense.settle(&Counting);
        let mut counts: Vec<(u64, u64)> = Vec::new();
        dense.drain(|key, n| counts.push((key, n)));
        assert!(counts.iter().map(|(key, _)| *key).eq(0..100));
        assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), WAITING as u64 * 3 + 7);
    }
}
