//! Tasks that fail, and what their failure costs: what is tried again, what is computed again, what counts.

use crate::chaos::{Chaos, Stragglers, at_rest};
use firesteel::{
    __private::{Footprint, ManualClock, Moment},
    prelude::*,
};
use firesteel_model::{BlockId, JobFailure, PartitionIndex, RddId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

fn local(master: &str) -> Context {
    Context::builder().master(master).build().unwrap()
}

/// Why the job failed.
fn failure<R>(result: Result<R>) -> JobFailure {
    match result {
        Err(Error::Job(failure)) => *failure,
        Err(other) => panic!("not a job's failure: {other}"),
        Ok(_) => panic!("it succeeded"),
    }
}

/// All files under a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

// ---- What the user is told -------------------------------------------------------------------------------------------

#[test]
fn panic_of_user_code_is_told_with_message_place_and_task() {
    let sc = local("local[2]");
    let line = line!() + 1;
    let failed = sc.range_n(0..10, 5).map(|i| if i == 7 { panic!("seven is {}", i) } else { i }).count();
    let failure = failure(failed);
    assert!(failure.message.contains("seven is 7"), "{failure}");
    assert!(failure.message.contains(&format!("failures.rs:{line}:")), "{failure}");
    assert_eq!(failure.call_site, format!("count at failures.rs:{line}"));
    assert_eq!((failure.partition, failure.failures), (Some(PartitionIndex(3)), 1));
    assert!(failure.to_string().contains("task 3 of stage"), "{failure}");
    // The context goes on.
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
}

#[test]
fn error_of_a_try_form_is_told_in_its_own_words() {
    let sc = local("local[2]");
    let texts = sc.parallelize(["12", "1x2"].map(String::from));
    let failure = failure(texts.try_map(|text| text.parse::<u32>()).collect());
    assert!(failure.message.contains("invalid digit found in string"), "{failure}");
    assert!(!failure.message.contains("panicked"), "{failure}");
}

#[test]
fn failure_of_a_map_stage_names_the_line_that_made_its_last_rdd() {
    let sc = local("local[2]");
    let line = line!() + 1;
    let pairs = sc.range_n(0..4, 2).map(|i| (i, 10 / (i % 4 - 1)));
    let failure = failure(pairs.reduce_by_key(|a, b| a + b).count());
    assert!(failure.call_site.ends_with(&format!("failures.rs:{line}")), "{failure}");
}

// ---- Tried again -----------------------------------------------------------------------------------------------------

/// Of how many attempts at each of two tasks `f` sees the end, if partition 1 fails so often.
fn attempts(builder: firesteel::ContextBuilder, failures: u32) -> (Result<u64>, u32) {
    let seen = Arc::new(AtomicU32::new(0));
    let counter = seen.clone();
    let builder = builder.tamper(move |info, _, moment| {
        if info.partition.0 == 1 && moment == Moment::Before {
            counter.fetch_add(1, SeqCst);
            assert!(info.attempt_number >= failures, "attempt {} fails", info.attempt_number);
        }
    });
    let result = builder.build().unwrap().range_n(0..10, 2).count();
    (result, seen.load(SeqCst))
}

#[test]
fn task_is_tried_as_often_as_the_master_says() {
    let on = |master: &str| Context::builder().master(master);
    for (master, failures, tried) in [("local[2]", 1, 1), ("local[2,1]", 1, 1), ("local[1,3]", 3, 3), ("local", 1, 1)] {
        let (result, seen) = attempts(on(master), failures);
        let failure = failure(result);
        assert_eq!((failure.failures, seen), (tried, tried), "{master}");
        assert!(failure.message.contains(&format!("attempt {} fails", tried - 1)), "{failure}");
    }
    let (result, seen) = attempts(on("local[2,3]"), 2);
    assert_eq!((result.unwrap(), seen), (10, 3));
    let (result, seen) = attempts(on("local[2]").conf("firesteel.task.maxFailures", 4), 3);
    assert_eq!((result.unwrap(), seen), (10, 4));
}

#[test]
fn accumulators_of_actions_count_each_partition_once_whatever_goes_wrong() {
    for seed in 0..6 {
        let clock = ManualClock::default();
        let stragglers = Stragglers::new(3, 3);
        let chaos = Chaos { seed, failures: 3, lost_outputs: 3, lost_blocks: 3 };
        let builder = Context::builder().master("local[3,4]").conf("firesteel.speculation", true).clock(clock.clone());
        let sc = chaos.unleash(builder, stragglers.clone()).0.build().unwrap();
        let (sum, all) = (sc.long_accumulator("sum"), sc.collection_accumulator::<u64>("all"));
        let sums = sc.range_n(0..200, 9).map(|i| (i % 50, 1u64)).reduce_by_key_into(7, |a, b| a + b).cache();
        stragglers.while_time_passes(&sc, &clock, || {
            for round in 1..=3 {
                sums.for_each_with((sum.clone(), all.clone()), |(sum, all), (key, count)| {
                    sum.add(count as i64);
                    all.add(vec![key]);
                })
                .unwrap();
                assert_eq!((sum.value(), sum.count()), (200 * round, 50 * round as u64), "seed {seed}");
                assert_eq!(all.value().len(), 50 * round as usize, "seed {seed}");
            }
        });
        // What attempts added counts in the order of partitions, not of their ends.
        let once = stragglers.while_time_passes(&sc, &clock, || sums.keys().collect().unwrap());
        assert_eq!(all.value(), [once.clone(), once.clone(), once].concat(), "seed {seed}");
    }
}

// ---- Computed again --------------------------------------------------------------------------------------------------

#[test]
fn lost_map_output_is_made_again_alone() {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let lose = Arc::new(AtomicBool::new(false));
    let lost = lose.clone();
    let sc = Context::builder()
        .master("local[2]")
        .tamper(move |_, executor, moment| {
            if moment == Moment::Before && lost.swap(false, SeqCst) {
                let (shuffle, map, attempt) = executor.shuffles.names()[3];
                assert!(executor.shuffles.remove_output(shuffle, map, attempt));
            }
        })
        .build()
        .unwrap();
    let made = |items: firesteel::PartitionIter<'static, u64>| {
        MADE.fetch_add(1, SeqCst);
        items.map(|i| (i % 10, 1u64))
    };
    let counts = sc.range_n(0..100, 8).map_partitions(made).reduce_by_key_into(3, |a, b| a + b);
    let first = counts.collect().unwrap();
    assert_eq!(MADE.load(SeqCst), 8);
    lose.store(true, SeqCst);
    assert_eq!(counts.collect().unwrap(), first);
    assert_eq!(MADE.load(SeqCst), 9);
    assert_eq!(counts.count().unwrap(), 10);
    assert_eq!(MADE.load(SeqCst), 9);
}

