//! Into how many partitions, and who keeps a partitioner.

use crate::{masters::local4, model::parts};
use firesteel::prelude::*;
use serde::{Deserialize, Serialize};

type Pairs = Rdd<(u64, u64)>;

fn pairs(sc: &Context, n: usize) -> Pairs {
    sc.range_n(0..400, n).map(|i| (i % 200, i)).erase()
}

fn count<T: 'static, P: Pipeline<Item = T>>(rdd: &Rdd<T, P>) -> usize {
    rdd.num_partitions().unwrap()
}

fn spread<T: 'static, P: Pipeline<Item = T>>(rdd: &Rdd<T, P>) -> bool {
    rdd.partitioner().unwrap().is_some()
}

#[test]
fn a_partitioner_within_an_order_of_magnitude_is_used() {
    let sc = local4();
    for (placed, plain, joined) in [
        (10, 100, 100),
        (11, 100, 11),
        (5, 50, 5),
        (4, 6, 4),
        (1, 200, 200),
        (1, 9, 1),
        (1, 10, 10),
        (8, 8, 8),
        (20, 3, 20),
    ] {
        let (a, b) = (pairs(sc, 2).partition_by(placed), pairs(sc, plain));
        assert_eq!(count(&a.join(&b)), joined, "{placed} with {plain}");
        assert_eq!(count(&b.cogroup(&a)), joined, "{plain} with {placed}");
        assert_eq!(a.join(&b).partitioner().unwrap() == a.partitioner().unwrap(), joined == placed);
    }
    // The largest of several.
    let (few, many) = (pairs(sc, 2).partition_by(3), pairs(sc, 2).partition_by(7));
    assert_eq!(count(&few.cogroup2(&many, &pairs(sc, 30))), 7);
    assert_eq!(count(&few.join(&many)), 7);
}

#[test]
fn the_parallelism_that_is_set_wins_over_the_parents() {
    let sc = Context::builder().master("local[2]").conf("firesteel.default.parallelism", 6).build().unwrap();
    assert_eq!(sc.default_parallelism(), 6);
    let (plain, few) = (pairs(&sc, 200), pairs(&sc, 2));
    // A partitioner that is too small for the parents, but not smaller than what would be used instead, stays.
    assert_eq!(count(&few.partition_by(8).join(&plain)), 8);
    assert_eq!(count(&few.partition_by(5).join(&plain)), 6);
    for n in [2, 20] {
        let rdd = pairs(&sc, n);
        assert_eq!(count(&rdd.reduce_by_key(|a, b| a + b)), 6);
        assert_eq!(count(&rdd.group_by_key()), 6);
        assert_eq!(count(&rdd.fold_by_key(0, |a, b| a + b)), 6);
        assert_eq!(count(&rdd.aggregate_by_key(0, |a, b| a + b, |a, b| a + b)), 6);
        assert_eq!(count(&rdd.combine_by_key(|v| v, |a, b| a + b, |a, b| a + b)), 6);
        assert_eq!(count(&rdd.group_by(|pair| pair.0)), 6);
        assert_eq!(count(&rdd.join(&few)), 6);
        assert_eq!(count(&rdd.cogroup(&few)), 6);
        assert_eq!(count(&rdd.intersection(&few)), 6);
        assert_eq!(count(&rdd.distinct()), n);
        assert_eq!(count(&rdd.sort_by(|pair| pair.1, true)), n);
        assert_eq!(count(&rdd.sort_by_key(true)), n);
        assert_eq!(count(&rdd.subtract(&few)), n);
        assert_eq!(count(&rdd.subtract_by_key(&few)), n);
    }
    let none = sc.empty_rdd::<(u64, u64)>();
    assert_eq!(count(&none.reduce_by_key(|a, b| a + b)), 6);
    assert_eq!(count(&none.distinct()), 0);
}

#[test]
fn of_no_partitions_nothing_is_made_but_what_is_asked_for() {
    let none = local4().empty_rdd::<(u64, u64)>();
    assert_eq!(count(&none), 0);
    assert_eq!(count(&none.reduce_by_key(|a, b| a + b)), 0);
    assert_eq!(count(&none.join(&none)), 0);
    assert_eq!(count(&none.distinct()), 0);
    assert_eq!(count(&none.subtract_by_key(&pairs(local4(), 3))), 0);
    assert_eq!(count(&none.coalesce(4)), 0);
    assert_eq!(count(&none.repartition(4)), 4);
    assert_eq!(count(&none.reduce_by_key_into(3, |a, b| a + b)), 3);
    assert_eq!(count(&none.sort_by_key(true)), 1);
    assert_eq!(none.repartition(4).collect().unwrap(), []);
}

#[test]
fn a_sort_has_no_more_partitions_than_its_keys_tell_apart() {
    let sc = local4();
    let equal = sc.range_n(0..10, 4).map(|i| (7u64, i));
    assert_eq!(count(&equal.sort_by_key_n(true, 4)), 2);
    assert_eq!(parts(&equal.sort_by_key_n(true, 4)).unwrap().iter().filter(|part| !part.is_empty()).count(), 1);
    assert_eq!(count(&sc.range_n(5..6, 4).sort_by_n(|i| *i, true, 4)), 1);
    assert_eq!(count(&sc.range_n(0..1000, 4).sort_by(|i| *i, true)), 4);
    assert_eq!(count(&sc.range_n(0..1000, 4).sort_by_n(|i| *i, false, 1)), 1);
}

