//! What happens, told to the event bus in the words of its schema.
//!
//! The scheduler says what happened and to which numbers; names, lineage, metrics, accumulators and times are added here.
//! While nobody listens, nothing is made.

mod application;
mod stage;
mod task;

pub(crate) use application::Application;

use crate::{
    clock::Clock,
    engine::Accumulators,
    executor::TaskEnd,
    plan::Stage,
    properties::{self, Properties},
    supply::Place,
};
use firesteel_events::{
    Bus, Event,
    event::{
        AccumulableInfo, AccumulableValue, ApplicationEnd, BlockManagerAdded, BlockManagerId, BlockManagerRemoved,
        BlockUpdated, ExecutorAdded, ExecutorExcluded, ExecutorExcludedForStage, ExecutorInfo, ExecutorRemoved,
        ExecutorUnexcluded, InternalAccumulables, JobEnd, JobResult, JobStart, NodeExcluded, NodeExcludedForStage,
        NodeUnexcluded, SpeculativeTaskSubmitted, StageCompleted, StageInfo, StageSubmitted, TaskEndReason,
        TaskGettingResult, TaskStart, TaskType, UnpersistRdd,
    },
};
use firesteel_model::{
    AccumulatorId, AttemptId, BlockId, Error, ExecutorId, HostId, JobFailure, JobId, StageAttempt, StageId,
    StorageLevel, TaskMetrics,
};
use firesteel_rdd::Tally;
use firesteel_scheduler::{Failure, FetchFailure, Outcome, SchedulerEvent, TaskEndReason as Reason, TaskLaunch};
use firesteel_store::BlockStatus;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Turns the scheduler's events into those that listeners see.
pub(crate) struct Reporter {
    bus: Arc<Bus>,
    clock: Clock,
    /// Milliseconds since 1970 at the clock's zero.
    start_time: u64,
    /// The driver's.
    manager: BlockManagerId,
    /// Those of executors in other processes.
    managers: BTreeMap<ExecutorId, BlockManagerId>,
    /// The names of their hosts.
    hosts: BTreeMap<HostId, Arc<str>>,
    jobs: HashMap<JobId, Reported>,
    /// The stages of running jobs.
    stages: HashMap<StageId, Live>,
    /// A job's start that is not told yet: the scheduler may refuse the job.
    announced: Option<JobStart>,
    /// The attempts whose start was told.
    launched: HashMap<AttemptId, Launched>,
    /// What attempts reported of which the scheduler has not said yet what becomes of them.
    ended: HashMap<AttemptId, Ended>,
    /// What the accumulators come to, while jobs run.
    tallies: HashMap<AccumulatorId, Box<dyn Tally>>,
    /// The next free id for the accumulators that the task metrics of a stage attempt are.
    next_internal: u64,
}

/// Internal accumulators are numbered from here, users' from 0.
const FIRST_INTERNAL: u64 = 1 << 32;

struct Reported {
    stages: Vec<StageId>,
    properties: Arc<Properties>,
}

struct Live {
    stage: Arc<Stage>,
    /// What all its attempts have in common, made when it is first told.
    info: Option<StageInfo>,
    /// How many running jobs have it.
    jobs: usize,
    attempts: BTreeMap<StageAttempt, LiveAttempt>,
}

impl Live {
    fn info(&mut self, attempt: StageAttempt, tasks: u32, properties: &Properties) -> StageInfo {
        let common = self.info.get_or_insert_with(|| stage::info(&self.stage, properties));
        StageInfo { attempt, tasks, ..common.clone() }
    }
}

struct LiveAttempt {
    tasks: u32,
    submitted: u64,
    internal: InternalAccumulables,
    /// The users' accumulators that its tasks have changed.
    changed: BTreeMap<AccumulatorId, AccumulableInfo>,
    /// The most memory that each operator held in one task, and the accumulator's id under which it is told.
    operators: BTreeMap<Cow<'static, str>, (AccumulatorId, u64)>,
}

