//! The read buffer behind every source of lines: bytes come in at one end in pieces of any size, whole lines leave at
//! the other, in windows that are checked for UTF-8 and searched for line ends once.

use crate::{
    line_ends::{Seen, line_ends},
    utf8::decode_lossy,
};
use memchr::{memchr2, memrchr2};
use std::{ops::Range, slice};

/// How much text is checked and searched at a time: it stays in the cache until its lines are used, and a reader that
/// stops and goes on checks at most this much again.
const WINDOW: usize = 64 << 10;
/// The longest line: positions in a window are 32 bits, and replacing bad bytes can make text three times as long.
const MAX_LINE: usize = 1 << 30;

/// A line that is longer than any line may be.
#[derive(Debug)]
pub(crate) struct LineTooLong;

/// Bytes on their way to become lines. Lines end with LF, CR or CRLF.
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// What has been read and not yet become part of a window.
    at: usize,
    have: usize,
    /// The end of the last line that is known to be whole, or `at` or less if there is none.
    whole: usize,
    window: Window,
}

/// The lines being handed out.
struct Window {
    /// Where in the buffer they are, unless `decoded`.
    place: Range<usize>,
    /// Their text, if the bytes were no UTF-8.
    decoded: String,
    /// Where each ends, from the window's start.
    ends: Vec<u32>,
    seen: Seen,
    next: Cursor,
}

/// How far a window's lines have been handed out.
#[derive(Clone, Copy, Default)]
struct Cursor {
    /// The next line.
    line: usize,
    /// Its first byte, from the window's start.
    start: usize,
}

impl LineBuffer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let window = Window {
            place: 0..0,
            decoded: String::new(),
            ends: Vec::new(),
            seen: Seen { carriage_returns: false },
            next: Cursor::default(),
        };
        LineBuffer { bytes: vec![0; bytes.max(16)], at: 0, have: 0, whole: 0, window }
    }

    /// Bytes that have not become part of a window.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.at..self.have]
    }

    /// Forgets the first `n` of the [`Self::pending`] bytes.
    pub(crate) fn skip(&mut self, n: usize) {
        self.at += n;
        debug_assert!(self.at <= self.have);
    }

    /// Room for at least one more byte, at most `wanted`. Ends the current window: its lines are gone.
    pub(crate) fn room(&mut self, wanted: usize) -> Result<&mut [u8], LineTooLong> {
        self.window.ends.clear();
        self.window.next = Cursor::default();
        if self.at > 0 {
            self.bytes.copy_within(self.at..self.have, 0);
            self.have -= self.at;
            self.whole = self.whole.saturating_sub(self.at);
            self.at = 0;
        }
        // A buffer that a long line has all but filled would be refilled in ever smaller pieces.
        if self.bytes.len() - self.have < wanted.min(self.bytes.len() / 4).max(1) {
            if self.bytes.len() >= MAX_LINE {
                return Err(LineTooLong);
            }
            self.bytes.resize((self.bytes.len() * 2).min(MAX_LINE), 0);
        }
        let end = self.bytes.len().min(self.have + wanted.max(1));
        Ok(&mut self.bytes[self.have..end])
    }

    /// Takes note of `n` bytes written into the [`Self::room`].
    pub(crate) fn filled(&mut self, n: usize) {
        // Behind the last whole line there is no line end, except perhaps a CR that may yet become a CRLF.
        let from = self.have.saturating_sub(1).max(self.whole).max(self.at);
        self.have += n;
        debug_assert!(self.have <= self.bytes.len());
        // A CR at the very end waits for what follows.
        let to = self.have - usize::from(self.have > from && self.bytes[self.have - 1] == b'\r');
        if let Some(last) = memrchr2(b'\n', b'\r', &self.bytes[from..to.max(from)]) {
            self.whole = from + last + 1;
        }
    }

    /// The input is over: what is left is the last line.
    pub(crate) fn finished(&mut self) {
        self.whole = self.have;
    }

    /// Only the first `n` pending bytes are to become lines; they end with a line.
    pub(crate) fn end_after(&mut self, n: usize) {
        self.whole = self.at + n;
    }

    /// Whether [`Self::lines`] has any.
    pub(crate) fn has_lines(&self) -> bool {
        self.window.next.line < self.window.ends.len() || self.at < self.whole
    }

    /// The rest of the current window, or the next; `None` if more bytes are needed.
    pub(crate) fn lines(&mut self) -> Option<Lines<'_>> {
        if self.window.next.line == self.window.ends.len() {
            if self.at >= self.whole {
                return None;
            }
            let end = self.window_end();
            self.window.open(&self.bytes, self.at..end);
            self.at = end;
        }
        Some(self.window.lines(&self.bytes))
    }

    /// Where the window that starts at `at` ends: after the last line that fits into it, or the first if none does.
    fn window_end(&self) -> usize {
        if self.whole - self.at <= WINDOW {
            return self.whole;
        }
        let limit = self.at + WINDOW;
        match memrchr2(b'\n', b'\r', &self.bytes[self.at..limit]) {
            Some(last) => end_of(&self.bytes[..self.whole], self.at + last),
            None => match memchr2(b'\n', b'\r', &self.bytes[limit..self.whole]) {
                Some(first) => end_of(&self.bytes[..self.whole], limit + first),
                None => self.whole,
            },
        }
    }
}

/// The first byte after the line end at `at`, which is two bytes long for a CRLF.
pub(crate) fn end_of(bytes: &[u8], at: usize) -> usize {
    at + if bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n') { 2 } else { 1 }
}

impl Window {
    fn open(&mut self, bytes: &[u8], place: Range<usize>) {
        let raw = &bytes[place.clone()];
        self.next = Cursor::default();
        self.place = place;
        self.decoded.clear();
        if simdutf8::basic::from_utf8(raw).is_err() {
            decode_lossy(raw, &mut self.decoded);
        }
        let text = if self.decoded.is_empty() { raw } else { self.decoded.as_bytes() };
        self.seen = line_ends(text, &mut self.ends);
    }

    fn lines<'a>(&'a mut self, bytes: &'a [u8]) -> Lines<'a> {
        let text = if self.decoded.is_empty() {
            simdutf8::basic::from_utf8(&bytes[self.place.clone()]).unwrap_or_default()
        } else {
            &self.decoded
        };
        let Cursor { line, start } = self.next;
        let ends = self.ends[line..].iter();
        Lines {
            text,
            start,
            ends,
            carriage_returns: self.seen.carriage_returns,
            all: self.ends.len(),
            back: &mut self.next,
        }
    }
}

/// Some consecutive lines, without their ends, lent from the read buffer.
///
/// Dropped before its end, it gives the rest back: the source's next `lines()` continues with the line after the last one
/// that was taken. [`ExactSizeIterator::len`] counts what is left without looking at it.
#[must_use = "an iterator over lines does nothing until it is driven"]
pub struct Lines<'a> {
    text: &'a str,
    start: usize,
    ends: slice::Iter<'a, u32>,
    carriage_returns: bool,
    all: usize,
    back: &'a mut Cursor,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    #[inline(always)]
    fn next(&mut self) -> Option<&'a str> {
        let end = *self.ends.next()? as usize;
        let line = &self.text[self.start..end];
        self.start = end + 1;
        if self.carriage_returns && self.text.as_bytes()[end..].starts_with(b"\r\n") {
            self.start = end + 2;
        }
        Some(line)
    }

    #[inline(always)]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Lines<'_> {}

impl Drop for Lines<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        *self.back = Cursor { line: self.all - self.ends.len(), start: self.start };
    }
}
