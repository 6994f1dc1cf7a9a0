//! What each event does to the state: Spark's rules of counting.
//!
//! An event may name what is not known (any more, or because a log lacks its beginning): it then counts where it can, and panics
//! nowhere.

use super::{
    ApplicationData, BlockCopy, ExecutorData, JobData, JobStatus, RddData, Retained, StageData, StageStatus,
    TaskFailure,
};
use crate::event::{
    BlockUpdatedInfo, EnvironmentUpdate, Event, JobResult, JobStart, Properties, RddInfo, SCHEDULER_POOL, StageInfo,
    TaskEnd, TaskEndReason, property,
};
use firesteel_model::{JobId, RddId, StageAttempt, StageId, StorageLevel};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

#[derive(Debug)]
pub(super) struct Store {
    retained: Retained,
    pub(super) application: ApplicationData,
    pub(super) environment: Option<Arc<EnvironmentUpdate>>,
    pub(super) jobs: BTreeMap<JobId, JobData>,
    pub(super) stages: BTreeMap<(StageId, StageAttempt), LiveStage>,
    pub(super) executors: BTreeMap<Arc<str>, ExecutorData>,
    pub(super) rdds: BTreeMap<RddId, RddData>,
    /// The running jobs that need a stage.
    jobs_of_stage: BTreeMap<StageId, Vec<JobId>>,
    active: BTreeSet<(StageId, StageAttempt)>,
    /// Each executor's blocks and their bytes in memory and on disk.
    blocks: HashMap<Arc<str>, HashMap<String, (u64, u64)>, foldhash::fast::FixedState>,
    /// In the order in which they ended.
    ended_jobs: VecDeque<JobId>,
    /// With the number of their end: a skipped stage attempt may run later, and end again.
    ended_stages: VecDeque<(StageId, StageAttempt, u64)>,
    dead_executors: VecDeque<Arc<str>>,
    excluded: Excluded,
    ends: u64,
}

#[derive(Debug)]
pub(super) struct LiveStage {
    pub(super) data: StageData,
    /// Tasks of which an attempt succeeded; forgotten when the stage has ended.
    succeeded: BTreeSet<u32>,
    /// The number of its end.
    ended: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(Retained::default())
    }
}

/// Who gets no more tasks of the application: an executor that was excluded stays so when its host is not any more.
#[derive(Debug, Default)]
struct Excluded {
    executors: BTreeSet<Arc<str>>,
    hosts: BTreeSet<Arc<str>>,
}

impl Excluded {
    fn has(&self, executor: &Arc<str>, host: &Arc<str>) -> bool {
        self.executors.contains(executor) || self.hosts.contains(host)
    }
}

/// How the end of an attempt is counted.
enum Count {
    Completed,
    Failed,
    Killed(Arc<str>),
}

impl Store {
    pub(super) fn new(retained: Retained) -> Self {
        Self {
            retained,
            application: ApplicationData::default(),
            environment: None,
            jobs: BTreeMap::new(),
            stages: BTreeMap::new(),
            executors: BTreeMap::new(),
            rdds: BTreeMap::new(),
            jobs_of_stage: BTreeMap::new(),
            active: BTreeSet::new(),
            blocks: HashMap::default(),
            ended_jobs: VecDeque::new(),
            ended_stages: VecDeque::new(),
            dead_executors: VecDeque::new(),
            excluded: Excluded::default(),
            ends: 0,
        }
    }

    pub(super) fn latest(&self, stage: StageId) -> Option<&LiveStage> {
        self.stages.range((stage, StageAttempt(0))..=(stage, StageAttempt(u32::MAX))).next_back().map(|(_, s)| s)
    }

