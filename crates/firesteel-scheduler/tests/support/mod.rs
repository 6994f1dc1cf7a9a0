//! Drives a scheduler by hand: short words for events, and memory of what was launched.
#![allow(dead_code, reason = "no test file uses all of it")]

use firesteel_model::{
    AttemptId, ExecutorId, HostId, JobFailure, JobId, PartitionIndex, ShuffleId, StageAttempt, StageId,
};
use firesteel_scheduler::*;
use std::{sync::Arc, time::Duration};

pub(crate) struct Hand {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Duration,
    /// Attempts that were launched and whose end was not told.
    pub(crate) running: Vec<TaskLaunch>,
    pub(crate) ended: Vec<(JobId, Outcome)>,
    /// What the latest event led to.
    pub(crate) out: Vec<Command>,
}

/// A description of a stage that makes a shuffle.
pub(crate) fn map_stage(stage: u64, shuffle: u64, tasks: u32, inputs: Inputs) -> Arc<StageSpec> {
    let output = StageOutput::Shuffle(ShuffleId(shuffle));
    Arc::new(StageSpec { stage: StageId(stage), output, tasks, inputs, preferences: None })
}

/// A description of a stage that makes results.
pub(crate) fn result_stage(stage: u64, tasks: u32, inputs: Inputs) -> Arc<StageSpec> {
    Arc::new(StageSpec { stage: StageId(stage), output: StageOutput::Result, tasks, inputs, preferences: None })
}

pub(crate) fn reads(shuffles: &[u64]) -> Inputs {
    Inputs::of_shuffles(shuffles.iter().copied().map(ShuffleId))
}

/// A job that wants all partitions of its last stage.
pub(crate) fn job(id: u64, stages: &[Arc<StageSpec>]) -> JobSpec {
    let last = stages.last().expect("a job has a stage");
    let kind = match last.output {
        StageOutput::Result => JobKind::Result { partitions: (0..last.tasks).map(PartitionIndex).collect() },
        StageOutput::Shuffle(_) => JobKind::MapOnly,
    };
    JobSpec { job: JobId(id), kind, stages: stages.to_vec(), pool: "default".into(), group: None, tags: Vec::new() }
}

impl Hand {
    /// A scheduler with so many executors, each on a host of its own, with so many slots.
    pub(crate) fn new(config: Config, executors: u64, slots: u32) -> Self {
        let mut hand = Hand {
            scheduler: Scheduler::new(config),
            now: Duration::ZERO,
            running: Vec::new(),
            ended: Vec::new(),
            out: Vec::new(),
        };
        for executor in 0..executors {
            hand.executor(executor, executor as u32, slots);
        }
        hand
    }

    pub(crate) fn executor(&mut self, executor: u64, host: u32, slots: u32) {
        let (executor, host) = (ExecutorId(executor), HostId(host));
        self.tell(Event::ExecutorRegistered { executor, host, rack: None, slots, outputs_outlive: false });
    }

    pub(crate) fn tell(&mut self, event: Event) -> &[Command] {
        self.out.clear();
        self.scheduler.handle(self.now, event, &mut self.out);
        for command in &self.out {
            match command {
                Command::Launch(launch) => self.running.push(*launch),
                Command::EndJob { job, outcome } => self.ended.push((*job, outcome.clone())),
                Command::Publish(SchedulerEvent::TaskEnded { launch, .. }) => {
                    self.running.retain(|running| running.attempt != launch.attempt);
                }
                _ => {}
            }
        }
        &self.out
    }

    pub(crate) fn submit(&mut self, spec: JobSpec) {
        self.tell(Event::JobSubmitted(spec));
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.tell(Event::DeadlineReached);
    }

    /// The running attempt of a task; the latest if there are several.
    pub(crate) fn attempt(&self, stage: u64, index: u32) -> TaskLaunch {
        let found = self.running.iter().rev().find(|launch| launch.stage.0 == stage && launch.index == index);
        *found.unwrap_or_else(|| panic!("task {index} of stage {stage} does not run; running: {:?}", self.running))
    }

