//! Executors in processes of this machine: `local-cluster[executors,cores,MiB]`.

use super::{Control, process::FORSAKEN};
use crate::{
    driver::Msg,
    graph::lock,
    link::{Endings, Supplier},
};
use crossbeam_channel::Sender;
use firesteel_cluster::{
    cgroup::{self, Cgroups},
    role::Role,
};
use firesteel_model::{
    Error, ExecutorId, Result,
    conf::{Conf, keys},
};
use firesteel_scheduler::LossReason;
use firesteel_store::Scratch;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::Duration,
};

/// Executors that end by themselves are replaced so often, one after another without a task that succeeded in between; as Spark's
/// `deploy.maxExecutorRetries`.
const MOST_RETRIES: u32 = 10;
/// The numbers of SIGKILL and SIGTERM.
const KILL: i32 = rustix::process::Signal::KILL.as_raw();
const TERM: i32 = rustix::process::Signal::TERM.as_raw();
/// How long an executor that was told to end may take.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Starts executor processes and keeps so many of them.
pub(crate) struct LocalCluster {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    control: Control,
    endings: Arc<Endings>,
    folder: PathBuf,
    keep_logs: bool,
    /// Where executors have their scratch files.
    local_dirs: Vec<PathBuf>,
    /// Where executors have groups of their own, if they have.
    cgroups: Option<Cgroups>,
    to_driver: Sender<Msg>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// How many have ended in a row without a task that succeeded.
    failed: u32,
    /// Those that have done a task.
    working: BTreeSet<ExecutorId>,
    stopping: bool,
    /// How many threads look after executors.
    keepers: u32,
    running: Vec<(ExecutorId, Arc<Mutex<Child>>)>,
}

impl LocalCluster {
    /// Starts so many processes of this program, which register with `control`. What they print goes to files in a folder of the
    /// application's, `worker.dir` or else in a scratch folder.
    pub(crate) fn start(
        executors: u32,
        conf: &Conf,
        application: &str,
        control: Control,
        endings: Arc<Endings>,
        to_driver: Sender<Msg>,
    ) -> Result<Arc<Self>> {
        let (kept, local_dirs) = (conf.get(keys::WORKER_DIR)?, conf.local_dirs()?);
        let keep_logs = kept.is_some();
        let folder = kept.map(PathBuf::from).or_else(|| local_dirs.first().cloned()).unwrap_or_else(|| ".".into());
        let folder = folder.join(format!("firesteel-work-{application}"));
        let state = Mutex::new(State { keepers: executors, ..State::default() });
        let (cgroups, changed) = (Cgroups::for_executors(), Condvar::new());
        let shared = Shared { control, endings, folder, keep_logs, local_dirs, cgroups, to_driver, state, changed };
        let cluster = Arc::new(LocalCluster { shared: Arc::new(shared), threads: Mutex::default() });
        for i in 0..executors {
            // The first is started here, so that what is wrong is an error of the context.
            let first = if i == 0 { Some(cluster.shared.spawn()?) } else { None };
            let shared = cluster.shared.clone();
            let thread = std::thread::Builder::new()
                .name("firesteel-executor-keeper".into())
                .spawn(move || shared.keep(first))
                .map_err(|e| Error::io("start", "a thread that looks after an executor", e))?;
            lock(&cluster.threads).push(thread);
        }
        Ok(cluster)
    }
}

impl Supplier for LocalCluster {
    /// Executors that end are a misfortune then, not a habit.
    fn works(&self, executor: ExecutorId) {
        let mut state = lock(&self.shared.state);
        state.failed = 0;
        state.working.insert(executor);
    }

    fn give_up(&self, executor: ExecutorId) {
        let state = lock(&self.shared.state);
        if let Some((_, child)) = state.running.iter().find(|(id, _)| *id == executor) {
            let _ = lock(child).kill();
        }
    }

    fn ending(&self) {
        lock(&self.shared.state).stopping = true;
    }

