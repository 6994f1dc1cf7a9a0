//! The protocol by which a job's output appears: complete or not at all, each partition once.
//!
//! ```text
//! out/                                          made by setup_job, which refuses a folder that exists
//! out/_temporary/7/attempt_00002_31/part-00002  what task attempt 31 is writing for partition 2 of job 7
//! out/_temporary/7/committed/part-00002         moved there by its commit, in place of an earlier attempt's
//! out/part-00002, out/_SUCCESS                  after commit_job
//! ```
//!
//! Every step is a rename within one file system. Attempts write below `_temporary` only, so one that still runs when
//! the job has ended finds its folder gone and can leave nothing behind; a driver that is killed before it commits leaves
//! `_temporary` and no part files, and never `_SUCCESS` without all of them. Nothing is flushed to the disk's platter: what
//! a power failure keeps is up to the file system.

use crate::{Codec, local_path, path};
use firesteel_model::{AttemptId, Error, PartitionIndex, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

const TEMPORARY: &str = "_temporary";
const SUCCESS: &str = "_SUCCESS";

/// One job's output folder: made by the driver, sent to every task of the job, which writes through a
/// [`TaskWriter`](crate::TaskWriter).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputCommitter {
    #[serde(with = "path::as_bytes")]
    dir: Arc<Path>,
    job: u64,
    codec: Codec,
    /// How many folders setup made: the output folder and that many less one above it.
    made: u32,
}

impl OutputCommitter {
    /// Makes the output folder that `spec` names, with missing parents and the place where attempts write. `job` is any
    /// number that tells this job from others of the application.
    ///
    /// # Errors
    /// [`Error::Path`] if the folder exists already, even empty; [`Error::InvalidArgument`] for a file system that cannot
    /// be written; [`Error::Io`] if a folder cannot be made. Nothing is left behind then.
    pub fn setup_job(spec: &str, job: u64, codec: Codec) -> Result<OutputCommitter> {
        let mut this = OutputCommitter { dir: local_path(spec)?.into(), job, codec, made: 0 };
        let dir = this.dir.clone();
        let mut made = Vec::new();
        if let Err(e) = this.make_folders(&dir, &mut made) {
            if made.last() == Some(&&*dir) {
                let _ = fs::remove_dir_all(dir.join(TEMPORARY));
            }
            remove_if_empty(made.into_iter().rev());
            return Err(e);
        }
        this.made = made.len() as u32;
        Ok(this)
    }

    /// Makes the output folder and what belongs around it; `made` tells what was made, outermost first, even if it fails.
    fn make_folders<'a>(&self, dir: &'a Path, made: &mut Vec<&'a Path>) -> Result<()> {
        let exists = || {
            Error::Path(format!("output directory {} already exists; name another, or remove it first", dir.display()))
        };
        let failed = |folder: &Path, e| Error::io("create folder", folder.display(), e);
        if dir.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let missing: Vec<&Path> = dir.ancestors().skip(1).take_while(|parent| !parent.exists()).collect();
        for parent in missing.into_iter().rev() {
            match fs::create_dir(parent) {
                Ok(()) => made.push(parent),
                // Another job made it meanwhile: then neither it nor what is above it is ours to remove.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => made.clear(),
                Err(e) => return Err(failed(parent, e)),
            }
        }
        match fs::create_dir(dir) {
            Ok(()) => made.push(dir),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(exists()),
            Err(e) => return Err(failed(dir, e)),
        }
        fs::create_dir_all(self.committed()).map_err(|e| failed(&self.committed(), e))
    }

    /// The output folder, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How the part files are compressed.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Ends the job: moves the part files of partitions 0 to `partitions` into place, removes what attempts left, and writes
    /// `_SUCCESS` last. One rename per partition.
    ///
    /// # Errors
    /// [`Error::Path`] if a partition has not been committed, [`Error::Io`] if the file system refuses. Then
    /// [`OutputCommitter::abort_job`] is due.
    pub fn commit_job(&self, partitions: u32) -> Result<()> {
        for partition in (0..partitions).map(PartitionIndex) {
            let name = self.part_name(partition);
            let (from, to) = (self.committed().join(&name), self.dir.join(&name));
            match fs::rename(&from, &to) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    return Err(Error::Path(format!(
                        "output {}: {name} has not been committed, or {TEMPORARY} was removed while the job ran",
                        self.dir.display()
                    )));
                }
                Err(e) => return Err(Error::io("rename into place", to.display(), e)),
            }
        }
        self.remove_temporary()?;
        let marker = self.dir.join(SUCCESS);
        fs::File::create(&marker).map_err(|e| Error::io("create", marker.display(), e))?;
        Ok(())
    }

    /// Undoes the job: removes its part files and what attempts left, then the output folder and those parents that
    /// [`OutputCommitter::setup_job`] made, each only if nothing else has come into it. Doing it twice is fine.
    ///
    /// # Errors
    /// [`Error::Io`] names what could not be removed.
    pub fn abort_job(&self) -> Result<()> {
        self.remove_temporary()?;
        let entries = match self.dir.read_dir() {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("list", self.dir.display(), e)),
        };
        for entry in entries {
            let path = entry.map_err(|e| Error::io("list", self.dir.display(), e))?.path();
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| self.is_ours(name)) {
                gone(&path, fs::remove_file(&path))?;
            }
        }
        remove_if_empty(self.dir.ancestors().take(self.made as usize));
        Ok(())
    }

    /// `part-00003`, `part-00003.gz`.
    pub(crate) fn part_name(&self, partition: PartitionIndex) -> String {
        format!("part-{:05}{}", partition.0, self.codec.extension())
    }

    /// Where committed parts wait for the job's end.
    pub(crate) fn committed(&self) -> PathBuf {
        self.work().join("committed")
    }

    /// Where one attempt writes. Its parent is made by setup alone, so that no attempt can outlive the job's end.
    pub(crate) fn attempt_dir(&self, partition: PartitionIndex, attempt: AttemptId) -> PathBuf {
        self.work().join(format!("attempt_{:05}_{attempt}", partition.0))
    }

    fn work(&self) -> PathBuf {
        self.dir.join(TEMPORARY).join(self.job.to_string())
    }

    fn is_ours(&self, name: &str) -> bool {
        let digits = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(self.codec.extension()));
        name == SUCCESS || digits.is_some_and(|d| d.len() >= 5 && d.bytes().all(|b| b.is_ascii_digit()))
    }

    /// Removes `_temporary`, first of all from under its name, so that no attempt can write into it while that goes on.
    fn remove_temporary(&self) -> Result<()> {
        let temporary = self.dir.join(TEMPORARY);
        let doomed = self.dir.join(format!("{TEMPORARY}-removed"));
        gone(&temporary, fs::rename(&temporary, &doomed))?;
        let mut tries = 0;
        loop {
            match gone(&doomed, fs::remove_dir_all(&doomed)) {
                // A file that was being created in it at the moment of the rename.
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::DirectoryNotEmpty && tries < 10 => {
                    tries += 1
                }
                other => return other,
            }
        }
    }
}

