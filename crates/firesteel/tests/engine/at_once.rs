//! Many threads of one driver over the same RDDs: jobs that share stages, are cancelled, and let go of what others read.

use crate::{
    chaos::{Chaos, Stragglers, at_rest},
    random_program::random::Random,
};
use firesteel::{__private::Footprint, prelude::*};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

type Pair = (u64, u64);

/// An RDD that all threads use, and what it has.
struct Shared {
    rdd: Rdd<Pair>,
    parts: Vec<Vec<Pair>>,
}

fn shared(sc: &Context) -> Vec<Shared> {
    let source = sc.range_n(0..300, 5).map(|i| (i % 17, i)).erase();
    let kept = source.persist(StorageLevel::MEMORY_ONLY).erase();
    let summed = kept.reduce_by_key_into(3, |a, b| a.wrapping_mul(31).wrapping_add(b)).erase();
    let on_disk = summed.map_values(|v| v ^ 5).persist(StorageLevel::DISK_ONLY).erase();
    let joined = on_disk.join(&kept).map_values(|(a, b)| a.wrapping_add(b)).cache().erase();
    let sorted = joined.sort_by_key_n(false, 4).erase();
    let numbered = sorted.values().zip_with_index().erase();
    // Told by a calm context what they have.
    let all = [source, kept, summed, on_disk, joined, sorted, numbered];
    all.into_iter().map(|rdd| Shared { rdd, parts: Vec::new() }).collect()
}

/// One thread's share. Whatever it does, an RDD has what it has, or the job was cancelled.
fn work(sc: &Context, shared: &[Shared], seed: u64, cancelled: &AtomicU32) {
    let mut random = Random::new(seed);
    let check = |result: Result<Vec<Vec<Pair>>>, expected: &Shared, what: &str| match result {
        Ok(parts) => assert_eq!(parts, expected.parts, "{what}, seed {seed}"),
        Err(Error::Cancelled { .. }) => {
            cancelled.fetch_add(1, SeqCst);
        }
        Err(e) => panic!("{what}, seed {seed}: {e}"),
    };
    for _ in 0..25 {
        let node = &shared[random.below(shared.len())];
        match random.below(8) {
            0 => {
                // What is made here is dropped here, while others read what it is made of.
                let own = node.rdd.map_values(|v| v + 1).partition_by(2).cache();
                match own.count() {
                    Ok(count) => assert_eq!(count as usize, node.parts.iter().map(Vec::len).sum::<usize>()),
                    Err(e) => assert!(matches!(e, Error::Cancelled { .. }), "{e}"),
                }
            }
            1 => node.rdd.unpersist(random.once_in(2)).unwrap(),
            2 => {
                let first: Vec<Pair> = node.parts.iter().flatten().take(20).copied().collect();
                match node.rdd.take(20) {
                    Ok(taken) => assert_eq!(taken, first),
                    Err(e) => assert!(matches!(e, Error::Cancelled { .. }), "{e}"),
                }
            }
            3 => sc.cancel_job_group(["even", "odd"][random.below(2)]),
            4 => {
                let running = node.rdd.glom().collect_async();
                if random.once_in(2) {
                    running.cancel();
                }
                check(running.get(), node, "in the background");
            }
            _ => check(node.rdd.glom().collect(), node, "collected"),
        }
    }
}

#[test]
fn threads_share_rdds_stages_and_what_is_kept() {
    let calm = Context::builder().master("local[1]").build().unwrap();
    let expected: Vec<Vec<Vec<Pair>>> = shared(&calm).iter().map(|node| node.rdd.glom().collect().unwrap()).collect();
    let cancelled = AtomicU32::new(0);
    for seed in 0..24u64 {
        let chaos = match seed % 3 {
            0 => Chaos::default(),
            _ => Chaos { seed, failures: 9, lost_outputs: 7, lost_blocks: 5 },
        };
        let builder = Context::builder().master(format!("local[{},4]", 1 + seed % 4));
        let sc = chaos.unleash(builder, Stragglers::default()).0.build().unwrap();
        let mut nodes = shared(&sc);
        for (node, parts) in nodes.iter_mut().zip(&expected) {
            node.parts = parts.clone();
        }
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (sc, nodes, cancelled) = (&sc, &nodes, &cancelled);
                scope.spawn(move || {
                    sc.set_job_group(["even", "odd"][thread as usize % 2], "a thread's jobs", false);
                    work(sc, nodes, seed * 10 + thread, cancelled);
                });
            }
        });
        drop(nodes);
        assert_eq!(at_rest(&sc), Footprint::default(), "seed {seed}");
    }
    assert!(cancelled.load(SeqCst) > 0, "no job was cancelled");
}

#[test]
fn context_that_stops_under_running_jobs_answers_them_all() {
    for seed in 0..12u64 {
        let sc = Context::builder().master("local[3]").build().unwrap();
        let nodes = shared(&sc);
        let stopped = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3usize {
                let (nodes, stopped) = (&nodes, &stopped);
                scope.spawn(move || {
                    let mut random = Random::new(seed * 10 + thread as u64);
                    // Every job ends; after the end of the context every one with an error.
                    loop {
                        let was_stopped = stopped.load(SeqCst);
                        match nodes[random.below(nodes.len())].rdd.count() {
                            Ok(_) => assert!(!was_stopped, "a job ran after the end"),
                            Err(Error::Stopped(_) | Error::Cancelled { .. }) => break,
                            Err(e) => panic!("{e}"),
                        }
                    }
                });
            }
            nodes[seed as usize % nodes.len()].rdd.count().unwrap();
            sc.stop().unwrap();
            stopped.store(true, SeqCst);
        });
    }
}
