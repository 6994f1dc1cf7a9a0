//! Executors and hosts on which tasks fail get no more of them.

mod support;

use firesteel_model::{ExecutorId, HostId};
use firesteel_scheduler::*;
use std::time::Duration;
use support::*;

fn excluding(change: impl FnOnce(&mut Exclusion)) -> Config {
    let mut rule = Exclusion { patience: Duration::from_millis(500), ..Exclusion::default() };
    change(&mut rule);
    Config { exclusion: Some(rule), max_task_failures: 10, ..Config::default() }
}

fn one_stage(tasks: u32) -> JobSpec {
    job(0, &[result_stage(0, tasks, Inputs::default())])
}

/// Who was excluded by the latest event.
fn excluded(hand: &Hand) -> Vec<SchedulerEvent> {
    let events = hand.out.iter().filter_map(|command| match command {
        Command::Publish(
            event @ (SchedulerEvent::ExecutorExcluded { .. }
            | SchedulerEvent::ExecutorExcludedForStage { .. }
            | SchedulerEvent::ExecutorUnexcluded { .. }
            | SchedulerEvent::NodeExcluded { .. }
            | SchedulerEvent::NodeExcludedForStage { .. }
            | SchedulerEvent::NodeUnexcluded { .. }),
        ) => Some(event.clone()),
        _ => None,
    });
    events.collect()
}

/// Lets the tasks that run on an executor fail until it gets no more of them.
fn fail_on(hand: &mut Hand, executor: u64) {
    while let Some(launch) = hand.running.iter().find(|launch| launch.executor.0 == executor).copied() {
        hand.error(launch);
    }
}

#[test]
fn a_task_that_failed_on_an_executor_runs_elsewhere_and_after_two_tasks_the_stage_does() {
    let mut hand = Hand::new(excluding(|_| {}), 2, 1);
    hand.submit(one_stage(4));
    let first = hand.running.iter().find(|launch| launch.executor.0 == 0).copied().unwrap();
    hand.error(first);
    assert_eq!(excluded(&hand), []);
    let second = hand.running.iter().find(|launch| launch.executor.0 == 0).copied().unwrap();
    assert_ne!(second.index, first.index, "another task is tried there");
    hand.error(second);
    let (stage, attempt, executor) = (second.stage, second.stage_attempt, ExecutorId(0));
    assert_eq!(excluded(&hand), [SchedulerEvent::ExecutorExcludedForStage { executor, failures: 2, stage, attempt }]);
    while let Some(launch) = hand.running.first().copied() {
        assert_eq!(launch.executor.0, 1);
        hand.succeed(launch);
    }
    assert!(hand.succeeded(0));
}

#[test]
fn without_the_setting_a_task_may_fail_where_it_has_failed() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    hand.submit(one_stage(1));
    for _ in 0..3 {
        hand.error(hand.attempt(0, 0));
    }
    hand.succeed(hand.attempt(0, 0));
    assert!(hand.succeeded(0));
}

#[test]
fn failed_fetches_and_killed_attempts_exclude_nobody() {
    let mut hand = Hand::new(excluding(|rule| rule.stage_tasks_per_executor = 1), 1, 1);
    hand.submit(job(0, &[map_stage(0, 0, 1, Inputs::default()), result_stage(1, 1, reads(&[0]))]));
    let launch = hand.attempt(0, 0);
    hand.tell(Event::AttemptKillAsked { attempt: launch.attempt, reason: "for a test".into() });
    hand.fail(launch, Failure::Killed { reason: "for a test".into() });
    hand.succeed(hand.attempt(0, 0));
    let output = hand.output(0, 0);
    hand.fetch_failed(hand.attempt(1, 0), 0, output, false);
    hand.succeed(hand.attempt(0, 0));
    hand.fail(hand.attempt(1, 0), Failure::CommitDenied);
    hand.succeed(hand.attempt(1, 0));
    assert!(hand.succeeded(0));
}

#[test]
fn two_excluded_executors_exclude_their_host_from_the_stage() {
    let mut hand = Hand::new(excluding(|rule| rule.stage_tasks_per_executor = 1), 0, 1);
    for (executor, host) in [(0, 0), (1, 0), (2, 0), (3, 1)] {
        hand.executor(executor, host, 1);
    }
    hand.submit(one_stage(8));
    fail_on(&mut hand, 0);
    fail_on(&mut hand, 1);
    let [.., SchedulerEvent::NodeExcludedForStage { host: HostId(0), executors: 2, .. }] = excluded(&hand)[..] else {
        panic!("{:?}", hand.out);
    };
    // What ran there may end; nothing else begins there.
    hand.succeed(hand.running.iter().find(|launch| launch.executor.0 == 2).copied().unwrap());
    while let Some(launch) = hand.running.first().copied() {
        assert_eq!(launch.executor.0, 3);
        hand.succeed(launch);
    }
    assert!(hand.succeeded(0));
}

