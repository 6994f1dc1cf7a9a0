//! Asks other processes for what they hold, and has them keep copies.

use super::{Answer, Ask, Failed, PROTOCOL, fetch, left::Left, receive_chunk, resting::Resting, send_chunks};
use crate::{
    executor::{decode, encode},
    files::FileSource,
};
use firesteel_model::{
    AttemptId, BlockId, BroadcastId, ExecutorId, PartitionIndex, Result, ShuffleId, StorageLevel,
    conf::{Conf, keys},
};
use firesteel_net::{FrameReader, FrameWriter, Hello, NetError, Options, Secret, connect};
use firesteel_rdd::{Holder, Peers, RemoteOutputs};
use firesteel_store::{BlockStatus, BlockStore, RemoteChunks, StoreError, Wanted};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path},
    sync::Arc,
    time::Duration,
};

/// Who can say where blocks are, and who is still there: the driver.
pub(in crate::cluster) trait Directory: Send + Sync {
    fn holders(&self, block: BlockId) -> Vec<Holder>;
    /// Some other executors.
    fn others(&self) -> Vec<Holder>;
    /// This process holds a block, too.
    fn keeps(&self, block: BlockId, status: BlockStatus);
    /// Where the map outputs of an executor are served; nowhere if they are lost.
    fn whereabouts(&self, executor: ExecutorId) -> Option<Holder>;
}

/// How patiently others are asked.
pub(in crate::cluster) struct Patience {
    /// How long they may say nothing.
    silence: Duration,
    /// How often they are asked again, and how long that waits.
    retries: u32,
    wait: Duration,
}

impl Patience {
    pub(in crate::cluster) fn new(conf: &Conf) -> Result<Self> {
        Ok(Patience {
            silence: conf.get(keys::NETWORK_TIMEOUT)?,
            retries: conf.get(keys::SHUFFLE_IO_MAX_RETRIES)?,
            wait: conf.get(keys::SHUFFLE_IO_RETRY_WAIT)?,
        })
    }
}

/// Asks other processes.
#[derive(Clone)]
pub(in crate::cluster) struct Client(pub(super) Arc<Shared>);

pub(super) struct Shared {
    /// This executor, and where it keeps what others may want as well.
    of: Option<(ExecutorId, Arc<BlockStore>)>,
    pub(super) secret: Secret,
    /// How long others may say nothing.
    pub(super) silence: Duration,
    options: Options,
    directory: Box<dyn Directory>,
    retries: u32,
    retry_wait: Duration,
    resting: Resting<Talk>,
    /// What is known of executors that have died.
    pub(super) left: Left,
}

/// A connection to another process that serves.
pub(super) struct Talk {
    reader: FrameReader,
    writer: FrameWriter,
    /// It has rested, and nothing was heard on it since: it may have ended meanwhile.
    pub(super) rested: bool,
}

impl Talk {
    pub(super) fn ask(&mut self, ask: &Ask) -> Result<(), NetError> {
        self.writer.send(&[&encode(ask).unwrap_or_default()])?;
        self.writer.flush()
    }
    pub(super) fn answer(&mut self, frame: &mut Vec<u8>) -> Result<Answer, String> {
        self.frame(frame)?;
        decode(frame).map_err(|e| e.to_string())
    }
    pub(super) fn frame(&mut self, frame: &mut Vec<u8>) -> Result<(), String> {
        match self.reader.recv(frame) {
            Ok(true) => {
                self.rested = false;
                Ok(())
            }
            Ok(false) => Err("it ended the connection".into()),
            Err(e) => Err(e.to_string()),
        }
    }
}

impl Client {
    pub(in crate::cluster) fn new(
        of: Option<(ExecutorId, Arc<BlockStore>)>,
        secret: Secret,
        directory: Box<dyn Directory>,
        patience: Patience,
    ) -> Self {
        let Patience { silence, retries, wait: retry_wait } = patience;
        let options = Options::default().within(silence);
        Client(Arc::new(Shared {
            of,
            secret,
            silence,
            options,
            directory,
            retries,
            retry_wait,
            resting: Resting::default(),
            left: Left::default(),
        }))
    }

