//! Map outputs that are arriving: asked for once, and again from where it was when a connection is cut.

use super::{
    Answer, Ask, Failed,
    ask::{Client, Talk},
    left::FromService,
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

/// What is wanted of map outputs.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub(super) shuffle: ShuffleId,
    pub(super) partition: u32,
    pub(super) wanted: Wanted,
}

/// Asks a holder for one partition of map outputs.
pub(super) fn map_outputs(
    client: &Client,
    holder: &Holder,
    wish: Wish,
    maps: Vec<(PartitionIndex, AttemptId)>,
) -> Box<dyn RemoteOutputs> {
    let mut fetch = Fetch {
        client: client.clone(),
        holder: holder.clone(),
        wish,
        maps: maps.into(),
        line: None,
        begun: false,
        read: 0,
        left: 0,
        frame: Vec::new(),
        used: 0,
    };
    // What fails now is tried again when the answer is wanted.
    fetch.line = fetch.connect().ok();
    Box::new(FetchHandle(Rc::new(RefCell::new(fetch))))
}

/// Map outputs that are arriving from one holder.
struct Fetch {
    client: Client,
    holder: Holder,
    wish: Wish,
    /// Those that have not come yet, first the one that is being read.
    maps: VecDeque<(PartitionIndex, AttemptId)>,
    /// None before the first, after a failure, and at the end.
    line: Option<Line>,
    /// Whether the first of `maps` has begun to come, how many of its bytes were read, and how many are to come.
    begun: bool,
    read: u64,
    left: u64,
    frame: Vec<u8>,
    used: usize,
}

/// Whence they come: the same bytes from either.
enum Line {
    Executor(Talk),
    Service(FromService),
}

impl Fetch {
    /// Asks for all that has not come yet.
    fn connect(&self) -> Result<Line, Failed> {
        let skip = if self.begun { self.read } else { 0 };
        if self.holder.is_dead {
            return FromService::open(&self.client, &self.holder, self.wish, &self.maps, skip).map(Line::Service);
        }
        let reach = |e: firesteel_net::NetError| Failed::Reach(e.to_string());
        let Wish { shuffle, partition, wanted } = self.wish;
        let maps = self.maps.iter().copied().collect();
        let ask = Ask::Outputs { shuffle, partition, wanted, maps, skip };
        self.client.talk(&self.holder.address, &ask).map(Line::Executor).map_err(reach)
    }

    /// Does something with the connection; when that fails, makes it anew and goes on from where it was. Where the holder has died, what
    /// it left may be served elsewhere.
    fn persist<T>(&mut self, mut step: impl FnMut(&mut Self) -> Result<T, Failed>) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            let failed = match self.connected().and_then(|()| step(self)) {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            let had_rested = matches!(self.line.take(), Some(Line::Executor(talk)) if talk.rested);
            match failed {
                // That says nothing about the holder.
                Failed::Reach(_) if had_rested => self.client.end_rested(&self.holder.address),
                Failed::Data(what) => {
                    let (map, attempt) = self.maps.front().copied().unwrap_or_default();
                    let place = format!("the output of map task {map} (attempt {attempt}) on {}", self.holder);
                    return Err(StoreError::Corrupt { place, what });
                }
                Failed::Lost(what) => return Err(StoreError::Unreachable { from: self.holder.to_string(), what }),
                Failed::Reach(what) => self.holder = self.client.try_again(&self.holder, &mut failures, what)?,
            }
        }
    }

    fn connected(&mut self) -> Result<(), Failed> {
        if self.line.is_some() {
            return Ok(());
        }
        self.frame.clear();
        self.used = 0;
        self.line = Some(self.connect()?);
        if self.begun {
            self.left = self.header()?.bytes;
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Header, Failed> {
        let header = match &mut self.line {
            None => return Err(Failed::Reach("it ended the connection".into())),
            Some(Line::Service(service)) => service.header(self.wish, &self.maps)?,
            Some(Line::Executor(talk)) => match talk.answer(&mut self.frame).map_err(Failed::Reach)? {
                Answer::Part { records, bytes, among_others } => Header { records, bytes, among_others },
                Answer::Nothing => return Err(Failed::Data("it is gone".into())),
                Answer::Failed(what) => return Err(Failed::Data(what)),
                other => return Err(Failed::Reach(format!("it answered {other:?}"))),
            },
        };
        self.frame.clear();
        self.used = 0;
        Ok(header)
    }

    /// The next bytes of the map output that is being read.
    fn fill(&mut self) -> Result<(), Failed> {
        match &mut self.line {
            None => return Err(Failed::Reach("it ended the connection".into())),
            Some(Line::Service(service)) => service.frame(&mut self.frame)?,
            Some(Line::Executor(talk)) => talk.frame(&mut self.frame).map_err(Failed::Reach)?,
        }
        self.used = 0;
        match self.frame.len() as u64 {
            0 => Err(Failed::Data("its file ends too early".into())),
            length if length > self.left => Err(Failed::Reach("it sent more than it said".into())),
            _ => Ok(()),
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
        if self.maps.is_empty() {
            match self.line.take() {
                Some(Line::Executor(talk)) => self.client.rest(&self.holder.address, talk),
                Some(Line::Service(service)) => service.rest(&self.client),
                None => {}
            }
        }
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, StoreError> {
        if !self.begun || into.is_empty() {
            return Ok(0);
        }
        if self.used == self.frame.len() {
            self.persist(Self::fill)?;
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
pub(super) struct Header {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) among_others: bool,
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
