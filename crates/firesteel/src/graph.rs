//! The lineage graph on the driver: what every RDD is made of, its name, its call site, and the way in which it is prepared for
//! its first job.

use crate::engine::Engine;
use firesteel_model::{Error, RddId, Result, ShuffleId, StageId};
use firesteel_rdd::{CacheState, Node, Partitioning, Plan, Root, Splits, check_partitions};
use std::{
    fmt,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The user's line that made an RDD or called an action, and the method it called there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSite {
    pub(crate) method: &'static str,
    pub(crate) at: &'static Location<'static>,
}

impl fmt::Display for CallSite {
    /// `reduce_by_key at main.rs:12`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.at.file().rsplit('/').next().unwrap_or_default();
        write!(f, "{} at {file}:{}", self.method, self.at.line())
    }
}

/// The data between a map stage and its readers. Lives as long as the RDD that reads it.
pub(crate) struct ShuffleDep {
    pub(crate) id: ShuffleId,
    /// The stage that writes it, the same in every job.
    pub(crate) stage: StageId,
    /// What its map tasks run.
    pub(crate) root: Arc<dyn Root>,
    /// How many reduce partitions.
    pub(crate) partitions: usize,
    pub(crate) engine: Arc<Engine>,
}

impl Drop for ShuffleDep {
    fn drop(&mut self) {
        self.engine.release_shuffle(self.id);
    }
}

/// What a preparation found out.
#[derive(Default)]
pub(crate) struct Prepared {
    /// How keys are spread.
    pub(crate) partitioning: Option<Partitioning>,
    /// For each parent the shuffle through which it is read; `None` where it is read in place. Shorter lists mean the latter.
    pub(crate) shuffles: Vec<Option<Arc<ShuffleDep>>>,
    /// The node's code, where it could not be known before.
    pub(crate) exec: Option<Arc<dyn Node>>,
}

/// A preparation: run once, in the thread of the first caller that needs the plan, after those of all ancestors.
pub(crate) type Prepare = Box<dyn Fn(&RddNode) -> Result<Prepared> + Send + Sync>;

/// How an operation without a preparation spreads keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keys {
    /// Nothing is known.
    Unknown,
    /// As its first parent.
    Kept,
}

/// One RDD of the program.
pub(crate) struct RddNode {
    pub(crate) id: RddId,
    /// Spark's name of the kind of RDD.
    pub(crate) kind: &'static str,
    pub(crate) call_site: CallSite,
    pub(crate) engine: Arc<Engine>,
    pub(crate) cache: Option<Arc<CacheState>>,
    /// What is to happen after the first job: a checkpoint of either kind.
    pub(crate) checkpoint: Option<Checkpoint>,
    name: Mutex<Option<String>>,
    parents: Mutex<Vec<Arc<RddNode>>>,
    keys: Keys,
    prepare: Option<Prepare>,
    /// Whether the preparation makes the code, so that nobody else does.
    code_later: bool,
    /// Whether the preparation runs a job, so that `to_debug_string` leaves it alone.
    needs_job: bool,
    preparing: Mutex<()>,
    prepared: OnceLock<Prepared>,
    exec: OnceLock<Arc<dyn Node>>,
    splits: OnceLock<Arc<dyn Splits>>,
    /// The number of partitions, of kept RDDs, whose pipeline asks for it.
    count: OnceLock<usize>,
    held_blocks: AtomicBool,
    holds_sources: AtomicBool,
}

/// What cuts an RDD's lineage once it has been computed.
pub(crate) enum Checkpoint {
    /// Files in the checkpoint folder, written by this root.
    Reliable(Box<dyn Fn(&Arc<RddNode>) -> Result<()> + Send + Sync>),
    /// The stored blocks themselves, once this has made sure that all are there.
    Local(Box<dyn Fn(&Arc<RddNode>) -> Result<()> + Send + Sync>),
}

/// The parts of a new node.
pub(crate) struct NewNode {
    pub(crate) kind: &'static str,
    pub(crate) call_site: CallSite,
    pub(crate) parents: Vec<Arc<RddNode>>,
    pub(crate) keys: Keys,
    pub(crate) prepare: Option<Prepare>,
    pub(crate) code_later: bool,
    pub(crate) needs_job: bool,
    pub(crate) cache: Option<Arc<CacheState>>,
    pub(crate) checkpoint: Option<Checkpoint>,
}

