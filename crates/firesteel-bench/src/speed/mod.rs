//! How fast ordinary programs are: fourteen workloads three ways, and six programs that the engine was not made fast with, two ways.
//!
//! *Engine*: what an ordinary user of Firesteel writes. *Hand*: what an ordinary Rust programmer writes without an engine: rayon,
//! std collections. *Limit*: the fastest form known, made for this one job alone.

pub(crate) mod build;
pub(crate) mod cluster;
mod engine;
mod hand;
mod held_out;
mod inputs;
mod limit;
mod peers;
mod record;
pub(crate) mod scaling;
mod sheet;
pub(crate) mod submit;

use firesteel::prelude::*;
use inputs::Inputs;
use record::Record;
pub(crate) use record::page;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// At what size the workloads run, and where.
#[derive(Clone)]
struct Setting {
    scale: f64,
    threads: usize,
    /// Where the inputs lie.
    folder: PathBuf,
    /// Warm runs go on for so many seconds.
    patience: f64,
}

impl Setting {
    /// So many at this scale.
    fn of(&self, at_scale_1: f64) -> u64 {
        (at_scale_1 * self.scale).max(1.0) as u64
    }
    fn inputs(&self) -> Inputs {
        Inputs::of(&self.folder)
    }
    /// Where this process writes.
    fn output(&self) -> PathBuf {
        self.folder.join(format!("out-{}", std::process::id()))
    }
}

