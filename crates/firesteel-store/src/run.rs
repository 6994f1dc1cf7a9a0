//! One map task's output while it is written: its records, ordered by reduce partition, in order of arrival within each.
//!
//! A run is what lies between two stages. While it is written there are at most 256 buckets, however many partitions: with
//! a buffer for each of 10,000 reducers the empty buffers alone would outweigh the data. With more partitions than buckets
//! a bucket holds a contiguous range of them, and is put in order when the run is finished, one bucket at a time. With fewer, a
//! partition can be [spread](RunWriter::spread) over several buckets, for readers whose table of all its keys would not fit into a
//! processor's cache.
//!
//! Records that own memory are encoded as they come, once there are more than a few: they lie one after another, take what their
//! bytes take, and nothing of them has to be freed one by one. Large ones stay values, whose bytes are not worth copying.

use crate::{
    MapOutput, Reservation, RunFiles, StoreError, fetch,
    flushed::Flushed,
    page::RawPage,
    record::{self, RecordError},
    weigh::{self, Weigher},
};
use firesteel_model::ShuffleId;
use serde::Serialize;
use std::{fmt, mem::needs_drop, sync::Arc};

/// At most so many buckets are open in a writer.
const MAX_BUCKETS: usize = 256;
/// The capacity of a bucket's first chunk, in records; each further chunk has four times as many, up to [`CHUNK_BYTES`].
const FIRST_CHUNK: usize = 64;
/// The size that a bucket's chunks grow to.
const CHUNK_BYTES: usize = 32 << 10;
/// A run no larger than this is moved into a single allocation when it is finished.
const SMALL_RUN_BYTES: usize = 1 << 20;

/// Less than this is not flushed, unless the budget is small.
const MIN_FLUSH_BYTES: u64 = 1 << 20;
/// Records that own nothing are put where they belong so many at a time.
const BATCH: usize = 128;
/// A writer asks for memory in steps of at least and at most so much.
const STEP_BYTES: (u64, u64) = (64 << 10, 4 << 20);

/// Takes one map task's records and scatters them by reduce partition.
///
/// With a [`Room`] it keeps to its memory: when more is refused, all that it holds is flushed to disk, in order of partition.
///
/// ```
/// use firesteel_store::RunWriter;
///
/// let mut writer = RunWriter::new(3);
/// for word in ["to", "be", "or", "not"] {
///     writer.push(word.len() % 3, word.len() as u64, word);
/// }
/// let (output, sizes) = writer.finish();
/// assert_eq!(output.in_memory(2).flatten().copied().collect::<Vec<_>>(), ["to", "be", "or"]);
/// assert_eq!(output.len(), 4);
/// assert_eq!(sizes[1], 0);
/// ```
pub struct RunWriter<R> {
    /// How many parts there are: each reduce partition is of `1 << spread` parts.
    partitions: usize,
    spread: u32,
    staged: Option<Box<Staged<R>>>,
    weigher: Weigher,
    /// What the newest records own that `used` does not know of.
    unreserved: u64,
    /// A page with less room than this gets no other record.
    longest: usize,
    /// Whether pages note where records begin, and with which hash they were pushed.
    indexed: Indexed,
    /// A bucket holds `1 << shift` partitions.
    shift: u32,
    /// Each bucket's chunk that is being filled; by themselves, so that a processor's first cache has room for where all of them end.
    open: Vec<Vec<R>>,
    buckets: Vec<Bucket<R>>,
    /// The newest records, each with its partition. To find the partitions of many, and then where they go, is faster than both one by one:
    /// a processor has more of them under way.
    batch: Vec<(u32, R)>,
    /// Instead of the buckets, where records are encoded.
    raw: Vec<RawBucket>,
    /// For each partition, a polynomial in the hashes pushed to it; 1 while there are none. Empty as long as records are staged.
    hashes: Vec<u64>,
    room: Option<Room>,
    /// What the records take that were pushed since the last flush, and how much of that is reserved.
    used: u64,
    flushed: Vec<Arc<Flushed>>,
    flushed_records: usize,
    /// What each partition takes on disk; empty before the first flush.
    sizes: Vec<u64>,
    spilled: u64,
}

