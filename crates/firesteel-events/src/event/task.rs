//! Events of task attempts, why an attempt ended, and accumulators.

use super::{BlockManagerId, ExecutorMetrics, json, metrics::task_metrics};
use firesteel_model::{AccumulatorId, AttemptId, PartitionIndex, ShuffleId, StageAttempt, StageId, TaskMetrics};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{fmt, sync::Arc};

/// An attempt of a task was launched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStart {
    /// Its stage.
    #[serde(rename = "Stage ID")]
    pub stage: StageId,
    /// Its stage's attempt.
    #[serde(rename = "Stage Attempt ID", default)]
    pub stage_attempt: StageAttempt,
    /// Which task, which attempt, where.
    #[serde(rename = "Task Info")]
    pub task: TaskInfo,
}

/// The driver began to fetch a result that was too large to be sent with the task's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskGettingResult {
    /// Which task, with the time at which fetching began.
    #[serde(rename = "Task Info")]
    pub task: TaskInfo,
}

/// An attempt of a task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// Its stage.
    #[serde(rename = "Stage ID")]
    pub stage: StageId,
    /// Its stage's attempt.
    #[serde(rename = "Stage Attempt ID", default)]
    pub stage_attempt: StageAttempt,
    /// What the attempt was to make.
    #[serde(rename = "Task Type")]
    pub task_type: TaskType,
    /// How it ended.
    #[serde(rename = "Task End Reason")]
    pub reason: TaskEndReason,
    /// Which task, which attempt, where, with its finish time and its accumulators.
    #[serde(rename = "Task Info")]
    pub task: TaskInfo,
    /// The most that its executor used meanwhile; zeros where nobody measured.
    #[serde(rename = "Task Executor Metrics", default)]
    pub peaks: ExecutorMetrics,
    /// What the attempt measured; none if it ended without a word of its own.
    #[serde(rename = "Task Metrics", default, skip_serializing_if = "Option::is_none", with = "task_metrics")]
    pub metrics: Option<TaskMetrics>,
}

/// What a task makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskType {
    /// A result, for the job's action.
    #[serde(rename = "ResultTask")]
    Result,
    /// A map output, for the readers of a shuffle.
    #[serde(rename = "ShuffleMapTask")]
    ShuffleMap,
}

/// How near to its data a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskLocality {
    /// On the executor that holds them.
    ProcessLocal,
    /// On a host that holds them.
    NodeLocal,
    /// Every place is as good.
    NoPref,
    /// In a rack that holds them.
    RackLocal,
    /// Anywhere.
    Any,
}

/// One attempt of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// The attempt, unique in the application.
    #[serde(rename = "Task ID")]
    pub id: AttemptId,
    /// The task's position in its stage attempt.
    #[serde(rename = "Index")]
    pub index: u32,
    /// The how-manieth attempt of the task in this stage attempt, from 0.
    #[serde(rename = "Attempt", default)]
    pub attempt: u32,
    /// The partition that it computes.
    #[serde(rename = "Partition ID", with = "json::minus_one", default)]
    pub partition: Option<PartitionIndex>,
    /// When it was launched.
    #[serde(rename = "Launch Time")]
    pub launched: u64,
    /// The executor that runs it.
    #[serde(rename = "Executor ID")]
    pub executor: Arc<str>,
    /// The executor's host.
    #[serde(rename = "Host")]
    pub host: Arc<str>,
    /// How near to its data it runs.
    #[serde(rename = "Locality")]
    pub locality: TaskLocality,
    /// Whether it is a copy of an attempt that was slow.
    #[serde(rename = "Speculative", default)]
    pub speculative: bool,
    /// When the driver began to fetch its result; 0 if it did not.
    #[serde(rename = "Getting Result Time", default)]
    pub getting_result: u64,
    /// When it ended; 0 while it runs.
    #[serde(rename = "Finish Time", default)]
    pub finished: u64,
    /// Whether it failed.
    #[serde(rename = "Failed", default)]
    pub failed: bool,
    /// Whether it was killed.
    #[serde(rename = "Killed", default)]
    pub killed: bool,
    /// The accumulators that it changed. See [`InternalAccumulables`](super::InternalAccumulables) for the task metrics among them.
    #[serde(rename = "Accumulables", default)]
    pub accumulables: Vec<AccumulableInfo>,
}

