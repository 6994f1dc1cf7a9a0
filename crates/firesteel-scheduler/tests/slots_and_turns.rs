//! Who gets a slot: locality and its waits, FIFO and FAIR pools, speculation.

mod support;

use firesteel_model::{ExecutorId, HostId, JobId, PartitionIndex, RddId, ShuffleId, StageId};
use firesteel_scheduler::*;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::*;

fn preferring(stage: u64, lists: Vec<Vec<Preference>>) -> Arc<StageSpec> {
    let spec = result_stage(stage, lists.len() as u32, Inputs::default());
    Arc::new(StageSpec { preferences: Some(lists.into()), ..(*spec).clone() })
}

fn host(host: u32) -> Vec<Preference> {
    vec![Preference::Host(HostId(host))]
}

#[test]
fn a_task_goes_to_the_executor_that_caches_its_partition() {
    let mut hand = Hand::new(Config::default(), 4, 1);
    for partition in 0..4 {
        hand.cache(3 - u64::from(partition), 1, partition);
    }
    let lists = (0..4).map(|p| vec![Preference::Cached(RddId(1), PartitionIndex(p)), Preference::Host(HostId(0))]);
    hand.submit(job(0, &[preferring(0, lists.collect())]));
    for index in 0..4 {
        let launch = hand.attempt(0, index);
        assert_eq!((launch.executor.0, launch.locality), (3 - u64::from(index), Locality::ProcessLocal));
    }
}

#[test]
fn a_preference_that_names_nothing_alive_gives_way_to_the_next() {
    let mut hand = Hand::new(Config::default(), 2, 1);
    let list = vec![Preference::Cached(RddId(1), PartitionIndex(0)), Preference::Host(HostId(1))];
    hand.submit(job(0, &[preferring(0, vec![list])]));
    let launch = hand.attempt(0, 0);
    assert_eq!((launch.executor.0, launch.locality), (1, Locality::NodeLocal));
}

#[test]
fn a_reduce_task_goes_to_where_most_of_its_input_is() {
    let mut hand = Hand::new(Config::default(), 2, 1);
    let maps = map_stage(0, 0, 2, Inputs::default());
    let lists: Vec<_> = (0..2).map(|p| vec![Preference::Reduce(ShuffleId(0), PartitionIndex(p))]).collect();
    let spec = result_stage(1, 2, reads(&[0]));
    let reduces = Arc::new(StageSpec { preferences: Some(lists.into()), ..(*spec).clone() });
    hand.submit(job(0, &[maps, reduces]));
    // Each map task's output is all for the other reduce partition than its own number.
    for map in 0..2 {
        let launch = hand.attempt(0, map);
        let sizes = MapSizes::of(&[u64::from(map) * 10_000, (1 - u64::from(map)) * 10_000]);
        hand.tell(Event::AttemptSucceeded {
            attempt: launch.attempt,
            success: Success::MapOutput { sizes, checksum: 0 },
        });
    }
    for map in 0..2 {
        assert_eq!(hand.attempt(1, 1 - map).executor, hand.output(0, map).executor);
        assert_eq!(hand.attempt(1, map).locality, Locality::ProcessLocal);
    }
}

#[test]
fn a_slot_far_from_the_data_is_left_free_for_the_wait_and_not_longer() {
    let wait = LocalityWait { process: Duration::ZERO, node: Duration::from_millis(300), rack: Duration::ZERO };
    let mut hand = Hand::new(Config { locality_wait: wait, ..Config::default() }, 2, 1);
    hand.submit(job(0, &[preferring(0, vec![host(0), host(0)])]));
    assert_eq!(hand.running_of(0), [0]);
    assert_eq!(hand.scheduler.next_deadline(), Some(Duration::from_millis(300)));
    hand.wait(299);
    assert_eq!(hand.running_of(0), [0]);
    hand.wait(1);
    let launch = hand.attempt(0, 1);
    assert_eq!((launch.executor.0, launch.locality), (1, Locality::Any));
}

#[test]
fn a_host_without_executors_is_not_waited_for() {
    let mut hand = Hand::new(Config::default(), 1, 1);
    hand.submit(job(0, &[preferring(0, vec![host(9)])]));
    assert_eq!(hand.attempt(0, 0).locality, Locality::Any);
    assert_eq!(hand.scheduler.next_deadline(), None);
}