#[test]
fn damaged_block_on_disk_is_computed_again_alone() {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let dir = tempfile::tempdir().unwrap();
    let sc = Context::builder().master("local[2]").conf("firesteel.local.dir", dir.path().display()).build().unwrap();
    let kept = sc.range_n(0..5_000, 4).map_partitions(|items| {
        MADE.fetch_add(1, SeqCst);
        items
    });
    let kept = kept.persist(StorageLevel::DISK_ONLY);
    let first = kept.collect().unwrap();
    assert_eq!(MADE.load(SeqCst), 4);
    let is_block = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("block-"));
    let blocks: Vec<PathBuf> = files(dir.path()).into_iter().filter(is_block).collect();
    assert_eq!(blocks.len(), 4, "{blocks:?}");
    // A byte flipped, a file cut short, a file gone.
    let mut bytes = fs::read(&blocks[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&blocks[0], bytes).unwrap();
    let length = fs::metadata(&blocks[1]).unwrap().len();
    fs::File::options().write(true).open(&blocks[1]).unwrap().set_len(length / 2).unwrap();
    fs::remove_file(&blocks[2]).unwrap();
    for _ in 0..2 {
        match kept.collect() {
            Ok(again) => assert_eq!(again, first),
            Err(e) => panic!("{e}"),
        }
        assert_eq!(MADE.load(SeqCst), 7);
    }
}

