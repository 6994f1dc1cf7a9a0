//! The world around the scheduler: a driver, executors with what they hold, messages that take their time, and trouble.

use crate::{
    checks::Checks,
    plan::{ExecutorPlan, Plan},
    rng::Rng,
};
use firesteel_model::{AttemptId, ExecutorId, JobId, PartitionIndex, RddId, ShuffleId, StageId};
use firesteel_scheduler::{
    Command, Event, Failure, FetchFailure, Input, JobSpec, LossReason, MapOutputs, MapRef, MapSizes, Scheduler,
    SchedulerEvent, StageOutput, StageSpec, Success, TaskEndReason, TaskLaunch,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
    time::Duration,
};

/// What a piece of data was computed from: for each map output on the way, the version that was read.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    versions: BTreeMap<(ShuffleId, PartitionIndex), u64>,
    mixed: Option<(ShuffleId, PartitionIndex)>,
}

impl Origin {
    /// Adds what else the data was computed from.
    pub fn merge(&mut self, other: &Origin) {
        self.mixed = self.mixed.or(other.mixed);
        for (output, version) in &other.versions {
            if *self.versions.entry(*output).or_insert(*version) != *version {
                self.mixed = self.mixed.or(Some(*output));
            }
        }
    }

    /// The map output of which two versions went into the same data: then the data is wrong.
    pub fn mixed(&self) -> Option<(ShuffleId, PartitionIndex)> {
        self.mixed
    }
}

/// An attempt, on its executor.
struct Work {
    launch: TaskLaunch,
    spec: Arc<StageSpec>,
    /// What the driver said about where the inputs are.
    outputs: BTreeMap<ShuffleId, Arc<MapOutputs>>,
    blocks: BTreeMap<(RddId, PartitionIndex), Vec<ExecutorId>>,
    read: Option<Origin>,
    asking: bool,
}

/// An executor, as it really is.
struct Node {
    plan: ExecutorPlan,
    alive: bool,
    /// Others can read from it.
    reachable: bool,
    running: BTreeMap<AttemptId, Work>,
    outputs: BTreeMap<(ShuffleId, PartitionIndex, AttemptId), Arc<Origin>>,
    blocks: BTreeMap<(RddId, PartitionIndex), Arc<Origin>>,
    /// When the latest message to it, and the latest from it, arrives: each way they keep their order.
    inbox: Duration,
    outbox: Duration,
    heartbeats: u64,
}

enum Action {
    Tell(Event),
    Submit(usize),
    Arrive(ExecutorId, Order),
    Read(ExecutorId, AttemptId),
    Finish(ExecutorId, AttemptId),
    Heartbeat(ExecutorId),
    AskCommit(ExecutorId, AttemptId),
    FetchResult(ExecutorId, AttemptId),
    Register(ExecutorPlan),
    Reconnect(ExecutorId),
}

enum Order {
    Launch(Box<Work>),
    Kill(AttemptId, String),
    Committed(AttemptId, bool),
    DropOutput(ShuffleId, PartitionIndex, AttemptId),
    DropShuffle(ShuffleId),
    DropRdd(RddId),
    DropBlock(RddId, PartitionIndex),
    Go,
}

/// What a driver asks of the cluster that supplies its executors.
pub(crate) enum Ask {
    /// The executor was given up.
    GiveUp(ExecutorId),
    /// A task has succeeded there.
    Works(ExecutorId),
    /// Its process has ended by itself.
    Ended(ExecutorId),
}

/// How a history went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that the scheduler was told.
    pub events: u64,
    /// Commands that it gave.
    pub commands: u64,
    /// Attempts that it launched.
    pub attempts: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Jobs that failed, each for a reason that was found to be right, or were cancelled.
    pub ended_otherwise: u64,
    /// Stages that were rolled back.
    pub rolled_back: u64,
    /// A hash of all commands: equal for equal histories.
    pub fingerprint: u64,
}

/// One seeded history.
pub struct World {
    plan: Plan,
    rng: Rng,
    scheduler: Scheduler,
    now: Duration,
    sequence: u64,
    queue: BTreeMap<(Duration, u64), Action>,
    nodes: BTreeMap<ExecutorId, Node>,
    results: BTreeMap<AttemptId, Arc<Origin>>,
    /// Jobs that have not ended, submitted or not.
    open_jobs: BTreeSet<JobId>,
    released: (BTreeSet<ShuffleId>, BTreeSet<RddId>),
    /// How much may still go wrong; so that every history comes to an end.
    trouble: u32,
    checks: Checks,
    report: Report,
    trace: Option<String>,
    /// What is asked of a cluster; without one, executors come by themselves.
    asks: Option<Vec<Ask>>,
}

