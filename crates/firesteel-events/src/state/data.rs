//! What there is to know about an application, its jobs, stages, executors and kept RDDs.

use crate::event::{BlockManagerId, ExecutorMetrics, RddInfo, StageInfo, TaskEndReason, TaskInfo};
use firesteel_model::{JobId, PartitionIndex, StageId, StorageLevel, TaskMetrics};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// An application.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApplicationData {
    /// Its id.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Who runs it.
    pub user: Arc<str>,
    /// When it started.
    pub started: u64,
    /// When it ended, if it has.
    pub ended: Option<u64>,
    /// The version of Spark whose format its event log has; empty for a running application.
    pub spark_version: String,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// It runs, or waits for room to run.
    Running,
    /// It has its result.
    Succeeded,
    /// It has none, and will have none; a cancelled job too.
    Failed,
}

/// A job, and the counts of its tasks and stages.
#[derive(Clone, Debug, PartialEq)]
pub struct JobData {
    /// Which.
    pub id: JobId,
    /// The name of its last stage (`count at main.rs:12`).
    pub name: Arc<str>,
    /// The user's description.
    pub description: Option<String>,
    /// The user's group.
    pub group: Option<String>,
    /// The user's tags.
    pub tags: Vec<String>,
    /// When it was submitted.
    pub submitted: u64,
    /// When it ended, if it has.
    pub completed: Option<u64>,
    /// Where it stands.
    pub status: JobStatus,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Its stages, also those that are skipped.
    pub stages: Vec<StageId>,
    /// How many tasks it was submitted with, those of stages that turn out to be skipped included.
    pub tasks: u32,
    /// Running attempts.
    pub active_tasks: u32,
    /// Attempts that succeeded.
    pub completed_tasks: u32,
    /// Tasks of skipped stages.
    pub skipped_tasks: u32,
    /// Attempts that failed.
    pub failed_tasks: u32,
    /// Attempts that were killed.
    pub killed_tasks: u32,
    /// Tasks of which an attempt succeeded.
    pub completed_indices: u32,
    /// Stage attempts that run.
    pub active_stages: u32,
    /// Stages that completed.
    pub completed_stages: BTreeSet<StageId>,
    /// Stages whose output was there already.
    pub skipped_stages: BTreeSet<StageId>,
    /// Stage attempts that failed.
    pub failed_stages: u32,
    /// Why attempts were killed, and how many of them.
    pub killed_tasks_summary: BTreeMap<Arc<str>, u32>,
    /// Its stages of which no attempt has been submitted since.
    pub(super) pending: BTreeSet<StageId>,
}

/// Where a stage attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageStatus {
    /// Its tasks run, or wait for room to run.
    Active,
    /// It has all its output.
    Complete,
    /// It ended without.
    Failed,
    /// It waits for its parents.
    Pending,
    /// Its output was there already.
    Skipped,
}

/// A stage attempt, the counts of its tasks, and the sums of their metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct StageData {
    /// What it is, with its times and, once it is complete, its accumulators.
    pub info: StageInfo,
    /// Where it stands.
    pub status: StageStatus,
    /// The pool that it is scheduled in.
    pub pool: Arc<str>,
    /// The user's description of the job that submitted it.
    pub description: Option<String>,
    /// The jobs that run and need it.
    pub jobs: Vec<JobId>,
    /// Running attempts.
    pub active_tasks: u32,
    /// Attempts that succeeded.
    pub completed_tasks: u32,
    /// Attempts that failed.
    pub failed_tasks: u32,
    /// Attempts that were killed.
    pub killed_tasks: u32,
    /// Tasks of which an attempt succeeded.
    pub completed_indices: u32,
    /// Why attempts were killed, and how many of them.
    pub killed_tasks_summary: BTreeMap<Arc<str>, u32>,
    /// When its first task was launched.
    pub first_task_launched: Option<u64>,
    /// The sums of what its tasks measured.
    pub metrics: TaskMetrics,
    /// The last attempt that failed.
    pub last_failure: Option<TaskFailure>,
}

/// An attempt of a task that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFailure {
    /// Which, and where it ran.
    pub task: TaskInfo,
    /// How it failed.
    pub reason: TaskEndReason,
}

/// An executor, and what it has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutorData {
    /// Its name: a number, or `driver`.
    pub id: Arc<str>,
    /// Its host.
    pub host: Arc<str>,
    /// Its block store's address, once that is known.
    pub manager: Option<BlockManagerId>,
    /// Whether it is there.
    pub is_active: bool,
    /// How many tasks of one core run there at once.
    pub cores: u32,
    /// When it came.
    pub added: u64,
    /// When it went, if it has.
    pub removed: Option<u64>,
    /// Why it went.
    pub remove_reason: Option<Arc<str>>,
    /// Running attempts.
    pub active_tasks: u32,
    /// Attempts that succeeded.
    pub completed_tasks: u32,
    /// Attempts that failed.
    pub failed_tasks: u32,
    /// Attempts launched.
    pub total_tasks: u32,
    /// The durations of its attempts that ended, in milliseconds.
    pub total_duration: u64,
    /// The sums of what its tasks measured.
    pub metrics: TaskMetrics,
    /// Blocks of RDDs that it holds.
    pub rdd_blocks: u32,
    /// Bytes of blocks in its memory.
    pub memory_used: u64,
    /// Bytes of blocks on its disk.
    pub disk_used: u64,
    /// How many bytes of blocks its memory can hold.
    pub max_memory: u64,
    /// Where its logs can be read.
    pub log_urls: BTreeMap<String, String>,
    /// Whether it gets no more tasks of the application.
    pub is_excluded: bool,
    /// The running stages of which it gets no more tasks.
    pub excluded_in_stages: BTreeSet<StageId>,
    /// The most that it used.
    pub peaks: ExecutorMetrics,
}

/// A kept RDD, and where its partitions are.
#[derive(Clone, Debug, PartialEq)]
pub struct RddData {
    /// What it is, and how much of it is kept.
    pub info: RddInfo,
    /// The copies of each kept partition.
    pub partitions: BTreeMap<PartitionIndex, Vec<BlockCopy>>,
}

/// A copy of a kept partition.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockCopy {
    /// Who holds it.
    pub executor: Arc<str>,
    /// How.
    pub level: StorageLevel,
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes on disk.
    pub disk: u64,
}