/// The first records of an output that is to be spread within its partitions, or encoded. As long as there are so few, it is
/// neither: they keep their order of arrival. Which it will be depends on the records alone.
struct Staged<R> {
    /// Each with its partition and hash.
    records: Vec<(usize, u64, R)>,
    bytes: u64,
    /// Into how many parts each partition will be spread.
    spread: u32,
}

/// With more records, or more bytes of them, an output is spread within its partitions, and encoded.
const STAGED: (usize, u64) = (1_024, 256 << 10);
/// Records that take more than so many bytes, on average of the first ones, are not encoded.
const ENCODED_BYTES: u64 = 1 << 10;
/// A page has room for notes of so many records at least.
const MIN_NOTES: usize = 16;
/// The capacity of a bucket's first page of encoded records; each further page has four times as much, up to [`CHUNK_BYTES`].
const FIRST_PAGE: usize = 1 << 10;

/// What pages note of their records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexed {
    No,
    Starts,
    Hashes,
}

impl Indexed {
    /// What the notes of so many records take.
    fn bytes(self, records: usize) -> u64 {
        let each = match self {
            Indexed::No => 0,
            Indexed::Starts => size_of::<u32>(),
            Indexed::Hashes => size_of::<u32>() + size_of::<u64>(),
        };
        (records * each) as u64
    }
}

/// What a map task's writer may use.
pub struct Room {
    /// Memory.
    pub reservation: Reservation,
    /// Disk.
    pub files: Arc<RunFiles>,
    /// Whose map output it is.
    pub shuffle: ShuffleId,
    /// Whether all of it goes to disk in the end, where other processes can be given it.
    pub to_disk: bool,
    /// Leaves the task when records cannot be flushed.
    pub fail: fn(StoreError) -> !,
}

/// The records of a contiguous range of partitions, in order of arrival, but for those of the chunk that is being filled.
struct Bucket<R> {
    full: Vec<Vec<R>>,
    /// For each record its partition's place in the bucket's range; unused where the range is of one.
    places: Vec<u32>,
}

impl<R> Bucket<R> {
    const CHUNK_MAX: usize = {
        let size = if size_of::<R>() == 0 { 1 } else { size_of::<R>() };
        if size >= CHUNK_BYTES { 1 } else { CHUNK_BYTES / size }
    };

    /// The capacity of the chunk after the current one.
    fn next_capacity(current: &Vec<R>) -> usize {
        (current.capacity() * 4).clamp(FIRST_CHUNK.min(Self::CHUNK_MAX), Self::CHUNK_MAX)
    }

    /// Adds the last chunk.
    fn end(&mut self, mut last: Vec<R>) {
        if last.len() * 2 <= last.capacity() {
            last.shrink_to_fit();
        }
        if !last.is_empty() {
            self.full.push(last);
        }
    }

    fn len(&self) -> usize {
        self.full.iter().map(Vec::len).sum()
    }
}

/// The encoded records of a partition, in order of arrival.
#[derive(Default)]
struct RawBucket {
    current: RawPage,
    full: Vec<Arc<RawPage>>,
}

impl RawBucket {
    /// The capacity of the page after the current one.
    fn next_capacity(&self) -> usize {
        (self.current.bytes.capacity() * 4).clamp(FIRST_PAGE, CHUNK_BYTES)
    }

    /// How many records the page after the current one has room to note: as many as it is to have, by the current one's.
    fn next_notes(&self) -> usize {
        let RawPage { bytes, records, .. } = &self.current;
        let full = *records as usize * self.next_capacity() / bytes.len().max(1);
        (full + full / 16).clamp(MIN_NOTES, self.next_capacity())
    }

