//! A recorded run: its figures as lines of text, and the page and the picture that are made of them.

use super::{
    Runs, WAYS, WORKLOADS, build, median, peers, ratio, scaling,
    sheet::{Sheet, about, number},
    short,
};
use firesteel::prelude::*;
use std::{fmt::Write as _, fs, path::Path};

/// The run that the documentation shows.
const RECORDED: &str = include_str!("../../speed.tsv");

/// The figures of a run: lines that say how it was made, and one for each workload, way and part.
#[derive(Default)]
pub(super) struct Record {
    /// The first lines of its file.
    about: String,
    lines: Vec<Line>,
}

/// Of a workload in one way; `part` is empty for the whole of it. Seconds, and bytes.
struct Line {
    workload: String,
    way: String,
    part: String,
    warm: f64,
    least: f64,
    most: f64,
    cpu: f64,
    cold: f64,
    rss: f64,
}

impl Record {
    /// An empty one, of a run that is made like this.
    pub(super) fn new(command: &str) -> Self {
        Record { about: about(command), lines: Vec::new() }
    }

    /// The one that the documentation shows.
    pub(super) fn recorded() -> Result<Self> {
        Self::parse(RECORDED)
    }

    pub(super) fn add(&mut self, workload: &str, way: &str, runs: &Runs) {
        let line = |part: &str, warm: &[f64], cpu, cold, rss| Line {
            workload: workload.into(),
            way: way.into(),
            part: part.into(),
            warm: median(warm),
            least: warm.iter().copied().fold(f64::NAN, f64::min),
            most: warm.iter().copied().fold(f64::NAN, f64::max),
            cpu,
            cold,
            rss,
        };
        self.lines.push(line("", &runs.warm, runs.least_cpu(), median(&runs.cold), runs.rss as f64));
        for (part, seconds) in &runs.parts {
            self.lines.push(line(part, seconds, f64::NAN, f64::NAN, f64::NAN));
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let sheet = Sheet::of(text);
        let mut record = Record { about: sheet.head(), lines: Vec::new() };
        for [workload, way, part, numbers @ ..] in sheet.rows::<9>()? {
            let (workload, way, part) = (workload.into(), way.into(), part.into());
            let [warm, least, most, cpu, cold, rss] = numbers.map(number);
            record.lines.push(Line { workload, way, part, warm, least, most, cpu, cold, rss });
        }
        Ok(record)
    }

    fn text(&self) -> String {
        let mut text = self.about.clone();
        for line in &self.lines {
            let Line { workload, way, part, warm, least, most, cpu, cold, rss } = line;
            let _ = writeln!(text, "{workload}\t{way}\t{part}\t{warm}\t{least}\t{most}\t{cpu}\t{cold}\t{rss}");
        }
        text
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, self.text())?)
    }

    pub(super) fn seconds(&self, workload: &str, way: &str) -> f64 {
        self.line(workload, way, "").map_or(f64::NAN, Line::seconds)
    }

    fn line(&self, workload: &str, way: &str, part: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.workload == workload && line.way == way && line.part == part)
    }

    /// The engine's seconds, as a multiple of another way's.
    pub(super) fn times(&self, workload: &str, way: &str) -> f64 {
        self.seconds(workload, "engine") / self.seconds(workload, way)
    }
}

impl Line {
    /// What is compared: warm runs, or starts where there is nothing else.
    fn seconds(&self) -> f64 {
        if self.warm.is_nan() { self.cold } else { self.warm }
    }
}

/// Makes the tables of `speed.md` and the pictures in a folder from the recorded runs in another.
pub(crate) fn page(recorded: &str, folder: &str) -> Result<()> {
    let (recorded, folder) = (Path::new(recorded), Path::new(folder));
    let record = Record::parse(&fs::read_to_string(recorded.join("speed.tsv"))?)?;
    marked(folder, "speed", &table(&record))?;
    fs::write(folder.join("speed.svg"), picture(&record))?;
    // What has not been recorded has no table.
    let found = |name: &str| Some(recorded.join(name)).filter(|path| path.exists());
    found("scaling.tsv").map_or(Ok(()), |path| scaling::page(&path, folder))?;
    found("peers.tsv").map_or(Ok(()), |path| peers::page(&path, &record, folder))?;
    found("build.tsv").map_or(Ok(()), |path| build::page(&path, folder))
}

/// Puts a table into its place in `speed.md`.
pub(super) fn marked(folder: &Path, name: &str, table: &str) -> Result<()> {
    let path = folder.join("speed.md");
    let (begin, end) =
        (format!("<!-- {name}: made by `firesteel-bench speed-page` -->\n"), format!("<!-- end of {name} -->\n"));
    let text = fs::read_to_string(&path)?;
    let around = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) =
        around.ok_or_else(|| Error::InvalidArgument(format!("{} has no place for {name}", path.display())))?;
    Ok(fs::write(&path, format!("{before}{begin}{table}{end}{after}"))?)
}

