//! Data many times larger than memory: what a budget costs.

use firesteel::prelude::*;
use std::{process::Command, time::Instant};

/// What is to be measured.
pub(crate) struct Options {
    scale: String,
    budget: String,
    only: Option<String>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Options { scale: "1.0".into(), budget: "256m".into(), only: None };
        for pair in words.chunks(2) {
            match *pair {
                ["--scale", value] => options.scale = value.into(),
                ["--budget", value] => options.budget = value.into(),
                ["--only", value] => options.only = Some(value.into()),
                _ => {
                    return Err(Error::InvalidArgument(format!(
                        "{}: --scale, --budget and --only have a value each",
                        pair.join(" ")
                    )));
                }
            }
        }
        Ok(options)
    }
}

/// A workload: what it is called, and what it makes of a context and a scale, as a number that says whether it is right.
type Workload = (&'static str, fn(&Context, f64) -> Result<u64>);

const WORKLOADS: [Workload; 10] = [
    ("sort 1 GB", sort),
    ("group 10 M strings", group),
    ("distinct 10 M strings", distinct),
    ("join 2 × 4 M strings", join),
    ("cache MEMORY_AND_DISK", |sc, scale| cache(sc, scale, StorageLevel::MEMORY_AND_DISK)),
    ("cache MEMORY_ONLY", |sc, scale| cache(sc, scale, StorageLevel::MEMORY_ONLY)),
    ("cache MEMORY_ONLY_SER", |sc, scale| cache(sc, scale, StorageLevel::MEMORY_ONLY_SER)),
    ("skew: aggregate", skewed_aggregate),
    ("skew: sort", skewed_sort),
    ("skew: join", skewed_join),
];

const PARTITIONS: usize = 32;

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A text of 100 bytes that says a number.
fn text(x: u64) -> String {
    let mut text = String::with_capacity(100);
    for i in 0..6 {
        use std::fmt::Write;
        let _ = write!(text, "{:016x}", mix(x.wrapping_add(i)));
    }
    text.push_str("tail");
    text
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(7, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Numbers from 0, as many as the scale says.
fn numbers(sc: &Context, scale: f64, millions: f64) -> Rdd<u64, impl Pipeline<Item = u64> + use<>> {
    sc.range_n(0..(scale * millions * 1e6) as u64, PARTITIONS)
}

/// The next number of a digest that sees the order.
fn then(digest: u64, number: u64) -> u64 {
    digest.wrapping_mul(31).wrapping_add(number)
}

fn sort(sc: &Context, scale: f64) -> Result<u64> {
    let texts = numbers(sc, scale, 10.0).map(|i| text(mix(i)));
    texts.sort_by_n(|text| text.clone(), true, PARTITIONS).aggregate(0, |sum, text| then(sum, hash(&text)), then)
}

fn group(sc: &Context, scale: f64) -> Result<u64> {
    let pairs = numbers(sc, scale, 10.0).map(|i| (mix(i) % 1_000_000, text(i)));
    let groups = pairs.group_by_key_into(PARTITIONS);
    groups.aggregate(0, |sum, (key, texts)| texts.iter().fold(then(sum, key), |sum, text| then(sum, hash(text))), then)
}

fn distinct(sc: &Context, scale: f64) -> Result<u64> {
    let texts = numbers(sc, scale, 10.0).map(|i| text(i - i % 4 / 3));
    texts.distinct_into(PARTITIONS).aggregate(0, |sum, text| then(sum, hash(&text)), then)
}

fn join(sc: &Context, scale: f64) -> Result<u64> {
    let left = numbers(sc, scale, 4.0).map(|i| (mix(i), text(i)));
    let right = numbers(sc, scale, 4.0).map(|i| (mix(i + i % 2), text(i + 1)));
    let joined = left.join_into(&right, PARTITIONS);
    joined.aggregate(0, |sum, (key, (a, b))| then(sum, key ^ hash(&a) ^ hash(&b).rotate_left(1)), then)
}

fn cache(sc: &Context, scale: f64, level: StorageLevel) -> Result<u64> {
    let texts = numbers(sc, scale, 8.0).map(text).persist(level);
    let mut digest = 0;
    for _ in 0..3 {
        digest = then(digest, texts.aggregate(0, |sum, text| then(sum, hash(&text)), then)?);
    }
    Ok(digest)
}

/// Half of all records have key 0.
fn skewed(sc: &Context, scale: f64) -> Rdd<(u64, String)> {
    numbers(sc, scale, 5.0).map(|i| (if i % 2 == 0 { 0 } else { mix(i) % 100_000 }, text(i))).erase()
}

fn skewed_aggregate(sc: &Context, scale: f64) -> Result<u64> {
    let sums = skewed(sc, scale).aggregate_by_key_into(PARTITIONS, 0, |sum, text| then(sum, hash(&text)), |a, b| a ^ b);
    sums.aggregate(0, |sum, (key, hash)| then(sum, key ^ hash), then)
}

fn skewed_sort(sc: &Context, scale: f64) -> Result<u64> {
    let sorted = skewed(sc, scale).repartition_and_sort_within_partitions(HashPartitioner::new(PARTITIONS));
    sorted.aggregate(0, |sum, (key, text)| then(sum, key ^ hash(&text)), then)
}

fn skewed_join(sc: &Context, scale: f64) -> Result<u64> {
    let few = sc.range_n(0..100_000, 4).map(|k| (k, mix(k)));
    let joined = skewed(sc, scale).join_into(&few, PARTITIONS);
    joined.aggregate(0, |sum, (key, (text, n))| then(sum, key ^ hash(&text) ^ n), then)
}

/// Runs one workload in this process and prints its figures.
pub(crate) fn one(name: &str, budget: &str, scale: &str) -> Result<()> {
    let (_, run) = WORKLOADS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| Error::InvalidArgument(format!("no workload is called {name}")))?;
    let scale = scale.parse::<f64>().map_err(|e| Error::InvalidArgument(format!("--scale {scale}: {e}")))?;
    let sc = Context::builder().master("local[2]").conf("firesteel.memory.budget", budget).build()?;
    let start = Instant::now();
    let answer = run(&sc, scale)?;
    let seconds = start.elapsed().as_secs_f64();
    sc.stop()?;
    println!("{seconds} {} {} {} {answer}", processor_seconds(), peak_rss(), bytes_written());
    Ok(())
}

/// The most that this process held in memory, in bytes.
pub(crate) fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) << 10
}

