//! Ranges of keys, and what is known of where keys lie.

use crate::masters::{Watched, any_context, any_partitions, config, local4, spread};
use firesteel::prelude::*;
use proptest::prelude::*;

fn pairs() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0u8..30, 0u64..1_000), 0..60)
}

fn within(items: &[(u8, u64)], lower: u8, upper: u8) -> Vec<(u8, u64)> {
    items.iter().copied().filter(|(key, _)| (lower..=upper).contains(key)).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_range_is_a_filter(sc in any_context(), items in pairs(), n in any_partitions(), a in 0u8..32, b in 0u8..32) {
        let rdd = spread(&sc, &items, n);
        let expected = if n == 0 { Vec::new() } else { within(&items, a, b) };
        prop_assert_eq!(rdd.filter_by_range(a, b).collect()?, expected);
        prop_assert_eq!(rdd.filter_by_range(a, b).num_partitions()?, n);
    }

    #[test]
    fn a_range_of_sorted_pairs_is_the_same_from_fewer_partitions(
        sc in any_context(), items in pairs(), n in 1usize..8, ascending: bool, a in 0u8..32, b in 0u8..32,
    ) {
        let sorted = spread(&sc, &items, 3).sort_by_key_n(ascending, n);
        let expected = within(&sorted.collect()?, a, b);
        let some = sorted.filter_by_range(a, b);
        prop_assert_eq!(some.collect()?, expected.clone());
        prop_assert_eq!(some.erase().collect()?, expected);
        prop_assert!(some.num_partitions()? <= sorted.num_partitions()?);
        prop_assert_eq!(some.partitioner()?, None);
    }

    #[test]
    fn range_partitioners_put_keys_in_order(sc in any_context(), items in pairs(), m in any_partitions(), n in 0usize..9) {
        let rdd = spread(&sc, &items, m);
        let ranges = RangePartitioner::new(n, &rdd)?;
        prop_assert!((1..=n.max(1)).contains(&ranges.num_partitions()));
        let parts = rdd.partition_by(ranges.clone()).keys().glom().collect()?;
        prop_assert_eq!(parts.len(), ranges.num_partitions());
        let reached: Vec<_> = parts.iter().filter(|part| !part.is_empty()).collect();
        prop_assert!(reached.windows(2).all(|two| two[0].iter().max() < two[1].iter().min()));
        prop_assert_eq!(rdd.partition_by(ranges).filter_by_range(3, 9).count()?, rdd.filter_by_range(3, 9).count()?);
    }
}

#[test]
fn a_range_computes_only_the_partitions_it_needs() {
    let watched = Watched::new("local[2]", &[]);
    let sorted = watched.context.range_n(0..1_000, 4).map(|i| (i, ())).sort_by_key_n(true, 10).cache();
    assert_eq!(sorted.count().unwrap(), 1_000);
    watched.ran();
    let some = sorted.map_values(|()| 1).filter_by_range(500, 501);
    assert_eq!(some.collect().unwrap(), [(500, 1), (501, 1)]);
    let ran = watched.ran();
    assert!(ran.len() == 1 && ran[0].len() == 1 && ran[0][0] <= 2, "{ran:?}");
    assert_eq!(sorted.filter_by_range(9, 3).count().unwrap(), 0);
    assert_eq!(sorted.filter_by_range(5_000, 6_000).count().unwrap(), 0);
}

#[test]
fn a_range_of_pairs_spread_by_hash_keeps_the_partitioner() {
    let spread = local4().range_n(0..100, 3).map(|i| (i, ())).partition_by(5);
    let some = spread.filter_by_range(10, 19);
    assert_eq!(some.partitioner().unwrap(), spread.partitioner().unwrap());
    assert_eq!(some.num_partitions().unwrap(), 5);
    assert_eq!(some.count().unwrap(), 10);
}

#[test]
fn one_range_runs_no_job_and_more_run_one() {
    let watched = Watched::new("local[2]", &[]);
    let pairs = watched.context.range_n(0..100, 3).map(|i| (i, ()));
    for n in [0, 1] {
        assert_eq!(RangePartitioner::new(n, &pairs).unwrap().num_partitions(), 1);
    }
    assert_eq!(watched.ran(), [[0; 0]; 0]);
    let four = RangePartitioner::new(4, &pairs).unwrap();
    assert_eq!(four.num_partitions(), 4);
    assert_eq!(watched.ran(), [[3]]);
    assert_eq!(RangePartitioner::new(5, &pairs.map(|(i, v)| (i % 3, v))).unwrap().num_partitions(), 3 + 1);
    assert_eq!(RangePartitioner::new(5, &watched.context.empty_rdd::<(u64, ())>()).unwrap().num_partitions(), 1);
}