#[test]
fn levels_are_waited_for_one_after_the_other() {
    let mut hand =
        Hand::new(Config { locality_wait: LocalityWait::all(Duration::from_millis(100)), ..Config::default() }, 0, 0);
    for (executor, host, rack) in [(0, 0, 0), (1, 0, 0), (2, 1, 0), (3, 2, 1)] {
        let (executor, host, rack) = (ExecutorId(executor), HostId(host), Some(RackId(rack)));
        hand.tell(Event::ExecutorRegistered { executor, host, rack, slots: 1, outputs_outlive: false });
    }
    let mine = vec![Preference::Executor(ExecutorId(0))];
    hand.submit(job(0, &[preferring(0, vec![mine; 4])]));
    let expected = [Locality::ProcessLocal, Locality::NodeLocal, Locality::RackLocal, Locality::Any];
    for (index, locality) in (0..).zip(expected) {
        let launch = hand.attempt(0, index);
        assert_eq!((launch.executor.0, launch.locality), (u64::from(index), locality));
        hand.wait(100);
    }
}

#[test]
fn tasks_that_do_not_care_fill_the_slots_that_others_refuse() {
    let mut hand = Hand::new(Config::default(), 2, 1);
    hand.submit(job(0, &[preferring(0, vec![host(0), host(0), vec![]])]));
    assert_eq!(hand.attempt(0, 2).locality, Locality::NoPref);
    assert_eq!(hand.running_of(0).len(), 2);
}

#[test]
fn fifo_serves_the_oldest_job_first() {
    let mut hand = Hand::new(Config::default(), 1, 2);
    hand.submit(job(0, &[result_stage(0, 4, Inputs::default())]));
    hand.submit(job(1, &[result_stage(1, 2, Inputs::default())]));
    for _ in 0..2 {
        let launch = hand.running[0];
        hand.succeed(launch);
    }
    assert_eq!((hand.running_of(0).len(), hand.running_of(1).len()), (2, 0));
    let launch = hand.running[0];
    hand.succeed(launch);
    assert_eq!((hand.running_of(0).len(), hand.running_of(1).len()), (1, 1));
}

fn fair(pools: &[(&str, PoolConfig)]) -> Config {
    let pools: BTreeMap<_, _> = pools.iter().map(|(name, pool)| (name.to_string(), *pool)).collect();
    Config { mode: SchedulingMode::Fair, pools, ..Config::default() }
}

/// Submits a job of a hundred tasks for each pool, and lets so many tasks end; returns what runs then in each.
fn shares(config: Config, pools: &[&str], slots: u32) -> Vec<usize> {
    let mut hand = Hand::new(config, 1, slots);
    for (id, pool) in (0..).zip(pools) {
        let mut spec = job(id, &[result_stage(id, 100, Inputs::default())]);
        spec.pool = pool.to_string();
        hand.submit(spec);
    }
    for _ in 0..60 {
        let launch = hand.running[0];
        hand.succeed(launch);
    }
    (0..pools.len() as u64).map(|id| hand.running_of(id).len()).collect()
}

#[test]
fn fair_pools_share_slots_by_weight() {
    let heavy = PoolConfig { weight: 3, ..PoolConfig::default() };
    assert_eq!(shares(fair(&[("heavy", heavy)]), &["heavy", "light"], 8), [6, 2]);
    assert_eq!(shares(fair(&[]), &["a", "b"], 8), [4, 4]);
}

#[test]
fn a_minimum_share_comes_before_weights() {
    let needy = PoolConfig { min_share: 5, ..PoolConfig::default() };
    let heavy = PoolConfig { weight: 100, ..PoolConfig::default() };
    assert_eq!(shares(fair(&[("needy", needy), ("heavy", heavy)]), &["heavy", "needy"], 8), [3, 5]);
}

#[test]
fn jobs_of_one_pool_share_it_as_its_mode_says() {
    let mode = SchedulingMode::Fair;
    assert_eq!(shares(fair(&[("p", PoolConfig { mode, ..PoolConfig::default() })]), &["p", "p"], 8), [4, 4]);
    assert_eq!(shares(fair(&[]), &["p", "p"], 8), [8, 0]);
}

fn speculating(same_host: bool) -> Config {
    Config {
        speculation: Some(Speculation { same_host, quantile: 0.5, ..Speculation::default() }),
        ..Config::default()
    }
}

/// Three of four tasks have taken 10 ms when the time is 200 ms.
fn with_a_straggler(config: Config, executors: u64, slots: u32) -> Hand {
    let mut hand = Hand::new(config, executors, slots);
    hand.submit(job(0, &[result_stage(0, 4, Inputs::default())]));
    hand.now = Duration::from_millis(10);
    for index in 0..3 {
        let launch = hand.attempt(0, index);
        hand.succeed(launch);
    }
    hand.wait(90);
    assert_eq!(hand.running.len(), 1, "no task is slow before it is older than the minimum");
    hand.wait(100);
    hand
}

