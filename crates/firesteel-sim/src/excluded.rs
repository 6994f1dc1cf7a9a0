//! Who should get no more of what fails there, found from the list of failures each time.

use firesteel_model::{ExecutorId, HostId, StageAttempt, StageId};
use firesteel_scheduler::{Exclusion, TaskLaunch};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A failure that counts.
struct Failed {
    set: (StageId, StageAttempt),
    index: u32,
    executor: ExecutorId,
    host: HostId,
    at: Duration,
}

/// All failures, and whom the application excludes until when.
pub(crate) struct Excluded {
    rule: Option<Exclusion>,
    hosts: BTreeMap<ExecutorId, HostId>,
    failures: Vec<Failed>,
    /// Of task sets that ended well.
    remembered: Vec<Failed>,
    executors: BTreeMap<ExecutorId, Duration>,
    nodes: BTreeMap<HostId, Duration>,
}

impl Excluded {
    pub(crate) fn new(rule: Option<Exclusion>) -> Self {
        Excluded {
            rule,
            hosts: BTreeMap::new(),
            failures: Vec::new(),
            remembered: Vec::new(),
            executors: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    pub(crate) fn registered(&mut self, executor: ExecutorId, host: HostId) {
        self.hosts.insert(executor, host);
    }

    pub(crate) fn passes(&mut self, now: Duration) {
        self.executors.retain(|_, until| *until > now);
        self.nodes.retain(|_, until| *until > now);
    }

    pub(crate) fn failed(&mut self, launch: &TaskLaunch, at: Duration) {
        let (executor, index) = (launch.executor, launch.index);
        let (set, host) = ((launch.stage, launch.stage_attempt), self.hosts[&executor]);
        self.failures.push(Failed { set, index, executor, host, at });
    }

    /// A task set is over.
    pub(crate) fn over(&mut self, set: (StageId, StageAttempt), well: bool, now: Duration) {
        let (of_it, others) = std::mem::take(&mut self.failures).into_iter().partition(|failed| failed.set == set);
        self.failures = others;
        let Some(rule) = self.rule.filter(|_| well) else { return };
        let of_it: Vec<Failed> = of_it;
        let executors: BTreeSet<_> = of_it.iter().map(|failed| failed.executor).collect();
        self.remembered.extend(of_it);
        for executor in executors {
            let known = self.remembered.iter().filter(|f| f.executor == executor && f.at + rule.timeout > now);
            let tasks: BTreeSet<_> = known.map(|failed| (failed.set, failed.index)).collect();
            if tasks.len() < rule.app_tasks_per_executor as usize || self.executors.contains_key(&executor) {
                continue;
            }
            self.remembered.retain(|failed| failed.executor != executor);
            self.executors.insert(executor, now + rule.timeout);
            let host = self.hosts[&executor];
            let there = self.executors.keys().filter(|executor| self.hosts[executor] == host).count();
            if there >= rule.app_executors_per_host as usize {
                self.nodes.entry(host).or_insert(now + rule.timeout);
            }
        }
    }

    /// An executor is gone.
    pub(crate) fn gone(&mut self, executor: ExecutorId) {
        self.remembered.retain(|failed| failed.executor != executor);
    }

    pub(crate) fn application_excludes(&self, executor: ExecutorId) -> bool {
        self.executors.contains_key(&executor) || self.application_excludes_host(self.hosts[&executor])
    }

    pub(crate) fn application_excludes_host(&self, host: HostId) -> bool {
        self.nodes.contains_key(&host)
    }

    fn of_set(&self, set: (StageId, StageAttempt)) -> impl Iterator<Item = &Failed> {
        self.failures.iter().filter(move |failed| failed.set == set)
    }

    pub(crate) fn stage_excludes(&self, set: (StageId, StageAttempt), executor: ExecutorId) -> bool {
        let tasks: BTreeSet<_> = self.of_set(set).filter(|f| f.executor == executor).map(|f| f.index).collect();
        self.rule.is_some_and(|rule| tasks.len() >= rule.stage_tasks_per_executor as usize)
    }

    pub(crate) fn stage_excludes_host(&self, set: (StageId, StageAttempt), host: HostId) -> bool {
        let there: BTreeSet<_> = self.of_set(set).filter(|f| f.host == host).map(|f| f.executor).collect();
        let excluded = there.into_iter().filter(|executor| self.stage_excludes(set, *executor)).count();
        self.rule.is_some_and(|rule| excluded >= rule.stage_executors_per_host as usize)
    }

    /// Whether an executor must not get a task.
    pub(crate) fn excludes(&self, set: (StageId, StageAttempt), index: u32, executor: ExecutorId) -> bool {
        let Some(rule) = self.rule else { return false };
        let host = self.hosts[&executor];
        let of_task = || self.of_set(set).filter(|failed| failed.index == index);
        self.application_excludes(executor)
            || self.stage_excludes(set, executor)
            || self.stage_excludes_host(set, host)
            || of_task().filter(|f| f.executor == executor).count() >= rule.task_failures_per_executor as usize
            || of_task().filter(|f| f.host == host).count() >= rule.task_failures_per_host as usize
    }

    /// Whether nothing keeps any of a task set's tasks from an executor.
    pub(crate) fn is_open(&self, set: (StageId, StageAttempt), executor: ExecutorId) -> bool {
        self.rule.is_none()
            || !self.application_excludes(executor)
                && self.of_set(set).all(|failed| failed.host != self.hosts[&executor])
    }
}
