//! What does not fit into memory: the same answers, in the same order, by way of the disk.

use crate::{random_program::LEVELS, steps::Told};
use firesteel::{
    events::{
        Event,
        event::{AccumulableValue, BlockUpdated, TaskEnd, TaskType},
    },
    prelude::*,
};
use proptest::prelude::*;

type Pairs = Rdd<(u64, String)>;

/// A context whose tasks have half a mebibyte each.
fn tight() -> Context {
    Context::builder().master("local[2]").conf("firesteel.memory.budget", "1m").build().unwrap()
}

fn ample() -> Context {
    Context::builder().master("local[2]").conf("firesteel.memory.budget", "1g").build().unwrap()
}

/// Bytes that left memory, by what the tasks tell.
fn spilled(told: Told) -> u64 {
    let of = |event: &Event| match event {
        Event::TaskEnd(TaskEnd { metrics: Some(metrics), .. }) => metrics.memory_bytes_spilled,
        _ => 0,
    };
    told.rest().iter().map(of).sum()
}

/// Runs an operation with little memory and with ample, compares every partition, and says how much was spilled.
fn same<U: Data + PartialEq + std::fmt::Debug, P: Pipeline<Item = U>>(
    what: &str,
    run: impl Fn(&Context) -> Rdd<U, P>,
) -> u64 {
    let (tight, ample) = (tight(), ample());
    let told = Told::of(&tight);
    let expected = run(&ample).glom().collect().unwrap();
    assert_eq!(run(&tight).glom().collect().unwrap(), expected, "{what}");
    tight.stop().unwrap();
    spilled(told)
}

