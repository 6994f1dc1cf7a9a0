//! Checkpointed partitions: block files in a folder of the user's, which outlive the program.
//!
//! A partition's file is `part-00000`. It is written under the attempt's own name and renamed when it is whole, so that a
//! failed attempt leaves nothing and a repeated one does no harm.

use crate::{CachedBlock, Data, StoreError, block_file::FileWriter};
use firesteel_model::{AttemptId, PartitionIndex};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn part(dir: &Path, partition: PartitionIndex) -> PathBuf {
    dir.join(format!("part-{:05}", partition.0))
}

/// Writes one partition of a checkpoint, chunk by chunk. Dropped before [`commit`](CheckpointWriter::commit) it leaves
/// nothing.
///
/// ```
/// use firesteel_model::{AttemptId, PartitionIndex};
/// use firesteel_store::{CheckpointWriter, read_checkpoint};
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path();
///
/// let mut writer = CheckpointWriter::create(dir, PartitionIndex(4), AttemptId(17))?;
/// writer.chunk(&["a".to_string(), "b".to_string()])?;
/// writer.commit()?;
///
/// let block = read_checkpoint::<String>(dir, PartitionIndex(4))?;
/// assert_eq!(*block.chunk(0)?, ["a", "b"]);
/// # Ok::<(), firesteel_store::StoreError>(())
/// ```
pub struct CheckpointWriter {
    /// Taken when it is committed.
    writer: Option<FileWriter>,
    partial: PathBuf,
    path: PathBuf,
}

impl CheckpointWriter {
    /// Begins a partition's file in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// If folder or file cannot be made.
    pub fn create(dir: &Path, partition: PartitionIndex, attempt: AttemptId) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let path = part(dir, partition);
        let partial = dir.join(format!(".part-{:05}-attempt-{attempt}", partition.0));
        let writer = FileWriter::create(&partial, partition.0 as u64)?;
        Ok(CheckpointWriter { writer: Some(writer), partial, path })
    }

    /// Appends a chunk, which is what a reader holds in memory at a time.
    ///
    /// # Errors
    /// If an item cannot be written as a record, or the file cannot be written.
    pub fn chunk<T: Data>(&mut self, items: &[T]) -> Result<(), StoreError> {
        match &mut self.writer {
            Some(writer) => writer.chunk(items),
            None => Err(StoreError::Closed),
        }
    }

    /// Makes the partition's file visible, whole and durable; returns its length.
    ///
    /// # Errors
    /// If the file cannot be written or renamed.
    pub fn commit(mut self) -> Result<u64, StoreError> {
        let Some(writer) = self.writer.take() else { return Err(StoreError::Closed) };
        let committed = writer.finish().and_then(|(length, file)| {
            file.sync_all().map_err(StoreError::io("write", &self.partial))?;
            fs::rename(&self.partial, &self.path).map_err(StoreError::io("create", &self.path))?;
            Ok(length)
        });
        if committed.is_err() {
            let _ = fs::remove_file(&self.partial);
        }
        committed
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Opens one partition of the checkpoint in `dir`.
///
/// # Errors
/// [`StoreError::Corrupt`] if its file is missing or damaged.
pub fn read_checkpoint<T: Data>(dir: &Path, partition: PartitionIndex) -> Result<CachedBlock<T>, StoreError> {
    CachedBlock::at_path(&part(dir, partition), partition.0 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionIndex = PartitionIndex(3);

    fn write(dir: &Path, attempt: u64, items: &[u64]) -> CheckpointWriter {
        let mut writer = CheckpointWriter::create(dir, P, AttemptId(attempt)).unwrap();
        writer.chunk(items).unwrap();
        writer
    }

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn uncommitted_attempt_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(write(dir.path(), 1, &[1]));
        assert!(names(dir.path()).is_empty());
        assert!(read_checkpoint::<u64>(dir.path(), P).unwrap_err().is_corrupt());
    }

    #[test]
    fn repeated_attempts_leave_one_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (write(dir.path(), 1, &[1, 2]), write(dir.path(), 2, &[1, 2]));
        first.commit().unwrap();
        second.commit().unwrap();
        assert_eq!(names(dir.path()), ["part-00003"]);
        assert_eq!(*read_checkpoint::<u64>(dir.path(), P).unwrap().chunk(0).unwrap(), [1, 2]);
    }

    #[test]
    fn file_of_another_partition_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, &[1]).commit().unwrap();
        fs::rename(dir.path().join("part-00003"), dir.path().join("part-00004")).unwrap();
        let error = read_checkpoint::<u64>(dir.path(), PartitionIndex(4)).unwrap_err().to_string();
        assert!(error.contains("part-00004") && error.contains("number 3"), "{error}");
    }
}