/// More steps than any history needs.
const STEPS: u64 = 300_000;

impl World {
    /// The world of a plan. `trace`: whether to write down what happens.
    pub fn new(seed: u64, plan: Plan, trace: bool) -> Self {
        let mut world = World {
            rng: Rng::new(seed.wrapping_mul(31).wrapping_add(7)),
            scheduler: Scheduler::new(plan.config.clone()),
            now: Duration::ZERO,
            sequence: 0,
            queue: BTreeMap::new(),
            nodes: BTreeMap::new(),
            results: BTreeMap::new(),
            open_jobs: plan.jobs.iter().map(|job| job.spec.job).collect(),
            released: Default::default(),
            trouble: 80,
            checks: Checks::new(&plan),
            report: Report::default(),
            trace: trace.then(String::new),
            asks: None,
            plan,
        };
        let Plan { config, mischief, random_shuffles, shuffle_service, heartbeat, .. } = world.plan.clone();
        world.note(format_args!("settings: {config:?}"));
        world.note(format_args!("trouble, in a thousand: {mischief:?}"));
        world.note(format_args!("shuffles that come out different: {random_shuffles:?}"));
        world.note(format_args!("shuffle service: {shuffle_service}, heartbeats every {heartbeat:?}"));
        for index in 0..world.plan.jobs.len() {
            world.at(world.plan.jobs[index].at, Action::Submit(index));
        }
        world
    }

    /// The world of a plan whose executors a cluster supplies; it begins at `now`.
    pub(crate) fn in_cluster(seed: u64, mut plan: Plan, trace: bool, now: Duration) -> Self {
        plan.jobs.iter_mut().for_each(|job| job.at += now);
        World { asks: Some(Vec::new()), now, ..World::new(seed, plan, trace) }
    }

    /// Lives it to its end.
    ///
    /// # Errors
    /// The invariant that was broken, and when.
    pub fn run(mut self) -> (Result<Report, String>, Option<String>) {
        for executor in self.plan.executors.clone() {
            let at = self.rng.millis(0, 50);
            self.at(at, Action::Register(executor));
        }
        let result = self.live().map_err(|broken| format!("at {:?}: {broken}", self.now));
        (result.map(|()| self.report.clone()), self.trace)
    }

