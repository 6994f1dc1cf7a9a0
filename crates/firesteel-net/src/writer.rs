//! The sending half of a connection.

use crate::{
    Closer, NetErrorKind, Result,
    connection::{Link, timed_out},
    keys::{Sealing, TAG},
};
use std::{
    fmt,
    io::{ErrorKind, IoSlice, Write},
    net::Shutdown,
    sync::Arc,
};

/// The length that stands for the end: no frame follows.
pub(crate) const END: u32 = u32::MAX;
/// How much is gathered before it is written, and the most that one encrypted record holds.
pub(crate) const RECORD: usize = 64 << 10;
/// The bytes before a frame or a record: its length.
pub(crate) const HEADER: usize = 4;

/// Sends frames. Small ones are gathered, so [`flush`](FrameWriter::flush) when no more follow at once.
///
/// [`finish`](FrameWriter::finish) ends the connection so that the peer knows that nothing is missing; one that is
/// dropped before is cut off.
pub struct FrameWriter {
    link: Arc<Link>,
    /// What has not been written: frames, or a header to be and the contents of a record.
    buffer: Vec<u8>,
    sealing: Option<Sealing>,
}

impl FrameWriter {
    pub(crate) fn new(link: Arc<Link>, sealing: Option<Sealing>) -> FrameWriter {
        let buffer = if sealing.is_some() { vec![0; HEADER] } else { Vec::new() };
        FrameWriter { link, buffer, sealing }
    }

    /// Sends one frame, which is the parts in a row. A large one is written without being copied, unless it is encrypted.
    ///
    /// # Errors
    /// [`FrameTooLong`](NetErrorKind::FrameTooLong), after which the connection is as before.
    /// [`SlowReader`](NetErrorKind::SlowReader) and whatever ends a connection, after which it is closed.
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<()> {
        let length = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        let limit = self.link.max_frame();
        if length > limit {
            return Err(self.link.error(NetErrorKind::FrameTooLong { length: length as u64, limit }));
        }
        self.put(&(length as u32).to_le_bytes(), length, parts)
    }

    /// Writes what has been gathered.
    ///
    /// # Errors
    /// As [`send`](FrameWriter::send).
    pub fn flush(&mut self) -> Result<()> {
        if self.sealing.is_some() { self.flush_record() } else { self.write_plain(&[]) }
    }

    /// Says that no frame follows, and writes everything. The peer may go on sending.
    ///
    /// # Errors
    /// As [`send`](FrameWriter::send).
    pub fn finish(mut self) -> Result<()> {
        self.put(&END.to_le_bytes(), 0, &[])?;
        self.flush()
    }

    /// The peer as messages call it.
    pub fn peer(&self) -> &str {
        &self.link.peer
    }

    /// What closes the connection from elsewhere.
    pub fn closer(&self) -> Closer {
        Closer::new(&self.link)
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Takes a header and what belongs to it, `length` bytes.
    fn put(&mut self, header: &[u8; HEADER], length: usize, parts: &[&[u8]]) -> Result<()> {
        if self.sealing.is_some() {
            self.gather(header)?;
            return parts.iter().try_for_each(|part| self.gather(part));
        }
        let fits = self.buffer.len() + HEADER + length <= RECORD;
        self.buffer.extend_from_slice(header);
        if !fits {
            return self.write_plain(parts);
        }
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        Ok(())
    }

    /// Puts bytes into records, and writes each that is full.
    fn gather(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = HEADER + RECORD - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if now.len() == room {
                self.flush_record()?;
            }
        }
        Ok(())
    }

    /// Seals what has been gathered into a record, and writes it.
    fn flush_record(&mut self) -> Result<()> {
        let (Some(sealing), Some(length @ 1..)) = (&mut self.sealing, self.buffer.len().checked_sub(HEADER)) else {
            return Ok(());
        };
        let header = ((length + TAG) as u32).to_le_bytes();
        let tag = sealing.seal(&header, &mut self.buffer[HEADER..]);
        self.buffer[..HEADER].copy_from_slice(&header);
        self.buffer.extend_from_slice(tag.as_ref());
        let written = write_all(&self.link, &mut [IoSlice::new(&self.buffer)]);
        self.buffer.truncate(HEADER);
        written
    }

    /// Writes what has been gathered, and the parts after it.
    fn write_plain(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut all: Vec<_> = [self.buffer.as_slice()].iter().chain(parts).map(|part| IoSlice::new(part)).collect();
        let written = write_all(&self.link, &mut all);
        self.buffer.clear();
        written
    }
}

impl Drop for FrameWriter {
    /// The peer sees the end: a clean one after `finish`, else one that cuts off.
    fn drop(&mut self) {
        let _ = self.link.stream.shutdown(Shutdown::Write);
    }
}

impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter").field("peer", &self.link.peer).finish_non_exhaustive()
    }
}

fn write_all(link: &Link, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
    // Empty slices at the front would make the first write look like the end.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match (&link.stream).write_vectored(slices) {
            Ok(n) => IoSlice::advance_slices(&mut slices, n),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if timed_out(&e) => return Err(link.fatal(NetErrorKind::SlowReader)),
            Err(e) => return Err(link.fatal(NetErrorKind::Io(Arc::new(e)))),
        }
    }
    Ok(())
}
