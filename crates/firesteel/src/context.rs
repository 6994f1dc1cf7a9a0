//! `Context`: where a program begins.

use crate::{
    clock::{Clock, ManualClock},
    driver::{Driver, Msg},
    engine::{Engine, NewEngine},
    executor::{Stores, Tamper},
    files::AddedFiles,
    graph::{NewNode, Prepared, RddNode},
    properties,
    rdd::{Rdd, site},
    report::{Application, Reporter},
    setup::Setup,
    supply::{Applicant, NEEDS_MAIN, Supply},
};
use firesteel_cluster::role::{self, DriverRole};
use firesteel_events::{AppState, Bus, ConsoleProgress, EventLogWriter, LogFailure, Queue};
use firesteel_io::{list_inputs, text_splits};
use firesteel_model::{
    BlockId, Error, PartitionIndex, Result, StorageLevel,
    conf::{Conf, Origin, keys},
};
use firesteel_rdd::{
    Accumulator, Broadcast, Captureless, ContextMark, Data, DoubleAccumulator, Erased, Executor, LongAccumulator,
    MAX_PARTITIONS, Parallelize, RangeOf, StepRangeOf, TextFile, slice_bounds,
};
use firesteel_scheduler::Scheduler;
use firesteel_store::Scratch;
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

/// A running application: makes RDDs and runs their jobs. Cloning is cheap; any number of contexts live in one process.
///
/// It ends with [`stop`](Context::stop), or when its last clone and the last of its RDDs are dropped.
///
/// The first context of a process installs a panic hook, in front of the one that it finds: panics in tasks are noted with their place,
/// for the error of the job, and are not printed; all others go to the hook that was there. A program with a hook of its own sets it
/// before. One that is set later without calling its predecessor sees the panics of tasks itself, and errors tell their message
/// without the place.
#[derive(Clone)]
pub struct Context {
    engine: Arc<Engine>,
}

/// What a [`Context`] is made from. Settings made here win over flags, environment and files.
#[must_use = "a builder does nothing until `build`"]
#[derive(Default)]
pub struct ContextBuilder {
    settings: Vec<(String, String)>,
    setup: Vec<Setup>,
    tamper: Option<Tamper>,
    clock: Option<ManualClock>,
}

