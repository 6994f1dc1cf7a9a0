//! Transformations of any elements that shuffle: sets, orders, new partitions.

use super::{
    Rdd,
    keyed::{S, Spread, piece, positive, shuffle_of, side_of},
    shuffled, site,
};
use crate::{
    engine::Engine,
    graph::{CallSite, NewNode, Prepared, ShuffleDep},
    range::range_partitioner,
};
use firesteel_rdd::{
    Aggregate, AsKey, ByKey, ByKeyFunc, Captureless, CoGroup2, Combine, Counting, Data, Erased, FilterMap, First,
    Halves, InBoth, Key, KeyPartitioner, Map, MapRef, Order, Partitioner, Partitioning, Pipeline, Plain, ReadSide,
    SAMPLES_PER_PARTITION, ScatterAlike, ScatterCombined, ScatterRoundRobin, ScatterSorted, Side, SortKey, Sorted,
    Unique, check_partitions,
};
use std::sync::Arc;

/// The two sides of a shuffle that brings equal elements together.
fn scattered_alike<P: Pipeline<Item: Key>, A: Aggregate<()>>(
    engine: &Arc<Engine>,
    pipeline: &Arc<P>,
    partitioner: KeyPartitioner<P::Item>,
    aggregate: A,
) -> (Combine<P::Item, (), A>, Arc<ShuffleDep>) {
    let (partitions, parts) = (partitioner.count(), aggregate.clone());
    let dep = shuffle_of(engine, pipeline, partitions, |shuffle| {
        ScatterAlike(ScatterCombined { shuffle, partitioner, aggregate })
    });
    (Combine::parts(dep.id, parts, partitions), dep)
}

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    fn as_keys(&self, site: CallSite) -> Rdd<(T, ()), Map<P, AsKey>> {
        self.child(Map::new(self.parent(), AsKey), site, true)
    }

    /// Deals elements out one by one to so many partitions. A shuffle. Order is by the parent's partitions; the partitioner goes.
    #[track_caller]
    pub fn repartition(&self, partitions: usize) -> S<T>
    where
        T: Data,
    {
        self.dealt(partitions, site("repartition"))
    }

    /// [`repartition`](Rdd::repartition) by Spark's other name: `coalesce(n, shuffle = true)`.
    #[track_caller]
    pub fn coalesce_shuffle(&self, partitions: usize) -> S<T>
    where
        T: Data,
    {
        self.dealt(partitions, site("coalesce_shuffle"))
    }

    fn dealt(&self, partitions: usize, site: CallSite) -> S<T>
    where
        T: Data,
    {
        let pipeline = self.pipeline().clone();
        let new = NewNode::narrow("ShuffledRDD", site, vec![self.node().clone()]).made_by(move |node| {
            positive(partitions)?;
            let dep =
                shuffle_of(&node.engine, &pipeline, partitions, |shuffle| ScatterRoundRobin { shuffle, partitions });
            let exec = piece(ReadSide::<T> { side: Side::Shuffle(dep.id), partitions });
            Ok(Prepared { partitioning: None, shuffles: vec![Some(dep)], exec })
        });
        shuffled(self.context(), new)
    }

    /// Each element once. A shuffle, unless the RDD has a partitioner (which then stays); as many partitions as this RDD has. Elements
    /// of a partition come in the order of their first arrival, those of a large shuffle part by part, as their hash says.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// assert_eq!(sc.parallelize([3, 1, 3, 3, 1]).distinct().count()?, 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> S<T>
    where
        T: Key,
    {
        self.unique(site("distinct"), Spread::LikeFirst)
    }

    /// [`distinct`](Rdd::distinct) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn distinct_into(&self, partitions: impl Partitioner<T>) -> S<T>
    where
        T: Key,
    {
        self.unique(site("distinct_into"), Spread::given(partitions))
    }

    fn unique(&self, site: CallSite, spread: Spread<T>) -> S<T>
    where
        T: Key,
    {
        let keys = self.child(self.parent(), site, true);
        let _ = keys.erase();
        let pipeline = keys.pipeline().clone();
        let new = NewNode::narrow("ShuffledRDD", site, vec![keys.node().clone()]).made_by(move |node| {
            let parent = &node.parents()[0];
            let count = parent.known_partitions()?;
            let partitioner = match &spread {
                Spread::Given(partitioner) => partitioner.clone(),
                _ => KeyPartitioner::hash(count),
            };
            let partitions = partitioner.count();
            check_partitions(partitions)?;
            // Equal elements have equal keys, so in an RDD that is spread by key they lie in one partition already.
            if let Some(partitioning) = parent.partitioning()
                && partitions == count
                && partitioner.is_by_hash()
            {
                let exec =
                    piece(Halves::new(Combine::<T, (), _>::alike(Erased::of(parent.id), Unique, partitions), First));
                return Ok(Prepared { partitioning: Some(partitioning), shuffles: vec![None], exec });
            }
            let (parts, dep) = scattered_alike(&node.engine, &pipeline, partitioner, Unique);
            let exec = piece(Halves::new(parts, First));
            Ok(Prepared { partitioning: None, shuffles: vec![Some(dep)], exec })
        });
        shuffled(self.context(), new)
    }

    /// How often each element occurs. A shuffle with combining, unless equal elements lie together already.
    pub(super) fn counted(&self, site: CallSite) -> S<(T, u64)>
    where
        T: Key,
    {
        let _ = self.erase();
        let pipeline = self.pipeline().clone();
        let new = NewNode::narrow("ShuffledRDD", site, vec![self.node().clone()]).made_by(move |node| {
            let partitioner = Spread::Default.resolve(node)?;
            let (parent, partitions) = (&node.parents()[0], partitioner.count());
            let partitioning = Partitioning::of(partitioner.clone());
            if parent.partitioning().as_ref() == Some(&partitioning) {
                let exec = piece(Combine::<T, (), _>::alike(Erased::of(parent.id), Counting, partitions));
                return Ok(Prepared { partitioning: Some(partitioning), shuffles: vec![None], exec });
            }
            let (parts, dep) = scattered_alike(&node.engine, &pipeline, partitioner, Counting);
            Ok(Prepared { partitioning: Some(partitioning), shuffles: vec![Some(dep)], exec: piece(parts) })
        });
        shuffled(self.context(), new)
    }

    /// The elements that both RDDs have, each once. A shuffle of both; partitions by the default rule.
    #[track_caller]
    pub fn intersection<Q: Pipeline<Item = T>>(&self, other: &Rdd<T, Q>) -> S<T>
    where
        T: Key,
    {
        self.intersected(other, site("intersection"), Spread::Default)
    }

    /// [`intersection`](Rdd::intersection) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn intersection_into<Q: Pipeline<Item = T>>(&self, other: &Rdd<T, Q>, partitions: impl Partitioner<T>) -> S<T>
    where
        T: Key,
    {
        self.intersected(other, site("intersection_into"), Spread::given(partitions))
    }

    fn intersected<Q: Pipeline<Item = T>>(&self, other: &Rdd<T, Q>, site: CallSite, spread: Spread<T>) -> S<T>
    where
        T: Key,
    {
        let (left, right) = (self.as_keys(site), other.as_keys(site));
        let _ = (left.erase(), right.erase());
        let (a, b) = (left.pipeline().clone(), right.pipeline().clone());
        let parents = vec![left.node().clone(), right.node().clone()];
        let new = NewNode::narrow("CoGroupedRDD", site, parents).made_by(move |node| {
            let partitioner = spread.resolve(node)?;
            let parents = node.parents();
            let (a, left) = side_of(node, &parents[0], &a, &partitioner, true);
            let (b, right) = side_of(node, &parents[1], &b, &partitioner, true);
            let both = CoGroup2 { a, b, partitions: partitioner.count() };
            let exec = piece(FilterMap::new(both, InBoth));
            Ok(Prepared { partitioning: None, shuffles: vec![left, right], exec })
        });
        shuffled(self.context(), new)
    }

    /// This RDD's elements that the other does not have; duplicates stay. A shuffle of both; as many partitions as this RDD has.
    #[track_caller]
    pub fn subtract<Q: Pipeline<Item = T>>(&self, other: &Rdd<T, Q>) -> S<T>
    where
        T: Key,
    {
        self.without(other, site("subtract"), Spread::LikeFirst)
    }

    /// [`subtract`](Rdd::subtract) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn subtract_into<Q: Pipeline<Item = T>>(&self, other: &Rdd<T, Q>, partitions: impl Partitioner<T>) -> S<T>
    where
        T: Key,
    {
        self.without(other, site("subtract_into"), Spread::given(partitions))
    }

    fn without<Q: Pipeline<Item = T>>(&self, other: &Rdd<T, Q>, site: CallSite, spread: Spread<T>) -> S<T>
    where
        T: Key,
    {
        let left = self.as_keys(site).subtracted(&other.as_keys(site), site, spread);
        left.narrowed(Halves::new(left.parent(), First), site)
    }

    /// A narrow child that is used as what comes out of a shuffle.
    fn narrowed<U: 'static, Q: Pipeline<Item = U>>(&self, pipeline: Q, site: CallSite) -> S<U> {
        let child = self.child(pipeline, site, false);
        let _ = child.erase();
        Rdd::at(self.context(), firesteel_rdd::Shuffled::of(child.node().id), child.node().clone())
    }

    /// All elements in the order of a key made of each: partition after partition, each sorted. A shuffle by ranges, whose bounds a
    /// sampling job finds before the first action; elements with equal keys keep their order. At most as many partitions as this
    /// RDD has; fewer, if its keys are few. Floats are sorted as `Total(x)`.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let words = sc.parallelize(["pear", "fig", "banana"].map(String::from));
    /// assert_eq!(words.sort_by(|w| w.len(), true).collect()?, ["fig", "pear", "banana"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sort_by<K: SortKey, F: Fn(&T) -> K + Captureless>(&self, f: F, ascending: bool) -> S<T>
    where
        T: Data,
    {
        self.sorted(
            site("sort_by"),
            None,
            ascending,
            ByKeyFunc(Plain::new(f)),
            MapRef::new(self.parent(), Plain::new(f)),
        )
    }

    /// [`sort_by`](Rdd::sort_by) into at most so many partitions.
    #[track_caller]
    pub fn sort_by_n<K: SortKey, F: Fn(&T) -> K + Captureless>(&self, f: F, ascending: bool, partitions: usize) -> S<T>
    where
        T: Data,
    {
        let keys = MapRef::new(self.parent(), Plain::new(f));
        self.sorted(site("sort_by_n"), Some(partitions), ascending, ByKeyFunc(Plain::new(f)), keys)
    }

    /// Range-partitions and sorts; `keys` computes what is sampled.
    pub(crate) fn sorted<K: SortKey, O: Order<T, Key = K>, Q: Pipeline<Item = K>>(
        &self,
        site: CallSite,
        partitions: Option<usize>,
        ascending: bool,
        order: O,
        keys: Q,
    ) -> S<T>
    where
        T: Data,
    {
        let _ = self.erase();
        let pipeline = self.pipeline().clone();
        let context = self.context().clone();
        let new = NewNode::narrow("ShuffledRDD", site, vec![self.node().clone()])
            .made_by(move |node| {
                let parent = &node.parents()[0];
                let wanted = match partitions {
                    Some(n) => n,
                    None => parent.known_partitions()?,
                };
                check_partitions(wanted)?;
                let keys = Rdd::at(&context, keys.clone(), parent.clone());
                let range = range_partitioner(&keys, wanted, ascending, SAMPLES_PER_PARTITION, site)?;
                let partitioner = KeyPartitioner::of(range);
                let count = partitioner.count();
                let partitioning = Partitioning::of(partitioner.clone());
                let dep = shuffle_of(&node.engine, &pipeline, count, |shuffle| ScatterSorted {
                    shuffle,
                    partitioner,
                    order: order.clone(),
                });
                let side = Side::<T>::Shuffle(dep.id);
                let exec = piece(Sorted { side, order: order.clone(), ascending, partitions: count });
                let partitioning = O::BY_KEY.then_some(partitioning);
                Ok(Prepared { partitioning, shuffles: vec![Some(dep)], exec })
            })
            .by_a_job();
        shuffled(self.context(), new)
    }
}

impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// All pairs in the order of their keys. As [`sort_by`](Rdd::sort_by); the result is known to be range-partitioned by key.
    #[track_caller]
    pub fn sort_by_key(&self, ascending: bool) -> S<(K, V)>
    where
        K: SortKey,
        V: Data,
    {
        self.sorted(site("sort_by_key"), None, ascending, ByKey, Halves::new(self.parent(), First))
    }

    /// [`sort_by_key`](Rdd::sort_by_key) into at most so many partitions.
    #[track_caller]
    pub fn sort_by_key_n(&self, ascending: bool, partitions: usize) -> S<(K, V)>
    where
        K: SortKey,
        V: Data,
    {
        self.sorted(site("sort_by_key_n"), Some(partitions), ascending, ByKey, Halves::new(self.parent(), First))
    }

    /// Moves each pair to its key's partition and sorts each partition by key, in one step. Always a shuffle; equal keys keep
    /// their order.
    #[track_caller]
    pub fn repartition_and_sort_within_partitions(&self, partitioner: impl Partitioner<K>) -> S<(K, V)>
    where
        K: SortKey,
        V: Data,
    {
        let (partitioner, pipeline) = (KeyPartitioner::of(partitioner), self.pipeline().clone());
        let site = site("repartition_and_sort_within_partitions");
        let new = NewNode::narrow("ShuffledRDD", site, vec![self.node().clone()]).made_by(move |node| {
            let count = partitioner.count();
            let dep = shuffle_of(&node.engine, &pipeline, count, |shuffle| ScatterSorted {
                shuffle,
                partitioner: partitioner.clone(),
                order: ByKey,
            });
            let side = Side::<(K, V)>::Shuffle(dep.id);
            let exec = piece(Sorted { side, order: ByKey, ascending: true, partitions: count });
            let partitioning = Some(Partitioning::of(partitioner.clone()));
            Ok(Prepared { partitioning, shuffles: vec![Some(dep)], exec })
        });
        shuffled(self.context(), new)
    }
}