#[test]
fn lost_partition_whose_inputs_are_lost_too_is_made_from_the_start() {
    static MAPPED: AtomicU32 = AtomicU32::new(0);
    static REDUCED: AtomicU32 = AtomicU32::new(0);
    let lose = Arc::new(AtomicBool::new(false));
    let (lost, rdd) = (lose.clone(), Arc::new(AtomicU64::new(0)));
    let cached = rdd.clone();
    let sc = Context::builder()
        .master("local[2]")
        .tamper(move |_, executor, moment| {
            if moment == Moment::Before && lost.swap(false, SeqCst) {
                let block = BlockId::Rdd(RddId(cached.load(SeqCst)), PartitionIndex(1));
                assert!(executor.blocks.remove(block).is_some());
                for (shuffle, map, attempt) in executor.shuffles.names().into_iter().skip(2) {
                    executor.shuffles.remove_output(shuffle, map, attempt);
                }
            }
        })
        .build()
        .unwrap();
    let pairs = sc.range_n(0..100, 4).map_partitions(|items| {
        MAPPED.fetch_add(1, SeqCst);
        items.map(|i| (i % 10, i))
    });
    let sums = pairs.reduce_by_key_into(3, |a, b| a + b).map_partitions(|items| {
        REDUCED.fetch_add(1, SeqCst);
        items
    });
    let sums = sums.cache();
    rdd.store(sums.id(), SeqCst);
    let first = sums.collect().unwrap();
    assert_eq!((MAPPED.load(SeqCst), REDUCED.load(SeqCst)), (4, 3));
    for _ in 0..3 {
        // The map stage is skipped, and needed after all.
        assert_eq!(sums.collect().unwrap(), first);
        assert_eq!((MAPPED.load(SeqCst), REDUCED.load(SeqCst)), (4, 3));
    }
    lose.store(true, SeqCst);
    assert_eq!(sums.collect().unwrap(), first);
    // Two map tasks; the lost partition, and its attempts that missed the one output and the other.
    assert_eq!((MAPPED.load(SeqCst), REDUCED.load(SeqCst)), (6, 6));
    assert_eq!(sums.collect().unwrap(), first);
    assert_eq!((MAPPED.load(SeqCst), REDUCED.load(SeqCst)), (6, 6));
}

#[test]
fn success_of_a_superseded_stage_attempt_counts_once() {
    let late = Arc::new(AtomicBool::new(false));
    let (begun, lost) = (late.clone(), AtomicBool::new(false));
    let sc = Context::builder()
        .master("local[3]")
        .tamper(move |info, executor, moment| {
            if info.stage_attempt.0 > 0 && info.partitions == 2 {
                begun.store(true, SeqCst);
            }
            if info.partitions != 2 || info.stage_attempt.0 > 0 {
                return;
            }
            match (moment, info.partition.0) {
                // This one has its result, and keeps it until its stage is tried again.
                (Moment::After, 0) => {
                    while !begun.load(SeqCst) {
                        std::thread::yield_now();
                    }
                }
                (Moment::Before, 1) if !lost.swap(true, SeqCst) => {
                    let (shuffle, map, attempt) = executor.shuffles.names()[0];
                    executor.shuffles.remove_output(shuffle, map, attempt);
                }
                _ => {}
            }
        })
        .build()
        .unwrap();
    let seen = sc.long_accumulator("seen");
    let counts = sc.range_n(0..60, 5).map(|i| (i % 6, 1u64)).reduce_by_key_into(2, |a, b| a + b);
    counts.for_each_with(seen.clone(), |seen, (_, count)| seen.add(count as i64)).unwrap();
    assert_eq!((seen.value(), seen.count()), (60, 6));
    assert!(late.load(SeqCst), "no stage was tried again");
    drop(counts);
    drop(seen);
    assert_eq!(at_rest(&sc), Footprint::default());
}

