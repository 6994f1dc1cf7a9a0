//! Firesteel's benchmarks: `cargo run --release -p firesteel-bench -- speed`.

mod memory;
mod speed;

use firesteel::prelude::*;

const USAGE: &str = "usage: firesteel-bench speed  [--scale 0.01] [--threads 2] [--rounds 3] [--only W1,W4] [--ways engine,hand,limit] [--data FOLDER]
       firesteel-bench memory [--scale 1.0] [--budget 256m] [--only NAME]

speed    workloads in ample memory, each in a process of its own: by the engine, by hand without one, and in the fastest form
         known: seconds, ratios, peak resident memory. --scale 1.0 reads 2.6 GB, which are made once below --data.
memory   workloads larger than the budget, each in a process of its own, with the budget and with ample memory:
         seconds, ratio, peak resident memory, bytes spilled. --scale 1.0 is a gigabyte or so.";

#[firesteel::main]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"speed", options)) => speed::compare(&speed::Options::parse(options)?),
        Some((&"speed-one", words)) => speed::one(words),
        Some((&"memory", options)) => memory::compare(&memory::Options::parse(options)?),
        Some((&"memory-one", [name, budget, scale])) => memory::one(name, budget, scale),
        _ => {
            println!("{USAGE}");
            Ok(())
        }
    }
}
