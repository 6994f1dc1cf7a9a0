//! Serves what this process holds: a thread for each connection.

use super::{Answer, Ask, FRAME, Failed, PROTOCOL, receive_chunk, say, send_chunks};
use crate::{executor::decode, files::AddedFiles, graph::lock};
use firesteel_model::{AttemptId, BlockId, BroadcastId, PartitionIndex, ShuffleId, StorageLevel};
use firesteel_net::{Connection, FrameReader, FrameWriter, Hello, Listener, NetError, Options, Secret};
use firesteel_store::{BlockStatus, BlockStore, ShuffleStore, StoreError, Wanted};
use std::{
    fs,
    io::Read,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// Broadcast values travel in pieces of so many bytes, as in Spark.
const PIECE: usize = 4 << 20;

/// Serves what a process holds, until it is dropped.
pub(in crate::cluster) struct Server {
    listener: Listener,
}

/// What a process serves.
#[derive(Clone)]
pub(in crate::cluster) struct Holdings {
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
    pub(in crate::cluster) fn of_executor(blocks: Arc<BlockStore>, shuffles: Arc<ShuffleStore>, keeps: Keeps) -> Self {
        let (pieces_sent, cutting) = (Arc::default(), Arc::default());
        Holdings { blocks, shuffles: Some(shuffles), keeps: Some(keeps), files: None, pieces_sent, cutting }
    }

    /// Counts the pieces of broadcast values that leave it.
    pub(in crate::cluster) fn of_driver(
        blocks: Arc<BlockStore>,
        files: Arc<AddedFiles>,
        pieces_sent: Arc<AtomicU64>,
    ) -> Self {
        Holdings { blocks, shuffles: None, keeps: None, files: Some(files), pieces_sent, cutting: Arc::default() }
    }
}

impl Server {
    pub(in crate::cluster) fn start(
        address: SocketAddr,
        secret: &Secret,
        holdings: Holdings,
    ) -> Result<Self, NetError> {
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

    pub(in crate::cluster) fn port(&self) -> u16 {
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
            let unsent =
                |why: Failed| StoreError::Unreachable { from: "who sends a copy".into(), what: why.to_string() };
            arrived.map(Some).map_err(unsent)
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
