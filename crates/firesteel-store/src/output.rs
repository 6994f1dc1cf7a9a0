//! One map task's finished output: what it flushed to disk, and after that what is still in memory.

use crate::{
    Evict, Kept, KeptKind, Run, RunFiles, RunWriter, StoreError,
    boundary::{BoundaryError, Sample},
    flushed::Flushed,
    page::{PageReader, RawPage, RawReader, Source},
    run::Slices,
    serve::PartBytes,
    sync::RwLock,
};
use firesteel_model::ShuffleId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, PoisonError},
};

/// The output of one map task, by reduce partition; the records of each in order of arrival, wherever they lie.
///
/// Reading consumes nothing. Under memory pressure what is in memory moves to disk; whoever is reading it then goes on doing so.
pub struct MapOutput<R> {
    flushed: Vec<Arc<Flushed>>,
    rest: Run<R>,
    spread: u32,
    records: usize,
    checksum: u64,
    sizes_on_disk: u64,
    /// What `rest` takes.
    kept: Option<Kept>,
}

impl<R> MapOutput<R> {
    pub(crate) fn new(
        flushed: Vec<Arc<Flushed>>,
        rest: Run<R>,
        spread: u32,
        records: usize,
        checksum: u64,
        kept: Option<Kept>,
    ) -> Self {
        let sizes_on_disk = flushed.iter().map(|f| f.bytes()).sum();
        MapOutput { flushed, rest, spread, records, checksum, sizes_on_disk, kept }
    }

    /// Into how many parts each partition is spread, as a power of two: 0 if it is not. With `s`, part `i` of partition `p` is read
    /// as partition `p << s | i`; which part a key is in, [`part_of`](crate::part_of) says.
    pub fn spread(&self) -> u32 {
        self.spread
    }

    /// Where what a reader wants of a partition lies: some of the parts, and whether it is among other records there.
    pub fn parts(&self, partition: usize, wanted: Wanted) -> (Range<usize>, bool) {
        parts(self.spread, partition, wanted)
    }

    /// What has been flushed, if that is all.
    pub(crate) fn on_disk(&self) -> Option<&[Arc<Flushed>]> {
        (self.rest.len() == 0).then_some(&self.flushed)
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// A number made of every partition's record count and of the pushed hashes in their order, wherever records lie.
    ///
    /// Two outputs of a map task over the same data have the same; if a rerun's differs, what was computed from the first is
    /// void. How records of different partitions alternate makes no difference, and values are not looked at.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// What the records in memory take in place.
    pub fn memory_bytes(&self) -> u64 {
        self.rest.bytes()
    }

    /// What lies on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.sizes_on_disk
    }

    /// How many pieces of it are encoded, on disk or in memory.
    pub fn pieces(&self) -> usize {
        self.flushed.len() + usize::from(self.rest.is_encoded())
    }

    /// The records in memory of a partition, as values: they come after the [pieces](MapOutput::pieces).
    pub fn in_memory(&self, partition: usize) -> Slices<'_, R> {
        self.rest.partition(partition)
    }

    /// How many records of a partition are in memory as values.
    pub fn records_in_memory(&self, partition: usize) -> usize {
        self.rest.records(partition)
    }
}

/// [`MapOutput::parts`] of an output that is spread so.
pub(crate) fn parts(output: u32, partition: usize, wanted: Wanted) -> (Range<usize>, bool) {
    let first = partition << output;
    match wanted {
        // An output of few records has all parts in one.
        Wanted::Part { spread, .. } if output < spread => (first..first + 1, true),
        Wanted::Part { part, spread } if output == spread => (first + part as usize..first + part as usize + 1, false),
        Wanted::Part { .. } | Wanted::All => (first..first + (1 << output), false),
    }
}

