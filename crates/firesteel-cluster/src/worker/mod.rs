//! A worker: it runs executors and drivers on its machine for the master.
//!
//! It connects to the master, and fetches programs from drivers and from the master. It listens only to serve what executors leave for each
//! other when they die, to those of the same application. When it loses its connection, what it runs goes on, and it says so when it is
//! back. When it ends, however that happens, what it runs ends, too.

mod cleanup;
mod launch;
mod logs;
mod outputs;
mod process;
mod scratch;
pub mod state;

pub use logs::Rolling;

use crate::{
    blob::Cache,
    cgroup::Cgroups,
    link::{MasterLink, Visitor},
    protocol::{
        ApplicationDescription, ApplicationId, Caller, DriverDescription, DriverId, ExecutorName, FromWorker,
        RunningExecutor, ToWorker, WorkerDescription, WorkerId,
    },
};
use cleanup::Cleanup;
use firesteel_model::{
    Error, Result,
    conf::{Conf, keys},
};
use firesteel_net::Secret;
use outputs::Kept;
use process::Life;
use rustix::fs::FlockOperation;
use scratch::{ScratchFolders, WorkerScratch};
use state::{Command, End, Process, WorkerState};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// So many programs and files are kept.
const MOST_FILES: usize = 32;
/// How long executors may take to end by themselves when their application has.
const TIME_TO_END: Duration = Duration::from_secs(10);

/// How a worker is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where masters are: `host:port`.
    pub masters: Vec<String>,
    /// What all processes of the cluster share.
    pub secret: Option<Secret>,
    /// What it calls its machine.
    pub host: String,
    /// The cores that it offers.
    pub cores: u32,
    /// The memory that it offers.
    pub memory_mib: u64,
    /// Where what it runs has its folders.
    pub folder: PathBuf,
    /// Where executors have their scratch folders.
    pub local_dirs: Vec<PathBuf>,
    /// Whether their map outputs outlive them, until their application ends.
    pub shuffle_service: bool,
    /// What happens to what they print.
    pub rolling: Rolling,
    /// How often it looks for folders that are old, and how old they are then; none if it does not.
    pub cleanup: Option<(Duration, Duration)>,
}

impl Settings {
    /// What the configuration says.
    ///
    /// # Errors
    /// As [`Conf::get`], and for a secret that cannot be used.
    pub fn new(conf: &Conf, masters: Vec<String>, host: String, cores: u32, memory_mib: u64) -> Result<Settings> {
        let seconds = |key| conf.get(key).map(Duration::from_secs);
        let cleanup = (seconds(keys::WORKER_CLEANUP_INTERVAL)?, seconds(keys::WORKER_CLEANUP_APP_DATA_TTL)?);
        Ok(Settings {
            masters,
            secret: crate::security::secret(conf)?,
            host,
            cores,
            memory_mib,
            folder: conf.get(keys::WORKER_DIR)?.map_or_else(|| "work".into(), PathBuf::from),
            local_dirs: conf.local_dirs()?,
            shuffle_service: conf.get(keys::SHUFFLE_SERVICE_ENABLED)?,
            rolling: Rolling {
                max_size: conf.get(keys::EXECUTOR_LOGS_ROLLING_MAX_SIZE)?.0,
                max_retained: conf.get(keys::EXECUTOR_LOGS_ROLLING_MAX_RETAINED_FILES)?,
            },
            cleanup: conf.get(keys::WORKER_CLEANUP_ENABLED)?.then_some(cleanup),
        })
    }
}

/// A running worker. When it is dropped, what it runs is ended and the master is told.
pub struct WorkerServer {
    worker: Arc<Worker>,
    _cleanup: Option<Cleanup>,
    /// Not the worker's, whose threads may take longer to end than this process.
    _scratch: WorkerScratch,
    _lock: File,
}

