//! How far the jobs are, for programs that look at themselves.

use crate::{Context, engine::Engine};
use firesteel_events::{ExecutorData, JobData, Queue, StageData, event::RddInfo};
use firesteel_model::{
    Result, StorageLevel,
    conf::{SchedulingMode, keys},
};
use std::{collections::BTreeMap, sync::Arc};

/// Jobs, stages and executors as they are when they are asked for. The latest 1,000 jobs and stages that have ended are known.
///
/// ```
/// use firesteel::prelude::*;
/// let sc = Context::builder().master("local[2]").build()?;
/// sc.range_n(0..10, 4).count()?;
/// let tracker = sc.status_tracker();
/// assert!(tracker.active_job_ids().is_empty());
/// let job = tracker.job_info(0).unwrap();
/// assert_eq!(tracker.stage_info(job.stages[0].0).unwrap().completed_tasks, 4);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct StatusTracker {
    engine: Arc<Engine>,
}

impl Context {
    /// Answers questions about jobs, stages and executors.
    pub fn status_tracker(&self) -> StatusTracker {
        StatusTracker { engine: self.engine().clone() }
    }

    /// The RDDs that have a kept partition, and how much of them is kept.
    pub fn rdd_storage_info(&self) -> Vec<RddInfo> {
        self.status_tracker().state().rdd_storage()
    }

    /// The RDDs that are kept (or will be, once they are computed), in the order of their creation.
    pub fn persistent_rdds(&self) -> Vec<PersistentRdd> {
        let kept = |node: &Arc<crate::graph::RddNode>| {
            let level = node.cache.as_ref()?.level();
            (level != StorageLevel::NONE).then(|| PersistentRdd { id: node.id.0, name: node.name(), level })
        };
        self.engine().all_nodes().iter().filter_map(kept).collect()
    }

    /// For each executor, named `host:port`, its memory budget and how much of that is free: neither held by tasks nor kept for later.
    pub fn executor_memory_status(&self) -> BTreeMap<String, (u64, u64)> {
        let memory = self.engine().blocks.memory();
        let free = memory.total().saturating_sub(memory.execution()).saturating_sub(memory.storage());
        BTreeMap::from([(format!("{}:0", firesteel_model::machine::host()), (memory.total(), free))])
    }

    /// Between jobs: FIFO or FAIR.
    ///
    /// # Errors
    /// None once the context runs: the setting was checked then.
    pub fn scheduling_mode(&self) -> Result<SchedulingMode> {
        self.engine().conf.get(keys::SCHEDULER_MODE)
    }

    /// The FAIR pools: those of the allocation file, the default one, and others that run something now. None with FIFO.
    ///
    /// # Errors
    /// If the allocation file cannot be read any more.
    pub fn all_pools(&self) -> Result<Vec<Pool>> {
        if self.scheduling_mode()? == SchedulingMode::Fifo {
            return Ok(Vec::new());
        }
        let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
        let configured = self.engine().conf.pools()?;
        let default = ("default".to_string(), Default::default());
        for (name, config) in configured.into_iter().chain([default]) {
            let new = Pool {
                name: name.clone(),
                mode: config.mode,
                weight: config.weight,
                min_share: config.min_share,
                running_tasks: 0,
            };
            pools.entry(name).or_insert(new);
        }
        for (name, running_tasks) in self.engine().ask(|scheduler| {
            scheduler.pools().map(|(name, _, running)| (name.to_string(), running)).collect::<Vec<_>>()
        }) {
            let new =
                Pool { name: name.clone(), mode: SchedulingMode::Fifo, weight: 1, min_share: 0, running_tasks: 0 };
            pools.entry(name).or_insert(new).running_tasks = running_tasks;
        }
        Ok(pools.into_values().collect())
    }

    /// A FAIR pool by its name.
    ///
    /// # Errors
    /// As [`all_pools`](Context::all_pools).
    pub fn pool(&self, name: &str) -> Result<Option<Pool>> {
        Ok(self.all_pools()?.into_iter().find(|pool| pool.name == name))
    }
}

/// A FAIR pool, as [`Context::all_pools`] shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Its name, which the local property `spark.scheduler.pool` chooses.
    pub name: String,
    /// Between the jobs of the pool.
    pub mode: SchedulingMode,
    /// Its share relative to other pools.
    pub weight: u32,
    /// The task slots that it gets before others get more than theirs.
    pub min_share: u32,
    /// Task attempts of it that run now.
    pub running_tasks: u32,
}

/// A kept RDD, as [`Context::persistent_rdds`] shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PersistentRdd {
    /// Its id.
    pub id: u64,
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// At which level it is kept.
    pub level: StorageLevel,
}

impl StatusTracker {
    /// The state, after everything that has happened so far: what this thread has submitted or cancelled included.
    fn state(&self) -> &firesteel_events::AppState {
        self.engine.ask(|_| ());
        self.engine.bus.flush_queue(Queue::AppStatus);
        &self.engine.state
    }

    /// All known jobs of a group, running or not; with `None` those without a group.
    pub fn job_ids_for_group(&self, group: Option<&str>) -> Vec<u64> {
        self.state().job_ids_for_group(group).into_iter().map(|id| id.0).collect()
    }

    /// All known jobs with a tag, running or not.
    pub fn job_ids_for_tag(&self, tag: &str) -> Vec<u64> {
        self.state().job_ids_for_tag(tag).into_iter().map(|id| id.0).collect()
    }

    /// The jobs that run.
    pub fn active_job_ids(&self) -> Vec<u64> {
        self.state().active_job_ids().into_iter().map(|id| id.0).collect()
    }

    /// The stages that run.
    pub fn active_stage_ids(&self) -> Vec<u64> {
        self.state().active_stage_ids().into_iter().map(|id| id.0).collect()
    }

    /// A job, while it is known.
    pub fn job_info(&self, id: u64) -> Option<JobData> {
        self.state().job(firesteel_model::JobId(id))
    }

    /// The newest attempt of a stage, while it is known.
    pub fn stage_info(&self, id: u64) -> Option<StageData> {
        self.state().stage(firesteel_model::StageId(id))
    }

    /// The executors that are there.
    pub fn executor_infos(&self) -> Vec<ExecutorData> {
        self.state().executors().into_iter().filter(|executor| executor.is_active).collect()
    }
}