#[test]
fn a_slow_task_gets_a_second_attempt_elsewhere_and_the_first_to_end_counts() {
    let mut hand = with_a_straggler(speculating(false), 4, 1);
    let (slow, copy) = (hand.running[0], hand.running[1]);
    assert!(copy.speculative && copy.executor != slow.executor && copy.index == slow.index);
    hand.succeed(copy);
    assert_eq!(hand.killed(), [slow.attempt]);
    assert!(hand.succeeded(0));
    // Too late; and the job is over.
    hand.succeed(slow);
    assert!(hand.out.contains(&Command::DiscardAccumulators { attempt: slow.attempt }));
    assert_eq!(hand.scheduler.footprint().other, 0, "no timer is left");
}

#[test]
fn a_copy_shares_the_host_only_where_that_is_allowed() {
    assert_eq!(with_a_straggler(speculating(false), 1, 4).running.len(), 1);
    assert_eq!(with_a_straggler(speculating(true), 1, 4).running.len(), 2);
}

#[test]
fn a_slow_task_that_may_commit_gets_no_copy_before_it_has_failed() {
    let mut hand = Hand::new(speculating(true), 1, 4);
    hand.submit(job(0, &[result_stage(0, 4, Inputs::default())]));
    let slow = hand.attempt(0, 3);
    hand.tell(Event::CommitAsked { attempt: slow.attempt });
    for index in 0..3 {
        let launch = hand.attempt(0, index);
        hand.succeed(launch);
    }
    hand.wait(10_000);
    assert_eq!(hand.running.len(), 1, "a copy would be denied");
    hand.error(slow);
    let next = hand.attempt(0, 3);
    assert!(next.attempt != slow.attempt && !next.speculative);

    // Found slow while no slot is free, and permitted then.
    let mut hand = Hand::new(speculating(true), 1, 2);
    hand.submit(job(0, &[result_stage(0, 3, Inputs::default())]));
    hand.now = Duration::from_millis(10);
    let quick = hand.attempt(0, 0);
    hand.succeed(quick);
    let (first, second) = (hand.attempt(0, 1), hand.attempt(0, 2));
    hand.succeed(first);
    hand.submit(job(1, &[result_stage(1, 1, Inputs::default())]));
    assert_eq!(hand.running.len(), 2, "every slot is taken");
    hand.wait(300);
    hand.tell(Event::CommitAsked { attempt: second.attempt });
    hand.succeed_all(1);
    assert_eq!(hand.running, [second], "a copy would be denied");
}

#[test]
fn a_failed_copy_leaves_the_original_alone_and_the_other_way_round() {
    let mut hand = with_a_straggler(speculating(true), 1, 4);
    let (slow, copy) = (hand.running[0], hand.running[1]);
    hand.error(slow);
    assert_eq!(hand.running.len(), 1, "the copy is at it");
    hand.error(copy);
    assert_eq!(hand.running.len(), 1, "nobody was at it");
    hand.succeed_all(0);
    assert!(hand.succeeded(0));
}

#[test]
fn tasks_spread_over_executors_and_avoid_the_one_that_failed_last() {
    let mut hand = Hand::new(Config::default(), 3, 2);
    hand.submit(job(0, &[result_stage(0, 3, Inputs::default())]));
    let mut executors: Vec<_> = hand.running.iter().map(|launch| launch.executor.0).collect();
    executors.sort_unstable();
    assert_eq!(executors, [0, 1, 2]);
    let failing = hand.attempt(0, 0);
    for launch in hand.running.clone().into_iter().filter(|launch| launch.index != 0) {
        hand.succeed(launch);
    }
    hand.error(failing);
    assert_ne!(hand.attempt(0, 0).executor, failing.executor);
}

#[test]
fn the_scheduler_says_how_far_a_stage_is_and_who_is_busy() {
    let mut hand = Hand::new(Config::default(), 1, 2);
    hand.submit(job(0, &[map_stage(0, 0, 3, Inputs::default()), result_stage(1, 1, reads(&[0]))]));
    let launch = hand.running[0];
    hand.succeed(launch);
    let progress = hand.scheduler.stage_progress(StageId(0)).unwrap();
    assert_eq!((progress.tasks, progress.done, progress.running, progress.submitted), (3, 1, 2, true));
    assert!(!hand.scheduler.stage_progress(StageId(1)).unwrap().submitted);
    assert_eq!(hand.scheduler.active_jobs().collect::<Vec<_>>(), [JobId(0)]);
    assert_eq!(hand.scheduler.active_stages().collect::<Vec<_>>(), [StageId(0), StageId(1)]);
    assert_eq!(hand.scheduler.executors().collect::<Vec<_>>(), [(ExecutorId(0), HostId(0), 2, 2)]);
    assert_eq!(hand.scheduler.pools().map(|(_, _, running)| running).collect::<Vec<_>>(), [2]);
}