impl NewNode {
    pub(crate) fn narrow(kind: &'static str, call_site: CallSite, parents: Vec<Arc<RddNode>>) -> Self {
        NewNode {
            kind,
            call_site,
            parents,
            keys: Keys::Unknown,
            prepare: None,
            code_later: false,
            needs_job: false,
            cache: None,
            checkpoint: None,
        }
    }
    pub(crate) fn keeping(mut self) -> Self {
        self.keys = Keys::Kept;
        self
    }
    pub(crate) fn prepared_by(
        mut self,
        prepare: impl Fn(&RddNode) -> Result<Prepared> + Send + Sync + 'static,
    ) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }
    /// As [`prepared_by`](Self::prepared_by), for a preparation that also makes the RDD's code.
    pub(crate) fn made_by(self, prepare: impl Fn(&RddNode) -> Result<Prepared> + Send + Sync + 'static) -> Self {
        NewNode { code_later: true, ..self.prepared_by(prepare) }
    }
    pub(crate) fn by_a_job(mut self) -> Self {
        self.needs_job = true;
        self
    }
}

impl RddNode {
    pub(crate) fn new(engine: &Arc<Engine>, id: RddId, new: NewNode) -> Arc<Self> {
        let node = Arc::new(RddNode {
            id,
            kind: new.kind,
            call_site: new.call_site,
            engine: engine.clone(),
            cache: new.cache,
            checkpoint: new.checkpoint,
            name: Mutex::new(None),
            parents: Mutex::new(new.parents),
            keys: new.keys,
            prepare: new.prepare,
            code_later: new.code_later,
            needs_job: new.needs_job,
            preparing: Mutex::new(()),
            prepared: OnceLock::new(),
            exec: OnceLock::new(),
            splits: OnceLock::new(),
            count: OnceLock::new(),
            held_blocks: AtomicBool::new(false),
            holds_sources: AtomicBool::new(false),
        });
        engine.register_node(&node);
        node
    }

    pub(crate) fn parents(&self) -> Vec<Arc<RddNode>> {
        lock(&self.parents).clone()
    }

    /// Lets the parents go: a checkpoint has taken their place.
    pub(crate) fn cut_lineage(&self) {
        if let Some(cache) = &self.cache
            && cache.is_cut()
        {
            let parents = std::mem::take(&mut *lock(&self.parents));
            drop_flat(parents);
        }
    }

    pub(crate) fn name(&self) -> Option<String> {
        lock(&self.name).clone()
    }
    pub(crate) fn set_name(&self, name: String) {
        *lock(&self.name) = Some(name);
    }

    /// The erased form of the RDD's pipeline, made at the first call.
    pub(crate) fn erase_with(&self, make: impl FnOnce() -> Arc<dyn Node>) {
        if !self.code_later {
            self.exec.get_or_init(make);
        }
    }
    pub(crate) fn exec(&self) -> Option<&Arc<dyn Node>> {
        self.exec.get()
    }
    pub(crate) fn is_prepared(&self) -> bool {
        self.prepared.get().is_some()
    }
    pub(crate) fn partitioning(&self) -> Option<Partitioning> {
        self.prepared.get().and_then(|p| p.partitioning.clone())
    }
    /// The shuffle through which parent `i` is read.
    pub(crate) fn shuffle(&self, i: usize) -> Option<&Arc<ShuffleDep>> {
        self.prepared.get().and_then(|p| p.shuffles.get(i)).and_then(Option::as_ref)
    }
    /// Notes that the driver holds this RDD's items.
    pub(crate) fn note_sources(&self) {
        self.holds_sources.store(true, Ordering::Relaxed);
    }
    /// Notes that blocks of this RDD may exist, to be removed with it.
    pub(crate) fn note_blocks(&self) {
        self.held_blocks.store(true, Ordering::Relaxed);
    }

    /// The splits of an erased RDD whose ancestors are prepared.
    pub(crate) fn splits(&self) -> Result<Arc<dyn Splits>> {
        if let Some(splits) = self.splits.get() {
            return Ok(splits.clone());
        }
        let exec = self.exec.get().ok_or_else(|| {
            Error::InvalidArgument(format!("RDD {} ({}) has not been prepared", self.id, self.call_site))
        })?;
        let splits = exec.splits(&*self.engine)?;
        Ok(self.splits.get_or_init(|| splits).clone())
    }

