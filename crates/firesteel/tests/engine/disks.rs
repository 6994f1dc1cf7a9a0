//! Scratch folders that fail: that cannot be written, vanish under a running job, or are some of several.

use crate::steps::local;
use firesteel::{ContextBuilder, prelude::*};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// What a scratch folder holds, by the path inside it.
fn inside(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut all = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        all.extend(inside(&path));
        all.push(path);
    }
    all
}

/// Files of records, not the locks.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    inside(dir).into_iter().filter(|path| path.is_file() && !path.ends_with("lock")).collect()
}

/// A context whose tasks have half a mebibyte each.
fn tight(dirs: &[&Path]) -> ContextBuilder {
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let builder = Context::builder().master("local[2]").conf("firesteel.memory.budget", "1m");
    builder.conf("firesteel.local.dir", dirs.join(","))
}

/// Some 6 MB.
fn records(sc: &Context) -> Rdd<(u64, String)> {
    sc.range_n(0..20_000, 2).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15), format!("{i:0>300}"))).erase()
}

/// Each of the ways to the disk, and what it gives.
type Way = (&'static str, fn(&Context) -> Result<u64>);
const WAYS: [Way; 5] = [
    ("a map output", |sc| records(sc).repartition(4).count()),
    ("a sort", |sc| records(sc).map(|(k, v)| (v, k)).sort_by_key_n(false, 2).count()),
    ("groups", |sc| records(sc).group_by_key_into(2).count()),
    ("a kept partition", |sc| records(sc).persist(StorageLevel::DISK_ONLY).count()),
    ("the driver's items", |sc| sc.parallelize_n((0..20_000).map(|i| format!("{i:0>300}")), 4).count()),
];

#[test]
fn an_unwritable_scratch_folder_fails_jobs_that_need_it_with_the_remedy_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("blocked");
    fs::write(&blocked, "a file is in the way").unwrap();
    let sc = tight(&[&blocked]).build().unwrap();
    for (what, run) in WAYS {
        let error = run(&sc).unwrap_err().to_string();
        assert!(error.contains("blocked") && error.contains("`firesteel.local.dir`"), "{what}: {error}");
        assert_eq!(sc.range_n(0..1_000, 4).map(|i| (i % 7, 1)).reduce_by_key(|a, b| a + b).count().unwrap(), 7);
    }
    // Nothing of the failure stays: with the folder it goes.
    fs::remove_file(&blocked).unwrap();
    for (what, run) in WAYS {
        assert_eq!(run(&sc).unwrap(), 20_000, "{what}");
    }
    sc.stop().unwrap();
    assert_eq!(inside(&blocked), Vec::<PathBuf>::new());
}

#[test]
fn scratch_folders_are_used_in_turn_and_failed_ones_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, blocked] = ["a", "b", "blocked"].map(|name| dir.path().join(name));
    fs::write(&blocked, "a file is in the way").unwrap();
    let sc = tight(&[&a, &blocked, &b]).build().unwrap();
    let kept = records(&sc).persist(StorageLevel::DISK_ONLY);
    assert_eq!(kept.count().unwrap(), 20_000);
    assert!(!files(&a).is_empty() && !files(&b).is_empty());
    for (what, run) in WAYS {
        assert_eq!(run(&sc).unwrap(), 20_000, "{what}");
    }
    drop(kept);
    sc.stop().unwrap();
    assert_eq!((inside(&a), inside(&b)), (vec![], vec![]));
}

#[test]
fn a_scratch_folder_that_vanishes_is_made_anew_and_what_it_held_computed_again() {
    let expected = {
        let sc = local("local[2]");
        records(&sc).sort_by_key_n(true, 3).group_by_key_into(5).map_values(|v| v.len()).glom().collect().unwrap()
    };
    // Of the tasks before which it vanishes, each means another place in the job.
    for nth in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let scratch = dir.path().join("scratch");
        let (folder, seen) = (scratch.clone(), AtomicUsize::new(0));
        let builder = tight(&[&scratch]).tamper(move |_, _, _| {
            if seen.fetch_add(1, Ordering::SeqCst) == 4 * nth {
                let _ = fs::remove_dir_all(&folder);
            }
        });
        let sc = builder.build().unwrap();
        let kept = records(&sc).persist(StorageLevel::DISK_ONLY);
        let sorted = kept.sort_by_key_n(true, 3).group_by_key_into(5).map_values(|v| v.len());
        for _ in 0..2 {
            assert_eq!(sorted.glom().collect().unwrap(), expected, "before event {}", 4 * nth);
        }
        drop((kept, sorted));
        sc.stop().unwrap();
        assert_eq!(inside(&scratch), Vec::<PathBuf>::new());
    }
}

#[test]
fn items_of_the_driver_whose_file_is_lost_are_an_error_and_never_missing_elements() {
    let dir = tempfile::tempdir().unwrap();
    let sc = tight(&[dir.path()]).build().unwrap();
    let items = sc.parallelize_n((0..20_000).map(|i| format!("{i:0>300}")), 4);
    assert_eq!(items.count().unwrap(), 20_000);
    for path in files(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    for _ in 0..3 {
        let error = items.count().unwrap_err().to_string();
        assert!(error.contains("source_") && error.contains("`parallelize`"), "{error}");
    }
}

#[test]
fn contexts_with_budgets_and_folders_of_their_own_come_and_go_beside_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let folders: Vec<PathBuf> = (0..4).map(|i| dir.path().join(i.to_string())).collect();
    let steady = tight(&[&folders[0]]).build().unwrap();
    let kept = records(&steady).persist(StorageLevel::DISK_ONLY);
    let expected = kept.sort_by_key_n(true, 2).glom().collect().unwrap();
    std::thread::scope(|scope| {
        for (folder, budget) in folders[1..].iter().zip(["1m", "3m", "1g"]) {
            let expected = &expected;
            scope.spawn(move || {
                for round in 0..3 {
                    let sc = tight(&[folder]).conf("firesteel.memory.budget", budget).build().unwrap();
                    let kept = records(&sc).persist(StorageLevel::MEMORY_AND_DISK);
                    assert_eq!(kept.sort_by_key_n(true, 2).glom().collect().unwrap(), *expected, "{budget}");
                    // What has room stays in memory, and what has not lies in the context's own folder.
                    assert_eq!(files(folder).is_empty(), budget == "1g", "{budget}");
                    match round {
                        0 => sc.stop().unwrap(),
                        1 => drop(kept),
                        _ => {
                            let on_disk = sc.range_n(0..100, 2).persist(StorageLevel::DISK_ONLY);
                            on_disk.count().unwrap();
                            sc.stop().unwrap();
                            assert!(on_disk.count().is_err());
                        }
                    }
                    drop(sc);
                    assert_eq!(inside(folder), Vec::<PathBuf>::new(), "{budget}");
                }
            });
        }
        for _ in 0..3 {
            assert_eq!(kept.sort_by_key_n(true, 2).glom().collect().unwrap(), expected);
        }
    });
    assert!(!files(&folders[0]).is_empty());
    drop(kept);
    steady.stop().unwrap();
    assert!(folders.iter().all(|folder| inside(folder).is_empty()));
}
