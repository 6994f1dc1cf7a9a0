//! What a running task attempt knows: who it is, what it may read, and where it reports.

use crate::{
    accumulator::AttemptAccumulators,
    failure::TaskFailure,
    node::{NodeExec, SplitBytes},
    peers::{Holder, Peers},
    segment::Segments,
};
use firesteel_model::{
    AttemptId, BlockId, ExecutorId, JobId, PartitionIndex, RddId, Result, ShuffleId, StageAttempt, StageId,
    StorageLevel, TaskMetrics,
};
use firesteel_store::{BlockStatus, BlockStore, Memory, Room, RunFiles, Scratch, ShuffleStore, StoreError, TaskMemory};
use serde::{Deserialize, Serialize};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// What tasks of one executor share.
pub struct Executor {
    /// Its number.
    pub id: ExecutorId,
    /// Cached partitions, source blocks, broadcast values.
    pub blocks: Arc<BlockStore>,
    /// Map outputs.
    pub shuffles: Arc<ShuffleStore>,
    /// What tasks and all that is kept share.
    pub memory: Arc<Memory>,
    /// Where tasks put what they have no memory for.
    pub scratch: Arc<Scratch>,
    /// Whether that is compressed.
    pub compress_spills: bool,
    /// Asks the driver whether an attempt may commit its output; waits for the answer.
    pub may_commit: Box<dyn Fn(AttemptId) -> bool + Send + Sync>,
    /// Who else holds what tasks read; none where one process is all there is.
    pub peers: Option<Arc<dyn Peers>>,
    /// Held by the thread that fetches a broadcast value.
    pub fetching: Mutex<()>,
}

impl Executor {
    /// An executor whose stores write files by `scratch` and share `memory`; what goes to disk is compressed.
    pub fn new(
        id: ExecutorId,
        scratch: Arc<Scratch>,
        memory: Arc<Memory>,
        may_commit: impl Fn(AttemptId) -> bool + Send + Sync + 'static,
    ) -> Self {
        Executor {
            id,
            blocks: Arc::new(BlockStore::new(scratch.clone(), memory.clone())),
            shuffles: Arc::new(ShuffleStore::new(RunFiles::new(scratch.clone(), true))),
            memory,
            scratch,
            compress_spills: true,
            may_commit: Box::new(may_commit),
            peers: None,
            fetching: Mutex::default(),
        }
    }
}

/// Which attempt at which task this is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskInfo {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The submission of the stage.
    pub stage_attempt: StageAttempt,
    /// The partition computed.
    pub partition: PartitionIndex,
    /// How many partitions the stage's last RDD has.
    pub partitions: u32,
    /// The attempt, unique in the context.
    pub attempt: AttemptId,
    /// The how-manieth attempt at this task, from 0.
    pub attempt_number: u32,
    /// Which executor runs it.
    pub executor: ExecutorId,
    /// The local properties of the driver's thread that submitted the job.
    pub properties: Arc<BTreeMap<String, String>>,
}

/// Where the map outputs of one shuffle are, as a task is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MapOutputs {
    /// For each map partition the attempt whose output counts.
    pub attempts: Vec<AttemptId>,
    /// For each map partition which of the `holders` has it; empty if it is this executor every time.
    pub held_by: Vec<u32>,
    /// The executors that hold them.
    pub holders: Vec<Holder>,
    /// Into how many parts each reduce partition is spread in outputs of more than a few records, as a power of two.
    pub spread: u32,
}

impl MapOutputs {
    /// Who holds a map partition's output, and their place among the holders; none if it is the reader's executor anyway.
    pub fn holder(&self, map: usize) -> Option<(u32, &Holder)> {
        let place = *self.held_by.get(map)?;
        Some((place, self.holders.get(place as usize)?))
    }
}

/// What a task reads besides its stage: for each erased node that it opens, the node's split.
pub type SplitTable = BTreeMap<(RddId, PartitionIndex), Vec<u8>>;

/// A flag that asks a task to stop.
#[derive(Clone, Debug, Default)]
pub struct KillFlag(Arc<AtomicBool>);

