//! What is kept, at which level, for how long, and what it spares.

use crate::chaos::at_rest;
use firesteel::{__private::Footprint, prelude::*};
use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering, Ordering::SeqCst},
    },
};

fn local(threads: usize) -> Context {
    Context::builder().master(format!("local[{threads}]")).build().unwrap()
}

/// An RDD of 4 partitions that counts how often one of them is computed.
fn counted(sc: &Context) -> (Rdd<u64>, LongAccumulator) {
    let computed = sc.long_accumulator("computed");
    let rdd = sc.range_n(0..1_000, 4).map_partitions_with(computed.clone(), |computed, items| {
        computed.add(1);
        items.map(|i| i * 3)
    });
    (rdd.erase(), computed)
}

const LEVELS: [StorageLevel; 12] = [
    StorageLevel::NONE,
    StorageLevel::DISK_ONLY,
    StorageLevel::DISK_ONLY_2,
    StorageLevel::DISK_ONLY_3,
    StorageLevel::MEMORY_ONLY,
    StorageLevel::MEMORY_ONLY_2,
    StorageLevel::MEMORY_ONLY_SER,
    StorageLevel::MEMORY_ONLY_SER_2,
    StorageLevel::MEMORY_AND_DISK,
    StorageLevel::MEMORY_AND_DISK_2,
    StorageLevel::MEMORY_AND_DISK_SER,
    StorageLevel::MEMORY_AND_DISK_SER_2,
];

#[test]
fn every_level_gives_back_text_and_says_what_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines");
    // Empty lines, such as are longer than a chunk, and so many short ones that a chunk is full of where they begin.
    let mut text = "\n".repeat(200_000);
    for i in 0..20_000 {
        text += &format!("line {i} of é🦀\n");
    }
    text += &format!("{}\n\n{}\n", "x".repeat(700_000), "y".repeat(300_000));
    fs::write(&file, &text).unwrap();
    let expected: Vec<&str> = text.lines().collect();
    for level in LEVELS {
        let sc = local(2);
        let lines = sc.text_file_n(file.display().to_string(), 3);
        let kept = lines.persist(level);
        for _ in 0..2 {
            assert_eq!(kept.count().unwrap(), expected.len() as u64, "{level}");
            assert!(kept.collect().unwrap() == expected, "{level}");
            assert!(kept.erase().filter(|line| !line.is_empty()).collect().unwrap().len() == 20_002, "{level}");
            assert_eq!(kept.take(200_002).unwrap().last().unwrap(), "line 1 of é🦀", "{level}");
            assert_eq!(kept.map(|line| line.len()).max().unwrap(), 700_000, "{level}");
        }
        if level.use_memory {
            let taken = sc.rdd_storage_info().iter().map(|info| info.memory).sum::<u64>();
            let least = (text.len() - expected.len() + expected.len() * 4) as u64;
            assert!((least..least + least / 50).contains(&taken), "{level}: {taken} B, not {least}");
        }
    }
    let sc = local(2);
    sc.set_checkpoint_dir(dir.path().join("checkpoints").display().to_string()).unwrap();
    let lines = sc.text_file_n(file.display().to_string(), 3);
    let lines = lines.checkpoint();
    assert!(lines.collect().unwrap() == expected, "checkpointed");
    assert!(lines.collect().unwrap() == expected, "from the checkpoint");
}

#[test]
fn every_level_computes_once_and_gives_back_the_same() {
    for level in LEVELS {
        let sc = local(2);
        let (rdd, computed) = counted(&sc);
        let expected = rdd.collect().unwrap();
        assert_eq!(computed.value(), 4);
        let kept = rdd.persist(level);
        assert_eq!((kept.storage_level(), rdd.storage_level()), (level, StorageLevel::NONE));
        assert_eq!(computed.value(), 4, "{level}: nothing is computed by `persist`");
        for round in 1..=3 {
            assert_eq!(kept.collect().unwrap(), expected, "{level}");
            assert_eq!(kept.filter(|i| i % 2 == 0).count().unwrap(), 500, "{level}");
            let times = if level == StorageLevel::NONE { 4 + 8 * round } else { 8 };
            assert_eq!(computed.value(), times, "{level}");
        }
        let info = sc.rdd_storage_info();
        match info.iter().find(|info| info.id.0 == kept.id()) {
            None => assert_eq!(level, StorageLevel::NONE),
            Some(info) => {
                assert_eq!(info.cached_partitions, 4, "{level}");
                let bytes = (info.memory > 0, info.disk > 0);
                assert_eq!(bytes, (level.use_memory, !level.use_memory), "{level}");
            }
        }
        let blocks = if level == StorageLevel::NONE { 0 } else { 4 };
        assert_eq!(sc.footprint().unwrap().blocks, blocks, "{level}");
        drop((rdd, computed));
        // What was kept is read without what it was made of, and goes with its last handle.
        assert_eq!(kept.count().unwrap(), 1_000);
        drop(kept);
        assert_eq!(at_rest(&sc), Footprint::default(), "{level}");
    }
}