impl ContextBuilder {
    /// The application's name, as UI and logs show it.
    pub fn app_name(self, name: impl Into<String>) -> Self {
        self.conf(keys::APP_NAME.info.key(), name.into())
    }
    /// Where jobs run: `local`, `local[4]`, `local[*]`, `local[4,2]` (each task may fail once), `local-cluster[2,1,1024]` (two executor
    /// processes of this machine, with a core and 1,024 MiB each), `firesteel://host:7077` (a standalone cluster). Without one: `FIRESTEEL_MASTER`, or all cores of this machine.
    pub fn master(self, master: impl Into<String>) -> Self {
        self.conf(keys::MASTER.info.key(), master.into())
    }
    /// A setting; see docs/configuration.md for the keys.
    pub fn conf(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.settings.push((key.into(), value.to_string()));
        self
    }
    /// What every executor process does once before its first task (set up a logger, fill a static): `main` itself does not run
    /// there. In local mode it runs here, once in the process. If it fails or panics, so does [`build`](ContextBuilder::build), and the
    /// next one tries it again.
    pub fn executor_setup<F: Fn() -> Result<()> + Captureless>(mut self, f: F) -> Self {
        self.setup.push(Setup::of(f));
        self
    }
    /// Makes tasks fail on purpose.
    #[doc(hidden)]
    pub fn tamper(
        mut self,
        f: impl Fn(&firesteel_rdd::TaskInfo, &Executor, crate::executor::Moment) + Send + Sync + 'static,
    ) -> Self {
        self.tamper = Some(Arc::new(f));
        self
    }
    /// Gives the driver a clock that is moved by hand.
    #[doc(hidden)]
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Starts the context.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting that makes no sense, [`Error::InsideTask`] in a task, [`Error::Function`] if the
    /// [setup](ContextBuilder::executor_setup) panics, and what it returns.
    pub fn build(self) -> Result<Context> {
        crate::engine::not_inside("Context::build")?;
        crate::panics::install();
        let mut conf = Conf::load()?;
        for (key, value) in DriverRole::of_this_process()? {
            conf.set_from(Origin::Flags, key, value);
        }
        for (key, value) in self.settings {
            conf.set(key, value);
        }
        crate::logging::apply(&conf)?;
        conf.check();
        if !conf.contains(keys::MASTER.info.key()) {
            tracing::info!("no master is set: running on all cores of this machine (local[*])");
        }
        let master = conf.master()?;
        if role::is_waiting() {
            return Err(Error::Config(format!(
                "this process was started as an executor, and its `main` runs instead: {NEEDS_MAIN}"
            )));
        }
        let slots = master.threads().get() as usize;
        let config = crate::settings::scheduler_config(&conf, &master)?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut app_id = crate::settings::app_id(since_epoch);
        let app_name = conf.get(keys::APP_NAME)?.unwrap_or_else(crate::settings::program_name);
        let budget = crate::settings::budget(&conf)?;
        let scratch = match DriverRole::of_this_process()?.is_empty() {
            true => Scratch::new(conf.local_dirs()?),
            // A worker has made these. It has ended if they are gone, and this process does, too.
            false => Scratch::given(conf.local_dirs()?, || {}),
        };
        let stores = Stores::new(&conf, budget, scratch, None)?;
        let files = AddedFiles::new(stores.scratch.clone(), None);
        let added = conf.get(keys::FILES)?;
        added.iter().try_for_each(|path| files.add(path, true).map(drop))?;
        let (to_driver, messages) = crossbeam_channel::unbounded();
        let applicant = Applicant {
            conf: &conf,
            name: &app_name,
            id: &app_id,
            setups: self.setup,
            stores: stores.clone(),
            files: files.clone(),
            tamper: self.tamper,
            to_driver: to_driver.clone(),
        };
        // What cannot be used is an error before anybody is asked for executors.
        let executors = conf.get(keys::EXECUTOR_INSTANCES)?.unwrap_or(u32::MAX);
        let mut supply = Supply::open(&master, applicant)?;
        app_id = supply.application.take().unwrap_or(app_id);
        let bus = Arc::new(Bus::new(conf.get(keys::LISTENER_BUS_CAPACITY)? as usize));
        let state = AppState::default();
        bus.add(Queue::AppStatus, state.clone())?;
        let mut log_failure = LogFailure::default();
        if conf.get(keys::EVENT_LOG_ENABLED)? {
            let dir = conf.get(keys::EVENT_LOG_DIR)?;
            let log = EventLogWriter::create(&dir, &app_id, conf.get(keys::EVENT_LOG_LOG_BLOCK_UPDATES)?)?;
            log_failure = log.failure();
            bus.add(Queue::EventLog, log)?;
        }
        let progress = match conf.get(keys::UI_SHOW_CONSOLE_PROGRESS)? {
            true => ConsoleProgress::on_terminal(state.clone())?,
            false => None,
        };
        let application = Application {
            name: app_name,
            id: app_id,
            user: firesteel_model::machine::user(),
            host: firesteel_model::machine::host(),
            master: master.to_string(),
            start_time: since_epoch.as_millis() as u64,
            memory: budget,
            conf: conf.clone(),
        };
        let new = NewEngine {
            application: application.clone(),
            files: files.clone(),
            slots,
            set_parallelism: conf.get(keys::DEFAULT_PARALLELISM)?.map(|n| n as usize),
            blocks: stores.blocks.clone(),
            shuffles: stores.shuffles.clone(),
            bus: bus.clone(),
            state,
            log_failure,
            progress,
            checkpoint_dir: conf.get(keys::CHECKPOINT_DIR)?,
            conf: conf.clone(),
        };
        let clock = self.clock.map_or_else(Clock::system, Clock::Manual);
        let engine = Engine::start(new, to_driver, |accumulators| {
            let report = Reporter::new(bus, clock.clone(), &application);
            let mut driver = Driver::new(Scheduler::new(config), clock, messages, accumulators, report, supply);
            driver.begin(executors);
            driver
        })?;
        Ok(Context { engine })
    }
}