impl LiveAttempt {
    /// What to tell of an operator's memory: as Spark's peaks of SQL operators, the most that a task of the stage had.
    fn of_operator(operator: &str, id: AccumulatorId, update: Option<u64>, value: u64) -> AccumulableInfo {
        let number = |n| AccumulableValue::Number(i64::try_from(n).unwrap_or(i64::MAX));
        AccumulableInfo {
            id,
            name: Some(format!("peak memory of {operator}").into()),
            update: update.map(number),
            value: Some(number(value)),
            internal: false,
            count_failed: true,
            metadata: None,
        }
    }
}

struct Launched {
    launch: TaskLaunch,
    at: u64,
    task_type: TaskType,
}

struct Ended {
    metrics: TaskMetrics,
    peaks: Vec<(Cow<'static, str>, u64)>,
    accumulators: Vec<(AccumulatorId, Vec<u8>)>,
}

impl Reporter {
    /// Tells of the application's start.
    pub(crate) fn new(bus: Arc<Bus>, clock: Clock, application: &Application) -> Self {
        let host: Arc<str> = application.host.as_str().into();
        let manager = BlockManagerId { executor: application::DRIVER.into(), host, port: 0 };
        let reporter = Reporter {
            bus,
            clock,
            start_time: application.start_time,
            manager,
            managers: BTreeMap::new(),
            hosts: BTreeMap::new(),
            jobs: HashMap::new(),
            stages: HashMap::new(),
            announced: None,
            launched: HashMap::new(),
            ended: HashMap::new(),
            tallies: HashMap::new(),
            next_internal: FIRST_INTERNAL,
        };
        for event in application.events(&reporter.manager) {
            reporter.bus.post(event);
        }
        reporter
    }

    fn now(&self) -> u64 {
        self.start_time + self.clock.now().as_millis() as u64
    }

    /// A job was submitted, for so many tasks of its last stage. `attempt_of` says which attempt of a stage runs, or would be next.
    pub(crate) fn submitted(
        &mut self,
        job: JobId,
        stages: &[Arc<Stage>],
        wanted: u32,
        properties: &Arc<Properties>,
        attempt_of: impl Fn(StageId) -> StageAttempt,
    ) {
        let is_active = self.bus.is_active();
        let mut infos = Vec::new();
        for (i, stage) in stages.iter().enumerate() {
            let id = stage.spec.stage;
            let new = || Live { stage: stage.clone(), info: None, jobs: 0, attempts: BTreeMap::new() };
            let live = self.stages.entry(id).or_insert_with(new);
            live.jobs += 1;
            if is_active {
                let is_last = i + 1 == stages.len();
                let tasks = if is_last { wanted } else { stage.spec.tasks };
                infos.push(Arc::new(live.info(attempt_of(id), tasks, properties)));
            }
        }
        if is_active {
            infos.sort_by_key(|info| info.id);
            let properties = properties.clone();
            self.announced = Some(JobStart { job, time: self.now(), stages: infos, properties });
        }
        let stages = stages.iter().map(|stage| stage.spec.stage).collect();
        self.jobs.insert(job, Reported { stages, properties: properties.clone() });
    }

    /// The scheduler has said all about a job. Of one that it refused nothing was told, and nothing is.
    pub(crate) fn job_over(&mut self, job: JobId) {
        self.announced = None;
        self.forget(job);
    }

    fn forget(&mut self, job: JobId) {
        let Some(known) = self.jobs.remove(&job) else { return };
        for id in &known.stages {
            if let Some(live) = self.stages.get_mut(id) {
                live.jobs -= 1;
                if live.jobs == 0 {
                    self.stages.remove(id);
                }
            }
        }
        if self.jobs.is_empty() {
            // From here on the accumulators' own values are right.
            self.tallies.clear();
        }
    }

    /// An attempt has reported its end.
    pub(crate) fn attempt_ended(&mut self, end: &TaskEnd) {
        if self.bus.is_active() {
            let ended =
                Ended { metrics: end.metrics, peaks: end.peaks.clone(), accumulators: end.accumulators.clone() };
            self.ended.insert(end.attempt, ended);
        }
    }

