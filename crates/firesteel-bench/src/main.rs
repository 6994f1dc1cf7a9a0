//! Firesteel's benchmarks: `cargo run --release -p firesteel-bench -- speed`.

mod memory;
mod shuffle;
mod speed;

use firesteel::prelude::*;

const USAGE: &str = "usage: firesteel-bench speed  [--scale 0.01] [--threads 2] [--rounds 3] [--only W1,W4] [--ways engine,hand,limit] [--data FOLDER]
                             [--record FILE] [--short]
       firesteel-bench scaling [--scale 0.01] [--only W1,W4] [--data FOLDER] [--record FILE]
       firesteel-bench build [--record FILE]
       firesteel-bench speed-page RECORDED FOLDER
       firesteel-bench cluster [--scale 0.01] [--rounds 3] [--only W1,W4] [--data FOLDER]
       firesteel-bench memory [--scale 1.0] [--budget 256m] [--only NAME]
       firesteel-bench shuffle PARTITIONS [--budget 256m]

speed    workloads in ample memory, each in a process of its own: by the engine, by hand without one, and in the fastest form
         known: seconds, ratios, peak resident memory. --scale 1.0 reads 2.6 GB, which are made once below --data. --short (last)
         takes a minute. speed-page makes the tables of FOLDER/speed.md and its pictures from what --record wrote into folder RECORDED.
scaling  the workloads on one thread and on two, and with a hundredth and a tenth of the data; operations by key with 100 to 10
         million keys.
build    seconds and size of a program that counts words: from scratch, after a change, with one more operation.
cluster  some of these on two executor processes, beside threads and by hand; tasks per second, bytes for each, shuffle over
         loopback, what an executor's death costs, and, with the command `firesteel` beside this program, how long a program that
         is submitted takes to its first result.
memory   workloads larger than the budget, each in a process of its own, with the budget and with ample memory:
         seconds, ratio, processor seconds, peak resident memory, bytes written to files. --scale 1.0 is a gigabyte or so.
shuffle  as many map tasks as reduce tasks, and a record for each pair of them: seconds, open files, bytes of indices, peak
         resident memory, the driver's state for each map output.";

/// Which options these read.
const SPEED: [&str; 8] = ["--scale", "--threads", "--rounds", "--only", "--ways", "--data", "--record", "--short"];
const SCALING: [&str; 4] = ["--scale", "--only", "--data", "--record"];
const CLUSTER: [&str; 4] = ["--scale", "--rounds", "--only", "--data"];

#[firesteel::main]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"speed", options)) => speed::compare(&speed::Options::parse("speed", &SPEED, options)?),
        Some((&"speed-one", words)) => speed::one(words),
        Some((&"cluster", options)) => speed::cluster::compare(&speed::Options::parse("cluster", &CLUSTER, options)?),
        Some((&speed::submit::PROGRAM, [])) => speed::submit::program(),
        Some((&"scaling", options)) => speed::scaling::measure(&speed::Options::parse("scaling", &SCALING, options)?),
        Some((&"build", [])) => speed::build::measure(None, "firesteel-bench build"),
        Some((&"build", ["--record", path])) => {
            speed::build::measure(Some(path), &format!("firesteel-bench build --record {path}"))
        }
        Some((&"speed-page", [recorded, folder])) => speed::page(recorded, folder),
        Some((&"memory", options)) => memory::compare(&memory::Options::parse(options)?),
        Some((&"memory-one", [name, budget, scale])) => memory::one(name, budget, scale),
        Some((&"shuffle", [partitions])) => shuffle::run(number(partitions)?, "256m"),
        Some((&"shuffle", [partitions, "--budget", budget])) => shuffle::run(number(partitions)?, budget),
        _ => {
            println!("{USAGE}");
            Ok(())
        }
    }
}

fn number(word: &str) -> Result<u32> {
    word.parse().map_err(|e| Error::InvalidArgument(format!("{word}: {e}")))
}