    fn stop(&self) {
        self.ending();
        let state = lock(&self.shared.state);
        let waited = self.shared.changed.wait_timeout_while(state, LAST_WAIT, |state| !state.running.is_empty());
        let (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        let left: Vec<_> = state.running.iter().map(|(_, child)| child.clone()).collect();
        drop(state);
        for child in left {
            let _ = lock(&child).kill();
        }
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            let _ = thread.join();
        }
        if !self.shared.keep_logs {
            let _ = fs::remove_dir_all(&self.shared.folder);
        }
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn spawn(&self) -> Result<(ExecutorId, Child)> {
        let executor = {
            let mut state = lock(&self.state);
            state.next += 1;
            ExecutorId(state.next - 1)
        };
        let folder = self.folder.join(executor.to_string());
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", folder.display(), e))?;
        let log = |name: &str| {
            let path: &Path = &folder.join(name);
            File::create(path).map_err(|e| Error::io("create", path.display(), e))
        };
        let role = Role {
            driver: self.control.address().to_string(),
            secret: self.control.secret.clone(),
            executor,
            executable: None,
            cores: None,
            local_dirs: Vec::new(),
            outputs: None,
            ends_with_starter: false,
        };
        // What runs, even if its path has been given to another build since.
        let child = Command::new("/proc/self/exe")
            .stdin(role.stdin()?.theirs)
            .stdout(log("stdout")?)
            .stderr(log("stderr")?)
            .spawn()
            .map_err(|e| Error::io("start", "an executor process", e))?;
        tracing::info!("executor {executor} is process {}; what it prints is in {}", child.id(), folder.display());
        Ok((executor, child))
    }

    /// What the driver is told of a process that has ended so.
    fn how_ended(&self, executor: ExecutorId, status: ExitStatus, took_too_much: bool) -> LossReason {
        // What others do to a process (kill it, the machine's memory being full) is not the program's fault.
        let by_others = matches!(status.signal(), Some(KILL | TERM)) || status.code() == Some(FORSAKEN);
        let why = if took_too_much { cgroup::TOOK_TOO_MUCH } else { "" };
        let message = format!("its process has ended ({status}); what it printed is in {}{why}", self.log_of(executor));
        LossReason::Exited { message, caused_by_app: took_too_much || !by_others }
    }

    fn log_of(&self, executor: ExecutorId) -> String {
        self.folder.join(executor.to_string()).join("stderr").display().to_string()
    }

    /// Looks after one executor, and after those that take its place; the last one to give up tells the driver.
    fn keep(&self, first: Option<(ExecutorId, Child)>) {
        let given_up = self.keep_one(first);
        let mut state = lock(&self.state);
        state.keepers -= 1;
        if let Some(why) = given_up {
            tracing::error!("{why}");
            if state.keepers == 0 {
                let _ = self.to_driver.send(Msg::Hopeless(why));
            }
        }
    }

    /// Why it gives up; none where the application ends.
    fn keep_one(&self, first: Option<(ExecutorId, Child)>) -> Option<String> {
        let mut next = first;
        loop {
            let (executor, child) = match next.take().map_or_else(|| self.spawn(), Ok) {
                Ok(started) => started,
                Err(e) => return Some(format!("an executor could not be started: {e}")),
            };
            let pid = child.id();
            let child = Arc::new(Mutex::new(child));
            {
                let mut state = lock(&self.state);
                state.running.push((executor, child.clone()));
                if state.stopping {
                    let _ = lock(&child).kill();
                }
            }
            // Not under the lock that whoever ends it needs.
            let status = wait(pid, &child);
            let took_too_much = self.cgroups.as_ref().is_some_and(|groups| groups.leave(pid));
            Scratch::tidy(&self.local_dirs);
            let mut state = lock(&self.state);
            state.running.retain(|(id, _)| *id != executor);
            if !state.working.remove(&executor) {
                state.failed += 1;
            }
            let give_up = state.failed > MOST_RETRIES;
            let stopping = state.stopping;
            drop(state);
            self.changed.notify_all();
            if let Some(status) = status {
                self.endings.ended(executor, self.how_ended(executor, status, took_too_much));
            }
            if stopping {
                return None;
            }
            let how = status.map_or("how is unknown".into(), |status| status.to_string());
            if give_up {
                let cause = self.endings.why_not_begun().map(|why| format!("; one could not begin: {why}"));
                return Some(format!(
                    "executors have ended {MOST_RETRIES} times without a task that succeeded, and no more are started{}; what the last \
                     one ({how}) printed is in {}",
                    cause.unwrap_or_default(),
                    self.log_of(executor)
                ));
            }
            tracing::warn!("executor {executor} has ended ({how}); another takes its place");
        }
    }
}

/// Waits for a process without holding its lock while it runs.
fn wait(pid: u32, child: &Mutex<Child>) -> Option<ExitStatus> {
    let pid = rustix::process::Pid::from_raw(pid as i32)?;
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    while let Err(e) = rustix::process::waitid(rustix::process::WaitId::Pid(pid), options) {
        if e != rustix::io::Errno::INTR {
            return None;
        }
    }
    lock(child).wait().ok()
}
