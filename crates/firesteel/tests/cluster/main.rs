//! Executors in processes of their own: the same answers as on threads, also while the processes die.
//!
//! Its own harness, because executors are this program again: `cargo test --test cluster [part of a name]`.

mod awkward;
mod chaos;
mod links;
#[path = "../random_program/mod.rs"]
mod random_program;
mod relay;
mod standalone;

use awkward::*;
use chaos::{
    children_of, random_programs_survive_a_cluster_whose_parts_die_at_random,
    random_programs_survive_executors_that_die_at_random,
};
use firesteel::{ContextBuilder, prelude::*};
use links::*;
use serde::{Deserialize, Serialize};
use standalone::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// What a test needs: a scratch folder and a folder for executors' logs.
struct Ground {
    dir: PathBuf,
    /// Removed at the test's end.
    _own: Option<tempfile::TempDir>,
}

impl Ground {
    fn new() -> Self {
        let own = tempfile::tempdir().unwrap();
        Ground { dir: own.path().into(), _own: Some(own) }
    }
    fn at(dir: &Path) -> Self {
        Ground { dir: dir.into(), _own: None }
    }
    fn dir(&self) -> &Path {
        &self.dir
    }
    fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }
    fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }
    fn builder(&self, master: &str) -> ContextBuilder {
        fs::create_dir_all(self.scratch()).unwrap();
        Context::builder()
            .master(master)
            .conf("firesteel.local.dir", self.scratch().display())
            .conf("firesteel.worker.dir", self.logs().display())
            .conf("firesteel.shuffle.io.retryWait", "100ms")
            .conf("firesteel.ui.showConsoleProgress", false)
    }
    fn cluster(&self) -> Context {
        self.builder(TWO).build().unwrap()
    }
    /// What executors have printed to `stream`.
    fn printed(&self, stream: &str) -> String {
        files(&self.logs())
            .iter()
            .filter(|path| path.ends_with(stream))
            .map(|p| fs::read_to_string(p).unwrap())
            .collect()
    }
}

const TWO: &str = "local-cluster[2,1,512]";

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

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// The processes that run tasks, of two executors or more.
fn executors(sc: &Context) -> BTreeSet<u32> {
    so_many_executors(sc, 2)
}

/// The same of so many.
fn so_many_executors(sc: &Context, least: usize) -> BTreeSet<u32> {
    let (mut found, tasks) = (BTreeSet::new(), 4 * least);
    // A task for each slot, until all executors have answered: one may begin later than the others.
    while found.len() < least {
        found.extend(sc.range_n(0..tasks as u64, tasks).map(|_| std::process::id()).collect().unwrap());
    }
    found
}

fn numbers(sc: &Context) -> Rdd<(u64, u64)> {
    sc.range_n(0..20_000, 8).map(|i| (i % 97, i)).erase()
}

/// The same elements; `count` tells how many were computed.
fn counted<T: Data>(rdd: &Rdd<T>, count: &LongAccumulator) -> Rdd<T> {
    let counting = rdd.map_with(count.clone(), |count, element| {
        count.add(1);
        element
    });
    counting.erase()
}

/// Answers of many kinds of jobs, with the order of the records.
fn answers(sc: &Context, dir: &Path) -> Vec<String> {
    let numbers = numbers(sc);
    let words = sc.parallelize_n((0..1000).map(|i| format!("word {}", i % 37)), 5).erase();
    let limit = sc.broadcast((0..5000u64).collect::<Vec<_>>());
    let seen = sc.long_accumulator("seen");
    let kept = numbers.filter_with(limit, |limit, (_, i)| limit.value().binary_search(i).is_ok()).cache();
    let sums = numbers.reduce_by_key_into(5, |a, b| a + b);
    let text = dir.join("text");
    words.save_as_text_file(text.display().to_string()).unwrap();
    vec![
        format!("{:?}", sums.collect().unwrap()),
        format!("{:?}", numbers.group_by_key_into(3).map_values(|all| all.len()).glom().collect().unwrap()),
        format!("{:?}", numbers.map(|(k, i)| (i % 1000, k)).sort_by_key_n(true, 4).glom().collect().unwrap()),
        format!("{:?}", sums.join_into(&numbers.filter(|(_, i)| *i < 300), 4).collect().unwrap()),
        format!("{:?}", kept.count().unwrap()),
        format!("{:?}", kept.values().sum().unwrap()),
        format!("{:?}", words.distinct_into(3).glom().collect().unwrap()),
        format!("{:?}", words.zip_with_index().filter(|(_, i)| i % 250 == 0).collect().unwrap()),
        format!(
            "{:?}",
            sc.text_file_n(text.display().to_string(), 4).map(|line| line.len() as u64).reduce(|a, b| a + b).unwrap()
        ),
        format!("{:?}", numbers.for_each_with(seen.clone(), |seen, _| seen.add(1)).map(|()| seen.value()).unwrap()),
        format!("{:?}", numbers.take(5).unwrap()),
        format!("{:?}", words.count_by_value().unwrap().into_iter().collect::<BTreeMap<_, _>>()),
        format!("{:?}", numbers.repartition(3).glom().collect().unwrap()),
    ]
}

