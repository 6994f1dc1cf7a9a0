//! Executors in processes of this machine: `local-cluster[executors,cores,MiB]`.

use super::{Control, process::FORSAKEN};
use crate::{
    graph::lock,
    supply::{Delivery, Supplier},
};
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
    collections::BTreeMap,
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

/// Starts executor processes, and others in their place: a thread looks after each.
pub(crate) struct LocalCluster {
    shared: Arc<Shared>,
    /// There are never more, whatever is wanted.
    most: u32,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    control: Control,
    delivery: Delivery,
    folder: PathBuf,
    keep_logs: bool,
    /// Where executors have their scratch files.
    local_dirs: Vec<PathBuf>,
    /// Where executors have groups of their own, if they have.
    cgroups: Option<Cgroups>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// How many have ended in a row without a task that succeeded.
    failed: u32,
    stopping: bool,
    wanted: u32,
    /// How many threads look after executors.
    keepers: u32,
    /// Those that are started or run.
    running: BTreeMap<ExecutorId, Running>,
}

#[derive(Default)]
struct Running {
    /// None while it is started, though it may have registered already.
    child: Option<Arc<Mutex<Child>>>,
    /// It has done a task, or was let go: its end is no failure.
    excused: bool,
    let_go: bool,
}

impl State {
    /// The number of an executor that is started now.
    fn begins(&mut self) -> ExecutorId {
        let executor = ExecutorId(self.next);
        self.next += 1;
        self.running.insert(executor, Running::default());
        executor
    }

    /// Ends it at once if that is wanted already.
    fn started(&mut self, executor: ExecutorId, child: &Arc<Mutex<Child>>) {
        let running = self.running.entry(executor).or_default();
        running.child = Some(child.clone());
        if self.stopping || running.let_go {
            let _ = lock(child).kill();
        }
    }
}

impl LocalCluster {
    /// Will start so many processes of this program at most, which register with `control`. What they print goes to files in a folder of the
    /// application's, `worker.dir` or else in a scratch folder.
    pub(crate) fn start(
        most: u32,
        conf: &Conf,
        application: &str,
        control: Control,
        delivery: Delivery,
    ) -> Result<Arc<Self>> {
        let service = keys::SHUFFLE_SERVICE_ENABLED;
        if conf.contains(service.info.key()) && conf.get(service)? {
            tracing::warn!(
                "{} has no effect under local-cluster: map outputs of an executor that dies are made again",
                service.info.key()
            );
        }
        let (kept, local_dirs) = (conf.get(keys::WORKER_DIR)?, conf.local_dirs()?);
        let keep_logs = kept.is_some();
        let folder = kept.map(PathBuf::from).or_else(|| local_dirs.first().cloned()).unwrap_or_else(|| ".".into());
        let folder = folder.join(format!("firesteel-work-{application}"));
        // Here, so that a folder that cannot be used is an error of the context.
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", folder.display(), e))?;
        let (state, cgroups, changed) = (Mutex::default(), Cgroups::for_executors(), Condvar::new());
        let shared = Shared { control, delivery, folder, keep_logs, local_dirs, cgroups, state, changed };
        Ok(Arc::new(LocalCluster { shared: Arc::new(shared), most, threads: Mutex::default() }))
    }
}

impl Supplier for LocalCluster {
    fn want(&self, executors: u32) {
        let more = {
            let mut state = lock(&self.shared.state);
            state.wanted = executors.min(self.most);
            let more = state.wanted.saturating_sub(state.keepers);
            state.keepers += more;
            more
        };
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        for _ in 0..more {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name("firesteel-executor-keeper".into());
            match thread.spawn(move || shared.keep()) {
                Ok(thread) => threads.push(thread),
                Err(e) => self.shared.give_up(format!("no thread looks after an executor: {e}")),
            }
        }
    }

    /// Executors that end are a misfortune then, not a habit.
    fn works(&self, executor: ExecutorId) {
        let mut state = lock(&self.shared.state);
        state.failed = 0;
        state.running.get_mut(&executor).into_iter().for_each(|running| running.excused = true);
    }

    fn let_go(&self, executor: ExecutorId) {
        if let Some(running) = lock(&self.shared.state).running.get_mut(&executor) {
            (running.excused, running.let_go) = (true, true);
            running.child.iter().for_each(|child| drop(lock(child).kill()));
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
        let left: Vec<_> = state.running.values().filter_map(|running| running.child.clone()).collect();
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
    fn spawn(&self, executor: ExecutorId) -> Result<Child> {
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
        Ok(child)
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

    /// Looks after one executor, and after those that take its place, for as long as so many are wanted.
    fn keep(&self) {
        loop {
            let executor = lock(&self.state).begins();
            let child = match self.spawn(executor) {
                Ok(child) => child,
                Err(e) => {
                    lock(&self.state).running.remove(&executor);
                    self.changed.notify_all();
                    return self.give_up(format!("an executor could not be started: {e}"));
                }
            };
            let pid = child.id();
            let child = Arc::new(Mutex::new(child));
            lock(&self.state).started(executor, &child);
            // Not under the lock that whoever ends it needs.
            let status = wait(pid, &child);
            let took_too_much = self.cgroups.as_ref().is_some_and(|groups| groups.leave(pid));
            Scratch::tidy(&self.local_dirs);
            let mut state = lock(&self.state);
            if !state.running.remove(&executor).is_some_and(|running| running.excused) {
                state.failed += 1;
            }
            let too_many_failed = state.failed > MOST_RETRIES;
            let is_replaced = !state.stopping && state.keepers <= state.wanted;
            if !is_replaced {
                state.keepers -= 1;
            }
            drop(state);
            self.changed.notify_all();
            if let Some(status) = status {
                self.delivery.gone(executor, self.how_ended(executor, status, took_too_much));
            }
            if !is_replaced {
                return;
            }
            let how = status.map_or("how is unknown".into(), |status| status.to_string());
            if too_many_failed {
                let cause = self.delivery.why_not_begun().map(|why| format!("; one could not begin: {why}"));
                return self.give_up(format!(
                    "executors have ended {MOST_RETRIES} times without a task that succeeded, and no more are started{}; what the last \
                     one ({how}) printed is in {}",
                    cause.unwrap_or_default(),
                    self.log_of(executor)
                ));
            }
            tracing::warn!("executor {executor} has ended ({how}); another takes its place");
        }
    }

    /// One that looked after executors does so no more; if it was the last, there will be none.
    fn give_up(&self, why: String) {
        tracing::error!("{why}");
        let mut state = lock(&self.state);
        state.keepers -= 1;
        if state.keepers == 0 {
            self.delivery.hopeless(why);
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
