//! Operators of one task that share little memory: the same records as with ample memory, in the same order, and a number of
//! bytes through the disk that grows with the data, not with its square.

use crate::hand::{Hand, Lineage, failure_of};
use firesteel_model::{BlockId, BroadcastId, RddId, ShuffleId, StorageLevel, TaskMetrics};
use firesteel_rdd::{
    ByKey, CacheState, Cached, Captureless, Combine, Data, Erased, Grouping, Inner, Join, Key, KeyPartitioner,
    KillFlag, Lent, Map, Pipeline, Plain, RangeOf, ReadSide, Reducing, Scatter, ScatterCombined, ScatterSorted, Side,
    Sink, Sorted, Subtract, TaskFailure, drive,
};
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

type Value = (u64, u64, u64);

/// How many bytes the values below take.
const RECORD: u64 = size_of::<(u64, Value)>() as u64;

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}

/// A map output of so many records with values that do not compress, three for each key.
fn shuffle(hand: &mut Hand, id: u64, records: u64) -> Side<(u64, Value)> {
    let value = |i: u64| (mix(i / 3), (mix(i), mix(i + 1), mix(i + 2)));
    let shuffle = ShuffleId(id);
    let scatter = Scatter { shuffle, partitioner: KeyPartitioner::<u64>::hash(1), spread: false };
    hand.write(shuffle, &Lineage::default(), Map::new(RangeOf::new(0..records, 4), Plain::new(value)), scatter);
    Side::Shuffle(shuffle)
}

/// What one task makes of it with ample memory and with `budget`, and what was measured with the latter. Map tasks are not counted.
fn within<P: Pipeline<Item: Data + PartialEq>>(
    budget: u64,
    pipeline: impl Fn(&mut Hand, &mut Lineage) -> P,
) -> TaskMetrics {
    let run = |budget| {
        let (mut hand, mut lineage) = (Hand::within(budget), Lineage::default());
        let pipeline = pipeline(&mut hand, &mut lineage);
        hand.metrics.take();
        let records = hand.collect(&lineage, pipeline);
        (records, hand.metrics.get())
    };
    let (expected, ample) = run(1 << 30);
    assert_eq!(ample.memory_bytes_spilled, 0);
    let (records, metrics) = run(budget);
    assert!(records == expected);
    metrics
}

/// Something went to disk, and no more than so many times the records that came in.
fn assert_spilled(metrics: TaskMetrics, records: u64, at_most: f64) {
    let times = metrics.disk_bytes_spilled as f64 / (records * RECORD) as f64;
    assert!(metrics.memory_bytes_spilled > 0 && times > 0.0 && times <= at_most, "{times} times the data: {metrics:?}");
}

/// Groups a shuffle in the task that reads it, and says of each key how many values it has.
fn grouped(lineage: &mut Lineage, id: u64, side: Side<(u64, Value)>) -> Side<(u64, u64)> {
    let groups = Combine::values(side, Grouping, 1);
    let counted = Map::new(groups, Plain::new(|(key, values): (u64, Vec<Value>)| (key, values.len() as u64)));
    lineage.erase(RddId(id), counted);
    Side::Narrow(Erased::of(RddId(id)))
}

#[test]
fn a_join_gives_way_to_the_grouping_of_its_other_side() {
    let metrics = within(4 << 20, |hand, lineage| {
        let (left, right) = (shuffle(hand, 1, 20_000), shuffle(hand, 2, 90_000));
        Join::<u64, Value, u64, Inner>::new(left, grouped(lineage, 7, right), 1)
    });
    assert_spilled(metrics, 20_000 + 90_000, 2.0);
}

#[test]
fn a_join_is_the_same_with_little_memory_whether_keys_of_the_left_side_come_once_or_not() {
    // With the least memory rows take over while the left side is read, with more of it lists while the right side is, with ample
    // memory neither; a last key that has come before is found when both sides are read.
    for budget in [1 << 20, 24 << 20] {
        for comes_twice in [false, true] {
            within(budget, |hand, _| {
                let (none, numbers) = (Lineage::default(), RangeOf::new(0..20_000, 4));
                let (shuffle_id, partitioner) = (ShuffleId(1), KeyPartitioner::<u64>::hash(1));
                let scatter = Scatter { shuffle: shuffle_id, partitioner, spread: false };
                let once = Plain::new(|i: u64| (mix(i), (i, i + 1, i + 2)));
                let twice = Plain::new(|i: u64| (mix(i % 19_999), (i, i + 1, i + 2)));
                match comes_twice {
                    false => hand.write(shuffle_id, &none, Map::new(numbers, once), scatter),
                    true => hand.write(shuffle_id, &none, Map::new(numbers, twice), scatter),
                };
                let right = shuffle(hand, 2, 60_000);
                Join::<u64, Value, Value, Inner>::new(Side::Shuffle(shuffle_id), right, 1)
            });
        }
    }
}