/// Removes folders, innermost first. What keeps one from going, most of all something in it that is not ours, keeps those
/// above it too.
fn remove_if_empty<'a>(mut folders: impl Iterator<Item = &'a Path>) {
    folders.all(|folder| fs::remove_dir(folder).is_ok());
}

/// What came of removing `path`, which may have been gone already.
fn gone(path: &Path, removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path.display(), e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskWriter;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    fn setup(codec: Codec) -> (TempDir, OutputCommitter) {
        let root = tempfile::tempdir().unwrap();
        let spec = root.path().join("a/b/out").display().to_string();
        let job = OutputCommitter::setup_job(&format!("file://{spec}"), 7, codec).unwrap();
        (root, job)
    }

    fn write(job: &OutputCommitter, partition: u32, attempt: u64, text: &str) -> TaskWriter {
        let mut writer = TaskWriter::create(job, PartitionIndex(partition), AttemptId(attempt)).unwrap();
        writer.write_line(text).unwrap();
        writer
    }

    /// Every file below `dir`, with its content.
    fn tree(dir: &Path) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut open = vec![dir.to_path_buf()];
        while let Some(folder) = open.pop() {
            for entry in folder.read_dir().unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                if path.is_dir() {
                    all.insert(format!("{name}/"), String::new());
                    open.push(path);
                } else {
                    all.insert(name, fs::read_to_string(&path).unwrap_or_default());
                }
            }
        }
        all
    }

    fn named<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, String> {
        files.map(|(name, text)| (name.to_string(), text.to_string())).into()
    }

    #[test]
    fn a_committed_job_leaves_its_parts_and_the_marker() {
        let (_root, job) = setup(Codec::None);
        write(&job, 1, 10, "one").commit().unwrap();
        write(&job, 0, 11, "zero").commit().unwrap();
        assert!(!job.dir().join("part-00000").exists(), "nothing is in place before the job's end");
        job.commit_job(2).unwrap();
        assert_eq!(tree(job.dir()), named([("part-00000", "zero\n"), ("part-00001", "one\n"), ("_SUCCESS", "")]));
    }

    #[test]
    fn a_job_of_no_partitions_leaves_the_marker_alone() {
        let (_root, job) = setup(Codec::None);
        job.commit_job(0).unwrap();
        assert_eq!(tree(job.dir()), named([("_SUCCESS", "")]));
    }

    #[test]
    fn an_existing_output_folder_is_refused_even_if_empty() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "x").unwrap();
        for path in [root.path(), &file] {
            let text = OutputCommitter::setup_job(path.to_str().unwrap(), 1, Codec::None).unwrap_err().to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains("already exists"), "{text}");
        }
        assert_eq!(tree(root.path()), named([("file", "x")]));
        let below = file.join("x/out");
        assert!(OutputCommitter::setup_job(below.to_str().unwrap(), 1, Codec::None).is_err());
        assert_eq!(tree(root.path()), named([("file", "x")]));
        assert!(OutputCommitter::setup_job("s3://b/x", 1, Codec::None).unwrap_err().to_string().contains("s3"));
    }

    #[test]
    fn an_aborted_job_leaves_nothing_at_all() {
        let (root, job) = setup(Codec::None);
        let running = write(&job, 0, 1, "zero");
        write(&job, 1, 2, "one").commit().unwrap();
        job.abort_job().unwrap();
        assert_eq!(tree(root.path()), named([]));
        assert!(running.commit().unwrap_err().to_string().contains("attempt_00000_1"));
        assert!(TaskWriter::create(&job, PartitionIndex(0), AttemptId(3)).is_err());
        job.abort_job().unwrap();
        assert_eq!(tree(root.path()), named([]));
    }

    #[test]
    fn abort_keeps_what_is_not_ours() {
        let (root, job) = setup(Codec::None);
        fs::write(root.path().join("a/other"), "mine").unwrap();
        fs::write(job.dir().join("part-x"), "mine").unwrap();
        job.abort_job().unwrap();
        assert_eq!(
            tree(root.path()),
            named([("a/", ""), ("a/other", "mine"), ("a/b/", ""), ("a/b/out/", ""), ("a/b/out/part-x", "mine")])
        );
    }

    #[test]
    fn a_job_whose_partition_is_missing_does_not_commit() {
        let (root, job) = setup(Codec::None);
        write(&job, 0, 1, "zero").commit().unwrap();
        write(&job, 2, 2, "two").commit().unwrap();
        let text = job.commit_job(3).unwrap_err().to_string();
        assert!(text.contains("part-00001"), "{text}");
        assert!(!job.dir().join("_SUCCESS").exists());
        job.abort_job().unwrap();
        assert_eq!(tree(root.path()), named([]));
    }

    #[test]
    fn a_second_commit_of_a_partition_replaces_the_first() {
        let (_root, job) = setup(Codec::None);
        let late = write(&job, 0, 1, "first");
        write(&job, 0, 2, "second").commit().unwrap();
        late.commit().unwrap();
        job.commit_job(1).unwrap();
        assert_eq!(tree(job.dir()), named([("part-00000", "first\n"), ("_SUCCESS", "")]));
    }

    #[test]
    fn an_attempt_that_is_dropped_or_aborted_leaves_nothing() {
        let (_root, job) = setup(Codec::Gzip);
        drop(write(&job, 0, 1, "dropped"));
        write(&job, 0, 2, "aborted").abort();
        assert_eq!(tree(job.committed().parent().unwrap()), named([("committed/", "")]));
        write(&job, 0, 3, "kept").commit().unwrap();
        job.commit_job(1).unwrap();
        assert_eq!(crate::read_whole(&job.dir().join("part-00000.gz")).unwrap(), "kept\n");
    }

    #[test]
    fn an_attempt_after_the_jobs_end_can_do_nothing() {
        let (_root, job) = setup(Codec::None);
        let zombie = write(&job, 0, 1, "zombie");
        write(&job, 0, 2, "kept").commit().unwrap();
        job.commit_job(1).unwrap();
        assert!(zombie.commit().is_err());
        assert!(TaskWriter::create(&job, PartitionIndex(0), AttemptId(3)).is_err());
        assert_eq!(tree(job.dir()), named([("part-00000", "kept\n"), ("_SUCCESS", "")]));
    }

    #[test]
    fn the_committer_travels() {
        let (_root, job) = setup(Codec::Gzip);
        let sent = serde_json::to_vec(&job).unwrap();
        assert_eq!(serde_json::from_slice::<OutputCommitter>(&sent).unwrap(), job);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_attempts_do_each_partition_appears_once_or_not_at_all(
            steps in prop::collection::vec((0u32..4, 0u8..3), 0..20), end_well in any::<bool>(),
        ) {
            let (root, job) = setup(Codec::None);
            let mut last = BTreeMap::new();
            let mut running = Vec::new();
            for (attempt, (partition, how)) in steps.into_iter().enumerate() {
                let writer = write(&job, partition, attempt as u64, &attempt.to_string());
                match how {
                    0 => { writer.commit().unwrap(); last.insert(partition, attempt); }
                    1 => writer.abort(),
                    _ => running.push(writer),
                }
            }
            let parts = (0..4).take_while(|p| last.contains_key(p)).count() as u32;
            if end_well && last.len() == parts as usize {
                job.commit_job(parts).unwrap();
                running.into_iter().for_each(|writer| assert!(writer.commit().is_err()));
                let mut expected: BTreeMap<_, _> =
                    last.into_iter().map(|(p, attempt)| (format!("part-{p:05}"), format!("{attempt}\n"))).collect();
                expected.insert("_SUCCESS".into(), String::new());
                prop_assert_eq!(tree(job.dir()), expected);
            } else {
                job.abort_job().unwrap();
                drop(running);
                prop_assert_eq!(tree(root.path()), named([]));
            }
        }
    }
}
