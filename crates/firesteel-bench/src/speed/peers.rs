//! What other engines took for the same workloads on the same inputs, beside the recorded run.

use super::{
    WORKLOADS, ratio,
    record::{Record, marked},
    sheet::{Sheet, number},
    short,
};
use firesteel::prelude::*;
use std::{fmt::Write as _, fs, path::Path};

/// Puts the table into the page. The recorded figures: workload, engine, seconds from the start of the process to the first result,
/// seconds of a warm run, peak resident MB.
pub(super) fn page(recorded: &Path, ours: &Record, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(recorded)?;
    let sheet = Sheet::of(&text);
    let mut engines: Vec<&str> = Vec::new();
    let mut figures = Vec::new();
    for [workload, engine, cold, warm, rss] in sheet.rows()? {
        figures.push((workload, engine, number(cold), number(warm), rss));
        if !engines.contains(&engine) {
            engines.push(engine);
        }
    }
    let mut table = sheet.list();
    let _ = write!(table, "\n| | Firesteel |");
    engines.iter().for_each(|engine| {
        let _ = write!(table, " {engine} | times |");
    });
    let _ = writeln!(table, "\n|---|--:|{}", "--:|--:|".repeat(engines.len()));
    for workload in &WORKLOADS {
        let of = |engine: &str| figures.iter().find(|figure| figure.0 == workload.name && figure.1 == engine);
        if engines.iter().all(|engine| of(engine).is_none()) {
            continue;
        }
        let firesteel = ours.seconds(workload.name, "engine");
        let _ = write!(table, "| {} {} | **{}** |", workload.name, workload.what, short(firesteel));
        for engine in &engines {
            match of(engine) {
                Some((_, _, cold, warm, rss)) => {
                    // A start is only ever cold.
                    let seconds = if warm.is_nan() { *cold } else { *warm };
                    let _ = write!(
                        table,
                        " {} (cold {}, {rss} MB) | {} |",
                        short(seconds),
                        short(*cold),
                        ratio(seconds, firesteel)
                    );
                }
                None => table.push_str(" - | |"),
            }
        }
        table.push('\n');
    }
    marked(folder, "peers", &table)
}
