//! `Rdd`: what users hold.

mod actions;
mod approximate;
mod background;
mod clean;
mod distinct_count;
mod forms;
mod group;
mod info;
mod keyed;
mod lent;
mod local_iter;
mod narrow;
mod numeric;
mod own;
mod persist;
mod pipe;
mod ranges;
mod sample;
mod sample_by_key;
mod save;
mod structure;
mod tree;
mod union;
mod whole_text_files;
mod wide;
mod zip_partitions;

pub use info::Dependency;
pub use local_iter::LocalIter;

use crate::{
    Context,
    graph::{CallSite, NewNode, RddNode},
};
use firesteel_rdd::{Erased, Node, Piece, Pipeline, Shuffled};
use std::{fmt, marker::PhantomData, panic::Location, sync::Arc};

/// A resilient distributed dataset: a description of data that are computed, partition by partition, when an action asks
/// for them.
///
/// `T` is the element type, `P` the type of the code that computes it: narrow operations wrap their parent's, as iterator
/// adaptors do, so that a whole stage is one loop. `Rdd<T>` alone is the erased form, for struct fields, loops and function
/// signatures; [`erase`](Rdd::erase) makes it. Cloning a handle is cheap and shares the RDD.
///
/// Transformations (`map`, `reduce_by_key`, …) are lazy and return another RDD; actions (`count`, `collect`, …) run a
/// job and return `Result`.
///
/// ```
/// use firesteel::prelude::*;
///
/// let sc = Context::builder().master("local[2]").build()?;
/// let even: Rdd<u64> = sc.range_n(0..10, 3).filter(|i| i % 2 == 0).erase();
/// assert_eq!(even.map(|i| i * i).collect()?, [0, 4, 16, 36, 64]);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "RDDs are lazy: nothing runs until an action such as `count` or `collect`"]
pub struct Rdd<T, P = Erased<T>> {
    pipeline: Arc<P>,
    node: Arc<RddNode>,
    context: Context,
    item: PhantomData<fn() -> T>,
}

impl<T, P> Clone for Rdd<T, P> {
    fn clone(&self) -> Self {
        Rdd {
            pipeline: self.pipeline.clone(),
            node: self.node.clone(),
            context: self.context.clone(),
            item: PhantomData,
        }
    }
}

impl<T, P> fmt::Debug for Rdd<T, P> {
    /// `[name ]MapPartitionsRDD[3] at map at main.rs:7`, as Spark prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.node.name() {
            write!(f, "{name} ")?;
        }
        write!(f, "{}[{}] at {}", self.node.kind, self.node.id, self.node.call_site)
    }
}

impl<T, P> fmt::Display for Rdd<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The caller's line and the method called there.
#[track_caller]
pub(crate) fn site(method: &'static str) -> CallSite {
    CallSite { method, at: Location::caller() }
}

impl<T, P> Rdd<T, P> {
    pub(crate) fn node(&self) -> &Arc<RddNode> {
        &self.node
    }
    pub(crate) fn pipeline(&self) -> &Arc<P> {
        &self.pipeline
    }
}

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// A handle on a node whose code is `pipeline`.
    pub(crate) fn of(context: &Context, pipeline: P, node: NewNode) -> Self {
        let engine = context.engine();
        let node = RddNode::new(engine, engine.ids.rdd(), node);
        Self::at(context, pipeline, node)
    }

    /// A handle on a node that exists.
    pub(crate) fn at(context: &Context, pipeline: P, node: Arc<RddNode>) -> Self {
        Rdd { pipeline: Arc::new(pipeline), node, context: context.clone(), item: PhantomData }
    }

    /// A narrow child: `kind` is Spark's name of the RDD, `keys` whether keys stay where they are.
    pub(crate) fn child<U: 'static, Q: Pipeline<Item = U>>(
        &self,
        pipeline: Q,
        site: CallSite,
        keeps: bool,
    ) -> Rdd<U, Q> {
        let new = NewNode::narrow("MapPartitionsRDD", site, vec![self.node.clone()]);
        Rdd::of(&self.context, pipeline, if keeps { new.keeping() } else { new })
    }

    /// Forgets the pipeline's type: `Rdd<T>`, for struct fields, loops and function signatures. Elements cross in batches, at
    /// about 1 ns each. No new RDD: id, name and partitioner stay.
    ///
    /// ```
    /// use firesteel::prelude::*;
    ///
    /// fn even(numbers: &Rdd<u64>) -> Rdd<u64> {
    ///     numbers.filter(|i| i % 2 == 0).erase()
    /// }
    /// let sc = Context::builder().master("local[2]").build()?;
    /// assert_eq!(even(&sc.range(0..10).erase()).count()?, 5);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn erase(&self) -> Rdd<T> {
        self.node.erase_with(|| Arc::new(Piece(self.pipeline.clone())) as Arc<dyn Node>);
        Rdd::at(&self.context, Erased::of(self.node.id), self.node.clone())
    }
}

/// A handle on a node whose code its preparation makes, read as what comes out of a shuffle.
pub(crate) fn shuffled<T: 'static>(context: &Context, node: NewNode) -> Rdd<T, Shuffled<T>> {
    let engine = context.engine();
    let id = engine.ids.rdd();
    Rdd::at(context, Shuffled::of(id), RddNode::new(engine, id, node))
}