    /// What an attempt added does not count.
    pub(crate) fn discarded(&mut self, attempt: AttemptId) {
        if let Some(ended) = self.ended.get_mut(&attempt) {
            ended.accumulators.clear();
        }
    }

    /// The scheduler has said all about an attempt's end.
    pub(crate) fn attempt_over(&mut self, attempt: AttemptId) {
        self.ended.remove(&attempt);
    }

    /// A block was stored or, with [`StorageLevel::NONE`], dropped.
    pub(crate) fn block(&self, executor: ExecutorId, block: BlockId, status: Option<BlockStatus>) {
        self.bus.post_with(|| {
            let (level, memory, disk) = match status {
                Some(status) => (status.level, status.memory_bytes, status.disk_bytes),
                None => (StorageLevel::NONE, 0, 0),
            };
            BlockUpdated::new(self.manager(executor).clone(), block, level, memory, disk)
        });
    }

    /// The context ends; nothing follows.
    pub(crate) fn stopped(&self) {
        self.bus.post(ApplicationEnd { time: self.now(), exit_code: Some(0) });
        self.bus.stop();
    }

    /// Tells what the scheduler says has happened.
    pub(crate) fn publish(&mut self, event: &SchedulerEvent, accumulators: &Accumulators) {
        if self.bus.is_active() {
            if let Some(start) = self.announced.take() {
                self.bus.post(start);
            }
            if let Some(event) = self.translated(event, accumulators) {
                self.bus.post(event);
            }
        }
        if let SchedulerEvent::TaskEnded { launch, .. } = event {
            self.launched.remove(&launch.attempt);
        }
    }

