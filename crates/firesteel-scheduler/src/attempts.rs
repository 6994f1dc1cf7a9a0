//! Attempts at tasks: how they end, who may commit, and what the loss of an executor does to them.

use crate::{
    Command, Failure, FetchFailure, LossReason, MapRef, MapSizes, RackId, SchedulerEvent, StageOutput, Success,
    TaskEndReason, TaskLaunch,
    scheduler::{Attempt, Scheduler, Timer},
};
use firesteel_model::{AttemptId, ExecutorId, HostId, ShuffleId};

/// Whether the task of an attempt keeps what the attempt holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Badly,
}

impl Scheduler {
    /// Takes an attempt off the books and frees its slot.
    fn remove_attempt(&mut self, id: AttemptId, end: End) -> Option<Attempt> {
        let attempt = self.attempts.remove(&id)?;
        let launch = attempt.launch;
        if !attempt.fetching {
            self.free_slot(launch.executor);
        }
        if let Some(executor) = self.executors.get_mut(launch.executor) {
            executor.attempts.remove(&id);
        }
        let mut place = None;
        if let Some(run) = self.runs.get_mut(&launch.stage) {
            run.running.remove(&(launch.index, id));
            if end == End::Badly && run.committers.get(&launch.index) == Some(&id) {
                run.committers.remove(&launch.index);
            }
            if run.is_current(launch.stage_attempt) {
                let task = &mut run.tasks[launch.index as usize];
                task.copies -= 1;
                if let Some(set) = &mut run.set {
                    // A task that nobody is at needs no second attempt, but a first one.
                    if task.copies == 0 && set.slow.remove(&launch.index) && !set.wants() {
                        self.pools.want(&mut set.place, false);
                    }
                    place = Some(&mut set.place);
                }
            }
        }
        self.pools.ended(attempt.pool, place);
        self.forget_released_rdds();
        Some(attempt)
    }

    fn free_slot(&mut self, executor: ExecutorId) {
        if self.executors.free_slot(executor) {
            self.freed.insert(executor);
        }
    }

    /// Whether what becomes of an attempt is the business of its stage's present attempt.
    fn matters(&self, attempt: &Attempt) -> bool {
        let launch = attempt.launch;
        !attempt.killed && self.runs.get(&launch.stage).is_some_and(|run| run.is_current(launch.stage_attempt))
    }

    fn ended(attempt: &Attempt, reason: TaskEndReason, failures: u32, out: &mut Vec<Command>) {
        Self::publish(SchedulerEvent::TaskEnded { launch: attempt.launch, reason, failures }, out);
    }

    fn failures(&self, attempt: &Attempt) -> u32 {
        let launch = attempt.launch;
        let run = self.runs.get(&launch.stage).filter(|run| run.is_current(launch.stage_attempt));
        run.map_or(0, |run| run.tasks[launch.index as usize].failures)
    }

    pub(crate) fn attempt_succeeded(&mut self, id: AttemptId, success: Success, out: &mut Vec<Command>) {
        let Some(attempt) = self.attempts.get(&id).filter(|attempt| !attempt.fetching) else {
            return out.push(Command::IgnoreReport { attempt: id });
        };
        let launch = attempt.launch;
        let output = self.stage(launch.stage).map(|spec| spec.output);
        match (success, output) {
            (Success::MapOutput { sizes, checksum }, Some(StageOutput::Shuffle(shuffle))) => {
                self.map_output_made(id, shuffle, sizes, checksum, out);
            }
            (Success::Result { bytes, inline }, Some(StageOutput::Result)) => self.result_made(id, bytes, inline, out),
            // The job is over, and its stage with it.
            (Success::Result { .. }, None) => self.discard(id, out),
            (Success::MapOutput { .. }, None) => {
                if let Some(shuffle) = attempt.shuffle {
                    let TaskLaunch { executor, partition: map, .. } = launch;
                    out.push(Command::InvalidateOutput { executor, shuffle, map, attempt: id });
                }
                self.discard(id, out);
            }
            (Success::MapOutput { .. } | Success::Result { .. }, Some(_)) => {
                let message = format!("attempt {id} of stage {} reported what its stage does not make", launch.stage);
                out.push(Command::DiscardAccumulators { attempt: id });
                self.attempt_failed(id, Failure::Error { message, fatal: true }, out);
            }
        }
    }