#[test]
fn what_does_not_touch_keys_keeps_the_partitioner() {
    let placed = pairs(local4(), 3).partition_by(5);
    let partitioner = placed.partitioner().unwrap();
    assert!(partitioner.is_some());
    assert_eq!(partitioner, pairs(local4(), 2).partition_by(HashPartitioner::new(5)).partitioner().unwrap());
    assert_eq!(placed.filter(|pair| pair.1 > 3).partitioner().unwrap(), partitioner);
    assert_eq!(placed.filter_with(3, |n, pair| pair.1 > *n).partitioner().unwrap(), partitioner);
    assert_eq!(placed.map_values(|v| v + 1).partitioner().unwrap(), partitioner);
    assert_eq!(placed.map_values_with(1, |n, v| v + n).partitioner().unwrap(), partitioner);
    assert_eq!(placed.flat_map_values(|v| [v, v]).partitioner().unwrap(), partitioner);
    assert_eq!(placed.distinct().partitioner().unwrap(), partitioner);
    assert_eq!(placed.cache().partitioner().unwrap(), partitioner);
    assert_eq!(placed.erase().partitioner().unwrap(), partitioner);
    assert_eq!(placed.union(&placed).partitioner().unwrap(), partitioner);
    assert_eq!(placed.reduce_by_key(|a, b| a + b).partitioner().unwrap(), partitioner);
    assert_eq!(placed.join(&placed).partitioner().unwrap(), partitioner);
    assert_eq!(placed.cogroup(&pairs(local4(), 2)).partitioner().unwrap(), partitioner);
    assert_eq!(placed.subtract_by_key(&pairs(local4(), 9)).partitioner().unwrap(), partitioner);
    assert_eq!(placed.map_partitions(|items| items).preserves_partitioning().partitioner().unwrap(), partitioner);
}

#[test]
fn what_may_change_keys_has_no_partitioner() {
    let placed = pairs(local4(), 3).partition_by(5);
    assert!(!spread(&pairs(local4(), 3)));
    assert!(!spread(&placed.map(|pair| pair)));
    assert!(!spread(&placed.flat_map(|pair| [pair])));
    assert!(!spread(&placed.filter_map(Some)));
    assert!(!spread(&placed.map_partitions(|items| items)));
    assert!(!spread(&placed.keys()));
    assert!(!spread(&placed.values()));
    assert!(!spread(&placed.coalesce(2)));
    assert!(!spread(&placed.repartition(5)));
    assert!(!spread(&placed.glom()));
    assert!(!spread(&placed.union(&pairs(local4(), 2))));
    assert!(!spread(&placed.intersection(&placed)));
    assert!(!spread(&placed.subtract(&pairs(local4(), 2))));
    assert!(!spread(&pairs(local4(), 3).distinct()));
    assert!(!spread(&placed.zip_with_index()));
}

#[test]
fn sorts_by_key_are_spread_by_ranges_and_sorts_by_a_function_by_nothing_known() {
    let rdd = pairs(local4(), 4);
    assert!(spread(&rdd.sort_by_key(true)));
    assert!(!spread(&rdd.sort_by(|pair| pair.0, true)));
    assert!(spread(&rdd.repartition_and_sort_within_partitions(3)));
    assert!(spread(&rdd.group_by_key()));
    assert!(spread(&rdd.group_by(|pair| pair.0)));
    // Other bounds are another partitioner.
    assert_ne!(rdd.sort_by_key(true).partitioner().unwrap(), rdd.sort_by_key(false).partitioner().unwrap());
}

/// Odd keys here, even ones there.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Parity;

impl Partitioner<u64> for Parity {
    fn num_partitions(&self) -> usize {
        2
    }
    fn partition(&self, key: &u64) -> usize {
        (key % 2) as usize
    }
}

/// Says that there are fewer partitions than it uses.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Beyond;

impl Partitioner<u64> for Beyond {
    fn num_partitions(&self) -> usize {
        3
    }
    fn partition(&self, key: &u64) -> usize {
        *key as usize
    }
}

#[test]
fn a_partitioner_of_the_users_own_places_keys() {
    let placed = pairs(local4(), 3).partition_by(Parity);
    let keys = parts(&placed.keys()).unwrap();
    assert!(keys[0].iter().all(|key| key % 2 == 0) && keys[1].iter().all(|key| key % 2 == 1));
    assert_eq!(placed.partitioner().unwrap(), pairs(local4(), 9).group_by_key_into(Parity).partitioner().unwrap());
    assert_ne!(placed.partitioner().unwrap(), pairs(local4(), 9).partition_by(2).partitioner().unwrap());
    assert_eq!(placed.lookup(&7).unwrap(), [7, 207]);
}

#[test]
fn a_key_in_a_partition_that_does_not_exist_fails_the_task() {
    let e = pairs(local4(), 3).partition_by(Beyond).count().unwrap_err().to_string();
    assert!(e.contains("partition") && e.contains('3'), "{e}");
    assert!(pairs(local4(), 3).reduce_by_key_into(Beyond, |a, b| a + b).count().is_err());
}

#[test]
fn no_partitions_are_refused_where_elements_must_go_somewhere() {
    let rdd = pairs(local4(), 3);
    for e in [rdd.repartition(0).count().unwrap_err(), rdd.coalesce_shuffle(0).num_partitions().unwrap_err()] {
        assert!(e.to_string().contains("must be positive"), "{e}");
    }
    assert_eq!(count(&rdd.sort_by_key_n(true, 0)), 1);
}

#[test]
fn sources_have_as_many_partitions_as_there_are_cores() {
    assert_eq!(local4().default_parallelism(), 4);
    assert_eq!(count(&local4().parallelize(0..3)), 4);
    assert_eq!(count(&local4().range(0..3)), 4);
    assert_eq!(count(&local4().parallelize_n(0..3, 11)), 11);
    assert_eq!(count(&local4().union(&[]) as &Rdd<u64>), 0);
}
