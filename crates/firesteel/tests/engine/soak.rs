//! Thousands of small random programs, in which tasks fail and what was kept gets lost, against plain vectors. A third of them has less
//! memory than their data take.
//!
//! A failing program prints its seed and its steps. `FIRESTEEL_SOAK_SEED=<seed>` runs that one alone, `FIRESTEEL_SOAK_COUNT=<n>` as
//! many as are wanted.

use crate::{
    chaos::{self, Chaos, Stragglers},
    random_program::{Program, random::Random},
    steps::Told,
};
use firesteel::{
    __private::{Footprint, ManualClock},
    events::{
        Event,
        event::{BlockUpdated, TaskEnd},
    },
    prelude::*,
};
use std::{
    collections::HashSet,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// How often what went wrong in all programs.
#[derive(Default)]
struct Totals {
    failures: AtomicU64,
    outputs: AtomicU64,
    blocks: AtomicU64,
    copies: AtomicU64,
    /// Task attempts that spilled, map outputs that were seen on disk, and blocks that had to leave memory.
    spilled: AtomicU64,
    flushed: AtomicU64,
    evicted: AtomicU64,
}

/// What had no room in memory: task attempts that spilled, and blocks of the RDDs `in_memory` that went to disk.
fn without_room(told: Told, in_memory: &HashSet<u64>) -> (u64, u64) {
    let (mut spilled, mut evicted) = (0, 0);
    let rdd = |block: &str| block.strip_prefix("rdd_")?.split('_').next()?.parse().ok();
    for event in told.rest() {
        match event {
            Event::TaskEnd(TaskEnd { metrics: Some(metrics), .. }) => {
                spilled += u64::from(metrics.memory_bytes_spilled > 0);
            }
            Event::BlockUpdated(BlockUpdated { info }) if info.level.use_disk => {
                evicted += u64::from(rdd(&info.block).is_some_and(|rdd| in_memory.contains(&rdd)));
            }
            _ => {}
        }
    }
    (spilled, evicted)
}

fn one(seed: u64, steps: &Arc<Mutex<String>>, totals: &Totals) {
    let mut random = Random::new(seed);
    let threads = 1 + random.below(3);
    let chaos = match random.below(4) {
        0 => Chaos::default(),
        _ => Chaos {
            seed,
            failures: [0, 4, 12][random.below(3)],
            lost_outputs: [0, 3, 10][random.below(3)],
            lost_blocks: [0, 2, 6][random.below(3)],
        },
    };
    let (budget, scale) = [("1g", 1), ("1g", 1), ("16k", 8)][(seed % 3) as usize];
    let _ = writeln!(steps.lock().unwrap(), "  local[{threads}, 4], {budget} of memory, {chaos:?}");
    let dir = tempfile::tempdir().unwrap();
    let builder = Context::builder()
        .master(format!("local[{threads},4]"))
        .conf("firesteel.memory.budget", budget)
        .conf("firesteel.local.dir", dir.path().display());
    let stragglers = Stragglers::new([0, 0, 0, 4][random.below(4)] * usize::from(threads > 1), threads);
    let (builder, damage) = chaos.unleash(builder, stragglers.clone());
    let clock = ManualClock::default();
    let sc = builder.conf("firesteel.speculation", true).clock(clock.clone()).build().unwrap();
    sc.set_checkpoint_dir(dir.path().join("checkpoints").to_str().unwrap()).unwrap();
    let told = (scale > 1).then(|| Told::of(&sc));
    let mut program = Program::new(&sc, random, Some(damage.precious.clone()), scale, steps.clone());
    stragglers.while_time_passes(&sc, &clock, || program.run());
    let in_memory = std::mem::take(&mut program.in_memory);
    drop(program);
    assert_eq!(chaos::at_rest(&sc), Footprint::default(), "something is kept for what was dropped");
    for (total, count) in [
        (&totals.failures, damage.failures),
        (&totals.outputs, damage.outputs),
        (&totals.blocks, damage.blocks),
        (&totals.copies, stragglers.overtaken()),
        (&totals.flushed, damage.flushed),
    ] {
        total.fetch_add(u64::from(count.load(Ordering::Relaxed)), Ordering::Relaxed);
    }
    sc.stop().unwrap();
    let (spilled, evicted) = told.map_or((0, 0), |told| without_room(told, &in_memory));
    totals.spilled.fetch_add(spilled, Ordering::Relaxed);
    totals.evicted.fetch_add(evicted, Ordering::Relaxed);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[test]
fn random_programs_survive_what_goes_wrong() {
    let seeds = match number("FIRESTEEL_SOAK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FIRESTEEL_SOAK_COUNT").unwrap_or(2_000),
    };
    let alone = seeds.end - seeds.start == 1;
    let (next, totals) = (AtomicU64::new(seeds.start), Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let steps = Arc::new(Mutex::new(String::new()));
                    let run = std::panic::AssertUnwindSafe(|| one(seed, &steps, &totals));
                    if let Err(panic) = std::panic::catch_unwind(run) {
                        eprintln!(
                            "the soak's program {seed} failed: FIRESTEEL_SOAK_SEED={seed} replays it\n{}",
                            steps.lock().unwrap()
                        );
                        next.store(seeds.end, Ordering::Relaxed);
                        std::panic::resume_unwind(panic);
                    }
                    if alone {
                        eprintln!("{}", steps.lock().unwrap());
                    }
                }
            });
        }
    });
    let Totals { failures, outputs, blocks, copies, spilled, flushed, evicted } = &totals;
    let happened =
        [failures, outputs, blocks, copies, spilled, flushed, evicted].map(|count| count.load(Ordering::Relaxed));
    let what = "failures, lost outputs, lost blocks, copies, spilling attempts, outputs on disk, evicted blocks";
    eprintln!("{what}: {happened:?}");
    assert!(alone || happened.iter().all(|count| *count > 0), "{what}: {happened:?}");
}
