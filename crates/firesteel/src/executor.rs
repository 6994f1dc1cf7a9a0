//! An executor: threads that decode what the driver sends, run it and report. Threads of the driver's process and executors in
//! processes of their own are this same code, told and telling by the same messages.

use crate::{
    driver::Msg,
    files::AddedFiles,
    graph::lock,
    panics::{self, guarded},
};
use crossbeam_channel::{Receiver, Sender};
use firesteel_model::{
    AccumulatorId, AttemptId, BlockId, Error, ExecutorId, PartitionIndex, RddId, Result, ShuffleId, StorageLevel,
    TaskMetrics,
    conf::{Conf, keys},
};
use firesteel_rdd::{
    EndHook, Executor, KillFlag, MapOutputs, Output, Peers, RootExec, SplitTable, StageBytes, Task, TaskFailure,
    TaskInfo, enter,
};
use firesteel_store::{BlockStatus, BlockStore, Memory, RunFiles, Scratch, ShuffleStore};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    cell::Cell,
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A task as it is sent; what it has of the user's is bytes already. The stage's bytes and the shuffles' outputs go beside it, once per
/// executor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskMsg {
    pub(crate) info: TaskInfo,
    /// The splits that are more than their partition's index, of the erased nodes that the task opens.
    pub(crate) splits: Vec<((RddId, PartitionIndex), Vec<u8>)>,
    /// The root's own split, if it is more than the partition's index.
    pub(crate) split: Option<Vec<u8>>,
}

/// Gives a stage's bytes, which are made at the first call.
pub(crate) type GetStage = Arc<dyn Fn() -> Result<Arc<Vec<u8>>> + Send + Sync>;

/// A task, and what travels beside its message.
pub(crate) struct Parcel {
    pub(crate) task: TaskMsg,
    pub(crate) stage: GetStage,
    /// The map outputs that the task may read, by version.
    pub(crate) outputs: Vec<(ShuffleId, u64, Arc<Vec<u8>>)>,
}

/// What an executor is told besides tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The attempt is to stop.
    Kill(AttemptId),
    /// The answer to an attempt that asked whether it may commit.
    Commit(AttemptId, bool),
    /// A map output does not count.
    RemoveOutput(ShuffleId, PartitionIndex, AttemptId),
    /// Nobody reads the shuffle any more.
    RemoveShuffle(ShuffleId),
    /// The RDD's blocks shall go.
    RemoveRdd(RddId),
    /// A block shall go.
    RemoveBlock(BlockId),
}

/// How a task attempt ended.
pub(crate) struct TaskEnd {
    pub(crate) attempt: AttemptId,
    pub(crate) outcome: Result<Output, TaskFailure>,
    pub(crate) metrics: TaskMetrics,
    /// The most memory that each of its operators held.
    pub(crate) peaks: Vec<(Cow<'static, str>, u64)>,
    pub(crate) accumulators: Vec<(AccumulatorId, Vec<u8>)>,
    /// The blocks that it stored or dropped, as they are at its end.
    pub(crate) blocks: Vec<(BlockId, BlockStatus)>,
    /// The other executors that keep copies of them.
    pub(crate) copies: Vec<(BlockId, ExecutorId)>,
}

impl TaskEnd {
    fn failed(attempt: AttemptId, failure: TaskFailure) -> Self {
        TaskEnd {
            attempt,
            outcome: Err(failure),
            metrics: TaskMetrics::default(),
            peaks: Vec::new(),
            accumulators: Vec::new(),
            blocks: Vec::new(),
            copies: Vec::new(),
        }
    }
}

/// Called at a task's start and end; tests make tasks fail with it.
pub(crate) type Tamper = Arc<dyn Fn(&TaskInfo, &Executor, Moment) + Send + Sync>;

/// When a `Tamper` is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Before the task's stage is decoded.
    Before,
    /// After its result exists.
    After,
}

/// How an executor reaches the driver. What one executor says arrives in the order in which it was said.
pub(crate) trait ToDriver: Send + Sync {
    /// A task attempt ended.
    fn ended(&self, end: TaskEnd);
    /// A task waits to be told whether it may commit its output. False if nobody will answer.
    fn may_commit(&self, attempt: AttemptId) -> bool;
    /// A block takes another place, or none: it had to make room, or was removed.
    fn block(&self, id: BlockId, status: Option<BlockStatus>);
    /// Whether results have to become bytes; those of more than so many are kept here until they are fetched.
    fn wants_bytes(&self) -> Option<u64>;
}