impl WorkerServer {
    /// Registers with a master, for which it waits as long as it takes. If a master will not have this worker any more, `on_refused` is told why.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Config`] if its folder cannot be used or is another worker's; [`Error::Config`] if the master refuses
    /// it, or the secrets or versions differ.
    pub fn start(settings: Settings, on_refused: impl Fn(&str) + Send + Sync + 'static) -> Result<WorkerServer> {
        let failed = |e| Error::io("use the worker's folder", settings.folder.display(), e);
        fs::create_dir_all(&settings.folder).map_err(failed)?;
        // Where processes run is not where this one does.
        let folder = settings.folder.canonicalize().map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Config(format!(
                "{} is in use by another worker: give this one a folder of its own ({})",
                folder.display(),
                keys::WORKER_DIR.info.key()
            )));
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let host: String =
            settings.host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
        let id =
            WorkerId::try_from(format!("worker-{since_epoch}-{host}-{}", std::process::id())).map_err(Error::Config)?;
        let local_dirs = settings.local_dirs.iter().map(fs::canonicalize).collect::<std::io::Result<Vec<_>>>();
        let local_dirs =
            local_dirs.map_err(|e| Error::io("find the scratch folders", keys::LOCAL_DIR.info.key(), e))?;
        let scratch = WorkerScratch::new(&local_dirs, &id.to_string())?;
        let Settings { host, cores, memory_mib, .. } = &settings;
        let description =
            WorkerDescription { id: id.clone(), host: host.clone(), cores: *cores, memory_mib: *memory_mib };
        let inside = Inside {
            state: WorkerState::new(description, Default::default()),
            lives: BTreeMap::new(),
            kept: BTreeMap::new(),
        };
        let worker = Arc::new(Worker {
            scratch: scratch.folders(),
            cgroups: Cgroups::for_executors(),
            files: Cache::open(folder.join("files"), MOST_FILES)?,
            id,
            folder: folder.clone(),
            link: OnceLock::new(),
            inside: Mutex::new(inside),
            changed: Condvar::new(),
            on_refused: Box::new(on_refused),
            settings,
        });
        let Settings { masters, secret, cleanup, .. } = &worker.settings;
        let running = worker.clone();
        let cleanup = cleanup.map(|(interval, ttl)| Cleanup::start(folder, interval, ttl, move || running.folders()));
        let link = MasterLink::start(masters.clone(), secret.clone(), worker.clone(), None)?;
        tracing::info!("worker {} is registered, and runs things in {}", worker.id, worker.folder.display());
        let _ = worker.link.set(Mutex::new(Some(link)));
        Ok(WorkerServer { worker, _cleanup: cleanup.transpose()?, _scratch: scratch, _lock: lock })
    }

    /// What the master calls it.
    pub fn id(&self) -> &WorkerId {
        &self.worker.id
    }
}

impl Drop for WorkerServer {
    fn drop(&mut self) {
        let mut inside = self.worker.lock();
        inside.state.stops();
        inside.lives.values().for_each(|life| life.kill());
        let waited = self.worker.changed.wait_timeout_while(inside, TIME_TO_END, |inside| !inside.lives.is_empty());
        drop(waited);
        self.worker.say(&FromWorker::Leave);
        let link = self.worker.link.get().and_then(|link| link.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(link) = link {
            link.stop();
        }
    }
}

/// What all threads of a worker share.
struct Worker {
    settings: Settings,
    id: WorkerId,
    folder: PathBuf,
    files: Cache,
    scratch: ScratchFolders,
    /// Where executors have groups of their own, if they have.
    cgroups: Option<Cgroups>,
    /// There as soon as the master has accepted this worker.
    link: OnceLock<Mutex<Option<MasterLink<Worker>>>>,
    on_refused: Box<dyn Fn(&str) + Send + Sync>,
    inside: Mutex<Inside>,
    /// Something has ended, or all is to end.
    changed: Condvar,
}

struct Inside {
    state: WorkerState,
    /// Of each process that it runs.
    lives: BTreeMap<Process, Arc<Life>>,
    /// Of each application of which it keeps files. Its executors have it, too.
    kept: BTreeMap<ApplicationId, Arc<Kept>>,
}

impl Inside {
    /// Those of these executors that live.
    fn lives_of(&self, names: &[ExecutorName]) -> impl Iterator<Item = &Arc<Life>> {
        names.iter().filter_map(|name| self.lives.get(&Process::Executor(name.clone())))
    }

    fn begins(&mut self, process: Process) -> Arc<Life> {
        self.lives.entry(process).or_default().clone()
    }
}

impl Worker {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: &FromWorker) {
        // What is told to do something right after it has registered has not set it yet.
        if let Some(link) = &*self.link.wait().lock().unwrap_or_else(PoisonError::into_inner) {
            link.say(message);
        }
    }

    /// The folders of what runs.
    fn folders(&self) -> BTreeSet<String> {
        let folder = |process: &Process| match process {
            Process::Executor(name) => name.application.to_string(),
            Process::Driver(id) => id.to_string(),
        };
        self.lock().lives.keys().map(folder).collect()
    }

    /// Something has ended: it does not run any more, and the master is told, now or when it is there again.
    fn ended(&self, end: End) {
        let forget = || {
            let mut inside = self.lock();
            inside.lives.remove(&end.process());
            inside.state.ended(end)
        };
        match &*self.link.wait().lock().unwrap_or_else(PoisonError::into_inner) {
            // A heartbeat between the two would count the end as said.
            Some(link) => link.make_and_say(forget),
            None => drop(forget()),
        }
        self.changed.notify_all();
    }

