//! The shuffle service: it serves the files of executors that have died, to executors of the same application.
//!
//! An executor writes its map outputs into folders that whoever started it gives it for that (see [`ShuffleFolders`]), and that stay until its
//! application ends. What is in them, only the program knows: asked for are ranges of bytes, and what comes is checked by who reads it.
//! So this protocol is small, and understood by programs of other releases: JSON as [`crate::protocol`]'s, and bytes.
//!
//! Each application has a service of its own on each machine, whose secret is the application's.
//!
//! [`ShuffleFolders`]: crate::role::ShuffleFolders

use crate::{
    guests::served,
    protocol::{self, Heard, encode, receive},
};
use firesteel_model::{Error, ExecutorId, Result};
use firesteel_net::{Connection, FrameReader, FrameWriter, Hello, Listener, NetError, Options, Secret, connect};
use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What the protocol is called, and its version.
const PROTOCOL: (&str, u32) = ("firesteel-shuffle-service", 1);
/// Bytes are sent in frames of so many.
const FRAME: usize = 64 << 10;
/// So many are served at a time, a thread each.
const MOST_GUESTS: usize = 1024;
/// A reader that takes nothing, or asks for nothing, for so long is left.
const SILENCE: Duration = Duration::from_secs(60);

/// A range of a file's bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bytes {
    /// In which of the executor's folders the file is.
    pub folder: u32,
    /// The file's path there.
    pub file: String,
    /// The first byte.
    pub from: u64,
    /// The one after the last; none for all that there are.
    #[serde(default)]
    pub to: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// These bytes of an executor's files, each after its own answer.
    Read { executor: ExecutorId, ranges: Vec<Bytes> },
    /// Nobody will read an executor's files any more.
    Remove(ExecutorId),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// So many bytes follow. A frame without any says that no more can be read, and ends the connection.
    Bytes(u64),
    /// They are not there; why.
    Missing(String),
    Removed,
    Refused(String),
}

/// Serves the files of one application's executors until it is dropped.
#[derive(Debug)]
pub struct ShuffleService(Listener);

impl ShuffleService {
    /// Listens on `address` (port 0 for a free one). In each of `folders`, in the order of [`Bytes::folder`], an executor has a folder of
    /// its own: [`folder_of`].
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn start(address: SocketAddr, secret: &Secret, folders: Vec<PathBuf>) -> Result<ShuffleService> {
        let serve = move |connection: Connection| {
            let peer = connection.peer().to_string();
            if let Err(e) = (Shelf { folders: &folders, open: None }).serve(connection) {
                tracing::debug!("serving map outputs to {peer}: {e}");
            }
        };
        let serve = served("firesteel-shuffle-service", MOST_GUESTS, serve);
        // Readers open another connection if one has rested for longer.
        let options = Options { read_timeout: Some(SILENCE), ..options() };
        let listener = Listener::bind(address, Some(secret), &hello(), &options, serve);
        listener.map(ShuffleService).map_err(|e| Error::Other(Arc::new(e)))
    }

    /// At which port it listens.
    pub fn port(&self) -> u16 {
        self.0.local_addr().port()
    }
}

/// The folder that an executor has in one of its application's.
pub fn folder_of(folder: &Path, executor: ExecutorId) -> PathBuf {
    folder.join(executor.to_string())
}

fn hello() -> Hello {
    Hello::new(PROTOCOL.0, PROTOCOL.1)
}

fn options() -> Options {
    Options { write_timeout: SILENCE, ..protocol::options(None) }
}

/// What one connection is served from.
struct Shelf<'a> {
    folders: &'a [PathBuf],
    /// The file that was read last: most ranges that are asked for together are of the same. None between two questions.
    open: Option<(ExecutorId, u32, String, File)>,
}

