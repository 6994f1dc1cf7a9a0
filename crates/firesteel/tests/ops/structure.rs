//! Operations that look at positions and partitions.

use crate::masters::{any_context, any_partitions, config, kept, local4, slices, spread};
use firesteel::prelude::*;
use proptest::prelude::*;

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0u64..50, 0..60)
}

/// Numbers of partitions that data can lie in.
pub(crate) fn some_partitions() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1usize), Just(2), Just(7), Just(40)]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn union_is_one_after_the_other(
        sc in any_context(), a in numbers(), b in numbers(), m in any_partitions(), n in any_partitions(),
    ) {
        let both = spread(&sc, &a, m).union(&spread(&sc, &b, n));
        prop_assert_eq!(both.num_partitions()?, m + n);
        let expected: Vec<_> = kept(&a, m).into_iter().chain(kept(&b, n)).collect();
        prop_assert_eq!(both.collect()?, expected);
    }

    #[test]
    fn union_of_many_is_one_after_the_other(
        sc in any_context(), parts in prop::collection::vec((numbers(), any_partitions()), 0..6),
    ) {
        let rdds: Vec<_> = parts.iter().map(|(items, n)| spread(&sc, items, *n)).collect();
        let all = sc.union(&rdds);
        prop_assert_eq!(all.num_partitions()?, parts.iter().map(|(_, n)| n).sum::<usize>());
        prop_assert_eq!(all.collect()?, parts.iter().flat_map(|(items, n)| kept(items, *n)).collect::<Vec<_>>());
    }

    #[test]
    fn union_of_equally_spread_rdds_keeps_the_spread(
        sc in any_context(), a in numbers(), b in numbers(), n in some_partitions(),
    ) {
        let pairs = |items: &[u64]| spread(&sc, items, 3).map(|i| (i, ())).partition_by(n).erase();
        let (a, b) = (pairs(&a), pairs(&b));
        let both = sc.union(&[a.clone(), b.clone(), sc.empty_rdd()]);
        prop_assert_eq!(both.num_partitions()?, n);
        prop_assert_eq!(both.partitioner()?, a.partitioner()?);
        let expected: Vec<Vec<_>> = a.glom().collect()?.into_iter().zip(b.glom().collect()?).map(|(a, b)| [a, b].concat()).collect();
        prop_assert_eq!(both.glom().collect()?, expected);
    }

    #[test]
    fn glom_shows_the_slices(sc in any_context(), items in numbers(), n in any_partitions()) {
        prop_assert_eq!(spread(&sc, &items, n).glom().collect()?, slices(&items, n));
        let sums: Vec<u64> = slices(&items, n).iter().map(|slice| slice.iter().sum()).collect();
        prop_assert_eq!(spread(&sc, &items, n).glom().erase().map(|slice| slice.iter().sum::<u64>()).collect()?, sums);
    }

    #[test]
    fn zip_pairs_by_position(sc in any_context(), items in numbers(), n in any_partitions(), most in 0usize..70) {
        let left = spread(&sc, &items, n);
        let zipped = left.zip(&left.map(|i| i.to_string()).erase());
        let expected: Vec<_> = kept(&items, n).into_iter().map(|i| (i, i.to_string())).collect();
        prop_assert_eq!(zipped.collect()?, expected.clone());
        prop_assert_eq!(zipped.erase().take(most)?, expected.into_iter().take(most).collect::<Vec<_>>());
    }

    #[test]
    fn zip_with_index_numbers_all(sc in any_context(), items in numbers(), n in any_partitions(), keep in 1u64..5) {
        let some = spread(&sc, &items, n).filter_with(keep, |keep, i| i % keep == 0);
        let expected: Vec<_> = kept(&items, n).into_iter().filter(|i| i % keep == 0).zip(0u64..).collect();
        prop_assert_eq!(some.zip_with_index().collect()?, expected.clone());
        prop_assert_eq!(some.erase().zip_with_index().num_partitions()?, n);
        prop_assert_eq!(some.erase().map(|i| i).erase().zip_with_index().erase().collect()?, expected);
    }

    #[test]
    fn unique_ids_leave_gaps(sc in any_context(), items in numbers(), n in any_partitions()) {
        let expected: Vec<(u64, u64)> = slices(&items, n)
            .into_iter()
            .zip(0u64..)
            .flat_map(|(slice, k)| slice.into_iter().zip(0u64..).map(move |(item, i)| (item, i * n as u64 + k)))
            .collect();
        prop_assert_eq!(spread(&sc, &items, n).zip_with_unique_id().collect()?, expected);
    }

    #[test]
    fn cartesian_is_left_major_in_each_pair_of_partitions(
        sc in any_context(),
        a in prop::collection::vec(0u64..50, 0..25), b in prop::collection::vec(0u64..50, 0..25),
        m in any_partitions(), n in any_partitions(), most in 0usize..40,
    ) {
        let mut expected = Vec::new();
        for left in slices(&a, m) {
            for right in slices(&b, n) {
                expected.push(left.iter().flat_map(|a| right.iter().map(|b| (*a, *b))).collect::<Vec<_>>());
            }
        }
        let product = spread(&sc, &a, m).cartesian(&spread(&sc, &b, n));
        prop_assert_eq!(product.glom().collect()?, expected.clone());
        prop_assert_eq!(product.take(most)?, expected.into_iter().flatten().take(most).collect::<Vec<_>>());
    }

    #[test]
    fn coalesce_groups_neighbours(sc in any_context(), items in numbers(), n in any_partitions(), k in some_partitions()) {
        let groups = k.min(n);
        let slices = slices(&items, n);
        let expected: Vec<_> = (0..groups).map(|i| slices[i * n / groups..(i + 1) * n / groups].concat()).collect();
        prop_assert_eq!(spread(&sc, &items, n).coalesce(k).glom().collect()?, expected);
    }
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn zip_of_unequal_partition_counts_fails_at_the_first_action() {
    let sc = local4();
    let zipped = sc.range_n(0..4, 2).zip(&sc.range_n(0..4, 4));
    assert!(message(zipped.collect()).contains("Can't zip RDDs with unequal numbers of partitions: List(2, 4)"));
    assert!(message(zipped.erase().count()).contains("List(2, 4)"));
    assert!(message(zipped.num_partitions()).contains("List(2, 4)"));
}

