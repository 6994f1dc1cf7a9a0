//! A block as a file: chunks of records, each compressed and with a checksum of its own.
//!
//! ```text
//! header   magic "FSBK" · version u16 · 0u16 · number u64
//! chunks   one after another, as stored
//! index    for each chunk: stored length u64 · raw length u64 · records u64 · CRC32C u32 · codec u32
//! footer   number of chunks u64 · CRC32C of header, index and that number u32 · magic "KBSF"
//! ```
//!
//! All little-endian. A chunk's raw bytes are one sequence in the [record format](crate::record); codec 0 stores them as
//! they are, 1 as one LZ4 block; the chunk's CRC32C is of the bytes as stored. The index stands last because lengths are
//! known last. The number tells one file from another: a reader says which it expects.

use crate::{Chunk, StoreError, Texts, record};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const MAGIC: [u8; 4] = *b"FSBK";
const END_MAGIC: [u8; 4] = *b"KBSF";
const VERSION: u16 = 1;
const HEADER: u64 = 16;
const ENTRY: u64 = 32;
const FOOTER: u64 = 16;

/// LZ4's limit: a byte of input stands for at most 255 of output.
const MAX_RATIO: u64 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Stored = 0,
    Lz4 = 1,
}

/// Where a chunk lies and what it must be.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u64,
    stored: u64,
    raw: u64,
    records: u64,
    crc: u32,
    codec: Codec,
}

/// Writes a block file, chunk by chunk, to wherever it belongs: the store's own files, a part of a checkpoint.
///
/// ```
/// use firesteel_model::PartitionIndex;
/// use firesteel_store::{BlockWriter, read_checkpoint};
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path();
///
/// let path = dir.join("part-00004");
/// let mut writer = BlockWriter::new(std::fs::File::create(&path).unwrap(), &path, 4)?;
/// writer.chunk(&["a".to_string(), "b".to_string()])?;
/// writer.finish()?;
///
/// let block = read_checkpoint::<String>(dir, PartitionIndex(4))?;
/// assert_eq!(block.chunk(0)?.to_vec(), ["a", "b"]);
/// # Ok::<(), firesteel_store::StoreError>(())
/// ```
pub struct BlockWriter<W> {
    path: PathBuf,
    out: W,
    header: [u8; HEADER as usize],
    /// The index so far, as it will be written.
    index: Vec<u8>,
    chunks: u64,
    raw: Vec<u8>,
    compressed: Vec<u8>,
    written: u64,
}

impl BlockWriter<File> {
    /// Creates a file that does not exist yet.
    pub(crate) fn create(path: &Path, number: u64) -> Result<Self, StoreError> {
        BlockWriter::new(File::create_new(path).map_err(StoreError::io("create", path))?, path, number)
    }

    /// Another file with the chunks so far: this one cannot be written any further.
    pub(crate) fn copy(&self, path: &Path, number: u64) -> Result<Self, StoreError> {
        let mut copy = BlockWriter::create(path, number)?;
        let chunks = self.written - HEADER;
        let mut from = &self.out;
        from.seek(SeekFrom::Start(HEADER)).map_err(StoreError::io("read", &self.path))?;
        let copied = io::copy(&mut from.take(chunks), &mut copy.out).map_err(StoreError::io("write", path))?;
        if copied != chunks {
            return Err(StoreError::io("read", &self.path)(io::ErrorKind::UnexpectedEof.into()));
        }
        copy.written = self.written;
        copy.index.clone_from(&self.index);
        copy.chunks = self.chunks;
        Ok(copy)
    }
}

