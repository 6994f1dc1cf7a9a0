//! Who gets no more of what fails there: executors and hosts, for one task, for a stage attempt, for the application.
//!
//! What counts here is what counts towards `task.maxFailures`: neither failed fetches nor attempts that were told to stop. Within a stage
//! attempt exclusions last as long as it; once it has ended well, its failures are held against its executors and hosts for
//! [`Exclusion::timeout`].

use crate::{
    Command, Exclusion, LossReason, SchedulerEvent, TaskLaunch,
    scheduler::{Attempt, Scheduler, Timer},
    stages::Run,
};
use firesteel_model::{ExecutorId, HostId, StageAttempt, StageId};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

/// Executors that an error names; of others it says how many.
const NAMED: usize = 8;
/// How long an idle executor stays before it is replaced for a task that may run nowhere: not in the same breath, since what was launched may
/// read what it holds.
const BREATH: Duration = Duration::from_millis(1);
/// Where none is idle, one is looked for so often: it takes a look at all of them, for which the ends of tasks cannot wait.
const LOOK: Duration = Duration::from_millis(100);

/// Who gets no more of one task set, or of some of its tasks.
#[derive(Default)]
pub(crate) struct SetExclusions {
    failures: BTreeMap<ExecutorId, Failed>,
    tasks_on_executors: BTreeSet<(u32, ExecutorId)>,
    tasks_on_hosts: BTreeSet<(u32, HostId)>,
    executors: BTreeSet<ExecutorId>,
    hosts: BTreeSet<HostId>,
    /// The latest failure's own words.
    latest: String,
}

/// What failed on one executor: each task how often, and when last.
struct Failed {
    host: HostId,
    tasks: BTreeMap<u32, (u32, Duration)>,
}

impl SetExclusions {
    pub(crate) fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }

    /// Whether an executor may get tasks of the set at all.
    pub(crate) fn admit(&self, executor: ExecutorId, host: HostId) -> bool {
        !self.executors.contains(&executor) && !self.hosts.contains(&host)
    }

    /// Whether an executor that may get tasks may get this one.
    pub(crate) fn admit_task(&self, index: u32, executor: ExecutorId, host: HostId) -> bool {
        !self.tasks_on_executors.contains(&(index, executor)) && !self.tasks_on_hosts.contains(&(index, host))
    }

    /// Whether a host's other executors, those that may come as well, may get a task.
    fn host_admits(&self, index: u32, host: HostId) -> bool {
        !self.hosts.contains(&host) && !self.tasks_on_hosts.contains(&(index, host))
    }

    fn count(&mut self, rule: &Exclusion, launch: &TaskLaunch, host: HostId, now: Duration) -> Vec<SchedulerEvent> {
        let TaskLaunch { executor, index, stage, stage_attempt: attempt, .. } = *launch;
        let mut news = Vec::new();
        let failed = self.failures.entry(executor).or_insert_with(|| Failed { host, tasks: BTreeMap::new() });
        let (times, latest) = failed.tasks.entry(index).or_default();
        (*times, *latest) = (*times + 1, now);
        if *times >= rule.task_failures_per_executor {
            self.tasks_on_executors.insert((index, executor));
        }
        let failures = failed.tasks.len() as u32;
        let here = self.failures.values().filter(|failed| failed.host == host);
        let times: u32 = here.filter_map(|failed| failed.tasks.get(&index)).map(|(times, _)| times).sum();
        if times >= rule.task_failures_per_host {
            self.tasks_on_hosts.insert((index, host));
        }
        if failures >= rule.stage_tasks_per_executor && self.executors.insert(executor) {
            news.push(SchedulerEvent::ExecutorExcludedForStage { executor, failures, stage, attempt });
            let here = self.failures.iter().filter(|(id, failed)| failed.host == host && self.executors.contains(id));
            let executors = here.count() as u32;
            if executors >= rule.stage_executors_per_host && self.hosts.insert(host) {
                news.push(SchedulerEvent::NodeExcludedForStage { host, executors, stage, attempt });
            }
        }
        news
    }
}

