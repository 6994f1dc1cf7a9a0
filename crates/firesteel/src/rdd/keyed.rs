//! Keyed operations: what a partitioner means, and everything that ends in `_by_key`.

use super::{Rdd, shuffled, site};
use crate::{
    engine::Engine,
    graph::{CallSite, NewNode, Prepared, RddNode, ShuffleDep},
};
use firesteel_model::{Error, Result};
use firesteel_rdd::{
    Action, Aggregate, Captureless, CoGroup2, CoGroup3, CoGroup4, Combine, Combining, Data, Ending, Erased, First,
    FlatMap, Folding, FullOuter, Grouping, Halves, Inner, Join, JoinKind, Keeping, Key, KeyPartitioner, LeftOuter, Map,
    Node, OnEachValue, OnValue, Partitioner, Partitioning, Piece, Pipeline, Plain, ReadSide, Reducing, RightOuter,
    Root, Scatter, ScatterCombined, Second, Shuffled, Side, Subtract, With, check_partitions,
};
use std::sync::Arc;

/// An RDD whose elements come out of a shuffle, or are made in place where the data already lie right.
pub(crate) type S<T> = Rdd<T, Shuffled<T>>;

/// Spark's default partitioner: the largest one that a parent has, if it is large enough, else by hash into
/// `default.parallelism` or as many partitions as the largest parent has.
pub(crate) fn default_partitioner<K: 'static>(engine: &Engine, parents: &[Arc<RddNode>]) -> Result<KeyPartitioner<K>> {
    let mut most = 0;
    for parent in parents {
        most = most.max(parent.known_partitions()?);
    }
    let count = engine.set_parallelism.unwrap_or(most);
    let existing = parents
        .iter()
        .filter_map(|parent| parent.partitioning())
        .filter(|partitioning| partitioning.count() > 0)
        .fold(None::<Partitioning>, |best, this| match best {
            Some(best) if best.count() >= this.count() => Some(best),
            _ => Some(this),
        });
    if let Some(existing) = existing {
        let within_an_order = (most as f64).log10() - (existing.count() as f64).log10() < 1.0;
        if (within_an_order || count <= existing.count())
            && let Some(keyed) = existing.keyed::<K>()
        {
            return Ok(keyed.clone());
        }
    }
    Ok(KeyPartitioner::hash(count))
}

/// Where an operation's keys go: said by the user, or found out when the job is planned.
pub(crate) enum Spread<K> {
    Given(KeyPartitioner<K>),
    Default,
    /// By hash into as many partitions as the first parent has, unless that one has a partitioner (`subtract_by_key`, `distinct`).
    LikeFirst,
}

impl<K: 'static> Spread<K> {
    pub(crate) fn given(partitioner: impl Partitioner<K>) -> Self {
        Spread::Given(KeyPartitioner::of(partitioner))
    }
    pub(crate) fn resolve(&self, node: &RddNode) -> Result<KeyPartitioner<K>> {
        let parents = node.parents();
        let partitioner = match self {
            Spread::Given(partitioner) => partitioner.clone(),
            Spread::Default => default_partitioner(&node.engine, &parents)?,
            Spread::LikeFirst => match parents[0].partitioning() {
                Some(partitioning) if partitioning.keyed::<K>().is_some() => {
                    partitioning.keyed::<K>().expect("looked at above").clone()
                }
                _ => KeyPartitioner::hash(parents[0].known_partitions()?),
            },
        };
        check_partitions(partitioner.count())?;
        Ok(partitioner)
    }
}

/// A new shuffle whose map side runs `action` over `pipeline`.
pub(crate) fn shuffle_of<P: Pipeline, A: Action<P::Item>>(
    engine: &Arc<Engine>,
    pipeline: &Arc<P>,
    partitions: usize,
    action: impl FnOnce(firesteel_model::ShuffleId) -> A,
) -> Arc<ShuffleDep> {
    let id = engine.ids.shuffle();
    let root = Arc::new(Ending(pipeline.clone(), Arc::new(action(id)))) as Arc<dyn Root>;
    Arc::new(ShuffleDep { id, stage: engine.ids.stage(), root, partitions, engine: engine.clone() })
}

