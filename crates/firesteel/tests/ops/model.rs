//! What keyed operations are held against: plain vectors, partition by partition, in order.

use crate::masters::any_partitions;
use firesteel::{Data, HashPartitioner, Key, Partitioner, Pipeline, Rdd, Result};
use proptest::prelude::*;

/// Pairs whose keys are few, so that they meet.
pub(crate) fn any_pairs() -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((-4i64..8, any::<i64>().prop_map(|v| v % 1000)), 0..40)
}

/// Words that meet: short ones, the empty one, and such as are more bytes than characters.
pub(crate) fn any_words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[abé]{0,2}", 0..30)
}

/// Numbers of partitions, sometimes more of them than there are elements.
pub(crate) fn few_or_many() -> impl Strategy<Value = usize> {
    prop_oneof![6 => any_partitions(), 1 => Just(53usize)]
}

/// What lies in which partition.
pub(crate) fn parts<T: Data, P: Pipeline<Item = T>>(rdd: &Rdd<T, P>) -> Result<Vec<Vec<T>>> {
    rdd.context().run_job(rdd, |items| items.collect())
}

/// Items by the partition that hashing their key gives, in order.
pub(crate) fn hashed<T: Clone, K: Key>(items: &[T], n: usize, key: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new(); n];
    for item in items.iter().filter(|_| n > 0) {
        parts[HashPartitioner::new(n).partition(&key(item))].push(item.clone());
    }
    parts
}

/// The values of each key, keys in the order of their first arrival.
pub(crate) fn gathered<K: Key, V: Clone>(pairs: &[(K, V)]) -> Vec<(K, Vec<V>)> {
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in pairs {
        match groups.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) => values.push(value.clone()),
            None => groups.push((key.clone(), vec![value.clone()])),
        }
    }
    groups
}

/// [`gathered`], by the partition of the key.
pub(crate) fn grouped<K: Key, V: Clone>(pairs: &[(K, V)], n: usize) -> Vec<Vec<(K, Vec<V>)>> {
    hashed(pairs, n, |pair| pair.0.clone()).iter().map(|part| gathered(part)).collect()
}

/// Something made of each group of [`grouped`].
pub(crate) fn each_group<K: Key, V: Clone, R>(
    pairs: &[(K, V)],
    n: usize,
    make: impl Fn(&K, &[V]) -> R,
) -> Vec<Vec<(K, R)>> {
    let of_part = |part: Vec<(K, Vec<V>)>| {
        part.into_iter()
            .map(|(key, values)| {
                let made = make(&key, &values);
                (key, made)
            })
            .collect()
    };
    grouped(pairs, n).into_iter().map(of_part).collect()
}

/// A row for each key of either side: left keys in the order of their arrival, then those that only the right side has.
pub(crate) type Row<K, V, W> = (K, (Vec<V>, Vec<W>));

/// What a cogroup into `n` partitions gives.
pub(crate) fn cogrouped<K: Key, V: Clone, W: Clone>(
    left: &[(K, V)],
    right: &[(K, W)],
    n: usize,
) -> Vec<Vec<Row<K, V, W>>> {
    let (left, right) = (grouped(left, n), grouped(right, n));
    let rows = |(left, right): (Vec<(K, Vec<V>)>, Vec<(K, Vec<W>)>)| {
        let mut rows: Vec<Row<K, V, W>> = left.into_iter().map(|(key, values)| (key, (values, Vec::new()))).collect();
        for (key, values) in right {
            match rows.iter_mut().find(|(known, _)| *known == key) {
                Some((_, row)) => row.1 = values,
                None => rows.push((key, (Vec::new(), values))),
            }
        }
        rows
    };
    left.into_iter().zip(right).map(rows).collect()
}
