//! A sink may have enough at any time: driven again, every stream goes on with the element after the last one it pushed.

use crate::hand::{Hand, Lineage};
use firesteel_model::{BlockId, PartitionIndex, RddId, ShuffleId, StorageLevel};
use firesteel_rdd::{
    CacheState, Cached, CoGroup2, Combine, Emit, Erased, Filter, FilterMap, FlatMap, FlatMapEmit, Grouping, Inner,
    Join, KeyPartitioner, Lent, Map, MapPartitions, MapRef, Order, Parallelize, PartitionIter, Pipeline, Plain,
    RangeOf, ReadSide, Reducing, Scatter, ScatterCombined, Side, Sink, Sorted, StepRangeOf, Subtract, Without, drive,
};
use std::fmt::Debug;

/// Wants so many elements at a time.
struct Some<T> {
    all: Vec<T>,
    left: usize,
}

impl<T> Sink<T> for Some<T> {
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        assert!(self.left > 0, "pushed into a sink that had enough");
        self.all.push(item.take());
        self.left -= 1;
        self.left > 0
    }
}

/// Drives each partition at once, and again in portions; both must give the same.
fn check<P: Pipeline<Item: PartialEq + Debug>>(hand: &Hand, lineage: &Lineage, pipeline: P) -> Vec<Vec<P::Item>> {
    let splits = pipeline.splits(lineage).unwrap();
    let mut whole = Vec::new();
    for (p, split) in splits.iter().enumerate() {
        for portion in [usize::MAX, 1, 2, 3, 17, 1_000] {
            let task = hand.task(lineage, p as u32, splits.len() as u32);
            let mut stream = pipeline.open(split.clone(), &task);
            let mut sink = Some { all: Vec::new(), left: portion };
            while !drive(&mut stream, &task, &mut sink) {
                sink.left = portion;
            }
            // An end is an end.
            sink.left = portion;
            assert!(drive(&mut stream, &task, &mut sink));
            if portion == usize::MAX {
                whole.push(sink.all);
            } else {
                assert_eq!(sink.all, whole[p], "partition {p} in portions of {portion}");
            }
        }
    }
    whole
}

fn one_to(n: u64) -> RangeOf {
    RangeOf::new(1..n + 1, 3)
}

#[test]
fn sources_resume() {
    let hand = Hand::new();
    let none = Lineage::default();
    assert_eq!(check(&hand, &none, one_to(10)), [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8, 9, 10]]);
    check(&hand, &none, one_to(20_000));
    #[expect(clippy::reversed_empty_ranges, reason = "a negative step counts down")]
    let down = StepRangeOf::new(10..0, -3, 2);
    assert_eq!(check(&hand, &none, down).concat(), [10, 7, 4, 1]);

    for partition in 0..2 {
        let id = BlockId::Source(RddId(7), PartitionIndex(partition));
        let chunks: Vec<Vec<u64>> = (0..5).map(|c| (c * 100..c * 100 + 30).collect()).collect();
        hand.executor.blocks.put(id, StorageLevel::MEMORY_ONLY, chunks.clone()).unwrap();
        let read = check(
            &hand,
            &none,
            Parallelize::<u64>::new(RddId(7), 150 * (partition as usize + 1), partition as usize + 1),
        );
        assert_eq!(read, vec![chunks.concat(); partition as usize + 1]);
    }
    assert_eq!(check(&hand, &none, Parallelize::<u64>::new(RddId(8), 0, 2)), [vec![], vec![]]);
}

