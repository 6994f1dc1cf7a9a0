//! Events of executors and hosts.

use super::{ExecutorMetrics, json};
use firesteel_model::{StageAttempt, StageId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// An executor was registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorAdded {
    /// When.
    #[serde(rename = "Timestamp")]
    pub time: u64,
    /// The executor's name: its number, or `driver` in local mode.
    #[serde(rename = "Executor ID")]
    pub executor: Arc<str>,
    /// What it is.
    #[serde(rename = "Executor Info")]
    pub info: ExecutorInfo,
}

/// What an executor is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecutorInfo {
    /// Its host.
    #[serde(rename = "Host")]
    pub host: Arc<str>,
    /// How many tasks of one core run there at once.
    #[serde(rename = "Total Cores")]
    pub cores: u32,
    /// Where its logs can be read: `stdout`, `stderr` and their addresses.
    #[serde(rename = "Log Urls", default)]
    pub log_urls: BTreeMap<String, String>,
    /// What its cluster manager says of it.
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
    /// The resources other than cores and memory that it has.
    #[serde(rename = "Resources", default)]
    pub resources: BTreeMap<String, ExecutorResource>,
    /// The resource profile that it was made for.
    #[serde(rename = "Resource Profile Id", default)]
    pub resource_profile: u32,
    /// When it was registered.
    #[serde(rename = "Registration Time", default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<u64>,
    /// When it was asked for.
    #[serde(rename = "Request Time", default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<u64>,
}

/// A resource that an executor has: a name such as `gpu`, and the addresses of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecutorResource {
    /// The resource.
    pub name: String,
    /// Where each is.
    pub addresses: Vec<String>,
}

/// An executor is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorRemoved {
    /// When.
    #[serde(rename = "Timestamp")]
    pub time: u64,
    /// Which.
    #[serde(rename = "Executor ID")]
    pub executor: Arc<str>,
    /// Why.
    #[serde(rename = "Removed Reason")]
    pub reason: Arc<str>,
}

/// What an executor used, as of its last heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorMetricsUpdate {
    /// Which.
    #[serde(rename = "Executor ID")]
    pub executor: Arc<str>,
    /// The running tasks' accumulators. Spark's log has the list and leaves it empty.
    #[serde(rename = "Metrics Updated", default)]
    pub tasks: Vec<TaskAccumulables>,
    /// The most that was used since the last update, by stage.
    #[serde(rename = "Executor Metrics Updated", default)]
    pub peaks: Vec<StagePeaks>,
}

/// A running task's accumulators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskAccumulables {
    /// The attempt.
    #[serde(rename = "Task ID")]
    pub attempt: firesteel_model::AttemptId,
    /// Its stage.
    #[serde(rename = "Stage ID")]
    pub stage: StageId,
    /// Its stage's attempt.
    #[serde(rename = "Stage Attempt ID")]
    pub stage_attempt: StageAttempt,
    /// Their values so far.
    #[serde(rename = "Accumulator Updates", default)]
    pub updates: Vec<super::AccumulableInfo>,
}

/// The most that an executor used while it ran tasks of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagePeaks {
    /// The stage; none is the driver's own use.
    #[serde(rename = "Stage ID", with = "json::minus_one")]
    pub stage: Option<StageId>,
    /// The stage's attempt.
    #[serde(rename = "Stage Attempt ID", with = "json::minus_one")]
    pub stage_attempt: Option<StageAttempt>,
    /// The peaks.
    #[serde(rename = "Executor Metrics")]
    pub metrics: ExecutorMetrics,
}

/// The most that an executor used during a stage, known when the stage ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageExecutorMetrics {
    /// Which executor.
    #[serde(rename = "Executor ID")]
    pub executor: Arc<str>,
    /// Which stage.
    #[serde(rename = "Stage ID")]
    pub stage: StageId,
    /// Which attempt of it.
    #[serde(rename = "Stage Attempt ID")]
    pub stage_attempt: StageAttempt,
    /// The peaks.
    #[serde(rename = "Executor Metrics")]
    pub metrics: ExecutorMetrics,
}

/// An executor gets no more tasks of the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutorExcluded {
    /// When.
    pub time: u64,
    /// Which.
    #[serde(rename = "executorId")]
    pub executor: Arc<str>,
    /// How many tasks failed there.
    pub task_failures: u32,
}

/// An executor gets no more tasks of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutorExcludedForStage {
    /// When.
    pub time: u64,
    /// Which.
    #[serde(rename = "executorId")]
    pub executor: Arc<str>,
    /// How many of the stage's tasks failed there.
    pub task_failures: u32,
    /// The stage.
    #[serde(rename = "stageId")]
    pub stage: StageId,
    /// The stage's attempt.
    #[serde(rename = "stageAttemptId")]
    pub stage_attempt: StageAttempt,
}

/// An executor's exclusion expired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorUnexcluded {
    /// When.
    pub time: u64,
    /// Which.
    #[serde(rename = "executorId")]
    pub executor: Arc<str>,
}

/// A host gets no more tasks of the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeExcluded {
    /// When.
    pub time: u64,
    /// Which.
    #[serde(rename = "hostId")]
    pub host: Arc<str>,
    /// How many of its executors are excluded.
    pub executor_failures: u32,
}

/// A host gets no more tasks of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeExcludedForStage {
    /// When.
    pub time: u64,
    /// Which.
    #[serde(rename = "hostId")]
    pub host: Arc<str>,
    /// How many of its executors are excluded.
    pub executor_failures: u32,
    /// The stage.
    #[serde(rename = "stageId")]
    pub stage: StageId,
    /// The stage's attempt.
    #[serde(rename = "stageAttemptId")]
    pub stage_attempt: StageAttempt,
}

/// A host's exclusion expired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeUnexcluded {
    /// When.
    pub time: u64,
    /// Which.
    #[serde(rename = "hostId")]
    pub host: Arc<str>,
}
