//! The receiving half of a connection.

use crate::{
    Closer, NetErrorKind, Result,
    connection::{Link, timed_out},
    keys::{Forged, Sealing, TAG},
    writer::{END, HEADER, RECORD},
};
use std::{
    fmt,
    io::{ErrorKind, Read},
    ops::Range,
    sync::Arc,
};

/// How much is read at a time, at the most: several encrypted records.
const BUFFER: usize = 4 * (HEADER + RECORD + TAG);
/// A frame's buffer grows by so much, or by as much as has arrived, whichever is more.
const STEP: usize = 1 << 20;

/// Receives frames.
pub struct FrameReader {
    link: Arc<Link>,
    bytes: Incoming,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The peer said that no frame follows.
    Finished,
    Failed,
}

impl FrameReader {
    pub(crate) fn new(link: Arc<Link>, sealing: Option<Sealing>) -> FrameReader {
        FrameReader { link, bytes: Incoming::new(sealing), state: State::Open }
    }

    /// Waits for the next frame and puts it into `frame`, whose memory is used again. `false` when the peer said that
    /// none follows ([`FrameWriter::finish`](crate::FrameWriter::finish)).
    ///
    /// However long a frame is said to be, memory is taken as its bytes arrive: at most as much again as came already,
    /// or 1 MiB.
    ///
    /// # Errors
    /// [`CutOff`](NetErrorKind::CutOff) when the connection ended otherwise, perhaps in the middle of a frame,
    /// [`FrameTooLong`](NetErrorKind::FrameTooLong), [`Damaged`](NetErrorKind::Damaged),
    /// [`Silent`](NetErrorKind::Silent) after the read timeout. After an error the connection is closed in both
    /// directions, and what is in `frame` means nothing.
    pub fn recv(&mut self, frame: &mut Vec<u8>) -> Result<bool> {
        match self.state {
            State::Open => {}
            State::Finished => return Ok(false),
            State::Failed => return Err(self.link.error(NetErrorKind::Closed)),
        }
        match recv_frame(&mut self.bytes, &mut &self.link.stream, self.link.max_frame(), frame) {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.state = State::Finished;
                Ok(false)
            }
            Err(kind) => {
                self.state = State::Failed;
                Err(self.link.fatal(kind))
            }
        }
    }

    /// The peer as messages call it.
    pub fn peer(&self) -> &str {
        &self.link.peer
    }

    /// What closes the connection from elsewhere.
    pub fn closer(&self) -> Closer {
        Closer::new(&self.link)
    }
}

/// What [`FrameReader::recv`] does, wherever the bytes are from.
pub(crate) fn recv_frame(
    bytes: &mut Incoming,
    stream: &mut impl Read,
    limit: usize,
    frame: &mut Vec<u8>,
) -> Result<bool, NetErrorKind> {
    let mut header = [0; HEADER];
    bytes.read_exact(stream, &mut header)?;
    let length = u32::from_le_bytes(header);
    if length == END {
        return Ok(false);
    }
    if length as usize > limit {
        return Err(NetErrorKind::FrameTooLong { length: length.into(), limit });
    }
    let length = length as usize;
    let mut arrived = 0;
    while arrived < length {
        let next = length.min(arrived + arrived.max(STEP));
        // What an earlier frame left there is overwritten: zeros are written only where the buffer grows.
        if frame.len() < next {
            frame.reserve_exact(next - frame.len());
            frame.resize(next, 0);
        }
        bytes.read_exact(stream, &mut frame[arrived..next])?;
        arrived = next;
    }
    frame.truncate(length);
    Ok(true)
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader").field("peer", &self.link.peer).finish_non_exhaustive()
    }
}

/// The bytes that the peer sent, decrypted where they are encrypted.
pub(crate) struct Incoming {
    sealing: Option<Sealing>,
    buffer: Box<[u8]>,
    /// What of the buffer can be handed out.
    ready: Range<usize>,
    /// What of the buffer is still sealed.
    sealed: Range<usize>,
}

impl Incoming {
    pub(crate) fn new(sealing: Option<Sealing>) -> Incoming {
        Incoming { sealing, buffer: vec![0; BUFFER].into(), ready: 0..0, sealed: 0..0 }
    }