fn answers_are_those_of_threads_record_by_record() {
    let ground = Ground::new();
    let on_threads = answers(&ground.builder("local[2]").build().unwrap(), &ground.dir().join("a"));
    let on_processes = answers(&ground.cluster(), &ground.dir().join("b"));
    for (threads, processes) in on_threads.iter().zip(&on_processes) {
        assert_eq!(threads, processes);
    }
}

fn tasks_run_in_other_processes_and_print_to_their_logs() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let pids = executors(&sc);
    assert_eq!(pids.len(), 2);
    assert!(!pids.contains(&std::process::id()));
    sc.range_n(0..4, 2).for_each(|i| println!("this is {i}")).unwrap();
    sc.stop().unwrap();
    assert!(ground.printed("stdout").contains("this is 3"));
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "executor {pid} is still there");
    }
    assert_eq!(files(&ground.scratch()), Vec::<PathBuf>::new());
}

fn executors_are_set_up_once_and_children_of_tasks_are_no_executors() {
    static SET_UP: AtomicU64 = AtomicU64::new(0);
    let ground = Ground::new();
    let setup = || {
        SET_UP.fetch_add(1, SeqCst);
        Ok(())
    };
    let sc = ground.builder(TWO).executor_setup(setup).build().unwrap();
    assert_eq!(sc.range_n(0..6, 6).map(|_| SET_UP.load(SeqCst)).distinct().collect().unwrap(), [1]);
    assert_eq!(SET_UP.load(SeqCst), 0, "the driver is no executor");
    // What a task starts finds an empty standard input.
    let read = sc.range_n(0..2, 2).try_map(|_| Command::new("cat").output().map(|out| out.stdout.len()));
    assert_eq!(read.collect().unwrap(), [0, 0]);
}

fn panic_of_user_code_is_told_with_message_place_and_executor() {
    let ground = Ground::new();
    let sc = ground.builder(TWO).conf("firesteel.task.maxFailures", 2).build().unwrap();
    let line = line!() + 1;
    let error = sc.range_n(0..10, 5).map(|i| if i == 7 { panic!("seven is {i}") } else { i }).count().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("seven is 7") && text.contains(&format!("main.rs:{line}:")), "{text}");
    let Error::Job(failure) = error else { panic!("{text}") };
    assert_eq!(failure.failures, 2);
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
}

fn killed_executor_costs_what_it_held_and_nothing_else() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let computed = sc.long_accumulator("computed");
    let kept = counted(&numbers(&sc), &computed).cache();
    let sums = kept.reduce_by_key_into(4, |a, b| a + b);
    let expected = sums.collect().unwrap();
    assert_eq!(computed.value(), 20_000);
    let one = *executors(&sc).first().unwrap();
    kill(one);
    assert_eq!(sums.collect().unwrap(), expected, "its map outputs are made again");
    assert_eq!(kept.count().unwrap(), 20_000);
    assert!(computed.value() <= 40_000, "{} computed: what was not lost was computed again", computed.value());
    assert_eq!(executors(&sc).len(), 2, "another one has taken its place");
}

fn all_executors_killed_at_once_cost_time_only() {
    // Twelve are more than may end in a row before they have done anything.
    for number in [2, 12] {
        let ground = Ground::new();
        let sc = ground.builder(&format!("local-cluster[{number},1,256]")).build().unwrap();
        let sums = numbers(&sc).reduce_by_key_into(4, |a, b| a + b);
        let expected = sums.collect().unwrap();
        so_many_executors(&sc, number).into_iter().for_each(kill);
        assert_eq!(sums.collect().unwrap(), expected, "{number} executors");
    }
}