    fn translated(&mut self, event: &SchedulerEvent, accumulators: &Accumulators) -> Option<Event> {
        let time = self.now();
        Some(match event {
            SchedulerEvent::JobStarted { .. } => return None,
            SchedulerEvent::JobEnded { job, outcome } => {
                JobEnd { job: *job, time, result: self.job_result(*job, outcome) }.into()
            }
            SchedulerEvent::StageSubmitted { stage, attempt, job, tasks } => {
                let internal = InternalAccumulables::new(AccumulatorId(self.next_internal));
                self.next_internal += InternalAccumulables::IDS;
                let properties = self.jobs.get(job).map(|job| job.properties.clone()).unwrap_or_default();
                let live = self.stages.get_mut(stage)?;
                let new = LiveAttempt {
                    tasks: *tasks,
                    submitted: time,
                    internal,
                    changed: BTreeMap::new(),
                    operators: BTreeMap::new(),
                };
                live.attempts.insert(*attempt, new);
                let mut stage = live.info(*attempt, *tasks, &properties);
                stage.submitted = Some(time);
                StageSubmitted { stage, properties }.into()
            }
            SchedulerEvent::StageCompleted { stage, attempt, failure } => {
                let live = self.stages.get_mut(stage)?;
                let ended = live.attempts.remove(attempt);
                let tasks = ended.as_ref().map_or(live.stage.spec.tasks, |ended| ended.tasks);
                let mut stage = live.info(*attempt, tasks, &Properties::new());
                stage.completed = Some(time);
                stage.failure_reason = failure.as_deref().map(Into::into);
                if let Some(ended) = ended {
                    stage.submitted = Some(ended.submitted);
                    let of_operators = ended.operators.iter();
                    let of_operators =
                        of_operators.map(|(name, (id, most))| LiveAttempt::of_operator(name, *id, None, *most));
                    stage.accumulables =
                        ended.changed.into_values().chain(ended.internal.totals()).chain(of_operators).collect();
                }
                StageCompleted { stage }.into()
            }
            SchedulerEvent::TaskStarted(launch) => {
                let task_type = self.stages.get(&launch.stage).map_or(TaskType::Result, |live| task::kind(&live.stage));
                self.launched.insert(launch.attempt, Launched { launch: *launch, at: time, task_type });
                let task = task::info(launch, time, self.manager(launch.executor));
                TaskStart { stage: launch.stage, stage_attempt: launch.stage_attempt, task }.into()
            }
            SchedulerEvent::TaskGettingResult { attempt } => {
                let known = self.launched.get(attempt)?;
                let mut task = task::info(&known.launch, known.at, self.manager(known.launch.executor));
                task.getting_result = time;
                TaskGettingResult { task }.into()
            }
            SchedulerEvent::TaskEnded { launch, reason, .. } => {
                let known = self.launched.get(&launch.attempt);
                let (at, task_type) = known.map_or((time, TaskType::Result), |known| (known.at, known.task_type));
                let ended = self.ended.remove(&launch.attempt);
                let metrics = ended.as_ref().map(|ended| ended.metrics);
                let mut task = task::info(launch, at, self.manager(launch.executor));
                task.finished = time;
                let reason = task::reason(reason, self.manager_of_failure(reason, launch), launch);
                task::mark(&mut task, &reason);
                if let Some(mut ended) = ended {
                    if reason != TaskEndReason::Success {
                        // Of a failed attempt only the metrics count.
                        ended.accumulators.clear();
                    }
                    task.accumulables = self.accumulables(launch, ended, accumulators);
                }
                let (stage, stage_attempt) = (launch.stage, launch.stage_attempt);
                let peaks = Default::default();
                firesteel_events::event::TaskEnd { stage, stage_attempt, task_type, reason, task, peaks, metrics }
                    .into()
            }
            SchedulerEvent::TaskResubmitted { stage, attempt, index, lost } => {
                task::resubmitted(*stage, *attempt, *index, *lost, time, &self.manager).into()
            }
            SchedulerEvent::SpeculativeTaskSubmitted { stage, attempt, index, partition } => {
                let (stage, stage_attempt) = (*stage, *attempt);
                SpeculativeTaskSubmitted { stage, stage_attempt, index: *index, partition: *partition }.into()
            }
            SchedulerEvent::ExecutorAdded { executor, slots, .. } => {
                let host = self.manager(*executor).host.clone();
                let info = ExecutorInfo { host, cores: *slots, registered: Some(time), ..Default::default() };
                ExecutorAdded { time, executor: self.executor(*executor), info }.into()
            }
            SchedulerEvent::ExecutorRemoved { executor, reason } => {
                let reason = reason.to_string().into();
                ExecutorRemoved { time, executor: self.executor(*executor), reason }.into()
            }
            SchedulerEvent::ExecutorExcluded { executor, failures } => {
                ExecutorExcluded { time, executor: self.executor(*executor), task_failures: *failures }.into()
            }
            SchedulerEvent::ExecutorUnexcluded { executor } => {
                ExecutorUnexcluded { time, executor: self.executor(*executor) }.into()
            }
            SchedulerEvent::ExecutorExcludedForStage { executor, failures, stage, attempt } => {
                let (executor, stage, stage_attempt) = (self.executor(*executor), *stage, *attempt);
                ExecutorExcludedForStage { time, executor, task_failures: *failures, stage, stage_attempt }.into()
            }
            SchedulerEvent::NodeExcluded { host, executors } => {
                NodeExcluded { time, host: self.host(*host), executor_failures: *executors }.into()
            }
            SchedulerEvent::NodeUnexcluded { host } => NodeUnexcluded { time, host: self.host(*host) }.into(),
            SchedulerEvent::NodeExcludedForStage { host, executors, stage, attempt } => {
                let (host, stage, stage_attempt) = (self.host(*host), *stage, *attempt);
                NodeExcludedForStage { time, host, executor_failures: *executors, stage, stage_attempt }.into()
            }
            SchedulerEvent::RddUnpersisted { rdd } => UnpersistRdd { rdd: *rdd }.into(),
            other => {
                tracing::debug!("the scheduler's event {other:?} is not told to listeners");
                return None;
            }
        })
    }

    /// An executor's name and place. The one executor of local mode is the driver.
    fn manager(&self, executor: ExecutorId) -> &BlockManagerId {
        self.managers.get(&executor).unwrap_or(&self.manager)
    }

    /// Whose fault a failed fetch is.
    fn manager_of_failure(&self, reason: &Reason, launch: &TaskLaunch) -> &BlockManagerId {
        match reason {
            Reason::Failed(Failure::FetchFailed(FetchFailure { map: Some(map), .. })) => self.manager(map.executor),
            _ => self.manager(launch.executor),
        }
    }

