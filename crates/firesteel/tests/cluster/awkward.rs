//! Executors that die, stand still or lose files at the most awkward moments.

use crate::{
    Ground, TWO, chaos::children_of, counted, dying, executors, files, numbers, so_many_executors, standalone::soon,
};
use firesteel::{
    events::{Event, event::TaskEndReason},
    prelude::*,
};
use rustix::process::{Pid, Signal};
use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// The lines that a folder of text files has, in the order of the files.
fn lines(folder: &Path) -> Vec<String> {
    assert!(folder.join("_SUCCESS").exists());
    let mut names: Vec<_> = files(folder);
    names.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("part-"));
    assert!(files(folder).iter().all(|path| !path.to_string_lossy().contains("_temporary")));
    names
        .iter()
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(String::from).collect::<Vec<_>>())
        .collect()
}

pub(crate) fn executor_killed_while_it_writes_output_leaves_each_line_once() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let (mark, folder) = (ground.dir().join("mark").display().to_string(), ground.dir().join("text"));
    let text =
        sc.range_n(0..10_000, 6).map_with(mark, |mark, i| dying(mark, i == 4_321, i)).map(|i| format!("line {i}"));
    text.save_as_text_file(folder.display().to_string()).unwrap();
    assert_eq!(lines(&folder), (0..10_000).map(|i| format!("line {i}")).collect::<Vec<_>>());
}

/// How many partitions of a job's output have been committed, and not yet the job.
fn committed(folder: &Path) -> usize {
    let jobs = fs::read_dir(folder.join("_temporary")).into_iter().flatten().flatten();
    jobs.filter_map(|job| fs::read_dir(job.path().join("committed")).ok()).flatten().count()
}

pub(crate) fn executors_killed_as_they_commit_output_leave_each_line_once() {
    let ground = Ground::new();
    let sc = ground.cluster();
    for parts in 1..=3 {
        let folder = ground.dir().join(parts.to_string());
        let text = sc.range_n(0..60_000, 40).map(|i| format!("line {i}")).erase();
        let pids: Vec<_> = executors(&sc).into_iter().filter_map(|pid| Pid::from_raw(pid as i32)).collect();
        std::thread::scope(|scope| {
            let saving = scope.spawn(|| text.save_as_text_file(folder.display().to_string()));
            // Looked at again at once: who has renamed a file is to have no time to say so.
            while committed(&folder) < parts {
                assert!(!saving.is_finished(), "the job has ended before {parts} partitions were seen");
            }
            pids.iter().for_each(|pid| rustix::process::kill_process(*pid, Signal::KILL).unwrap());
            saving.join().unwrap().unwrap();
        });
        assert_eq!(lines(&folder), (0..60_000).map(|i| format!("line {i}")).collect::<Vec<_>>());
    }
}

/// Where executors may write, as what is left of a disk of one mebibyte, and what becomes of a shuffle that needs more.
fn shuffled_to(small: &Path, folders: &str) -> Option<String> {
    let mount = "mount -t tmpfs -o size=1m none \"$0\"";
    let in_namespaces = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script]).arg(small).arg(std::env::current_exe().unwrap());
        command
    };
    if !in_namespaces(mount).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = in_namespaces(&format!("{mount} && exec \"$1\" --be shuffler \"$2\""));
    let mut part = command.arg(folders).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    part.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    part.wait().unwrap();
    Some(said)
}

