//! The state machine itself: its state, its one door, and what may be asked of it.

use crate::{
    Command, Config, Event, JobKind, LossReason, MapLocation, MapOutputs, PoolConfig, SchedulerEvent, StageSpec,
    TaskLaunch,
    blocks::{Blocks, CacheLineage},
    exclusion::AppExclusions,
    executors::Executors,
    outputs::Tracker,
    pools::{PoolId, Pools},
    stages::Run,
};
use firesteel_model::{
    AttemptId, Epoch, ExecutorId, HostId, JobId, PartitionIndex, RddId, ShuffleId, StageAttempt, StageId,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// The scheduler: told what happens, it says what to do.
///
/// It reads no clock, starts no thread and draws no random number; the same history gives the same commands.
///
/// ```
/// use firesteel_model::{ExecutorId, HostId, JobId, PartitionIndex, StageId};
/// use firesteel_scheduler::*;
/// use std::{sync::Arc, time::Duration};
///
/// let mut scheduler = Scheduler::new(Config::default());
/// let mut out = Vec::new();
/// let now = Duration::ZERO;
/// let executor = ExecutorId(0);
/// scheduler.handle(now, Event::ExecutorRegistered { executor, host: HostId(0), rack: None, slots: 1, outputs_outlive: false }, &mut out);
/// let stage = StageSpec {
///     stage: StageId(0),
///     output: StageOutput::Result,
///     tasks: 1,
///     inputs: Inputs::default(),
///     preferences: None,
/// };
/// let job = JobSpec {
///     job: JobId(0),
///     kind: JobKind::Result { partitions: vec![PartitionIndex(0)] },
///     stages: vec![Arc::new(stage)],
///     pool: "default".into(),
///     group: None,
///     tags: vec![],
/// };
/// scheduler.handle(now, Event::JobSubmitted(job), &mut out);
/// let launched = out.iter().find_map(|command| match command {
///     Command::Launch(launch) => Some(launch.attempt),
///     _ => None,
/// });
/// let success = Success::Result { bytes: 8, inline: true };
/// out.clear();
/// scheduler.handle(now, Event::AttemptSucceeded { attempt: launched.unwrap(), success }, &mut out);
/// assert_eq!(out.last(), Some(&Command::EndJob { job: JobId(0), outcome: Outcome::Succeeded }));
/// ```
pub struct Scheduler {
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) epoch: Epoch,
    pub(crate) next_attempt: AttemptId,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) newest_job: Option<JobId>,
    /// Stages that have something to do for a job.
    pub(crate) runs: BTreeMap<StageId, Run>,
    /// For each shuffle the runs that read it.
    pub(crate) readers: BTreeMap<ShuffleId, BTreeSet<StageId>>,
    pub(crate) attempts: BTreeMap<AttemptId, Attempt>,
    pub(crate) tracker: Tracker,
    pub(crate) blocks: Blocks,
    pub(crate) cache_lineage: CacheLineage,
    pub(crate) released_rdds: ReleasedRdds,
    pub(crate) executors: Executors,
    pub(crate) pools: Pools,
    pub(crate) timers: BTreeSet<(Duration, Timer)>,
    pub(crate) speculation_timer: Option<Duration>,
    pub(crate) cancelled_groups: Cancelled,
    pub(crate) cancelled_tags: Cancelled,
    /// Runs whose inputs are to be looked at.
    pub(crate) to_evaluate: BTreeSet<StageId>,
    /// Runs whose inputs are there.
    pub(crate) to_start: VecDeque<StageId>,
    /// Executors that have a slot that has not been offered yet.
    pub(crate) freed: BTreeSet<ExecutorId>,
    /// Runs with tasks that have not been offered all slots yet.
    pub(crate) fresh: BTreeSet<StageId>,
    /// Task sets that wait for a slot nearer to their data.
    pub(crate) delayed: BTreeSet<StageId>,
    pub(crate) exclusions: AppExclusions,
    /// Runs of which a task may have no executor left that may run it.
    pub(crate) suspects: BTreeSet<StageId>,
}

