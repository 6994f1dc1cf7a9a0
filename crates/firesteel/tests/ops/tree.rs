//! Actions that combine in levels.

use crate::masters::{Watched, any_context, any_partitions, config, kept, local4, spread};
use firesteel::prelude::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_tree_gives_what_a_flat_action_gives(
        sc in any_context(),
        items in prop::collection::vec(-50i64..50, 0..40),
        n in prop_oneof![any_partitions(), Just(20)],
        depth in 1usize..4,
    ) {
        let rdd = spread(&sc, &items, n);
        let items = kept(&items, n);
        // Appending lists shows the order in which parts are merged within a level.
        let mut all = rdd.tree_aggregate_depth(Vec::new(), |mut v, x| { v.push(x); v }, |mut a, b| { a.extend(b); a }, depth)?;
        let mut expected = items.clone();
        if depth > 1 {
            all.sort();
            expected.sort();
        }
        prop_assert_eq!(all, expected);
        prop_assert_eq!(rdd.tree_aggregate_ref(0i64, |a, x| a + x, |a, b| a + b)?, items.iter().sum::<i64>());
        match rdd.tree_reduce_depth(|a, b| a.max(b), depth) {
            Err(Error::EmptyRdd) => prop_assert!(items.is_empty()),
            other => prop_assert_eq!(Some(other?), items.iter().copied().max()),
        }
    }
}

#[test]
fn levels_have_as_many_tasks_as_sparks() {
    let watched = Watched::new("local[4]", &[]);
    let twenty = watched.context.range_n(0..20, 20);
    for (depth, stages) in [(1, vec![20]), (2, vec![20, 4]), (3, vec![20, 6, 2])] {
        assert_eq!(twenty.tree_reduce_depth(|a, b| a + b, depth).unwrap(), 190);
        assert_eq!(watched.ran(), [stages], "depth {depth}");
    }
    let four = watched.context.range_n(0..20, 4);
    assert_eq!(four.tree_aggregate(0, |a, x| a + x, |a, b| a + b).unwrap(), 190);
    assert_eq!(watched.ran(), [[4]]);
}

#[test]
fn a_zero_that_is_not_neutral_counts_at_every_level() {
    let none = local4().range_n(0..20, 20).map(|_| 0u64);
    assert_eq!(none.tree_aggregate(1, |a, x| a + x, |a, b| a + b).unwrap(), 45);
    assert_eq!(none.tree_aggregate_depth(1, |a, x| a + x, |a, b| a + b, 1).unwrap(), 41);
    assert_eq!(local4().empty_rdd::<u64>().tree_aggregate(7, |a, x| a + x, |a, b| a + b).unwrap(), 7);
}

#[test]
fn a_tree_without_depth_is_an_error() {
    let rdd = local4().range(0..3);
    let e = rdd.tree_reduce_depth(|a, b| a + b, 0).unwrap_err().to_string();
    assert!(e.contains("greater than or equal to 1"), "{e}");
    assert!(rdd.tree_aggregate_depth(0, |a, x| a + x, |a, b| a + b, 0).is_err());
    assert!(matches!(local4().empty_rdd::<u64>().tree_reduce(|a, b| a + b), Err(Error::EmptyRdd)));
}

#[test]
fn an_environment_comes_first_in_a_tree() {
    let rdd = local4().range_n(0..10, 5);
    assert_eq!(rdd.tree_aggregate_with(2, 0, |by, a, x| a + by * x, |a, b| a + b).unwrap(), 90);
    assert_eq!(rdd.tree_aggregate_ref_with(2, 0, |by, a, x| a + by * x, |a, b| a + b).unwrap(), 90);
    assert_eq!(rdd.tree_aggregate_depth_with(2, 0, |by, a, x| a + by * x, |a, b| a + b, 3).unwrap(), 90);
    assert_eq!(rdd.tree_reduce_with(100, |most, a, b| (a + b).min(*most)).unwrap(), 45);
    assert_eq!(rdd.tree_reduce_depth_with(40, |most, a, b| (a + b).min(*most), 3).unwrap(), 40);
}

#[test]
fn the_last_merge_of_a_tree_can_be_a_task() {
    let watched = Watched::new("local[4]", &[]);
    let twenty = watched.context.range_n(0..20, 20);
    assert_eq!(twenty.tree_aggregate_on_executor(0, |a, x| a + x, |a, b| a + b, 2).unwrap(), 190);
    assert_eq!(watched.ran(), [[20, 4, 1]]);
    let one = watched.context.range_n(0..20, 1);
    assert_eq!(one.tree_aggregate_on_executor(0, |a, x| a + x, |a, b| a + b, 2).unwrap(), 190);
    assert_eq!(watched.ran(), [[1]]);
}