/// What a workload found, which all ways must agree on, and how long its parts took.
#[derive(Default)]
struct Answer {
    exact: String,
    /// What depends on the order of additions.
    about: f64,
    parts: Vec<(&'static str, f64)>,
}

impl Answer {
    fn exact(exact: impl ToString) -> Self {
        Answer { exact: exact.to_string(), ..Answer::default() }
    }
    fn about(exact: impl ToString, about: f64) -> Self {
        Answer { exact: exact.to_string(), about, parts: Vec::new() }
    }
    /// With the seconds of each iteration: the first one apart, of the others the mean.
    fn iterations(mut self, seconds: &[f64]) -> Self {
        let [first, later @ ..] = seconds else { return self };
        self.parts = vec![("first", *first), ("later", later.iter().sum::<f64>() / later.len() as f64)];
        self
    }
    fn parts(mut self, parts: &[(&'static str, f64)]) -> Self {
        self.parts = parts.to_vec();
        self
    }
}

/// What is written rather than returned, and how it is compared.
#[derive(Clone, Copy)]
enum Saves {
    Nothing,
    Lines,
    LinesInOrder,
}

type ByEngine = fn(&Context, &Setting) -> Result<Answer>;
type WithoutEngine = fn(&Setting) -> Result<Answer>;

/// A workload, the ways to do it, and at most how many times the limit's time the engine should take.
struct Workload {
    name: &'static str,
    what: &'static str,
    engine: ByEngine,
    hand: WithoutEngine,
    limit: Option<WithoutEngine>,
    saves: Saves,
    target: Option<f64>,
}

const fn workload(
    name: &'static str,
    what: &'static str,
    (engine, hand, limit): (ByEngine, WithoutEngine, WithoutEngine),
    saves: Saves,
    target: Option<f64>,
) -> Workload {
    Workload { name, what, engine, hand, limit: Some(limit), saves, target }
}

/// One that the engine was not made fast with: nobody has looked for its limit.
const fn held_out(name: &'static str, what: &'static str, engine: ByEngine, hand: WithoutEngine) -> Workload {
    Workload { name, what, engine, hand, limit: None, saves: Nothing, target: None }
}

use Saves::{Lines, LinesInOrder, Nothing};
const WORKLOADS: [Workload; 23] = [
    workload("W1", "word count, saved", (engine::w1, hand::w1, limit::w1), Lines, Some(1.5)),
    workload("W1e", "with flat_map_emit", (engine::w1_emit, hand::w1, limit::w1), Lines, Some(1.3)),
    workload("W2", "filter, count", (engine::w2, hand::w2, limit::w2), Nothing, Some(3.7)),
    workload("W3", "map, filter, map, reduce", (engine::w3, hand::w3, limit::w3), Nothing, Some(1.0)),
    workload("W4", "reduce by key", (engine::w4, hand::w4, limit::w4), Nothing, Some(1.2)),
    workload("W5", "sort by key, saved", (engine::w5, hand::w5, limit::w5), LinesInOrder, Some(1.2)),
    workload("W5s", "lines, sorted by number", (engine::w5_lines, hand::w5, limit::w5), LinesInOrder, None),
    workload("W6", "join", (engine::w6, hand::w6, limit::w6), Nothing, Some(1.0)),
    workload("W7", "PageRank", (engine::w7, hand::w7, limit::w7), Nothing, Some(3.0)),
    workload("W7e", "with flat_map_emit", (engine::w7_emit, hand::w7, limit::w7), Nothing, Some(2.0)),
    workload("W8", "k-means", (engine::w8, hand::w8, limit::w8), Nothing, Some(1.4)),
    workload("W9", "logistic regression", (engine::w9, hand::w9, limit::w9), Nothing, Some(2.0)),
    workload("W10", "group by key", (engine::w10, hand::w10, limit::w10), Nothing, Some(0.8)),
    workload("W11", "distinct lines", (engine::w11, hand::w11, limit::w11), Nothing, Some(1.0)),
    workload("W12", "cached text, counted twice", (engine::w12, hand::w12, limit::w12), Nothing, Some(3.0)),
    workload("W13", "empty tasks and jobs", (engine::w13, hand::w13, limit::w13), Nothing, None),
    workload("W14", "process start to pi", (engine::w14, hand::w14, limit::w14), Nothing, None),
    held_out("H1", "enums and structs as keys", held_out::structs_by_engine, held_out::structs_by_hand),
    held_out("H2", "means of skewed keys", held_out::skew_by_engine, held_out::skew_by_hand),
    held_out("H3", "text as keys, the top ten", held_out::strings_by_engine, held_out::strings_by_hand),
    held_out("H4", "join of ten by ten for a key", held_out::duplicates_by_engine, held_out::duplicates_by_hand),
    held_out("H5", "kept structs, 20 iterations", held_out::structs_kept_by_engine, held_out::structs_kept_by_hand),
    held_out("H6", "text parsed by hand", held_out::text_by_engine, held_out::text_by_hand),
];

const WAYS: [&str; 3] = ["engine", "hand", "limit"];

/// What is to be measured.
pub(crate) struct Options {
    setting: Setting,
    only: Option<Vec<String>>,
    ways: Vec<&'static str>,
    rounds: usize,
    /// Where the figures are written.
    record: Option<PathBuf>,
    /// As it was asked for.
    command: String,
}

fn parse<T: std::str::FromStr>(option: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| Error::InvalidArgument(format!("{option} {value}: a number was expected")))
}

impl Options {
    /// Parses the words after the name of a program that reads these options.
    pub(crate) fn parse(program: &str, reads: &[&str], words: &[&str]) -> Result<Self> {
        let unread = words.iter().find(|word| word.starts_with("--") && !reads.contains(word));
        if let Some(option) = unread {
            let reads = reads.join(", ");
            return Err(Error::InvalidArgument(format!("{option}: `{program}` has the options {reads}")));
        }
        let (mut folder, mut record, mut only, mut ways) = (None, None, None, WAYS.to_vec());
        let (mut scale, mut threads, mut rounds, mut patience) = (0.01, 2, 3, 2.0);
        let mut rest = words;
        if let [first @ .., "--short"] = rest {
            (rest, ways, scale, rounds, patience) = (first, vec!["engine", "limit"], 0.02, 1, 0.2);
        }
        for pair in rest.chunks(2) {
            match *pair {
                ["--scale", value] => scale = parse("--scale", value)?,
                ["--threads", value] => threads = parse("--threads", value)?,
                ["--rounds", value] => rounds = parse("--rounds", value)?,
                ["--data", value] => folder = Some(PathBuf::from(value)),
                ["--record", value] => record = Some(PathBuf::from(value)),
                ["--only", value] => only = Some(value.split(',').map(str::to_lowercase).collect()),
                ["--ways", value] => ways.retain(|way| value.split(',').any(|wanted| wanted == *way)),
                _ => {
                    let what = "options have a value each, but --short, which comes last";
                    return Err(Error::InvalidArgument(format!("{}: {what}", pair.join(" "))));
                }
            }
        }
        let folder = folder.unwrap_or_else(|| std::env::temp_dir().join(format!("firesteel-bench-{scale}")));
        let command = format!("firesteel-bench {program} {}", words.join(" "));
        Ok(Options { setting: Setting { scale, threads, folder, patience }, only, ways, rounds, record, command })
    }