    /// Begins another page.
    fn more(&mut self, indexed: Indexed) {
        let (bytes, notes) = (Vec::with_capacity(self.next_capacity()), self.next_notes());
        let starts = Vec::with_capacity(if indexed == Indexed::No { 0 } else { notes });
        let hashes = Vec::with_capacity(if indexed == Indexed::Hashes { notes } else { 0 });
        let full = std::mem::replace(&mut self.current, RawPage { bytes, records: 0, starts, hashes });
        if full.records > 0 {
            self.full.push(Arc::new(full));
        }
    }

    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.current.records == 0
    }

    fn into_pages(mut self) -> Vec<Arc<RawPage>> {
        let last = &mut self.current;
        if last.bytes.len() * 2 <= last.bytes.capacity() {
            last.bytes.shrink_to_fit();
            last.starts.shrink_to_fit();
            last.hashes.shrink_to_fit();
        }
        if self.current.records > 0 {
            self.full.push(Arc::new(self.current));
        }
        self.full
    }
}

impl<R: Serialize> RunWriter<R> {
    /// A writer for records of `partitions` reduce partitions, with ample memory.
    ///
    /// # Panics
    /// With more than 2³² partitions.
    pub fn new(partitions: usize) -> Self {
        assert!(u32::try_from(partitions).is_ok(), "a shuffle has at most 2^32 partitions, not {partitions}");
        let mut shift = 0;
        while partitions.div_ceil(1 << shift) > MAX_BUCKETS {
            shift += 1;
        }
        RunWriter {
            partitions,
            spread: 0,
            staged: None,
            weigher: Weigher::default(),
            unreserved: 0,
            longest: 0,
            indexed: Indexed::No,
            shift,
            open: open(partitions, shift),
            buckets: buckets(partitions, shift),
            batch: Vec::new(),
            raw: Vec::new(),
            hashes: vec![1; partitions],
            room: None,
            used: 0,
            flushed: Vec::new(),
            flushed_records: 0,
            sizes: Vec::new(),
            spilled: 0,
        }
    }

    /// The same, for a reader who takes a part of a partition at a time: each partition is spread by hash into a power of two of
    /// parts, so that there are up to 256 in all. Only an output of few records is not: see [`MapOutput::spread`].
    #[must_use]
    pub fn spread(mut self) -> Self {
        let spread = (MAX_BUCKETS / self.partitions.max(1)).checked_ilog2().unwrap_or(0);
        if spread > 0 {
            self.stages(spread);
        }
        self
    }

    fn stages(&mut self, spread: u32) {
        self.staged = Some(Box::new(Staged { records: Vec::new(), bytes: 0, spread }));
        self.hashes = Vec::new();
    }

    /// The same, with a note of where each record begins, if they are encoded: for a reader who looks at a part of each.
    #[must_use]
    pub fn indexed(mut self) -> Self {
        self.indexed = Indexed::Starts;
        self
    }

    /// The same, and with a note of the hash that each is pushed with: for a reader to whom that says enough.
    #[must_use]
    pub fn indexed_with_hashes(mut self) -> Self {
        self.indexed = Indexed::Hashes;
        self
    }

    /// The same, within a task's memory.
    #[must_use]
    pub fn within(mut self, room: Room) -> Self {
        self.room = Some(room);
        if needs_drop::<R>() && self.shift == 0 && self.staged.is_none() {
            self.stages(0);
        }
        self
    }

    /// Adds a record to a partition. `hash` is the key's, or anything else that the same record always has; it goes into
    /// the run's [checksum](MapOutput::checksum), and says where in its partition the record is if that is spread.
    ///
    /// # Panics
    /// If there is no such partition.
    #[inline(always)]
    pub fn push(&mut self, partition: usize, hash: u64, record: R) {
        let part = partition << self.spread | part_of(hash, self.spread);
        // There are none as long as records are staged.
        let Some(sum) = self.hashes.get_mut(part) else { return self.stage(partition, hash, record) };
        *sum = sum.wrapping_mul(MULTIPLIER).wrapping_add(hash);
        if self.encodes() {
            return self.encode(part, hash, &record);
        }
        if needs_drop::<R>() {
            self.unreserved += self.weigher.weigh(&record);
            if self.unreserved > STEP_BYTES.0 {
                self.make_room(0);
            }
            return self.put(part, record);
        }
        self.batch.push((part as u32, record));
        if self.batch.len() == self.batch.capacity() {
            self.put_batch();
        }
    }