#[test]
fn a_join_of_texts_is_the_same_with_little_memory_whether_they_are_lent_or_not() {
    // With the least memory rows take over while the left side is read, with more of it while the right side is, with ample memory
    // where a key comes twice.
    for (budget, lent) in [(1 << 20, false), (1 << 20, true), (24 << 20, false), (24 << 20, true)] {
        for comes_twice in [false, true] {
            within(budget, |hand, lineage| {
                let once = Plain::new(|i: u64| (mix(i), format!("{i:0>40}")));
                let twice = Plain::new(|i: u64| (mix(i % 9_999), format!("{i:0>40}")));
                let numbers = || RangeOf::new(0..10_000, 1);
                match comes_twice {
                    false => lineage.erase(RddId(7), Map::new(numbers(), once)),
                    true => lineage.erase(RddId(7), Map::new(numbers(), twice)),
                };
                let level = if lent { StorageLevel::MEMORY_AND_DISK } else { StorageLevel::NONE };
                let kept = Cached::<(u64, String)>::new(RddId(8), RddId(7), CacheState::new(level));
                lineage.erase(RddId(8), kept);
                let right = shuffle(hand, 2, 30_000);
                Join::<u64, String, Value, Inner>::new(Side::Narrow(Erased::of(RddId(8))), right, 1)
            });
        }
    }
}

#[test]
fn a_join_that_gives_its_probe_up_stops_when_it_is_asked_to() {
    static KILL: OnceLock<KillFlag> = OnceLock::new();
    static CLONES: AtomicU64 = AtomicU64::new(0);
    const LAST: u64 = 100;
    /// Asks the task to stop when so many have been cloned: blocks that the probe holds are only cloned where it is given up.
    #[derive(Serialize, Deserialize)]
    struct Stopping(String);
    impl Clone for Stopping {
        fn clone(&self) -> Self {
            if CLONES.fetch_add(1, Ordering::Relaxed) + 1 == LAST {
                KILL.get().expect("set before the task runs").kill();
            }
            Stopping(self.0.clone())
        }
    }
    let (hand, mut lineage) = (Hand::new(), Lineage::default());
    let twice = Plain::new(|i: u64| (i / 2, Stopping(i.to_string())));
    lineage.erase(RddId(6), Map::new(RangeOf::new(0..10_000, 1), twice));
    let kept = Cached::<(u64, Stopping)>::new(RddId(7), RddId(6), CacheState::new(StorageLevel::MEMORY_ONLY));
    lineage.erase(RddId(7), kept);
    lineage.erase(RddId(8), Map::new(RangeOf::new(0..5_000, 1), Plain::new(|i: u64| (i, i))));
    let (left, right) = (Side::Narrow(Erased::of(RddId(7))), Side::Narrow(Erased::of(RddId(8))));
    let join = Join::<u64, Stopping, u64, Inner>::new(left, right, 1);
    let task = hand.task(&lineage, 0, 1);
    KILL.set(task.kill_flag().clone()).expect("only here");
    let mut stream = join.open(0, &task);
    let failure = failure_of(|| drive(&mut stream, &task, &mut All));
    assert!(matches!(failure, Some(TaskFailure::Killed)), "{failure:?}");
    assert_eq!(CLONES.load(Ordering::Relaxed), LAST);
}

/// Wants all there is.
struct All;

impl<T> Sink<T> for All {
    fn push<L: Lent<T>>(&mut self, _: L) -> bool {
        true
    }
}

