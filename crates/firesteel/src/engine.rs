//! What a context, its RDDs and its driver loop share.

use crate::{
    driver::{Driver, Msg},
    files::AddedFiles,
    future::Background,
    graph::{RddNode, lock},
    properties,
    report::Application,
};
use crossbeam_channel::Sender;
use firesteel_events::{AppState, Bus, ConsoleProgress, LogFailure};
use firesteel_io::CheckpointDir;
use firesteel_model::{
    AccumulatorId, BlockId, BroadcastId, Error, JobId, RddId, Result, ShuffleId, StageId, conf::Conf,
};
use firesteel_rdd::{AnyAccumulator, ContextMark, Release};
use firesteel_scheduler::Scheduler;
use firesteel_store::{BlockStore, ShuffleStore};
use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

/// Numbers for everything that one context makes.
#[derive(Default)]
pub(crate) struct Ids {
    rdd: AtomicU64,
    shuffle: AtomicU64,
    stage: AtomicU64,
    job: AtomicU64,
    broadcast: AtomicU64,
    accumulator: AtomicU64,
}

macro_rules! next_ids {
    ($($name:ident -> $id:ident),*) => {
        impl Ids {
            $(pub(crate) fn $name(&self) -> $id { $id(self.$name.fetch_add(1, Ordering::Relaxed)) })*
        }
    };
}
next_ids!(rdd -> RddId, shuffle -> ShuffleId, stage -> StageId, job -> JobId, broadcast -> BroadcastId, accumulator -> AccumulatorId);

/// The engine behind a context. Lives until the context's last clone and the last of its RDDs are gone.
pub(crate) struct Engine {
    pub(crate) conf: Conf,
    pub(crate) application: Application,
    pub(crate) files: Arc<AddedFiles>,
    pub(crate) default_parallelism: usize,
    /// `default.parallelism` where it is set: shuffles then use it whatever their parents have.
    pub(crate) set_parallelism: Option<usize>,
    pub(crate) ids: Ids,
    pub(crate) blocks: Arc<BlockStore>,
    pub(crate) shuffles: Arc<ShuffleStore>,
    pub(crate) bus: Arc<Bus>,
    /// What events have told.
    pub(crate) state: AppState,
    /// What went wrong with the event log.
    pub(crate) log_failure: LogFailure,
    pub(crate) progress: Option<ConsoleProgress>,
    checkpoint_dir: Mutex<Option<CheckpointDir>>,
    pub(crate) accumulators: Arc<Accumulators>,
    pub(crate) background: Arc<Background>,
    /// The RDDs that are kept, by id.
    nodes: Mutex<HashMap<RddId, Weak<RddNode>>>,
    /// RDDs that are to be checkpointed after their first job.
    pub(crate) to_checkpoint: Mutex<Vec<Weak<RddNode>>>,
    to_driver: Sender<Msg>,
    driver: Mutex<Option<JoinHandle<()>>>,
    stopped: AtomicBool,
    /// What tells this engine from all others, for as long as anyone remembers it.
    pub(crate) mark: ContextMark,
}

/// The accumulators of one context that somebody on the driver still holds.
#[derive(Default)]
pub(crate) struct Accumulators(Mutex<BTreeMap<AccumulatorId, Weak<dyn AnyAccumulator>>>);

impl Accumulators {
    pub(crate) fn add(&self, accumulator: &Arc<dyn AnyAccumulator>) {
        let mut all = lock(&self.0);
        if all.len().is_power_of_two() {
            all.retain(|_, held| held.strong_count() > 0);
        }
        all.insert(accumulator.id(), Arc::downgrade(accumulator));
    }
    pub(crate) fn held(&self) -> usize {
        lock(&self.0).values().filter(|held| held.strong_count() > 0).count()
    }
    pub(crate) fn get(&self, id: AccumulatorId) -> Option<Arc<dyn AnyAccumulator>> {
        lock(&self.0).get(&id)?.upgrade()
    }
}

