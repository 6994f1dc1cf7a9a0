//! A process that is an executor.

use super::{
    blocks::{Client, Directory, DriversFiles, Holdings, Patience, Server},
    control::receive,
    messages::{Bytes, CONTROL, Ended, FromExecutor, Introduction, Launch, ToExecutor, Welcome},
};
use crate::{
    executor::{Parcel, Runner, Stores, TaskEnd, Threads, ToDriver, encode},
    files::AddedFiles,
    graph::lock,
    memory_limit::Limit,
};
use crossbeam_channel::Sender;
use firesteel_cluster::role::{Given, Role};
use firesteel_model::{
    AttemptId, BlockId, Error, ExecutorId, Result, ShuffleId, StageId,
    conf::{Conf, Origin, keys},
};
use firesteel_net::{FrameReader, Hello, Options, Outbox, connect};
use firesteel_rdd::{Holder, Output};
use firesteel_store::{BlockStatus, Scratch};
use std::{
    collections::HashMap,
    fmt::Display,
    io::{self, Write},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// So many bytes may wait for the driver before tasks wait, too.
const UNSENT: usize = 256 << 20;
/// How long the driver may take to be told why this process ends.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The status with which an executor ends that has lost its driver or its scratch folders, which is not the program's fault; of
/// `sysexits.h`, for a failure that will pass.
pub(super) const FORSAKEN: i32 = 75;
/// How long tasks may take to end when the driver has gone.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Is the executor that the role says, until the driver lets it go or is gone.
pub(crate) fn run(given: Result<Given>) -> ExitCode {
    match given.and_then(begin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            note(e);
            ExitCode::FAILURE
        }
    }
}

/// Notes something in this process's log; whoever kept that may be gone.
pub(crate) fn note(what: impl Display) {
    let _ = writeln!(io::stderr(), "firesteel executor: {what}");
}

fn other(e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Arc::new(e))
}

fn begin(given: Given) -> Result<()> {
    if let Some(starter) = given.starter {
        let watch = move || {
            starter.wait();
            note("the process that started it has ended, and so does this one");
            std::process::exit(1);
        };
        let thread = std::thread::Builder::new().name("firesteel-starter".into());
        thread.spawn(watch).map_err(|e| Error::io("start", "a thread that watches who started this process", e))?;
    }
    serve(&given.role)
}

fn serve(role: &Role) -> Result<()> {
    let introduction = Introduction {
        executable: role.executable,
        executor: role.executor,
        cores: role.cores,
        pid: std::process::id(),
    };
    let hello = Hello::new(CONTROL.0, CONTROL.1).details(encode(&introduction)?);
    let connection = connect(role.driver.as_str(), Some(&role.secret), &hello, &Options::default()).map_err(other)?;
    let local = connection.local_addr().ip();
    let (mut reader, writer) = connection.split();
    let mut frame = Vec::new();
    let welcome = match receive(&mut reader, &mut frame).map_err(Error::Stopped)? {
        ToExecutor::Welcome(welcome) => *welcome,
        ToExecutor::Refused(why) => return Err(Error::Config(why)),
        _ => return Err(Error::Config("the driver does not speak as drivers do".into())),
    };
    let conf = welcome.conf(role);
    let voice = Arc::new(Voice {
        at_once: conf.get(keys::TASK_MAX_DIRECT_RESULT_SIZE)?.0.min(Options::DEFAULT_MAX_FRAME as u64 / 2),
        outbox: Outbox::new(writer, UNSENT).map_err(other)?,
        questions: AtomicU64::new(0),
        waiting: Mutex::default(),
    });
    match Process::start(role, &welcome, &conf, local, voice.clone()) {
        Ok((process, port, outputs_port)) => {
            voice.say(&FromExecutor::Ready { port, outputs_port });
            process.listen(&mut reader);
            Ok(())
        }
        Err(e) => {
            voice.say(&FromExecutor::Failed(e.to_string()));
            voice.outbox.flush(LAST_WORDS);
            Err(e)
        }
    }
}