    fn ways(&self, workload: &Workload, way: &str) -> bool {
        self.ways.contains(&way) && (way != "limit" || workload.limit.is_some())
    }

    fn wants(&self, workload: &Workload) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| *name == workload.name.to_lowercase()))
    }
}

/// Whether a dart lands in the circle.
#[inline(always)]
fn inside(dart: u64) -> bool {
    let random = inputs::mix(dart);
    let coordinate = |bits: u64| (bits & 0xffff) as f64 / 32768.0 - 1.0;
    coordinate(random).powi(2) + coordinate(random >> 16).powi(2) <= 1.0
}

/// The processor time of all threads of this process so far, in seconds.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Runs one workload one way in this process, again and again, and prints its figures. `launched` is when the process was
/// started, in seconds since 1970.
pub(crate) fn one(words: &[&str]) -> Result<()> {
    let [name, way, launched, scale, threads, folder, patience] = *words else {
        return Err(Error::InvalidArgument("speed-one NAME WAY LAUNCHED SCALE THREADS FOLDER PATIENCE".into()));
    };
    let workload = WORKLOADS
        .iter()
        .find(|workload| workload.name == name)
        .ok_or_else(|| Error::InvalidArgument(format!("no workload is called {name}")))?;
    let launched: f64 = parse("launched", launched)?;
    let (scale, threads, patience) = (parse("scale", scale)?, parse("threads", threads)?, parse("patience", patience)?);
    let setting = Setting { scale, threads, folder: folder.into(), patience };
    let mut engine = None;
    let mut run = || match way {
        "engine" | "cluster" => {
            let sc = match &engine {
                Some(sc) => sc,
                None => {
                    let threads = format!("local[{}]", setting.threads);
                    let master = if way == "cluster" { cluster::MASTER.into() } else { threads };
                    engine.insert(Context::builder().master(&master).app_name("bench").build()?)
                }
            };
            (workload.engine)(sc, &setting)
        }
        "limit" => workload.limit.ok_or_else(|| Error::InvalidArgument(format!("{name} has no limit")))?(&setting),
        _ => (workload.hand)(&setting),
    };
    if !["engine", "cluster"].contains(&way) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(setting.threads).build_global();
        pool.map_err(|e| Error::InvalidArgument(e.to_string()))?;
    }
    // The first time is cold; then warm ones until they say enough. A start is only ever cold.
    let (least, most) = if name == "W14" { (1, 1) } else { (4, 24) };
    let (mut warm, mut times) = (Duration::ZERO, 0);
    let mut found = None;
    while times < least || (times < most && warm.as_secs_f64() < setting.patience) {
        if setting.output().exists() {
            fs::remove_dir_all(setting.output())?;
        }
        let (start, cpu) = (Instant::now(), cpu());
        let answer = run()?;
        let (took, cpu) = (start.elapsed(), self::cpu() - cpu);
        if times == 0 {
            println!("cold {}", now().as_secs_f64() - launched);
        } else {
            warm += took;
            println!("warm {} {cpu}", took.as_secs_f64());
            answer.parts.iter().for_each(|(part, seconds)| println!("part {part} {seconds}"));
        }
        times += 1;
        found = Some(answer);
    }
    println!("rss {}", crate::memory::peak_rss());
    let mut found = found.unwrap_or_default();
    match workload.saves {
        Nothing => {}
        Lines => found.exact = digest(&setting.output(), |sum, line| sum.wrapping_add(line))?,
        LinesInOrder => found.exact = digest(&setting.output(), |sum, line| sum.wrapping_mul(31).wrapping_add(line))?,
    }
    println!("exact {}", found.exact);
    println!("about {}", found.about);
    drop(engine);
    if setting.output().exists() {
        fs::remove_dir_all(setting.output())?;
    }
    Ok(())
}

