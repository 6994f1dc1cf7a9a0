//! A task without a driver: an executor of nothing but its stores, and stages sent to it as bytes.

use firesteel_model::{
    AttemptId, Error, ExecutorId, JobId, PartitionIndex, RddId, Result, ShuffleId, StageAttempt, StageId, TaskMetrics,
};
use firesteel_rdd::{
    Action, Collect, Data, Ending, Executor, KillFlag, MapOutputs, MapWritten, Node, NodeBytes, Output, Piece,
    Pipeline, Plan, Root, SplitTable, StageBytes, Task, TaskFailure, TaskInfo,
};
use firesteel_store::{Memory, Scratch, record};
use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// The erased RDDs of a stage, parents first: what a plan and a task know of them.
#[derive(Default)]
pub(crate) struct Lineage {
    nodes: Vec<NodeBytes>,
    partitions: BTreeMap<RddId, usize>,
    splits: SplitTable,
}

impl Plan for Lineage {
    fn partitions(&self, rdd: RddId) -> Result<usize> {
        self.partitions.get(&rdd).copied().ok_or_else(|| Error::InvalidArgument(format!("no RDD {rdd}")))
    }
}

impl Lineage {
    /// Erases a pipeline: other pipelines may read it as `Erased::of` the id.
    pub(crate) fn erase<P: Pipeline>(&mut self, id: RddId, pipeline: P) {
        // What keeps its parent's partitions asks for their number under its own id.
        if let Some((_, parent)) = self.partitions.last_key_value() {
            self.partitions.insert(id, *parent);
        }
        let node = Piece(Arc::new(pipeline));
        let splits = node.splits(self).unwrap();
        for p in (0..splits.count() as u32).map(PartitionIndex) {
            if let Some(bytes) = splits.encode(p).unwrap() {
                self.splits.insert((id, p), bytes);
            }
        }
        self.partitions.insert(id, splits.count());
        self.nodes.push(NodeBytes { rdd: id, code: node.code(), bytes: node.encode().unwrap() });
    }
}

/// An executor, and which map outputs its tasks may read.
pub(crate) struct Hand {
    pub(crate) executor: Arc<Executor>,
    pub(crate) outputs: BTreeMap<ShuffleId, Arc<MapOutputs>>,
    attempts: Cell<u64>,
    /// What all tasks measured.
    pub(crate) metrics: Cell<TaskMetrics>,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self::within(1 << 30)
    }

    /// With a memory budget of so many bytes.
    pub(crate) fn within(budget: u64) -> Self {
        let scratch = Scratch::new(vec![std::env::temp_dir()]);
        let executor = Executor::new(ExecutorId(0), scratch, Memory::new(budget, 0.5), |_| true);
        Hand {
            executor: Arc::new(executor),
            outputs: BTreeMap::new(),
            attempts: Cell::default(),
            metrics: Cell::default(),
        }
    }

    /// An attempt at a partition.
    pub(crate) fn task(&self, lineage: &Lineage, partition: u32, partitions: u32) -> Task {
        let attempt = self.attempts.replace(self.attempts.get() + 1);
        let info = TaskInfo {
            job: JobId(0),
            stage: StageId(0),
            stage_attempt: StageAttempt(0),
            partition: PartitionIndex(partition),
            partitions,
            attempt: AttemptId(attempt),
            attempt_number: 0,
            executor: self.executor.id,
            properties: Arc::default(),
        };
        let task =
            Task::new(info, self.executor.clone(), KillFlag::default(), lineage.splits.clone(), self.outputs.clone());
        // The nodes are sent with some stage; which one does not matter here.
        let root = Ending(Arc::new(firesteel_rdd::RangeOf::new(0..1, 1)), Arc::new(firesteel_rdd::Count));
        let stage = StageBytes { nodes: lineage.nodes.clone(), code: root.code(), bytes: root.encode().unwrap() };
        stage.decode(&task).unwrap();
        task
    }

    /// Runs a stage, partition after partition, as an executor would: from bytes.
    pub(crate) fn run<P: Pipeline, A: Action<P::Item>>(
        &self,
        lineage: &Lineage,
        pipeline: P,
        action: A,
    ) -> Vec<(AttemptId, Output)> {
        let root = Ending(Arc::new(pipeline), Arc::new(action));
        let splits = root.splits(lineage).unwrap();
        let stage = StageBytes { nodes: lineage.nodes.clone(), code: root.code(), bytes: root.encode().unwrap() };
        let sent = record::to_vec(&stage).unwrap();
        (0..splits.count() as u32)
            .map(|p| {
                let stage: StageBytes = record::from_slice(&sent).unwrap();
                let task = self.task(lineage, p, splits.count() as u32);
                let root = stage.decode(&task).unwrap();
                let split = splits.encode(PartitionIndex(p)).unwrap();
                let out = root.run(task.root_split(split.as_deref()), &task);
                task.close();
                let mut metrics = self.metrics.get();
                metrics += task.metrics();
                self.metrics.set(metrics);
                // As it would come from another process.
                (task.info().attempt, Output::Bytes(root.encode(out).unwrap()))
            })
            .collect()
    }

    /// The elements of each partition.
    pub(crate) fn collect<P: Pipeline<Item: Data>>(&self, lineage: &Lineage, pipeline: P) -> Vec<Vec<P::Item>> {
        let outs = self.run(lineage, pipeline, Collect { limit: None });
        outs.into_iter().map(|(_, out)| out.into_typed().unwrap()).collect()
    }

    /// Runs the map side of a shuffle; tasks made from now on may read it.
    pub(crate) fn write<P: Pipeline, A: Action<P::Item, Out = MapWritten>>(
        &mut self,
        shuffle: ShuffleId,
        lineage: &Lineage,
        pipeline: P,
        action: A,
    ) -> Vec<MapWritten> {
        let outs = self.run(lineage, pipeline, action);
        let attempts = outs.iter().map(|(attempt, _)| *attempt).collect();
        let written: Vec<MapWritten> = outs.into_iter().map(|(_, out)| out.into_typed().unwrap()).collect();
        let spread = written.iter().map(|written| written.spread).max().unwrap_or(0);
        self.outputs.insert(shuffle, Arc::new(MapOutputs { attempts, spread, ..MapOutputs::default() }));
        written
    }
}

/// How a piece of a task failed. A panic that is no task failure is a fault of the engine's, and panics on.
pub(crate) fn failure_of<T>(f: impl FnOnce() -> T) -> Option<TaskFailure> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => None,
        Err(payload) => match payload.downcast::<TaskFailure>() {
            Ok(failure) => Some(*failure),
            Err(payload) => std::panic::resume_unwind(payload),
        },
    }
}
