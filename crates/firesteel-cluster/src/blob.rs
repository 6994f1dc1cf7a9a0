//! Files that travel by the hash of their contents: programs, and what is to lie beside them.
//!
//! Who has files serves them ([`serve`], [`BlobServer`]): a driver its own program, the master those of drivers that it was brought.
//! Who fetches one ([`fetch`]) checks every byte before the file has a name. A worker and the master keep what they got in a
//! [`Cache`].

use crate::{
    content::{ContentHash, Hashing},
    guests::served,
    protocol::{self, Blob, Caller, Heard, encode, receive},
};
use firesteel_model::{Error, Result};
use firesteel_net::{Connection, FrameReader, FrameWriter, Listener, NetError, Secret, connect};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};
use tempfile::NamedTempFile;

/// A file travels in pieces of this size.
const PIECE: usize = 1 << 20;
/// Who sends no request, and no piece, for so long is sent away.
const SILENCE: Duration = Duration::from_secs(60);
/// So many are served at a time, a thread each.
const MOST_GUESTS: usize = 64;

/// A wish. Pieces follow a `Put` that was answered with `Send`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Wish {
    Get(ContentHash),
    Put(Blob),
}

/// The answer. Pieces follow `Found`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Found { length: u64 },
    Send,
    Stored,
    Refused(String),
}

/// Where files are.
pub trait Shelf: Send + Sync + 'static {
    /// The file of these contents, and how many bytes it has; none if it is not here.
    ///
    /// # Errors
    /// If it is here and cannot be read, or is no longer what it was.
    fn open(&self, hash: ContentHash) -> Result<Option<(File, u64)>>;

    /// Keeps a file that `bring` writes, unless it is here.
    ///
    /// # Errors
    /// If this shelf takes no files, and what `bring` says.
    fn put(&self, blob: Blob, bring: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()>;
}

/// Files that are offered to whoever fetches them, and no others.
#[derive(Debug, Default)]
pub struct Offer(BTreeMap<ContentHash, (File, u64)>);

impl Offer {
    /// Adds a file as it is now: a path that is given to another file later changes nothing. Costs reading it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn add(&mut self, path: &Path) -> Result<Blob> {
        let failed = |e| Error::io("read", path.display(), e);
        let file = File::open(path).map_err(failed)?;
        let (hash, length) = ContentHash::of(&file).map_err(failed)?;
        self.0.insert(hash, (file, length));
        Ok(Blob { hash, length })
    }
}

impl Shelf for Offer {
    fn open(&self, hash: ContentHash) -> Result<Option<(File, u64)>> {
        let Some((file, length)) = self.0.get(&hash) else { return Ok(None) };
        let file = file.try_clone().map_err(|e| Error::io("read", format!("the file {hash}"), e))?;
        Ok(Some((file, *length)))
    }