    /// A success that does not count.
    fn discard(&mut self, id: AttemptId, out: &mut Vec<Command>) {
        let Some(attempt) = self.remove_attempt(id, End::Badly) else { return };
        out.push(Command::DiscardAccumulators { attempt: id });
        Self::ended(&attempt, TaskEndReason::Success, self.failures(&attempt), out);
        self.wait_again(attempt.launch.stage, attempt.launch.index);
    }

    fn map_output_made(
        &mut self,
        id: AttemptId,
        shuffle: ShuffleId,
        sizes: MapSizes,
        checksum: u64,
        out: &mut Vec<Command>,
    ) {
        let attempt = &self.attempts[&id];
        let launch = attempt.launch;
        let executor = self.executors.get(launch.executor).expect("attempts of lost executors are gone");
        let lost_since = executor.outputs_lost.is_some_and(|epoch| launch.epoch <= epoch);
        let host = executor.host;
        let output = MapRef { partition: launch.partition, attempt: id, executor: launch.executor };
        let wanted = self.runs.get(&launch.stage).is_some_and(|run| !run.tasks[launch.index as usize].done);
        if attempt.stale || !wanted || (lost_since && !self.config.faults.forget_epoch) {
            let MapRef { partition: map, attempt, executor } = output;
            out.push(Command::InvalidateOutput { executor, shuffle, map, attempt });
            return self.discard(id, out);
        }
        let attempt = self.remove_attempt(id, End::Well).expect("it was just seen");
        Self::ended(&attempt, TaskEndReason::Success, self.failures(&attempt), out);
        out.push(Command::CountAccumulators { attempt: id, provisional: None });
        let differs = self.tracker.register(shuffle, output, host, sizes, checksum);
        let done = self.task_done(&attempt, out);
        if differs {
            self.roll_back_successors(shuffle, launch.partition, out);
        }
        if done {
            self.complete(launch.stage, out);
        }
    }

    /// A task is done by this attempt. Returns whether it was the stage's last.
    fn task_done(&mut self, attempt: &Attempt, out: &mut Vec<Command>) -> bool {
        let launch = attempt.launch;
        let run = self.runs.get_mut(&launch.stage).expect("only tasks of active stages are done");
        let task = &mut run.tasks[launch.index as usize];
        assert!(!task.done, "a task is done once");
        task.done = true;
        task.winner = launch.attempt;
        run.todo -= 1;
        let todo = run.todo;
        if let Some(set) = &mut run.set {
            set.withdraw(launch.index, task);
            if run.stuck.is_some() {
                self.suspects.insert(launch.stage);
            }
            if set.attempt == launch.stage_attempt && self.config.speculation.is_some() {
                set.note_duration(self.now.saturating_sub(attempt.since));
            }
            if !set.wants() {
                self.pools.want(&mut set.place, false);
                self.fresh.remove(&launch.stage);
            }
        }
        let twins = run.running.range((launch.index, AttemptId(0))..=(launch.index, AttemptId(u64::MAX)));
        for (_, twin) in twins.copied().collect::<Vec<_>>() {
            self.kill(twin, "another attempt succeeded", out);
        }
        todo == 0
    }

    fn result_made(&mut self, id: AttemptId, bytes: u64, inline: bool, out: &mut Vec<Command>) {
        let attempt = &self.attempts[&id];
        let launch = attempt.launch;
        let run = self.runs.get_mut(&launch.stage);
        let Some(run) = run.filter(|run| !attempt.stale && !run.tasks[launch.index as usize].done) else {
            return self.discard(id, out);
        };
        run.result_bytes = run.result_bytes.saturating_add(bytes);
        if let Some(limit) = self.config.max_result_bytes.filter(|limit| run.result_bytes > *limit) {
            let message = format!(
                "the results of its tasks so far have {} bytes, more than driver.maxResultSize ({limit} bytes); \
                 raise that setting, or collect less",
                run.result_bytes
            );
            self.discard(id, out);
            return self.abort(launch.stage, None, &message, out);
        }
        if inline {
            return self.result_here(id, out);
        }
        self.free_slot(launch.executor);
        self.attempts.get_mut(&id).expect("it was just seen").fetching = true;
        out.push(Command::FetchResult { attempt: id, executor: launch.executor });
        Self::publish(SchedulerEvent::TaskGettingResult { attempt: id }, out);
    }

