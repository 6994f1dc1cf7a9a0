//! Random programs while executors, workers and masters are killed, stopped and all lost at once, again and again, at random.
//!
//! `FIRESTEEL_CHAOS_SECONDS=<n>` goes on for so long, `FIRESTEEL_CHAOS_SEED=<seed>` begins with another seed. What dies when is chance
//! beyond the seed; a program that fails prints its steps.

use crate::{
    Ground,
    random_program::{Program, random::Random},
    relay::{Fate, Relay},
    standalone::Cluster,
};
use firesteel::{__private::Footprint, ContextBuilder, prelude::*};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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

/// Lets something die every now and then until it is told to stop, and then not for longer than `pause` milliseconds; how often something did.
fn let_die(
    mut random: Random,
    pause: usize,
    over: &Receiver<()>,
    mut one_dies: impl FnMut(&mut Random) -> bool,
) -> u64 {
    let mut died = 0;
    loop {
        let pause = Duration::from_millis(20 + random.below(pause) as u64);
        if over.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return died;
        }
        died += u64::from(one_dies(&mut random));
    }
}

fn signal(signal: &str, pid: u32) {
    let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Lets one of these executors die or stand still, or all of them die, if there are any.
fn executor_dies(random: &mut Random, all: Vec<u32>) -> bool {
    let Some(one) = all.get(random.below(all.len())).copied() else { return false };
    match random.below(12) {
        0 => all.into_iter().for_each(|pid| signal("-KILL", pid)),
        1 => signal("-STOP", one),
        _ => signal("-KILL", one),
    }
    true
}

/// Where random programs run, and what that is called.
struct Arena {
    sc: Context,
    /// How many times longer than usual their RDDs are.
    scale: usize,
    what: String,
}

impl Arena {
    fn new(builder: ContextBuilder, checkpoints: &Path, what: &str, random: &mut Random) -> Arena {
        let (budget, scale) = [("256m", 1), ("256m", 1), ("16k", 8)][random.below(3)];
        let sc = builder
            .conf("firesteel.memory.budget", budget)
            .conf("firesteel.executor.cores", 1 + random.below(2))
            .conf("firesteel.executor.memory", "256m")
            .conf("firesteel.network.timeout", "1s")
            .conf("firesteel.executor.heartbeatInterval", "100ms")
            .conf("firesteel.shuffle.io.retryWait", "20ms")
            .conf("firesteel.locality.wait", "10ms")
            // However often executors die: that is none of the program's failures.
            .conf("firesteel.stage.maxConsecutiveAttempts", 1_000)
            .build()
            .unwrap();
        sc.set_checkpoint_dir(checkpoints.to_str().unwrap()).unwrap();
        Arena { sc, scale, what: format!("on {what} with {budget}") }
    }

    /// Runs some programs, and looks whether something is kept for them; how many.
    fn run(&self, random: &mut Random, until: Instant) -> usize {
        let mut programs = 0;
        while programs < PROGRAMS && Instant::now() < until {
            let (steps, own) = (Arc::new(Mutex::new(String::new())), random.next());
            let mut program = Program::new(&self.sc, Random::new(own), None, self.scale, steps.clone());
            let run = std::panic::AssertUnwindSafe(|| program.run());
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("program {own} {} failed:\n{}", self.what, steps.lock().unwrap());
                std::panic::resume_unwind(panic);
            }
            programs += 1;
        }
        programs
    }

    /// Ends the context; nothing may be kept for what was dropped.
    fn end(self) {
        let footprint = loop {
            let footprint = self.sc.footprint().unwrap();
            if footprint.attempts == 0 {
                break footprint;
            }
            std::thread::yield_now();
        };
        let nothing = Footprint { pieces_sent: footprint.pieces_sent, ..Footprint::default() };
        assert_eq!(footprint, nothing, "something is kept for what was dropped");
        self.sc.stop().unwrap();
    }
}

/// Some programs in one context; how many executors died.
fn round_of_executors(seed: u64, until: Instant) -> (usize, u64) {
    let mut random = Random::new(seed);
    let ground = Ground::new();
    let master = format!("local-cluster[{},{},512]", 1 + random.below(4), 1 + random.below(2));
    let arena = Arena::new(ground.builder(&master), &ground.dir().join("checkpoints"), &master, &mut random);
    let (end, over) = channel();
    let fates = Random::new(random.next());
    let killer = std::thread::spawn(move || {
        let all = || children_of(std::process::id());
        let_die(fates, 400, &over, |random| executor_dies(random, all()))
    });
    let programs = arena.run(&mut random, until);
    drop(end);
    let died = killer.join().unwrap();
    arena.end();
    assert_eq!(crate::files(&ground.scratch()), Vec::<PathBuf>::new());
    (programs, died)
}

/// What dies of a standalone cluster, and comes back.
struct Dying {
    cluster: Cluster,
    /// When the master is started again, if it is killed.
    master: Option<Instant>,
    /// When which worker is started again.
    workers: Vec<(usize, Instant)>,
    /// When which process goes on that stands still.
    standing: Vec<(u32, Instant)>,
    /// When the network goes on that is held.
    held: Option<Instant>,
}

