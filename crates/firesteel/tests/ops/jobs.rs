//! How many jobs and stages an action runs, and what is computed once.

use crate::masters::{Watched, local4};
use firesteel::prelude::*;

fn watched() -> Watched {
    Watched::new("local[2]", &[])
}

fn pairs(sc: &Context, n: usize) -> Rdd<(u64, u64)> {
    sc.range_n(0..60, n).map(|i| (i % 10, i)).erase()
}

#[test]
fn actions_without_a_shuffle_are_one_stage() {
    let watched = watched();
    let rdd = watched.context.range_n(0..60, 3);
    rdd.count().unwrap();
    rdd.collect().unwrap();
    rdd.reduce(|a, b| a + b).unwrap();
    rdd.fold(0, |a, b| a + b).unwrap();
    rdd.aggregate(0, |a, b| a + b, |a, b| a + b).unwrap();
    rdd.top(2).unwrap();
    rdd.take_ordered(2).unwrap();
    rdd.max().unwrap();
    rdd.min().unwrap();
    rdd.stats().unwrap();
    rdd.sum().unwrap();
    rdd.for_each(|_| ()).unwrap();
    rdd.count_approx_distinct(0.1).unwrap();
    rdd.histogram_buckets(&[0.0, 1.0]).unwrap();
    assert_eq!(watched.ran(), vec![[3]; 14]);
    rdd.histogram(2).unwrap();
    assert_eq!(watched.ran(), [[3], [3]]);
    assert_eq!(rdd.first().unwrap(), 0);
    assert_eq!(watched.ran(), [[1]]);
}

#[test]
fn each_shuffle_is_a_stage_of_its_own() {
    let watched = watched();
    let rdd = pairs(&watched.context, 3);
    rdd.reduce_by_key(|a, b| a + b).count().unwrap();
    assert_eq!(watched.ran(), [[3, 3]]);
    rdd.group_by_key_into(5).count().unwrap();
    assert_eq!(watched.ran(), [[3, 5]]);
    rdd.distinct().count().unwrap();
    assert_eq!(watched.ran(), [[3, 3]]);
    rdd.repartition(4).count().unwrap();
    assert_eq!(watched.ran(), [[3, 4]]);
    rdd.join(&pairs(&watched.context, 2)).count().unwrap();
    let mut stages = watched.ran().remove(0);
    assert_eq!(stages.pop(), Some(3));
    stages.sort();
    assert_eq!(stages, [2, 3]);
    rdd.reduce_by_key(|a, b| a + b).map(|(k, v)| (v, k)).group_by_key_into(2).count().unwrap();
    assert_eq!(watched.ran(), [[3, 3, 2]]);
}

#[test]
fn a_sort_samples_its_keys_in_a_job_of_its_own_at_the_first_action() {
    let watched = watched();
    let sorted = pairs(&watched.context, 3).sort_by_key(true);
    assert!(watched.ran().is_empty());
    sorted.count().unwrap();
    assert_eq!(watched.ran(), [vec![3], vec![3, 3]]);
    sorted.count().unwrap();
    assert_eq!(watched.ran(), [[3]]);
    // Nothing to sample where there is one partition.
    pairs(&watched.context, 3).sort_by_n(|pair| pair.1, false, 1).count().unwrap();
    assert_eq!(watched.ran(), [[3, 1]]);
    pairs(&watched.context, 3).repartition_and_sort_within_partitions(2).count().unwrap();
    assert_eq!(watched.ran(), [[3, 2]]);
}

#[test]
fn a_shuffle_that_exists_is_skipped() {
    let watched = watched();
    let met = watched.context.long_accumulator("met");
    let sums = pairs(&watched.context, 3)
        .map_with(met.clone(), |met, pair| {
            met.add(1);
            pair
        })
        .reduce_by_key(|a, b| a + b);
    sums.count().unwrap();
    sums.collect().unwrap();
    sums.map_values(|v| v + 1).filter(|pair| pair.1 > 3).count().unwrap();
    assert_eq!(watched.ran(), [vec![3, 3], vec![3], vec![3]]);
    assert_eq!(met.value(), 60);
    // Both sides of a join are the same shuffle.
    let again = pairs(&watched.context, 3)
        .map_with(met.clone(), |met, pair| {
            met.add(1);
            pair
        })
        .group_by_key();
    again.map_values(|v| v.len()).join(&again).count().unwrap();
    assert_eq!((watched.ran(), met.value()), (vec![vec![3, 3]], 120));
}

#[test]
fn a_shuffle_below_a_kept_rdd_is_not_asked_for() {
    let watched = watched();
    let kept = pairs(&watched.context, 3).reduce_by_key(|a, b| a + b).cache();
    kept.count().unwrap();
    assert_eq!(watched.ran(), [[3, 3]]);
    kept.map(|(k, v)| (v, k)).reduce_by_key_into(2, |a, b| a + b).count().unwrap();
    assert_eq!(watched.ran(), [[3, 2]]);
}

