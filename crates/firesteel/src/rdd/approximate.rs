//! Actions with a time limit: an estimate when it is over, the exact value for those who wait.

use super::{Rdd, site};
use crate::{
    BoundedDouble, PartialResult,
    estimate::{self, Asked},
    graph::CallSite,
    job::{self, Patience, Waited, Wanted},
};
use firesteel_model::{Error, Result};
use firesteel_rdd::{Action, Count, CountEach, Key, Number, Output, Pipeline, Stats};
use std::{collections::HashMap, time::Duration};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// How many elements there are, as far as that is known after `timeout`: bounds that hold with the given confidence, from the
    /// partitions counted by then. The job goes on, and [`PartialResult::final_value`] waits for it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `confidence` is not between 0 and 1; if the job ends in time, as every action.
    #[track_caller]
    pub fn count_approx(&self, timeout: Duration, confidence: f64) -> Result<PartialResult<BoundedDouble>> {
        self.approximated(Count, timeout, confidence, estimate::count, site("count_approx"))
    }

    /// How often each element occurs, as far as that is known after `timeout`. No shuffle: each partition's counts come to the
    /// driver, whose memory they must fit.
    ///
    /// # Errors
    /// As [`count_approx`](Rdd::count_approx).
    #[track_caller]
    pub fn count_by_value_approx(
        &self,
        timeout: Duration,
        confidence: f64,
    ) -> Result<PartialResult<HashMap<T, BoundedDouble>>>
    where
        T: Key,
    {
        self.approximated(CountEach, timeout, confidence, estimate::counts, site("count_by_value_approx"))
    }

    fn approximated<A: Action<T>, R: 'static>(
        &self,
        action: A,
        timeout: Duration,
        confidence: f64,
        estimate: fn(&[&A::Out], Asked) -> R,
        site: CallSite,
    ) -> Result<PartialResult<R>> {
        if !(0.0..=1.0).contains(&confidence) {
            return Err(Error::InvalidArgument(format!(
                "{}: the confidence must be between 0 and 1, and is {confidence}",
                site.method
            )));
        }
        let job = job::submit(self, Wanted::All, action, site, Patience::Until(timeout))?;
        let total = job.partitions();
        let finish = move |outputs: Vec<_>| {
            let parts: Vec<A::Out> = outputs.into_iter().map(Output::into_typed).collect::<Result<_>>()?;
            let parts: Vec<&A::Out> = parts.iter().collect();
            Ok(estimate(&parts, Asked { done: parts.len(), total, confidence }))
        };
        match job.wait_for_a_while()? {
            Waited::Ended(outputs) => Ok(PartialResult::complete(finish(outputs)?)),
            Waited::TimeUp(job) => {
                let initial = job.look_at_results(|parts: &[&A::Out]| {
                    estimate(parts, Asked { done: parts.len(), total, confidence })
                })?;
                Ok(PartialResult::so_far(initial, job, finish))
            }
        }
    }
}

impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// How many pairs each key has, as far as that is known after `timeout`.
    ///
    /// # Errors
    /// As [`count_approx`](Rdd::count_approx).
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// # use std::time::Duration;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let pairs = sc.range(0..10).map(|i| (i % 2, i));
    /// let counts = pairs.count_by_key_approx(Duration::from_secs(600), 0.9)?.final_value()?;
    /// assert_eq!((counts[&0].mean(), counts[&0].confidence()), (5.0, 1.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_key_approx(
        &self,
        timeout: Duration,
        confidence: f64,
    ) -> Result<PartialResult<HashMap<K, BoundedDouble>>>
    where
        K: Key,
    {
        let site = site("count_by_key_approx");
        self.keys().approximated(CountEach, timeout, confidence, estimate::counts, site)
    }
}

impl<T: Number, P: Pipeline<Item = T>> Rdd<T, P> {
    /// The mean of all numbers, as far as it is known after `timeout`.
    ///
    /// # Errors
    /// As [`count_approx`](Rdd::count_approx).
    #[track_caller]
    pub fn mean_approx(&self, timeout: Duration, confidence: f64) -> Result<PartialResult<BoundedDouble>> {
        self.approximated(Stats, timeout, confidence, estimate::mean, site("mean_approx"))
    }

    /// The sum of all numbers, as far as it is known after `timeout`.
    ///
    /// # Errors
    /// As [`count_approx`](Rdd::count_approx).
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// # use std::time::Duration;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let sum = sc.range(0..10).sum_approx(Duration::from_secs(600), 0.9)?;
    /// assert_eq!(sum.initial_value().to_string(), "[45.000, 45.000]");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sum_approx(&self, timeout: Duration, confidence: f64) -> Result<PartialResult<BoundedDouble>> {
        self.approximated(Stats, timeout, confidence, estimate::sum, site("sum_approx"))
    }
}