/// One keyed parent of an operation: read in place if it is partitioned as `partitioner` says, else by a shuffle. Its partitions are
/// `spread` if the operation gathers what belongs to a key.
pub(crate) fn side_of<K: Key, V: Data, P: Pipeline<Item = (K, V)>>(
    node: &RddNode,
    parent: &RddNode,
    pipeline: &Arc<P>,
    partitioner: &KeyPartitioner<K>,
    spread: bool,
) -> (Side<(K, V)>, Option<Arc<ShuffleDep>>) {
    if parent.partitioning() == Some(Partitioning::of(partitioner.clone())) {
        return (Side::Narrow(Erased::of(parent.id)), None);
    }
    let partitioner = partitioner.clone();
    let dep =
        shuffle_of(&node.engine, pipeline, partitioner.count(), |shuffle| Scatter { shuffle, partitioner, spread });
    (Side::Shuffle(dep.id), Some(dep))
}

pub(crate) fn piece<P: Pipeline>(pipeline: P) -> Option<Arc<dyn Node>> {
    Some(Arc::new(Piece(Arc::new(pipeline))))
}

impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// Aggregates the values of each key.
    pub(crate) fn aggregated<A: Aggregate<V>>(&self, site: CallSite, spread: Spread<K>, aggregate: A) -> S<(K, A::Part)>
    where
        K: Key,
        V: Data,
    {
        let _ = self.erase();
        let pipeline = self.pipeline().clone();
        let new = NewNode::narrow("ShuffledRDD", site, vec![self.node().clone()]).made_by(move |node| {
            let partitioner = spread.resolve(node)?;
            let count = partitioner.count();
            let parent = &node.parents()[0];
            let partitioning = Partitioning::of(partitioner.clone());
            let (exec, shuffle) = if parent.partitioning().as_ref() == Some(&partitioning) {
                let side = Side::<(K, V)>::Narrow(Erased::of(parent.id));
                (piece(Combine::values(side, aggregate.clone(), count)), None)
            } else if A::COMBINES {
                let dep = shuffle_of(&node.engine, &pipeline, count, |shuffle| ScatterCombined {
                    shuffle,
                    partitioner,
                    aggregate: aggregate.clone(),
                });
                (piece(Combine::<K, V, A>::parts(dep.id, aggregate.clone(), count)), Some(dep))
            } else {
                let dep = shuffle_of(&node.engine, &pipeline, count, |shuffle| Scatter {
                    shuffle,
                    partitioner,
                    spread: true,
                });
                (piece(Combine::values(Side::<(K, V)>::Shuffle(dep.id), aggregate.clone(), count)), Some(dep))
            };
            Ok(Prepared { partitioning: Some(partitioning), shuffles: vec![shuffle], exec })
        });
        shuffled(self.context(), new)
    }

    /// Changes each value, keys stay. Narrow; keeps the partitioner.
    #[track_caller]
    pub fn map_values<U: 'static, F: Fn(V) -> U + Captureless>(&self, f: F) -> Rdd<(K, U), Map<P, OnValue<Plain<F>>>> {
        self.child(Map::new(self.parent(), OnValue(Plain::new(f))), site("map_values"), true)
    }

    /// [`map_values`](Rdd::map_values) with an environment.
    #[track_caller]
    pub fn map_values_with<E: Data, U: 'static, F: Fn(&E, V) -> U + Captureless>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<(K, U), Map<P, OnValue<With<E, F>>>> {
        self.child(Map::new(self.parent(), OnValue(With::new(env, f))), site("map_values_with"), true)
    }

    /// Any number of values for each value, under the same key. Narrow; keeps the partitioner.
    #[track_caller]
    pub fn flat_map_values<I, F>(&self, f: F) -> Rdd<(K, I::Item), FlatMap<P, OnEachValue<Plain<F>>>>
    where
        K: Clone,
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(V) -> I + Captureless,
    {
        self.child(FlatMap::new(self.parent(), OnEachValue(Plain::new(f))), site("flat_map_values"), true)
    }

    /// [`flat_map_values`](Rdd::flat_map_values) with an environment.
    #[track_caller]
    pub fn flat_map_values_with<E, I, F>(&self, env: E, f: F) -> Rdd<(K, I::Item), FlatMap<P, OnEachValue<With<E, F>>>>
    where
        K: Clone,
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(&E, V) -> I + Captureless,
    {
        self.child(FlatMap::new(self.parent(), OnEachValue(With::new(env, f))), site("flat_map_values_with"), true)
    }

    /// The keys, each cloned only by who keeps it. Narrow; drops the partitioner.
    #[track_caller]
    pub fn keys(&self) -> Rdd<K, Halves<P, First>>
    where
        K: Clone,
    {
        self.child(Halves::new(self.parent(), First), site("keys"), false)
    }

    /// The values, each cloned only by who keeps it. Narrow; drops the partitioner.
    #[track_caller]
    pub fn values(&self) -> Rdd<V, Halves<P, Second>>
    where
        V: Clone,
    {
        self.child(Halves::new(self.parent(), Second), site("values"), false)
    }

    /// Moves each pair to its key's partition. A shuffle, unless the RDD is spread so already. Within a partition pairs come in
    /// the order of the parent's partitions.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let pairs = sc.range(0..100).map(|i| (i, i * i));
    /// let by_range = RangePartitioner::new(4, &pairs)?; // or a number, or a type of your own
    /// assert_eq!(pairs.partition_by(by_range).num_partitions()?, 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn partition_by(&self, partitioner: impl Partitioner<K>) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        let _ = self.erase();
        let (spread, pipeline) = (KeyPartitioner::of(partitioner), self.pipeline().clone());
        let new =
            NewNode::narrow("ShuffledRDD", site("partition_by"), vec![self.node().clone()]).made_by(move |node| {
                let (side, shuffle) = side_of(node, &node.parents()[0], &pipeline, &spread, false);
                let exec = piece(ReadSide { side, partitions: spread.count() });
                Ok(Prepared { partitioning: Some(Partitioning::of(spread.clone())), shuffles: vec![shuffle], exec })
            });
        shuffled(self.context(), new)
    }

    /// Merges the values of each key by an associative function. A shuffle with combining on the map side, unless the RDD is
    /// spread by key already; by default as many partitions as the parent has, or its partitioner. Keys of a partition come in
    /// the order of their first arrival; in a large shuffle part by part, as their hash says, and so in each.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let mut counts = sc.range(0..100).map(|i| (i % 3, 1)).reduce_by_key(|a, b| a + b).collect()?;
    /// counts.sort();
    /// assert_eq!(counts, [(0, 34), (1, 33), (2, 33)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key<F: Fn(V, V) -> V + Captureless>(&self, f: F) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        self.aggregated(site("reduce_by_key"), Spread::Default, Reducing(Plain::new(f)))
    }

    /// [`reduce_by_key`](Rdd::reduce_by_key) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn reduce_by_key_into<F: Fn(V, V) -> V + Captureless>(&self, partitions: impl Partitioner<K>, f: F) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        self.aggregated(site("reduce_by_key_into"), Spread::given(partitions), Reducing(Plain::new(f)))
    }

    /// [`reduce_by_key`](Rdd::reduce_by_key) with an environment.
    #[track_caller]
    pub fn reduce_by_key_with<E: Data, F: Fn(&E, V, V) -> V + Captureless>(&self, env: E, f: F) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        self.aggregated(site("reduce_by_key_with"), Spread::Default, Reducing(With::new(env, f)))
    }

    /// [`reduce_by_key_into`](Rdd::reduce_by_key_into) with an environment.
    #[track_caller]
    pub fn reduce_by_key_into_with<E: Data, F: Fn(&E, V, V) -> V + Captureless>(
        &self,
        partitions: impl Partitioner<K>,
        env: E,
        f: F,
    ) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        self.aggregated(site("reduce_by_key_into_with"), Spread::given(partitions), Reducing(With::new(env, f)))
    }

    /// [`reduce_by_key`](Rdd::reduce_by_key) that starts from `zero`, once for each key in each parent partition that has it (once
    /// for each key where nothing is shuffled).
    #[track_caller]
    pub fn fold_by_key<F: Fn(V, V) -> V + Captureless>(&self, zero: V, f: F) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        let folding = Folding(zero, Keeping(Plain::new(f)), Plain::new(f));
        self.aggregated(site("fold_by_key"), Spread::Default, folding)
    }

    /// [`fold_by_key`](Rdd::fold_by_key) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn fold_by_key_into<F: Fn(V, V) -> V + Captureless>(
        &self,
        partitions: impl Partitioner<K>,
        zero: V,
        f: F,
    ) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        let folding = Folding(zero, Keeping(Plain::new(f)), Plain::new(f));
        self.aggregated(site("fold_by_key_into"), Spread::given(partitions), folding)
    }

    /// Aggregates the values of each key into a value of another type: `seq` adds a value, `comb` merges two partial results,
    /// `zero` is where each key of each parent partition starts. Otherwise as [`reduce_by_key`](Rdd::reduce_by_key).
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let pairs = sc.parallelize([("a", 1), ("b", 5), ("a", 3)].map(|(k, v)| (k.to_string(), v)));
    /// let max = pairs.aggregate_by_key(0, |best, v| v.max(best), |a, b| a.max(b));
    /// assert_eq!(max.collect_as_map()?["a"], 3);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_by_key<A, Q, C>(&self, zero: A, seq: Q, comb: C) -> S<(K, A)>
    where
        K: Key,
        V: Data,
        A: Data,
        Q: Fn(A, V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let folding = Folding(zero, Keeping(Plain::new(seq)), Plain::new(comb));
        self.aggregated(site("aggregate_by_key"), Spread::Default, folding)
    }

    /// [`aggregate_by_key`](Rdd::aggregate_by_key) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn aggregate_by_key_into<A, Q, C>(&self, partitions: impl Partitioner<K>, zero: A, seq: Q, comb: C) -> S<(K, A)>
    where
        K: Key,
        V: Data,
        A: Data,
        Q: Fn(A, V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let folding = Folding(zero, Keeping(Plain::new(seq)), Plain::new(comb));
        self.aggregated(site("aggregate_by_key_into"), Spread::given(partitions), folding)
    }

    /// The general form of keyed aggregation: `create` starts from a key's first value, `merge_value` adds a further one,
    /// `merge_combiners` merges the partial results of two map partitions.
    #[track_caller]
    pub fn combine_by_key<A, N, M, C>(&self, create: N, merge_value: M, merge_combiners: C) -> S<(K, A)>
    where
        K: Key,
        V: Data,
        A: Data,
        N: Fn(V) -> A + Captureless,
        M: Fn(A, V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let combining = Combining(Plain::new(create), Plain::new(merge_value), Plain::new(merge_combiners));
        self.aggregated(site("combine_by_key"), Spread::Default, combining)
    }

    /// [`combine_by_key`](Rdd::combine_by_key) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn combine_by_key_into<A, N, M, C>(
        &self,
        partitions: impl Partitioner<K>,
        create: N,
        merge_value: M,
        merge_combiners: C,
    ) -> S<(K, A)>
    where
        K: Key,
        V: Data,
        A: Data,
        N: Fn(V) -> A + Captureless,
        M: Fn(A, V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let combining = Combining(Plain::new(create), Plain::new(merge_value), Plain::new(merge_combiners));
        self.aggregated(site("combine_by_key_into"), Spread::given(partitions), combining)
    }

    /// All values of each key. A shuffle without combining; the values of a key come in the order of the parent's partitions and
    /// are all in memory at once: where they are only aggregated, [`aggregate_by_key`](Rdd::aggregate_by_key) is better.
    #[track_caller]
    pub fn group_by_key(&self) -> S<(K, Vec<V>)>
    where
        K: Key,
        V: Data,
    {
        self.aggregated(site("group_by_key"), Spread::Default, Grouping)
    }

    /// [`group_by_key`](Rdd::group_by_key) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn group_by_key_into(&self, partitions: impl Partitioner<K>) -> S<(K, Vec<V>)>
    where
        K: Key,
        V: Data,
    {
        self.aggregated(site("group_by_key_into"), Spread::given(partitions), Grouping)
    }
}

