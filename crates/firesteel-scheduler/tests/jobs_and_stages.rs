//! Jobs and stages: what runs, what is skipped, shared, cancelled, given up, forgotten.

mod support;

use firesteel_model::{AttemptId, ExecutorId, HostId, JobId, PartitionIndex, RddId, ShuffleId, StageId};
use firesteel_scheduler::*;
use std::time::Duration;
use support::*;

#[test]
fn a_job_without_partitions_ends_at_once() {
    let mut hand = Hand::new(Config::default(), 0, 0);
    let mut spec = job(0, &[map_stage(0, 0, 3, Inputs::default()), result_stage(1, 0, reads(&[0]))]);
    hand.submit(spec.clone());
    assert!(hand.succeeded(0));
    (spec.job, spec.stages) = (JobId(1), Vec::new());
    hand.submit(spec);
    assert!(hand.succeeded(1));
}

#[test]
fn a_stage_starts_when_all_its_inputs_are_there() {
    let mut hand = Hand::new(Config::default(), 1, 4);
    let stages = [
        map_stage(0, 0, 1, Inputs::default()),
        map_stage(1, 1, 1, Inputs::default()),
        map_stage(2, 2, 0, Inputs::default()),
        result_stage(3, 1, reads(&[0, 1, 2])),
    ];
    hand.submit(job(0, &stages));
    let first = hand.attempt(0, 0);
    hand.succeed(first);
    assert_eq!(hand.running_of(3), [0; 0]);
    hand.succeed_all(1);
    assert_eq!(hand.running_of(3), [0], "a stage without tasks is done at once");
}

#[test]
fn a_shuffle_that_exists_is_skipped_and_may_be_left_out() {
    let mut hand = Hand::new(Config::default(), 1, 2);
    let maps = map_stage(0, 0, 2, Inputs::default());
    hand.submit(job(0, &[maps.clone(), result_stage(1, 1, reads(&[0]))]));
    hand.succeed_all(0);
    hand.succeed_all(1);
    hand.submit(job(1, &[maps, result_stage(2, 1, reads(&[0]))]));
    let started = hand.out.iter().find_map(|command| match command {
        Command::Publish(SchedulerEvent::JobStarted { skipped, .. }) => Some(*skipped),
        _ => None,
    });
    assert_eq!((started, hand.running_of(2).len()), (Some(1), 1));
    hand.submit(job(2, &[result_stage(3, 1, reads(&[0]))]));
    assert_eq!(hand.running_of(3), [0]);
}

#[test]
fn a_stage_that_runs_for_one_job_is_shared_by_another() {
    let mut hand = Hand::new(Config::default(), 1, 2);
    let maps = map_stage(0, 0, 2, Inputs::default());
    hand.submit(job(0, &[maps.clone(), result_stage(1, 1, reads(&[0]))]));
    hand.submit(job(1, &[maps, result_stage(2, 1, reads(&[0]))]));
    assert_eq!(hand.running_of(0), [0, 1]);
    // The job that began it is cancelled; the stage is still needed.
    hand.tell(Event::JobCancelled { job: JobId(0), reason: String::new() });
    assert!(hand.killed().is_empty());
    hand.succeed_all(0);
    hand.succeed_all(2);
    assert!(hand.succeeded(1));
}

#[test]
fn a_map_only_job_ends_with_its_shuffle() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    let maps = map_stage(0, 0, 2, Inputs::default());
    hand.submit(job(0, std::slice::from_ref(&maps)));
    hand.succeed_all(0);
    assert!(hand.succeeded(0));
    hand.submit(job(1, &[maps]));
    assert!(hand.succeeded(1), "it exists");
}

#[test]
fn a_task_that_fails_too_often_ends_its_job() {
    let mut hand = Hand::new(Config { max_task_failures: 3, ..Config::default() }, 1, 1);
    hand.submit(job(0, &[result_stage(0, 1, Inputs::default())]));
    for number in 0..3 {
        let launch = hand.attempt(0, 0);
        assert_eq!(launch.attempt_number, number);
        hand.error(launch);
    }
    let failure = hand.failure(0);
    assert_eq!((failure.failures, failure.attempt, &*failure.message), (3, Some(AttemptId(2)), "boom"));
    assert_eq!((failure.stage, failure.partition), (Some(StageId(0)), Some(PartitionIndex(0))));
}

