//! Scratch folders of what a worker runs, which are gone when that has ended, however it did.
//!
//! A worker has one in each scratch folder, with a file `lock` that it holds a lock on. The folder gets its name only with that: one whose
//! lock nobody holds, or that has none, is nobody's, and the next worker removes it.

use firesteel_model::{Error, Result};
use rustix::fs::FlockOperation;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

const PREFIX: &str = "firesteel-worker-";
const LOCK: &str = "lock";
/// So often a worker that starts at the same time may take a folder for nobody's that is being made.
const TRIES: u32 = 10;

/// A folder of this worker's in each of the scratch folders. Removed when dropped; if the process dies, by the next worker.
#[derive(Debug)]
pub(super) struct WorkerScratch(ScratchFolders);

impl WorkerScratch {
    /// Makes the folders, and removes those of workers that have died.
    pub(super) fn new(dirs: &[PathBuf], worker: &str) -> Result<WorkerScratch> {
        let mut folders = Vec::new();
        for dir in dirs {
            remove_left(dir);
            let path = dir.join(format!("{PREFIX}{worker}"));
            let lock = Mutex::new(Some(make(&path)?));
            folders.push(WorkerFolder { path, lock });
        }
        Ok(WorkerScratch(ScratchFolders(Arc::new((folders, AtomicU64::default())))))
    }

    /// Where the folders are.
    pub(super) fn folders(&self) -> ScratchFolders {
        self.0.clone()
    }
}

impl Drop for WorkerScratch {
    fn drop(&mut self) {
        for folder in &self.0.0.0 {
            let mut lock = folder.lock();
            remove(&folder.path);
            *lock = None;
        }
    }
}

/// A worker's folder in one of the scratch folders.
#[derive(Debug)]
struct WorkerFolder {
    path: PathBuf,
    /// None when the worker has ended.
    lock: Mutex<Option<File>>,
}

impl WorkerFolder {
    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder in it, and it, should somebody have removed it.
    fn make(&self, name: &str) -> Result<PathBuf> {
        let mut lock = self.lock();
        let folder = self.path.join(name);
        let failed = |e| Error::io("make the scratch folder", folder.display(), e);
        if lock.is_none() {
            return Err(failed(io::Error::other("the worker has ended")));
        }
        match fs::create_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                tracing::warn!("{} is gone, and made again", self.path.display());
                *lock = Some(make(&self.path)?);
                fs::create_dir(&folder).map_err(failed)?;
            }
            made => made.map_err(failed)?,
        }
        Ok(folder)
    }
}

/// Where a worker's scratch folders are, for as long as they are, and how many processes had some.
#[derive(Clone, Debug)]
pub(super) struct ScratchFolders(Arc<(Vec<WorkerFolder>, AtomicU64)>);

impl ScratchFolders {
    /// Folders of one process's own, or of one application's; removed when dropped.
    pub(super) fn process(&self, name: &str) -> Result<ProcessScratch> {
        let (worker, turns) = &*self.0;
        // Nobody has the folder of another with the same name, who may be about to remove it.
        let name = format!("{name}-{}", turns.fetch_add(1, Ordering::Relaxed));
        let mut folders = ProcessScratch(Vec::new());
        for folder in worker {
            folders.0.push(folder.make(&name)?);
        }
        Ok(folders)
    }
}

#[derive(Debug)]
pub(super) struct ProcessScratch(Vec<PathBuf>);

impl ProcessScratch {
    /// The folders.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.0
    }

    /// Their paths.
    pub(super) fn paths(&self) -> Vec<String> {
        self.0.iter().map(|folder| folder.display().to_string()).collect()
    }
}

impl Drop for ProcessScratch {
    fn drop(&mut self) {
        self.0.iter().for_each(|folder| remove(folder));
    }
}

