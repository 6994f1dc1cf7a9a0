//! Actions that run in the background.

use super::{Rdd, actions::each::Each, site};
use crate::future::FutureAction;
use firesteel_rdd::{Captureless, Collect, Count, Data, OnPartition, PartitionIter, Pipeline, Plain, With};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// [`count`](Rdd::count) in the background.
    #[track_caller]
    pub fn count_async(&self) -> FutureAction<u64> {
        let site = site("count_async");
        FutureAction::run(self, move |rdd| Ok(rdd.all(Count, site)?.into_iter().sum()))
    }

    /// [`collect`](Rdd::collect) in the background.
    #[track_caller]
    pub fn collect_async(&self) -> FutureAction<Vec<T>>
    where
        T: Data,
    {
        let site = site("collect_async");
        FutureAction::run(self, move |rdd| Ok(rdd.all(Collect { limit: None }, site)?.into_iter().flatten().collect()))
    }

    /// [`take`](Rdd::take) in the background: job after job, until there are enough.
    #[track_caller]
    pub fn take_async(&self, n: usize) -> FutureAction<Vec<T>>
    where
        T: Data,
    {
        let site = site("take_async");
        FutureAction::run(self, move |rdd| rdd.taken(n, site))
    }

    /// [`for_each`](Rdd::for_each) in the background.
    #[track_caller]
    pub fn for_each_async<F: Fn(T) + Captureless>(&self, f: F) -> FutureAction<()> {
        let site = site("for_each_async");
        FutureAction::run(self, move |rdd| rdd.all(Each(Plain::new(f)), site).map(drop))
    }

    /// [`for_each_partition`](Rdd::for_each_partition) in the background.
    #[track_caller]
    pub fn for_each_partition_async<F: Fn(PartitionIter<'_, T>) + Captureless>(&self, f: F) -> FutureAction<()> {
        let site = site("for_each_partition_async");
        FutureAction::run(self, move |rdd| rdd.all(OnPartition::new(Plain::new(f)), site).map(|_: Vec<()>| ()))
    }

    /// [`for_each_async`](Rdd::for_each_async) with an environment.
    #[track_caller]
    pub fn for_each_async_with<E: Data, F: Fn(&E, T) + Captureless>(&self, env: E, f: F) -> FutureAction<()> {
        let site = site("for_each_async_with");
        FutureAction::run(self, move |rdd| rdd.all(Each(With::new(env, f)), site).map(drop))
    }

    /// [`for_each_partition_async`](Rdd::for_each_partition_async) with an environment.
    #[track_caller]
    pub fn for_each_partition_async_with<E, F>(&self, env: E, f: F) -> FutureAction<()>
    where
        E: Data,
        F: Fn(&E, PartitionIter<'_, T>) + Captureless,
    {
        let site = site("for_each_partition_async_with");
        FutureAction::run(self, move |rdd| rdd.all(OnPartition::new(With::new(env, f)), site).map(|_: Vec<()>| ()))
    }
}
