//! The files of recorded runs: lines that begin with `# ` say how a run was made, the others have fields between tabs.

use firesteel::prelude::*;
use std::{fmt::Write as _, fs};

/// What a file has.
pub(super) struct Sheet<'a> {
    about: Vec<&'a str>,
    rows: Vec<&'a str>,
}

impl<'a> Sheet<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let (about, rows) = text.lines().partition(|line| line.starts_with("# "));
        Sheet { about, rows }
    }

    /// The rows, each of so many fields.
    pub(super) fn rows<const N: usize>(&self) -> Result<Vec<[&'a str; N]>> {
        let row = |line: &&'a str| {
            let fields: Vec<&str> = line.split('\t').collect();
            let wrong = |_| Error::InvalidArgument(format!("a line of a recorded run has not {N} fields: {line}"));
            fields.try_into().map_err(wrong)
        };
        self.rows.iter().map(row).collect()
    }

    /// The lines that say how the run was made.
    pub(super) fn head(&self) -> String {
        self.about.iter().map(|about| format!("{about}\n")).collect()
    }

    /// The same, as a list of the page.
    pub(super) fn list(&self) -> String {
        self.about.iter().map(|about| format!("- {}\n", &about[2..])).collect()
    }
}

/// A field that is a number; not a number where there is none.
pub(super) fn number(field: &str) -> f64 {
    field.parse().unwrap_or(f64::NAN)
}

/// The first lines of a file: how a run is made, and on which machine.
pub(super) fn about(command: &str) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
        line.map_or("unknown".to_string(), |(_, value)| value.trim().to_string())
    };
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut about = format!("# command: {command}\n# machine: {processors} × {}", field(&cpu, "model name"));
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let _ = writeln!(about, ", memory {}\n# load before: {load}", field(&memory, "MemTotal"));
    about
}
