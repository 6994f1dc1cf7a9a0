//! The driver's side: it listens for executors, and reaches each by its connection.

use super::{
    blocks::{Client, Directory, Holdings, Patience, Server},
    messages::{Bytes, CONTROL, Ended, FromExecutor, Introduction, Launch, ToExecutor, Welcome},
};
use crate::{
    driver::Msg,
    executor::{Order, Parcel, TaskEnd, decode, encode},
    graph::lock,
    link::Link,
    setup::Setup,
    supply::{Delivery, NewExecutor, Place},
};
use crossbeam_channel::{Receiver, Sender};
use firesteel_cluster::content::ContentHash;
use firesteel_model::{
    AttemptId, BlockId, BroadcastId, Error, ExecutorId, HostId, Result, ShuffleId, StageId, conf::Conf,
};
use firesteel_net::{Closer, Connection, FrameReader, Hello, Listener, NetError, Options, Outbox, Secret};
use firesteel_rdd::{Holder, MapOutputs, Output};
use firesteel_scheduler::LossReason;
use firesteel_store::BlockStatus;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    convert::Infallible,
    fmt::Display,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, atomic::AtomicU64},
};

/// So many bytes may wait for an executor that does not read; one that lets more wait is given up.
const UNSENT: usize = 512 << 20;

/// A stage of more bytes is not sent: it must fit a frame beside a task.
const LARGEST_STAGE: usize = Options::DEFAULT_MAX_FRAME / 2;

/// What a driver gives its executors.
pub(crate) struct Hosting {
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) setups: Vec<Setup>,
    pub(crate) slots: u32,
    /// Bytes for tasks and what is kept, of each executor.
    pub(crate) budget: u64,
    /// Bytes that it may take in all.
    pub(crate) memory: u64,
    /// The hash that executables must have; none where they are the driver's own.
    pub(crate) executable: Option<ContentHash>,
}

/// Where a driver listens for executors.
pub(crate) struct Address {
    /// Which addresses of this machine, and which port (0 for a free one).
    pub(crate) bind: SocketAddr,
    /// What executors call it, without a port.
    pub(crate) host: String,
}

impl Address {
    /// For executors of this machine.
    pub(crate) fn loopback() -> Self {
        let bind = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Address { bind, host: bind.ip().to_string() }
    }

    pub(super) fn with_port(&self, port: u16) -> String {
        match self.host.contains(':') && !self.host.starts_with('[') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }
}

/// Where executors register. Dropping it closes the door; those that are in stay.
pub(crate) struct Control {
    pub(crate) secret: Secret,
    address: String,
    _listener: Listener,
    _blocks: Server,
}

struct Door {
    hosting: Hosting,
    driver: Holder,
    directory: Arc<Places>,
    delivery: Delivery,
    to_driver: Sender<Msg>,
}

/// Does what takes a connection to another process, for which the driver's loop cannot wait. Its threads end when it is dropped.
pub(crate) struct Runners {
    fetches: Sender<(AttemptId, ExecutorId)>,
    /// Each executor is in it once at most.
    removals: Sender<Holder>,
}

/// So many results are fetched at a time.
const FETCHERS: usize = 4;

impl Runners {
    /// Brings a result that an executor keeps for the driver: [`Msg::Fetched`] follows.
    pub(crate) fn fetch(&self, attempt: AttemptId, from: ExecutorId) {
        let _ = self.fetches.send((attempt, from));
    }

    /// Has the map outputs of an executor removed that has died.
    pub(crate) fn remove_outputs(&self, of: Holder) {
        let _ = self.removals.send(of);
    }
}

/// Where executors serve what they hold.
#[derive(Default)]
pub(crate) struct Places {
    known: Mutex<Known>,
    /// How many pieces of broadcast values the driver has sent.
    pub(crate) pieces_sent: Arc<AtomicU64>,
}

#[derive(Default)]
struct Known {
    /// The numbers of all executors that have come.
    numbers: BTreeSet<ExecutorId>,
    living: BTreeMap<ExecutorId, Served>,
    /// Of executors that have died and whose map outputs are served.
    dead: BTreeMap<ExecutorId, Left>,
    /// The hosts that executors have had, each at its number.
    hosts: Vec<IpAddr>,
    /// The application ends: nobody comes in any more.
    closed: bool,
}