fn table(record: &Record) -> String {
    let mut table = Sheet::of(&record.about).list();
    table.push_str("\n| | engine | by hand | limit | ÷ hand | ÷ limit | at most | cold | peak MiB |\n");
    table.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for workload in &WORKLOADS {
        let of = |way, part: &str| record.line(workload.name, way, part);
        if of("engine", "").is_none() {
            continue;
        }
        let seconds = |way| of(way, "").map_or(f64::NAN, Line::seconds);
        let all = |figure: fn(&Line) -> String| WAYS.map(|way| of(way, "").map_or("-".into(), figure)).join(" / ");
        let engine = match of("engine", "") {
            Some(line) if !line.warm.is_nan() => {
                format!("**{}** ({}–{})", short(line.warm), short(line.least), short(line.most))
            }
            _ => format!("**{}**", short(seconds("engine"))),
        };
        let _ = writeln!(
            table,
            "| {} {} | {engine} | {} | {} | {} | {} | {} | {} | {} |",
            workload.name,
            workload.what,
            short(seconds("hand")),
            short(seconds("limit")),
            ratio(seconds("engine"), seconds("hand")),
            ratio(seconds("engine"), seconds("limit")),
            workload.target.map_or("-".into(), |target| target.to_string()),
            all(|line| short(line.cold)),
            all(|line| format!("{:.0}", line.rss / 1_048_576.0)),
        );
        for line in record
            .lines
            .iter()
            .filter(|line| line.workload == workload.name && line.way == "engine" && !line.part.is_empty())
        {
            let other = |way| of(way, &line.part).map_or(f64::NAN, |line| line.warm);
            let (by_hand, by_limit) = (ratio(line.warm, other("hand")), ratio(line.warm, other("limit")));
            let (part, engine) = (&line.part, short(line.warm));
            let (hand, limit) = (short(other("hand")), short(other("limit")));
            let _ = writeln!(table, "| · {part} | {engine} | {hand} | {limit} | {by_hand} | {by_limit} | | | |");
        }
    }
    table
}

/// The seconds of each workload as multiples of the limit's, on a logarithmic scale.
fn picture(record: &Record) -> String {
    const LEFT: f64 = 230.0;
    const WIDTH: f64 = 460.0;
    const ROW: f64 = 24.0;
    const TOP: f64 = 70.0;
    // Of empty tasks the limit has nearly nothing to do.
    let is_shown = |name| name != "W13" && record.times(name, "limit").is_finite();
    let shown: Vec<_> = WORKLOADS.iter().filter(|workload| is_shown(workload.name)).collect();
    let height = TOP + ROW * shown.len() as f64 + 30.0;
    // From half the limit's time to sixty-four times it.
    let x = |times: f64| LEFT + WIDTH * (times.clamp(0.5, 64.0).log2() + 1.0) / 7.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"{height}\" viewBox=\"0 0 720 {height}\" role=\"img\">\n\
         <title>Seconds of the workloads, by the engine and by hand, as multiples of the limit's</title>\n\
         <rect width=\"720\" height=\"{height}\" rx=\"8\" fill=\"#1b1d23\"/>\n\
         <g font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#d7dae0\">\n\
         <circle cx=\"24\" cy=\"24\" r=\"5\" fill=\"#e8833a\"/><text x=\"36\" y=\"28\">Firesteel</text>\n\
         <circle cx=\"124\" cy=\"24\" r=\"5\" fill=\"#8ab4f8\"/><text x=\"136\" y=\"28\">by hand: rayon, std collections</text>\n\
         <text x=\"350\" y=\"28\">times the limit's seconds: less is better</text>\n"
    );
    for power in -1..=6 {
        let (at, times) = (x(2f64.powi(power)), 2f64.powi(power));
        let colour = if power == 0 { "#28c840" } else { "#3a3d46" };
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{times}×</text>",
            TOP - 8.0,
            height - 24.0,
            TOP - 14.0,
        );
    }
    for (i, workload) in shown.iter().enumerate() {
        let y = TOP + ROW * (i as f64 + 0.5);
        let engine = record.times(workload.name, "limit");
        let hand = engine / record.times(workload.name, "hand");
        let _ = write!(svg, "<text x=\"20\" y=\"{:.1}\">{} {}</text>", y + 4.0, workload.name, workload.what);
        for (times, colour) in [(hand, "#8ab4f8"), (engine, "#e8833a")] {
            if times.is_finite() {
                let _ = write!(svg, "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>", x(times));
            }
        }
        svg.push('\n');
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}