#[test]
fn adaptors_resume() {
    let hand = Hand::new();
    let none = Lineage::default();
    let all = |parts: Vec<Vec<u64>>| parts.concat();
    assert_eq!(all(check(&hand, &none, Map::new(one_to(4), Plain::new(|i: u64| i * 2)))), [2, 4, 6, 8]);
    assert_eq!(all(check(&hand, &none, MapRef::new(one_to(4), Plain::new(|i: &u64| i * 3)))), [3, 6, 9, 12]);
    assert_eq!(all(check(&hand, &none, Filter::new(one_to(6), Plain::new(|i: &u64| i.is_multiple_of(2))))), [2, 4, 6]);
    let odd = Plain::new(|i: u64| (i % 2 == 1).then_some(i));
    assert_eq!(all(check(&hand, &none, FilterMap::new(one_to(6), odd))), [1, 3, 5]);
    let expected: Vec<u64> = (1..41).flat_map(|n| 0..n).collect();
    assert_eq!(all(check(&hand, &none, FlatMap::new(one_to(40), Plain::new(|n: u64| 0..n)))), expected);
    let emit = Plain::new(|n: &u64, out: &mut Emit<'_, u64>| (0..*n).for_each(|i| out.emit(i)));
    assert_eq!(all(check(&hand, &none, FlatMapEmit::new(one_to(40), emit))), expected);
    let sums = Plain::new(|items: PartitionIter<'static, u64>| [0, items.sum::<u64>()]);
    assert_eq!(all(check(&hand, &none, MapPartitions::new(one_to(6), Without(sums)))), [0, 3, 0, 7, 0, 11]);
}

#[test]
fn erased_rdds_resume_through_any_number_of_crossings() {
    let hand = Hand::new();
    let mut lineage = Lineage::default();
    lineage.erase(RddId(0), one_to(5_000));
    for id in 1..6 {
        let parent = Erased::<u64>::of(RddId(id - 1));
        lineage.erase(RddId(id), Filter::new(parent, Plain::new(|i: &u64| !i.is_multiple_of(7))));
    }
    let kept: Vec<u64> = (1..5_001).filter(|i| i % 7 != 0).collect();
    assert_eq!(check(&hand, &lineage, Erased::<u64>::of(RddId(5))).concat(), kept);
}

#[test]
fn kept_partitions_resume_when_they_are_stored_and_when_they_are_read() {
    let hand = Hand::new();
    let mut lineage = Lineage::default();
    lineage.erase(RddId(0), one_to(3_000));
    let state = CacheState::new(StorageLevel::MEMORY_ONLY);
    lineage.erase(RddId(1), Cached::<u64>::new(RddId(1), RddId(0), state));
    let all: Vec<u64> = (1..3_001).collect();
    assert_eq!(check(&hand, &lineage, Erased::<u64>::of(RddId(1))).concat(), all);
    assert_eq!(hand.executor.blocks.len(), 3);
    // Text, which is lent from one buffer for a chunk.
    lineage.erase(RddId(2), Map::new(one_to(3_000), Plain::new(|i: u64| "é".repeat(i as usize % 40))));
    let state = CacheState::new(StorageLevel::MEMORY_ONLY);
    lineage.erase(RddId(3), Cached::<String>::new(RddId(3), RddId(2), state));
    lineage.erase(RddId(4), Filter::new(Erased::of(RddId(3)), Plain::new(|text: &String| !text.is_empty())));
    let texts: Vec<String> = all.iter().map(|i| "é".repeat(*i as usize % 40)).collect();
    assert_eq!(check(&hand, &lineage, Erased::<String>::of(RddId(3))).concat(), texts);
    let some: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    assert_eq!(check(&hand, &lineage, Erased::<String>::of(RddId(4))).concat(), some);
    assert_eq!(check(&hand, &lineage, Erased::<u64>::of(RddId(1))).concat(), all);
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Backwards;

impl Order<(u64, u64)> for Backwards {
    type Key = u64;
    const BY_KEY: bool = true;
    const KEYS_ARE_WEIGHED: bool = true;
    fn with_key<R>(&self, item: &(u64, u64), look: impl FnOnce(&u64) -> R) -> R {
        look(&item.0)
    }
    fn key(&self, item: &(u64, u64)) -> u64 {
        item.0
    }
    fn weigh(_: &u64, _: &mut firesteel_store::weigh::Weigher) -> u64 {
        0
    }
    fn sort(&self, items: &mut [(u64, u64)], ascending: bool) {
        items.sort_by_key(|item| item.0);
        if !ascending {
            items.reverse();
        }
    }
}

#[test]
fn readers_of_shuffles_resume() {
    let mut hand = Hand::new();
    let none = Lineage::default();
    let pairs = || Map::new(one_to(2_000), Plain::new(|i: u64| (i % 50, i)));
    let (left, right) = (ShuffleId(1), ShuffleId(2));
    for shuffle in [left, right] {
        let scatter = Scatter { shuffle, partitioner: KeyPartitioner::hash(2), spread: false };
        if shuffle == left {
            hand.write(shuffle, &none, pairs(), scatter);
        } else {
            hand.write(shuffle, &none, Filter::new(pairs(), Plain::new(|p: &(u64, u64)| p.0 < 5)), scatter);
        }
    }
    let side = |shuffle| Side::<(u64, u64)>::Shuffle(shuffle);
    check(&hand, &none, ReadSide { side: side(left), partitions: 2 });
    let groups = check(&hand, &none, Combine::values(side(left), Grouping, 2)).concat();
    assert_eq!(groups.len(), 50);
    assert!(groups.iter().all(|(key, values)| values.len() == 40 && values.iter().all(|v| v % 50 == *key)));
    let sorted = check(&hand, &none, Sorted { side: side(left), order: Backwards, ascending: false, partitions: 2 });
    assert!(sorted.iter().all(|part| part.is_sorted_by(|a, b| a.0 >= b.0)));
    let both = check(&hand, &none, CoGroup2 { a: side(left), b: side(right), partitions: 2 }).concat();
    assert_eq!(both.iter().filter(|(_, (_, right))| !right.is_empty()).count(), 5);
    // Keys of the left side come once, or forty times.
    hand.write(
        ShuffleId(4),
        &none,
        Map::new(RangeOf::new(0..60, 3), Plain::new(|i: u64| (i, i * 2))),
        Scatter { shuffle: ShuffleId(4), partitioner: KeyPartitioner::hash(2), spread: false },
    );
    for (one, other, pairs) in [(ShuffleId(4), left, 2_000), (left, ShuffleId(4), 2_000), (right, left, 8_000)] {
        let join = Join::<u64, u64, u64, Inner>::new(side(one), side(other), 2);
        assert_eq!(check(&hand, &none, join).concat().len(), pairs);
    }
    // Left values that own memory: lent, or not.
    let mut kept = Lineage::default();
    kept.erase(RddId(20), Map::new(RangeOf::new(0..60, 2), Plain::new(|i: u64| (i, i.to_string()))));
    let [lent, not_lent] = [(21, StorageLevel::MEMORY_ONLY), (22, StorageLevel::NONE)].map(|(id, level)| {
        kept.erase(RddId(id), Cached::<(u64, String)>::new(RddId(id), RddId(20), CacheState::new(level)));
        let texts = Side::Narrow(Erased::of(RddId(id)));
        let join = Join::<u64, String, u64, Inner>::new(texts, side(left), 2);
        check(&hand, &kept, join).concat()
    });
    assert_eq!(lent, not_lent);
    // Of each key whose left record is in the partition that hashing gives.
    assert!(!lent.is_empty() && lent.len() % 40 == 0, "{} pairs", lent.len());
    assert!(lent.iter().all(|(key, (text, value))| *text == key.to_string() && value % 50 == *key));
    // As text, in parts.
    let many = FlatMap::new(one_to(4), Plain::new(|_: u64| (0..3_000u64).map(|i| (i.to_string(), i))));
    let add = Reducing(Plain::new(|a: u64, b: u64| a + b));
    let combined = ScatterCombined {
        shuffle: ShuffleId(3),
        partitioner: KeyPartitioner::<String>::hash(2),
        aggregate: add.clone(),
    };
    hand.write(ShuffleId(3), &none, many, combined);
    let sums = check(&hand, &none, Combine::<String, u64, _>::parts(ShuffleId(3), add, 2)).concat();
    assert_eq!(sums.len(), 3_000);
    assert!(sums.iter().all(|(key, sum)| key.parse() == Ok(sum / 4)));
    let rest = check(&hand, &none, Subtract { left: side(left), right: side(right), partitions: 2 }).concat();
    assert_eq!(rest.len(), 1_800);
}