#[test]
fn rerun_with_other_data_rolls_back_what_followed() {
    static RUN: AtomicU64 = AtomicU64::new(0);
    for cached in [false, true] {
        let lost = AtomicBool::new(false);
        let sc = Context::builder()
            .master("local[1]")
            .tamper(move |info, executor, moment| {
                // The first result is there; the second task misses an output of a map task.
                if info.partitions == 4 && info.partition.0 == 1 && moment == Moment::Before && !lost.swap(true, SeqCst)
                {
                    let (shuffle, map, attempt) = executor.shuffles.names()[0];
                    assert_eq!(map, PartitionIndex(0));
                    executor.shuffles.remove_output(shuffle, map, attempt);
                }
            })
            .build()
            .unwrap();
        // Every run of the first map task numbers its records anew.
        let unsteady = sc.range_n(0..40, 2).map_partitions(|items| {
            let run = RUN.fetch_add(1, SeqCst);
            items.map(move |i| (i + 1_000 * run, run))
        });
        let moved = unsteady.partition_by(4).erase();
        let moved = if cached { moved.cache().erase() } else { moved };
        let seen = sc.long_accumulator("seen");
        let records = moved.map_with(seen.clone(), |seen, record| {
            seen.add(1);
            record
        });
        let all = records.collect().unwrap();
        assert_eq!(all.len(), 40, "cached: {cached}");
        let mut numbers: Vec<u64> = all.iter().map(|(i, run)| i - 1_000 * run).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..40).collect::<Vec<_>>(), "each number once, of one run (cached: {cached})");
        assert_eq!(seen.value(), 40, "cached: {cached}");
        let mut again = moved.collect().unwrap();
        let mut all = all;
        again.sort_unstable();
        all.sort_unstable();
        assert_eq!(again, all, "cached: {cached}");
    }
}

// ---- Output ----------------------------------------------------------------------------------------------------------

#[test]
fn each_partition_is_committed_once_by_whichever_attempt() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let (clock, stragglers) = (ManualClock::default(), Stragglers::new(2, 3));
        let chaos = Chaos { seed, failures: 3, lost_outputs: 4, ..Chaos::default() };
        let builder = Context::builder().master("local[3,4]").conf("firesteel.speculation", true).clock(clock.clone());
        let sc = chaos.unleash(builder, stragglers.clone()).0.build().unwrap();
        let lines = sc.range_n(0..90, 5).map(|i| (i % 9, i)).partition_by(6).sort_by_key(true).values();
        let (count, kept) = stragglers.while_time_passes(&sc, &clock, || {
            lines.save_as_text_file(out.to_str().unwrap()).unwrap();
            at_rest(&sc);
            (lines.num_partitions().unwrap(), lines.collect().unwrap())
        });
        let expected: Vec<PathBuf> = (["_SUCCESS".to_string()].into_iter())
            .chain((0..count).map(|i| format!("part-{i:05}")))
            .map(|name| out.join(name))
            .collect();
        let is_checksum = |path: &PathBuf| path.extension().is_some_and(|e| e == "crc");
        let found: Vec<PathBuf> = files(&out).into_iter().filter(|path| !is_checksum(path)).collect();
        assert_eq!(found, expected, "seed {seed}");
        let written: String = expected[1..].iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let kept: String = kept.iter().map(|i| format!("{i}\n")).collect();
        assert_eq!(written, kept, "seed {seed}");
    }
}

#[test]
fn failed_job_leaves_no_output_even_if_a_task_goes_on() {
    static FAILED: AtomicBool = AtomicBool::new(false);
    static WRITING: AtomicBool = AtomicBool::new(false);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let sc = local("local[2]");
    let lines = sc.range_n(0..4, 2).map(|i| {
        if i == 0 {
            while !WRITING.load(SeqCst) {
                std::thread::yield_now();
            }
            panic!("no more");
        }
        WRITING.store(true, SeqCst);
        // This code cannot be interrupted, and comes to an end long after the job.
        while i >= 2 && !FAILED.load(SeqCst) {
            std::thread::yield_now();
        }
        i
    });
    let failure = failure(lines.save_as_text_file(out.to_str().unwrap()));
    assert!(failure.message.contains("no more"), "{failure}");
    assert!(!out.exists());
    FAILED.store(true, SeqCst);
    drop(lines);
    assert_eq!(at_rest(&sc), Footprint::default());
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    assert!(!out.exists());
}

static LAST_ELEMENT: AtomicBool = AtomicBool::new(false);
static GO_ON: AtomicBool = AtomicBool::new(false);