    fn put(&self, blob: Blob, _: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()> {
        Err(Error::Config(format!("a driver takes no files, so not {}", blob.hash)))
    }
}

/// Serves files on an address of its own until it is dropped.
#[derive(Debug)]
pub struct BlobServer(Listener);

impl BlobServer {
    /// Listens on `address` (port 0 for a free one).
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn start(address: SocketAddr, secret: &Secret, shelf: Arc<dyn Shelf>) -> Result<BlobServer> {
        let options = protocol::options(Some(SILENCE));
        let serve = served("firesteel-files", MOST_GUESTS, move |connection| serve(connection, &*shelf));
        let listener = Listener::bind(address, Some(secret), &protocol::hello(None), &options, serve);
        listener.map(BlobServer).map_err(other)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr()
    }
}

fn other(e: NetError) -> Error {
    Error::Other(Arc::new(e))
}

/// Does what the other side of a connection wishes until it wishes no more.
pub fn serve(connection: Connection, shelf: &dyn Shelf) {
    let peer = connection.peer().to_string();
    let (mut reader, mut writer) = connection.split();
    let mut frame = Vec::new();
    loop {
        let done = match receive(&mut reader, &mut frame) {
            Heard::Message(Wish::Get(hash)) => give(shelf, hash, &mut writer),
            Heard::Message(Wish::Put(blob)) => take(shelf, blob, &mut reader, &mut writer),
            Heard::Unknown(why) => answer(&mut writer, &Answer::Refused(why)),
            Heard::End(_) => break,
        };
        if let Err(e) = done {
            tracing::warn!("{peer} was served no file: {e}");
            return;
        }
    }
    let _ = writer.finish();
}

fn answer(writer: &mut FrameWriter, answer: &Answer) -> Result<()> {
    writer.send(&[&encode(answer)]).and_then(|()| writer.flush()).map_err(other)
}

fn give(shelf: &dyn Shelf, hash: ContentHash, writer: &mut FrameWriter) -> Result<()> {
    let (file, length) = match shelf.open(hash) {
        Ok(Some(found)) => found,
        Ok(None) => return answer(writer, &Answer::Refused(format!("the file {hash} is not here"))),
        Err(e) => return answer(writer, &Answer::Refused(e.to_string())),
    };
    answer(writer, &Answer::Found { length })?;
    send(&file, length, writer)
}

/// Sends a file's contents. The place in the file is others', too, so it is not used.
fn send(file: &File, length: u64, writer: &mut FrameWriter) -> Result<()> {
    let mut piece = vec![0; PIECE.min(length as usize)];
    let mut sent = 0;
    while sent < length {
        let size = (length - sent).min(PIECE as u64) as usize;
        file.read_exact_at(&mut piece[..size], sent).map_err(|e| Error::io("read", "a file that is sent", e))?;
        writer.send(&[&piece[..size]]).map_err(other)?;
        sent += size as u64;
    }
    writer.flush().map_err(other)
}

fn take(shelf: &dyn Shelf, blob: Blob, reader: &mut FrameReader, writer: &mut FrameWriter) -> Result<()> {
    let mut broken = None;
    let stored = shelf.put(blob, &mut |file| {
        let received = answer(writer, &Answer::Send).and_then(|()| receive_contents(reader, blob, file));
        broken = received.as_ref().err().cloned();
        received
    });
    match (stored, broken) {
        (Ok(()), _) => answer(writer, &Answer::Stored),
        (Err(e), None) => answer(writer, &Answer::Refused(e.to_string())),
        // Where the next wish would begin is not known any more.
        (Err(_), Some(e)) => {
            answer(writer, &Answer::Refused(e.to_string()))?;
            Err(e)
        }
    }
}

/// Writes the pieces that come, which must be these contents.
fn receive_contents(reader: &mut FrameReader, blob: Blob, into: &mut File) -> Result<()> {
    let mut hashing = Hashing::default();
    let (mut left, mut frame) = (blob.length, Vec::new());
    while left > 0 {
        if !reader.recv(&mut frame).map_err(other)? || frame.is_empty() || frame.len() as u64 > left {
            return Err(Error::Config(format!("the file {} does not come with {} bytes", blob.hash, blob.length)));
        }
        hashing.update(&frame);
        into.write_all(&frame).map_err(|e| Error::io("write", format!("the file {}", blob.hash), e))?;
        left -= frame.len() as u64;
    }
    let (hash, _) = hashing.finish();
    if hash != blob.hash {
        return Err(Error::Config(format!(
            "the file that was sent as {} has other contents: {hash}. Look at the disk of who sent it",
            blob.hash
        )));
    }
    Ok(())
}

/// A connection to somebody who has files, or takes them.
struct Link {
    at: String,
    reader: FrameReader,
    writer: FrameWriter,
}

impl Link {
    fn new(address: &str, secret: Option<&Secret>) -> Result<Link> {
        let hello = protocol::hello(Some(Caller::Files));
        let connection = connect(address, secret, &hello, &protocol::options(Some(SILENCE))).map_err(other)?;
        let (reader, writer) = connection.split();
        Ok(Link { at: address.into(), reader, writer })
    }

