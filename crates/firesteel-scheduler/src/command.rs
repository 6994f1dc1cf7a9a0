//! What to do: everything that the scheduler tells.

use crate::{Failure, Locality, LossReason};
use firesteel_model::{
    AttemptId, Epoch, ExecutorId, HostId, JobFailure, JobId, PartitionIndex, RddId, ShuffleId, StageAttempt, StageId,
};

/// Something to do, in the order given.
///
/// What goes to one executor must reach it in this order, and an attempt that was told to stop must not cache anything
/// from then on: so that nothing that was computed from data that no longer counts is found by a later attempt.
///
/// Every attempt that the driver reports as succeeded gets exactly one of [`Command::CountAccumulators`],
/// [`Command::DiscardAccumulators`] or [`Command::IgnoreReport`] in answer (after the fetch, where its result has to be
/// fetched first). What a failed attempt accumulated the driver drops by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Run an attempt.
    Launch(TaskLaunch),
    /// Stop an attempt. Its end is awaited all the same: its slot is taken until it is reported.
    Kill {
        /// Which.
        attempt: AttemptId,
        /// Where it runs.
        executor: ExecutorId,
        /// Why.
        reason: String,
    },
    /// Answer to [`Event::CommitAsked`](crate::Event::CommitAsked): yes.
    AllowCommit {
        /// Who asked.
        attempt: AttemptId,
    },
    /// Answer to [`Event::CommitAsked`](crate::Event::CommitAsked): no; the attempt is to end as
    /// [`Failure::CommitDenied`].
    DenyCommit {
        /// Who asked.
        attempt: AttemptId,
    },
    /// Let the tasks that wait at a barrier go on. Not given yet: barrier stages come later.
    ReleaseBarrier {
        /// The stage.
        stage: StageId,
        /// The stage attempt whose tasks all wait.
        stage_attempt: StageAttempt,
    },
    /// Bring a result from the executor's block store; answered by
    /// [`Event::ResultFetched`](crate::Event::ResultFetched) or [`Failure::ResultLost`].
    FetchResult {
        /// The attempt that made it.
        attempt: AttemptId,
        /// Where it lies.
        executor: ExecutorId,
    },
    /// This attempt's result is the job's result for this task. Provisional until [`Command::EndJob`].
    DeliverResult {
        /// The job.
        job: JobId,
        /// The place in the job's list of wanted partitions.
        index: u32,
        /// The partition that stands there.
        partition: PartitionIndex,
        /// The attempt whose result counts.
        attempt: AttemptId,
    },
    /// This delivered result does not count after all: what it was computed from was made again and came out different.
    /// Another one follows.
    WithdrawResult {
        /// The job.
        job: JobId,
        /// The place in the job's list of wanted partitions.
        index: u32,
        /// The attempt whose result no longer counts.
        attempt: AttemptId,
    },
    /// Add what this attempt accumulated.
    CountAccumulators {
        /// Which.
        attempt: AttemptId,
        /// The job until whose end this is provisional (result tasks); none if it is final (map tasks: as in Spark, a
        /// map task that has to be repeated counts again).
        provisional: Option<JobId>,
    },
    /// Do not add what this attempt accumulated; if it was added provisionally, take it back.
    DiscardAccumulators {
        /// Which.
        attempt: AttemptId,
    },
    /// The report of this attempt's success came twice or from an executor that was given up: drop what came with the message,
    /// and leave alone what was counted earlier.
    IgnoreReport {
        /// Which.
        attempt: AttemptId,
    },
    /// Throw away this map output: it is not, or no longer, the one that counts.
    InvalidateOutput {
        /// Where it is. The executor may be gone.
        executor: ExecutorId,
        /// Of which shuffle.
        shuffle: ShuffleId,
        /// The map partition.
        map: PartitionIndex,
        /// The attempt that made it.
        attempt: AttemptId,
    },
    /// Remove all that belongs to this shuffle, everywhere.
    RemoveShuffle {
        /// Which.
        shuffle: ShuffleId,
    },
    /// Remove the blocks of this RDD, everywhere. It may be persisted still: then they will be computed again.
    RemoveRdd {
        /// Which.
        rdd: RddId,
    },
    /// Remove one block of an RDD.
    RemoveBlock {
        /// From where.
        executor: ExecutorId,
        /// Of which RDD.
        rdd: RddId,
        /// Which partition.
        partition: PartitionIndex,
    },
    /// Ask the cluster manager for so many executors in all. Not given yet: dynamic allocation comes later.
    WantExecutors {
        /// How many.
        executors: u32,
    },
    /// Let an executor go: it was given up, and still sends heartbeats.
    LetGo {
        /// Which.
        executor: ExecutorId,
    },
    /// The time of an approximate job is up: what has been delivered so far is its caller's answer.
    TimeUp {
        /// Which.
        job: JobId,
    },
    /// Tell listeners.
    Publish(SchedulerEvent),
    /// The job is over; nothing more follows about it.
    EndJob {
        /// Which.
        job: JobId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// One attempt to be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskLaunch {
    /// The attempt (Spark's task id).
    pub attempt: AttemptId,
    /// The oldest job that needs the stage now.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// The stage attempt.
    pub stage_attempt: StageAttempt,
    /// The task: in a shuffle-map stage its partition, in a result stage its place in the job's list of wanted
    /// partitions.
    pub index: u32,
    /// The partition to compute.
    pub partition: PartitionIndex,
    /// The how-manieth attempt of this task in this stage attempt, from 0.
    pub attempt_number: u32,
    /// Where.
    pub executor: ExecutorId,
    /// Losses of map output that had been seen when it was launched.
    pub epoch: Epoch,
    /// How near to its data.
    pub locality: Locality,
    /// Whether it is a copy of an attempt that is slow.
    pub speculative: bool,
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All that was wanted is there; provisional results and accumulators are final.
    Succeeded,
    /// It cannot be had. The failure's `call_site` is left empty: the driver knows it.
    Failed(Box<JobFailure>),
    /// Somebody cancelled it: the reason, in Spark's words.
    Cancelled(String),
}

