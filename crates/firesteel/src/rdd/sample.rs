//! Elements chosen by chance. The same seed chooses the same elements, on any number of threads and executors.

use super::{Rdd, site};
use crate::graph::{CallSite, NewNode};
use firesteel_model::{Error, Result};
use firesteel_rdd::{Collect, Count, Data, Dice, Pipeline, RandomCell, Sample};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// A part of the elements, by chance: without replacement each passes with a chance of `fraction`, with replacement each
    /// comes `fraction` times on average (Poisson). So the size is `fraction` of this RDD's only about;
    /// [`take_sample`](Rdd::take_sample) is exact. Narrow; keeps order and partitioner.
    ///
    /// # Errors
    /// Of the first action: a fraction that is negative or no number, or greater than 1 without replacement.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let some = sc.range(0..1_000).sample(false, 0.1, 42);
    /// assert!((50..150).contains(&some.count()?));
    /// assert_eq!(some.collect()?, sc.range(0..1_000).sample(false, 0.1, 42).collect()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample(&self, with_replacement: bool, fraction: f64, seed: u64) -> Rdd<T, Sample<P>>
    where
        T: Clone,
    {
        self.sampled(with_replacement, fraction, seed, site("sample"))
    }

    fn sampled(&self, with_replacement: bool, fraction: f64, seed: u64, site: CallSite) -> Rdd<T, Sample<P>>
    where
        T: Clone,
    {
        let new = NewNode::narrow("PartitionwiseSampledRDD", site, vec![self.node().clone()]).keeping();
        Rdd::of(self.context(), Sample::new(self.parent(), with_replacement, fraction, seed), new)
    }

    /// Splits the elements by chance into as many RDDs as there are weights, of sizes that are about as the weights, which
    /// need not add up to 1. Each element is in one of them. Narrow; each keeps order and partitioner.
    ///
    /// Each of the RDDs computes this one and keeps its share, so [`cache`](Rdd::cache) this one first if that is dear. It must
    /// give the same elements in the same order each time, or an element may be in two of them or in none.
    ///
    /// # Errors
    /// Of the first action: a weight is negative or no number, or all are 0.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let parts = sc.range(0..100).random_split(&[3.0, 1.0], 7);
    /// assert_eq!(parts[0].count()? + parts[1].count()?, 100);
    /// assert_eq!(parts[0].intersection(&parts[1]).count()?, 0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn random_split(&self, weights: &[f64], seed: u64) -> Vec<Rdd<T, RandomCell<P>>> {
        let site = site("random_split");
        let cell = |cell| self.child(RandomCell::new(self.parent(), weights.to_vec(), cell, seed), site, true);
        (0..weights.len() as u32).map(cell).collect()
    }

    /// So many elements by chance, in any order; all of them, in any order, if `n` are more than there are and none may come
    /// twice. They must fit the driver's memory. Two jobs: one counts, one samples; the second again in the rare case that the
    /// sample is too small.
    ///
    /// # Errors
    /// As every action; and if elements seem to vanish between the jobs, because each computation of the RDD finds others.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let five = sc.range(0..1_000).take_sample(false, 5, 42)?;
    /// assert_eq!(five.len(), 5);
    /// assert_eq!(five, sc.range(0..1_000).take_sample(false, 5, 42)?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take_sample(&self, with_replacement: bool, n: usize, seed: u64) -> Result<Vec<T>>
    where
        T: Data,
    {
        let site = site("take_sample");
        self.node().engine.check_usable(site.method)?;
        if n == 0 {
            return Ok(Vec::new());
        }
        let count: u64 = self.all(Count, site)?.into_iter().sum();
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut dice = Dice::new(seed, u64::MAX);
        if !with_replacement && n as u64 >= count {
            let mut all: Vec<T> = self.all(Collect { limit: None }, site)?.into_iter().flatten().collect();
            dice.shuffle(&mut all);
            return Ok(all);
        }
        let mut fraction = enough(n as f64, count as f64, with_replacement);
        for _ in 0..ATTEMPTS {
            let drawn = self.sampled(with_replacement, fraction, dice.number(), site);
            let mut sample: Vec<T> = drawn.all(Collect { limit: None }, site)?.into_iter().flatten().collect();
            if sample.len() >= n {
                dice.shuffle(&mut sample);
                sample.truncate(n);
                return Ok(sample);
            }
            fraction *= 2.0;
            if !with_replacement {
                fraction = fraction.min(1.0);
            }
        }
        Err(Error::InvalidArgument(format!(
            "take_sample({n}) of {count} elements found fewer each time: the RDD gives other elements whenever it is computed; cache it first"
        )))
    }
}

/// So often `take_sample` draws before it believes that the elements are not there. Once is enough with a chance of 9,999 of
/// 10,000, and each time twice as much is drawn.
const ATTEMPTS: usize = 16;

/// The fraction that gives at least `n` of `count` elements with a chance of 9,999 of 10,000: Spark's.
fn enough(n: f64, count: f64, with_replacement: bool) -> f64 {
    if with_replacement {
        let deviations = if n < 6.0 {
            12.0
        } else if n < 16.0 {
            9.0
        } else {
            6.0
        };
        return (n + deviations * n.sqrt()) / count;
    }
    let fraction = n / count;
    let gamma = -1e-4f64.ln() / count;
    (fraction + gamma + (gamma * gamma + 2.0 * gamma * fraction).sqrt()).min(1.0)
}
