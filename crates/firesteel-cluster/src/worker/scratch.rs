//! Scratch folders of what a worker runs, which are gone when that has ended, however it did.

use firesteel_model::{Error, Result};
use rustix::fs::FlockOperation;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

const PREFIX: &str = "firesteel-worker-";
const LOCK: &str = "lock";

/// A folder of this worker's in each of the scratch folders. Removed when dropped; if the process dies, by the next worker.
#[derive(Debug)]
pub(super) struct WorkerScratch(Vec<(PathBuf, File)>);

impl WorkerScratch {
    /// Makes the folders, and removes those of workers that have died.
    pub(super) fn new(dirs: &[PathBuf], worker: &str) -> Result<WorkerScratch> {
        let mut folders = Vec::new();
        for dir in dirs {
            remove_left(dir);
            let folder = dir.join(format!("{PREFIX}{worker}"));
            let failed = |e| Error::io("make the scratch folder", folder.display(), e);
            fs::create_dir_all(&folder).map_err(failed)?;
            let lock = File::create(folder.join(LOCK)).map_err(failed)?;
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|e| failed(e.into()))?;
            folders.push((folder, lock));
        }
        Ok(WorkerScratch(folders))
    }

    /// Where the folders are.
    pub(super) fn folders(&self) -> ScratchFolders {
        ScratchFolders(self.0.iter().map(|(folder, _)| folder.clone()).collect())
    }
}

/// Where a worker's scratch folders are, for as long as they are.
#[derive(Debug)]
pub(super) struct ScratchFolders(Vec<PathBuf>);

impl ScratchFolders {
    /// Folders of one process's own; removed when dropped.
    pub(super) fn process(&self, name: &str) -> Result<ProcessScratch> {
        let mut folders = ProcessScratch(Vec::new());
        for folder in &self.0 {
            let folder = folder.join(name);
            fs::create_dir_all(&folder).map_err(|e| Error::io("make the scratch folder", folder.display(), e))?;
            folders.0.push(folder);
        }
        Ok(folders)
    }
}

impl Drop for WorkerScratch {
    fn drop(&mut self) {
        self.0.iter().for_each(|(folder, _)| remove(folder));
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

fn remove(folder: &Path) {
    if let Err(e) = fs::remove_dir_all(folder)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("the scratch folder {} stays: {e}", folder.display());
    }
}

/// Removes the folders that nobody holds a lock on.
fn remove_left(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let lock = || File::open(entry.path().join(LOCK)).ok();
        if is_ours
            && let Some(lock) = lock()
            && rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_a_dead_worker_left_is_removed_by_the_next_and_what_a_living_one_has_is_not() {
        let dir = TempDir::new().unwrap();
        let dirs = [dir.path().to_path_buf()];
        let dead = WorkerScratch::new(&dirs, "dead").unwrap();
        let executor = dead.folders().process("app-0").unwrap();
        fs::write(executor.0[0].join("block"), "data").unwrap();
        // As a killed process does: locks go, folders stay.
        let locks: Vec<File> = dead.0.iter().map(|(_, lock)| lock.try_clone().unwrap()).collect();
        std::mem::forget((dead, executor));
        locks.iter().for_each(|lock| rustix::fs::flock(lock, FlockOperation::Unlock).unwrap());
        let first = WorkerScratch::new(&dirs, "first").unwrap();
        let second = WorkerScratch::new(&dirs, "second").unwrap();
        let mut left = names(dir.path());
        left.sort();
        assert_eq!(left, ["firesteel-worker-first", "firesteel-worker-second"]);
        let executor = second.folders().process("app-1").unwrap();
        drop(executor);
        assert_eq!(names(&dir.path().join("firesteel-worker-second")), ["lock"]);
        drop((first, second));
        assert!(names(dir.path()).is_empty());
    }
}