/// The driver of this process.
pub(crate) struct InProcess {
    pub(crate) executor: ExecutorId,
    pub(crate) to: Sender<Msg>,
}

impl ToDriver for InProcess {
    fn ended(&self, end: TaskEnd) {
        let _ = self.to.send(Msg::TaskEnded(Box::new(end)));
    }
    fn may_commit(&self, attempt: AttemptId) -> bool {
        self.to.send(Msg::MayCommit(attempt)).is_ok()
    }
    fn block(&self, id: BlockId, status: Option<BlockStatus>) {
        let _ = self.to.send(Msg::BlockMoved(self.executor, id, status));
    }
    fn wants_bytes(&self) -> Option<u64> {
        None
    }
}

/// The attempts that wait for leave to commit; none once nobody answers any more.
struct Commits(Mutex<Option<HashMap<AttemptId, Sender<bool>>>>);

impl Commits {
    /// Asks, and waits for the answer.
    fn ask(&self, attempt: AttemptId, driver: &dyn ToDriver) -> bool {
        let (answer, wait) = crossbeam_channel::bounded(1);
        match &mut *lock(&self.0) {
            Some(waiting) => waiting.insert(attempt, answer),
            None => return false,
        };
        driver.may_commit(attempt) && wait.recv().unwrap_or(false)
    }

    fn answer(&self, attempt: AttemptId, allowed: bool) {
        let waiting = lock(&self.0).as_mut().and_then(|waiting| waiting.remove(&attempt));
        if let Some(answer) = waiting {
            let _ = answer.send(allowed);
        }
    }

    /// Whoever waits, and whoever asks from now on, may not.
    fn close(&self) {
        *lock(&self.0) = None;
    }
}

/// What an executor's threads share.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Executor>,
    pub(crate) driver: Arc<dyn ToDriver>,
    pub(crate) tamper: Option<Tamper>,
    files: Arc<AddedFiles>,
    commits: Arc<Commits>,
    outputs: Mutex<HashMap<ShuffleId, (u64, Arc<MapOutputs>)>>,
    /// The attempts that it was given and has not reported the end of.
    running: Mutex<HashMap<AttemptId, KillFlag>>,
    /// Held while blocks are looked at and told of, so that the driver is not told of an older state after a newer one.
    telling: Mutex<()>,
}

/// An executor's threads: they run what they are given until this is dropped.
pub(crate) struct Threads {
    parcels: Sender<Parcel>,
    handles: Vec<JoinHandle<()>>,
    /// Disconnected when all have ended.
    end: Receiver<Infallible>,
}

/// Where an executor keeps what it holds.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) blocks: Arc<BlockStore>,
    pub(crate) shuffles: Arc<ShuffleStore>,
    compress_spills: bool,
}

impl Stores {
    /// With so many bytes of memory, in these scratch folders; map outputs in `outputs`, where they outlive this process, if there is that.
    pub(crate) fn new(conf: &Conf, budget: u64, scratch: Arc<Scratch>, outputs: Option<Arc<Scratch>>) -> Result<Self> {
        let memory = Memory::new(budget, conf.get(keys::MEMORY_STORAGE_FRACTION)?);
        let blocks = Arc::new(BlockStore::new(scratch.clone(), memory.clone()));
        let compress = conf.get(keys::SHUFFLE_COMPRESS)?;
        let runs = match outputs {
            Some(outputs) => RunFiles::catalogued(outputs, compress),
            None => RunFiles::new(scratch.clone(), compress),
        };
        let shuffles = Arc::new(ShuffleStore::new(runs));
        let compress_spills = conf.get(keys::SHUFFLE_SPILL_COMPRESS)?;
        Ok(Stores { scratch, memory, blocks, shuffles, compress_spills })
    }
}

/// When something began on this thread, by the clock and by the thread's processor time.
#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    cpu: Duration,
}

impl Began {
    /// Asking the system takes a third of a microsecond and lets other threads in, so what was heard stays good for so long, and
    /// what took less had a processor all the time.
    const GOOD: Duration = Duration::from_millis(1);

    fn now() -> Self {
        let at = Instant::now();
        Began { at, cpu: Self::cpu(at) }
    }