/// A sort of texts that lie in pages, by keys that are noted there or are not, and a join that reads it.
fn sort_in_pages<K: Key + Ord>(key: impl Fn(u64) -> K + Captureless) {
    let metrics = within(8 << 20, |hand, lineage| {
        let text = move |i: u64| (key(mix(i) % 5_000), format!("{:0>100}", mix(i)));
        let scatter = ScatterSorted { shuffle: ShuffleId(1), partitioner: KeyPartitioner::of(1), order: ByKey };
        let texts = Map::new(RangeOf::new(0..25_000, 2), Plain::new(text));
        hand.write(ShuffleId(1), &Lineage::default(), texts, scatter);
        let side = Side::<(K, String)>::Shuffle(ShuffleId(1));
        let sorted = Sorted { side, order: ByKey, ascending: false, partitions: 1 };
        lineage.erase(RddId(7), sorted);
        let scatter = Scatter { shuffle: ShuffleId(2), partitioner: KeyPartitioner::<K>::hash(1), spread: false };
        let few = Map::new(RangeOf::new(0..3_000, 4), Plain::new(move |i: u64| (key(mix(i / 3)), mix(i))));
        hand.write(ShuffleId(2), &Lineage::default(), few, scatter);
        Join::<K, String, u64, Inner>::new(Side::Narrow(Erased::of(RddId(7))), Side::Shuffle(ShuffleId(2)), 1)
    });
    assert!(metrics.memory_bytes_spilled > 0, "{metrics:?}");
}

#[test]
fn a_sort_of_what_lies_in_pages_gives_way_to_the_join_that_reads_it() {
    sort_in_pages(|i| i);
    sort_in_pages(|i| (i, 0u8));
}

#[test]
fn a_subtraction_leaves_memory_to_the_grouping_of_its_left_side() {
    let metrics = within(4 << 20, |hand, lineage| {
        let (left, right) = (shuffle(hand, 1, 60_000), shuffle(hand, 2, 600_000));
        Subtract { left: grouped(lineage, 7, left), right, partitions: 1 }
    });
    assert_spilled(metrics, 60_000, 3.5);
}

#[test]
fn a_sorted_partition_gives_way_to_the_grouping_that_reads_it() {
    let metrics = within(4 << 20, |hand, lineage| {
        let side = shuffle(hand, 1, 90_000);
        lineage.erase(RddId(3), Sorted { side, order: ByKey, ascending: true, partitions: 1 });
        ReadSide { side: grouped(lineage, 7, Side::Narrow(Erased::of(RddId(3)))), partitions: 1 }
    });
    assert_spilled(metrics, 90_000, 1.7);
}

#[test]
fn a_broadcast_larger_than_the_budget_leaves_tasks_their_share() {
    let metrics = within(4 << 20, |hand, _| {
        let side = shuffle(hand, 1, 90_000);
        hand.executor.blocks.put_value(BlockId::Broadcast(BroadcastId(1)), Arc::new(vec![7u64; 1 << 20]));
        Combine::values(side, Grouping, 1)
    });
    assert_spilled(metrics, 90_000, 1.0);
}

#[test]
fn parts_that_change_without_growing_take_what_they_are_and_not_what_they_were_given() {
    let mut hand = Hand::new();
    let longest = || Reducing(Plain::new(|a: String, b: String| if a.len() < b.len() { b } else { a }));
    let words = || Map::new(RangeOf::new(0..60_000, 1), Plain::new(|i: u64| (i % 100, format!("{i:0>100}"))));
    let (values, parts) = (ShuffleId(1), ShuffleId(2));
    let partitioner = || KeyPartitioner::<u64>::hash(1);
    hand.write(
        values,
        &Lineage::default(),
        words(),
        Scatter { shuffle: values, partitioner: partitioner(), spread: true },
    );
    hand.metrics.take();
    let combined = ScatterCombined { shuffle: parts, partitioner: partitioner(), aggregate: longest() };
    let written = hand.write(parts, &Lineage::default(), words(), combined);
    assert_eq!(written[0].records, 100, "the table was not flushed for parts that look larger than they are");
    let map_side = hand.metrics.take().peak_execution_memory;
    hand.collect(&Lineage::default(), Combine::<u64, String, _>::parts(values, longest(), 1));
    let reduce_side = hand.metrics.take().peak_execution_memory;
    assert!(map_side < 4 << 20 && reduce_side < 2 << 20, "{map_side} and {reduce_side} for 100 strings of 100 bytes");
}