impl Dying {
    /// Lets one thing die or stand still, or starts it again; whether something did.
    fn one(&mut self, random: &mut Random) -> bool {
        self.revive(Instant::now());
        let back = Instant::now() + Duration::from_millis(random.below(3_000) as u64);
        let executors = self.cluster.executors();
        let worker = random.below(self.cluster.workers.len());
        let worker_lives = self.cluster.workers[worker].is_some();
        match (random.below(20), &self.cluster.relay) {
            (0, Some(relay)) => relay.cut(),
            (1, Some(relay)) if self.held.is_none() => {
                relay.hold(|_| true);
                self.held = Some(back);
            }
            (2, _) if self.master.is_none() => {
                self.cluster.master.take().unwrap().kill();
                self.master = Some(back);
            }
            (3, _) if self.master.is_none() => self.stands_still(self.cluster.master.as_ref().unwrap().pid(), back),
            (4, _) if worker_lives => self.worker_dies(worker, back),
            (5, _) if worker_lives => self.stands_still(self.cluster.workers[worker].as_ref().unwrap().pid(), back),
            (6, _) if !executors.is_empty() => self.stands_still(executors[random.below(executors.len())], back),
            (7, _) => (0..self.cluster.workers.len()).for_each(|worker| self.worker_dies(worker, back)),
            _ => return executor_dies(random, executors),
        }
        true
    }

    /// From now on connections wait, are slow, and are cut.
    fn spoil(&self, mut random: Random) {
        if let Some(relay) = &self.cluster.relay {
            relay.fates(move |_| Fate::random(&mut random));
        }
    }

    fn worker_dies(&mut self, number: usize, back: Instant) {
        if let Some(worker) = self.cluster.workers[number].take() {
            worker.kill();
            self.workers.push((number, back));
        }
    }

    fn stands_still(&mut self, pid: u32, until: Instant) {
        signal("-STOP", pid);
        self.standing.push((pid, until));
    }

    /// Starts what is to be there by now.
    fn revive(&mut self, now: Instant) {
        for (pid, _) in self.standing.extract_if(.., |(_, until)| *until <= now) {
            signal("-CONT", pid);
        }
        if let Some(relay) = &self.cluster.relay
            && self.held.take_if(|until| *until <= now).is_some()
        {
            relay.release();
        }
        if self.master.is_some_and(|back| back <= now) {
            self.master = None;
            self.cluster.restart_master();
        }
        for (number, _) in self.workers.extract_if(.., |(_, back)| *back <= now) {
            self.cluster.restart_worker(number);
        }
    }
}

/// Some programs on a standalone cluster; how many parts of it died.
fn round_of_a_cluster(seed: u64, until: Instant) -> (usize, u64) {
    let mut random = Random::new(seed);
    let (relay, workers) = (random.once_in(2).then(Relay::start), 1 + random.below(3));
    let what = format!("{workers} workers{}", if relay.is_some() { " with a bad network" } else { "" });
    let cluster = Cluster::by_way_of(relay, workers);
    let builder = cluster.reachable(cluster.ground.builder(&cluster.url()));
    let arena = Arena::new(builder, &cluster.ground.dir().join("checkpoints"), &what, &mut random);
    let (end, over) = channel();
    let fates = Random::new(random.next());
    let killer = std::thread::spawn(move || {
        let mut fates = fates;
        let mut dying = Dying { cluster, master: None, workers: Vec::new(), standing: Vec::new(), held: None };
        dying.spoil(Random::new(fates.next()));
        let died = let_die(fates, 1_200, &over, |random| dying.one(random));
        dying.revive(Instant::now() + Duration::from_secs(60));
        if let Some(relay) = &dying.cluster.relay {
            relay.fates(|_| Fate::default());
        }
        (dying.cluster, died)
    });
    let programs = arena.run(&mut random, until);
    drop(end);
    let (cluster, died) = killer.join().unwrap();
    arena.end();
    cluster.is_free_again();
    (programs, died)
}

fn rounds(what: &str, round: fn(u64, Instant) -> (usize, u64)) {
    let until = Instant::now() + Duration::from_secs(number("FIRESTEEL_CHAOS_SECONDS", 10));
    let (mut programs, mut died) = (0, 0);
    for seed in number("FIRESTEEL_CHAOS_SEED", 1).. {
        let ended = std::panic::catch_unwind(|| round(seed, until));
        let (run, lost) = ended.unwrap_or_else(|panic| {
            eprintln!("FIRESTEEL_CHAOS_SEED={seed} begins with what failed");
            std::panic::resume_unwind(panic)
        });
        (programs, died) = (programs + run, died + lost);
        if Instant::now() >= until {
            break;
        }
    }
    println!("{programs} programs, {died} times {what} died or stood still");
    assert!(died > 0);
}

pub(crate) fn random_programs_survive_executors_that_die_at_random() {
    rounds("executors", round_of_executors);
}

pub(crate) fn random_programs_survive_a_cluster_whose_parts_die_at_random() {
    rounds("masters, workers or executors", round_of_a_cluster);
}