#[test]
fn kills_denied_commits_and_lost_executors_are_not_the_tasks_fault() {
    let mut hand = Hand::new(Config { max_task_failures: 1, ..Config::default() }, 3, 1);
    hand.submit(job(0, &[result_stage(0, 1, Inputs::default())]));
    let first = hand.attempt(0, 0);
    hand.tell(Event::AttemptKillAsked { attempt: first.attempt, reason: "asked".into() });
    assert_eq!(hand.killed(), [first.attempt]);
    hand.fail(first, Failure::Killed { reason: "asked".into() });
    let second = hand.attempt(0, 0);
    hand.fail(second, Failure::CommitDenied);
    let third = hand.attempt(0, 0);
    hand.lose_executor(third.executor.0);
    hand.succeed_all(0);
    assert!(hand.succeeded(0));
}

#[test]
fn an_executor_that_the_program_brought_down_counts() {
    let mut hand = Hand::new(Config { max_task_failures: 1, ..Config::default() }, 2, 1);
    hand.submit(job(0, &[result_stage(0, 1, Inputs::default())]));
    let executor = hand.attempt(0, 0).executor;
    let reason = LossReason::Exited { message: "out of memory".into(), caused_by_app: true };
    hand.tell(Event::ExecutorLost { executor, reason, outputs_survive: false });
    assert!(hand.failure(0).message.contains("out of memory"));
}

#[test]
fn a_fatal_failure_ends_the_job_at_once() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    hand.submit(job(0, &[result_stage(0, 1, Inputs::default())]));
    let launch = hand.attempt(0, 0);
    hand.fail(launch, Failure::Error { message: "cannot be carried".into(), fatal: true });
    assert_eq!(hand.failure(0).message, "cannot be carried");
}

#[test]
fn a_stage_whose_fetches_keep_failing_is_given_up() {
    let mut hand = Hand::new(Config::default(), 1, 2);
    hand.submit(job(0, &[map_stage(0, 0, 1, Inputs::default()), result_stage(1, 1, reads(&[0]))]));
    for _ in 0..4 {
        hand.succeed_all(0);
        let (launch, output) = (hand.attempt(1, 0), hand.output(0, 0));
        hand.fetch_failed(launch, 0, output, false);
    }
    let failure = hand.failure(0);
    assert!(failure.message.contains("4 of its attempts in a row"), "{failure}");
    assert_eq!((failure.stage, failure.partition), (Some(StageId(1)), None));
}

#[test]
fn a_missing_block_costs_one_output_and_an_unreachable_executor_all_of_its_outputs() {
    let mut hand = Hand::new(Config::default(), 2, 2);
    hand.submit(job(0, &[map_stage(0, 0, 4, Inputs::default()), result_stage(1, 2, reads(&[0]))]));
    hand.succeed_all(0);
    let (launch, output) = (hand.attempt(1, 0), hand.output(0, 0));
    hand.fetch_failed(launch, 0, output, false);
    assert_eq!(hand.running_of(0), [0]);
    hand.succeed_all(0);
    let (launch, output) = (hand.attempt(1, 0), hand.output(0, 1));
    hand.fetch_failed(launch, 0, output, true);
    assert_eq!(hand.running_of(0).len(), 2, "half of the outputs were there");
}

#[test]
fn outputs_that_are_missing_one_after_another_cost_the_shuffle_before_the_stage_is_given_up() {
    let mut hand = Hand::new(Config::default(), 2, 4);
    hand.submit(job(0, &[map_stage(0, 0, 8, Inputs::default()), result_stage(1, 2, reads(&[0]))]));
    hand.succeed_all(0);
    for map in 0..2 {
        let (launch, output) = (hand.attempt(1, 0), hand.output(0, map));
        hand.fetch_failed(launch, 0, output, false);
        assert_eq!(hand.running_of(0), [map]);
        hand.succeed_all(0);
    }
    let (launch, output) = (hand.attempt(1, 0), hand.output(0, 2));
    hand.fetch_failed(launch, 0, output, false);
    let known = |map| hand.scheduler.map_output(ShuffleId(0), PartitionIndex(map)).is_some();
    assert!(!(0..8).any(known), "the stage has one attempt more");
    hand.succeed_all(0);
    hand.succeed_all(1);
    assert!(hand.succeeded(0));
}

