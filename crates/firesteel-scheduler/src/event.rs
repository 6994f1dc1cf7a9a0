//! What happens: everything that the scheduler is told.

use crate::{JobSpec, RackId};
use firesteel_model::{AttemptId, ExecutorId, HostId, JobId, PartitionIndex, RddId, ShuffleId, StageId};
use std::fmt;

/// Something that happened, in the order in which the driver learnt of it.
///
/// Any event may come late, twice or about something that is long gone: what the scheduler no longer knows it ignores.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An action wants a job run.
    JobSubmitted(JobSpec),
    /// A job shall end.
    JobCancelled {
        /// Which; an unknown one is ignored.
        job: JobId,
        /// The user's reason, or an empty string.
        reason: String,
    },
    /// Every job that needs this stage now shall end.
    StageCancelled {
        /// Which; one that is not active is ignored.
        stage: StageId,
        /// The user's reason; without one it is Spark's `because Stage 3 was cancelled`.
        reason: Option<String>,
    },
    /// Every job of this group shall end.
    GroupCancelled {
        /// The group.
        group: String,
        /// The user's reason; without one it is Spark's `part of cancelled job group g`.
        reason: Option<String>,
        /// Whether jobs that are submitted with this group later shall end as well. The latest 1,000 such groups are
        /// kept, as in Spark.
        future: bool,
    },
    /// Every job with this tag shall end.
    TagCancelled {
        /// The tag.
        tag: String,
        /// The user's reason; without one it is Spark's `part of cancelled job tags t`.
        reason: Option<String>,
        /// Whether jobs that are submitted with this tag later shall end as well. The latest 1,000 such tags are kept.
        future: bool,
    },
    /// Every job shall end: `cancelAllJobs`, or the context stops.
    AllJobsCancelled {
        /// Spark's `as part of cancellation of all jobs`, `because SparkContext was shut down`, or the user's.
        reason: String,
    },
    /// The user wants this attempt killed; its task is tried again, and nothing is counted as a failure.
    AttemptKillAsked {
        /// Which; an unknown one is ignored.
        attempt: AttemptId,
        /// Why, for the event log.
        reason: String,
    },

    /// An executor is ready to run tasks.
    ExecutorRegistered {
        /// Its id, given by the driver, never used before.
        executor: ExecutorId,
        /// The host that it runs on.
        host: HostId,
        /// The host's rack, if racks are known.
        rack: Option<RackId>,
        /// How many tasks it runs at a time (its cores divided by `task.cpus`).
        slots: u32,
        /// Whether its shuffle output can still be read when the scheduler gives it up, for silence or because it is excluded.
        outputs_outlive: bool,
    },
    /// An executor is alive. One that is silent for
    /// [`Config::heartbeat_timeout`](crate::Config::heartbeat_timeout) is taken as lost.
    Heartbeat {
        /// Which.
        executor: ExecutorId,
        /// Grows with every heartbeat of this executor, from 1; one that comes after a newer one is ignored.
        number: u64,
        /// Every attempt that it has been given and has not reported the end of. An attempt that was launched there
        /// and is missing here (a lost message) is tried again; one that should not be there is killed.
        running: Vec<AttemptId>,
    },
    /// An executor will go away soon. Nothing changes for now: moving its data and keeping tasks off it comes later.
    ExecutorDecommissioning {
        /// Which.
        executor: ExecutorId,
    },
    /// An executor is gone, with the tasks and cached blocks that it had.
    ExecutorLost {
        /// Which.
        executor: ExecutorId,
        /// Why.
        reason: LossReason,
        /// Whether its shuffle output can still be read (a shuffle service serves it).
        outputs_survive: bool,
    },
    /// A host is gone, with all executors on it.
    HostLost {
        /// Which.
        host: HostId,
        /// Why, for messages.
        reason: String,
        /// Whether shuffle output that was made there can still be read.
        outputs_survive: bool,
    },

    /// An executor has begun an attempt.
    AttemptStarted {
        /// Which.
        attempt: AttemptId,
    },
    /// An attempt ended well.
    AttemptSucceeded {
        /// Which.
        attempt: AttemptId,
        /// What it made.
        success: Success,
    },
    /// An attempt ended otherwise.
    AttemptFailed {
        /// Which.
        attempt: AttemptId,
        /// How.
        failure: Failure,
    },
    /// The driver has the result that [`Command::FetchResult`](crate::Command::FetchResult) asked for. If it cannot be
    /// had, the driver says [`Failure::ResultLost`] instead.
    ResultFetched {
        /// The attempt that made it.
        attempt: AttemptId,
    },
    /// The time of [`Scheduler::next_deadline`](crate::Scheduler::next_deadline) has come.
    DeadlineReached,
    /// An attempt asks whether it may commit its output.
    CommitAsked {
        /// Which.
        attempt: AttemptId,
    },
    /// A task waits at a barrier. Barrier stages come later; until then this fails the stage's jobs with a message that
    /// says so, because nobody would ever release the task.
    BarrierReached {
        /// The attempt that waits.
        attempt: AttemptId,
    },
    /// An executor holds a partition of a persisted RDD.
    BlockCached {
        /// Who.
        executor: ExecutorId,
        /// Of which RDD.
        rdd: RddId,
        /// Which partition.
        partition: PartitionIndex,
        /// The attempt that computed it, if a task did. Blocks of an attempt that was rolled back are removed again.
        attempt: Option<AttemptId>,
    },
    /// An executor no longer holds a partition of a persisted RDD.
    BlockDropped {
        /// Who.
        executor: ExecutorId,
        /// Of which RDD.
        rdd: RddId,
        /// Which partition.
        partition: PartitionIndex,
    },
    /// Nobody can use this shuffle any more: its outputs are removed and it is forgotten.
    ShuffleReleased(ShuffleId),
    /// This RDD is no longer persisted: its blocks are removed and forgotten.
    RddReleased(RddId),
    /// The cluster manager promised executors. Nothing changes until they register: dynamic allocation comes later.
    ResourcesGranted {
        /// How many.
        executors: u32,
    },
}