impl Shelf<'_> {
    fn serve(&mut self, connection: Connection) -> std::result::Result<(), NetError> {
        let (mut reader, mut writer) = connection.split();
        let (mut frame, mut buffer) = (Vec::new(), vec![0; FRAME]);
        loop {
            match receive(&mut reader, &mut frame) {
                Heard::Message(Ask::Read { executor, ranges }) => {
                    for range in &ranges {
                        if !self.give(executor, range, &mut writer, &mut buffer)? {
                            return writer.flush();
                        }
                    }
                }
                Heard::Message(Ask::Remove(executor)) => {
                    for folder in self.folders.iter().map(|folder| folder_of(folder, executor)) {
                        remove(&folder);
                    }
                    say(&mut writer, &Answer::Removed)?;
                }
                Heard::Unknown(why) => say(&mut writer, &Answer::Refused(why))?,
                Heard::End(_) => return Ok(()),
            }
            self.open = None;
            writer.flush()?;
        }
    }

    /// Sends a range; false if it ended in the middle.
    fn give(
        &mut self,
        executor: ExecutorId,
        range: &Bytes,
        writer: &mut FrameWriter,
        buffer: &mut [u8],
    ) -> std::result::Result<bool, NetError> {
        let (file, to) = match self.find(executor, range) {
            Ok(found) => found,
            Err(e) => {
                let why = format!("{} of executor {executor} cannot be read: {e}", range.file);
                return say(writer, &Answer::Missing(why)).map(|()| true);
            }
        };
        say(writer, &Answer::Bytes(to - range.from))?;
        let mut at = range.from;
        while at < to {
            let step = (to - at).min(FRAME as u64) as usize;
            if let Err(e) = file.read_exact_at(&mut buffer[..step], at) {
                tracing::warn!("{} of executor {executor} ends at byte {at}, not {to}: {e}", range.file);
                return writer.send(&[]).map(|()| false);
            }
            writer.send(&[&buffer[..step]])?;
            at += step as u64;
        }
        Ok(true)
    }

    /// The file, and where the range ends.
    fn find(&mut self, executor: ExecutorId, range: &Bytes) -> io::Result<(&File, u64)> {
        let Bytes { folder, file, from, to } = range;
        if self.open.as_ref().is_none_or(|(of, at, name, _)| (of, at, name) != (&executor, folder, file)) {
            let at = self.folders.get(*folder as usize).ok_or(io::ErrorKind::NotFound)?;
            let opened = open(&folder_of(at, executor), file)?;
            self.open = Some((executor, *folder, file.clone(), opened));
        }
        let (.., file) = self.open.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let length = file.metadata()?.len();
        let to = to.unwrap_or(length);
        if *from > to || to > length {
            return Err(io::Error::other(format!("it has {length} bytes, and bytes {from} to {to} are asked for")));
        }
        Ok((file, to))
    }
}

/// Opens a file below a folder; nothing that a link leads to.
fn open(folder: &Path, file: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(CWD, folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    let mut names = file.split('/').peekable();
    while let Some(name) = names.next() {
        if matches!(name, "" | "." | "..") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path below a folder"));
        }
        // What is no file must not be waited for.
        let kind = if names.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
        at = rustix::fs::openat(&at, name, flags | kind, Mode::empty())?;
    }
    let file = File::from(at);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
    }
}

fn remove(folder: &Path) {
    if let Err(e) = fs::remove_dir_all(folder)
        && e.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("{} stays: {e}", folder.display());
    }
}

fn say(writer: &mut FrameWriter, answer: &Answer) -> std::result::Result<(), NetError> {
    writer.send(&[&encode(answer)])
}

/// A connection to a service. Dropped after an error: what would come next is not known.
#[derive(Debug)]
pub struct ShuffleReader {
    reader: FrameReader,
    writer: FrameWriter,
}

/// Why bytes do not come.
#[derive(Debug)]
pub enum Unserved {
    /// They are not there.
    Missing(String),
    /// The service does not answer.
    Silent(String),
}

fn silent(e: NetError) -> Unserved {
    Unserved::Silent(e.to_string())
}

impl ShuffleReader {
    /// Connects to the service at `address`, which may say nothing for so long.
    ///
    /// # Errors
    /// As [`connect`].
    pub fn connect(address: &str, secret: &Secret, silence: Duration) -> std::result::Result<ShuffleReader, NetError> {
        let options = options().within(silence);
        let (reader, writer) = connect(address, Some(secret), &hello(), &options)?.split();
        Ok(ShuffleReader { reader, writer })
    }

