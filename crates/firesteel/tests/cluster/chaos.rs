//! Random programs while executors are killed, stopped and all lost at once, again and again, at random.
//!
//! `FIRESTEEL_CHAOS_SECONDS=<n>` goes on for so long, `FIRESTEEL_CHAOS_SEED=<seed>` begins with another seed. What dies when is chance
//! beyond the seed; a program that fails prints its steps.

use crate::{
    Ground,
    random_program::{Program, random::Random},
};
use firesteel::__private::Footprint;
use std::{
    fs,
    process::Command,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

/// So many programs share a context.
const PROGRAMS: usize = 12;

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number")),
        Err(_) => otherwise,
    }
}

/// The processes that another has started, and that live.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let own = parent.to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbered = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = numbered.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may have any characters: state and parent.
        let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        words.next().is_some_and(|state| state != "Z") && words.next() == Some(own.as_str())
    });
    ours.collect()
}

/// Lets executors die until it is told to stop; how many did.
fn let_die(mut random: Random, over: Receiver<()>) -> u64 {
    let mut died = 0;
    loop {
        let pause = Duration::from_millis(20 + random.below(400) as u64);
        if over.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return died;
        }
        let all = children_of(std::process::id());
        if all.is_empty() {
            continue;
        }
        let one = all[random.below(all.len())];
        died += 1;
        match random.below(12) {
            0 => all.into_iter().for_each(kill_if_there),
            1 => drop(Command::new("kill").args(["-STOP", &one.to_string()]).status()),
            _ => kill_if_there(one),
        }
    }
}

fn kill_if_there(pid: u32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(std::process::Stdio::null()).status();
}

/// Some programs in one context; how many executors died.
fn round(seed: u64, until: Instant) -> (usize, u64) {
    let mut random = Random::new(seed);
    let ground = Ground::new();
    let master = format!("local-cluster[{},{},512]", 1 + random.below(4), 1 + random.below(2));
    let (budget, scale) = [("256m", 1), ("256m", 1), ("16k", 8)][random.below(3)];
    let sc = ground
        .builder(&master)
        .conf("firesteel.memory.budget", budget)
        .conf("firesteel.network.timeout", "1s")
        .conf("firesteel.executor.heartbeatInterval", "100ms")
        .conf("firesteel.shuffle.io.retryWait", "20ms")
        .conf("firesteel.locality.wait", "10ms")
        // However often executors die: that is none of the program's failures.
        .conf("firesteel.stage.maxConsecutiveAttempts", 1_000)
        .build()
        .unwrap();
    sc.set_checkpoint_dir(ground.dir().join("checkpoints").to_str().unwrap()).unwrap();
    let (end, over) = channel();
    let fates = Random::new(random.next());
    let killer = std::thread::spawn(move || let_die(fates, over));
    let mut programs = 0;
    while programs < PROGRAMS && Instant::now() < until {
        let (steps, own) = (Arc::new(Mutex::new(String::new())), random.next());
        let mut program = Program::new(&sc, Random::new(own), None, scale, steps.clone());
        let run = std::panic::AssertUnwindSafe(|| program.run());
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("program {own} of seed {seed} on {master} with {budget} failed:\n{}", steps.lock().unwrap());
            std::panic::resume_unwind(panic);
        }
        programs += 1;
    }
    drop(end);
    let died = killer.join().unwrap();
    let footprint = loop {
        let footprint = sc.footprint().unwrap();
        if footprint.attempts == 0 {
            break footprint;
        }
        std::thread::yield_now();
    };
    let nothing = Footprint { pieces_sent: footprint.pieces_sent, ..Footprint::default() };
    assert_eq!(footprint, nothing, "something is kept for what was dropped");
    sc.stop().unwrap();
    assert_eq!(crate::files(&ground.scratch()), Vec::<std::path::PathBuf>::new());
    (programs, died)
}

pub(crate) fn random_programs_survive_executors_that_die_at_random() {
    let seconds = number("FIRESTEEL_CHAOS_SECONDS", 10);
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut programs, mut died) = (0, 0);
    for seed in number("FIRESTEEL_CHAOS_SEED", 1).. {
        let (run, lost) = round(seed, until);
        (programs, died) = (programs + run, died + lost);
        if Instant::now() >= until {
            break;
        }
    }
    println!("{programs} programs, {died} times executors died");
    assert!(died > 0);
}
