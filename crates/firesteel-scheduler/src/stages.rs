//! Stages that have something to do: waiting for their inputs, running, done, rolled back.

use crate::{
    Command, Input, Inputs, JobKind, MapRef, Outcome, Preference, SchedulerEvent, StageOutput, StageSpec,
    blocks::Blocks,
    exclusion::Stuck,
    executors::Executors,
    outputs::{Shuffle, Tracker},
    scheduler::{Scheduler, Timer},
    tasks::{Task, TaskSet, Wishes},
};
use firesteel_model::{AttemptId, Epoch, ExecutorId, JobId, PartitionIndex, RddId, ShuffleId, StageAttempt, StageId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// A stage that has something to do for a job. It ends when all its tasks are done or no job needs it any more; what is
/// to be kept of a shuffle-map stage is kept with its shuffle.
pub(crate) struct Run {
    pub(crate) spec: Arc<StageSpec>,
    /// The jobs that need it.
    pub(crate) jobs: BTreeSet<JobId>,
    /// For a result stage the wanted partitions.
    wanted: Vec<PartitionIndex>,
    pub(crate) tasks: Vec<Task>,
    /// How many tasks are not done.
    pub(crate) todo: u32,
    /// The shuffles that it reads, seen past cached RDDs, when last looked at.
    needs: BTreeSet<ShuffleId>,
    /// Those of them that are not complete. While there is one, no task is launched.
    pub(crate) missing: BTreeSet<ShuffleId>,
    /// Shuffles that a task asked for although they seemed hidden behind a cached RDD.
    pub(crate) asked_for: BTreeSet<ShuffleId>,
    /// The task set of the current stage attempt.
    pub(crate) set: Option<TaskSet>,
    /// Number of the next attempt of a result stage; a shuffle-map stage's is with its shuffle.
    next_attempt: u32,
    /// Attempts of the stage in a row that ended by a fetch failure.
    pub(crate) fetch_failures: u32,
    /// Who may commit the output of a task, or has.
    pub(crate) committers: BTreeMap<u32, AttemptId>,
    /// All attempts of the stage's tasks that run, those of earlier stage attempts as well.
    pub(crate) running: BTreeSet<(u32, AttemptId)>,
    /// Sizes of the results so far.
    pub(crate) result_bytes: u64,
    /// When the timer for the locality wait goes off.
    pub(crate) timer: Option<Duration>,
    /// A task of it may run nowhere.
    pub(crate) stuck: Option<Stuck>,
}

impl Run {
    pub(crate) fn new(spec: Arc<StageSpec>, wanted: &[PartitionIndex], tracker: &Tracker) -> Self {
        let tasks: Vec<_> = match spec.output {
            StageOutput::Result => vec![Task::default(); wanted.len()],
            StageOutput::Shuffle(shuffle) => {
                let known = tracker.get(shuffle);
                let done = |map| known.is_some_and(|known| known.location(PartitionIndex(map)).is_some());
                (0..spec.tasks).map(|map| Task { done: done(map), ..Task::default() }).collect()
            }
        };
        Run {
            jobs: BTreeSet::new(),
            wanted: wanted.to_vec(),
            todo: tasks.iter().filter(|task| !task.done).count() as u32,
            tasks,
            needs: BTreeSet::new(),
            missing: BTreeSet::new(),
            asked_for: BTreeSet::new(),
            set: None,
            next_attempt: 0,
            fetch_failures: 0,
            committers: BTreeMap::new(),
            running: BTreeSet::new(),
            result_bytes: 0,
            timer: None,
            stuck: None,
            spec,
        }
    }

    /// The partition that a task computes.
    pub(crate) fn partition(&self, index: u32) -> PartitionIndex {
        match self.spec.output {
            StageOutput::Result => self.wanted[index as usize],
            StageOutput::Shuffle(_) => PartitionIndex(index),
        }
    }

    pub(crate) fn oldest_job(&self) -> JobId {
        *self.jobs.first().expect("a run without jobs is dropped")
    }

    /// Whether an attempt belongs to the current task set; if not, it is a zombie.
    pub(crate) fn is_current(&self, attempt: StageAttempt) -> bool {
        self.set.as_ref().is_some_and(|set| set.attempt == attempt)
    }

    /// Where a task would like to run.
    pub(crate) fn wishes(&self, index: u32, tracker: &Tracker, blocks: &Blocks, executors: &Executors) -> Wishes {
        let mut wishes = Wishes::default();
        let Some(lists) = &self.spec.preferences else { return wishes };
        let list = &lists[self.partition(index).index()];
        let is_plain = |preference: &Preference| !matches!(preference, Preference::Cached(..) | Preference::Reduce(..));
        let mut rest = list.iter().peekable();
        while let Some(first) = rest.next() {
            match first {
                Preference::Cached(rdd, partition) => {
                    wishes.executors.extend(alive(blocks.places(*rdd, *partition), executors));
                }
                Preference::Reduce(shuffle, reduce) if executors.len() > 1 => {
                    let near = tracker.get(*shuffle).map_or(Vec::new(), |shuffle| shuffle.near(*reduce));
                    wishes.executors.extend(alive(&near, executors));
                }
                Preference::Reduce(..) => {}
                plain => {
                    let mut next = Some(plain);
                    while let Some(plain) = next {
                        match plain {
                            Preference::Executor(id) => wishes.executors.extend(alive(&[*id], executors)),
                            Preference::Host(host) => wishes.hosts.push(*host),
                            Preference::Rack(rack) => wishes.racks.push(*rack),
                            Preference::Cached(..) | Preference::Reduce(..) => {}
                        }
                        next = rest.next_if(|preference| is_plain(preference));
                    }
                }
            }
            if !(wishes.executors.is_empty() && wishes.hosts.is_empty() && wishes.racks.is_empty()) {
                break;
            }
        }
        for executor in wishes.executors.iter().filter_map(|id| executors.get(*id)) {
            wishes.hosts.push(executor.host);
        }
        wishes.hosts.sort_unstable();
        wishes.hosts.dedup();
        wishes.racks.extend(wishes.hosts.iter().filter_map(|host| executors.rack_of(*host)));
        wishes.racks.sort_unstable();
        wishes.racks.dedup();
        wishes
    }
}

fn alive(places: &[ExecutorId], executors: &Executors) -> impl Iterator<Item = ExecutorId> {
    places.iter().copied().filter(|id| executors.get(*id).is_some())
}

/// The shuffles that are read, seen past cached RDDs: Spark's `getMissingParentStages`, without the recursion.
fn needed(inputs: &Inputs, blocks: &Blocks) -> BTreeSet<ShuffleId> {
    let mut seen = vec![false; inputs.nodes.len()];
    let mut stack = inputs.roots.clone();
    let mut shuffles = BTreeSet::new();
    while let Some(place) = stack.pop() {
        if std::mem::replace(&mut seen[place as usize], true) {
            continue;
        }
        match &inputs.nodes[place as usize] {
            Input::Shuffle(shuffle) => {
                shuffles.insert(*shuffle);
            }
            Input::Cache { rdd, partitions, behind } => {
                if blocks.cached_partitions(*rdd) < *partitions as usize {
                    stack.extend(behind);
                }
            }
        }
    }
    shuffles
}

impl Scheduler {
    /// Looks at the inputs of runs and starts those that have them, until nothing more follows from that.
    pub(crate) fn settle(&mut self, out: &mut Vec<Command>) {
        loop {
            self.evaluate_all(out);
            let Some(stage) = self.to_start.pop_front() else { return };
            self.start(stage, out);
        }
    }

    pub(crate) fn evaluate_all(&mut self, out: &mut Vec<Command>) {
        while let Some(stage) = self.to_evaluate.pop_first() {
            self.evaluate(stage, out);
        }
    }

    /// Finds out what a run reads and what of that is missing, and has the missing made.
    fn evaluate(&mut self, stage: StageId, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get_mut(&stage) else { return };
        run.asked_for.retain(|shuffle| !self.tracker.is_complete(*shuffle));
        let mut needs = needed(&run.spec.inputs, &self.blocks);
        needs.extend(&run.asked_for);
        let missing: BTreeSet<_> =
            needs.iter().filter(|shuffle| !self.tracker.is_complete(**shuffle)).copied().collect();
        let jobs = run.jobs.clone();
        let before = std::mem::replace(&mut run.needs, needs.clone());
        run.missing = missing.clone();
        let mut somebody_waits = true;
        if !missing.is_empty()
            && let Some(set) = &mut run.set
        {
            self.pools.want(&mut set.place, false);
            // Tasks that run may have read what is missing already. It is made again when one turns out not to have, or
            // when a task has to be launched.
            somebody_waits = set.pending > 0;
        }
        for gone in before.difference(&needs) {
            self.no_longer_reads(stage, *gone, out);
        }
        for new in needs.difference(&before) {
            self.readers.entry(*new).or_default().insert(stage);
        }
        if missing.is_empty() {
            return self.to_start.push_back(stage);
        }
        for shuffle in missing.into_iter().filter(|_| somebody_waits) {
            let Some(parent) = self.tracker.get(shuffle).map(|known| known.spec.clone()) else {
                let message = format!("stage {stage} needs shuffle {shuffle}, which was released");
                return self.abort(stage, None, &message, out);
            };
            self.ensure_run(&parent, None);
            self.attach(parent.stage, &jobs);
        }
    }

    fn no_longer_reads(&mut self, stage: StageId, shuffle: ShuffleId, out: &mut Vec<Command>) {
        if let Some(readers) = self.readers.get_mut(&shuffle) {
            readers.remove(&stage);
            if readers.is_empty() {
                self.readers.remove(&shuffle);
                self.forget_if_released(shuffle, out);
            }
        }
    }

    /// Begins a new attempt of a stage whose inputs are there, or lets the present one go on.
    fn start(&mut self, stage: StageId, out: &mut Vec<Command>) {
        let Some(run) = self.runs.get(&stage).filter(|run| run.missing.is_empty()) else { return };
        if run.set.is_none() {
            self.begin_attempt(stage, out);
        }
        let Some(run) = self.runs.get_mut(&stage) else { return };
        if let Some(set) = &mut run.set
            && set.wants()
        {
            self.pools.want(&mut set.place, true);
            self.fresh.insert(stage);
            self.suspect(stage);
        }
    }

    fn begin_attempt(&mut self, stage: StageId, out: &mut Vec<Command>) {
        let attempt = StageAttempt(self.attempts_of(stage));
        let run = self.runs.get_mut(&stage).expect("it was just seen");
        let job = run.oldest_job();
        match run.spec.output {
            StageOutput::Shuffle(shuffle) => {
                self.tracker.get_mut(shuffle).expect("a run's shuffle is known").next_attempt += 1;
            }
            StageOutput::Result => run.next_attempt += 1,
        }
        let place = self.pools.enter(&self.jobs[&job].pool, job, stage);
        let mut set = TaskSet::new(attempt, place);
        set.size = run.todo;
        let mut tasks = std::mem::take(&mut run.tasks);
        for (index, task) in (0..).zip(&mut tasks) {
            (task.launched, task.failures, task.copies, task.pending) = (0, 0, 0, false);
            // A task whose output an attempt is committing waits for that attempt's end.
            if !task.done && !run.committers.contains_key(&index) {
                let wishes = run.wishes(index, &self.tracker, &self.blocks, &self.executors);
                set.add(index, task, wishes, false);
            }
        }
        run.tasks = tasks;
        run.set = Some(set);
        let tasks = run.todo;
        self.set_speculation_timer();
        Self::publish(SchedulerEvent::StageSubmitted { stage, attempt, job, tasks }, out);
        if tasks == 0 {
            self.complete(stage, out);
        }
    }

    /// How many attempts of a stage there have been; 0 of one that is not known (any more).
    pub fn attempts_of(&self, stage: StageId) -> u32 {
        match self.tracker.shuffle_of(stage).and_then(|shuffle| self.tracker.get(shuffle)) {
            Some(known) => known.next_attempt,
            None => self.runs.get(&stage).map_or(0, |run| run.next_attempt),
        }
    }

    /// All tasks of a run are done.
    pub(crate) fn complete(&mut self, stage: StageId, out: &mut Vec<Command>) {
        let run = self.runs.get_mut(&stage).expect("only an active stage is completed");
        debug_assert!(run.tasks.iter().all(|task| task.done));
        if let Some(set) = run.set.take() {
            let attempt = set.attempt;
            self.pools.leave(set.place);
            Self::publish(SchedulerEvent::StageCompleted { stage, attempt, failure: None }, out);
            self.remember_failures(stage, attempt, set.exclusions, out);
        }
        let run = &self.runs[&stage];
        let jobs = run.jobs.clone();
        let StageOutput::Shuffle(shuffle) = run.spec.output else {
            return jobs.into_iter().for_each(|job| self.end_job(job, Outcome::Succeeded, out));
        };
        for reader in self.readers.get(&shuffle).into_iter().flatten() {
            if let Some(reading) = self.runs.get_mut(reader)
                && reading.missing.remove(&shuffle)
                && reading.missing.is_empty()
            {
                self.to_evaluate.insert(*reader);
            }
        }
        let mut wanted = Vec::new();
        for id in jobs {
            let job = self.jobs.get_mut(&id).expect("a run's jobs are active");
            job.active.remove(&stage);
            if job.final_stage == stage && job.kind == JobKind::MapOnly {
                wanted.push(id);
            }
        }
        self.drop_run(stage, None, out);
        wanted.into_iter().for_each(|job| self.end_job(job, Outcome::Succeeded, out));
    }

    /// Forgets a run that is done or that nobody needs; what still runs of it is stopped.
    pub(crate) fn drop_run(&mut self, stage: StageId, failure: Option<&str>, out: &mut Vec<Command>) {
        self.no_longer_stuck(stage);
        let Some(mut run) = self.runs.remove(&stage) else { return };
        if let Some(set) = run.set.take() {
            let (attempt, failure) = (set.attempt, failure.map(str::to_owned));
            self.pools.leave(set.place);
            Self::publish(SchedulerEvent::StageCompleted { stage, attempt, failure }, out);
        }
        let reason = failure.map_or_else(|| "Stage finished".into(), |failure| format!("Stage cancelled: {failure}"));
        for (_, attempt) in run.running {
            self.kill(attempt, &reason, out);
        }
        for shuffle in run.needs {
            self.no_longer_reads(stage, shuffle, out);
        }
        if let Some(at) = run.timer {
            self.timers.remove(&(at, Timer::Locality(stage)));
        }
        self.fresh.remove(&stage);
        self.delayed.remove(&stage);
        self.suspects.remove(&stage);
        self.to_evaluate.remove(&stage);
        if self.runs.is_empty()
            && let Some(at) = self.speculation_timer.take()
        {
            self.timers.remove(&(at, Timer::Speculation));
        }
        if let StageOutput::Shuffle(shuffle) = run.spec.output {
            self.forget_if_released(shuffle, out);
        }
    }

    /// Ends the current attempt of a stage; another follows when its inputs are there. What runs, runs on.
    pub(crate) fn end_attempt(&mut self, stage: StageId, failure: String, out: &mut Vec<Command>) {
        self.no_longer_stuck(stage);
        let Some(run) = self.runs.get_mut(&stage) else { return };
        self.to_evaluate.insert(stage);
        let Some(set) = run.set.take() else { return };
        if let Some(at) = run.timer.take() {
            self.timers.remove(&(at, Timer::Locality(stage)));
        }
        self.fresh.remove(&stage);
        self.delayed.remove(&stage);
        let attempt = set.attempt;
        self.pools.leave(set.place);
        Self::publish(SchedulerEvent::StageCompleted { stage, attempt, failure: Some(failure) }, out);
    }

    /// Lets a task wait for a slot again, if nobody has done it or is at it.
    pub(crate) fn wait_again(&mut self, stage: StageId, index: u32) {
        let Some(run) = self.runs.get_mut(&stage) else { return };
        let task = &run.tasks[index as usize];
        if run.set.is_none() || task.done || task.pending || task.copies > 0 {
            return;
        }
        // An attempt of an earlier stage attempt may be committing: it would be denied to another one.
        if run.committers.contains_key(&index) {
            return;
        }
        let wishes = run.wishes(index, &self.tracker, &self.blocks, &self.executors);
        let set = run.set.as_mut().expect("it was just seen");
        set.slow.remove(&index);
        set.add(index, &mut run.tasks[index as usize], wishes, true);
        self.to_evaluate.insert(stage);
    }

    /// Loses one map output. Whoever needs it waits until it is made again.
    pub(crate) fn lose_output(&mut self, shuffle: ShuffleId, output: MapRef, out: &mut Vec<Command>) {
        if !self.tracker.unregister(shuffle, output) {
            return;
        }
        let stage = self.tracker.get(shuffle).map(Shuffle::stage).expect("it was just seen");
        let index = output.partition.0;
        if let Some(run) = self.runs.get_mut(&stage) {
            run.tasks[index as usize].done = false;
            run.todo += 1;
            run.committers.remove(&index);
            if let Some(set) = &run.set {
                let attempt = set.attempt;
                let event = SchedulerEvent::TaskResubmitted { stage, attempt, index, lost: output.attempt };
                Self::publish(event, out);
                self.wait_again(stage, index);
            }
        }
        for reader in self.readers.get(&shuffle).into_iter().flatten() {
            let run = self.runs.get_mut(reader).expect("readers are active");
            run.missing.insert(shuffle);
            if let Some(set) = &mut run.set {
                self.pools.want(&mut set.place, false);
            }
            self.to_evaluate.insert(*reader);
        }
    }

    /// Nobody holds a cached partition any more: what was hidden behind the RDD may be needed now.
    pub(crate) fn lose_block(&mut self, rdd: RddId) {
        let before = self.blocks.cached_partitions(rdd) + 1;
        for (stage, run) in &self.runs {
            let counts_on = |input: &Input| matches!(input, Input::Cache { rdd: of, partitions, .. } if *of == rdd && *partitions as usize == before);
            if run.set.is_some() && run.spec.inputs.nodes.iter().any(counts_on) {
                self.to_evaluate.insert(*stage);
            }
        }
    }

    /// Loses all that an executor holds of shuffles.
    pub(crate) fn outputs_lost(&mut self, executor: ExecutorId, out: &mut Vec<Command>) {
        for (shuffle, output) in self.tracker.held_by(executor) {
            self.lose_output(shuffle, output, out);
        }
    }

    pub(crate) fn next_epoch(&mut self) {
        self.epoch = Epoch(self.epoch.0 + 1);
    }

    /// A map output was made again and differs from the one that others may have read: everything that was computed from
    /// that shuffle, directly or not, is taken back.
    pub(crate) fn roll_back_successors(&mut self, shuffle: ShuffleId, map: PartitionIndex, out: &mut Vec<Command>) {
        let by_input = self.stages_by_input();
        let mut changed = BTreeSet::from([shuffle]);
        let mut stages = BTreeSet::new();
        let mut stack = vec![shuffle];
        while let Some(shuffle) = stack.pop() {
            for stage in by_input.get(&shuffle).into_iter().flatten() {
                if stages.insert(*stage)
                    && let Some(made) = self.tracker.shuffle_of(*stage)
                    && changed.insert(made)
                {
                    stack.push(made);
                }
            }
        }
        self.next_epoch();
        let reason = format!("shuffle {shuffle}, map {map}, was made again and differs from what was read");
        let stale: Vec<_> = self
            .attempts
            .iter_mut()
            .filter(|(_, attempt)| stages.contains(&attempt.launch.stage))
            .map(|(id, attempt)| {
                attempt.stale = true;
                *id
            })
            .collect();
        stale.into_iter().for_each(|attempt| self.kill(attempt, &reason, out));
        // After the kills, so that no executor caches anything stale once it has removed what it had; and also where no
        // block is known, because word of one may be on its way.
        for rdd in self.cache_lineage.computed_from(&changed) {
            self.blocks.remove_rdd(rdd);
            out.push(Command::RemoveRdd { rdd });
        }
        for stage in stages {
            self.roll_back(stage, &reason, out);
        }
    }

    fn roll_back(&mut self, stage: StageId, reason: &str, out: &mut Vec<Command>) {
        if let Some(shuffle) = self.tracker.shuffle_of(stage) {
            for MapRef { partition: map, attempt, executor } in self.tracker.roll_back(shuffle) {
                out.push(Command::InvalidateOutput { executor, shuffle, map, attempt });
            }
        }
        let Some(run) = self.runs.get_mut(&stage) else { return };
        if run.running.is_empty() && run.tasks.iter().all(|task| !task.done) {
            // Nothing was computed yet; but cached blocks that it counted on may be gone.
            self.to_evaluate.insert(stage);
            return;
        }
        for (index, task) in (0..).zip(&mut run.tasks).filter(|(_, task)| task.done) {
            task.done = false;
            run.todo += 1;
            run.committers.remove(&index);
            if run.spec.output == StageOutput::Result {
                let (job, attempt) = (*run.jobs.first().expect("a run without jobs is dropped"), task.winner);
                out.push(Command::WithdrawResult { job, index, attempt });
                out.push(Command::DiscardAccumulators { attempt });
            }
        }
        run.result_bytes = 0;
        debug_assert_eq!(run.todo as usize, run.tasks.len());
        self.end_attempt(stage, reason.to_owned(), out);
    }
}
