//! What an operator of a task puts on disk because it has no memory for it: sequences of records, written and read in order.

use crate::{
    StoreError,
    page::{PAGE_BYTES, PageReader, PageWriter, READ_BYTES, Source},
    record::RecordError,
    scratch::{Scratch, ScratchFile},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, marker::PhantomData, mem::take, sync::Arc};

/// How much is written to a file at once.
pub(crate) const WRITE_BYTES: usize = 128 << 10;

/// Writes one sequence after another into a scratch file.
///
/// ```
/// use firesteel_store::{Scratch, SpillWriter};
///
/// let scratch = Scratch::new(vec![std::env::temp_dir()]);
/// let mut writer = SpillWriter::new(&scratch, true)?;
/// for word in ["to", "be"] {
///     writer.push(&word.to_string())?;
/// }
/// let spilled = writer.end()?;
/// let mut reader = spilled.reader();
/// assert_eq!(reader.next()?, Some("to".to_string()));
/// assert_eq!(reader.next()?, Some("be".to_string()));
/// assert_eq!(reader.next()?, None);
/// # Ok::<(), firesteel_store::StoreError>(())
/// ```
pub struct SpillWriter<R> {
    writing: Writing,
    record: PhantomData<fn(R)>,
}

/// What a [`SpillWriter`] is, whatever the records are.
struct Writing {
    scratch: Arc<Scratch>,
    file: Arc<ScratchFile>,
    pages: PageWriter,
    /// Whole pages that are not written yet.
    out: Vec<u8>,
    /// What the current sequence has in files that could not be written any further.
    before: Vec<Part>,
    /// Where the current sequence began in this file, and how far the file is written.
    from: u64,
    at: u64,
    records: u64,
}

impl Writing {
    fn new(scratch: &Arc<Scratch>, compress: bool) -> Result<Self, StoreError> {
        let file = scratch.try_each(|file| file.create().map(|()| Arc::new(file)))?;
        Ok(Writing {
            scratch: scratch.clone(),
            file,
            pages: PageWriter::new(compress),
            out: Vec::new(),
            before: Vec::new(),
            from: 0,
            at: 0,
            records: 0,
        })
    }

    #[cold]
    fn unwritable(&self, source: RecordError) -> StoreError {
        StoreError::Record { block: self.file.path.display().to_string(), source }
    }

    #[cold]
    fn write(&mut self) -> Result<(), StoreError> {
        if let Err(e) = self.file.write_at(&self.out, self.at) {
            tracing::warn!("what a task spills goes on in another file: {e}");
            let file = self.scratch.try_each(|file| {
                file.create()?;
                file.write_at(&self.out, 0)?;
                Ok(Arc::new(file))
            })?;
            let part = Part { file: std::mem::replace(&mut self.file, file), from: self.from, to: self.at };
            self.before.push(part);
            (self.from, self.at) = (0, 0);
        }
        self.at += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// Ends the sequence: where it lies, and how many records it has.
    fn end(&mut self) -> Result<(Vec<Part>, u64), StoreError> {
        if let Err(e) = self.pages.end(&mut self.out) {
            return Err(self.unwritable(e));
        }
        self.write()?;
        let from = std::mem::replace(&mut self.from, self.at);
        let mut parts = take(&mut self.before);
        parts.push(Part { file: self.file.clone(), from, to: self.at });
        Ok((parts, take(&mut self.records)))
    }
}

impl<R: Serialize> SpillWriter<R> {
    /// A writer into a new file, in the next scratch folder that works. If that folder fails later, it goes on in another.
    ///
    /// # Errors
    /// If no file can be made.
    pub fn new(scratch: &Arc<Scratch>, compress: bool) -> Result<Self, StoreError> {
        Ok(SpillWriter { writing: Writing::new(scratch, compress)?, record: PhantomData })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// If it cannot be encoded, or the file not be written.
    #[inline]
    pub fn push(&mut self, record: &R) -> Result<(), StoreError> {
        let writing = &mut self.writing;
        writing.records += 1;
        if let Err(e) = writing.pages.push(record, &mut writing.out) {
            return Err(writing.unwritable(e));
        }
        if writing.out.len() >= WRITE_BYTES { writing.write() } else { Ok(()) }
    }

    /// How many records the current sequence has.
    pub fn records(&self) -> u64 {
        self.writing.records
    }

    /// Ends the sequence; the next record begins another.
    ///
    /// # Errors
    /// As [`push`](SpillWriter::push).
    pub fn end(&mut self) -> Result<Spilled<R>, StoreError> {
        let (parts, records) = self.writing.end()?;
        Ok(Spilled { parts: parts.into(), records, record: PhantomData })
    }
}

impl<R> fmt::Debug for SpillWriter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpillWriter({} B in {})", self.writing.at, self.writing.file.path.display())
    }
}

/// Pages of a sequence in one file.
struct Part {
    file: Arc<ScratchFile>,
    from: u64,
    to: u64,
}

impl Part {
    fn reader<R: DeserializeOwned>(&self) -> PageReader<R> {
        PageReader::new(Source::File(self.file.clone()), self.from, self.to)
    }
}