    /// Whether records are encoded as they come: then [`push_encoded`](RunWriter::push_encoded) takes them.
    #[inline(always)]
    pub fn encodes(&self) -> bool {
        needs_drop::<R>() && !self.raw.is_empty()
    }

    /// As [`push`](RunWriter::push), of something that has the bytes of an `R` but need not own what it shows.
    ///
    /// # Panics
    /// If there is no such partition, or records are not [encoded](RunWriter::encodes).
    #[inline(always)]
    pub fn push_encoded<Q: Serialize>(&mut self, partition: usize, hash: u64, record: &Q) {
        let part = partition << self.spread | part_of(hash, self.spread);
        let sum = &mut self.hashes[part];
        *sum = sum.wrapping_mul(MULTIPLIER).wrapping_add(hash);
        self.encode(part, hash, record);
    }

    /// Puts the newest records where they belong.
    #[inline(never)]
    fn put_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.drain(..).for_each(|(part, record)| self.put(part as usize, record));
        batch.reserve_exact(BATCH.min(Bucket::<R>::CHUNK_MAX));
        self.batch = batch;
    }

    #[inline(always)]
    fn put(&mut self, part: usize, record: R) {
        let b = part >> self.shift;
        let chunk = &mut self.open[b];
        match chunk.len() < chunk.capacity() {
            true => chunk.push(record),
            false => self.more(b, record),
        }
        // Only now: what came before may just have been flushed.
        if self.shift > 0 {
            self.buckets[b].places.push((part & ((1 << self.shift) - 1)) as u32);
        }
    }

    #[cold]
    #[inline(never)]
    fn stage(&mut self, partition: usize, hash: u64, record: R) {
        let Some(staged) = &mut self.staged else {
            panic!("there is no partition {partition} of {}", self.partitions >> self.spread)
        };
        staged.bytes += size_of::<R>() as u64 + self.weigher.weigh(&record);
        staged.records.push((partition, hash, record));
        if staged.records.len() > STAGED.0 || staged.bytes > STAGED.1 {
            let (spread, small) = (staged.spread, staged.bytes <= ENCODED_BYTES * staged.records.len() as u64);
            self.unstage(spread, needs_drop::<R>() && small && self.shift == 0 && self.room.is_some());
        }
    }

    /// Puts the first records where they belong, with each partition spread into `1 << spread` parts.
    fn unstage(&mut self, spread: u32, encoded: bool) {
        let Some(staged) = self.staged.take() else { return };
        if spread > 0 {
            self.spread = spread;
            self.partitions <<= spread;
            self.open = open(self.partitions, self.shift);
            self.buckets = buckets(self.partitions, self.shift);
        }
        self.hashes = vec![1; self.partitions];
        if encoded {
            self.raw = raw_buckets(self.partitions);
        }
        self.weigher = Weigher::default();
        staged.records.into_iter().for_each(|(partition, hash, record)| self.push(partition, hash, record));
    }

    #[inline(always)]
    fn encode<Q: Serialize>(&mut self, partition: usize, hash: u64, record: &Q) {
        let RawPage { bytes, records, .. } = &self.raw[partition].current;
        if bytes.capacity() - bytes.len() <= self.longest || *records == u32::MAX {
            self.more_pages(partition);
        }
        if self.indexed != Indexed::No {
            self.note(partition, hash);
        }
        let RawPage { bytes, records, .. } = &mut self.raw[partition].current;
        let (length, room) = (bytes.len(), bytes.capacity());
        let encoded = record::extend(bytes, record);
        *records += 1;
        if bytes.len() > room || encoded.is_err() {
            return self.outgrown(partition, (length, room), encoded);
        }
        // Where the partition's next record goes is not in the cache when it comes, if there are many partitions.
        for lines in 1..=2 {
            fetch_spare(bytes, lines * fetch::LINE);
        }
    }

    /// Notes where a page's next record begins, and its hash.
    #[inline(always)]
    fn note(&mut self, partition: usize, hash: u64) {
        let page = &mut self.raw[partition].current;
        // One that begins farther on has no note, and so the page has none.
        let Ok(start) = u32::try_from(page.bytes.len()) else { return };
        let had = page.notes();
        page.starts.push(start);
        fetch_spare(&mut page.starts, fetch::LINE / size_of::<u32>());
        if self.indexed == Indexed::Hashes {
            page.hashes.push(hash);
            fetch_spare(&mut page.hashes, fetch::LINE / size_of::<u64>());
        }
        self.used += page.notes() - had;
    }

    /// A record was longer than its page had room for, or has no bytes.
    #[cold]
    #[inline(never)]
    fn outgrown(&mut self, partition: usize, (length, room): (usize, usize), encoded: Result<(), RecordError>) {
        if let (Err(source), Some(room)) = (encoded, &self.room) {
            (room.fail)(StoreError::Record { block: format!("a map output of shuffle {}", room.shuffle), source });
        }
        let bytes = &self.raw[partition].current.bytes;
        self.longest = self.longest.max(bytes.len() - length).min(CHUNK_BYTES / 8);
        self.used += (bytes.capacity() - room) as u64;
    }

    /// Begins a page in a bucket, within the memory that there is.
    #[cold]
    #[inline(never)]
    fn more_pages(&mut self, partition: usize) {
        self.make_room(self.page_bytes(partition));
        self.used += self.page_bytes(partition);
        self.raw[partition].more(self.indexed);
    }

    /// What the next page of a bucket takes.
    fn page_bytes(&self, partition: usize) -> u64 {
        let bucket = &self.raw[partition];
        bucket.next_capacity() as u64 + self.indexed.bytes(bucket.next_notes())
    }

    /// Begins a chunk in a bucket with a record, within the memory that there is.
    #[cold]
    #[inline(never)]
    fn more(&mut self, b: usize, record: R) {
        self.make_room(self.chunk_bytes(Bucket::next_capacity(&self.open[b])));
        let capacity = Bucket::next_capacity(&self.open[b]);
        self.used += self.chunk_bytes(capacity);
        let full = std::mem::replace(&mut self.open[b], Vec::with_capacity(capacity));
        if !full.is_empty() {
            self.buckets[b].full.push(full);
        }
        self.open[b].push(record);
    }

    /// Sees that there is memory for what the newest records own, and for so many bytes more.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, more: u64) {
        self.used += std::mem::take(&mut self.unreserved);
        let asked =
            self.room.as_ref().map(|room| &room.reservation).is_some_and(|reservation| {
                reservation.is_asked() && self.used >= reservation.at_least(MIN_FLUSH_BYTES)
            });
        if asked || !self.reserve(more) {
            self.flush();
            // Refused again, the first chunk is taken: a writer cannot do with less.
            self.reserve(more.min(self.chunk_bytes(FIRST_CHUNK)));
        }
    }

    /// What a chunk of so many records takes in place.
    fn chunk_bytes(&self, capacity: usize) -> u64 {
        (capacity * (size_of::<R>() + if self.shift > 0 { size_of::<u32>() } else { 0 })) as u64
    }

    /// Sees that there is memory for so many bytes more; says whether there is.
    fn reserve(&mut self, more: u64) -> bool {
        let needed = self.used + more;
        let Some(room) = &mut self.room else { return true };
        let Some(lacking) = needed.checked_sub(room.reservation.bytes()).filter(|lacking| *lacking > 0) else {
            return true;
        };
        let step = (needed / 4).clamp(STEP_BYTES.0, STEP_BYTES.1).max(lacking);
        match room.reservation.grow(step).or_else(|_| room.reservation.grow(lacking)) {
            Ok(()) => true,
            Err(_) if needed < room.reservation.at_least(MIN_FLUSH_BYTES) => {
                room.reservation.take(lacking);
                true
            }
            Err(_) => false,
        }
    }

    /// Moves all records to disk.
    fn flush(&mut self) {
        let run = self.take_records();
        let Some(room) = &mut self.room else { return };
        tracing::debug!("a map output of shuffle {} is flushed: {} B", room.shuffle, self.used);
        self.sizes.resize(self.partitions, 0);
        match room.files.flush(room.shuffle, &run, &mut self.sizes) {
            Ok(flushed) => {
                self.flushed_records += run.len();
                self.spilled += self.used;
                self.flushed.push(Arc::new(flushed));
                drop(run);
                room.reservation.shrink_to(0);
                self.used = 0;
            }
            Err(e) => {
                drop(run);
                (room.fail)(e)
            }
        }
    }

    /// Whether no record was pushed since the last flush.
    fn is_empty(&self) -> bool {
        let is_empty = |(bucket, open): (&Bucket<R>, &Vec<R>)| bucket.full.is_empty() && open.is_empty();
        self.batch.is_empty()
            && self.buckets.iter().zip(&self.open).all(is_empty)
            && self.raw.iter().all(|bucket| bucket.is_empty())
    }

    /// How many bytes left memory for the disk before the end; the newest records are put where they belong.
    pub fn spilled(&mut self) -> u64 {
        if !self.batch.is_empty() {
            self.put_batch();
        }
        self.spilled
    }

    /// Puts the records in order of partition; also tells what each partition takes, on disk and in memory.
    ///
    /// # Cost
    /// With up to 256 partitions the chunks stay where they are, unless what is in memory is small; beyond that every record
    /// is moved twice, a bucket at a time.
    pub fn finish(mut self) -> (MapOutput<R>, Vec<u64>) {
        self.unstage(0, false);
        if self.room.as_ref().is_some_and(|room| room.to_disk) && !self.is_empty() {
            self.flush();
        }
        let checksum = sum(&self.hashes);
        let rest = self.take_records();
        let mut sizes = rest.sizes();
        sizes.iter_mut().zip(&self.sizes).for_each(|(size, on_disk)| *size += on_disk);
        if self.spread > 0 {
            sizes = sizes.chunks(1 << self.spread).map(|parts| parts.iter().sum()).collect();
        }
        let records = rest.len() + self.flushed_records;
        let owned = rest.chunks.iter().map(|chunk| weigh::all_owned(chunk)).sum::<u64>();
        let kept = self.room.map(|room| room.reservation.into_kept(rest.takes() + owned));
        (MapOutput::new(self.flushed, rest, self.spread, records, checksum, kept), sizes)
    }

    /// The records pushed since the last flush.
    pub(crate) fn take_records(&mut self) -> Run<R> {
        if !self.batch.is_empty() {
            self.put_batch();
        }
        if !self.raw.is_empty() {
            let buckets = std::mem::replace(&mut self.raw, raw_buckets(self.partitions));
            let pages: Vec<_> = buckets.into_iter().map(RawBucket::into_pages).collect();
            let records = pages.iter().flatten().map(|page| page.records as usize).sum();
            return Run { partitions: self.partitions, records, extents: Vec::new(), chunks: Vec::new(), pages };
        }
        let mut buckets = std::mem::replace(&mut self.buckets, buckets(self.partitions, self.shift));
        let open = std::mem::replace(&mut self.open, open(self.partitions, self.shift));
        buckets.iter_mut().zip(open).for_each(|(bucket, last)| bucket.end(last));
        let lens: Vec<usize> = buckets.iter().map(Bucket::len).collect();
        let records: usize = lens.iter().sum();
        let small = records.saturating_mul(size_of::<R>()) <= SMALL_RUN_BYTES;
        let mut run =
            Run { partitions: self.partitions, records, extents: Vec::new(), chunks: Vec::new(), pages: Vec::new() };
        if small && records > 0 {
            run.chunks.push(Vec::with_capacity(records));
        }
        for (b, (bucket, len)) in buckets.into_iter().zip(lens).enumerate().filter(|(_, (_, len))| *len > 0) {
            let first = b << self.shift;
            if self.shift == 0 && !small {
                run.extents.push(Extent { partition: first as u32, chunk: run.chunks.len(), from: 0, records: len });
                run.chunks.extend(bucket.full);
                continue;
            }
            if !small {
                run.chunks.push(Vec::with_capacity(len));
            }
            run.append_in_order(bucket, len, first, 1 << self.shift);
        }
        run
    }
}

