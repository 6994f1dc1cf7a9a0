//! About how many different elements, or values of a key, there are.

use super::{
    Rdd,
    keyed::{S, Spread},
    site,
};
use crate::graph::{CallSite, NewNode};
use firesteel_model::{Error, Result};
use firesteel_rdd::{
    Data, Estimate, HyperLogLog, Key, Map, OnValue, Partitioner, Pipeline, Precision, Shuffled, Sketch, Sketching,
};
use std::hash::Hash;

impl<T: Hash + 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// About how many different elements there are, with a relative standard deviation of at most `relative_sd` (Spark's default is
    /// 0.05). Needs `1.1 / relative_sd²` bytes for each partition, and no shuffle.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `relative_sd` is not above 0.000017.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let about = sc.range(0..100_000).map(|i| i % 5_000).count_approx_distinct(0.02)?;
    /// assert!((4_700..5_300).contains(&about));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn count_approx_distinct(&self, relative_sd: f64) -> Result<u64> {
        self.estimated(Precision::of(relative_sd)?, site("count_approx_distinct"))
    }

    /// [`count_approx_distinct`](Rdd::count_approx_distinct) by its precision: 2^`p` registers, which give a relative standard deviation
    /// of about `1.054 / 2^(p / 2)`. Spark's second precision, of its sparse form, has no counterpart: here few elements are counted
    /// at the same one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `p` is not from 4 to 32.
    #[track_caller]
    pub fn count_approx_distinct_p(&self, p: u32) -> Result<u64> {
        self.estimated(Precision::of_bits(p)?, site("count_approx_distinct_p"))
    }

    fn estimated(&self, precision: Precision, site: CallSite) -> Result<u64> {
        let parts = self.all(Sketch(precision), site)?;
        let all = parts.into_iter().fold(HyperLogLog::new(precision), |mut all, part| {
            all.merge(&part);
            all
        });
        Ok(all.estimate())
    }
}

impl<K: Key, V: Data + Hash, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// About how many different values each key has, as [`count_approx_distinct`](Rdd::count_approx_distinct). A shuffle with
    /// combining, unless the RDD is spread by key already; partitions by the default rule.
    ///
    /// # Errors
    /// Of the first action: [`Error::InvalidArgument`] if `relative_sd` is not above 0.000017.
    #[track_caller]
    pub fn count_approx_distinct_by_key(&self, relative_sd: f64) -> S<(K, u64)> {
        self.sketched(site("count_approx_distinct_by_key"), Spread::Default, Precision::of(relative_sd))
    }

    /// [`count_approx_distinct_by_key`](Rdd::count_approx_distinct_by_key) by its precision, as in
    /// [`count_approx_distinct_p`](Rdd::count_approx_distinct_p), into a number of partitions, or by a partitioner.
    ///
    /// # Errors
    /// Of the first action: [`Error::InvalidArgument`] if `p` is not from 4 to 32.
    #[track_caller]
    pub fn count_approx_distinct_by_key_p_into(&self, partitions: impl Partitioner<K>, p: u32) -> S<(K, u64)> {
        let spread = Spread::given(partitions);
        self.sketched(site("count_approx_distinct_by_key_p_into"), spread, Precision::of_bits(p))
    }

    /// [`count_approx_distinct_by_key`](Rdd::count_approx_distinct_by_key) into a number of partitions, or by a partitioner.
    ///
    /// # Errors
    /// As `count_approx_distinct_by_key`.
    #[track_caller]
    pub fn count_approx_distinct_by_key_into(&self, partitions: impl Partitioner<K>, relative_sd: f64) -> S<(K, u64)> {
        let spread = Spread::given(partitions);
        self.sketched(site("count_approx_distinct_by_key_into"), spread, Precision::of(relative_sd))
    }

    fn sketched(&self, site: CallSite, spread: Spread<K>, precision: Result<Precision>) -> S<(K, u64)> {
        let precision = match precision {
            Ok(precision) => precision,
            Err(e) => return refused(self, site, e),
        };
        let sketches = self.aggregated(site, spread, Sketching(precision));
        let counts = sketches.child(Map::new(sketches.parent(), OnValue(Estimate)), site, true);
        let _ = counts.erase();
        Rdd::at(self.context(), Shuffled::of(counts.node().id), counts.node().clone())
    }
}

/// An RDD whose first action fails with `error`.
fn refused<T, P, U: 'static>(parent: &Rdd<T, P>, site: CallSite, error: Error) -> S<U> {
    let new = NewNode::narrow("ShuffledRDD", site, vec![parent.node().clone()]).made_by(move |_| Err(error.clone()));
    super::shuffled(&parent.context, new)
}
