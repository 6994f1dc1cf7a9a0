//! The forms of actions and transformations with an environment, by reference and with users' errors that complete their
//! families.

use super::{
    Rdd,
    keyed::{S, Spread},
    site,
};
use crate::graph::CallSite;
use firesteel_model::Result;
use firesteel_rdd::{
    ByKeyFunc, Captureless, Combining, Data, Filter, FilterMap, FlatMap, Folding, Func, Keeping, Key, Map, MapRef,
    Merge, OnEachValue, OnValue, OnValueRef, Partitioner, Pipeline, Plain, ReduceEach, Try, With,
};
use std::{collections::HashMap, error::Error as StdError};

/// What a user's error must be able to become.
type Boxed = Box<dyn StdError + Send + Sync>;

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// [`fold`](Rdd::fold) with an environment.
    #[track_caller]
    pub fn fold_with<E: Data, F: Fn(&E, T, T) -> T + Captureless>(&self, env: E, zero: T, f: F) -> Result<T>
    where
        T: Data,
    {
        let f = With::new(env, f);
        self.aggregated_by(zero, Keeping(f.clone()), f, site("fold_with"))
    }

    /// [`map_ref`](Rdd::map_ref) by a closure that may fail: an `Err` fails the task with the error's text.
    #[track_caller]
    pub fn try_map_ref<U, X, F>(&self, f: F) -> Rdd<U, MapRef<P, Try<Plain<F>>>>
    where
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&T) -> Result<U, X> + Captureless,
    {
        self.child(MapRef::new(self.parent(), Try(Plain::new(f))), site("try_map_ref"), false)
    }

    /// [`try_map_ref`](Rdd::try_map_ref) with an environment.
    #[track_caller]
    pub fn try_map_ref_with<E, U, X, F>(&self, env: E, f: F) -> Rdd<U, MapRef<P, Try<With<E, F>>>>
    where
        E: Data,
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, &T) -> Result<U, X> + Captureless,
    {
        self.child(MapRef::new(self.parent(), Try(With::new(env, f))), site("try_map_ref_with"), false)
    }

    /// [`flat_map`](Rdd::flat_map) by a closure that may fail.
    #[track_caller]
    pub fn try_flat_map<I, X, F>(&self, f: F) -> Rdd<I::Item, FlatMap<P, Try<Plain<F>>>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        X: Into<Boxed> + 'static,
        F: Fn(T) -> Result<I, X> + Captureless,
    {
        self.child(FlatMap::new(self.parent(), Try(Plain::new(f))), site("try_flat_map"), false)
    }

    /// [`try_flat_map`](Rdd::try_flat_map) with an environment.
    #[track_caller]
    pub fn try_flat_map_with<E, I, X, F>(&self, env: E, f: F) -> Rdd<I::Item, FlatMap<P, Try<With<E, F>>>>
    where
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, T) -> Result<I, X> + Captureless,
    {
        self.child(FlatMap::new(self.parent(), Try(With::new(env, f))), site("try_flat_map_with"), false)
    }

    /// [`filter_with`](Rdd::filter_with) by a closure that may fail.
    #[track_caller]
    pub fn try_filter_with<E, X, F>(&self, env: E, f: F) -> Rdd<T, Filter<P, Try<With<E, F>>>>
    where
        E: Data,
        X: Into<Boxed> + 'static,
        F: Fn(&E, &T) -> Result<bool, X> + Captureless,
    {
        self.child(Filter::new(self.parent(), Try(With::new(env, f))), site("try_filter_with"), true)
    }

    /// [`filter_map`](Rdd::filter_map) by a closure that may fail.
    #[track_caller]
    pub fn try_filter_map<U, X, F>(&self, f: F) -> Rdd<U, FilterMap<P, Try<Plain<F>>>>
    where
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(T) -> Result<Option<U>, X> + Captureless,
    {
        self.child(FilterMap::new(self.parent(), Try(Plain::new(f))), site("try_filter_map"), false)
    }

    /// [`try_filter_map`](Rdd::try_filter_map) with an environment.
    #[track_caller]
    pub fn try_filter_map_with<E, U, X, F>(&self, env: E, f: F) -> Rdd<U, FilterMap<P, Try<With<E, F>>>>
    where
        E: Data,
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, T) -> Result<Option<U>, X> + Captureless,
    {
        self.child(FilterMap::new(self.parent(), Try(With::new(env, f))), site("try_filter_map_with"), false)
    }

    /// [`for_each`](Rdd::for_each) by a closure that may fail: an `Err` fails the task with the error's text.
    ///
    /// # Errors
    /// As every action.
    #[track_caller]
    pub fn try_for_each<X, F>(&self, f: F) -> Result<()>
    where
        X: Into<Boxed> + 'static,
        F: Fn(T) -> Result<(), X> + Captureless,
    {
        self.each(Try(Plain::new(f)), site("try_for_each"))
    }

    /// [`try_for_each`](Rdd::try_for_each) with an environment.
    ///
    /// # Errors
    /// As every action.
    #[track_caller]
    pub fn try_for_each_with<E, X, F>(&self, env: E, f: F) -> Result<()>
    where
        E: Data,
        X: Into<Boxed> + 'static,
        F: Fn(&E, T) -> Result<(), X> + Captureless,
    {
        self.each(Try(With::new(env, f)), site("try_for_each_with"))
    }

    /// [`sort_by`](Rdd::sort_by) with an environment.
    #[track_caller]
    pub fn sort_by_with<E, K, F>(&self, env: E, f: F, ascending: bool) -> S<T>
    where
        T: Data,
        E: Data,
        K: Data + Ord,
        F: Fn(&E, &T) -> K + Captureless,
    {
        let f = With::new(env, f);
        self.sorted(site("sort_by_with"), None, ascending, ByKeyFunc(f.clone()), MapRef::new(self.parent(), f))
    }

    /// [`sort_by_n`](Rdd::sort_by_n) with an environment.
    #[track_caller]
    pub fn sort_by_n_with<E, K, F>(&self, env: E, f: F, ascending: bool, partitions: usize) -> S<T>
    where
        T: Data,
        E: Data,
        K: Data + Ord,
        F: Fn(&E, &T) -> K + Captureless,
    {
        let f = With::new(env, f);
        let keys = MapRef::new(self.parent(), f.clone());
        self.sorted(site("sort_by_n_with"), Some(partitions), ascending, ByKeyFunc(f), keys)
    }
}

impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// [`map_values`](Rdd::map_values) by a closure that looks at each value where it lies; keys are cloned. Narrow; keeps the
    /// partitioner.
    #[track_caller]
    pub fn map_values_ref<U: 'static, F: Fn(&V) -> U + Captureless>(
        &self,
        f: F,
    ) -> Rdd<(K, U), MapRef<P, OnValueRef<Plain<F>>>>
    where
        K: Clone,
    {
        self.child(MapRef::new(self.parent(), OnValueRef(Plain::new(f))), site("map_values_ref"), true)
    }

    /// [`map_values_ref`](Rdd::map_values_ref) with an environment.
    #[track_caller]
    pub fn map_values_ref_with<E: Data, U: 'static, F: Fn(&E, &V) -> U + Captureless>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<(K, U), MapRef<P, OnValueRef<With<E, F>>>>
    where
        K: Clone,
    {
        self.child(MapRef::new(self.parent(), OnValueRef(With::new(env, f))), site("map_values_ref_with"), true)
    }

    /// [`map_values`](Rdd::map_values) by a closure that may fail: an `Err` fails the task with the error's text.
    #[track_caller]
    pub fn try_map_values<U, X, F>(&self, f: F) -> Rdd<(K, U), Map<P, OnValue<Try<Plain<F>>>>>
    where
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(V) -> Result<U, X> + Captureless,
    {
        self.child(Map::new(self.parent(), OnValue(Try(Plain::new(f)))), site("try_map_values"), true)
    }

    /// [`try_map_values`](Rdd::try_map_values) with an environment.
    #[track_caller]
    pub fn try_map_values_with<E, U, X, F>(&self, env: E, f: F) -> Rdd<(K, U), Map<P, OnValue<Try<With<E, F>>>>>
    where
        E: Data,
        U: 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, V) -> Result<U, X> + Captureless,
    {
        self.child(Map::new(self.parent(), OnValue(Try(With::new(env, f)))), site("try_map_values_with"), true)
    }

    /// [`flat_map_values`](Rdd::flat_map_values) by a closure that may fail.
    #[track_caller]
    pub fn try_flat_map_values<I, X, F>(&self, f: F) -> Rdd<(K, I::Item), FlatMap<P, OnEachValue<Try<Plain<F>>>>>
    where
        K: Clone,
        I: IntoIterator<Item: 'static> + 'static,
        X: Into<Boxed> + 'static,
        F: Fn(V) -> Result<I, X> + Captureless,
    {
        self.child(FlatMap::new(self.parent(), OnEachValue(Try(Plain::new(f)))), site("try_flat_map_values"), true)
    }

    /// [`try_flat_map_values`](Rdd::try_flat_map_values) with an environment.
    #[track_caller]
    pub fn try_flat_map_values_with<E, I, X, F>(
        &self,
        env: E,
        f: F,
    ) -> Rdd<(K, I::Item), FlatMap<P, OnEachValue<Try<With<E, F>>>>>
    where
        K: Clone,
        E: Data,
        I: IntoIterator<Item: 'static> + 'static,
        X: Into<Boxed> + 'static,
        F: Fn(&E, V) -> Result<I, X> + Captureless,
    {
        let pipeline = FlatMap::new(self.parent(), OnEachValue(Try(With::new(env, f))));
        self.child(pipeline, site("try_flat_map_values_with"), true)
    }
}

