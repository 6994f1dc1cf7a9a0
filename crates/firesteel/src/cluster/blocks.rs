//! What one process holds and another reads: map outputs, cached partitions, broadcast values, the driver's items and files.
//!
//! Each process serves its own, a thread for each connection; whoever asks has a connection to itself until it has read the
//! answer, so what the reader does not take waits in the sockets' buffers, and then at its holder. That bounds the bytes in flight.

use crate::{
    executor::{decode, encode},
    files::{AddedFiles, FileSource},
    graph::lock,
};
use firesteel_model::{AttemptId, BlockId, BroadcastId, ExecutorId, PartitionIndex, Result, ShuffleId, StorageLevel};
use firesteel_net::{Connection, FrameReader, FrameWriter, Hello, Listener, NetError, Options, Secret, connect};
use firesteel_rdd::{Holder, Peers, RemoteOutputs, RemotePart};
use firesteel_store::{BlockStatus, BlockStore, EncodedBlock, RemoteChunks, ShuffleStore, StoreError, Wanted};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    fs,
    io::{self, Read, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const PROTOCOL: (&str, u32) = ("firesteel-blocks", 1);
/// Broadcast values travel in pieces of so many bytes, as in Spark.
const PIECE: usize = 4 << 20;
/// Bytes are sent in frames of so many.
const FRAME: usize = 256 << 10;
/// So many idle connections to one process are kept.
const IDLE: usize = 4;

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// One partition of map outputs, in this order; the first without so many bytes.
    Outputs {
        shuffle: ShuffleId,
        partition: u32,
        wanted: Wanted,
        maps: Vec<(PartitionIndex, AttemptId)>,
        skip: u64,
    },
    Block(BlockId),
    /// How many pieces has a broadcast value?
    Pieces(BroadcastId),
    /// Keep a copy of a block, of elements that are called so. Its chunks follow, as in an answer.
    Keep {
        id: BlockId,
        level: StorageLevel,
        type_name: String,
        chunks: u64,
    },
    /// The names of all files.
    Files,
    /// A file or a folder, by its name.
    File(String),
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// So many bytes follow, which are so many records (without what was skipped), maybe with those of other parts.
    Part {
        records: u64,
        bytes: u64,
        among_others: bool,
    },
    /// Chunks follow, each after its own `Chunk`.
    Block {
        chunks: u64,
        records: u64,
    },
    Chunk {
        records: u64,
        bytes: u64,
    },
    Pieces(u32),
    /// The copy is kept.
    Kept,
    Files(Vec<String>),
    /// So many entries follow.
    File {
        entries: u64,
    },
    /// A folder, or a file with this mode whose bytes follow.
    Entry {
        path: PathBuf,
        file: Option<(u32, u64)>,
    },
    /// It is not here.
    Nothing,
    /// It cannot be given; why.
    Failed(String),
}

/// Serves what a process holds, until it is dropped.
pub(super) struct Server {
    listener: Listener,
}

/// What a process serves.
#[derive(Clone)]
pub(super) struct Holdings {
    blocks: Arc<BlockStore>,
    /// An executor's.
    shuffles: Option<Arc<ShuffleStore>>,
    /// Told of the copies that an executor keeps for others.
    keeps: Option<Keeps>,
    /// The driver's.
    files: Option<Arc<AddedFiles>>,
    /// How many pieces of broadcast values were sent.
    pieces_sent: Arc<AtomicU64>,
    /// Held while a broadcast value is cut into pieces.
    cutting: Arc<Mutex<()>>,
}

/// Told of a copy that is kept from now on.
type Keeps = Arc<dyn Fn(BlockId, BlockStatus) + Send + Sync>;

impl Holdings {
    pub(super) fn of_executor(blocks: Arc<BlockStore>, shuffles: Arc<ShuffleStore>, keeps: Keeps) -> Self {
        let (pieces_sent, cutting) = (Arc::default(), Arc::default());
        Holdings { blocks, shuffles: Some(shuffles), keeps: Some(keeps), files: None, pieces_sent, cutting }
    }

