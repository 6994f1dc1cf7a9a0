//! Where checkpointed RDDs lie: `dir/<uuid>/rdd-3/part-00007`, each part complete or not there.

use crate::{local_path, path};
use firesteel_model::{AttemptId, Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The folder for one application's checkpoints, below the one that the user named.
///
/// ```
/// # fn main() -> firesteel_model::Result<()> {
/// use firesteel_io::CheckpointDir;
/// use firesteel_model::{AttemptId, PartitionIndex, RddId};
/// use std::io::{Read, Write};
/// # let dir = tempfile::tempdir().unwrap();
/// # let spec = dir.path().display().to_string();
/// let dir = CheckpointDir::create(&spec)?;
/// let rdd = dir.start_rdd(RddId(3), 1)?;
/// let mut part = rdd.create_part(PartitionIndex(0), AttemptId(9))?;
/// part.write_all(b"records")?;
/// part.commit()?;
/// assert_eq!(rdd.verify()?, 7);
/// let mut back = String::new();
/// rdd.open_part(PartitionIndex(0))?.read_to_string(&mut back)?;
/// assert_eq!(back, "records");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDir {
    #[serde(with = "path::as_bytes")]
    path: Arc<Path>,
}

impl CheckpointDir {
    /// Makes a new folder of a unique name in `spec`, which is made too if need be.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a file system that cannot be used, [`Error::Io`] if a folder cannot be made.
    pub fn create(spec: &str) -> Result<CheckpointDir> {
        let path = local_path(spec)?.join(unique_name());
        fs::create_dir_all(&path).map_err(|e| Error::io("create checkpoint folder", path.display(), e))?;
        Ok(CheckpointDir { path: path.into() })
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder for an RDD's parts. A checkpoint that failed before is taken up again: its parts are replaced.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be made.
    pub fn start_rdd(&self, rdd: RddId, partitions: u32) -> Result<RddCheckpoint> {
        let path = self.path.join(format!("rdd-{rdd}"));
        fs::create_dir_all(&path).map_err(|e| Error::io("create checkpoint folder", path.display(), e))?;
        Ok(RddCheckpoint { path: path.into(), partitions })
    }

    /// Removes all of the application's checkpoints.
    ///
    /// # Errors
    /// [`Error::Io`] names what could not be removed. A folder that is gone already is none.
    pub fn remove(&self) -> Result<()> {
        remove_folder(&self.path)
    }
}

/// One RDD's checkpoint: made by the driver, sent to the tasks that write it and those that read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RddCheckpoint {
    #[serde(with = "path::as_bytes")]
    path: Arc<Path>,
    partitions: u32,
}

impl RddCheckpoint {
    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many parts make it complete.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Begins a part; it appears under its name with [`CheckpointWriter::commit`].
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be made; most of all, if the checkpoint has been removed.
    pub fn create_part(&self, partition: PartitionIndex, attempt: AttemptId) -> Result<CheckpointWriter> {
        let target = self.part(partition);
        let temporary = self.path.join(format!(".part-{:05}-attempt-{attempt}", partition.0));
        let file = File::create(&temporary).map_err(|e| Error::io("create", temporary.display(), e))?;
        Ok(CheckpointWriter { file, temporary, target, bytes: 0 })
    }

    /// Opens a part for reading.
    ///
    /// # Errors
    /// [`Error::Io`] names the file. The lineage before a checkpoint is forgotten, so a part that is missing is lost.
    pub fn open_part(&self, partition: PartitionIndex) -> Result<File> {
        let path = self.part(partition);
        File::open(&path).map_err(|e| Error::io("open checkpoint", path.display(), e))
    }

    /// Whether every part is there; their bytes in all. To be called before the RDD's lineage is forgotten.
    ///
    /// # Errors
    /// [`Error::Path`] names the parts that are missing (the first ten).
    pub fn verify(&self) -> Result<u64> {
        let mut bytes = 0;
        let mut missing = Vec::new();
        for partition in (0..self.partitions).map(PartitionIndex) {
            let path = self.part(partition);
            match path.metadata() {
                Ok(metadata) => bytes += metadata.len(),
                Err(e) if e.kind() == ErrorKind::NotFound => missing.push(part_name(partition)),
                Err(e) => return Err(Error::io("read checkpoint", path.display(), e)),
            }
        }
        if missing.is_empty() {
            return Ok(bytes);
        }
        let count = missing.len();
        missing.truncate(10);
        Err(Error::Path(format!(
            "checkpoint {}: {count} of {} parts are missing ({}); every executor must see the checkpoint folder, and nothing \
             else may remove files from it",
            self.path.display(),
            self.partitions,
            missing.join(", ")
        )))
    }