/// A job that has not ended.
pub(crate) struct Job {
    pub(crate) kind: JobKind,
    pub(crate) final_stage: StageId,
    pub(crate) pool: String,
    pub(crate) group: Option<String>,
    pub(crate) tags: Vec<String>,
    /// The runs that it needs.
    pub(crate) active: BTreeSet<StageId>,
    pub(crate) time_up: Option<Duration>,
}

/// An attempt whose end has not been reported.
pub(crate) struct Attempt {
    pub(crate) launch: TaskLaunch,
    pub(crate) host: HostId,
    pub(crate) since: Duration,
    pub(crate) pool: PoolId,
    /// Told to stop.
    pub(crate) killed: bool,
    /// What it read was made again and came out different.
    pub(crate) stale: bool,
    /// It ended well; the driver fetches its result.
    pub(crate) fetching: bool,
    /// Its executor has been heard to know of it, or should know of it by now.
    pub(crate) confirmed: bool,
    /// The shuffle that it makes output of; outlives the run.
    pub(crate) shuffle: Option<ShuffleId>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    Locality(StageId),
    Speculation,
    TimeUp(JobId),
    Silence(ExecutorId),
    Exclusions,
    Stuck(StageId),
    Replacement,
}

/// Groups or tags whose later jobs are cancelled as well: the latest ones only, so that they do not pile up.
#[derive(Default)]
pub(crate) struct Cancelled {
    names: VecDeque<(String, Option<String>)>,
}

impl Cancelled {
    const KEPT: usize = 1000;

    pub(crate) fn add(&mut self, name: String, reason: Option<String>) {
        self.names.retain(|(known, _)| *known != name);
        self.names.push_back((name, reason));
        if self.names.len() > Self::KEPT {
            self.names.pop_front();
        }
    }

    pub(crate) fn reason(&self, name: &str) -> Option<&Option<String>> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, reason)| reason)
    }
}

/// RDDs that were released while tasks ran that may still cache a partition of them.
#[derive(Default)]
pub(crate) struct ReleasedRdds {
    rdds: BTreeSet<RddId>,
    /// In the order of release: jobs up to this one may use the RDD; once they are over, attempts before that one may.
    queue: VecDeque<(RddId, Option<JobId>, Option<AttemptId>)>,
}

impl ReleasedRdds {
    pub(crate) fn add(&mut self, rdd: RddId, newest_job: Option<JobId>) {
        if self.rdds.insert(rdd) {
            self.queue.push_back((rdd, newest_job, None));
        }
    }

    pub(crate) fn contains(&self, rdd: RddId) -> bool {
        self.rdds.contains(&rdd)
    }

    pub(crate) fn forget(
        &mut self,
        oldest_job: Option<JobId>,
        oldest_attempt: Option<AttemptId>,
        next_attempt: AttemptId,
    ) {
        while let Some((rdd, newest_job, newest_attempt)) = self.queue.front_mut() {
            if oldest_job.is_some_and(|oldest| Some(oldest) <= *newest_job) {
                return;
            }
            let bound = *newest_attempt.get_or_insert(next_attempt);
            if oldest_attempt.is_some_and(|oldest| oldest < bound) {
                return;
            }
            self.rdds.remove(rdd);
            self.queue.pop_front();
        }
    }
}

/// How many things the scheduler keeps track of, by kind: all but executors are zero when every job has ended, every
/// attempt's end was reported, and all shuffles and RDDs were released.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Footprint {
    /// Jobs that have not ended.
    pub jobs: usize,
    /// Stages that have something to do for a job.
    pub stages: usize,
    /// Attempts whose end has not been reported.
    pub attempts: usize,
    /// Shuffles that were not released.
    pub shuffles: usize,
    /// Cached partitions, each copy counted.
    pub blocks: usize,
    /// Executors.
    pub executors: usize,
    /// Everything else: indices, timers, pools.
    pub other: usize,
}