/// Who gets no more of the application's tasks, and until when.
#[derive(Default)]
pub(crate) struct AppExclusions {
    /// When which tasks failed, in stage attempts that ended well.
    failures: BTreeMap<ExecutorId, BTreeMap<(StageId, StageAttempt, u32), Duration>>,
    /// Those that are gone as well: they count for their host.
    executors: BTreeMap<ExecutorId, (HostId, Duration)>,
    hosts: BTreeMap<HostId, Duration>,
    timer: Option<Duration>,
    /// A timer for replacements is set.
    replacing: bool,
}

impl AppExclusions {
    fn is_empty(&self) -> bool {
        self.executors.is_empty() && self.hosts.is_empty()
    }

    fn admit(&self, executor: ExecutorId, host: HostId) -> bool {
        !self.executors.contains_key(&executor) && !self.hosts.contains_key(&host)
    }

    pub(crate) fn forget_failures(&mut self, executor: ExecutorId) {
        self.failures.remove(&executor);
    }
}

/// A task of a run may run nowhere.
pub(crate) struct Stuck {
    /// When its stage is given up.
    pub(crate) until: Duration,
    /// Whether an executor was let go for another to come.
    replaced: bool,
}

impl Scheduler {
    /// A failure of a task that is tried again: elsewhere, if it has failed often enough where it was.
    pub(crate) fn exclude_after(&mut self, attempt: &Attempt, message: &str, out: &mut Vec<Command>) {
        let Some(rule) = &self.config.exclusion else { return };
        let stage = attempt.launch.stage;
        let Some(set) = self.runs.get_mut(&stage).and_then(|run| run.set.as_mut()) else { return };
        if self.config.faults.forget_exclusion {
            return;
        }
        let news = set.exclusions.count(rule, &attempt.launch, attempt.host, self.now);
        message.clone_into(&mut set.exclusions.latest);
        self.suspects.insert(stage);
        news.into_iter().for_each(|event| Self::publish(event, out));
    }

    /// A stage attempt has ended well: that tasks failed on some executors was their fault, and the application remembers it.
    pub(crate) fn remember_failures(
        &mut self,
        stage: StageId,
        attempt: StageAttempt,
        set: SetExclusions,
        out: &mut Vec<Command>,
    ) {
        let Some(Exclusion { timeout, app_tasks_per_executor, app_executors_per_host, .. }) = self.config.exclusion
        else {
            return;
        };
        if set.is_empty() {
            return;
        }
        self.end_exclusions(out);
        let until = self.now.saturating_add(timeout);
        for (executor, Failed { host, tasks }) in set.failures {
            let known = self.exclusions.failures.entry(executor).or_default();
            known.extend(tasks.into_iter().map(|(index, (_, at))| ((stage, attempt, index), at)));
            known.retain(|_, at| at.saturating_add(timeout) > self.now);
            let failures = known.len() as u32;
            if failures < app_tasks_per_executor || self.exclusions.executors.contains_key(&executor) {
                continue;
            }
            self.exclusions.failures.remove(&executor);
            self.exclusions.executors.insert(executor, (host, until));
            Self::publish(SchedulerEvent::ExecutorExcluded { executor, failures }, out);
            let executors = self.exclusions.executors.values().filter(|(of, _)| *of == host).count() as u32;
            if executors >= app_executors_per_host
                && let Entry::Vacant(free) = self.exclusions.hosts.entry(host)
            {
                free.insert(until);
                Self::publish(SchedulerEvent::NodeExcluded { host, executors }, out);
            }
            self.exclusions_changed();
        }
    }

    /// Ends exclusions whose time is over.
    pub(crate) fn end_exclusions(&mut self, out: &mut Vec<Command>) {
        let now = self.now;
        if self.exclusions.timer.is_none_or(|at| at > now) {
            return;
        }
        for (executor, _) in self.exclusions.executors.extract_if(.., |_, (_, until)| *until <= now) {
            Self::publish(SchedulerEvent::ExecutorUnexcluded { executor }, out);
        }
        for (host, _) in self.exclusions.hosts.extract_if(.., |_, until| *until <= now) {
            Self::publish(SchedulerEvent::NodeUnexcluded { host }, out);
        }
        self.exclusions_changed();
    }

