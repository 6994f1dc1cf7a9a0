//! The scheduler's settings. Each is a configuration key of Spark's, named in its documentation.

use std::{collections::BTreeMap, time::Duration};

/// The scheduler's settings; the default is Spark's defaults.
///
/// ```
/// let config = firesteel_scheduler::Config { max_task_failures: 1, ..Default::default() };
/// assert_eq!(config.max_consecutive_stage_attempts, 4);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// `task.maxFailures`: counted failures of one task in one stage attempt after which the stage is aborted. At least 1.
    pub max_task_failures: u32,
    /// `stage.maxConsecutiveAttempts`: attempts of one stage in a row that may fail by fetch failures. At least 1.
    pub max_consecutive_stage_attempts: u32,
    /// `driver.maxResultSize`: sum of the sizes of one job's results; none for no limit.
    pub max_result_bytes: Option<u64>,
    /// `locality.wait` and its kin.
    pub locality_wait: LocalityWait,
    /// `scheduler.mode`, between pools or, without FAIR, between jobs.
    pub mode: SchedulingMode,
    /// `scheduler.allocation.file`, parsed: the pools by name. A job that names another pool gets one with
    /// [`PoolConfig::default`].
    pub pools: BTreeMap<String, PoolConfig>,
    /// `speculation` and its kin; none if it is off.
    pub speculation: Option<Speculation>,
    /// `network.timeout`: how long an executor may be silent before it is taken as lost; none if executors do not send
    /// heartbeats (threads of this process).
    pub heartbeat_timeout: Option<Duration>,
    /// `excludeOnFailure` and its kin; none if it is off.
    pub exclusion: Option<Exclusion>,
    /// Faults that a test puts in on purpose.
    #[doc(hidden)]
    pub faults: Faults,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_task_failures: 4,
            max_consecutive_stage_attempts: 4,
            max_result_bytes: Some(1 << 30),
            locality_wait: LocalityWait::all(Duration::from_secs(3)),
            mode: SchedulingMode::Fifo,
            pools: BTreeMap::new(),
            speculation: None,
            heartbeat_timeout: None,
            exclusion: None,
            faults: Faults::default(),
        }
    }
}

/// How long a free slot is left free in the hope that one nearer to a task's data becomes free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalityWait {
    /// `locality.wait.process`: before a task that wants an executor goes elsewhere on the host.
    pub process: Duration,
    /// `locality.wait.node`: before a task that wants a host goes elsewhere in the rack.
    pub node: Duration,
    /// `locality.wait.rack`: before a task that wants a rack goes anywhere.
    pub rack: Duration,
}

impl LocalityWait {
    /// The same wait at every level (`locality.wait`).
    pub fn all(wait: Duration) -> Self {
        LocalityWait { process: wait, node: wait, rack: wait }
    }
}

/// Who goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SchedulingMode {
    /// The oldest job; within it the oldest stage.
    #[default]
    Fifo,
    /// Whoever is furthest below its fair share.
    Fair,
}

/// A FAIR pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// `schedulingMode`: between the jobs of the pool.
    pub mode: SchedulingMode,
    /// `weight`: its share relative to other pools. At least 1.
    pub weight: u32,
    /// `minShare`: slots that it gets before others get more than theirs.
    pub min_share: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig { mode: SchedulingMode::Fifo, weight: 1, min_share: 0 }
    }
}

/// When a slow task gets a second attempt beside the first.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Speculation {
    /// `speculation.interval`: how often slow tasks are looked for.
    pub interval: Duration,
    /// `speculation.quantile`: the share of a stage's tasks that must have ended before.
    pub quantile: f64,
    /// `speculation.multiplier`: how many times slower than the median is slow.
    pub multiplier: f64,
    /// `speculation.minTaskRuntime`: younger tasks are never slow.
    pub min_task_runtime: Duration,
    /// Whether a copy may run on the host, or in the executor, of the slow attempt (in local mode, where there is no other).
    pub same_host: bool,
}

impl Default for Speculation {
    fn default() -> Self {
        Speculation {
            interval: Duration::from_millis(100),
            quantile: 0.9,
            multiplier: 3.0,
            min_task_runtime: Duration::from_millis(100),
            same_host: false,
        }
    }
}

/// When executors and hosts on which tasks fail get no more of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exclusion {
    /// `excludeOnFailure.task.maxTaskAttemptsPerExecutor`: failures of one task there after which it runs elsewhere.
    pub task_failures_per_executor: u32,
    /// `excludeOnFailure.task.maxTaskAttemptsPerNode`: failures of one task there after which it runs on another host.
    pub task_failures_per_host: u32,
    /// `excludeOnFailure.stage.maxFailedTasksPerExecutor`: tasks that failed there after which the stage attempt's run elsewhere.
    pub stage_tasks_per_executor: u32,
    /// `excludeOnFailure.stage.maxFailedExecutorsPerNode`: excluded executors after which the stage attempt's run on another host.
    pub stage_executors_per_host: u32,
    /// `excludeOnFailure.application.maxFailedTasksPerExecutor`: tasks that failed there, in stage attempts that ended well, after which
    /// the application's run elsewhere.
    pub app_tasks_per_executor: u32,
    /// `excludeOnFailure.application.maxFailedExecutorsPerNode`: excluded executors after which the application's tasks run on another
    /// host.
    pub app_executors_per_host: u32,
    /// `excludeOnFailure.timeout`: how long the application remembers.
    pub timeout: Duration,
    /// `scheduler.excludeOnFailure.unschedulableTaskSetTimeout`: how long a task that may run on no executor waits for one.
    pub patience: Duration,
}

impl Default for Exclusion {
    fn default() -> Self {
        Exclusion {
            task_failures_per_executor: 1,
            task_failures_per_host: 2,
            stage_tasks_per_executor: 2,
            stage_executors_per_host: 2,
            app_tasks_per_executor: 2,
            app_executors_per_host: 2,
            timeout: Duration::from_secs(3600),
            patience: Duration::from_secs(120),
        }
    }
}

/// Deliberate mistakes, so that a test can show that the simulator finds such mistakes.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Take map output from an executor whose output was lost after the task began.
    pub forget_epoch: bool,
    /// Count failures of superseded stage attempts.
    pub count_zombie_failure: bool,
    /// Allow every attempt to commit.
    pub commit_twice: bool,
    /// Exclude nobody, however much fails there.
    pub forget_exclusion: bool,
}