#[test]
fn what_failed_in_a_stage_that_ended_well_is_held_against_its_executor_until_the_timeout() {
    let mut hand = Hand::new(excluding(|rule| rule.timeout = Duration::from_secs(60)), 2, 1);
    hand.submit(one_stage(3));
    fail_on(&mut hand, 0);
    while let Some(launch) = hand.running.first().copied() {
        hand.succeed(launch);
    }
    let executor = ExecutorId(0);
    assert_eq!(excluded(&hand), [SchedulerEvent::ExecutorExcluded { executor, failures: 2 }]);
    hand.submit(job(1, &[result_stage(1, 2, Inputs::default())]));
    assert_eq!(hand.running.iter().map(|launch| launch.executor.0).collect::<Vec<_>>(), [1]);
    hand.wait(59_999);
    assert_eq!(hand.running.len(), 1);
    hand.wait(1);
    assert_eq!(excluded(&hand), [SchedulerEvent::ExecutorUnexcluded { executor }]);
    assert_eq!(hand.running.len(), 2, "it is used again at once");
}

#[test]
fn what_failed_in_a_stage_that_was_given_up_is_held_against_nobody() {
    let mut hand =
        Hand::new(Config { max_task_failures: 2, ..excluding(|rule| rule.app_tasks_per_executor = 1) }, 2, 1);
    hand.submit(one_stage(1));
    hand.error(hand.attempt(0, 0));
    hand.error(hand.attempt(0, 0));
    assert_eq!(hand.failure(0).failures, 2);
    hand.submit(job(1, &[result_stage(1, 2, Inputs::default())]));
    assert_eq!(hand.running.len(), 2);
}

#[test]
fn executors_that_come_to_an_excluded_host_get_nothing_until_the_timeout() {
    let mut hand = Hand::new(
        excluding(|rule| {
            (rule.app_executors_per_host, rule.app_tasks_per_executor) = (1, 1);
            rule.timeout = Duration::from_millis(100);
        }),
        2,
        1,
    );
    hand.submit(one_stage(2));
    hand.error(hand.attempt(0, 0));
    hand.succeed_all(0);
    assert!(matches!(
        excluded(&hand)[..],
        [SchedulerEvent::ExecutorExcluded { .. }, SchedulerEvent::NodeExcluded { host: HostId(0), executors: 1 }]
    ));
    hand.executor(2, 0, 1);
    hand.submit(job(1, &[result_stage(1, 3, Inputs::default())]));
    assert_eq!(hand.running.len(), 1);
    hand.wait(100);
    assert_eq!(hand.running.len(), 3);
}

#[test]
fn an_idle_executor_is_replaced_where_a_task_may_run_on_none() {
    let mut hand = Hand::new(excluding(|rule| rule.task_failures_per_host = 9), 2, 1);
    hand.submit(one_stage(1));
    hand.error(hand.attempt(0, 0));
    hand.error(hand.attempt(0, 0));
    hand.wait(1);
    let removed = hand.out.iter().filter_map(|command| match command {
        Command::Publish(SchedulerEvent::ExecutorRemoved { executor, reason }) => Some((executor.0, reason.clone())),
        _ => None,
    });
    assert_eq!(removed.collect::<Vec<_>>(), [(0, LossReason::Excluded)]);
    assert_eq!(hand.running, []);
    hand.executor(2, 0, 1);
    hand.succeed(hand.attempt(0, 0));
    assert!(hand.succeeded(0));
    assert_eq!(hand.scheduler.next_deadline(), None);
}

#[test]
fn a_busy_executor_is_replaced_when_it_has_nothing_else_to_do() {
    let mut hand = Hand::new(excluding(|rule| rule.task_failures_per_host = 9), 1, 2);
    hand.submit(one_stage(2));
    hand.error(hand.attempt(0, 0));
    assert_eq!(hand.scheduler.footprint().executors, 1);
    hand.succeed(hand.attempt(0, 1));
    hand.wait(1);
    assert_eq!(hand.scheduler.footprint().executors, 0);
    hand.executor(1, 0, 1);
    hand.succeed(hand.attempt(0, 0));
    assert!(hand.succeeded(0));
}

#[test]
fn a_task_that_may_run_nowhere_fails_its_job_after_the_patience_and_names_who_is_excluded() {
    let mut hand = Hand::new(excluding(|rule| rule.task_failures_per_host = 9), 1, 2);
    hand.submit(one_stage(2));
    hand.error(hand.attempt(0, 0));
    hand.wait(499);
    assert_eq!(hand.outcome(0), None);
    hand.wait(1);
    let message = &hand.failure(0).message;
    for part in
        ["task 0 of stage 0", "executor 0 for this task", "boom", "excludeOnFailure", "unschedulableTaskSetTimeout"]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_task_that_all_hosts_are_excluded_for_fails_its_job_at_once() {
    let mut hand = Hand::new(excluding(|rule| rule.task_failures_per_host = 1), 2, 1);
    hand.submit(one_stage(1));
    hand.error(hand.attempt(0, 0));
    hand.error(hand.attempt(0, 0));
    let message = &hand.failure(0).message;
    assert!(message.contains("executor 0 with its host, for this task, executor 1 with its host"), "{message}");
    hand.submit(job(1, &[result_stage(1, 2, Inputs::default())]));
    hand.succeed_all(1);
    assert!(hand.succeeded(1), "others go on");
    let footprint = hand.scheduler.footprint();
    assert_eq!(footprint, Footprint { executors: 2, ..Footprint::default() });
}
