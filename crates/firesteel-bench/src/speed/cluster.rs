//! The same workloads on executors in processes of their own, and what goes through the control plane.

use super::{Options, Runs, WORKLOADS, inputs, median, ratio, short, submit};
use firesteel::prelude::*;
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

/// Where they run.
pub(super) const MASTER: &str = "local-cluster[2,1,4096]";

/// The workloads that are compared, and at most how many times the time on threads they should take.
const COMPARED: [(&str, f64); 7] =
    [("W1", 1.5), ("W4", 1.5), ("W5", 1.5), ("W6", 2.5), ("W7", 2.5), ("W8", 1.5), ("W9", 1.5)];

/// Runs the workloads on threads, on processes and by hand, by turns, and prints how they compare; then what the processes
/// themselves can do.
pub(crate) fn compare(options: &Options) -> Result<()> {
    inputs::make(&options.setting)?;
    println!(
        "scale {}, {} rounds; {MASTER} beside local[2] and by hand; a process each",
        options.setting.scale, options.rounds
    );
    println!(
        "{:<5}{:<28}{:>11}{:>11}{:>11}{:>11}{:>9}  answers",
        "", "", "processes", "threads", "by hand", "÷ threads", "at most"
    );
    let mut wrong = 0;
    for (workload, (_, target)) in WORKLOADS
        .iter()
        .filter(|workload| options.wants(workload))
        .filter_map(|workload| Some((workload, COMPARED.iter().find(|(name, _)| *name == workload.name)?)))
    {
        let ways = ["cluster", "engine", "hand"];
        let mut runs = ways.map(|_| Runs::default());
        for _ in 0..options.rounds {
            for (way, runs) in ways.iter().zip(&mut runs) {
                runs.add(workload, way, &options.setting)?;
            }
        }
        let [cluster, engine, hand] = &runs;
        let same = cluster.agrees(engine) && engine.agrees(hand);
        wrong += usize::from(!same);
        println!(
            "{:<5}{:<28}{:>11}{:>11}{:>11}{:>11}{:>9}  {}",
            workload.name,
            workload.what,
            short(cluster.seconds()),
            short(engine.seconds()),
            short(hand.seconds()),
            ratio(cluster.seconds(), engine.seconds()),
            target,
            if same { "same" } else { "DIFFERENT" },
        );
    }
    control_plane(options.rounds)?;
    submit::measure(&options.setting.folder)?;
    match wrong {
        0 => Ok(()),
        n => Err(Error::InvalidArgument(format!("processes and threads do not agree on the answers of {n} workloads"))),
    }
}

/// What has gone over loopback so far, in bytes. Nothing else should use it meanwhile.
fn loopback() -> u64 {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn timed<R>(run: impl FnOnce() -> Result<R>) -> Result<f64> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}

fn control_plane(rounds: usize) -> Result<()> {
    const TASKS: u64 = 40_000;
    let sc = Context::builder().master(MASTER).app_name("bench").build()?;
    let empty = sc.range_n(0..TASKS, TASKS as usize).erase();
    empty.count()?;
    let (mut rates, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(3) {
        let before = loopback();
        rates.push(TASKS as f64 / timed(|| empty.count())?);
        bytes.push((loopback() - before) as f64 / TASKS as f64);
    }
    println!(
        "tasks per second, in one job of {TASKS}: {:.0}; {:.0} B for each over loopback, both ways",
        median(&rates),
        median(&bytes)
    );

    let small = sc.range_n(0..2, 2).erase();
    let times: Vec<f64> = (0..200).map(|_| timed(|| small.count())).collect::<Result<_>>()?;
    println!("a job of two empty tasks: {} s", short(median(&times)));

    const PAIRS: u64 = 20_000_000;
    let pairs = sc.range_n(0..PAIRS, 8).map(|i| (i, i)).erase();
    let mut rates = Vec::new();
    for _ in 0..rounds.max(3) {
        let moved = pairs.partition_by(8).erase();
        rates.push((PAIRS * 16) as f64 / 1e6 / timed(|| moved.count())? / 2.0);
    }
    println!(
        "shuffle of pairs of 16 B, made, written, and half of them read over loopback: {:.0} MB/s for each core",
        median(&rates)
    );

    let job = || sc.range_n(0..12_000_000, 24).map(|i| (i % 1_000_003, i)).reduce_by_key_into(24, |a, b| a ^ b).count();
    job()?;
    let (mut alone, mut with_a_death) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(3) {
        let seconds = timed(job)?;
        let pid = sc.range_n(0..1, 1).map(|_| std::process::id()).first()?;
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs_f64(seconds / 2.0));
            Command::new("kill").args(["-9", &pid.to_string()]).status()
        });
        with_a_death.push(timed(job)?);
        alone.push(seconds);
        let _ = killer.join();
    }
    println!(
        "a job with a shuffle: {} s; {} s if one of two executors dies half way: {} times as long",
        short(median(&alone)),
        short(median(&with_a_death)),
        ratio(median(&with_a_death), median(&alone))
    );
    sc.stop()
}
