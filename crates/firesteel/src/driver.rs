//! The driver's loop: one thread that feeds the scheduler with what happens and does what it says.

use crate::{
    clock::Clock,
    engine::Accumulators,
    executor::{LocalExecutor, Parcel, TaskEnd, TaskMsg, encode},
    footprint::Footprint,
    graph::lock,
    panics::{self, guarded},
    plan::Stage,
    properties::Properties,
    report::{Reporter, with_call_site},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use firesteel_model::{
    AccumulatorId, AttemptId, BlockId, Error, HostId, JobId, PartitionIndex, RddId, Result, ShuffleId, StageAttempt,
    StageId, StorageLevel,
};
use firesteel_rdd::{KillFlag, MapWritten, Output, TaskFailure, TaskInfo};
use firesteel_scheduler::{
    Command, Event, Failure, FetchFailure, JobKind, JobSpec, MapRef, MapSizes, Outcome, Scheduler, Success, TaskLaunch,
};
use firesteel_store::BlockStatus;
use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

/// So many attempts at a task may find a kept partition damaged before that counts as a failure of the task.
const MOST_DAMAGED: u32 = 3;

/// How long the context's end waits for tasks that were told to stop.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// What the loop is told.
pub(crate) enum Msg {
    /// A job, from an action's thread.
    Submit(Box<Submission>),
    /// A task attempt ended.
    TaskEnded(Box<TaskEnd>),
    /// A task asks whether it may commit its output.
    MayCommit(AttemptId, Sender<bool>),
    /// A block left memory to make room; what it takes now, if it is still kept.
    BlockEvicted(BlockId, Option<BlockStatus>),
    /// Nobody holds the RDD any more.
    ReleaseRdd(RddId),
    /// The RDD's blocks shall go; told when they are gone.
    Unpersist(RddId, Sender<()>),
    /// Nobody holds the shuffle any more.
    ReleaseShuffle(ShuffleId),
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
    kill: KillFlag,
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

/// The loop's state.
pub(crate) struct Driver {
    scheduler: Scheduler,
    clock: Clock,
    messages: Receiver<Msg>,
    accumulators: Arc<Accumulators>,
    executor: Arc<LocalExecutor>,
    parcels: Option<Sender<Parcel>>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected when all threads have ended.
    threads_end: Receiver<Infallible>,
    jobs: HashMap<JobId, Job>,
    stages: HashMap<StageId, (Arc<Stage>, usize)>,
    running: HashMap<AttemptId, Running>,
    left: HashMap<AttemptId, Left>,
    commit_asked: HashMap<AttemptId, Sender<bool>>,
    outputs: HashMap<ShuffleId, (u64, Arc<Vec<u8>>)>,
    report: Reporter,
}

impl Driver {
    pub(crate) fn new(
        scheduler: Scheduler,
        clock: Clock,
        messages: Receiver<Msg>,
        accumulators: Arc<Accumulators>,
        executor: Arc<LocalExecutor>,
        slots: usize,
        report: Reporter,
    ) -> Result<Self> {
        let (parcels, tasks) = crossbeam_channel::unbounded();
        let mut threads = Vec::with_capacity(slots);
        let (alive, threads_end) = crossbeam_channel::bounded(0);
        for i in 0..slots {
            let (executor, tasks, alive) = (executor.clone(), tasks.clone(), alive.clone());
            let thread = std::thread::Builder::new()
                .name(format!("firesteel-task-{i}"))
                .stack_size(8 << 20)
                .spawn(move || {
                    executor.work(&tasks);
                    drop(alive);
                })
                .map_err(|e| crate::settings::too_few_threads(i, slots, e))?;
            threads.push(thread);
        }
        let mut driver = Driver {
            scheduler,
            clock,
            messages,
            accumulators,
            executor,
            parcels: Some(parcels),
            threads,
            threads_end,
            jobs: HashMap::new(),
            stages: HashMap::new(),
            running: HashMap::new(),
            left: HashMap::new(),
            commit_asked: HashMap::new(),
            outputs: HashMap::new(),
            report,
        };
        driver.feed(Event::ExecutorRegistered {
            executor: driver.executor.shared.id,
            host: HostId(0),
            rack: None,
            slots: slots as u32,
        });
        Ok(driver)
    }

    /// Runs until the context ends.
    pub(crate) fn run(mut self) {
        crate::engine::on_drivers_thread();
        loop {
            let wait = self.scheduler.next_deadline().and_then(|at| self.clock.until(at));
            let msg = match wait {
                None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => self.messages.recv_timeout(wait),
            };
            match msg {
                Ok(Msg::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(msg) => self.handle(msg),
                Err(RecvTimeoutError::Timeout) => self.feed(Event::DeadlineReached),
            }
        }
        self.shut_down();
    }

    fn shut_down(&mut self) {
        let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
        if !jobs.is_empty() {
            self.feed(Event::AllJobsCancelled { reason: "because the context was shut down".into() });
        }
        for running in self.running.values_mut() {
            running.killed.get_or_insert_with(|| "the context was shut down".into());
            running.kill.kill();
        }
        self.commit_asked.clear();
        self.parcels = None;
        // Tasks may ask while they end, and are answered: one that waits for its commit does not look at its kill flag.
        let (threads_end, messages) = (self.threads_end.clone(), self.messages.clone());
        let patience = crossbeam_channel::after(LAST_WAIT);
        loop {
            crossbeam_channel::select! {
                recv(threads_end) -> _ => break,
                recv(messages) -> msg => match msg {
                    Ok(msg) => self.last_words(msg),
                    Err(_) => break,
                },
                recv(patience) -> _ => {
                    tracing::warn!(
                        "tasks that run have not stopped within {LAST_WAIT:?} after the context's end ({} of them): they do not look \
                         at `TaskContext::is_interrupted`, and are left to themselves",
                        self.running.len()
                    );
                    self.threads.retain(JoinHandle::is_finished);
                    break;
                }
            }
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for (_, mut job) in self.jobs.drain() {
            job.done.tell(JobNews::Ended(Err(Error::Stopped("it was stopped while a job was running".into()))));
        }
        while let Ok(msg) = self.messages.try_recv() {
            self.last_words(msg);
        }
        // From here on whoever asks is told so at once; listeners, who are told the rest now, may ask.
        drop(messages);
        self.messages = crossbeam_channel::never();
        self.report.stopped();
    }

    /// What comes while the loop is ending is answered, not left to wait.
    fn last_words(&mut self, msg: Msg) {
        match msg {
            Msg::Submit(mut job) => {
                let stopped = Error::Stopped("it was stopped while a job was submitted".into());
                job.done.tell(JobNews::Ended(Err(stopped)));
            }
            Msg::MayCommit(_, answer) => {
                let _ = answer.send(false);
            }
            Msg::TaskEnded(end) => self.task_ended(*end),
            _ => {}
        }
    }

    fn handle(&mut self, msg: Msg) {
        match msg {
            Msg::Submit(submission) => self.submit(*submission),
            Msg::TaskEnded(end) => self.task_ended(*end),
            Msg::MayCommit(attempt, answer) => {
                self.commit_asked.insert(attempt, answer);
                self.feed(Event::CommitAsked { attempt });
            }
            Msg::ReleaseRdd(rdd) => {
                self.feed(Event::RddReleased(rdd));
            }
            Msg::Unpersist(rdd, done) => {
                self.feed(Event::RddReleased(rdd));
                let _ = done.send(());
            }
            Msg::ReleaseShuffle(shuffle) => self.feed(Event::ShuffleReleased(shuffle)),
            Msg::BlockEvicted(block, status) => {
                self.report.block(block, status);
                if let (BlockId::Rdd(rdd, partition), None) = (block, status) {
                    self.feed(Event::BlockDropped { executor: self.executor.shared.id, rdd, partition });
                }
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
            Msg::Stop => {}
        }
    }

    fn footprint(&self) -> Footprint {
        let known = self.scheduler.footprint();
        Footprint {
            jobs: known.jobs + self.jobs.len(),
            stages: known.stages + self.stages.len(),
            attempts: known.attempts + self.running.len() + self.left.len() + self.commit_asked.len(),
            shuffles: known.shuffles + self.outputs.len() + self.executor.known_outputs(),
            known_blocks: known.blocks,
            other: known.other,
            ..Footprint::default()
        }
    }

    fn submit(&mut self, new: Submission) {
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
        self.commit_asked.remove(&end.attempt);
        for (block, _, status) in &end.blocks {
            // It may have had to make room since.
            let now = self.executor.shared.blocks.status(*block);
            let gone = BlockStatus { level: StorageLevel::NONE, memory_bytes: 0, disk_bytes: 0 };
            let status = if status.level == StorageLevel::NONE { status } else { &now.unwrap_or(gone) };
            self.report.block(*block, Some(*status));
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
        let event = match end.outcome {
            Ok(output) => {
                let success = match output.downcast_ref::<MapWritten>() {
                    Some(written) => {
                        Success::MapOutput { sizes: MapSizes::of(&written.sizes), checksum: written.checksum }
                    }
                    None => Success::Result { bytes: end.metrics.result_size, inline: true },
                };
                let task = (launch.stage, launch.partition);
                self.left.insert(attempt, Left { output: Some(output), task, accumulators: end.accumulators });
                Event::AttemptSucceeded { attempt, success }
            }
            Err(failure) => Event::AttemptFailed { attempt, failure: self.failure(failure, &launch, running.killed) },
        };
        self.feed(event);
        let left = self.left.remove(&attempt);
        guarded("dropping a result", || drop(left));
        self.report.attempt_over(attempt);
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
            TaskFailure::Fetch { shuffle, map, attempt, message } => Failure::FetchFailed(FetchFailure {
                shuffle,
                map: attempt.map(|attempt| MapRef { partition: map, attempt, executor: self.executor.shared.id }),
                reduce: launch.partition,
                unreachable: false,
                message,
            }),
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
            Command::Kill { attempt, reason, .. } => {
                if let Some(running) = self.running.get_mut(&attempt) {
                    running.killed = Some(reason);
                    running.kill.kill();
                }
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
            Command::InvalidateOutput { shuffle, map, attempt, .. } => {
                let shuffles = &self.executor.shared.shuffles;
                guarded("dropping a map output", || shuffles.remove_output(shuffle, map, attempt));
            }
            Command::RemoveShuffle { shuffle } => {
                self.outputs.remove(&shuffle);
                self.executor.forget_outputs(shuffle);
                let shuffles = &self.executor.shared.shuffles;
                guarded("dropping a shuffle", || shuffles.remove_shuffle(shuffle));
            }
            Command::RemoveRdd { rdd } => {
                let blocks = &self.executor.shared.blocks;
                guarded("dropping the blocks of an RDD", || blocks.remove_rdd(rdd));
            }
            Command::RemoveBlock { rdd, partition, .. } => {
                let block = BlockId::Rdd(rdd, partition);
                let blocks = &self.executor.shared.blocks;
                let mut removed = false;
                guarded("dropping a block", || removed = blocks.remove(block).is_some());
                if removed {
                    self.report.block(block, None);
                }
            }
            Command::TimeUp { job } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.done.tell(JobNews::TimeUp);
                }
            }
            Command::Publish(event) => self.report.publish(&event, &self.accumulators),
            Command::EndJob { job, outcome } => self.end_job(job, outcome),
            // Results come with the task's end in one process, and the number of executors is fixed: nothing to do.
            Command::IgnoreReport { .. }
            | Command::FetchResult { .. }
            | Command::ReleaseBarrier { .. }
            | Command::WantExecutors { .. }
            | Command::LetGo { .. } => {}
            other => tracing::error!("the driver does not know the scheduler's command {other:?}"),
        }
    }

    fn answer_commit(&mut self, attempt: AttemptId, allowed: bool) {
        if let Some(answer) = self.commit_asked.remove(&attempt) {
            let _ = answer.send(allowed);
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
        let kill = KillFlag::default();
        self.running.insert(launch.attempt, Running { launch, kill: kill.clone(), killed: None });
        // Splits are written here, by code that may be the user's.
        let parcel = match panics::caught(|| self.parcel(&launch, kill)) {
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
        if let Some(parcels) = &self.parcels {
            let _ = parcels.send(parcel);
        }
    }

    fn parcel(&mut self, launch: &TaskLaunch, kill: KillFlag) -> Result<Parcel> {
        let Some((stage, _)) = self.stages.get(&launch.stage) else {
            return Err(Error::InvalidArgument(format!("stage {} has no job any more", launch.stage)));
        };
        let stage = stage.clone();
        let (split, splits) = stage.task_splits(launch.partition)?;
        let mut outputs = Vec::new();
        for shuffle in stage.shuffles() {
            let Some(known) = self.scheduler.map_outputs(shuffle) else { continue };
            let (version, bytes) = match self.outputs.get(&shuffle) {
                Some((version, bytes)) if *version == known.version => (*version, bytes.clone()),
                _ => {
                    let attempts = known.outputs.iter().map(|output| output.attempt).collect();
                    let bytes = Arc::new(encode(&firesteel_rdd::MapOutputs { attempts })?);
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
            shuffles: outputs.iter().map(|(shuffle, version, _)| (*shuffle, *version)).collect(),
        };
        Ok(Parcel { task: encode(&task)?, stage: Arc::new(move || stage.bytes()), outputs, kill })
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