/// What this process says to the driver.
struct Voice {
    outbox: Outbox,
    /// Results of up to so many bytes are sent at once.
    at_once: u64,
    questions: AtomicU64,
    /// Those who wait for an answer.
    waiting: Mutex<HashMap<u64, Sender<Reply>>>,
}

enum Reply {
    Holders(Vec<Holder>),
    Whereabouts(Option<Holder>),
}

impl Voice {
    /// Says something; waits while too much waits to be sent. Says whether it is on its way.
    fn say(&self, message: &FromExecutor) -> bool {
        let sent = encode(message)
            .map_err(|e| e.to_string())
            .and_then(|frame| self.outbox.send(frame).map_err(|e| e.to_string()));
        if let Err(what) = &sent {
            tracing::warn!("the driver was not told: {what}");
        }
        sent.is_ok()
    }

    fn ask(&self, message: impl FnOnce(u64) -> FromExecutor) -> Option<Reply> {
        let question = self.questions.fetch_add(1, Ordering::Relaxed);
        let (answer, wait) = crossbeam_channel::bounded(1);
        lock(&self.waiting).insert(question, answer);
        if !self.say(&message(question)) {
            lock(&self.waiting).remove(&question);
            return None;
        }
        wait.recv().ok()
    }

    fn answered(&self, question: u64, reply: Reply) {
        if let Some(waiting) = lock(&self.waiting).remove(&question) {
            let _ = waiting.send(reply);
        }
    }
}

impl ToDriver for Voice {
    fn ended(&self, end: TaskEnd) {
        let attempt = end.attempt;
        let outcome = end.outcome.map(|output| match output {
            Output::Bytes(bytes) => Some(Bytes(bytes)),
            Output::Kept => None,
            Output::Value(_) => unreachable!("results become bytes where the driver is another process"),
        });
        let accumulators = end.accumulators.into_iter().map(|(id, bytes)| (id, Bytes(bytes))).collect();
        let TaskEnd { metrics, peaks, blocks, copies, .. } = end;
        let metrics = metrics.into();
        let ended = Ended { attempt, outcome, metrics, peaks, accumulators, blocks, copies };
        self.say(&FromExecutor::Ended(Box::new(ended)));
    }
    fn may_commit(&self, attempt: AttemptId) -> bool {
        self.say(&FromExecutor::MayCommit(attempt))
    }
    fn block(&self, id: BlockId, status: Option<BlockStatus>) {
        self.say(&FromExecutor::Block(id, status));
    }
    fn wants_bytes(&self) -> Option<u64> {
        Some(self.at_once)
    }
}

/// Asks the driver.
struct AskDriver {
    voice: Arc<Voice>,
    driver: Holder,
}

impl AskDriver {
    fn located(&self, block: BlockId) -> Vec<Holder> {
        self.told(|question| FromExecutor::Locate { question, block })
    }
    fn told(&self, ask: impl FnOnce(u64) -> FromExecutor) -> Vec<Holder> {
        match self.voice.ask(ask) {
            Some(Reply::Holders(holders)) => holders,
            _ => Vec::new(),
        }
    }
}

impl Directory for AskDriver {
    fn holders(&self, block: BlockId) -> Vec<Holder> {
        match block {
            // What the program gave out is the driver's.
            BlockId::Source(..) | BlockId::Broadcast(_) => vec![self.driver.clone()],
            BlockId::BroadcastPiece(..) => {
                let mut holders = self.located(block);
                holders.push(self.driver.clone());
                holders
            }
            _ => self.located(block),
        }
    }
    fn others(&self) -> Vec<Holder> {
        self.told(|question| FromExecutor::Others { question })
    }
    fn keeps(&self, block: BlockId, status: BlockStatus) {
        self.voice.block(block, Some(status));
    }
    fn whereabouts(&self, executor: ExecutorId) -> Option<Holder> {
        if executor == self.driver.executor {
            return Some(self.driver.clone());
        }
        match self.voice.ask(|question| FromExecutor::WhereIs { question, executor }) {
            Some(Reply::Whereabouts(holder)) => holder,
            _ => None,
        }
    }
}