#[test]
fn partitions_are_kept_as_they_are_needed_and_whole() {
    let sc = local(2);
    let (rdd, computed) = counted(&sc);
    let kept = rdd.cache();
    assert_eq!(kept.take(3).unwrap(), [0, 3, 6]);
    assert_eq!((computed.value(), sc.footprint().unwrap().blocks), (1, 1));
    assert_eq!(kept.count().unwrap(), 1_000);
    assert_eq!((computed.value(), sc.footprint().unwrap().blocks), (4, 4));
}

#[test]
fn partition_that_a_task_reads_twice_is_computed_once() {
    let sc = local(2);
    let (rdd, computed) = counted(&sc);
    let kept = rdd.cache();
    let pairs = kept.zip(&kept).filter(|(a, b)| a == b);
    assert_eq!(pairs.count().unwrap(), 1_000);
    assert_eq!(computed.value(), 4);
    let (rdd, computed) = counted(&local(1));
    let kept = rdd.persist(StorageLevel::MEMORY_ONLY_SER);
    assert_eq!(kept.union(&kept).distinct().count().unwrap(), 1_000);
    assert_eq!(computed.value(), 4);
}

#[test]
fn unpersist_lets_go_and_later_jobs_compute_again() {
    let sc = local(2);
    let (rdd, computed) = counted(&sc);
    let kept = rdd.cache();
    let child = kept.map(|i| i + 1).erase();
    assert_eq!(child.count().unwrap(), 1_000);
    assert_eq!(computed.value(), 4);
    kept.unpersist(true).unwrap();
    assert_eq!(sc.footprint().unwrap().blocks, 0);
    assert_eq!(kept.storage_level(), StorageLevel::NONE);
    for round in 2..=3 {
        assert_eq!(child.count().unwrap(), 1_000);
        assert_eq!(computed.value(), 4 * round);
    }
    kept.unpersist(false).unwrap();
    rdd.unpersist(true).unwrap();
    // It can be kept again, at any level.
    let again = kept.persist(StorageLevel::DISK_ONLY);
    assert_eq!((again.count().unwrap(), again.count().unwrap()), (1_000, 1_000));
    assert_eq!(computed.value(), 16);
    sc.stop().unwrap();
    assert!(matches!(kept.unpersist(true), Err(Error::Stopped(_))));
}

#[test]
fn level_that_is_assigned_is_not_changed() {
    let sc = local(2);
    let (rdd, computed) = counted(&sc);
    let kept = rdd.cache();
    let same = kept.cache();
    assert_eq!(same.id(), kept.id());
    assert_eq!(kept.erase().persist(StorageLevel::MEMORY_ONLY).id(), kept.id());
    assert_eq!((same.count().unwrap(), kept.count().unwrap()), (1_000, 1_000));
    assert_eq!((computed.value(), sc.footprint().unwrap().blocks), (4, 4));
    let other = kept.persist(StorageLevel::DISK_ONLY);
    for error in
        [other.count().unwrap_err(), other.num_partitions().unwrap_err(), other.map(|i| i).first().unwrap_err()]
    {
        let text = error.to_string();
        assert!(text.contains("Cannot change storage level of an RDD after it was already assigned a level"), "{text}");
        assert!(text.contains("persistence.rs") && text.contains("unpersist"), "{text}");
    }
    assert_eq!(kept.count().unwrap(), 1_000);
    kept.unpersist(true).unwrap();
    assert_eq!(kept.persist(StorageLevel::DISK_ONLY).count().unwrap(), 1_000);
}