#[test]
fn a_completion_from_before_the_loss_of_an_executors_outputs_is_no_output() {
    let mut hand = Hand::new(Config::default(), 1, 3);
    let stages =
        [map_stage(0, 0, 1, Inputs::default()), map_stage(1, 1, 1, Inputs::default()), result_stage(2, 1, reads(&[0]))];
    hand.submit(job(0, &stages[..1]));
    hand.succeed_all(0);
    hand.submit(job(1, &stages[1..2]));
    hand.submit(job(2, &[stages[0].clone(), stages[2].clone()]));
    let early = hand.attempt(1, 0);
    // A reader that was launched after an earlier loss elsewhere reports that the executor cannot be reached.
    hand.executor(7, 7, 1);
    hand.lose_executor(7);
    let reader = hand.attempt(2, 0);
    let output = hand.output(0, 0);
    hand.fetch_failed(reader, 0, output, true);
    hand.succeed(early);
    assert!(hand.scheduler.map_output(ShuffleId(1), PartitionIndex(0)).is_none());
    let again = hand.attempt(1, 0);
    hand.succeed(again);
    assert!(hand.succeeded(1));
}

#[test]
fn an_unreachable_executor_keeps_what_it_made_after_the_reader_began() {
    let mut hand = Hand::new(Config::default(), 2, 2);
    hand.submit(job(0, &[map_stage(0, 0, 4, Inputs::default()), result_stage(1, 2, reads(&[0]))]));
    hand.succeed_all(0);
    let outputs: Vec<_> = (0..4).map(|map| hand.output(0, map)).collect();
    let (readers, first) = ([hand.attempt(1, 0), hand.attempt(1, 1)], outputs[0]);
    let second = *outputs.iter().find(|output| output.executor != first.executor).unwrap();
    // Two executors do not reach each other, and the one is known before the other.
    hand.fetch_failed(readers[0], 0, first, true);
    let again = *hand.running.iter().find(|task| task.stage.0 == 0 && task.executor == second.executor).unwrap();
    hand.succeed(again);
    hand.fetch_failed(readers[1], 0, second, true);
    assert_eq!(hand.output(0, again.partition.0).attempt, again.attempt);
    assert!(hand.scheduler.map_output(ShuffleId(0), second.partition).is_none());
    hand.succeed_all(0);
    hand.succeed_all(1);
    assert!(hand.succeeded(0));
}

#[test]
fn a_lost_executor_costs_its_outputs_unless_they_survive() {
    for survive in [false, true] {
        let mut hand = Hand::new(Config::default(), 2, 1);
        hand.submit(job(0, &[map_stage(0, 0, 2, Inputs::default()), result_stage(1, 2, reads(&[0]))]));
        hand.succeed_all(0);
        let reason = LossReason::Released;
        hand.tell(Event::ExecutorLost { executor: ExecutorId(0), reason, outputs_survive: survive });
        assert_eq!(hand.scheduler.map_outputs(ShuffleId(0)).is_some(), survive);
        while let Some(launch) = hand.running.first().copied() {
            hand.succeed(launch);
        }
        assert!(hand.succeeded(0));
    }
}

