//! Jobs by hand: a function of each partition, and its results as they are.

use crate::{
    Context, Rdd,
    graph::CallSite,
    job::{self, Wanted},
    rdd::site,
};
use firesteel_model::{Error, Result};
use firesteel_rdd::{Captureless, Data, IterFunc, OnPartition, PartitionIter, Pipeline, Plain, With};
use std::sync::Arc;

impl Context {
    /// Calls `f` once for each partition, in a task, and returns what it made of each, in partition order. What every action is
    /// built on.
    ///
    /// # Errors
    /// As every action; [`Error::InvalidArgument`] if the RDD belongs to another context.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let lengths = sc.run_job(&sc.range_n(0..10, 3), |items| items.count())?;
    /// assert_eq!(lengths, [3, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn run_job<T, P, R, F>(&self, rdd: &Rdd<T, P>, f: F) -> Result<Vec<R>>
    where
        T: 'static,
        P: Pipeline<Item = T>,
        R: Data,
        F: Fn(PartitionIter<'_, T>) -> R + Captureless,
    {
        self.job(rdd, Wanted::All, Plain::new(f), site("run_job"))
    }

    /// [`run_job`](Context::run_job) with an environment.
    ///
    /// # Errors
    /// As `run_job`.
    #[track_caller]
    pub fn run_job_with<E, T, P, R, F>(&self, rdd: &Rdd<T, P>, env: E, f: F) -> Result<Vec<R>>
    where
        E: Data,
        T: 'static,
        P: Pipeline<Item = T>,
        R: Data,
        F: Fn(&E, PartitionIter<'_, T>) -> R + Captureless,
    {
        self.job(rdd, Wanted::All, With::new(env, f), site("run_job_with"))
    }

    /// [`run_job`](Context::run_job) on some partitions; the results come in the order in which the partitions are named. A partition
    /// that is named twice is computed twice.
    ///
    /// # Errors
    /// As `run_job`; [`Error::InvalidArgument`] if there is no such partition.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let numbers = sc.range_n(0..10, 3);
    /// assert_eq!(sc.run_job_on(&numbers, |items| items.last(), &[2, 0])?, [Some(9), Some(2)]);
    /// assert!(sc.run_job_on(&numbers, |_| (), &[7]).unwrap_err().to_string().contains("non-existent partition: 7"));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn run_job_on<T, P, R, F>(&self, rdd: &Rdd<T, P>, f: F, partitions: &[usize]) -> Result<Vec<R>>
    where
        T: 'static,
        P: Pipeline<Item = T>,
        R: Data,
        F: Fn(PartitionIter<'_, T>) -> R + Captureless,
    {
        self.job(rdd, these(partitions), Plain::new(f), site("run_job_on"))
    }

    /// [`run_job_on`](Context::run_job_on) with an environment.
    ///
    /// # Errors
    /// As `run_job_on`.
    #[track_caller]
    pub fn run_job_on_with<E, T, P, R, F>(&self, rdd: &Rdd<T, P>, env: E, f: F, partitions: &[usize]) -> Result<Vec<R>>
    where
        E: Data,
        T: 'static,
        P: Pipeline<Item = T>,
        R: Data,
        F: Fn(&E, PartitionIter<'_, T>) -> R + Captureless,
    {
        self.job(rdd, these(partitions), With::new(env, f), site("run_job_on_with"))
    }

    fn job<T, P, R, C>(&self, rdd: &Rdd<T, P>, wanted: Wanted, f: C, site: CallSite) -> Result<Vec<R>>
    where
        T: 'static,
        P: Pipeline<Item = T>,
        R: Data,
        C: IterFunc<T, R>,
    {
        if !Arc::ptr_eq(self.engine(), rdd.context().engine()) {
            return Err(Error::InvalidArgument(format!("{}: {rdd} belongs to another context", site.method)));
        }
        job::run(rdd, wanted, OnPartition::new(f), site)
    }
}

/// Some partitions. What does not fit is no partition either, and is told so.
fn these(partitions: &[usize]) -> Wanted {
    Wanted::These(partitions.iter().map(|p| u32::try_from(*p).unwrap_or(u32::MAX)).collect())
}