/// What a successful attempt made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Success {
    /// A result for the job.
    Result {
        /// Its size, counted against [`Config::max_result_bytes`](crate::Config::max_result_bytes).
        bytes: u64,
        /// Whether it came with the message. If not, it lies in the executor's block store, and the driver fetches it when
        /// told to.
        inline: bool,
    },
    /// One map output of the stage's shuffle.
    MapOutput {
        /// How large it is.
        sizes: MapSizes,
        /// Over record counts and key hashes, or the numbers that a sort goes by, in order: a rerun whose checksum differs read or made other data.
        checksum: u64,
    },
}

/// How large a map output is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MapSizes {
    /// For each reduce partition on the scale of [`MapSizes::level`]; for shuffles of up to
    /// [`MapSizes::MAX_PARTITIONS`] partitions.
    PerPartition(Box<[u8]>),
    /// All partitions together, in bytes.
    Total(u64),
}

impl MapSizes {
    /// Above so many reduce partitions only the total is reported, as in Spark.
    pub const MAX_PARTITIONS: usize = 2000;

    /// Sizes from bytes per reduce partition: per partition while there are few, else their sum.
    ///
    /// ```
    /// use firesteel_scheduler::MapSizes;
    /// let sizes = MapSizes::of(&[0, 100, 5000]);
    /// assert!(sizes.total() >= 5100 && sizes.total() < 5700);
    /// assert_eq!(MapSizes::of(&vec![2; 3000]), MapSizes::Total(6000));
    /// ```
    pub fn of(bytes: &[u64]) -> Self {
        if bytes.len() > Self::MAX_PARTITIONS {
            MapSizes::Total(bytes.iter().fold(0, |sum, b| sum.saturating_add(*b)))
        } else {
            MapSizes::PerPartition(bytes.iter().map(|b| Self::level(*b)).collect())
        }
    }

    /// A size as one byte on a logarithmic scale of base 1.1, rounded up: up to 10 % too large, up to 35 GB. Zero stays zero.
    ///
    /// ```
    /// use firesteel_scheduler::MapSizes;
    /// assert_eq!(MapSizes::level(0), 0);
    /// assert!(MapSizes::bytes(MapSizes::level(1_000_000)) >= 1_000_000);
    /// ```
    pub fn level(bytes: u64) -> u8 {
        match bytes {
            0 => 0,
            1 => 1,
            _ => ((bytes as f64).ln() / 1.1f64.ln()).ceil().min(255.0) as u8,
        }
    }

