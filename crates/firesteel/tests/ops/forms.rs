//! The forms of the families: environments, references, users' errors.

use crate::masters::local4;
use firesteel::prelude::*;

fn pairs() -> Rdd<(i64, i64)> {
    local4().parallelize_n([(1, 1), (2, 5), (1, 2), (2, 7), (1, 3)], 2).erase()
}

fn sorted<T: Data + Ord, P: Pipeline<Item = T>>(rdd: &Rdd<T, P>) -> Vec<T> {
    let mut all = rdd.collect().unwrap();
    all.sort();
    all
}

#[test]
fn keyed_aggregations_take_environments() {
    assert_eq!(sorted(&pairs().fold_by_key_with(1, 0, |k, a, b| a + b * k)), [(1, 6), (2, 12)]);
    assert_eq!(sorted(&pairs().fold_by_key_into_with(3, 1, 0, |k, a, b| a + b * k)), [(1, 6), (2, 12)]);
    assert_eq!(sorted(&pairs().aggregate_by_key_with(10, 0, |k, a, v| a + v * k, |a, b| a + b)), [(1, 60), (2, 120)]);
    let into = pairs().aggregate_by_key_into_with(3, 10, 0, |k, a, v| a + v * k, |a, b| a + b);
    assert_eq!((sorted(&into), into.num_partitions().unwrap()), (vec![(1, 60), (2, 120)], 3));
    let combined = pairs().combine_by_key_with(10, |k, v| v * k, |k, a, v| a + v * k, |_, a, b| a + b);
    assert_eq!(sorted(&combined), [(1, 60), (2, 120)]);
    let into = pairs().combine_by_key_into_with(3, 10, |k, v| v * k, |k, a, v| a + v * k, |_, a, b| a + b);
    assert_eq!(sorted(&into), [(1, 60), (2, 120)]);
    assert_eq!(pairs().reduce_by_key_locally_with(1, |k, a, b| a + b * k).unwrap()[&1], 6);
}

#[test]
fn groups_take_environments_and_partitioners() {
    let rdd = local4().range_n(0..6, 3);
    let expected = vec![(0, vec![0, 2, 4]), (1, vec![1, 3, 5])];
    assert_eq!(sorted(&rdd.group_by(|i| i % 2)), expected);
    assert_eq!(sorted(&rdd.group_by_with(2, |by, i| i % by)), expected);
    let into = rdd.group_by_into(HashPartitioner::new(5), |i| i % 2);
    assert_eq!((sorted(&into), into.num_partitions().unwrap()), (expected.clone(), 5));
    assert_eq!(sorted(&rdd.group_by_into_with(5, 2, |by, i| i % by)), expected);
    let other = local4().parallelize_n([(1, 'a')], 1);
    assert_eq!(pairs().group_with(&other).collect_as_map().unwrap()[&1], (vec![1, 2, 3], vec!['a']));
    assert_eq!(pairs().group_with2(&other, &other).count().unwrap(), 2);
    assert_eq!(pairs().group_with3(&other, &other, &other).count().unwrap(), 2);
}

#[test]
fn sorts_take_environments() {
    let rdd = local4().range_n(0..6, 3);
    assert_eq!(rdd.sort_by_with(3, |by, i| (i % by, *i), true).collect().unwrap(), [0, 3, 1, 4, 2, 5]);
    assert_eq!(rdd.sort_by_n_with(3, |by, i| (i % by, *i), false, 2).collect().unwrap(), [5, 2, 4, 1, 3, 0]);
}