#[test]
fn what_lies_right_is_not_moved() {
    let watched = watched();
    let placed = pairs(&watched.context, 3).partition_by(4);
    placed.count().unwrap();
    watched.ran();
    placed.partition_by(4).count().unwrap();
    placed.partition_by(HashPartitioner::new(4)).reduce_by_key(|a, b| a + b).count().unwrap();
    placed.group_by_key().count().unwrap();
    placed.fold_by_key(0, |a, b| a + b).count().unwrap();
    placed.distinct().count().unwrap();
    placed.join(&placed.map_values(|v| v + 1)).count().unwrap();
    placed.cogroup2(&placed, &placed.filter(|pair| pair.1 > 3)).count().unwrap();
    placed.subtract_by_key(&placed).count().unwrap();
    placed.union(&placed).count().unwrap();
    placed.keys().count().unwrap();
    assert_eq!(watched.ran(), vec![[4]; 10]);
    // The other side alone is moved.
    placed.join(&pairs(&watched.context, 3)).count().unwrap();
    assert_eq!(watched.ran(), [[3, 4]]);
    placed.partition_by(5).count().unwrap();
    assert_eq!(watched.ran(), [[4, 5]]);
}

#[test]
fn a_lookup_looks_at_one_partition_where_it_knows_which() {
    let watched = watched();
    let rdd = pairs(&watched.context, 3);
    assert_eq!(rdd.lookup(&7).unwrap(), [7, 17, 27, 37, 47, 57]);
    assert_eq!(watched.ran(), [[3]]);
    let placed = rdd.partition_by(4).cache();
    placed.count().unwrap();
    watched.ran();
    assert_eq!(placed.lookup(&7).unwrap(), [7, 17, 27, 37, 47, 57]);
    assert!(placed.lookup(&77).unwrap().is_empty());
    let sorted = rdd.sort_by_key_n(true, 4);
    sorted.count().unwrap();
    watched.ran();
    assert_eq!(sorted.lookup(&3).unwrap().len(), 6);
    assert_eq!(watched.ran(), [[1]]);
}

#[test]
fn an_action_on_no_partitions_is_a_job_without_tasks() {
    let watched = watched();
    let (told, jobs) = std::sync::mpsc::channel();
    let listener = watched.context.add_listener(move |event: &firesteel::events::Event| {
        if let firesteel::events::Event::JobEnd(_) = event {
            let _ = told.send(());
        }
    });
    let none = watched.context.empty_rdd::<u64>();
    assert!(none.is_empty().unwrap());
    assert_eq!((none.count().unwrap(), none.collect().unwrap()), (0, vec![]));
    watched.context.range_n(0..1, 1).count().unwrap();
    assert_eq!(watched.ran(), [[1]]);
    // Three jobs have ended by the time that the context has.
    watched.context.stop().unwrap();
    drop(listener);
    assert_eq!(jobs.try_iter().count(), 3);
}

#[test]
fn nothing_runs_before_an_action() {
    let watched = watched();
    let rdd = pairs(&watched.context, 3).map_values(|v| v + 1).reduce_by_key(|a, b| a + b).cache();
    let _ = (rdd.num_partitions().unwrap(), rdd.to_debug_string(), rdd.partitioner().unwrap());
    assert!(watched.ran().is_empty());
}

#[test]
fn errors_of_nothing_are_in_sparks_words() {
    let none = local4().empty_rdd::<u64>();
    for e in [
        none.reduce(|a, b| a + b).unwrap_err(),
        none.tree_reduce(|a, b| a + b).unwrap_err(),
        none.first().unwrap_err(),
        none.max().unwrap_err(),
        none.min().unwrap_err(),
        none.max_by(|a, b| a.cmp(b)).unwrap_err(),
        none.min_by(|a, b| a.cmp(b)).unwrap_err(),
        none.stats().unwrap_err(),
    ] {
        assert!(e.to_string().contains("empty collection"), "{e}");
    }
}

#[test]
fn shuffles_that_were_let_go_are_made_again() {
    let watched = watched();
    let sums = pairs(&watched.context, 3).reduce_by_key(|a, b| a + b);
    let first = sums.collect().unwrap();
    let twice = sums.map(|(k, v)| (v, k)).group_by_key_into(2);
    twice.count().unwrap();
    assert_eq!(watched.ran(), [vec![3, 3], vec![3, 2]]);
    twice.clean_shuffle_dependencies(true).unwrap();
    twice.clean_shuffle_dependencies(false).unwrap();
    twice.count().unwrap();
    assert_eq!(watched.ran(), [[3, 3, 2]]);
    assert_eq!(sums.collect().unwrap(), first);
    assert_eq!(watched.ran(), [[3]]);
    // A kept RDD needs what is below it no more, and keeps it all the same.
    let kept = sums.cache();
    kept.count().unwrap();
    kept.map_values(|v| v + 1).clean_shuffle_dependencies(true).unwrap();
    watched.ran();
    assert_eq!(sums.collect().unwrap(), first);
    assert_eq!(watched.ran(), [[3]]);
    kept.clean_shuffle_dependencies(true).unwrap();
    assert_eq!(kept.collect().unwrap(), first);
    assert_eq!(sums.collect().unwrap(), first);
    assert_eq!(watched.ran(), [vec![3], vec![3, 3]]);
}