#[test]
fn a_silent_executor_costs_its_outputs_unless_they_outlive_it() {
    for outputs_outlive in [false, true] {
        let timeout = Some(Duration::from_secs(1));
        let mut hand = Hand::new(Config { heartbeat_timeout: timeout, ..Config::default() }, 0, 1);
        let (executor, host) = (ExecutorId(0), HostId(0));
        hand.tell(Event::ExecutorRegistered { executor, host, rack: None, slots: 1, outputs_outlive });
        hand.submit(job(0, &[map_stage(0, 0, 2, Inputs::default())]));
        hand.succeed_all(0);
        hand.wait(1_000);
        assert_eq!(hand.scheduler.executors().count(), 0);
        assert_eq!(hand.scheduler.map_outputs(ShuffleId(0)).is_some(), outputs_outlive);
        // With the worker goes what it kept.
        let reason = LossReason::HostLost { message: "burnt".into() };
        hand.tell(Event::ExecutorLost { executor, reason, outputs_survive: false });
        assert!(hand.scheduler.map_outputs(ShuffleId(0)).is_none());
    }
}

#[test]
fn a_lost_host_takes_the_outputs_that_had_survived_its_executors() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    hand.executor(1, 0, 1);
    hand.submit(job(0, &[map_stage(0, 0, 2, Inputs::default())]));
    hand.succeed_all(0);
    let reason = LossReason::Released;
    hand.tell(Event::ExecutorLost { executor: ExecutorId(0), reason, outputs_survive: true });
    assert!(hand.scheduler.map_outputs(ShuffleId(0)).is_some());
    let host = HostId(0);
    hand.tell(Event::HostLost { host, reason: "burnt".into(), outputs_survive: false });
    assert!(hand.scheduler.map_output(ShuffleId(0), PartitionIndex(0)).is_none());
    assert!(hand.scheduler.map_output(ShuffleId(0), PartitionIndex(1)).is_none());
    assert_eq!(hand.scheduler.executors().count(), 0);
}

#[test]
fn a_snapshot_of_outputs_is_shared_until_they_change() {
    let mut hand = Hand::new(Config::default(), 1, 2);
    hand.submit(job(0, &[map_stage(0, 0, 2, Inputs::default()), result_stage(1, 2, reads(&[0]))]));
    let first = hand.attempt(0, 0);
    hand.succeed(first);
    assert!(hand.scheduler.map_outputs(ShuffleId(0)).is_none(), "one is missing");
    hand.succeed_all(0);
    let one = hand.scheduler.map_outputs(ShuffleId(0)).unwrap();
    let other = hand.scheduler.map_outputs(ShuffleId(0)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &other));
    let (launch, output) = (hand.attempt(1, 0), hand.output(0, 0));
    hand.fetch_failed(launch, 0, output, false);
    hand.succeed_all(0);
    assert!(hand.scheduler.map_outputs(ShuffleId(0)).unwrap().version > one.version);
}

#[test]
fn results_that_are_too_large_together_end_the_job() {
    let mut hand = Hand::new(Config { max_result_bytes: Some(25), ..Config::default() }, 1, 3);
    hand.submit(job(0, &[result_stage(0, 3, Inputs::default())]));
    hand.succeed_all(0);
    assert!(hand.failure(0).message.contains("driver.maxResultSize"), "{}", hand.failure(0));
}

#[test]
fn a_large_result_is_fetched_and_frees_its_slot_before() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    hand.submit(job(0, &[result_stage(0, 2, Inputs::default())]));
    let first = hand.attempt(0, 0).attempt;
    hand.tell(Event::AttemptSucceeded { attempt: first, success: Success::Result { bytes: 10, inline: false } });
    assert!(hand.out.contains(&Command::FetchResult { attempt: first, executor: ExecutorId(0) }));
    let second = hand.attempt(0, 1);
    hand.succeed(second);
    hand.tell(Event::AttemptFailed { attempt: first, failure: Failure::ResultLost });
    assert_eq!(hand.attempt(0, 0).attempt_number, 1, "it is made again");
    hand.succeed_all(0);
    assert!(hand.succeeded(0));
}

