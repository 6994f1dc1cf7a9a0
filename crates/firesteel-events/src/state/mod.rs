//! The application's state, as events tell it: what the status tracker, the console, and later UI and REST show.

mod data;
mod store;

pub use data::*;

use crate::{
    Event, Listener,
    event::{EnvironmentUpdate, RddInfo},
};
use firesteel_model::{JobId, RddId, StageAttempt, StageId};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use store::Store;

/// How much of what is over is kept. What still runs is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Ended jobs.
    pub jobs: usize,
    /// Ended stage attempts.
    pub stages: usize,
    /// Executors that are gone.
    pub dead_executors: usize,
}

impl Default for Retained {
    /// Spark's numbers: 1,000 jobs, 1,000 stage attempts, 100 executors.
    fn default() -> Self {
        Self { jobs: 1_000, stages: 1_000, dead_executors: 100 }
    }
}

/// The state of one application: a listener that keeps it, and the queries on it. A clone is another handle to the same state.
///
/// Queries return copies and wait for no job; what they return is as new as the events delivered so far
/// ([`Bus::flush_queue`](crate::Bus::flush_queue) first for everything posted). They cost time in proportion to what they return. The same state
/// comes from a live bus and from an event log:
///
/// ```
/// use firesteel_events::{AppState, JobStatus, Listener, LogReader};
/// use firesteel_model::JobId;
///
/// let log = r#"{"Event":"SparkListenerJobStart","Job ID":0,"Submission Time":1,"Stage Infos":[],"Stage IDs":[],"Properties":{"spark.jobGroup.id":"wc"}}
/// {"Event":"SparkListenerJobEnd","Job ID":0,"Completion Time":2,"Job Result":{"Result":"JobSucceeded"}}"#;
/// let mut state = AppState::default();
/// for event in LogReader::new(log.as_bytes(), "the example") {
///     state.on_event(&event?);
/// }
/// assert_eq!(state.job_ids_for_group(Some("wc")), [JobId(0)]);
/// assert_eq!(state.job(JobId(0)).unwrap().status, JobStatus::Succeeded);
/// # Ok::<(), firesteel_model::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AppState(Arc<RwLock<Store>>);

impl Listener for AppState {
    fn on_event(&mut self, event: &Event) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).apply(event);
    }
}

impl AppState {
    /// An empty state that keeps this much of what is over.
    pub fn new(retained: Retained) -> Self {
        Self(Arc::new(RwLock::new(Store::new(retained))))
    }

    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The application itself.
    pub fn application(&self) -> ApplicationData {
        self.read().application.clone()
    }

    /// The properties in force, [secrets](firesteel_model::conf::is_secret) included, so hide them in what you show; none before they are known.
    pub fn environment(&self) -> Option<Arc<EnvironmentUpdate>> {
        self.read().environment.clone()
    }

    /// All known jobs, the newest first.
    pub fn jobs(&self) -> Vec<JobData> {
        self.read().jobs.values().rev().cloned().collect()
    }

    /// A job, while it is known.
    pub fn job(&self, job: JobId) -> Option<JobData> {
        self.read().jobs.get(&job).cloned()
    }

    /// All known jobs of a group, or (none) all without a group, running or not, in the order of their ids. (Spark's `getJobIdsForGroup`.)
    pub fn job_ids_for_group(&self, group: Option<&str>) -> Vec<JobId> {
        self.read().jobs.values().filter(|j| j.group.as_deref() == group).map(|j| j.id).collect()
    }

    /// All known jobs with a tag, running or not, in the order of their ids. (Spark's `getJobIdsForTag`.)
    pub fn job_ids_for_tag(&self, tag: &str) -> Vec<JobId> {
        self.read().jobs.values().filter(|j| j.tags.iter().any(|t| t == tag)).map(|j| j.id).collect()
    }

    /// The jobs that run, in the order of their ids. (Spark's `getActiveJobIds`.)
    pub fn active_job_ids(&self) -> Vec<JobId> {
        self.read().jobs.values().filter(|j| j.status == JobStatus::Running).map(|j| j.id).collect()
    }

    /// All known stage attempts, the newest stage first, and its newest attempt first.
    pub fn stages(&self) -> Vec<StageData> {
        self.read().stages.values().rev().map(|s| s.data.clone()).collect()
    }

    /// The newest attempt of a stage, while it is known. (Spark's `getStageInfo`.)
    pub fn stage(&self, stage: StageId) -> Option<StageData> {
        self.read().latest(stage).map(|s| s.data.clone())
    }

    /// An attempt of a stage, while it is known.
    pub fn stage_attempt(&self, stage: StageId, attempt: StageAttempt) -> Option<StageData> {
        self.read().stages.get(&(stage, attempt)).map(|s| s.data.clone())
    }

    /// The stage attempts that run, in the order of their ids.
    pub fn active_stages(&self) -> Vec<StageData> {
        self.read().active_stages().map(|s| s.data.clone()).collect()
    }

    /// The stages that run, in the order of their ids. (Spark's `getActiveStageIds`.)
    pub fn active_stage_ids(&self) -> Vec<StageId> {
        let mut ids: Vec<_> = self.read().active_stages().map(|s| s.data.info.id).collect();
        ids.dedup();
        ids
    }

    /// All known executors, those that are gone last. (Spark's `getExecutorInfos` has the active ones.)
    pub fn executors(&self) -> Vec<ExecutorData> {
        let state = self.read();
        let mut executors: Vec<_> = state.executors.values().cloned().collect();
        executors.sort_by_key(|e| !e.is_active);
        executors
    }

    /// The RDDs that have a cached partition, in the order of their ids, with how much is cached. (Spark's `getRDDStorageInfo`.)
    pub fn rdd_storage(&self) -> Vec<RddInfo> {
        self.read().rdds.values().filter(|r| r.info.cached_partitions > 0).map(|r| r.info.clone()).collect()
    }

    /// A kept RDD and where its partitions are; none if it is not kept, or nothing was computed of it yet.
    pub fn rdd(&self, rdd: RddId) -> Option<RddData> {
        self.read().rdds.get(&rdd).cloned()
    }
}
