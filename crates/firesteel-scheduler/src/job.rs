//! What a job is made of: the words in which the driver describes one to the scheduler.

use firesteel_model::{ExecutorId, HostId, JobId, PartitionIndex, RddId, ShuffleId, StageId};
use std::{sync::Arc, time::Duration};

/// A rack of hosts, numbered by whoever supplies executors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RackId(pub u32);

/// One job, as the driver submits it.
///
/// Building and submitting one costs O(stages + inputs); nothing about it is recursive, so a lineage of 10,000 shuffles
/// is an ordinary job.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The job's id, given by the driver, never used before.
    pub job: JobId,
    /// What is wanted of the final stage.
    pub kind: JobKind,
    /// The stages in topological order (what a stage reads stands before it), the final stage last. A shuffle that an
    /// earlier job made known, and that was not released since, may be left out, with all that only lies behind it.
    ///
    /// Stages are shared pointers so that a driver can keep one description per shuffle and hand it to every job.
    pub stages: Vec<Arc<StageSpec>>,
    /// The FAIR pool that the job's task sets run in (Spark's `spark.scheduler.pool`; `default` if it has none).
    pub pool: String,
    /// The job's group, if it has one.
    pub group: Option<String>,
    /// The job's tags.
    pub tags: Vec<String>,
}

/// What a job wants of its final stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobKind {
    /// One result for each of these partitions of the final stage, in this order. No partitions: the job ends at once.
    Result {
        /// The wanted partitions; a partition may stand here twice and is computed twice then.
        partitions: Vec<PartitionIndex>,
    },
    /// Only that the final stage's shuffle exists (Spark's `submitMapStage`).
    MapOnly,
    /// As [`JobKind::Result`], and after `timeout` the driver is told with
    /// [`Command::TimeUp`](crate::Command::TimeUp) that what has been delivered so far is the answer. The job runs on,
    /// as Spark's does, until it ends or is cancelled.
    Approximate {
        /// The wanted partitions.
        partitions: Vec<PartitionIndex>,
        /// How long the caller waits, counted from the submission.
        timeout: Duration,
    },
}

impl JobKind {
    /// The partitions that are wanted one by one; none for a map-only job.
    pub fn partitions(&self) -> &[PartitionIndex] {
        match self {
            JobKind::Result { partitions } | JobKind::Approximate { partitions, .. } => partitions,
            JobKind::MapOnly => &[],
        }
    }
}

/// One stage: tasks that run without a shuffle between them.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// The stage's id, given by the driver. A shuffle-map stage keeps its id for as long as its shuffle lives; a
    /// result stage has an id of its own in every job.
    pub stage: StageId,
    /// What its tasks make.
    pub output: StageOutput,
    /// Number of partitions of the stage's last RDD. A shuffle-map stage has a task for each; a result stage has one
    /// for each partition that the job wants.
    pub tasks: u32,
    /// What its tasks read.
    pub inputs: Inputs,
    /// Where its tasks would best run: one list per partition of the stage's last RDD, or nothing at all. See
    /// [`Preference`] for how a list is read.
    pub preferences: Option<Arc<[Vec<Preference>]>>,
}

/// What the tasks of a stage make.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StageOutput {
    /// The map side of this shuffle.
    Shuffle(ShuffleId),
    /// Results of the job.
    Result,
}

/// The lineage between a stage and the shuffles that it reads, with the cache points in between, as a flat list.
///
/// ```
/// use firesteel_model::{RddId, ShuffleId};
/// use firesteel_scheduler::{Input, Inputs};
///
/// // A stage that reads shuffle 0 directly, and shuffle 1 only where RDD 7 is not cached.
/// let mut inputs = Inputs::default();
/// let left = inputs.push(Input::Shuffle(ShuffleId(0)));
/// let behind = inputs.push(Input::Shuffle(ShuffleId(1)));
/// let cache = inputs.push(Input::Cache { rdd: RddId(7), partitions: 4, behind: vec![behind] });
/// inputs.roots = vec![left, cache];
/// assert_eq!(inputs.shuffles().count(), 2);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inputs {
    /// The inputs; one refers to another by its place in this list.
    pub nodes: Vec<Input>,
    /// Those that the stage itself reads. All others are reached through cache points.
    pub roots: Vec<u32>,
}

impl Inputs {
    /// Inputs that are these shuffles, all read directly.
    pub fn of_shuffles(shuffles: impl IntoIterator<Item = ShuffleId>) -> Self {
        let nodes: Vec<_> = shuffles.into_iter().map(Input::Shuffle).collect();
        let roots = (0..nodes.len() as u32).collect();
        Inputs { nodes, roots }
    }

    /// Appends an input, not yet reached from anywhere, and returns its place.
    pub fn push(&mut self, input: Input) -> u32 {
        self.nodes.push(input);
        (self.nodes.len() - 1) as u32
    }

    /// All shuffles in the list, reached or not, in its order.
    pub fn shuffles(&self) -> impl Iterator<Item = ShuffleId> + '_ {
        self.nodes.iter().filter_map(|node| match node {
            Input::Shuffle(shuffle) => Some(*shuffle),
            Input::Cache { .. } => None,
        })
    }
}

/// One input of a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The output of a shuffle's map stage.
    Shuffle(ShuffleId),
    /// A persisted RDD: what lies behind it is needed only while not all of its partitions are known to be cached.
    Cache {
        /// The persisted RDD.
        rdd: RddId,
        /// How many partitions it has.
        partitions: u32,
        /// Places, in [`Inputs::nodes`], of what it is computed from.
        behind: Vec<u32>,
    },
}

/// A place where a task would run well.
///
/// The scheduler reads a partition's list from its front: the first [`Preference::Cached`] or [`Preference::Reduce`]
/// entry that names at least one live executor decides; a run of neighbouring [`Preference::Executor`],
/// [`Preference::Host`] and [`Preference::Rack`] entries counts as one entry, and all of it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preference {
    /// Wherever this partition of a persisted RDD is cached when the task set starts.
    Cached(RddId, PartitionIndex),
    /// The executors that hold a fifth or more of what this reduce partition of a shuffle reads. Looked at only below
    /// 1,000 map and 1,000 reduce partitions, as Spark does.
    Reduce(ShuffleId, PartitionIndex),
    /// This executor; any other on its host is next best.
    Executor(ExecutorId),
    /// Any executor on this host.
    Host(HostId),
    /// Any executor in this rack.
    Rack(RackId),
}

/// How near to its data a task runs: Spark's locality levels, from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Locality {
    /// In the executor that holds the data.
    ProcessLocal,
    /// On the host that holds the data.
    NodeLocal,
    /// The task does not care.
    NoPref,
    /// In the rack of the host that holds the data.
    RackLocal,
    /// Anywhere.
    Any,
}

impl Locality {
    /// Spark's name of the level, as event logs show it.
    ///
    /// ```
    /// assert_eq!(firesteel_scheduler::Locality::NodeLocal.name(), "NODE_LOCAL");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Locality::ProcessLocal => "PROCESS_LOCAL",
            Locality::NodeLocal => "NODE_LOCAL",
            Locality::NoPref => "NO_PREF",
            Locality::RackLocal => "RACK_LOCAL",
            Locality::Any => "ANY",
        }
    }
}