macro_rules! cogroups {
    ($($(#[$doc:meta])* $fn:ident $fn_into:ident -> $kind:ident;
        $($w:ident $q:ident $other:ident $i:literal $field:ident),+;)*) => {
        impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $fn<$($w: Data, $q: Pipeline<Item = (K, $w)>),+>(
                    &self,
                    $($other: &Rdd<(K, $w), $q>),+
                ) -> S<(K, (Vec<V>, $(Vec<$w>),+))>
                where
                    K: Key,
                    V: Data,
                {
                    let spread = Spread::Default;
                    cogroups!(self, site(stringify!($fn)), spread, $kind; $($other $i $field),+)
                }

                /// The same into a number of partitions, or by a partitioner.
                #[track_caller]
                pub fn $fn_into<$($w: Data, $q: Pipeline<Item = (K, $w)>),+>(
                    &self,
                    $($other: &Rdd<(K, $w), $q>,)+
                    partitions: impl Partitioner<K>,
                ) -> S<(K, (Vec<V>, $(Vec<$w>),+))>
                where
                    K: Key,
                    V: Data,
                {
                    let spread = Spread::given(partitions);
                    cogroups!(self, site(stringify!($fn_into)), spread, $kind; $($other $i $field),+)
                }
            )*
        }
    };
    ($self:expr, $site:expr, $spread:expr, $kind:ident; $($other:ident $i:literal $field:ident),+) => {{
        let _ = $self.erase();
        $(let _ = $other.erase();)+
        let parents = vec![$self.node().clone(), $($other.node().clone()),+];
        let (pipeline, $($field),+, spread) = ($self.pipeline().clone(), $($other.pipeline().clone()),+, $spread);
        let new = NewNode::narrow("CoGroupedRDD", $site, parents).made_by(move |node| {
            let partitioner = spread.resolve(node)?;
            let parents = node.parents();
            let (a, shuffle) = side_of(node, &parents[0], &pipeline, &partitioner, true);
            let mut shuffles = vec![shuffle];
            $(
                let ($field, shuffle) = side_of(node, &parents[$i], &$field, &partitioner, true);
                shuffles.push(shuffle);
            )+
            let exec = piece($kind { a, $($field,)+ partitions: partitioner.count() });
            Ok(Prepared { partitioning: Some(Partitioning::of(partitioner)), shuffles, exec })
        });
        shuffled($self.context(), new)
    }};
}