impl KillFlag {
    /// Asks the task to stop at the next look.
    pub fn kill(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    /// Whether the task was asked to stop.
    pub fn is_killed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running task attempt, as pipelines and streams see it. Cheap to clone; belongs to the task's thread.
#[derive(Clone)]
pub struct Task(Rc<Inner>);

struct Inner {
    info: TaskInfo,
    executor: Arc<Executor>,
    memory: Arc<TaskMemory>,
    kill: KillFlag,
    nodes: RefCell<BTreeMap<RddId, Rc<dyn NodeExec>>>,
    splits: SplitTable,
    outputs: BTreeMap<ShuffleId, Arc<MapOutputs>>,
    segments: Segments,
    metrics: Cell<TaskMetrics>,
    accumulators: Arc<AttemptAccumulators>,
    blocks: RefCell<Vec<(BlockId, StorageLevel, BlockStatus)>>,
    on_end: Arc<Mutex<Vec<EndHook>>>,
    ending: Arc<OnceLock<bool>>,
    written: Cell<Option<ShuffleId>>,
}

/// What a task does when it ends; told whether it failed.
pub type EndHook = Box<dyn FnOnce(bool) + Send>;

impl Task {
    /// A task attempt about to run. Its stage's nodes are added by [`Task::add_node`].
    pub fn new(
        info: TaskInfo,
        executor: Arc<Executor>,
        kill: KillFlag,
        splits: SplitTable,
        outputs: BTreeMap<ShuffleId, Arc<MapOutputs>>,
    ) -> Self {
        let flag = kill.clone();
        let memory = executor.memory.task(move || flag.is_killed());
        Task(Rc::new(Inner {
            info,
            executor,
            memory,
            kill,
            nodes: RefCell::default(),
            splits,
            outputs,
            segments: Segments::default(),
            metrics: Cell::default(),
            accumulators: Arc::default(),
            blocks: RefCell::default(),
            on_end: Arc::default(),
            ending: Arc::default(),
            written: Cell::new(None),
        }))
    }

    /// Makes an erased node of the stage known.
    pub fn add_node(&self, id: RddId, node: Rc<dyn NodeExec>) {
        self.0.nodes.borrow_mut().insert(id, node);
    }

    /// Which attempt this is.
    pub fn info(&self) -> &TaskInfo {
        &self.0.info
    }
    /// What the executor's tasks share.
    pub fn executor(&self) -> &Arc<Executor> {
        &self.0.executor
    }
    /// The task's part in the executor's memory.
    pub fn memory(&self) -> &Arc<TaskMemory> {
        &self.0.memory
    }
    /// What the writer of a map output may use.
    pub(crate) fn room(&self, shuffle: ShuffleId) -> Room {
        let files = self.executor().shuffles.files().clone();
        let reservation = self.memory().spillable().named("map output");
        let to_disk = self.executor().peers.is_some();
        Room { reservation, files, shuffle, to_disk, fail: cannot_store }
    }
    /// The attempt's accumulators.
    pub fn accumulators(&self) -> &Arc<AttemptAccumulators> {
        &self.0.accumulators
    }
    /// What to do at the end, newest last.
    pub fn on_end(&self) -> &Arc<Mutex<Vec<EndHook>>> {
        &self.0.on_end
    }
    /// Notes that it has ended, before its hooks are called; whether it failed.
    pub fn note_end(&self, failed: bool) {
        let _ = self.0.ending.set(failed);
    }
    /// Whether it failed, once it has ended.
    pub(crate) fn ending(&self) -> &Arc<OnceLock<bool>> {
        &self.0.ending
    }
    /// The flag that asks this task to stop.
    pub fn kill_flag(&self) -> &KillFlag {
        &self.0.kill
    }
    pub(crate) fn segments(&self) -> &Segments {
        &self.0.segments
    }

    pub(crate) fn node(&self, id: RddId) -> Rc<dyn NodeExec> {
        match self.0.nodes.borrow().get(&id) {
            Some(node) => node.clone(),
            None => TaskFailure::Engine(firesteel_model::Error::InvalidArgument(format!(
                "the stage has no node for RDD {id}: it was released while a job still needs it"
            )))
            .raise(),
        }
    }

    pub(crate) fn split(&self, id: RddId, partition: PartitionIndex) -> SplitBytes<'_> {
        match self.0.splits.get(&(id, partition)) {
            Some(bytes) => SplitBytes::Bytes(bytes),
            None => SplitBytes::Index(partition),
        }
    }

    /// The split of the stage's last RDD: what came along, or the task's partition.
    pub fn root_split<'a>(&self, bytes: Option<&'a [u8]>) -> SplitBytes<'a> {
        bytes.map_or(SplitBytes::Index(self.0.info.partition), SplitBytes::Bytes)
    }

    /// The map outputs of a shuffle that this task may read.
    pub fn outputs(&self, shuffle: ShuffleId) -> Option<Arc<MapOutputs>> {
        self.0.outputs.get(&shuffle).cloned()
    }

    /// Leaves the task if it was asked to stop.
    #[inline]
    pub fn check(&self) {
        if self.0.kill.is_killed() {
            TaskFailure::Killed.raise()
        }
    }

    /// Changes the attempt's metrics.
    pub fn measure(&self, change: impl FnOnce(&mut TaskMetrics)) {
        let mut metrics = self.0.metrics.get();
        change(&mut metrics);
        self.0.metrics.set(metrics);
    }
    /// The attempt's metrics so far.
    pub fn metrics(&self) -> TaskMetrics {
        TaskMetrics { peak_execution_memory: self.0.memory.peak(), ..self.0.metrics.get() }
    }

    /// Notes a block that this attempt stored or, with a status of [`StorageLevel::NONE`], dropped, to be told to the driver.
    pub fn note_block(&self, id: BlockId, level: StorageLevel, status: BlockStatus) {
        self.0.blocks.borrow_mut().push((id, level, status));
    }
    /// Drops a block that turned out to be damaged.
    pub(crate) fn drop_block(&self, id: BlockId) {
        if self.0.executor.blocks.remove(id).is_some() {
            let none = BlockStatus { level: StorageLevel::NONE, memory_bytes: 0, disk_bytes: 0 };
            self.note_block(id, StorageLevel::NONE, none);
        }
    }
    /// The blocks stored and dropped so far.
    pub fn changed_blocks(&self) -> Vec<(BlockId, StorageLevel, BlockStatus)> {
        self.0.blocks.take()
    }

    /// Notes that this attempt has put its run of a shuffle where readers find it.
    pub(crate) fn note_run(&self, shuffle: ShuffleId) {
        self.0.written.set(Some(shuffle));
    }

    /// Drops the run that it has put there, if it has: it failed after that, and nobody will be told of the run.
    pub fn drop_run(&self) {
        if let Some(shuffle) = self.0.written.take() {
            let info = self.info();
            self.executor().shuffles.remove_output(shuffle, info.partition, info.attempt);
        }
    }

    /// Lets go of everything that the attempt holds; called when it has ended, whichever way.
    pub fn close(&self) {
        self.0.segments.clear();
        self.0.nodes.borrow_mut().clear();
    }

    /// A result, or the attempt's failure with it.
    pub fn expect<T>(&self, result: Result<T>) -> T {
        crate::failure::OrRaise::or_raise(result)
    }
}

