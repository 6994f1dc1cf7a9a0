//! Records on disk: pages of some 64 KiB, each compressed and with a checksum.
//!
//! ```text
//! page   stored length u32 · raw length u32 (its highest bit: compressed by LZ4) · records u32 · CRC32C u32 · bytes as stored
//! ```
//!
//! All little-endian. The raw bytes are records in the [record format](crate::record), one after another, none of which goes on
//! in the next page. The checksum is of the three numbers before it and of the stored bytes.

use crate::{
    StoreError, fetch,
    record::{self, Decoder, RecordError},
    scratch::ScratchFile,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::VecDeque, fmt, io, marker::PhantomData, os::unix::fs::FileExt, sync::Arc};

/// A page ends with the record that brings it to so many raw bytes.
pub(crate) const PAGE_BYTES: usize = 64 << 10;
/// Raw bytes below this are not worth compressing.
const WORTH_COMPRESSING: usize = 64;
pub(crate) const HEADER: usize = 16;
const COMPRESSED: u32 = 1 << 31;
/// LZ4's limit: a byte of input stands for at most 255 of output.
const MAX_RATIO: usize = 255;
/// How much is read from a file at once, where there is so much.
pub(crate) const READ_BYTES: usize = 128 << 10;

/// What is in a page: records as bytes, before they are compressed.
#[derive(Debug, Default)]
pub struct RawPage {
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: u32,
    /// Where each record begins, if that is noted.
    pub(crate) starts: Vec<u32>,
    /// The hash that each was pushed with, if that is noted.
    pub(crate) hashes: Vec<u64>,
}

impl RawPage {
    /// What it takes in memory, in bytes.
    pub fn takes(&self) -> u64 {
        self.bytes.capacity() as u64 + self.notes()
    }

    /// What its notes take.
    pub(crate) fn notes(&self) -> u64 {
        (self.starts.capacity() * size_of::<u32>() + self.hashes.capacity() * size_of::<u64>()) as u64
    }

    /// Where each record begins, if that was noted of all of them: see [`RunWriter::indexed`](crate::RunWriter::indexed).
    #[inline]
    pub fn starts(&self) -> Option<&[u32]> {
        (self.starts.len() == self.records as usize).then_some(&self.starts)
    }

    /// The hash that each record was pushed with, if that was noted.
    #[inline]
    pub fn hashes(&self) -> Option<&[u64]> {
        (self.hashes.len() == self.records as usize).then_some(&self.hashes)
    }

    /// Reads the record that begins `at` this byte, or the first fields of it; it may borrow them.
    ///
    /// # Errors
    /// If none does.
    #[inline]
    pub fn read<'a, R: Deserialize<'a>>(&'a self, at: u32) -> Result<R, StoreError> {
        let record = Decoder::new(self.bytes.get(at as usize..).unwrap_or_default()).read();
        record.map_err(|e| StoreError::Corrupt { place: "a page in memory".into(), what: e.to_string() })
    }

    /// Has the processor fetch the line of its cache in which this byte lies, if there is one.
    #[inline(always)]
    pub fn fetch(&self, at: usize) {
        if let Some(byte) = self.bytes.get(at) {
            fetch::to_read(byte);
        }
    }

    /// How many bytes a record takes, on average.
    pub fn record_bytes(&self) -> usize {
        self.bytes.len() / self.records.max(1) as usize
    }
}

/// Makes pages of records.
pub(crate) struct PageWriter {
    compress: bool,
    raw: Vec<u8>,
    records: u32,
}

impl PageWriter {
    pub(crate) fn new(compress: bool) -> Self {
        PageWriter { compress, raw: Vec::new(), records: 0 }
    }

    /// Adds a record; a page that is full is appended to `out`.
    pub(crate) fn push<R: Serialize>(&mut self, record: &R, out: &mut Vec<u8>) -> Result<(), RecordError> {
        record::extend(&mut self.raw, record)?;
        self.records += 1;
        if self.raw.len() >= PAGE_BYTES || self.records == u32::MAX {
            self.end(out)?;
        }
        Ok(())
    }

    /// Adds all records of a page.
    pub(crate) fn append(&mut self, page: &RawPage, out: &mut Vec<u8>) -> Result<(), RecordError> {
        if self.records.checked_add(page.records).is_none() {
            self.end(out)?;
        }
        self.raw.extend_from_slice(&page.bytes);
        self.records += page.records;
        if self.raw.len() >= PAGE_BYTES { self.end(out) } else { Ok(()) }
    }