    fn executor(&self, executor: ExecutorId) -> Arc<str> {
        self.manager(executor).executor.clone()
    }

    fn host(&self, host: HostId) -> Arc<str> {
        self.hosts.get(&host).unwrap_or(&self.manager.host).clone()
    }

    /// An executor in another process is about to be there, with room for so many bytes of blocks.
    pub(crate) fn executor_ready(&mut self, executor: ExecutorId, on: HostId, place: &Place) {
        let host: Arc<str> = place.host.as_str().into();
        self.hosts.insert(on, host.clone());
        let manager = BlockManagerId { executor: executor.to_string().into(), host, port: place.port };
        self.managers.insert(executor, manager.clone());
        self.bus.post_with(|| BlockManagerAdded {
            manager,
            max_memory: place.memory,
            time: self.now(),
            max_on_heap_memory: place.memory,
            max_off_heap_memory: 0,
        });
    }

    /// Its blocks are gone. Its name is kept: tasks that ran there are told of yet.
    pub(crate) fn executor_gone(&self, executor: ExecutorId) {
        if let Some(manager) = self.managers.get(&executor) {
            self.bus.post_with(|| BlockManagerRemoved { manager: manager.clone(), time: self.now() });
        }
    }

    fn job_result(&self, job: JobId, outcome: &Outcome) -> JobResult {
        match outcome {
            Outcome::Succeeded => JobResult::Succeeded,
            Outcome::Cancelled(reason) => {
                JobResult::failed(Error::Cancelled { job, reason: reason.clone() }.to_string())
            }
            Outcome::Failed(failure) => {
                let of = |id: &StageId| self.stages.get(id).map(|live| &*live.stage);
                let last = self.jobs.get(&job).and_then(|job| job.stages.last());
                let failure =
                    with_call_site((**failure).clone(), failure.stage.as_ref().and_then(of), last.and_then(of));
                JobResult::failed(failure.to_string())
            }
        }
    }

    /// What a task changed: the metrics as Spark's internal accumulators, and the user's.
    fn accumulables(&mut self, launch: &TaskLaunch, ended: Ended, accumulators: &Accumulators) -> Vec<AccumulableInfo> {
        let attempt = self.stages.get_mut(&launch.stage).and_then(|live| live.attempts.get_mut(&launch.stage_attempt));
        let Some(attempt) = attempt else { return Vec::new() };
        let mut all = Vec::new();
        for (id, update) in &ended.accumulators {
            let Some(accumulator) = accumulators.get(*id) else { continue };
            let tally = self.tallies.entry(*id).or_insert_with(|| accumulator.tally());
            let Some((update, value)) = tally.add(update) else { continue };
            let mut info = AccumulableInfo::of_user(*id, accumulator.name(), None, &value);
            attempt.changed.insert(*id, info.clone());
            info.update = Some(AccumulableValue::Text(update));
            all.push(info);
        }
        all.extend(attempt.internal.add(&ended.metrics));
        for (operator, peak) in ended.peaks {
            let (id, most) = attempt.operators.entry(operator.clone()).or_insert_with(|| {
                let id = AccumulatorId(self.next_internal);
                self.next_internal += 1;
                (id, 0)
            });
            *most = peak.max(*most);
            all.push(LiveAttempt::of_operator(&operator, *id, Some(peak), *most));
        }
        all
    }
}

/// Adds the user's line, which the scheduler does not know: that of the failed stage, or else of the job's last.
pub(crate) fn with_call_site(mut failure: JobFailure, stage: Option<&Stage>, last: Option<&Stage>) -> JobFailure {
    if failure.call_site.is_empty()
        && let Some(stage) = stage.or(last)
    {
        failure.call_site = stage.call_site.to_string();
    }
    failure
}

/// The text that a thread gave for the places from which it calls (`set_call_site`).
fn said_call_site(properties: &Properties) -> Option<&str> {
    properties.get(properties::CALL_SITE).map(String::as_str)
}