/// Two partitions: the second one fails when the first has come to its last element, where it waits, too late to be interrupted.
fn late_and_failing(sc: &Context) -> Rdd<u64> {
    let waiting = sc.range_n(0..10, 2).map(|i| {
        if i == 4 {
            LAST_ELEMENT.store(true, SeqCst);
            while !GO_ON.load(SeqCst) {
                std::thread::yield_now();
            }
        }
        while i == 5 && !LAST_ELEMENT.load(SeqCst) {
            std::thread::yield_now();
        }
        if i == 5 { panic!("the job fails") } else { i }
    });
    waiting.erase()
}

#[test]
fn attempt_that_outlives_its_job_and_its_rdd_leaves_nothing() {
    for fails in [false, true] {
        let made: [fn(&Context) -> Rdd<u64>; 3] = [
            |sc| late_and_failing(sc).map(|i| (i % 3, i)).reduce_by_key_into(2, |a, b| a + b).keys().erase(),
            |sc| late_and_failing(sc).cache().erase(),
            |sc| late_and_failing(sc).persist(StorageLevel::DISK_ONLY).map(|i| (i, i)).partition_by(3).keys().erase(),
        ];
        for (i, make) in made.into_iter().enumerate() {
            LAST_ELEMENT.store(false, SeqCst);
            GO_ON.store(false, SeqCst);
            let sc = Context::builder()
                .master("local[2]")
                .tamper(move |_, executor, moment| {
                    if moment == Moment::After {
                        // It has left something already.
                        assert!(executor.blocks.len() + executor.shuffles.len() > 0);
                        assert!(!fails, "too late anyway");
                    }
                })
                .build()
                .unwrap();
            let rdd = make(&sc);
            let told = failure(rdd.count());
            assert!(told.message.contains("the job fails"), "{told}");
            drop(rdd);
            // What was dropped is released before the attempt comes to its end.
            assert!(sc.footprint().unwrap().attempts > 0);
            GO_ON.store(true, SeqCst);
            assert_eq!(at_rest(&sc), Footprint::default(), "{i}, fails: {fails}");
        }
    }
}

// ---- Types of the user's that misbehave ------------------------------------------------------------------------------

/// Panics once when it is dropped, if it is 7.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Bomb(u64);

static ARMED: AtomicBool = AtomicBool::new(false);
static DROPS: std::sync::Mutex<()> = std::sync::Mutex::new(());

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == 7 && !std::thread::panicking() && ARMED.swap(false, SeqCst) {
            panic!("the drop of seven");
        }
    }
}

#[test]
fn panic_of_a_drop_fails_its_task_alone() {
    let _one_at_a_time = DROPS.lock();
    let sc = local("local[2]");
    let bombs = sc.range_n(0..20, 4).map(Bomb);
    ARMED.store(true, SeqCst);
    let failure = failure(bombs.filter(|bomb| bomb.0 % 2 == 0).count());
    assert!(failure.message.contains("the drop of seven"), "{failure}");
    assert_eq!(bombs.count().unwrap(), 20);
    // The attempt that follows finds nothing wrong.
    let sc = local("local[2,2]");
    ARMED.store(true, SeqCst);
    assert_eq!(sc.range_n(0..20, 4).map(Bomb).filter(|bomb| bomb.0 % 2 == 0).count().unwrap(), 10);
    assert!(!ARMED.load(SeqCst));
}

#[test]
fn panic_of_a_drop_on_the_drivers_side_leaves_the_context_whole() {
    let _one_at_a_time = DROPS.lock();
    // Results of a job that fails afterwards are dropped by the driver.
    let sc = local("local[1]");
    let bombs = sc.range_n(0..20, 4).map(|i| if i == 19 { panic!("the last") } else { Bomb(i) });
    ARMED.store(true, SeqCst);
    let failure = failure(bombs.collect());
    assert!(failure.message.contains("the last"), "{failure}");
    drop(bombs);
    assert_eq!(at_rest(&sc), Footprint::default());
    assert!(!ARMED.load(SeqCst), "the result was not dropped");
    // Cached elements and shuffled ones, dropped when their RDD goes.
    let cached = sc.range_n(0..20, 4).map(Bomb).cache();
    let shuffled = sc.range_n(0..20, 4).map(|i| (i % 3, Bomb(i))).partition_by(2);
    assert_eq!((cached.count().unwrap(), shuffled.count().unwrap()), (20, 20));
    ARMED.store(true, SeqCst);
    drop(cached);
    assert_eq!(sc.footprint().unwrap().blocks, 0);
    assert!(!ARMED.load(SeqCst), "the cached elements were not dropped");
    ARMED.store(true, SeqCst);
    drop(shuffled);
    assert_eq!(sc.footprint().unwrap(), Footprint::default());
    assert!(!ARMED.load(SeqCst), "the shuffled elements were not dropped");
    assert_eq!(sc.range(0..5).count().unwrap(), 5);
}