/// What the lines of all parts come to.
fn digest(folder: &Path, and: fn(u64, u64) -> u64) -> Result<String> {
    let parts = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let is_part = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-"));
    let mut parts: Vec<PathBuf> = parts.into_iter().filter(is_part).collect();
    parts.sort();
    let (mut lines, mut sum) = (0u64, 0);
    for part in parts {
        for line in BufReader::new(fs::File::open(part)?).split(b'\n') {
            lines += 1;
            sum = and(sum, line?.iter().fold(7, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)));
        }
    }
    Ok(format!("{lines}/{sum:016x}"))
}

/// What the processes of one workload and way printed.
#[derive(Clone, Default)]
struct Runs {
    cold: Vec<f64>,
    warm: Vec<f64>,
    /// Processor time of the warm runs.
    cpu: Vec<f64>,
    parts: Vec<(String, Vec<f64>)>,
    rss: u64,
    exact: String,
    about: f64,
}

impl Runs {
    /// What is compared: warm runs, or starts where there is nothing else.
    fn seconds(&self) -> f64 {
        median(if self.warm.is_empty() { &self.cold } else { &self.warm })
    }

    /// The least that a warm run took of the processors: what others do at the same time shows least in it.
    fn least_cpu(&self) -> f64 {
        self.cpu.iter().copied().reduce(f64::min).unwrap_or(f64::NAN)
    }

    /// Runs a process and adds what it prints.
    fn add(&mut self, workload: &Workload, way: &str, setting: &Setting) -> Result<()> {
        let (scale, threads) = (setting.scale.to_string(), setting.threads.to_string());
        let folder = setting.folder.display().to_string();
        let mut command = Command::new(std::env::current_exe()?);
        let launched = now().as_secs_f64().to_string();
        let patience = setting.patience.to_string();
        let words = ["speed-one", workload.name, way, &launched, &scale, &threads, &folder, &patience];
        let output = command.args(words).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = || {
            let error = String::from_utf8_lossy(&output.stderr);
            Error::InvalidArgument(format!("{} by {way}: {} {error}", workload.name, output.status))
        };
        if !output.status.success() {
            return Err(failed());
        }
        for line in said.lines() {
            let number = |word: &str| word.parse::<f64>().map_err(|_| failed());
            match *line.split(' ').collect::<Vec<_>>() {
                ["cold", seconds] => self.cold.push(number(seconds)?),
                ["warm", seconds, cpu] => {
                    self.warm.push(number(seconds)?);
                    self.cpu.push(number(cpu)?);
                }
                ["part", name, seconds] => {
                    let seconds = number(seconds)?;
                    match self.parts.iter_mut().find(|(known, _)| known == name) {
                        Some((_, all)) => all.push(seconds),
                        None => self.parts.push((name.into(), vec![seconds])),
                    }
                }
                ["rss", bytes] => self.rss = self.rss.max(number(bytes)? as u64),
                ["exact", ref words @ ..] => self.exact = words.join(" "),
                ["about", about] => self.about = number(about)?,
                _ => return Err(failed()),
            }
        }
        Ok(())
    }

