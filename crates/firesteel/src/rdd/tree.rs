//! Actions that combine partial results in levels, so that the driver gets a few of them instead of one for each partition.

use super::{Rdd, keyed::Spread, site};
use crate::graph::CallSite;
use firesteel_model::{Error, Result};
use firesteel_rdd::{
    Captureless, Data, Folded, Folding, Keeping, Looking, MapPartitions, Merge, PartitionFunc, PartitionIter,
    Partitioner, Pipeline, Plain, Step, With,
};
use serde::{Deserialize, Serialize};

/// How many levels there are where nothing is said.
const DEPTH: usize = 2;

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// [`aggregate`](Rdd::aggregate) in a tree of depth 2. `zero` must be neutral: it is counted at every level.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let (sum, n) = sc.range_n(0..100, 20).tree_aggregate((0, 0), |(s, n), i| (s + i, n + 1), |a, b| (a.0 + b.0, a.1 + b.1))?;
    /// assert_eq!((sum, n), (4950, 100));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tree_aggregate<A, S, C>(&self, zero: A, seq: S, comb: C) -> Result<A>
    where
        A: Data,
        S: Fn(A, T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.tree(zero, Keeping(Plain::new(seq)), Plain::new(comb), Tree::new(DEPTH, site("tree_aggregate")))
    }

    /// [`tree_aggregate`](Rdd::tree_aggregate) in a tree of the given depth. With `n` partitions each level has about the `depth`th
    /// root of `n` times fewer than the one before, as long as a further level saves time: 20 partitions are combined in 4 at
    /// depth 2, in 6 and then 2 at depth 3.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `depth` is 0.
    #[track_caller]
    pub fn tree_aggregate_depth<A, S, C>(&self, zero: A, seq: S, comb: C, depth: usize) -> Result<A>
    where
        A: Data,
        S: Fn(A, T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.tree(zero, Keeping(Plain::new(seq)), Plain::new(comb), Tree::new(depth, site("tree_aggregate_depth")))
    }

    /// [`tree_aggregate_depth`](Rdd::tree_aggregate_depth) whose last merge is a task as well, so that the driver gets one value: for
    /// results so large that a few of them would be too much there.
    ///
    /// # Errors
    /// As `tree_aggregate_depth`.
    #[track_caller]
    pub fn tree_aggregate_on_executor<A, S, C>(&self, zero: A, seq: S, comb: C, depth: usize) -> Result<A>
    where
        A: Data,
        S: Fn(A, T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let how = Tree { depth, last_on_executor: true, site: site("tree_aggregate_on_executor") };
        self.tree(zero, Keeping(Plain::new(seq)), Plain::new(comb), how)
    }

    /// [`tree_aggregate_depth`](Rdd::tree_aggregate_depth) with an environment.
    ///
    /// # Errors
    /// As `tree_aggregate_depth`.
    #[track_caller]
    pub fn tree_aggregate_depth_with<E, A, S, C>(&self, env: E, zero: A, seq: S, comb: C, depth: usize) -> Result<A>
    where
        E: Data,
        A: Data,
        S: Fn(&E, A, T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let how = Tree::new(depth, site("tree_aggregate_depth_with"));
        self.tree(zero, Keeping(With::new(env, seq)), Plain::new(comb), how)
    }

    /// [`tree_aggregate`](Rdd::tree_aggregate) with an environment.
    #[track_caller]
    pub fn tree_aggregate_with<E, A, S, C>(&self, env: E, zero: A, seq: S, comb: C) -> Result<A>
    where
        E: Data,
        A: Data,
        S: Fn(&E, A, T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.tree(zero, Keeping(With::new(env, seq)), Plain::new(comb), Tree::new(DEPTH, site("tree_aggregate_with")))
    }

    /// [`tree_aggregate`](Rdd::tree_aggregate) that looks at elements where they lie.
    #[track_caller]
    pub fn tree_aggregate_ref<A, S, C>(&self, zero: A, seq: S, comb: C) -> Result<A>
    where
        A: Data,
        S: Fn(A, &T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.tree(zero, Looking(Plain::new(seq)), Plain::new(comb), Tree::new(DEPTH, site("tree_aggregate_ref")))
    }

    /// [`tree_aggregate_ref`](Rdd::tree_aggregate_ref) with an environment.
    #[track_caller]
    pub fn tree_aggregate_ref_with<E, A, S, C>(&self, env: E, zero: A, seq: S, comb: C) -> Result<A>
    where
        E: Data,
        A: Data,
        S: Fn(&E, A, &T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.tree(
            zero,
            Looking(With::new(env, seq)),
            Plain::new(comb),
            Tree::new(DEPTH, site("tree_aggregate_ref_with")),
        )
    }

    /// [`reduce`](Rdd::reduce) in a tree of depth 2.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is no element.
    #[track_caller]
    pub fn tree_reduce<F: Fn(T, T) -> T + Captureless>(&self, f: F) -> Result<T>
    where
        T: Data,
    {
        self.tree_reduced(Plain::new(f), DEPTH, site("tree_reduce"))
    }

    /// [`tree_reduce`](Rdd::tree_reduce) in a tree of the given depth, as in [`tree_aggregate_depth`](Rdd::tree_aggregate_depth).
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is no element, [`Error::InvalidArgument`] if `depth` is 0.
    #[track_caller]
    pub fn tree_reduce_depth<F: Fn(T, T) -> T + Captureless>(&self, f: F, depth: usize) -> Result<T>
    where
        T: Data,
    {
        self.tree_reduced(Plain::new(f), depth, site("tree_reduce_depth"))
    }

    /// [`tree_reduce`](Rdd::tree_reduce) with an environment.
    ///
    /// # Errors
    /// As `tree_reduce`.
    #[track_caller]
    pub fn tree_reduce_with<E: Data, F: Fn(&E, T, T) -> T + Captureless>(&self, env: E, f: F) -> Result<T>
    where
        T: Data,
    {
        self.tree_reduced(With::new(env, f), DEPTH, site("tree_reduce_with"))
    }

    /// [`tree_reduce_depth`](Rdd::tree_reduce_depth) with an environment.
    ///
    /// # Errors
    /// As `tree_reduce_depth`.
    #[track_caller]
    pub fn tree_reduce_depth_with<E: Data, F>(&self, env: E, f: F, depth: usize) -> Result<T>
    where
        T: Data,
        F: Fn(&E, T, T) -> T + Captureless,
    {
        self.tree_reduced(With::new(env, f), depth, site("tree_reduce_depth_with"))
    }

    fn tree_reduced<C: Merge<T, T, Out = T>>(&self, f: C, depth: usize, site: CallSite) -> Result<T>
    where
        T: Data,
    {
        self.tree(None, Keeping(IfAny(f.clone())), IfAny(f), Tree::new(depth, site))?.ok_or(Error::EmptyRdd)
    }

    fn tree<A, S, C>(&self, zero: A, seq: S, comb: C, how: Tree) -> Result<A>
    where
        A: Data,
        S: Step<A, T>,
        C: Merge<A, A, Out = A>,
    {
        let Tree { depth, last_on_executor, site } = how;
        self.node().engine.check_usable(site.method)?;
        if depth == 0 {
            return Err(Error::InvalidArgument(format!(
                "{}: the depth must be greater than or equal to 1, and is 0",
                site.method
            )));
        }
        self.node().prepare()?;
        let mut count = self.count_partitions()?;
        if count == 0 {
            return Ok(zero);
        }
        let scale = ((count as f64).powf(1.0 / depth as f64).ceil() as usize).max(2);
        let partial = self.child(Folded::new(self.parent(), zero.clone(), seq), site, false);
        let mut level: Rdd<A> = partial.erase();
        // One more level must save more than it costs.
        while count > scale + count.div_ceil(scale) {
            count /= scale;
            level = level.merged_into(count, &zero, &comb, site);
        }
        if last_on_executor && count > 1 {
            level = level.merged_into(1, &zero, &comb, site);
        }
        level.aggregated_by(zero, Keeping(comb.clone()), comb, site)
    }
}