    /// Counts the pieces of broadcast values that leave it.
    pub(super) fn of_driver(blocks: Arc<BlockStore>, files: Arc<AddedFiles>, pieces_sent: Arc<AtomicU64>) -> Self {
        Holdings { blocks, shuffles: None, keeps: None, files: Some(files), pieces_sent, cutting: Arc::default() }
    }
}

impl Server {
    pub(super) fn start(address: SocketAddr, secret: &Secret, holdings: Holdings) -> Result<Self, NetError> {
        let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
        let listener = Listener::bind(address, Some(secret), &hello, &Options::default(), move |connection| {
            let serving = holdings.clone();
            let started = std::thread::Builder::new().name("firesteel-serve".into()).spawn(move || {
                let peer = connection.peer().to_string();
                if let Err(e) = serving.serve(connection) {
                    tracing::debug!("serving {peer}: {e}");
                }
            });
            if let Err(e) = started {
                tracing::warn!("no thread to serve another process: {e}");
            }
        })?;
        Ok(Server { listener })
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().port()
    }
}

impl Holdings {
    fn serve(&self, connection: Connection) -> Result<(), NetError> {
        let (mut asks, mut out) = connection.split();
        let mut frame = Vec::new();
        while asks.recv(&mut frame)? {
            match decode::<Ask>(&frame) {
                Ok(Ask::Outputs { shuffle, partition, wanted, maps, skip }) => {
                    self.outputs(&mut out, shuffle, (partition, wanted), &maps, skip)?;
                }
                Ok(Ask::Block(id)) => self.block(&mut out, id)?,
                Ok(Ask::Keep { id, level, type_name, chunks }) => {
                    let kept = self.keep(&mut asks, id, level, type_name, chunks);
                    let failed = kept.is_err();
                    say(&mut out, &kept.map_or_else(|e| Answer::Failed(e.to_string()), |()| Answer::Kept))?;
                    if failed {
                        // Chunks of it may follow, which are no questions.
                        return out.flush();
                    }
                }
                Ok(Ask::Pieces(id)) => {
                    let pieces = self.pieces(id);
                    say(
                        &mut out,
                        &match pieces {
                            Ok(Some(pieces)) => Answer::Pieces(pieces),
                            Ok(None) => Answer::Nothing,
                            Err(e) => Answer::Failed(e.to_string()),
                        },
                    )?;
                }
                Ok(Ask::Files) => {
                    let names = self.files.as_ref().map(|files| files.names());
                    say(&mut out, &Answer::Files(names.unwrap_or_default()))?;
                }
                Ok(Ask::File(name)) => self.file(&mut out, &name)?,
                Err(e) => say(&mut out, &Answer::Failed(e.to_string()))?,
            }
            out.flush()?;
        }
        Ok(())
    }

