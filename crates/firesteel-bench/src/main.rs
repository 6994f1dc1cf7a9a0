//! Firesteel's benchmarks: `cargo run --release -p firesteel-bench -- memory`.

mod memory;

use firesteel::prelude::*;

const USAGE: &str = "usage: firesteel-bench memory [--scale 1.0] [--budget 256m] [--only NAME]

memory   workloads larger than the budget, each in a process of its own, with the budget and with ample memory:
         seconds, ratio, peak resident memory, bytes spilled. --scale 1.0 is a gigabyte or so.";

#[firesteel::main]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"memory", options)) => memory::compare(&memory::Options::parse(options)?),
        Some((&"memory-one", [name, budget, scale])) => memory::one(name, budget, scale),
        _ => {
            println!("{USAGE}");
            Ok(())
        }
    }
}
