//! Map outputs on disk: a run's records by reduce partition, and where each partition begins.
//!
//! ```text
//! pages   of each reduce partition, one partition after another
//! index   for each partition, and for the end: offset u64 · records before it u64 · CRC32C u32
//! ```
//!
//! All little-endian; offsets count from the first page. The checksum of an index entry is of the run's place in the file, the
//! partition, and the two numbers. A reader reads two entries and its pages, whatever the number of partitions: nothing of
//! the index stays in memory.
//!
//! Map outputs of a shuffle share files of up to 64 MiB, so that 10,000 small ones do not need 10,000 files.

use crate::{
    Run, StoreError,
    catalogue::{Catalogues, OutputPlace, PiecePlace},
    page::{PageReader, PageWriter, RawPage, Source},
    record::RecordError,
    scratch::{Scratch, ScratchFile},
    serve::Stretch,
    spill::WRITE_BYTES,
    sync::{Mutex, MutexGuard},
};
use firesteel_model::{AttemptId, PartitionIndex, ShuffleId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{Arc, PoisonError, Weak},
};

/// A file that is longer gets no more map outputs.
const FILE_BYTES: u64 = 64 << 20;
const ENTRY: usize = 20;

/// The files of map outputs that have left memory.
pub struct RunFiles {
    scratch: Arc<Scratch>,
    compress: bool,
    /// What lies where is written beside them.
    catalogues: Option<Catalogues>,
    waiting: Mutex<Waiting>,
}

/// Files that nobody writes to at the moment and that have room, by shuffle, and how far they are written. A file goes with the
/// last map output in it.
type Waiting = BTreeMap<ShuffleId, Vec<(Weak<ScratchFile>, u64)>>;

struct Appender {
    file: Arc<ScratchFile>,
    at: u64,
}

impl RunFiles {
    /// Files under these folders. `compress`: pages are compressed where that makes them smaller.
    pub fn new(scratch: Arc<Scratch>, compress: bool) -> Arc<Self> {
        Arc::new(RunFiles { scratch, compress, catalogues: None, waiting: Mutex::default() })
    }

    /// The same, with a [`Catalogue`](crate::Catalogue) beside the files, by which others find what is in them when this process has
    /// died. The folders must outlive it.
    pub fn catalogued(scratch: Arc<Scratch>, compress: bool) -> Arc<Self> {
        Arc::new(RunFiles { scratch, compress, catalogues: Some(Catalogues::default()), waiting: Mutex::default() })
    }

    /// Notes a finished map output in the catalogue, if there is one. What cannot be noted dies with this process.
    pub(crate) fn note(
        &self,
        shuffle: ShuffleId,
        map: PartitionIndex,
        attempt: AttemptId,
        spread: u32,
        pieces: &[Arc<Flushed>],
    ) {
        let Some(catalogues) = &self.catalogues else { return };
        let piece = |piece: &Arc<Flushed>| {
            let (folder, file) = self.scratch.relative(&piece.file.path)?;
            Some(PiecePlace { folder, file: file.into(), bounds: piece.bounds })
        };
        let noted = match pieces.iter().map(piece).collect() {
            Some(pieces) => catalogues.append(&self.scratch, shuffle, map, attempt, &OutputPlace { spread, pieces }),
            None => return,
        };
        if let Err(e) = noted {
            tracing::warn!("the output of map task {map} of shuffle {shuffle} will not outlive this process: {e}");
        }
    }

