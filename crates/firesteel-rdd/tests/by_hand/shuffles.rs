//! The typed side of a shuffle: which records arrive where, and in which order.

use crate::hand::{Hand, Lineage, failure_of};
use firesteel_model::{PartitionIndex, ShuffleId};
use firesteel_rdd::{
    Combine, Count, FlatMap, Grouping, Inner, Join, KeyPartitioner, Map, Plain, RangeOf, ReadSide, Reducing, Scatter,
    ScatterCombined, ScatterRoundRobin, Side, TaskFailure,
};
use firesteel_store::part_of;
use proptest::prelude::*;

const SHUFFLE: ShuffleId = ShuffleId(5);

fn first_arrivals(keys: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut order = Vec::new();
    for key in keys {
        if !order.contains(&key) {
            order.push(key);
        }
    }
    order
}

#[test]
fn keys_come_out_in_the_order_of_their_first_arrival() {
    let mut hand = Hand::new();
    let none = Lineage::default();
    let pairs = Map::new(RangeOf::new(0..1_000, 4), Plain::new(|i: u64| (i * i % 91, 1u64)));
    let add = Reducing(Plain::new(|a: u64, b: u64| a + b));
    let partitioner = KeyPartitioner::<u64>::hash(3);
    let combined = ScatterCombined { shuffle: SHUFFLE, partitioner: partitioner.clone(), aggregate: add.clone() };
    let written = hand.write(SHUFFLE, &none, pairs, combined);
    assert_eq!(written.len(), 4);
    let counts = hand.collect(&none, Combine::<u64, u64, _>::parts(SHUFFLE, add, 3));
    for (p, part) in counts.iter().enumerate() {
        let here = (0..1_000).map(|i| i * i % 91).filter(|key| partitioner.place(key).0 == p);
        let keys: Vec<u64> = part.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, first_arrivals(here), "partition {p}");
    }
    assert_eq!(counts.concat().iter().map(|(_, n)| n).sum::<u64>(), 1_000);
}

#[test]
fn a_full_combine_table_is_flushed_and_keys_of_a_large_shuffle_come_out_part_by_part() {
    // Far more keys than a table holds, twice over, and no numbers close together: it is flushed, found not to be worth it, and passed by.
    let mut hand = Hand::new();
    let none = Lineage::default();
    let pairs = FlatMap::new(RangeOf::new(0..2, 1), Plain::new(|_: u64| (0..150_000u64).map(|key| (key << 20, 1u64))));
    let add = Reducing(Plain::new(|a: u64, b: u64| a + b));
    let partitioner = KeyPartitioner::<u64>::hash(1);
    let combined = ScatterCombined { shuffle: SHUFFLE, partitioner: partitioner.clone(), aggregate: add.clone() };
    let written = hand.write(SHUFFLE, &none, pairs, combined);
    assert!((150_000..=300_000).contains(&written[0].records), "{}", written[0].records);
    let counts = hand.collect(&none, Combine::<u64, u64, _>::parts(SHUFFLE, add, 1));
    let mut keys: Vec<u64> = (0..150_000).map(|key| key << 20).collect();
    keys.sort_by_key(|key| part_of(partitioner.place(key).1, 8));
    assert!(counts[0].iter().copied().eq(keys.into_iter().map(|key| (key, 2))));
}

#[test]
fn of_whole_numbers_close_together_a_map_task_writes_each_once() {
    let mut hand = Hand::new();
    let none = Lineage::default();
    // More keys than a table holds, twice over.
    let pairs = FlatMap::new(
        RangeOf::new(0..2, 1),
        Plain::new(|_: u64| (0..200_000i32).map(|i| (i * 7919 % 400_000 - 99, 1u64))),
    );
    let add = Reducing(Plain::new(|a: u64, b: u64| a + b));
    let combined =
        ScatterCombined { shuffle: SHUFFLE, partitioner: KeyPartitioner::<i32>::hash(1), aggregate: add.clone() };
    let written = hand.write(SHUFFLE, &none, pairs, combined);
    let counts = hand.collect(&none, Combine::<i32, u64, _>::parts(SHUFFLE, add, 1)).concat();
    assert_eq!(written[0].records, counts.len() as u64);
    assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), 400_000);
}

