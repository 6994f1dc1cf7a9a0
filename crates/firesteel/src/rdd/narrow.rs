//! Narrow transformations: each partition is made of one partition of the parent, or a few, without a shuffle.

use super::{Rdd, site};
use firesteel_rdd::{
    Captureless, Data, Emit, Filter, FilterMap, FlatMap, FlatMapEmit, KeyBy, Map, MapPartitions, MapRef, PartitionIter,
    Pipeline, Plain, Try, With, WithIndex, Without,
};
use std::error::Error as StdError;

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    pub(crate) fn parent(&self) -> P {
        (**self.pipeline()).clone()
    }

    /// One element for each element. Narrow; keeps partitions and order, drops the partitioner.
    ///
    /// The closure must capture nothing, which is checked when it is compiled; a value from around it goes in by
    /// [`map_with`](Rdd::map_with). [`map_ref`](Rdd::map_ref) only looks at elements, [`try_map`](Rdd::try_map) may fail.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// assert_eq!(sc.range(0..3).map(|i| i * 10).collect()?, [0, 10, 20]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn map<U: 'static, F: Fn(T) -> U + Captureless>(&self, f: F) -> Rdd<U, Map<P, Plain<F>>> {
        self.child(Map::new(self.parent(), Plain::new(f)), site("map"), false)
    }

    /// [`map`](Rdd::map) with an environment: `env` is any serialisable value, sent to executors and handed to the closure first.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let factor = 7;
    /// assert_eq!(sc.range(0..3).map_with(factor, |factor, i| i * factor).collect()?, [0, 7, 14]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn map_with<E: Data, U: 'static, F: Fn(&E, T) -> U + Captureless>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<U, Map<P, With<E, F>>> {
        self.child(Map::new(self.parent(), With::new(env, f)), site("map_with"), false)
    }

    /// [`map`](Rdd::map) by a closure that looks at each element where it lies, so that nothing is cloned out of a cache.
    #[track_caller]
    pub fn map_ref<U: 'static, F: Fn(&T) -> U + Captureless>(&self, f: F) -> Rdd<U, MapRef<P, Plain<F>>> {
        self.child(MapRef::new(self.parent(), Plain::new(f)), site("map_ref"), false)
    }

    /// [`map_ref`](Rdd::map_ref) with an environment.
    #[track_caller]
    pub fn map_ref_with<E: Data, U: 'static, F: Fn(&E, &T) -> U + Captureless>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<U, MapRef<P, With<E, F>>> {
        self.child(MapRef::new(self.parent(), With::new(env, f)), site("map_ref_with"), false)
    }

    /// [`map`](Rdd::map) by a closure that may fail: an `Err` fails the task with the error's text.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let texts = sc.parallelize(["1".to_string(), "two".to_string()]);
    /// let error = texts.try_map(|s| s.parse::<i64>()).collect().unwrap_err();
    /// assert!(error.to_string().contains("invalid digit"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_map<U, X, F>(&self, f: F) -> Rdd<U, Map<P, Try<Plain<F>>>>
    where
        U: 'static,
        X: Into<Box<dyn StdError + Send + Sync>> + 'static,
        F: Fn(T) -> Result<U, X> + Captureless,
    {
        self.child(Map::new(self.parent(), Try(Plain::new(f))), site("try_map"), false)
    }

    /// [`try_map`](Rdd::try_map) with an environment.
    #[track_caller]
    pub fn try_map_with<E, U, X, F>(&self, env: E, f: F) -> Rdd<U, Map<P, Try<With<E, F>>>>
    where
        E: Data,
        U: 'static,
        X: Into<Box<dyn StdError + Send + Sync>> + 'static,
        F: Fn(&E, T) -> Result<U, X> + Captureless,
    {
        self.child(Map::new(self.parent(), Try(With::new(env, f))), site("try_map_with"), false)
    }

    /// Any number of elements for each element, in order. Narrow; drops the partitioner. Lazy: what a `take` does not need is
    /// not made.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// assert_eq!(sc.range(1..4).flat_map(|n| 0..n).collect()?, [0, 0, 1, 0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map<I, F>(&self, f: F) -> Rdd<I::Item, FlatMap<P, Plain<F>>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(T) -> I + Captureless,
    {
        self.child(FlatMap::new(self.parent(), Plain::new(f)), site("flat_map"), false)
    }

    /// [`flat_map`](Rdd::flat_map) with an environment.
    #[track_caller]
    pub fn flat_map_with<E, I, F>(&self, env: E, f: F) -> Rdd<I::Item, FlatMap<P, With<E, F>>>
    where
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(&E, T) -> I + Captureless,
    {
        self.child(FlatMap::new(self.parent(), With::new(env, f)), site("flat_map_with"), false)
    }

    /// [`flat_map`](Rdd::flat_map) by a closure that emits its elements one by one, so that no collection is made.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let lines = sc.parallelize(["to be or".to_string(), "not to be".to_string()]);
    /// let words = lines.flat_map_emit(|line, out| {
    ///     for word in line.split(' ') {
    ///         out.emit(word.to_string());
    ///     }
    /// });
    /// assert_eq!(words.count()?, 6);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map_emit<U, F>(&self, f: F) -> Rdd<U, FlatMapEmit<P, U, Plain<F>>>
    where
        U: 'static,
        F: Fn(&T, &mut Emit<'_, U>) + Captureless,
    {
        self.child(FlatMapEmit::new(self.parent(), Plain::new(f)), site("flat_map_emit"), false)
    }

    /// [`flat_map_emit`](Rdd::flat_map_emit) with an environment.
    #[track_caller]
    pub fn flat_map_emit_with<E, U, F>(&self, env: E, f: F) -> Rdd<U, FlatMapEmit<P, U, With<E, F>>>
    where
        E: Data,
        U: 'static,
        F: Fn(&E, &T, &mut Emit<'_, U>) + Captureless,
    {
        self.child(FlatMapEmit::new(self.parent(), With::new(env, f)), site("flat_map_emit_with"), false)
    }

    /// The elements that the closure says yes to. Narrow; keeps order and partitioner; partitions may become empty. Elements that
    /// lie in a cache are looked at there and only those that pass are cloned.
    #[track_caller]
    pub fn filter<F: Fn(&T) -> bool + Captureless>(&self, f: F) -> Rdd<T, Filter<P, Plain<F>>> {
        self.child(Filter::new(self.parent(), Plain::new(f)), site("filter"), true)
    }

    /// [`filter`](Rdd::filter) with an environment.
    #[track_caller]
    pub fn filter_with<E: Data, F: Fn(&E, &T) -> bool + Captureless>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<T, Filter<P, With<E, F>>> {
        self.child(Filter::new(self.parent(), With::new(env, f)), site("filter_with"), true)
    }

    /// [`filter`](Rdd::filter) by a closure that may fail.
    #[track_caller]
    pub fn try_filter<X, F>(&self, f: F) -> Rdd<T, Filter<P, Try<Plain<F>>>>
    where
        X: Into<Box<dyn StdError + Send + Sync>> + 'static,
        F: Fn(&T) -> Result<bool, X> + Captureless,
    {
        self.child(Filter::new(self.parent(), Try(Plain::new(f))), site("try_filter"), true)
    }

    /// One element or none for each element: Spark's `collect(partialFunction)`. Narrow; drops the partitioner.
    #[track_caller]
    pub fn filter_map<U: 'static, F: Fn(T) -> Option<U> + Captureless>(&self, f: F) -> Rdd<U, FilterMap<P, Plain<F>>> {
        self.child(FilterMap::new(self.parent(), Plain::new(f)), site("filter_map"), false)
    }

    /// [`filter_map`](Rdd::filter_map) with an environment.
    #[track_caller]
    pub fn filter_map_with<E: Data, U: 'static, F: Fn(&E, T) -> Option<U> + Captureless>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<U, FilterMap<P, With<E, F>>> {
        self.child(FilterMap::new(self.parent(), With::new(env, f)), site("filter_map_with"), false)
    }

    /// Calls the closure once for each partition, empty ones included, with an iterator over its elements, which are pulled in
    /// bounded batches. Narrow; drops the partitioner.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let sums = sc.range_n(0..6, 2).map_partitions(|items| [items.sum::<u64>()]);
    /// assert_eq!(sums.collect()?, [3, 12]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn map_partitions<I, F>(&self, f: F) -> Rdd<I::Item, MapPartitions<P, Without<Plain<F>>>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(PartitionIter<'static, T>) -> I + Captureless,
    {
        self.child(MapPartitions::new(self.parent(), Without(Plain::new(f))), site("map_partitions"), false)
    }

    /// [`map_partitions`](Rdd::map_partitions) with an environment.
    #[track_caller]
    pub fn map_partitions_with<E, I, F>(&self, env: E, f: F) -> Rdd<I::Item, MapPartitions<P, Without<With<E, F>>>>
    where
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(&E, PartitionIter<'static, T>) -> I + Captureless,
    {
        self.child(MapPartitions::new(self.parent(), Without(With::new(env, f))), site("map_partitions_with"), false)
    }

    /// [`map_partitions`](Rdd::map_partitions) by a closure that gets the partition's index first.
    #[track_caller]
    pub fn map_partitions_with_index<I, F>(&self, f: F) -> Rdd<I::Item, MapPartitions<P, WithIndex<Plain<F>>>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(usize, PartitionIter<'static, T>) -> I + Captureless,
    {
        let pipeline = MapPartitions::new(self.parent(), WithIndex(Plain::new(f)));
        self.child(pipeline, site("map_partitions_with_index"), false)
    }

    /// [`map_partitions_with_index`](Rdd::map_partitions_with_index) with an environment.
    #[track_caller]
    pub fn map_partitions_with_index_with<E, I, F>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<I::Item, MapPartitions<P, WithIndex<With<E, F>>>>
    where
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        F: Fn(&E, usize, PartitionIter<'static, T>) -> I + Captureless,
    {
        let pipeline = MapPartitions::new(self.parent(), WithIndex(With::new(env, f)));
        self.child(pipeline, site("map_partitions_with_index_with"), false)
    }

    /// Pairs each element with a key made of it. Narrow; drops the partitioner.
    #[track_caller]
    pub fn key_by<K: 'static, F: Fn(&T) -> K + Captureless>(&self, f: F) -> Rdd<(K, T), Map<P, KeyBy<Plain<F>>>> {
        self.child(Map::new(self.parent(), KeyBy(Plain::new(f))), site("key_by"), false)
    }

    /// [`key_by`](Rdd::key_by) with an environment.
    #[track_caller]
    pub fn key_by_with<E: Data, K: 'static, F: Fn(&E, &T) -> K + Captureless>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<(K, T), Map<P, KeyBy<With<E, F>>>> {
        self.child(Map::new(self.parent(), KeyBy(With::new(env, f))), site("key_by_with"), false)
    }
}
