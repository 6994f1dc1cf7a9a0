//! The schema: one type per thing that happens, named as in Spark (`SparkListenerJobStart` → [`JobStart`]).
//!
//! Each type serialises, by serde, to the JSON of Spark's event log, field by field in Spark's order, and reads it back.
//! The fields are plain and public: whoever knows that something happened fills them in. Times are milliseconds since 1970.
//! Text that is the same in many events (names, hosts, call sites) is an `Arc<str>`, so that repeating it costs no copy.
//!
//! ```
//! use firesteel_events::event::{Event, JobEnd, JobResult};
//! use firesteel_model::JobId;
//!
//! let event = Event::from(JobEnd { job: JobId(0), time: 1_795_232_056_049, result: JobResult::Succeeded });
//! let json = event.to_json();
//! assert_eq!(
//!     json,
//!     r#"{"Event":"SparkListenerJobEnd","Job ID":0,"Completion Time":1795232056049,"Job Result":{"Result":"JobSucceeded"}}"#
//! );
//! assert_eq!(Event::from_json(&json).unwrap(), Some(event));
//! ```

mod application;
mod block;
mod executor;
mod job;
mod json;
mod metrics;
mod stage;
mod task;

pub use application::*;
pub use block::*;
pub use executor::*;
pub use job::*;
pub use metrics::*;
pub use stage::*;
pub use task::*;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A job's, stage's or application's properties: names and values, in the order of the names.
pub type Properties = BTreeMap<String, String>;

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $(, twin $twin:literal)?;)*) => {
        /// One thing that happened.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "Event")]
        #[non_exhaustive]
        #[allow(clippy::large_enum_variant, reason = "an event is made once and travels behind an `Arc`")]
        pub enum Event {
            $($(#[$doc])* #[serde(rename = $name)] $variant($variant),)*
        }

        $(impl From<$variant> for Event {
            fn from(e: $variant) -> Self {
                Event::$variant(e)
            }
        })*

        impl Event {
            /// The event's name in Spark's event log, `SparkListenerTaskEnd` for instance.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Event::$variant(_) => $name,)*
                }
            }

            /// The older name under which Spark writes the event a second time, for the readers of its older versions.
            pub(crate) fn twin(&self) -> Option<&'static str> {
                match self {
                    $($(Event::$variant(_) => Some($twin),)?)*
                    _ => None,
                }
            }

            fn parse(name: &str, json: &str) -> serde_json::Result<Option<Event>> {
                match name {
                    $($name => serde_json::from_str(json).map(|e| Some(Event::$variant(e))),)*
                    _ => Ok(None),
                }
            }
        }
    };
}

events! {
    /// The first line of every event log.
    LogStart = "SparkListenerLogStart";
    /// A context started.
    ApplicationStart = "SparkListenerApplicationStart";
    /// A context stopped.
    ApplicationEnd = "SparkListenerApplicationEnd";
    /// The properties in force, at the start and when they change.
    EnvironmentUpdate = "SparkListenerEnvironmentUpdate";
    /// What executors and tasks ask for became known.
    ResourceProfileAdded = "SparkListenerResourceProfileAdded";
    /// A block store, an executor's or the driver's, was registered.
    BlockManagerAdded = "SparkListenerBlockManagerAdded";
    /// A block store is gone.
    BlockManagerRemoved = "SparkListenerBlockManagerRemoved";
    /// An executor was registered.
    ExecutorAdded = "SparkListenerExecutorAdded";
    /// An executor is gone.
    ExecutorRemoved = "SparkListenerExecutorRemoved";
    /// An executor gets no more tasks of the application, because too many failed there.
    ExecutorExcluded = "org.apache.spark.scheduler.SparkListenerExecutorExcluded",
        twin "org.apache.spark.scheduler.SparkListenerExecutorBlacklisted";
    /// An executor gets no more tasks of one stage.
    ExecutorExcludedForStage = "org.apache.spark.scheduler.SparkListenerExecutorExcludedForStage",
        twin "org.apache.spark.scheduler.SparkListenerExecutorBlacklistedForStage";
    /// An executor's exclusion expired.
    ExecutorUnexcluded = "org.apache.spark.scheduler.SparkListenerExecutorUnexcluded",
        twin "org.apache.spark.scheduler.SparkListenerExecutorUnblacklisted";
    /// A host gets no more tasks of the application.
    NodeExcluded = "org.apache.spark.scheduler.SparkListenerNodeExcluded",
        twin "org.apache.spark.scheduler.SparkListenerNodeBlacklisted";
    /// A host gets no more tasks of one stage.
    NodeExcludedForStage = "org.apache.spark.scheduler.SparkListenerNodeExcludedForStage",
        twin "org.apache.spark.scheduler.SparkListenerNodeBlacklistedForStage";
    /// A host's exclusion expired.
    NodeUnexcluded = "org.apache.spark.scheduler.SparkListenerNodeUnexcluded",
        twin "org.apache.spark.scheduler.SparkListenerNodeUnblacklisted";
    /// A job was submitted.
    JobStart = "SparkListenerJobStart";
    /// A job ended.
    JobEnd = "SparkListenerJobEnd";
    /// An attempt of a stage began.
    StageSubmitted = "SparkListenerStageSubmitted";
    /// An attempt of a stage ended, well or not.
    StageCompleted = "SparkListenerStageCompleted";
    /// The most that an executor used during a stage.
    StageExecutorMetrics = "SparkListenerStageExecutorMetrics";
    /// A copy of a slow task was asked for. Listeners see it; the event log, as in Spark, does not.
    SpeculativeTaskSubmitted = "SparkListenerSpeculativeTaskSubmitted";
    /// An attempt of a task was launched.
    TaskStart = "SparkListenerTaskStart";
    /// The driver began to fetch a result that was too large to be sent with the task's end.
    TaskGettingResult = "SparkListenerTaskGettingResult";
    /// An attempt of a task ended, well or not.
    TaskEnd = "SparkListenerTaskEnd";
    /// A block was stored, moved or dropped.
    BlockUpdated = "SparkListenerBlockUpdated";
    /// An RDD is no longer kept.
    UnpersistRdd = "SparkListenerUnpersistRDD";
    /// What an executor used, as of its last heartbeat.
    ExecutorMetricsUpdate = "SparkListenerExecutorMetricsUpdate";
}

impl Event {
    /// The event as one line of JSON, as Spark's event log has it; without a line end. Redacts nothing.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event is made of texts, numbers, lists and maps with text keys")
    }

    /// Reads one line of an event log. `Ok(None)` is an event that this version has no use for.
    ///
    /// # Errors
    /// The line is not JSON, has no `Event`, nests deeper than 128 levels where it is read, or lacks a field of its event.
    pub fn from_json(line: &str) -> serde_json::Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "Event", borrow)]
            event: std::borrow::Cow<'a, str>,
        }
        let head: Head<'_> = serde_json::from_str(line)?;
        Event::parse(&head.event, line)
    }
}