    /// Fills `out`, or says that the bytes ended before.
    fn read_exact(&mut self, stream: &mut impl Read, mut out: &mut [u8]) -> Result<(), NetErrorKind> {
        while !out.is_empty() {
            if self.ready.is_empty() {
                if self.sealing.is_some() {
                    self.next_record(stream)?;
                } else if out.len() >= self.buffer.len() {
                    let n = read(stream, out)?;
                    out = &mut out[n..];
                    continue;
                } else {
                    self.ready = 0..read(stream, &mut self.buffer)?;
                }
            }
            let n = out.len().min(self.ready.len());
            let (now, later) = out.split_at_mut(n);
            now.copy_from_slice(&self.buffer[self.ready.start..][..n]);
            self.ready.start += n;
            out = later;
        }
        Ok(())
    }

    /// Makes the next record's contents ready.
    fn next_record(&mut self, stream: &mut impl Read) -> Result<(), NetErrorKind> {
        let sealing = self.sealing.as_mut().expect("records are for encrypted connections");
        loop {
            let waiting = &mut self.buffer[self.sealed.clone()];
            let mut needed = HEADER;
            if let Some((header, rest)) = waiting.split_first_chunk_mut::<HEADER>() {
                let length = u32::from_le_bytes(*header) as usize;
                if !(TAG + 1..=RECORD + TAG).contains(&length) {
                    return Err(NetErrorKind::Damaged);
                }
                if let Some(record) = rest.get_mut(..length) {
                    sealing.open(header, record).map_err(|Forged| NetErrorKind::Damaged)?;
                    let start = self.sealed.start + HEADER;
                    self.ready = start..start + length - TAG;
                    self.sealed.start = start + length;
                    return Ok(());
                }
                needed += length;
            }
            if self.sealed.is_empty() || self.sealed.start + needed > self.buffer.len() {
                self.buffer.copy_within(self.sealed.clone(), 0);
                self.sealed = 0..self.sealed.len();
            }
            self.sealed.end += read(stream, &mut self.buffer[self.sealed.end..])?;
        }
    }
}