/// So many pairs with values of so many bytes; half of them have key 0 if `skewed`.
fn pairs(sc: &Context, n: u64, keys: u64, bytes: usize, skewed: bool, partitions: usize) -> Pairs {
    sc.range_n(0..n, partitions)
        .map_with((keys, bytes as u64, skewed), move |(keys, bytes, skewed), i| {
            let key = if *skewed && i % 2 == 0 { 0 } else { i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys };
            (key, format!("{i:0>width$}", width = *bytes as usize))
        })
        .erase()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, ..ProptestConfig::default() })]

    #[test]
    fn keyed_operations_and_sorts_give_the_same_with_any_memory(
        n in 12_000u64..20_000, keys in prop::sample::select(vec![200u64, 3_000, 1 << 40]), bytes in 150usize..400,
        from in 1usize..5, to in 1usize..5,
    ) {
        let a = |sc: &Context| pairs(sc, n, keys, bytes, false, from);
        let b = |sc: &Context| pairs(sc, n / 100, keys, bytes / 2, false, to).map(|(k, v)| (k, v.len() as u64)).erase();
        let total = [
            same("distinct", |sc| a(sc).distinct_into(to)),
            same("group_by_key", |sc| a(sc).group_by_key_into(to)),
            same("reduce_by_key", |sc| a(sc).reduce_by_key_into(to, |a, b| if a.len() < 2_000 { a + &b } else { b })),
            same("aggregate_by_key", |sc| a(sc).aggregate_by_key_into(to, 0u64, |n, v| n + v.len() as u64, |a, b| a + b)),
            same("cogroup", |sc| a(sc).cogroup_into(&b(sc), to)),
            same("join", |sc| a(sc).join_into(&b(sc), to)),
            same("full_outer_join", |sc| a(sc).full_outer_join_into(&b(sc), to)),
            same("subtract_by_key", |sc| a(sc).subtract_by_key_into(&b(sc).filter(|(k, _)| k % 3 == 0), to)),
            same("intersection", |sc| a(sc).map(|(_, v)| v).intersection_into(&a(sc).map(|(_, v)| v).filter(|v| v.ends_with('7')), to)),
            same("sort_by_key", |sc| a(sc).sort_by_key_n(false, to)),
            same("sort_by", |sc| a(sc).sort_by_n(|(_, v)| v[v.len() - 3..].to_string(), true, to)),
            same("repartition", |sc| a(sc).repartition(to)),
            same("partition_by", |sc| a(sc).partition_by(to)),
            same("repartition_and_sort", |sc| a(sc).repartition_and_sort_within_partitions(HashPartitioner::new(to))),
        ];
        prop_assert!(total.iter().filter(|spilled| **spilled > 0).count() >= 6, "{total:?}");
    }

    #[test]
    fn their_kin_give_the_same_with_any_memory(
        n in 12_000u64..20_000, keys in prop::sample::select(vec![3_000u64, 1 << 40]), bytes in 150usize..400,
        from in 1usize..5, to in 1usize..5,
    ) {
        let a = |sc: &Context| pairs(sc, n, keys, bytes, false, from);
        let b = |sc: &Context| pairs(sc, n / 2, keys, bytes / 2, false, to);
        let few = |sc: &Context| pairs(sc, 300, keys, 5, false, 2);
        let total = [
            same("group_by", |sc| a(sc).group_by_into(to, |(k, _)| k % 2_999)),
            same("fold_by_key", |sc| a(sc).fold_by_key_into(to, String::new(), |a, b| if a.len() < 2_000 { a + &b } else { b })),
            same("combine_by_key", |sc| a(sc).combine_by_key_into(to, |v| vec![v], |mut all, v| { all.push(v); all }, |mut a, b| { a.extend(b); a })),
            same("cogroup2", |sc| a(sc).cogroup2_into(&b(sc), &few(sc), to)),
            same("cogroup3", |sc| few(sc).cogroup3_into(&b(sc), &few(sc), &a(sc), to)),
            same("left_outer_join", |sc| a(sc).left_outer_join_into(&b(sc), to)),
            same("right_outer_join", |sc| b(sc).right_outer_join_into(&a(sc), to)),
            same("join of large sides", |sc| a(sc).join_into(&b(sc), to)),
            same("subtract", |sc| a(sc).subtract_into(&b(sc), to)),
            same("subtract_by_key of much", |sc| few(sc).subtract_by_key_into(&a(sc), to)),
            same("coalesce_shuffle", |sc| a(sc).coalesce_shuffle(to)),
            same("sort after a join", |sc| a(sc).join_into(&few(sc), to).sort_by_key_n(true, from)),
            same("sorted groups", |sc| a(sc).sort_by_key_n(true, to).group_by_key()),
            same("distinct of a union", |sc| a(sc).union(&a(sc)).distinct_into(to)),
        ];
        prop_assert!(total.iter().filter(|spilled| **spilled > 0).count() >= 7, "{total:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn values_that_own_nothing_are_brought_together_alike_with_any_memory(
        n in 2_000u64..40_000, keys in prop::sample::select(vec![500u64, 5_000, 1 << 40]), skewed: bool,
        from in 1usize..5, to in 1usize..5,
    ) {
        let numbers = |sc: &Context, n, keys, partitions| {
            let pair = move |(keys, skewed): &(u64, bool), i: u64| {
                let key = if *skewed && i.is_multiple_of(16) { 7 } else { i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys };
                (key, (i, i as u32))
            };
            sc.range_n(0..n, partitions).map_with((keys, skewed), pair)
        };
        let a = |sc: &Context| numbers(sc, n, keys, from);
        let few = |sc: &Context| numbers(sc, n / 100, 2 * keys, to).map_values(|(i, _)| i);
        let named = |sc: &Context| a(sc).map(|(key, value)| (key.to_string(), value));
        same("group_by_key", |sc| a(sc).group_by_key_into(to));
        same("group_by_key of names", |sc| named(sc).group_by_key_into(to));
        let long = |sc: &Context| a(sc).map(|(key, value)| (format!("{key:0>1000}"), value));
        same("group_by_key of long names", |sc| long(sc).group_by_key_into(to));
        let sum = |a: (u64, u32), b: (u64, u32)| (a.0 * 3 % 1_009 + b.0, a.1 | b.1);
        same("fold_by_key", |sc| a(sc).fold_by_key_into(to, (10, 0), sum));
        same("fold_by_key of names", |sc| named(sc).fold_by_key_into(to, (10, 0), sum));
        same("fold_by_key of long names", |sc| long(sc).fold_by_key_into(to, (10, 0), sum));
        same("sort_by_key of long names", |sc| long(sc).sort_by_key_n(false, to));
        same("join with what lies in place", |sc| few(sc).group_by_key_into(to).map_values(|all| all.len()).join_into(&a(sc), to));
        same("join", |sc| a(sc).join_into(&few(sc), to));
        same("join of names", |sc| few(sc).map(|(key, value)| (key.to_string(), value)).join_into(&named(sc), to));
        same("left_outer_join", |sc| a(sc).left_outer_join_into(&few(sc), to));
        same("right_outer_join", |sc| a(sc).right_outer_join_into(&few(sc), to));
        same("full_outer_join", |sc| few(sc).full_outer_join_into(&a(sc), to));
    }
}