/// What listeners are told, with what the scheduler knows of it. Names, lineage, metrics and times the driver adds.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SchedulerEvent {
    /// A job has begun.
    JobStarted {
        /// Which.
        job: JobId,
        /// Its stages, as submitted.
        stages: Vec<StageId>,
        /// How many of them have nothing to do now, because their shuffle exists or is hidden behind a cached RDD.
        skipped: u32,
    },
    /// A job is over.
    JobEnded {
        /// Which.
        job: JobId,
        /// How it ended.
        outcome: Outcome,
    },
    /// A stage attempt has begun.
    StageSubmitted {
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: StageAttempt,
        /// The oldest job that needs it.
        job: JobId,
        /// How many tasks it has to run.
        tasks: u32,
    },
    /// A stage attempt is over.
    StageCompleted {
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: StageAttempt,
        /// Why it failed, if it did.
        failure: Option<String>,
    },
    /// An attempt was launched.
    TaskStarted(TaskLaunch),
    /// The driver fetches a large result.
    TaskGettingResult {
        /// The attempt that made it.
        attempt: AttemptId,
    },
    /// An attempt ended.
    TaskEnded {
        /// As it was launched.
        launch: TaskLaunch,
        /// How it ended.
        reason: TaskEndReason,
        /// Counted failures of this task in its stage attempt so far, this one included.
        failures: u32,
    },
    /// A task that had ended well runs again in the same stage attempt, because its map output was lost (Spark's task end
    /// reason `Resubmitted`).
    TaskResubmitted {
        /// The stage.
        stage: StageId,
        /// Its attempt.
        attempt: StageAttempt,
        /// The task, as in [`TaskLaunch::index`].
        index: u32,
        /// The attempt whose output was lost.
        lost: AttemptId,
    },
    /// A slow attempt is to get a copy.
    SpeculativeTaskSubmitted {
        /// The stage.
        stage: StageId,
        /// Its attempt.
        attempt: StageAttempt,
        /// The task, as in [`TaskLaunch::index`].
        index: u32,
        /// Its partition.
        partition: PartitionIndex,
    },
    /// An executor registered.
    ExecutorAdded {
        /// Which.
        executor: ExecutorId,
        /// Its host.
        host: HostId,
        /// How many tasks it runs at a time.
        slots: u32,
    },
    /// An executor is gone.
    ExecutorRemoved {
        /// Which.
        executor: ExecutorId,
        /// Why.
        reason: LossReason,
    },
    /// An executor gets no more tasks of the application.
    ExecutorExcluded {
        /// Which.
        executor: ExecutorId,
        /// How many tasks failed there.
        failures: u32,
    },
    /// An executor gets no more tasks of a stage attempt.
    ExecutorExcludedForStage {
        /// Which.
        executor: ExecutorId,
        /// How many of its tasks failed there.
        failures: u32,
        /// The stage.
        stage: StageId,
        /// Its attempt.
        attempt: StageAttempt,
    },
    /// An executor may get tasks of the application again.
    ExecutorUnexcluded {
        /// Which.
        executor: ExecutorId,
    },
    /// A host's executors get no more tasks of the application.
    NodeExcluded {
        /// Which.
        host: HostId,
        /// How many of its executors are excluded.
        executors: u32,
    },
    /// A host's executors get no more tasks of a stage attempt.
    NodeExcludedForStage {
        /// Which.
        host: HostId,
        /// How many of its executors are excluded.
        executors: u32,
        /// The stage.
        stage: StageId,
        /// Its attempt.
        attempt: StageAttempt,
    },
    /// A host's executors may get tasks of the application again.
    NodeUnexcluded {
        /// Which.
        host: HostId,
    },
    /// An RDD is no longer persisted.
    RddUnpersisted {
        /// Which.
        rdd: RddId,
    },
}

/// How an attempt ended, as listeners are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskEndReason {
    /// Well. Also a twin that came second.
    Success,
    /// As its executor reported.
    Failed(Failure),
    /// Its executor is gone.
    ExecutorLost {
        /// Which.
        executor: ExecutorId,
        /// Why.
        reason: LossReason,
    },
    /// Its executor is alive and knows nothing of it: a message was lost. Not counted.
    Unknown,
}
