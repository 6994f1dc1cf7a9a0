//! Lineages as long as loops make them, jobs as wide as clusters run them, and nothing kept for what was dropped.

use firesteel::{__private::Footprint, prelude::*};

/// Runs `f` on a thread whose stack is small, so that any recursion along a lineage shows.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(f).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn local(threads: usize) -> Context {
    Context::builder().master(format!("local[{threads}]")).build().unwrap()
}

#[test]
fn lineage_of_100_000_erased_steps_is_computed_and_dropped() {
    on_a_small_stack(|| {
        let sc = local(2);
        let mut rdd = sc.range_n(0..5, 2).erase();
        for _ in 0..100_000 {
            rdd = rdd.map(|x| x + 1).erase();
        }
        assert_eq!(rdd.count().unwrap(), 5);
        assert_eq!(rdd.collect().unwrap(), [100_000, 100_001, 100_002, 100_003, 100_004]);
        assert_eq!(rdd.num_partitions().unwrap(), 2);
        assert_eq!(sc.footprint().unwrap().rdds, 100_001);
        assert!(rdd.to_debug_string().lines().count() > 100_000);
        drop(rdd);
        assert_eq!(sc.footprint().unwrap(), Footprint::default());
    });
}

#[test]
fn user_iterators_nest_through_10_000_steps_of_map_partitions() {
    on_a_small_stack(|| {
        let sc = local(2);
        let mut rdd = sc.range_n(0..5, 2).erase();
        for _ in 0..10_000 {
            rdd = rdd.map_partitions(|items| items.map(|x| x + 1)).erase();
        }
        assert_eq!(rdd.collect().unwrap(), [10_000, 10_001, 10_002, 10_003, 10_004]);
        // A reader that stops early drops what is half read, without depth as well.
        assert_eq!(rdd.take(1).unwrap(), [10_000]);
        drop(rdd);
        assert_eq!(sc.footprint().unwrap(), Footprint::default());
    });
}

#[test]
fn lineage_of_10_000_shuffles_is_one_job() {
    on_a_small_stack(|| {
        let sc = local(2);
        let mut rdd = sc.range_n(0..6, 2).map(|x| (x % 3, 1)).erase();
        for _ in 0..10_000 {
            rdd = rdd.map(|(k, v)| ((k + 1) % 3, v)).reduce_by_key_into(2, |a, b| a + b).erase();
        }
        let mut all = rdd.collect().unwrap();
        all.sort();
        assert_eq!(all, [(0, 2), (1, 2), (2, 2)]);
        // The second job finds every shuffle there.
        assert_eq!(rdd.count().unwrap(), 3);
        let kept = sc.footprint().unwrap();
        assert_eq!((kept.runs, kept.rdds), (20_000, 20_002));
        drop(rdd);
        assert_eq!(sc.footprint().unwrap(), Footprint::default());
    });
}

#[test]
fn iterations_that_are_cached_and_checkpointed_keep_no_past() {
    let dir = tempfile::tempdir().unwrap();
    on_a_small_stack(move || {
        let sc = local(2);
        sc.set_checkpoint_dir(dir.path().to_str().unwrap()).unwrap();
        let links = sc.range_n(0..10, 2).map(|i| (i, (i + 1) % 10)).partition_by(2).cache();
        let mut ranks: Rdd<(u64, u64)> = links.map_values(|_| 1).erase();
        let mut most = Footprint::default();
        for i in 1..=1_000 {
            let next = links.join(&ranks).map(|(_, (to, rank))| (to, rank)).reduce_by_key_into(2, |a, b| a + b).cache();
            ranks = match i % 50 {
                0 => next.checkpoint().erase(),
                _ => next.erase(),
            };
            assert_eq!(ranks.values().reduce(|a, b| a + b).unwrap(), 10, "iteration {i}");
            if i % 50 == 0 {
                assert!(ranks.is_checkpointed());
                drop(next);
                let now = sc.footprint().unwrap();
                if i == 100 {
                    most = now;
                }
                assert!(i < 100 || now == most, "after {i} iterations {now:?}, after 100 {most:?}");
            }
        }
        drop((links, ranks));
        assert_eq!(sc.footprint().unwrap(), Footprint::default());
    });
}

#[test]
fn jobs_of_10_000_partitions() {
    let sc = local(4);
    let wide = sc.range_n(0..20_000, 10_000);
    assert_eq!(wide.map(|x| x * 2).count().unwrap(), 20_000);
    let counts = wide.map(|x| (x % 7, 1u64)).reduce_by_key_into(3, |a, b| a + b);
    assert_eq!(counts.values().reduce(|a, b| a + b).unwrap(), 20_000);
    let spread = sc.range_n(0..20_000, 3).repartition(10_000);
    assert_eq!(spread.map_partitions(|items| [items.count()]).collect().unwrap().len(), 10_000);
    assert_eq!(spread.count().unwrap(), 20_000);
}

#[test]
fn lineage_of_10_000_cached_steps_is_computed_and_dropped() {
    on_a_small_stack(|| {
        let sc = local(2);
        let mut rdd = sc.range_n(0..4, 2).erase();
        for _ in 0..10_000 {
            rdd = rdd.map(|x| x + 1).cache().erase();
        }
        assert_eq!(rdd.collect().unwrap(), [10_000, 10_001, 10_002, 10_003]);
        assert_eq!(sc.footprint().unwrap().blocks, 20_000);
        assert_eq!(rdd.map(|x| x * 2).sum().unwrap(), 80_012.0);
        drop(rdd);
        assert_eq!(sc.footprint().unwrap(), Footprint::default());
    });
}

#[test]
fn cached_step_that_reads_the_one_before_twice_is_computed_once() {
    on_a_small_stack(|| {
        let sc = local(2);
        let computed = sc.long_accumulator("computed");
        let mut rdd = sc.range_n(0..4, 2).erase();
        // Without what is kept the last step would read the first 2^60 times.
        for _ in 0..60 {
            let sum = rdd.zip(&rdd).map_partitions_with(computed.clone(), |computed, pairs| {
                computed.add(1);
                pairs.map(|(a, b)| a.wrapping_add(b))
            });
            rdd = sum.cache().erase();
        }
        assert_eq!(rdd.collect().unwrap(), [0, 1 << 60, 2 << 60, 3 << 60]);
        assert_eq!(computed.value(), 2 * 60);
        let mut keyed = sc.range_n(0..4, 2).map(|x| (x, x)).partition_by(2).cache().erase();
        for _ in 0..30 {
            keyed = keyed.join(&keyed).map_values(|(a, b)| a.wrapping_add(b)).cache().erase();
        }
        assert_eq!(keyed.lookup(&3).unwrap(), [3 << 30]);
        drop((rdd, keyed, computed));
        assert_eq!(sc.footprint().unwrap(), Footprint::default());
    });
}

#[test]
fn union_that_grows_in_a_loop() {
    on_a_small_stack(|| {
        let sc = local(2);
        let mut rdd = sc.range_n(0..1, 1).erase();
        for i in 1..500 {
            rdd = rdd.union(&sc.range_n(i..i + 1, 1)).erase();
        }
        assert_eq!(rdd.collect().unwrap(), (0..500).collect::<Vec<u64>>());
        drop(rdd);
        assert_eq!(sc.footprint().unwrap(), Footprint::default());
    });
}