#[test]
fn sums_by_number_that_give_way_to_rows_come_out_alike_with_any_memory() {
    let sum = |a: (u64, u32), b: (u64, u32)| (a.0 * 3 % 1_009 + b.0, a.1 | b.1);
    let spilled = same("fold_by_key", |sc| {
        sc.range_n(0..200_000, 1)
            .map(|i| {
                // Close together at first, and then more that are far apart than a table takes.
                let far = i >= 40_000 && !i.is_multiple_of(5);
                (if far { (i % 150_000) << 40 } else { i % 60_000 }, (i, i as u32))
            })
            .fold_by_key_into(2, (10, 0), sum)
    });
    assert!(spilled > 0);
}

#[test]
fn half_of_all_records_in_one_key_can_be_aggregated_sorted_and_joined() {
    let few = |sc: &Context| sc.parallelize_n((0..40u64).map(|k| (k, k * k)), 3);
    let skewed = |sc: &Context| pairs(sc, 20_000, 1_000, 200, true, 4);
    let total = [
        same("aggregate", |sc| skewed(sc).aggregate_by_key_into(3, 0u64, |n, v| n + v.len() as u64, |a, b| a + b)),
        same("sort", |sc| skewed(sc).repartition_and_sort_within_partitions(HashPartitioner::new(3))),
        same("large side left", |sc| skewed(sc).join_into(&few(sc), 3)),
        same("large side right", |sc| few(sc).left_outer_join_into(&skewed(sc), 3)),
    ];
    assert!(total[1..].iter().all(|spilled| *spilled > 0), "{total:?}");
}

#[test]
fn a_group_larger_than_memory_fails_its_job_with_the_remedy_and_others_go_on() {
    let sc = tight();
    let one_key = pairs(&sc, 20_000, 1, 200, false, 4);
    for error in [
        one_key.group_by_key_into(3).count().unwrap_err(),
        one_key.cogroup_into(&one_key, 3).count().unwrap_err(),
        one_key.join_into(&one_key, 3).count().unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("aggregate_by_key") && text.contains("partition "), "{text}");
    }
    let lengths = one_key.aggregate_by_key(0u64, |n, v| n + v.len() as u64, |a, b| a + b);
    assert_eq!(lengths.collect().unwrap(), [(0, 20_000 * 200)]);
}

#[test]
fn a_cached_rdd_larger_than_memory_is_read_as_its_level_says() {
    for level in LEVELS {
        let sc = tight();
        let computed = sc.long_accumulator("computed");
        let kept = pairs(&sc, 20_000, 1 << 40, 200, false, 16)
            .map_with(computed.clone(), |computed, pair| {
                computed.add(1);
                pair
            })
            .persist(level);
        let expected = pairs(&sc, 20_000, 1 << 40, 200, false, 16).glom().collect().unwrap();
        for _ in 0..3 {
            assert_eq!(kept.glom().collect().unwrap(), expected, "{level:?}");
        }
        match level.use_disk {
            true => assert_eq!(computed.value(), 20_000, "{level:?}"),
            false => assert!(computed.value() > 20_000, "{level:?} has no room for all"),
        }
        // What is kept makes room for what runs.
        assert_eq!(kept.map(|(k, v)| (v, k)).sort_by_key(true).count().unwrap(), 20_000, "{level:?}");
    }
}