    /// Removes the checkpoint, also while tasks still write to it: their parts fail.
    ///
    /// # Errors
    /// [`Error::Io`] names what could not be removed. A folder that is gone already is none.
    pub fn remove(&self) -> Result<()> {
        // Under another name first, so that nothing appears in it any more.
        let removed = self.path.with_extension("removed");
        match fs::rename(&self.path, &removed) {
            Ok(()) => remove_folder(&removed),
            Err(_) => remove_folder(&self.path),
        }
    }

    fn part(&self, partition: PartitionIndex) -> PathBuf {
        self.path.join(part_name(partition))
    }
}

/// A part on its way. Dropped without a commit, it is gone.
#[must_use = "a part that is dropped without a commit leaves nothing"]
pub struct CheckpointWriter {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    bytes: u64,
}

impl CheckpointWriter {
    /// Gives the part its name, in place of one that an earlier attempt wrote; how many bytes it has.
    ///
    /// # Errors
    /// [`Error::Io`] names the file.
    pub fn commit(self) -> Result<u64> {
        fs::rename(&self.temporary, &self.target).map_err(|e| Error::io("commit", self.target.display(), e))?;
        Ok(self.bytes)
    }
}

/// Not buffered: hand it blocks, not records.
impl Write for CheckpointWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        // Gone already after a commit; a file that stays goes with its folder.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn part_name(partition: PartitionIndex) -> String {
    format!("part-{:05}", partition.0)
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path.display(), e)),
        _ => Ok(()),
    }
}

/// A random UUID. The keys of a hasher's state come from the system's randomness.
fn unique_name() -> String {
    let word = || RandomState::new().hash_one(std::process::id());
    let (high, low) = (word() & !0xF000 | 0x4000, word() & !(0b11 << 62) | 0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(partitions: u32) -> (tempfile::TempDir, RddCheckpoint) {
        let root = tempfile::tempdir().unwrap();
        let dir = CheckpointDir::create(root.path().join("x/y").to_str().unwrap()).unwrap();
        (root, dir.start_rdd(RddId(4), partitions).unwrap())
    }

    fn write(rdd: &RddCheckpoint, partition: u32, attempt: u64, bytes: &[u8]) -> CheckpointWriter {
        let mut writer = rdd.create_part(PartitionIndex(partition), AttemptId(attempt)).unwrap();
        writer.write_all(bytes).unwrap();
        writer
    }

    #[test]
    fn a_checkpoint_is_complete_when_every_part_is() {
        let (_root, rdd) = start(3);
        write(&rdd, 0, 1, b"a").commit().unwrap();
        let open = write(&rdd, 1, 2, b"bb");
        assert_eq!(write(&rdd, 2, 3, b"").commit().unwrap(), 0);
        let text = rdd.verify().unwrap_err().to_string();
        assert!(text.contains("1 of 3") && text.contains("(part-00001)"), "{text}");
        assert_eq!(open.commit().unwrap(), 2);
        assert_eq!(rdd.verify().unwrap(), 3);
    }

    #[test]
    fn a_part_that_is_not_committed_leaves_nothing_and_a_later_one_replaces() {
        let (_root, rdd) = start(1);
        drop(write(&rdd, 0, 1, b"dropped"));
        assert_eq!(rdd.path().read_dir().unwrap().count(), 0);
        write(&rdd, 0, 2, b"first").commit().unwrap();
        write(&rdd, 0, 3, b"second").commit().unwrap();
        assert_eq!(rdd.path().read_dir().unwrap().count(), 1);
        assert_eq!(fs::read(rdd.path().join("part-00000")).unwrap(), b"second");
    }

    #[test]
    fn what_is_removed_cannot_come_back() {
        let (root, rdd) = start(1);
        let late = write(&rdd, 0, 1, b"late");
        rdd.remove().unwrap();
        rdd.remove().unwrap();
        assert!(late.commit().is_err());
        assert!(rdd.create_part(PartitionIndex(0), AttemptId(2)).is_err());
        assert!(rdd.open_part(PartitionIndex(0)).unwrap_err().to_string().contains("rdd-4/part-00000"));
        assert!(!rdd.path().exists() && root.path().exists());
    }

    #[test]
    fn applications_do_not_share_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let spec = root.path().to_str().unwrap();
        let (a, b) = (CheckpointDir::create(spec).unwrap(), CheckpointDir::create(spec).unwrap());
        assert_ne!(a, b);
        let name = a.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(name.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        a.remove().unwrap();
        assert!(b.path().exists());
        let sent = serde_json::to_vec(&b).unwrap();
        assert_eq!(serde_json::from_slice::<CheckpointDir>(&sent).unwrap(), b);
        assert!(CheckpointDir::create("hdfs://x/y").is_err());
    }
}