impl<A: Data> Rdd<A> {
    /// One further level of a tree: so many partitions of one value each.
    fn merged_into<C: Merge<A, A, Out = A>>(&self, count: usize, zero: &A, comb: &C, site: CallSite) -> Rdd<A> {
        let dealt = self.child(MapPartitions::new(self.parent(), DealTo(count as u64)), site, false);
        let folding = Folding(zero.clone(), Keeping(comb.clone()), comb.clone());
        dealt.aggregated(site, Spread::given(InTurn(count)), folding).values().erase()
    }
}

/// What kind of tree is wanted, and where.
struct Tree {
    depth: usize,
    last_on_executor: bool,
    site: CallSite,
}

impl Tree {
    fn new(depth: usize, site: CallSite) -> Self {
        Tree { depth, last_on_executor: false, site }
    }
}

/// A further level: partition `i` goes to partition `i` modulo so many.
#[derive(Clone, Serialize, Deserialize)]
struct DealTo(u64);

impl<A: 'static> PartitionFunc<A> for DealTo {
    type Out = std::iter::Zip<std::iter::Repeat<u64>, PartitionIter<'static, A>>;
    fn call(&self, index: usize, items: PartitionIter<'static, A>) -> Self::Out {
        std::iter::repeat(index as u64 % self.0).zip(items)
    }
}

/// Each number is a partition of its own.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct InTurn(usize);

impl Partitioner<u64> for InTurn {
    fn num_partitions(&self) -> usize {
        self.0
    }
    fn partition(&self, key: &u64) -> usize {
        *key as usize
    }
}

/// Merges what there is.
#[derive(Clone, Serialize, Deserialize)]
struct IfAny<C>(C);

impl<T, C: Merge<T, T, Out = T>> Merge<Option<T>, T> for IfAny<C> {
    type Out = Option<T>;
    fn call(&self, so_far: Option<T>, item: T) -> Option<T> {
        Some(match so_far {
            Some(so_far) => self.0.call(so_far, item),
            None => item,
        })
    }
}
impl<T, C: Merge<T, T, Out = T>> Merge<Option<T>, Option<T>> for IfAny<C> {
    type Out = Option<T>;
    fn call(&self, a: Option<T>, b: Option<T>) -> Option<T> {
        match b {
            Some(b) => self.call(a, b),
            None => a,
        }
    }
}