    /// Nanoseconds since then, and nanoseconds on a processor; the latter to a millisecond.
    fn since(self) -> (u64, u64) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = Instant::now();
        let elapsed = now - self.at;
        let cpu = if elapsed < Self::GOOD { elapsed } else { (Self::cpu(now).saturating_sub(self.cpu)).min(elapsed) };
        (nanos(elapsed), nanos(cpu))
    }

    /// How long this thread has had a processor.
    fn cpu(now: Instant) -> Duration {
        thread_local!(static HEARD: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) });
        match HEARD.get() {
            Some((at, cpu)) if now.saturating_duration_since(at) < Self::GOOD => cpu,
            _ => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                let cpu = Duration::try_from(time).unwrap_or_default();
                HEARD.set(Some((now, cpu)));
                cpu
            }
        }
    }
}

impl Runner {
    /// The executor of this number; `peers` have what it has not.
    pub(crate) fn new(
        id: ExecutorId,
        stores: Stores,
        driver: Arc<dyn ToDriver>,
        peers: Option<Arc<dyn Peers>>,
        tamper: Option<Tamper>,
        files: Arc<AddedFiles>,
    ) -> Arc<Self> {
        let commits = Arc::new(Commits(Mutex::new(Some(HashMap::new()))));
        let may_commit = {
            let (commits, driver) = (commits.clone(), driver.clone());
            Box::new(move |attempt| commits.ask(attempt, &*driver))
        };
        let Stores { scratch, memory, blocks, shuffles, compress_spills } = stores;
        let fetching = Mutex::default();
        let shared = Executor { id, blocks, shuffles, memory, scratch, compress_spills, may_commit, peers, fetching };
        let shared = Arc::new(shared);
        let runner = Arc::new(Runner {
            shared,
            driver,
            tamper,
            files,
            commits,
            outputs: Mutex::default(),
            running: Mutex::default(),
            telling: Mutex::default(),
        });
        let weak = Arc::downgrade(&runner);
        runner.shared.blocks.on_eviction(move |id, status| {
            if let Some(runner) = weak.upgrade() {
                let _telling = lock(&runner.telling);
                runner.driver.block(id, status);
            }
        });
        runner
    }

    /// Starts so many threads.
    pub(crate) fn start(self: &Arc<Self>, slots: usize) -> Result<Threads> {
        let (parcels, tasks) = crossbeam_channel::unbounded();
        let (alive, end) = crossbeam_channel::bounded(0);
        let mut handles = Vec::with_capacity(slots);
        for i in 0..slots {
            let (runner, tasks, alive) = (self.clone(), tasks.clone(), alive.clone());
            let thread = std::thread::Builder::new()
                .name(format!("firesteel-task-{i}"))
                .stack_size(8 << 20)
                .spawn(move || {
                    runner.work(&tasks);
                    drop(alive);
                })
                .map_err(|e| crate::settings::too_few_threads(i, slots, e))?;
            handles.push(thread);
        }
        Ok(Threads { parcels, handles, end })
    }

    /// Takes a task; a thread that is free runs it.
    pub(crate) fn launch(&self, threads: &Threads, parcel: Parcel) {
        lock(&self.running).insert(parcel.task.info.attempt, KillFlag::default());
        let _ = threads.parcels.send(parcel);
    }

    /// The attempts that it was given and has not reported the end of.
    pub(crate) fn attempts(&self) -> Vec<AttemptId> {
        lock(&self.running).keys().copied().collect()
    }

    /// Does what the driver says.
    pub(crate) fn obey(&self, order: Order) {
        match order {
            Order::Kill(attempt) => {
                if let Some(kill) = lock(&self.running).get(&attempt) {
                    kill.kill();
                }
            }
            Order::Commit(attempt, allowed) => self.commits.answer(attempt, allowed),
            Order::RemoveOutput(shuffle, map, attempt) => {
                guarded("dropping a map output", || self.shared.shuffles.remove_output(shuffle, map, attempt));
            }
            Order::RemoveShuffle(shuffle) => {
                self.forget_outputs(shuffle);
                guarded("dropping a shuffle", || self.shared.shuffles.remove_shuffle(shuffle));
            }
            Order::RemoveRdd(rdd) => {
                guarded("dropping the blocks of an RDD", || self.shared.blocks.remove_rdd(rdd));
            }
            Order::RemoveBlock(block) => {
                let _telling = lock(&self.telling);
                if guarded("dropping a block", || self.shared.blocks.remove(block)).flatten().is_some() {
                    self.driver.block(block, None);
                }
            }
        }
    }

