//! One map task's output: its records, ordered by reduce partition, in order of arrival within each.
//!
//! A run is what lies between two stages. While it is written there are at most 256 buckets, however many partitions: with
//! a buffer for each of 10,000 reducers the empty buffers alone would outweigh the data. With more partitions than buckets
//! a bucket holds a contiguous range of them, and is put in order when the run is finished, one bucket at a time.

use std::fmt;

/// At most so many buckets are open in a writer.
const MAX_BUCKETS: usize = 256;
/// The capacity of a bucket's first chunk, in records; each further chunk has four times as many, up to [`CHUNK_BYTES`].
const FIRST_CHUNK: usize = 64;
/// The size that a bucket's chunks grow to.
const CHUNK_BYTES: usize = 32 << 10;
/// A run no larger than this is moved into a single allocation when it is finished.
const SMALL_RUN_BYTES: usize = 1 << 20;

/// Takes one map task's records and scatters them by reduce partition.
///
/// ```
/// use firesteel_store::RunWriter;
///
/// let mut writer = RunWriter::new(3);
/// for word in ["to", "be", "or", "not"] {
///     writer.push(word.len() % 3, word.len() as u64, word);
/// }
/// let run = writer.finish();
/// assert_eq!(run.partition(2).flatten().copied().collect::<Vec<_>>(), ["to", "be", "or"]);
/// assert_eq!(run.records(0), 1);
/// assert_eq!(run.len(), 4);
/// ```
pub struct RunWriter<R> {
    partitions: usize,
    /// A bucket holds `1 << shift` partitions.
    shift: u32,
    buckets: Vec<Bucket<R>>,
    /// For each partition, a polynomial in the hashes pushed to it.
    hashes: Vec<u64>,
}

/// The records of a contiguous range of partitions, in order of arrival.
struct Bucket<R> {
    /// The chunk being filled.
    current: Vec<R>,
    full: Vec<Vec<R>>,
    /// For each record its partition's place in the bucket's range; unused where the range is of one.
    places: Vec<u32>,
}

impl<R> Bucket<R> {
    const CHUNK_MAX: usize = {
        let size = if size_of::<R>() == 0 { 1 } else { size_of::<R>() };
        if size >= CHUNK_BYTES { 1 } else { CHUNK_BYTES / size }
    };

    /// Begins a chunk.
    #[cold]
    #[inline(never)]
    fn more(&mut self) {
        let first = FIRST_CHUNK.min(Self::CHUNK_MAX);
        let next = Vec::with_capacity((self.current.capacity() * 4).clamp(first, Self::CHUNK_MAX));
        let full = std::mem::replace(&mut self.current, next);
        if !full.is_empty() {
            self.full.push(full);
        }
    }

    fn len(&self) -> usize {
        self.full.iter().map(Vec::len).sum::<usize>() + self.current.len()
    }

    fn into_chunks(self) -> impl Iterator<Item = Vec<R>> {
        let mut last = self.current;
        if last.len() * 2 <= last.capacity() {
            last.shrink_to_fit();
        }
        self.full.into_iter().chain((!last.is_empty()).then_some(last))
    }
}

impl<R> RunWriter<R> {
    /// A writer for records of `partitions` reduce partitions.
    ///
    /// # Panics
    /// With more than 2³² partitions.
    pub fn new(partitions: usize) -> Self {
        assert!(u32::try_from(partitions).is_ok(), "a shuffle has at most 2^32 partitions, not {partitions}");
        let mut shift = 0;
        while partitions.div_ceil(1 << shift) > MAX_BUCKETS {
            shift += 1;
        }
        let bucket = || Bucket { current: Vec::new(), full: Vec::new(), places: Vec::new() };
        RunWriter {
            partitions,
            shift,
            buckets: (0..partitions.div_ceil(1 << shift)).map(|_| bucket()).collect(),
            hashes: vec![0; partitions],
        }
    }