    fn start_executor(
        self: &Arc<Self>,
        executor: RunningExecutor,
        application: Arc<ApplicationDescription>,
        life: Arc<Life>,
        kept: Arc<Kept>,
    ) {
        let (worker, name) = (self.clone(), executor.name.clone());
        let keeping = move || {
            let end = worker.run_executor(&executor, &application, &kept, &life);
            worker.ended(End::Executor(executor.name, end));
            // If it is the last, files are removed now, which may take long.
            drop(kept);
        };
        if let Err(e) = std::thread::Builder::new().name("firesteel-executor-keeper".into()).spawn(keeping) {
            self.ended(End::Executor(name, launch::not_started(&Error::io("start", "a thread for an executor", e))));
        }
    }

    fn start_driver(self: &Arc<Self>, id: DriverId, description: Arc<DriverDescription>, life: Arc<Life>) {
        let (worker, driver) = (self.clone(), id.clone());
        let keeping = move || {
            let end = worker.run_driver(&driver, &description, &life);
            worker.ended(End::Driver(driver, end));
        };
        if let Err(e) = std::thread::Builder::new().name("firesteel-driver-keeper".into()).spawn(keeping) {
            let e = Error::io("start", "a thread for a driver", e);
            self.ended(End::Driver(id, launch::driver_not_started(&e)));
        }
    }

    /// An application has ended: its executors end by themselves, or are ended. Should it come back, it gets others.
    fn end_application(self: &Arc<Self>, id: &ApplicationId, executors: Vec<ExecutorName>, kept: Option<Arc<Kept>>) {
        let (worker, of_it) = (self.clone(), executors.clone());
        let waiting = move || {
            let has_some = |inside: &mut Inside| inside.lives_of(&of_it).next().is_some();
            let waited = worker.changed.wait_timeout_while(worker.lock(), TIME_TO_END, has_some);
            waited.unwrap_or_else(PoisonError::into_inner).0.lives_of(&of_it).for_each(|life| life.kill());
            // Its files may take long to remove: neither under the lock nor on the thread that hears the master.
            drop(kept);
        };
        if let Err(e) = std::thread::Builder::new().name("firesteel-application-end".into()).spawn(waiting) {
            tracing::warn!("no thread to wait until the executors of {id} have ended, so they end now: {e}");
            self.lock().lives_of(&executors).for_each(|life| life.kill());
        }
    }
}

/// How a worker speaks with the master.
impl Visitor for Worker {
    const CALLER: Caller = Caller::Worker;
    type Says = FromWorker;
    type Hears = ToWorker;

    fn introduction(&self) -> FromWorker {
        self.lock().state.introduction()
    }

    fn heartbeat(&self) -> FromWorker {
        self.lock().state.heartbeat()
    }

    fn welcomed(&self, answer: ToWorker) -> std::result::Result<Duration, String> {
        match answer {
            ToWorker::Registered { silence_ms } => Ok(Duration::from_millis(silence_ms)),
            ToWorker::Refused(why) => Err(why),
            other => Err(format!("it begins with {other:?}, which no master does")),
        }
    }

    fn heard(self: &Arc<Self>, message: ToWorker) -> bool {
        if let ToWorker::Refused(why) = &message {
            tracing::warn!("the master has refused something: {why}");
        }
        let mut inside = self.lock();
        match inside.state.hears(message) {
            Some(Command::StartExecutor { executor, application }) => {
                let life = inside.begins(Process::Executor(executor.name.clone()));
                let kept = inside.kept.entry(executor.name.application.clone()).or_default().clone();
                drop(inside);
                self.start_executor(executor, application, life, kept);
            }
            Some(Command::StartDriver(id, description)) => {
                let life = inside.begins(Process::Driver(id.clone()));
                drop(inside);
                self.start_driver(id, description, life);
            }
            Some(Command::Kill(process)) => inside.lives.get(&process).into_iter().for_each(|life| life.kill()),
            Some(Command::EndApplication(id, executors)) => {
                let kept = inside.kept.remove(&id);
                drop(inside);
                self.end_application(&id, executors, kept);
            }
            None => {}
        }
        true
    }

    fn reconnected(&self, _: &dyn Fn(&FromWorker)) {}

    fn disconnected(&self, _: &str) {}

    fn refused(&self, why: &str) {
        (self.on_refused)(why);
    }
}
