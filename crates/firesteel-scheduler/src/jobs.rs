//! Jobs: submitted, cancelled, ended.

use crate::{
    Command, Input, JobKind, JobSpec, Outcome, SchedulerEvent, StageOutput, StageSpec,
    scheduler::{Job, Scheduler, Timer},
};
use firesteel_model::{AttemptId, JobFailure, JobId, PartitionIndex, ShuffleId, StageId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Scheduler {
    pub(crate) fn submit(&mut self, spec: JobSpec, out: &mut Vec<Command>) {
        let job = spec.job;
        if self.jobs.contains_key(&job) {
            return;
        }
        self.newest_job = self.newest_job.max(Some(job));
        if let Some(reason) = self.cancelled_beforehand(&spec) {
            return out.push(Command::EndJob { job, outcome: Outcome::Cancelled(reason) });
        }
        if let Err(message) = self.check(&spec) {
            let failure = no_task(job, None, format!("its description cannot be used: {message}"));
            return out.push(Command::EndJob { job, outcome: Outcome::Failed(Box::new(failure)) });
        }
        for stage in &spec.stages {
            let known = match stage.output {
                StageOutput::Shuffle(shuffle) => self.tracker.learn(shuffle, stage),
                StageOutput::Result => false,
            };
            if !known {
                self.cache_lineage.learn(&stage.inputs);
            }
        }
        let stages: Vec<_> = spec.stages.iter().map(|stage| stage.stage).collect();
        let nothing_to_do = match spec.stages.last().map(|stage| stage.output) {
            Some(StageOutput::Shuffle(shuffle)) => self.tracker.is_complete(shuffle),
            _ => spec.kind.partitions().is_empty(),
        };
        if nothing_to_do {
            let skipped = stages.len() as u32;
            Self::publish(SchedulerEvent::JobStarted { job, stages, skipped }, out);
            let outcome = Outcome::Succeeded;
            Self::publish(SchedulerEvent::JobEnded { job, outcome: outcome.clone() }, out);
            return out.push(Command::EndJob { job, outcome });
        }
        let last = spec.stages.last().expect("a job that wants something has a stage");
        let time_up = match spec.kind {
            JobKind::Approximate { timeout, .. } => Some(self.now.saturating_add(timeout)),
            _ => None,
        };
        self.timers.extend(time_up.map(|at| (at, Timer::TimeUp(job))));
        let known = Job {
            kind: spec.kind,
            final_stage: last.stage,
            pool: spec.pool,
            group: spec.group,
            tags: spec.tags,
            active: BTreeSet::new(),
            time_up,
        };
        self.jobs.insert(job, known);
        self.ensure_run(last, Some(job));
        self.attach(last.stage, &BTreeSet::from([job]));
        self.evaluate_all(out);
        let skipped = stages.len().saturating_sub(self.jobs.get(&job).map_or(0, |job| job.active.len())) as u32;
        Self::publish(SchedulerEvent::JobStarted { job, stages, skipped }, out);
    }

    /// Whether the description is one that can be worked with.
    fn check(&self, spec: &JobSpec) -> Result<(), String> {
        let Some((last, before)) = spec.stages.split_last() else {
            return if spec.kind.partitions().is_empty() && spec.kind != JobKind::MapOnly {
                Ok(())
            } else {
                Err("it has no stages".into())
            };
        };
        match (&spec.kind, last.output) {
            (JobKind::MapOnly, StageOutput::Result) => return Err("a map-only job ends with a shuffle".into()),
            (JobKind::Result { .. } | JobKind::Approximate { .. }, StageOutput::Shuffle(_)) => {
                return Err("a job that wants results ends with a result stage".into());
            }
            _ => {}
        }
        if last.output == StageOutput::Result
            && (self.runs.contains_key(&last.stage) || self.tracker.shuffle_of(last.stage).is_some())
        {
            return Err(format!("its result stage {} is in use", last.stage));
        }
        if let Some(partition) = spec.kind.partitions().iter().find(|partition| partition.0 >= last.tasks) {
            return Err(format!("it wants partition {partition} of {}", last.tasks));
        }
        let mut earlier = BTreeSet::<ShuffleId>::new();
        let mut ids = BTreeSet::<StageId>::new();
        for stage in &spec.stages {
            self.check_stage(stage, &earlier)?;
            if !ids.insert(stage.stage) {
                return Err(format!("stage {} stands in it twice", stage.stage));
            }
            if let StageOutput::Shuffle(shuffle) = stage.output
                && !earlier.insert(shuffle)
            {
                return Err(format!(
                    "stage {} makes shuffle {shuffle}, which another of its stages makes",
                    stage.stage
                ));
            }
        }
        match before.iter().find(|stage| stage.output == StageOutput::Result) {
            Some(stage) => Err(format!("stage {} makes results and is not the last", stage.stage)),
            None => Ok(()),
        }
    }

    fn check_stage(&self, spec: &StageSpec, earlier: &BTreeSet<ShuffleId>) -> Result<(), String> {
        let stage = spec.stage;
        if let StageOutput::Shuffle(shuffle) = spec.output {
            match self.tracker.get(shuffle) {
                Some(known) if known.stage() != stage || known.spec.tasks != spec.tasks => {
                    return Err(format!("stage {stage} makes shuffle {shuffle}, which stage {} makes", known.stage()));
                }
                None if self.tracker.shuffle_of(stage).is_some() || self.runs.contains_key(&stage) => {
                    return Err(format!("stage {stage} makes another shuffle already"));
                }
                _ => {}
            }
        }
        if let Some(shuffle) =
            spec.inputs.shuffles().find(|id| !earlier.contains(id) && self.tracker.get(*id).is_none())
        {
            return Err(format!("stage {stage} reads shuffle {shuffle}, which no stage before it makes"));
        }
        let nodes = spec.inputs.nodes.len();
        let behind = spec.inputs.nodes.iter().flat_map(|node| match node {
            Input::Cache { behind, .. } => behind.as_slice(),
            Input::Shuffle(_) => &[],
        });
        if spec.inputs.roots.iter().chain(behind).any(|place| *place as usize >= nodes) {
            return Err(format!("an input of stage {stage} refers to one that does not exist"));
        }
        if spec.preferences.as_ref().is_some_and(|lists| lists.len() != spec.tasks as usize) {
            return Err(format!("stage {stage} has preferences for another number of partitions"));
        }
        Ok(())
    }

    fn cancelled_beforehand(&self, spec: &JobSpec) -> Option<String> {
        if let Some(group) = &spec.group
            && let Some(reason) = self.cancelled_groups.reason(group)
        {
            return Some(group_reason(group, reason.clone()));
        }
        spec.tags.iter().find_map(|tag| Some(tag_reason(tag, self.cancelled_tags.reason(tag)?.clone())))
    }

    pub(crate) fn cancel(&mut self, job: JobId, reason: String, out: &mut Vec<Command>) {
        self.end_job(job, Outcome::Cancelled(reason), out);
    }

    pub(crate) fn cancel_stage(&mut self, stage: StageId, reason: Option<String>, out: &mut Vec<Command>) {
        let jobs = self.runs.get(&stage).map(|run| run.jobs.clone()).unwrap_or_default();
        let reason = reason.unwrap_or_else(|| format!("because Stage {stage} was cancelled"));
        jobs.into_iter().for_each(|job| self.cancel(job, reason.clone(), out));
    }

    pub(crate) fn cancel_group(&mut self, group: String, reason: Option<String>, future: bool, out: &mut Vec<Command>) {
        let words = group_reason(&group, reason.clone());
        self.cancel_where(|job| job.group.as_ref() == Some(&group), &words, out);
        if future {
            self.cancelled_groups.add(group, reason);
        }
    }

    pub(crate) fn cancel_tag(&mut self, tag: String, reason: Option<String>, future: bool, out: &mut Vec<Command>) {
        let words = tag_reason(&tag, reason.clone());
        self.cancel_where(|job| job.tags.contains(&tag), &words, out);
        if future {
            self.cancelled_tags.add(tag, reason);
        }
    }

    pub(crate) fn cancel_all(&mut self, reason: &str, out: &mut Vec<Command>) {
        self.cancel_where(|_| true, reason, out);
    }

    fn cancel_where(&mut self, which: impl Fn(&Job) -> bool, reason: &str, out: &mut Vec<Command>) {
        let jobs: Vec<_> = self.jobs.iter().filter(|(_, job)| which(job)).map(|(id, _)| *id).collect();
        jobs.into_iter().for_each(|job| self.cancel(job, reason.to_owned(), out));
    }

    /// Ends a job, and the runs that no other job needs.
    pub(crate) fn end_job(&mut self, id: JobId, outcome: Outcome, out: &mut Vec<Command>) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if let Some(at) = job.time_up {
            self.timers.remove(&(at, Timer::TimeUp(id)));
        }
        // Why stages end that nobody needs any more, in Spark's words.
        let reason = match &outcome {
            Outcome::Succeeded => format!("Job {id} is finished"),
            Outcome::Failed(failure) => failure.to_string(),
            Outcome::Cancelled(reason) => format!("Job {id} cancelled {reason}"),
        };
        for stage in job.active {
            let run = self.runs.get_mut(&stage).expect("a job's runs exist");
            run.jobs.remove(&id);
            if run.jobs.is_empty() {
                self.drop_run(stage, Some(&reason), out);
            }
        }
        self.forget_released_rdds();
        Self::publish(SchedulerEvent::JobEnded { job: id, outcome: outcome.clone() }, out);
        out.push(Command::EndJob { job: id, outcome });
    }

    /// Ends every job that needs this stage, because the stage cannot be done.
    pub(crate) fn abort(
        &mut self,
        stage: StageId,
        task: Option<(PartitionIndex, AttemptId, u32)>,
        message: &str,
        out: &mut Vec<Command>,
    ) {
        let Some(run) = self.runs.get(&stage) else { return };
        for job in run.jobs.clone() {
            let mut failure = no_task(job, Some(stage), message.to_owned());
            if let Some((partition, attempt, failures)) = task {
                failure.partition = Some(partition);
                failure.attempt = Some(attempt);
                failure.failures = failures;
            }
            self.end_job(job, Outcome::Failed(Box::new(failure)), out);
        }
    }

    /// Makes a stage a run of a job, and with it the runs that it waits for.
    pub(crate) fn attach(&mut self, stage: StageId, jobs: &BTreeSet<JobId>) {
        let mut stack = vec![stage];
        while let Some(stage) = stack.pop() {
            let Some(run) = self.runs.get_mut(&stage) else { continue };
            let before = run.jobs.len();
            for id in jobs {
                if run.jobs.insert(*id)
                    && let Some(job) = self.jobs.get_mut(id)
                {
                    job.active.insert(stage);
                }
            }
            if run.jobs.len() > before {
                let missing = run.missing.iter().filter_map(|shuffle| self.tracker.get(*shuffle));
                stack.extend(missing.map(|shuffle| shuffle.stage()));
            }
        }
    }

    /// The run of a stage, made if there is none; `job` is the one whose results a result stage makes.
    pub(crate) fn ensure_run(&mut self, spec: &Arc<StageSpec>, job: Option<JobId>) {
        if self.runs.contains_key(&spec.stage) {
            return;
        }
        let wanted = job.and_then(|job| self.jobs.get(&job)).map(|job| job.kind.partitions());
        let run = crate::stages::Run::new(spec.clone(), wanted.unwrap_or_default(), &self.tracker);
        self.runs.insert(spec.stage, run);
        self.to_evaluate.insert(spec.stage);
    }

    /// For each known shuffle, the stages that read it or may come to read it; result stages only while they are active.
    pub(crate) fn stages_by_input(&self) -> BTreeMap<ShuffleId, Vec<StageId>> {
        let mut readers = BTreeMap::<_, Vec<_>>::new();
        for spec in self.known_stages() {
            for shuffle in spec.inputs.shuffles() {
                readers.entry(shuffle).or_default().push(spec.stage);
            }
        }
        readers
    }

    /// The map stages of known shuffles and the active result stages.
    pub(crate) fn known_stages(&self) -> impl Iterator<Item = &Arc<StageSpec>> {
        let shuffles = self.tracker.iter().map(|(_, shuffle)| &shuffle.spec);
        shuffles.chain(self.runs.values().map(|run| &run.spec).filter(|spec| spec.output == StageOutput::Result))
    }
}

fn no_task(job: JobId, stage: Option<StageId>, message: String) -> JobFailure {
    JobFailure { job, stage, partition: None, attempt: None, failures: 0, call_site: String::new(), message }
}

fn group_reason(group: &str, reason: Option<String>) -> String {
    reason.unwrap_or_else(|| format!("part of cancelled job group {group}"))
}

fn tag_reason(tag: &str, reason: Option<String>) -> String {
    reason.unwrap_or_else(|| format!("part of cancelled job tags {tag}"))
}