    pub(crate) fn running_of(&self, stage: u64) -> Vec<u32> {
        self.running.iter().filter(|launch| launch.stage.0 == stage).map(|launch| launch.index).collect()
    }

    pub(crate) fn succeed(&mut self, launch: TaskLaunch) -> &[Command] {
        self.succeed_with(launch, 0)
    }

    pub(crate) fn succeed_with(&mut self, launch: TaskLaunch, checksum: u64) -> &[Command] {
        let is_map =
            matches!(self.scheduler.stage(launch.stage).map(|spec| spec.output), Some(StageOutput::Shuffle(_)));
        let success = match is_map {
            true => Success::MapOutput { sizes: MapSizes::Total(1000), checksum },
            false => Success::Result { bytes: 10, inline: true },
        };
        self.tell(Event::AttemptSucceeded { attempt: launch.attempt, success })
    }

    /// Lets every running attempt of a stage succeed, and those that follow, until none runs.
    pub(crate) fn succeed_all(&mut self, stage: u64) {
        while let Some(launch) = self.running.iter().find(|launch| launch.stage.0 == stage).copied() {
            self.succeed(launch);
        }
    }

    pub(crate) fn fail(&mut self, launch: TaskLaunch, failure: Failure) -> &[Command] {
        self.tell(Event::AttemptFailed { attempt: launch.attempt, failure })
    }

    pub(crate) fn error(&mut self, launch: TaskLaunch) {
        self.fail(launch, Failure::Error { message: "boom".into(), fatal: false });
    }

    /// A task could not fetch this map output.
    pub(crate) fn fetch_failed(
        &mut self,
        launch: TaskLaunch,
        shuffle: u64,
        map: MapRef,
        unreachable: bool,
    ) -> &[Command] {
        let message = "gone".to_owned();
        let (shuffle, reduce) = (ShuffleId(shuffle), launch.partition);
        let fetch = FetchFailure { shuffle, map: Some(map), reduce, unreachable, message };
        self.fail(launch, Failure::FetchFailed(fetch))
    }

    /// Where a map output is, by its exact name.
    pub(crate) fn output(&self, shuffle: u64, map: u32) -> MapRef {
        let partition = PartitionIndex(map);
        let location = self.scheduler.map_output(ShuffleId(shuffle), partition).expect("the output exists");
        MapRef { partition, attempt: location.attempt, executor: location.executor }
    }

    pub(crate) fn lose_executor(&mut self, executor: u64) -> &[Command] {
        let reason = LossReason::Exited { message: "killed".into(), caused_by_app: false };
        self.tell(Event::ExecutorLost { executor: ExecutorId(executor), reason, outputs_survive: false })
    }

    pub(crate) fn cache(&mut self, executor: u64, rdd: u64, partition: u32) {
        self.tell(Event::BlockCached {
            executor: ExecutorId(executor),
            rdd: firesteel_model::RddId(rdd),
            partition: PartitionIndex(partition),
            attempt: None,
        });
    }

    pub(crate) fn outcome(&self, job: u64) -> Option<&Outcome> {
        self.ended.iter().find(|(id, _)| id.0 == job).map(|(_, outcome)| outcome)
    }

    pub(crate) fn failure(&self, job: u64) -> &JobFailure {
        match self.outcome(job) {
            Some(Outcome::Failed(failure)) => failure,
            other => panic!("job {job} did not fail: {other:?}"),
        }
    }

    pub(crate) fn succeeded(&self, job: u64) -> bool {
        self.outcome(job) == Some(&Outcome::Succeeded)
    }

    /// The stage attempts that the latest event began.
    pub(crate) fn submitted(&self) -> Vec<(u64, u32)> {
        let stages = self.out.iter().filter_map(|command| match command {
            Command::Publish(SchedulerEvent::StageSubmitted { stage, attempt: StageAttempt(attempt), .. }) => {
                Some((stage.0, *attempt))
            }
            _ => None,
        });
        stages.collect()
    }

    pub(crate) fn killed(&self) -> Vec<AttemptId> {
        let killed = self.out.iter().filter_map(|command| match command {
            Command::Kill { attempt, .. } => Some(*attempt),
            _ => None,
        });
        killed.collect()
    }
}
