//! Reads the lines of one split.

use crate::{
    Lines, TextSplit,
    codec::{self, Codec, GzipReader},
    line_buffer::{LineBuffer, end_of},
};
use firesteel_model::{Error, Result};
use memchr::memchr2;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// How much is read at a time.
const CHUNK: usize = 256 << 10;
/// How much is read at first beyond a split's end, where the rest of its last line is; doubled until that ends.
const OVERSHOOT: usize = 4 << 10;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The lines of one split, in order, without their ends (LF, CR, CRLF). Nothing is allocated per line.
///
/// A byte order mark at the start of the file is dropped; bytes that are not UTF-8 become U+FFFD (see
/// [`decode_utf8`](crate::decode_utf8)). A reader can stop after any line and go on later: see [`LineReader::lines`].
pub struct LineReader {
    path: Arc<Path>,
    source: Source,
    buffer: LineBuffer,
    /// The position in the text of the first byte that is not in the buffer yet.
    position: u64,
    /// No line that starts after this position is ours.
    end: u64,
    phase: Phase,
    /// How long the byte order mark was that has been dropped: the first line starts before it.
    mark: u64,
    overshoot: usize,
    bytes_read: u64,
}

enum Source {
    Plain(File),
    Gzip(Box<GzipReader>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has been read: the byte order mark may come.
    Start,
    /// In a line that belongs to the split before.
    Foreign,
    Lines,
    /// Everything that is ours is in the buffer.
    Last,
}

impl LineReader {
    /// Opens a split's file. Reads nothing yet.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened; [`Error::Path`] for a codec that cannot be read.
    pub fn open(split: &TextSplit) -> Result<LineReader> {
        let file = File::open(&split.path).map_err(|e| Error::io("open", split.path.display(), e))?;
        let (source, start, end) = match codec::of_file(&split.path)? {
            Codec::None => (Source::Plain(file), split.start, split.end()),
            // Positions are those in the text, of which there is no telling how much will come.
            Codec::Gzip => (Source::Gzip(Box::new(GzipReader::new(file))), 0, u64::MAX),
        };
        let expected = usize::try_from(end - start).unwrap_or(CHUNK).saturating_add(OVERSHOOT);
        Ok(LineReader {
            path: split.path.clone(),
            source,
            buffer: LineBuffer::with_capacity(expected.min(CHUNK)),
            position: start,
            end,
            phase: if start == 0 { Phase::Start } else { Phase::Foreign },
            mark: 0,
            overshoot: OVERSHOOT,
            bytes_read: 0,
        })
    }

    /// The next lines: what is left of those last handed out, else a window of more, reading the file if need be. `None`
    /// at the split's end, and then for ever. What it returns is never empty.
    ///
    /// This is made for sources that push: drive the lines in a plain loop, and leave it to stop.
    ///
    /// ```
    /// # fn main() -> firesteel_model::Result<()> {
    /// # use firesteel_io::{LineReader, TextSplit};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("x");
    /// # std::fs::write(&path, "a\nb\nc").unwrap();
    /// # let mut reader = LineReader::open(&TextSplit { path: path.into(), start: 0, len: 5 })?;
    /// /// Pushes lines until `push` has had enough (`Ok(false)`) or none is left (`Ok(true)`).
    /// fn drive(reader: &mut LineReader, mut push: impl FnMut(&str) -> bool) -> firesteel_model::Result<bool> {
    ///     while let Some(lines) = reader.lines()? {
    ///         for line in lines {
    ///             if !push(line) {
    ///                 return Ok(false);
    ///             }
    ///         }
    ///     }
    ///     Ok(true)
    /// }
    /// let mut first = Vec::new();
    /// assert!(!drive(&mut reader, |line| { first.push(line.to_string()); first.len() < 2 })?);
    /// assert_eq!(first, ["a", "b"]);
    /// let mut rest = Vec::new();
    /// assert!(drive(&mut reader, |line| { rest.push(line.to_string()); true })?);
    /// assert_eq!(rest, ["c"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] names the file: it cannot be read, is shorter than when it was listed, is a damaged or cut-short
    /// `.gz`, or has a line of more than 1 GiB.
    pub fn lines(&mut self) -> Result<Option<Lines<'_>>> {
        // Asked twice because a borrow that is returned from inside the loop would last for all of it.
        while !self.buffer.has_lines() {
            if self.phase == Phase::Last {
                return Ok(None);
            }
            self.fill()?;
        }
        Ok(self.buffer.lines())
    }