/// How far a stage is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageProgress {
    /// The current attempt, or the latest if the stage waits for its inputs.
    pub attempt: StageAttempt,
    /// Whether tasks of it may run now.
    pub submitted: bool,
    /// Number of tasks.
    pub tasks: u32,
    /// Tasks that are done.
    pub done: u32,
    /// Attempts that run.
    pub running: u32,
}

impl Scheduler {
    /// A scheduler that knows no executor and no job.
    pub fn new(config: Config) -> Self {
        let pools = Pools::new(config.mode, config.pools.clone());
        Scheduler {
            config,
            now: Duration::ZERO,
            epoch: Epoch(0),
            next_attempt: AttemptId(0),
            jobs: BTreeMap::new(),
            newest_job: None,
            runs: BTreeMap::new(),
            readers: BTreeMap::new(),
            attempts: BTreeMap::new(),
            tracker: Tracker::default(),
            blocks: Blocks::default(),
            cache_lineage: CacheLineage::default(),
            released_rdds: ReleasedRdds::default(),
            executors: Executors::default(),
            pools,
            timers: BTreeSet::new(),
            speculation_timer: None,
            cancelled_groups: Cancelled::default(),
            cancelled_tags: Cancelled::default(),
            to_evaluate: BTreeSet::new(),
            to_start: VecDeque::new(),
            freed: BTreeSet::new(),
            fresh: BTreeSet::new(),
            delayed: BTreeSet::new(),
            exclusions: AppExclusions::default(),
            suspects: BTreeSet::new(),
        }
    }

    /// Takes in what happened at `now`, the time since the start, and appends what is to be done to `out`.
    ///
    /// A time before that of an earlier event is taken as that of the earlier event. Costs O(log n) for the end of one
    /// task and O(stages + inputs) for a new job; the loss of an executor costs in proportion to what it held.
    pub fn handle(&mut self, now: Duration, event: Event, out: &mut Vec<Command>) {
        self.now = self.now.max(now);
        match event {
            Event::JobSubmitted(spec) => self.submit(spec, out),
            Event::JobCancelled { job, reason } => self.cancel(job, reason, out),
            Event::StageCancelled { stage, reason } => self.cancel_stage(stage, reason, out),
            Event::GroupCancelled { group, reason, future } => self.cancel_group(group, reason, future, out),
            Event::TagCancelled { tag, reason, future } => self.cancel_tag(tag, reason, future, out),
            Event::AllJobsCancelled { reason } => self.cancel_all(&reason, out),
            Event::AttemptKillAsked { attempt, reason } => self.kill(attempt, &reason, out),
            Event::ExecutorRegistered { executor, host, rack, slots, outputs_outlive } => {
                self.executor_registered(executor, host, rack, slots, outputs_outlive, out);
            }
            Event::Heartbeat { executor, number, running } => self.heartbeat(executor, number, &running, out),
            Event::ExecutorDecommissioning { .. } | Event::ResourcesGranted { .. } => {}
            Event::ExecutorLost { executor, reason, outputs_survive } => {
                self.executor_lost(executor, reason, outputs_survive, out);
            }
            Event::HostLost { host, reason, outputs_survive } => self.host_lost(host, &reason, outputs_survive, out),
            Event::AttemptStarted { attempt } => {
                if let Some(attempt) = self.attempts.get_mut(&attempt) {
                    attempt.confirmed = true;
                }
            }
            Event::AttemptSucceeded { attempt, success } => self.attempt_succeeded(attempt, success, out),
            Event::AttemptFailed { attempt, failure } => self.attempt_failed(attempt, failure, out),
            Event::ResultFetched { attempt } => self.result_fetched(attempt, out),
            Event::DeadlineReached => {}
            Event::CommitAsked { attempt } => self.commit_asked(attempt, out),
            Event::BarrierReached { attempt } => self.barrier_reached(attempt, out),
            Event::BlockCached { executor, rdd, partition, attempt } => {
                self.block_cached(executor, rdd, partition, attempt, out);
            }
            Event::BlockDropped { executor, rdd, partition } => {
                if self.blocks.remove(executor, rdd, partition) {
                    self.lose_block(rdd);
                }
            }
            Event::ShuffleReleased(shuffle) => self.release_shuffle(shuffle, out),
            Event::RddReleased(rdd) => self.release_rdd(rdd, out),
        }
        self.fire_timers(out);
        self.settle(out);
        if !self.suspects.is_empty() {
            self.judge_suspects(out);
            self.settle(out);
        }
        self.assign(out);
    }