    fn wish(&mut self, wish: &Wish) -> Result<Answer> {
        self.writer.send(&[&encode(wish)]).and_then(|()| self.writer.flush()).map_err(other)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer> {
        match receive(&mut self.reader, &mut Vec::new()) {
            Heard::Message(Answer::Refused(why)) => Err(Error::Config(format!("{}: {why}", self.at))),
            Heard::Message(answer) => Ok(answer),
            Heard::Unknown(why) | Heard::End(why) => Err(Error::Config(format!("{}: {why}", self.at))),
        }
    }
}

/// Fetches a file from who serves it at `address`, and writes it.
///
/// # Errors
/// If it cannot be fetched or written, or is not what it should be; `into` is worth nothing then.
pub fn fetch(address: &str, secret: Option<&Secret>, blob: Blob, into: &mut File) -> Result<()> {
    let mut link = Link::new(address, secret)?;
    match link.wish(&Wish::Get(blob.hash))? {
        Answer::Found { length } if length == blob.length => receive_contents(&mut link.reader, blob, into),
        answer => Err(Error::Config(format!("{address} answers the wish for {blob:?} with {answer:?}"))),
    }
}

/// Brings a file to who keeps it at `address`, unless it is there.
///
/// # Errors
/// If it cannot be read or brought.
pub fn bring(address: &str, secret: Option<&Secret>, path: &Path) -> Result<Blob> {
    let failed = |e| Error::io("read", path.display(), e);
    let file = File::open(path).map_err(failed)?;
    let (hash, length) = ContentHash::of(&file).map_err(failed)?;
    let blob = Blob { hash, length };
    let mut link = Link::new(address, secret)?;
    if let Answer::Send = link.wish(&Wish::Put(blob))? {
        send(&file, length, &mut link.writer)?;
        link.answer()?;
    }
    Ok(blob)
}

/// Files by the hash of their contents, in a folder: so many at most, those that were used longest ago go first.
///
/// A file is read and compared with its hash before it is used for the first time, and again whenever the system says that it
/// was touched since. Files can be executed.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    most: usize,
    state: Mutex<State>,
    /// A file has come, or not.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    uses: u64,
    files: BTreeMap<ContentHash, Known>,
    coming: BTreeSet<ContentHash>,
    /// Those that stay.
    kept: BTreeSet<ContentHash>,
}

#[derive(Debug)]
struct Known {
    used: u64,
    /// What the system said of it when it was compared with its hash.
    checked: Option<Stamp>,
}

/// Changes when anything happens to a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Stamp {
        Stamp { inode: meta.ino(), length: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}

impl Cache {
    /// The files that are in a folder, which is made if it does not exist; at most so many.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be made or read.
    pub fn open(folder: PathBuf, most: usize) -> Result<Cache> {
        let failed = |e| Error::io("make or read", folder.display(), e);
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_name().to_str().and_then(ContentHash::parse) {
                Some(hash) => {
                    let modified = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(UNIX_EPOCH);
                    found.push((modified, hash));
                }
                // What an earlier process did not finish.
                None => drop(fs::remove_file(entry.path())),
            }
        }
        found.sort();
        let uses = found.len() as u64;
        let known = |(used, (_, hash))| (hash, Known { used, checked: None });
        let state = State { uses, files: (0..).zip(found).map(known).collect(), ..State::default() };
        Ok(Cache { folder, most: most.max(1), state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, hash: ContentHash) -> PathBuf {
        self.folder.join(hash.to_string())
    }

    /// Where a file is; `bring` writes it if it is not here. Others who want the same one wait meanwhile.
    ///
    /// # Errors
    /// What `bring` says, and [`Error::Io`] where the folder cannot be written.
    pub fn get(&self, blob: Blob, bring: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
        let Blob { hash, .. } = blob;
        let path = self.path(hash);
        let mut state = self.lock();
        while !state.coming.insert(hash) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let checked = state.files.get_mut(&hash).and_then(|known| known.checked.take());
        drop(state);
        let result = match self.check(blob, checked) {
            Some(stamp) => Ok(stamp),
            None => self.add(blob, bring),
        };
        let mut state = self.lock();
        state.coming.remove(&hash);
        state.uses += 1;
        let used = state.uses;
        match result {
            Ok(stamp) => {
                state.files.insert(hash, Known { used, checked: Some(stamp) });
                self.evict(&mut state);
                drop(state);
                self.changed.notify_all();
                Ok(path)
            }
            Err(e) => {
                state.files.remove(&hash);
                drop(state);
                self.changed.notify_all();
                Err(e)
            }
        }
    }

    /// The file's stamp, if it is here and what it should be.
    fn check(&self, blob: Blob, checked: Option<Stamp>) -> Option<Stamp> {
        let path = self.path(blob.hash);
        let file = File::open(&path).ok()?;
        let stamp = Stamp::of(&file.metadata().ok()?);
        let good = stamp.length == blob.length
            && (checked.as_ref() == Some(&stamp)
                || ContentHash::of(&file).is_ok_and(|(hash, length)| (hash, length) == (blob.hash, blob.length)));
        if !good {
            tracing::warn!("{} is not what it was, and is fetched again; look at this machine's disk", path.display());
        }
        good.then_some(stamp)
    }

    fn add(&self, blob: Blob, bring: impl FnOnce(&mut File) -> Result<()>) -> Result<Stamp> {
        let path = self.path(blob.hash);
        let failed = |e: io::Error| Error::io("write", path.display(), e);
        let mut new = NamedTempFile::with_prefix_in(".new-", &self.folder).map_err(failed)?;
        bring(new.as_file_mut())?;
        new.as_file().set_permissions(fs::Permissions::from_mode(0o700)).map_err(failed)?;
        // Nobody may run a file that is open for writing.
        let new = new.into_temp_path();
        new.persist(&path).map_err(|e| failed(e.error))?;
        fs::metadata(&path).map(|meta| Stamp::of(&meta)).map_err(failed)
    }

    fn evict(&self, state: &mut State) {
        while state.files.len() > self.most {
            let free = state.files.iter().filter(|(hash, _)| !state.kept.contains(hash));
            let Some((&hash, _)) = free.min_by_key(|(_, known)| known.used) else { return };
            state.files.remove(&hash);
            if let Err(e) = fs::remove_file(self.path(hash)) {
                tracing::warn!("{} stays, although it is too old: {e}", self.path(hash).display());
            }
        }
    }

    /// From now on these stay, and no others.
    pub fn keep(&self, hashes: BTreeSet<ContentHash>) {
        let mut state = self.lock();
        state.kept = hashes;
        self.evict(&mut state);
    }
}

impl Shelf for Cache {
    fn open(&self, hash: ContentHash) -> Result<Option<(File, u64)>> {
        let failed = |e| Error::io("read", self.path(hash).display(), e);
        let length = match fs::metadata(self.path(hash)) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let lost = |_: &mut File| Err(Error::Config(format!("the file {hash} has been damaged here: bring it again")));
        let path = self.get(Blob { hash, length }, lost)?;
        Ok(Some((File::open(path).map_err(failed)?, length)))
    }