impl Context {
    /// A context with the settings of the environment.
    ///
    /// # Errors
    /// As [`ContextBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Settings first, then a context.
    ///
    /// ```
    /// use firesteel::prelude::*;
    /// let sc = Context::builder().app_name("sums").master("local[2]").conf("firesteel.task.maxFailures", 2).build()?;
    /// assert_eq!(sc.range(0..10).sum()?, 45.0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The items as an RDD of as many partitions as there are cores (or `default.parallelism`). They are held by the driver.
    ///
    /// Items own what they hold. `parallelize(["to", "be"])`, of `&str`, does not compile: "implementation of `Deserialize` is not
    /// general enough" means something borrowed; give `String`s.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let words = sc.parallelize(["to", "be"].map(String::from));
    /// assert_eq!(words.collect()?, ["to", "be"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn parallelize<T: Data>(&self, items: impl IntoIterator<Item = T>) -> Rdd<T, Parallelize<T>> {
        self.sliced(items.into_iter().collect(), Vec::new(), self.default_parallelism(), site("parallelize"))
    }

    /// [`parallelize`](Context::parallelize) into so many partitions: slice `i` of `n` is from `i * len / n` to `(i + 1) * len / n`.
    #[track_caller]
    pub fn parallelize_n<T: Data>(
        &self,
        items: impl IntoIterator<Item = T>,
        partitions: usize,
    ) -> Rdd<T, Parallelize<T>> {
        self.sliced(items.into_iter().collect(), Vec::new(), partitions, site("parallelize_n"))
    }

    /// The items as an RDD of as many partitions, each with the hosts on which it would best be computed.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let rdd = sc.make_rdd([(1, vec!["near".to_string()]), (2, vec![])]);
    /// assert_eq!((rdd.num_partitions()?, rdd.preferred_locations(0)), (2, vec!["near".to_string()]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn make_rdd<T: Data>(&self, items: impl IntoIterator<Item = (T, Vec<String>)>) -> Rdd<T, Parallelize<T>> {
        let (items, locations): (Vec<T>, Vec<_>) = items.into_iter().unzip();
        let partitions = items.len().max(1);
        self.sliced(items, locations, partitions, site("make_rdd"))
    }

    fn sliced<T: Data>(
        &self,
        items: Vec<T>,
        locations: Vec<Vec<String>>,
        partitions: usize,
        site: crate::graph::CallSite,
    ) -> Rdd<T, Parallelize<T>> {
        let engine = &self.engine;
        let id = engine.ids.rdd();
        let length = items.len();
        let mut items = items.into_iter();
        let mut failed = None;
        // Too many are an error of the first action.
        for i in if partitions > MAX_PARTITIONS { 0..0 } else { 0..partitions } {
            let (from, to) = slice_bounds(length as u128, i, partitions);
            let slice: Vec<T> = items.by_ref().take((to - from) as usize).collect();
            if slice.is_empty() {
                continue;
            }
            let block = BlockId::Source(id, PartitionIndex(i as u32));
            // What does not fit into memory, or has to leave it, goes to disk: these elements are nowhere else.
            if let Err(e) = engine.blocks.put(block, StorageLevel::MEMORY_AND_DISK, vec![slice]) {
                failed = Some(Error::from(e));
                break;
            }
        }
        let new = NewNode::narrow("ParallelCollectionRDD", site, Vec::new());
        let new = match failed {
            None => new,
            Some(e) => new.prepared_by(move |_| Err(e.clone())),
        };
        let node = RddNode::new(engine, id, new);
        node.note_sources();
        Rdd::at(self, Parallelize::new(id, length, partitions).located(locations), node)
    }

    /// The numbers of a range, made where they are needed.
    #[track_caller]
    pub fn range(&self, range: Range<u64>) -> Rdd<u64, RangeOf> {
        self.source(RangeOf::new(range, self.default_parallelism()), site("range"))
    }

    /// [`range`](Context::range) in so many partitions.
    #[track_caller]
    pub fn range_n(&self, range: Range<u64>, partitions: usize) -> Rdd<u64, RangeOf> {
        self.source(RangeOf::new(range, partitions), site("range_n"))
    }

    /// Every `step`-th number of a range, downwards if `step` is negative.
    #[track_caller]
    pub fn range_step_n(&self, range: Range<i64>, step: i64, partitions: usize) -> Rdd<i64, StepRangeOf> {
        self.source(StepRangeOf::new(range, step, partitions), site("range_step_n"))
    }

    fn source<P: firesteel_rdd::Pipeline>(&self, pipeline: P, site: crate::graph::CallSite) -> Rdd<P::Item, P> {
        Rdd::of(self, pipeline, NewNode::narrow("ParallelCollectionRDD", site, Vec::new()))
    }

    /// The lines of text files, without their ends (LF, CRLF, CR): a file, a folder, a glob, or a comma-separated list of these; files
    /// that end in `.gz` are decompressed. In at least `min(default_parallelism, 2)` partitions. Bytes that are no UTF-8 become U+FFFD,
    /// as in Hadoop's Text.
    ///
    /// # Errors
    /// Of the first action: input that does not exist or cannot be read.
    #[track_caller]
    pub fn text_file(&self, path: impl AsRef<str>) -> Rdd<String, TextFile> {
        self.text(path.as_ref(), self.default_parallelism().min(2), site("text_file"))
    }

    /// [`text_file`](Context::text_file) in at least so many partitions, where the files can be split.
    #[track_caller]
    pub fn text_file_n(&self, path: impl AsRef<str>, min_partitions: usize) -> Rdd<String, TextFile> {
        self.text(path.as_ref(), min_partitions, site("text_file_n"))
    }

    fn text(&self, path: &str, min_partitions: usize, site: crate::graph::CallSite) -> Rdd<String, TextFile> {
        let splits = Arc::new(OnceLock::new());
        let (found, spec) = (splits.clone(), path.to_string());
        let new = NewNode::narrow("HadoopRDD", site, Vec::new()).prepared_by(move |_| {
            let made = text_splits(&list_inputs(&spec)?, min_partitions);
            let _ = found.set(made);
            Ok(Prepared::default())
        });
        let rdd = Rdd::of(self, TextFile::new(splits), new);
        rdd.node().set_name(path.to_string());
        rdd
    }

    /// An RDD without partitions.
    #[track_caller]
    pub fn empty_rdd<T: 'static>(&self) -> Rdd<T> {
        let id = self.engine.ids.rdd();
        let node = RddNode::new(&self.engine, id, NewNode::narrow("EmptyRDD", site("empty_rdd"), Vec::new()));
        node.erase_with(|| Arc::new(firesteel_rdd::Piece(Arc::new(firesteel_rdd::Empty::<T>::new()))));
        Rdd::at(self, Erased::of(id), node)
    }

    fn mark(&self) -> ContextMark {
        self.engine.mark.clone()
    }

    /// A value that tasks read in place; every executor gets it once.
    ///
    /// A value that the record format cannot carry (a serde attribute that needs a self-describing one) fails the first action
    /// whose tasks would read it.
    pub fn broadcast<T: Data>(&self, value: T) -> Broadcast<T> {
        let engine = Arc::downgrade(&self.engine);
        let release = Box::new(move |id, which| {
            if let Some(engine) = engine.upgrade() {
                engine.release_broadcast(id, which);
            }
        });
        Broadcast::make(self.mark(), self.engine.ids.broadcast(), value, self.engine.blocks.clone(), release)
    }

    /// An accumulator of whole numbers.
    pub fn long_accumulator(&self, name: impl Into<String>) -> LongAccumulator {
        let (accumulator, any) = LongAccumulator::make(self.mark(), self.engine.ids.accumulator(), name.into());
        self.engine.accumulators.add(&any);
        accumulator
    }

    /// An accumulator of floating-point numbers.
    pub fn double_accumulator(&self, name: impl Into<String>) -> DoubleAccumulator {
        let (accumulator, any) = DoubleAccumulator::make(self.mark(), self.engine.ids.accumulator(), name.into());
        self.engine.accumulators.add(&any);
        accumulator
    }

    /// An accumulator of the user's type and way of adding.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let longest = sc.accumulator("longest", 0usize, |a, b| *a = b.max(*a));
    /// let words = sc.parallelize(["fig".to_string(), "banana".to_string()]);
    /// words.for_each_ref_with(longest.clone(), |longest, word| longest.add(word.len()))?;
    /// assert_eq!(longest.value(), 6);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn accumulator<T: Data, M: Fn(&mut T, T) + Captureless>(
        &self,
        name: impl Into<String>,
        zero: T,
        merge: M,
    ) -> Accumulator<T> {
        let (accumulator, any) =
            Accumulator::make(self.mark(), self.engine.ids.accumulator(), name.into(), zero, merge);
        self.engine.accumulators.add(&any);
        accumulator
    }

    /// An accumulator that collects values (`add(vec![value])`), partition after partition.
    pub fn collection_accumulator<T: Data>(&self, name: impl Into<String>) -> Accumulator<Vec<T>> {
        let (accumulator, any) = Accumulator::collecting(self.mark(), self.engine.ids.accumulator(), name.into());
        self.engine.accumulators.add(&any);
        accumulator
    }

    /// Where `checkpoint` writes. The folder is made if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made.
    pub fn set_checkpoint_dir(&self, dir: impl AsRef<str>) -> Result<()> {
        self.engine.set_checkpoint_dir(dir.as_ref())
    }

    /// Says something about the jobs that this thread submits from now on; `None` takes it back. Tasks read it by
    /// `TaskContext::local_property`.
    pub fn set_local_property(&self, key: &str, value: Option<&str>) {
        let key = properties::spelled(key);
        properties::change(&self.engine, |all| {
            match value {
                Some(value) => all.insert(key, value.to_string()),
                None => all.remove(&key),
            };
        });
    }

    /// Wants so many executors in all from now on, instead of what `executor.instances` says; there are as many as the master has to
    /// give. They come, and others in the place of those that end, without being waited for. Of more executors than that none is ended, but
    /// none replaced either. False, with a warning, in local mode: one executor is all that there is.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the context has ended, [`Error::InsideTask`] in a task.
    pub fn request_total_executors(&self, executors: u32) -> Result<bool> {
        self.engine.check_usable("request_total_executors")?;
        if self.is_local() {
            tracing::warn!("in local mode there is one executor, and {executors} are wanted: nothing changes");
            return Ok(false);
        }
        self.engine.tell(Msg::Want(executors));
        Ok(true)
    }

    /// Lets the driver look at a clock that was moved by hand.
    #[doc(hidden)]
    pub fn tick(&self) {
        self.engine.tell(Msg::Tick);
    }

    /// Ends the application: running jobs fail, blocks and shuffles go, the event log is closed. Tasks that run are told to stop; one
    /// that does not look at its kill flag for ten seconds is left to itself. A second call does nothing.
    ///
    /// # Errors
    /// In a task, and in a listener. [`Error::Io`] if the event log could not be written to its end; the context has ended all the same.
    pub fn stop(&self) -> Result<()> {
        crate::engine::not_inside("Context::stop")?;
        if Bus::is_delivering() {
            return Err(Error::InvalidArgument(
                "a listener cannot stop its context, which would wait for the listener: tell another thread to do it"
                    .into(),
            ));
        }
        self.engine.stop();
        self.engine.log_failure.take().map_or(Ok(()), Err)
    }
}