#[test]
fn cancellation_reaches_jobs_by_id_stage_group_tag_and_all() {
    let cancel = [
        (Event::JobCancelled { job: JobId(0), reason: "mine".into() }, "mine"),
        (Event::StageCancelled { stage: StageId(0), reason: None }, "because Stage 0 was cancelled"),
        (Event::GroupCancelled { group: "g".into(), reason: None, future: false }, "part of cancelled job group g"),
        (Event::TagCancelled { tag: "t".into(), reason: None, future: false }, "part of cancelled job tags t"),
        (Event::AllJobsCancelled { reason: "all".into() }, "all"),
    ];
    for (event, words) in cancel {
        let mut hand = Hand::new(Config::default(), 1, 1);
        let mut spec = job(0, &[result_stage(0, 2, Inputs::default())]);
        (spec.group, spec.tags) = (Some("g".into()), vec!["t".into()]);
        hand.submit(spec);
        let running = hand.attempt(0, 0);
        hand.tell(event);
        assert_eq!(hand.outcome(0), Some(&Outcome::Cancelled(words.into())));
        assert_eq!(hand.killed(), [running.attempt]);
        assert_eq!(hand.running.len(), 1, "its slot is taken until its end is told");
        hand.fail(running, Failure::Killed { reason: "cancelled".into() });
        assert_eq!(hand.scheduler.footprint().attempts, 0);
    }
}

#[test]
fn later_jobs_of_a_cancelled_group_or_tag_end_at_once_and_others_do_not() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    hand.tell(Event::GroupCancelled { group: "g".into(), reason: Some("why".into()), future: true });
    hand.tell(Event::TagCancelled { tag: "t".into(), reason: None, future: true });
    let mut spec = job(0, &[result_stage(0, 1, Inputs::default())]);
    spec.group = Some("g".into());
    hand.submit(spec.clone());
    (spec.job, spec.group, spec.tags) = (JobId(1), None, vec!["t".into()]);
    hand.submit(spec.clone());
    (spec.job, spec.tags) = (JobId(2), vec!["u".into()]);
    hand.submit(spec);
    assert_eq!(hand.outcome(0), Some(&Outcome::Cancelled("why".into())));
    assert_eq!(hand.outcome(1), Some(&Outcome::Cancelled("part of cancelled job tags t".into())));
    assert_eq!(hand.outcome(2), None);
}

#[test]
fn an_approximate_job_is_told_when_its_time_is_up_and_runs_on() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    let mut spec = job(0, &[result_stage(0, 2, Inputs::default())]);
    let partitions = spec.kind.partitions().to_vec();
    spec.kind = JobKind::Approximate { partitions, timeout: Duration::from_millis(50) };
    hand.submit(spec);
    assert_eq!(hand.scheduler.next_deadline(), Some(Duration::from_millis(50)));
    hand.wait(50);
    assert_eq!(hand.out, [Command::TimeUp { job: JobId(0) }]);
    hand.succeed_all(0);
    assert!(hand.succeeded(0));
}

#[test]
fn one_attempt_may_commit_a_tasks_output() {
    let mut hand = Hand::new(Config::default(), 2, 2);
    hand.submit(job(0, &[map_stage(0, 0, 1, Inputs::default()), result_stage(1, 2, reads(&[0]))]));
    hand.succeed_all(0);
    let (holder, other) = (hand.attempt(1, 0), hand.attempt(1, 1));
    let ask = |hand: &mut Hand, attempt| hand.tell(Event::CommitAsked { attempt })[0].clone();
    let yes = Command::AllowCommit { attempt: holder.attempt };
    assert_eq!(ask(&mut hand, holder.attempt), yes);
    assert_eq!(ask(&mut hand, holder.attempt), yes, "asked again");
    let output = hand.output(0, 0);
    hand.fetch_failed(other, 0, output, false);
    hand.succeed_all(0);
    // A new stage attempt runs; the task whose output a zombie commits waits for the zombie.
    assert_eq!(hand.running_of(1), [0, 1]);
    assert_eq!(hand.attempt(1, 0).attempt, holder.attempt);
    hand.error(holder);
    let heir = hand.attempt(1, 0);
    assert_eq!(ask(&mut hand, heir.attempt), Command::AllowCommit { attempt: heir.attempt });
    hand.succeed(heir);
    assert_eq!(ask(&mut hand, heir.attempt), Command::DenyCommit { attempt: heir.attempt }, "it has ended");
}