    fn put(&self, blob: Blob, bring: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()> {
        self.get(blob, bring).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;
    use tempfile::TempDir;

    const CONTENTS: &[u8] = b"a program, as far as this is concerned";

    fn secret() -> Secret {
        Secret::from_bytes(b"a secret for the tests").unwrap()
    }

    fn blob(contents: &[u8]) -> Blob {
        let (hash, length) = ContentHash::of(contents).unwrap();
        Blob { hash, length }
    }

    fn server(shelf: impl Shelf) -> (BlobServer, String) {
        let server = BlobServer::start("127.0.0.1:0".parse().unwrap(), &secret(), Arc::new(shelf)).unwrap();
        let address = server.address().to_string();
        (server, address)
    }

    fn read(path: &Path) -> Vec<u8> {
        fs::read(path).unwrap()
    }

    fn never(_: &mut File) -> Result<()> {
        panic!("it is here")
    }

    #[test]
    fn a_file_of_many_pieces_is_fetched_from_who_offers_it_and_kept() {
        let dir = TempDir::new().unwrap();
        let contents: Vec<u8> = (0..3 * PIECE as u32 / 4 + 5).flat_map(u32::to_le_bytes).collect();
        fs::write(dir.path().join("program"), &contents).unwrap();
        let mut offer = Offer::default();
        let blob = offer.add(&dir.path().join("program")).unwrap();
        // Another build at the same place changes nothing.
        fs::remove_file(dir.path().join("program")).unwrap();
        fs::write(dir.path().join("program"), b"another build").unwrap();
        let (_server, address) = server(offer);

        let cache = Cache::open(dir.path().join("cache"), 4).unwrap();
        let path = cache.get(blob, |file| fetch(&address, Some(&secret()), blob, file)).unwrap();
        assert_eq!(read(&path), contents);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(cache.get(blob, never).unwrap(), path);
        let other = self::blob(b"something else");
        let why = cache.get(other, |file| fetch(&address, Some(&secret()), other, file)).unwrap_err().to_string();
        assert!(why.contains(&address) && why.contains("is not here"), "{why}");
    }

    #[test]
    fn a_file_is_brought_once_and_served_then() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("program");
        for contents in [CONTENTS, b""] {
            fs::write(&path, contents).unwrap();
            let (_server, address) = server(Cache::open(dir.path().join("cache"), 4).unwrap());
            for _ in 0..2 {
                assert_eq!(bring(&address, Some(&secret()), &path).unwrap(), blob(contents));
            }
            let mut back = tempfile::tempfile().unwrap();
            fetch(&address, Some(&secret()), blob(contents), &mut back).unwrap();
            let mut bytes = vec![0; contents.len()];
            back.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes, contents);
        }
    }