/// The names in a folder.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn checkpoint_is_written_after_the_first_job_and_cuts_the_lineage() {
    let dir = tempfile::tempdir().unwrap();
    let sc = local(2);
    sc.set_checkpoint_dir(dir.path().to_str().unwrap()).unwrap();
    let (rdd, computed) = counted(&sc);
    let pairs = rdd.map(|i| (i % 5, i)).partition_by(3).map_values(|i| i + 1);
    let expected = pairs.glom().collect().unwrap();
    let checkpointed = pairs.checkpoint();
    assert!(!checkpointed.is_checkpointed() && checkpointed.checkpoint_file().is_none());
    assert!(checkpointed.to_debug_string().contains("ShuffledRDD"));
    assert_eq!(checkpointed.num_partitions().unwrap(), 3);
    assert!(!checkpointed.is_checkpointed(), "no job has run");
    assert_eq!(checkpointed.glom().collect().unwrap(), expected);
    assert!(checkpointed.is_checkpointed());
    let file = checkpointed.checkpoint_file().unwrap();
    assert!(file.ends_with(&format!("rdd-{}", checkpointed.id())), "{file}");
    assert_eq!(names(Path::new(&file)), ["part-00000", "part-00001", "part-00002"]);
    assert!(!checkpointed.to_debug_string().contains("ShuffledRDD"), "{}", checkpointed.to_debug_string());
    assert!(checkpointed.partitioner().unwrap().is_some());
    let before = computed.value();
    drop((rdd, pairs));
    assert_eq!(sc.footprint().unwrap().rdds, 1, "what it was made of is let go");
    assert_eq!(sc.footprint().unwrap().runs, 0, "and its shuffles");
    assert_eq!(checkpointed.glom().collect().unwrap(), expected);
    // Still spread by key: no shuffle.
    assert_eq!(checkpointed.reduce_by_key_into(3, |a, _| a).count().unwrap(), 5);
    assert_eq!(sc.footprint().unwrap().runs, 0);
    assert_eq!(computed.value(), before);
    // A damaged file is an error that names it.
    fs::write(Path::new(&file).join("part-00001"), b"nothing").unwrap();
    let error = checkpointed.count().unwrap_err().to_string();
    assert!(error.contains("part-00001") && error.contains("make the RDD anew"), "{error}");
    // One that is cut off in the middle is seen when its elements are read; one that is gone, at once.
    let whole = fs::read(Path::new(&file).join("part-00000")).unwrap();
    fs::write(Path::new(&file).join("part-00001"), &whole[..whole.len() / 2]).unwrap();
    fs::rename(Path::new(&file).join("part-00002"), Path::new(&file).join("gone")).unwrap();
    for partition in [1, 2] {
        let error = sc.run_job_on(&checkpointed, |items| items.count(), &[partition]).unwrap_err().to_string();
        assert!(error.contains("its lineage was cut there") && !error.contains("has to be computed"), "{error}");
    }
    drop(checkpointed);
    assert!(Path::new(&file).join("part-00000").exists(), "files stay");
}

#[test]
fn checkpoint_computes_once_more_unless_it_is_cached() {
    let dir = tempfile::tempdir().unwrap();
    let sc = local(2);
    sc.set_checkpoint_dir(dir.path().to_str().unwrap()).unwrap();
    let (rdd, computed) = counted(&sc);
    let checkpointed = rdd.checkpoint();
    assert_eq!(checkpointed.count().unwrap(), 1_000);
    assert_eq!(computed.value(), 8);
    assert_eq!(checkpointed.count().unwrap(), 1_000);
    assert_eq!(computed.value(), 8);
    let (rdd, computed) = counted(&sc);
    let (kept, through) = (rdd.cache(), sc.long_accumulator("through"));
    let checkpointed = kept.checkpoint();
    let seen = checkpointed.map_with(through, |through, i| {
        through.add(1);
        i
    });
    assert_eq!(seen.count().unwrap(), 1_000);
    assert!(checkpointed.is_checkpointed(), "a job over a child computed it");
    assert_eq!(computed.value(), 4);
    // A job that fails checkpoints nothing.
    let failing = sc.range_n(0..4, 2).map(|i| 1 / i).checkpoint();
    assert!(failing.count().is_err());
    assert!(!failing.is_checkpointed());
}