    pub(super) fn active_stages(&self) -> impl Iterator<Item = &LiveStage> {
        self.active.iter().filter_map(|key| self.stages.get(key))
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::LogStart(e) => self.application.spark_version = e.spark_version.clone(),
            Event::ApplicationStart(e) => {
                self.application.id = e.id.clone();
                self.application.name = e.name.clone();
                self.application.user = e.user.clone();
                self.application.started = e.time;
            }
            Event::ApplicationEnd(e) => self.application.ended = Some(e.time),
            Event::EnvironmentUpdate(e) => self.environment = Some(Arc::new(e.clone())),
            Event::BlockManagerAdded(e) => {
                let executor = self.executor(&e.manager.executor);
                executor.host = e.manager.host.clone();
                executor.manager = Some(e.manager.clone());
                executor.max_memory = e.max_memory;
                if !executor.is_active && executor.removed.is_none() {
                    executor.is_active = true;
                    executor.added = e.time;
                }
            }
            Event::BlockManagerRemoved(e) => self.forget_blocks(&e.manager.executor),
            Event::ExecutorAdded(e) => {
                let executor = self.executor(&e.executor);
                executor.is_active = true;
                executor.removed = None;
                executor.remove_reason = None;
                executor.host = e.info.host.clone();
                executor.cores = e.info.cores;
                executor.added = e.time;
                executor.log_urls = e.info.log_urls.clone();
                // Its host may be.
                let is_excluded = self.excluded.has(&e.executor, &e.info.host);
                self.executor(&e.executor).is_excluded = is_excluded;
            }
            Event::ExecutorRemoved(e) => self.executor_removed(&e.executor, e.time, &e.reason),
            Event::ExecutorExcluded(e) => self.exclude(|excluded| excluded.executors.insert(e.executor.clone())),
            Event::ExecutorUnexcluded(e) => self.exclude(|excluded| excluded.executors.remove(&e.executor)),
            Event::NodeExcluded(e) => self.exclude(|excluded| excluded.hosts.insert(e.host.clone())),
            Event::NodeUnexcluded(e) => self.exclude(|excluded| excluded.hosts.remove(&e.host)),
            Event::ExecutorExcludedForStage(e) => {
                if let Some(executor) = self.executors.get_mut(&e.executor) {
                    executor.excluded_in_stages.insert(e.stage);
                }
            }
            Event::NodeExcludedForStage(e) => {
                for executor in self.executors.values_mut().filter(|x| x.host == e.host) {
                    executor.excluded_in_stages.insert(e.stage);
                }
            }
            Event::JobStart(e) => self.job_started(e),
            Event::JobEnd(e) => self.job_ended(e.job, e.time, &e.result),
            Event::StageSubmitted(e) => self.stage_submitted(&e.stage, &e.properties),
            Event::StageCompleted(e) => self.stage_completed(&e.stage),
            Event::TaskStart(e) => {
                if let Some(stage) = self.stages.get_mut(&(e.stage, e.stage_attempt)) {
                    stage.data.active_tasks += 1;
                    stage.data.first_task_launched.get_or_insert(e.task.launched);
                }
                self.running_jobs(e.stage, |job| job.active_tasks += 1);
                if let Some(executor) = self.executors.get_mut(&e.task.executor) {
                    executor.active_tasks += 1;
                    executor.total_tasks += 1;
                }
            }
            Event::TaskEnd(e) => self.task_ended(e),
            Event::BlockUpdated(e) => self.block_updated(&e.info),
            Event::UnpersistRdd(e) => self.unpersist(e.rdd),
            Event::StageExecutorMetrics(e) => {
                if let Some(executor) = self.executors.get_mut(&e.executor) {
                    executor.peaks.raise(&e.metrics);
                }
            }
            Event::ExecutorMetricsUpdate(e) => {
                if let Some(executor) = self.executors.get_mut(&e.executor) {
                    e.peaks.iter().for_each(|p| executor.peaks.raise(&p.metrics));
                }
            }
            Event::ResourceProfileAdded(_) | Event::SpeculativeTaskSubmitted(_) | Event::TaskGettingResult(_) => {}
        }
    }

    fn executor(&mut self, id: &Arc<str>) -> &mut ExecutorData {
        self.executors.entry(id.clone()).or_insert_with(|| ExecutorData { id: id.clone(), ..Default::default() })
    }

    fn executor_removed(&mut self, id: &Arc<str>, time: u64, reason: &Arc<str>) {
        self.forget_blocks(id);
        let Some(executor) = self.executors.get_mut(id) else { return };
        executor.is_active = false;
        executor.active_tasks = 0;
        executor.removed = Some(time);
        executor.remove_reason = Some(reason.clone());
        self.dead_executors.push_back(id.clone());
        while self.dead_executors.len() > self.retained.dead_executors {
            let Some(oldest) = self.dead_executors.pop_front() else { break };
            if self.executors.get(&oldest).is_some_and(|e| !e.is_active) {
                self.executors.remove(&oldest);
            }
        }
    }

    fn exclude(&mut self, change: impl FnOnce(&mut Excluded) -> bool) {
        change(&mut self.excluded);
        self.excluded.executors.retain(|id| self.executors.contains_key(id));
        for executor in self.executors.values_mut() {
            executor.is_excluded = self.excluded.has(&executor.id, &executor.host);
        }
    }

    fn job_started(&mut self, e: &JobStart) {
        let stages: Vec<StageId> = e.stages.iter().map(|s| s.id).collect();
        let name = e.stages.iter().max_by_key(|s| s.id).map_or_else(|| Arc::from(""), |s| s.name.clone());
        for info in &e.stages {
            self.jobs_of_stage.entry(info.id).or_default().push(e.job);
            let key = (info.id, info.attempt);
            match self.stages.get_mut(&key) {
                Some(stage) => {
                    stage.data.jobs.push(e.job);
                    // A stage that was skipped may run for this job.
                    if stage.data.status == StageStatus::Skipped {
                        stage.data.status = StageStatus::Pending;
                        stage.ended = 0;
                    }
                }
                None => {
                    self.stages.insert(key, LiveStage::new(StageInfo::clone(info), vec![e.job]));
                }
            }
        }
        let job = JobData {
            id: e.job,
            name,
            description: e.description().map(Into::into),
            group: e.group().map(Into::into),
            tags: e.tags().map(Into::into).collect(),
            submitted: e.time,
            completed: None,
            status: JobStatus::Running,
            failure: None,
            pending: stages.iter().copied().collect(),
            stages,
            tasks: e.stages.iter().filter(|s| s.completed.is_none()).fold(0, |n, s| n.saturating_add(s.tasks)),
            active_tasks: 0,
            completed_tasks: 0,
            skipped_tasks: 0,
            failed_tasks: 0,
            killed_tasks: 0,
            completed_indices: 0,
            active_stages: 0,
            completed_stages: BTreeSet::new(),
            skipped_stages: BTreeSet::new(),
            failed_stages: 0,
            killed_tasks_summary: BTreeMap::new(),
        };
        // A stage that runs for another job is shared.
        self.jobs.insert(e.job, job);
        for info in &e.stages {
            if let Some(key) = self.active.range((info.id, StageAttempt(0))..).next().filter(|k| k.0 == info.id)
                && let Some(running) = self.stages.get_mut(key)
                && let Some(job) = self.jobs.get_mut(&e.job)
            {
                job.pending.remove(&info.id);
                job.active_stages += 1;
                if !running.data.jobs.contains(&e.job) {
                    running.data.jobs.push(e.job);
                }
            }
        }
    }

    fn job_ended(&mut self, id: JobId, time: u64, result: &JobResult) {
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.status == JobStatus::Running) else { return };
        job.completed = Some(time);
        job.active_tasks = 0;
        job.active_stages = 0;
        match result {
            JobResult::Succeeded => job.status = JobStatus::Succeeded,
            JobResult::Failed { error } => {
                job.status = JobStatus::Failed;
                job.failure = Some(error.message.clone());
            }
        }
        // What was never submitted for this job was not needed, or it was not reached.
        let skipped = std::mem::take(&mut job.pending);
        let stages = job.stages.clone();
        let tasks = |stage: &StageId| self.latest(*stage).map_or(0, |s| s.data.info.tasks);
        let skipped_tasks = skipped.iter().map(tasks).fold(0, u32::saturating_add);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.skipped_tasks = job.skipped_tasks.saturating_add(skipped_tasks);
            job.skipped_stages.extend(skipped);
        }
        for stage in stages {
            if let Some(jobs) = self.jobs_of_stage.get_mut(&stage) {
                jobs.retain(|j| *j != id);
                if jobs.is_empty() {
                    self.jobs_of_stage.remove(&stage);
                }
            }
            let attempts = self.stages.range_mut((stage, StageAttempt(0))..=(stage, StageAttempt(u32::MAX)));
            let mut pending = Vec::new();
            for (key, live) in attempts {
                live.data.jobs.retain(|j| *j != id);
                if live.data.status == StageStatus::Pending && live.data.jobs.is_empty() {
                    live.data.status = StageStatus::Skipped;
                    pending.push(*key);
                }
            }
            pending.into_iter().for_each(|key| self.retain_ended_stage(key));
        }
        self.ended_jobs.push_back(id);
        while self.ended_jobs.len() > self.retained.jobs {
            let Some(oldest) = self.ended_jobs.pop_front() else { break };
            self.jobs.remove(&oldest);
        }
    }

    fn stage_submitted(&mut self, info: &StageInfo, properties: &Properties) {
        let key = (info.id, info.attempt);
        let jobs = self.jobs_of_stage.get(&info.id).cloned().unwrap_or_default();
        let stage = self.stages.entry(key).or_insert_with(|| LiveStage::new(info.clone(), Vec::new()));
        let is_new = stage.data.status != StageStatus::Active;
        stage.data.info = info.clone();
        stage.data.status = StageStatus::Active;
        stage.data.jobs = jobs;
        stage.data.pool = property(properties, SCHEDULER_POOL).unwrap_or("default").into();
        stage.data.description = property(properties, crate::event::JOB_DESCRIPTION).map(Into::into);
        stage.ended = 0;
        self.active.insert(key);
        if is_new {
            self.running_jobs(info.id, |job| {
                job.pending.remove(&info.id);
                job.active_stages += 1;
            });
        }
        for rdd in info.rdds.iter().filter(|r| is_valid(r.level)) {
            let known =
                self.rdds.entry(rdd.id).or_insert_with(|| RddData { info: rdd.clone(), partitions: BTreeMap::new() });
            let RddInfo { cached_partitions, memory, disk, .. } = known.info;
            known.info = RddInfo { cached_partitions, memory, disk, ..rdd.clone() };
            known.count();
        }
    }

    fn stage_completed(&mut self, info: &StageInfo) {
        let key = (info.id, info.attempt);
        let Some(stage) = self.stages.get_mut(&key) else { return };
        let was_active = self.active.remove(&key);
        stage.data.info = info.clone();
        stage.data.status = match (&info.failure_reason, info.submitted) {
            (Some(_), _) => StageStatus::Failed,
            (None, None) => StageStatus::Skipped,
            (None, Some(_)) => StageStatus::Complete,
        };
        stage.succeeded = BTreeSet::new();
        let status = stage.data.status;
        let tasks = info.tasks;
        self.running_jobs(info.id, |job| {
            job.active_stages = job.active_stages.saturating_sub(was_active.into());
            match status {
                StageStatus::Complete => {
                    job.completed_stages.insert(info.id);
                }
                StageStatus::Skipped => {
                    job.pending.remove(&info.id);
                    job.skipped_stages.insert(info.id);
                    job.skipped_tasks = job.skipped_tasks.saturating_add(tasks);
                }
                _ => job.failed_stages += 1,
            }
        });
        for executor in self.executors.values_mut() {
            executor.excluded_in_stages.remove(&info.id);
        }
        self.retain_ended_stage(key);
    }

    fn retain_ended_stage(&mut self, key: (StageId, StageAttempt)) {
        self.ends += 1;
        if let Some(stage) = self.stages.get_mut(&key) {
            stage.ended = self.ends;
        }
        self.ended_stages.push_back((key.0, key.1, self.ends));
        while self.ended_stages.len() > self.retained.stages {
            let Some((stage, attempt, end)) = self.ended_stages.pop_front() else { break };
            if self.stages.get(&(stage, attempt)).is_some_and(|s| s.ended == end) {
                self.stages.remove(&(stage, attempt));
            }
        }
    }

    fn task_ended(&mut self, e: &TaskEnd) {
        let count = match &e.reason {
            TaskEndReason::Success => Count::Completed,
            TaskEndReason::TaskKilled { reason, .. } => Count::Killed(reason.clone()),
            TaskEndReason::TaskCommitDenied { .. } => Count::Killed("commit denied".into()),
            _ => Count::Failed,
        };
        // What is resubmitted ended before, with its metrics: its output is gone, nothing else ends now.
        let resubmitted = e.reason == TaskEndReason::Resubmitted;
        let ending = u32::from(!resubmitted);
        let metrics = e.metrics.filter(|_| !resubmitted).unwrap_or_default();
        let mut is_first = false;
        if let Some(LiveStage { data, succeeded, .. }) = self.stages.get_mut(&(e.stage, e.stage_attempt)) {
            data.active_tasks = data.active_tasks.saturating_sub(ending);
            data.metrics += metrics;
            match &count {
                Count::Completed => {
                    data.completed_tasks += 1;
                    if data.status == StageStatus::Active {
                        is_first = succeeded.insert(e.task.index);
                        data.completed_indices = succeeded.len() as u32;
                    }
                }
                Count::Killed(reason) => {
                    data.killed_tasks += 1;
                    *data.killed_tasks_summary.entry(reason.clone()).or_default() += 1;
                }
                Count::Failed => {
                    data.failed_tasks += 1;
                    if resubmitted && succeeded.remove(&e.task.index) {
                        data.completed_indices = succeeded.len() as u32;
                    } else if !resubmitted {
                        data.last_failure = Some(TaskFailure { task: e.task.clone(), reason: e.reason.clone() });
                    }
                }
            }
        }
        self.running_jobs(e.stage, |job| {
            job.active_tasks = job.active_tasks.saturating_sub(ending);
            match &count {
                Count::Completed => {
                    job.completed_tasks += 1;
                    job.completed_indices += u32::from(is_first);
                }
                Count::Killed(reason) => {
                    job.killed_tasks += 1;
                    *job.killed_tasks_summary.entry(reason.clone()).or_default() += 1;
                }
                Count::Failed => job.failed_tasks += 1,
            }
        });
        if let Some(executor) = self.executors.get_mut(&e.task.executor).filter(|_| !resubmitted) {
            executor.active_tasks = executor.active_tasks.saturating_sub(1);
            executor.total_duration += e.task.finished.saturating_sub(e.task.launched);
            executor.metrics += metrics;
            match count {
                Count::Completed => executor.completed_tasks += 1,
                Count::Failed => executor.failed_tasks += 1,
                Count::Killed(_) => {}
            }
        }
    }

    fn block_updated(&mut self, info: &BlockUpdatedInfo) {
        let executor = &info.manager.executor;
        let is_there = is_valid(info.level);
        let (memory, disk) = if is_there { (info.memory, info.disk) } else { (0, 0) };
        let held = self.blocks.entry(executor.clone()).or_default();
        let before = if is_there { held.insert(info.block.clone(), (memory, disk)) } else { held.remove(&info.block) };
        if let Some(executor) = self.executors.get_mut(executor) {
            let (memory_before, disk_before) = before.unwrap_or_default();
            executor.memory_used = executor.memory_used.saturating_add(memory).saturating_sub(memory_before);
            executor.disk_used = executor.disk_used.saturating_add(disk).saturating_sub(disk_before);
            if info.block.starts_with("rdd_") {
                executor.rdd_blocks += u32::from(is_there);
                executor.rdd_blocks = executor.rdd_blocks.saturating_sub(before.is_some().into());
            }
        }
        let Some((rdd, partition)) = info.cached_partition() else { return };
        let Some(rdd) = self.rdds.get_mut(&rdd) else { return };
        let copies = rdd.partitions.entry(partition).or_default();
        let at = copies.iter().position(|c| c.executor == *executor);
        if let Some(old) = at.map(|i| copies.swap_remove(i)) {
            rdd.info.memory = rdd.info.memory.saturating_sub(old.memory);
            rdd.info.disk = rdd.info.disk.saturating_sub(old.disk);
        }
        if is_there {
            copies.push(BlockCopy { executor: executor.clone(), level: info.level, memory, disk });
            rdd.info.memory = rdd.info.memory.saturating_add(memory);
            rdd.info.disk = rdd.info.disk.saturating_add(disk);
        }
        if copies.is_empty() {
            rdd.partitions.remove(&partition);
        }
        rdd.info.cached_partitions = rdd.partitions.len() as u32;
    }

    /// An executor's blocks went with it.
    fn forget_blocks(&mut self, id: &Arc<str>) {
        self.blocks.remove(id);
        if let Some(executor) = self.executors.get_mut(id) {
            executor.rdd_blocks = 0;
            executor.memory_used = 0;
            executor.disk_used = 0;
        }
        for rdd in self.rdds.values_mut() {
            rdd.partitions.retain(|_, copies| {
                copies.retain(|c| c.executor != *id);
                !copies.is_empty()
            });
            rdd.count();
        }
    }

    fn unpersist(&mut self, id: RddId) {
        let Some(rdd) = self.rdds.remove(&id) else { return };
        for (partition, copies) in rdd.partitions {
            let block = format!("rdd_{id}_{partition}");
            for copy in copies {
                if let Some(held) = self.blocks.get_mut(&copy.executor) {
                    held.remove(&block);
                }
                if let Some(executor) = self.executors.get_mut(&copy.executor) {
                    executor.rdd_blocks = executor.rdd_blocks.saturating_sub(1);
                    executor.memory_used = executor.memory_used.saturating_sub(copy.memory);
                    executor.disk_used = executor.disk_used.saturating_sub(copy.disk);
                }
            }
        }
    }

    fn running_jobs(&mut self, stage: StageId, mut change: impl FnMut(&mut JobData)) {
        for id in self.jobs_of_stage.get(&stage).into_iter().flatten() {
            if let Some(job) = self.jobs.get_mut(id) {
                change(job);
            }
        }
    }
}

impl LiveStage {
    fn new(info: StageInfo, jobs: Vec<JobId>) -> Self {
        Self {
            data: StageData {
                info,
                status: StageStatus::Pending,
                pool: "default".into(),
                description: None,
                jobs,
                active_tasks: 0,
                completed_tasks: 0,
                failed_tasks: 0,
                killed_tasks: 0,
                completed_indices: 0,
                killed_tasks_summary: BTreeMap::new(),
                first_task_launched: None,
                metrics: Default::default(),
                last_failure: None,
            },
            succeeded: BTreeSet::new(),
            ended: 0,
        }
    }
}

impl RddData {
    /// Counts again what is kept.
    fn count(&mut self) {
        self.info.cached_partitions = self.partitions.len() as u32;
        let copies = || self.partitions.values().flatten();
        self.info.memory = copies().fold(0, |n, c| n.saturating_add(c.memory));
        self.info.disk = copies().fold(0, |n, c| n.saturating_add(c.disk));
    }
}

/// Whether a level says that something is kept.
fn is_valid(level: StorageLevel) -> bool {
    level.use_memory || level.use_disk
}