cogroups! {
    /// For each key of either RDD the values of each. Sides that are spread alike are read in place, others are shuffled; a key's
    /// values are all in memory at once. Keys of a partition come in the order of their first arrival, this RDD's first; in a large
    /// shuffle part by part, as their hash says, and so in each.
    cogroup cogroup_into -> CoGroup2; W Q other 1 b;
    /// [`cogroup`](Rdd::cogroup) of three RDDs.
    cogroup2 cogroup2_into -> CoGroup3; W Q second 1 b, X R third 2 c;
    /// [`cogroup`](Rdd::cogroup) of four RDDs.
    cogroup3 cogroup3_into -> CoGroup4; W Q second 1 b, X R third 2 c, Y Z fourth 3 d;
}

macro_rules! joins {
    ($($(#[$doc:meta])* $fn:ident $fn_into:ident $how:ident -> ($l:ty, $r:ty);)*) => {
        impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $fn<W: Data, Q: Pipeline<Item = (K, W)>>(&self, other: &Rdd<(K, W), Q>) -> S<(K, ($l, $r))>
                where
                    K: Key,
                    V: Data,
                {
                    self.joined(other, site(stringify!($fn)), Spread::Default, $how)
                }

                /// The same into a number of partitions, or by a partitioner.
                #[track_caller]
                pub fn $fn_into<W: Data, Q: Pipeline<Item = (K, W)>>(
                    &self,
                    other: &Rdd<(K, W), Q>,
                    partitions: impl Partitioner<K>,
                ) -> S<(K, ($l, $r))>
                where
                    K: Key,
                    V: Data,
                {
                    self.joined(other, site(stringify!($fn_into)), Spread::given(partitions), $how)
                }
            )*
        }
    };
}

