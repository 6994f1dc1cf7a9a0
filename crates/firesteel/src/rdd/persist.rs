//! Keeping what was computed: caches and checkpoints.

use super::{Rdd, site};
use crate::{
    driver::Msg,
    graph::{CallSite, Checkpoint, Keys, NewNode, Prepared, RddNode, lock},
    job::{self, Wanted},
};
use firesteel_model::{Error, PartitionIndex, Result, StorageLevel};
use firesteel_rdd::{CacheState, Cached, Count, Data, Pipeline, WriteCheckpoint};
use std::sync::Arc;

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// Keeps this RDD's partitions, once they have been computed, at a storage level. Use the handle that is returned: what is
    /// made from it reads the kept partitions; a lost one is computed again, alone.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let squares = sc.range(0..1000).map(|i| i * i).persist(StorageLevel::MEMORY_ONLY);
    /// assert_eq!(squares.count()?, 1000); // computes and keeps
    /// assert_eq!(squares.filter(|i| i % 2 == 0).count()?, 500); // reads what is kept
    /// squares.unpersist(true)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// On a handle that keeps its partitions at this level already, this is that handle again.
    ///
    /// # Cost
    /// In memory text (`Rdd<String>`) takes its bytes and four for each element, at any level: it is lent from there, and who keeps a `String`
    /// of it allocates that. Other elements take what they take as values or, at levels that end in `_SER`, as bytes.
    ///
    /// # Errors
    /// Of the first action: the handle keeps its partitions at another level ([`unpersist`](Rdd::unpersist) first).
    #[track_caller]
    pub fn persist(&self, level: StorageLevel) -> Rdd<T, Cached<T>>
    where
        T: Data,
    {
        self.persisted(site("persist"), level)
    }

    /// [`persist`](Rdd::persist) in memory.
    #[track_caller]
    pub fn cache(&self) -> Rdd<T, Cached<T>>
    where
        T: Data,
    {
        self.persisted(site("cache"), StorageLevel::MEMORY_ONLY)
    }

    fn persisted(&self, site: CallSite, level: StorageLevel) -> Rdd<T, Cached<T>>
    where
        T: Data,
    {
        let node = self.node();
        match &node.cache {
            Some(state) if state.level() == level && level != StorageLevel::NONE => self.again(state),
            Some(state) if state.level() != StorageLevel::NONE => {
                let (rdd, call_site, known) = (node.id, node.call_site, state.level());
                let refuse = move |_: &RddNode| {
                    Err(Error::InvalidArgument(format!(
                        "Cannot change storage level of an RDD after it was already assigned a level: RDD {rdd} \
                         ({call_site}) is kept at '{known}', and '{level}' was asked for; `unpersist` it first"
                    )))
                };
                self.kept(site, level, |new| new.prepared_by(refuse))
            }
            _ => self.kept(site, level, |new| new),
        }
    }

    /// This handle, whose RDD is kept already.
    fn again(&self, state: &Arc<CacheState>) -> Rdd<T, Cached<T>>
    where
        T: Data,
    {
        let id = self.node().id;
        // Where the lineage is cut nobody asks for the parent.
        let parent = self.node().parents().first().map_or(id, |parent| parent.id);
        Rdd::at(self.context(), Cached::new(id, parent, state.clone()), self.node().clone())
    }

    /// Writes this RDD to the checkpoint folder after the first job that computes it, and cuts its lineage there: use the handle
    /// that is returned. The write is a job of its own, which computes the RDD once more unless it is cached.
    ///
    /// A handle of [`local_checkpoint`](Rdd::local_checkpoint) stays local: it is returned as it is, with a warning.
    ///
    /// # Errors
    /// That there is no checkpoint folder (`Context::set_checkpoint_dir`) is an error of the first action, before its job.
    #[track_caller]
    pub fn checkpoint(&self) -> Rdd<T, Cached<T>>
    where
        T: Data,
    {
        let site = site("checkpoint");
        if let (Some(Checkpoint::Local(_)), Some(state)) = (&self.node().checkpoint, &self.node().cache) {
            tracing::warn!("{self} is checkpointed locally, and stays so");
            return self.again(state);
        }
        let (source, context) = (self.pipeline().clone(), self.context().clone());
        let write = move |node: &Arc<RddNode>| {
            let source = match node.parents().first() {
                Some(parent) => Rdd::<T, P>::at(&context, (*source).clone(), parent.clone()),
                None => return Ok(()),
            };
            let state = node.cache.as_ref().expect("a checkpointed RDD has a state");
            let engine = &node.engine;
            let folder = engine.checkpoint_folder()?.start_rdd(node.id, node.known_partitions()? as u32)?;
            let written = source.all(WriteCheckpoint(folder.clone()), site).and_then(|_| folder.verify());
            if let Err(e) = written {
                if let Err(left) = folder.remove() {
                    tracing::warn!("a checkpoint that failed is left behind: {left}");
                }
                return Err(e);
            }
            state.set_checkpoint(folder.path().to_path_buf());
            Ok(())
        };
        self.kept(site, StorageLevel::NONE, |new| {
            let new = new.prepared_by(|node| node.engine.checkpoint_folder().map(|_| Prepared::default()));
            NewNode { checkpoint: Some(Checkpoint::Reliable(Box::new(write))), ..new }
        })
    }

    /// Keeps this RDD's partitions in executors' stores and cuts its lineage once all are there: faster than
    /// [`checkpoint`](Rdd::checkpoint), but what an executor loses is lost.
    #[track_caller]
    pub fn local_checkpoint(&self) -> Rdd<T, Cached<T>>
    where
        T: Data,
    {
        let site = site("local_checkpoint");
        let context = self.context().clone();
        let complete = move |node: &Arc<RddNode>| {
            let state = node.cache.clone().expect("a checkpointed RDD has a state");
            let (id, partitions) = (node.id, node.known_partitions()? as u32);
            let missing: Vec<u32> = node.engine.ask(move |scheduler| {
                (0..partitions).filter(|p| scheduler.block_locations(id, PartitionIndex(*p)).is_empty()).collect()
            });
            if !missing.is_empty() {
                let parent = node.parents().first().map(|parent| parent.id);
                let parent = parent.ok_or_else(|| Error::InvalidArgument("the lineage is cut already".into()))?;
                let handle = Rdd::at(&context, Cached::<T>::new(node.id, parent, state.clone()), node.clone());
                job::run(&handle, Wanted::These(missing), Count, site)?;
            }
            state.cut();
            Ok(())
        };
        self.kept(site, StorageLevel::MEMORY_AND_DISK, |new| NewNode {
            checkpoint: Some(Checkpoint::Local(Box::new(complete))),
            ..new
        })
    }

    fn kept(&self, site: CallSite, level: StorageLevel, with: impl FnOnce(NewNode) -> NewNode) -> Rdd<T, Cached<T>>
    where
        T: Data,
    {
        let _ = self.erase();
        let engine = self.context().engine();
        let state = CacheState::new(level);
        let new = with(NewNode {
            cache: Some(state.clone()),
            keys: Keys::Kept,
            ..NewNode::narrow(self.node().kind, site, vec![self.node().clone()])
        });
        let checkpointed = new.checkpoint.is_some();
        let id = engine.ids.rdd();
        let node = RddNode::new(engine, id, new);
        if checkpointed {
            lock(&engine.to_checkpoint).push(Arc::downgrade(&node));
        }
        if let Some(name) = self.name() {
            node.set_name(name);
        }
        Rdd::at(self.context(), Cached::new(id, self.node().id, state), node)
    }

    /// Lets go of the partitions kept under this handle; later jobs compute them again. With `blocking` it returns when they are
    /// gone. On an RDD that keeps nothing it does nothing.
    ///
    /// # Errors
    /// In a task, or after the context was stopped; on a [`local_checkpoint`](Rdd::local_checkpoint), done or not: its blocks are
    /// all there will be of it.
    pub fn unpersist(&self, blocking: bool) -> Result<()> {
        let engine = &self.node().engine;
        engine.check_usable("unpersist")?;
        let Some(cache) = &self.node().cache else { return Ok(()) };
        if let Some(Checkpoint::Local(_)) = self.node().checkpoint {
            return Err(Error::InvalidArgument(
                "unpersist of a local checkpoint: its blocks are all there is of it, and go with its last handle"
                    .into(),
            ));
        }
        cache.forget();
        engine.have_done(blocking, |done| Msg::Unpersist(self.node().id, done));
        Ok(())
    }

    /// The level at which partitions are kept under this handle.
    pub fn storage_level(&self) -> StorageLevel {
        self.node().cache.as_ref().map_or(StorageLevel::NONE, |cache| cache.level())
    }

    /// Whether the lineage has been cut by a finished checkpoint, of either kind.
    pub fn is_checkpointed(&self) -> bool {
        self.node().cache.as_ref().is_some_and(|cache| cache.is_cut())
    }

    /// The folder of the finished checkpoint; none for a local one.
    pub fn checkpoint_file(&self) -> Option<String> {
        self.node().cache.as_ref()?.checkpoint().map(|dir| dir.display().to_string())
    }
}