#[test]
fn lost_messages_are_noticed_by_heartbeats() {
    let timeout = Duration::from_secs(10);
    let mut hand = Hand::new(Config { heartbeat_timeout: Some(timeout), ..Config::default() }, 1, 1);
    hand.submit(job(0, &[result_stage(0, 1, Inputs::default())]));
    let lost = hand.attempt(0, 0);
    let beat = |number, running| Event::Heartbeat { executor: ExecutorId(0), number, running };
    hand.tell(beat(1, vec![]));
    assert_eq!(hand.running.len(), 1, "the launch may be on its way");
    hand.tell(beat(1, vec![]));
    assert_eq!(hand.attempt(0, 0).attempt, lost.attempt, "an old heartbeat tells nothing");
    hand.tell(beat(2, vec![]));
    let again = hand.attempt(0, 0);
    assert_ne!(again.attempt, lost.attempt);
    hand.tell(beat(3, vec![lost.attempt, again.attempt]));
    assert_eq!(hand.killed(), [lost.attempt], "nobody waits for it");
    hand.wait(9_999);
    assert_eq!(hand.scheduler.executors().count(), 1);
    hand.wait(1);
    assert_eq!(hand.scheduler.executors().count(), 0, "silent for too long");
    hand.tell(beat(4, vec![]));
    assert_eq!(hand.out, [Command::LetGo { executor: ExecutorId(0) }]);
}

#[test]
fn descriptions_that_cannot_be_used_are_refused_with_the_reason() {
    let bad = |stages: &[_], words: &str| {
        let mut hand = Hand::new(Config::default(), 1, 1);
        hand.submit(job(0, stages));
        let message = &hand.failure(0).message;
        assert!(message.contains(words), "{message}");
        assert_eq!(hand.scheduler.footprint().jobs, 0);
    };
    bad(&[result_stage(1, 1, reads(&[0]))], "reads shuffle 0, which no stage before it makes");
    let unused = Inputs { nodes: Vec::new(), roots: vec![3] };
    bad(&[result_stage(1, 1, unused)], "refers to one that does not exist");
    bad(&[result_stage(1, 1, Inputs::default()), result_stage(1, 1, Inputs::default())], "stands in it twice");
    let maps = map_stage(0, 0, 1, Inputs::default());
    bad(&[maps.clone(), map_stage(1, 0, 1, Inputs::default())], "makes shuffle 0, which another of its stages makes");
}

#[test]
fn a_barrier_is_refused_instead_of_waited_for() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    hand.submit(job(0, &[result_stage(0, 1, Inputs::default())]));
    let attempt = hand.attempt(0, 0).attempt;
    hand.tell(Event::BarrierReached { attempt });
    assert!(hand.failure(0).message.contains("not supported"));
}

#[test]
fn what_is_released_is_forgotten() {
    let mut hand = Hand::new(Config::default(), 2, 1);
    let mut inputs = Inputs::default();
    let behind = inputs.push(Input::Shuffle(ShuffleId(0)));
    inputs.roots = vec![inputs.push(Input::Cache { rdd: RddId(5), partitions: 2, behind: vec![behind] })];
    hand.submit(job(0, &[map_stage(0, 0, 2, Inputs::default()), result_stage(1, 2, inputs)]));
    hand.succeed_all(0);
    let last = hand.attempt(1, 1);
    hand.cache(0, 5, 0);
    hand.succeed_all(1);
    hand.tell(Event::ShuffleReleased(ShuffleId(0)));
    assert_eq!(hand.out, [Command::RemoveShuffle { shuffle: ShuffleId(0) }]);
    hand.tell(Event::RddReleased(RddId(5)));
    assert_eq!(hand.scheduler.footprint(), Footprint { executors: 2, ..Footprint::default() });
    // A block that comes later, of an attempt that has ended, is removed again.
    let (executor, rdd, partition) = (ExecutorId(1), RddId(5), PartitionIndex(1));
    hand.tell(Event::BlockCached { executor, rdd, partition, attempt: Some(last.attempt) });
    assert_eq!(hand.out, [Command::RemoveBlock { executor, rdd, partition }]);
}

