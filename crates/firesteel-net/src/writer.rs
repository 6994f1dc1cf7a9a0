//! The sending half of a connection.

use crate::{
    Closer, NetErrorKind, Result,
    connection::{Link, timed_out},
    keys::{Sealing, TAG},
};
use rustix::{
    io::Errno,
    net::{SendFlags, send},
};
use std::{fmt, io::Write, net::Shutdown, sync::Arc};

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
    /// What was to be written before that, and the socket had no room for.
    unsent: Vec<u8>,
    sealing: Option<Sealing>,
}

impl FrameWriter {
    pub(crate) fn new(link: Arc<Link>, sealing: Option<Sealing>) -> FrameWriter {
        let buffer = if sealing.is_some() { vec![0; HEADER] } else { Vec::new() };
        FrameWriter { link, buffer, unsent: Vec::new(), sealing }
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
        self.put(&(length as u32).to_le_bytes())?;
        parts.iter().try_for_each(|part| self.put(part))
    }

    /// Writes what has been gathered.
    ///
    /// # Errors
    /// As [`send`](FrameWriter::send).
    pub fn flush(&mut self) -> Result<()> {
        if !self.unsent.is_empty() {
            write(&self.link, &std::mem::take(&mut self.unsent))?;
        }
        if !self.seal() {
            return Ok(());
        }
        let written = write(&self.link, &self.buffer);
        self.buffer.truncate(self.empty());
        written
    }

    /// Writes of what has been gathered what the socket has room for, without waiting; whether that was all. What was not written is by the
    /// next [`flush`](FrameWriter::flush), which has to come before anything else is sent.
    pub(crate) fn flush_now(&mut self) -> Result<bool> {
        debug_assert!(self.unsent.is_empty(), "what had no room goes first");
        if !self.seal() {
            return Ok(true);
        }
        let taken = write_now(&self.link, &self.buffer)?;
        self.unsent.extend_from_slice(&self.buffer[taken..]);
        self.buffer.truncate(self.empty());
        Ok(self.unsent.is_empty())
    }

    /// Says that no frame follows, and writes everything. The peer may go on sending.
    ///
    /// Read until the peer finishes, too: a connection that is dropped while something from the peer is unread is reset by the
    /// system, and then the peer may not see the last frames.
    ///
    /// # Errors
    /// As [`send`](FrameWriter::send).
    pub fn finish(mut self) -> Result<()> {
        self.put(&END.to_le_bytes())?;
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

    /// Takes bytes of a frame: gathers few, and writes many.
    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.sealing.is_none() {
            if self.buffer.len() + bytes.len() > RECORD {
                self.flush()?;
            }
            if bytes.len() >= RECORD {
                return write(&self.link, bytes);
            }
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let room = HEADER + RECORD - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if now.len() == room {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// How long the buffer is when nothing has been gathered.
    fn empty(&self) -> usize {
        if self.sealing.is_some() { HEADER } else { 0 }
    }

    /// Makes of what has been gathered the bytes that are written: a sealed record, where they must be. False if it is nothing.
    fn seal(&mut self) -> bool {
        if self.buffer.len() == self.empty() {
            return false;
        }
        if let Some(sealing) = &mut self.sealing {
            let header = ((self.buffer.len() - HEADER + TAG) as u32).to_le_bytes();
            let tag = sealing.seal(&header, &mut self.buffer[HEADER..]);
            self.buffer[..HEADER].copy_from_slice(&header);
            self.buffer.extend_from_slice(tag.as_ref());
        }
        true
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

fn write(link: &Link, bytes: &[u8]) -> Result<()> {
    (&link.stream)
        .write_all(bytes)
        .map_err(|e| link.fatal(if timed_out(&e) { NetErrorKind::SlowReader } else { NetErrorKind::Io(Arc::new(e)) }))
}

/// Writes what the socket has room for; how many bytes those were.
fn write_now(link: &Link, bytes: &[u8]) -> Result<usize> {
    loop {
        match send(&link.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(taken) => return Ok(taken),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(link.fatal(NetErrorKind::Io(Arc::new(e.into())))),
        }
    }
}