#[test]
fn a_checkpoint_that_fails_leaves_nothing_and_does_not_forget_the_others_of_its_job() {
    static BROKEN: AtomicBool = AtomicBool::new(true);
    let dir = tempfile::tempdir().unwrap();
    let sc = local(2);
    sc.set_checkpoint_dir(dir.path().to_str().unwrap()).unwrap();
    // Passes in the job itself, fails in the write, which is a job of its own.
    let numbers = sc.range_n(0..4, 2).map(|i| {
        let in_write = TaskContext::get().unwrap().stage_id() > 0;
        assert!(!in_write || i < 3 || !BROKEN.load(Ordering::Relaxed), "three");
        i
    });
    let first = numbers.checkpoint();
    let second = first.map(|i| i + 1).checkpoint();
    assert!(second.count().unwrap_err().to_string().contains("three"));
    assert!(!first.is_checkpointed() && !second.is_checkpointed());
    let of_this_context = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_dir(of_this_context).unwrap().count(), 0, "the parts that were written are gone");
    BROKEN.store(false, Ordering::Relaxed);
    assert_eq!(second.count().unwrap(), 4);
    assert!(first.is_checkpointed() && second.is_checkpointed());
    assert_eq!(second.collect().unwrap(), [1, 2, 3, 4]);
}

#[test]
fn checkpoint_without_a_folder_is_refused_before_any_work() {
    let sc = local(2);
    let (rdd, computed) = counted(&sc);
    let checkpointed = rdd.checkpoint();
    let error = checkpointed.map(|i| i).count().unwrap_err().to_string();
    assert!(error.contains("checkpoint folder has not been set") && error.contains("set_checkpoint_dir"), "{error}");
    assert_eq!(computed.value(), 0);
    let dir = tempfile::tempdir().unwrap();
    sc.set_checkpoint_dir(dir.path().to_str().unwrap()).unwrap();
    assert_eq!(checkpointed.count().unwrap(), 1_000);
    assert!(checkpointed.is_checkpointed());
}

#[test]
fn local_checkpoint_completes_what_is_missing_and_cuts_the_lineage() {
    let lost = Arc::new(Mutex::new(None));
    let lose = lost.clone();
    let sc = Context::builder().master("local[2]").tamper(move |_, executor, _| {
        if let Some(block) = lose.lock().unwrap().take() {
            executor.blocks.remove(block);
        }
    });
    let sc = sc.build().unwrap();
    let (rdd, computed) = counted(&sc);
    let checkpointed = rdd.local_checkpoint();
    assert_eq!(checkpointed.storage_level(), StorageLevel::MEMORY_AND_DISK);
    assert!(!checkpointed.is_checkpointed());
    assert_eq!(checkpointed.take(1).unwrap(), [0]);
    assert!(checkpointed.is_checkpointed() && checkpointed.checkpoint_file().is_none());
    assert_eq!((computed.value(), sc.footprint().unwrap().blocks), (4, 4));
    drop(rdd);
    assert_eq!(sc.footprint().unwrap().rdds, 1);
    assert_eq!(checkpointed.sum().unwrap(), 1_498_500.0);
    assert_eq!(computed.value(), 4);
    // It stays local, and stays.
    let again = checkpointed.checkpoint();
    assert_eq!((again.id(), again.count().unwrap()), (checkpointed.id(), 1_000));
    assert!(again.checkpoint_file().is_none());
    let error = checkpointed.unpersist(true).unwrap_err().to_string();
    assert!(error.contains("local checkpoint"), "{error}");
    let block =
        firesteel_model::BlockId::Rdd(firesteel_model::RddId(checkpointed.id()), firesteel_model::PartitionIndex(2));
    *lost.lock().unwrap() = Some(block);
    let error = checkpointed.count().unwrap_err().to_string();
    assert!(
        error.contains("local checkpoint is lost") && error.contains(&format!("rdd_{}_2", checkpointed.id())),
        "{error}"
    );
    drop((again, checkpointed, computed));
    assert_eq!(at_rest(&sc), Footprint::default());
}

#[test]
fn broadcast_lives_as_long_as_somebody_holds_it() {
    static DECODED: AtomicU32 = AtomicU32::new(0);
    let sc = local(2);
    let table = sc.broadcast((0..10u64).map(|i| format!("n{i}")).collect::<Vec<_>>());
    assert_eq!(table.value()[3], "n3");
    let named = sc.range_n(0..10, 3).map_with(table.clone(), |table, i| {
        DECODED.fetch_add(1, SeqCst);
        table.value()[i as usize].clone()
    });
    assert_eq!(named.collect().unwrap()[9], "n9");
    table.unpersist(true).unwrap();
    assert_eq!(named.count().unwrap(), 10, "what was dropped on executors comes again");
    drop(table);
    assert_eq!((named.first().unwrap(), sc.footprint().unwrap().blocks), ("n0".to_string(), 1));
    drop(named);
    assert_eq!(at_rest(&sc), Footprint::default());
}

