//! How time grows: with threads, with the data, and with the number of keys.

use super::{
    Options, Runs, Setting, WORKLOADS, inputs,
    inputs::mix,
    median, ratio,
    record::marked,
    sheet::{Sheet, about, number},
    short,
};
use firesteel::prelude::*;
use std::{fmt::Write as _, fs, path::Path, time::Instant};

/// Data of so many hundredths are compared.
const SIZES: [u64; 3] = [1, 10, 100];
/// Numbers of different keys.
const KEYS: [u64; 4] = [100, 10_000, 1_000_000, 10_000_000];
/// The most records of an operation by key, at any scale.
const RECORDS: u64 = 20_000_000;

type Pairs = Rdd<(u64, u64)>;

/// What is done with pairs of so many different keys.
const OPERATIONS: [(&str, fn(&Pairs) -> Result<u64>); 5] = [
    ("reduce_by_key", |pairs| pairs.reduce_by_key(|a, b| a ^ b).count()),
    ("group_by_key", |pairs| pairs.group_by_key().count()),
    ("distinct", |pairs| pairs.map(|(key, _)| key).distinct().count()),
    ("sort_by_key", |pairs| pairs.sort_by_key(true).count()),
    ("join with one for each key", |pairs| {
        let other = pairs.map(|(key, _)| key).distinct().map(|key| (key, ())).cache();
        pairs.join(&other).count()
    }),
];

/// A figure: what was measured, of what, in which way or with how many keys, at what size or on how many threads, and seconds.
struct Figure {
    kind: String,
    name: String,
    way: String,
    at: f64,
    seconds: f64,
}

/// Measures, prints and records.
pub(crate) fn measure(options: &Options) -> Result<()> {
    let mut figures = Vec::new();
    let Setting { scale, folder, patience, .. } = &options.setting;
    // Tasks and starts have no size, and a variant would say what its workload says.
    let grows = |name: &str| !["W1e", "W5s", "W7e", "W13", "W14"].contains(&name) && name.starts_with('W');
    let workloads = || WORKLOADS.iter().filter(|workload| grows(workload.name) && options.wants(workload));
    for size in SIZES {
        let scale = scale * size as f64 / SIZES[2] as f64;
        // Each size has a folder of its own.
        let folder = folder.join(format!("scale-{scale}"));
        let setting = Setting { scale, threads: 2, folder, patience: patience.min(1.0) };
        inputs::make(&setting)?;
        // What is compared runs by turns, since a machine is faster in some minutes than in others.
        let (threads, rounds): (&[usize], _) = if size == SIZES[2] { (&[2, 1], 3) } else { (&[2], 1) };
        for workload in workloads() {
            let ways = threads.iter().flat_map(|threads| ["engine", "limit"].map(|way| (*threads, way)));
            let mut all: Vec<_> = ways.map(|way| (way, Runs::default())).collect();
            for _ in 0..rounds {
                for ((threads, way), runs) in &mut all {
                    runs.add(workload, way, &Setting { threads: *threads, ..setting.clone() })?;
                }
            }
            for ((threads, way), runs) in all {
                let (name, seconds) = (workload.name, runs.seconds());
                println!("{name}\t{way}\tscale {scale}\t{threads} threads\t{}", short(seconds));
                let mut figure = |kind: &str, at| {
                    figures.push(Figure { kind: kind.into(), name: name.into(), way: way.into(), at, seconds });
                };
                if size == SIZES[2] {
                    figure("threads", threads as f64);
                }
                if threads == 2 {
                    figure("data", scale);
                }
            }
        }
    }
    for (name, operation) in OPERATIONS.iter().filter(|_| options.only.is_none()) {
        for size in SIZES {
            let n = RECORDS * size / SIZES[2];
            for keys in KEYS.into_iter().filter(|keys| *keys <= n) {
                let sc = Context::builder().master("local[2]").app_name("bench").build()?;
                let pairs = sc.range_n(0..n, 8).map_with(keys, |keys, i| (mix(i) % keys, i)).erase();
                let mut seconds = Vec::new();
                for _ in 0..4 {
                    let start = Instant::now();
                    operation(&pairs)?;
                    seconds.push(start.elapsed().as_secs_f64());
                }
                // The first one is cold.
                let seconds = median(&seconds[1..]);
                println!("{name}\t{keys} keys\t{n} records\t{:.1} ns for each", seconds / n as f64 * 1e9);
                let (kind, name, way) = ("keys".into(), name.to_string(), keys.to_string());
                figures.push(Figure { kind, name, way, at: n as f64, seconds });
            }
        }
    }
    let Some(path) = &options.record else { return Ok(()) };
    let mut text = about(&options.command);
    for Figure { kind, name, way, at, seconds } in &figures {
        let _ = writeln!(text, "{kind}\t{name}\t{way}\t{at}\t{seconds}");
    }
    Ok(fs::write(path, text)?)
}

