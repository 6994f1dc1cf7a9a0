//! Where keys go, and that partitioners survive being sent.

use crate::hand::failure_of;
use firesteel_rdd::{HashPartitioner, KeyPartitioner, Partitioner, Partitioning, RangePartitioner, TaskFailure};
use firesteel_store::record;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// The user's own: by a key's first letter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct ByInitial {
    partitions: usize,
    shift: usize,
}

impl Partitioner<String> for ByInitial {
    fn num_partitions(&self) -> usize {
        self.partitions
    }
    fn partition(&self, key: &String) -> usize {
        key.bytes().next().map_or(0, |b| b as usize % self.partitions) + self.shift
    }
}

fn sent<K: 'static>(partitioner: &KeyPartitioner<K>) -> KeyPartitioner<K> {
    record::from_slice(&record::to_vec(partitioner).unwrap()).unwrap()
}

#[test]
fn hashes_spread_keys_evenly() {
    for partitions in [2, 10, 64] {
        let by_hash = HashPartitioner::new(partitions);
        let mut counts = vec![0u32; partitions];
        (0..partitions as u64 * 1_000).for_each(|key| counts[by_hash.partition(&key)] += 1);
        assert!(counts.iter().all(|n| (800..1_200).contains(n)), "{counts:?}");
        let mut counts = vec![0u32; partitions];
        (0..partitions * 1_000).for_each(|i| counts[by_hash.partition(&format!("key {i}"))] += 1);
        assert!(counts.iter().all(|n| (800..1_200).contains(n)), "{counts:?}");
    }
}

#[test]
fn hashes_are_the_same_in_every_run() {
    // Not a promise between versions, but between the processes of one program: no seed of the process's is in it.
    let places: Vec<usize> = (0..8u64).map(|key| HashPartitioner::new(1 << 20).partition(&key)).collect();
    let again: Vec<usize> =
        std::thread::spawn(|| (0..8u64).map(|key| Partitioner::<u64>::partition(&(1usize << 20), &key)).collect())
            .join()
            .unwrap();
    assert_eq!(places, again);
}

#[test]
fn ranges_are_closed_above_and_run_either_way() {
    let up = RangePartitioner::from_bounds(vec![20, 10, 10], true);
    assert_eq!((up.num_partitions(), up.bounds()), (3, &[10, 20][..]));
    assert_eq!([9, 10, 11, 20, 21].map(|key| up.partition(&key)), [0, 0, 1, 1, 2]);
    let down = RangePartitioner::from_bounds(vec![10, 20], false);
    assert_eq!([9, 10, 11, 20, 21].map(|key| down.partition(&key)), [2, 2, 1, 1, 0]);
    assert_eq!(RangePartitioner::<u8>::from_bounds(vec![], true).num_partitions(), 1);
    assert_ne!(up, down);
}

#[test]
fn a_number_is_a_hash_partitioner() {
    let number = KeyPartitioner::<String>::of(8usize);
    assert_eq!(number, KeyPartitioner::of(HashPartitioner::new(8)));
    assert_eq!(number, KeyPartitioner::hash(8));
    assert_ne!(number, KeyPartitioner::hash(9));
    assert_ne!(number, KeyPartitioner::of(ByInitial { partitions: 8, shift: 0 }));
    let key = "spark".to_string();
    assert_eq!(number.place(&key), KeyPartitioner::hash(8).place(&key));
}

#[test]
fn equal_partitioners_are_told_from_different_ones_without_their_types() {
    let forget = |shift| Partitioning::of(KeyPartitioner::<String>::of(ByInitial { partitions: 4, shift }));
    assert_eq!(forget(0), forget(0));
    assert_ne!(forget(0), forget(1));
    // The same numbers, other keys.
    assert_ne!(Partitioning::of(KeyPartitioner::<u64>::hash(4)), Partitioning::of(KeyPartitioner::<u32>::hash(4)));
    assert_eq!(forget(0).count(), 4);
    assert!(forget(0).keyed::<u64>().is_none());
    let keyed = forget(0).keyed::<String>().unwrap().downcast::<ByInitial>().cloned();
    assert_eq!(keyed, Some(ByInitial { partitions: 4, shift: 0 }));
}

#[test]
fn partitioners_survive_being_sent() {
    for partitioner in [
        KeyPartitioner::<String>::hash(5),
        KeyPartitioner::of(5usize),
        KeyPartitioner::of(HashPartitioner::new(5)),
        KeyPartitioner::of(ByInitial { partitions: 5, shift: 0 }),
        KeyPartitioner::of(RangePartitioner::from_bounds(vec!["f".to_string(), "p".to_string()], false)),
    ] {
        let there = sent(&partitioner);
        assert_eq!(there, partitioner);
        assert_eq!(sent(&there), partitioner, "and sent on");
        for key in ["", "a", "f", "g", "spark", "z"].map(String::from) {
            assert_eq!(there.place(&key), partitioner.place(&key));
        }
    }
}

#[test]
fn a_partition_out_of_range_fails_the_task_and_says_why() {
    let wrong = KeyPartitioner::of(ByInitial { partitions: 4, shift: 4 });
    match failure_of(|| wrong.place(&"spark".to_string())) {
        Some(TaskFailure::User(text)) => {
            assert!(text.contains("4 partitions") && text.contains("less than `num_partitions`"), "{text}")
        }
        other => panic!("{other:?}"),
    }
    assert!(failure_of(|| wrong.place_unhashed(&"spark".to_string())).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_order_partitions(bounds in prop::collection::vec(any::<i16>(), 0..20), keys in prop::collection::vec(any::<i16>(), 0..50), ascending: bool) {
        let ranges = RangePartitioner::from_bounds(bounds, ascending);
        let mut keys = keys;
        keys.sort_unstable();
        let mut places: Vec<usize> = keys.iter().map(|key| ranges.partition(key)).collect();
        prop_assert!(places.iter().all(|p| *p < ranges.num_partitions()));
        if !ascending {
            places.reverse();
        }
        prop_assert!(places.is_sorted());
    }

    #[test]
    fn hashes_stay_in_range(key: u64, text: String, partitions in 1usize..100_000) {
        prop_assert!(HashPartitioner::new(partitions).partition(&key) < partitions);
        prop_assert!(HashPartitioner::new(partitions).partition(text.as_str()) < partitions);
        prop_assert!(KeyPartitioner::<String>::hash(partitions).place(&text).0 < partitions);
    }
}