/// Leaves the task because something that has no room in memory cannot be written to disk either, or was damaged there: then
/// another attempt makes it again.
pub(crate) fn cannot_store(e: StoreError) -> ! {
    match e.is_corrupt() {
        true => TaskFailure::Damaged(e.to_string()).raise(),
        false => TaskFailure::Engine(e.into()).raise(),
    }
}

/// How many elements a source pushes before it looks at the kill flag again: starts at 1, doubles to 4,096 while a stride
/// takes under 10 ms, and halves when one takes longer.
pub struct Stride {
    length: u32,
    since: Option<Instant>,
}

impl Stride {
    /// The longest stride.
    pub const MAX: u32 = 4_096;
    /// A stride that takes longer is too long.
    const PATIENCE: Duration = Duration::from_millis(10);

    /// Starts with a stride of one.
    pub fn new() -> Self {
        Stride { length: 1, since: None }
    }

    /// Looks at the kill flag (and leaves the task if it is set); returns the length of the stride that may follow.
    #[inline]
    pub fn begin(&mut self, task: &Task) -> u32 {
        task.check();
        let now = Instant::now();
        if let Some(since) = self.since.replace(now) {
            let slow = now - since >= Self::PATIENCE;
            self.length = if slow { (self.length / 2).max(1) } else { (self.length * 2).min(Self::MAX) };
        }
        self.length
    }
}

impl Default for Stride {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks at the kill flag in strides where one element becomes many: what it came from looks before it and after it only.
pub(crate) struct Pace {
    /// Steps to the next look.
    left: u32,
    stride: Stride,
    task: Task,
}

impl Pace {
    pub(crate) fn new(task: &Task) -> Self {
        Pace { left: 1, stride: Stride::new(), task: task.clone() }
    }

    /// One element more; leaves the task if it is time to look, and the flag is set.
    #[inline(always)]
    pub(crate) fn step(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.look();
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        self.left = self.stride.begin(&self.task);
    }
}