/// How an attempt of a task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "Reason")]
#[non_exhaustive]
pub enum TaskEndReason {
    /// With its result.
    Success,
    /// Its program failed: a panic, or an error that user code returned.
    ExceptionFailure(ExceptionFailure),
    /// A block of a shuffle that it reads was lost or damaged: the map stage runs again.
    FetchFailed(FetchFailed),
    /// It was asked to stop.
    TaskKilled {
        /// Why.
        #[serde(rename = "Kill Reason", default)]
        reason: Arc<str>,
        /// The accumulators that count also when a task does not succeed.
        #[serde(rename = "Accumulator Updates", default)]
        accumulators: Vec<AccumulableInfo>,
    },
    /// Another attempt may commit its output.
    TaskCommitDenied {
        /// The job that writes the output. (Spark's number here is its stage's.)
        #[serde(rename = "Job ID")]
        job: u64,
        /// The partition.
        #[serde(rename = "Partition ID", with = "json::minus_one")]
        partition: Option<PartitionIndex>,
        /// The attempt that was refused.
        #[serde(rename = "Attempt Number")]
        attempt: u32,
    },
    /// Its executor was lost.
    ExecutorLostFailure {
        /// Which.
        #[serde(rename = "Executor ID")]
        executor: Arc<str>,
        /// Whether the application is to blame: such losses count as failures of the task.
        #[serde(rename = "Exit Caused By App", default)]
        caused_by_app: bool,
        /// Why.
        #[serde(rename = "Loss Reason", default, deserialize_with = "json::null_is_default")]
        reason: Arc<str>,
    },
    /// It had succeeded, but its map output was lost with its executor, and it is to run again.
    Resubmitted,
    /// Its result was lost before the driver had fetched it.
    TaskResultLost,
    /// Nobody knows; also a reason that this version does not know.
    #[serde(rename = "UnknownReason", other)]
    Unknown,
}

/// What user code failed with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExceptionFailure {
    /// What kind of failure: `panic`, or the type of the user's error.
    #[serde(rename = "Class Name")]
    pub class: String,
    /// The panic's or error's message.
    #[serde(rename = "Description", default, deserialize_with = "json::null_is_default")]
    pub description: String,
    /// Where it was raised, innermost first.
    #[serde(rename = "Stack Trace", default)]
    pub stack_trace: Vec<StackFrame>,
    /// The same as text, with causes.
    #[serde(rename = "Full Stack Trace", default, deserialize_with = "json::null_is_default")]
    pub full_stack_trace: String,
    /// The accumulators that count also when a task fails.
    #[serde(rename = "Accumulator Updates", default)]
    pub accumulators: Vec<AccumulableInfo>,
}

/// Which shuffle block could not be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchFailed {
    /// Where it should have been; none if nobody holds it.
    #[serde(rename = "Block Manager Address", default)]
    pub manager: Option<BlockManagerId>,
    /// The shuffle.
    #[serde(rename = "Shuffle ID")]
    pub shuffle: ShuffleId,
    /// The attempt that wrote the map output.
    #[serde(rename = "Map ID", with = "json::minus_one", default)]
    pub map_attempt: Option<AttemptId>,
    /// The map partition.
    #[serde(rename = "Map Index", with = "json::minus_one", default)]
    pub map: Option<PartitionIndex>,
    /// The partition that reads.
    #[serde(rename = "Reduce ID", with = "json::minus_one", default)]
    pub reduce: Option<PartitionIndex>,
    /// What went wrong.
    #[serde(rename = "Message", default, deserialize_with = "json::null_is_default")]
    pub message: String,
}