/// A driver whose executors shuffle 6 MB that get no smaller by compression, with next to no memory; what it comes to.
pub(crate) fn shuffle_to(folders: &str) -> String {
    let ground = Ground::new();
    let sc = ground.builder(TWO).conf("firesteel.local.dir", folders).conf("firesteel.memory.budget", "1m").build();
    let noise = sc.unwrap().range_n(0..10_000, 4).map(|i| {
        let mixed = |i: u64| (i ^ (i >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed(i), (0..80).map(|j| mixed(i * 80 + j)).collect::<Vec<_>>())
    });
    noise.group_by_key_into(4).count().map_or_else(|e| e.to_string(), |count| count.to_string())
}

pub(crate) fn a_full_disk_of_executors_is_passed_over_or_fails_the_job_with_the_reason() {
    let ground = Ground::new();
    let [small, large] = ["small", "large"].map(|name| ground.dir().join(name));
    fs::create_dir(&small).unwrap();
    fs::create_dir(&large).unwrap();
    let (small_alone, both) = (small.display().to_string(), format!("{},{}", small.display(), large.display()));
    let Some(passed) = shuffled_to(&small, &both) else {
        return println!("not tested: no file system can be mounted here (`unshare -rm` does not work)");
    };
    assert_eq!(passed.trim(), "10000");
    let failed = shuffled_to(&small, &small_alone).unwrap();
    for part in ["job ", "No space left on device", &small_alone, "`firesteel.local.dir`"] {
        assert!(failed.contains(part), "{failed}");
    }
}

pub(crate) fn executor_killed_while_it_fetches_a_broadcast_costs_time_only() {
    let ground = Ground::new();
    let sc = ground.cluster();
    let pids = executors(&sc);
    let large = sc.broadcast((0..1_500_000u64).collect::<Vec<_>>());
    let sums = sc.range_n(0..8, 8).map_with(large, |large, i| large.value()[i as usize]).erase();
    let (job, one) = (sums.collect_async(), *pids.first().unwrap());
    crate::kill(one);
    assert_eq!(job.get().unwrap(), (0..8).collect::<Vec<_>>());
    assert_eq!(sums.collect().unwrap(), (0..8).collect::<Vec<_>>());
}

fn flip_a_bit(path: &Path, eighth: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (mut byte, at) = ([0], file.metadata().unwrap().len() / 8 * eighth);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn block_files(ground: &Ground) -> Vec<PathBuf> {
    files(&ground.scratch()).into_iter().filter(|path| path.to_string_lossy().contains("block-")).collect()
}

pub(crate) fn damaged_files_of_executors_are_computed_again() {
    let damages: [(&str, fn(&Path)); 3] = [
        ("cut", |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("flipped", |path| flip_a_bit(path, 4)),
        ("deleted", |path| fs::remove_file(path).unwrap()),
    ];
    for (what, damage) in damages {
        let ground = Ground::new();
        let sc = ground.builder(TWO).conf("firesteel.shuffle.io.maxRetries", 0).build().unwrap();
        executors(&sc);
        let kept = numbers(&sc).persist(StorageLevel::DISK_ONLY);
        let sums = kept.reduce_by_key_into(4, |a, b| a + b);
        let (expected, all) = (sums.glom().collect().unwrap(), kept.glom().collect().unwrap());
        let damaged = block_files(&ground);
        damaged.iter().for_each(|path| damage(path));
        assert!(damaged.len() >= 8, "{damaged:?}");
        assert_eq!(sums.glom().collect().unwrap(), expected, "{what}");
        assert_eq!(kept.glom().collect().unwrap(), all, "{what}");
    }
}

pub(crate) fn a_kept_partition_that_is_found_damaged_while_another_executor_reads_it_is_computed_again() {
    const RECORDS: u64 = 300_000;
    let ground = Ground::new();
    let sc = ground.builder(TWO).conf("firesteel.locality.wait", "200ms").build().unwrap();
    executors(&sc);
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let tell = told.clone();
    let listener = move |event: &Event| {
        if let Event::TaskEnd(end) = event
            && let TaskEndReason::TaskKilled { reason, .. } = &end.reason
        {
            tell.lock().unwrap().push(reason.to_string());
        }
    };
    sc.add_listener(listener).unwrap();
    let computed = sc.long_accumulator("computed");
    // Many chunks, of which the first are sound.
    let kept = counted(&sc.range_n(0..RECORDS, 1).erase(), &computed).persist(StorageLevel::DISK_ONLY);
    assert_eq!(kept.count().unwrap(), RECORDS);
    let damaged = block_files(&ground);
    assert_eq!(damaged.len(), 1);
    flip_a_bit(&damaged[0], 7);
    // The executor that has it is busy, so the other one asks for it.
    let [begun, over] = ["begun", "over"].map(|name| ground.dir().join(name));
    let busy = kept.map_with((begun.clone(), over.clone()), |(begun, over), i| {
        fs::write(begun, "").unwrap();
        soon("the other has read", || over.exists());
        i
    });
    let read = std::thread::scope(|scope| {
        scope.spawn(|| busy.take(1).unwrap());
        soon("one is busy", || begun.exists());
        let read = kept.collect();
        fs::write(over, "").unwrap();
        read
    });
    assert!(read.unwrap().into_iter().eq(0..RECORDS));
    assert_eq!(computed.value(), 2 * RECORDS as i64);
    sc.stop().unwrap();
    let told = told.lock().unwrap();
    assert!(matches!(&told[..], [why] if why.contains("of executor") && why.contains("checksum")), "{told:?}");
}

pub(crate) fn straggler_is_overtaken_and_its_output_is_written_once() {
    let ground = Ground::new();
    let sc = ground
        .builder("local-cluster[3,1,512]")
        .conf("firesteel.speculation", true)
        .conf("firesteel.speculation.quantile", "0.5")
        .conf("firesteel.locality.wait", "0s")
        .build()
        .unwrap();
    so_many_executors(&sc, 3);
    let (mark, folder) = (ground.dir().join("mark").display().to_string(), ground.dir().join("text"));
    let counted = sc.long_accumulator("counted");
    let slow = sc.range_n(0..3_000, 12).map_with((mark, counted.clone()), |(mark, counted), i| {
        if i == 1_600 && fs::create_dir(mark).is_ok() {
            // It stands still, and is not dead: nobody gives it up before the job has ended.
            let own = std::process::id().to_string();
            Command::new("kill").args(["-STOP", &own]).status().unwrap();
            // The signal reaches one thread, and in time the others: this one must not end its task meanwhile.
            std::thread::sleep(Duration::from_secs(600));
        }
        counted.add(1);
        i
    });
    let begun = std::time::Instant::now();
    slow.map(|i| format!("{i}")).save_as_text_file(folder.display().to_string()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "it would have waited for the time limit of two minutes");
    assert_eq!(lines(&folder), (0..3_000).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(counted.value(), 3_000);
    children_of(std::process::id()).into_iter().for_each(crate::kill);
}

pub(crate) fn executor_on_which_tasks_fail_gets_no_more_of_them() {
    let ground = Ground::new();
    let sc = ground.builder(TWO).conf("firesteel.excludeOnFailure.enabled", true).build().unwrap();
    let pids = executors(&sc);
    let (told, events) = std::sync::mpsc::channel();
    sc.add_listener(move |event: &Event| drop(told.send(event.clone()))).unwrap();
    let (broken, sound) = (*pids.first().unwrap(), *pids.last().unwrap());
    let counted = sc.long_accumulator("counted");
    let places = sc.range_n(0..12, 12).map_with((broken, counted.clone()), |(broken, counted), _| {
        assert_ne!(std::process::id(), *broken, "this executor is broken");
        counted.add(1);
        std::process::id()
    });
    assert_eq!(places.collect().unwrap(), [sound; 12]);
    assert_eq!(counted.value(), 12);
    // The next job does not try it again.
    assert_eq!(places.collect().unwrap(), [sound; 12]);
    // Where every executor has failed, one is replaced, and a task that fails there, too, has nowhere left to go.
    let error = sc.range_n(0..2, 2).map(|i| assert_ne!(i, 1, "one is bad")).count().unwrap_err().to_string();
    for part in ["task 1 of stage", "may run on no executor", "one is bad", "excludeOnFailure"] {
        assert!(error.contains(part), "{error}");
    }
    sc.stop().unwrap();
    let (mut failed, mut of_stages, mut of_application) = (Vec::new(), 0, 0);
    for event in events {
        match event {
            Event::TaskEnd(end) if end.task.failed => failed.push(end.stage.0),
            Event::ExecutorExcludedForStage(excluded) => of_stages += excluded.task_failures,
            Event::ExecutorExcluded(excluded) => of_application += excluded.task_failures,
            _ => {}
        }
    }
    let first = failed[0];
    assert_eq!(failed.iter().filter(|stage| **stage == first).count(), 2, "{failed:?}");
    assert_eq!((failed.len(), of_stages, of_application), (4, 2, 2));
}

pub(crate) fn tasks_go_to_the_executor_that_keeps_their_partition() {
    let ground = Ground::new();
    let sc = ground.cluster();
    executors(&sc);
    let place = |i: u64| (i, std::process::id());
    let kept = sc.range_n(0..8, 8).map(place).cache();
    let at = kept.collect().unwrap();
    for _ in 0..5 {
        let run = kept.map(|(i, kept_at)| (i, kept_at, std::process::id())).collect().unwrap();
        assert!(run.iter().all(|(_, kept_at, run_at)| kept_at == run_at), "{run:?}");
        assert!(run.iter().zip(&at).all(|(run, at)| (run.0, run.1) == *at));
    }
}