impl<R: Serialize + DeserializeOwned> MapOutput<R> {
    /// Checks whether some of the records in memory survive being written and read back.
    ///
    /// # Errors
    /// When one does not; see [`boundary`](crate::boundary).
    pub fn check(&self, sample: &mut Sample) -> Result<(), BoundaryError> {
        for partition in 0..self.rest.partitions() {
            if sample.is_full() {
                break;
            }
            self.in_memory(partition).try_for_each(|records| sample.check(records))?;
            let mut pages = self.rest.pages(partition).iter();
            pages.try_for_each(|page| sample.check_encoded::<R>(&page.bytes, page.records))?;
        }
        Ok(())
    }
}

impl<R: DeserializeOwned> MapOutput<R> {
    /// Opens what an encoded piece holds of a partition.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if its file is missing or damaged.
    ///
    /// # Panics
    /// If there is no such piece.
    pub fn piece(&self, piece: usize, partition: usize) -> Result<Piece<R>, StoreError> {
        if piece == self.flushed.len() && self.rest.is_encoded() {
            let pages = self.rest.pages(partition);
            let records = pages.iter().map(|page| u64::from(page.records)).sum();
            let bytes = pages.iter().map(|page| page.bytes.len() as u64).sum();
            return Ok(Piece { reader: Reader::Raw(RawReader::new(pages)), records, bytes });
        }
        let (reader, records, bytes) = self.flushed[piece].reader(partition)?;
        Ok(Piece { reader: Reader::Pages(reader), records, bytes })
    }
}

/// What a reader wants of a reduce partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wanted {
    /// All of it.
    All,
    /// One of `1 << spread` parts, of those outputs that are spread so; of others all, to be sorted out.
    Part {
        /// Which.
        part: u32,
        /// How many there are.
        spread: u32,
    },
}

/// One partition's records in one encoded piece of a map output, or as another process sends them.
pub struct Piece<R> {
    reader: Reader<R>,
    records: u64,
    bytes: u64,
}

enum Reader<R> {
    Pages(PageReader<R>),
    Raw(RawReader<R>),
}

impl<R: DeserializeOwned> Piece<R> {
    /// Reads so many bytes that another process sends: what its [`PartBytes`] gave. `place` says whose they are.
    pub fn of_stream(stream: Box<dyn io::Read>, place: String, records: u64, bytes: u64) -> Self {
        Piece { reader: Reader::Pages(PageReader::new(Source::Stream(stream, place), 0, bytes)), records, bytes }
    }
    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.records
    }
    /// How many bytes are read for them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Where the last record lies, if that is in memory: the page, and the byte at which it begins.
    #[inline]
    pub fn place(&self) -> Option<(&Arc<RawPage>, u32)> {
        match &self.reader {
            Reader::Pages(_) => None,
            Reader::Raw(reader) => reader.place(),
        }
    }
    /// The next page, if the records lie in memory and none of its own was read yet.
    #[inline]
    pub fn page(&self) -> Option<&Arc<RawPage>> {
        match &self.reader {
            Reader::Pages(_) => None,
            Reader::Raw(reader) => reader.page(),
        }
    }
    /// Passes over that page.
    pub fn skip_page(&mut self) {
        if let Reader::Raw(reader) = &mut self.reader {
            reader.skip_page();
        }
    }
    /// The next record, or `None` after the last.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the file is missing or damaged, or holds another number of records than its index says;
    /// [`StoreError::Unreachable`] if the process that sends it is.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "it can fail at each step")]
    pub fn next(&mut self) -> Result<Option<R>, StoreError> {
        self.next_as()
    }
    /// The same, as a type that has the bytes of `R` and may borrow them: a text as a `&str`, say.
    ///
    /// # Errors
    /// As [`next`](Piece::next).
    #[inline]
    pub fn next_as<'a, Q: Deserialize<'a>>(&'a mut self) -> Result<Option<Q>, StoreError> {
        match &mut self.reader {
            Reader::Pages(reader) => reader.next_as(),
            Reader::Raw(reader) => reader.next_as(),
        }
    }
}

