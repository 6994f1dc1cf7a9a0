//! Events of jobs.

use super::{Properties, StackFrame, StageInfo, json};
use firesteel_model::{JobId, StageId};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};
use std::sync::Arc;

/// The property that names a job's group.
pub const JOB_GROUP_ID: &str = "spark.jobGroup.id";
/// The property that describes a job.
pub const JOB_DESCRIPTION: &str = "spark.job.description";
/// The property that lists a job's tags, separated by commas.
pub const JOB_TAGS: &str = "spark.job.tags";
/// The property that names the pool that a job is scheduled in.
pub const SCHEDULER_POOL: &str = "spark.scheduler.pool";

/// A job was submitted. All its stages are listed, in the order of their ids, those that will be skipped too.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct JobStart {
    /// Which.
    #[serde(rename = "Job ID")]
    pub job: JobId,
    /// When.
    #[serde(rename = "Submission Time", default)]
    pub time: u64,
    /// Its stages. Handles, so that a stage that many jobs share is described once.
    #[serde(rename = "Stage Infos", default)]
    pub stages: Vec<Arc<StageInfo>>,
    /// The submitting thread's properties ([`JOB_GROUP_ID`] and others). They may hold secrets, which the event log redacts.
    #[serde(rename = "Properties", default, deserialize_with = "json::null_is_default")]
    pub properties: Arc<Properties>,
}

impl Serialize for JobStart {
    /// Spark repeats the ids of the stages in a list of their own.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("JobStart", 5)?;
        out.serialize_field("Job ID", &self.job)?;
        out.serialize_field("Submission Time", &self.time)?;
        out.serialize_field("Stage Infos", &self.stages)?;
        out.serialize_field("Stage IDs", &self.stages.iter().map(|s| s.id).collect::<Vec<StageId>>())?;
        out.serialize_field("Properties", &self.properties)?;
        out.end()
    }
}

impl JobStart {
    /// The job's group.
    pub fn group(&self) -> Option<&str> {
        property(&self.properties, JOB_GROUP_ID)
    }

    /// The user's description of the job.
    pub fn description(&self) -> Option<&str> {
        property(&self.properties, JOB_DESCRIPTION)
    }

    /// The job's tags.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        property(&self.properties, JOB_TAGS).unwrap_or("").split(',').filter(|t| !t.is_empty())
    }
}

/// The value of a property, under its name with the prefix `spark.` or with `firesteel.`.
pub(crate) fn property<'a>(properties: &'a Properties, name: &str) -> Option<&'a str> {
    let ours = || properties.get(&name.replacen("spark.", "firesteel.", 1));
    properties.get(name).or_else(ours).map(String::as_str)
}

/// A job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEnd {
    /// Which.
    #[serde(rename = "Job ID")]
    pub job: JobId,
    /// When.
    #[serde(rename = "Completion Time", default)]
    pub time: u64,
    /// How.
    #[serde(rename = "Job Result")]
    pub result: JobResult,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "Result")]
pub enum JobResult {
    /// With a result.
    #[serde(rename = "JobSucceeded")]
    Succeeded,
    /// Without one, also when it was cancelled.
    #[serde(rename = "JobFailed")]
    Failed {
        /// Why.
        #[serde(rename = "Exception")]
        error: JobError,
    },
}

impl JobResult {
    /// A failure with this message.
    pub fn failed(message: impl Into<String>) -> Self {
        JobResult::Failed { error: JobError { message: message.into(), stack_trace: Vec::new() } }
    }
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobError {
    /// What the action's error says.
    #[serde(rename = "Message", default, deserialize_with = "json::null_is_default")]
    pub message: String,
    /// Where it was raised.
    #[serde(rename = "Stack Trace", default)]
    pub stack_trace: Vec<StackFrame>,
}
