//! How long a program that is submitted to a running cluster takes until it has a first result.

use super::short;
use firesteel::prelude::*;
use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

/// The subcommand that is the program.
pub(crate) const PROGRAM: &str = "first-result";

/// The program: a job of two tasks, wherever it is submitted to.
pub(crate) fn program() -> Result<()> {
    let sc = Context::builder().app_name(PROGRAM).build()?;
    println!("{}", sc.range_n(0..2, 2).count()?);
    sc.stop()
}

/// Starts a master and a worker, with their files below `folder`, submits the program twice, and prints how long that takes.
pub(super) fn measure(folder: &Path) -> Result<()> {
    let failed = |what: &'static str, e| Error::io(what, "a cluster", e);
    let program = std::env::current_exe().map_err(|e| failed("find the program for", e))?;
    let firesteel = program.with_file_name("firesteel");
    if !firesteel.exists() {
        println!("no program was submitted: `cargo build --release -p firesteel-cli` makes the command that does it");
        return Ok(());
    }
    let folder = folder.join(format!("cluster-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|e| failed("make a folder for", e))?;
    let mut cluster = Command::new(&firesteel);
    cluster.args(["cluster", "1", "--cores", "2", "--memory", "2g", "--port", "0", "--work-dir"]).arg(&folder);
    let mut cluster = Running::start(cluster.stderr(Stdio::null())).map_err(|e| failed("start", e))?;
    let url = cluster.line(|line| line.trim_start().starts_with("firesteel://"));
    let seconds = || {
        let start = Instant::now();
        let mut submit = Command::new(&firesteel);
        submit.args(["submit", "--master", url.trim(), "--executor-memory", "1g"]).arg(&program).arg(PROGRAM);
        let mut running = Running::start(&mut submit).map_err(|e| failed("submit to", e))?;
        let result = running.line(|line| line.trim() == "2");
        let seconds = start.elapsed().as_secs_f64();
        let ended = running.child.wait().map_err(|e| failed("wait for", e))?;
        match result.is_empty() || !ended.success() {
            true => Err(Error::InvalidArgument(format!("the submitted program gave no result ({ended})"))),
            false => Ok(seconds),
        }
    };
    let (first, second) = (seconds()?, seconds()?);
    drop(cluster);
    let _ = fs::remove_dir_all(&folder);
    println!(
        "from submit to the first result: {} s on a warm cluster, {} s where the worker has to fetch the program first",
        short(second),
        short(first)
    );
    Ok(())
}

/// A process, which is told to end when this is dropped.
struct Running {
    child: Child,
    prints: BufReader<ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let prints = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        Ok(Running { child, prints })
    }

    /// The next line that it prints and that is wanted; empty if it ends before.
    fn line(&mut self, is_wanted: impl Fn(&str) -> bool) -> String {
        let mut lines = self.prints.by_ref().lines().map_while(|line| line.ok());
        lines.find(|line| is_wanted(line)).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}