    /// Adds a record to a partition. `hash` is the key's, or anything else that the same record always has; it goes into
    /// the run's [checksum](Run::checksum) only.
    ///
    /// # Panics
    /// If there is no such partition.
    #[inline(always)]
    pub fn push(&mut self, partition: usize, hash: u64, record: R) {
        let sum = &mut self.hashes[partition];
        *sum = sum.wrapping_mul(MULTIPLIER).wrapping_add(hash);
        let bucket = &mut self.buckets[partition >> self.shift];
        if self.shift > 0 {
            bucket.places.push((partition & ((1 << self.shift) - 1)) as u32);
        }
        if bucket.current.len() == bucket.current.capacity() {
            bucket.more();
        }
        bucket.current.push(record);
    }

    /// Puts the records in order of partition.
    ///
    /// # Cost
    /// With up to 256 partitions the chunks stay where they are, unless the run is small; beyond that every record is
    /// moved twice, a bucket at a time.
    pub fn finish(self) -> Run<R> {
        let lens: Vec<usize> = self.buckets.iter().map(Bucket::len).collect();
        let records: usize = lens.iter().sum();
        let small = records.saturating_mul(size_of::<R>()) <= SMALL_RUN_BYTES;
        let mut run =
            Run { partitions: self.partitions, records, checksum: 0, extents: Vec::new(), chunks: Vec::new() };
        if small && records > 0 {
            run.chunks.push(Vec::with_capacity(records));
        }
        for (b, (bucket, len)) in self.buckets.into_iter().zip(lens).enumerate().filter(|(_, (_, len))| *len > 0) {
            let first = b << self.shift;
            if self.shift == 0 && !small {
                run.extents.push(Extent { partition: first as u32, chunk: run.chunks.len(), from: 0, records: len });
                run.chunks.extend(bucket.into_chunks());
                continue;
            }
            if !small {
                run.chunks.push(Vec::with_capacity(len));
            }
            run.append_in_order(bucket, len, first, 1 << self.shift);
        }
        run.checksum = run.sum(&self.hashes);
        run
    }
}

/// Of the polynomials that make a checksum; odd, with its bits spread.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finished output of one map task.
///
/// Takes room for its records and for the partitions that have any. Reading lends; a run is usually shared as
/// `Arc<Run<R>>` and outlives its readers.
pub struct Run<R> {
    partitions: usize,
    records: usize,
    checksum: u64,
    /// Where each partition that has records begins, ascending.
    extents: Vec<Extent>,
    /// All records in order of partition.
    chunks: Vec<Vec<R>>,
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
        for mut records in bucket.into_chunks() {
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

    fn sum(&self, hashes: &[u64]) -> u64 {
        let mut sum = self.partitions as u64;
        for extent in &self.extents {
            for part in [extent.partition as u64, extent.records as u64, hashes[extent.partition as usize]] {
                sum = (sum.rotate_left(23) ^ part).wrapping_mul(MULTIPLIER);
            }
        }
        sum ^ (sum >> 32)
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
    pub fn partition(&self, partition: usize) -> Slices<'_, R> {
        match self.extent(partition) {
            Some(extent) => Slices { chunks: &self.chunks[extent.chunk..], from: extent.from, left: extent.records },
            None => Slices { chunks: &[], from: 0, left: 0 },
        }
    }

    /// How many reduce partitions the run was written for.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// How many records a partition has.
    pub fn records(&self, partition: usize) -> usize {
        self.extent(partition).map_or(0, |extent| extent.records)
    }

    /// How many records the run has.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether the run has no records.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The size of a partition in bytes: what its records take in place, without what they own elsewhere.
    pub fn size(&self, partition: usize) -> u64 {
        (self.records(partition) * size_of::<R>()) as u64
    }

    /// [`size`](Run::size) of every partition.
    pub fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0; self.partitions];
        for extent in &self.extents {
            sizes[extent.partition as usize] = (extent.records * size_of::<R>()) as u64;
        }
        sizes
    }

    /// The size of all partitions.
    pub fn bytes(&self) -> u64 {
        (self.records * size_of::<R>()) as u64
    }

    /// A number made of every partition's record count and of the pushed hashes in their order.
    ///
    /// Two runs of a map task over the same data have the same; if a rerun's differs, what was computed from the first is
    /// void. How records of different partitions alternate makes no difference, and values are not looked at.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }
}

impl<R> fmt::Debug for Run<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({} records in {} of {} partitions)", self.records, self.extents.len(), self.partitions)
    }
}

/// A partition's records in a [`Run`], slice by slice.
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
