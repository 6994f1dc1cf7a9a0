//! A cluster of processes for one test, and what is submitted to it.

use crate::program;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(100);

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        // Others need the processor for what is waited for.
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn kill(pid: u32) {
    signal("-KILL", pid);
}

fn signal(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Whether a process runs; one that has ended and is not yet waited for does not.
pub(crate) fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A process that is killed when the test is over.
pub(crate) struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a process has ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ends(mut self) -> Ended {
        let mut status = None;
        until("a process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        Ended { code: status.and_then(|s| s.code()), stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A master and workers, each a process.
pub(crate) struct Ground {
    dir: TempDir,
    flags: Vec<String>,
    port: u16,
    master: Option<Running>,
    workers: Vec<Running>,
    runs: AtomicU64,
}

impl Ground {
    /// A master, and so many workers of one core, all with these flags.
    pub(crate) fn new(workers: usize, flags: &[&str]) -> Ground {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("scratch")).unwrap();
        let flags = flags.iter().map(|flag| flag.to_string()).collect();
        let (master, runs) = (None, AtomicU64::default());
        let mut ground = Ground { dir, flags, port: 0, master, workers: Vec::new(), runs };
        if workers > 0 {
            ground.start_master();
            let log = ground.master.as_ref().unwrap().stderr.clone();
            (0..workers).for_each(|number| ground.start_worker(number));
            until("all workers have come", || fs::read_to_string(&log).unwrap().matches("has come").count() == workers);
        }
        ground
    }

    pub(crate) fn start_master(&mut self) {
        let (port, folder) = (self.port.to_string(), self.path("master").display().to_string());
        let recovery = format!("firesteel.deploy.recoveryDirectory={folder}");
        let master = self.run(self.command(&["master", "--port", &port, "--conf", &recovery]));
        let mut log = String::new();
        until("the master listens", || {
            log = fs::read_to_string(&master.stderr).unwrap();
            log.contains("the master is at")
        });
        let address = log.split("firesteel://127.0.0.1:").nth(1).unwrap();
        self.port = address.split_whitespace().next().unwrap().parse().unwrap();
        self.master = Some(master);
    }

    /// The worker of this number, for the first time or when it has been killed and those after it have not.
    pub(crate) fn start_worker(&mut self, number: usize) {
        let folder = self.path(&format!("work-{number}")).display().to_string();
        let args = ["worker", &self.url(), "-c", "1", "-m", "2g", "-d", &folder, "--host", "here"];
        let worker = self.run(self.command(&args));
        self.workers.insert(number, worker);
    }

    pub(crate) fn kill_master(&mut self) {
        self.master = None;
    }

    pub(crate) fn stop_master(&self) {
        signal("-STOP", self.master.as_ref().unwrap().pid());
    }

    pub(crate) fn continue_master(&self) {
        signal("-CONT", self.master.as_ref().unwrap().pid());
    }

    pub(crate) fn kill_worker(&mut self, number: usize) {
        drop(self.workers.remove(number));
    }

    /// Asks a worker to end, and waits for it.
    pub(crate) fn end_worker(&mut self, number: usize) {
        let worker = self.workers.remove(number);
        signal("-TERM", worker.pid());
        assert_eq!(worker.ends().code, Some(0));
    }

    pub(crate) fn url(&self) -> String {
        format!("firesteel://127.0.0.1:{}", self.port)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command with this cluster's flags and scratch folder, and nothing else of the tests' environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firesteel"));
        for name in ["FIRESTEEL_CONF", "FIRESTEEL_CONF_DIR", "FIRESTEEL_MASTER", "SPARK_LOCAL_DIRS"] {
            command.env_remove(name);
        }
        let takes_flags = ["master", "worker"].contains(&args[0]);
        command.args(args).args(self.flags.iter().filter(|_| takes_flags));
        command.env("FIRESTEEL_LOCAL_DIRS", self.path("scratch")).stdin(Stdio::null());
        command
    }

    /// What is printed goes to files, so that nobody waits for a reader.
    pub(crate) fn run(&self, mut command: Command) -> Running {
        let run = self.runs.fetch_add(1, Relaxed);
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.path(&format!("run-{run}-{name}")));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Running { child: command.spawn().unwrap(), stdout, stderr }
    }

    /// A submission of one of the programs; the folder of one that waits is made here.
    pub(crate) fn submitting(&self, flags: &[&str], program: &[&str]) -> Command {
        let mut command = self.command(&["submit"]);
        command.args(flags).args(["-c", "firesteel.executor.memory=512m"]);
        command.arg(std::env::current_exe().unwrap()).arg(program::FLAG);
        match program {
            ["waits", name, tasks] => {
                fs::create_dir_all(self.path(name)).unwrap();
                command.arg("waits").arg(self.path(name)).arg(tasks)
            }
            program => command.args(program),
        };
        command
    }

    pub(crate) fn submit(&self, flags: &[&str], program: &[&str]) -> Running {
        self.run(self.submitting(flags, program))
    }

    /// Submits a program whose driver runs on a worker; its id.
    pub(crate) fn submit_to_cluster(&self, flags: &[&str], program: &[&str]) -> String {
        let url = self.url();
        let mode = ["--master", &url, "--deploy-mode", "cluster", "--driver-memory", "256m"];
        let submitted = self.submit(&[&mode, flags].concat(), program).ends();
        assert_eq!(submitted.code, Some(0), "{}", submitted.stderr);
        submitted.stdout.trim().to_string()
    }

    /// What the cluster says about a driver.
    pub(crate) fn asks(&self, question: &[&str]) -> Ended {
        self.run(self.command(&[&["submit", "--master", &self.url()], question].concat())).ends()
    }

    /// Waits until a driver has ended; its state.
    pub(crate) fn driver_ends(&self, id: &str) -> String {
        let mut state = String::new();
        until("a driver ends", || {
            let shown = self.asks(&["--status", id]);
            assert_eq!(shown.code, Some(0), "{}", shown.stderr);
            state = shown.stdout.lines().next().unwrap().rsplit(' ').next().unwrap().to_string();
            !["SUBMITTED", "RUNNING", "RELAUNCHING"].contains(&&*state)
        });
        state
    }

    pub(crate) fn driver_prints(&self, id: &str) -> String {
        let folders = (0..self.workers.len()).map(|number| self.path(&format!("work-{number}")).join(id));
        folders.filter_map(|folder| fs::read_to_string(folder.join("stdout")).ok()).collect()
    }

    pub(crate) fn errors(&self, running: &Running) -> String {
        fs::read_to_string(&running.stderr).unwrap()
    }

    /// Waits until so many processes run tasks of a program that waits.
    pub(crate) fn started(&self, name: &str, processes: usize) -> Vec<u32> {
        let mut pids = Vec::new();
        until("tasks begin", || {
            let files = fs::read_dir(self.path(name)).unwrap().map(|entry| entry.unwrap());
            let tasks = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("task-"));
            pids = tasks.filter_map(|entry| number(&entry.path())).collect();
            pids.sort();
            pids.dedup();
            pids.len() >= processes
        });
        pids
    }

    /// The driver of a program that waits.
    pub(crate) fn driver_of(&self, name: &str) -> u32 {
        let mut pid = None;
        until("a driver begins", || {
            pid = number(&self.path(name).join("driver"));
            pid.is_some()
        });
        pid.unwrap()
    }

    /// The tasks of a program that waits may go on.
    pub(crate) fn go(&self, name: &str) {
        fs::write(self.path(name).join("go"), "").unwrap();
    }

    /// What all executors have printed.
    pub(crate) fn logs(&self, name: &str) -> String {
        let logs = files(self.dir.path()).into_iter().filter(|path| path.ends_with(name));
        logs.map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    /// The folders in the scratch folder.
    pub(crate) fn scratch_folders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("scratch")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The files in the scratch folder.
    pub(crate) fn scratch(&self) -> Vec<PathBuf> {
        files(&self.path("scratch"))
    }
}

/// The number in a file that was written to its end.
fn number(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}
