//! Reading a block, in whichever form it is kept.

use crate::{
    Chunk, Data, Kept, RemoteChunks, StoreError, block_file::FileReader, record, scratch::ScratchFile, sync::Mutex,
};
use firesteel_model::PartitionIndex;
use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A block to be read, chunk by chunk. Holds on to the block, even if it is removed; clones share it.
pub struct CachedBlock<T>(Form<T>);

enum Form<T> {
    Values(Arc<Values<T>>),
    Bytes(Arc<Bytes>),
    File(Arc<OpenFile>),
    Remote(Arc<Remote<T>>),
}

/// A block that another process sends.
struct Remote<T> {
    place: String,
    chunks: usize,
    records: u64,
    arriving: Mutex<Arriving<T>>,
}

struct Arriving<T> {
    from: Box<dyn RemoteChunks>,
    /// How many have come; and the last of them.
    come: usize,
    last: Option<Chunk<T>>,
}

/// What can be sent to another process chunk by chunk.
pub(crate) trait Chunks: Send + Sync {
    fn count(&self) -> usize;
    fn records(&self) -> u64;
    fn encoded(&self, i: usize) -> Result<(Vec<u8>, u64), StoreError>;
}

impl<T: Data> Chunks for Values<T> {
    fn records(&self) -> u64 {
        self.records
    }
    fn count(&self) -> usize {
        self.chunks.len()
    }
    fn encoded(&self, i: usize) -> Result<(Vec<u8>, u64), StoreError> {
        let chunk = &self.chunks[i];
        let bytes =
            record::to_vec(chunk).map_err(|source| StoreError::Record { block: "to be sent".into(), source })?;
        Ok((bytes, chunk.len() as u64))
    }
}

impl Chunks for Bytes {
    fn records(&self) -> u64 {
        self.chunks.iter().map(|(_, records)| records).sum()
    }
    fn count(&self) -> usize {
        self.chunks.len()
    }
    fn encoded(&self, i: usize) -> Result<(Vec<u8>, u64), StoreError> {
        Ok(self.chunks[i].clone())
    }
}

impl Chunks for OpenFile {
    fn records(&self) -> u64 {
        self.records
    }
    fn count(&self) -> usize {
        self.chunks
    }
    fn encoded(&self, i: usize) -> Result<(Vec<u8>, u64), StoreError> {
        self.raw(i)
    }
}

impl OpenFile {
    fn raw(&self, i: usize) -> Result<(Vec<u8>, u64), StoreError> {
        let raw = self.reader.lock().unwrap_or_else(PoisonError::into_inner).raw(i);
        raw.map_err(|what| self.damaged(i, what))
    }

    /// The block is not given out again.
    fn damaged(&self, i: usize, what: impl fmt::Display) -> StoreError {
        if let Some(block) = &self.block {
            block.damaged.store(true, Ordering::Release);
        }
        corrupt(&self.path, format!("chunk {i}: {what}"))
    }
}

/// A block's file, opened to be sent.
pub(crate) fn chunks_of_file(block: Arc<BlockFile>) -> Result<Arc<dyn Chunks>, StoreError> {
    let CachedBlock::<()>(Form::File(file)) = CachedBlock::of_file(block)? else {
        unreachable!("a file's block is read from its file")
    };
    Ok(file)
}

/// A block kept as values.
pub(crate) struct Values<T> {
    pub(crate) chunks: Vec<Chunk<T>>,
    pub(crate) records: u64,
    /// The memory that it takes.
    pub(crate) kept: Option<Kept>,
}

/// A block kept as bytes in memory.
pub(crate) struct Bytes {
    /// What block this is.
    pub(crate) place: String,
    /// Each chunk as one sequence in the record format, and its number of elements.
    pub(crate) chunks: Vec<(Vec<u8>, u64)>,
    /// The memory that it takes.
    pub(crate) kept: Option<Kept>,
}

/// A block kept in a file of the store's.
pub(crate) struct BlockFile {
    file: ScratchFile,
    /// Something in it could not be read: it is not to be given out again.
    damaged: AtomicBool,
}

/// A block file that is being read, maybe by several threads.
struct OpenFile {
    reader: Mutex<FileReader<File>>,
    chunks: usize,
    records: u64,
    path: PathBuf,
    /// Keeps the file there; none for a checkpoint's, which is not the store's.
    block: Option<Arc<BlockFile>>,
}

impl BlockFile {
    pub(crate) fn new(file: ScratchFile) -> Self {
        BlockFile { file, damaged: AtomicBool::new(false) }
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }
}

fn corrupt(path: &Path, what: String) -> StoreError {
    StoreError::Corrupt { place: path.display().to_string(), what }
}

impl<T> CachedBlock<T> {
    pub(crate) fn of_values(values: Arc<Values<T>>) -> Self {
        CachedBlock(Form::Values(values))
    }

    pub(crate) fn of_bytes(bytes: Arc<Bytes>) -> Self {
        CachedBlock(Form::Bytes(bytes))
    }

    /// Opens a block's file; if that fails the block counts as damaged.
    pub(crate) fn of_file(block: Arc<BlockFile>) -> Result<Self, StoreError> {
        let opened = Self::open(&block.file.path, block.file.number, Some(block.clone()));
        if opened.is_err() {
            block.damaged.store(true, Ordering::Release);
        }
        opened
    }

