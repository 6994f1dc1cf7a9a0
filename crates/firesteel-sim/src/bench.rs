//! How many tasks per second the scheduler handles, and in how much memory.

use firesteel_model::{AttemptId, ExecutorId, HostId, JobId, PartitionIndex, StageId};
use firesteel_scheduler::{
    Command, Config, Event, Inputs, JobKind, JobSpec, MapSizes, Scheduler, StageOutput, StageSpec, Success,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// Runs one job of a map and a reduce stage with so many tasks in all on so many executors of one slot, and says how long
/// it took.
///
/// # Panics
/// If the job does not succeed.
pub fn run(executors: u32, tasks: u32) -> String {
    use firesteel_model::ShuffleId;
    let mut scheduler = Scheduler::new(Config { max_result_bytes: None, ..Config::default() });
    let mut out = Vec::new();
    let now = Duration::ZERO;
    for executor in 0..executors {
        let host = HostId(executor / 4);
        let executor = ExecutorId(u64::from(executor));
        scheduler.handle(
            now,
            Event::ExecutorRegistered { executor, host, rack: None, slots: 1, outputs_outlive: false },
            &mut out,
        );
    }
    let maps = tasks / 2;
    let reduces = tasks - maps;
    let shuffle = ShuffleId(0);
    let stage = |stage, output, tasks, inputs| {
        Arc::new(StageSpec { stage: StageId(stage), output, tasks, inputs, preferences: None })
    };
    let spec = JobSpec {
        job: JobId(0),
        kind: JobKind::Result { partitions: (0..reduces).map(PartitionIndex).collect() },
        stages: vec![
            stage(0, StageOutput::Shuffle(shuffle), maps, Inputs::default()),
            stage(1, StageOutput::Result, reduces, Inputs::of_shuffles([shuffle])),
        ],
        pool: "default".into(),
        group: None,
        tags: Vec::new(),
    };
    out.clear();
    let start = Instant::now();
    scheduler.handle(now, Event::JobSubmitted(spec), &mut out);
    let mut running: VecDeque<(AttemptId, StageId)> = VecDeque::new();
    let (mut attempts, mut commands) = (0u64, 0u64);
    let mut ended = false;
    loop {
        for command in out.drain(..) {
            commands += 1;
            match command {
                Command::Launch(launch) => {
                    attempts += 1;
                    running.push_back((launch.attempt, launch.stage));
                }
                Command::EndJob { outcome, .. } => {
                    assert_eq!(outcome, firesteel_scheduler::Outcome::Succeeded);
                    ended = true;
                }
                _ => {}
            }
        }
        let Some((attempt, stage)) = running.pop_front() else { break };
        scheduler.handle(now, Event::AttemptStarted { attempt }, &mut out);
        let success = match stage.0 {
            0 => Success::MapOutput { sizes: MapSizes::Total(1 << 20), checksum: 0 },
            _ => Success::Result { bytes: 100, inline: true },
        };
        scheduler.handle(now, Event::AttemptSucceeded { attempt, success }, &mut out);
    }
    assert!(ended, "the job ends");
    let seconds = start.elapsed().as_secs_f64();
    format!(
        "{executors} executors, {attempts} tasks: {seconds:.2} s, {:.0} tasks/s, {commands} commands, peak RSS {}",
        attempts as f64 / seconds,
        peak_memory().unwrap_or_else(|| "unknown".into()),
    )
}

/// The largest amount of memory that this process has held, as the system knows it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(format!("{} MiB", kib / 1024))
}
