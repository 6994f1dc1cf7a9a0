//! An executor's memory is a limit: user code that takes more ends its executor with a message, not the machine.
//!
//! What the allocator counts may be as much as the executor's memory. What the system says that the process holds may be more by the
//! overhead: what is mapped otherwise, and what freed memory leaves between what is used. What the process and all that it starts take may be
//! an eighth more, where the system can keep such a limit ([`firesteel_cluster::cgroup`]): who sees it itself can say why it ends.

use crate::{allocator, cluster::note};
use firesteel_cluster::cgroup::Cgroups;
use firesteel_model::{
    Error, Result,
    conf::{Conf, keys},
    machine,
};
use std::{
    thread::{self, Builder},
    time::Duration,
};

/// How often the process looks at what it holds.
const EVERY: Duration = Duration::from_millis(100);
/// The driver is told within this time, or not.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How much of the budget more may be allocated than the operators know of.
const SLACK: u64 = 4;
/// The least overhead where it is not set.
const LEAST_OVERHEAD: u64 = 384 << 20;

/// How much an executor may take, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    memory: u64,
    allocated: u64,
    resident: u64,
}

impl Limit {
    /// Of an executor with so much memory, of which the budget is a part.
    pub(crate) fn new(conf: &Conf, memory: u64, budget: u64) -> Result<Self> {
        let allocated = memory.max(budget.saturating_add(budget / SLACK));
        let overhead = conf.get(keys::EXECUTOR_MEMORY_OVERHEAD)?.map_or((memory / 10).max(LEAST_OVERHEAD), |set| set.0);
        Ok(Limit { memory, allocated, resident: allocated.saturating_add(overhead) })
    }

    /// Why this process takes too much, if it does.
    fn passed(&self) -> Option<String> {
        let advice = "give executors more memory, or fewer cores, or keep less in each task";
        let memory = keys::EXECUTOR_MEMORY.info.key();
        if allocator::is_over() {
            let (taken, of) = (allocator::allocated() >> 20, self.memory >> 20);
            return Some(format!(
                "its program has allocated {taken} MiB, more than the executor's memory of {of} MiB ({memory}): {advice}"
            ));
        }
        let resident = machine::resident().filter(|resident| *resident > self.resident)?;
        let (taken, of, and) = (resident >> 20, self.memory >> 20, (self.resident - self.allocated) >> 20);
        let overhead = keys::EXECUTOR_MEMORY_OVERHEAD.info.key();
        Some(format!(
            "its process holds {taken} MiB, more than the executor's memory of {of} MiB ({memory}) and {and} MiB beyond ({overhead}): \
             {advice}"
        ))
    }

    /// Has the system keep the limit, too, where it can.
    pub(crate) fn enter_cgroup(&self) {
        let entered = Cgroups::here().and_then(|groups| groups.enter(self.resident.saturating_add(self.resident / 8)));
        if let Err(why) = entered {
            tracing::debug!("this executor has no cgroup of its own: {why}");
        }
    }

    /// Has this process end when it passes the limit, after `tell` was called with the reason. Threads that would allocate more
    /// stand still meanwhile.
    pub(crate) fn enforce(self, tell: impl Fn(&str) + Send + 'static) -> Result<()> {
        let watch = move || {
            loop {
                thread::park_timeout(EVERY);
                if let Some(why) = self.passed() {
                    note(&why);
                    tell(&why);
                    std::process::exit(1);
                }
            }
        };
        let failed = |e| Error::io("start", "the thread that watches the executor's memory", e);
        let watcher = Builder::new().name("firesteel-memory".into()).spawn(watch).map_err(failed)?;
        allocator::limit(self.allocated, watcher.thread().clone(), LAST_WORDS);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_memory_and_some_overhead_unless_more_is_promised_to_the_engine() {
        let mut conf = Conf::new();
        let gib = 1 << 30;
        let limit = Limit::new(&conf, gib, gib / 2).unwrap();
        assert_eq!((limit.allocated, limit.resident), (gib, gib + LEAST_OVERHEAD));
        conf.set(keys::EXECUTOR_MEMORY_OVERHEAD.info.key(), "1m");
        let limit = Limit::new(&conf, gib, 2 * gib).unwrap();
        assert_eq!((limit.allocated, limit.resident), (5 * gib / 2, 5 * gib / 2 + (1 << 20)));
    }

    #[test]
    fn what_the_process_holds_is_looked_at_where_the_allocator_does_not_count() {
        let limit = Limit { memory: 1 << 20, allocated: 1 << 20, resident: 3 << 20 };
        let why = limit.passed().unwrap();
        for part in ["its process holds", "of 1 MiB", "2 MiB beyond", "firesteel.executor.memoryOverhead"] {
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(Limit { resident: u64::MAX, ..limit }.passed(), None);
    }
}
