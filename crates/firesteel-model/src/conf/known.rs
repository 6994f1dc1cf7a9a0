//! The keys: each defined once, here. The reference in docs/configuration.md is made from these definitions.

use super::{PREFIX, SPARK_PREFIX, Value};
use std::fmt;

/// A key and the type of its values; the constants in [`keys`] are all there are.
pub struct Key<T: 'static> {
    /// What does not depend on the type.
    pub info: KeyInfo,
    /// The range, in words and as a test.
    range: Option<(&'static str, fn(&T) -> bool)>,
}

/// A key's definition.
#[derive(Clone, Copy, Debug)]
pub struct KeyInfo {
    /// Without prefix: `task.maxFailures`.
    pub name: &'static str,
    /// What its type is called, "size".
    pub kind: &'static str,
    /// Its range, if the type alone does not say it: "at least 1".
    pub range: Option<&'static str>,
    /// What holds where nobody sets it.
    pub fallback: Fallback,
    /// What it does.
    pub doc: &'static str,
}

/// What holds for a key that nobody sets.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// This text, read as if it were set.
    Text(&'static str),
    /// The value of another key.
    SameAs(&'static KeyInfo),
    /// No value; in words, what happens then.
    Unset(&'static str),
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.info.key())
    }
}

impl KeyInfo {
    /// With prefix: `firesteel.task.maxFailures`.
    pub fn key(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }
}

impl<T: Value> Key<T> {
    /// Reads a text as this key's value.
    ///
    /// # Errors
    /// Says what is accepted.
    pub(super) fn parse(&self, text: &str) -> Result<T, String> {
        let value = T::parse(text)?;
        match self.range {
            Some((range, within)) if !within(&value) => Err(format!("{range} (a {})", T::KIND)),
            _ => Ok(value),
        }
    }
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $constant:ident: $type:ty = $name:literal, $how:ident $fallback:expr $(, $range:literal $within:expr)?;)*) => {
        /// One constant per key that something reads.
        pub mod keys {
            use super::{Fallback, Key, KeyInfo};
            use crate::conf::{ByteSize, SchedulingMode, Value};
            use std::{net::IpAddr, time::Duration};
            use tracing::level_filters::LevelFilter;
            $(
                $(#[doc = $doc])+
                pub const $constant: Key<$type> = Key {
                    info: KeyInfo {
                        name: $name,
                        kind: <$type as Value>::KIND,
                        range: keys!(@range $($range)?),
                        fallback: keys!(@$how $fallback),
                        doc: concat!($($doc),+),
                    },
                    range: keys!(@within $($range, $within)?),
                };
            )*
            /// The definitions of all keys, in the order of their topics.
            pub const ALL: &[KeyInfo] = &[$($constant.info),*];

            #[cfg(test)]
            pub(super) fn read_all_defaults() -> Vec<(&'static str, Result<(), String>)> {
                let conf = crate::conf::Conf::new();
                vec![$(($name, conf.get($constant).map(drop).map_err(|e| e.to_string()))),*]
            }
        }
    };
    (@range) => { None };
    (@range $range:literal) => { Some($range) };
    (@within) => { None };
    (@within $range:literal, $within:expr) => { Some(($range, $within)) };
    (@default $text:expr) => { Fallback::Text($text) };
    (@like $key:expr) => { Fallback::SameAs(&$key.info) };
    (@unset $what:expr) => { Fallback::Unset($what) };
}