impl<R> fmt::Debug for Piece<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} records in {} B)", self.records, self.bytes)
    }
}

impl<R> fmt::Debug for MapOutput<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on_disk = self.records - self.rest.len();
        write!(f, "MapOutput({} records, {on_disk} of them on disk)", self.records)
    }
}

/// A map output where the shuffle store has it: it changes place when memory is short.
pub(crate) struct Place<R> {
    output: RwLock<Arc<MapOutput<R>>>,
    shuffle: ShuffleId,
    files: Arc<RunFiles>,
}

impl<R: Serialize + Send + Sync + 'static> Place<R> {
    pub(crate) fn new(output: Arc<MapOutput<R>>, shuffle: ShuffleId, files: Arc<RunFiles>) -> Arc<Self> {
        let place = Arc::new(Place { output: RwLock::new(output), shuffle, files });
        let output = place.get();
        if let Some(kept) = &output.kept {
            let owner: Arc<dyn Evict> = place.clone();
            kept.evictable(KeptKind::MapOutput, Arc::downgrade(&owner));
        }
        place
    }

    pub(crate) fn get(&self) -> Arc<MapOutput<R>> {
        let output = self.output.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = &output.kept {
            kept.touch();
        }
        output
    }
}

impl<R: Serialize + Send + Sync + 'static> Evict for Place<R> {
    fn evict(&self) -> bool {
        let output = self.output.read().unwrap_or_else(PoisonError::into_inner).clone();
        if output.kept.is_none() {
            return true;
        }
        let mut no_sizes = [];
        match self.files.flush(self.shuffle, &output.rest, &mut no_sizes) {
            Ok(flushed) => {
                let mut all = output.flushed.clone();
                all.push(Arc::new(flushed));
                let rest = RunWriter::new(output.rest.partitions()).take_records();
                let moved = MapOutput::new(all, rest, output.spread, output.records, output.checksum, None);
                let before = std::mem::replace(
                    &mut *self.output.write().unwrap_or_else(PoisonError::into_inner),
                    Arc::new(moved),
                );
                // Outside the lock: records may own much.
                drop((before, output));
                true
            }
            Err(e) => {
                tracing::warn!("a map output of shuffle {} stays in memory: {e}", self.shuffle);
                false
            }
        }
    }
}

/// What the shuffle store needs to know of an output whose records it does not know the type of.
pub(crate) trait Placed: Send + Sync {
    fn bytes(&self) -> (u64, u64);
    /// A partition, for another process; what is in memory moves to disk first.
    fn part(&self, partition: usize, wanted: Wanted) -> Result<PartBytes, StoreError>;
    fn index_bytes(&self) -> (u64, u64);
}

impl<R: Serialize + Send + Sync + 'static> Placed for Place<R> {
    fn part(&self, partition: usize, wanted: Wanted) -> Result<PartBytes, StoreError> {
        if self.get().rest.len() > 0 {
            self.evict();
        }
        let output = self.get();
        if output.rest.len() > 0 {
            return Err(StoreError::Corrupt {
                place: format!("a map output of shuffle {}", self.shuffle),
                what: "it could not be written to disk".into(),
            });
        }
        let (parts, among_others) = output.parts(partition, wanted);
        let mut bytes = PartBytes::new(among_others);
        for part in parts {
            for piece in &output.flushed {
                let (stretch, records) = piece.stretch(part)?;
                bytes.add(stretch, records);
            }
        }
        Ok(bytes)
    }
    fn bytes(&self) -> (u64, u64) {
        let output = self.output.read().unwrap_or_else(PoisonError::into_inner);
        (output.memory_bytes(), output.disk_bytes())
    }
    fn index_bytes(&self) -> (u64, u64) {
        let output = self.output.read().unwrap_or_else(PoisonError::into_inner);
        (output.rest.index_bytes(), output.flushed.iter().map(|piece| piece.index_bytes()).sum())
    }
}