    /// Removes a shuffle's catalogue.
    pub(crate) fn forget(&self, shuffle: ShuffleId) {
        self.catalogues.iter().for_each(|catalogues| catalogues.remove(&self.scratch, shuffle));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file of the shuffle to go on with.
    fn take(&self, shuffle: ShuffleId) -> Option<Appender> {
        let mut waiting = self.waiting();
        let files = waiting.get_mut(&shuffle)?;
        std::iter::from_fn(|| files.pop()).find_map(|(file, at)| Some(Appender { file: file.upgrade()?, at }))
    }

    /// Writes a run; `sizes` grows by what each partition takes on disk.
    ///
    /// # Errors
    /// If a record cannot be encoded, or no scratch folder can be written to.
    pub(crate) fn flush<R: Serialize>(
        &self,
        shuffle: ShuffleId,
        run: &Run<R>,
        sizes: &mut [u64],
    ) -> Result<Flushed, StoreError> {
        self.write(shuffle, &mut |appender| self.append(appender, run, sizes))
    }

    /// Has `append` write a run, into a file to go on with or into a new one.
    fn write(
        &self,
        shuffle: ShuffleId,
        append: &mut dyn FnMut(&mut Appender) -> Result<Flushed, StoreError>,
    ) -> Result<Flushed, StoreError> {
        if let Some(mut appender) = self.take(shuffle) {
            match append(&mut appender) {
                Ok(flushed) => {
                    self.put_back(shuffle, appender);
                    return Ok(flushed);
                }
                Err(e @ StoreError::Io { .. }) => {
                    tracing::warn!("a map output could not be written and begins another file: {e}");
                }
                Err(e) => return Err(e),
            }
        }
        let (flushed, appender) = self.scratch.try_each(|file| {
            file.create()?;
            let mut appender = Appender { file: Arc::new(file), at: 0 };
            let flushed = append(&mut appender)?;
            Ok((flushed, appender))
        })?;
        self.put_back(shuffle, appender);
        Ok(flushed)
    }

    fn put_back(&self, shuffle: ShuffleId, appender: Appender) {
        let mut waiting = self.waiting();
        // Shuffles may have been released meanwhile, this one, too.
        waiting.retain(|_, files| files.iter().any(|(file, _)| file.strong_count() > 0));
        if appender.at < FILE_BYTES {
            waiting.entry(shuffle).or_default().push((Arc::downgrade(&appender.file), appender.at));
        }
        drop(waiting);
    }

    fn append<R: Serialize>(&self, to: &mut Appender, run: &Run<R>, sizes: &mut [u64]) -> Result<Flushed, StoreError> {
        let mut writing = Writing::new(to, self.compress, run.partitions());
        for partition in 0..run.partitions() {
            writing.begin();
            for slice in run.partition(partition) {
                for record in slice {
                    if let Err(e) = writing.pages.push(record, &mut writing.out) {
                        return Err(writing.unwritable(e));
                    }
                    if writing.out.len() >= WRITE_BYTES {
                        writing.write()?;
                    }
                }
                writing.records += slice.len() as u64;
            }
            for page in run.pages(partition) {
                writing.append(page)?;
            }
            writing.end()?;
        }
        writing.finish(sizes)
    }
}

/// A run that is being written, whatever its records are.
struct Writing<'a> {
    to: &'a mut Appender,
    start: u64,
    /// How far the file is written, and what comes there next.
    at: u64,
    out: Vec<u8>,
    pages: PageWriter,
    index: Vec<u8>,
    /// Where each partition begins, from the start.
    offsets: Vec<u64>,
    records: u64,
}

impl<'a> Writing<'a> {
    fn new(to: &'a mut Appender, compress: bool, partitions: usize) -> Self {
        let (start, index) = (to.at, Vec::with_capacity((partitions + 1) * ENTRY));
        let (offsets, pages) = (Vec::with_capacity(partitions + 1), PageWriter::new(compress));
        Writing { to, start, at: start, out: Vec::new(), pages, index, offsets, records: 0 }
    }

    /// Begins the next partition, or the index.
    fn begin(&mut self) {
        let offset = self.at + self.out.len() as u64 - self.start;
        entry(&mut self.index, self.start, self.offsets.len(), offset, self.records);
        self.offsets.push(offset);
    }

    /// Appends a whole page.
    fn append(&mut self, page: &RawPage) -> Result<(), StoreError> {
        if let Err(e) = self.pages.append(page, &mut self.out) {
            return Err(self.unwritable(e));
        }
        self.records += u64::from(page.records);
        if self.out.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    /// Ends a partition.
    fn end(&mut self) -> Result<(), StoreError> {
        self.pages.end(&mut self.out).map_err(|e| self.unwritable(e))
    }

    #[inline(never)]
    fn write(&mut self) -> Result<(), StoreError> {
        self.to.file.write_at(&self.out, self.at)?;
        self.at += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn finish(mut self, sizes: &mut [u64]) -> Result<Flushed, StoreError> {
        self.begin();
        let index_at = self.at + self.out.len() as u64;
        self.out.extend_from_slice(&self.index);
        self.write()?;
        self.to.at = self.at;
        sizes.iter_mut().zip(self.offsets.windows(2)).for_each(|(size, of)| *size += of[1] - of[0]);
        let partitions = self.offsets.len() as u64 - 1;
        let bounds = Bounds { start: self.start, index_at, end: self.at, partitions };
        Ok(Flushed { file: self.to.file.clone(), bounds })
    }

    #[cold]
    fn unwritable(&self, source: RecordError) -> StoreError {
        StoreError::Record { block: self.to.file.path.display().to_string(), source }
    }
}

fn entry(index: &mut Vec<u8>, start: u64, partition: usize, offset: u64, records: u64) {
    let from = index.len();
    index.extend_from_slice(&offset.to_le_bytes());
    index.extend_from_slice(&records.to_le_bytes());
    let crc = entry_crc(&index[from..], start, partition);
    index.extend_from_slice(&crc.to_le_bytes());
}

pub(crate) fn entry_crc(numbers: &[u8], start: u64, partition: usize) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&start.to_le_bytes()), &(partition as u64).to_le_bytes());
    crc32c::crc32c_append(crc, numbers)
}