keys! {
    /// The application's name in the console, the logs and the event log.
    APP_NAME: Option<String> = "app.name", unset "the program's file name";
    /// Who supplies the executors: `local` (one thread of this process), `local[N]`, `local[*]` (as many as cores),
    /// `local[N,F]` (a task may fail F times), `local-cluster[N,C,M]` (N processes of this machine with C cores and M MiB each),
    /// `firesteel://HOST:PORT` (a standalone cluster).
    MASTER: Option<String> = "master", unset "`local[*]`";
    /// Number of partitions of `parallelize`, and of shuffles of which no parent has a partitioner.
    DEFAULT_PARALLELISM: Option<u32> = "default.parallelism", unset "as many as cores, or as the largest parent has",
        "at least 1" |n| n.is_none_or(|n| n >= 1);
    /// Folders for scratch files (shuffles, evicted blocks), with commas between. `FIRESTEEL_LOCAL_DIRS` and
    /// `SPARK_LOCAL_DIRS` win over it.
    LOCAL_DIR: Vec<String> = "local.dir", unset "the system's folder for temporary files (`TMPDIR`)";
    /// The least severe log messages that are shown: ALL, TRACE, DEBUG, INFO, WARN, ERROR, FATAL or OFF.
    LOG_LEVEL: Option<LevelFilter> = "log.level", unset "as the program's own logging says";

    /// How often one task may fail before its stage, and with it the job, is given up. In local mode the master says
    /// it: 1, or F of `local[N,F]`.
    TASK_MAX_FAILURES: u32 = "task.maxFailures", default "4", "at least 1" |n| *n >= 1;
    /// How many attempts of a stage in a row may end because map output could not be fetched.
    STAGE_MAX_CONSECUTIVE_ATTEMPTS: u32 = "stage.maxConsecutiveAttempts", default "4", "at least 1" |n| *n >= 1;
    /// How much the serialised results of one action may take in all; 0 for no limit. More aborts the job.
    DRIVER_MAX_RESULT_SIZE: ByteSize = "driver.maxResultSize", default "1g";
    /// Between the jobs of this application: FIFO (first come, first served) or FAIR (shares, by pools).
    SCHEDULER_MODE: SchedulingMode = "scheduler.mode", default "FIFO";
    /// A file of FAIR pools with weights and minimum shares, in Spark's XML form.
    SCHEDULER_ALLOCATION_FILE: Option<String> = "scheduler.allocation.file",
        unset "fairscheduler.xml in `FIRESTEEL_CONF_DIR`, if there is one";

    /// How long a task waits for a free slot near its data before the next level of nearness is good enough.
    LOCALITY_WAIT: Duration = "locality.wait", default "3s";
    /// The same, for a slot in the executor that holds the data.
    LOCALITY_WAIT_PROCESS: Duration = "locality.wait.process", like LOCALITY_WAIT;
    /// The same, for a slot on the host that holds the data.
    LOCALITY_WAIT_NODE: Duration = "locality.wait.node", like LOCALITY_WAIT;
    /// The same, for a slot in the rack that holds the data.
    LOCALITY_WAIT_RACK: Duration = "locality.wait.rack", like LOCALITY_WAIT;

    /// Whether slow tasks get a second attempt beside the first; whichever ends first counts.
    SPECULATION: bool = "speculation", default "false";
    /// How often slow tasks are looked for.
    SPECULATION_INTERVAL: Duration = "speculation.interval", default "100ms", "more than 0" |time| !time.is_zero();
    /// How many times longer than the median a task must have run to count as slow.
    SPECULATION_MULTIPLIER: f64 = "speculation.multiplier", default "3", "0 or more" |n| *n >= 0.0;
    /// The share of a stage's tasks that must be done before any counts as slow.
    SPECULATION_QUANTILE: f64 = "speculation.quantile", default "0.9", "from 0 to 1" |n| (0.0..=1.0).contains(n);
    /// Tasks that have run less than this are never slow.
    SPECULATION_MIN_TASK_RUNTIME: Duration = "speculation.minTaskRuntime", default "100ms";

    /// Whether executors and hosts on which tasks fail get no more of them. In local mode, where there is one executor, never.
    EXCLUDE_ON_FAILURE: bool = "excludeOnFailure.enabled", default "false";
    /// How often a task may fail on an executor before it runs elsewhere.
    EXCLUDE_TASK_PER_EXECUTOR: u32 = "excludeOnFailure.task.maxTaskAttemptsPerExecutor", default "1", "at least 1" |n| *n >= 1;
    /// How often a task may fail on a host before it runs on another one. Less than `task.maxFailures`: a task for which every host is
    /// excluded fails its job.
    EXCLUDE_TASK_PER_NODE: u32 = "excludeOnFailure.task.maxTaskAttemptsPerNode", default "2", "at least 1" |n| *n >= 1;
    /// How many of a stage's tasks may fail on an executor before it gets no more of the stage.
    EXCLUDE_STAGE_PER_EXECUTOR: u32 = "excludeOnFailure.stage.maxFailedTasksPerExecutor", default "2", "at least 1" |n| *n >= 1;
    /// How many executors of a host may be excluded from a stage before the host is.
    EXCLUDE_STAGE_PER_NODE: u32 = "excludeOnFailure.stage.maxFailedExecutorsPerNode", default "2", "at least 1" |n| *n >= 1;
    /// How many tasks of stages that succeeded in the end may fail on an executor before it gets no more of the application's.
    EXCLUDE_APPLICATION_PER_EXECUTOR: u32 = "excludeOnFailure.application.maxFailedTasksPerExecutor", default "2",
        "at least 1" |n| *n >= 1;
    /// How many executors of a host may be excluded from the application before the host is.
    EXCLUDE_APPLICATION_PER_NODE: u32 = "excludeOnFailure.application.maxFailedExecutorsPerNode", default "2",
        "at least 1" |n| *n >= 1;
    /// How long an executor or a host stays excluded from the application.
    EXCLUDE_TIMEOUT: Duration = "excludeOnFailure.timeout", default "1h", "more than 0" |time| !time.is_zero();
    /// How long a task that may run on no executor waits for another executor or the end of an exclusion, before its job fails.
    EXCLUDE_UNSCHEDULABLE_TIMEOUT: Duration = "scheduler.excludeOnFailure.unschedulableTaskSetTimeout", default "120s";

    /// How many partitions `take` and its kin look at first.
    RDD_LIMIT_INITIAL_NUM_PARTITIONS: u32 = "rdd.limit.initialNumPartitions", default "1", "at least 1" |n| *n >= 1;
    /// How many times more partitions `take` and its kin look at in each further round, if those before held nothing.
    RDD_LIMIT_SCALE_UP_FACTOR: u32 = "rdd.limit.scaleUpFactor", default "4", "at least 2" |n| *n >= 2;
    /// How much memory tasks and cached partitions of one executor may take together; what they need beyond goes to disk.
    MEMORY_BUDGET: Option<ByteSize> = "memory.budget",
        unset "`executor.memory` × `memory.fraction`; in local mode without `executor.memory`, that share of the machine's memory",
        "at least 16k" |n| n.is_none_or(|n| n.0 >= 16 << 10);
    /// The share of an executor's memory that is its budget, where `memory.budget` does not say it.
    MEMORY_FRACTION: f64 = "memory.fraction", default "0.6", "more than 0 and at most 1" |n| *n > 0.0 && *n <= 1.0;
    /// The share of the budget in which cached partitions and finished map outputs are safe from running tasks.
    MEMORY_STORAGE_FRACTION: f64 = "memory.storageFraction", default "0.5", "from 0 to 1" |n| (0.0..=1.0).contains(n);
    /// The memory of an executor. In local mode there is one, and no bound unless this or `memory.budget` sets it.
    EXECUTOR_MEMORY: Option<ByteSize> = "executor.memory", unset "in local mode, the machine's; on a cluster 1g",
        "at least 1m" |n| n.is_none_or(|n| n.0 >= 1 << 20);
    /// How much more than its memory an executor's process may hold: what is mapped besides, and what freed memory leaves between.
    EXECUTOR_MEMORY_OVERHEAD: Option<ByteSize> = "executor.memoryOverhead", unset "a tenth of `executor.memory`, at least 384m";
    /// Whether an executor enters a cgroup (version 2) of its own where the system lets it make one: then what it and all that it starts take
    /// has a limit, an eighth above its memory and overhead. Scratch files count where they are kept in memory (tmpfs).
    EXECUTOR_CGROUP: bool = "executor.cgroup", default "true";
    /// How many tasks an executor of a standalone cluster runs at a time.
    EXECUTOR_CORES: Option<u32> = "executor.cores", unset "one executor on each worker, with all cores that it gets there",
        "at least 1" |n| n.is_none_or(|n| n >= 1);
    /// How many executors the application has at most, also where more would fit its cores, or where `local-cluster` says more.
    EXECUTOR_INSTANCES: Option<u32> = "executor.instances", unset "as many as the master or `cores.max` gives",
        "at least 1" |n| n.is_none_or(|n| n >= 1);
    /// The most cores that all executors of the application have together on a standalone cluster.
    CORES_MAX: Option<u32> = "cores.max", unset "`deploy.defaultCores` of the master", "at least 1" |n| n.is_none_or(|n| n >= 1);
    /// How long jobs wait on a cluster that has no executor for them, before they fail with the reason.
    EXECUTOR_WAIT: Duration = "executor.wait", default "120s";
    /// The name or address at which executors on other machines reach the driver.
    DRIVER_HOST: Option<String> = "driver.host", unset "the address from which the driver reaches the master";
    /// The address at which the driver listens.
    DRIVER_BIND_ADDRESS: Option<IpAddr> = "driver.bindAddress", unset "that of `driver.host`";
    /// The port at which the driver listens for executors; 0 for a free one.
    DRIVER_PORT: u16 = "driver.port", default "0";
    /// Files that every task finds by name, with commas between, as if the program had called `add_file` for each at its start.
    FILES: Vec<String> = "files", unset "none";
    /// Whether the processes of a cluster must prove to each other that they know its secret. They do wherever there is one, and must
    /// have one to listen beyond the machine itself.
    AUTHENTICATE: bool = "authenticate", default "false";
    /// The secret that the processes of a cluster share, 16 bytes at least. Better in a file that only its owner can read.
    AUTHENTICATE_SECRET: Option<String> = "authenticate.secret", unset "none";
    /// The file that has the secret; it wins over `authenticate.secret`.
    AUTHENTICATE_SECRET_FILE: Option<String> = "authenticate.secret.file", unset "none";
    /// Whether map outputs are compressed where they go to disk. Under `local-cluster` only if this is said to be true.
    SHUFFLE_COMPRESS: bool = "shuffle.compress", default "true";
    /// Whether what tasks put on disk for lack of memory is compressed.
    SHUFFLE_SPILL_COMPRESS: bool = "shuffle.spill.compress", default "true";

    /// A task's result of more bytes than this is fetched from the executor that made it, when the driver is ready for it.
    TASK_MAX_DIRECT_RESULT_SIZE: ByteSize = "task.maxDirectResultSize", default "1m";
    /// How often an executor says that it is there.
    EXECUTOR_HEARTBEAT_INTERVAL: Duration = "executor.heartbeatInterval", default "10s";
    /// An executor that says nothing for so long is given up. Who asks another process for map outputs, blocks or files waits no longer for its
    /// next word, either.
    NETWORK_TIMEOUT: Duration = "network.timeout", default "120s";
    /// Whether map outputs outlive the executors that made them, as long as their worker lives. Read by workers, which serve them, and by
    /// applications, which use that. Under `local-cluster` there is no worker, and they are made again.
    SHUFFLE_SERVICE_ENABLED: bool = "shuffle.service.enabled", default "true";
    /// How often a fetch of map outputs, blocks or files is tried again whose holder lives and does not answer, or whose connection was cut.
    SHUFFLE_IO_MAX_RETRIES: u32 = "shuffle.io.maxRetries", default "3";
    /// How long it waits before that.
    SHUFFLE_IO_RETRY_WAIT: Duration = "shuffle.io.retryWait", default "5s";
    /// Where executors' logs and work folders are kept; they stay when the application has ended. A worker of a standalone cluster takes
    /// `work` if it is not set.
    WORKER_DIR: Option<String> = "worker.dir", unset "in a scratch folder, removed at the application's end";

    /// On a standalone cluster, the most cores of an application that does not set `cores.max`. Read by the master.
    DEPLOY_DEFAULT_CORES: u32 = "deploy.defaultCores", default "2147483647", "at least 1" |n| *n >= 1;
    /// Whether the master gives an application executors on as many workers as possible, not as few.
    DEPLOY_SPREAD_OUT_APPS: bool = "deploy.spreadOutApps", default "true";
    /// After so many of an application's executors that ended one after another the master removes it, if none works.
    DEPLOY_MAX_EXECUTOR_RETRIES: u32 = "deploy.maxExecutorRetries", default "10", "at least 1" |n| *n >= 1;
    /// Where the driver of a submitted program runs: `client` (here) or `cluster` (on a worker).
    SUBMIT_DEPLOY_MODE: String = "submit.deployMode", default "client",
        "client or cluster" |mode| ["client", "cluster"].contains(&mode.as_str());
    /// The cores that a driver takes of its worker, where it runs on one.
    DRIVER_CORES: u32 = "driver.cores", default "1", "at least 1" |n| *n >= 1;
    /// The memory that a driver takes of its worker, where it runs on one.
    DRIVER_MEMORY: ByteSize = "driver.memory", default "1g", "at least 1m" |n| n.0 >= 1 << 20;
    /// Whether a driver that runs on a worker is started again when it fails or its worker is lost.
    DRIVER_SUPERVISE: bool = "driver.supervise", default "false";
    /// Whether a restarted master remembers workers, applications and drivers: FILESYSTEM or NONE.
    DEPLOY_RECOVERY_MODE: String = "deploy.recoveryMode", default "FILESYSTEM",
        "FILESYSTEM or NONE" |mode| ["FILESYSTEM", "NONE"].contains(&mode.as_str());
    /// Where the master keeps what it remembers, and the programs of drivers that were submitted to it.
    DEPLOY_RECOVERY_DIRECTORY: String = "deploy.recoveryDirectory", default "firesteel-master";
    /// A worker or an application of which nothing was heard for so many seconds is lost. Read by the master.
    WORKER_TIMEOUT: u64 = "worker.timeout", default "60", "from 1 to 86400" |n| (1..=86_400).contains(n);
    /// Whether a worker removes the folders of applications and drivers that have ended.
    WORKER_CLEANUP_ENABLED: bool = "worker.cleanup.enabled", default "true";
    /// How often it looks for some, in seconds.
    WORKER_CLEANUP_INTERVAL: u64 = "worker.cleanup.interval", default "1800", "at least 1" |n| *n >= 1;
    /// How long it keeps them, in seconds.
    WORKER_CLEANUP_APP_DATA_TTL: u64 = "worker.cleanup.appDataTtl", default "604800";
    /// A worker begins another file when what a process printed has filled one of this size.
    EXECUTOR_LOGS_ROLLING_MAX_SIZE: ByteSize = "executor.logs.rolling.maxSize", default "16m", "at least 1k" |n| n.0 >= 1 << 10;
    /// How many full ones it keeps beside the last.
    EXECUTOR_LOGS_ROLLING_MAX_RETAINED_FILES: u32 = "executor.logs.rolling.maxRetainedFiles", default "4";

    /// The folder for checkpoints, as if the program had called `set_checkpoint_dir` at its start.
    CHECKPOINT_DIR: Option<String> = "checkpoint.dir", unset "checkpoints need a call of `set_checkpoint_dir`";

    /// Whether a progress bar shows running stages; only ever on a terminal.
    UI_SHOW_CONSOLE_PROGRESS: bool = "ui.showConsoleProgress", default "true";
    /// Whether what happens is recorded in an event log that Spark's and our history tools read.
    EVENT_LOG_ENABLED: bool = "eventLog.enabled", default "false";
    /// The folder of event logs. It must exist.
    EVENT_LOG_DIR: String = "eventLog.dir", default "/tmp/spark-events";
    /// Whether the event log records every change of a cached block.
    EVENT_LOG_LOG_BLOCK_UPDATES: bool = "eventLog.logBlockUpdates.enabled", default "false";
    /// How many events may wait for one group of listeners; more are dropped, with a warning.
    LISTENER_BUS_CAPACITY: u32 = "scheduler.listenerbus.eventqueue.capacity", default "10000", "at least 1" |n| *n >= 1;
}