    /// How many bytes have been read from the file so far, as stored: compressed ones if it is compressed. Every split
    /// reads a little beyond its end.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn error(&self, e: io::Error) -> Error {
        Error::io("read", self.path.display(), e)
    }

    /// Reads once, and finds out which of the bytes in the buffer are whole lines of ours.
    fn fill(&mut self) -> Result<()> {
        let n = self.read()?;
        let over = n == 0;
        if over && self.position < self.end && matches!(self.source, Source::Plain(_)) {
            let what = format!("ends at byte {}, was longer when it was listed: it has been changed", self.position);
            return Err(self.error(io::Error::new(io::ErrorKind::UnexpectedEof, what)));
        }
        if over {
            self.buffer.finished();
        }
        if self.phase == Phase::Start {
            let head = self.buffer.pending();
            if head.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(head) && !over {
                return Ok(());
            }
            if head.starts_with(BYTE_ORDER_MARK) {
                self.buffer.skip(BYTE_ORDER_MARK.len());
                self.mark = BYTE_ORDER_MARK.len() as u64;
            }
            self.phase = Phase::Lines;
        }
        if self.phase == Phase::Foreign {
            self.skip_foreign(over);
        }
        if self.phase == Phase::Lines {
            self.find_last(over);
        }
        if over {
            self.phase = Phase::Last;
        }
        Ok(())
    }

    /// Forgets the line that the split before reads to its end.
    fn skip_foreign(&mut self, over: bool) {
        let pending = self.buffer.pending();
        let open_cr = pending.last() == Some(&b'\r') && !over;
        match memchr2(b'\n', b'\r', pending) {
            Some(at) if !(open_cr && at + 1 == pending.len()) => {
                self.buffer.skip(end_of(pending, at));
                self.phase = Phase::Lines;
            }
            // The CR stays until it is known whether a LF follows.
            Some(at) => self.buffer.skip(at),
            None => self.buffer.skip(pending.len()),
        }
        if self.position - self.buffer.pending().len() as u64 > self.end {
            self.buffer.skip(self.buffer.pending().len());
            self.phase = Phase::Last;
        }
    }

    /// If the line that is the last of ours ends in the buffer, nothing after it is wanted.
    fn find_last(&mut self, over: bool) {
        let pending = self.buffer.pending();
        let start = self.position - pending.len() as u64;
        let first = if start == self.mark { 0 } else { start };
        // The last of our lines is the one that has byte `end` in it or ends just before it.
        let from = usize::try_from(self.end.saturating_sub(start)).unwrap_or(usize::MAX);
        if first > self.end {
            self.buffer.end_after(0);
            self.phase = Phase::Last;
        } else if let Some(at) = pending.get(from..).and_then(|rest| memchr2(b'\n', b'\r', rest)) {
            let last = end_of(pending, from + at);
            if last < pending.len() || over || pending[last - 1] == b'\n' {
                self.buffer.end_after(last);
                self.phase = Phase::Last;
            }
        }
    }

    fn read(&mut self) -> Result<usize> {
        let before_end = self.end.saturating_sub(self.position);
        let wanted = usize::try_from(before_end).unwrap_or(CHUNK).saturating_add(self.overshoot).min(CHUNK);
        if before_end == 0 {
            self.overshoot = (self.overshoot * 2).min(CHUNK);
        }
        let room = self.buffer.room(wanted).map_err(|_| {
            let what = format!("the line before byte {} is longer than 1 GiB", self.position);
            Error::io("read", self.path.display(), io::Error::new(io::ErrorKind::InvalidData, what))
        })?;
        let n = loop {
            let read = match &mut self.source {
                Source::Plain(file) => file.read_at(room, self.position),
                Source::Gzip(gzip) => gzip.read(room),
            };
            match read {
                Ok(n) => break n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error(e)),
            }
        };
        self.buffer.filled(n);
        self.position += n as u64;
        match &self.source {
            Source::Plain(_) => self.bytes_read += n as u64,
            Source::Gzip(gzip) => self.bytes_read = gzip.bytes_read(),
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode_utf8, list_inputs, text_splits};
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::{fs, io::Write};
    use tempfile::TempDir;

    fn reader(path: &Path, start: u64, len: u64) -> LineReader {
        LineReader::open(&TextSplit { path: path.into(), start, len }).unwrap()
    }

    fn all(mut reader: LineReader) -> Result<Vec<String>> {
        let mut out = Vec::new();
        while let Some(lines) = reader.lines()? {
            assert!(lines.len() > 0);
            out.extend(lines.map(str::to_string));
        }
        assert!(reader.lines()?.is_none());
        Ok(out)
    }

    fn stored(bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    /// The lines of a file, told byte by byte.
    fn expected(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut lines = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() {
            let end = match &bytes[at..] {
                [b'\r', b'\n', ..] => 2,
                [b'\r' | b'\n', ..] => 1,
                _ => 0,
            };
            if end > 0 {
                lines.push((start, at));
            }
            at += end.max(1);
            if end > 0 {
                start = at;
            }
        }
        if start < bytes.len() {
            lines.push((start, bytes.len()));
        }
        let mut out = Vec::new();
        for (from, to) in lines {
            let mut line = &bytes[from..to];
            if from == 0 && line.starts_with(BYTE_ORDER_MARK) {
                line = &line[3..];
                if bytes.len() == 3 {
                    continue;
                }
            }
            out.push((from as u64, decode_utf8(line.to_vec())));
        }
        out
    }

    fn texts(lines: Vec<(u64, String)>) -> Vec<String> {
        lines.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        for (text, lines) in [
            ("", &[][..]),
            ("\n", &[""]),
            ("\r", &[""]),
            ("\r\n", &[""]),
            ("\n\r", &["", ""]),
            ("a", &["a"]),
            ("a\nb\r\nc\rd", &["a", "b", "c", "d"]),
            ("a\n\nb\n", &["a", "", "b"]),
            ("\r\r\n\n", &["", "", ""]),
            ("a\0\x0b\x0c\u{85}\u{2028}b", &["a\0\x0b\x0c\u{85}\u{2028}b"]),
        ] {
            let (_dir, path) = stored(text.as_bytes());
            assert_eq!(all(reader(&path, 0, text.len() as u64)).unwrap(), lines, "{text:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_dropped_at_the_start_alone() {
        for (text, lines) in [
            ("\u{feff}a\n\u{feff}b", vec!["a", "\u{feff}b"]),
            ("\u{feff}\u{feff}", vec!["\u{feff}"]),
            ("\u{feff}", vec![]),
            ("\u{feff}\n", vec![""]),
        ] {
            let (_dir, path) = stored(text.as_bytes());
            assert_eq!(all(reader(&path, 0, text.len() as u64)).unwrap(), lines);
            for cut in 1..text.len() as u64 {
                let mut both = all(reader(&path, 0, cut)).unwrap();
                both.extend(all(reader(&path, cut, text.len() as u64 - cut)).unwrap());
                assert_eq!(both, lines, "{text:?} cut at {cut}");
            }
        }
        let (_dir, path) = stored(b"\xef\xbb");
        assert_eq!(all(reader(&path, 0, 2)).unwrap(), ["\u{fffd}"]);
    }

    #[test]
    fn a_line_that_starts_at_a_cut_belongs_to_the_split_before() {
        let (_dir, path) = stored(b"ab\ncd\nef\n");
        assert_eq!(all(reader(&path, 0, 3)).unwrap(), ["ab", "cd"]);
        assert_eq!(all(reader(&path, 3, 3)).unwrap(), ["ef"]);
        assert_eq!(all(reader(&path, 6, 3)).unwrap(), [""; 0]);
    }

    #[test]
    fn lines_longer_than_any_buffer_come_whole() {
        let mut text = Vec::new();
        for (i, len) in [0, 1, 70_000, CHUNK - 1, CHUNK, 3, CHUNK + 1, 5 * CHUNK, 10].into_iter().enumerate() {
            text.extend(std::iter::repeat_n(b'a' + i as u8, len));
            text.extend_from_slice([&b"\n"[..], b"\r\n", b"\r"][i % 3]);
        }
        let (_dir, path) = stored(&text);
        let size = text.len() as u64;
        assert_eq!(all(reader(&path, 0, size)).unwrap(), texts(expected(&text)));
        for parts in [2, 3, 7, 50] {
            let mut lines = Vec::new();
            for i in 0..parts {
                let (from, to) = (size * i / parts, size * (i + 1) / parts);
                lines.extend(all(reader(&path, from, to - from)).unwrap());
            }
            assert_eq!(lines, texts(expected(&text)));
        }
    }

    #[test]
    fn line_ends_at_the_border_of_a_chunk_or_window_are_one_end() {
        for end in [&b"\r\n"[..], b"\r", b"\n", b"\r\r\n"] {
            for border in [64 << 10, CHUNK] {
                for before in border - 3..=border {
                    let text = [&vec![b'x'; before][..], end, b"y\r\nz"].concat();
                    let (_dir, path) = stored(&text);
                    let got = all(reader(&path, 0, text.len() as u64)).unwrap();
                    assert_eq!(got, texts(expected(&text)), "{end:?} at {before}");
                }
            }
        }
    }

    #[test]
    fn a_small_split_of_a_large_file_reads_little() {
        let text = b"0123456789abcde\n".repeat(1 << 16);
        let (_dir, path) = stored(&text);
        let mut one = reader(&path, 1000, 1000);
        while let Some(lines) = one.lines().unwrap() {
            lines.for_each(drop);
        }
        assert!(one.bytes_read() <= 1000 + 2 * OVERSHOOT as u64, "{}", one.bytes_read());
        let mut whole = reader(&path, 0, text.len() as u64);
        while let Some(lines) = whole.lines().unwrap() {
            lines.for_each(drop);
        }
        assert_eq!(whole.bytes_read(), text.len() as u64);
    }

    #[test]
    fn a_split_inside_one_long_line_does_not_read_to_its_end() {
        let (_dir, path) = stored(&vec![b'x'; 8 * CHUNK]);
        let mut inside = reader(&path, 10, CHUNK as u64);
        assert!(inside.lines().unwrap().is_none());
        assert!(inside.bytes_read() <= 2 * CHUNK as u64);
    }

    #[test]
    fn a_file_that_shrank_since_it_was_listed_is_an_error() {
        let (_dir, path) = stored(b"one\ntwo\n");
        let text = all(reader(&path, 0, 100)).unwrap_err().to_string();
        assert!(text.contains("text") && text.contains("changed"), "{text}");
        assert!(all(reader(&path, 50, 100)).is_err());
    }

    #[test]
    fn missing_files_are_named() {
        let split = TextSplit { path: Path::new("/no/such/file").into(), start: 0, len: 1 };
        assert!(LineReader::open(&split).err().unwrap().to_string().contains("/no/such/file"));
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gz_files_are_one_split_with_all_their_members() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gz");
        let text: String = (0..200_000).map(|i| format!("line {i}\n")).collect();
        let (head, tail) = text.as_bytes().split_at(777_777);
        fs::write(&path, [gzip(b"\xef\xbb\xbf"), gzip(head), gzip(b""), gzip(tail)].concat()).unwrap();
        let splits = text_splits(&list_inputs(path.to_str().unwrap()).unwrap(), 10);
        assert_eq!(splits.len(), 1);
        let mut reader = LineReader::open(&splits[0]).unwrap();
        let mut expected = text.lines();
        while let Some(lines) = reader.lines().unwrap() {
            lines.for_each(|line| assert_eq!(Some(line), expected.next()));
        }
        assert_eq!(expected.next(), None);
        assert_eq!(reader.bytes_read(), splits[0].len);
    }

    #[test]
    fn a_damaged_gz_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gz");
        let text: String = (0..50_000u64).map(|i| format!("{}\n", i * i)).collect();
        let whole = [gzip(b"first\n"), gzip(text.as_bytes())].concat();
        for cut in [1, 5, 12, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            let got = all(reader(&path, 0, cut as u64)).unwrap_err().to_string();
            assert!(got.contains("x.gz") && got.contains("damaged"), "{cut}: {got}");
        }
        let mut wrong = whole.clone();
        let at = wrong.len() - 6;
        wrong[at] ^= 1;
        for bytes in [&wrong[..], b"no gzip at all"] {
            fs::write(&path, bytes).unwrap();
            assert!(all(reader(&path, 0, 1)).is_err());
        }
    }

    fn mixed_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![&b"\n"[..], b"\r", b"\r\n", b"\n\r"]).prop_map(<[u8]>::to_vec),
            3 => prop::sample::select(vec![&b"a"[..], b"bc", "é".as_bytes(), "\u{feff}".as_bytes(), b"\xed\xa0\x80", b"\xff"])
                .prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..12),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn each_line_is_read_once_wherever_the_cuts_fall(text in mixed_text(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let (_dir, path) = stored(&text);
            let mut borders: Vec<u64> = cuts.iter().map(|cut| cut.index(text.len() + 1) as u64).collect();
            borders.extend([0, text.len() as u64]);
            borders.sort_unstable();
            borders.dedup();
            for part in borders.windows(2) {
                let mine = expected(&text).into_iter().filter(|(at, _)| (*at > part[0] || *at == 0 && part[0] == 0) && *at <= part[1]);
                prop_assert_eq!(all(reader(&path, part[0], part[1] - part[0])).unwrap(), texts(mine.collect()));
            }
        }

        #[test]
        fn stopping_anywhere_loses_and_repeats_nothing(text in mixed_text(), stops in prop::collection::vec(0usize..5, 1..8)) {
            let (_dir, path) = stored(&text);
            let mut reader = reader(&path, 0, text.len() as u64);
            let mut got = Vec::new();
            for stop in stops.into_iter().cycle() {
                let Some(lines) = reader.lines().unwrap() else { break };
                let left = lines.len();
                let before = got.len();
                got.extend(lines.take(stop + 1).map(str::to_string));
                prop_assert_eq!(got.len() - before, left.min(stop + 1));
            }
            prop_assert_eq!(got, texts(expected(&text)));
        }

        #[test]
        fn hostile_splits_never_panic(start in prop_oneof![0u64..20, any::<u64>()], len in prop_oneof![0u64..20, any::<u64>()], zip in any::<bool>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(if zip { "x.gz" } else { "x" });
            fs::write(&path, if zip { gzip(b"a\nb\r\n\rc") } else { b"a\nb\r\n\rc".to_vec() }).unwrap();
            let _ = all(reader(&path, start, len));
        }

        #[test]
        fn hostile_gz_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), real in any::<bool>(), at in any::<prop::sample::Index>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.gz");
            let mut stored = if real { gzip(&bytes) } else { [&[0x1f, 0x8b, 8][..], &bytes].concat() };
            let at = at.index(stored.len());
            stored[at] ^= 0x10;
            fs::write(&path, &stored).unwrap();
            let _ = all(reader(&path, 0, stored.len() as u64));
        }
    }
}
