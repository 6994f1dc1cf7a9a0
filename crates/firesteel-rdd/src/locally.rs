//! Keyed results that come to the driver without a shuffle: one table for each partition.

use crate::{
    Data, Key,
    action::{Action, Input, check_boundary, sampled_size},
    func::Merge,
    shuffle::Table,
    stream::{Lent, Sink, Stream},
};
use serde::{Deserialize, Serialize};

/// How often each element occurs, in the order of first arrival; looks elements up where they lie and keeps only new ones.
#[derive(Clone, Serialize, Deserialize)]
pub struct CountEach;

impl<T: Key> Action<T> for CountEach {
    type Out = Vec<(T, u64)>;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> Self::Out {
        struct Counting<T>(Table<T, u64>);
        impl<T: Key> Sink<T> for Counting<T> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
                *self.0.entry(item.get(), || 0) += 1;
                true
            }
        }
        let mut counting = Counting(Table::new());
        input.drive(&mut counting);
        let counts: Vec<_> = counting.0.into_entries().into_iter().map(|entry| (entry.key, entry.value)).collect();
        check_boundary(&counts);
        counts
    }
    fn size(&self, out: &Self::Out) -> u64 {
        sampled_size(out)
    }
}

/// Merges the values of each key of a partition.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReduceEach<C>(pub C);

impl<K: Key, V: Data, C: Merge<V, V, Out = V>> Action<(K, V)> for ReduceEach<C> {
    type Out = Vec<(K, V)>;
    fn run<S: Stream<Item = (K, V)>>(&self, mut input: Input<S>) -> Self::Out {
        struct Merging<'a, K, V, C>(Table<K, Option<V>>, &'a C);
        impl<K: Key, V: Data, C: Merge<V, V, Out = V>> Sink<(K, V)> for Merging<'_, K, V, C> {
            #[inline(always)]
            fn push<L: Lent<(K, V)>>(&mut self, item: L) -> bool {
                let (key, value) = item.take();
                let slot = self.0.entry(&key, || None);
                // Taken out while the user's function runs: if it panics, the attempt ends and the hole is never seen.
                *slot = Some(match slot.take() {
                    Some(so_far) => self.1.call(so_far, value),
                    None => value,
                });
                true
            }
        }
        let mut merging = Merging(Table::new(), &self.0);
        input.drive(&mut merging);
        let pairs: Vec<_> =
            merging.0.into_entries().into_iter().filter_map(|entry| Some((entry.key, entry.value?))).collect();
        check_boundary(&pairs);
        pairs
    }
    fn size(&self, out: &Self::Out) -> u64 {
        sampled_size(out)
    }
}