#[test]
fn items_that_do_not_fit_are_given_out_from_disk() {
    let sc = tight();
    let items: Vec<String> = (0..20_000).map(|i| format!("{i:0>300}")).collect();
    let rdd = sc.parallelize_n(items.clone(), 7);
    assert_eq!(rdd.collect().unwrap(), items);
    assert_eq!(rdd.map(|s| s.len() as u64).reduce(|a, b| a + b).unwrap(), 20_000 * 300);
}

/// What the tasks of map stages and of the last stages have written for lack of memory.
fn written(map_outputs_compressed: bool, spills_compressed: bool) -> (u64, u64) {
    let sc = Context::builder()
        .master("local[1]")
        .conf("firesteel.memory.budget", "1m")
        .conf("spark.shuffle.compress", map_outputs_compressed)
        .conf("spark.shuffle.spill.compress", spills_compressed)
        .build()
        .unwrap();
    let told = Told::of(&sc);
    assert_eq!(pairs(&sc, 20_000, 1 << 40, 200, false, 2).sort_by_key_n(true, 2).count().unwrap(), 20_000);
    sc.stop().unwrap();
    let (mut of_maps, mut of_others) = (0, 0);
    for event in told.rest() {
        if let Event::TaskEnd(TaskEnd { metrics: Some(metrics), task_type, .. }) = event {
            match task_type {
                TaskType::ShuffleMap => of_maps += metrics.disk_bytes_spilled,
                TaskType::Result => of_others += metrics.disk_bytes_spilled,
            }
        }
    }
    (of_maps, of_others)
}

#[test]
fn map_outputs_and_spills_are_compressed_each_by_its_own_setting() {
    let ((maps, spills), (plain_maps, plain_spills)) = (written(true, true), written(false, false));
    assert!(maps > 0 && maps * 2 < plain_maps && spills > 0 && spills * 2 < plain_spills);
    assert_eq!((written(true, false), written(false, true)), ((maps, plain_spills), (plain_maps, spills)));
}

#[test]
fn what_each_task_and_each_operator_held_is_told() {
    let sc = tight();
    let told = Told::of(&sc);
    pairs(&sc, 20_000, 1 << 40, 200, false, 2).sort_by_key_n(true, 2).count().unwrap();
    sc.stop().unwrap();
    let mut names = std::collections::BTreeSet::new();
    for event in told.rest() {
        let Event::TaskEnd(TaskEnd { metrics: Some(metrics), task, .. }) = event else { continue };
        for told in task.accumulables {
            let (Some(name), Some(AccumulableValue::Number(bytes))) = (told.name, told.update) else { continue };
            if let Some(operator) = name.strip_prefix("peak memory of ") {
                assert!(
                    bytes > 0 && bytes as u64 <= metrics.peak_execution_memory,
                    "{operator}: {bytes} of {metrics:?}"
                );
                names.insert(operator.to_string());
            }
        }
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["map output", "sort", "sort: merge"]);
}

#[test]
fn a_block_that_leaves_memory_is_told_with_what_it_takes_on_disk() {
    let sc = Context::builder().master("local[1]").conf("firesteel.memory.budget", "4m").build().unwrap();
    let told = Told::of(&sc);
    let kept = pairs(&sc, 10_000, 1 << 40, 200, false, 8).persist(StorageLevel::MEMORY_AND_DISK);
    kept.count().unwrap();
    pairs(&sc, 20_000, 1 << 40, 200, false, 2).sort_by_key_n(true, 1).count().unwrap();
    let info = sc.rdd_storage_info().remove(0);
    assert!(info.memory > 0 && info.disk > 0, "{info:?}");
    sc.stop().unwrap();
    let mut blocks = std::collections::BTreeMap::new();
    for event in told.rest() {
        if let Event::BlockUpdated(BlockUpdated { info }) = event
            && info.block.starts_with("rdd_")
        {
            blocks.insert(info.block, (info.memory, info.disk));
        }
    }
    assert!(blocks.values().all(|(memory, disk)| (*memory == 0) != (*disk == 0)), "{blocks:?}");
    let sum = blocks.values().fold((0, 0), |sum, (memory, disk)| (sum.0 + memory, sum.1 + disk));
    assert_eq!(sum, (info.memory, info.disk));
}
