//! The scheduler's.

use crate::{all_hold, all_replay_exactly, is_found};
use firesteel_sim::simulate;

/// So many histories have one in which a fault shows.
const ENOUGH: u64 = 20_000;

#[test]
fn invariants_hold_in_five_thousand_histories() {
    all_hold(simulate, 5_000, "");
}

#[test]
fn a_history_replays_exactly() {
    all_replay_exactly(simulate, 200);
}

#[test]
fn a_scheduler_that_forgets_the_epoch_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.forget_epoch = true, "lost at or after its epoch");
}

#[test]
fn a_scheduler_that_counts_a_zombies_failure_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.count_zombie_failure = true, "failures of a task");
}

#[test]
fn a_scheduler_that_lets_two_attempts_commit_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.commit_twice = true, "may commit the same output");
}

#[test]
fn a_scheduler_that_excludes_nobody_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.forget_exclusion = true, "is excluded for it");
}
