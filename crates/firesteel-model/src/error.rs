//! What can go wrong, as the user sees it.

use crate::{AttemptId, JobId, PartitionIndex, StageId};
use std::{fmt, io, sync::Arc};

/// The result of an action, or of anything else that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that an action or a context can fail with. Each message names what was attempted, on what, and the
/// remedy.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An action that needs at least one element found none (Spark's "empty collection").
    #[error("empty collection: the RDD has no elements")]
    EmptyRdd,
    /// An argument that no run could make sense of.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// A job failed: a task failed too often, or something that it needs is missing.
    #[error("{0}")]
    Job(Box<JobFailure>),
    /// A function of the program's panicked outside of tasks, most of all where an action brought the partitions' results together
    /// on the driver.
    #[error("{call_site}: a function that it was given failed: {message}")]
    Function {
        /// The method, and the user's line that called it.
        call_site: String,
        /// The panic's message and place.
        message: String,
    },
    /// A job was cancelled.
    #[error("Job {job} cancelled {reason}")]
    Cancelled {
        /// Which.
        job: JobId,
        /// Why, in Spark's words (`part of cancelled job group g`).
        reason: String,
    },
    /// The context was stopped.
    #[error("cannot call methods on a stopped context: {0}")]
    Stopped(String),
    /// A setting, a master URL or an environment variable that cannot be used.
    #[error("configuration: {0}")]
    Config(String),
    /// A file or folder could not be read, written or listed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was attempted (`read`, `list`, `create`, …).
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Input that does not exist or output that already does.
    #[error("{0}")]
    Path(String),
    /// A value cannot be carried across a boundary by the record format.
    #[error("{0}")]
    Serialization(String),
    /// What a task cannot do without has no room in its share of the memory.
    #[error("{0}")]
    OutOfMemory(String),
    /// An operation of the driver was used inside a task.
    #[error(
        "{0} works on the driver only, and was called inside a task: an RDD's transformations and actions belong to the driver's program; give a task what it needs with a `_with` form or a broadcast"
    )]
    InsideTask(&'static str),
    /// Any other error of the user's own, passed on by `?`.
    #[error("{0}")]
    Other(Arc<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An [`Error::Io`].
    pub fn io(action: &'static str, path: impl fmt::Display, source: io::Error) -> Self {
        Error::Io { action, path: path.to_string(), source: Arc::new(source) }
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Error::Other(Arc::new(e))
    }
}

/// Why a job ended without a result: which task failed, where the user's program made it, and the last failure's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// The job that failed.
    pub job: JobId,
    /// The stage whose task failed too often, if it was a task.
    pub stage: Option<StageId>,
    /// The task's partition.
    pub partition: Option<PartitionIndex>,
    /// The last attempt.
    pub attempt: Option<AttemptId>,
    /// How many attempts of the task failed.
    pub failures: u32,
    /// The user's line that made the failed stage's last RDD or called the action (`main.rs:12`).
    pub call_site: String,
    /// The last failure's own words: a panic's message and place, a user's error, or what is missing.
    pub message: String,
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} failed", self.job)?;
        if let (Some(stage), Some(partition)) = (self.stage, self.partition) {
            write!(f, ": task {partition} of stage {stage} failed {} times", self.failures)?;
        }
        if let Some(attempt) = self.attempt {
            write!(f, ", most recently attempt {attempt}")?;
        }
        if !self.call_site.is_empty() {
            write!(f, " (at {})", self.call_site)?;
        }
        write!(f, ": {}", self.message)
    }
}