impl Welcome {
    fn conf(&self, role: &Role) -> Conf {
        let mut conf = Conf::new();
        for (key, value) in &self.settings {
            conf.set(key, value);
        }
        if !role.local_dirs.is_empty() {
            conf.set_from(Origin::Machine, keys::LOCAL_DIR.info.key(), role.local_dirs.join(","));
        }
        conf
    }
}

/// The scratch folders are gone that the worker had made for this process: the worker is gone, too, or makes new ones for the next.
fn homeless() {
    note("its scratch folders are gone, and so it ends");
    std::process::exit(FORSAKEN);
}

struct Process {
    runner: Arc<Runner>,
    threads: Threads,
    voice: Arc<Voice>,
    peers: Client,
    files: Arc<AddedFiles>,
    stages: HashMap<StageId, Arc<Vec<u8>>>,
    outputs: HashMap<ShuffleId, (u64, Arc<Vec<u8>>)>,
    heartbeat: Duration,
    /// Its map outputs are the worker's to remove.
    outputs_outlive: bool,
    _server: Server,
}

impl Process {
    /// Also says where it serves what it holds, and where its map outputs will be served when it has died.
    fn start(
        role: &Role,
        welcome: &Welcome,
        conf: &Conf,
        local: IpAddr,
        voice: Arc<Voice>,
    ) -> Result<(Self, u16, Option<u16>)> {
        crate::logging::apply(conf)?;
        let last_words = voice.clone();
        let limit = Limit::new(conf, welcome.memory, welcome.budget)?;
        if conf.get(keys::EXECUTOR_CGROUP)? {
            limit.enter_cgroup();
        }
        limit.enforce(move |why| {
            last_words.say(&FromExecutor::Failed(why.into()));
            last_words.outbox.flush(LAST_WORDS);
        })?;
        for setup in &welcome.setups {
            setup.once()?;
        }
        let uses_service = conf.get(keys::SHUFFLE_SERVICE_ENABLED)?;
        let outliving = role.outputs.as_ref().filter(|_| uses_service);
        let outputs =
            outliving.map(|outputs| Scratch::given(outputs.folders.iter().map(PathBuf::from).collect(), homeless));
        let scratch = match role.local_dirs.is_empty() {
            true => Scratch::new(conf.local_dirs()?),
            false => Scratch::given(conf.local_dirs()?, homeless),
        };
        let stores = Stores::new(conf, welcome.budget, scratch, outputs)?;
        let secret = role.secret.clone();
        let told = voice.clone();
        let keeps = Arc::new(move |block, status| told.block(block, Some(status)));
        let holdings = Holdings::of_executor(stores.blocks.clone(), stores.shuffles.clone(), keeps);
        let server = Server::start((local, 0).into(), &secret, holdings).map_err(other)?;
        let port = server.port();
        let directory = AskDriver { voice: voice.clone(), driver: welcome.driver.clone() };
        let of = Some((role.executor, stores.blocks.clone()));
        let peers = Client::new(of, secret, Box::new(directory), Patience::new(conf)?);
        let source = DriversFiles { client: peers.clone(), driver: welcome.driver.clone() };
        let files = AddedFiles::new(stores.scratch.clone(), Some(Box::new(source)));
        let asking = Some(Arc::new(peers.clone()) as _);
        let runner = Runner::new(role.executor, stores, voice.clone(), asking, None, files.clone());
        let threads = runner.start(welcome.slots as usize)?;
        let heartbeat = conf.get(keys::EXECUTOR_HEARTBEAT_INTERVAL)?;
        let (stages, outputs) = (HashMap::new(), HashMap::new());
        let outputs_outlive = outliving.is_some();
        let process = Process {
            runner,
            threads,
            voice,
            peers,
            files,
            stages,
            outputs,
            heartbeat,
            outputs_outlive,
            _server: server,
        };
        Ok((process, port, outliving.map(|outputs| outputs.port)))
    }

