//! The same program gives the same records in the same order in every partition, whatever the threads and whatever goes wrong.

use crate::chaos::{Chaos, Stragglers};
use firesteel::{__private::ManualClock, prelude::*};
use std::{fmt::Debug, sync::atomic::Ordering};

/// What a program found: by name, what is in each partition.
type Findings = Vec<(&'static str, Vec<String>)>;

fn partitions<T: Data + Debug, P: Pipeline<Item = T>>(rdd: &Rdd<T, P>) -> Vec<String> {
    let parts = rdd.map_partitions_with_index(|i, items| [(i, items.collect::<Vec<T>>())]).collect().unwrap();
    parts.into_iter().map(|part| format!("{part:?}")).collect()
}

fn word(i: u64) -> String {
    format!("word{}", i.wrapping_mul(i) % 97)
}

/// Shuffles of every kind, what is kept, sorts, samples, sums of floats.
fn program(sc: &Context) -> Findings {
    let mut found = Findings::new();
    let words = sc.range_n(0..3_000, 6).map(word).cache().erase();
    let counts = words.map(|w| (w, 1u64)).reduce_by_key_into(4, |a, b| a + b).persist(StorageLevel::DISK_ONLY).erase();
    found.push(("counts", partitions(&counts)));
    let places = words.zip_with_index().group_by_key_into(3).map_values(|at| at[..at.len().min(9)].to_vec());
    let places = places.persist(StorageLevel::MEMORY_AND_DISK_SER).erase();
    found.push(("places", partitions(&places)));
    found.push(("joined", partitions(&counts.join(&places).erase())));
    found.push(("cogrouped", partitions(&counts.filter(|(_, n)| n % 2 == 0).cogroup_into(&places, 5).erase())));
    found.push(("by count", partitions(&counts.sort_by(|(_, n)| *n, false).erase())));
    let checkpointed = counts.repartition(5).checkpoint().erase();
    found.push(("dealt out", partitions(&checkpointed)));
    found.push(("sorted by key", partitions(&checkpointed.sort_by_key(true).erase())));
    found.push(("distinct", partitions(&words.union(&words).distinct_into(3).erase())));
    found.push(("rest", partitions(&words.subtract(&words.filter(|w| w.len() == 5)).coalesce(2).erase())));
    found.push(("sampled", partitions(&words.sample(false, 0.1, 42).erase())));
    let rolling = |a: u64, b: u64| a.wrapping_mul(31).wrapping_add(b);
    found.push(("rolling", vec![format!("{:?}", sc.range_n(0..999, 7).reduce(rolling).unwrap())]));
    let thirds = sc.range_n(1..2_000, 9).map(|i| 1.0 / i as f64);
    found.push(("float sum", vec![format!("{:x}", thirds.sum().unwrap().to_bits())]));
    let by_tree = thirds.tree_aggregate(0.0, |a, b| a + b, |a, b| a + b).unwrap();
    found.push(("float sum by a tree", vec![format!("{:x}", f64::to_bits(by_tree))]));
    found.push(("first", vec![format!("{:?}", checkpointed.take(20).unwrap())]));
    found
}

/// More keys than a map side's table holds, so that tables are flushed and passed by.
fn wide_program(sc: &Context) -> Findings {
    let wide = sc.range_n(0..90_000, 2).map(|i| (i.wrapping_mul(0x9e37_79b9) % 60_000, i)).erase();
    let merged = wide.reduce_by_key_into(3, |a, b| a.wrapping_mul(31).wrapping_add(b)).cache().erase();
    vec![("merged", partitions(&merged)), ("grouped", partitions(&merged.values().erase()))]
}

fn compare(calm: &Findings, wild: &Findings, how: &str) {
    assert_eq!(calm.len(), wild.len());
    for ((name, calm), (_, wild)) in calm.iter().zip(wild) {
        assert_eq!(calm.len(), wild.len(), "{name} has other partitions {how}");
        for (i, (calm, wild)) in calm.iter().zip(wild).enumerate() {
            assert!(calm == wild, "partition {i} of {name} differs {how}:\n{calm}\n{wild}");
        }
    }
}

/// Runs it, with failures and losses if there is a seed, with slow attempts and copies of them if `slow`.
fn run(threads: usize, seed: Option<u64>, slow: bool, program: fn(&Context) -> Findings) -> (Findings, [u32; 4]) {
    let dir = tempfile::tempdir().unwrap();
    let builder = Context::builder().master(format!("local[{threads},4]"));
    let chaos = match seed {
        Some(seed) => Chaos { seed, failures: 9, lost_outputs: 11, lost_blocks: 13 },
        None => Chaos::default(),
    };
    let clock = ManualClock::default();
    let stragglers = Stragglers::new(if slow { 3 } else { 0 }, threads);
    let (builder, damage) = chaos.unleash(builder, stragglers.clone());
    let sc = builder.conf("firesteel.speculation", slow).clock(clock.clone()).build().unwrap();
    sc.set_checkpoint_dir(dir.path().to_str().unwrap()).unwrap();
    let found = stragglers.while_time_passes(&sc, &clock, || program(&sc));
    let copies = stragglers.overtaken();
    (found, [&damage.failures, &damage.outputs, &damage.blocks, &copies].map(|count| count.load(Ordering::Relaxed)))
}

#[test]
fn records_and_their_order_depend_on_the_program_alone() {
    let (calm, _) = run(1, None, false, program);
    let mut happened = [0; 4];
    for (seed, threads) in [1, 2, 7, 2, 7, 1, 2, 7, 2, 7].into_iter().enumerate() {
        compare(&calm, &run(threads, None, false, program).0, &format!("on {threads} threads"));
        let (wild, damage) = run(threads, Some(seed as u64), false, program);
        compare(&calm, &wild, &format!("on {threads} threads after failures, seed {seed}"));
        let (slow, copies) = run(threads, Some(seed as u64), true, program);
        compare(&calm, &slow, &format!("on {threads} threads after failures and with copies, seed {seed}"));
        for (sum, count) in happened.iter_mut().zip(damage.iter().zip(copies)) {
            *sum += count.0 + count.1;
        }
    }
    assert!(happened.iter().all(|count| *count > 5), "hardly anything went wrong: {happened:?}");
}

#[test]
fn flushed_tables_of_a_map_side_change_no_order() {
    let (calm, _) = run(1, None, false, wide_program);
    for threads in [2, 7] {
        let (wild, _) = run(threads, Some(3), true, wide_program);
        compare(&calm, &wild, &format!("on {threads} threads"));
    }
}

#[test]
fn memory_that_does_not_suffice_changes_no_order() {
    let found = |threads: usize, seed: Option<u64>, budget: &str, program: fn(&Context) -> Findings| {
        let dir = tempfile::tempdir().unwrap();
        let chaos = match seed {
            Some(seed) => Chaos { seed, failures: 9, lost_outputs: 11, lost_blocks: 13 },
            None => Chaos::default(),
        };
        let builder = Context::builder()
            .master(format!("local[{threads},4]"))
            .conf("firesteel.local.dir", dir.path().display())
            .conf("firesteel.memory.budget", budget);
        let sc = chaos.unleash(builder, Stragglers::default()).0.build().unwrap();
        sc.set_checkpoint_dir(dir.path().join("checkpoints").to_str().unwrap()).unwrap();
        program(&sc)
    };
    for program in [program, wide_program] {
        let calm = found(1, None, "1g", program);
        for (seed, threads) in [(None, 1), (None, 4), (Some(1), 2), (Some(2), 7)] {
            let narrow = found(threads, seed, "1m", program);
            compare(&calm, &narrow, &format!("on {threads} threads with little memory, {seed:?}"));
        }
    }
}
