//! The driver's loop: one thread that feeds the scheduler with what happens and does what it says.

use crate::{
    clock::Clock,
    cluster::{Places, Runners},
    engine::Accumulators,
    executor::{Order, Parcel, TaskEnd, TaskMsg, encode},
    footprint::Footprint,
    graph::lock,
    link::Link,
    panics::{self, guarded},
    plan::Stage,
    properties::Properties,
    report::{Reporter, with_call_site},
    soon::{SOON, soon},
    supply::{NewExecutor, Supplier, Supply},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use firesteel_model::{
    AccumulatorId, AttemptId, BlockId, BroadcastId, Error, ExecutorId, JobId, PartitionIndex, RddId, Result, ShuffleId,
    StageAttempt, StageId, StorageLevel,
};
use firesteel_rdd::{MapWritten, Output, TaskFailure, TaskInfo};
use firesteel_scheduler::{
    Command, Event, Failure, FetchFailure, JobKind, JobSpec, LossReason, MapRef, MapSizes, Outcome, Scheduler,
    SchedulerEvent, StageOutput, Success, TaskLaunch,
};
use firesteel_store::{BlockStatus, BlockStore};
use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

/// An executor that looks for others is told of so many at most.
const MOST_OTHERS: usize = 16;
/// So many attempts at a task may find a kept partition damaged before that counts as a failure of the task.
const MOST_DAMAGED: u32 = 3;

/// So many messages make one turn of the loop at most: tasks that the first of them lets go wait for the last.
const MOST_AT_ONCE: usize = 16;

/// How long the context's end waits for tasks that were told to stop.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// What the loop is told.
pub(crate) enum Msg {
    /// A job, from an action's thread.
    Submit(Box<Submission>),
    /// A task attempt ended.
    TaskEnded(Box<TaskEnd>),
    /// A task asks whether it may commit its output.
    MayCommit(AttemptId),
    /// A block of an executor had to make room, or was removed; what it takes now, if it is still kept.
    BlockMoved(ExecutorId, BlockId, Option<BlockStatus>),
    /// Nobody holds the RDD any more.
    ReleaseRdd(RddId),
    /// The RDD's blocks shall go; told when they are gone.
    Unpersist(RddId, Sender<()>),
    /// Nobody holds the shuffle any more.
    ReleaseShuffle(ShuffleId),
    /// Executors in other processes drop their copies of a broadcast value; tells when they have been told.
    ReleaseBroadcast(BroadcastId, Sender<()>),
    /// Something else that the scheduler understands: cancellations.
    Scheduler(Event),
    /// A question about the scheduler's state, answered by the function.
    Ask(Box<dyn FnOnce(&Scheduler) + Send>),
    /// How much the loop and the scheduler keep track of.
    Footprint(Sender<Footprint>),
    /// A user wants an attempt killed; told whether it runs.
    KillAttempt(AttemptId, String, Sender<bool>),
    /// The clock was moved by hand.
    Tick,
    /// The application wants so many executors.
    Want(u32),
    /// An executor can run tasks.
    ExecutorReady(Box<NewExecutor>),
    /// An executor's connection has ended; why.
    ExecutorGone(ExecutorId, LossReason),
    /// A result that an executor has kept; or why it cannot be had.
    Fetched(AttemptId, Result<Vec<u8>, String>),
    /// No executor is there yet; why.
    Waiting(String),
    /// No executor will come any more; why.
    Hopeless(String),
    /// An executor asks who holds a block.
    Locate { executor: ExecutorId, question: u64, block: BlockId },
    /// An executor asks which others are there.
    Others { executor: ExecutorId, question: u64 },
    /// An executor asks where is served what another one holds.
    WhereIs { executor: ExecutorId, question: u64, other: ExecutorId },
    /// The context ends.
    Stop,
}

/// A job as an action submits it.
pub(crate) struct Submission {
    pub(crate) job: JobId,
    pub(crate) kind: JobKind,
    pub(crate) stages: Vec<Arc<Stage>>,
    pub(crate) properties: Arc<Properties>,
    pub(crate) results: Results,
    pub(crate) done: Box<dyn Waiter>,
}

/// The results so far, by the position of their partition in the job.
pub(crate) type Results = Arc<Mutex<BTreeMap<u32, Output>>>;

/// Who is told what becomes of a job. It is told on the driver's thread, and so neither waits nor panics.
pub(crate) trait Waiter: Send {
    fn tell(&mut self, news: JobNews);
}

impl Waiter for Sender<JobNews> {
    fn tell(&mut self, news: JobNews) {
        let _ = self.send(news);
    }
}

/// What a waiting action is told.
pub(crate) enum JobNews {
    /// The job has ended.
    Ended(Result<()>),
    /// An approximate job's time is up; it goes on.
    TimeUp,
}

struct Job {
    stages: Vec<StageId>,
    properties: Arc<Properties>,
    results: Results,
    done: Box<dyn Waiter>,
    /// Accumulator updates that count when the job ends, in the order of stages and partitions.
    provisional: BTreeMap<(StageId, PartitionIndex, AttemptId), Vec<(AccumulatorId, Vec<u8>)>>,
}

struct Running {
    launch: TaskLaunch,
    /// The shuffle that it makes a map output for.
    writes: Option<ShuffleId>,
    /// Why it was told to stop, if it was.
    killed: Option<String>,
}

/// What an attempt left with the driver until the scheduler says what becomes of it.
struct Left {
    output: Option<Output>,
    /// Which task it was an attempt at.
    task: (StageId, PartitionIndex),
    accumulators: Vec<(AccumulatorId, Vec<u8>)>,
}

/// After a look for what may come soon that was in vain, nobody looks for so many times as long.
const SLEEP: u32 = 20;

/// The loop's state.
pub(crate) struct Driver {
    scheduler: Scheduler,
    clock: Clock,
    messages: Receiver<Msg>,
    accumulators: Arc<Accumulators>,
    executors: BTreeMap<ExecutorId, Box<dyn Link>>,
    /// Where those in other processes serve what they hold.
    places: Arc<Places>,
    supplier: Arc<dyn Supplier>,
    /// What this process holds for them.
    blocks: Arc<BlockStore>,
    /// Who has which pieces of broadcast values.
    pieces: BTreeMap<BlockId, Vec<ExecutorId>>,
    /// Bring results that executors keep.
    runners: Option<Runners>,
    /// The attempts whose results are being fetched, and from whom.
    fetching: HashMap<AttemptId, ExecutorId>,
    /// Why no executor will come.
    hopeless: Option<String>,
    /// How long jobs wait where there is no executor, since when they do, and why.
    patience: Duration,
    lonely: Option<Duration>,
    waiting: Option<String>,
    jobs: HashMap<JobId, Job>,
    stages: HashMap<StageId, (Arc<Stage>, usize)>,
    running: HashMap<AttemptId, Running>,
    /// Until when nobody looks for what may come soon, because nothing did.
    asleep_until: Instant,
    /// The executors that were given tasks in this turn of the loop.
    launched_on: Vec<ExecutorId>,
    left: HashMap<AttemptId, Left>,
    outputs: HashMap<ShuffleId, (u64, Arc<Vec<u8>>)>,
    /// Of shuffles with outputs that are spread within their partitions: into how many parts, as a power of two.
    spreads: HashMap<ShuffleId, u32>,
    report: Reporter,
}

impl Driver {
    pub(crate) fn new(
        scheduler: Scheduler,
        clock: Clock,
        messages: Receiver<Msg>,
        accumulators: Arc<Accumulators>,
        report: Reporter,
        supply: Supply,
    ) -> Self {
        let Supply { supplier, places, blocks, runners, patience, .. } = supply;
        Driver {
            scheduler,
            clock,
            messages,
            accumulators,
            executors: BTreeMap::new(),
            places,
            supplier,
            blocks,
            pieces: BTreeMap::new(),
            runners,
            fetching: HashMap::new(),
            hopeless: None,
            patience,
            lonely: None,
            waiting: None,
            jobs: HashMap::new(),
            stages: HashMap::new(),
            running: HashMap::new(),
            asleep_until: Instant::now(),
            launched_on: Vec::new(),
            left: HashMap::new(),
            outputs: HashMap::new(),
            spreads: HashMap::new(),
            report,
        }
    }

    /// Asks for so many executors. Those that are there at once are so before anybody can listen.
    pub(crate) fn begin(&mut self, executors: u32) {
        self.want(executors);
        while let Ok(msg) = self.messages.try_recv() {
            self.handle(msg);
        }
    }

    fn want(&self, executors: u32) {
        // After that none comes, however many are wanted.
        if self.hopeless.is_none() {
            self.supplier.want(executors);
        }
    }

    /// Runs until the context ends.
    pub(crate) fn run(mut self) {
        crate::engine::on_drivers_thread();
        loop {
            match self.next_message() {
                Ok(Msg::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(msg) => {
                    self.handle(msg);
                    if self.handle_waiting() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.lose_patience();
                    self.feed(Event::DeadlineReached);
                }
            }
            self.send_launches();
        }
        self.shut_down();
    }

    /// Waits for a message, or for a deadline.
    fn next_message(&mut self) -> Result<Msg, RecvTimeoutError> {
        let deadlines = [self.scheduler.next_deadline(), self.end_of_patience()];
        let wait = deadlines.into_iter().flatten().min().and_then(|at| self.clock.until(at));
        if !self.running.is_empty() && self.asleep_until <= Instant::now() {
            if let Some(msg) = soon(&self.messages) {
                return Ok(msg);
            }
            self.asleep_until = Instant::now() + SOON * SLEEP;
        }
        match wait {
            None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => self.messages.recv_timeout(wait),
        }
    }

    /// Handles what else there is, so that one executor's tasks leave together; whether the context ends.
    fn handle_waiting(&mut self) -> bool {
        for _ in 1..MOST_AT_ONCE {
            match self.messages.try_recv() {
                Ok(Msg::Stop) => return true,
                Ok(msg) => self.handle(msg),
                Err(_) => break,
            }
        }
        false
    }

    fn send_launches(&mut self) {
        for executor in self.launched_on.drain(..) {
            if let Some(link) = self.executors.get_mut(&executor) {
                link.send_launched();
            }
        }
    }

    /// When jobs that wait for a first executor do so no more.
    fn end_of_patience(&mut self) -> Option<Duration> {
        if !self.executors.is_empty() || self.jobs.is_empty() {
            self.lonely = None;
            return None;
        }
        let since = *self.lonely.get_or_insert_with(|| self.clock.now());
        since.checked_add(self.patience)
    }

    fn lose_patience(&mut self) {
        if self.end_of_patience().is_some_and(|end| end <= self.clock.now()) {
            let why = self.waiting.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let reason = format!("because no executor has come within {:?}{why}", self.patience);
            self.feed(Event::AllJobsCancelled { reason });
        }
    }

    fn shut_down(&mut self) {
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        if !jobs.is_empty() {
            self.feed(Event::AllJobsCancelled { reason: "because the context was shut down".into() });
        }
        for running in self.running.values_mut() {
            running.killed.get_or_insert_with(|| "the context was shut down".into());
        }
        self.supplier.ending();
        self.places.close();
        let mut executors = std::mem::take(&mut self.executors);
        executors.values_mut().for_each(|executor| executor.close());
        let patience = crossbeam_channel::after(LAST_WAIT);
        let mut patient = true;
        for (_, executor) in executors {
            patient = patient && self.await_end(&executor.end(), &patience);
            executor.gone(patient);
        }
        while let Ok(msg) = self.messages.try_recv() {
            self.last_words(msg);
        }
        self.supplier.stop();
        for (_, mut job) in self.jobs.drain() {
            job.done.tell(JobNews::Ended(Err(Error::Stopped("it was stopped while a job was running".into()))));
        }
        while let Ok(msg) = self.messages.try_recv() {
            self.last_words(msg);
        }
        // From here on whoever asks is told so at once; listeners, who are told the rest now, may ask.
        self.messages = crossbeam_channel::never();
        self.report.stopped();
    }

    /// Waits for an executor's end, and meanwhile for the last words of all; says whether it has ended in time.
    fn await_end(&mut self, end: &Receiver<Infallible>, patience: &Receiver<Instant>) -> bool {
        let messages = self.messages.clone();
        loop {
            crossbeam_channel::select! {
                recv(end) -> _ => return true,
                recv(messages) -> msg => match msg {
                    Ok(msg) => self.last_words(msg),
                    Err(_) => return true,
                },
                recv(patience) -> _ => {
                    tracing::warn!(
                        "tasks that run have not stopped within {LAST_WAIT:?} after the context's end ({} of them): they do not look \
                         at `TaskContext::is_interrupted`, and are left to themselves",
                        self.running.len()
                    );
                    return false;
                }
            }
        }
    }

    /// What comes while the loop is ending is answered, not left to wait.
    fn last_words(&mut self, msg: Msg) {
        match msg {
            Msg::Submit(mut job) => {
                let stopped = Error::Stopped("it was stopped while a job was submitted".into());
                job.done.tell(JobNews::Ended(Err(stopped)));
            }
            Msg::TaskEnded(end) => self.task_ended(*end),
            Msg::ExecutorReady(mut new) => new.link.close(),
            _ => {}
        }
    }

    fn handle(&mut self, msg: Msg) {
        match msg {
            Msg::Submit(submission) => self.submit(*submission),
            Msg::TaskEnded(end) => self.task_ended(*end),
            Msg::MayCommit(attempt) => self.feed(Event::CommitAsked { attempt }),
            Msg::ReleaseRdd(rdd) => {
                self.feed(Event::RddReleased(rdd));
            }
            Msg::Unpersist(rdd, done) => {
                self.feed(Event::RddReleased(rdd));
                let _ = done.send(());
            }
            Msg::ReleaseShuffle(shuffle) => self.feed(Event::ShuffleReleased(shuffle)),
            Msg::ReleaseBroadcast(broadcast, told) => {
                self.executors.values_mut().for_each(|link| link.forget_broadcast(broadcast));
                let piece = |number| BlockId::BroadcastPiece(broadcast, number);
                self.pieces.extract_if(piece(0)..=piece(u32::MAX), |_, _| true).for_each(drop);
                let _ = told.send(());
            }
            Msg::BlockMoved(executor, block, status) => {
                self.report.block(executor, block, status);
                if let (BlockId::Rdd(rdd, partition), None) = (block, status) {
                    self.feed(Event::BlockDropped { executor, rdd, partition });
                }
                self.broadcast_moved(executor, block, status.is_some());
            }
            Msg::Scheduler(event) => self.feed(event),
            Msg::Ask(question) => question(&self.scheduler),
            Msg::Footprint(answer) => {
                let _ = answer.send(self.footprint());
            }
            Msg::KillAttempt(attempt, reason, answer) => {
                let _ = answer.send(self.running.contains_key(&attempt));
                self.feed(Event::AttemptKillAsked { attempt, reason });
            }
            Msg::Tick => self.feed(Event::DeadlineReached),
            Msg::Want(executors) => self.want(executors),
            Msg::ExecutorReady(new) => self.executor_ready(*new),
            Msg::ExecutorGone(executor, reason) => self.executor_gone(executor, reason),
            Msg::Fetched(attempt, result) => self.fetched(attempt, result),
            Msg::Waiting(why) => self.waiting = Some(why),
            Msg::Hopeless(why) => {
                self.feed(Event::AllJobsCancelled { reason: format!("because {why}") });
                self.hopeless = Some(why);
            }
            Msg::Locate { executor, question, block } => {
                let holders = match block {
                    BlockId::Rdd(rdd, partition) => self.scheduler.block_locations(rdd, partition),
                    _ => self.pieces.get(&block).map_or(&[][..], |holders| holders),
                };
                // Not all ask the same one.
                let (before, after) = holders.split_at(executor.0 as usize % holders.len().max(1));
                let holders = after.iter().chain(before).filter_map(|holder| self.places.holder(*holder)).collect();
                if let Some(link) = self.executors.get_mut(&executor) {
                    link.located(question, holders);
                }
            }
            Msg::Others { executor, question } => {
                let after = self.executors.range(executor..).chain(self.executors.range(..executor));
                let others = after.map(|(other, _)| *other).filter(|other| *other != executor);
                let holders = others.take(MOST_OTHERS).filter_map(|other| self.places.holder(other)).collect();
                if let Some(link) = self.executors.get_mut(&executor) {
                    link.located(question, holders);
                }
            }
            Msg::WhereIs { executor, question, other } => {
                if let Some(link) = self.executors.get_mut(&executor) {
                    link.whereabouts(question, self.places.whereabouts(other));
                }
            }
            Msg::Stop => {}
        }
    }

    /// An executor can run tasks from now on.
    fn executor_ready(&mut self, new: NewExecutor) {
        let NewExecutor { executor, host, slots, place, outputs_outlive, link } = new;
        if let Some(place) = &place {
            self.report.executor_ready(executor, host, place);
        }
        self.executors.insert(executor, link);
        self.waiting = None;
        self.feed(Event::ExecutorRegistered { executor, host, rack: None, slots, outputs_outlive });
    }

    /// An executor has a broadcast value, or a piece of one; or has it no more.
    fn broadcast_moved(&mut self, executor: ExecutorId, block: BlockId, is_there: bool) {
        let (BlockId::Broadcast(broadcast) | BlockId::BroadcastPiece(broadcast, _)) = block else { return };
        let value = BlockId::Broadcast(broadcast);
        if is_there && self.blocks.status(value).is_none() {
            // It came while the value was released.
            self.tell(executor, Order::RemoveBlock(value));
        } else if block != value {
            let holders = self.pieces.entry(block).or_default();
            holders.retain(|holder| *holder != executor);
            if is_there {
                holders.push(executor);
            }
        }
    }

    /// Nobody fetches pieces of broadcast values from there.
    fn forget_pieces(&mut self, executor: ExecutorId) {
        self.pieces.values_mut().for_each(|holders| holders.retain(|holder| *holder != executor));
    }

    /// The scheduler has given an executor up whose connection is still there.
    fn give_up(&mut self, executor: ExecutorId) {
        let Some(link) = self.executors.remove(&executor) else { return };
        tracing::warn!("executor {executor} is given up");
        self.forget_pieces(executor);
        self.running.retain(|_, running| running.launch.executor != executor);
        self.report.executor_gone(executor);
        // What is read of it from now on is read where it is served that it has left.
        self.places.remove(executor);
        link.gone(false);
        self.supplier.let_go(executor);
    }

    /// Has a result brought that an executor keeps.
    fn fetch_result(&mut self, attempt: AttemptId, executor: ExecutorId) {
        if let Some(runners) = &self.runners {
            self.fetching.insert(attempt, executor);
            runners.fetch(attempt, executor);
        }
    }

    fn fetched(&mut self, attempt: AttemptId, result: Result<Vec<u8>, String>) {
        let Some(executor) = self.fetching.remove(&attempt) else { return };
        self.tell(executor, Order::RemoveBlock(BlockId::TaskResult(attempt)));
        match (result, self.left.get_mut(&attempt)) {
            (Ok(bytes), Some(left)) => {
                left.output = Some(Output::Bytes(bytes));
                self.feed(Event::ResultFetched { attempt });
            }
            (Err(why), _) => {
                tracing::warn!("the result of attempt {attempt} is lost: {why}");
                self.feed(Event::AttemptFailed { attempt, failure: Failure::ResultLost });
            }
            (Ok(_), None) => {}
        }
        self.forget_attempt(attempt);
    }

    /// The scheduler has said what becomes of what the attempt left.
    fn forget_attempt(&mut self, attempt: AttemptId) {
        let left = self.left.remove(&attempt);
        guarded("dropping a result", || drop(left));
        self.report.attempt_over(attempt);
    }

    /// An executor is gone, with what ran there and what it held.
    fn executor_gone(&mut self, executor: ExecutorId, reason: LossReason) {
        let link = self.executors.remove(&executor);
        let was_given_up = link.is_none();
        if let Some(link) = link {
            link.gone(true);
            self.forget_pieces(executor);
            tracing::warn!("executor {executor} is lost: {reason}");
            self.running.retain(|_, running| running.launch.executor != executor);
            self.report.executor_gone(executor);
        }
        let worker_lost = matches!(reason, LossReason::HostLost { .. });
        let outputs_survive = !worker_lost && self.places.is_served(executor);
        if worker_lost {
            self.service_lost(executor, &reason);
        }
        if worker_lost || !was_given_up {
            self.feed(Event::ExecutorLost { executor, reason, outputs_survive });
        }
        self.forget_outputs();
    }

    /// Who served the map outputs of an executor that has died is gone. With it goes what it kept of others: readers need not find that out
    /// one by one.
    fn service_lost(&mut self, executor: ExecutorId, reason: &LossReason) {
        for other in self.places.service_lost(executor) {
            self.feed(Event::ExecutorLost { executor: other, reason: reason.clone(), outputs_survive: false });
        }
    }

    /// Has the files removed of executors that have died, of whose map outputs none is known any more.
    fn forget_outputs(&self) {
        let unwanted = self.places.forget_dead(|executor| self.scheduler.holds_outputs(executor));
        if let Some(runners) = &self.runners {
            unwanted.into_iter().for_each(|holder| runners.remove_outputs(holder));
        }
    }

    fn footprint(&self) -> Footprint {
        let known = self.scheduler.footprint();
        let known_outputs = self.executors.values().map(|executor| executor.known_outputs()).sum::<usize>();
        Footprint {
            jobs: known.jobs + self.jobs.len(),
            stages: known.stages + self.stages.len(),
            attempts: known.attempts + self.running.len() + self.left.len(),
            shuffles: known.shuffles + self.outputs.len() + self.spreads.len() + known_outputs,
            known_blocks: known.blocks + self.pieces.len(),
            pieces_sent: self.places.pieces_sent.load(Ordering::Relaxed) as usize,
            other: known.other,
            ..Footprint::default()
        }
    }

    fn submit(&mut self, mut new: Submission) {
        if let Some(why) = &self.hopeless {
            let reason = format!("because {why}");
            new.done.tell(JobNews::Ended(Err(Error::Cancelled { job: new.job, reason })));
            return;
        }
        for stage in &new.stages {
            let known = self.stages.entry(stage.spec.stage).or_insert_with(|| (stage.clone(), 0));
            known.1 += 1;
        }
        let job = Job {
            stages: new.stages.iter().map(|stage| stage.spec.stage).collect(),
            properties: new.properties.clone(),
            results: new.results,
            done: new.done,
            provisional: BTreeMap::new(),
        };
        self.jobs.insert(new.job, job);
        let scheduler = &self.scheduler;
        let attempt_of = |stage| match scheduler.stage_progress(stage) {
            Some(progress) if progress.submitted => progress.attempt,
            _ => StageAttempt(scheduler.attempts_of(stage)),
        };
        let wanted = new.kind.partitions().len() as u32;
        self.report.submitted(new.job, &new.stages, wanted, &new.properties, attempt_of);
        let property = |key| new.properties.get(key).cloned();
        let tags = property(crate::properties::TAGS).unwrap_or_default();
        self.feed(Event::JobSubmitted(JobSpec {
            job: new.job,
            kind: new.kind,
            stages: new.stages.iter().map(|stage| stage.spec.clone()).collect(),
            pool: property(crate::properties::POOL).unwrap_or_else(|| "default".into()),
            group: property(crate::properties::GROUP),
            tags: tags.split(',').filter(|tag| !tag.is_empty()).map(String::from).collect(),
        }));
    }

    fn task_ended(&mut self, end: TaskEnd) {
        let Some(running) = self.running.remove(&end.attempt) else { return };
        let launch = running.launch;
        for (block, executor) in &end.copies {
            if let BlockId::Rdd(rdd, partition) = *block {
                let attempt = Some(end.attempt);
                self.feed(Event::BlockCached { executor: *executor, rdd, partition, attempt });
            }
        }
        for (block, status) in &end.blocks {
            self.report.block(launch.executor, *block, Some(*status));
            if let BlockId::Rdd(rdd, partition) = *block {
                let (executor, attempt) = (launch.executor, Some(end.attempt));
                self.feed(match status.level {
                    StorageLevel::NONE => Event::BlockDropped { executor, rdd, partition },
                    _ => Event::BlockCached { executor, rdd, partition, attempt },
                });
            }
        }
        self.report.attempt_ended(&end);
        let attempt = end.attempt;
        if end.outcome.is_ok() {
            self.supplier.works(launch.executor);
        }
        let mut kept = false;
        let event = match end.outcome {
            Ok(mut output) => {
                kept = matches!(output, Output::Kept);
                let written = running.writes.map(|_| output.typed::<MapWritten>()).transpose();
                let success = match written {
                    Ok(Some(written)) => {
                        if let Some(shuffle) = running.writes
                            && written.spread > 0
                            && self.stages.contains_key(&launch.stage)
                        {
                            self.spreads.insert(shuffle, written.spread);
                        }
                        Success::MapOutput { sizes: MapSizes::of(&written.sizes), checksum: written.checksum }
                    }
                    Ok(None) => Success::Result { bytes: end.metrics.result_size, inline: !kept },
                    Err(e) => {
                        let failure = Failure::Error { message: e.to_string(), fatal: false };
                        return self.feed(Event::AttemptFailed { attempt, failure });
                    }
                };
                let task = (launch.stage, launch.partition);
                self.left.insert(attempt, Left { output: Some(output), task, accumulators: end.accumulators });
                Event::AttemptSucceeded { attempt, success }
            }
            Err(failure) => Event::AttemptFailed { attempt, failure: self.failure(failure, &launch, running.killed) },
        };
        let unreachable = match &event {
            Event::AttemptFailed { failure: Failure::FetchFailed(fetch), .. } if fetch.unreachable => {
                fetch.map.map(|map| (map.executor, fetch.message.clone()))
            }
            _ => None,
        };
        self.feed(event);
        if let Some((executor, message)) = unreachable {
            self.service_lost(executor, &LossReason::HostLost { message });
        }
        if self.fetching.contains_key(&attempt) {
            return;
        }
        if kept {
            // Nobody wants it.
            self.tell(launch.executor, Order::RemoveBlock(BlockId::TaskResult(attempt)));
        }
        self.forget_attempt(attempt);
    }

    fn failure(&self, failure: TaskFailure, launch: &TaskLaunch, killed: Option<String>) -> Failure {
        match failure {
            TaskFailure::Killed => Failure::Killed { reason: killed.unwrap_or_else(|| "on request".into()) },
            TaskFailure::User(message) => Failure::Error { message, fatal: false },
            // Not the task's fault; but a place that damages whatever is put there is not tried for ever.
            TaskFailure::Damaged(message) if launch.attempt_number < MOST_DAMAGED => {
                Failure::Killed { reason: message }
            }
            TaskFailure::Damaged(message) => Failure::Error { message, fatal: false },
            TaskFailure::CommitDenied => Failure::CommitDenied,
            TaskFailure::Fetch { shuffle, map, attempt, holder, unreachable, message } => {
                // It may have died while this was on its way.
                let unreachable = unreachable && holder.is_none_or(|holder| self.places.may_have_been_asked(holder));
                Failure::FetchFailed(FetchFailure {
                    shuffle,
                    map: attempt.map(|attempt| MapRef {
                        partition: map,
                        attempt,
                        executor: holder.unwrap_or(launch.executor),
                    }),
                    reduce: launch.partition,
                    unreachable,
                    message,
                })
            }
            // What cannot be written once cannot be written at the next attempt either.
            TaskFailure::Engine(e @ Error::Serialization(_)) => Failure::Error { message: e.to_string(), fatal: true },
            TaskFailure::Engine(e) => Failure::Error { message: e.to_string(), fatal: false },
        }
    }

    /// Tells the scheduler, and does what it says.
    fn feed(&mut self, event: Event) {
        let mut commands = Vec::new();
        self.scheduler.handle(self.clock.now(), event, &mut commands);
        for command in commands {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Launch(launch) => self.launch(launch),
            Command::Kill { attempt, executor, reason } => {
                if let Some(running) = self.running.get_mut(&attempt) {
                    running.killed = Some(reason);
                }
                self.tell(executor, Order::Kill(attempt));
            }
            Command::AllowCommit { attempt } => self.answer_commit(attempt, true),
            Command::DenyCommit { attempt } => self.answer_commit(attempt, false),
            Command::DeliverResult { job, index, attempt, .. } => {
                let output = self.left.get_mut(&attempt).and_then(|left| left.output.take());
                if let (Some(job), Some(output)) = (self.jobs.get(&job), output) {
                    let before = lock(&job.results).insert(index, output);
                    guarded("dropping a result", || drop(before));
                }
            }
            Command::WithdrawResult { job, index, .. } => {
                if let Some(job) = self.jobs.get(&job) {
                    let withdrawn = lock(&job.results).remove(&index);
                    guarded("dropping a result", || drop(withdrawn));
                }
            }
            Command::CountAccumulators { attempt, provisional } => self.count(attempt, provisional),
            Command::DiscardAccumulators { attempt } => {
                self.report.discarded(attempt);
                for job in self.jobs.values_mut() {
                    job.provisional.retain(|(_, _, held), _| *held != attempt);
                }
            }
            Command::InvalidateOutput { executor, shuffle, map, attempt } => {
                self.tell(executor, Order::RemoveOutput(shuffle, map, attempt));
            }
            Command::RemoveShuffle { shuffle } => {
                self.outputs.remove(&shuffle);
                self.spreads.remove(&shuffle);
                self.tell_all(Order::RemoveShuffle(shuffle));
                self.forget_outputs();
            }
            Command::RemoveRdd { rdd } => self.tell_all(Order::RemoveRdd(rdd)),
            Command::RemoveBlock { executor, rdd, partition } => {
                self.tell(executor, Order::RemoveBlock(BlockId::Rdd(rdd, partition)));
            }
            Command::FetchResult { attempt, executor } => self.fetch_result(attempt, executor),
            Command::TimeUp { job } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.done.tell(JobNews::TimeUp);
                }
            }
            Command::Publish(event) => {
                self.report.publish(&event, &self.accumulators);
                if let SchedulerEvent::ExecutorRemoved { executor, .. } = event {
                    self.give_up(executor);
                }
            }
            Command::LetGo { executor } => self.give_up(executor),
            Command::EndJob { job, outcome } => self.end_job(job, outcome),
            Command::WantExecutors { executors } => self.want(executors),
            Command::IgnoreReport { .. } | Command::ReleaseBarrier { .. } => {}
            other => tracing::error!("the driver does not know the scheduler's command {other:?}"),
        }
    }

    /// Tells an executor. To one that is gone nothing needs to be told.
    fn tell(&mut self, executor: ExecutorId, order: Order) {
        if let Some(link) = self.executors.get_mut(&executor) {
            link.tell(order);
        }
    }

    fn tell_all(&mut self, order: Order) {
        self.executors.values_mut().for_each(|link| link.tell(order.clone()));
    }

    fn answer_commit(&mut self, attempt: AttemptId, allowed: bool) {
        if let Some(running) = self.running.get(&attempt) {
            self.tell(running.launch.executor, Order::Commit(attempt, allowed));
        }
    }

    fn count(&mut self, attempt: AttemptId, provisional: Option<JobId>) {
        let Some(left) = self.left.get_mut(&attempt) else { return };
        let updates = std::mem::take(&mut left.accumulators);
        if updates.is_empty() {
            return;
        }
        match provisional.and_then(|job| self.jobs.get_mut(&job)) {
            Some(job) => {
                let (stage, partition) = left.task;
                job.provisional.insert((stage, partition, attempt), updates);
            }
            None => self.merge(updates),
        }
    }

    fn merge(&self, updates: Vec<(AccumulatorId, Vec<u8>)>) {
        for (id, update) in updates {
            if let Some(accumulator) = self.accumulators.get(id)
                && let Some(Err(e)) = guarded("counting an accumulator", || accumulator.merge(&update))
            {
                tracing::error!("an update of accumulator {:?} is lost: {e}", accumulator.name());
            }
        }
    }

    fn launch(&mut self, launch: TaskLaunch) {
        if !self.executors.contains_key(&launch.executor) {
            // It is gone, of which the scheduler is told as soon as it has decided on what was told before.
            return;
        }
        let stage = self.stages.get(&launch.stage).map(|(stage, _)| stage.clone());
        let writes = stage.as_ref().and_then(|stage| match stage.spec.output {
            StageOutput::Shuffle(shuffle) => Some(shuffle),
            StageOutput::Result => None,
        });
        self.running.insert(launch.attempt, Running { launch, writes, killed: None });
        // Splits are written here, by code that may be the user's.
        let parcel = match panics::caught(|| self.parcel(&launch, stage)) {
            Ok(Ok(parcel)) => parcel,
            failed => {
                let message = match failed {
                    Ok(result) => result.err().map(|e| e.to_string()).unwrap_or_default(),
                    Err(panic) => panic.to_string(),
                };
                let failure = Failure::Error { message, fatal: true };
                self.running.remove(&launch.attempt);
                return self.feed(Event::AttemptFailed { attempt: launch.attempt, failure });
            }
        };
        let sent = self.executors.get_mut(&launch.executor).map(|link| panics::caught(|| link.launch(parcel)));
        self.launched_on.push(launch.executor);
        if let Some(Ok(Err(e))) = sent {
            let failure = Failure::Error { message: e.to_string(), fatal: true };
            self.running.remove(&launch.attempt);
            self.feed(Event::AttemptFailed { attempt: launch.attempt, failure });
        }
    }

    fn parcel(&mut self, launch: &TaskLaunch, stage: Option<Arc<Stage>>) -> Result<Parcel> {
        let stage =
            stage.ok_or_else(|| Error::InvalidArgument(format!("stage {} has no job any more", launch.stage)))?;
        let (split, splits) = stage.task_splits(launch.partition)?;
        let mut outputs = Vec::new();
        for shuffle in stage.shuffles() {
            let Some(known) = self.scheduler.map_outputs(shuffle) else { continue };
            let (version, bytes) = match self.outputs.get(&shuffle) {
                Some((version, bytes)) if *version == known.version => (*version, bytes.clone()),
                _ => {
                    let spread = self.spreads.get(&shuffle).copied().unwrap_or(0);
                    let bytes = Arc::new(encode(&self.places.outputs(&known, spread))?);
                    self.outputs.insert(shuffle, (known.version, bytes.clone()));
                    (known.version, bytes)
                }
            };
            outputs.push((shuffle, version, bytes));
        }
        let properties = self.jobs.get(&launch.job).map(|job| job.properties.clone()).unwrap_or_default();
        let task = TaskMsg {
            info: TaskInfo {
                job: launch.job,
                stage: launch.stage,
                stage_attempt: launch.stage_attempt,
                partition: launch.partition,
                partitions: stage.spec.tasks,
                attempt: launch.attempt,
                attempt_number: launch.attempt_number,
                executor: launch.executor,
                properties,
            },
            splits,
            split,
        };
        Ok(Parcel { task, stage: Arc::new(move || stage.bytes()), outputs })
    }

    fn end_job(&mut self, job: JobId, outcome: Outcome) {
        self.report.job_over(job);
        let Some(mut ended) = self.jobs.remove(&job) else { return };
        for (_, updates) in std::mem::take(&mut ended.provisional) {
            self.merge(updates);
        }
        let mut unused = Vec::new();
        for stage in &ended.stages {
            if let Some(known) = self.stages.get_mut(stage) {
                known.1 -= 1;
                if known.1 == 0 {
                    unused.extend(self.stages.remove(stage));
                    self.executors.values_mut().for_each(|link| link.forget_stage(*stage));
                }
            }
        }
        let news = match outcome {
            Outcome::Succeeded => Ok(()),
            Outcome::Failed(failure) => {
                let of = |id: &StageId| {
                    let known = self.stages.get(id);
                    known
                        .or_else(|| unused.iter().find(|(stage, _)| stage.spec.stage == *id))
                        .map(|(stage, _)| &**stage)
                };
                let (stage, last) = (failure.stage.as_ref().and_then(of), ended.stages.last().and_then(of));
                Err(Error::Job(Box::new(with_call_site(*failure, stage, last))))
            }
            Outcome::Cancelled(reason) => Err(Error::Cancelled { job, reason }),
        };
        // Gone before the action returns: its caller may look at what is left.
        let Job { mut done, results, .. } = ended;
        guarded("dropping a stage", || drop(unused));
        if news.is_err() {
            // Here, where a `Drop` of the user's that panics does no harm: nobody asks for the results of a job that failed.
            let useless = std::mem::take(&mut *lock(&results));
            guarded("dropping a result", || drop(useless));
        }
        drop(results);
        done.tell(JobNews::Ended(news));
    }
}