    /// Asks for ranges of an executor's files. Each is answered ([`answer`](ShuffleReader::answer)), one after another.
    ///
    /// # Errors
    /// [`Unserved::Silent`].
    pub fn ask(&mut self, executor: ExecutorId, ranges: Vec<Bytes>) -> std::result::Result<(), Unserved> {
        self.send(&Ask::Read { executor, ranges })
    }

    /// How many bytes the next range has that was asked for; they come in [frames](ShuffleReader::frame).
    ///
    /// # Errors
    /// [`Unserved::Missing`] if they are not there; what was asked for after them comes all the same.
    pub fn answer(&mut self) -> std::result::Result<u64, Unserved> {
        match self.receive()? {
            Answer::Bytes(bytes) => Ok(bytes),
            Answer::Missing(why) => Err(Unserved::Missing(why)),
            other => Err(Unserved::Silent(format!("it answered {other:?}"))),
        }
    }

    /// The next bytes of a range, `left` at most.
    ///
    /// # Errors
    /// [`Unserved::Missing`] if there are no more in the file.
    pub fn frame(&mut self, frame: &mut Vec<u8>, left: u64) -> std::result::Result<(), Unserved> {
        match self.reader.recv(frame) {
            Ok(true) if frame.is_empty() => Err(Unserved::Missing("its file ends too early".into())),
            Ok(true) if frame.len() as u64 <= left => Ok(()),
            Ok(true) => Err(Unserved::Silent("it sent more than it said".into())),
            Ok(false) => Err(Unserved::Silent("it ended the connection".into())),
            Err(e) => Err(silent(e)),
        }
    }

    /// All bytes of the next range that was asked for, if they are not more than `most`.
    ///
    /// # Errors
    /// As [`answer`](ShuffleReader::answer) and [`frame`](ShuffleReader::frame).
    pub fn whole(&mut self, most: u64) -> std::result::Result<Vec<u8>, Unserved> {
        let length = self.answer()?;
        if length > most {
            return Err(Unserved::Silent(format!("it has {length} bytes, and {most} are the most that there can be")));
        }
        let (mut bytes, mut frame) = (Vec::new(), Vec::new());
        while (bytes.len() as u64) < length {
            self.frame(&mut frame, length - bytes.len() as u64)?;
            bytes.extend_from_slice(&frame);
        }
        Ok(bytes)
    }

    /// Has an executor's files removed, which nobody will read any more.
    ///
    /// # Errors
    /// [`Unserved::Silent`].
    pub fn remove(&mut self, executor: ExecutorId) -> std::result::Result<(), Unserved> {
        self.send(&Ask::Remove(executor))?;
        match self.receive()? {
            Answer::Removed => Ok(()),
            other => Err(Unserved::Silent(format!("it answered {other:?}"))),
        }
    }

    fn send(&mut self, ask: &Ask) -> std::result::Result<(), Unserved> {
        self.writer.send(&[&encode(ask)]).and_then(|()| self.writer.flush()).map_err(silent)
    }

