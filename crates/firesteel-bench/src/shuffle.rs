//! A shuffle of very many map and reduce tasks: what each pair of them costs.

use firesteel::{__private::Moment, prelude::*};
use firesteel_model::{ExecutorId, HostId, JobId, ShuffleId, StageId};
use firesteel_scheduler::{
    Command, Config, Event, Inputs, JobKind, JobSpec, MapSizes, Scheduler, StageOutput, StageSpec, Success,
};
use firesteel_store::heap;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The most that was seen of something.
#[derive(Default)]
struct Peaks {
    open_files: AtomicU64,
    index_in_memory: AtomicU64,
    index_on_disk: AtomicU64,
    on_disk: AtomicU64,
}

/// Runs a shuffle of `n` by `n` partitions with a record for each pair of them, and prints what it took.
pub(crate) fn run(n: u32, budget: &str) -> Result<()> {
    let peaks = Arc::new(Peaks::default());
    let seen = peaks.clone();
    let builder = Context::builder().master("local[2]").conf("firesteel.memory.budget", budget);
    let sc = builder
        .tamper(move |info, executor, moment| {
            // So often that nothing is missed for long, and so seldom that looking costs nothing.
            if moment == Moment::After && info.partition.0 % 256 == 255 {
                let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
                let (in_memory, on_disk) = executor.shuffles.index_bytes();
                seen.open_files.fetch_max(open, Relaxed);
                seen.index_in_memory.fetch_max(in_memory, Relaxed);
                seen.index_on_disk.fetch_max(on_disk, Relaxed);
                seen.on_disk.fetch_max(executor.shuffles.bytes().1, Relaxed);
            }
        })
        .build()?;
    let (n, records) = (n as usize, u64::from(n) * u64::from(n));
    let start = Instant::now();
    // An odd factor: every key once, and keys of one map task in all reduce tasks.
    let pairs = sc.range_n(0..records, n).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15), i));
    let sums = pairs.partition_by(n).map_partitions(|pairs| [pairs.fold((0, 0), |(n, sum), (_, i)| (n + 1, sum + i))]);
    let (count, sum) = sums.reduce(|a, b| (a.0 + b.0, a.1 + b.1))?;
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!((count, sum), (records, records * (records - 1) / 2), "every record comes once");
    sc.stop()?;

    let pair =
        |bytes: u64| format!("{:>8} MiB, {:.1} B for each pair of tasks", bytes >> 20, bytes as f64 / records as f64);
    println!("{n} map tasks, {n} reduce tasks, {records} records of 16 B, budget {budget}, 2 threads");
    println!("seconds                    {seconds:>8.1}");
    println!("files open at most         {:>8}", peaks.open_files.load(Relaxed));
    println!("map outputs on disk        {}", pair(peaks.on_disk.load(Relaxed)));
    println!("of that, index             {}", pair(peaks.index_on_disk.load(Relaxed)));
    println!("index in memory at most    {}", pair(peaks.index_in_memory.load(Relaxed)));
    println!("peak resident memory       {:>8} MiB", crate::memory::peak_rss() >> 20);
    println!("the driver's state         {:>8} B for each map output", driver_state(n as u32));
    Ok(())
}

/// What the scheduler keeps of a map output, when a stage of `maps` tasks over as many reduce partitions has ended.
fn driver_state(maps: u32) -> u64 {
    let mut scheduler = Scheduler::new(Config::default());
    let mut commands = Vec::new();
    let (now, executor, host) = (Duration::ZERO, ExecutorId(0), HostId(0));
    scheduler.handle(
        now,
        Event::ExecutorRegistered { executor, host, rack: None, slots: 2, outputs_outlive: false },
        &mut commands,
    );
    let (stage, shuffle) = (StageId(0), ShuffleId(0));
    let output = StageOutput::Shuffle(shuffle);
    let spec = Arc::new(StageSpec { stage, output, tasks: maps, inputs: Inputs::default(), preferences: None });
    let (pool, sizes) = ("default".into(), vec![100; maps as usize]);
    let before = heap::allocated().unwrap_or(0);
    let job =
        JobSpec { job: JobId(0), kind: JobKind::MapOnly, stages: vec![spec], pool, group: None, tags: Vec::new() };
    scheduler.handle(now, Event::JobSubmitted(job), &mut commands);
    while let Some(command) = commands.pop() {
        if let Command::Launch(launch) = command {
            let success = Success::MapOutput { sizes: MapSizes::of(&sizes), checksum: 1 };
            let ended = Event::AttemptSucceeded { attempt: launch.attempt, success };
            scheduler.handle(now, ended, &mut commands);
        }
    }
    drop(commands);
    let outputs = scheduler.map_outputs(shuffle).expect("every map task has ended");
    let kept = heap::allocated().unwrap_or(0).saturating_sub(before);
    kept / outputs.outputs.len() as u64
}