    /// From now on nobody answers, and everything that runs is to stop.
    pub(crate) fn close(&self) {
        lock(&self.running).values().for_each(KillFlag::kill);
        self.commits.close();
    }

    /// Forgets what it knows of a shuffle.
    pub(crate) fn forget_outputs(&self, shuffle: ShuffleId) {
        lock(&self.outputs).remove(&shuffle);
    }

    /// Of how many shuffles it knows the outputs.
    pub(crate) fn known_outputs(&self) -> usize {
        lock(&self.outputs).len()
    }

    /// Runs tasks until the threads are let go.
    fn work(&self, parcels: &Receiver<Parcel>) {
        crate::engine::on_own_thread();
        crate::files::on_task_thread(&self.files);
        for Parcel { task, stage, outputs } in parcels {
            let attempt = task.info.attempt;
            let kill = lock(&self.running).get(&attempt).cloned().unwrap_or_default();
            let run = panics::caught(|| self.run(task, &stage, &outputs, kill.clone()));
            let mut end = run.unwrap_or_else(|failure| TaskEnd::failed(attempt, failure));
            if kill.is_killed() {
                // It may have begun after its shuffles were released: nobody would forget what it learned of them.
                outputs.iter().for_each(|(shuffle, ..)| self.forget_outputs(*shuffle));
            }
            // Whoever is the last to know a stage drops what it holds of the user's.
            guarded("dropping a stage", || drop(stage));
            let _telling = (!end.blocks.is_empty()).then(|| lock(&self.telling));
            for (block, status) in &mut end.blocks {
                // It may have had to make room since.
                *status = self.shared.blocks.status(*block).unwrap_or(GONE);
            }
            self.driver.ended(end);
            lock(&self.running).remove(&attempt);
        }
    }

    fn map_outputs(&self, shuffle: ShuffleId, version: u64, bytes: &[u8]) -> Result<Arc<MapOutputs>> {
        if let Some((known, outputs)) = lock(&self.outputs).get(&shuffle)
            && *known == version
        {
            return Ok(outputs.clone());
        }
        let outputs: Arc<MapOutputs> = Arc::new(decode(bytes)?);
        lock(&self.outputs).insert(shuffle, (version, outputs.clone()));
        Ok(outputs)
    }

    fn run(&self, msg: TaskMsg, stage: &GetStage, told: &[(ShuffleId, u64, Arc<Vec<u8>>)], kill: KillFlag) -> TaskEnd {
        let begin = Began::now();
        let attempt = msg.info.attempt;
        let mut outputs = BTreeMap::new();
        for (shuffle, version, bytes) in told {
            match self.map_outputs(*shuffle, *version, bytes) {
                Ok(known) => {
                    outputs.insert(*shuffle, known);
                }
                Err(e) => return TaskEnd::failed(attempt, TaskFailure::Engine(e)),
            }
        }
        let splits: SplitTable = msg.splits.into_iter().collect();
        let task = Task::new(msg.info, self.shared.clone(), kill, splits, outputs);
        let outcome = self.attempt(&task, stage, msg.split.as_deref(), begin);
        let mut metrics = task.metrics();
        let (elapsed, cpu) = begin.since();
        metrics.run_ns = elapsed.saturating_sub(metrics.deserialize_ns);
        metrics.cpu_ns = cpu.saturating_sub(metrics.deserialize_cpu_ns);
        let mut outcome = run_hooks(&task, outcome);
        let updates = panics::caught(|| task.accumulators().updates());
        let accumulators = match updates.and_then(|updates| updates.map_err(TaskFailure::Engine)) {
            Ok(updates) => updates,
            Err(e) => {
                fail(&mut outcome, e);
                Vec::new()
            }
        };
        let changed = task.changed_blocks();
        let copies = changed.iter().flat_map(|(block, level, status)| self.copies(*block, *level, *status)).collect();
        let blocks = changed.into_iter().map(|(block, _, status)| (block, status)).collect();
        // Drops elements of the user's types; what is left after a panic goes at the next call.
        while let Err(panic) = panics::caught(|| task.close()) {
            fail(&mut outcome, panic);
        }
        if outcome.is_err() {
            let _ = panics::caught(|| task.drop_run());
        }
        let peaks = task.memory().peaks().into_iter().map(|(operator, peak)| (operator.into(), peak)).collect();
        let _ = panics::caught(|| drop(task));
        TaskEnd { attempt, outcome, metrics, peaks, accumulators, blocks, copies }
    }