/// A place in a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFrame {
    /// The type or module.
    #[serde(rename = "Declaring Class", default)]
    pub module: String,
    /// The function.
    #[serde(rename = "Method Name", default)]
    pub function: String,
    /// The file.
    #[serde(rename = "File Name", default, deserialize_with = "json::null_is_default")]
    pub file: String,
    /// The line; a negative one is unknown.
    #[serde(rename = "Line Number", default)]
    pub line: i32,
}

/// An accumulator as events show it: what one task added, and what it comes to.
///
/// A value that the user's program accumulates is a [`AccumulableValue::Text`], as the user would print it; task metrics,
/// which are accumulators in Spark, are [`AccumulableValue::Number`]s under names that begin with `internal.metrics.`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccumulableInfo {
    /// Which.
    #[serde(rename = "ID")]
    pub id: AccumulatorId,
    /// Its name. One without a name is not shown.
    #[serde(rename = "Name", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// What a task added.
    #[serde(rename = "Update", default, skip_serializing_if = "Option::is_none")]
    pub update: Option<AccumulableValue>,
    /// What it came to with that.
    #[serde(rename = "Value", default, skip_serializing_if = "Option::is_none")]
    pub value: Option<AccumulableValue>,
    /// Whether it is the engine's own.
    #[serde(rename = "Internal", default)]
    pub internal: bool,
    /// Whether tasks that fail count too.
    #[serde(rename = "Count Failed Values", default)]
    pub count_failed: bool,
    /// What the program that registered it says of it.
    #[serde(rename = "Metadata", default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

impl AccumulableInfo {
    /// An accumulator of the user's: what a task added (if this is about one task) and what it came to.
    ///
    /// ```
    /// use firesteel_events::event::{AccumulableInfo, AccumulableValue};
    /// use firesteel_model::AccumulatorId;
    ///
    /// let words = AccumulableInfo::of_user(AccumulatorId(37), "words seen", Some(&1002), &4000);
    /// assert_eq!(words.value, Some(AccumulableValue::Text("4000".into())));
    /// ```
    pub fn of_user(
        id: AccumulatorId,
        name: impl Into<Arc<str>>,
        update: Option<&dyn fmt::Display>,
        value: &dyn fmt::Display,
    ) -> Self {
        Self {
            id,
            name: Some(name.into()),
            update: update.map(|u| AccumulableValue::Text(u.to_string())),
            value: Some(AccumulableValue::Text(value.to_string())),
            internal: false,
            count_failed: false,
            metadata: None,
        }
    }
}

/// What an accumulator holds, or what a task added to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AccumulableValue {
    /// Of the engine's own.
    Number(i64),
    /// Of the user's.
    Text(String),
}

impl<'de> Deserialize<'de> for AccumulableValue {
    /// Lists and objects, which only Spark's older logs have here, are read as an empty text.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = AccumulableValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }
            fn visit_bool<E>(self, v: bool) -> Result<AccumulableValue, E> {
                Ok(AccumulableValue::Text(v.to_string()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<AccumulableValue, E> {
                Ok(AccumulableValue::Number(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<AccumulableValue, E> {
                Ok(i64::try_from(v).map_or_else(|_| AccumulableValue::Text(v.to_string()), AccumulableValue::Number))
            }
            fn visit_f64<E>(self, v: f64) -> Result<AccumulableValue, E> {
                Ok(AccumulableValue::Text(v.to_string()))
            }
            fn visit_str<E>(self, v: &str) -> Result<AccumulableValue, E> {
                Ok(AccumulableValue::Text(v.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<AccumulableValue, E> {
                Ok(AccumulableValue::Text(String::new()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<AccumulableValue, A::Error> {
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(AccumulableValue::Text(String::new()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<AccumulableValue, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(AccumulableValue::Text(String::new()))
            }
        }
        d.deserialize_any(Visitor)
    }
}
