//! Actions that run in the background.

use super::{Rdd, actions::each::Each, site};
use crate::future::FutureAction;
use firesteel_rdd::{Captureless, Collect, Count, Data, OnPartition, PartitionIter, Pipeline, Plain, With};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// [`count`](Rdd::count) in the background.
    #[track_caller]
    pub fn count_async(&self) -> FutureAction<u64> {
        FutureAction::of_job(self, Count, site("count_async"), |counts| counts.into_iter().sum())
    }

    /// [`collect`](Rdd::collect) in the background.
    #[track_caller]
    pub fn collect_async(&self) -> FutureAction<Vec<T>>
    where
        T: Data,
    {
        let all = Collect { limit: None };
        FutureAction::of_job(self, all, site("collect_async"), |parts| parts.into_iter().flatten().collect())
    }

    /// [`take`](Rdd::take) in the background: job after job, until there are enough.
    #[track_caller]
    pub fn take_async(&self, n: usize) -> FutureAction<Vec<T>>
    where
        T: Data,
    {
        let site = site("take_async");
        FutureAction::on_thread(self, move |rdd| rdd.taken(n, site))
    }

    /// [`for_each`](Rdd::for_each) in the background.
    #[track_caller]
    pub fn for_each_async<F: Fn(T) + Captureless>(&self, f: F) -> FutureAction<()> {
        FutureAction::of_job(self, Each(Plain::new(f)), site("for_each_async"), drop)
    }

    /// [`for_each_partition`](Rdd::for_each_partition) in the background.
    #[track_caller]
    pub fn for_each_partition_async<F: Fn(PartitionIter<'_, T>) + Captureless>(&self, f: F) -> FutureAction<()> {
        FutureAction::of_job(self, OnPartition::new(Plain::new(f)), site("for_each_partition_async"), |_: Vec<()>| ())
    }

    /// [`for_each_async`](Rdd::for_each_async) with an environment.
    #[track_caller]
    pub fn for_each_async_with<E: Data, F: Fn(&E, T) + Captureless>(&self, env: E, f: F) -> FutureAction<()> {
        FutureAction::of_job(self, Each(With::new(env, f)), site("for_each_async_with"), drop)
    }

    /// [`for_each_partition_async`](Rdd::for_each_partition_async) with an environment.
    #[track_caller]
    pub fn for_each_partition_async_with<E, F>(&self, env: E, f: F) -> FutureAction<()>
    where
        E: Data,
        F: Fn(&E, PartitionIter<'_, T>) + Captureless,
    {
        FutureAction::of_job(
            self,
            OnPartition::new(With::new(env, f)),
            site("for_each_partition_async_with"),
            |_: Vec<()>| (),
        )
    }
}