/// How many of them live in this process.
static LIVE: AtomicU64 = AtomicU64::new(0);

#[derive(Serialize)]
struct Counted(u64);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        LIVE.fetch_add(1, SeqCst);
        Ok(Counted(value))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        LIVE.fetch_add(1, SeqCst);
        Counted(self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, SeqCst);
    }
}

fn broadcast_values_leave_executors_with_unpersist_destroy_and_the_last_handle() {
    let ground = Ground::new();
    let sc = ground.cluster();
    executors(&sc);
    let live = || sc.range_n(0..8, 8).map(|_| LIVE.load(SeqCst)).sum().unwrap();
    type Go = fn(Broadcast<Counted>) -> Option<Broadcast<Counted>>;
    let ways: [Go; 3] = [
        |value| {
            value.unpersist(true).unwrap();
            Some(value)
        },
        |value| {
            value.destroy().unwrap();
            Some(value)
        },
        |_| None,
    ];
    for go in ways {
        LIVE.fetch_add(1, SeqCst);
        let value = sc.broadcast(Counted(7));
        let used = sc.range_n(0..8, 8).map_with(value.clone(), |value, i| value.value().0 + i).erase();
        assert_eq!(used.sum().unwrap(), 84.0);
        assert!(live() > 0.0, "the value is kept for the next tasks");
        drop(used);
        let left = go(value);
        assert_eq!(live(), 0.0);
        drop(left);
    }
}

fn added_files_and_folders_reach_executors_as_they_are() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let given = ground.dir().join("given");
    fs::create_dir_all(given.join("deep/empty")).unwrap();
    let large: String = (0..100_000).map(|i| format!("line {i}\n")).collect();
    fs::write(given.join("deep/large.txt"), &large).unwrap();
    fs::write(given.join("nothing"), "").unwrap();
    let script = ground.dir().join("count.sh");
    fs::write(&script, "#!/bin/sh\nwc -l\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    sc.add_folder(given.display().to_string()).unwrap();
    sc.add_file(script.display().to_string()).unwrap();
    let sizes = sc.range_n(0..4, 4).try_map(|_| -> Result<(usize, bool, usize, u64)> {
        let given = Files::get("given")?;
        let large = fs::read_to_string(given.join("deep/large.txt"))?.len();
        let empty = given.join("deep/empty").is_dir();
        let input = fs::File::open(given.join("deep/large.txt"))?;
        let counted = Command::new(Files::get("count.sh")?).stdin(input).output()?;
        let lines = String::from_utf8_lossy(&counted.stdout).trim().parse().unwrap();
        Ok((large, empty, fs::read_dir(Files::root_directory()?)?.count(), lines))
    });
    assert_eq!(sizes.collect().unwrap(), vec![(large.len(), true, 2, 100_000); 4]);
    let error = sc.range_n(0..1, 1).try_map(|_| Files::get("other")).count().unwrap_err().to_string();
    assert!(error.contains("no file other was added"), "{error}");
}

fn pieces_of_a_broadcast_leave_the_driver_about_once_and_go_from_executor_to_executor() {
    let ground = Ground::new();
    let sc = ground.builder("local-cluster[4,1,512]").conf("firesteel.locality.wait", "0s").build().unwrap();
    let pids = sc.range_n(0..64, 64).map(|_| std::process::id()).distinct().count().unwrap();
    let large = sc.broadcast((0..3_000_000u64).collect::<Vec<_>>());
    let first = sc.range_n(0..64, 64).map_with(large.clone(), |large, i| large.value()[i as usize * 40_000] + i);
    assert_eq!(first.sum().unwrap(), (0..64).map(|i| i * 40_001).sum::<u64>() as f64);
    let sent = sc.footprint().unwrap().pieces_sent;
    // 24 MB are 6 pieces.
    assert!(sent >= 6 && (pids < 3 || sent <= 15), "{pids} executors had {sent} pieces of the driver");
    // One more executor than there were finds them elsewhere, too.
    executors(&sc).into_iter().take(1).for_each(kill);
    assert_eq!(first.sum().unwrap(), (0..64).map(|i| i * 40_001).sum::<u64>() as f64);
    drop((first, large));
    assert_eq!(sc.footprint().unwrap().known_blocks, 0);
}