/// Seconds that this process's threads computed, in all.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the program's name, which may have any characters: state, then numbers; the 12th and 13th are user and system time.
    let numbers = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    numbers.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// What this process wrote to files.
fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
}

/// What one run printed.
struct Run {
    seconds: f64,
    computing: f64,
    rss: u64,
    written: u64,
    answer: u64,
}

fn run(name: &str, budget: &str, scale: &str) -> Result<Run> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).args(["memory-one", name, budget, scale]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<&str> = text.split_whitespace().collect();
    let failed = || {
        let said = String::from_utf8_lossy(&output.stderr);
        Error::InvalidArgument(format!("{name} with {budget}: {} {said}", output.status))
    };
    let [seconds, computing, rss, written, answer] = words[..] else { return Err(failed()) };
    let number = |word: &str| word.parse::<u64>().map_err(|_| failed());
    let part = |word: &str| word.parse::<f64>().map_err(|_| failed());
    let (seconds, computing) = (part(seconds)?, part(computing)?);
    Ok(Run { seconds, computing, rss: number(rss)?, written: number(written)?, answer: number(answer)? })
}

/// Runs every workload with the budget and with ample memory, and prints both.
pub(crate) fn compare(options: &Options) -> Result<()> {
    println!("scale {}, budget {}, 2 threads; a process each", options.scale, options.budget);
    println!(
        "{:<24}{:>9}{:>9}{:>7}{:>15}{:>15}{:>10}{:>13}  answer",
        "workload", "ample s", "tight s", "ratio", "ample: cpu s", "tight: cpu s", "peak MiB", "written MiB"
    );
    let mut wrong = 0;
    for (name, _) in
        WORKLOADS.iter().filter(|(name, _)| options.only.as_ref().is_none_or(|only| name.contains(only.as_str())))
    {
        let (ample, tight) = (run(name, "12g", &options.scale)?, run(name, &options.budget, &options.scale)?);
        let same = ample.answer == tight.answer;
        wrong += usize::from(!same);
        println!(
            "{name:<24}{:>9.2}{:>9.2}{:>7.2}{:>15.2}{:>15.2}{:>10}{:>13}  {}",
            ample.seconds,
            tight.seconds,
            tight.seconds / ample.seconds,
            ample.computing,
            tight.computing,
            tight.rss >> 20,
            tight.written >> 20,
            if same { "same" } else { "DIFFERENT" },
        );
    }
    match wrong {
        0 => Ok(()),
        n => Err(Error::InvalidArgument(format!("{n} workloads gave another answer with little memory"))),
    }
}
