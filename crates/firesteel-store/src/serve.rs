//! What a store gives to other processes: bytes, whatever the type of what they hold.

use crate::{StoreError, cached_block::Chunks, scratch::ScratchFile};
use std::{collections::VecDeque, fmt, io, os::unix::fs::FileExt, sync::Arc};

/// A part of a file.
pub(crate) struct Stretch {
    pub(crate) file: Arc<ScratchFile>,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// One reduce partition of a map output: pages, to be read in order and sent as they are. Their checksums are looked at where
/// they are decoded: [`Piece::of_stream`](crate::Piece::of_stream).
pub struct PartBytes {
    /// What is not read yet.
    stretches: VecDeque<Stretch>,
    records: u64,
    bytes: u64,
    among_others: bool,
}

impl PartBytes {
    pub(crate) fn new(among_others: bool) -> Self {
        PartBytes { stretches: VecDeque::new(), records: 0, bytes: 0, among_others }
    }

    pub(crate) fn add(&mut self, stretch: Stretch, records: u64) {
        self.records += records;
        self.bytes += stretch.to - stretch.from;
        self.stretches.push_back(stretch);
    }

    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether records of other parts than the one that is wanted are among them.
    pub fn among_others(&self) -> bool {
        self.among_others
    }

    /// How many bytes it has in all.
    pub fn length(&self) -> u64 {
        self.bytes
    }

    /// Leaves so many bytes out: a reader that was cut off has them.
    pub fn skip(&mut self, bytes: u64) {
        let mut left = bytes;
        while let Some(stretch) = self.stretches.front_mut() {
            let step = left.min(stretch.to - stretch.from);
            stretch.from += step;
            left -= step;
            if stretch.from < stretch.to {
                return;
            }
            self.stretches.pop_front();
        }
    }
}

impl io::Read for PartBytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(stretch) = self.stretches.front_mut() {
            let there = usize::try_from(stretch.to - stretch.from).unwrap_or(usize::MAX);
            let most = there.min(into.len());
            if there > 0 {
                let read = stretch.file.handle()?.read_at(&mut into[..most], stretch.from)?;
                stretch.from += read as u64;
                return match read {
                    0 if most > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    read => Ok(read),
                };
            }
            self.stretches.pop_front();
        }
        Ok(0)
    }
}

impl fmt::Debug for PartBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartBytes({} records in {} B)", self.records, self.bytes)
    }
}

/// A block whose chunks can be had as bytes, for another process.
pub struct EncodedBlock {
    pub(crate) chunks: Arc<dyn Chunks>,
    pub(crate) type_name: String,
}

impl EncodedBlock {
    /// How many chunks it has.
    pub fn chunks(&self) -> usize {
        self.chunks.count()
    }

    /// What the type of its elements is called, in this program.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// How many elements it has.
    pub fn records(&self) -> u64 {
        self.chunks.records()
    }

    /// The bytes of a chunk as one sequence in the record format, and its number of elements. Of a single value: its bytes, and 1.
    ///
    /// # Errors
    /// If it is damaged, or an element cannot be written.
    ///
    /// # Panics
    /// If there is no such chunk.
    pub fn chunk(&self, i: usize) -> Result<(Vec<u8>, u64), StoreError> {
        self.chunks.encoded(i)
    }
}

impl fmt::Debug for EncodedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedBlock({} chunks)", self.chunks())
    }
}

/// The chunks of a block that another process holds, as it sends them: [`EncodedBlock`] on the other side.
pub trait RemoteChunks: Send {
    /// How many there are.
    fn count(&self) -> usize;
    /// How many elements all of them have.
    fn records(&self) -> u64;
    /// The next one.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if it does not come.
    fn next(&mut self) -> Result<(Vec<u8>, u64), StoreError>;
}