fn partitions_kept_twice_outlive_one_executor() {
    let ground = Ground::new();
    for level in [StorageLevel::MEMORY_ONLY_2, StorageLevel::MEMORY_AND_DISK_SER_2, StorageLevel::DISK_ONLY_2] {
        let sc = ground.cluster();
        let pids = executors(&sc);
        let computed = sc.long_accumulator("computed");
        let pairs = sc.range_n(0..5_000, 8).map(|i| (i % 7, format!("{i}"))).erase();
        let kept = counted(&pairs, &computed).persist(level);
        let expected = kept.collect().unwrap();
        kill(*pids.first().unwrap());
        assert_eq!(kept.collect().unwrap(), expected, "{level:?}");
        assert_eq!(computed.value(), 5_000, "{level:?}: a copy was there");
        sc.stop().unwrap();
    }
}

fn local_checkpoints_are_found_on_their_executors() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let computed = sc.long_accumulator("computed");
    let kept = counted(&numbers(&sc), &computed).local_checkpoint();
    assert_eq!(kept.count().unwrap(), 20_000);
    assert!(kept.is_checkpointed());
    assert_eq!(kept.reduce_by_key_into(4, |a, b| a + b).count().unwrap(), 97);
    assert_eq!(computed.value(), 20_000, "nothing is computed twice");
    executors(&sc).into_iter().for_each(kill);
    let error = kept.count().unwrap_err().to_string();
    assert!(error.contains("checkpoint"), "{error}");
}

/// Kills the executor that gets here, if it is the first to.
fn dying<T>(mark: &String, here: bool, item: T) -> T {
    if here && fs::create_dir(mark).is_ok() {
        kill(std::process::id());
        loop {
            std::thread::park();
        }
    }
    item
}

fn executor_killed_by_its_own_task_is_tried_elsewhere() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let mark = ground.dir().join("mark").display().to_string();
    let counted = sc.long_accumulator("counted");
    // In the middle of the map stage, and while map outputs are read: each time once.
    for stage in 0..2 {
        let mark = format!("{mark}-{stage}");
        let pairs = numbers(&sc);
        let pairs = match stage {
            0 => pairs
                .map_with(mark, |mark, pair| dying(mark, pair.1 == 12_345, pair))
                .reduce_by_key_into(4, |a, b| a + b)
                .erase(),
            _ => pairs
                .reduce_by_key_into(4, |a, b| a + b)
                .map_with(mark, |mark, pair| dying(mark, pair.0 == 50, pair))
                .erase(),
        };
        let counting = self::counted(&pairs, &counted);
        assert_eq!(counting.values().sum().unwrap(), (0..20_000u64).sum::<u64>() as f64);
        assert_eq!(counted.value(), 97 * (stage + 1), "exactly once in an action");
    }
}

fn program_that_ends_its_executors_is_told_so() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let error = sc.range_n(0..2, 2).map(|i| if i == 1 { std::process::exit(3) } else { i }).count().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit status: 3") && text.contains("stderr"), "{text}");
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
}

fn program_that_takes_more_than_its_executors_memory_loses_them_and_is_told() {
    let ground = Ground::new();
    let sc = ground.builder("local-cluster[2,2,256]").conf("firesteel.task.maxFailures", 2).build().unwrap();
    let greedy = sc.range_n(0..2, 2).map(|i| {
        let mut held = Vec::new();
        while held.len() < 10_000 {
            held.push(vec![i as u8; 1 << 20]);
        }
        held.len()
    });
    let error = greedy.count().unwrap_err().to_string();
    assert!(error.contains("executor's memory of 256 MiB (firesteel.executor.memory)"), "{error}");
    assert!(ground.printed("stderr").contains("has allocated"), "the log says it, too");
    // One that keeps less is served, also by what the engine itself keeps and spills.
    let sorted = sc.range_n(0..600_000, 4).map(|i| (i * 7 % 600_000, format!("{i:0>200}"))).sort_by_key_n(true, 4);
    assert_eq!(sorted.keys().zip_with_index().filter(|(k, i)| k == i).count().unwrap(), 600_000);
}

