//! Actions: what comes to the driver, in which order, and how much is looked at for it.

use crate::masters::{Watched, any_context, any_partitions, config, kept, local4, slices, spread};
use firesteel::prelude::*;
use proptest::prelude::*;
use std::collections::HashMap;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn actions_give_what_the_plain_items_give(
        sc in any_context(),
        items in prop::collection::vec(-9i64..9, 0..50),
        n in any_partitions(),
        wanted in 0usize..60,
    ) {
        let rdd = spread(&sc, &items, n);
        let items = kept(&items, n);
        prop_assert_eq!(&rdd.collect()?, &items);
        prop_assert_eq!(rdd.count()?, items.len() as u64);
        prop_assert_eq!(rdd.is_empty()?, items.is_empty());
        prop_assert_eq!(&rdd.take(wanted)?[..], &items[..wanted.min(items.len())]);
        prop_assert_eq!(rdd.to_local_iterator().collect::<Result<Vec<_>>>()?, items.clone());
        let or_empty = |found: Result<i64>| match found {
            Err(Error::EmptyRdd) => Ok(None),
            other => other.map(Some),
        };
        prop_assert_eq!(or_empty(rdd.first())?, items.first().copied());
        prop_assert_eq!(or_empty(rdd.max())?, items.iter().copied().max());
        prop_assert_eq!(or_empty(rdd.min())?, items.iter().copied().min());
        prop_assert_eq!(or_empty(rdd.reduce(|a, b| a - b))?.is_some(), !items.is_empty());
        let mut up = items.clone();
        up.sort();
        prop_assert_eq!(&rdd.take_ordered(wanted)?[..], &up[..wanted.min(up.len())]);
        up.reverse();
        prop_assert_eq!(&rdd.top(wanted)?[..], &up[..wanted.min(up.len())]);
        let mut counts: HashMap<i64, u64> = HashMap::new();
        items.iter().for_each(|x| *counts.entry(*x).or_default() += 1);
        prop_assert_eq!(rdd.count_by_value()?, counts);
        let sum: i64 = items.iter().sum();
        prop_assert_eq!(rdd.fold(1, |a, b| a + b)?, sum + n as i64 + 1);
        prop_assert_eq!(rdd.fold_with(2, 0, |by, a, b| a + by * b - (by - 1) * b)?, sum);
        prop_assert_eq!(rdd.aggregate_ref(1, |a, x| a + x, |a, b| a + b)?, sum + n as i64 + 1);
        prop_assert_eq!(rdd.aggregate(Vec::new(), |mut v, x| { v.push(x); v }, |mut a, b| { a.extend(b); a })?, items);
    }

    #[test]
    fn of_equal_elements_the_first_are_chosen(
        sc in any_context(),
        items in prop::collection::vec((0i64..4, any::<i64>()), 1..40),
        n in 1usize..8,
        wanted in 1usize..10,
    ) {
        let rdd = spread(&sc, &items, n);
        let mut up = items.clone();
        up.sort_by_key(|x| x.0);
        let mut down = items.clone();
        down.sort_by_key(|x| std::cmp::Reverse(x.0));
        let wanted = wanted.min(items.len());
        prop_assert_eq!(&rdd.take_ordered_by(wanted, |a, b| a.0.cmp(&b.0))?[..], &up[..wanted]);
        prop_assert_eq!(&rdd.top_by(wanted, |a, b| a.0.cmp(&b.0))?[..], &down[..wanted]);
        let signed = (1i64, 2i64);
        prop_assert_eq!(&rdd.take_ordered_by_with(signed, wanted, |s, a, b| (a.0 * s.0).cmp(&(b.0 * s.0)))?[..], &up[..wanted]);
        prop_assert_eq!(&rdd.top_by_with(signed, wanted, |s, a, b| (a.0 * s.1).cmp(&(b.0 * s.1)))?[..], &down[..wanted]);
        prop_assert_eq!(rdd.min_by_with(signed, |s, a, b| (a.0 * s.0).cmp(&(b.0 * s.0)))?, up[0]);
        prop_assert_eq!(rdd.max_by_with(signed, |s, a, b| (a.0 * s.0).cmp(&(b.0 * s.0)))?, down[0]);
        prop_assert_eq!(rdd.min_by(|a, b| a.0.cmp(&b.0))?, up[0]);
        prop_assert_eq!(rdd.max_by(|a, b| a.0.cmp(&b.0))?, down[0]);
    }

    #[test]
    fn every_element_is_met_once(
        sc in any_context(),
        items in prop::collection::vec(-9i64..9, 0..50),
        n in any_partitions(),
    ) {
        let rdd = spread(&sc, &items, n);
        let met = sc.collection_accumulator::<i64>("met");
        rdd.for_each_with(met.clone(), |met, x| met.add(vec![x]))?;
        rdd.for_each_ref_with(met.clone(), |met, x| met.add(vec![*x]))?;
        rdd.for_each_partition_with(met.clone(), |met, items| met.add(items.collect()))?;
        rdd.try_for_each_with(met.clone(), |met, x| { met.add(vec![x]); Ok::<(), String>(()) })?;
        rdd.try_for_each_ref_with(met.clone(), |met, x| { met.add(vec![*x]); Ok::<(), String>(()) })?;
        rdd.for_each_async_with(met.clone(), |met, x| met.add(vec![x])).get()?;
        rdd.for_each_partition_async_with(met.clone(), |met, items| met.add(items.collect())).get()?;
        let mut met = met.value();
        let mut expected = kept(&items, n).repeat(7);
        met.sort();
        expected.sort();
        prop_assert_eq!(met, expected);
    }

    #[test]
    fn about_as_many_are_different_as_are_different(
        sc in any_context(),
        items in prop::collection::vec(0u32..2_000, 0..3_000),
        n in any_partitions(),
    ) {
        let rdd = spread(&sc, &items, n);
        let mut items = kept(&items, n);
        items.sort();
        items.dedup();
        let about = rdd.count_approx_distinct(0.02)? as f64;
        prop_assert!((about - items.len() as f64).abs() <= 0.1 * items.len() as f64 + 0.5, "{} of {}", about, items.len());
    }
}