/// At least one byte, into `out`, which is not empty.
fn read(stream: &mut impl Read, out: &mut [u8]) -> Result<usize, NetErrorKind> {
    loop {
        return match stream.read(out) {
            Ok(0) => Err(NetErrorKind::CutOff),
            Ok(n) => Ok(n),
            Err(e) => Err(match e.kind() {
                ErrorKind::Interrupted => continue,
                _ if timed_out(&e) => NetErrorKind::Silent,
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => NetErrorKind::CutOff,
                _ => NetErrorKind::Io(Arc::new(e)),
            }),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameWriter, NetError, Options};
    use proptest::prelude::*;
    use ring::hkdf::{HKDF_SHA256, Salt};
    use std::{
        io::Write,
        net::{Shutdown, TcpListener, TcpStream},
        time::Duration,
    };

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (here, listener.accept().unwrap().0)
    }

    fn sealing(encrypted: bool) -> Option<Sealing> {
        encrypted.then(|| Sealing::new(&Salt::new(HKDF_SHA256, b"salt").extract(b"a secret of both"), b"test"))
    }

    fn link(stream: TcpStream, max_frame: usize) -> Arc<Link> {
        // A reader that waits for more than there is fails by this, and the test with it.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Link::new(stream, "peer".into(), Options { max_frame, ..Options::default() })
    }

    /// The bytes that a writer makes of frames.
    fn written(frames: &[Vec<u8>], encrypted: bool) -> Vec<u8> {
        let (here, mut there) = pair();
        let mut writer = FrameWriter::new(link(here, 1 << 20), sealing(encrypted));
        for frame in frames {
            writer.send(&[frame]).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap();
        let mut bytes = Vec::new();
        there.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// What a reader makes of bytes: frames, and how they end.
    fn read(bytes: &[u8], encrypted: bool) -> (Vec<Vec<u8>>, Result<bool, NetError>) {
        let (here, mut there) = pair();
        there.write_all(bytes).unwrap();
        there.shutdown(Shutdown::Write).unwrap();
        let mut reader = FrameReader::new(link(here, 1 << 20), sealing(encrypted));
        let (mut frames, mut frame) = (Vec::new(), Vec::new());
        loop {
            match reader.recv(&mut frame) {
                Ok(true) => frames.push(frame.clone()),
                end => {
                    let again = reader.recv(&mut frame);
                    assert_eq!(again.is_err(), end.is_err(), "an end is an end: {again:?}");
                    return (frames, end);
                }
            }
        }
    }

    fn three_frames() -> Vec<Vec<u8>> {
        vec![b"first".to_vec(), vec![], vec![7; 50]]
    }

    #[test]
    fn a_connection_that_is_cut_anywhere_is_told_from_one_that_ended() {
        for encrypted in [false, true] {
            let bytes = written(&three_frames(), encrypted);
            let (frames, end) = read(&bytes, encrypted);
            assert_eq!((frames, end.unwrap()), (three_frames(), false));
            for cut in 0..bytes.len() {
                let (frames, end) = read(&bytes[..cut], encrypted);
                assert!(matches!(end.unwrap_err().kind(), NetErrorKind::CutOff), "cut at {cut}");
                assert_eq!(frames, three_frames()[..frames.len()]);
            }
        }
    }

    #[test]
    fn a_changed_bit_anywhere_in_encrypted_frames_is_an_error() {
        let bytes = written(&three_frames(), true);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let (frames, end) = read(&changed, true);
            let e = end.unwrap_err();
            assert!(matches!(e.kind(), NetErrorKind::Damaged | NetErrorKind::CutOff), "byte {at}: {e}");
            assert_eq!(frames, three_frames()[..frames.len()], "byte {at}");
        }
    }

    #[test]
    fn encrypted_records_that_are_repeated_left_out_or_swapped_are_an_error() {
        let bytes = written(&three_frames(), true);
        let mut records = Vec::new();
        let mut rest = &bytes[..];
        while let Some((header, _)) = rest.split_first_chunk() {
            let (record, after) = rest.split_at(HEADER + u32::from_le_bytes(*header) as usize);
            records.push(record);
            rest = after;
        }
        assert_eq!(records.len(), 4, "a record for each flush");
        for order in [[0, 0, 1, 2, 3].as_slice(), &[1, 2, 3], &[0, 2, 3], &[1, 0, 2, 3]] {
            let bytes: Vec<_> = order.iter().flat_map(|&i| records[i]).copied().collect();
            let (frames, end) = read(&bytes, true);
            assert!(matches!(end.unwrap_err().kind(), NetErrorKind::Damaged), "{order:?}");
            assert_eq!(frames, three_frames()[..frames.len()], "{order:?}");
        }
    }

    #[test]
    fn memory_for_a_frame_is_taken_as_its_bytes_arrive() {
        for arrived in [0, 10, 1 << 20, 3 << 20] {
            let (here, mut there) = pair();
            let limit = 1 << 30;
            let mut reader = FrameReader::new(link(here, limit), None);
            let mut bytes = (limit as u32).to_le_bytes().to_vec();
            bytes.resize(HEADER + arrived, 1);
            let sender = std::thread::spawn(move || there.write_all(&bytes));
            let mut frame = Vec::new();
            assert!(matches!(reader.recv(&mut frame).unwrap_err().kind(), NetErrorKind::CutOff));
            assert!(frame.capacity() <= STEP + 2 * arrived, "{} bytes for {arrived}", frame.capacity());
            sender.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_length() {
        for length in [(1 << 20) + 1, u32::MAX - 1] {
            let (frames, end) = read(&length.to_le_bytes(), false);
            assert!(frames.is_empty());
            let e = end.unwrap_err();
            assert!(
                matches!(e.kind(), NetErrorKind::FrameTooLong { length: l, limit: 1_048_576 } if *l == u64::from(length))
            );
            assert!(e.to_string().starts_with("peer: a frame of"), "{e}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end_in_an_error_or_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300), encrypted: bool) {
            let (frames, end) = read(&bytes, encrypted);
            let contents: usize = frames.iter().map(Vec::len).sum();
            prop_assert!(contents <= bytes.len());
            if encrypted {
                prop_assert!(frames.is_empty() && end.is_err());
            }
        }

        #[test]
        fn short_lengths_in_arbitrary_bytes_end_in_an_error_or_an_end(
            pieces in prop::collection::vec((0u32..40, prop::collection::vec(any::<u8>(), 0..40)), 0..10),
            encrypted: bool,
        ) {
            let bytes: Vec<u8> =
                pieces.iter().flat_map(|(length, bytes)| [&length.to_le_bytes(), bytes.as_slice()].concat()).collect();
            let (frames, end) = read(&bytes, encrypted);
            let contents: usize = frames.iter().map(Vec::len).sum();
            prop_assert!(contents <= bytes.len());
            if encrypted {
                prop_assert!(frames.is_empty() && end.is_err());
            }
        }
    }
}
