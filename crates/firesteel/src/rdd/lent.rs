//! Forms that look at elements where they lie, and comparisons with an environment: what completes the families.

use super::{
    Rdd,
    actions::{best::Reversed, each::EachRef},
    keyed::{S, Spread},
    site,
};
use firesteel_model::{Error, Result};
use firesteel_rdd::{
    Captureless, CombiningRef, Data, Emit, FilterMap, FlatMap, FlatMapEmit, Folding, Identity, Key, Looking,
    MapPartitions, MapRef, OnEachValueRef, OnPartition, OnValueRef, PartitionIter, Partitioner, Pipeline, Plain, Try,
    With, WithIndex, Without,
};
use std::{cmp::Ordering, error::Error as StdError};

/// What a user's error must be able to become.
type Boxed = Box<dyn StdError + Send + Sync>;

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// [`flat_map`](Rdd::flat_map) that looks at elements where they lie. [`flat_map_emit`](Rdd::flat_map_emit) does without a
    /// collection as well.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let lines = sc.parallelize(["to be", "or not"].map(String::from));
    /// let lengths = lines.flat_map_ref(|line| line.split(' ').map(str::len).collect::<Vec<_>>());
    /// assert_eq!(lengths.collect()?, [2, 2, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map_ref<I, F>(&self, f: F) -> Rdd<I::Item, FlatMap<MapRef<P, Plain<F>>, Identity>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(&T) -> I + Captureless,
    {
        let each = MapRef::new(self.parent(), Plain::new(f));
        self.child(FlatMap::new(each, Identity), site("flat_map_ref"), false)
    }

    /// [`flat_map_ref`](Rdd::flat_map_ref) with an environment.
    #[track_caller]
    pub fn flat_map_ref_with<E, I, F>(&self, env: E, f: F) -> Rdd<I::Item, FlatMap<MapRef<P, With<E, F>>, Identity>>
    where
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(&E, &T) -> I + Captureless,
    {
        let each = MapRef::new(self.parent(), With::new(env, f));
        self.child(FlatMap::new(each, Identity), site("flat_map_ref_with"), false)
    }

    /// [`filter_map`](Rdd::filter_map) that looks at elements where they lie: only what is made of them is owned.
    #[track_caller]
    pub fn filter_map_ref<U, F>(&self, f: F) -> Rdd<U, FilterMap<MapRef<P, Plain<F>>, Identity>>
    where
        U: 'static,
        F: Fn(&T) -> Option<U> + Captureless,
    {
        let each = MapRef::new(self.parent(), Plain::new(f));
        self.child(FilterMap::new(each, Identity), site("filter_map_ref"), false)
    }

    /// [`filter_map_ref`](Rdd::filter_map_ref) with an environment.
    #[track_caller]
    pub fn filter_map_ref_with<E, U, F>(&self, env: E, f: F) -> Rdd<U, FilterMap<MapRef<P, With<E, F>>, Identity>>
    where
        E: Data,
        U: 'static,
        F: Fn(&E, &T) -> Option<U> + Captureless,
    {
        let each = MapRef::new(self.parent(), With::new(env, f));
        self.child(FilterMap::new(each, Identity), site("filter_map_ref_with"), false)
    }

    /// [`map_partitions`](Rdd::map_partitions) by a closure that may fail: an `Err` fails the task with the error's text.
    #[track_caller]
    pub fn try_map_partitions<I, X, F>(&self, f: F) -> Rdd<I::Item, MapPartitions<P, Try<Without<Plain<F>>>>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        X: Into<Boxed> + 'static,
        F: Fn(PartitionIter<'static, T>) -> Result<I, X> + Captureless,
    {
        let pipeline = MapPartitions::new(self.parent(), Try(Without(Plain::new(f))));
        self.child(pipeline, site("try_map_partitions"), false)
    }

    /// [`try_map_partitions`](Rdd::try_map_partitions) with an environment.
    #[track_caller]
    pub fn try_map_partitions_with<E, I, X, F>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<I::Item, MapPartitions<P, Try<Without<With<E, F>>>>>
    where
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, PartitionIter<'static, T>) -> Result<I, X> + Captureless,
    {
        let pipeline = MapPartitions::new(self.parent(), Try(Without(With::new(env, f))));
        self.child(pipeline, site("try_map_partitions_with"), false)
    }

    /// [`map_partitions_with_index`](Rdd::map_partitions_with_index) by a closure that may fail.
    #[track_caller]
    pub fn try_map_partitions_with_index<I, X, F>(
        &self,
        f: F,
    ) -> Rdd<I::Item, MapPartitions<P, Try<WithIndex<Plain<F>>>>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        X: Into<Boxed> + 'static,
        F: Fn(usize, PartitionIter<'static, T>) -> Result<I, X> + Captureless,
    {
        let pipeline = MapPartitions::new(self.parent(), Try(WithIndex(Plain::new(f))));
        self.child(pipeline, site("try_map_partitions_with_index"), false)
    }

    /// [`try_map_partitions_with_index`](Rdd::try_map_partitions_with_index) with an environment.
    #[track_caller]
    pub fn try_map_partitions_with_index_with<E, I, X, F>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<I::Item, MapPartitions<P, Try<WithIndex<With<E, F>>>>>
    where
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, usize, PartitionIter<'static, T>) -> Result<I, X> + Captureless,
    {
        let pipeline = MapPartitions::new(self.parent(), Try(WithIndex(With::new(env, f))));
        self.child(pipeline, site("try_map_partitions_with_index_with"), false)
    }

    /// [`flat_map_emit`](Rdd::flat_map_emit) by a closure that may fail: an `Err` fails the task with the error's text.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let lines = sc.parallelize(["1 2", "3"].map(String::from));
    /// let numbers = lines.try_flat_map_emit(|line, out| {
    ///     for word in line.split(' ') {
    ///         out.emit(word.parse::<i64>()?);
    ///     }
    ///     Ok::<(), std::num::ParseIntError>(())
    /// });
    /// assert_eq!(numbers.collect()?, [1, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_flat_map_emit<U, X, F>(&self, f: F) -> Rdd<U, FlatMapEmit<P, U, Try<Plain<F>>>>
    where
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&T, &mut Emit<'_, U>) -> Result<(), X> + Captureless,
    {
        self.child(FlatMapEmit::new(self.parent(), Try(Plain::new(f))), site("try_flat_map_emit"), false)
    }

    /// [`try_flat_map_emit`](Rdd::try_flat_map_emit) with an environment.
    #[track_caller]
    pub fn try_flat_map_emit_with<E, U, X, F>(&self, env: E, f: F) -> Rdd<U, FlatMapEmit<P, U, Try<With<E, F>>>>
    where
        E: Data,
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, &T, &mut Emit<'_, U>) -> Result<(), X> + Captureless,
    {
        self.child(FlatMapEmit::new(self.parent(), Try(With::new(env, f))), site("try_flat_map_emit_with"), false)
    }

    /// [`for_each_partition`](Rdd::for_each_partition) by a closure that may fail.
    ///
    /// # Errors
    /// As every action.
    #[track_caller]
    pub fn try_for_each_partition<X, F>(&self, f: F) -> Result<()>
    where
        X: Into<Boxed> + 'static,
        F: Fn(PartitionIter<'_, T>) -> Result<(), X> + Captureless,
    {
        self.all(OnPartition::new(Try(Plain::new(f))), site("try_for_each_partition")).map(|_: Vec<()>| ())
    }

    /// [`try_for_each_partition`](Rdd::try_for_each_partition) with an environment.
    ///
    /// # Errors
    /// As every action.
    #[track_caller]
    pub fn try_for_each_partition_with<E, X, F>(&self, env: E, f: F) -> Result<()>
    where
        E: Data,
        X: Into<Boxed> + 'static,
        F: Fn(&E, PartitionIter<'_, T>) -> Result<(), X> + Captureless,
    {
        self.all(OnPartition::new(Try(With::new(env, f))), site("try_for_each_partition_with")).map(|_: Vec<()>| ())
    }

    /// [`for_each_ref`](Rdd::for_each_ref) by a closure that may fail.
    ///
    /// # Errors
    /// As every action.
    #[track_caller]
    pub fn try_for_each_ref<X, F>(&self, f: F) -> Result<()>
    where
        X: Into<Boxed> + 'static,
        F: Fn(&T) -> Result<(), X> + Captureless,
    {
        self.all(EachRef(Try(Plain::new(f))), site("try_for_each_ref")).map(drop)
    }

    /// [`try_for_each_ref`](Rdd::try_for_each_ref) with an environment.
    ///
    /// # Errors
    /// As every action.
    #[track_caller]
    pub fn try_for_each_ref_with<E, X, F>(&self, env: E, f: F) -> Result<()>
    where
        E: Data,
        X: Into<Boxed> + 'static,
        F: Fn(&E, &T) -> Result<(), X> + Captureless,
    {
        self.all(EachRef(Try(With::new(env, f))), site("try_for_each_ref_with")).map(drop)
    }

    /// [`top_by`](Rdd::top_by) with an environment.
    #[track_caller]
    pub fn top_by_with<E: Data, F>(&self, env: E, n: usize, f: F) -> Result<Vec<T>>
    where
        T: Data,
        F: Fn(&E, &T, &T) -> Ordering + Captureless,
    {
        self.best(n, Reversed(With::new(env, f)), site("top_by_with"))
    }

    /// [`take_ordered_by`](Rdd::take_ordered_by) with an environment.
    #[track_caller]
    pub fn take_ordered_by_with<E: Data, F>(&self, env: E, n: usize, f: F) -> Result<Vec<T>>
    where
        T: Data,
        F: Fn(&E, &T, &T) -> Ordering + Captureless,
    {
        self.best(n, With::new(env, f), site("take_ordered_by_with"))
    }

    /// [`max_by`](Rdd::max_by) with an environment.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is no element.
    #[track_caller]
    pub fn max_by_with<E: Data, F>(&self, env: E, f: F) -> Result<T>
    where
        T: Data,
        F: Fn(&E, &T, &T) -> Ordering + Captureless,
    {
        self.best(1, Reversed(With::new(env, f)), site("max_by_with"))?.pop().ok_or(Error::EmptyRdd)
    }

    /// [`min_by`](Rdd::min_by) with an environment.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is no element.
    #[track_caller]
    pub fn min_by_with<E: Data, F>(&self, env: E, f: F) -> Result<T>
    where
        T: Data,
        F: Fn(&E, &T, &T) -> Ordering + Captureless,
    {
        self.best(1, With::new(env, f), site("min_by_with"))?.pop().ok_or(Error::EmptyRdd)
    }
}

impl<K: Clone + 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// [`flat_map_values`](Rdd::flat_map_values) by a closure that looks at each value where it lies; keys are cloned. Narrow; keeps
    /// the partitioner.
    #[track_caller]
    pub fn flat_map_values_ref<I, F>(
        &self,
        f: F,
    ) -> Rdd<(K, I::Item), FlatMap<MapRef<P, OnEachValueRef<Plain<F>>>, Identity>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(&V) -> I + Captureless,
    {
        let each = MapRef::new(self.parent(), OnEachValueRef(Plain::new(f)));
        self.child(FlatMap::new(each, Identity), site("flat_map_values_ref"), true)
    }

    /// [`flat_map_values_ref`](Rdd::flat_map_values_ref) with an environment.
    #[track_caller]
    pub fn flat_map_values_ref_with<E, I, F>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<(K, I::Item), FlatMap<MapRef<P, OnEachValueRef<With<E, F>>>, Identity>>
    where
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(&E, &V) -> I + Captureless,
    {
        let each = MapRef::new(self.parent(), OnEachValueRef(With::new(env, f)));
        self.child(FlatMap::new(each, Identity), site("flat_map_values_ref_with"), true)
    }

    /// [`map_values_ref`](Rdd::map_values_ref) by a closure that may fail: an `Err` fails the task with the error's text.
    #[track_caller]
    pub fn try_map_values_ref<U, X, F>(&self, f: F) -> Rdd<(K, U), MapRef<P, OnValueRef<Try<Plain<F>>>>>
    where
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&V) -> Result<U, X> + Captureless,
    {
        self.child(MapRef::new(self.parent(), OnValueRef(Try(Plain::new(f)))), site("try_map_values_ref"), true)
    }

    /// [`try_map_values_ref`](Rdd::try_map_values_ref) with an environment.
    #[track_caller]
    pub fn try_map_values_ref_with<E, U, X, F>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<(K, U), MapRef<P, OnValueRef<Try<With<E, F>>>>>
    where
        E: Data,
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, &V) -> Result<U, X> + Captureless,
    {
        let f = OnValueRef(Try(With::new(env, f)));
        self.child(MapRef::new(self.parent(), f), site("try_map_values_ref_with"), true)
    }
}