    fn open(path: &Path, number: u64, block: Option<Arc<BlockFile>>) -> Result<Self, StoreError> {
        let reader = FileReader::open_path(path, number).map_err(|what| corrupt(path, what))?;
        let (chunks, records) = (reader.chunks(), reader.records());
        let file = OpenFile { reader: Mutex::new(reader), chunks, records, path: path.to_path_buf(), block };
        Ok(CachedBlock(Form::File(Arc::new(file))))
    }

    /// A block that another process sends; `place` says which. Its chunks can be read once, in order.
    pub fn of_remote(from: Box<dyn RemoteChunks>, place: String) -> Self {
        let (chunks, records) = (from.count(), from.records());
        let arriving = Mutex::new(Arriving { from, come: 0, last: None });
        CachedBlock(Form::Remote(Arc::new(Remote { place, chunks, records, arriving })))
    }

    /// How many chunks it has.
    pub fn chunks(&self) -> usize {
        match &self.0 {
            Form::Remote(remote) => remote.chunks,
            Form::Values(values) => values.chunks.len(),
            Form::Bytes(bytes) => bytes.chunks.len(),
            Form::File(file) => file.chunks,
        }
    }

    /// How many elements it has.
    pub fn records(&self) -> u64 {
        match &self.0 {
            Form::Remote(remote) => remote.records,
            Form::Values(values) => values.records,
            Form::Bytes(bytes) => Chunks::records(&**bytes),
            Form::File(file) => file.records,
        }
    }
}

impl<T: Data> CachedBlock<T> {
    /// The elements of a chunk: shared if they are kept as values, else read, verified and decoded anew at every call.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the chunk is damaged; the store then does not give out the block again.
    ///
    /// # Panics
    /// If there is no such chunk.
    pub fn chunk(&self, i: usize) -> Result<Chunk<T>, StoreError> {
        match &self.0 {
            Form::Values(values) => Ok(values.chunks[i].clone()),
            Form::Bytes(bytes) => {
                let (raw, records) = &bytes.chunks[i];
                Chunk::decode(raw, *records)
                    .map_err(|e| StoreError::Corrupt { place: bytes.place.clone(), what: format!("chunk {i}: {e}") })
            }
            Form::File(file) => {
                assert!(i < file.chunks, "chunk {i} of a block that has {}", file.chunks);
                let (raw, records) = file.raw(i)?;
                // Decoded without the lock: other threads may want other chunks.
                Chunk::decode(&raw, records).map_err(|e| file.damaged(i, e))
            }
            Form::Remote(remote) => {
                let mut arriving = remote.arriving.lock().unwrap_or_else(PoisonError::into_inner);
                if i == arriving.come {
                    let (raw, records) = arriving.from.next()?;
                    let chunk = Chunk::decode(&raw, records).map_err(|e| StoreError::Corrupt {
                        place: remote.place.clone(),
                        what: format!("chunk {i}: {e}"),
                    })?;
                    (arriving.come, arriving.last) = (i + 1, Some(chunk));
                }
                let last = arriving.last.clone().filter(|_| i + 1 == arriving.come);
                Ok(last.expect("the chunks of a block from elsewhere are read in order"))
            }
        }
    }
}

/// Opens one partition of a checkpoint: the block file `part-00004`, for partition 4, in the RDD's folder `dir`.
///
/// # Errors
/// [`StoreError::Corrupt`] if the file is missing or damaged, or is another partition's.
pub fn read_checkpoint<T: Data>(dir: &Path, partition: PartitionIndex) -> Result<CachedBlock<T>, StoreError> {
    CachedBlock::open(&dir.join(format!("part-{:05}", partition.0)), partition.0 as u64, None)
}

impl<T> Clone for CachedBlock<T> {
    fn clone(&self) -> Self {
        CachedBlock(match &self.0 {
            Form::Values(values) => Form::Values(values.clone()),
            Form::Bytes(bytes) => Form::Bytes(bytes.clone()),
            Form::File(file) => Form::File(file.clone()),
            Form::Remote(remote) => Form::Remote(remote.clone()),
        })
    }
}

impl<T> fmt::Debug for CachedBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CachedBlock({} elements in {} chunks)", self.records(), self.chunks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlockWriter;

    #[test]
    fn checkpointed_partition_is_read_from_its_own_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = BlockWriter::create(&dir.path().join("part-00003"), 3).unwrap();
        writer.chunk(&[1u64, 2]).unwrap();
        writer.finish().unwrap();
        assert_eq!(read_checkpoint::<u64>(dir.path(), PartitionIndex(3)).unwrap().chunk(0).unwrap().to_vec(), [1, 2]);
        assert!(read_checkpoint::<u64>(dir.path(), PartitionIndex(4)).unwrap_err().is_corrupt(), "missing");
        std::fs::rename(dir.path().join("part-00003"), dir.path().join("part-00004")).unwrap();
        let error = read_checkpoint::<u64>(dir.path(), PartitionIndex(4)).unwrap_err().to_string();
        assert!(error.contains("part-00004") && error.contains("number 3"), "{error}");
    }
}