/// Where something that an executor holds is served.
struct Served {
    /// All of it, by itself.
    address: String,
    /// Its map outputs, when it has died.
    outputs: Option<String>,
}

/// Where is served what an executor has left that has died.
struct Left {
    address: String,
    /// Somebody was told so, and may have asked there.
    told: bool,
}

impl Known {
    fn living(&self, executor: ExecutorId) -> Option<Holder> {
        let address = self.living.get(&executor)?.address.clone();
        Some(Holder { executor, address, is_dead: false })
    }
    /// As somebody is told it.
    fn whereabouts(&mut self, executor: ExecutorId) -> Option<Holder> {
        self.living(executor).or_else(|| {
            let left = self.dead.get_mut(&executor)?;
            left.told = true;
            Some(Holder { executor, address: left.address.clone(), is_dead: true })
        })
    }
}

impl Places {
    /// Where an executor serves what it holds, if it lives.
    pub(crate) fn holder(&self, executor: ExecutorId) -> Option<Holder> {
        lock(&self.known).living(executor)
    }
    /// Where the map outputs of an executor are served, by itself or when it has died.
    pub(crate) fn whereabouts(&self, executor: ExecutorId) -> Option<Holder> {
        lock(&self.known).whereabouts(executor)
    }
    /// Whether its map outputs are served, by itself or when it has died.
    pub(crate) fn is_served(&self, executor: ExecutorId) -> bool {
        let known = lock(&self.known);
        known.living.contains_key(&executor) || known.dead.contains_key(&executor)
    }
    /// Whether somebody who could not reach it may have asked where its map outputs are served now: not if it has died meanwhile, and
    /// nobody knows yet where.
    pub(crate) fn may_have_been_asked(&self, executor: ExecutorId) -> bool {
        lock(&self.known).dead.get(&executor).is_none_or(|left| left.told)
    }
    /// Who served the map outputs of an executor that has died is gone. Those of which it did, too.
    pub(crate) fn service_lost(&self, executor: ExecutorId) -> Vec<ExecutorId> {
        let dead = &mut lock(&self.known).dead;
        let Some(lost) = dead.remove(&executor) else { return Vec::new() };
        dead.extract_if(.., |_, left| left.address == lost.address).map(|(executor, _)| executor).collect()
    }
    /// Forgets the executors that have died and of which nothing `is_wanted`; where their map outputs are served.
    pub(crate) fn forget_dead(&self, is_wanted: impl Fn(ExecutorId) -> bool) -> Vec<Holder> {
        let dead = &mut lock(&self.known).dead;
        let unwanted = dead.extract_if(.., |executor, _| !is_wanted(*executor));
        unwanted.map(|(executor, left)| Holder { executor, address: left.address, is_dead: true }).collect()
    }
    /// Whether no executor of this number has come before: a master that was restarted, or that could not reach the application, may have
    /// given it to two.
    fn is_first(&self, executor: ExecutorId) -> bool {
        lock(&self.known).numbers.insert(executor)
    }
    /// Adds an executor and tells of it, unless it comes too late; says whether it did.
    fn add(&self, executor: ExecutorId, served: Served, tell: impl FnOnce()) -> bool {
        let mut known = lock(&self.known);
        if !known.closed {
            known.living.insert(executor, served);
            tell();
        }
        !known.closed
    }
    fn host(&self, host: IpAddr) -> HostId {
        let hosts = &mut lock(&self.known).hosts;
        let number = hosts.iter().position(|known| *known == host).unwrap_or_else(|| {
            hosts.push(host);
            hosts.len() - 1
        });
        HostId(number as u32)
    }
    /// An executor has died, or is given up.
    pub(crate) fn remove(&self, executor: ExecutorId) {
        let mut known = lock(&self.known);
        let outputs = known.living.remove(&executor).and_then(|served| served.outputs);
        known.dead.extend(outputs.map(|address| (executor, Left { address, told: false })));
    }
    /// From now on nobody is added.
    pub(crate) fn close(&self) {
        lock(&self.known).closed = true;
    }
    /// What a reader of a shuffle is told, whose partitions are of `1 << spread` parts. An executor that is gone has an address where nobody answers.
    pub(crate) fn outputs(&self, known: &firesteel_scheduler::MapOutputs, spread: u32) -> MapOutputs {
        let attempts = known.outputs.iter().map(|output| output.attempt).collect();
        let mut places = lock(&self.known);
        if places.living.is_empty() && places.dead.is_empty() {
            return MapOutputs { attempts, spread, ..MapOutputs::default() };
        }
        let mut numbers: BTreeMap<ExecutorId, u32> = BTreeMap::new();
        let mut holders = Vec::new();
        let held_by = known.outputs.iter().map(|output| {
            *numbers.entry(output.executor).or_insert_with(|| {
                let executor = output.executor;
                let nowhere = || Holder { executor, address: String::new(), is_dead: true };
                holders.push(places.whereabouts(executor).unwrap_or_else(nowhere));
                holders.len() as u32 - 1
            })
        });
        let held_by = held_by.collect();
        MapOutputs { attempts, held_by, holders, spread }
    }
}

