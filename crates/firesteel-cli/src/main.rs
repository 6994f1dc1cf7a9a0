//! The command `firesteel`: masters, workers, whole clusters on one machine, and programs that are submitted to them.

mod daemons;
mod settings;
mod submit;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Firesteel's standalone clusters, and programs that are submitted to them.
#[derive(Parser)]
#[command(name = "firesteel", version, disable_help_subcommand = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Where to read what tasks print.
const LOGS: &str = "What stands after PROGRAM goes to the program. What tasks print is on their workers, in \
    <work folder>/<application>/<executor>/stdout and stderr; what a driver prints in cluster mode in <work folder>/<driver>/.";

#[derive(Subcommand)]
enum Command {
    /// Gives the cores and the memory of workers to programs. One for each cluster.
    Master(daemons::MasterArguments),
    /// Runs executors and drivers on this machine for a master.
    Worker(daemons::WorkerArguments),
    /// Starts a master and workers on this machine, and ends them on Ctrl-C.
    Cluster(daemons::ClusterArguments),
    /// Runs a program: its driver here or on a worker, its executors wherever the master says.
    #[command(after_help = LOGS)]
    Submit(Box<submit::SubmitArguments>),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Master(arguments) => daemons::master(arguments),
        Command::Worker(arguments) => daemons::worker(arguments),
        Command::Cluster(arguments) => daemons::cluster(arguments),
        Command::Submit(arguments) => submit::submit(*arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("firesteel: {e}");
            ExitCode::FAILURE
        }
    }
}