/// Has the processor fetch what lies so far behind the end, to be written to.
#[inline(always)]
fn fetch_spare<T>(items: &mut Vec<T>, far: usize) {
    if let Some(place) = items.spare_capacity_mut().get(far) {
        fetch::to_write(place);
    }
}

/// In which of `1 << spread` parts of its partition a key of this hash is: partitioners by hash go by higher bits, tables by lower
/// ones.
#[inline(always)]
pub fn part_of(hash: u64, spread: u32) -> usize {
    (hash >> 32) as usize & ((1 << spread) - 1)
}

fn buckets<R>(partitions: usize, shift: u32) -> Vec<Bucket<R>> {
    let bucket = || Bucket { full: Vec::new(), places: Vec::new() };
    (0..partitions.div_ceil(1 << shift)).map(|_| bucket()).collect()
}

fn open<R>(partitions: usize, shift: u32) -> Vec<Vec<R>> {
    (0..partitions.div_ceil(1 << shift)).map(|_| Vec::new()).collect()
}

fn raw_buckets(partitions: usize) -> Vec<RawBucket> {
    (0..partitions).map(|_| RawBucket::default()).collect()
}

/// Of the partitions that have any records.
fn sum(hashes: &[u64]) -> u64 {
    let mut sum = hashes.len() as u64;
    for (partition, hash) in hashes.iter().enumerate().filter(|(_, hash)| **hash != 1) {
        for part in [partition as u64, *hash] {
            sum = (sum.rotate_left(23) ^ part).wrapping_mul(MULTIPLIER);
        }
    }
    sum ^ (sum >> 32)
}