/// The driver asks nobody but whom it means.
impl Directory for Arc<Places> {
    fn holders(&self, _: BlockId) -> Vec<Holder> {
        Vec::new()
    }
    fn others(&self) -> Vec<Holder> {
        Vec::new()
    }
    fn keeps(&self, _: BlockId, _: BlockStatus) {}
    fn whereabouts(&self, executor: ExecutorId) -> Option<Holder> {
        Places::whereabouts(self, executor)
    }
}

impl Control {
    /// Listens for executors, with a secret of its own.
    pub(crate) fn open(
        at: &Address,
        hosting: Hosting,
        holdings: Holdings,
        places: Arc<Places>,
        delivery: Delivery,
        to_driver: Sender<Msg>,
    ) -> Result<Self> {
        let failed = |e: NetError| Error::Other(Arc::new(e));
        let secret = Secret::random().map_err(failed)?;
        let server = Server::start((at.bind.ip(), 0).into(), &secret, holdings).map_err(failed)?;
        let driver = Holder { executor: Holder::DRIVER, address: at.with_port(server.port()), is_dead: false };
        let door = Arc::new(Door { hosting, driver, directory: places, delivery, to_driver });
        let hello = Hello::new(CONTROL.0, CONTROL.1);
        let listener = Listener::bind(at.bind, Some(&secret), &hello, &Options::default(), move |connection| {
            let door = door.clone();
            let started = std::thread::Builder::new().name("firesteel-executor-link".into()).spawn(move || {
                let peer = connection.peer().to_string();
                if let Err(what) = door.enter(connection) {
                    tracing::warn!("an executor at {peer} could not begin: {what}");
                }
            });
            if let Err(e) = started {
                tracing::warn!("no thread for an executor that registers: {e}");
            }
        })
        .map_err(failed)?;
        let address = at.with_port(listener.local_addr().port());
        Ok(Control { secret, address, _listener: listener, _blocks: server })
    }

    /// Runs errands, on threads of its own: no result waits for a worker that is out of reach and has outputs to remove.
    pub(crate) fn runners(&self, conf: &Conf, places: &Arc<Places>, to_driver: &Sender<Msg>) -> Result<Runners> {
        let client = Client::new(None, self.secret.clone(), Box::new(places.clone()), Patience::new(conf)?);
        let (fetches, to_fetch) = crossbeam_channel::unbounded();
        let (removals, to_remove) = crossbeam_channel::unbounded::<Holder>();
        let spawn = |run: Box<dyn FnOnce() + Send>| {
            let started = std::thread::Builder::new().name("firesteel-errands".into()).spawn(run);
            started.map(drop).map_err(|e| Error::io("start", "a thread that runs errands", e))
        };
        for _ in 0..FETCHERS {
            let (client, to_fetch, places, to_driver) =
                (client.clone(), to_fetch.clone(), places.clone(), to_driver.clone());
            spawn(Box::new(move || {
                for (attempt, executor) in to_fetch {
                    let fetched = fetch(&client, &places, executor, BlockId::TaskResult(attempt));
                    let _ = to_driver.send(Msg::Fetched(attempt, fetched));
                }
            }))?;
        }
        spawn(Box::new(move || to_remove.into_iter().for_each(|holder| client.remove_outputs(&holder))))?;
        Ok(Runners { fetches, removals })
    }