#[test]
fn zip_of_unequal_element_counts_fails_the_task() {
    let sc = local4();
    for (m, n) in [(4, 5), (5, 4), (0, 1), (2_000, 2_001)] {
        let zipped = sc.range_n(0..m, 1).zip(&sc.range_n(0..n, 1).erase());
        let e = message(zipped.collect());
        assert!(e.contains("Can only zip RDDs with same number of elements in each partition"), "{e}");
    }
}

#[test]
fn what_zip_reads_is_closed_when_a_take_stops_early() {
    let sc = local4();
    let zipped = sc.range_n(0..10_000, 2).erase().zip(&sc.range_n(0..10_000, 2).map(|i| i * 2).erase());
    assert_eq!(zipped.take(3).unwrap(), [(0, 0), (1, 2), (2, 4)]);
    assert_eq!(zipped.count().unwrap(), 10_000);
}

#[test]
fn counting_for_an_index_skips_maps_but_not_filters() {
    let sc = local4();
    let (mapped, filtered) = (sc.long_accumulator("mapped"), sc.long_accumulator("filtered"));
    let numbers = sc.range_n(0..10, 5);
    let map = numbers.map_with(mapped.clone(), |mapped, i| {
        mapped.add(1);
        i
    });
    let indexed = map.zip_with_index();
    assert_eq!(indexed.num_partitions().unwrap(), 5);
    assert_eq!(mapped.value(), 0);
    let indexed = map.erase().map(|i| (i, ())).map_values(|_| ()).erase().zip_with_unique_id().erase().zip_with_index();
    assert_eq!(indexed.num_partitions().unwrap(), 5);
    assert_eq!(mapped.value(), 0, "nor where types are erased");
    assert_eq!(indexed.count().unwrap(), 10);
    assert_eq!(mapped.value(), 10);

    let filter = numbers.filter_with(filtered.clone(), |filtered, _| {
        filtered.add(1);
        true
    });
    assert_eq!(filter.erase().zip_with_index().num_partitions().unwrap(), 5);
    assert_eq!(filtered.value(), 8, "all partitions but the last are counted");
}