#[test]
fn users_errors_fail_with_their_text() {
    let rdd = local4().range_n(0..6, 3);
    let odd = |e: Error| assert!(e.to_string().contains("no five"), "{e}");
    assert_eq!(rdd.filter(|i| *i < 5).try_map_ref(|i| Ok::<_, String>(i + 1)).sum().unwrap(), 15.0);
    odd(rdd.try_map_ref(|i| if *i == 5 { Err("no five") } else { Ok(*i) }).count().unwrap_err());
    odd(rdd.try_map_ref_with(5, |five, i| if i == five { Err("no five") } else { Ok(*i) }).count().unwrap_err());
    odd(rdd.try_flat_map(|i| if i == 5 { Err("no five") } else { Ok(0..i) }).count().unwrap_err());
    odd(rdd.try_flat_map_with(5, |five, i| if i == *five { Err("no five") } else { Ok(0..i) }).count().unwrap_err());
    odd(rdd.try_filter_with(5, |five, i| if i == five { Err("no five") } else { Ok(true) }).count().unwrap_err());
    odd(rdd.try_filter_map(|i| if i == 5 { Err("no five") } else { Ok(Some(i)) }).count().unwrap_err());
    odd(rdd.try_filter_map_with(5, |f, i| if i == *f { Err("no five") } else { Ok(Some(i)) }).count().unwrap_err());
    odd(rdd.try_for_each_ref(|i| if *i == 5 { Err("no five") } else { Ok(()) }).unwrap_err());
    let trying = rdd.try_map_partitions(|mut items| if items.any(|i| i == 5) { Err("no five") } else { Ok([0]) });
    odd(trying.count().unwrap_err());
    let trying = rdd.try_map_partitions_with_index(|at, _| if at == 2 { Err("no five") } else { Ok([at]) });
    odd(trying.count().unwrap_err());
    let trying =
        rdd.try_map_partitions_with_index_with(2, |no, at, _| if at == *no { Err("no five") } else { Ok([at]) });
    odd(trying.count().unwrap_err());
    let trying = rdd.try_flat_map_emit(|i, out| {
        out.emit(*i);
        if *i == 5 { Err("no five") } else { Ok(()) }
    });
    odd(trying.count().unwrap_err());
    let trying = rdd.try_flat_map_emit_with(5, |f, i, out| {
        out.emit(*i);
        if i == f { Err("no five") } else { Ok(()) }
    });
    odd(trying.count().unwrap_err());
    odd(rdd.try_for_each_partition(|mut all| if all.any(|i| i == 5) { Err("no five") } else { Ok(()) }).unwrap_err());
    let trying =
        rdd.try_for_each_partition_with(5, |f, mut all| if all.any(|i| i == *f) { Err("no five") } else { Ok(()) });
    odd(trying.unwrap_err());
    let pairs = rdd.map(|i| (i, i));
    odd(pairs.try_map_values_ref(|i| if *i == 5 { Err("no five") } else { Ok(*i) }).count().unwrap_err());
    odd(pairs.try_map_values_ref_with(5, |f, i| if i == f { Err("no five") } else { Ok(*i) }).count().unwrap_err());
    odd(pairs.try_flat_map_values_with(5, |f, i| if i == *f { Err("no five") } else { Ok([i]) }).count().unwrap_err());
    odd(pairs.try_map_values(|i| if i == 5 { Err("no five") } else { Ok(i) }).count().unwrap_err());
    odd(pairs.try_map_values_with(5, |f, i| if i == *f { Err("no five") } else { Ok(i) }).count().unwrap_err());
    odd(pairs.try_flat_map_values(|i| if i == 5 { Err("no five") } else { Ok([i]) }).count().unwrap_err());
}

#[test]
fn values_can_be_looked_at_where_they_lie() {
    let kept = pairs().partition_by(2).cache();
    let doubled = kept.map_values_ref(|v| v * 2);
    assert_eq!(sorted(&doubled.values()), [2, 4, 6, 10, 14]);
    assert_eq!(doubled.partitioner().unwrap(), kept.partitioner().unwrap());
    assert_eq!(sorted(&kept.map_values_ref_with(3, |by, v| v * by).values()), [3, 6, 9, 15, 21]);
    let twice = kept.flat_map_values_ref(|v| [*v, *v]);
    assert_eq!((twice.count().unwrap(), twice.partitioner().unwrap()), (10, kept.partitioner().unwrap()));
    assert_eq!(sorted(&kept.flat_map_values_ref_with(5, |most, v| (v < most).then_some(*v)).values()), [1, 2, 3]);
}

#[test]
fn distinct_values_are_counted_by_key() {
    let rdd = local4().range_n(0..6_000, 4).map(|i| (i % 3, i / 3 % 100));
    let counts = rdd.count_approx_distinct_by_key(0.02);
    for (key, about) in counts.collect().unwrap() {
        assert!((90..110).contains(&about), "{about} values of {key}");
    }
    assert!(counts.partitioner().unwrap().is_some());
    assert_eq!(rdd.count_approx_distinct_by_key_into(7, 0.05).num_partitions().unwrap(), 7);
    let e = rdd.count_approx_distinct_by_key_p_into(7, 3).count().unwrap_err().to_string();
    assert!(e.contains("p (3)"), "{e}");
    let finer = rdd.count_approx_distinct_by_key_p_into(7, 12);
    assert_eq!((finer.count().unwrap(), finer.num_partitions().unwrap()), (counts.count().unwrap(), 7));
    let about = local4().range(0..100_000).map(|i| i % 5_000).count_approx_distinct_p(12).unwrap();
    assert!((4_700..5_300).contains(&about), "{about}");
    assert!(local4().range(0..3).count_approx_distinct_p(33).is_err());
    let e = rdd.count_approx_distinct_by_key(0.0).count().unwrap_err().to_string();
    assert!(e.contains("must be greater than 0.000017"), "{e}");
    assert!(local4().range(0..3).count_approx_distinct(0.000017).is_err());
    assert_eq!(local4().empty_rdd::<u64>().count_approx_distinct(0.05).unwrap(), 0);
}