joins! {
    /// All pairs of values of the keys that both RDDs have. Sides that are spread alike are read in place, others are shuffled.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let ages = sc.parallelize([(1, 30), (2, 40)]);
    /// let names = sc.parallelize([(1, "ana".to_string()), (3, "cy".to_string())]);
    /// assert_eq!(ages.join(&names).collect()?, [(1, (30, "ana".to_string()))]);
    /// # Ok::<(), Error>(())
    /// ```
    join join_into Inner -> (V, W);
    /// [`join`](Rdd::join) that keeps keys which only this RDD has.
    left_outer_join left_outer_join_into LeftOuter -> (V, Option<W>);
    /// [`join`](Rdd::join) that keeps keys which only the other RDD has.
    right_outer_join right_outer_join_into RightOuter -> (Option<V>, W);
    /// [`join`](Rdd::join) that keeps the keys of both RDDs.
    full_outer_join full_outer_join_into FullOuter -> (Option<V>, Option<W>);
}

impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    fn joined<W: Data, Q: Pipeline<Item = (K, W)>, J: JoinKind<V, W>>(
        &self,
        other: &Rdd<(K, W), Q>,
        site: CallSite,
        spread: Spread<K>,
        _: J,
    ) -> S<(K, (J::Left, J::Right))>
    where
        K: Key,
        V: Data,
    {
        let _ = (self.erase(), other.erase());
        let (left, right) = (self.pipeline().clone(), other.pipeline().clone());
        let parents = vec![self.node().clone(), other.node().clone()];
        let new = NewNode::narrow("CoGroupedRDD", site, parents).made_by(move |node| {
            let partitioner = spread.resolve(node)?;
            let parents = node.parents();
            let (a, left) = side_of(node, &parents[0], &left, &partitioner, true);
            let (b, right) = side_of(node, &parents[1], &right, &partitioner, true);
            let exec = piece(Join::<K, V, W, J>::new(a, b, partitioner.count()));
            Ok(Prepared { partitioning: Some(Partitioning::of(partitioner)), shuffles: vec![left, right], exec })
        });
        shuffled(self.context(), new)
    }

    /// The pairs whose key the other RDD does not have. As many partitions as this RDD has, or its partitioner. Pairs of a
    /// partition come in this RDD's order.
    #[track_caller]
    pub fn subtract_by_key<W: Data, Q: Pipeline<Item = (K, W)>>(&self, other: &Rdd<(K, W), Q>) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        self.subtracted(other, site("subtract_by_key"), Spread::LikeFirst)
    }

    /// [`subtract_by_key`](Rdd::subtract_by_key) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn subtract_by_key_into<W: Data, Q: Pipeline<Item = (K, W)>>(
        &self,
        other: &Rdd<(K, W), Q>,
        partitions: impl Partitioner<K>,
    ) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        self.subtracted(other, site("subtract_by_key_into"), Spread::given(partitions))
    }

    pub(crate) fn subtracted<W: Data, Q: Pipeline<Item = (K, W)>>(
        &self,
        other: &Rdd<(K, W), Q>,
        site: CallSite,
        spread: Spread<K>,
    ) -> S<(K, V)>
    where
        K: Key,
        V: Data,
    {
        let _ = (self.erase(), other.erase());
        let (left, right) = (self.pipeline().clone(), other.pipeline().clone());
        let parents = vec![self.node().clone(), other.node().clone()];
        let new = NewNode::narrow("SubtractedRDD", site, parents).made_by(move |node| {
            let partitioner = spread.resolve(node)?;
            let parents = node.parents();
            let (left, a) = side_of(node, &parents[0], &left, &partitioner, false);
            let (right, b) = side_of(node, &parents[1], &right, &partitioner, false);
            let exec = piece(Subtract { left, right, partitions: partitioner.count() });
            Ok(Prepared { partitioning: Some(Partitioning::of(partitioner)), shuffles: vec![a, b], exec })
        });
        shuffled(self.context(), new)
    }
}

/// Refuses a number of partitions that makes no sense.
pub(crate) fn positive(partitions: usize) -> Result<()> {
    match partitions {
        0 => Err(Error::InvalidArgument("number of partitions (0) must be positive".into())),
        _ => check_partitions(partitions),
    }
}
