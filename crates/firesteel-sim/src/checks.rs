//! The invariants of the scheduler, checked beside every step from what it is told and what it says.

use crate::{excluded::Excluded, plan::Plan, world::Origin};
use firesteel_model::{AttemptId, Epoch, ExecutorId, JobId, ShuffleId, StageAttempt, StageId};
use firesteel_scheduler::{
    Command, Event, Failure, Footprint, Input, Inputs, JobKind, LocalityWait, Outcome, Scheduler, SchedulerEvent,
    StageOutput, TaskEndReason, TaskLaunch,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What is known about an attempt until its end is published.
struct Attempt {
    launch: TaskLaunch,
    killed: bool,
    fetching: bool,
}

/// An independent record of what the scheduler should know.
pub(crate) struct Checks {
    wait: LocalityWait,
    max_task_failures: u32,
    max_stage_attempts: u32,
    wanted: BTreeMap<JobId, JobKind>,
    jobs: BTreeSet<JobId>,
    ended: BTreeSet<JobId>,
    executors: BTreeMap<ExecutorId, (u32, u32)>,
    attempts: BTreeMap<AttemptId, Attempt>,
    places: BTreeMap<AttemptId, ExecutorId>,
    /// The current attempt of each stage that has one, with the shuffles that it needed when it began.
    current: BTreeMap<StageId, (StageAttempt, BTreeSet<ShuffleId>)>,
    /// Stage attempts in a row that failed by fetch failures.
    failed_attempts: BTreeMap<StageId, u32>,
    failures: BTreeMap<(StageId, StageAttempt, u32), u32>,
    hopeless: BTreeSet<StageId>,
    done: BTreeSet<(StageId, u32)>,
    results: BTreeMap<(JobId, u32), AttemptId>,
    counted: BTreeMap<AttemptId, Option<JobId>>,
    answers: BTreeMap<AttemptId, u32>,
    /// Who may commit, and who did.
    committers: BTreeMap<(StageId, u32), AttemptId>,
    commits: BTreeMap<(StageId, u32), AttemptId>,
    /// The epoch at which all that an executor held was last taken as lost.
    lost: BTreeMap<ExecutorId, Epoch>,
    asked: Option<AttemptId>,
    just_ended: Vec<TaskLaunch>,
    /// Since when a slot has been idle while a task of the stage waited.
    idle: BTreeMap<StageId, Duration>,
    excluded: Excluded,
    now: Duration,
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl Checks {
    pub(crate) fn new(plan: &Plan) -> Self {
        Checks {
            wait: plan.config.locality_wait,
            max_task_failures: plan.config.max_task_failures,
            max_stage_attempts: plan.config.max_consecutive_stage_attempts,
            wanted: plan.jobs.iter().map(|job| (job.spec.job, job.spec.kind.clone())).collect(),
            jobs: BTreeSet::new(),
            ended: BTreeSet::new(),
            executors: BTreeMap::new(),
            attempts: BTreeMap::new(),
            places: BTreeMap::new(),
            current: BTreeMap::new(),
            failed_attempts: BTreeMap::new(),
            failures: BTreeMap::new(),
            hopeless: BTreeSet::new(),
            done: BTreeSet::new(),
            results: BTreeMap::new(),
            counted: BTreeMap::new(),
            answers: BTreeMap::new(),
            committers: BTreeMap::new(),
            commits: BTreeMap::new(),
            lost: BTreeMap::new(),
            asked: None,
            just_ended: Vec::new(),
            idle: BTreeMap::new(),
            excluded: Excluded::new(plan.config.exclusion),
            now: Duration::ZERO,
        }
    }

    pub(crate) fn executor_of(&self, attempt: AttemptId) -> Option<ExecutorId> {
        self.places.get(&attempt).copied()
    }

    /// An executor has really committed the output of a task. What one does that was given up, nobody can know.
    pub(crate) fn committed(&mut self, launch: TaskLaunch) {
        if !self.executors.contains_key(&launch.executor) {
            return;
        }
        self.commits.insert((launch.stage, launch.index), launch.attempt);
    }

    fn is_current(&self, launch: &TaskLaunch) -> bool {
        self.current.get(&launch.stage).is_some_and(|(attempt, _)| *attempt == launch.stage_attempt)
    }

    pub(crate) fn before(&mut self, scheduler: &Scheduler, now: Duration, event: &Event) -> Result<(), String> {
        self.asked = None;
        self.now = now;
        self.excluded.passes(now);
        match event {
            Event::JobSubmitted(spec) => {
                self.jobs.insert(spec.job);
            }
            Event::ExecutorRegistered { executor, slots, host, .. } => {
                self.excluded.registered(*executor, *host);
                self.executors.entry(*executor).or_insert((*slots, 0));
            }
            // One whose result is being fetched has ended on its executor, and no command tells it to stop.
            Event::AttemptKillAsked { attempt, .. } => {
                if let Some(known) = self.attempts.get_mut(attempt).filter(|known| known.fetching) {
                    known.killed = true;
                }
            }
            Event::AttemptFailed { attempt, failure } => self.failed(scheduler, *attempt, failure),
            Event::ExecutorLost { executor, reason, .. } if reason.counts_as_failure() => {
                let launches: Vec<_> = self
                    .attempts
                    .values()
                    .filter(|a| a.launch.executor == *executor && !a.killed)
                    .map(|a| a.launch)
                    .collect();
                launches.iter().for_each(|launch| self.count(launch));
            }
            Event::AttemptSucceeded { attempt, .. } => self.asked = Some(*attempt),
            Event::ResultFetched { attempt } => self.asked = Some(*attempt),
            _ => {}
        }
        let longest = self.wait.process + self.wait.node + self.wait.rack;
        for (stage, since) in &self.idle {
            let waited = now - *since;
            ensure(waited <= longest, || {
                format!("a slot was idle for {waited:?} while tasks of stage {stage} waited")
            })?;
        }
        Ok(())
    }

    fn count(&mut self, launch: &TaskLaunch) {
        // Attempts at a task that is done were told to stop, also those whose result is being fetched.
        if self.is_current(launch) && !self.done.contains(&(launch.stage, launch.index)) {
            self.excluded.failed(launch, self.now);
            *self.failures.entry((launch.stage, launch.stage_attempt, launch.index)).or_default() += 1;
        }
    }

    fn failed(&mut self, scheduler: &Scheduler, id: AttemptId, failure: &Failure) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (launch, killed) = (attempt.launch, attempt.killed);
        match failure {
            Failure::Error { fatal, .. } if !killed => {
                self.count(&launch);
                if *fatal && self.is_current(&launch) {
                    self.hopeless.insert(launch.stage);
                }
            }
            Failure::ResultLost if !killed => self.count(&launch),
            Failure::FetchFailed(fetch) => {
                if fetch.unreachable
                    && let Some(map) = fetch.map
                    && self.lost.get(&map.executor).is_none_or(|epoch| *epoch < launch.epoch)
                {
                    self.lost.insert(map.executor, scheduler.epoch());
                }
                if !killed && self.is_current(&launch) {
                    *self.failed_attempts.entry(launch.stage).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    pub(crate) fn after(
        &mut self,
        scheduler: &Scheduler,
        now: Duration,
        commands: &[Command],
        results: &BTreeMap<AttemptId, Arc<Origin>>,
    ) -> Result<(), String> {
        let mut answers = 0;
        for command in commands {
            self.command(scheduler, command, results)?;
            let about = match command {
                Command::CountAccumulators { attempt, .. }
                | Command::DiscardAccumulators { attempt }
                | Command::IgnoreReport { attempt }
                | Command::FetchResult { attempt, .. } => Some(*attempt),
                _ => None,
            };
            answers += u32::from(about.is_some() && about == self.asked);
        }
        if let Some(asked) = self.asked {
            ensure(answers == 1, || format!("the success of attempt {asked} got {answers} answers"))?;
        }
        // Whoever ended without being the one that counts holds no permission to commit any longer.
        for launch in std::mem::take(&mut self.just_ended) {
            let key = (launch.stage, launch.index);
            let counts = self.results.values().any(|id| *id == launch.attempt);
            if self.committers.get(&key) == Some(&launch.attempt) && !counts {
                self.committers.remove(&key);
            }
        }
        self.look_for_idle_slots(scheduler, now);
        self.small_footprint(scheduler.footprint())
    }

    fn small_footprint(&self, footprint: Footprint) -> Result<(), String> {
        let open = self.jobs.difference(&self.ended).count();
        ensure(footprint.jobs == open, || format!("{open} jobs are open, and {} known", footprint.jobs))?;
        ensure(open > 0 || footprint.stages == 0, || "stages without jobs".into())?;
        ensure(footprint.attempts == self.attempts.len(), || "attempts that have ended are known".into())
    }

    fn look_for_idle_slots(&mut self, scheduler: &Scheduler, now: Duration) {
        let free = self.executors.iter().filter(|(_, (slots, taken))| taken < slots).map(|(id, _)| *id);
        let free: Vec<_> = free.collect();
        let mut waiting = BTreeSet::new();
        for stage in scheduler.active_stages() {
            let progress = scheduler.stage_progress(stage).expect("an active stage has progress");
            let set = (stage, progress.attempt);
            let free = || free.iter().any(|executor| self.excluded.is_open(set, *executor));
            if progress.submitted && free() && progress.tasks > progress.done + progress.running {
                waiting.insert(stage);
            }
        }
        self.idle.retain(|stage, _| waiting.contains(stage));
        for stage in waiting {
            self.idle.entry(stage).or_insert(now);
        }
    }

    fn command(
        &mut self,
        scheduler: &Scheduler,
        command: &Command,
        origins: &BTreeMap<AttemptId, Arc<Origin>>,
    ) -> Result<(), String> {
        match command {
            Command::Launch(launch) => self.launched(scheduler, launch),
            Command::Kill { attempt, .. } => {
                if let Some(known) = self.attempts.get_mut(attempt) {
                    known.killed = true;
                }
                Ok(())
            }
            Command::AllowCommit { attempt } => self.allowed(*attempt),
            Command::FetchResult { attempt, executor } => {
                let known = self.attempts.get_mut(attempt).ok_or("the result of an unknown attempt is fetched")?;
                known.fetching = true;
                self.free_slot(*executor)
            }
            Command::DeliverResult { job, index, attempt, .. } => {
                ensure(!self.ended.contains(job), || format!("a result is delivered to job {job}, which has ended"))?;
                self.done.insert((StageId(1000 + job.0), *index));
                let before = self.results.insert((*job, *index), *attempt);
                ensure(before.is_none(), || format!("two results for task {index} of job {job}"))
            }
            Command::WithdrawResult { job, index, attempt } => {
                let key = (StageId(1000 + job.0), *index);
                self.done.remove(&key);
                self.committers.remove(&key);
                let before = self.results.remove(&(*job, *index));
                ensure(before == Some(*attempt), || format!("attempt {attempt} is withdrawn, and was not delivered"))
            }
            Command::CountAccumulators { attempt, provisional } => self.counted(*attempt, *provisional),
            Command::DiscardAccumulators { attempt } => match self.counted.remove(attempt) {
                Some(None) => Err(format!("what attempt {attempt} accumulated was final, and is taken back")),
                _ => Ok(()),
            },
            Command::Publish(event) => self.published(scheduler, event),
            Command::EndJob { job, outcome } => self.job_ended(*job, outcome, origins),
            _ => Ok(()),
        }
    }

    fn launched(&mut self, scheduler: &Scheduler, launch: &TaskLaunch) -> Result<(), String> {
        let id = launch.attempt;
        let (slots, taken) =
            self.executors.get_mut(&launch.executor).ok_or_else(|| format!("attempt {id} on a lost executor"))?;
        *taken += 1;
        ensure(taken <= slots, || format!("executor {} is given more tasks than slots", launch.executor))?;
        ensure(!self.ended.contains(&launch.job), || format!("attempt {id} for a job that has ended"))?;
        ensure(!self.done.contains(&(launch.stage, launch.index)), || format!("attempt {id} of a task that is done"))?;
        ensure(!self.excluded.excludes((launch.stage, launch.stage_attempt), launch.index, launch.executor), || {
            format!("attempt {id} on executor {}, which is excluded for it", launch.executor)
        })?;
        let Some((_, needed)) = self.current.get(&launch.stage).filter(|(attempt, _)| *attempt == launch.stage_attempt)
        else {
            return Err(format!("attempt {id} in a stage attempt that is over"));
        };
        let spec = scheduler.stage(launch.stage).ok_or("a task of an unknown stage is launched")?;
        let still_needed = needs(scheduler, &spec.inputs);
        for shuffle in needed.intersection(&still_needed) {
            ensure(scheduler.map_outputs(*shuffle).is_some(), || {
                format!("attempt {id} of stage {} is launched without shuffle {shuffle}", launch.stage)
            })?;
        }
        let twins = self.attempts.values().filter(|other| {
            let other = &other.launch;
            (other.stage, other.stage_attempt, other.index) == (launch.stage, launch.stage_attempt, launch.index)
        });
        let twins = twins.count();
        ensure(twins <= usize::from(launch.speculative), || format!("attempt {id} has {twins} twins"))?;
        self.places.insert(id, launch.executor);
        let before = self.attempts.insert(id, Attempt { launch: *launch, killed: false, fetching: false });
        ensure(before.is_none() && self.answers.insert(id, 0).is_none(), || format!("attempt {id} is launched twice"))
    }

    fn allowed(&mut self, id: AttemptId) -> Result<(), String> {
        let Some(attempt) = self.attempts.get(&id) else {
            return Err(format!("attempt {id} may commit, and has ended"));
        };
        let key = (attempt.launch.stage, attempt.launch.index);
        let before = *self.committers.entry(key).or_insert(id);
        ensure(before == id, || format!("attempts {before} and {id} may commit the same output"))
    }

    fn counted(&mut self, id: AttemptId, provisional: Option<JobId>) -> Result<(), String> {
        ensure(self.counted.insert(id, provisional).is_none(), || format!("attempt {id} is counted twice"))?;
        let answers = self.answers.get_mut(&id).ok_or_else(|| format!("attempt {id} was never launched"))?;
        *answers += 1;
        ensure(*answers == 1, || format!("attempt {id} is counted again"))
    }

    fn free_slot(&mut self, executor: ExecutorId) -> Result<(), String> {
        if let Some((_, taken)) = self.executors.get_mut(&executor) {
            ensure(*taken > 0, || format!("executor {executor} has fewer tasks than none"))?;
            *taken -= 1;
        }
        Ok(())
    }

    fn published(&mut self, scheduler: &Scheduler, event: &SchedulerEvent) -> Result<(), String> {
        match event {
            SchedulerEvent::StageSubmitted { stage, attempt, .. } => {
                self.idle.remove(stage);
                let spec = scheduler.stage(*stage);
                let needed = spec.map(|spec| needs(scheduler, &spec.inputs)).unwrap_or_default();
                let before = self.current.insert(*stage, (*attempt, needed));
                ensure(before.is_none(), || format!("stage {stage} has two attempts at a time"))?;
                if spec.is_some_and(|spec| spec.output != StageOutput::Result) {
                    self.done.retain(|(of, _)| of != stage);
                }
                Ok(())
            }
            SchedulerEvent::StageCompleted { stage, attempt, failure } => {
                let before = self.current.remove(stage).map(|(attempt, _)| attempt);
                ensure(before == Some(*attempt), || format!("attempt {attempt} of stage {stage} was not current"))?;
                if failure.is_none() {
                    self.failed_attempts.remove(stage);
                }
                if failure.as_ref().is_some_and(|why| why.contains(&format!("of stage {stage} may run on no executor")))
                {
                    self.runs_nowhere(scheduler, (*stage, *attempt))?;
                }
                self.excluded.over((*stage, *attempt), failure.is_none(), self.now);
                Ok(())
            }
            SchedulerEvent::TaskResubmitted { stage, index, .. } => {
                self.done.remove(&(*stage, *index));
                Ok(())
            }
            SchedulerEvent::TaskEnded { launch, reason, .. } => self.task_ended(scheduler, launch, reason),
            SchedulerEvent::ExecutorExcluded { executor, .. } => {
                ensure(self.excluded.application_excludes(*executor), || format!("executor {executor} is excluded"))
            }
            SchedulerEvent::NodeExcluded { host, .. } => {
                ensure(self.excluded.application_excludes_host(*host), || format!("host {host} is excluded"))
            }
            SchedulerEvent::ExecutorExcludedForStage { executor, stage, attempt, .. } => {
                let rightly = self.excluded.stage_excludes((*stage, *attempt), *executor);
                ensure(rightly, || format!("executor {executor} is excluded from stage {stage}"))
            }
            SchedulerEvent::NodeExcludedForStage { host, stage, attempt, .. } => {
                let rightly = self.excluded.stage_excludes_host((*stage, *attempt), *host);
                ensure(rightly, || format!("host {host} is excluded from stage {stage}"))
            }
            SchedulerEvent::ExecutorRemoved { executor, .. } => {
                self.executors.remove(executor);
                self.excluded.gone(*executor);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn task_ended(&mut self, scheduler: &Scheduler, launch: &TaskLaunch, reason: &TaskEndReason) -> Result<(), String> {
        let id = launch.attempt;
        let attempt = self.attempts.remove(&id).ok_or_else(|| format!("attempt {id} ends twice"))?;
        if !attempt.fetching {
            self.free_slot(launch.executor)?;
        }
        let key = (launch.stage, launch.index);
        if self.registered(scheduler, launch) {
            self.done.insert(key);
        }
        let well = *reason == TaskEndReason::Success;
        self.just_ended.push(*launch);
        let stale = self.lost.get(&launch.executor).is_some_and(|epoch| launch.epoch <= *epoch);
        if well && stale && self.executors.contains_key(&launch.executor) && self.registered(scheduler, launch) {
            return Err(format!("the output of attempt {id} is taken, from an executor lost at or after its epoch"));
        }
        Ok(())
    }

    /// Whether this attempt's output is the registered one.
    fn registered(&self, scheduler: &Scheduler, launch: &TaskLaunch) -> bool {
        let Some(StageOutput::Shuffle(shuffle)) = scheduler.stage(launch.stage).map(|spec| spec.output) else {
            return false;
        };
        scheduler.map_output(shuffle, launch.partition).is_some_and(|output| output.attempt == launch.attempt)
    }

    fn job_ended(
        &mut self,
        job: JobId,
        outcome: &Outcome,
        origins: &BTreeMap<AttemptId, Arc<Origin>>,
    ) -> Result<(), String> {
        ensure(self.ended.insert(job), || format!("job {job} ends twice"))?;
        let results: BTreeMap<u32, AttemptId> =
            self.results.iter().filter(|((of, _), _)| *of == job).map(|((_, index), id)| (*index, *id)).collect();
        for attempt in results.values() {
            ensure(self.counted.get(attempt) == Some(&Some(job)), || {
                format!("attempt {attempt} delivered a result, and its accumulators do not count")
            })?;
        }
        let counted = self.counted.values().filter(|of| **of == Some(job)).count();
        ensure(counted == results.len(), || format!("{counted} accumulators for {} results", results.len()))?;
        match outcome {
            Outcome::Succeeded => {
                let wanted = self.wanted[&job].partitions().len();
                ensure(results.len() == wanted, || format!("job {job} has {} of {wanted} results", results.len()))?;
                let mut origin = Origin::default();
                results.values().for_each(|attempt| origin.merge(&origins[attempt]));
                if let Some((shuffle, map)) = origin.mixed() {
                    return Err(format!("the answer of job {job} mixes two versions of shuffle {shuffle}, map {map}"));
                }
                for (index, attempt) in &results {
                    let key = (StageId(1000 + job.0), *index);
                    if let Some(committer) = self.commits.get(&key) {
                        ensure(committer == attempt, || {
                            format!("attempt {committer} committed what attempt {attempt} delivered")
                        })?;
                    }
                }
                Ok(())
            }
            Outcome::Failed(failure) => self.rightly_failed(failure),
            Outcome::Cancelled(_) => Ok(()),
        }
    }

    fn rightly_failed(&self, failure: &firesteel_model::JobFailure) -> Result<(), String> {
        let stage = failure.stage.ok_or_else(|| format!("job {} fails without a stage: {failure}", failure.job))?;
        if self.hopeless.contains(&stage) {
            return Ok(());
        }
        if failure.message.contains("may run on no executor") {
            // Looked at when the stage ended.
            return Ok(());
        }
        if failure.message.contains("in a row") {
            let failed = self.failed_attempts.get(&stage).copied().unwrap_or_default();
            return ensure(failed >= self.max_stage_attempts, || {
                format!("stage {stage} is given up after {failed} attempts: {failure}")
            });
        }
        let most = self.failures.iter().filter(|((of, _, _), _)| *of == stage).map(|(_, count)| *count).max();
        let most = most.unwrap_or_default();
        ensure(most >= self.max_task_failures, || {
            format!(
                "job {} fails after {most} of {} failures of a task: {failure}",
                failure.job, self.max_task_failures
            )
        })
    }

    /// A stage is given up because a task may run on no executor.
    fn runs_nowhere(&self, scheduler: &Scheduler, set: (StageId, StageAttempt)) -> Result<(), String> {
        let tasks = scheduler.stage(set.0).map_or(u32::MAX, |spec| spec.tasks);
        let nowhere = |index| self.executors.keys().all(|executor| self.excluded.excludes(set, index, *executor));
        let rightly = !self.executors.is_empty() && (0..tasks.min(1000)).any(nowhere);
        ensure(rightly, || format!("stage {} is given up, and each of its tasks may run somewhere", set.0))
    }

    pub(crate) fn finish(&self, scheduler: &Scheduler) -> Result<(), String> {
        let footprint = Footprint { executors: 0, ..scheduler.footprint() };
        ensure(footprint == Footprint::default(), || format!("all is released, and kept are {footprint:?}"))
    }
}

/// The shuffles that a stage must have, seen past cached RDDs.
fn needs(scheduler: &Scheduler, inputs: &Inputs) -> BTreeSet<ShuffleId> {
    fn visit(scheduler: &Scheduler, inputs: &Inputs, place: u32, found: &mut BTreeSet<ShuffleId>) {
        match &inputs.nodes[place as usize] {
            Input::Shuffle(shuffle) => {
                found.insert(*shuffle);
            }
            Input::Cache { rdd, partitions, behind } => {
                if scheduler.cached_partitions(*rdd) < *partitions as usize {
                    behind.iter().for_each(|place| visit(scheduler, inputs, *place, found));
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    inputs.roots.iter().for_each(|root| visit(scheduler, inputs, *root, &mut found));
    found
}
