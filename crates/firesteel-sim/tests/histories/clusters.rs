//! Those of clusters.

use crate::{all_hold, all_replay_exactly, is_found};
use firesteel_sim::cluster::simulate;

/// So many histories have one in which a fault shows.
const ENOUGH: u64 = 2_000;

#[test]
fn everything_holds_in_a_thousand_histories() {
    all_hold(simulate, 1_000, "cluster ");
}

#[test]
fn a_history_replays_exactly() {
    all_replay_exactly(simulate, 20);
}

#[test]
fn a_master_that_gives_cores_away_before_they_are_free_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.give_away_early = true, "has more to do than it offers");
}

#[test]
fn a_master_that_waits_for_nobody_after_a_restart_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.wait_for_nobody = true, "nothing but the master has died");
}

#[test]
fn a_master_that_waits_for_applications_after_a_restart_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.wait_for_applications = true, "could have had another executor");
}

#[test]
fn a_master_that_counts_the_time_in_which_it_stood_still_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.count_all_time = true, "nothing but the master has died");
}

#[test]
fn a_master_that_forgets_who_waits_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.forget_who_waits = true, "could have had another executor");
}

#[test]
fn a_master_that_gives_more_executors_than_are_wanted_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.give_unwanted = true, "executors that it wants");
}

#[test]
fn a_master_that_does_not_hear_that_fewer_executors_are_wanted_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.keep_wishes = true, "executors that it wants");
}

#[test]
fn a_master_that_starts_drivers_again_that_have_ended_well_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.start_again = true, "has ended, and is launched");
}

#[test]
fn a_worker_that_forgets_what_has_ended_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.forget_ends = true, "has ended, and is launched");
}

#[test]
fn an_application_that_forgets_which_executors_are_to_end_is_found() {
    is_found(simulate, ENOUGH, |faults| faults.forget_kills = true, "have not ended");
}
