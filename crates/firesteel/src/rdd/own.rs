//! RDDs of the user's own: pipelines written outside this crate.

use super::{Rdd, site};
use crate::{Context, graph::NewNode};
use firesteel_rdd::Pipeline;

impl Context {
    /// An RDD whose partitions and elements a pipeline of your own makes: a source. See [`crate::pipeline`] for what a pipeline is and
    /// for an example.
    ///
    /// The pipeline travels to tasks as bytes, like any other; it must not read other RDDs
    /// ([`with_pipeline`](Rdd::with_pipeline) is for that).
    #[track_caller]
    pub fn from_pipeline<P: Pipeline>(&self, pipeline: P) -> Rdd<P::Item, P> {
        Rdd::of(self, pipeline, NewNode::narrow("PipelineRDD", site("from_pipeline"), Vec::new()))
    }
}

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// An operation of your own: `make` wraps this RDD's pipeline into another, as `map` and `filter` do. Narrow; what order and how
    /// many partitions is the pipeline's affair; drops the partitioner.
    ///
    /// ```
    /// use firesteel::{pipeline::{Flow, Lent, Own, PartitionIndex, Plan, RddId, Sink, Stream, Task}, prelude::*};
    /// use serde::{Deserialize, Serialize};
    ///
    /// /// Each element twice.
    /// #[derive(Clone, Serialize, Deserialize)]
    /// struct Twice<P>(P);
    ///
    /// impl<P: Pipeline<Item = u64>> Pipeline for Twice<P> {
    ///     type Item = u64;
    ///     type Split = P::Split;
    ///     type Stream = TwiceStream<P::Stream>;
    ///     fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
    ///         TwiceStream { input: self.0.open(split, task), again: None }
    ///     }
    ///     fn splits(&self, plan: &dyn Plan) -> Result<Vec<P::Split>> { self.0.splits(plan) }
    ///     fn refers(&self, visit: &mut dyn FnMut(RddId)) { self.0.refers(visit) }
    ///     fn reads(&self, split: &P::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) { self.0.reads(split, visit) }
    /// }
    ///
    /// struct TwiceStream<S> { input: S, again: Option<u64> }
    ///
    /// impl<S: Stream<Item = u64>> Stream for TwiceStream<S> {
    ///     type Item = u64;
    ///     fn drive<K: Sink<u64>>(&mut self, sink: &mut K) -> Flow {
    ///         // What a full sink did not take the last time comes first.
    ///         if let Some(x) = self.again.take() && !sink.push(Own(x)) {
    ///             return Flow::Full;
    ///         }
    ///         self.input.drive(&mut Doubling { again: &mut self.again, sink })
    ///     }
    /// }
    ///
    /// struct Doubling<'a, K> { again: &'a mut Option<u64>, sink: &'a mut K }
    ///
    /// impl<K: Sink<u64>> Sink<u64> for Doubling<'_, K> {
    ///     fn push<L: Lent<u64>>(&mut self, item: L) -> bool {
    ///         let x = item.take();
    ///         if self.sink.push(Own(x)) {
    ///             return self.sink.push(Own(x));
    ///         }
    ///         *self.again = Some(x);
    ///         false
    ///     }
    /// }
    ///
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let twice = sc.range_n(1..4, 2).with_pipeline(Twice);
    /// assert_eq!(twice.collect()?, [1, 1, 2, 2, 3, 3]);
    /// assert_eq!(twice.take(3)?, [1, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn with_pipeline<Q: Pipeline>(&self, make: impl FnOnce(P) -> Q) -> Rdd<Q::Item, Q> {
        self.child(make(self.parent()), site("with_pipeline"), false)
    }

    /// As [`with_pipeline`](Rdd::with_pipeline), of two RDDs: `make` is handed the pipelines of both. Narrow.
    #[track_caller]
    pub fn with_pipelines<U: 'static, P2: Pipeline<Item = U>, Q: Pipeline>(
        &self,
        other: &Rdd<U, P2>,
        make: impl FnOnce(P, P2) -> Q,
    ) -> Rdd<Q::Item, Q> {
        let parents = vec![self.node().clone(), other.node().clone()];
        let new = NewNode::narrow("PipelineRDD", site("with_pipelines"), parents);
        Rdd::of(self.context(), make(self.parent(), other.parent()), new)
    }
}