    /// The number of partitions, if the RDD is erased or kept and prepared.
    pub(crate) fn known_partitions(&self) -> Result<usize> {
        match self.count.get() {
            Some(count) => Ok(*count),
            None => Ok(self.splits()?.count()),
        }
    }

    fn prepare_self(&self) -> Result<()> {
        let _one_at_a_time = lock(&self.preparing);
        if self.prepared.get().is_some() {
            return Ok(());
        }
        if self.cache.is_some() {
            let parent = lock(&self.parents).first().cloned();
            if let Some(parent) = parent {
                let count = parent.known_partitions()?;
                self.count.get_or_init(|| count);
            }
        }
        let mut prepared = match &self.prepare {
            Some(prepare) => prepare(self)?,
            None => Prepared::default(),
        };
        if let Some(partitioning) = &prepared.partitioning {
            check_partitions(partitioning.count())?;
        }
        if self.keys == Keys::Kept {
            prepared.partitioning = lock(&self.parents).first().and_then(|parent| parent.partitioning());
        }
        if let Some(exec) = prepared.exec.take() {
            let _ = self.exec.set(exec);
        }
        if self.exec.get().is_some() {
            self.splits()?;
        }
        let _ = self.prepared.set(prepared);
        Ok(())
    }

    /// Runs the preparations of this RDD and of all its ancestors, ancestors first; each once in the RDD's life.
    pub(crate) fn prepare(self: &Arc<Self>) -> Result<()> {
        self.prepare_where(|_| true).map(|_| ())
    }

    /// Runs those preparations that need no job and whose ancestors' need none; the rest stays unknown.
    pub(crate) fn prepare_softly(self: &Arc<Self>) {
        // What fails here fails again, and is told, at the first action.
        let _ = self.prepare_where(|node| !node.needs_job && node.parents().iter().all(|p| p.is_prepared()));
    }

    fn prepare_where(self: &Arc<Self>, may: impl Fn(&RddNode) -> bool) -> Result<()> {
        let mut stack = vec![(self.clone(), false)];
        let mut seen = std::collections::HashSet::new();
        let mut first_error = None;
        while let Some((node, parents_done)) = stack.pop() {
            if node.is_prepared() {
                continue;
            }
            if parents_done {
                if may(&node)
                    && let Err(e) = node.prepare_self()
                {
                    first_error.get_or_insert(e);
                    break;
                }
            } else if seen.insert(node.id) {
                let parents = node.parents();
                // Ids are a context's own: nothing of another one's may be looked up by them.
                if let Some(foreign) = parents.iter().find(|parent| !Arc::ptr_eq(&parent.engine, &node.engine)) {
                    first_error = Some(Error::InvalidArgument(format!(
                        "{}: RDD {} ({}) belongs to another context; RDDs that are brought together must come from one",
                        node.call_site, foreign.id, foreign.call_site
                    )));
                    break;
                }
                stack.push((node, true));
                stack.extend(parents.into_iter().rev().map(|parent| (parent, false)));
            }
        }
        drop_flat(stack.into_iter().map(|(node, _)| node).collect());
        first_error.map_or(Ok(()), Err)
    }
}

/// Drops nodes and whatever only they held, in a loop: a lineage may be 100,000 steps long.
pub(crate) fn drop_flat(mut nodes: Vec<Arc<RddNode>>) {
    while let Some(node) = nodes.pop() {
        if let Some(mut node) = Arc::into_inner(node) {
            nodes.append(node.parents.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner));
        }
    }
}

impl Drop for RddNode {
    fn drop(&mut self) {
        let parents = std::mem::take(self.parents.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner));
        if self.holds_sources.load(Ordering::Relaxed) {
            self.engine.blocks.remove_source(self.id);
        }
        self.engine.forget_node(self.id, self.held_blocks.load(Ordering::Relaxed));
        drop_flat(parents);
    }
}

impl Plan for Engine {
    fn partitions(&self, rdd: RddId) -> Result<usize> {
        match self.node(rdd) {
            Some(node) => node.known_partitions(),
            None => Err(Error::InvalidArgument(format!("RDD {rdd} does not exist any more"))),
        }
    }
}