#[test]
fn panics_that_go_on_while_they_are_cleared_up_end_no_thread() {
    let _one_at_a_time = DROPS.lock();
    let sc = local("local[1]");
    ARMED.store(true, SeqCst);
    // The panic's own payload panics when it is dropped.
    let told = failure(sc.range_n(0..4, 2).map(|i| if i == 0 { std::panic::panic_any(Bomb(7)) } else { i }).count());
    assert!(told.message.contains("panicked"), "{told}");
    assert!(!ARMED.swap(true, SeqCst));
    // The environment of an attempt does.
    let told = failure(sc.range_n(0..4, 2).map_with(Bomb(7), |bomb, i| bomb.0 + i).count());
    assert!(told.message.contains("the drop of seven"), "{told}");
    // What runs at a task's end does.
    let hooked = sc.range_n(0..4, 2).map(|i| {
        TaskContext::get().unwrap().on_completion(|| panic!("at the very end"));
        i
    });
    let told = failure(hooked.map(Bomb).count());
    assert!(told.message.contains("at the very end"), "{told}");
    assert_eq!(sc.range(0..5).count().unwrap(), 5);
}

#[test]
fn hooks_of_a_tasks_end_see_how_it_ended() {
    let sc = local("local[1]");
    static SEEN: std::sync::Mutex<Vec<(bool, bool)>> = std::sync::Mutex::new(Vec::new());
    let watched = sc.range_n(0..4, 4).map(|i| {
        let task = TaskContext::get().unwrap();
        assert!(!task.is_completed() && !task.is_failed());
        let same = task.clone();
        task.on_completion(move || SEEN.lock().unwrap().push((same.is_completed(), same.is_failed())));
        assert_ne!(i, 3, "not three");
        i
    });
    assert!(watched.count().is_err());
    let seen = SEEN.lock().unwrap();
    assert!(seen.iter().all(|(completed, _)| *completed), "{seen:?}");
    assert_eq!(seen.iter().filter(|(_, failed)| *failed).count(), 1, "{seen:?}");
}

/// Cannot be cloned, if it is 7.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Unique(u64);

impl Clone for Unique {
    fn clone(&self) -> Self {
        assert_ne!(self.0, 7, "the clone of seven");
        Unique(self.0)
    }
}

#[test]
fn panic_of_a_clone_fails_its_task() {
    let sc = local("local[2]");
    let kept = sc.range_n(0..20, 4).map(Unique).cache();
    assert_eq!(kept.count().unwrap(), 20);
    let told = failure(kept.collect());
    assert!(told.message.contains("the clone of seven"), "{told}");
    // Whoever only looks needs no clone.
    assert_eq!(kept.filter(|unique| unique.0 != 7).count().unwrap(), 19);
    assert_eq!(kept.map_ref(|unique| unique.0).sum().unwrap(), 190.0);
    let told = failure(sc.range_n(0..20, 4).map(|i| (i % 3, Unique(i))).group_by_key().count());
    assert!(told.message.contains("the clone of seven"), "{told}");
}

/// Cannot be written: panics, or returns an error.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Unwritable(bool);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        assert!(!self.0, "not to be written");
        Err(serde::ser::Error::custom("refuses to be written"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom("refuses to be read"))
    }
}

/// What every way across a boundary says.
fn boundaries<T: Key>(made: &Rdd<T>) -> Vec<(&'static str, JobFailure)> {
    vec![
        ("collect", failure(made.collect())),
        ("take", failure(made.take(1))),
        ("reduce", failure(made.reduce(|a, _| a))),
        ("cache", failure(made.cache().count())),
        ("on disk", failure(made.persist(StorageLevel::DISK_ONLY).count())),
        ("as bytes", failure(made.persist(StorageLevel::MEMORY_ONLY_SER).count())),
        ("shuffle", failure(made.map(|item| (1, item)).group_by_key().count())),
        ("distinct", failure(made.distinct().count())),
        ("repartition", failure(made.repartition(2).count())),
    ]
}