#[test]
fn a_shuffle_released_while_a_job_uses_it_is_forgotten_after_the_job() {
    let mut hand = Hand::new(Config::default(), 1, 2);
    hand.submit(job(0, &[map_stage(0, 0, 1, Inputs::default()), result_stage(1, 1, reads(&[0]))]));
    hand.succeed_all(0);
    hand.tell(Event::ShuffleReleased(ShuffleId(0)));
    assert!(hand.out.is_empty());
    hand.succeed_all(1);
    assert!(hand.out.contains(&Command::RemoveShuffle { shuffle: ShuffleId(0) }));
    assert_eq!(hand.scheduler.footprint().shuffles, 0);
}

#[test]
fn events_about_what_is_not_known_are_ignored() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    let attempt = AttemptId(99);
    for event in [
        Event::JobCancelled { job: JobId(9), reason: String::new() },
        Event::StageCancelled { stage: StageId(9), reason: None },
        Event::AttemptKillAsked { attempt, reason: String::new() },
        Event::AttemptStarted { attempt },
        Event::AttemptFailed { attempt, failure: Failure::ResultLost },
        Event::BarrierReached { attempt },
        Event::ShuffleReleased(ShuffleId(9)),
        Event::BlockDropped { executor: ExecutorId(0), rdd: RddId(9), partition: PartitionIndex(9) },
        Event::ExecutorDecommissioning { executor: ExecutorId(0) },
        Event::ResourcesGranted { executors: 3 },
    ] {
        assert_eq!(hand.tell(event), []);
    }
    let success = Success::Result { bytes: 1, inline: true };
    assert_eq!(hand.tell(Event::AttemptSucceeded { attempt, success }), [Command::IgnoreReport { attempt }]);
}

/// A chain of shuffles, each read by the next.
fn chain(shuffles: u64) -> JobSpec {
    let mut stages: Vec<_> = (0..shuffles)
        .map(|id| map_stage(id, id, 1, if id == 0 { Inputs::default() } else { reads(&[id - 1]) }))
        .collect();
    stages.push(result_stage(shuffles, 1, reads(&[shuffles - 1])));
    job(0, &stages)
}

#[test]
fn a_lineage_of_ten_thousand_shuffles_is_an_ordinary_job() {
    let work = std::thread::Builder::new().stack_size(256 << 10);
    let test = || {
        let mut hand = Hand::new(Config::default(), 1, 1);
        hand.submit(chain(10_000));
        // All is lost in the middle, and everything is made again from the start.
        for stage in 0..5_000 {
            hand.succeed_all(stage);
        }
        hand.executor(1, 1, 1);
        hand.lose_executor(0);
        let (launch, output) = (hand.attempt(0, 0), PartitionIndex(0));
        assert!(hand.scheduler.map_output(ShuffleId(4_999), output).is_none());
        hand.succeed(launch);
        for stage in 1..=10_000 {
            hand.succeed_all(stage);
        }
        assert!(hand.succeeded(0));
        for shuffle in 0..10_000 {
            hand.tell(Event::ShuffleReleased(ShuffleId(shuffle)));
        }
        assert_eq!(hand.scheduler.footprint(), Footprint { executors: 1, ..Footprint::default() });
    };
    work.spawn(test).unwrap().join().unwrap();
}

#[test]
fn ten_thousand_partitions_over_a_chain_of_a_thousand_cached_rdds_are_an_ordinary_job() {
    let mut hand = Hand::new(Config::default(), 4, 4);
    let mut inputs = Inputs::default();
    let mut behind = inputs.push(Input::Shuffle(ShuffleId(0)));
    for rdd in 0..1000 {
        behind = inputs.push(Input::Cache { rdd: RddId(rdd), partitions: 10_000, behind: vec![behind] });
    }
    inputs.roots = vec![behind];
    hand.submit(job(0, &[map_stage(0, 0, 4, Inputs::default()), result_stage(1, 10_000, inputs)]));
    hand.succeed_all(0);
    hand.succeed_all(1);
    assert!(hand.succeeded(0));
}
