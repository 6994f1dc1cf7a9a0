//! Slots meet tasks: who gets a free slot, and when a slow task gets a second one.

use crate::{
    Command, Locality, SchedulerEvent, StageOutput, TaskLaunch,
    scheduler::{Attempt, Scheduler, Timer},
};
use firesteel_model::{AttemptId, ExecutorId, StageId};
use std::{collections::BTreeSet, time::Duration};

impl Scheduler {
    /// Launches what can be launched: offers the idle slots to each task set that has something new to run, and then each
    /// executor where a slot became free to all task sets. What was refused before would be refused again and is not asked
    /// again. In this order, because a task that has just failed should rather run elsewhere.
    pub(crate) fn assign(&mut self, out: &mut Vec<Command>) {
        while !(self.freed.is_empty() && self.fresh.is_empty()) {
            let fresh = std::mem::take(&mut self.fresh);
            for level in
                [Locality::ProcessLocal, Locality::NodeLocal, Locality::NoPref, Locality::RackLocal, Locality::Any]
            {
                if !fresh.is_empty() && self.executors.free_count() > self.freed.len() {
                    self.offer_idle_slots(&fresh, level, out);
                }
            }
            while let Some(executor) = self.freed.pop_first() {
                while self.executors.has_free_slot(executor) && self.offer_to_all(executor, out) {}
            }
        }
        self.reset_delays();
    }

    /// Offers one slot to the task sets in turn; whether one took it.
    fn offer_to_all(&mut self, executor: ExecutorId, out: &mut Vec<Command>) -> bool {
        let Some(first) = self.pools.in_turn().next() else { return false };
        if self.offer(first, executor, Locality::Any, out) {
            return true;
        }
        let rest: Vec<_> = self.pools.in_turn().filter(|stage| *stage != first).collect();
        rest.into_iter().any(|stage| self.offer(stage, executor, Locality::Any, out))
    }

    /// Offers idle slots, one per executor and round, to these task sets as far as this level.
    fn offer_idle_slots(&mut self, stages: &BTreeSet<StageId>, level: Locality, out: &mut Vec<Command>) {
        let has = |stage: &&StageId| {
            self.runs.get(stage).and_then(|run| run.set.as_ref()).is_some_and(|set| set.wants() && set.has_list(level))
        };
        if level != Locality::Any && !stages.iter().any(|stage| has(&stage)) {
            return;
        }
        let mut executors = self.candidates(stages, level);
        let mut launched = true;
        while launched {
            launched = false;
            executors.retain(|executor| self.executors.has_free_slot(*executor));
            for executor in &executors {
                let turn: Vec<_> = match stages.len() {
                    1 => stages.iter().copied().collect(),
                    _ => self.pools.in_turn().filter(|stage| stages.contains(stage)).collect(),
                };
                if !turn.iter().any(|stage| self.wants_slot(*stage)) {
                    return;
                }
                launched |= turn.into_iter().any(|stage| self.offer(stage, *executor, level, out));
            }
        }
    }

    fn wants_slot(&self, stage: StageId) -> bool {
        let run = self.runs.get(&stage).filter(|run| run.missing.is_empty());
        run.and_then(|run| run.set.as_ref()).is_some_and(|set| set.wants())
    }

    /// The executors with idle slots that could take something at this level.
    fn candidates(&self, stages: &BTreeSet<StageId>, level: Locality) -> Vec<ExecutorId> {
        let limit = self.executors.free_count();
        let sets = || stages.iter().filter_map(|stage| self.runs.get(stage)?.set.as_ref());
        let named: Option<Vec<Vec<ExecutorId>>> = match level {
            Locality::ProcessLocal => sets().map(|set| set.named_executors(limit)).collect(),
            Locality::NodeLocal => sets()
                .map(|set| {
                    let hosts = set.named_hosts(limit)?;
                    Some(hosts.into_iter().flat_map(|host| self.executors.on_host(host)).collect())
                })
                .collect(),
            Locality::NoPref | Locality::RackLocal | Locality::Any => None,
        };
        let mut executors: Vec<_> = match named {
            Some(lists) => lists.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect(),
            None => self.executors.free().collect(),
        };
        executors.retain(|executor| !self.freed.contains(executor));
        executors
    }