impl fmt::Debug for RunFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunFiles(of {} shuffles in {:?})", self.waiting().len(), self.scratch)
    }
}

/// Where a run lies in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Its first page, its index and its end.
    pub(crate) start: u64,
    index_at: u64,
    end: u64,
    partitions: u64,
}

impl Bounds {
    /// Where in the file the index says where these partitions lie.
    pub(crate) fn entries(&self, partitions: &Range<usize>) -> Result<Range<u64>, &'static str> {
        if partitions.end as u64 > self.partitions {
            return Err("it has no such partition");
        }
        let entry = |partition: u64| self.index_at.checked_add(partition.checked_mul(ENTRY as u64)?);
        match (entry(partitions.start as u64), entry(partitions.end as u64 + 1)) {
            (Some(from), Some(to)) if to <= self.end => Ok(from..to),
            _ => Err("its place contradicts itself"),
        }
    }

    /// Where a partition's pages lie, and how many records they hold, by its index entry and the next.
    pub(crate) fn extent(&self, entries: &[u8], partition: usize) -> Result<(Range<u64>, u64), &'static str> {
        let mut numbers = [0; 4];
        if entries.len() != 2 * ENTRY {
            return Err("its index ends too early");
        }
        for (i, entry) in entries.chunks_exact(ENTRY).enumerate() {
            let (body, crc) = entry.split_at(ENTRY - 4);
            if entry_crc(body, self.start, partition + i).to_le_bytes() != crc {
                return Err("its index fails its checksum");
            }
            for (number, bytes) in numbers[i * 2..].iter_mut().zip(body.chunks_exact(8)) {
                *number = bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
            }
        }
        let [from, before, to, after] = numbers;
        if from > to || before > after || self.index_at.checked_sub(self.start).is_none_or(|length| to > length) {
            return Err("its index contradicts itself");
        }
        Ok((self.start + from..self.start + to, after - before))
    }
}

/// The index entries of one partition, among those of `partitions`.
pub(crate) fn entries_of<'a>(entries: &'a [u8], partitions: &Range<usize>, partition: usize) -> &'a [u8] {
    let at = (partition - partitions.start) * ENTRY;
    entries.get(at..at + 2 * ENTRY).unwrap_or_default()
}

/// A run on disk.
#[derive(Debug)]
pub(crate) struct Flushed {
    file: Arc<ScratchFile>,
    bounds: Bounds,
}

impl Flushed {
    /// How many bytes it takes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bounds.end - self.bounds.start
    }

    /// How many of them say where its partitions begin.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.bounds.end - self.bounds.index_at
    }

    fn corrupt(&self, what: impl fmt::Display) -> StoreError {
        StoreError::Corrupt {
            place: format!("{} from byte {}", self.file.path.display(), self.bounds.start),
            what: what.to_string(),
        }
    }

    /// Where a partition's pages lie, and how many records they hold.
    pub(crate) fn extent(&self, partition: usize) -> Result<(u64, u64, u64), StoreError> {
        let mut entries = [0; 2 * ENTRY];
        let at = self.bounds.entries(&(partition..partition + 1)).map_err(|e| self.corrupt(e))?.start;
        let file = self.file.handle().map_err(|e| self.corrupt(e))?;
        file.read_exact_at(&mut entries, at).map_err(|e| self.corrupt(e))?;
        let (pages, records) = self.bounds.extent(&entries, partition).map_err(|e| self.corrupt(e))?;
        Ok((pages.start, pages.end, records))
    }

    /// A partition's pages, for another process.
    pub(crate) fn stretch(&self, partition: usize) -> Result<(Stretch, u64), StoreError> {
        let (from, to, records) = self.extent(partition)?;
        Ok((Stretch { file: self.file.clone(), from, to }, records))
    }

    /// Reads a partition.
    pub(crate) fn reader<R: DeserializeOwned>(
        &self,
        partition: usize,
    ) -> Result<(PageReader<R>, u64, u64), StoreError> {
        let (from, to, records) = self.extent(partition)?;
        Ok((PageReader::new(Source::File(self.file.clone()), from, to), records, to - from))
    }
}
