//! Keys that are text are kept otherwise than others, and nobody can tell: each job here is done once with keys of `String`, and once
//! with keys that only hold one.

use crate::hand::{Hand, Lineage};
use firesteel_model::{ShuffleId, TaskMetrics};
use firesteel_rdd::{
    Combine, FlatMap, Key, KeyPartitioner, Map, Partitioner, Pipeline, Plain, RangeOf, Reducing, ScatterAlike,
    ScatterCombined, Unique, With,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// Has the hash and the bytes of its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Name(String);

impl From<String> for Name {
    fn from(text: String) -> Self {
        Name(text)
    }
}

const SHUFFLE: ShuffleId = ShuffleId(5);
/// More than what the table of a map side holds.
const LONG: usize = 9 << 20;

/// Empty, short, long enough for other loops, not only of ASCII.
fn text(i: u64) -> String {
    match i % 7 {
        0 if i < 100 => "x".repeat(i as usize / 7),
        0 => format!("{i:0>100}"),
        1 => format!("é{i}"),
        _ => i.to_string(),
    }
}

/// Everything in the first of so many partitions.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct First(usize);

impl<K> Partitioner<K> for First {
    fn num_partitions(&self) -> usize {
        self.0
    }
    fn partition(&self, _: &K) -> usize {
        0
    }
}

/// Of each of two map partitions, how many pairs it has and of how many different keys; the second has half of either.
type Shape = (u64, u64);

fn keys<K: Key + From<String>>(shape: Shape) -> impl Pipeline<Item = K> {
    let of = |(n, keys): &Shape, part: u64| {
        let (n, keys) = if part == 0 { (*n, *keys) } else { (n / 2, keys / 2) };
        (0..n).map(move |i| K::from(text(i.wrapping_mul(0x9e37_79b9) % keys.max(1))))
    };
    FlatMap::new(RangeOf::new(0..2, 2), With::new(shape, of))
}

fn pairs<K: Key + From<String>>(shape: Shape) -> impl Pipeline<Item = (K, u64)> {
    Map::new(keys::<K>(shape), Plain::new(|key| (key, 1)))
}

/// The sums of all keys, and what was measured on the reduce side; into so many partitions by hash or, with none, all in the first of 256.
fn sums<K: Key + From<String>>(shape: Shape, partitions: usize, budget: u64) -> (Vec<Vec<(K, u64)>>, TaskMetrics) {
    let (mut hand, none) = (Hand::within(budget), Lineage::default());
    let (partitioner, partitions) = match partitions {
        0 => (KeyPartitioner::of(First(256)), 256),
        partitions => (KeyPartitioner::hash(partitions), partitions),
    };
    let aggregate = Reducing(Plain::new(|a: u64, b: u64| a + b));
    let combined = ScatterCombined { shuffle: SHUFFLE, partitioner, aggregate: aggregate.clone() };
    hand.write(SHUFFLE, &none, pairs::<K>(shape), combined);
    hand.metrics.take();
    let sums = hand.collect(&none, Combine::<K, u64, _>::parts(SHUFFLE, aggregate, partitions));
    (sums, hand.metrics.get())
}

/// Each key once.
fn once<K: Key + From<String>>(shape: Shape, partitions: usize, budget: u64) -> Vec<Vec<(K, ())>> {
    let (mut hand, none) = (Hand::within(budget), Lineage::default());
    let partitioner = KeyPartitioner::hash(partitions);
    let combined = ScatterCombined { shuffle: SHUFFLE, partitioner, aggregate: Unique };
    hand.write(SHUFFLE, &none, keys::<K>(shape), ScatterAlike(combined));
    hand.collect(&none, Combine::<K, (), _>::parts(SHUFFLE, Unique, partitions))
}

fn texts<V: Clone>(named: &[Vec<(Name, V)>]) -> Vec<Vec<(String, V)>> {
    let text = |(key, value): &(Name, V)| (key.0.clone(), value.clone());
    named.iter().map(|part| part.iter().map(text).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    /// Outputs that are spread and encoded, or too small for that; tables that are flushed and passed by; memory that is short.
    #[test]
    fn keys_of_text_come_out_as_others_do(
        n in prop_oneof![0..1_500u64, 2_000..4_000u64, 30_000..60_000u64],
        times in 1..4u64,
        partitions in 0..5usize,
        ample in any::<bool>(),
    ) {
        let (shape, budget) = ((n, n / times), if ample { 1 << 30 } else { 2 << 20 });
        let (sums, named) = (sums::<String>(shape, partitions, budget).0, sums::<Name>(shape, partitions, 1 << 30).0);
        prop_assert!(sums == texts(&named), "sums of {shape:?} in {partitions} partitions of {budget} bytes");
        let (once, named) = (once::<String>(shape, partitions + 1, budget), once::<Name>(shape, partitions + 1, 1 << 30));
        prop_assert!(once == texts(&named), "{shape:?} in {partitions} partitions of {budget} bytes");
    }
}

#[test]
fn a_table_that_combines_little_is_passed_by() {
    let shape = (400_000, 300_000);
    let (sums, named) = (sums::<String>(shape, 2, 1 << 30).0, sums::<Name>(shape, 2, 1 << 30).0);
    assert!(sums == texts(&named));
    assert_eq!(sums.concat().iter().map(|(_, n)| n).sum::<u64>(), 600_000);
}

#[test]
fn more_keys_than_memory_go_through_the_disk_in_the_same_order() {
    let shape = (100_000, 100_000);
    let ((sums, metrics), (ample, at_ease)) = (sums::<String>(shape, 0, 4 << 20), sums::<String>(shape, 0, 1 << 30));
    assert!(sums == ample);
    assert_eq!(sums[0].len(), 100_000);
    assert!(metrics.memory_bytes_spilled > 0 && at_ease.memory_bytes_spilled == 0, "{metrics:?}");
    assert!(metrics.peak_execution_memory <= 5 << 20, "{metrics:?}");
}

#[test]
fn keys_that_are_larger_than_a_table_are_counted() {
    let (mut hand, none) = (Hand::new(), Lineage::default());
    let large = Map::new(
        RangeOf::new(0..6, 2),
        With::new(LONG, |length: &usize, i: u64| ("x".repeat(length + i as usize % 2), i)),
    );
    let aggregate = Reducing(Plain::new(|a: u64, b: u64| a + b));
    let partitioner = KeyPartitioner::hash(2);
    let combined = ScatterCombined { shuffle: SHUFFLE, partitioner, aggregate: aggregate.clone() };
    hand.write(SHUFFLE, &none, large, combined);
    let sums = hand.collect(&none, Combine::<String, u64, _>::parts(SHUFFLE, aggregate, 2));
    let mut sums: Vec<_> = sums.concat().into_iter().map(|(key, sum)| (key.len(), sum)).collect();
    sums.sort();
    assert_eq!(sums, [(LONG, 6), (LONG + 1, 9)]);
}