    /// Asks on a connection that rests, if there is one, or on a new one.
    pub(super) fn talk(&self, address: &str, ask: &Ask) -> Result<Talk, NetError> {
        if let Some(mut talk) = self.0.resting.take(address) {
            if talk.ask(ask).is_ok() {
                return Ok(talk);
            }
            self.end_rested(address);
        }
        let mut talk = self.connect(address)?;
        talk.ask(ask)?;
        Ok(talk)
    }

    fn connect(&self, address: &str) -> Result<Talk, NetError> {
        let hello = Hello::new(PROTOCOL.0, PROTOCOL.1);
        let (reader, writer) = connect(address, Some(&self.0.secret), &hello, &self.0.options)?.split();
        Ok(Talk { reader, writer, rested: false })
    }

    /// Keeps a connection whose answers were all read.
    pub(super) fn rest(&self, address: &str, mut talk: Talk) {
        talk.rested = true;
        self.0.resting.put(address, talk);
    }

    /// Asks on a connection that rests, or on a new one if that has ended meanwhile: then all that rest there probably have.
    fn ask(&self, address: &str, ask: &Ask) -> Result<(Talk, Answer, Vec<u8>), String> {
        let mut frame = Vec::new();
        loop {
            let mut talk = self.talk(address, ask).map_err(|e| e.to_string())?;
            match talk.answer(&mut frame) {
                Ok(answer) => return Ok((talk, answer, frame)),
                Err(_) if talk.rested => self.end_rested(address),
                Err(what) => return Err(what),
            }
        }
    }

    /// Waits before what a holder has is asked for again, since it did not answer, which is `what`; who is to be asked then. An error if
    /// nobody is.
    pub(super) fn try_again(&self, holder: &Holder, failures: &mut u32, what: String) -> Result<Holder, StoreError> {
        let Shared { retries, retry_wait, directory, .. } = &*self.0;
        self.end_rested(&holder.address);
        match directory.whereabouts(holder.executor) {
            Some(other) if other != *holder => {
                tracing::info!("{holder} did not answer ({what}): {other} is asked");
                Ok(other)
            }
            Some(holder) if *failures < *retries => {
                *failures += 1;
                tracing::info!("{holder} did not answer ({what}): asked again in {retry_wait:?}");
                std::thread::sleep(*retry_wait);
                Ok(holder)
            }
            _ => Err(StoreError::Unreachable { from: holder.to_string(), what }),
        }
    }

    /// Ends the connections that rest, since one of them has ended.
    pub(super) fn end_rested(&self, address: &str) {
        self.0.resting.end(address);
    }