    /// Where executors register.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

/// The bytes of a block that an executor holds.
fn fetch(client: &Client, places: &Places, executor: ExecutorId, block: BlockId) -> Result<Vec<u8>, String> {
    let holder = places.holder(executor).ok_or_else(|| format!("executor {executor} is gone"))?;
    let found = client.block_of(&holder, block).map_err(|e| e.to_string())?;
    let mut chunks = found.ok_or_else(|| format!("{holder} has no {block}"))?;
    let mut bytes = Vec::new();
    for _ in 0..chunks.count() {
        bytes.extend_from_slice(&chunks.next().map_err(|e| e.to_string())?.0);
    }
    Ok(bytes)
}

impl Door {
    /// Lets an executor in, and listens to it until it ends.
    fn enter(&self, connection: Connection) -> Result<(), String> {
        let host = connection.peer_addr().ip();
        let introduction: Introduction = decode(&connection.hello().details).map_err(|e| e.to_string())?;
        let closer = connection.closer();
        let (mut reader, writer) = connection.split();
        let outbox = Outbox::new(writer, UNSENT).map_err(|e| e.to_string())?;
        let say = |message: &ToExecutor| -> Result<(), String> {
            outbox.try_send(encode(message).map_err(|e| e.to_string())?).map_err(|e| e.to_string())
        };
        if introduction.executable != self.hosting.executable {
            let why =
                "it is another program than the driver's, or another build of it: start the same executable everywhere";
            say(&ToExecutor::Refused(why.into()))?;
            return Err(why.into());
        }
        let hosting = &self.hosting;
        let slots = introduction.cores.map_or(hosting.slots, |cores| cores.get());
        say(&ToExecutor::Welcome(Box::new(Welcome {
            slots,
            budget: hosting.budget,
            memory: hosting.memory,
            settings: hosting.settings.clone(),
            setups: hosting.setups.clone(),
            driver: self.driver.clone(),
        })))?;
        let mut frame = Vec::new();
        let (port, outputs_port) = match receive(&mut reader, &mut frame)? {
            FromExecutor::Ready { port, outputs_port } => (port, outputs_port),
            FromExecutor::Failed(why) => {
                self.delivery.could_not_begin(why.clone());
                return Err(why);
            }
            other => return Err(format!("it began with {other:?}")),
        };
        let executor = introduction.executor;
        if !self.directory.is_first(executor) {
            return Err(format!("another one has come with its number {executor}, and it is sent away"));
        }
        let (alive, end) = crossbeam_channel::bounded(0);
        let (given_up, stages, outputs) = Default::default();
        let link = RemoteLink { executor, outbox, closer, end, given_up, stages, outputs };
        let place = Place { host: host.to_string(), port, memory: hosting.budget };
        let new = NewExecutor {
            executor,
            host: self.directory.host(host),
            slots,
            place: Some(place),
            outputs_outlive: outputs_port.is_some(),
            link: Box::new(link),
        };
        let address = |port| SocketAddr::new(host, port).to_string();
        let served = Served { address: address(port), outputs: outputs_port.map(address) };
        if !self.directory.add(executor, served, || self.delivery.granted(new)) {
            tracing::debug!("executor {executor} comes when the application has ended");
            return Ok(());
        }
        let words = loop {
            match receive(&mut reader, &mut frame) {
                Ok(message) => self.heard(executor, message),
                Err(words) => break words,
            }
        };
        self.directory.remove(executor);
        self.delivery.disconnected(executor, LossReason::Exited { message: words, caused_by_app: false });
        drop::<Sender<Infallible>>(alive);
        Ok(())
    }

    fn tell(&self, msg: Msg) {
        let _ = self.to_driver.send(msg);
    }

