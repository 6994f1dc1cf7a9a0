//! Seeded histories of clusters, and the proof that they can fail.

use firesteel_sim::cluster::{Faults, simulate};
use std::thread;

/// Lives many seeds on two threads and returns the first of which something does not hold.
fn first_broken(seeds: u64, faults: Faults) -> Option<(u64, String)> {
    let half =
        move |odd: u64| (odd..seeds).step_by(2).find_map(|seed| Some((seed, simulate(seed, faults, false).0.err()?)));
    let other = thread::spawn(move || half(1));
    let mine = half(0);
    let other = other.join().expect("a panic names itself");
    mine.into_iter().chain(other).min()
}

#[test]
fn everything_holds_in_a_thousand_histories() {
    if let Some((seed, broken)) = first_broken(1_000, Faults::default()) {
        panic!("seed {seed}: {broken}\nreplay it with: cargo run -p firesteel-sim -- cluster --seed {seed} --trace");
    }
}

#[test]
fn a_history_replays_exactly() {
    for seed in 0..20 {
        let first = simulate(seed, Faults::default(), true);
        assert!(first == simulate(seed, Faults::default(), true), "seed {seed}");
    }
}

#[test]
fn a_master_that_gives_cores_away_before_they_are_free_is_found() {
    let faults = Faults { give_away_early: true, ..Faults::default() };
    let (_, broken) = first_broken(2_000, faults).expect("the fault is found");
    assert!(broken.contains("has more to do than it offers"), "{broken}");
}

#[test]
fn a_master_that_waits_for_nobody_after_a_restart_is_found() {
    let faults = Faults { wait_for_nobody: true, ..Faults::default() };
    let (_, broken) = first_broken(2_000, faults).expect("the fault is found");
    assert!(broken.contains("nothing but the master has died"), "{broken}");
}

#[test]
fn a_master_that_forgets_who_waits_is_found() {
    let faults = Faults { forget_who_waits: true, ..Faults::default() };
    let (_, broken) = first_broken(2_000, faults).expect("the fault is found");
    assert!(broken.contains("could have had another executor"), "{broken}");
}

#[test]
fn a_master_that_starts_drivers_again_that_have_ended_well_is_found() {
    let faults = Faults { start_again: true, ..Faults::default() };
    let (_, broken) = first_broken(2_000, faults).expect("the fault is found");
    assert!(broken.contains("has ended, and is launched"), "{broken}");
}