/// Settings that Spark (and, one day, we) have and nothing here reads yet. Sorted.
const NOT_YET: &[&str] = &[
    "acls.enable",
    "admin.acls",
    "archives",
    "barrier.sync.timeout",
    "blockManager.port",
    "broadcast.blockSize",
    "broadcast.compress",
    "checkpoint.compress",
    "cleaner.periodicGC.interval",
    "cleaner.referenceTracking",
    "decommission.enabled",
    "driver.extraClassPath",
    "driver.extraJavaOptions",
    "driver.memoryOverhead",
    "dynamicAllocation.cachedExecutorIdleTimeout",
    "dynamicAllocation.enabled",
    "dynamicAllocation.executorIdleTimeout",
    "dynamicAllocation.initialExecutors",
    "dynamicAllocation.maxExecutors",
    "dynamicAllocation.minExecutors",
    "dynamicAllocation.schedulerBacklogTimeout",
    "dynamicAllocation.shuffleTracking.enabled",
    "dynamicAllocation.sustainedSchedulerBacklogTimeout",
    "eventLog.compress",
    "eventLog.compression.codec",
    "eventLog.logStageExecutorMetrics",
    "eventLog.rolling.enabled",
    "eventLog.rolling.maxFileSize",
    "executor.extraClassPath",
    "executor.extraJavaOptions",
    "executor.heartbeat.maxFailures",
    "executor.maxNumFailures",
    "executor.pyspark.memory",
    "extraListeners",
    "history.fs.cleaner.enabled",
    "history.fs.cleaner.maxAge",
    "history.fs.logDirectory",
    "history.fs.update.interval",
    "history.ui.port",
    "io.compression.codec",
    "io.encryption.enabled",
    "io.encryption.keySizeBits",
    "jars",
    "jars.packages",
    "master.rest.enabled",
    "master.rest.port",
    "master.ui.port",
    "memory.offHeap.enabled",
    "memory.offHeap.size",
    "modify.acls",
    "network.crypto.enabled",
    "network.maxRemoteBlockSizeFetchToMem",
    "port.maxRetries",
    "pyspark.driver.python",
    "pyspark.python",
    "python.worker.reuse",
    "rdd.compress",
    "redaction.regex",
    "reducer.maxReqsInFlight",
    "reducer.maxSizeInFlight",
    "rpc.askTimeout",
    "rpc.message.maxSize",
    "scheduler.barrier.maxConcurrentTasksCheck.interval",
    "scheduler.barrier.maxConcurrentTasksCheck.maxFailures",
    "scheduler.maxRegisteredResourcesWaitingTime",
    "scheduler.pipelinedGroup.slotCheck.enabled",
    "serializer",
    "shuffle.checksum.algorithm",
    "shuffle.checksum.enabled",
    "shuffle.detectCorrupt",
    "shuffle.file.buffer",
    "shuffle.manager",
    "shuffle.manager.incremental",
    "shuffle.readHostLocalDisk",
    "shuffle.service.port",
    "shuffle.sort.bypassMergeThreshold",
    "speculation.task.duration.threshold",
    "ssl.enabled",
    "stage.maxAttempts",
    "storage.blockManagerHeartbeatTimeoutMs",
    "storage.decommission.enabled",
    "submit.pyFiles",
    "task.cpus",
    "task.reaper.enabled",
    "task.reaper.killTimeout",
    "task.reaper.pollingInterval",
    "ui.actionsViaGetEnabled",
    "ui.enabled",
    "ui.killEnabled",
    "ui.port",
    "ui.prometheus.enabled",
    "ui.retainedJobs",
    "ui.retainedStages",
    "ui.threadDumpsEnabled",
    "ui.view.acls",
    "worker.ui.port",
];

