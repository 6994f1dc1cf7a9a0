//! Runs many seeds, replays one, or measures the scheduler.

use firesteel_sim::{bench, cluster, simulate, world::Report};
use std::{fmt::Debug, process::ExitCode, time::Instant};

const USAGE: &str = "\
usage: firesteel-sim [cluster] --seeds COUNT [--from SEED]  live so many histories; stops at the first broken invariant
       firesteel-sim [cluster] --seed SEED [--trace]        live one history, and write down what happens
       firesteel-sim bench [--executors N] [--tasks N]  measure tasks scheduled per second";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let (mut seeds, mut from, mut seed, mut trace) = (None, 0, None, false);
    let (mut executors, mut tasks) = (10_000, 1_000_000);
    let mode = arguments.first().map_or("", String::as_str);
    let (bench, cluster) = (mode == "bench", mode == "cluster");
    let mut rest = arguments.iter().skip(usize::from(bench || cluster));
    while let Some(option) = rest.next() {
        let mut number = || {
            let text = rest.next().ok_or_else(|| format!("{option} needs a number\n{USAGE}"))?;
            text.parse::<u64>().map_err(|_| format!("{option} needs a number, not {text}\n{USAGE}"))
        };
        match option.as_str() {
            "--executors" if bench => executors = number()?,
            "--tasks" if bench => tasks = number()?,
            "--seeds" if !bench => seeds = Some(number()?),
            "--from" if !bench => from = number()?,
            "--seed" if !bench => seed = Some(number()?),
            "--trace" if !bench => trace = true,
            other => return Err(format!("unknown argument {other}\n{USAGE}")),
        }
    }
    match (bench, seed, seeds) {
        (true, _, _) => {
            let executors = u32::try_from(executors).map_err(|_| "too many executors")?;
            let tasks = u32::try_from(tasks).map_err(|_| "too many tasks")?;
            println!("{}", bench::run(executors, tasks));
            Ok(())
        }
        (_, Some(seed), _) if cluster => one(seed, cluster::simulate(seed, Default::default(), trace)),
        (_, Some(seed), _) => one(seed, simulate(seed, Default::default(), trace)),
        (_, None, Some(count)) if cluster => many_of_clusters((from, count)),
        (_, None, Some(count)) => many_of_the_scheduler((from, count)),
        _ => Err(USAGE.into()),
    }
}

fn one<R: Debug>(seed: u64, (result, history): (Result<R, String>, Option<String>)) -> Result<(), String> {
    if let Some(history) = history {
        print!("{history}");
    }
    let report = result.map_err(|broken| format!("seed {seed}: {broken}"))?;
    println!("seed {seed}: {report:?}");
    Ok(())
}

/// Lives many seeds, adds up how they went with `add`, and shows the sum; `command` replays one.
fn many<R: Default>(
    (from, count): (u64, u64),
    command: &str,
    simulate: impl Fn(u64) -> Result<R, String>,
    add: impl Fn(&mut R, R),
    show: impl Fn(R) -> String,
) -> Result<(), String> {
    let start = Instant::now();
    let mut sum = R::default();
    for seed in from..from.saturating_add(count) {
        let report = simulate(seed);
        add(
            &mut sum,
            report
                .map_err(|broken| format!("seed {seed}: {broken}\nreplay it with: {command}--seed {seed} --trace"))?,
        );
    }
    println!("{count} seeds in {:.1} s: {}", start.elapsed().as_secs_f64(), show(sum));
    Ok(())
}

fn many_of_the_scheduler(seeds: (u64, u64)) -> Result<(), String> {
    let add = |sum: &mut Report, report: Report| {
        sum.events += report.events;
        sum.commands += report.commands;
        sum.attempts += report.attempts;
        sum.succeeded += report.succeeded;
        sum.ended_otherwise += report.ended_otherwise;
        sum.rolled_back += report.rolled_back;
    };
    many(
        seeds,
        "",
        |seed| simulate(seed, Default::default(), false).0,
        add,
        |sum| {
            let Report { events, commands, attempts, succeeded, ended_otherwise, rolled_back, .. } = sum;
            format!(
                "{events} events, {commands} commands, {attempts} attempts, {succeeded} jobs succeeded, {ended_otherwise} ended otherwise, \
             {rolled_back} stage attempts rolled back"
            )
        },
    )
}

fn many_of_clusters(seeds: (u64, u64)) -> Result<(), String> {
    let add = |sum: &mut cluster::Report, report: cluster::Report| {
        sum.events += report.events;
        sum.commands += report.commands;
        sum.executors += report.executors;
        sum.applications += report.applications;
        sum.removed += report.removed;
        sum.jobs += report.jobs;
        sum.attempts += report.attempts;
    };
    many(
        seeds,
        "cluster ",
        |seed| cluster::simulate(seed, Default::default(), false).0,
        add,
        |sum| {
            let cluster::Report { events, commands, executors, applications, removed, jobs, attempts } = sum;
            format!(
                "{events} events, {commands} commands, {executors} executors, {applications} applications ended, {removed} were removed, \
             {jobs} jobs succeeded in {attempts} attempts"
            )
        },
    )
}
