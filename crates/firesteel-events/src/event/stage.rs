//! Events of stages, and what a stage and its RDDs are.

use super::{AccumulableInfo, Properties, json};
use firesteel_model::{RddId, StageAttempt, StageId, StorageLevel};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};
use std::sync::Arc;

/// An attempt of a stage began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSubmitted {
    /// Which, with its submission time.
    #[serde(rename = "Stage Info")]
    pub stage: StageInfo,
    /// The properties of the job that submitted it. They may hold secrets, which the event log redacts.
    #[serde(rename = "Properties", default, deserialize_with = "json::null_is_default")]
    pub properties: Arc<Properties>,
}

/// An attempt of a stage ended: with a failure reason if it failed, with the totals of its accumulators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageCompleted {
    /// Which.
    #[serde(rename = "Stage Info")]
    pub stage: StageInfo,
}

/// A copy of a slow task was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpeculativeTaskSubmitted {
    /// The task's stage.
    #[serde(rename = "stageId")]
    pub stage: StageId,
    /// The stage's attempt.
    #[serde(rename = "stageAttemptId")]
    pub stage_attempt: StageAttempt,
    /// The task's position in the stage attempt.
    #[serde(rename = "taskIndex")]
    pub index: u32,
    /// The partition that it computes.
    #[serde(rename = "partitionId")]
    pub partition: firesteel_model::PartitionIndex,
}

/// A stage attempt: what it computes, and how far it is. Cheap to clone.
///
/// ```
/// use firesteel_events::event::StageInfo;
/// use firesteel_model::StageId;
///
/// let stage = StageInfo { id: StageId(3), name: "count at main.rs:12".into(), tasks: 100, ..Default::default() };
/// assert_eq!(stage.attempt.0, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct StageInfo {
    /// Which stage.
    #[serde(rename = "Stage ID")]
    pub id: StageId,
    /// Which attempt of it.
    #[serde(rename = "Stage Attempt ID", default)]
    pub attempt: StageAttempt,
    /// The operation that ends it and the user's line (`count at main.rs:12`).
    #[serde(rename = "Stage Name")]
    pub name: Arc<str>,
    /// How many tasks this attempt runs.
    #[serde(rename = "Number of Tasks")]
    pub tasks: u32,
    /// Its RDDs, from the last to the first.
    #[serde(rename = "RDD Info", default)]
    pub rdds: Arc<[RddInfo]>,
    /// The stages whose output it reads.
    #[serde(rename = "Parent IDs", default)]
    pub parents: Arc<[StageId]>,
    /// The user's lines that led to it, innermost first, one per line of text.
    #[serde(rename = "Details", default)]
    pub details: Arc<str>,
    /// When it was submitted; none before that, and for stages that are skipped.
    #[serde(rename = "Submission Time", default)]
    pub submitted: Option<u64>,
    /// When it ended.
    #[serde(rename = "Completion Time", default)]
    pub completed: Option<u64>,
    /// Why it failed, if it did.
    #[serde(rename = "Failure Reason", default)]
    pub failure_reason: Option<Arc<str>>,
    /// Totals of its tasks' accumulators.
    #[serde(rename = "Accumulables", default)]
    pub accumulables: Vec<AccumulableInfo>,
    /// The resource profile that its tasks ask for.
    #[serde(rename = "Resource Profile Id", default)]
    pub resource_profile: u32,
}

impl Serialize for StageInfo {
    /// With Spark's two fields about push-based shuffle, which Firesteel has not.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("StageInfo", 14)?;
        out.serialize_field("Stage ID", &self.id)?;
        out.serialize_field("Stage Attempt ID", &self.attempt)?;
        out.serialize_field("Stage Name", &self.name)?;
        out.serialize_field("Number of Tasks", &self.tasks)?;
        out.serialize_field("RDD Info", &self.rdds)?;
        out.serialize_field("Parent IDs", &self.parents)?;
        out.serialize_field("Details", &self.details)?;
        if let Some(time) = self.submitted {
            out.serialize_field("Submission Time", &time)?;
        }
        if let Some(time) = self.completed {
            out.serialize_field("Completion Time", &time)?;
        }
        if let Some(reason) = &self.failure_reason {
            out.serialize_field("Failure Reason", reason)?;
        }
        out.serialize_field("Accumulables", &self.accumulables)?;
        out.serialize_field("Resource Profile Id", &self.resource_profile)?;
        out.serialize_field("Shuffle Push Enabled", &false)?;
        out.serialize_field("Shuffle Push Mergers Count", &0)?;
        out.end()
    }
}

/// An RDD as a stage shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RddInfo {
    /// Which.
    #[serde(rename = "RDD ID")]
    pub id: RddId,
    /// The name that the user gave it, or what kind of RDD it is.
    #[serde(rename = "Name")]
    pub name: Arc<str>,
    /// The user's operation that it is part of.
    #[serde(rename = "Scope", default, skip_serializing_if = "Option::is_none", with = "scope_text")]
    pub scope: Option<Arc<RddScope>>,
    /// The operation and the user's line (`map at main.rs:10`).
    #[serde(rename = "Callsite", default)]
    pub call_site: Arc<str>,
    /// The RDDs that it is made from.
    #[serde(rename = "Parent IDs", default)]
    pub parents: Arc<[RddId]>,
    /// Where its partitions are kept.
    #[serde(rename = "Storage Level", with = "json::storage_level")]
    pub level: StorageLevel,
    /// Whether its tasks start together.
    #[serde(rename = "Barrier", default)]
    pub barrier: bool,
    /// What a second computation of it yields.
    #[serde(rename = "DeterministicLevel", default)]
    pub determinism: DeterministicLevel,
    /// How many partitions it has.
    #[serde(rename = "Number of Partitions")]
    pub partitions: u32,
    /// How many of them are kept.
    #[serde(rename = "Number of Cached Partitions", default)]
    pub cached_partitions: u32,
    /// Bytes that they take in memory.
    #[serde(rename = "Memory Size", default)]
    pub memory: u64,
    /// Bytes that they take on disk.
    #[serde(rename = "Disk Size", default)]
    pub disk: u64,
}

impl Default for RddInfo {
    fn default() -> Self {
        Self {
            id: RddId(0),
            name: "".into(),
            scope: None,
            call_site: "".into(),
            parents: [].into(),
            level: StorageLevel::NONE,
            barrier: false,
            determinism: DeterministicLevel::default(),
            partitions: 0,
            cached_partitions: 0,
            memory: 0,
            disk: 0,
        }
    }
}

/// What a second computation of an RDD yields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeterministicLevel {
    /// The same records in the same order. Firesteel's own operations all do.
    #[default]
    Determinate,
    /// The same records in another order.
    Unordered,
    /// Other records.
    Indeterminate,
}

/// The user's operation that an RDD is part of; one operation may make several RDDs, and use another operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RddScope {
    /// Unique in the application.
    pub id: String,
    /// The operation (`reduceByKey`).
    pub name: String,
    /// The operation that used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Arc<RddScope>>,
}

/// A scope is written as a text that holds JSON.
mod scope_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(scope: &Option<Arc<RddScope>>, s: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(scope).map_err(serde::ser::Error::custom)?.serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Arc<RddScope>>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
        serde_json::from_str(&text).map_err(serde::de::Error::custom)
    }
}