    fn live(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            if self.is_over() {
                return self.finish();
            }
            if self.next().is_none() {
                return Err(format!("nothing more happens, and jobs {:?} have not ended", self.open_jobs));
            }
            self.step()?;
        }
        Err(format!("no end in sight; jobs {:?} have not ended", self.open_jobs))
    }

    /// When something happens next by itself.
    pub(crate) fn next(&self) -> Option<Duration> {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        [queued, self.scheduler.next_deadline()].into_iter().flatten().min()
    }

    /// Lives through what happens next.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        match self.scheduler.next_deadline() {
            Some(deadline) if queued.is_none_or(|at| deadline < at) => self.deadline(deadline),
            _ => {
                let Some(((at, _), action)) = self.queue.pop_first() else { return Ok(()) };
                self.now = self.now.max(at);
                self.act(action)
            }
        }
    }

    /// A cluster's executor registers.
    pub(crate) fn executor_comes(&mut self, now: Duration, id: ExecutorId, plan: ExecutorPlan) -> Result<(), String> {
        self.now = self.now.max(now);
        self.register(id, plan)
    }

    /// A cluster's executor has ended.
    pub(crate) fn executor_ends(&mut self, now: Duration, id: ExecutorId) {
        self.now = self.now.max(now);
        if self.nodes.get(&id).is_some_and(|node| node.alive) {
            self.crash(id);
        }
    }

    /// What the cluster is asked for since it was last looked at.
    pub(crate) fn take_asks(&mut self) -> Vec<Ask> {
        self.asks.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn tell_cluster(&mut self, ask: Ask) {
        if let Some(asks) = &mut self.asks {
            asks.push(ask);
        }
    }

    /// What was written down since it was last looked at.
    pub(crate) fn take_trace(&mut self) -> Option<String> {
        self.trace.as_mut().map(std::mem::take)
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn is_over(&self) -> bool {
        self.open_jobs.is_empty()
            && self.scheduler.footprint().attempts == 0
            && self.queue.values().all(|action| matches!(action, Action::Heartbeat(_) | Action::Register(_)))
    }

    pub(crate) fn finish(&mut self) -> Result<(), String> {
        for shuffle in self.shuffles() {
            self.tell(Event::ShuffleReleased(shuffle))?;
        }
        for rdd in self.plan.rdds.clone() {
            self.tell(Event::RddReleased(rdd))?;
        }
        self.checks.finish(&self.scheduler)
    }

    fn shuffles(&self) -> BTreeSet<ShuffleId> {
        let stages = self.plan.jobs.iter().flat_map(|job| &job.spec.stages);
        stages
            .filter_map(|stage| match stage.output {
                StageOutput::Shuffle(shuffle) => Some(shuffle),
                StageOutput::Result => None,
            })
            .collect()
    }

    fn deadline(&mut self, at: Duration) -> Result<(), String> {
        if at < self.now {
            return Err(format!("a deadline at {at:?} is past"));
        }
        self.now = at;
        self.tell(Event::DeadlineReached)?;
        match self.scheduler.next_deadline() {
            Some(next) if next <= self.now => Err("a deadline does not go away".into()),
            _ => Ok(()),
        }
    }

    fn note(&mut self, line: std::fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>10.3} ms  {line}", self.now.as_secs_f64() * 1e3);
        }
    }

    fn at(&mut self, at: Duration, action: Action) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), action);
    }

    fn later(&mut self, low: u64, high: u64, action: Action) {
        let at = self.now + self.rng.millis(low, high);
        self.at(at, action);
    }

    fn trouble(&mut self, per_mille: u64) -> bool {
        let happens = self.trouble > 0 && self.rng.per_mille(per_mille);
        self.trouble -= u32::from(happens);
        happens
    }

    fn delay(&mut self) -> Duration {
        if self.trouble(self.plan.mischief.late) { self.rng.millis(5, 150) } else { self.rng.millis(0, 3) }
    }

    /// A message from an executor to the driver.
    fn say(&mut self, from: ExecutorId, event: Event) {
        let repeated = self.trouble(self.plan.mischief.repeated);
        if self.trouble(self.plan.mischief.lost) {
            return self.note(format_args!("lost on its way from executor {from}: {event:?}"));
        }
        let delay = self.delay();
        let node = self.nodes.get_mut(&from).expect("who says something exists");
        let at = (self.now + delay).max(node.outbox + Duration::from_micros(1));
        node.outbox = at;
        if repeated {
            // After the first, which came in order.
            let again = at + self.rng.millis(0, 100);
            self.at(again, Action::Tell(event.clone()));
        }
        self.at(at, Action::Tell(event));
    }

    /// A message from the driver to an executor.
    fn order(&mut self, to: ExecutorId, order: Order) {
        let may_be_lost = matches!(order, Order::Launch(_) | Order::Committed(..));
        if may_be_lost && self.trouble(self.plan.mischief.lost) {
            return self.note(format_args!("lost on its way to executor {to}"));
        }
        let delay = self.delay();
        let Some(node) = self.nodes.get_mut(&to) else { return };
        let at = (self.now + delay).max(node.inbox + Duration::from_micros(1));
        node.inbox = at;
        self.at(at, Action::Arrive(to, order));
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        match &event {
            Event::JobSubmitted(spec) => {
                self.note(format_args!("> job {} submitted: {:?}", spec.job, spec.kind));
                for stage in &spec.stages {
                    let StageSpec { stage, output, tasks, inputs, .. } = &**stage;
                    self.note(format_args!("    stage {stage}: {tasks} tasks, makes {output:?} of {inputs:?}"));
                }
            }
            event => self.note(format_args!("> {event:?}")),
        }
        self.report.events += 1;
        self.checks.before(&self.scheduler, self.now, &event)?;
        let mut out = Vec::new();
        self.scheduler.handle(self.now, event, &mut out);
        for command in &out {
            self.note(format_args!("    {command:?}"));
        }
        self.checks.after(&self.scheduler, self.now, &out, &self.results)?;
        for command in out {
            self.report.commands += 1;
            self.fingerprint(&command);
            self.carry_out(command);
        }
        Ok(())
    }

    fn fingerprint(&mut self, command: &Command) {
        struct Hash(u64);
        impl Write for Hash {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                for byte in text.bytes() {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
                }
                Ok(())
            }
        }
        // Formatting every command costs more than all else; kinds and attempts tell histories apart as well.
        let mut hash = Hash(self.report.fingerprint);
        let _ = match command {
            Command::Launch(launch) => write!(hash, "{} {}", launch.attempt, launch.executor),
            Command::Publish(SchedulerEvent::TaskEnded { launch, .. }) => write!(hash, "ended {}", launch.attempt),
            Command::EndJob { job, outcome } => write!(hash, "{job} {outcome:?}"),
            Command::Kill { attempt, .. } => write!(hash, "kill {attempt}"),
            _ => Ok(()),
        };
        self.report.fingerprint = hash.0.wrapping_add(1);
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Launch(launch) => self.launch(launch),
            Command::Kill { attempt, executor, reason } => self.order(executor, Order::Kill(attempt, reason)),
            Command::AllowCommit { attempt } => self.answer(attempt, true),
            Command::DenyCommit { attempt } => self.answer(attempt, false),
            Command::FetchResult { attempt, executor } => {
                self.later(0, 10, Action::FetchResult(executor, attempt));
            }
            Command::InvalidateOutput { executor, shuffle, map, attempt } => {
                self.order(executor, Order::DropOutput(shuffle, map, attempt));
            }
            Command::RemoveShuffle { shuffle } => {
                for executor in self.nodes.keys().copied().collect::<Vec<_>>() {
                    self.order(executor, Order::DropShuffle(shuffle));
                }
            }
            Command::RemoveRdd { rdd } => {
                for executor in self.nodes.keys().copied().collect::<Vec<_>>() {
                    self.order(executor, Order::DropRdd(rdd));
                }
            }
            Command::RemoveBlock { executor, rdd, partition } => self.order(executor, Order::DropBlock(rdd, partition)),
            Command::LetGo { executor } => self.order(executor, Order::Go),
            Command::EndJob { job, outcome } => {
                match outcome {
                    firesteel_scheduler::Outcome::Succeeded => self.report.succeeded += 1,
                    _ => self.report.ended_otherwise += 1,
                }
                self.open_jobs.remove(&job);
                self.release_unused();
            }
            Command::Publish(SchedulerEvent::ExecutorRemoved { executor, .. }) if self.asks.is_some() => {
                self.tell_cluster(Ask::GiveUp(executor));
            }
            Command::Publish(SchedulerEvent::ExecutorRemoved { executor, .. }) => {
                let plan = self.nodes[&executor].plan.clone();
                self.later(5, 100, Action::Register(plan));
            }
            Command::Publish(SchedulerEvent::TaskEnded { launch, reason: TaskEndReason::Success, .. }) => {
                self.tell_cluster(Ask::Works(launch.executor));
            }
            Command::Publish(SchedulerEvent::StageCompleted { failure: Some(failure), .. })
                if failure.contains("made again") =>
            {
                self.report.rolled_back += 1;
            }
            _ => {}
        }
    }

    /// What the dropping of the last handle does: what no open job can reach is released.
    fn release_unused(&mut self) {
        let mut shuffles = self.shuffles();
        let mut rdds: BTreeSet<_> = self.plan.rdds.iter().copied().collect();
        for job in self.plan.jobs.iter().filter(|job| self.open_jobs.contains(&job.spec.job)) {
            for stage in &job.spec.stages {
                for node in &stage.inputs.nodes {
                    match node {
                        Input::Cache { rdd, .. } => rdds.remove(rdd),
                        Input::Shuffle(shuffle) => shuffles.remove(shuffle),
                    };
                }
                if let StageOutput::Shuffle(shuffle) = stage.output {
                    shuffles.remove(&shuffle);
                }
            }
        }
        for shuffle in shuffles.difference(&self.released.0).copied().collect::<Vec<_>>() {
            self.released.0.insert(shuffle);
            self.later(0, 20, Action::Tell(Event::ShuffleReleased(shuffle)));
        }
        for rdd in rdds.difference(&self.released.1).copied().collect::<Vec<_>>() {
            self.released.1.insert(rdd);
            self.later(0, 20, Action::Tell(Event::RddReleased(rdd)));
        }
    }

    fn answer(&mut self, attempt: AttemptId, allowed: bool) {
        if let Some(executor) = self.checks.executor_of(attempt) {
            self.order(executor, Order::Committed(attempt, allowed));
        }
    }

    fn launch(&mut self, launch: TaskLaunch) {
        self.report.attempts += 1;
        let spec = self.scheduler.stage(launch.stage).expect("a launched stage is known").clone();
        let outputs = spec.inputs.shuffles().filter_map(|id| Some((id, self.scheduler.map_outputs(id)?))).collect();
        let mut blocks = BTreeMap::new();
        for node in &spec.inputs.nodes {
            if let Input::Cache { rdd, partitions, .. } = node {
                for partition in (0..*partitions).map(PartitionIndex) {
                    blocks.insert((*rdd, partition), self.scheduler.block_locations(*rdd, partition).to_vec());
                }
            }
        }
        let work = Work { launch, spec, outputs, blocks, read: None, asking: false };
        self.order(launch.executor, Order::Launch(Box::new(work)));
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Tell(event) => return self.tell(event),
            Action::Submit(index) => {
                let mut spec: JobSpec = self.plan.jobs[index].spec.clone();
                let last = spec.stages.last().map(|stage| stage.stage);
                let short = self.rng.per_mille(300);
                spec.stages.retain(|stage| {
                    let known = self.scheduler.stage(stage.stage).is_some();
                    !(short && known) || Some(stage.stage) == last
                });
                return self.tell(Event::JobSubmitted(spec));
            }
            Action::Arrive(executor, order) => self.arrive(executor, order),
            Action::Read(executor, attempt) => self.read(executor, attempt),
            Action::Finish(executor, attempt) => self.finish_work(executor, attempt),
            Action::Heartbeat(executor) => self.heartbeat(executor),
            Action::AskCommit(executor, attempt) => self.ask(executor, attempt),
            Action::FetchResult(executor, attempt) => {
                let lost = self.trouble(self.plan.mischief.lost_result) || !self.nodes[&executor].alive;
                let event = match lost {
                    true => Event::AttemptFailed { attempt, failure: Failure::ResultLost },
                    false => Event::ResultFetched { attempt },
                };
                return self.tell(event);
            }
            Action::Register(plan) => return self.register(ExecutorId(self.nodes.len() as u64), plan),
            Action::Reconnect(executor) => {
                self.nodes.get_mut(&executor).expect("executors stay listed").reachable = true;
            }
        }
        Ok(())
    }

    fn register(&mut self, executor: ExecutorId, plan: ExecutorPlan) -> Result<(), String> {
        let outputs_outlive = self.plan.shuffle_service;
        let ExecutorPlan { host, rack, slots, .. } = plan;
        let event = Event::ExecutorRegistered { executor, host, rack, slots, outputs_outlive };
        let node = Node {
            plan,
            alive: true,
            reachable: true,
            running: BTreeMap::new(),
            outputs: BTreeMap::new(),
            blocks: BTreeMap::new(),
            inbox: self.now,
            outbox: self.now,
            heartbeats: 0,
        };
        self.nodes.insert(executor, node);
        if let Some(interval) = self.plan.heartbeat {
            self.at(self.now + interval, Action::Heartbeat(executor));
        }
        self.tell(event)
    }

    fn heartbeat(&mut self, executor: ExecutorId) {
        let (Some(node), Some(interval)) = (self.nodes.get_mut(&executor), self.plan.heartbeat) else { return };
        if node.alive {
            node.heartbeats += 1;
            let number = node.heartbeats;
            let running = node.running.keys().copied().collect();
            self.say(executor, Event::Heartbeat { executor, number, running });
            self.at(self.now + interval, Action::Heartbeat(executor));
        }
    }

    fn arrive(&mut self, id: ExecutorId, order: Order) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.alive) else { return };
        match order {
            Order::Launch(work) => {
                let attempt = work.launch.attempt;
                let slowness = u64::from(node.plan.slowness);
                node.running.insert(attempt, *work);
                self.say(id, Event::AttemptStarted { attempt });
                let slow = if self.trouble(self.plan.mischief.slow_attempt) { 20 } else { 1 };
                self.later(slowness, 4 * slowness * slow, Action::Read(id, attempt));
            }
            Order::Kill(attempt, reason) => {
                if node.running.remove(&attempt).is_some() {
                    self.say(id, Event::AttemptFailed { attempt, failure: Failure::Killed { reason } });
                }
            }
            Order::Committed(attempt, allowed) => {
                let Some(work) = node.running.get(&attempt).filter(|work| work.asking) else { return };
                if allowed {
                    self.checks.committed(work.launch);
                    self.succeed(id, attempt);
                } else {
                    node.running.remove(&attempt);
                    self.say(id, Event::AttemptFailed { attempt, failure: Failure::CommitDenied });
                }
            }
            Order::DropOutput(shuffle, map, attempt) => {
                node.outputs.remove(&(shuffle, map, attempt));
            }
            Order::DropShuffle(shuffle) => node.outputs.retain(|(of, _, _), _| *of != shuffle),
            Order::DropRdd(rdd) => node.blocks.retain(|(of, _), _| *of != rdd),
            Order::DropBlock(rdd, partition) => {
                node.blocks.remove(&(rdd, partition));
            }
            Order::Go => {
                node.alive = false;
                self.tell_cluster(Ask::Ended(id));
            }
        }
    }

    fn read(&mut self, executor: ExecutorId, attempt: AttemptId) {
        let Some(node) = self.nodes.get_mut(&executor).filter(|node| node.alive) else { return };
        let Some(work) = node.running.remove(&attempt) else { return };
        let mut cached = Vec::new();
        let mut origin = Origin::default();
        let failure = work
            .spec
            .inputs
            .roots
            .iter()
            .find_map(|root| self.read_input(executor, &work, *root, &mut origin, &mut cached).err());
        for (rdd, partition, origin) in cached {
            self.nodes.get_mut(&executor).expect("it reads").blocks.insert((rdd, partition), Arc::new(origin));
            self.say(executor, Event::BlockCached { executor, rdd, partition, attempt: Some(attempt) });
        }
        if let Some(fetch) = failure {
            return self.say(executor, Event::AttemptFailed { attempt, failure: Failure::FetchFailed(fetch) });
        }
        let node = self.nodes.get_mut(&executor).expect("it reads");
        node.running.insert(attempt, Work { read: Some(origin), ..work });
        let slowness = u64::from(node.plan.slowness);
        let slow = if self.trouble(self.plan.mischief.slow_attempt) { 20 } else { 1 };
        self.later(slowness, 8 * slowness * slow, Action::Finish(executor, attempt));
    }

    /// Reads one input of a task: a shuffle whole, or the task's partition of a cached RDD, computed if it is not there.
    fn read_input(
        &self,
        executor: ExecutorId,
        work: &Work,
        place: u32,
        origin: &mut Origin,
        cached: &mut Vec<(RddId, PartitionIndex, Origin)>,
    ) -> Result<(), FetchFailure> {
        match &work.spec.inputs.nodes[place as usize] {
            Input::Shuffle(shuffle) => self.read_shuffle(work, *shuffle, origin),
            Input::Cache { rdd, partitions, behind } => {
                let partition = PartitionIndex(work.launch.partition.0 % partitions);
                if let Some((_, _, known)) = cached.iter().find(|(of, which, _)| (*of, *which) == (*rdd, partition)) {
                    origin.merge(known);
                    return Ok(());
                }
                let told = work.blocks.get(&(*rdd, partition)).into_iter().flatten().copied();
                let found = [executor].into_iter().chain(told).find_map(|holder| {
                    let node = self.nodes.get(&holder)?;
                    let readable = node.alive && (node.reachable || holder == executor);
                    node.blocks.get(&(*rdd, partition)).filter(|_| readable)
                });
                if let Some(block) = found {
                    origin.merge(block);
                    return Ok(());
                }
                let mut computed = Origin::default();
                for input in behind {
                    self.read_input(executor, work, *input, &mut computed, cached)?;
                }
                origin.merge(&computed);
                cached.push((*rdd, partition, computed));
                Ok(())
            }
        }
    }

    fn read_shuffle(&self, work: &Work, shuffle: ShuffleId, origin: &mut Origin) -> Result<(), FetchFailure> {
        let reduce = work.launch.partition;
        let Some(told) = work.outputs.get(&shuffle) else {
            let message = "not told".to_owned();
            return Err(FetchFailure { shuffle, map: None, reduce, unreachable: false, message });
        };
        for (map, location) in (0..).map(PartitionIndex).zip(&told.outputs) {
            let node = &self.nodes[&location.executor];
            // A service that is gone has nothing of anybody.
            let served = node.alive || self.plan.shuffle_service && !node.outputs.is_empty();
            let unreachable = !node.reachable || !served;
            let data = node.outputs.get(&(shuffle, map, location.attempt)).filter(|_| !unreachable);
            let Some(data) = data else {
                let map = MapRef { partition: map, attempt: location.attempt, executor: location.executor };
                let message = if unreachable { "unreachable" } else { "no such block" }.to_owned();
                return Err(FetchFailure { shuffle, map: Some(map), reduce, unreachable, message });
            };
            origin.merge(data);
        }
        Ok(())
    }

    fn finish_work(&mut self, executor: ExecutorId, attempt: AttemptId) {
        let Some(node) = self.nodes.get_mut(&executor).filter(|node| node.alive) else { return };
        let Some(work) = node.running.get_mut(&attempt) else { return };
        let launch = work.launch;
        let commits = self.plan.jobs.iter().any(|job| job.spec.job == launch.job && job.commits);
        let asks = commits && work.spec.output == StageOutput::Result;
        work.asking = asks;
        self.disasters(executor);
        if !self.nodes[&executor].alive {
            return;
        }
        let broken = self.nodes[&executor].plan.broken;
        if self.trouble(if broken { 800 } else { self.plan.mischief.user_error }) {
            let fatal = self.rng.per_mille(20);
            self.nodes.get_mut(&executor).expect("it runs").running.remove(&attempt);
            let failure = Failure::Error { message: "the user's code panicked".into(), fatal };
            return self.say(executor, Event::AttemptFailed { attempt, failure });
        }
        if asks { self.ask(executor, attempt) } else { self.succeed(executor, attempt) }
    }

    fn ask(&mut self, executor: ExecutorId, attempt: AttemptId) {
        let node = &self.nodes[&executor];
        if node.alive && node.running.contains_key(&attempt) {
            self.say(executor, Event::CommitAsked { attempt });
            self.later(100, 200, Action::AskCommit(executor, attempt));
        }
    }

    fn succeed(&mut self, executor: ExecutorId, attempt: AttemptId) {
        let node = self.nodes.get_mut(&executor).expect("it runs");
        let work = node.running.remove(&attempt).expect("it runs");
        let mut origin = work.read.expect("what is done was read");
        let success = match work.spec.output {
            StageOutput::Result => {
                self.results.insert(attempt, Arc::new(origin));
                let large = self.plan.jobs.iter().any(|job| job.spec.job == work.launch.job && job.large_results);
                Success::Result { bytes: 10, inline: !large }
            }
            StageOutput::Shuffle(shuffle) => {
                let random = self.plan.random_shuffles.contains(&shuffle);
                let version = if random { self.rng.between(0, 2) } else { 0 };
                let partition = work.launch.partition;
                let mut own = Origin::default();
                own.versions.insert((shuffle, partition), version);
                origin.merge(&own);
                node.outputs.insert((shuffle, partition, attempt), Arc::new(origin));
                let sizes = MapSizes::of(&[100, 0, 1000, 10, 100_000]);
                Success::MapOutput { sizes, checksum: version }
            }
        };
        self.say(executor, Event::AttemptSucceeded { attempt, success });
    }

    /// What goes wrong while a task runs, elsewhere as well as here.
    fn disasters(&mut self, here: ExecutorId) {
        let alive: Vec<_> = self.nodes.iter().filter(|(_, node)| node.alive).map(|(id, _)| *id).collect();
        let victim = *self.rng.one_of(&alive);
        if self.trouble(self.plan.mischief.dropped_block) {
            let node = self.nodes.get_mut(&victim).expect("it is alive");
            if let Some(((rdd, partition), _)) = node.blocks.pop_first() {
                self.say(victim, Event::BlockDropped { executor: victim, rdd, partition });
            }
        }
        if self.trouble(self.plan.mischief.cancelled) {
            self.cancel_something();
        }
        if !self.trouble(self.plan.mischief.disaster) {
            return;
        }
        if self.plan.shuffle_service && self.rng.per_mille(150) {
            self.lose_service();
        }
        match self.rng.between(0, 6) {
            0 | 1 => self.crash(victim),
            2 => {
                let host = self.nodes[&victim].plan.host;
                let all: Vec<_> =
                    self.nodes.iter().filter(|(_, n)| n.alive && n.plan.host == host).map(|(id, _)| *id).collect();
                for executor in all {
                    self.nodes.get_mut(&executor).expect("it is alive").alive = false;
                    self.tell_cluster(Ask::Ended(executor));
                }
                for node in self.nodes.values_mut().filter(|node| node.plan.host == host) {
                    node.outputs.clear();
                    node.blocks.clear();
                }
                self.note(format_args!("host {host} burns"));
                let reason = "it burnt".to_owned();
                self.later(0, 60, Action::Tell(Event::HostLost { host, reason, outputs_survive: false }));
            }
            3 => {
                self.note(format_args!("the disk of executor {victim} is wiped"));
                self.nodes.get_mut(&victim).expect("it is alive").outputs.clear();
            }
            4 => {
                self.note(format_args!("one map output of executor {victim} is gone"));
                self.nodes.get_mut(&victim).expect("it is alive").outputs.pop_first();
            }
            5 => {
                self.note(format_args!("executor {victim} cannot be reached by others"));
                self.nodes.get_mut(&victim).expect("it is alive").reachable = false;
                self.later(1, 60, Action::Reconnect(victim));
            }
            _ => self.crash(here),
        }
    }

    /// Nobody serves any more what the executors of one host left that have died. The driver is told, or learns it from readers.
    fn lose_service(&mut self) {
        let dead: Vec<_> = self.nodes.values().filter(|node| !node.alive && !node.outputs.is_empty()).collect();
        if dead.is_empty() {
            return;
        }
        let host = self.rng.one_of(&dead).plan.host;
        self.note(format_args!("what executors of host {host} left is gone"));
        let told = self.rng.per_mille(500);
        let lost: Vec<_> =
            self.nodes.iter().filter(|(_, n)| !n.alive && n.plan.host == host).map(|(id, _)| *id).collect();
        for executor in lost {
            self.nodes.get_mut(&executor).expect("executors stay listed").outputs.clear();
            if told {
                let reason = LossReason::HostLost { message: "its service is gone".into() };
                let event = Event::ExecutorLost { executor, reason, outputs_survive: false };
                self.later(0, 60, Action::Tell(event));
            }
        }
    }

    fn crash(&mut self, executor: ExecutorId) {
        self.note(format_args!("executor {executor} crashes"));
        let node = self.nodes.get_mut(&executor).expect("it is alive");
        node.alive = false;
        node.running.clear();
        node.blocks.clear();
        let outputs_survive = self.plan.shuffle_service;
        if !outputs_survive {
            node.outputs.clear();
        }
        self.tell_cluster(Ask::Ended(executor));
        if self.plan.heartbeat.is_some() && self.rng.per_mille(400) {
            return;
        }
        let reason = LossReason::Exited { message: "crashed".into(), caused_by_app: self.rng.per_mille(100) };
        self.later(0, 60, Action::Tell(Event::ExecutorLost { executor, reason, outputs_survive }));
    }

    fn cancel_something(&mut self) {
        let Some(job) = self.open_jobs.iter().copied().next_back() else { return };
        let stage = StageId(self.rng.between(0, 6));
        let attempt = AttemptId(self.rng.between(0, self.report.attempts));
        let reason = self.rng.per_mille(500).then(|| "enough".to_owned());
        let future = self.rng.per_mille(300);
        let event = match self.rng.between(0, 8) {
            0 | 1 => Event::JobCancelled { job, reason: String::new() },
            2 => Event::StageCancelled { stage, reason },
            3 => Event::GroupCancelled { group: "group".into(), reason, future },
            4 => Event::TagCancelled { tag: "tag".into(), reason, future },
            5 => Event::AllJobsCancelled { reason: "as part of cancellation of all jobs".into() },
            _ => Event::AttemptKillAsked { attempt, reason: "killed by the user".into() },
        };
        self.later(0, 3, Action::Tell(event));
    }
}