fn as_many_executors_run_as_the_program_wants_and_the_master_has() {
    let ground = Ground::new();
    let sc = ground.builder("local-cluster[3,1,512]").conf("firesteel.executor.instances", 1).build().unwrap();
    let running = || children_of(std::process::id());
    assert!(!sc.is_local());
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
    assert_eq!(running().len(), 1);
    assert!(sc.request_total_executors(9).unwrap());
    soon("there are all that the master has", || running().len() == 3);
    assert!(sc.request_total_executors(1).unwrap());
    so_many_executors(&sc, 3);
    assert_eq!(running().len(), 3, "what they hold may be wanted");
    running().into_iter().for_each(kill);
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
    soon("one takes the place of all", || running().len() == 1);
}

fn executors_that_cannot_begin_fail_jobs_with_the_reason() {
    let ground = Ground::new();
    let setup = || -> Result<()> { Err(Error::InvalidArgument("no model to load".into())) };
    let sc = ground.builder(TWO).executor_setup(setup).build().unwrap();
    for _ in 0..2 {
        let error = sc.range(0..10).count().unwrap_err().to_string();
        assert!(error.contains("no model to load") && error.contains("no more are started"), "{error}");
    }
}

fn program_that_always_ends_its_executors_fails_its_job_and_the_next() {
    let ground = Ground::new();
    let sc = ground.builder(TWO).conf("firesteel.task.maxFailures", 100).build().unwrap();
    let ending = sc.range_n(0..2, 2).map(|i| if i < 2 { std::process::exit(3) } else { i });
    for _ in 0..2 {
        let error = ending.count().unwrap_err().to_string();
        assert!(error.contains("no more are started") && error.contains("stderr"), "{error}");
    }
}

fn large_values_travel() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let large = sc.broadcast((0..2_000_000u64).collect::<Vec<_>>());
    let sums = sc.range_n(0..4, 4).map_with(large, |large, i| large.value().iter().sum::<u64>() + i);
    assert_eq!(sums.collect().unwrap(), (0..4).map(|i| 1_999_999_000_000 + i).collect::<Vec<_>>());
    let long = sc.range_n(0..3_000_000, 3).collect().unwrap();
    assert!(long.iter().copied().eq(0..3_000_000));
    let items = sc.parallelize_n((0..500_000u64).map(|i| i.to_string()), 4);
    assert_eq!(items.map(|text| text.len() as u64).reduce(|a, b| a + b).unwrap(), 2_888_890);
}

fn cached_partitions_are_read_from_the_executor_that_has_them() {
    let ground = Ground::new();
    let sc = ground.builder(TWO).conf("firesteel.locality.wait", "0s").build().unwrap();
    executors(&sc);
    for level in [StorageLevel::MEMORY_ONLY, StorageLevel::MEMORY_ONLY_SER, StorageLevel::DISK_ONLY] {
        let computed = sc.long_accumulator("computed");
        let kept = counted(&sc.range_n(0..40_000, 8).erase(), &computed).persist(level);
        for _ in 0..4 {
            assert_eq!(kept.map(|i| i * 2).reduce(|a, b| a + b).unwrap(), 39_999 * 40_000, "{level:?}");
        }
        assert_eq!(computed.value(), 40_000, "{level:?}: nothing is computed twice");
    }
}

fn results_larger_than_the_limit_are_refused_before_they_are_fetched() {
    let ground = Ground::new();
    let sc = ground.builder(TWO).conf("firesteel.driver.maxResultSize", "4m").build().unwrap();
    let large = |i: u64| vec![i as u8; 3 << 20];
    assert_eq!(sc.range_n(0..1, 1).map(large).collect().unwrap()[0].len(), 3 << 20);
    let error = sc.range_n(0..4, 4).map(large).collect().unwrap_err().to_string();
    assert!(error.contains("maxResultSize"), "{error}");
}

fn executor_that_is_silent_is_given_up() {
    let ground = Ground::new();
    let sc = ground
        .builder(TWO)
        .conf("firesteel.network.timeout", "2s")
        .conf("firesteel.executor.heartbeatInterval", "200ms")
        .build()
        .unwrap();
    let pids = executors(&sc);
    let one = *pids.first().unwrap();
    assert!(Command::new("kill").args(["-STOP", &one.to_string()]).status().unwrap().success());
    assert_eq!(numbers(&sc).reduce_by_key_into(4, |a, b| a + b).count().unwrap(), 97);
    assert!(!executors(&sc).contains(&one));
}