    fn agrees(&self, other: &Runs) -> bool {
        let near = (self.about - other.about).abs() <= 1e-6 * self.about.abs().max(1.0);
        self.exact == other.exact && near
    }
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(seconds: &[f64]) -> String {
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = seconds.iter().copied().fold(0.0, f64::max);
    if seconds.is_empty() { "-".into() } else { format!("{}-{}", short(least), short(most)) }
}

/// Seconds in three digits or so.
fn short(seconds: f64) -> String {
    match seconds {
        s if s.is_nan() => "-".into(),
        s if s < 0.001 => format!("{:.1}µ", s * 1e6),
        s if s < 0.1 => format!("{:.2}m", s * 1e3),
        s => format!("{s:.3}"),
    }
}

fn ratio(a: f64, b: f64) -> String {
    if (a / b).is_nan() { "-".into() } else { format!("{:.2}", a / b) }
}

/// Prints a line of the table.
fn row(columns: [&str; 14]) {
    let [name, what, engine, hand, limit, by_hand, hand_cpu, by_limit, limit_cpu, recorded, target, cold, rss, answers] =
        columns;
    print!("{name:<5}{what:<28}{engine:<24}{hand:<24}{limit:<24}{by_hand:>7}{hand_cpu:>7}");
    println!("{by_limit:>8}{limit_cpu:>7}{recorded:>10}{target:>8}{cold:>27}{rss:>18}  {answers}");
}

/// Runs the workloads in every way, by turns, and prints how they compare.
pub(crate) fn compare(options: &Options) -> Result<()> {
    inputs::make(&options.setting)?;
    let Setting { scale, threads, folder, .. } = &options.setting;
    let (recorded, mut record) = (Record::recorded()?, Record::new(&options.command));
    println!(
        "scale {scale}, {threads} threads, {} rounds; a process each; inputs in {}",
        options.rounds,
        folder.display()
    );
    println!("seconds of the warm runs: median least-most; ratios of medians, and of least processor times (cpu);");
    println!("recorded: ÷ limit in the recorded run");
    row([
        "", "", "engine", "hand", "limit", "÷ hand", "cpu", "÷ limit", "cpu", "recorded", "at most", "cold", "RSS MiB",
        "answers",
    ]);
    let mut wrong = 0;
    let mut before: Option<(&Workload, [Runs; 3])> = None;
    for workload in WORKLOADS.iter().filter(|workload| options.wants(workload)) {
        let mut runs = WAYS.map(|_| Runs::default());
        // Another way to say the same to the engine: without it nothing is another.
        let same = before.take().filter(|(other, _)| workload.name.strip_suffix(['e', 's']) == Some(other.name));
        let measured_before = same.is_some();
        if let Some((_, [_, hand, limit])) = same {
            (runs[1], runs[2]) = (hand, limit);
        }
        for _ in 0..options.rounds {
            for (way, runs) in WAYS.iter().zip(&mut runs).filter(|(way, _)| options.ways(workload, way)) {
                if *way == "engine" || !measured_before {
                    runs.add(workload, way, &options.setting)?;
                }
            }
        }
        let measured: Vec<&Runs> = runs.iter().filter(|runs| !runs.cold.is_empty()).collect();
        let same = measured.windows(2).all(|pair| pair[0].agrees(pair[1]));
        wrong += usize::from(!same);
        let [engine, hand, limit] = &runs;
        let of_three = |each: &dyn Fn(&Runs) -> String| runs.iter().map(each).collect::<Vec<_>>().join(" / ");
        let times = |runs: &Runs| format!("{:>8} {:<15}", short(runs.seconds()), spread(&runs.warm));
        row([
            workload.name,
            workload.what,
            &times(engine),
            &times(hand),
            &times(limit),
            &ratio(engine.seconds(), hand.seconds()),
            &ratio(engine.least_cpu(), hand.least_cpu()),
            &ratio(engine.seconds(), limit.seconds()),
            &ratio(engine.least_cpu(), limit.least_cpu()),
            &ratio(recorded.times(workload.name, "limit"), 1.0),
            &workload.target.map_or("-".into(), |target| target.to_string()),
            &of_three(&|r| short(median(&r.cold))),
            &of_three(&|r| (r.rss >> 20).to_string()),
            if same { "same" } else { "DIFFERENT" },
        ]);
        for (i, (part, seconds)) in engine.parts.iter().enumerate() {
            let of = |runs: &Runs| runs.parts.get(i).map_or(f64::NAN, |(_, seconds)| median(seconds));
            let times = |runs: &Runs| format!("{:>8}", short(of(runs)));
            let (part, engine_times) = (format!("  {part}"), format!("{} {}", times(engine), spread(seconds)));
            let (by_hand, by_limit) = (ratio(of(engine), of(hand)), ratio(of(engine), of(limit)));
            let (hand, limit) = (times(hand), times(limit));
            row(["", &part, &engine_times, &hand, &limit, &by_hand, "", &by_limit, "", "", "", "", "", ""]);
        }
        for (way, runs) in WAYS.iter().zip(&runs).filter(|(_, runs)| !runs.cold.is_empty()) {
            record.add(workload.name, way, runs);
        }
        before = Some((workload, runs));
    }
    if let Some(path) = &options.record {
        record.write(path)?;
    }
    match wrong {
        0 => Ok(()),
        n => Err(Error::InvalidArgument(format!("the three ways do not agree on the answers of {n} workloads"))),
    }
}