impl<K: Key, V: Data, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// [`aggregate_by_key`](Rdd::aggregate_by_key) by a function that looks at each value where it lies: none is cloned, and of the
    /// keys one for each result.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let lines = sc.parallelize([(1, "to be".to_string()), (1, "or not".to_string())]);
    /// let longest = lines.aggregate_by_key_ref(0, |most, line| line.len().max(most), |a, b| a.max(b));
    /// assert_eq!(longest.collect()?, [(1, 6)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_by_key_ref<A, Q, C>(&self, zero: A, seq: Q, comb: C) -> S<(K, A)>
    where
        A: Data,
        Q: Fn(A, &V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let folding = Folding(zero, Looking(Plain::new(seq)), Plain::new(comb));
        self.aggregated(site("aggregate_by_key_ref"), Spread::Default, folding)
    }

    /// [`aggregate_by_key_ref`](Rdd::aggregate_by_key_ref) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn aggregate_by_key_ref_into<A, Q, C>(
        &self,
        partitions: impl Partitioner<K>,
        zero: A,
        seq: Q,
        comb: C,
    ) -> S<(K, A)>
    where
        A: Data,
        Q: Fn(A, &V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let folding = Folding(zero, Looking(Plain::new(seq)), Plain::new(comb));
        self.aggregated(site("aggregate_by_key_ref_into"), Spread::given(partitions), folding)
    }

    /// [`aggregate_by_key_ref`](Rdd::aggregate_by_key_ref) with an environment for the function that adds a value.
    #[track_caller]
    pub fn aggregate_by_key_ref_with<E, A, Q, C>(&self, env: E, zero: A, seq: Q, comb: C) -> S<(K, A)>
    where
        E: Data,
        A: Data,
        Q: Fn(&E, A, &V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let folding = Folding(zero, Looking(With::new(env, seq)), Plain::new(comb));
        self.aggregated(site("aggregate_by_key_ref_with"), Spread::Default, folding)
    }

    /// [`combine_by_key`](Rdd::combine_by_key) by functions that look at each value where it lies.
    #[track_caller]
    pub fn combine_by_key_ref<A, N, M, C>(&self, create: N, merge_value: M, merge_combiners: C) -> S<(K, A)>
    where
        A: Data,
        N: Fn(&V) -> A + Captureless,
        M: Fn(A, &V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let combining = CombiningRef(Plain::new(create), Plain::new(merge_value), Plain::new(merge_combiners));
        self.aggregated(site("combine_by_key_ref"), Spread::Default, combining)
    }

    /// [`combine_by_key_ref`](Rdd::combine_by_key_ref) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn combine_by_key_ref_into<A, N, M, C>(
        &self,
        partitions: impl Partitioner<K>,
        create: N,
        merge_value: M,
        merge_combiners: C,
    ) -> S<(K, A)>
    where
        A: Data,
        N: Fn(&V) -> A + Captureless,
        M: Fn(A, &V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let combining = CombiningRef(Plain::new(create), Plain::new(merge_value), Plain::new(merge_combiners));
        self.aggregated(site("combine_by_key_ref_into"), Spread::given(partitions), combining)
    }
}