    pub(crate) fn result_fetched(&mut self, id: AttemptId, out: &mut Vec<Command>) {
        match self.attempts.get(&id) {
            Some(attempt) if attempt.fetching => self.result_here(id, out),
            _ => out.push(Command::IgnoreReport { attempt: id }),
        }
    }

    fn result_here(&mut self, id: AttemptId, out: &mut Vec<Command>) {
        let attempt = &self.attempts[&id];
        let launch = attempt.launch;
        let run = self.runs.get(&launch.stage);
        let Some(run) = run.filter(|run| !attempt.stale && !run.tasks[launch.index as usize].done) else {
            return self.discard(id, out);
        };
        let job = run.oldest_job();
        let attempt = self.remove_attempt(id, End::Well).expect("it was just seen");
        Self::ended(&attempt, TaskEndReason::Success, self.failures(&attempt), out);
        let (index, partition) = (launch.index, launch.partition);
        out.push(Command::DeliverResult { job, index, partition, attempt: id });
        out.push(Command::CountAccumulators { attempt: id, provisional: Some(job) });
        if self.task_done(&attempt, out) {
            self.complete(launch.stage, out);
        }
    }

    pub(crate) fn attempt_failed(&mut self, id: AttemptId, failure: Failure, out: &mut Vec<Command>) {
        let Some(attempt) = self.attempts.get(&id) else {
            // Too late for the task, but what could not be read is still known by its exact name.
            if let Failure::FetchFailed(FetchFailure { shuffle, map: Some(map), .. }) = failure {
                self.output_unreadable(shuffle, map, out);
            }
            return;
        };
        let matters = self.matters(attempt);
        let attempt = self.remove_attempt(id, End::Badly).expect("it was just seen");
        if attempt.fetching {
            out.push(Command::DiscardAccumulators { attempt: id });
        }
        let launch = attempt.launch;
        let counts = matches!(failure, Failure::Error { .. } | Failure::ResultLost);
        let failures = self.count_failure(&attempt, counts, matters);
        let reason = TaskEndReason::Failed(failure.clone());
        match failure {
            Failure::FetchFailed(fetch) => {
                Self::ended(&attempt, reason, failures, out);
                self.fetch_failed(&attempt, fetch, matters, out);
            }
            Failure::Error { fatal: true, .. } | Failure::ResultTooLarge { .. } if matters => {
                Self::ended(&attempt, reason.clone(), failures, out);
                let TaskEndReason::Failed(failure) = reason else { return };
                let task = Some((launch.partition, id, failures.max(1)));
                self.abort(launch.stage, task, &failure.to_string(), out);
            }
            failure => {
                Self::ended(&attempt, reason, failures, out);
                self.try_again(&attempt, failures, counts && matters, &failure.to_string(), out);
            }
        }
        self.wait_again(launch.stage, launch.index);
    }

    /// Counts a failure of a task, if it is one that counts, and returns how many there have been.
    fn count_failure(&mut self, attempt: &Attempt, counts: bool, matters: bool) -> u32 {
        let launch = attempt.launch;
        let matters = matters || (self.config.faults.count_zombie_failure && !attempt.killed);
        match self.runs.get_mut(&launch.stage) {
            Some(run) if counts && matters && !run.tasks[launch.index as usize].done => {
                run.tasks[launch.index as usize].failures += 1;
                run.tasks[launch.index as usize].failures
            }
            _ => self.failures(attempt),
        }
    }

    /// After a failure: gives the stage up if its task failed too often, and else remembers where. The caller lets the task wait
    /// again.
    fn try_again(&mut self, attempt: &Attempt, failures: u32, counted: bool, message: &str, out: &mut Vec<Command>) {
        let ends = counted || self.config.faults.count_zombie_failure;
        if ends && failures >= self.config.max_task_failures.max(1) {
            let launch = attempt.launch;
            let task = Some((launch.partition, launch.attempt, failures));
            self.abort(launch.stage, task, message, out);
        } else if counted {
            self.exclude_after(attempt, message, out);
        }
    }