    /// Has others keep copies of a block, if its level asks for that and it is kept here.
    fn copies(&self, block: BlockId, level: StorageLevel, status: BlockStatus) -> Vec<(BlockId, ExecutorId)> {
        let wanted = usize::from(level.replication).saturating_sub(1);
        match &self.shared.peers {
            Some(peers) if wanted > 0 && status.level != StorageLevel::NONE => {
                let copies = peers.copy(block, level, wanted);
                if copies.len() < wanted {
                    tracing::warn!("block {block} has {} copies of the {wanted} that its level asks for", copies.len());
                }
                copies.into_iter().map(|executor| (block, executor)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn attempt(
        &self,
        task: &Task,
        stage: &GetStage,
        split: Option<&[u8]>,
        begin: Began,
    ) -> Result<Output, TaskFailure> {
        let _current = enter(task);
        let run = || -> Result<Output> {
            if let Some(tamper) = &self.tamper {
                tamper(task.info(), &self.shared, Moment::Before);
            }
            let stage: StageBytes = decode(&stage()?)?;
            let root = stage.decode(task)?;
            task.measure(|m| (m.deserialize_ns, m.deserialize_cpu_ns) = begin.since());
            task.check();
            let mut output = root.run(task.root_split(split), task);
            if let Some(at_once) = self.driver.wants_bytes() {
                output = self.encoded(&*root, output, task, at_once)?;
            }
            if let Some(tamper) = &self.tamper {
                tamper(task.info(), &self.shared, Moment::After);
            }
            // What was killed does not count, also where nothing looked since.
            task.check();
            Ok(output)
        };
        match panics::caught(run) {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(e)) => Err(TaskFailure::Engine(e)),
            Err(failure) => Err(failure),
        }
    }
}

/// What a block shows that is not kept.
pub(crate) const GONE: BlockStatus = BlockStatus { level: StorageLevel::NONE, memory_bytes: 0, disk_bytes: 0 };

impl Runner {
    fn encoded(&self, root: &dyn RootExec, output: Output, task: &Task, at_once: u64) -> Result<Output> {
        let begin = Instant::now();
        let bytes = root.encode(output)?;
        task.measure(|m| {
            m.result_size = bytes.len() as u64;
            m.result_serialize_ns = begin.elapsed().as_nanos() as u64;
        });
        if bytes.len() as u64 <= at_once {
            return Ok(Output::Bytes(bytes));
        }
        self.shared.blocks.put_bytes(BlockId::TaskResult(task.info().attempt), &bytes)?;
        Ok(Output::Kept)
    }
}

impl Threads {
    /// Disconnected when all threads have ended, which they do when they are idle after [`hang_up`](Threads::hang_up).
    pub(crate) fn end(&self) -> &Receiver<Infallible> {
        &self.end
    }

    /// No more tasks.
    pub(crate) fn hang_up(&mut self) {
        self.parcels = crossbeam_channel::bounded(0).0;
    }

    /// Waits for the threads that have ended or are about to; leaves the others to themselves if `patient` is false.
    pub(crate) fn join(self, patient: bool) {
        for thread in self.handles {
            if patient || thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

fn run_hooks(task: &Task, outcome: Result<Output, TaskFailure>) -> Result<Output, TaskFailure> {
    task.note_end(outcome.is_err());
    let hooks: Vec<EndHook> = std::mem::take(&mut *lock(task.on_end()));
    let mut outcome = outcome;
    for hook in hooks.into_iter().rev() {
        let failed = outcome.is_err();
        if let Err(panic) = panics::caught(|| hook(failed)) {
            fail(&mut outcome, panic);
        }
    }
    outcome
}

/// Makes a success a failure; what had failed before keeps its reason.
fn fail(outcome: &mut Result<Output, TaskFailure>, failure: TaskFailure) {
    if outcome.is_ok() {
        let output = std::mem::replace(outcome, Err(failure));
        let _ = panics::caught(|| drop(output));
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|e| Error::Serialization(e.to_string()))
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|e| Error::Serialization(e.to_string()))
}