/// As [`NOT_YET`], whole families.
const FAMILIES_NOT_YET: &[&str] = &[
    "executorEnv.",
    "hadoop.",
    "history.",
    "kryo",
    "kubernetes.",
    "metrics.",
    "plugins",
    "sql.",
    "ssl.",
    "streaming.",
    "yarn.",
];

/// What is wrong with a key, if anything is.
pub(super) fn complaint(key: &str) -> Option<String> {
    let is_known = |name: &str| keys::ALL.iter().any(|info| info.name == name);
    let Some(name) = key.strip_prefix(PREFIX).or_else(|| key.strip_prefix(SPARK_PREFIX)) else {
        // The program's own key, unless it looks very much like one of ours.
        let (nearest, distance) = nearest(&[key, key.split_once('.').map_or("", |(_, rest)| rest)])?;
        return (distance <= 2).then(|| format!("the setting {key} has no effect. Did you mean {PREFIX}{nearest}?"));
    };
    if is_known(name) {
        return None;
    }
    if NOT_YET.binary_search(&name).is_ok() || FAMILIES_NOT_YET.iter().any(|family| name.starts_with(family)) {
        return Some(format!("the setting {key} is not supported by this version yet and has no effect"));
    }
    let hint = match nearest(&[name]) {
        Some((nearest, distance)) if distance <= 1 + nearest.len() / 5 => format!(" Did you mean {PREFIX}{nearest}?"),
        _ => String::new(),
    };
    Some(format!("unknown setting {key}: it has no effect.{hint}"))
}

