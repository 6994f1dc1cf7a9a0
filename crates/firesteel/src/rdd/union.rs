//! Several RDDs as one.

use super::{Rdd, keyed::piece, site};
use crate::{
    Context,
    graph::{CallSite, NewNode, Prepared, RddNode},
};
use firesteel_rdd::{Concat, Data, Erased, MergeAlike, Pipeline, Union};
use std::sync::Arc;

/// A node that reads all of `parents`. Those without partitions do not count; if all others are spread alike, partitions of equal
/// index are merged and the partitioner stays.
fn union_node(
    site: CallSite,
    context: &Context,
    parents: Vec<Arc<RddNode>>,
    of: fn(&[Arc<RddNode>], bool) -> Exec,
) -> Arc<RddNode> {
    let engine = context.engine();
    let new = NewNode::narrow("UnionRDD", site, parents).made_by(move |node| {
        let mut parents = Vec::new();
        for parent in node.parents() {
            if parent.known_partitions()? > 0 {
                parents.push(parent);
            }
        }
        let first = parents.first().and_then(|parent| parent.partitioning());
        let alike = first.filter(|first| parents.iter().all(|parent| parent.partitioning().as_ref() == Some(first)));
        let exec = of(&parents, alike.is_some());
        Ok(Prepared { partitioning: alike, shuffles: Vec::new(), exec })
    });
    RddNode::new(engine, engine.ids.rdd(), new)
}

type Exec = Option<Arc<dyn firesteel_rdd::Node>>;

fn exec<T: 'static>(parents: &[Arc<RddNode>], alike: bool) -> Exec {
    let parents: Vec<Erased<T>> = parents.iter().map(|parent| Erased::of(parent.id)).collect();
    if alike { piece(MergeAlike::new(parents)) } else { piece(Concat::new(parents)) }
}

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// This RDD's elements and then the other's; duplicates stay. Narrow: this RDD's partitions are followed by the other's. If both
    /// are spread by equal partitioners, partitions of equal index are merged instead, and the partitioner stays; else the result
    /// has none. An RDD without partitions changes nothing.
    ///
    /// Many RDDs are united by [`Context::union`] at once.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let both = sc.parallelize_n([1, 2], 2).union(&sc.parallelize_n([2, 3], 2));
    /// assert_eq!(both.collect()?, [1, 2, 2, 3]);
    /// assert_eq!(both.num_partitions()?, 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn union<Q: Pipeline<Item = T>>(&self, other: &Rdd<T, Q>) -> Rdd<T, Union<T>> {
        let _ = (self.erase(), other.erase());
        let parents = vec![self.node().clone(), other.node().clone()];
        let node = union_node(site("union"), self.context(), parents, exec::<T>);
        Rdd::at(self.context(), Union::of(node.id), node)
    }
}

impl Context {
    /// All elements of several RDDs, one RDD after the other; of none, an RDD without partitions. As [`Rdd::union`], in one
    /// step.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let parts: Vec<Rdd<u64>> = (0..3).map(|i| sc.range_n(i * 10..i * 10 + 2, 1).erase()).collect();
    /// assert_eq!(sc.union(&parts).collect()?, [0, 1, 10, 11, 20, 21]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn union<T: Data>(&self, rdds: &[Rdd<T>]) -> Rdd<T> {
        let parents = rdds.iter().map(|rdd| rdd.node().clone()).collect();
        let node = union_node(site("union"), self, parents, exec::<T>);
        Rdd::at(self, Erased::of(node.id), node)
    }
}