#[test]
fn broadcast_that_was_destroyed_is_used_no_more() {
    let sc = local(2);
    let table = sc.broadcast(vec![1u64, 2, 3]);
    let first = sc.range_n(0..3, 3).map_with(table.clone(), |table, i| table.value()[i as usize]);
    assert_eq!(first.collect().unwrap(), [1, 2, 3]);
    table.destroy().unwrap();
    table.destroy().unwrap();
    for error in [first.count().unwrap_err(), first.map(|i| (i, i)).reduce_by_key(|a, _| a).count().unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("after it was destroyed"), "{text}");
    }
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| table.value().len()));
    assert!(read.is_err());
    assert_eq!(sc.range(0..3).count().unwrap(), 3);
}

#[test]
fn accumulators_of_every_kind_count() {
    let sc = local(2);
    let (long, double) = (sc.long_accumulator("long"), sc.double_accumulator("double"));
    let all = sc.collection_accumulator::<String>("all");
    let most = sc.accumulator("most", 0u64, |most, other| *most = other.max(*most));
    assert!((long.value(), double.value(), long.count()) == (0, 0.0, 0) && long.avg().is_nan());
    let tools = (long.clone(), double.clone(), all.clone(), most.clone());
    sc.range_n(1..11, 4)
        .for_each_with(tools, |(long, double, all, most), i| {
            long.add(i as i64);
            double.add(i as f64 / 2.0);
            all.add(vec![format!("n{i}")]);
            most.add(i);
            // A task sees what it has added itself.
            assert!(long.count() <= 3 && most.value() == i);
        })
        .unwrap();
    assert_eq!((long.value(), long.sum(), long.count(), long.avg()), (55, 55, 10, 5.5));
    assert_eq!((double.value(), double.count(), double.avg()), (27.5, 10, 2.75));
    assert_eq!(all.value(), (1..11).map(|i| format!("n{i}")).collect::<Vec<_>>());
    assert_eq!((most.value(), most.name(), long.name()), (10, "most", "long"));
    // On the driver it changes at once.
    long.add(45);
    assert_eq!(long.value(), 100);
    long.reset();
    all.reset();
    assert_eq!((long.value(), long.count(), all.value().len()), (0, 0, 0));
    drop((long, double, all, most));
    assert_eq!(at_rest(&sc), Footprint::default());
}

#[test]
fn accumulators_of_transformations_count_each_computation() {
    let sc = local(2);
    let (rdd, computed) = counted(&sc);
    rdd.count().unwrap();
    rdd.count().unwrap();
    assert_eq!(computed.value(), 8);
    // A map stage that is skipped counts nothing.
    let counts = rdd.map(|i| (i % 3, 1)).reduce_by_key(|a, b| a + b);
    counts.count().unwrap();
    counts.count().unwrap();
    assert_eq!(computed.value(), 12);
    // One that nobody holds any more is no error.
    let gone = sc.long_accumulator("gone");
    let adding = rdd.map_with(gone.clone(), |gone, i| gone.add(i as i64));
    drop(gone);
    assert_eq!(adding.count().unwrap(), 1_000);
}

#[test]
fn rdds_without_partitions_can_be_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    let sc = local(2);
    sc.set_checkpoint_dir(dir.path().to_str().unwrap()).unwrap();
    let none = sc.empty_rdd::<(u64, u64)>();
    for kept in [none.cache().erase(), none.checkpoint().erase(), none.local_checkpoint().erase()] {
        assert_eq!((kept.count().unwrap(), kept.num_partitions().unwrap()), (0, 0));
        assert_eq!(kept.reduce_by_key(|a, b| a + b).collect().unwrap(), []);
        assert_eq!(kept.join(&sc.parallelize([(1, 2)])).count().unwrap(), 0);
        assert_eq!(kept.sort_by_key(true).count().unwrap(), 0);
        assert!(kept.is_empty().unwrap());
    }
}
