//! Thousands of seeded histories, and the proof that they can fail.

use firesteel_scheduler::Faults;
use firesteel_sim::simulate;
use std::thread;

/// Lives many seeds on two threads and returns the first that breaks an invariant.
fn first_broken(seeds: u64, faults: Faults) -> Option<(u64, String)> {
    let half =
        move |odd: u64| (odd..seeds).step_by(2).find_map(|seed| Some((seed, simulate(seed, faults, false).0.err()?)));
    let other = thread::spawn(move || half(1));
    let mine = half(0);
    let other = other.join().expect("a panic names itself");
    mine.into_iter().chain(other).min()
}

#[test]
fn invariants_hold_in_five_thousand_histories() {
    if let Some((seed, broken)) = first_broken(5_000, Faults::default()) {
        panic!("seed {seed}: {broken}\nreplay it with: cargo run -p firesteel-sim -- --seed {seed} --trace");
    }
}

#[test]
fn a_history_replays_exactly() {
    for seed in 0..200 {
        let first = simulate(seed, Faults::default(), true);
        assert_eq!(first, simulate(seed, Faults::default(), true), "seed {seed}");
    }
}

#[test]
fn a_scheduler_that_forgets_the_epoch_is_found() {
    let faults = Faults { forget_epoch: true, ..Faults::default() };
    let (_, broken) = first_broken(20_000, faults).expect("the fault is found");
    assert!(broken.contains("lost at or after its epoch"), "{broken}");
}

#[test]
fn a_scheduler_that_counts_a_zombies_failure_is_found() {
    let faults = Faults { count_zombie_failure: true, ..Faults::default() };
    let (_, broken) = first_broken(20_000, faults).expect("the fault is found");
    assert!(broken.contains("failures of a task"), "{broken}");
}

#[test]
fn a_scheduler_that_lets_two_attempts_commit_is_found() {
    let faults = Faults { commit_twice: true, ..Faults::default() };
    let (_, broken) = first_broken(20_000, faults).expect("the fault is found");
    assert!(broken.contains("may commit the same output"), "{broken}");
}

#[test]
fn a_scheduler_that_excludes_nobody_is_found() {
    let faults = Faults { forget_exclusion: true, ..Faults::default() };
    let (_, broken) = first_broken(20_000, faults).expect("the fault is found");
    assert!(broken.contains("is excluded for it"), "{broken}");
}