    /// Appends the last page, if any record is in it.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        if self.records == 0 {
            return Ok(());
        }
        let raw = self.raw.len();
        if raw >= COMPRESSED as usize {
            return Err(serde::ser::Error::custom(format_args!("one takes {raw} bytes, and 2^31 are the most")));
        }
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        let mut flags = 0;
        if self.compress && raw >= WORTH_COMPRESSING {
            out.resize(start + HEADER + lz4_flex::block::get_maximum_output_size(raw), 0);
            match lz4_flex::block::compress_into(&self.raw, &mut out[start + HEADER..]) {
                Ok(n) if n < raw => {
                    out.truncate(start + HEADER + n);
                    flags = COMPRESSED;
                }
                _ => out.truncate(start + HEADER),
            }
        }
        if flags == 0 {
            out.extend_from_slice(&self.raw);
        }
        let stored = (out.len() - start - HEADER) as u32;
        let page = &mut out[start..];
        page[..4].copy_from_slice(&stored.to_le_bytes());
        page[4..8].copy_from_slice(&(raw as u32 | flags).to_le_bytes());
        page[8..12].copy_from_slice(&self.records.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&page[..12]), &page[HEADER..]);
        page[12..HEADER].copy_from_slice(&crc.to_le_bytes());
        self.raw.clear();
        self.records = 0;
        Ok(())
    }
}

/// What is wrong with some bytes, in words.
pub(crate) type Damage = String;

/// Reads the page at the start of `bytes` into `raw`; returns how many records it has and how long it is. `None` if
/// `bytes` ends before the page does, and how many bytes it needs.
pub(crate) fn open_page(bytes: &[u8], raw: &mut Vec<u8>) -> Result<Result<(u32, usize), usize>, Damage> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(Err(HEADER)) };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (stored, length, records, crc) = (number(0) as usize, number(4), number(8), number(12));
    let (compressed, length) = (length & COMPRESSED != 0, (length & !COMPRESSED) as usize);
    let most = if compressed { stored.saturating_mul(MAX_RATIO) } else { stored };
    if length > most || !compressed && length != stored {
        return Err("a page contradicts itself".into());
    }
    let Some(body) = bytes.get(HEADER..HEADER + stored) else { return Ok(Err(HEADER + stored)) };
    if crc32c::crc32c_append(crc32c::crc32c(&header[..12]), body) != crc {
        return Err("a page fails its checksum".into());
    }
    raw.clear();
    if compressed {
        raw.resize(length, 0);
        let written = lz4_flex::block::decompress_into(body, raw).map_err(|e| e.to_string())?;
        if written != length {
            return Err("a page has another length than it says".into());
        }
    } else {
        raw.extend_from_slice(body);
    }
    Ok(Ok((records, HEADER + stored)))
}

/// Where pages come from.
pub(crate) enum Source {
    /// A part of a file of this process.
    File(Arc<ScratchFile>),
    /// Another process sends them; and whose they are.
    Stream(Box<dyn io::Read>, String),
}

impl Source {
    /// Reads the bytes from `at` on, which are the next ones of a stream.
    fn read_exact(&mut self, into: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Source::File(file) => file.handle()?.read_exact_at(into, at),
            Source::Stream(stream, _) => stream.read_exact(into),
        }
    }

    #[cold]
    fn corrupt(&self, at: u64, what: &dyn fmt::Display) -> StoreError {
        StoreError::Corrupt { place: format!("{self} before byte {at}"), what: what.to_string() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(file) => file.path.display().fmt(f),
            Source::Stream(_, place) => f.write_str(place),
        }
    }
}

/// Reads the records of pages in memory.
pub(crate) struct RawReader<R> {
    pages: VecDeque<Arc<RawPage>>,
    page: Arc<RawPage>,
    /// Of that page: where the last record began, where the next one begins, and how many are left.
    last: usize,
    next: usize,
    left: u32,
    record: PhantomData<fn() -> R>,
}

impl<R> RawReader<R> {
    pub(crate) fn new(pages: &[Arc<RawPage>]) -> Self {
        RawReader {
            pages: pages.iter().cloned().collect(),
            page: Arc::default(),
            last: 0,
            next: 0,
            left: 0,
            record: PhantomData,
        }
    }

    /// The next record, if there is one, as a type that has the bytes of `R` and may borrow them.
    #[inline]
    pub(crate) fn next_as<'a, Q: Deserialize<'a>>(&'a mut self) -> Result<Option<Q>, StoreError> {
        while self.left == 0 {
            let Some(page) = self.pages.pop_front() else { return Ok(None) };
            (self.next, self.left) = (0, page.records);
            self.page = page;
        }
        let mut decoder = Decoder::new(&self.page.bytes[self.next..]);
        let record = decoder.read::<Q>();
        self.left -= 1;
        self.last = self.next;
        self.next = self.page.bytes.len() - decoder.remaining();
        match record {
            Ok(record) if self.left > 0 || self.next == self.page.bytes.len() => Ok(Some(record)),
            Ok(_) => Err(corrupt_in_memory(&"it has more bytes than records")),
            Err(e) => Err(corrupt_in_memory(&e)),
        }
    }