#[test]
fn a_side_of_few_records_is_joined_with_one_whose_partitions_are_spread() {
    let mut hand = Hand::new();
    let (none, few, many) = (Lineage::default(), ShuffleId(6), ShuffleId(7));
    let partitioner = KeyPartitioner::<u64>::hash(2);
    let scatter = |shuffle| Scatter { shuffle, partitioner: partitioner.clone(), spread: true };
    // The outputs of two map tasks each: of the many, too, one has few records.
    let left = Map::new(RangeOf::new(0..500, 2), Plain::new(|key: u64| (key * 11, key)));
    let times = |half: u64| 0..if half == 0 { 10 } else { 5_000u64 };
    let right = Plain::new(move |half: u64| times(half).map(move |i| (i * 2, i)));
    hand.write(few, &none, left, scatter(few));
    hand.write(many, &none, FlatMap::new(RangeOf::new(0..2, 2), right), scatter(many));
    let join = |left, right| Join::<u64, u64, u64, Inner>::new(left, right, 2);
    let joined = hand.collect(&none, join(Side::Shuffle(few), Side::Shuffle(many)));
    let order = |key: &u64| (partitioner.place(key).0, part_of(partitioner.place(key).1, 7));
    let mut keys: Vec<u64> = (0..500).map(|key| key * 11).filter(|key| key % 2 == 0 && *key < 10_000).collect();
    keys.sort_by_key(order);
    let mut seen: Vec<u64> = joined.concat().iter().map(|(key, _)| *key).collect();
    seen.dedup();
    assert_eq!(seen, keys);
    let pairs = joined.concat();
    assert!(pairs.iter().all(|(key, (left, right))| left * 11 == *key && right * 2 == *key));
    let twice = keys.iter().filter(|key| **key < 20).count();
    assert_eq!(pairs.len(), keys.len() + twice);
}

#[test]
fn groups_keep_the_order_of_the_map_partitions() {
    let mut hand = Hand::new();
    let none = Lineage::default();
    let pairs = Map::new(RangeOf::new(0..100, 7), Plain::new(|i: u64| (i % 4, i)));
    hand.write(
        SHUFFLE,
        &none,
        pairs,
        Scatter { shuffle: SHUFFLE, partitioner: KeyPartitioner::<u64>::hash(2), spread: false },
    );
    for (key, values) in
        hand.collect(&none, Combine::<u64, u64, _>::values(Side::Shuffle(SHUFFLE), Grouping, 2)).concat()
    {
        assert_eq!(values, (0..100u64).filter(|i| i % 4 == key).collect::<Vec<_>>());
    }
}

#[test]
fn the_same_records_have_the_same_checksum_and_others_another() {
    let write = |range: std::ops::Range<u64>| {
        let pairs = Map::new(RangeOf::new(range, 1), Plain::new(|i: u64| (i, i)));
        let scatter = Scatter { shuffle: SHUFFLE, partitioner: KeyPartitioner::<u64>::hash(4), spread: false };
        Hand::new().write(SHUFFLE, &Lineage::default(), pairs, scatter).remove(0)
    };
    assert_eq!(write(0..50).checksum, write(0..50).checksum);
    assert_ne!(write(0..50).checksum, write(1..51).checksum);
    assert_eq!(write(0..50).records, 50);
    assert_eq!(write(0..50).sizes.len(), 4);
}

#[test]
fn a_missing_map_output_is_a_fetch_failure_that_names_it() {
    let mut hand = Hand::new();
    let none = Lineage::default();
    let read = || ReadSide { side: Side::<(u64, u64)>::Shuffle(SHUFFLE), partitions: 2 };
    let failure = failure_of(|| hand.run(&none, read(), Count));
    assert!(matches!(failure, Some(TaskFailure::Fetch { shuffle: SHUFFLE, attempt: None, .. })), "{failure:?}");

    let pairs = Map::new(RangeOf::new(0..10, 3), Plain::new(|i: u64| (i, i)));
    hand.write(
        SHUFFLE,
        &none,
        pairs,
        Scatter { shuffle: SHUFFLE, partitioner: KeyPartitioner::<u64>::hash(2), spread: false },
    );
    let lost = hand.outputs[&SHUFFLE].attempts[1];
    assert!(hand.executor.shuffles.remove_output(SHUFFLE, PartitionIndex(1), lost));
    let failure = failure_of(|| hand.run(&none, read(), Count));
    let Some(TaskFailure::Fetch { map: PartitionIndex(1), attempt: Some(attempt), .. }) = failure else {
        panic!("{failure:?}")
    };
    assert_eq!(attempt, lost);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dealing_out_gives_partitions_of_the_same_size(items in 0u64..500, maps in 1usize..5, reduces in 1usize..9) {
        let mut hand = Hand::new();
        let none = Lineage::default();
        let deal = ScatterRoundRobin { shuffle: SHUFFLE, partitions: reduces };
        hand.write(SHUFFLE, &none, RangeOf::new(0..items, maps), deal);
        let parts = hand.collect(&none, ReadSide { side: Side::<u64>::Shuffle(SHUFFLE), partitions: reduces });
        let (least, most) = (parts.iter().map(Vec::len).min(), parts.iter().map(Vec::len).max());
        prop_assert!(most.unwrap() - least.unwrap() <= maps);
        let mut all = parts.concat();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..items));
    }
}
