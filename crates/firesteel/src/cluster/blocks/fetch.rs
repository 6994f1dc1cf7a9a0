//! Map outputs that are arriving: asked for once, and again from where it was when a connection is cut.

use super::{
    Answer, Ask,
    ask::{Client, Talk},
};
use firesteel_model::{AttemptId, PartitionIndex, ShuffleId};
use firesteel_rdd::{Holder, RemoteOutputs, RemotePart};
use firesteel_store::{StoreError, Wanted};
use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, Read},
    rc::Rc,
};

/// Asks a holder for one partition of map outputs.
pub(super) fn map_outputs(
    client: &Client,
    holder: &Holder,
    shuffle: ShuffleId,
    partition: (u32, Wanted),
    maps: Vec<(PartitionIndex, AttemptId)>,
) -> Box<dyn RemoteOutputs> {
    let mut fetch = Fetch {
        client: client.clone(),
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
    if let Ok(talk) = client.talk(&holder.address) {
        fetch.begin(talk);
    }
    Box::new(FetchHandle(Rc::new(RefCell::new(fetch))))
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
