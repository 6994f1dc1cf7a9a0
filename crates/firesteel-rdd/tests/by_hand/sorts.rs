//! Sorts: the same order as a stable sort of a `Vec`, whatever the keys are, wherever they are noted and wherever records lie.

use crate::hand::{Hand, Lineage};
use firesteel_model::{RddId, ShuffleId};
use firesteel_rdd::{
    ByKey, ByKeyFunc, Captureless, Data, Erased, KeyPartitioner, Map, Order, Partitioner, Plain, RangeOf,
    RangePartitioner, ScatterSorted, Side, Sorted, Total,
};
use proptest::prelude::*;

const SHUFFLE: ShuffleId = ShuffleId(7);
const MAPS: usize = 3;

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}

/// Sorts so many records into three partitions or fewer, in both directions, within so many bytes.
fn agrees<T, O>(budget: u64, records: u64, item: impl Fn(u64) -> T + Captureless, order: O)
where
    T: Data + PartialEq,
    O: Order<T, Key: Data + Ord>,
{
    let items: Vec<T> = (0..records).map(item).collect();
    let mut keys: Vec<O::Key> = items.iter().map(|item| order.key(item)).collect();
    keys.sort();
    let bounds: Vec<O::Key> = [1, 2].iter().filter_map(|third| keys.get(third * keys.len() / 3)).cloned().collect();
    for ascending in [true, false] {
        let (mut hand, none) = (Hand::within(budget), Lineage::default());
        let ranges = RangePartitioner::from_bounds(bounds.clone(), ascending);
        let partitioner = KeyPartitioner::of(ranges.clone());
        let (partitions, source) = (partitioner.count(), RangeOf::new(0..records, MAPS));
        let scatter = ScatterSorted { shuffle: SHUFFLE, partitioner, order: order.clone() };
        hand.write(SHUFFLE, &none, Map::new(source, Plain::new(item)), scatter);
        let side = Side::<T>::Shuffle(SHUFFLE);
        let sorted = hand.collect(&none, Sorted { side, order: order.clone(), ascending, partitions });
        // The same where a batch has enough in mid-way.
        let mut erased = Lineage::default();
        erased
            .erase(RddId(7), Sorted { side: Side::<T>::Shuffle(SHUFFLE), order: order.clone(), ascending, partitions });
        assert!(hand.collect(&erased, Erased::<T>::of(RddId(7))) == sorted, "in batches, of {records} records");
        for (p, part) in sorted.iter().enumerate() {
            let mut expected: Vec<&T> = items.iter().filter(|item| ranges.partition(&order.key(item)) == p).collect();
            expected.sort_by(|a, b| {
                let order = order.compare(a, b);
                if ascending { order } else { order.reverse() }
            });
            assert!(part.iter().eq(expected), "partition {p} of {records} records, ascending: {ascending}");
        }
    }
}

fn text(i: u64) -> String {
    format!("{:0>60}", mix(i))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(6) })]
    /// Map outputs of less and of more records than are kept as they are; with little memory they go to disk, some or all of them.
    #[test]
    fn sorts_agree_with_a_vector(records in prop_oneof![0u64..200, 3_000..3_150u64, 5_000..30_000u64], little: bool) {
        let budget = if little { 2 << 20 } else { 1 << 30 };
        let float = |i| Total(f64::from_bits(mix(i)));
        agrees(budget, records, |i| (mix(i), text(i)), ByKey);
        agrees(budget, records, |i| ((mix(i) % 50) as i16 - 25, text(i)), ByKey);
        agrees(budget, records, move |i| (float(i), text(i)), ByKey);
        agrees(budget, records, |i| (text(mix(i) % 999), i), ByKey);
        agrees(budget, records, |i| (mix(i) % 777, i), ByKey);
        agrees(budget, records, text, ByKeyFunc(Plain::new(|text: &String| text[40..].parse::<u64>().unwrap() % 5_000)));
        agrees(budget, records, text, ByKeyFunc(Plain::new(|text: &String| (text.as_bytes()[59], text.len()))));
        agrees(budget, records, text, ByKeyFunc(Plain::new(|text: &String| text[50..].to_string())));
        agrees(budget, records, text, ByKeyFunc(Plain::new(|text: &String| Total(text[45..].parse::<f32>().unwrap()))));
    }
}