#[test]
fn one_partition_is_indexed_without_a_job() {
    let sc = local4();
    let counted = sc.long_accumulator("counted");
    let one = sc.range_n(0..3, 1).filter_with(counted.clone(), |counted, _| {
        counted.add(1);
        true
    });
    let indexed = one.zip_with_index();
    assert_eq!(indexed.num_partitions().unwrap(), 1);
    assert_eq!(counted.value(), 0);
    assert_eq!(indexed.collect().unwrap(), [(0, 0), (1, 1), (2, 2)]);
    assert_eq!(sc.empty_rdd::<u64>().zip_with_index().collect().unwrap(), []);
}

#[test]
fn an_index_of_a_cached_rdd_keeps_what_it_counts() {
    let sc = local4();
    let computed = sc.long_accumulator("computed");
    let cached = sc
        .range_n(0..6, 3)
        .map_with(computed.clone(), |computed, i| {
            computed.add(1);
            i
        })
        .cache();
    assert!(cached.zip_with_index().map(|(i, n)| i == n).reduce(|a, b| a && b).unwrap());
    assert_eq!(computed.value(), 6);
    cached.unpersist(true).unwrap();
}

#[test]
fn coalesce_into_nothing_is_an_error_and_into_more_changes_nothing() {
    let sc = local4();
    assert!(message(sc.range_n(0..4, 2).coalesce(0).collect()).contains("must be positive"));
    assert_eq!(sc.range_n(0..4, 2).coalesce(9).num_partitions().unwrap(), 2);
    assert_eq!(sc.empty_rdd::<u64>().coalesce(3).num_partitions().unwrap(), 0);
    let pairs = sc.range_n(0..4, 2).map(|i| (i, ())).partition_by(2);
    assert!(pairs.coalesce(1).partitioner().unwrap().is_none());
}

#[test]
fn coalesce_by_groups_of_ones_own_has_each_partition_once() {
    let sc = local4();
    let placed = sc.make_rdd((0..4).map(|i| (i, vec![["a", "b"][i % 2].to_string()])));
    assert_eq!((placed.num_partitions().unwrap(), placed.preferred_locations(3)), (4, vec!["b".to_string()]));
    let by_host = placed.coalesce_by(2, |_, hosts| {
        let of = |host: &str| (0..hosts.len()).filter(|i| hosts[*i][0] == host).collect();
        vec![of("b"), of("a")]
    });
    assert_eq!(by_host.glom().collect().unwrap(), [[1, 3], [0, 2]]);
    assert_eq!(by_host.preferred_locations(0), ["b"]);
    assert_eq!(placed.map(|i| i * i).collect().unwrap(), [0, 1, 4, 9]);
    type Groups = Vec<Vec<usize>>;
    let refused = |groups: Groups| message(placed.coalesce_by(2, move |_, _| groups.clone()).count());
    assert!(refused(vec![vec![0, 1], vec![2]]).contains("partition 3 is in no group"));
    assert!(refused(vec![vec![0, 1], vec![1, 2, 3]]).contains("partition 1 is in two groups"));
    assert!(refused(vec![vec![0, 1, 2, 3, 4]]).contains("there is no partition 4"));
    assert!(message(placed.coalesce_by(2, |_, _| panic!("no idea")).count()).contains("no idea"));
    assert!(message(placed.coalesce_by(0, |_, _| Groups::new()).count()).contains("must be positive"));
    assert_eq!(sc.make_rdd::<u64>([]).num_partitions().unwrap(), 1);
}

#[test]
fn dependencies_tell_shuffles_from_what_is_read_in_place() {
    let sc = Context::builder().master("local[2]").build().unwrap();
    let (left, right) = (sc.range_n(0..4, 2).map(|i| (i, i)), sc.range_n(0..4, 2).map(|i| (i, i)).partition_by(3));
    let joined = left.join_into(&right, 3).dependencies().unwrap();
    assert_eq!(joined.iter().map(|on| on.rdd).collect::<Vec<_>>(), [left.id(), right.id()]);
    assert!(joined[0].shuffle.is_some() && joined[1].shuffle.is_none(), "{joined:?}");
    assert!(sc.range(0..3).dependencies().unwrap().is_empty());
}

#[test]
fn union_with_an_unpartitioned_rdd_has_no_partitioner() {
    let sc = local4();
    let plain = sc.range_n(0..4, 2).map(|i| (i, ()));
    let spread = plain.partition_by(2);
    let both = spread.union(&plain);
    assert!(both.partitioner().unwrap().is_none());
    assert_eq!(both.num_partitions().unwrap(), 4);
    assert!(spread.union(&plain.partition_by(3)).partitioner().unwrap().is_none());
}