    /// The next page, if none of its records was read yet.
    #[inline]
    pub(crate) fn page(&self) -> Option<&Arc<RawPage>> {
        if self.left == 0 { self.pages.front() } else { None }
    }

    /// Passes over the next page.
    pub(crate) fn skip_page(&mut self) {
        self.pages.pop_front();
    }

    /// Where the last record lies.
    #[inline]
    pub(crate) fn place(&self) -> Option<(&Arc<RawPage>, u32)> {
        Some((&self.page, u32::try_from(self.last).ok()?))
    }
}

#[cold]
fn corrupt_in_memory(what: &dyn fmt::Display) -> StoreError {
    StoreError::Corrupt { place: "a page in memory".into(), what: what.to_string() }
}

/// Reads the records of a part of a file, page by page.
pub(crate) struct PageReader<R> {
    source: Source,
    /// What is to be read yet.
    at: u64,
    end: u64,
    /// What was read and holds no whole page yet, from `used` on.
    bytes: Vec<u8>,
    used: usize,
    raw: Vec<u8>,
    /// Of the current page: where the next record begins, and how many are left.
    next: usize,
    left: u32,
    record: PhantomData<fn() -> R>,
}

impl<R> PageReader<R> {
    /// Reads what lies from `at` to `end`.
    pub(crate) fn new(source: Source, at: u64, end: u64) -> Self {
        PageReader {
            source,
            at,
            end,
            bytes: Vec::new(),
            used: 0,
            raw: Vec::new(),
            next: 0,
            left: 0,
            record: PhantomData,
        }
    }

    fn corrupt(&self, what: &dyn fmt::Display) -> StoreError {
        self.source.corrupt(self.at, what)
    }

    /// The next record, if there is one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<R>, StoreError>
    where
        R: DeserializeOwned,
    {
        self.next_as()
    }

    /// The same, as a type that has the bytes of `R` and may borrow them.
    #[inline]
    pub(crate) fn next_as<'a, Q: Deserialize<'a>>(&'a mut self) -> Result<Option<Q>, StoreError> {
        while self.left == 0 {
            if !self.next_page()? {
                return Ok(None);
            }
        }
        let mut decoder = Decoder::new(&self.raw[self.next..]);
        let record = decoder.read::<Q>().map_err(|e| self.source.corrupt(self.at, &e))?;
        let remaining = decoder.remaining();
        self.next = self.raw.len() - remaining;
        self.left -= 1;
        if self.left == 0 && remaining > 0 {
            return Err(self.source.corrupt(self.at, &"a page has more bytes than records"));
        }
        Ok(Some(record))
    }

    #[cold]
    fn next_page(&mut self) -> Result<bool, StoreError> {
        loop {
            let rest = &self.bytes[self.used..];
            if rest.is_empty() && self.at == self.end {
                return Ok(false);
            }
            match open_page(rest, &mut self.raw) {
                Ok(Ok((records, length))) => {
                    if records == 0 {
                        return Err(self.corrupt(&"a page without records"));
                    }
                    self.used += length;
                    (self.next, self.left) = (0, records);
                    return Ok(true);
                }
                Ok(Err(needed)) => self.read_on(needed)?,
                Err(what) => return Err(self.corrupt(&what)),
            }
        }
    }

    /// Reads until `needed` bytes are there from `used` on.
    fn read_on(&mut self, needed: usize) -> Result<(), StoreError> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let had = self.bytes.len();
        let there = self.end - self.at;
        let more = (needed.max(READ_BYTES) - had).min(usize::try_from(there).unwrap_or(usize::MAX));
        if had + more < needed {
            return Err(self.corrupt(&"it ends too early"));
        }
        self.bytes.resize(had + more, 0);
        self.source.read_exact(&mut self.bytes[had..], self.at).map_err(|e| match (e.kind(), &self.source) {
            (io::ErrorKind::UnexpectedEof, _) => self.corrupt(&"it ends too early"),
            (io::ErrorKind::InvalidData, _) => self.corrupt(&e),
            (_, Source::Stream(_, from)) => StoreError::Unreachable { from: from.clone(), what: e.to_string() },
            _ => self.corrupt(&e),
        })?;
        self.at += more as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