macro_rules! tests {
    ($($name:ident),* $(,)?) => { const TESTS: &[(&str, fn())] = &[$((stringify!($name), $name)),*]; };
}
tests!(
    answers_are_those_of_threads_record_by_record,
    tasks_run_in_other_processes_and_print_to_their_logs,
    executors_are_set_up_once_and_children_of_tasks_are_no_executors,
    panic_of_user_code_is_told_with_message_place_and_executor,
    killed_executor_costs_what_it_held_and_nothing_else,
    all_executors_killed_at_once_cost_time_only,
    broadcast_values_leave_executors_with_unpersist_destroy_and_the_last_handle,
    pieces_of_a_broadcast_leave_the_driver_about_once_and_go_from_executor_to_executor,
    partitions_kept_twice_outlive_one_executor,
    local_checkpoints_are_found_on_their_executors,
    added_files_and_folders_reach_executors_as_they_are,
    executor_killed_by_its_own_task_is_tried_elsewhere,
    program_that_ends_its_executors_is_told_so,
    program_that_takes_more_than_its_executors_memory_loses_them_and_is_told,
    as_many_executors_run_as_the_program_wants_and_the_master_has,
    executors_that_cannot_begin_fail_jobs_with_the_reason,
    program_that_always_ends_its_executors_fails_its_job_and_the_next,
    large_values_travel,
    cached_partitions_are_read_from_the_executor_that_has_them,
    results_larger_than_the_limit_are_refused_before_they_are_fetched,
    executor_that_is_silent_is_given_up,
    random_programs_survive_executors_that_die_at_random,
    random_programs_survive_a_cluster_whose_parts_die_at_random,
    executor_killed_while_it_writes_output_leaves_each_line_once,
    executors_killed_as_they_commit_output_leave_each_line_once,
    a_full_disk_of_executors_is_passed_over_or_fails_the_job_with_the_reason,
    executor_killed_while_it_fetches_a_broadcast_costs_time_only,
    damaged_files_of_executors_are_computed_again,
    a_kept_partition_that_is_found_damaged_while_another_executor_reads_it_is_computed_again,
    straggler_is_overtaken_and_its_output_is_written_once,
    executor_on_which_tasks_fail_gets_no_more_of_them,
    tasks_go_to_the_executor_that_keeps_their_partition,
    answers_of_a_standalone_cluster_are_those_of_threads,
    as_many_executors_are_granted_as_the_program_wants_also_by_the_next_master,
    killed_worker_takes_its_executors_along_and_costs_what_they_held,
    worker_killed_while_its_executors_map_and_read_costs_time_only,
    map_outputs_of_killed_executors_are_not_made_again,
    map_outputs_of_executors_that_are_given_up_are_not_made_again,
    damaged_files_of_killed_executors_cost_what_was_in_them,
    map_outputs_of_a_killed_executor_go_with_its_worker,
    a_killed_worker_takes_the_map_outputs_of_all_dead_executors_with_it_at_once,
    an_executor_killed_while_it_is_read_from_is_read_on_from_its_worker,
    jobs_go_on_without_a_master_and_the_next_one_knows_them,
    killed_driver_leaves_no_executors_behind,
    jobs_that_no_cluster_can_run_end_with_the_reason,
    connections_that_are_cut_while_a_shuffle_is_read_are_made_again_and_nothing_is_computed_twice,
    connections_that_ended_while_they_rested_cost_no_try,
    a_network_that_is_slow_and_silent_for_less_than_the_limit_costs_time_only,
    executors_out_of_each_others_reach_are_fetch_failures_with_the_reason,
    a_network_that_is_silent_for_longer_than_the_limit_costs_executors_and_is_named,
);

#[firesteel::main]
fn main() {
    be_a_part();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen: Vec<_> =
        TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part))).collect();
    println!("\nrunning {} tests", chosen.len());
    let mut failed = 0;
    for (name, test) in chosen {
        let begun = std::time::Instant::now();
        let ended = std::panic::catch_unwind(test);
        failed += u32::from(ended.is_err());
        println!(
            "test {name} ... {} ({:.1} s)",
            if ended.is_ok() { "ok" } else { "FAILED" },
            begun.elapsed().as_secs_f64()
        );
    }
    println!("\ntest result: {}. {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    if failed > 0 {
        std::process::exit(1);
    }
}