/// One sequence of records on disk. Its file goes with the last that knows it.
pub struct Spilled<R> {
    /// One, unless a scratch folder failed.
    parts: Arc<[Part]>,
    records: u64,
    record: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Spilled<R> {
    /// Reads it from the beginning.
    pub fn reader(&self) -> SpillReader<R> {
        SpillReader { parts: self.parts.clone(), next: 0, current: None }
    }
}

impl<R> Spilled<R> {
    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.records
    }
    /// How many bytes it takes on disk.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.to - part.from).sum()
    }
}

impl<R> fmt::Debug for Spilled<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spilled({} records, {} B)", self.records, self.bytes())
    }
}

/// Reads a sequence of records back, in order. Holds about [`BYTES`](SpillReader::BYTES).
pub struct SpillReader<R> {
    parts: Arc<[Part]>,
    next: usize,
    current: Option<PageReader<R>>,
}

impl<R> SpillReader<R> {
    /// What a reader takes, where records are not larger than a page.
    pub const BYTES: u64 = (READ_BYTES + PAGE_BYTES) as u64;
}

impl<R: DeserializeOwned> SpillReader<R> {
    /// The next record, or `None` after the last.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the file is missing or damaged.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "it can fail at each step")]
    pub fn next(&mut self) -> Result<Option<R>, StoreError> {
        if let Some(part) = &mut self.current
            && let Some(record) = part.next()?
        {
            return Ok(Some(record));
        }
        self.next_part()
    }

    #[cold]
    fn next_part(&mut self) -> Result<Option<R>, StoreError> {
        loop {
            let Some(part) = self.parts.get(self.next) else {
                self.current = None;
                return Ok(None);
            };
            self.next += 1;
            let part = self.current.insert(part.reader());
            if let Some(record) = part.next()? {
                return Ok(Some(record));
            }
        }
    }
}

impl<R> fmt::Debug for SpillReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpillReader")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scratch() -> (Arc<Scratch>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Scratch::new(vec![dir.path().into()]), dir)
    }

    fn read<R: DeserializeOwned>(spilled: &Spilled<R>) -> Result<Vec<R>, StoreError> {
        let mut reader = spilled.reader();
        std::iter::from_fn(|| reader.next().transpose()).collect()
    }

    #[test]
    fn sequences_come_back_each_for_itself_and_the_file_goes_with_the_last() {
        let (scratch, dir) = scratch();
        let mut writer = SpillWriter::new(&scratch, true).unwrap();
        let all: Vec<Vec<(u64, String)>> =
            (0..5u64).map(|s| (0..s * 20_000).map(|i| (i, format!("{s} and {i}"))).collect()).collect();
        let mut spilled = Vec::new();
        for sequence in &all {
            sequence.iter().for_each(|record| writer.push(record).unwrap());
            assert_eq!(writer.records(), sequence.len() as u64);
            spilled.push(writer.end().unwrap());
        }
        for (sequence, spilled) in all.iter().zip(&spilled) {
            assert_eq!(read(spilled).unwrap(), *sequence);
            assert_eq!(spilled.records(), sequence.len() as u64);
        }
        assert!(spilled[4].bytes() < 80_000 * 20, "compressed");
        drop((writer, spilled));
        scratch.close();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_changed_byte_or_a_cut_or_missing_file_is_noticed() {
        let (scratch, _dir) = scratch();
        let mut writer = SpillWriter::new(&scratch, false).unwrap();
        (0..1_000u64).for_each(|i| writer.push(&i).unwrap());
        let spilled = writer.end().unwrap();
        let path = spilled.parts[0].file.path.clone();
        let good = std::fs::read(&path).unwrap();
        for at in [0, 5, 9, 13, 100, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, bad).unwrap();
            let error = read(&spilled).unwrap_err();
            assert!(error.is_corrupt() && error.to_string().contains("block-0"), "{error}");
        }
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(read(&spilled).unwrap_err().to_string().contains("too early"));
    }

    #[test]
    fn records_of_no_bytes_and_of_many_come_back() {
        let (scratch, _dir) = scratch();
        let mut writer = SpillWriter::new(&scratch, true).unwrap();
        (0..100_000).for_each(|_| writer.push(&()).unwrap());
        assert_eq!(read(&writer.end().unwrap()).unwrap().len(), 100_000);
        let mut writer = SpillWriter::new(&scratch, true).unwrap();
        let large: Vec<u64> = (0..1_000_000).map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        writer.push(&large).unwrap();
        assert_eq!(read(&writer.end().unwrap()).unwrap(), [large]);
    }

    #[test]
    fn more_files_than_may_be_open_are_read() {
        let (scratch, _dir) = scratch();
        let spilled: Vec<_> = (0..400u64)
            .map(|i| {
                let mut writer = SpillWriter::new(&scratch, true).unwrap();
                writer.push(&i).unwrap();
                writer.end().unwrap()
            })
            .collect();
        for _ in 0..2 {
            for (i, spilled) in spilled.iter().enumerate() {
                assert_eq!(read(spilled).unwrap(), [i as u64]);
            }
        }
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(open < 390, "{open}");
    }

    proptest! {
        #[test]
        fn hostile_pages_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut raw = Vec::new();
            let _ = crate::page::open_page(&bytes, &mut raw);
        }
    }
}