#[test]
fn fold_counts_its_zero_in_every_partition_and_once_more() {
    assert_eq!(local4().range_n(1..11, 3).fold(1, |a, b| a + b).unwrap(), 59);
    assert_eq!(local4().empty_rdd::<u64>().fold(7, |a, b| a + b).unwrap(), 7);
    assert_eq!(local4().empty_rdd::<u64>().aggregate(7, |a, b| a + b, |a, b| a + b).unwrap(), 7);
}

#[test]
fn what_needs_an_element_says_that_there_is_none() {
    let none = local4().parallelize_n(Vec::<i64>::new(), 3);
    assert!(matches!(none.first(), Err(Error::EmptyRdd)));
    assert!(matches!(none.reduce(|a, b| a + b), Err(Error::EmptyRdd)));
    assert!(matches!(none.max(), Err(Error::EmptyRdd)));
    assert!(matches!(none.min(), Err(Error::EmptyRdd)));
    assert!(none.take(5).unwrap().is_empty() && none.top(5).unwrap().is_empty());
}

#[test]
fn take_grows_by_need() {
    let watched = Watched::new("local[2]", &[]);
    let ones = watched.context.range_n(0..20, 20);
    assert_eq!(ones.take(10).unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(watched.ran(), [[1], [4], [8]]);
    // Nothing found: four times as many as were looked at.
    assert_eq!(ones.filter(|i| *i > 18).take(1).unwrap(), [19]);
    assert_eq!(watched.ran(), [[1], [4], [15]]);
    assert_eq!(ones.take(0).unwrap(), [0u64; 0]);
    assert!(watched.context.empty_rdd::<u64>().is_empty().unwrap());
    assert!(watched.ran().is_empty());
}

#[test]
fn take_leaves_a_partition_as_soon_as_it_has_enough() {
    let sc = Context::builder().master("local[1]").build().unwrap();
    let seen = sc.long_accumulator("seen");
    let rdd = sc.range_n(0..1_000_000, 1).map_with(seen.clone(), |seen, i| {
        seen.add(1);
        i
    });
    assert_eq!(rdd.take(3).unwrap(), [0, 1, 2]);
    assert_eq!(seen.value(), 3);
}

#[test]
fn a_local_iterator_runs_a_job_for_each_partition_that_is_reached() {
    let watched = Watched::new("local[2]", &[]);
    let mut items = watched.context.range_n(0..9, 3).to_local_iterator();
    assert!(watched.ran().is_empty());
    assert_eq!(items.by_ref().take(4).map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(watched.ran(), [[1], [1]]);
    assert_eq!(items.count(), 5);
    assert_eq!(watched.ran(), [[1]]);
}

#[test]
fn a_local_iterator_ends_after_an_error() {
    let bad = local4().range_n(0..4, 2).try_map(|i| if i == 2 { Err("two") } else { Ok(i) });
    let items: Vec<Result<u64>> = bad.to_local_iterator().collect();
    assert_eq!(items.len(), 3);
    assert!(items[2].as_ref().unwrap_err().to_string().contains("two"));
}

#[test]
fn counts_shuffle_and_locally_merged_values_do_not() {
    let watched = Watched::new("local[2]", &[]);
    let pairs = watched.context.range_n(0..30, 3).map(|i| (i % 4, i));
    assert_eq!(pairs.keys().count_by_value().unwrap()[&3], 7);
    assert_eq!(watched.ran(), [[3, 3]]);
    assert_eq!(pairs.count_by_key().unwrap()[&0], 8);
    assert_eq!(watched.ran(), [[3, 3]]);
    assert_eq!(pairs.reduce_by_key_locally(|a, b| a.max(b)).unwrap()[&3], 27);
    assert_eq!(pairs.collect_as_map().unwrap()[&3], 27);
    assert_eq!(watched.ran(), [[3], [3]]);
}

#[test]
fn for_each_partition_is_called_for_empty_partitions_too() {
    let calls = local4().long_accumulator("calls");
    local4()
        .parallelize_n(Vec::<i64>::new(), 3)
        .for_each_partition_with(calls.clone(), |calls, items| {
            calls.add(1);
            assert_eq!(items.count(), 0);
        })
        .unwrap();
    assert_eq!(calls.value(), 3);
}

#[test]
fn a_users_error_fails_the_action_with_its_text() {
    let e = local4().range(0..3).try_for_each(|i| if i == 1 { Err("one is odd") } else { Ok(()) }).unwrap_err();
    assert!(e.to_string().contains("one is odd"), "{e}");
}

#[test]
fn collect_keeps_the_order_of_partitions() {
    let rdd = local4().parallelize_n((0..100).collect::<Vec<i32>>(), 13);
    assert_eq!(rdd.collect().unwrap(), (0..100).collect::<Vec<_>>());
    let parts = local4().run_job(&rdd, |items| items.collect::<Vec<_>>()).unwrap();
    assert_eq!(parts, slices(&(0..100).collect::<Vec<i32>>(), 13));
}