#[test]
fn rdds_spread_by_equal_ranges_are_joined_in_place() {
    let watched = Watched::new("local[2]", &[]);
    let pairs = watched.context.range_n(0..100, 3).map(|i| (i, i)).erase();
    let ranges = RangePartitioner::new(4, &pairs).unwrap();
    let (a, b) = (pairs.partition_by(ranges.clone()).cache(), pairs.partition_by(ranges).cache());
    assert_eq!(a.count().unwrap() + b.count().unwrap(), 200);
    watched.ran();
    assert_eq!(a.join(&b).count().unwrap(), 100);
    assert_eq!(watched.ran(), [[4]]);
}

#[test]
fn a_range_partitioner_samples_as_many_keys_as_it_is_told() {
    let pairs = local4().range_n(0..10_000, 4).map(|i| (i, ()));
    let down = RangePartitioner::sampled(5, &pairs, false, 1_000).unwrap();
    assert!(!down.is_ascending());
    let sizes = local4().run_job(&pairs.partition_by(down.clone()), |items| items.count()).unwrap();
    assert!(sizes.len() == 5 && sizes.iter().all(|n| (1_800..2_200).contains(n)), "{sizes:?}");
    assert!(down.partition(&9_999) == 0 && down.partition(&0) == 4);
    let error = RangePartitioner::sampled(5, &pairs, true, 0).unwrap_err().to_string();
    assert!(error.contains("sample points per partition"), "{error}");
}

#[test]
fn a_range_partitioner_of_a_stopped_context_is_an_error() {
    let sc = Context::builder().master("local[1]").build().unwrap();
    let pairs = sc.range_n(0..100, 3).map(|i| (i, i));
    sc.stop().unwrap();
    assert!(matches!(RangePartitioner::new(4, &pairs), Err(Error::Stopped(_))));
}

#[test]
fn what_preserves_partitioning_is_joined_in_place() {
    let watched = Watched::new("local[2]", &[]);
    let spread = watched.context.range_n(0..100, 3).map(|i| (i, i)).partition_by(4).cache();
    assert_eq!(spread.count().unwrap(), 100);
    let squares = spread.map_partitions(|pairs| pairs.map(|(k, v)| (k, v * v))).preserves_partitioning();
    assert_eq!(squares.partitioner().unwrap(), spread.partitioner().unwrap());
    watched.ran();
    let joined = squares.join(&spread);
    assert!(joined.collect().unwrap().iter().all(|(k, (square, v))| square == &(k * k) && v == k));
    assert_eq!(joined.partitioner().unwrap(), spread.partitioner().unwrap());
    assert_eq!(watched.ran(), [[4]]);
    let lost = spread.map(|(k, v)| (k, v * v)).join(&spread);
    assert_eq!(lost.count().unwrap(), 100);
    assert_eq!(watched.ran(), [[4, 4]]);
}

#[test]
fn preserves_partitioning_of_every_kind_of_rdd() {
    let sc = local4();
    let spread = sc.range_n(0..20, 3).map(|i| (i, i)).partition_by(4);
    let known = spread.partitioner().unwrap();
    let all = spread.collect().unwrap();
    // Fused, erased, with a preparation of its own, with two parents.
    assert_eq!(spread.map(|pair| pair).erase().preserves_partitioning().partitioner().unwrap(), known);
    assert_eq!(spread.map(|pair| pair).erase().preserves_partitioning().collect().unwrap(), all);
    let numbered = spread.zip_with_index().preserves_partitioning();
    assert_eq!(numbered.keys().collect().unwrap(), all);
    let zipped = spread.zip(&spread).map(|(pair, _)| pair).preserves_partitioning();
    assert_eq!((zipped.partitioner().unwrap(), zipped.collect().unwrap()), (None, all.clone()));
    assert_eq!(spread.map(|pair| pair).preserves_partitioning().lookup(&7).unwrap(), [7]);
    // Nothing to preserve.
    let plain = sc.range_n(0..20, 3).preserves_partitioning();
    assert_eq!((plain.partitioner().unwrap(), plain.count().unwrap()), (None, 20));
}

#[test]
fn fewer_partitions_than_the_partitioner_has_cannot_be_said_to_be_spread_by_it() {
    let spread = local4().range_n(0..20, 3).map(|i| (i, i)).partition_by(4);
    let e = spread.coalesce(2).preserves_partitioning().count().unwrap_err();
    assert!(matches!(e, Error::InvalidArgument(_)) && e.to_string().contains("partition_by"), "{e}");
}