    fn heard(&self, executor: ExecutorId, message: FromExecutor) {
        self.tell(match message {
            FromExecutor::Ended(ended) => Msg::TaskEnded(Box::new((*ended).into())),
            FromExecutor::MayCommit(attempt) => Msg::MayCommit(attempt),
            FromExecutor::Block(block, status) => Msg::BlockMoved(executor, block, status),
            FromExecutor::Heartbeat { number, running } => {
                Msg::Scheduler(firesteel_scheduler::Event::Heartbeat { executor, number, running })
            }
            FromExecutor::Locate { question, block } => Msg::Locate { executor, question, block },
            FromExecutor::Others { question } => Msg::Others { executor, question },
            FromExecutor::WhereIs { question, executor: other } => Msg::WhereIs { executor, question, other },
            FromExecutor::Ready { .. } => return,
            FromExecutor::Failed(why) => {
                self.delivery.gone(executor, LossReason::Exited { message: why, caused_by_app: true });
                return;
            }
        })
    }
}

impl From<Ended> for TaskEnd {
    fn from(ended: Ended) -> Self {
        TaskEnd {
            attempt: ended.attempt,
            outcome: match ended.outcome {
                Ok(Some(bytes)) => Ok(Output::Bytes(bytes.0)),
                Ok(None) => Ok(Output::Kept),
                Err(failure) => Err(failure),
            },
            metrics: ended.metrics.into(),
            peaks: ended.peaks,
            accumulators: ended.accumulators.into_iter().map(|(id, bytes)| (id, bytes.0)).collect(),
            blocks: ended.blocks,
            copies: ended.copies,
        }
    }
}

/// The next message; why there is none, if there is none.
pub(super) fn receive<T: serde::de::DeserializeOwned>(
    reader: &mut FrameReader,
    frame: &mut Vec<u8>,
) -> Result<T, String> {
    match reader.recv(frame) {
        Ok(true) => decode(frame).map_err(|e| format!("a message that makes no sense: {e}")),
        Ok(false) => Err("the other side has ended the connection".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// An executor in another process.
struct RemoteLink {
    executor: ExecutorId,
    outbox: Outbox,
    closer: Closer,
    end: Receiver<Infallible>,
    /// What is sent does not arrive any more.
    given_up: Cell<bool>,
    /// What it was sent and has not been told to forget.
    stages: HashSet<StageId>,
    outputs: HashMap<ShuffleId, u64>,
}

impl RemoteLink {
    fn send(&self, message: &ToExecutor) {
        match encode(message) {
            Ok(frame) => self.done(self.outbox.try_send(frame)),
            Err(e) => self.give_up(e),
        }
    }

    fn done(&self, sent: Result<(), NetError>) {
        sent.unwrap_or_else(|e| self.give_up(e));
    }

    fn give_up(&self, why: impl Display) {
        if !self.given_up.replace(true) {
            tracing::warn!("executor {} is given up: {why}", self.executor);
            self.closer.close();
        }
    }
}

impl Link for RemoteLink {
    fn launch(&mut self, parcel: Parcel) -> Result<()> {
        let Parcel { task, stage, outputs } = parcel;
        let of_stage = task.info.stage;
        let stage_bytes = match self.stages.contains(&of_stage) {
            true => Bytes::default(),
            false => Bytes(stage()?.to_vec()),
        };
        if stage_bytes.0.len() > LARGEST_STAGE {
            return Err(Error::Serialization(format!(
                "the environments of stage {of_stage} take {} MiB, and at most {} MiB can be sent with a stage: hand large values over \
                 as a broadcast",
                stage_bytes.0.len() >> 20,
                LARGEST_STAGE >> 20
            )));
        }
        self.stages.insert(of_stage);
        let known = &mut self.outputs;
        let outputs = outputs.into_iter().map(|(shuffle, version, bytes)| {
            let is_new = known.insert(shuffle, version) != Some(version);
            (shuffle, version, Bytes(if is_new { bytes.to_vec() } else { Vec::new() }))
        });
        let outputs = outputs.collect();
        let launch = encode(&ToExecutor::Launch(Launch { task, stage_bytes, outputs }))?;
        self.done(self.outbox.try_queue(launch));
        Ok(())
    }
    fn send_launched(&mut self) {
        self.done(self.outbox.go());
    }
    fn tell(&mut self, order: Order) {
        if let Order::RemoveShuffle(shuffle) = &order {
            self.outputs.remove(shuffle);
        }
        self.send(&ToExecutor::Order(order));
    }
    fn forget_stage(&mut self, stage: StageId) {
        if self.stages.remove(&stage) {
            self.send(&ToExecutor::ForgetStage(stage));
        }
    }
    fn forget_broadcast(&mut self, broadcast: BroadcastId) {
        self.tell(Order::RemoveBlock(BlockId::Broadcast(broadcast)));
    }
    fn located(&mut self, question: u64, holders: Vec<Holder>) {
        self.send(&ToExecutor::Located { question, holders });
    }
    fn whereabouts(&mut self, question: u64, holder: Option<Holder>) {
        self.send(&ToExecutor::Whereabouts { question, holder });
    }
    fn close(&mut self) {
        self.send(&ToExecutor::Close);
    }
    fn end(&self) -> Receiver<Infallible> {
        self.end.clone()
    }
    fn gone(self: Box<Self>, _: bool) {
        self.closer.close();
    }
    fn known_outputs(&self) -> usize {
        self.outputs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::AddedFiles;
    use firesteel_net::{FrameWriter, connect};
    use firesteel_store::{BlockStore, Memory, Scratch};

    /// An executor that knocks at the door.
    fn comes(control: &Control, executor: ExecutorId) -> (FrameReader, FrameWriter) {
        let introduction = Introduction { executable: None, executor, cores: None, pid: 1 };
        let hello = Hello::new(CONTROL.0, CONTROL.1).details(encode(&introduction).unwrap());
        let connection = connect(control.address(), Some(&control.secret), &hello, &Options::default()).unwrap();
        let (mut reader, mut writer) = connection.split();
        assert!(matches!(receive(&mut reader, &mut Vec::new()), Ok(ToExecutor::Welcome(_))));
        let ready = encode(&FromExecutor::Ready { port: 1, outputs_port: None }).unwrap();
        writer.send(&[&ready]).and_then(|()| writer.flush()).unwrap();
        (reader, writer)
    }

    #[test]
    fn an_executor_in_whose_number_another_has_come_is_sent_away() {
        let (scratch, memory) = (Scratch::new(vec![]), Memory::new(1 << 20, 0.5));
        let files = AddedFiles::new(scratch.clone(), None);
        let holdings = Holdings::of_driver(Arc::new(BlockStore::new(scratch, memory)), files, Arc::default());
        let hosting =
            Hosting { settings: vec![], setups: vec![], slots: 1, budget: 1 << 20, memory: 1 << 20, executable: None };
        let (to_driver, driver) = crossbeam_channel::unbounded();
        let delivery = Delivery::new(to_driver.clone());
        let at = Address::loopback();
        let control = Control::open(&at, hosting, holdings, Arc::default(), delivery.clone(), to_driver).unwrap();
        let is_sent_away = || {
            let (mut reader, _writer) = comes(&control, ExecutorId(3));
            receive::<ToExecutor>(&mut reader, &mut Vec::new()).is_err()
        };
        let first = comes(&control, ExecutorId(3));
        // Its connection lives for as long as the driver has its link.
        let Ok(Msg::ExecutorReady(link)) = driver.recv() else { panic!() };
        assert!(is_sent_away());
        // Nobody will say how it ended.
        delivery.over();
        drop((first, link));
        assert!(matches!(driver.recv(), Ok(Msg::ExecutorGone(ExecutorId(3), _))));
        assert!(is_sent_away(), "what the first one held may be asked for");
        assert!(driver.try_recv().is_err());
    }

    #[test]
    fn who_could_not_reach_an_executor_has_not_asked_a_service_of_which_nobody_was_told() {
        let (one, other) = (ExecutorId(1), ExecutorId(2));
        let places = Places::default();
        let served = || Served { address: "h:1".into(), outputs: Some("h:2".into()) };
        assert!(places.add(one, served(), || {}) && places.add(other, served(), || {}));
        assert!(places.may_have_been_asked(one));
        places.remove(one);
        places.remove(other);
        assert!(places.is_served(one) && !places.may_have_been_asked(one));
        assert_eq!(places.whereabouts(one).map(|holder| holder.address), Some("h:2".into()));
        assert!(places.may_have_been_asked(one) && !places.may_have_been_asked(other));
        assert_eq!(places.service_lost(one), [other]);
        assert!(!places.is_served(other) && places.may_have_been_asked(other));
    }
}