/// Of the polynomials that make a checksum; odd, with its bits spread.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Records in memory, in order of partition.
///
/// Takes room for its records and for the partitions that have any.
pub(crate) struct Run<R> {
    partitions: usize,
    records: usize,
    /// Where each partition that has records begins, ascending.
    extents: Vec<Extent>,
    /// All records in order of partition.
    chunks: Vec<Vec<R>>,
    /// Instead, for each partition its records as bytes.
    pages: Vec<Vec<Arc<RawPage>>>,
}

/// Where one partition's records lie.
struct Extent {
    partition: u32,
    /// The chunk of the first record.
    chunk: usize,
    /// Its place in that chunk.
    from: usize,
    /// How many, over this chunk and those that follow.
    records: usize,
}

impl<R> Run<R> {
    /// Appends a bucket's records to the last chunk, ordered by partition; records of a partition keep their order.
    fn append_in_order(&mut self, bucket: Bucket<R>, len: usize, first: usize, range: usize) {
        let chunk = self.chunks.len() - 1;
        let out = &mut self.chunks[chunk];
        let start = out.len();
        let mut places = Vec::new();
        let mut bucket = bucket;
        std::mem::swap(&mut places, &mut bucket.places);
        for mut records in bucket.full {
            out.append(&mut records);
        }
        if range == 1 {
            self.extents.push(Extent { partition: first as u32, chunk, from: start, records: len });
            return;
        }
        let mut next = vec![0usize; range];
        places.iter().for_each(|p| next[*p as usize] += 1);
        let mut from = 0;
        for (place, count) in next.iter_mut().enumerate() {
            let records = std::mem::replace(count, from);
            if records > 0 {
                let partition = (first + place) as u32;
                self.extents.push(Extent { partition, chunk, from: start + from, records });
            }
            from += records;
        }
        // Where each record belongs; then every cycle of that permutation is walked once.
        let mut targets: Vec<usize> = places
            .into_iter()
            .map(|p| {
                let target = next[p as usize];
                next[p as usize] += 1;
                target
            })
            .collect();
        let out = &mut out[start..];
        for i in 0..targets.len() {
            while targets[i] != i {
                let target = targets[i];
                out.swap(i, target);
                targets.swap(i, target);
            }
        }
    }