    /// When [`Event::DeadlineReached`] is due, if nothing else happens before. O(1).
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn fire_timers(&mut self, out: &mut Vec<Command>) {
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= self.now) {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Locality(stage) => self.locality_wait_over(stage),
                Timer::Speculation => self.look_for_slow_tasks(out),
                Timer::TimeUp(job) => {
                    self.jobs.get_mut(&job).expect("its timer goes with the job").time_up = None;
                    out.push(Command::TimeUp { job });
                }
                Timer::Silence(executor) => self.check_silence(executor, out),
                Timer::Exclusions => self.end_exclusions(out),
                Timer::Replacement => self.replace_for_stuck(out),
                Timer::Stuck(stage) => self.stuck_for_too_long(stage, out),
            }
        }
    }

    /// The map outputs of a shuffle, if all are there: what the tasks that read it need to be told.
    ///
    /// O(map partitions) for the first call after a change, then O(1).
    pub fn map_outputs(&self, shuffle: ShuffleId) -> Option<Arc<MapOutputs>> {
        self.tracker.get(shuffle)?.snapshot()
    }

    /// Whether an executor, alive or gone, holds map outputs.
    pub fn holds_outputs(&self, executor: ExecutorId) -> bool {
        self.tracker.holds_outputs(executor)
    }

    /// Where one map output of a shuffle is, whether or not all others are there.
    pub fn map_output(&self, shuffle: ShuffleId, map: PartitionIndex) -> Option<MapLocation> {
        self.tracker.get(shuffle)?.location(map)
    }

    /// The executors that hold a cached partition, the first to have had it first.
    pub fn block_locations(&self, rdd: RddId, partition: PartitionIndex) -> &[ExecutorId] {
        self.blocks.places(rdd, partition)
    }

    /// Of how many partitions of an RDD some executor holds a copy.
    pub fn cached_partitions(&self, rdd: RddId) -> usize {
        self.blocks.cached_partitions(rdd)
    }

    /// The jobs that have not ended, oldest first.
    pub fn active_jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.keys().copied()
    }

    /// The stages that have something to do for a job, running or waiting for their inputs.
    pub fn active_stages(&self) -> impl Iterator<Item = StageId> + '_ {
        self.runs.keys().copied()
    }

    /// The description of an active stage or a known shuffle's map stage.
    pub fn stage(&self, stage: StageId) -> Option<&Arc<StageSpec>> {
        match self.runs.get(&stage) {
            Some(run) => Some(&run.spec),
            None => Some(&self.tracker.get(self.tracker.shuffle_of(stage)?)?.spec),
        }
    }

    /// How far an active stage is.
    pub fn stage_progress(&self, stage: StageId) -> Option<StageProgress> {
        let run = self.runs.get(&stage)?;
        Some(StageProgress {
            attempt: StageAttempt(self.attempts_of(stage).saturating_sub(1)),
            submitted: run.set.is_some() && run.missing.is_empty(),
            tasks: run.tasks.len() as u32,
            done: run.tasks.len() as u32 - run.todo,
            running: run.running.len() as u32,
        })
    }

    /// Name, settings and running attempts of each pool in use. Without FAIR there is one, with an empty name.
    pub fn pools(&self) -> impl Iterator<Item = (&str, PoolConfig, u32)> + '_ {
        self.pools.iter()
    }

    /// Host, slots and taken slots of each live executor.
    pub fn executors(&self) -> impl Iterator<Item = (ExecutorId, HostId, u32, u32)> + '_ {
        self.executors.iter().map(|(id, executor)| (id, executor.host, executor.slots, executor.busy))
    }

    /// The epoch that a task launched now would carry.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many things are kept track of. O(n) in executors.
    pub fn footprint(&self) -> Footprint {
        Footprint {
            jobs: self.jobs.len(),
            stages: self.runs.len(),
            attempts: self.attempts.len(),
            shuffles: self.tracker.len(),
            blocks: self.blocks.len(),
            executors: self.executors.len(),
            other: self.readers.len()
                + self.tracker.holders()
                + self.cache_lineage.len()
                + self.released_rdds.rdds.len()
                + self.pools.len()
                + self
                    .timers
                    .iter()
                    .filter(|(_, timer)| !matches!(timer, Timer::Silence(_) | Timer::Exclusions | Timer::Replacement))
                    .count()
                + self.to_evaluate.len()
                + self.to_start.len()
                + self.freed.len()
                + self.fresh.len()
                + self.delayed.len()
                + self.suspects.len(),
        }
    }

    pub(crate) fn publish(event: SchedulerEvent, out: &mut Vec<Command>) {
        out.push(Command::Publish(event));
    }

    /// Tells an attempt to stop, once.
    pub(crate) fn kill(&mut self, id: AttemptId, reason: &str, out: &mut Vec<Command>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        if !attempt.killed {
            attempt.killed = true;
            // One whose result is being fetched has ended on its executor.
            if !attempt.fetching {
                out.push(Command::Kill { attempt: id, executor: attempt.launch.executor, reason: reason.to_owned() });
            }
        }
    }

    fn block_cached(
        &mut self,
        executor: ExecutorId,
        rdd: RddId,
        partition: PartitionIndex,
        attempt: Option<AttemptId>,
        out: &mut Vec<Command>,
    ) {
        if self.executors.get(executor).is_none() {
            return;
        }
        let good = attempt.is_none_or(|id| self.attempts.get(&id).is_some_and(|attempt| !attempt.stale));
        if good && !self.released_rdds.contains(rdd) {
            self.blocks.add(executor, rdd, partition);
        } else {
            out.push(Command::RemoveBlock { executor, rdd, partition });
        }
    }

    fn release_rdd(&mut self, rdd: RddId, out: &mut Vec<Command>) {
        self.blocks.remove_rdd(rdd);
        self.cache_lineage.release(rdd);
        self.released_rdds.add(rdd, self.newest_job);
        self.forget_released_rdds();
        out.push(Command::RemoveRdd { rdd });
        Self::publish(SchedulerEvent::RddUnpersisted { rdd }, out);
    }

    pub(crate) fn forget_released_rdds(&mut self) {
        let oldest_job = self.jobs.keys().next().copied();
        let oldest_attempt = self.attempts.keys().next().copied();
        self.released_rdds.forget(oldest_job, oldest_attempt, self.next_attempt);
    }

    fn release_shuffle(&mut self, shuffle: ShuffleId, out: &mut Vec<Command>) {
        if let Some(known) = self.tracker.get_mut(shuffle) {
            known.released = true;
            self.forget_if_released(shuffle, out);
        }
    }

    /// Forgets a shuffle that was released, as soon as no run uses it.
    pub(crate) fn forget_if_released(&mut self, shuffle: ShuffleId, out: &mut Vec<Command>) {
        let Some(known) = self.tracker.get(shuffle).filter(|known| known.released) else { return };
        if !self.runs.contains_key(&known.stage()) && !self.readers.contains_key(&shuffle) {
            self.tracker.forget(shuffle);
            out.push(Command::RemoveShuffle { shuffle });
        }
    }

    fn host_lost(&mut self, host: HostId, reason: &str, outputs_survive: bool, out: &mut Vec<Command>) {
        for executor in self.executors.on_host(host).collect::<Vec<_>>() {
            let reason = LossReason::HostLost { message: reason.to_owned() };
            self.executor_lost(executor, reason, outputs_survive, out);
        }
        if !outputs_survive {
            let holders = self.tracker.holders_on(host);
            if !holders.is_empty() {
                self.next_epoch();
            }
            holders.into_iter().for_each(|executor| self.outputs_lost(executor, out));
        }
    }
}