    /// Stops at the first that cannot be given.
    fn outputs(
        &self,
        out: &mut FrameWriter,
        shuffle: ShuffleId,
        (partition, wanted): (u32, Wanted),
        maps: &[(PartitionIndex, AttemptId)],
        skip: u64,
    ) -> Result<(), NetError> {
        let mut buffer = vec![0; FRAME];
        for (i, (map, attempt)) in maps.iter().enumerate() {
            let part =
                |shuffles: &Arc<ShuffleStore>| shuffles.part(shuffle, *map, *attempt, partition as usize, wanted);
            let mut part = match self.shuffles.as_ref().map(part).transpose().map(Option::flatten) {
                Ok(Some(part)) => part,
                Ok(None) => return say(out, &Answer::Nothing),
                Err(e) => return say(out, &Answer::Failed(e.to_string())),
            };
            let skipped = if i == 0 { skip.min(part.length()) } else { 0 };
            part.skip(skipped);
            let bytes = part.length() - skipped;
            say(out, &Answer::Part { records: part.records(), bytes, among_others: part.among_others() })?;
            if !send_bytes(out, &mut part, bytes, &mut buffer)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn file(&self, out: &mut FrameWriter, name: &str) -> Result<(), NetError> {
        let entries = match self.files.as_ref().map(|files| files.entries(name)) {
            Some(Ok(entries)) if !entries.is_empty() => entries,
            Some(Err(e)) => return say(out, &Answer::Failed(e.to_string())),
            _ => return say(out, &Answer::Nothing),
        };
        say(out, &Answer::File { entries: entries.len() as u64 })?;
        let mut buffer = vec![0; FRAME];
        for (from, path) in entries {
            if from.is_dir() {
                say(out, &Answer::Entry { path, file: None })?;
                continue;
            }
            let opened = fs::File::open(&from).and_then(|file| Ok((file.metadata()?, file)));
            let (meta, mut file) = match opened {
                Ok(opened) => opened,
                Err(e) => return say(out, &Answer::Failed(format!("{}: {e}", from.display()))),
            };
            say(out, &Answer::Entry { path, file: Some((meta.permissions().mode(), meta.len())) })?;
            if !send_bytes(out, &mut file, meta.len(), &mut buffer)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Keeps a copy of what is arriving.
    fn keep(
        &self,
        asks: &mut FrameReader,
        id: BlockId,
        level: StorageLevel,
        type_name: String,
        chunks: u64,
    ) -> Result<(), StoreError> {
        let keeps = self.keeps.as_ref().ok_or(StoreError::Closed)?;
        let (mut left, mut frame) = (chunks, Vec::new());
        let status = self.blocks.put_copy(id, level, type_name, || {
            if left == 0 {
                return Ok(None);
            }
            left -= 1;
            let arrived = receive_chunk(asks, &mut frame);
            arrived.map(Some).map_err(|what| StoreError::Unreachable { from: "who sends a copy".into(), what })
        })?;
        if status.level == StorageLevel::NONE {
            return Err(StoreError::Closed);
        }
        keeps(id, status);
        Ok(())
    }

    /// How many pieces a broadcast value has, which are made when they are first asked for.
    fn pieces(&self, id: BroadcastId) -> Result<Option<u32>, StoreError> {
        let _cutting = lock(&self.cutting);
        let (value, piece) = (BlockId::Broadcast(id), |number| BlockId::BroadcastPiece(id, number));
        if self.blocks.status(piece(0)).is_none() {
            let Some(encoded) = self.blocks.encoded(value)? else { return Ok(None) };
            let mut bytes = Vec::new();
            for i in 0..encoded.chunks() {
                bytes.extend_from_slice(&encoded.chunk(i)?.0);
            }
            // The first comes last: where it is, all are.
            for number in (0..bytes.len().div_ceil(PIECE).max(1)).rev() {
                let end = bytes.len().min((number + 1) * PIECE);
                self.blocks.put_bytes(piece(number as u32), &bytes[number * PIECE..end])?;
            }
            if self.blocks.status(value).is_none() {
                self.blocks.remove(value);
                return Ok(None);
            }
        }
        Ok(Some((0..).take_while(|number| self.blocks.status(piece(*number)).is_some()).count() as u32))
    }

    fn block(&self, out: &mut FrameWriter, id: BlockId) -> Result<(), NetError> {
        let block = match self.blocks.encoded(id) {
            Ok(Some(block)) => block,
            Ok(None) => return say(out, &Answer::Nothing),
            Err(e) => return say(out, &Answer::Failed(e.to_string())),
        };
        if let BlockId::BroadcastPiece(..) = id {
            self.pieces_sent.fetch_add(1, Ordering::Relaxed);
        }
        say(out, &Answer::Block { chunks: block.chunks() as u64, records: block.records() })?;
        match send_chunks(out, &block)? {
            Some(e) => say(out, &Answer::Failed(e.to_string())),
            None => Ok(()),
        }
    }
}

/// Sends so many bytes; false if there were not so many, which the other side is told by a frame without any.
fn send_bytes(out: &mut FrameWriter, from: &mut impl Read, bytes: u64, buffer: &mut [u8]) -> Result<bool, NetError> {
    let mut left = bytes;
    while left > 0 {
        match from.read(buffer) {
            Ok(read) if read > 0 && read as u64 <= left => {
                out.send(&[&buffer[..read]])?;
                left -= read as u64;
            }
            _ => return out.send(&[]).map(|()| false),
        }
    }
    Ok(true)
}

/// Sends a block's chunks, each after its `Chunk`; why it has stopped, if one cannot be read.
fn send_chunks(out: &mut FrameWriter, block: &EncodedBlock) -> Result<Option<StoreError>, NetError> {
    for i in 0..block.chunks() {
        match block.chunk(i) {
            Ok((bytes, records)) => {
                say(out, &Answer::Chunk { records, bytes: bytes.len() as u64 })?;
                for frame in bytes.chunks(FRAME) {
                    out.send(&[frame])?;
                }
            }
            Err(e) => return Ok(Some(e)),
        }
    }
    Ok(None)
}

/// A chunk that is sent so.
fn receive_chunk(reader: &mut FrameReader, frame: &mut Vec<u8>) -> Result<(Vec<u8>, u64), String> {
    let mut frame_of = |frame: &mut Vec<u8>| match reader.recv(frame) {
        Ok(true) => Ok(()),
        Ok(false) => Err("it ended the connection".to_string()),
        Err(e) => Err(e.to_string()),
    };
    frame_of(frame)?;
    let (records, length) = match decode(frame).map_err(|e| e.to_string())? {
        Answer::Chunk { records, bytes } => (records, bytes),
        Answer::Failed(what) => return Err(what),
        other => return Err(format!("it answered {other:?}")),
    };
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        frame_of(frame)?;
        if frame.is_empty() || (bytes.len() + frame.len()) as u64 > length {
            return Err("it sent another number of bytes than it said".into());
        }
        bytes.extend_from_slice(frame);
    }
    Ok((bytes, records))
}

fn say(out: &mut FrameWriter, answer: &Answer) -> Result<(), NetError> {
    let bytes = encode(answer).unwrap_or_default();
    out.send(&[&bytes])
}

/// Who can say where blocks are, and who is still there: the driver.
pub(super) trait Directory: Send + Sync {
    fn holders(&self, block: BlockId) -> Vec<Holder>;
    /// Some other executors.
    fn others(&self) -> Vec<Holder>;
    /// This process holds a block, too.
    fn keeps(&self, block: BlockId, status: BlockStatus);
    fn is_alive(&self, executor: ExecutorId) -> bool;
}

/// Asks other processes.
#[derive(Clone)]
pub(super) struct Client(Arc<Shared>);

struct Shared {
    /// This executor, and where it keeps what others may want as well.
    of: Option<(ExecutorId, Arc<BlockStore>)>,
    secret: Secret,
    options: Options,
    directory: Box<dyn Directory>,
    retries: u32,
    retry_wait: Duration,
    idle: Mutex<HashMap<String, Vec<Talk>>>,
}

/// A connection to another process that serves.
struct Talk {
    reader: FrameReader,
    writer: FrameWriter,
}

impl Talk {
    fn ask(&mut self, ask: &Ask) -> Result<(), NetError> {
        self.writer.send(&[&encode(ask).unwrap_or_default()])?;
        self.writer.flush()
    }
    fn answer(&mut self, frame: &mut Vec<u8>) -> Result<Answer, String> {
        self.frame(frame)?;
        decode(frame).map_err(|e| e.to_string())
    }
    fn frame(&mut self, frame: &mut Vec<u8>) -> Result<(), String> {
        match self.reader.recv(frame) {
            Ok(true) => Ok(()),
            Ok(false) => Err("it ended the connection".into()),
            Err(e) => Err(e.to_string()),
        }
    }
}

impl Client {
    pub(super) fn new(
        of: Option<(ExecutorId, Arc<BlockStore>)>,
        secret: Secret,
        directory: Box<dyn Directory>,
        retries: u32,
        retry_wait: Duration,
    ) -> Self {
        let options = Options { read_timeout: Some(Duration::from_secs(120)), ..Options::default() };
        Client(Arc::new(Shared { of, secret, options, directory, retries, retry_wait, idle: Mutex::default() }))
    }

    fn talk(&self, address: &str) -> Result<Talk, NetError> {
        if let Some(talk) = lock(&self.0.idle).get_mut(address).and_then(Vec::pop) {
            return Ok(talk);
        }
        self.connect(address)
    }

    fn connect(&self, address: &str) -> Result<Talk, NetError> {
        let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
        let (reader, writer) = connect(address, Some(&self.0.secret), &hello, &self.0.options)?.split();
        Ok(Talk { reader, writer })
    }

    /// Keeps a connection whose answers were all read.
    fn rest(&self, address: &str, talk: Talk) {
        let mut idle = lock(&self.0.idle);
        let waiting = idle.entry(address.to_string()).or_default();
        if waiting.len() < IDLE {
            waiting.push(talk);
        }
    }

    /// Asks on a connection that rests, or on a new one if that has ended meanwhile.
    fn ask(&self, address: &str, ask: &Ask) -> Result<(Talk, Answer, Vec<u8>), String> {
        let mut frame = Vec::new();
        loop {
            let rested = lock(&self.0.idle).get(address).is_some_and(|waiting| !waiting.is_empty());
            let mut talk = self.talk(address).map_err(|e| e.to_string())?;
            let answered = talk.ask(ask).map_err(|e| e.to_string()).and_then(|()| talk.answer(&mut frame));
            match answered {
                Ok(answer) => return Ok((talk, answer, frame)),
                Err(_) if rested => continue,
                Err(e) => return Err(e),
            }
        }
    }
}

impl Peers for Client {
    fn map_outputs(
        &self,
        holder: &Holder,
        shuffle: ShuffleId,
        partition: (u32, Wanted),
        maps: Vec<(PartitionIndex, AttemptId)>,
    ) -> Box<dyn RemoteOutputs> {
        let mut fetch = Fetch {
            client: self.clone(),
            holder: holder.clone(),
            shuffle,
            partition,
            maps: maps.into(),
            talk: None,
            begun: false,
            read: 0,
            left: 0,
            frame: Vec::new(),
            used: 0,
        };
        // What fails now is tried again when the answer is wanted.
        if let Ok(talk) = self.talk(&holder.address) {
            fetch.begin(talk);
        }
        Box::new(FetchHandle(Rc::new(RefCell::new(fetch))))
    }

    fn block(&self, id: BlockId) -> Result<Option<(Box<dyn RemoteChunks>, String)>, StoreError> {
        let mut failed = None;
        for holder in self.0.directory.holders(id) {
            match self.block_of(&holder, id) {
                Ok(Some(chunks)) => return Ok(Some((chunks, holder.to_string()))),
                Ok(None) => {}
                Err(e) => failed = Some(e),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn broadcast(&self, id: BroadcastId) -> Result<Option<Vec<u8>>, StoreError> {
        let directory = &self.0.directory;
        let Some(driver) = directory.holders(BlockId::Broadcast(id)).pop() else { return Ok(None) };
        let unreachable = |what| StoreError::Unreachable { from: driver.to_string(), what };
        let count = match self.ask(&driver.address, &Ask::Pieces(id)).map_err(unreachable)? {
            (talk, answer @ (Answer::Pieces(_) | Answer::Nothing), _) => {
                self.rest(&driver.address, talk);
                let Answer::Pieces(count) = answer else { return Ok(None) };
                count as usize
            }
            (_, Answer::Failed(what), _) => {
                return Err(StoreError::Corrupt { place: format!("broadcast {id} of {driver}"), what });
            }
            (_, other, _) => return Err(unreachable(format!("it answered {other:?}"))),
        };
        // Each executor begins with another piece, so that most of them find most pieces at each other.
        let first = self.0.of.as_ref().map_or(0, |(executor, _)| executor.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
        let mut pieces = vec![Vec::new(); count];
        for number in (0..count).map(|i| (first as usize + i) % count) {
            let block = BlockId::BroadcastPiece(id, number as u32);
            let Some((mut chunks, _)) = self.block(block)? else { return Ok(None) };
            for _ in 0..chunks.count() {
                pieces[number].extend_from_slice(&chunks.next()?.0);
            }
            if let Some((_, blocks)) = &self.0.of {
                directory.keeps(block, blocks.put_bytes(block, &pieces[number])?);
            }
        }
        Ok(Some(pieces.concat()))
    }

    fn copy(&self, id: BlockId, level: StorageLevel, copies: usize) -> Vec<ExecutorId> {
        let mut kept = Vec::new();
        for other in self.0.directory.others() {
            if kept.len() == copies {
                break;
            }
            match self.copy_to(&other, id, level) {
                Ok(()) => kept.push(other.executor),
                Err(what) => tracing::info!("{other} keeps no copy of block {id}: {what}"),
            }
        }
        kept
    }

    fn keeps(&self, id: BlockId, status: BlockStatus) {
        self.0.directory.keeps(id, status);
    }
}

impl Client {
    fn copy_to(&self, other: &Holder, id: BlockId, level: StorageLevel) -> Result<(), String> {
        let (_, blocks) = self.0.of.as_ref().ok_or("this process keeps nothing")?;
        let block = blocks.encoded(id).map_err(|e| e.to_string())?.ok_or("it is gone")?;
        // On a connection of its own: one that rested may have ended, which would be seen too late.
        let mut talk = self.connect(&other.address).map_err(|e| e.to_string())?;
        let (type_name, chunks) = (block.type_name().to_string(), block.chunks() as u64);
        let send = || -> Result<Option<StoreError>, NetError> {
            talk.ask(&Ask::Keep { id, level, type_name, chunks })?;
            let stopped = send_chunks(&mut talk.writer, &block)?;
            talk.writer.flush()?;
            Ok(stopped)
        };
        if let Some(e) = send().map_err(|e| e.to_string())? {
            return Err(e.to_string());
        }
        match talk.answer(&mut Vec::new())? {
            Answer::Kept => {
                self.rest(&other.address, talk);
                Ok(())
            }
            Answer::Failed(what) => Err(what),
            other => Err(format!("it answered {other:?}")),
        }
    }

    /// A block that this process holds, if it does.
    pub(super) fn block_of(&self, holder: &Holder, id: BlockId) -> Result<Option<Box<dyn RemoteChunks>>, StoreError> {
        let from = holder.to_string();
        let unreachable = |what| Err(StoreError::Unreachable { from: holder.to_string(), what });
        match self.ask(&holder.address, &Ask::Block(id)) {
            Ok((talk, Answer::Block { chunks, records }, _)) => {
                let (client, address) = (self.clone(), holder.address.clone());
                let mut arriving =
                    Arriving { client, address, from, talk: Some(talk), left: chunks, count: chunks, records };
                arriving.rest_if_done();
                Ok(Some(Box::new(arriving)))
            }
            Ok((talk, Answer::Nothing, _)) => {
                self.rest(&holder.address, talk);
                Ok(None)
            }
            Ok((_, Answer::Failed(what), _)) => {
                Err(StoreError::Corrupt { place: format!("block {id} of {holder}"), what })
            }
            Ok((_, other, _)) => unreachable(format!("it answered {other:?}")),
            Err(what) => unreachable(what),
        }
    }
}

/// The driver's files.
pub(super) struct DriversFiles {
    pub(super) client: Client,
    pub(super) driver: Holder,
}

impl DriversFiles {
    /// Asks the driver; again if that fails, as often as the configuration says.
    fn ask<T>(&self, mut ask: impl FnMut(&Client, &str) -> Result<T, String>) -> Result<T> {
        let Shared { retries, retry_wait, .. } = &*self.client.0;
        let mut failures = 0;
        loop {
            match ask(&self.client, &self.driver.address) {
                Ok(answer) => return Ok(answer),
                Err(_) if failures < *retries => std::thread::sleep(*retry_wait),
                Err(what) => return Err(StoreError::Unreachable { from: self.driver.to_string(), what }.into()),
            }
            failures += 1;
        }
    }
}

impl FileSource for DriversFiles {
    fn names(&self) -> Result<Vec<String>> {
        self.ask(|client, address| match client.ask(address, &Ask::Files)? {
            (talk, Answer::Files(names), _) => {
                client.rest(address, talk);
                Ok(names)
            }
            (_, other, _) => Err(format!("it answered {other:?}")),
        })
    }

    fn fetch(&self, name: &str, into: &Path) -> Result<bool> {
        self.ask(|client, address| {
            let (mut talk, entries, mut frame) = match client.ask(address, &Ask::File(name.to_string()))? {
                (talk, Answer::File { entries }, frame) => (talk, entries, frame),
                (talk, Answer::Nothing, _) => {
                    client.rest(address, talk);
                    return Ok(false);
                }
                (_, other, _) => return Err(format!("it answered {other:?}")),
            };
            for _ in 0..entries {
                match talk.answer(&mut frame)? {
                    Answer::Entry { path, file } if path.components().all(|c| matches!(c, Component::Normal(_))) => {
                        receive(&mut talk, &mut frame, &into.join(path), file)?;
                    }
                    other => return Err(format!("it answered {other:?}")),
                }
            }
            client.rest(address, talk);
            Ok(true)
        })
    }
}

/// Writes a file, or makes a folder, that is arriving.
fn receive(talk: &mut Talk, frame: &mut Vec<u8>, to: &Path, file: Option<(u32, u64)>) -> Result<(), String> {
    let failed = |e: io::Error| format!("{}: {e}", to.display());
    let Some((mode, mut left)) = file else { return fs::create_dir_all(to).map_err(failed) };
    let mut file = fs::File::create(to).map_err(failed)?;
    while left > 0 {
        talk.frame(frame)?;
        if frame.is_empty() || frame.len() as u64 > left {
            return Err("it sent another number of bytes than it said".into());
        }
        file.write_all(frame).map_err(failed)?;
        left -= frame.len() as u64;
    }
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)
}

/// A block that is arriving.
struct Arriving {
    client: Client,
    address: String,
    from: String,
    talk: Option<Talk>,
    left: u64,
    count: u64,
    records: u64,
}

impl Arriving {
    fn receive(&mut self) -> Result<(Vec<u8>, u64), String> {
        let talk = self.talk.as_mut().ok_or("it has ended")?;
        let chunk = receive_chunk(&mut talk.reader, &mut Vec::new())?;
        self.left -= 1;
        self.rest_if_done();
        Ok(chunk)
    }

    fn rest_if_done(&mut self) {
        if self.left == 0
            && let Some(talk) = self.talk.take()
        {
            self.client.rest(&self.address, talk);
        }
    }
}

impl RemoteChunks for Arriving {
    fn count(&self) -> usize {
        self.count as usize
    }
    fn records(&self) -> u64 {
        self.records
    }
    fn next(&mut self) -> Result<(Vec<u8>, u64), StoreError> {
        self.receive().map_err(|what| StoreError::Unreachable { from: self.from.clone(), what })
    }
}

/// Map outputs that are arriving from one holder.
struct Fetch {
    client: Client,
    holder: Holder,
    shuffle: ShuffleId,
    partition: (u32, Wanted),
    /// Those that have not come yet, first the one that is being read.
    maps: VecDeque<(PartitionIndex, AttemptId)>,
    /// None before the first, after a failure, and at the end.
    talk: Option<Talk>,
    /// Whether the first of `maps` has begun to come, how many of its bytes were read, and how many are to come.
    begun: bool,
    read: u64,
    left: u64,
    frame: Vec<u8>,
    used: usize,
}

impl Fetch {
    /// Asks for all that has not come yet.
    fn begin(&mut self, mut talk: Talk) -> bool {
        let (shuffle, (partition, wanted)) = (self.shuffle, self.partition);
        let skip = if self.begun { self.read } else { 0 };
        let ask = Ask::Outputs { shuffle, partition, wanted, maps: self.maps.iter().copied().collect(), skip };
        let asked = talk.ask(&ask).is_ok();
        self.talk = asked.then_some(talk);
        asked
    }

    /// Does something with the connection; when that fails, makes it anew and goes on from where it was.
    fn persist<T>(&mut self, mut step: impl FnMut(&mut Self) -> Result<T, Failed>) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            let failed = match self.connected() {
                Ok(()) => match step(self) {
                    Ok(done) => return Ok(done),
                    Err(failed) => failed,
                },
                Err(what) => Failed::Reach(what),
            };
            self.talk = None;
            match failed {
                Failed::Data(what) => {
                    let (map, attempt) = self.maps.front().copied().unwrap_or_default();
                    let place = format!("the output of map task {map} (attempt {attempt}) on {}", self.holder);
                    return Err(StoreError::Corrupt { place, what });
                }
                Failed::Reach(what) => {
                    failures += 1;
                    let shared = &self.client.0;
                    if failures > shared.retries || !shared.directory.is_alive(self.holder.executor) {
                        return Err(StoreError::Unreachable { from: self.holder.to_string(), what });
                    }
                    tracing::info!("{} did not answer ({what}): asked again in {:?}", self.holder, shared.retry_wait);
                    std::thread::sleep(shared.retry_wait);
                }
            }
        }
    }

    fn connected(&mut self) -> Result<(), String> {
        if self.talk.is_some() {
            return Ok(());
        }
        self.frame.clear();
        self.used = 0;
        let talk = self.client.talk(&self.holder.address).map_err(|e| e.to_string())?;
        if !self.begin(talk) {
            return Err("it ended the connection".into());
        }
        if self.begun {
            let header = self.header().map_err(|failed| match failed {
                Failed::Data(what) | Failed::Reach(what) => what,
            })?;
            self.left = header.bytes;
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Header, Failed> {
        let Some(talk) = &mut self.talk else { return Err(Failed::Reach("it ended the connection".into())) };
        match talk.answer(&mut self.frame).map_err(Failed::Reach)? {
            Answer::Part { records, bytes, among_others } => {
                self.frame.clear();
                self.used = 0;
                Ok(Header { records, bytes, among_others })
            }
            Answer::Nothing => Err(Failed::Data("it is gone".into())),
            Answer::Failed(what) => Err(Failed::Data(what)),
            other => Err(Failed::Reach(format!("it answered {other:?}"))),
        }
    }

    /// The next map output.
    fn next(&mut self) -> Result<Header, StoreError> {
        while self.begun {
            let mut rest = [0; 4096];
            if self
                .read(&mut rest)
                .map_err(|e| StoreError::Unreachable { from: self.holder.to_string(), what: e.to_string() })?
                == 0
            {
                break;
            }
        }
        let header = self.persist(Self::header)?;
        (self.begun, self.read, self.left) = (true, 0, header.bytes);
        if header.bytes == 0 {
            self.end_part();
        }
        Ok(header)
    }

    fn end_part(&mut self) {
        self.begun = false;
        self.maps.pop_front();
        if self.maps.is_empty()
            && let Some(talk) = self.talk.take()
        {
            self.client.rest(&self.holder.address, talk);
        }
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, StoreError> {
        if !self.begun || into.is_empty() {
            return Ok(0);
        }
        if self.used == self.frame.len() {
            self.persist(|fetch| {
                let Some(talk) = &mut fetch.talk else { return Err(Failed::Reach("it ended the connection".into())) };
                talk.frame(&mut fetch.frame).map_err(Failed::Reach)?;
                fetch.used = 0;
                match fetch.frame.len() as u64 {
                    0 => Err(Failed::Data("its file ends too early".into())),
                    length if length > fetch.left => Err(Failed::Reach("it sent more than it said".into())),
                    _ => Ok(()),
                }
            })?;
        }
        let step = into.len().min(self.frame.len() - self.used);
        into[..step].copy_from_slice(&self.frame[self.used..self.used + step]);
        self.used += step;
        self.read += step as u64;
        self.left -= step as u64;
        if self.left == 0 {
            self.end_part();
        }
        Ok(step)
    }
}

/// What is said of a map output before its bytes.
struct Header {
    records: u64,
    bytes: u64,
    among_others: bool,
}

/// Why a step of a fetch did not succeed.
enum Failed {
    /// What is asked for is not there, or damaged.
    Data(String),
    /// The holder did not answer.
    Reach(String),
}

struct FetchHandle(Rc<RefCell<Fetch>>);

impl RemoteOutputs for FetchHandle {
    fn next(&mut self) -> Result<RemotePart, StoreError> {
        let Header { records, bytes, among_others } = self.0.borrow_mut().next()?;
        Ok(RemotePart { records, bytes, among_others, stream: Box::new(FetchHandle(self.0.clone())) })
    }
}

impl Read for FetchHandle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(into).map_err(|e| match e.is_corrupt() {
            true => io::Error::new(io::ErrorKind::InvalidData, e),
            false => io::Error::other(e),
        })
    }
}