    fn extent(&self, partition: usize) -> Option<&Extent> {
        // Where no partition is empty, its extent is at its own place.
        let at = match self.extents.get(partition) {
            Some(extent) if extent.partition as usize == partition => partition,
            _ => self.extents.binary_search_by_key(&partition, |e| e.partition as usize).ok()?,
        };
        Some(&self.extents[at])
    }

    /// The records of a partition in order of arrival, slice by slice; none for a partition that is empty or does not exist.
    pub(crate) fn partition(&self, partition: usize) -> Slices<'_, R> {
        match self.extent(partition) {
            Some(extent) => Slices { chunks: &self.chunks[extent.chunk..], from: extent.from, left: extent.records },
            None => Slices { chunks: &[], from: 0, left: 0 },
        }
    }

    /// Whether its records are encoded.
    pub(crate) fn is_encoded(&self) -> bool {
        !self.pages.is_empty()
    }

    /// The records of a partition in order of arrival, if they are encoded.
    pub(crate) fn pages(&self, partition: usize) -> &[Arc<RawPage>] {
        self.pages.get(partition).map_or(&[], Vec::as_slice)
    }

    /// How many reduce partitions the run was written for.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions
    }

    /// How many records a partition has.
    pub(crate) fn records(&self, partition: usize) -> usize {
        self.extent(partition).map_or(0, |extent| extent.records)
    }

    /// How many records the run has.
    pub(crate) fn len(&self) -> usize {
        self.records
    }

    /// For each partition what its records take in place.
    pub(crate) fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0; self.partitions];
        for extent in &self.extents {
            sizes[extent.partition as usize] = (extent.records * size_of::<R>()) as u64;
        }
        for (size, pages) in sizes.iter_mut().zip(&self.pages) {
            *size = pages.iter().map(|page| page.bytes.len() as u64).sum();
        }
        sizes
    }

    /// The size of all partitions.
    pub(crate) fn bytes(&self) -> u64 {
        match self.is_encoded() {
            true => self.pages.iter().flatten().map(|page| page.bytes.len() as u64).sum(),
            false => (self.records * size_of::<R>()) as u64,
        }
    }

    /// What it takes to say where its partitions begin.
    pub(crate) fn index_bytes(&self) -> u64 {
        (self.extents.capacity() * size_of::<Extent>()) as u64
    }

    /// What it takes in memory, but for what the records own elsewhere.
    pub(crate) fn takes(&self) -> u64 {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<R>()).sum();
        let pages: usize = self.pages.iter().flatten().map(|page| page.takes() as usize + size_of::<RawPage>()).sum();
        (chunks + pages + self.chunks.capacity() * size_of::<Vec<R>>()) as u64 + self.index_bytes()
    }
}

impl<R> fmt::Debug for Run<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({} records in {} of {} partitions)", self.records, self.extents.len(), self.partitions)
    }
}

/// A partition's records in a [`MapOutput`], slice by slice.
#[derive(Debug)]
pub struct Slices<'a, R> {
    chunks: &'a [Vec<R>],
    from: usize,
    left: usize,
}

impl<'a, R> Iterator for Slices<'a, R> {
    type Item = &'a [R];

    fn next(&mut self) -> Option<&'a [R]> {
        if self.left == 0 {
            return None;
        }
        let (chunk, rest) = self.chunks.split_first()?;
        let slice = &chunk[self.from..];
        let slice = &slice[..slice.len().min(self.left)];
        (self.chunks, self.from, self.left) = (rest, 0, self.left - slice.len());
        Some(slice)
    }
}

#[cfg(test)]
mod tests;