/// The parts of a new engine.
pub(crate) struct NewEngine {
    pub(crate) conf: Conf,
    pub(crate) application: Application,
    pub(crate) files: Arc<AddedFiles>,
    pub(crate) slots: usize,
    pub(crate) set_parallelism: Option<usize>,
    pub(crate) blocks: Arc<BlockStore>,
    pub(crate) shuffles: Arc<ShuffleStore>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) state: AppState,
    pub(crate) log_failure: LogFailure,
    pub(crate) progress: Option<ConsoleProgress>,
    pub(crate) checkpoint_dir: Option<String>,
}

impl Engine {
    /// Starts the loop of the driver that `driver` makes, and that is told things by `to_driver`.
    pub(crate) fn start(
        new: NewEngine,
        to_driver: Sender<Msg>,
        driver: impl FnOnce(Arc<Accumulators>) -> Driver,
    ) -> Result<Arc<Self>> {
        let checkpoint_dir = new.checkpoint_dir.as_deref().map(CheckpointDir::create).transpose()?;
        let accumulators = Arc::new(Accumulators::default());
        let driver = driver(accumulators.clone());
        let thread = std::thread::Builder::new()
            .name("firesteel-driver".into())
            .spawn(move || driver.run())
            .map_err(|e| Error::io("start", "the driver's thread", e))?;
        let engine = Arc::new(Engine {
            default_parallelism: new.set_parallelism.unwrap_or(new.slots),
            set_parallelism: new.set_parallelism,
            conf: new.conf,
            application: new.application,
            files: new.files,
            ids: Ids::default(),
            blocks: new.blocks,
            shuffles: new.shuffles,
            bus: new.bus,
            state: new.state,
            log_failure: new.log_failure,
            progress: new.progress,
            checkpoint_dir: Mutex::new(checkpoint_dir),
            accumulators,
            background: Arc::default(),
            nodes: Mutex::default(),
            to_checkpoint: Mutex::default(),
            to_driver,
            driver: Mutex::new(Some(thread)),
            stopped: AtomicBool::new(false),
            mark: ContextMark::default(),
        });
        lock(&RUNNING).push(Arc::downgrade(&engine));
        Ok(engine)
    }

    pub(crate) fn register_node(&self, node: &Arc<RddNode>) {
        lock(&self.nodes).insert(node.id, Arc::downgrade(node));
    }
    pub(crate) fn node(&self, id: RddId) -> Option<Arc<RddNode>> {
        lock(&self.nodes).get(&id)?.upgrade()
    }
    /// The RDDs that exist now, in order of creation.
    pub(crate) fn all_nodes(&self) -> Vec<Arc<RddNode>> {
        let mut all: Vec<_> = lock(&self.nodes).values().filter_map(Weak::upgrade).collect();
        all.sort_by_key(|node| node.id);
        all
    }

    /// How many RDDs, waiting checkpoints and accumulators somebody holds.
    pub(crate) fn held(&self) -> (usize, usize, usize) {
        let waiting = lock(&self.to_checkpoint).iter().filter(|node| node.strong_count() > 0).count();
        (lock(&self.nodes).len(), waiting, self.accumulators.held())
    }

    /// The last holder of an RDD is gone: so are its blocks, in a while.
    pub(crate) fn forget_node(&self, id: RddId, held_blocks: bool) {
        lock(&self.nodes).remove(&id);
        if held_blocks {
            self.tell(Msg::ReleaseRdd(id));
        }
    }
    pub(crate) fn release_shuffle(&self, id: ShuffleId) {
        self.tell(Msg::ReleaseShuffle(id));
    }
    pub(crate) fn release_broadcast(&self, id: BroadcastId, which: Release) {
        if which == Release::All {
            self.blocks.remove(BlockId::Broadcast(id));
        }
        self.have_done(which == Release::Copies { blocking: true }, |done| Msg::ReleaseBroadcast(id, done));
    }

    /// Sends a message to the driver's loop. One that has ended needs to know nothing.
    pub(crate) fn tell(&self, msg: Msg) {
        let _ = self.to_driver.send(msg);
    }

