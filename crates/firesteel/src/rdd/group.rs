//! Groups by a key made of each element; cogroups by Spark's other name.

use super::{
    Rdd,
    keyed::{S, Spread},
    site,
};
use crate::graph::CallSite;
use firesteel_rdd::{Captureless, Data, FuncRef, Grouping, Key, KeyBy, Map, Partitioner, Pipeline, Plain, With};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// The elements of each key, which `f` makes of an element. A shuffle without combining; partitions by the default rule. A
    /// group's elements come in this RDD's order and are all in memory at once.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let by_parity = sc.range(0..5).group_by(|i| i % 2).collect_as_map()?;
    /// assert_eq!((&by_parity[&0], &by_parity[&1]), (&vec![0, 2, 4], &vec![1, 3]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn group_by<K: Key, F: Fn(&T) -> K + Captureless>(&self, f: F) -> S<(K, Vec<T>)>
    where
        T: Data,
    {
        self.grouped(site("group_by"), Spread::Default, Plain::new(f))
    }

    /// [`group_by`](Rdd::group_by) with an environment.
    #[track_caller]
    pub fn group_by_with<E: Data, K: Key, F: Fn(&E, &T) -> K + Captureless>(&self, env: E, f: F) -> S<(K, Vec<T>)>
    where
        T: Data,
    {
        self.grouped(site("group_by_with"), Spread::Default, With::new(env, f))
    }

    /// [`group_by`](Rdd::group_by) into a number of partitions, or by a partitioner.
    #[track_caller]
    pub fn group_by_into<K: Key, F: Fn(&T) -> K + Captureless>(
        &self,
        partitions: impl Partitioner<K>,
        f: F,
    ) -> S<(K, Vec<T>)>
    where
        T: Data,
    {
        self.grouped(site("group_by_into"), Spread::given(partitions), Plain::new(f))
    }

    /// [`group_by_into`](Rdd::group_by_into) with an environment.
    #[track_caller]
    pub fn group_by_into_with<E: Data, K: Key, F: Fn(&E, &T) -> K + Captureless>(
        &self,
        partitions: impl Partitioner<K>,
        env: E,
        f: F,
    ) -> S<(K, Vec<T>)>
    where
        T: Data,
    {
        self.grouped(site("group_by_into_with"), Spread::given(partitions), With::new(env, f))
    }

    fn grouped<K: Key, C: FuncRef<T, Out = K>>(&self, site: CallSite, spread: Spread<K>, f: C) -> S<(K, Vec<T>)>
    where
        T: Data,
    {
        self.child(Map::new(self.parent(), KeyBy(f)), site, false).aggregated(site, spread, Grouping)
    }
}

impl<K: Key, V: Data, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// [`cogroup`](Rdd::cogroup) by Spark's other name.
    #[track_caller]
    pub fn group_with<W: Data, Q: Pipeline<Item = (K, W)>>(&self, other: &Rdd<(K, W), Q>) -> S<(K, (Vec<V>, Vec<W>))> {
        self.cogroup(other)
    }

    /// [`cogroup2`](Rdd::cogroup2) by Spark's other name.
    #[track_caller]
    pub fn group_with2<W: Data, X: Data, Q: Pipeline<Item = (K, W)>, R: Pipeline<Item = (K, X)>>(
        &self,
        second: &Rdd<(K, W), Q>,
        third: &Rdd<(K, X), R>,
    ) -> S<(K, (Vec<V>, Vec<W>, Vec<X>))> {
        self.cogroup2(second, third)
    }

    /// [`cogroup3`](Rdd::cogroup3) by Spark's other name.
    #[track_caller]
    pub fn group_with3<W, X, Y, Q, R, Z>(
        &self,
        second: &Rdd<(K, W), Q>,
        third: &Rdd<(K, X), R>,
        fourth: &Rdd<(K, Y), Z>,
    ) -> S<(K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))>
    where
        W: Data,
        X: Data,
        Y: Data,
        Q: Pipeline<Item = (K, W)>,
        R: Pipeline<Item = (K, X)>,
        Z: Pipeline<Item = (K, Y)>,
    {
        self.cogroup3(second, third, fourth)
    }
}