#[test]
fn a_partitioner_kept_by_a_union_saves_a_shuffle() {
    let sc = local4();
    let placed = |from: u64| sc.range_n(from..from + 20, 4).map(|i| (i % 7, 1u64)).partition_by(3);
    let summed = placed(0).union(&placed(20)).reduce_by_key(|a, b| a + b);
    assert_eq!(summed.to_debug_string().matches("Shuffled").count(), 2);
    assert_eq!(summed.values().reduce(|a, b| a + b).unwrap(), 40);
}

#[test]
fn many_unions_in_a_row_need_no_deep_stack() {
    let sc = local4();
    let mut all = sc.range_n(0..1, 1).erase();
    for i in 1..300 {
        all = all.union(&sc.range_n(i..i + 1, 1)).erase();
    }
    assert_eq!(all.coalesce(4).collect().unwrap(), (0..300).collect::<Vec<u64>>());
}

#[test]
fn a_union_of_an_rdd_with_itself_has_everything_twice() {
    let sc = local4();
    let numbers = sc.range_n(0..3, 2);
    assert_eq!(numbers.union(&numbers).collect().unwrap(), [0, 1, 2, 0, 1, 2]);
    assert_eq!(numbers.cartesian(&numbers).count().unwrap(), 9);
}

/// The lineage without the test's own lines: `at map`, not `at map at structure.rs:9`.
fn lineage<T: 'static, P: Pipeline<Item = T>>(rdd: &Rdd<T, P>) -> String {
    let text = rdd.to_debug_string();
    let without = |line: &str| {
        let (before, rest) = line.split_once(" at structure.rs:").unwrap_or((line, ""));
        format!("{before}{}\n", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
    };
    text.lines().map(without).collect()
}

#[test]
fn a_lineage_is_drawn_as_spark_draws_it() {
    let sc = Context::builder().master("local[2]").build().unwrap();
    let kept = sc.range_n(0..10, 2).map(|i| (i % 3, i)).cache();
    let sums = kept.reduce_by_key_into(12, |a, b| a + b).map(|pair| pair);
    let groups = sums.group_by_key_into(3);
    kept.count().unwrap();
    let held = format!("CachedPartitions: 2; MemorySize: {}.0 B; DiskSize: 0.0 B", sc.rdd_storage_info()[0].memory);
    let below = format!(
        " +-(12) MapPartitionsRDD[4] at map []
    |   ShuffledRDD[3] at reduce_by_key_into []
    +-(2) MapPartitionsRDD[2] at cache [Memory Deserialized 1x Replicated]
       |      {held}
       |  MapPartitionsRDD[1] at map []
       |  ParallelCollectionRDD[0] at range_n []
"
    );
    assert_eq!(lineage(&groups), format!("(3) ShuffledRDD[5] at group_by_key_into []\n{below}"));
    let joined = sc.range_n(0..4, 2).map(|i| (i, i)).join_into(&groups, 5);
    let above = "\
(5) CoGroupedRDD[8] at join_into []
 |  Shuffled by key into 5 [shuffle 2]
 |  Shuffled by key into 5 [shuffle 3]
 +-(2) MapPartitionsRDD[7] at map []
 |  |  ParallelCollectionRDD[6] at range_n []
 +-(3) ShuffledRDD[5] at group_by_key_into []
";
    let further = below.lines().map(|line| format!("   {line}\n")).collect::<String>();
    assert_eq!(lineage(&joined), format!("{above}{further}"));
    let own = format!(
        "(2) MapPartitionsRDD[2] at cache [Memory Deserialized 1x Replicated]
 |       {held}
 |  MapPartitionsRDD[1] at map []
 |  ParallelCollectionRDD[0] at range_n []
"
    );
    assert_eq!(lineage(&kept), own);
}

#[test]
fn a_lineage_of_many_shuffles_has_short_lines() {
    let mut rdd = local4().range_n(0..4, 2).map(|i| (i, i)).erase();
    for _ in 0..200 {
        rdd = rdd.map(|(k, v)| (v, k)).reduce_by_key(|a, b| a + b).erase();
    }
    let text = rdd.to_debug_string();
    assert_eq!(text.matches("Shuffled").count(), 200);
    assert!(text.lines().all(|line| line.len() < 250), "{}", text.lines().map(str::len).max().unwrap());
}