impl<K: Key, V: Data, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// [`fold_by_key`](Rdd::fold_by_key) with an environment.
    #[track_caller]
    pub fn fold_by_key_with<E, F>(&self, env: E, zero: V, f: F) -> S<(K, V)>
    where
        E: Data,
        F: Fn(&E, V, V) -> V + Captureless,
    {
        let f = With::new(env, f);
        self.aggregated(site("fold_by_key_with"), Spread::Default, Folding(zero, Keeping(f.clone()), f))
    }

    /// [`fold_by_key_into`](Rdd::fold_by_key_into) with an environment.
    #[track_caller]
    pub fn fold_by_key_into_with<E, F>(&self, partitions: impl Partitioner<K>, env: E, zero: V, f: F) -> S<(K, V)>
    where
        E: Data,
        F: Fn(&E, V, V) -> V + Captureless,
    {
        let f = With::new(env, f);
        self.aggregated(site("fold_by_key_into_with"), Spread::given(partitions), Folding(zero, Keeping(f.clone()), f))
    }

    /// [`aggregate_by_key`](Rdd::aggregate_by_key) with an environment for the function that adds a value.
    #[track_caller]
    pub fn aggregate_by_key_with<E, A, Q, C>(&self, env: E, zero: A, seq: Q, comb: C) -> S<(K, A)>
    where
        E: Data,
        A: Data,
        Q: Fn(&E, A, V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let folding = Folding(zero, Keeping(With::new(env, seq)), Plain::new(comb));
        self.aggregated(site("aggregate_by_key_with"), Spread::Default, folding)
    }

    /// [`aggregate_by_key_into`](Rdd::aggregate_by_key_into) with an environment for the function that adds a value.
    #[track_caller]
    pub fn aggregate_by_key_into_with<E, A, Q, C>(
        &self,
        partitions: impl Partitioner<K>,
        env: E,
        zero: A,
        seq: Q,
        comb: C,
    ) -> S<(K, A)>
    where
        E: Data,
        A: Data,
        Q: Fn(&E, A, V) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        let folding = Folding(zero, Keeping(With::new(env, seq)), Plain::new(comb));
        self.aggregated(site("aggregate_by_key_into_with"), Spread::given(partitions), folding)
    }

    /// [`combine_by_key`](Rdd::combine_by_key) with an environment, which all three functions see first.
    #[track_caller]
    pub fn combine_by_key_with<E, A, N, M, C>(&self, env: E, create: N, merge_value: M, merge_combiners: C) -> S<(K, A)>
    where
        E: Data,
        A: Data,
        N: Fn(&E, V) -> A + Captureless,
        M: Fn(&E, A, V) -> A + Captureless,
        C: Fn(&E, A, A) -> A + Captureless,
    {
        let create = With::new(env, create);
        let (add, merge) = (create.beside(merge_value), create.beside(merge_combiners));
        self.aggregated(site("combine_by_key_with"), Spread::Default, Combining(create, add, merge))
    }

    /// [`combine_by_key_into`](Rdd::combine_by_key_into) with an environment, which all three functions see first.
    #[track_caller]
    pub fn combine_by_key_into_with<E, A, N, M, C>(
        &self,
        partitions: impl Partitioner<K>,
        env: E,
        create: N,
        merge_value: M,
        merge_combiners: C,
    ) -> S<(K, A)>
    where
        E: Data,
        A: Data,
        N: Fn(&E, V) -> A + Captureless,
        M: Fn(&E, A, V) -> A + Captureless,
        C: Fn(&E, A, A) -> A + Captureless,
    {
        let create = With::new(env, create);
        let (add, merge) = (create.beside(merge_value), create.beside(merge_combiners));
        let combining = Combining(create, add, merge);
        self.aggregated(site("combine_by_key_into_with"), Spread::given(partitions), combining)
    }

    /// [`reduce_by_key`](Rdd::reduce_by_key) straight to the driver: each partition's values are merged there, and the results here, in
    /// partition order. No shuffle; the result must fit the driver's memory.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let sums = sc.range(0..10).map(|i| (i % 2, i)).reduce_by_key_locally(|a, b| a + b)?;
    /// assert_eq!((sums[&0], sums[&1]), (20, 25));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_locally<F: Fn(V, V) -> V + Captureless>(&self, f: F) -> Result<HashMap<K, V>> {
        self.reduced_locally(Plain::new(f), site("reduce_by_key_locally"))
    }

    /// [`reduce_by_key_locally`](Rdd::reduce_by_key_locally) with an environment.
    #[track_caller]
    pub fn reduce_by_key_locally_with<E, F>(&self, env: E, f: F) -> Result<HashMap<K, V>>
    where
        E: Data,
        F: Fn(&E, V, V) -> V + Captureless,
    {
        self.reduced_locally(With::new(env, f), site("reduce_by_key_locally_with"))
    }

    fn reduced_locally<C: Merge<V, V, Out = V>>(&self, f: C, site: CallSite) -> Result<HashMap<K, V>> {
        self.merged(ReduceEach(f.clone()), site, |parts| {
            let mut all: HashMap<K, V> = HashMap::new();
            for (key, value) in parts.into_iter().flatten() {
                let value = match all.remove(&key) {
                    Some(so_far) => f.call(so_far, value),
                    None => value,
                };
                all.insert(key, value);
            }
            all
        })
    }
}

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    fn each<C: Func<T, Out = ()>>(&self, f: C, site: CallSite) -> Result<()> {
        self.all(super::actions::Each(f), site).map(drop)
    }
}