/// Makes a worker's folder together with its lock, which is held for as long as the file is open.
fn make(folder: &Path) -> Result<File> {
    let attempt = |number: u32| {
        let new = folder.with_extension(format!("{number}.new"));
        fs::create_dir(&new)?;
        let lock = File::create(new.join(LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(&new, folder)?;
        Ok(lock)
    };
    // Another one that starts has removed it before it was locked, or is about to.
    let disturbed = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock);
    let mut made = attempt(0);
    for number in 1..TRIES {
        if made.as_ref().is_err_and(disturbed) {
            made = attempt(number);
        }
    }
    made.map_err(|e| Error::io("make the scratch folder", folder.display(), e))
}

fn remove(folder: &Path) {
    if let Err(e) = fs::remove_dir_all(folder)
        && e.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("the scratch folder {} stays: {e}", folder.display());
    }
}

/// Removes the folders that nobody holds a lock on.
fn remove_left(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        let folder = entry.path();
        // Held while the folder is removed, so that nobody else does it.
        let _lock = match File::open(folder.join(LOCK)) {
            Ok(lock) if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() => Some(lock),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            // Somebody's, or another user's.
            _ => continue,
        };
        // Under another name what an executor does that has outlived its worker by a moment goes nowhere.
        let gone = folder.with_extension("gone");
        match fs::rename(&folder, &gone) {
            Ok(()) => remove(&gone),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => tracing::warn!("the scratch folder {} stays: {e}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_dead_worker_left_is_removed_by_the_next_and_what_a_living_one_has_is_not() {
        let dir = TempDir::new().unwrap();
        let dirs = [dir.path().to_path_buf()];
        let dead = WorkerScratch::new(&dirs, "dead").unwrap();
        let executor = dead.folders().process("app-0").unwrap();
        fs::write(executor.0[0].join("block"), "data").unwrap();
        // As a killed process does: locks go, folders stay.
        drop(dead.0.0.0[0].lock().take());
        std::mem::forget((dead, executor));
        // Others died before they had a lock, or while they removed such a folder.
        for left in ["firesteel-worker-dying.new", "firesteel-worker-gone.gone"] {
            fs::create_dir_all(dir.path().join(left).join("app-0")).unwrap();
        }
        fs::create_dir(dir.path().join("somebody-else")).unwrap();
        let first = WorkerScratch::new(&dirs, "first").unwrap();
        let second = WorkerScratch::new(&dirs, "second").unwrap();
        assert_eq!(names(dir.path()), ["firesteel-worker-first", "firesteel-worker-second", "somebody-else"]);
        let executor = second.folders().process("app-1").unwrap();
        drop(executor);
        assert_eq!(names(&dir.path().join("firesteel-worker-second")), ["lock"]);
        drop((first, second));
        assert_eq!(names(dir.path()), ["somebody-else"]);
    }

    #[test]
    fn workers_that_start_at_the_same_time_do_not_take_each_other_for_dead() {
        let dir = TempDir::new().unwrap();
        let dirs = [dir.path().to_path_buf()];
        let living: Vec<_> = std::thread::scope(|scope| {
            let start = |i| {
                let dirs = &dirs;
                scope.spawn(move || WorkerScratch::new(dirs, &format!("{i}")).unwrap())
            };
            let starting: Vec<_> = (0..8).map(start).collect();
            starting.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(names(dir.path()), (0..8).map(|i| format!("firesteel-worker-{i}")).collect::<Vec<_>>());
        assert!(living.iter().all(|worker| worker.folders().process("app-0").is_ok()));
    }

    #[test]
    fn a_folder_that_somebody_removed_is_made_again_with_its_lock_and_not_after_the_end() {
        let dir = TempDir::new().unwrap();
        let dirs = [dir.path().to_path_buf()];
        let worker = WorkerScratch::new(&dirs, "one").unwrap();
        let folders = worker.folders();
        fs::remove_dir_all(dir.path().join("firesteel-worker-one")).unwrap();
        let (first, second) = (folders.process("app-0").unwrap(), folders.process("app-0").unwrap());
        drop(first);
        assert!(second.0[0].exists(), "another of the same name");
        WorkerScratch::new(&dirs, "two").unwrap();
        assert!(second.0[0].exists(), "it is locked");
        drop(worker);
        assert!(folders.process("app-1").unwrap_err().to_string().contains("has ended"));
        assert!(names(dir.path()).is_empty());
    }
}
