//! From configuration keys to what the engine's parts want to know.

use firesteel_model::{
    Error, Result,
    conf::{Conf, Master, keys},
};
use firesteel_scheduler::{Config, Exclusion, LocalityWait, PoolConfig, SchedulingMode, Speculation};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How many bytes tasks and what is kept may take: what is set, or a share of the executor's or of the machine's memory.
pub(crate) fn budget(conf: &Conf) -> Result<u64> {
    if let Some(budget) = conf.get(keys::MEMORY_BUDGET)? {
        return Ok(budget.0);
    }
    let of = match conf.get(keys::EXECUTOR_MEMORY)? {
        Some(memory) => memory.0,
        None => firesteel_model::machine::memory(),
    };
    share(conf, of)
}

/// The same for an executor in a process of its own that may take so many bytes in all.
pub(crate) fn executor_budget(conf: &Conf, memory: u64) -> Result<u64> {
    match conf.get(keys::MEMORY_BUDGET)? {
        Some(budget) => Ok(budget.0),
        None => share(conf, memory),
    }
}

fn share(conf: &Conf, of: u64) -> Result<u64> {
    Ok(((of as f64 * conf.get(keys::MEMORY_FRACTION)?) as u64).max(1 << 20))
}

/// The scheduler's configuration. On threads of this process a task may fail once, unless the master or the setting says otherwise.
pub(crate) fn scheduler_config(conf: &Conf, master: &Master) -> Result<Config> {
    let is_set = conf.contains(keys::TASK_MAX_FAILURES.info.key());
    let max_task_failures = match master {
        Master::Local { max_failures, .. } if !is_set => max_failures.get(),
        Master::Local { max_failures, .. } => conf.get(keys::TASK_MAX_FAILURES)?.max(max_failures.get()),
        Master::LocalCluster { .. } | Master::Standalone { .. } => conf.get(keys::TASK_MAX_FAILURES)?,
    };
    let heartbeat_timeout = match master {
        Master::Local { .. } => None,
        Master::LocalCluster { .. } | Master::Standalone { .. } => Some(conf.get(keys::NETWORK_TIMEOUT)?),
    };
    let mode = |mode| match mode {
        firesteel_model::conf::SchedulingMode::Fifo => SchedulingMode::Fifo,
        firesteel_model::conf::SchedulingMode::Fair => SchedulingMode::Fair,
    };
    let speculation = match conf.get(keys::SPECULATION)? {
        false => None,
        true => Some(Speculation {
            interval: conf.get(keys::SPECULATION_INTERVAL)?,
            quantile: conf.get(keys::SPECULATION_QUANTILE)?,
            multiplier: conf.get(keys::SPECULATION_MULTIPLIER)?,
            min_task_runtime: conf.get(keys::SPECULATION_MIN_TASK_RUNTIME)?,
            same_host: true,
        }),
    };
    let exclusion = match master {
        Master::Local { .. } => None,
        Master::LocalCluster { .. } | Master::Standalone { .. } => exclusion(conf, max_task_failures)?,
    };
    let pools = conf.pools()?;
    Ok(Config {
        max_task_failures,
        max_consecutive_stage_attempts: conf.get(keys::STAGE_MAX_CONSECUTIVE_ATTEMPTS)?,
        max_result_bytes: Some(conf.get(keys::DRIVER_MAX_RESULT_SIZE)?.0).filter(|bytes| *bytes > 0),
        locality_wait: LocalityWait {
            process: conf.get(keys::LOCALITY_WAIT_PROCESS)?,
            node: conf.get(keys::LOCALITY_WAIT_NODE)?,
            rack: conf.get(keys::LOCALITY_WAIT_RACK)?,
        },
        mode: mode(conf.get(keys::SCHEDULER_MODE)?),
        pools: pools
            .into_iter()
            .map(|(name, pool)| {
                let config = PoolConfig { mode: mode(pool.mode), weight: pool.weight, min_share: pool.min_share };
                (name, config)
            })
            .collect(),
        speculation,
        heartbeat_timeout,
        exclusion,
        ..Config::default()
    })
}

fn exclusion(conf: &Conf, max_task_failures: u32) -> Result<Option<Exclusion>> {
    if !conf.get(keys::EXCLUDE_ON_FAILURE)? {
        return Ok(None);
    }
    let task_failures_per_host = conf.get(keys::EXCLUDE_TASK_PER_NODE)?;
    if task_failures_per_host >= max_task_failures {
        return Err(Error::Config(format!(
            "{} is {task_failures_per_host} and {} is {max_task_failures}: one bad host would fail a job before the host is excluded; \
             lower the first or raise the second",
            keys::EXCLUDE_TASK_PER_NODE.info.key(),
            keys::TASK_MAX_FAILURES.info.key()
        )));
    }
    Ok(Some(Exclusion {
        task_failures_per_executor: conf.get(keys::EXCLUDE_TASK_PER_EXECUTOR)?,
        task_failures_per_host,
        stage_tasks_per_executor: conf.get(keys::EXCLUDE_STAGE_PER_EXECUTOR)?,
        stage_executors_per_host: conf.get(keys::EXCLUDE_STAGE_PER_NODE)?,
        app_tasks_per_executor: conf.get(keys::EXCLUDE_APPLICATION_PER_EXECUTOR)?,
        app_executors_per_host: conf.get(keys::EXCLUDE_APPLICATION_PER_NODE)?,
        timeout: conf.get(keys::EXCLUDE_TIMEOUT)?,
        patience: conf.get(keys::EXCLUDE_UNSCHEDULABLE_TIMEOUT)?,
    }))
}

/// `local-<milliseconds>`, with a number behind it for further contexts of the same millisecond.
pub(crate) fn app_id(since_epoch: Duration) -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = since_epoch.as_millis() as u64;
    // Two contexts never share an id: one that would gets the next millisecond's.
    let id = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
    format!("local-{}", id.map_or(now, |last| now.max(last + 1)))
}

/// The name of the running program.
pub(crate) fn program_name() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_ref().and_then(|path| path.file_stem()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "firesteel".into())
}

/// The system refused to start task thread `started`, counted from 0.
pub(crate) fn too_few_threads(started: usize, wanted: usize, e: std::io::Error) -> Error {
    Error::Config(format!(
        "firesteel.master asks for {wanted} task threads, and the system refused after {started} ({e}): ask for fewer \
         (`local[*]` takes one for each core), or raise its limit (`ulimit -u`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::too_few_threads;

    #[test]
    fn a_master_of_too_many_threads_is_told_what_to_do() {
        let error = too_few_threads(31_000, 100_000, std::io::ErrorKind::WouldBlock.into()).to_string();
        for part in ["firesteel.master", "100000", "31000", "local[*]", "ulimit -u"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