    fn exclusions_changed(&mut self) {
        let ends = self.exclusions.executors.values().map(|(_, until)| *until);
        let next = ends.chain(self.exclusions.hosts.values().copied()).min();
        if self.exclusions.timer != next {
            let before = std::mem::replace(&mut self.exclusions.timer, next);
            before.map(|at| self.timers.remove(&(at, Timer::Exclusions)));
            self.timers.extend(next.map(|at| (at, Timer::Exclusions)));
        }
        for executor in self.executors.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            self.bar_if_excluded(executor);
        }
        self.suspect_all();
    }

    /// Slots of executors that the application excludes are offered to nobody.
    pub(crate) fn bar_if_excluded(&mut self, id: ExecutorId) {
        let Some(executor) = self.executors.get(id) else { return };
        let barred = !self.exclusions.admit(id, executor.host);
        if barred == executor.barred {
            return;
        }
        self.executors.bar(id, barred);
        if barred {
            self.freed.remove(&id);
        } else if self.executors.has_free_slot(id) {
            self.freed.insert(id);
        }
    }

    /// Who may run what has changed.
    pub(crate) fn suspect_all(&mut self) {
        let some_excluded = !self.exclusions.is_empty();
        let concerned = |run: &Run| run.set.as_ref().is_some_and(|set| some_excluded || !set.exclusions.is_empty());
        self.suspects.extend(self.runs.iter().filter(|(_, run)| concerned(run)).map(|(stage, _)| *stage));
    }

    /// A run has something new to launch.
    pub(crate) fn suspect(&mut self, stage: StageId) {
        let Some(set) = self.runs.get(&stage).and_then(|run| run.set.as_ref()) else { return };
        if !(set.exclusions.is_empty() && self.exclusions.is_empty()) {
            self.suspects.insert(stage);
        }
    }

    /// Looks at runs of which a task may run nowhere: gives up those for which there is no hope, and has an executor replaced for the others.
    /// Before slots are looked at, so that nothing is launched for what is given up.
    pub(crate) fn judge_suspects(&mut self, out: &mut Vec<Command>) {
        let Some(Exclusion { patience, .. }) = self.config.exclusion else { return };
        for stage in std::mem::take(&mut self.suspects) {
            let Some(run) = self.runs.get(&stage) else { continue };
            let Some(index) = self.task_without_executor(run) else {
                self.no_longer_stuck(stage);
                continue;
            };
            if self.is_hopeless(run, index) {
                let message = self.runs_nowhere(run, index);
                self.abort(stage, None, &message, out);
                continue;
            }
            let run = self.runs.get_mut(&stage).expect("it was just seen");
            let pause = if run.stuck.is_none() { BREATH } else { LOOK };
            let until = self.now.saturating_add(patience);
            let stuck = run.stuck.get_or_insert(Stuck { until, replaced: false });
            self.timers.insert((stuck.until, Timer::Stuck(stage)));
            if !stuck.replaced && !self.exclusions.replacing {
                self.exclusions.replacing = true;
                self.timers.insert((self.now.saturating_add(pause), Timer::Replacement));
            }
        }
    }

    /// Whether others that come to the known hosts may not run a task either, and none is on its way elsewhere.
    fn is_hopeless(&self, run: &Run, index: u32) -> bool {
        let set = run.set.as_ref().expect("a task of it waits");
        self.executors.iter().all(|(_, executor)| !set.exclusions.host_admits(index, executor.host))
            && self.runs.values().all(|run| run.stuck.as_ref().is_none_or(|stuck| !stuck.replaced))
    }

    /// An executor that a stuck run can have replaced, since nobody has anything for it to do.
    fn idle_for(&self, run: &Run) -> Option<ExecutorId> {
        let (index, set) = (self.task_without_executor(run)?, run.set.as_ref()?);
        let idle = self.executors.iter().find(|(id, executor)| {
            executor.attempts.is_empty()
                && !self.freed.contains(id)
                && set.exclusions.host_admits(index, executor.host)
                && !self.exclusions.hosts.contains_key(&executor.host)
        });
        idle.map(|(id, _)| id)
    }

    /// Lets an idle executor go for each run that is stuck, so that another takes its place. Those for which none is idle are judged again.
    pub(crate) fn replace_for_stuck(&mut self, out: &mut Vec<Command>) {
        self.exclusions.replacing = false;
        let stuck = self.runs.iter().filter(|(_, run)| run.stuck.as_ref().is_some_and(|stuck| !stuck.replaced));
        for stage in stuck.map(|(stage, _)| *stage).collect::<Vec<_>>() {
            let Some(run) = self.runs.get(&stage) else { continue };
            let Some(executor) = self.idle_for(run) else {
                self.suspects.insert(stage);
                continue;
            };
            if let Some(stuck) = self.runs.get_mut(&stage).and_then(|run| run.stuck.as_mut()) {
                stuck.replaced = true;
            }
            let survive = self.executors.get(executor).is_some_and(|executor| executor.outputs_outlive);
            self.executor_lost(executor, LossReason::Excluded, survive, out);
        }
    }

    /// A task that waits for a slot, and that no executor may run. None while there is no executor at all.
    fn task_without_executor(&self, run: &Run) -> Option<u32> {
        let set = run.set.as_ref().filter(|set| set.pending > 0 && run.missing.is_empty())?;
        if self.executors.len() == 0 {
            return None;
        }
        let able = self.executors.iter().filter(|(id, executor)| {
            self.exclusions.admit(*id, executor.host) && set.exclusions.admit(*id, executor.host)
        });
        if able.clone().next().is_none() {
            return (0..).zip(&run.tasks).find(|(_, task)| task.pending).map(|(index, _)| index);
        }
        let failed: BTreeSet<u32> = set.exclusions.tasks_on_executors.iter().map(|(index, _)| *index).collect();
        let failed = failed.into_iter().chain(set.exclusions.tasks_on_hosts.iter().map(|(index, _)| *index));
        let mut waiting = failed.filter(|index| run.tasks[*index as usize].pending);
        waiting.find(|index| !able.clone().any(|(id, on)| set.exclusions.admit_task(*index, id, on.host)))
    }

    pub(crate) fn no_longer_stuck(&mut self, stage: StageId) {
        if let Some(stuck) = self.runs.get_mut(&stage).and_then(|run| run.stuck.take()) {
            self.timers.remove(&(stuck.until, Timer::Stuck(stage)));
        }
    }

    /// A task has waited for long that may run nowhere.
    pub(crate) fn stuck_for_too_long(&mut self, stage: StageId, out: &mut Vec<Command>) {
        let run = self.runs.get_mut(&stage).expect("its timer goes with the run");
        run.stuck = None;
        let run = &self.runs[&stage];
        if let Some(index) = self.task_without_executor(run)
            && let Some(rule) = &self.config.exclusion
        {
            let message = format!(
                "{}; for {:?} none has come that may \
                 (firesteel.scheduler.excludeOnFailure.unschedulableTaskSetTimeout)",
                self.runs_nowhere(run, index),
                rule.patience
            );
            self.abort(stage, None, &message, out);
        }
    }

    fn runs_nowhere(&self, run: &Run, index: u32) -> String {
        let set = &run.set.as_ref().expect("a task of it waits").exclusions;
        let why = |id: ExecutorId, host: HostId| match () {
            () if self.exclusions.hosts.contains_key(&host) => "with its host, for the application",
            () if self.exclusions.executors.contains_key(&id) => "for the application",
            () if set.hosts.contains(&host) => "with its host, for the stage",
            () if set.executors.contains(&id) => "for the stage",
            () if set.tasks_on_hosts.contains(&(index, host)) => "with its host, for this task",
            () => "for this task",
        };
        let named = self.executors.iter().take(NAMED);
        let mut named: Vec<_> = named.map(|(id, on)| format!("executor {id} {}", why(id, on.host))).collect();
        if let Some(more) = self.executors.len().checked_sub(NAMED).filter(|more| *more > 0) {
            named.push(format!("and {more} more"));
        }
        let latest = if set.latest.is_empty() { "" } else { "; the latest failure: " };
        format!(
            "task {} of stage {} may run on no executor: excluded, because tasks failed there, is {} \
             (firesteel.excludeOnFailure.* says after how many){latest}{}",
            run.partition(index),
            run.spec.stage,
            named.join(", "),
            set.latest
        )
    }
}
