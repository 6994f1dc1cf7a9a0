//! Actions on numbers, computed in `f64`.

use super::{Rdd, site};
use crate::graph::CallSite;
use firesteel_model::{Error, Result};
use firesteel_rdd::{Extremes, Histogram, Number, Pipeline, StatCounter, Stats, Sum};

/// Each task of a histogram holds so many counts at most, and the driver as many for each task.
const MOST_BUCKETS: usize = 1 << 20;

macro_rules! measures {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl<T: Number, P: Pipeline<Item = T>> Rdd<T, P> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As [`stats`](Rdd::stats).
                #[track_caller]
                pub fn $name(&self) -> Result<f64> {
                    Ok(self.measured(site(stringify!($name)))?.$name())
                }
            )*
        }
    };
}

impl<T: Number, P: Pipeline<Item = T>> Rdd<T, P> {
    /// The sum of all numbers; 0 of none.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// assert_eq!(sc.parallelize([1.5, 2.5]).sum()?, 4.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sum(&self) -> Result<f64> {
        Ok(self.all(Sum, site("sum"))?.into_iter().fold(0.0, |a, b| a + b))
    }

    /// Count, mean, variance, least and greatest, in one pass.
    ///
    /// One NaN makes all but the count NaN; an infinity makes the variance NaN.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if the RDD has no partitions. Partitions without elements are no error: count and mean are 0 then, the
    /// variance NaN.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let stats = sc.parallelize([1, 2, 3, 4]).stats()?;
    /// assert_eq!((stats.count(), stats.mean(), stats.variance(), stats.max()), (4, 2.5, 1.25, 4.0));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn stats(&self) -> Result<StatCounter> {
        self.measured(site("stats"))
    }

    fn measured(&self, site: CallSite) -> Result<StatCounter> {
        let merge = |mut a: StatCounter, b: StatCounter| {
            a.merge(&b);
            a
        };
        self.all(Stats, site)?.into_iter().reduce(merge).ok_or(Error::EmptyRdd)
    }

    /// Edges of `buckets` even buckets from the least to the greatest number, and how many numbers each bucket has: from its edge
    /// up to, but without, the next, the last one with it. Where all numbers are equal, there is one bucket. Two jobs.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no buckets or more than 1,048,576, or if there is a NaN or an infinity; [`Error::EmptyRdd`] if there
    /// is no number.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let (edges, counts) = sc.range(0..51).histogram(2)?;
    /// assert_eq!((edges, counts), (vec![0.0, 25.0, 50.0], vec![25, 26]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram(&self, buckets: usize) -> Result<(Vec<f64>, Vec<u64>)> {
        let site = site("histogram");
        if buckets == 0 {
            return Err(Error::InvalidArgument("histogram: the number of buckets (0) must be positive".into()));
        }
        if buckets > MOST_BUCKETS {
            return Err(Error::InvalidArgument(format!(
                "histogram: {buckets} buckets are too many, at most {MOST_BUCKETS}: every task counts in all of them; \
                 `count_by_key` counts in those that occur"
            )));
        }
        let (min, max) = self.all(Extremes, site)?.into_iter().fold(Extremes::NONE, Extremes::both);
        if (min, max) == Extremes::NONE {
            return Err(Error::EmptyRdd);
        }
        if !min.is_finite() || !max.is_finite() {
            return Err(Error::InvalidArgument(format!(
                "histogram: the RDD holds NaN or an infinity (least {min}, greatest {max}); filter them out or give edges to `histogram_buckets`"
            )));
        }
        let even = Histogram::even(min, max, buckets);
        Ok((even.edges().to_vec(), self.counted_by_bucket(even, site)?))
    }

    /// How many numbers lie between which edges: bucket `i` is from edge `i` up to, but without, edge `i + 1`, the last one with it.
    /// What lies outside, and NaN, is not counted. A search of the edges for each number; [`histogram`](Rdd::histogram)'s even
    /// buckets need none.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there are fewer than two edges, or if they do not rise.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// assert_eq!(sc.range(0..50).histogram_buckets(&[0.0, 10.0, 15.0])?, [10, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_buckets(&self, bounds: &[f64]) -> Result<Vec<u64>> {
        if bounds.len() < 2 {
            return Err(Error::InvalidArgument(format!(
                "histogram_buckets: there must be at least two edges, and there are {}",
                bounds.len()
            )));
        }
        // Also refuses NaN, which is not less than anything.
        if let Some(pair) = bounds.windows(2).find(|pair| !matches!(pair, [a, b] if a <= b)) {
            return Err(Error::InvalidArgument(format!(
                "histogram_buckets: edges must rise, and {} comes before {}",
                pair[0], pair[1]
            )));
        }
        self.counted_by_bucket(Histogram::between(bounds.to_vec()), site("histogram_buckets"))
    }

    fn counted_by_bucket(&self, histogram: Histogram, site: CallSite) -> Result<Vec<u64>> {
        let mut counts = vec![0; histogram.buckets()];
        for part in self.all(histogram, site)? {
            for (count, more) in counts.iter_mut().zip(part) {
                *count += more;
            }
        }
        Ok(counts)
    }
}

measures! {
    /// The mean; 0 of no numbers.
    mean;
    /// The population variance; NaN of no numbers.
    variance;
    /// The population variance; NaN of no numbers.
    pop_variance;
    /// The population standard deviation; NaN of no numbers.
    stdev;
    /// The population standard deviation; NaN of no numbers.
    pop_stdev;
    /// The sample variance, which divides by one less than the count; NaN of fewer than two numbers.
    sample_variance;
    /// The sample standard deviation; NaN of fewer than two numbers.
    sample_stdev;
}
