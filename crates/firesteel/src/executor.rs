//! The executor of local mode: threads that decode what the driver sends, run it and report, through the same messages as
//! an executor in another process.

use crate::{
    driver::Msg,
    files::AddedFiles,
    graph::lock,
    panics::{self, guarded},
};
use crossbeam_channel::{Receiver, Sender};
use firesteel_model::{
    AccumulatorId, AttemptId, BlockId, Error, PartitionIndex, RddId, Result, ShuffleId, StorageLevel, TaskMetrics,
};
use firesteel_rdd::{
    EndHook, Executor, KillFlag, MapOutputs, Output, SplitTable, StageBytes, Task, TaskFailure, TaskInfo, enter,
};
use firesteel_store::BlockStatus;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Instant,
};

/// A task as it is sent. The stage's bytes and the shuffles' outputs go beside it, once per executor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TaskMsg {
    pub(crate) info: TaskInfo,
    /// The splits that are more than their partition's index, of the erased nodes that the task opens.
    pub(crate) splits: Vec<((RddId, PartitionIndex), Vec<u8>)>,
    /// The root's own split, if it is more than the partition's index.
    pub(crate) split: Option<Vec<u8>>,
    /// The shuffles that it may read, and in which version of their outputs.
    pub(crate) shuffles: Vec<(ShuffleId, u64)>,
}

/// Gives a stage's bytes, which are made at the first call.
pub(crate) type GetStage = Arc<dyn Fn() -> Result<Arc<Vec<u8>>> + Send + Sync>;

/// What travels beside a task's own message.
pub(crate) struct Parcel {
    pub(crate) task: Vec<u8>,
    pub(crate) stage: GetStage,
    pub(crate) outputs: Vec<(ShuffleId, u64, Arc<Vec<u8>>)>,
    pub(crate) kill: KillFlag,
}

/// How a task attempt ended.
pub(crate) struct TaskEnd {
    pub(crate) attempt: AttemptId,
    pub(crate) outcome: Result<Output, TaskFailure>,
    pub(crate) metrics: TaskMetrics,
    /// The most memory that each of its operators held.
    pub(crate) peaks: Vec<(&'static str, u64)>,
    pub(crate) accumulators: Vec<(AccumulatorId, Vec<u8>)>,
    pub(crate) blocks: Vec<(BlockId, StorageLevel, BlockStatus)>,
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

/// What the executor's threads share.
pub(crate) struct LocalExecutor {
    pub(crate) shared: Arc<Executor>,
    pub(crate) to_driver: Sender<Msg>,
    pub(crate) tamper: Option<Tamper>,
    files: Arc<AddedFiles>,
    outputs: Mutex<HashMap<ShuffleId, (u64, Arc<MapOutputs>)>>,
}

impl LocalExecutor {
    pub(crate) fn new(
        shared: Arc<Executor>,
        to_driver: Sender<Msg>,
        tamper: Option<Tamper>,
        files: Arc<AddedFiles>,
    ) -> Self {
        LocalExecutor { shared, to_driver, tamper, files, outputs: Mutex::default() }
    }

    /// Forgets what it knows of a shuffle.
    pub(crate) fn forget_outputs(&self, shuffle: ShuffleId) {
        lock(&self.outputs).remove(&shuffle);
    }

    /// Of how many shuffles it knows the outputs.
    pub(crate) fn known_outputs(&self) -> usize {
        lock(&self.outputs).len()
    }

    /// Runs tasks until the driver hangs up.
    pub(crate) fn work(&self, parcels: &Receiver<Parcel>) {
        crate::engine::on_own_thread();
        crate::files::on_task_thread(&self.files);
        for Parcel { task, stage, outputs, kill } in parcels {
            let msg: TaskMsg = decode(&task).expect("the driver of this process wrote the message");
            let attempt = msg.info.attempt;
            let run = panics::caught(|| self.run(msg, &stage, &outputs, kill.clone()));
            let end = run.unwrap_or_else(|failure| TaskEnd::failed(attempt, failure));
            if kill.is_killed() {
                // It may have begun after its shuffles were released: nobody would forget what it learned of them.
                outputs.iter().for_each(|(shuffle, ..)| self.forget_outputs(*shuffle));
            }
            // Whoever is the last to know a stage drops what it holds of the user's.
            guarded("dropping a stage", || drop(stage));
            if self.to_driver.send(Msg::TaskEnded(Box::new(end))).is_err() {
                return;
            }
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
        let begin = Instant::now();
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
        metrics.run_ns = begin.elapsed().as_nanos() as u64;
        let mut outcome = run_hooks(&task, outcome);
        let updates = panics::caught(|| task.accumulators().updates());
        let accumulators = match updates.and_then(|updates| updates.map_err(TaskFailure::Engine)) {
            Ok(updates) => updates,
            Err(e) => {
                fail(&mut outcome, e);
                Vec::new()
            }
        };
        let blocks = task.changed_blocks();
        // Drops elements of the user's types; what is left after a panic goes at the next call.
        while let Err(panic) = panics::caught(|| task.close()) {
            fail(&mut outcome, panic);
        }
        if outcome.is_err() {
            let _ = panics::caught(|| task.drop_run());
        }
        let peaks = task.memory().peaks();
        let _ = panics::caught(|| drop(task));
        TaskEnd { attempt, outcome, metrics, peaks, accumulators, blocks }
    }

    fn attempt(
        &self,
        task: &Task,
        stage: &GetStage,
        split: Option<&[u8]>,
        begin: Instant,
    ) -> Result<Output, TaskFailure> {
        let _current = enter(task);
        let run = || -> Result<Output> {
            if let Some(tamper) = &self.tamper {
                tamper(task.info(), &self.shared, Moment::Before);
            }
            let stage: StageBytes = decode(&stage()?)?;
            let root = stage.decode(task)?;
            task.measure(|m| m.deserialize_ns = begin.elapsed().as_nanos() as u64);
            task.check();
            let output = root.run(task.root_split(split), task);
            if let Some(tamper) = &self.tamper {
                tamper(task.info(), &self.shared, Moment::After);
            }
            Ok(output)
        };
        match panics::caught(run) {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(e)) => Err(TaskFailure::Engine(e)),
            Err(failure) => Err(failure),
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

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|e| Error::Serialization(e.to_string()))
}