/// Puts the tables into the page `speed.md` of a folder, and draws `scaling.svg` beside it.
pub(super) fn page(recorded: &Path, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(recorded)?;
    let sheet = Sheet::of(&text);
    let figure = |[kind, name, way, at, seconds]: [&str; 5]| {
        let (kind, name, way) = (kind.into(), name.into(), way.into());
        Figure { kind, name, way, at: number(at), seconds: number(seconds) }
    };
    let figures: Vec<Figure> = sheet.rows()?.into_iter().map(figure).collect();
    let find = |kind: &str, name: &str, way: &str, at: f64| {
        let is = |f: &&Figure| f.kind == kind && f.name == name && f.way == way && f.at == at;
        figures.iter().find(is).map_or(f64::NAN, |f| f.seconds)
    };
    let mut scales: Vec<f64> = figures.iter().filter(|f| f.kind == "data").map(|f| f.at).collect();
    scales.sort_by(f64::total_cmp);
    scales.dedup();
    let mut table = sheet.list();
    let _ = write!(table, "\n| | 1 thread | 2 threads | faster | limit faster | engine ÷ limit |");
    for scale in &scales {
        let _ = write!(table, " at scale {scale} | ÷ limit |");
    }
    let _ = writeln!(table, "\n|---|{}", "--:|".repeat(5 + 2 * scales.len()));
    for workload in WORKLOADS.iter().filter(|w| find("threads", w.name, "engine", 1.0).is_finite()) {
        let name = workload.name;
        let on = |way, threads| find("threads", name, way, threads);
        let (engine, limit) = (on("engine", 1.0) / on("engine", 2.0), on("limit", 1.0) / on("limit", 2.0));
        let (one, two) = (short(on("engine", 1.0)), short(on("engine", 2.0)));
        let _ = write!(
            table,
            "| {name} {} | {one} | {two} | {engine:.2}× | {limit:.2}× | {} |",
            workload.what,
            ratio(engine, limit)
        );
        for scale in &scales {
            let (engine, limit) = (find("data", name, "engine", *scale), find("data", name, "limit", *scale));
            let _ = write!(table, " {} | {} |", short(engine), ratio(engine, limit));
        }
        table.push('\n');
    }
    let mut sizes: Vec<f64> = figures.iter().filter(|f| f.kind == "keys").map(|f| f.at).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let _ = write!(table, "\nNanoseconds for a record, on 2 threads:\n\n| | records |");
    for keys in KEYS {
        let _ = write!(table, " {keys} keys |");
    }
    let _ = writeln!(table, "\n|---|--:|{}", "--:|".repeat(KEYS.len()));
    for (name, _) in OPERATIONS {
        for n in &sizes {
            let _ = write!(table, "| {name} | {n} |");
            for keys in KEYS {
                let seconds = find("keys", name, &keys.to_string(), *n);
                let each = if seconds.is_nan() { "-".into() } else { format!("{:.1}", seconds / n * 1e9) };
                let _ = write!(table, " {each} |");
            }
            table.push('\n');
        }
    }
    marked(folder, "scaling", &table)?;
    let each = |name: &str, keys: u64, n: f64| find("keys", name, &keys.to_string(), n) / n * 1e9;
    Ok(fs::write(folder.join("scaling.svg"), picture(&sizes, each))?)
}

/// A panel for each operation: nanoseconds for a record, by the number of keys, a line for each number of records.
fn picture(sizes: &[f64], each: impl Fn(&str, u64, f64) -> f64) -> String {
    const PANEL: f64 = 230.0;
    const HEIGHT: f64 = 190.0;
    const COLOURS: [&str; 3] = ["#8ab4f8", "#e8c53a", "#e8833a"];
    let width = 40.0 + PANEL * 3.0;
    let height = 60.0 + (HEIGHT + 50.0) * 2.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>Nanoseconds for a record, by the number of keys and of records</title>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#1b1d23\"/>\n\
         <g font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#d7dae0\">\n"
    );
    for (i, (n, colour)) in sizes.iter().zip(COLOURS).enumerate() {
        let x = 24.0 + 170.0 * i as f64;
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"22\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"26\">{n} records</text>",
            x + 12.0
        );
    }
    let _ = writeln!(svg, "<text x=\"{}\" y=\"26\">ns for a record, by keys</text>", 24.0 + 170.0 * 3.0);
    for (i, (name, _)) in OPERATIONS.iter().enumerate() {
        let (left, top) = (50.0 + PANEL * (i % 3) as f64, 70.0 + (HEIGHT + 40.0) * (i / 3) as f64);
        let x = |keys: u64| left + (PANEL - 60.0) * ((keys as f64).log10() - 2.0) / 5.0;
        // From 1 to 1,000 nanoseconds.
        let y = |ns: f64| top + (HEIGHT - 40.0) * (1.0 - ns.clamp(1.0, 1_000.0).log10() / 3.0);
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{name}</text>", top - 12.0);
        for ns in [1.0, 10.0, 100.0, 1_000.0] {
            let (at, right) = (y(ns), left + PANEL - 60.0);
            let _ = writeln!(
                svg,
                "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#3a3d46\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ns}</text>",
                left - 6.0,
                at + 4.0
            );
        }
        for (keys, label) in KEYS.iter().zip(["100", "10⁴", "10⁶", "10⁷"]) {
            let bottom = top + HEIGHT - 22.0;
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{bottom}\" text-anchor=\"middle\">{label}</text>", x(*keys));
        }
        for (n, colour) in sizes.iter().zip(COLOURS) {
            let points = KEYS.map(|keys| (x(keys), each(name, keys, *n))).into_iter().filter(|(_, ns)| ns.is_finite());
            let line: Vec<String> = points.map(|(x, ns)| format!("{x:.1},{:.1}", y(ns))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                line.join(" ")
            );
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}