    /// Asks a holder; again if it does not answer, as often as the configuration says.
    fn persist<T>(&self, holder: &Holder, mut ask: impl FnMut(&str) -> Result<T, String>) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            match ask(&holder.address) {
                Ok(answer) => return Ok(answer),
                Err(what) => {
                    // Of an executor that has died there are map outputs at most.
                    if self.try_again(holder, &mut failures, what)?.is_dead {
                        let (from, what) = (holder.to_string(), "it has died".into());
                        return Err(StoreError::Unreachable { from, what });
                    }
                }
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
        let (partition, wanted) = partition;
        fetch::map_outputs(self, holder, fetch::Wish { shuffle, partition, wanted }, maps)
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
        let count = match self.persist(&driver, |address| self.ask(address, &Ask::Pieces(id)))? {
            (talk, answer @ (Answer::Pieces(_) | Answer::Nothing), _) => {
                self.rest(&driver.address, talk);
                let Answer::Pieces(count) = answer else { return Ok(None) };
                count as usize
            }
            (_, Answer::Failed(what), _) => {
                return Err(StoreError::Corrupt { place: format!("broadcast {id} of {driver}"), what });
            }
            (_, other, _) => return Err(nonsense(&driver, &other)),
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
    pub(in crate::cluster) fn block_of(
        &self,
        holder: &Holder,
        id: BlockId,
    ) -> Result<Option<Box<dyn RemoteChunks>>, StoreError> {
        match self.persist(holder, |address| self.ask(address, &Ask::Block(id)))? {
            (talk, Answer::Block { chunks, records }, _) => {
                let (client, holder) = (self.clone(), holder.clone());
                let mut arriving =
                    Arriving { client, holder, id, talk: Some(talk), left: chunks, count: chunks, records };
                arriving.rest_if_done();
                Ok(Some(Box::new(arriving)))
            }
            (talk, Answer::Nothing, _) => {
                self.rest(&holder.address, talk);
                Ok(None)
            }
            (_, Answer::Failed(what), _) => Err(StoreError::Corrupt { place: format!("block {id} of {holder}"), what }),
            (_, other, _) => Err(nonsense(holder, &other)),
        }
    }
}

/// A holder says what is no answer to what it was asked.
fn nonsense(holder: &Holder, answer: &Answer) -> StoreError {
    StoreError::Unreachable { from: holder.to_string(), what: format!("it answered {answer:?}") }
}

/// The driver's files.
pub(in crate::cluster) struct DriversFiles {
    pub(in crate::cluster) client: Client,
    pub(in crate::cluster) driver: Holder,
}

impl FileSource for DriversFiles {
    fn names(&self) -> Result<Vec<String>> {
        let DriversFiles { client, driver } = self;
        let names = client.persist(driver, |address| match client.ask(address, &Ask::Files)? {
            (talk, Answer::Files(names), _) => {
                client.rest(address, talk);
                Ok(names)
            }
            (_, other, _) => Err(format!("it answered {other:?}")),
        });
        Ok(names?)
    }

    fn fetch(&self, name: &str, into: &Path) -> Result<bool> {
        let DriversFiles { client, driver } = self;
        let found = client.persist(driver, |address| {
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
        });
        Ok(found?)
    }
}

/// Writes a file, or makes a folder, that is arriving.
fn receive(talk: &mut Talk, frame: &mut Vec<u8>, to: &Path, file: Option<(u32, u64)>) -> Result<(), String> {
    let failed = |e: io::Error| format!("{}: {e}", to.display());
    let Some((mode, mut left)) = file else {
        return match fs::create_dir(to) {
            // What came before the connection was cut.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(failed),
        };
    };
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

/// A block that is arriving; from its beginning again when the connection is cut, without what has come.
struct Arriving {
    client: Client,
    holder: Holder,
    id: BlockId,
    talk: Option<Talk>,
    left: u64,
    count: u64,
    records: u64,
}

impl Arriving {
    /// The next chunk. After an error nothing is left of the connection, whatever else it would have brought.
    fn receive(&mut self) -> Result<(Vec<u8>, u64), Failed> {
        let mut talk = match self.talk.take() {
            Some(talk) => talk,
            None => self.begin_again()?,
        };
        let chunk = receive_chunk(&mut talk.reader, &mut Vec::new())?;
        self.talk = Some(talk);
        self.left -= 1;
        self.rest_if_done();
        Ok(chunk)
    }

    /// Asks for the block once more, and passes over what has come of it.
    fn begin_again(&self) -> Result<Talk, Failed> {
        match self.client.ask(&self.holder.address, &Ask::Block(self.id)).map_err(Failed::Reach)? {
            (mut talk, Answer::Block { chunks, records }, _) if (chunks, records) == (self.count, self.records) => {
                for _ in self.left..self.count {
                    receive_chunk(&mut talk.reader, &mut Vec::new())?;
                }
                Ok(talk)
            }
            (_, Answer::Block { .. }, _) => Err(Failed::Data("it is another one now".into())),
            (_, Answer::Nothing, _) => Err(Failed::Data("it is gone".into())),
            (_, Answer::Failed(what), _) => Err(Failed::Data(what)),
            (_, other, _) => Err(Failed::Reach(format!("it answered {other:?}"))),
        }
    }

    fn rest_if_done(&mut self) {
        if self.left == 0
            && let Some(talk) = self.talk.take()
        {
            self.client.rest(&self.holder.address, talk);
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
        let (client, holder) = (self.client.clone(), self.holder.clone());
        let chunk = client.persist(&holder, |_| match self.receive() {
            Ok(chunk) => Ok(Ok(chunk)),
            Err(Failed::Reach(what)) => Err(what),
            Err(damaged) => Ok(Err(damaged)),
        })?;
        let place = || format!("block {} of {holder}", self.id);
        chunk.map_err(|damaged| StoreError::Corrupt { place: place(), what: damaged.to_string() })
    }
}
