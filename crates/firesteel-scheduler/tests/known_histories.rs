//! Histories that broke Spark, each by its issue's number.

mod support;

use firesteel_model::{PartitionIndex, RddId, ShuffleId};
use firesteel_scheduler::*;
use support::*;

/// A job of a map stage 0 with two tasks and a result stage 1 with two, the map stage done.
fn map_done(executors: u64, slots: u32) -> Hand {
    let mut hand = Hand::new(Config::default(), executors, slots);
    hand.submit(job(0, &[map_stage(0, 0, 2, Inputs::default()), result_stage(1, 2, reads(&[0]))]));
    hand.succeed_all(0);
    hand
}

#[test]
fn spark_20230_a_fetch_failure_of_an_old_stage_attempt_still_unregisters_the_output() {
    let mut hand = map_done(2, 2);
    let (first, second) = (hand.attempt(1, 0), hand.attempt(1, 1));
    let (one, other) = (hand.output(0, 0), hand.output(0, 1));
    hand.fetch_failed(first, 0, one, false);
    assert_eq!(hand.submitted(), [(0, 1)]);
    hand.succeed_all(0);
    assert_eq!(hand.running.iter().filter(|launch| launch.stage_attempt.0 == 1).count(), 2);
    // The zombie reports the other output; the present attempt goes on, and the output is made again.
    hand.fetch_failed(second, 0, other, false);
    assert!(hand.scheduler.map_output(ShuffleId(0), PartitionIndex(1)).is_none());
    assert!(hand.submitted().iter().all(|(stage, _)| *stage == 0), "{:?}", hand.out);
    // A report about an output that has been made again meanwhile tells nothing.
    let again = hand.attempt(1, 0);
    hand.fetch_failed(again, 0, one, false);
    assert!(hand.scheduler.map_output(ShuffleId(0), PartitionIndex(0)).is_some());
    hand.succeed_all(0);
    hand.succeed_all(1);
    assert!(hand.succeeded(0));
}

#[test]
fn spark_23433_and_25250_a_late_success_of_a_zombie_attempt_counts() {
    let mut hand = map_done(2, 1);
    let (first, zombie) = (hand.attempt(1, 0), hand.attempt(1, 1));
    let output = hand.output(0, 0);
    hand.fetch_failed(first, 0, output, false);
    hand.succeed_all(0);
    // One slot is free: task 0 of the new attempt runs, task 1 waits, the zombie still computes it.
    assert_eq!(hand.attempt(1, 0).stage_attempt.0, 1);
    hand.succeed(zombie);
    assert!(hand.out.iter().any(|command| matches!(command, Command::DeliverResult { index: 1, .. })));
    let last = hand.attempt(1, 0);
    hand.succeed(last);
    assert!(hand.succeeded(0), "task 1 is not run again");
    assert!(hand.running.is_empty());
}

#[test]
fn spark_23433_a_zombies_success_stops_its_twin_in_the_present_attempt() {
    let mut hand = map_done(2, 2);
    let (first, zombie) = (hand.attempt(1, 0), hand.attempt(1, 1));
    let output = hand.output(0, 0);
    hand.fetch_failed(first, 0, output, false);
    hand.succeed_all(0);
    let twin = hand.attempt(1, 1);
    assert_ne!(twin.attempt, zombie.attempt);
    hand.succeed(zombie);
    assert_eq!(hand.killed(), [twin.attempt]);
    hand.succeed(twin);
    assert_eq!(hand.out.iter().filter(|command| matches!(command, Command::DiscardAccumulators { .. })).count(), 1);
}

#[test]
fn spark_23811_a_fetch_failure_before_its_twins_success_does_not_hang_the_child() {
    let speculation = Speculation { quantile: 0.5, ..Speculation::default() };
    let mut hand = Hand::new(Config { speculation: Some(speculation), ..Config::default() }, 2, 2);
    let stages =
        [map_stage(0, 0, 1, Inputs::default()), map_stage(1, 1, 2, reads(&[0])), result_stage(2, 1, reads(&[1]))];
    hand.submit(job(0, &stages));
    hand.succeed_all(0);
    let (quick, original) = (hand.attempt(1, 0), hand.attempt(1, 1));
    hand.now += std::time::Duration::from_millis(10);
    hand.succeed(quick);
    hand.wait(1000);
    let twin = hand.attempt(1, 1);
    assert!(twin.speculative);
    let output = hand.output(0, 0);
    hand.fetch_failed(twin, 0, output, false);
    assert_eq!(hand.submitted(), [(0, 1)]);
    hand.succeed(original);
    // Both outputs of stage 1 are there, so stage 2 runs, whatever becomes of stage 0.
    assert_eq!(hand.running_of(2), [0]);
    hand.succeed_all(2);
    assert!(hand.succeeded(0));
}