impl<W: Write> BlockWriter<W> {
    /// Begins a block file. It is written in few large pieces, so `out` needs no buffer. `path` is what errors call it, and
    /// a reader has to expect the same `number`: for a part of a checkpoint, its partition's.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn new(out: W, path: &Path, number: u64) -> Result<Self, StoreError> {
        let mut header = [0; HEADER as usize];
        header[..4].copy_from_slice(&MAGIC);
        header[4..6].copy_from_slice(&VERSION.to_le_bytes());
        header[8..].copy_from_slice(&number.to_le_bytes());
        let mut writer = BlockWriter {
            path: path.to_path_buf(),
            out,
            header,
            index: Vec::new(),
            chunks: 0,
            raw: Vec::new(),
            compressed: Vec::new(),
            written: 0,
        };
        writer.put(&header)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.out.write_all(bytes).map_err(StoreError::io("write", &self.path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Appends a chunk, which is what a reader holds in memory at a time.
    ///
    /// # Errors
    /// If an item cannot be written as a record, or the file cannot be written.
    pub fn chunk<T: Serialize>(&mut self, items: &[T]) -> Result<(), StoreError> {
        self.elements(items, items.len())
    }

    /// Appends a chunk, as [`chunk`](BlockWriter::chunk).
    ///
    /// # Errors
    /// As there.
    pub fn texts(&mut self, texts: &Texts) -> Result<(), StoreError> {
        self.elements(texts, texts.len())
    }

    pub(crate) fn elements<E: Serialize + ?Sized>(&mut self, elements: &E, count: usize) -> Result<(), StoreError> {
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        record::extend(&mut raw, elements)
            .map_err(|source| StoreError::Record { block: self.path.display().to_string(), source })?;
        let result = self.chunk_bytes(&raw, count as u64);
        self.raw = raw;
        result
    }

    pub(crate) fn chunk_bytes(&mut self, raw: &[u8], records: u64) -> Result<(), StoreError> {
        let mut compressed = std::mem::take(&mut self.compressed);
        compressed.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
        let (stored, codec) = match lz4_flex::block::compress_into(raw, &mut compressed) {
            Ok(n) if n < raw.len() => (&compressed[..n], Codec::Lz4),
            _ => (raw, Codec::Stored),
        };
        let result = self.put(stored);
        if result.is_ok() {
            self.index.extend_from_slice(&(stored.len() as u64).to_le_bytes());
            self.index.extend_from_slice(&(raw.len() as u64).to_le_bytes());
            self.index.extend_from_slice(&records.to_le_bytes());
            self.index.extend_from_slice(&crc32c::crc32c(stored).to_le_bytes());
            self.index.extend_from_slice(&(codec as u32).to_le_bytes());
            self.chunks += 1;
        }
        self.compressed = compressed;
        result
    }

    /// Writes the index, without which there is no block file; returns the file's length, and what it was written to.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> Result<(u64, W), StoreError> {
        Ok((self.end()?, self.out))
    }

    /// Writes the index; returns the file's length.
    pub(crate) fn end(&mut self) -> Result<u64, StoreError> {
        let count = self.chunks.to_le_bytes();
        let crc = index_crc(&self.header, &self.index, &count);
        let tail = [&self.index[..], &count, &crc.to_le_bytes(), &END_MAGIC].concat();
        self.put(&tail)?;
        self.out.flush().map_err(StoreError::io("write", &self.path))?;
        Ok(self.written)
    }
}

fn index_crc(header: &[u8], index: &[u8], count: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(header), index), count)
}

/// Reads a block file; generic over where its bytes are, so that tests and fuzzers can hand it any.
#[derive(Debug)]
pub(crate) struct FileReader<S> {
    source: S,
    index: Vec<Entry>,
}

/// What is wrong with a file, in words.
type Damage = String;