    /// Does what the driver says until it says no more.
    fn listen(mut self, reader: &mut FrameReader) {
        let (ended, until) = crossbeam_channel::bounded::<()>(0);
        let (runner, voice, every) = (self.runner.clone(), self.voice.clone(), self.heartbeat);
        let beating = std::thread::Builder::new().name("firesteel-heartbeat".into()).spawn(move || {
            let mut number = 0;
            while until.recv_timeout(every) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                number += 1;
                if !voice.say(&FromExecutor::Heartbeat { number, running: runner.attempts() }) {
                    return;
                }
            }
        });
        let mut frame = Vec::new();
        let orderly = loop {
            match receive(reader, &mut frame) {
                Ok(ToExecutor::Close) => break true,
                Ok(message) => self.heard(message),
                Err(why) => {
                    tracing::warn!("the driver is gone: {why}");
                    break false;
                }
            }
        };
        self.runner.close();
        drop(ended);
        lock(&self.voice.waiting).clear();
        self.threads.hang_up();
        let end = self.threads.end().clone();
        let in_time = end.recv_timeout(LAST_WAIT) != Err(crossbeam_channel::RecvTimeoutError::Timeout);
        self.threads.join(in_time);
        if !self.outputs_outlive {
            self.runner.shared.shuffles.clear();
        }
        self.runner.shared.blocks.close();
        self.files.close();
        if let Ok(beating) = beating {
            let _ = beating.join();
        }
        if !in_time || !orderly {
            // Threads that do not end would keep the process.
            std::process::exit(if orderly { 0 } else { FORSAKEN });
        }
    }

    fn heard(&mut self, message: ToExecutor) {
        match message {
            ToExecutor::Launch(launch) => self.launch(launch),
            ToExecutor::ForgetStage(stage) => {
                self.stages.remove(&stage);
            }
            ToExecutor::Order(order) => {
                if let crate::executor::Order::RemoveShuffle(shuffle) = &order {
                    self.outputs.remove(shuffle);
                    self.peers.forget(*shuffle);
                }
                self.runner.obey(order);
            }
            ToExecutor::Located { question, holders } => {
                let here = self.runner.shared.id;
                let holders = holders.into_iter().filter(|holder| holder.executor != here).collect();
                self.voice.answered(question, Reply::Holders(holders));
            }
            ToExecutor::Whereabouts { question, holder } => {
                self.voice.answered(question, Reply::Whereabouts(holder));
            }
            ToExecutor::Welcome(_) | ToExecutor::Refused(_) | ToExecutor::Close => {}
        }
    }

    fn launch(&mut self, launch: Launch) {
        let Launch { task, stage_bytes, outputs } = launch;
        let stage = task.info.stage;
        let stage_bytes = match stage_bytes.0.is_empty() {
            true => self.stages.get(&stage).cloned().unwrap_or_default(),
            false => {
                let bytes = Arc::new(stage_bytes.0);
                self.stages.insert(stage, bytes.clone());
                bytes
            }
        };
        let known = &mut self.outputs;
        let outputs = outputs.into_iter().map(|(shuffle, version, bytes)| {
            if !bytes.0.is_empty() {
                known.insert(shuffle, (version, Arc::new(bytes.0)));
            }
            let bytes = known.get(&shuffle).map(|(_, bytes)| bytes.clone()).unwrap_or_default();
            (shuffle, version, bytes)
        });
        let outputs = outputs.collect();
        let stage_of = Arc::new(move || Ok(stage_bytes.clone()));
        self.runner.launch(&self.threads, Parcel { task, stage: stage_of, outputs });
    }
}