    /// Offers one slot to one task set; whether it launched a task there.
    fn offer(&mut self, stage: StageId, id: ExecutorId, at_most: Locality, out: &mut Vec<Command>) -> bool {
        let Some(run) = self.runs.get_mut(&stage).filter(|run| run.missing.is_empty()) else { return false };
        let Some(set) = &mut run.set else { return false };
        let executor = self.executors.get(id).expect("only live executors have free slots");
        if !set.exclusions.admit(id, executor.host) {
            return false;
        }
        if set.pending > 0 {
            if set.settle_level(&run.tasks, &self.executors, &self.config.locality_wait) {
                // Slots that were not near enough before may be so now.
                self.fresh.insert(stage);
            }
            if let Some((index, locality)) = set.take(&mut run.tasks, id, executor, at_most) {
                self.launch(stage, index, id, locality, false, out);
                return true;
            }
        }
        if at_most >= Locality::NoPref
            && let Some(index) = self.copy_for(stage, id)
        {
            let locality = match self.runs[&stage].spec.preferences {
                Some(_) => Locality::Any,
                None => Locality::NoPref,
            };
            self.launch(stage, index, id, locality, true, out);
            return true;
        }
        if at_most == Locality::Any {
            self.refused(stage);
        }
        false
    }

    fn launch(
        &mut self,
        stage: StageId,
        index: u32,
        executor: ExecutorId,
        locality: Locality,
        speculative: bool,
        out: &mut Vec<Command>,
    ) {
        let id = self.next_attempt;
        self.next_attempt = AttemptId(id.0 + 1);
        let run = self.runs.get_mut(&stage).expect("only active stages launch");
        debug_assert!(
            run.missing.is_empty() && run.spec.inputs.shuffles().all(|shuffle| self.tracker.get(shuffle).is_some()),
            "no task runs without its inputs"
        );
        let job = run.oldest_job();
        let host = self.executors.get(executor).expect("tasks are launched on live executors").host;
        let partition = run.partition(index);
        let shuffle = match run.spec.output {
            StageOutput::Shuffle(shuffle) => Some(shuffle),
            StageOutput::Result => None,
        };
        run.running.insert((index, id));
        let set = run.set.as_mut().expect("only active task sets launch");
        let task = &mut run.tasks[index as usize];
        let launch = TaskLaunch {
            attempt: id,
            job,
            stage,
            stage_attempt: set.attempt,
            index,
            partition,
            attempt_number: task.launched,
            executor,
            epoch: self.epoch,
            locality,
            speculative,
        };
        task.launched += 1;
        task.copies += 1;
        set.launched = true;
        self.pools.launched(&mut set.place);
        if !set.wants() {
            self.pools.want(&mut set.place, false);
        }
        let pool = set.place.pool;
        if set.pending == 0 {
            set.reset_level();
            self.delayed.remove(&stage);
            if let Some(at) = run.timer.take() {
                self.timers.remove(&(at, Timer::Locality(stage)));
            }
        }
        self.executors.take_slot(executor, id);
        let since = self.now;
        let attempt = Attempt {
            launch,
            host,
            since,
            pool,
            killed: false,
            stale: false,
            fetching: false,
            confirmed: false,
            shuffle,
        };
        self.attempts.insert(id, attempt);
        Self::publish(SchedulerEvent::TaskStarted(launch), out);
        out.push(Command::Launch(launch));
    }

    /// A free slot is not near enough to any task of this set: the wait begins, or goes on.
    fn refused(&mut self, stage: StageId) {
        let run = self.runs.get_mut(&stage).expect("only active stages refuse");
        let set = run.set.as_mut().expect("only active task sets refuse");
        if set.pending == 0 || set.level() == Locality::Any {
            return;
        }
        if set.delayed.is_none() {
            set.launched = false;
        }
        let since = *set.delayed.get_or_insert(self.now);
        let at = since.saturating_add(self.config.locality_wait.at(set.level()));
        self.delayed.insert(stage);
        self.set_locality_timer(stage, at);
    }