    fn output_unreadable(&mut self, shuffle: ShuffleId, output: MapRef, out: &mut Vec<Command>) {
        let registered = self.tracker.get(shuffle).and_then(|known| known.location(output.partition));
        let Some(location) = registered.filter(|location| location.attempt == output.attempt) else { return };
        self.next_epoch();
        let MapRef { partition: map, attempt, .. } = output;
        out.push(Command::InvalidateOutput { executor: location.executor, shuffle, map, attempt });
        self.lose_output(shuffle, output, out);
    }

    fn fetch_failed(&mut self, attempt: &Attempt, fetch: FetchFailure, matters: bool, out: &mut Vec<Command>) {
        let launch = attempt.launch;
        if let Some(map) = fetch.map {
            self.output_unreadable(fetch.shuffle, map, out);
            // Where one output is unreadable after another, as many may be as share files or a disk: finding them one by one would take
            // more attempts than the stage has, of which the last begins now.
            let limit = self.config.max_consecutive_stage_attempts;
            if matters && self.runs.get(&launch.stage).is_some_and(|run| run.fetch_failures + 2 >= limit) {
                for output in self.tracker.outputs_of(fetch.shuffle) {
                    self.output_unreadable(fetch.shuffle, output, out);
                }
            }
            // A reader that began before the last loss on that executor was known tells nothing new.
            let known = self.executors.get(map.executor).and_then(|executor| executor.outputs_lost);
            if fetch.unreachable && known.is_none_or(|epoch| epoch < launch.epoch) {
                if let Some(executor) = self.executors.get_mut(map.executor) {
                    executor.outputs_lost = Some(self.epoch);
                }
                self.next_epoch();
                // Outputs of attempts that began after the reader are none that it could have failed to reach.
                for (shuffle, output) in self.tracker.held_by(map.executor) {
                    if output.attempt < launch.attempt {
                        self.lose_output(shuffle, output, out);
                    }
                }
            }
        }
        if !matters {
            return;
        }
        let limit = self.config.max_consecutive_stage_attempts.max(1);
        let run = self.runs.get_mut(&launch.stage).expect("it matters to its stage");
        run.asked_for.insert(fetch.shuffle);
        run.fetch_failures += 1;
        if run.fetch_failures >= limit {
            let message = format!("{} of its attempts in a row failed to fetch; the last: {fetch}", limit);
            return self.abort(launch.stage, None, &message, out);
        }
        self.end_attempt(launch.stage, fetch.to_string(), out);
    }

    pub(crate) fn commit_asked(&mut self, id: AttemptId, out: &mut Vec<Command>) {
        let allowed = self.may_commit(id) || (self.config.faults.commit_twice && self.attempts.contains_key(&id));
        out.push(match allowed {
            true => Command::AllowCommit { attempt: id },
            false => Command::DenyCommit { attempt: id },
        });
    }

    fn may_commit(&mut self, id: AttemptId) -> bool {
        let Some(attempt) = self.attempts.get(&id).filter(|attempt| !attempt.killed && !attempt.fetching) else {
            return false;
        };
        let index = attempt.launch.index;
        let Some(run) = self.runs.get_mut(&attempt.launch.stage) else { return false };
        if run.tasks[index as usize].done || *run.committers.entry(index).or_insert(id) != id {
            return false;
        }
        // Another attempt would be denied.
        if let Some(set) = &mut run.set
            && set.slow.remove(&index)
            && !set.wants()
        {
            self.pools.want(&mut set.place, false);
        }
        true
    }

    pub(crate) fn barrier_reached(&mut self, id: AttemptId, out: &mut Vec<Command>) {
        if let Some(attempt) = self.attempts.get(&id) {
            let stage = attempt.launch.stage;
            self.abort(stage, None, "a task called barrier(): barrier stages are not supported in this version", out);
        }
    }

    pub(crate) fn executor_registered(
        &mut self,
        executor: ExecutorId,
        host: HostId,
        rack: Option<RackId>,
        slots: u32,
        outputs_outlive: bool,
        out: &mut Vec<Command>,
    ) {
        if !self.executors.add(executor, host, rack, slots, outputs_outlive, self.now) {
            return;
        }
        if let Some(timeout) = self.config.heartbeat_timeout {
            self.listen_until(executor, self.now.saturating_add(timeout));
        }
        self.freed.insert(executor);
        self.bar_if_excluded(executor);
        self.suspect_all();
        Self::publish(SchedulerEvent::ExecutorAdded { executor, host, slots }, out);
    }