    fn receive(&mut self) -> std::result::Result<Answer, Unserved> {
        match receive(&mut self.reader, &mut Vec::new()) {
            Heard::Message(answer) => Ok(answer),
            Heard::Unknown(why) | Heard::End(why) => Err(Unserved::Silent(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    const E: ExecutorId = ExecutorId(4);

    fn secret() -> Secret {
        Secret::from_bytes(&[7; 32]).unwrap()
    }

    /// Two folders; the executor's file `a/b` in the second has 200,000 bytes.
    fn service() -> ([TempDir; 2], ShuffleService, Vec<u8>) {
        let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let folders: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().into()).collect();
        let its = folder_of(&folders[1], E).join("a");
        fs::create_dir_all(&its).unwrap();
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
        fs::write(its.join("b"), &bytes).unwrap();
        let service = ShuffleService::start("127.0.0.1:0".parse().unwrap(), &secret(), folders).unwrap();
        (dirs, service, bytes)
    }

    fn reader(service: &ShuffleService) -> ShuffleReader {
        ShuffleReader::connect(&format!("127.0.0.1:{}", service.port()), &secret(), SILENCE).unwrap()
    }

    fn range(folder: u32, file: &str, from: u64, to: Option<u64>) -> Bytes {
        Bytes { folder, file: file.into(), from, to }
    }

    #[test]
    fn ranges_come_in_the_order_in_which_they_are_asked_for_and_missing_ones_cost_no_others() {
        let (dirs, service, bytes) = service();
        let mut reader = reader(&service);
        let asked = vec![
            range(1, "a/b", 100_000, None),
            range(1, "a/c", 0, None),
            range(1, "a/b", 3, Some(3)),
            range(1, "a/b", 5, Some(200_001)),
            range(1, "a/b", 6, Some(5)),
            range(0, "a/b", 0, None),
            range(7, "a/b", 0, None),
            range(1, "a/b", 1, Some(150_000)),
        ];
        reader.ask(E, asked).unwrap();
        assert!(reader.whole(100_000).unwrap() == bytes[100_000..]);
        assert!(matches!(reader.whole(1), Err(Unserved::Missing(_))));
        assert!(reader.whole(1).unwrap().is_empty());
        for _ in 0..4 {
            assert!(matches!(reader.whole(1), Err(Unserved::Missing(_))));
        }
        assert!(reader.whole(150_000).unwrap() == bytes[1..150_000]);
        // Another executor's.
        reader.ask(ExecutorId(5), vec![range(1, "a/b", 0, None)]).unwrap();
        assert!(matches!(reader.whole(1), Err(Unserved::Missing(_))));
        reader.remove(E).unwrap();
        reader.ask(E, vec![range(1, "a/b", 0, None)]).unwrap();
        assert!(matches!(reader.whole(1), Err(Unserved::Missing(_))));
        assert_eq!(fs::read_dir(dirs[1].path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_outside_the_folder_can_be_read() {
        let (dirs, service, _) = service();
        let its = folder_of(dirs[1].path(), E);
        fs::write(dirs[1].path().join("secret"), "secret").unwrap();
        symlink(dirs[1].path().join("secret"), its.join("link")).unwrap();
        symlink(dirs[1].path(), its.join("folder")).unwrap();
        rustix::fs::mknodat(CWD, its.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let absolute = dirs[1].path().join("secret").display().to_string();
        let mut reader = reader(&service);
        for file in ["../secret", "a/../../secret", "link", "folder/secret", "pipe", "a", "", ".", "/", &absolute] {
            reader.ask(E, vec![range(1, file, 0, None)]).unwrap();
            assert!(matches!(reader.whole(100), Err(Unserved::Missing(_))), "{file}");
        }
    }

    #[test]
    fn who_has_another_secret_is_served_nothing() {
        let (_dirs, service, _) = service();
        let other = Secret::from_bytes(&[8; 32]).unwrap();
        assert!(ShuffleReader::connect(&format!("127.0.0.1:{}", service.port()), &other, SILENCE).is_err());
    }

    #[test]
    fn a_question_of_another_release_is_refused_and_the_next_answered() {
        let (_dirs, service, _) = service();
        let mut reader = reader(&service);
        reader.writer.send(&[br#"{"Sing":{}}"#]).and_then(|()| reader.writer.flush()).unwrap();
        assert!(matches!(reader.receive(), Ok(Answer::Refused(_))));
        reader
            .writer
            .send(&[br#"{"Read":{"executor":4,"ranges":[{"folder":1,"file":"a/b","from":199999,"x":1}]}}"#])
            .unwrap();
        reader.writer.flush().unwrap();
        assert_eq!(reader.whole(1).unwrap(), [(199_999u32 / 7) as u8]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = protocol::decode::<Ask>(&bytes);
            let _ = protocol::decode::<Answer>(&bytes);
        }
    }
}