    fn set_locality_timer(&mut self, stage: StageId, at: Duration) {
        let run = self.runs.get_mut(&stage).expect("only active stages wait");
        if run.timer != Some(at) {
            if let Some(before) = run.timer.replace(at) {
                self.timers.remove(&(before, Timer::Locality(stage)));
            }
            self.timers.insert((at, Timer::Locality(stage)));
        }
    }

    pub(crate) fn locality_wait_over(&mut self, stage: StageId) {
        let run = self.runs.get_mut(&stage).expect("its timer goes with the run");
        run.timer = None;
        self.delayed.remove(&stage);
        if let Some(set) = &mut run.set {
            set.next_level();
            self.fresh.insert(stage);
        }
    }

    /// While no slot is free nobody waits in vain: a task set that gets slots at its level stays there.
    fn reset_delays(&mut self) {
        if self.delayed.is_empty() || self.executors.any_free_slot() {
            return;
        }
        let delayed = std::mem::take(&mut self.delayed);
        for stage in delayed {
            let run = self.runs.get_mut(&stage).expect("only active stages wait");
            let Some(set) = &mut run.set else { continue };
            if !set.launched {
                self.delayed.insert(stage);
                continue;
            }
            set.reset_level();
            if let Some(at) = run.timer.take() {
                self.timers.remove(&(at, Timer::Locality(stage)));
            }
        }
    }

    /// A slow task of this stage that may get a second attempt on this executor.
    fn copy_for(&mut self, stage: StageId, id: ExecutorId) -> Option<u32> {
        let rule = self.config.speculation.as_ref()?;
        let run = self.runs.get_mut(&stage)?;
        let set = run.set.as_mut()?;
        let host = self.executors.get(id)?.host;
        let elsewhere = |index: u32| {
            let attempts = run.running.range((index, AttemptId(0))..=(index, AttemptId(u64::MAX)));
            let mut executors = attempts.filter_map(|(_, attempt)| Some(self.attempts.get(attempt)?.launch.executor));
            rule.same_host || executors.all(|other| self.executors.get(other).is_none_or(|other| other.host != host))
        };
        let may = |index: u32| set.exclusions.admit_task(index, id, host) && elsewhere(index);
        let index = set.slow.iter().copied().find(|index| may(*index))?;
        set.slow.remove(&index);
        Some(index)
    }

    pub(crate) fn look_for_slow_tasks(&mut self, out: &mut Vec<Command>) {
        self.speculation_timer = None;
        let mut any = false;
        let Some(rule) = self.config.speculation else { return };
        for (stage, run) in &mut self.runs {
            let Some(set) = &mut run.set else { continue };
            any = true;
            let Some(limit) = set.slow_after(&rule) else { continue };
            for (index, id) in &run.running {
                let attempt = &self.attempts[id];
                let task = &run.tasks[*index as usize];
                let is_slow = self.now.saturating_sub(attempt.since) > limit;
                let only_one = task.copies == 1 && attempt.launch.stage_attempt == set.attempt;
                // Where one may commit, another would be denied, again and again.
                let commits = run.committers.contains_key(index);
                if is_slow
                    && only_one
                    && !commits
                    && !attempt.killed
                    && !attempt.fetching
                    && !task.done
                    && set.slow.insert(*index)
                {
                    let partition = attempt.launch.partition;
                    let event = SchedulerEvent::SpeculativeTaskSubmitted {
                        stage: *stage,
                        attempt: set.attempt,
                        index: *index,
                        partition,
                    };
                    Self::publish(event, out);
                    if run.missing.is_empty() {
                        self.pools.want(&mut set.place, true);
                        self.fresh.insert(*stage);
                    }
                }
            }
        }
        if any {
            self.set_speculation_timer();
        }
    }

    pub(crate) fn set_speculation_timer(&mut self) {
        if let (Some(rule), None) = (&self.config.speculation, self.speculation_timer) {
            // Zero would look for ever at the same moment.
            let at = self.now.saturating_add(rule.interval.max(Duration::from_millis(1)));
            self.speculation_timer = Some(at);
            self.timers.insert((at, Timer::Speculation));
        }
    }
}
