//! Thousands of seeded histories, and the proof that they can fail.

mod clusters;
mod scheduler;

use std::{fmt::Debug, thread};

/// How one history goes.
type Simulate<F, R> = fn(u64, F, bool) -> (Result<R, String>, Option<String>);

/// Lives many seeds on two threads and returns the first in which something does not hold.
fn first_broken<F: Copy + Send + 'static, R: 'static>(
    simulate: Simulate<F, R>,
    seeds: u64,
    faults: F,
) -> Option<(u64, String)> {
    let half =
        move |odd: u64| (odd..seeds).step_by(2).find_map(|seed| Some((seed, simulate(seed, faults, false).0.err()?)));
    let other = thread::spawn(move || half(1));
    let mine = half(0);
    let other = other.join().expect("a panic names itself");
    mine.into_iter().chain(other).min()
}

/// Nothing breaks; `command` replays a history.
fn all_hold<F: Copy + Default + Send + 'static, R: 'static>(simulate: Simulate<F, R>, seeds: u64, command: &str) {
    if let Some((seed, broken)) = first_broken(simulate, seeds, F::default()) {
        panic!("seed {seed}: {broken}\nreplay it with: cargo run -p firesteel-sim -- {command}--seed {seed} --trace");
    }
}

fn all_replay_exactly<F: Default, R: Debug + PartialEq>(simulate: Simulate<F, R>, seeds: u64) {
    for seed in 0..seeds {
        let first = simulate(seed, F::default(), true);
        assert!(first == simulate(seed, F::default(), true), "seed {seed}");
    }
}

/// A mistake that is planted breaks a history, in these words.
fn is_found<F: Copy + Default + Send + 'static, R: 'static>(
    simulate: Simulate<F, R>,
    seeds: u64,
    plant: impl FnOnce(&mut F),
    words: &str,
) {
    let mut faults = F::default();
    plant(&mut faults);
    let (_, broken) = first_broken(simulate, seeds, faults).expect("the fault is found");
    assert!(broken.contains(words), "{broken}");
}