fn unreadable(e: io::Error) -> Damage {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".into(),
        _ => e.to_string(),
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

impl FileReader<File> {
    /// Opens the file `number` at `path` and checks its index.
    pub(crate) fn open_path(path: &Path, number: u64) -> Result<Self, Damage> {
        FileReader::open(File::open(path).map_err(unreadable)?, number)
    }
}

impl<S: Read + Seek> FileReader<S> {
    /// Checks everything but the chunks themselves. Allocates no more than the file is long.
    pub(crate) fn open(mut source: S, number: u64) -> Result<Self, Damage> {
        let len = source.seek(SeekFrom::End(0)).map_err(unreadable)?;
        if len < HEADER + FOOTER {
            return Err(format!("it has {len} bytes only"));
        }
        let mut header = [0; HEADER as usize];
        source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        source.read_exact(&mut header).map_err(unreadable)?;
        let mut footer = [0; FOOTER as usize];
        source.seek(SeekFrom::Start(len - FOOTER)).map_err(unreadable)?;
        source.read_exact(&mut footer).map_err(unreadable)?;
        if header[..4] != MAGIC || footer[12..] != END_MAGIC {
            return Err("it is no block file, or not a whole one".into());
        }
        let version = u32_at(&header, 4);
        if version != VERSION as u32 {
            return Err(format!("its format is version {version}, and this program reads version {VERSION}"));
        }
        let chunks = u64_at(&footer, 0);
        let index_len = chunks
            .checked_mul(ENTRY)
            .filter(|index| *index <= len - HEADER - FOOTER)
            .ok_or("its index is longer than the file")?;
        let start = len - FOOTER - index_len;
        let mut index = vec![0; index_len as usize];
        source.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        source.read_exact(&mut index).map_err(unreadable)?;
        if index_crc(&header, &index, &footer[..8]) != u32_at(&footer, 8) {
            return Err("its index fails its checksum".into());
        }
        let found = u64_at(&header, 8);
        if found != number {
            return Err(format!("it is file number {found}, not {number}"));
        }
        let mut offset = HEADER;
        let mut entries = Vec::with_capacity(chunks as usize);
        for entry in index.chunks_exact(ENTRY as usize) {
            let (stored, raw, records) = (u64_at(entry, 0), u64_at(entry, 8), u64_at(entry, 16));
            let (crc, codec) = (u32_at(entry, 24), u32_at(entry, 28));
            let (codec, most) = match codec {
                0 => (Codec::Stored, stored),
                1 => (Codec::Lz4, stored.saturating_mul(MAX_RATIO)),
                other => return Err(format!("its index names an unknown codec, {other}")),
            };
            // A record takes a byte or more, and a sequence four for its length.
            if raw > most || records > raw || stored > start - offset {
                return Err("its index contradicts itself".into());
            }
            entries.push(Entry { offset, stored, raw, records, crc, codec });
            offset += stored;
        }
        if offset != start {
            return Err("its index does not cover its chunks".into());
        }
        Ok(FileReader { source, index: entries })
    }

    pub(crate) fn chunks(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn records(&self) -> u64 {
        self.index.iter().fold(0, |sum, entry| sum.saturating_add(entry.records))
    }

    /// The raw bytes of a chunk, verified, and its number of records.
    ///
    /// # Panics
    /// If there is no such chunk.
    pub(crate) fn raw(&mut self, i: usize) -> Result<(Vec<u8>, u64), Damage> {
        let entry = self.index[i];
        // Within the file, by what `open` has checked.
        let mut stored = vec![0; entry.stored as usize];
        self.source.seek(SeekFrom::Start(entry.offset)).map_err(unreadable)?;
        self.source.read_exact(&mut stored).map_err(unreadable)?;
        if crc32c::crc32c(&stored) != entry.crc {
            return Err("it fails its checksum".into());
        }
        let raw = match entry.codec {
            Codec::Stored => stored,
            Codec::Lz4 => lz4_flex::block::decompress(&stored, entry.raw as usize).map_err(|e| e.to_string())?,
        };
        if raw.len() as u64 != entry.raw {
            return Err("it has another length than its index says".into());
        }
        Ok((raw, entry.records))
    }
}

/// Reads a whole block file from memory, as the store would from disk: the entry for fuzzers.
///
/// # Errors
/// What is wrong with it. Never panics, whatever the bytes.
#[doc(hidden)]
pub fn decode_block_file<T: DeserializeOwned + Clone + 'static>(
    bytes: &[u8],
    number: u64,
) -> Result<Vec<Vec<T>>, String> {
    let mut reader = FileReader::open(io::Cursor::new(bytes), number)?;
    (0..reader.chunks())
        .map(|i| {
            let (raw, records) = reader.raw(i)?;
            Ok(Chunk::decode(&raw, records).map_err(|e| e.to_string())?.to_vec())
        })
        .collect()
}

#[cfg(test)]
mod tests;