    #[test]
    fn contents_that_do_not_have_their_hash_are_refused() {
        struct Liar;
        impl Shelf for Liar {
            fn open(&self, _: ContentHash) -> Result<Option<(File, u64)>> {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&CONTENTS.to_ascii_uppercase()).unwrap();
                Ok(Some((file, CONTENTS.len() as u64)))
            }
            fn put(&self, _: Blob, _: &mut dyn FnMut(&mut File) -> Result<()>) -> Result<()> {
                unreachable!()
            }
        }
        let (_server, address) = server(Liar);
        let dir = TempDir::new().unwrap();
        let cache = Cache::open(dir.path().to_path_buf(), 4).unwrap();
        let blob = blob(CONTENTS);
        let fetched = cache.get(blob, |file| fetch(&address, Some(&secret()), blob, file));
        assert!(fetched.unwrap_err().to_string().contains("has other contents"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_kept_file_that_was_changed_is_fetched_again() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::open(dir.path().to_path_buf(), 4).unwrap();
        let blob = blob(CONTENTS);
        let write = |file: &mut File| file.write_all(CONTENTS).map_err(Error::from);
        let path = cache.get(blob, write).unwrap();
        fs::write(&path, CONTENTS.to_ascii_uppercase()).unwrap();
        assert_eq!(read(&cache.get(blob, write).unwrap()), CONTENTS);
        // The same after a restart.
        fs::write(&path, CONTENTS.to_ascii_uppercase()).unwrap();
        let cache = Cache::open(dir.path().to_path_buf(), 4).unwrap();
        assert!(cache.open(blob.hash).is_err());
        assert_eq!(read(&cache.get(blob, write).unwrap()), CONTENTS);
        let mut served = String::new();
        cache.open(blob.hash).unwrap().unwrap().0.read_to_string(&mut served).unwrap();
        assert_eq!(served.as_bytes(), CONTENTS);
    }

    #[test]
    fn the_file_that_was_used_longest_ago_goes_unless_it_is_to_be_kept() {
        let dir = TempDir::new().unwrap();
        let cache = Cache::open(dir.path().to_path_buf(), 2).unwrap();
        let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|contents| {
            let blob = blob(contents);
            (blob, cache.get(blob, |file| file.write_all(contents).map_err(Error::from)).unwrap())
        });
        assert!([&a, &b].iter().all(|(_, path)| !path.exists()) && c.1.exists() && d.1.exists());
        cache.keep([c.0.hash].into());
        cache.get(a.0, |file| file.write_all(b"a").map_err(Error::from)).unwrap();
        assert!(a.1.exists() && c.1.exists() && !d.1.exists());
        cache.get(d.0, |file| file.write_all(b"d").map_err(Error::from)).unwrap();
        cache.keep(BTreeSet::new());
        cache.get(b.0, |file| file.write_all(b"b").map_err(Error::from)).unwrap();
        assert!(b.1.exists() && d.1.exists() && !c.1.exists());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = protocol::decode::<Wish>(&bytes);
            let _ = protocol::decode::<Answer>(&bytes);
        }
    }
}