#[test]
fn value_that_cannot_be_written_is_named_wherever_it_crosses() {
    let sc = local("local[2,3]");
    for (way, failure) in boundaries(&sc.range_n(0..20, 4).map(|_| Unwritable(false)).erase()) {
        assert!(failure.message.contains("refuses to be written"), "{way}: {failure}");
        assert!(failure.message.contains("Unwritable"), "{way}: {failure}");
        assert_eq!(failure.failures, 1, "{way}: another attempt could not write it either: {failure}");
    }
    for (way, failure) in boundaries(&sc.range_n(0..20, 4).map(|_| Unwritable(true)).erase()) {
        assert!(failure.message.contains("not to be written"), "{way}: {failure}");
        assert!(failure.message.contains("failures.rs:"), "{way}: {failure}");
    }
    assert_eq!(sc.range(0..5).count().unwrap(), 5);
    let failure = failure(sc.range_n(0..5, 2).map_with(Unwritable(false), |_, i| i).count());
    assert!(failure.message.contains("refuses to be written"), "{failure}");
}

/// Needs a format that says what each value is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[test]
fn untagged_element_is_refused_by_name() {
    let sc = local("local[2,3]");
    let made = sc.range_n(0..20, 4).map(|i| if i > 5 { Untagged::Number(i) } else { Untagged::Text("x".into()) });
    for (way, failure) in boundaries(&made.erase()) {
        assert!(failure.message.contains("Untagged") && failure.message.contains("untagged"), "{way}: {failure}");
        assert_eq!(failure.failures, 1, "{way}: {failure}");
    }
    // Within a stage nothing is written.
    assert_eq!(made.count().unwrap(), 20);
    let told = failure(sc.parallelize(vec![Untagged::Number(1)]).collect());
    assert!(told.message.contains("uses #[serde(untagged)]"), "{told}");
}

/// Leaves its field out when there is nothing in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<u64>,
}

#[test]
fn attribute_that_shows_in_a_later_record_is_refused_whatever_was_seen_before() {
    let sc = local("local[2]");
    let full = sc.range_n(0..20, 4).map(|i| Sparse { note: Some(i) });
    let sparse = sc.range_n(0..20, 4).map(|i| Sparse { note: (i != 3).then_some(i) });
    for _ in 0..2 {
        assert_eq!(full.collect().unwrap().iter().filter_map(|sparse| sparse.note).sum::<u64>(), 190);
        for (way, failure) in [
            ("collect", failure(sparse.collect())),
            ("cache", failure(sparse.cache().count())),
            ("shuffle", failure(sparse.map(|item| (1, item)).group_by_key().count())),
            ("repartition", failure(sparse.repartition(2).count())),
        ] {
            let named = failure.message.contains("Sparse") && failure.message.contains("skip_serializing_if");
            assert!(named, "{way}: {failure}");
        }
    }
}

/// Can be written, but not read back.
#[derive(Clone, Debug, Serialize)]
struct OneWay(u8);

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom("is lost on the way"))
    }
}

#[test]
fn users_are_told_of_their_types_not_of_the_engines() {
    let sc = local("local[2]");
    let told = failure(sc.range_n(0..4, 2).map_with(OneWay(1), |_, i| i).filter(|i| *i > 0).count());
    assert!(told.message.contains("is lost on the way") && !told.message.contains("firesteel"), "{told}");
    let gone = sc.broadcast(1u64);
    let reading = sc.range_n(0..4, 2).map_with(gone.clone(), |gone, i| i + gone.value()).filter(|i| *i > 0);
    gone.destroy().unwrap();
    let told = reading.count().unwrap_err().to_string();
    assert!(told.contains("broadcast 0 is used after it was destroyed") && !told.contains("firesteel"), "{told}");
}