    fn listen_until(&mut self, id: ExecutorId, until: std::time::Duration) {
        if let Some(executor) = self.executors.get_mut(id) {
            executor.silence_timer = Some(until);
            self.timers.insert((until, Timer::Silence(id)));
        }
    }

    pub(crate) fn check_silence(&mut self, id: ExecutorId, out: &mut Vec<Command>) {
        let Some(timeout) = self.config.heartbeat_timeout else { return };
        let executor = self.executors.get_mut(id).expect("its timer goes with the executor");
        executor.silence_timer = None;
        let until = executor.heard.saturating_add(timeout);
        if until > self.now {
            self.listen_until(id, until);
        } else {
            let survive = executor.outputs_outlive;
            self.executor_lost(id, LossReason::HeartbeatTimeout, survive, out);
        }
    }

    pub(crate) fn heartbeat(&mut self, id: ExecutorId, number: u64, running: &[AttemptId], out: &mut Vec<Command>) {
        let Some(executor) = self.executors.get_mut(id) else {
            return out.push(Command::LetGo { executor: id });
        };
        if number <= executor.heartbeat {
            return;
        }
        executor.heartbeat = number;
        executor.heard = self.now;
        let mut unheard = executor.attempts.clone();
        for attempt in running {
            unheard.remove(attempt);
            match self.attempts.get_mut(attempt) {
                Some(known) => known.confirmed = true,
                None => out.push(Command::Kill {
                    attempt: *attempt,
                    executor: id,
                    reason: "it is not known to the scheduler".into(),
                }),
            }
        }
        for id in unheard {
            let attempt = self.attempts.get_mut(&id).expect("an executor's attempts are known");
            if attempt.fetching {
                continue;
            }
            // The heartbeat may have been sent before the launch arrived; the next one cannot.
            if !std::mem::replace(&mut attempt.confirmed, true) {
                continue;
            }
            let attempt = self.remove_attempt(id, End::Badly).expect("it was just seen");
            Self::ended(&attempt, TaskEndReason::Unknown, self.failures(&attempt), out);
            self.wait_again(attempt.launch.stage, attempt.launch.index);
        }
    }

    pub(crate) fn executor_lost(
        &mut self,
        id: ExecutorId,
        reason: LossReason,
        outputs_survive: bool,
        out: &mut Vec<Command>,
    ) {
        let Some(executor) = self.executors.remove(id) else {
            // Gone already; now its outputs may be gone as well.
            if !outputs_survive {
                self.next_epoch();
                self.outputs_lost(id, out);
            }
            return;
        };
        if let Some(at) = executor.silence_timer {
            self.timers.remove(&(at, Timer::Silence(id)));
        }
        self.freed.remove(&id);
        self.exclusions.forget_failures(id);
        self.blocks.remove_executor(id);
        self.next_epoch();
        for (stage, run) in &mut self.runs {
            if let Some(set) = &mut run.set {
                set.forget_executor(id);
                self.to_evaluate.insert(*stage);
            }
        }
        if !outputs_survive {
            self.outputs_lost(id, out);
        }
        for attempt in executor.attempts {
            self.attempt_lost(attempt, &reason, out);
        }
        Self::publish(SchedulerEvent::ExecutorRemoved { executor: id, reason }, out);
    }

    fn attempt_lost(&mut self, id: AttemptId, reason: &LossReason, out: &mut Vec<Command>) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let matters = self.matters(attempt);
        let attempt = self.remove_attempt(id, End::Badly).expect("it was just seen");
        if attempt.fetching {
            out.push(Command::DiscardAccumulators { attempt: id });
        }
        let counts = reason.counts_as_failure();
        let failures = self.count_failure(&attempt, counts, matters);
        let launch = attempt.launch;
        let end = TaskEndReason::ExecutorLost { executor: launch.executor, reason: reason.clone() };
        Self::ended(&attempt, end, failures, out);
        let message = format!("executor {} was lost: {reason}", launch.executor);
        self.try_again(&attempt, failures, counts && matters, &message, out);
        self.wait_again(launch.stage, launch.index);
    }
}