#[test]
fn spark_19263_a_stage_has_one_task_set_at_a_time() {
    let mut hand = Hand::new(Config::default(), 3, 1);
    let stages =
        [map_stage(0, 0, 2, Inputs::default()), map_stage(1, 1, 2, reads(&[0])), result_stage(2, 1, reads(&[1]))];
    hand.submit(job(0, &stages));
    hand.succeed_all(0);
    let (failing, zombie) = (hand.attempt(1, 0), hand.attempt(1, 1));
    let output = hand.output(0, 0);
    hand.fetch_failed(failing, 0, output, false);
    hand.succeed_all(0);
    // Attempt 1 of stage 1 runs. The zombie succeeds, then its executor is lost, and its output with it.
    hand.succeed(zombie);
    hand.lose_executor(zombie.executor.0);
    let begun = hand.submitted();
    assert!(begun.iter().all(|(stage, _)| *stage != 1), "no second task set beside the first: {begun:?}");
    while let Some(launch) = hand.running.first().copied() {
        hand.succeed(launch);
    }
    assert!(hand.succeeded(0));
}

#[test]
fn spark_54556_a_rerun_with_other_data_rolls_back_what_followed() {
    let mut hand = Hand::new(Config::default(), 2, 2);
    let stages =
        [map_stage(0, 0, 2, Inputs::default()), map_stage(1, 1, 2, reads(&[0])), result_stage(2, 2, reads(&[1]))];
    hand.submit(job(0, &stages));
    hand.succeed_all(0);
    hand.succeed_all(1);
    let (done, running) = (hand.attempt(2, 0), hand.attempt(2, 1));
    hand.succeed(done);
    // Stage 1 lost an output, stage 0 as well; stage 0 comes out different when it is repeated.
    let (mine, its) = (hand.output(1, 0), hand.output(0, 1));
    hand.fetch_failed(running, 1, mine, false);
    let again = hand.attempt(1, 0);
    hand.fetch_failed(again, 0, its, false);
    let repeated = hand.attempt(0, 1);
    hand.succeed_with(repeated, 77);
    assert!(hand.out.contains(&Command::WithdrawResult { job: done.job, index: 0, attempt: done.attempt }));
    assert!(hand.out.contains(&Command::DiscardAccumulators { attempt: done.attempt }));
    assert!(hand.scheduler.map_output(ShuffleId(1), PartitionIndex(1)).is_none(), "made from what was read before");
    assert_eq!(hand.running_of(1), [0, 1]);
    hand.succeed_all(1);
    hand.succeed_all(2);
    assert!(hand.succeeded(0));
}

#[test]
fn a_rerun_with_the_same_data_rolls_nothing_back() {
    let mut hand = map_done(2, 1);
    let (done, running) = (hand.attempt(1, 0), hand.attempt(1, 1));
    hand.succeed(done);
    let output = hand.output(0, 0);
    hand.fetch_failed(running, 0, output, false);
    let repeated = hand.attempt(0, 0);
    hand.succeed_with(repeated, 0);
    assert!(!hand.out.iter().any(|command| matches!(command, Command::WithdrawResult { .. })));
    assert_eq!(hand.running_of(1), [1]);
}

#[test]
fn a_cached_partition_lost_after_its_parent_was_skipped_brings_the_parent_back() {
    let mut hand = Hand::new(Config::default(), 2, 1);
    let mut inputs = Inputs::default();
    let behind = inputs.push(Input::Shuffle(ShuffleId(0)));
    inputs.roots = vec![inputs.push(Input::Cache { rdd: RddId(5), partitions: 2, behind: vec![behind] })];
    let maps = map_stage(0, 0, 2, Inputs::default());
    hand.cache(0, 5, 0);
    hand.cache(1, 5, 1);
    hand.submit(job(0, &[maps, result_stage(1, 2, inputs)]));
    assert_eq!(hand.running_of(0), [0; 0], "its shuffle is hidden behind the cached RDD");
    // The block goes while the task that wants it runs; the task was told of no map output.
    let task = hand.attempt(1, 1);
    let message = "its shuffle was never made".to_owned();
    let fetch =
        FetchFailure { shuffle: ShuffleId(0), map: None, reduce: PartitionIndex(1), unreachable: false, message };
    hand.fail(task, Failure::FetchFailed(fetch));
    assert_eq!(hand.submitted(), [(0, 0)]);
    hand.succeed_all(1);
    hand.succeed_all(0);
    hand.succeed_all(1);
    assert!(hand.succeeded(0));
}