#[test]
fn broadcast_that_the_format_cannot_carry_fails_the_job_that_reads_it_by_name() {
    let sc = local("local[2,3]");
    let one = sc.broadcast(Untagged::Number(1));
    let told = failure(sc.range_n(0..4, 2).map_with(one.clone(), |one, i| (one.value().clone(), i)).count());
    assert!(told.message.contains("broadcast") && told.message.contains("uses #[serde(untagged)]"), "{told}");
    assert_eq!(told.failures, 1, "not tried again");
    // On the driver it is a value like any other.
    assert!(matches!(one.value(), Untagged::Number(1)));
}

#[test]
fn merge_of_an_accumulator_that_panics_fails_the_task_that_adds() {
    let sc = local("local[2]");
    let picky = sc.accumulator("picky", 0u64, |sum, more| {
        assert_ne!(more, 7, "no sevens");
        *sum += more;
    });
    let numbers = sc.range_n(0..10, 2);
    let told = failure(numbers.for_each_with(picky.clone(), |picky, i| picky.add(i)));
    assert!(told.message.contains("no sevens"), "{told}");
    numbers.filter(|i| *i != 7).for_each_with(picky.clone(), |picky, i| picky.add(i)).unwrap();
    // Partition 1 of the failed job counted nothing.
    assert!([38, 38 + 10].contains(&picky.value()), "{}", picky.value());
}

#[test]
fn update_that_the_drivers_merge_refuses_is_lost_alone() {
    let sc = local("local[2]");
    // The merge of sums on the driver panics at 10, what tasks add to their zero is smaller.
    let picky = sc.accumulator("picky", 0u64, |sum, more| {
        assert_ne!(more, 10, "no tens");
        *sum += more;
    });
    let numbers = sc.range_n(0..10, 2);
    numbers.for_each_with(picky.clone(), |picky, i| picky.add(i)).unwrap();
    assert_eq!(picky.value(), 35);
    assert_eq!(numbers.count().unwrap(), 10);
}

// ---- Sizes -----------------------------------------------------------------------------------------------------------

#[test]
fn large_environment_travels() {
    let sc = local("local[2]");
    let table: Vec<u64> = (0..400_000).collect();
    let picked = sc.range_n(0..4, 2).map_with(table, |table, i| table[100_000 * i as usize]);
    assert_eq!(picked.collect().unwrap(), [0, 100_000, 200_000, 300_000]);
    assert_eq!(picked.map(|i| (i % 2, i)).reduce_by_key(|a, b| a + b).collect().unwrap(), [(0, 600_000)]);
}

#[test]
fn element_of_100_megabytes_crosses_every_boundary() {
    let dir = tempfile::tempdir().unwrap();
    let sc = Context::builder().master("local[2]").conf("firesteel.local.dir", dir.path().display()).build().unwrap();
    let large = sc.range_n(0..2, 2).map(|i| "x".repeat(if i == 0 { 100 << 20 } else { 1 }));
    for level in [StorageLevel::MEMORY_ONLY_SER, StorageLevel::DISK_ONLY] {
        let kept = large.persist(level);
        assert_eq!(kept.map_ref(|text| text.len()).collect().unwrap(), [100 << 20, 1], "{level}");
        assert_eq!(kept.map_ref(|text| text.len()).collect().unwrap(), [100 << 20, 1], "{level}");
    }
    assert_eq!(large.repartition(1).map_ref(|text| text.len()).sum().unwrap(), ((100 << 20) + 1) as f64);
    assert_eq!(large.first().unwrap().len(), 100 << 20);
}

#[test]
fn results_larger_than_allowed_are_refused_with_the_setting_that_says_so() {
    let sc = Context::builder().master("local[2]").conf("firesteel.driver.maxResultSize", "1m").build().unwrap();
    let numbers = sc.range_n(0..200_000, 4);
    let told = failure(numbers.collect());
    assert!(told.message.contains("driver.maxResultSize"), "{told}");
    let one = failure(sc.range_n(0..1, 1).map(|_| "x".repeat(2 << 20)).collect());
    assert!(one.message.contains("driver.maxResultSize"), "{one}");
    assert_eq!(numbers.count().unwrap(), 200_000);
    assert_eq!(numbers.take(1_000).unwrap().len(), 1_000);
    assert_eq!(at_rest(&sc).jobs, 0);
}