    /// The size that a level stands for.
    pub fn bytes(level: u8) -> u64 {
        if level == 0 { 0 } else { 1.1f64.powi(i32::from(level)).ceil() as u64 }
    }

    /// All partitions together, in bytes.
    pub fn total(&self) -> u64 {
        match self {
            MapSizes::PerPartition(levels) => levels.iter().map(|level| Self::bytes(*level)).sum(),
            MapSizes::Total(bytes) => *bytes,
        }
    }
}

/// How an attempt ended without success.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// User code panicked or returned an error, or the engine met one: counted towards `task.maxFailures`.
    Error {
        /// The error's own words.
        message: String,
        /// True if no other attempt can do better (a value that the record format cannot carry): the stage is
        /// aborted at once, as Spark does for `NotSerializableException`.
        fatal: bool,
    },
    /// A map output could not be read.
    FetchFailed(FetchFailure),
    /// The attempt asked to commit and was denied; not counted.
    CommitDenied,
    /// The attempt ended because it was told to; not counted.
    Killed {
        /// Why.
        reason: String,
    },
    /// The result is no longer in the executor's block store; counted.
    ResultLost,
    /// One result alone is larger than [`Config::max_result_bytes`](crate::Config::max_result_bytes): the stage is
    /// aborted at once.
    ResultTooLarge {
        /// Its size.
        bytes: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error { message, .. } => f.write_str(message),
            Failure::FetchFailed(fetch) => fetch.fmt(f),
            Failure::CommitDenied => f.write_str("commit denied: another attempt commits this partition's output"),
            Failure::Killed { reason } => write!(f, "killed: {reason}"),
            Failure::ResultLost => f.write_str("the result was lost from the executor's block store"),
            Failure::ResultTooLarge { bytes } => {
                write!(f, "the result of {bytes} bytes is larger than driver.maxResultSize")
            }
        }
    }
}

/// Which map output could not be read, by whom, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchFailure {
    /// The shuffle.
    pub shuffle: ShuffleId,
    /// The map output; none if the task was never told where one is (it recomputes a cached partition whose shuffle was
    /// skipped).
    pub map: Option<MapRef>,
    /// The reduce partition that was being read.
    pub reduce: PartitionIndex,
    /// Whether the executor that holds the output could not be reached at all. Then everything that it made before the reader
    /// began is taken as lost; otherwise (a block is missing or corrupt) only this output.
    pub unreachable: bool,
    /// What the reader saw.
    pub message: String,
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fetch failed: shuffle {}", self.shuffle)?;
        match self.map {
            Some(map) => write!(f, ", map {} (attempt {} on executor {})", map.partition, map.attempt, map.executor)?,
            None => f.write_str(", whose map outputs are missing")?,
        }
        write!(f, ", reduce {}: {}", self.reduce, self.message)
    }
}

/// One map output, by its exact name: a rerun's output is another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MapRef {
    /// The map partition.
    pub partition: PartitionIndex,
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// Where it is.
    pub executor: ExecutorId,
}

/// Why an executor is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LossReason {
    /// Its process ended.
    Exited {
        /// What is known about how, for messages.
        message: String,
        /// Whether the program that it ran is to blame (out of memory, a call to exit): then the attempts that it ran
        /// are counted as failures.
        caused_by_app: bool,
    },
    /// It was silent for too long. Not the program's fault.
    HeartbeatTimeout,
    /// It was told to go.
    Released,
    /// A task waits that may run on no executor, it had nothing to do, and another is to take its place.
    Excluded,
    /// Its host is gone.
    HostLost {
        /// Why, for messages.
        message: String,
    },
}

impl LossReason {
    /// Whether the attempts that ran there are counted as failures.
    pub fn counts_as_failure(&self) -> bool {
        matches!(self, LossReason::Exited { caused_by_app: true, .. })
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossReason::Exited { message, .. } => write!(f, "exited: {message}"),
            LossReason::HeartbeatTimeout => f.write_str("no heartbeat for too long"),
            LossReason::Released => f.write_str("released"),
            LossReason::Excluded => {
                f.write_str("excluded: a task waits that may run neither here nor elsewhere; another takes its place")
            }
            LossReason::HostLost { message } => write!(f, "host lost: {message}"),
        }
    }
}