/// The known key with the least edit distance to one of `names`, upper and lower case alike.
fn nearest(names: &[&str]) -> Option<(&'static str, usize)> {
    let known = keys::ALL.iter().map(|info| info.name);
    known
        .flat_map(|known| names.iter().map(move |name| (known, distance(known, name))))
        .min_by_key(|(_, distance)| *distance)
}

/// How many characters must be put in, left out or replaced to make one from the other (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let lower = |text: &str| text.to_lowercase().chars().take(128).collect::<Vec<_>>();
    let (a, b) = (lower(a), lower(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for (name, default) in keys::read_all_defaults() {
            assert_eq!(default, Ok(()), "{name}");
        }
    }

    #[test]
    fn every_key_is_defined_once_and_described() {
        for (i, info) in keys::ALL.iter().enumerate() {
            assert!(keys::ALL[..i].iter().all(|other| other.name != info.name), "{}", info.name);
            assert!(NOT_YET.binary_search(&info.name).is_err(), "{}", info.name);
            assert!(info.doc.trim().ends_with('.'), "{}", info.name);
        }
        assert!(NOT_YET.is_sorted());
    }

    #[test]
    fn known_keys_and_keys_of_the_program_are_fine() {
        for key in ["firesteel.task.maxFailures", "spark.locality.wait", "my.key", "wiki.language", "master-slave"] {
            assert_eq!(complaint(key), None);
        }
    }

    #[test]
    fn unknown_keys_are_told_with_the_nearest_known_one() {
        for (key, meant) in [
            ("firesteel.task.maxfailures", "firesteel.task.maxFailures"),
            ("spark.taks.maxFailures", "firesteel.task.maxFailures"),
            ("firesteel.locality.wait.nodes", "firesteel.locality.wait.node"),
            ("task.maxFailures", "firesteel.task.maxFailures"),
            ("firestel.default.paralelism", "firesteel.default.parallelism"),
        ] {
            let complaint = complaint(key).unwrap();
            assert!(complaint.contains(key) && complaint.ends_with(&format!("Did you mean {meant}?")), "{complaint}");
        }
        assert_eq!(complaint("spark.my.tool").unwrap(), "unknown setting spark.my.tool: it has no effect.");
    }

    #[test]
    fn keys_that_only_spark_reads_are_told_as_such() {
        for key in ["spark.yarn.queue", "spark.sql.shuffle.partitions", "firesteel.rpc.askTimeout"] {
            assert!(complaint(key).unwrap().contains("not supported by this version yet"), "{key}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("abc", "ABC", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
