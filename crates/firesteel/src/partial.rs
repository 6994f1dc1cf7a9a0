//! What an action with a time limit returns: an estimate now, and the exact value when its job is done.

use crate::job::RunningJob;
use firesteel_model::Result;
use firesteel_rdd::Output;
use std::fmt;

/// A value that is known to lie between two bounds, with a certain confidence.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BoundedDouble {
    mean: f64,
    confidence: f64,
    low: f64,
    high: f64,
}

impl BoundedDouble {
    pub(crate) fn new(mean: f64, confidence: f64, low: f64, high: f64) -> Self {
        BoundedDouble { mean, confidence, low, high }
    }
    /// A value of which nothing is left to guess.
    pub(crate) fn exact(value: f64) -> Self {
        Self::new(value, 1.0, value, value)
    }
    /// The most likely value.
    pub fn mean(&self) -> f64 {
        self.mean
    }
    /// The chance that the bounds hold: 1 where the value is exact, 0 where nothing is known yet.
    pub fn confidence(&self) -> f64 {
        self.confidence
    }
    /// The lower bound.
    pub fn low(&self) -> f64 {
        self.low
    }
    /// The upper bound.
    pub fn high(&self) -> f64 {
        self.high
    }
}

impl fmt::Display for BoundedDouble {
    /// `[92.000, 107.000]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:.3}, {:.3}]", self.low, self.high)
    }
}

/// The answer of an action with a time limit: what was known when the time was up, and, for those who wait, the exact value.
///
/// The job goes on after its time is up, also if the answer is dropped.
///
/// ```
/// use firesteel::prelude::*;
/// use std::time::Duration;
///
/// let sc = Context::builder().master("local[2]").build()?;
/// let counted = sc.range(0..1000).count_approx(Duration::from_secs(600), 0.95)?;
/// // Done in time, so exact.
/// assert!(counted.is_final());
/// assert_eq!(counted.initial_value().mean(), 1000.0);
///
/// let hurried = sc.range(0..1000).count_approx(Duration::ZERO, 0.95)?;
/// assert_eq!(hurried.final_value()?.low(), 1000.0);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "an approximate action is run for its answer"]
pub struct PartialResult<R> {
    initial: R,
    rest: Option<Rest<R>>,
}

/// A job whose time was up before its end.
struct Rest<R> {
    job: RunningJob,
    finish: Box<dyn FnOnce(Vec<Output>) -> Result<R> + Send>,
}

impl<R> PartialResult<R> {
    pub(crate) fn complete(value: R) -> Self {
        PartialResult { initial: value, rest: None }
    }

    pub(crate) fn so_far(
        initial: R,
        job: RunningJob,
        finish: impl FnOnce(Vec<Output>) -> Result<R> + Send + 'static,
    ) -> Self {
        PartialResult { initial, rest: Some(Rest { job, finish: Box::new(finish) }) }
    }

    /// What was known when the time was up, or the exact value if the job was done by then.
    pub fn initial_value(&self) -> &R {
        &self.initial
    }

    /// Whether the job was done in time, so that [`initial_value`](PartialResult::initial_value) is exact.
    pub fn is_final(&self) -> bool {
        self.rest.is_none()
    }

    /// Waits for the job's end, and returns the exact value.
    ///
    /// # Errors
    /// As every action.
    pub fn final_value(self) -> Result<R> {
        match self.rest {
            None => Ok(self.initial),
            Some(rest) => (rest.finish)(rest.job.wait()?),
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for PartialResult<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartialResult").field("initial", &self.initial).field("is_final", &self.is_final()).finish()
    }
}