    /// Has the driver's loop do something that it tells the end of; waits for that if wanted, except on the loop's own thread, where
    /// code of the user's may run.
    pub(crate) fn have_done(&self, wait: bool, msg: impl FnOnce(Sender<()>) -> Msg) {
        let (done, end) = crossbeam_channel::bounded(1);
        self.tell(msg(done));
        if wait && !is_drivers_thread() {
            let _ = end.recv();
        }
    }

    /// Asks the scheduler something; of an engine that has ended there is the default answer, and on the driver's own thread, where code
    /// of the user's may run (the merge of an accumulator, a `Drop`), as well: nobody else would give one.
    pub(crate) fn ask<R: Default + Send + 'static>(
        &self,
        question: impl FnOnce(&Scheduler) -> R + Send + 'static,
    ) -> R {
        if is_drivers_thread() {
            return R::default();
        }
        let (answer, wait) = crossbeam_channel::bounded(1);
        self.tell(Msg::Ask(Box::new(move |scheduler| {
            let _ = answer.send(question(scheduler));
        })));
        wait.recv().unwrap_or_default()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Fails if driver operations make no sense here and now.
    pub(crate) fn check_usable(&self, what: &'static str) -> Result<()> {
        not_inside(what)?;
        if self.is_stopped() {
            return Err(Error::Stopped(format!("{what} needs one that runs; make a new one")));
        }
        Ok(())
    }

    pub(crate) fn set_checkpoint_dir(&self, dir: &str) -> Result<()> {
        *lock(&self.checkpoint_dir) = Some(CheckpointDir::create(dir)?);
        Ok(())
    }
    pub(crate) fn checkpoint_path(&self) -> Option<String> {
        lock(&self.checkpoint_dir).as_ref().map(|dir| dir.path().display().to_string())
    }
    pub(crate) fn checkpoint_folder(&self) -> Result<CheckpointDir> {
        lock(&self.checkpoint_dir).clone().ok_or_else(|| {
            Error::InvalidArgument(
                "the checkpoint folder has not been set: call `set_checkpoint_dir` before `checkpoint`".into(),
            )
        })
    }

    /// Ends the driver's loop and what belongs to it. Idempotent; whoever comes second waits for the end, too.
    pub(crate) fn stop(&self) {
        let mut driver = lock(&self.driver);
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tell(Msg::Stop);
        if let Some(thread) = driver.take() {
            if OWN_THREAD.get() || Bus::is_delivering() {
                lock(&ENDING).push(thread);
            } else {
                let _ = thread.join();
            }
        }
        self.shuffles.clear();
        self.blocks.close();
        self.files.close();
        lock(&RUNNING).retain(|engine| !std::ptr::eq(engine.as_ptr(), self));
        properties::forget(self);
    }
}

thread_local! {
    static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
    static DRIVERS_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Fails on the engine's own threads: in tasks, in what they call at their end, and in a `Drop` of the user's on the driver's
/// thread. What waits for the driver would wait for ever there.
pub(crate) fn not_inside(what: &'static str) -> Result<()> {
    match firesteel_rdd::in_task() || OWN_THREAD.get() {
        true => Err(Error::InsideTask(what)),
        false => Ok(()),
    }
}

/// Says that this thread is an engine's: when the last handle happens to be dropped here, nobody waits for the thread's own end.
pub(crate) fn on_own_thread() {
    OWN_THREAD.set(true);
}

/// Says that this thread is a driver's loop.
pub(crate) fn on_drivers_thread() {
    on_own_thread();
    DRIVERS_THREAD.set(true);
}

/// Whether this thread is a driver's loop, which cannot wait for its own answer.
pub(crate) fn is_drivers_thread() -> bool {
    DRIVERS_THREAD.get()
}

/// The engines of this process, to be stopped at its end.
static RUNNING: Mutex<Vec<Weak<Engine>>> = Mutex::new(Vec::new());

/// Loops that were told to end and that nobody has waited for.
static ENDING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Stops every engine of this process that still runs.
pub(crate) fn stop_all() {
    let running = std::mem::take(&mut *lock(&RUNNING));
    for engine in running.iter().filter_map(Weak::upgrade) {
        engine.stop();
    }
    for thread in std::mem::take(&mut *lock(&ENDING)) {
        let _ = thread.join();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
