//! Count, mean, variance, least and greatest of numbers, in one pass and mergeable.

use crate::{
    action::{Action, Input},
    stream::{Lent, Sink, Stream},
    total::Total,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the numeric actions work on: every integer and float of Rust, and [`Total`] floats. Computed in `f64`, as Spark does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number",
    label = "`sum`, `mean`, `stats` and `histogram` work on integers and floats",
    note = "make a number of each element first: `rdd.map(|x| x.price)`"
)]
pub trait Number: Copy + Send + Sync + 'static {
    /// The nearest `f64`.
    fn to_f64(self) -> f64;
}

macro_rules! numbers {
    ($($number:ident)*) => {$(
        impl Number for $number {
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

numbers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64);

impl Number for Total<f64> {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.0
    }
}
impl Number for Total<f32> {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self.0)
    }
}

/// The greater of two floats as Java's `Math.max`: NaN if one is, and 0.0 over -0.0.
#[inline(always)]
pub(crate) fn java_max(a: f64, b: f64) -> f64 {
    if Total(a) < Total(b) { b } else { a }
}

/// The lesser of two floats as Java's `Math.min`: NaN if one is, and -0.0 under 0.0.
#[inline(always)]
pub(crate) fn java_min(a: f64, b: f64) -> f64 {
    if a.is_nan() {
        a
    } else if b.is_nan() || Total(b) < Total(a) {
        b
    } else {
        a
    }
}

/// Count, mean, variance, least and greatest of numbers. Two can be merged without loss of precision, whatever their sizes.
///
/// ```
/// use firesteel_rdd::StatCounter;
/// let mut stats: StatCounter = [1.0, 2.0].into_iter().collect();
/// stats.merge(&[3.0, 4.0].into_iter().collect());
/// assert_eq!((stats.count(), stats.mean(), stats.sum()), (4, 2.5, 10.0));
/// assert_eq!((stats.min(), stats.max()), (1.0, 4.0));
/// assert_eq!((stats.variance(), stats.sample_variance()), (1.25, 5.0 / 3.0));
/// ```
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatCounter {
    count: u64,
    mean: f64,
    /// The sum of squared differences from the mean.
    squares: f64,
    max: f64,
    min: f64,
}

impl StatCounter {
    /// Of no numbers: count 0, mean 0, variance NaN, least ∞, greatest -∞.
    pub fn new() -> Self {
        StatCounter { count: 0, mean: 0.0, squares: 0.0, max: f64::NEG_INFINITY, min: f64::INFINITY }
    }

    /// Adds a number.
    #[inline(always)]
    pub fn add(&mut self, value: f64) {
        let delta = value - self.mean;
        self.count += 1;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
        self.max = java_max(self.max, value);
        self.min = java_min(self.min, value);
    }

    /// Adds the numbers of another.
    pub fn merge(&mut self, other: &StatCounter) {
        if self.count == 0 {
            *self = *other;
            return;
        }
        if other.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        // The larger side's mean is moved a little; only means of like weight are averaged.
        self.mean = if m * 10.0 < n {
            self.mean + delta * m / (n + m)
        } else if n * 10.0 < m {
            other.mean - delta * n / (n + m)
        } else {
            (self.mean * n + other.mean * m) / (n + m)
        };
        self.squares += other.squares + delta * delta * n * m / (n + m);
        self.count += other.count;
        self.max = java_max(self.max, other.max);
        self.min = java_min(self.min, other.min);
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.count
    }
    /// Their mean; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }
    /// Their sum, made of mean and count.
    pub fn sum(&self) -> f64 {
        self.count as f64 * self.mean
    }
    /// The greatest; -∞ of none, NaN if there is one.
    pub fn max(&self) -> f64 {
        self.max
    }
    /// The least; ∞ of none, NaN if there is one.
    pub fn min(&self) -> f64 {
        self.min
    }
    /// The population variance; NaN of none.
    pub fn variance(&self) -> f64 {
        self.pop_variance()
    }
    /// The population variance: the mean squared difference from the mean; NaN of none.
    pub fn pop_variance(&self) -> f64 {
        if self.count == 0 { f64::NAN } else { self.squares / self.count as f64 }
    }
    /// The sample variance, which divides by one less than the count; NaN of fewer than two.
    pub fn sample_variance(&self) -> f64 {
        if self.count <= 1 { f64::NAN } else { self.squares / (self.count - 1) as f64 }
    }
    /// The square root of the population variance.
    pub fn stdev(&self) -> f64 {
        self.pop_stdev()
    }
    /// The square root of the population variance.
    pub fn pop_stdev(&self) -> f64 {
        self.pop_variance().sqrt()
    }
    /// The square root of the sample variance.
    pub fn sample_stdev(&self) -> f64 {
        self.sample_variance().sqrt()
    }
}

impl Default for StatCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl Extend<f64> for StatCounter {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        for value in values {
            self.add(value);
        }
    }
}

impl FromIterator<f64> for StatCounter {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut stats = StatCounter::new();
        stats.extend(values);
        stats
    }
}

impl fmt::Display for StatCounter {
    /// `(count: 4, mean: 2.500000, stdev: 1.118034, max: 4.000000, min: 1.000000)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StatCounter { count, mean, max, min, .. } = self;
        let stdev = self.stdev();
        write!(f, "(count: {count}, mean: {mean:.6}, stdev: {stdev:.6}, max: {max:.6}, min: {min:.6})")
    }
}

/// Adds numbers up.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sum;

impl<T: Number> Action<T> for Sum {
    type Out = f64;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> f64 {
        struct Adding(f64);
        impl<T: Number> Sink<T> for Adding {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
                self.0 += item.get().to_f64();
                true
            }
        }
        let mut sum = Adding(0.0);
        input.drive(&mut sum);
        sum.0
    }
}

/// Counts, averages and measures numbers.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stats;

impl<T: Number> Action<T> for Stats {
    type Out = StatCounter;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> StatCounter {
        struct Measuring(StatCounter);
        impl<T: Number> Sink<T> for Measuring {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
                self.0.add(item.get().to_f64());
                true
            }
        }
        let mut stats = Measuring(StatCounter::new());
        input.drive(&mut stats);
        stats.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_numbers_have_a_mean_of_zero_and_no_variance() {
        let none = StatCounter::new();
        assert_eq!((none.count(), none.mean(), none.sum()), (0, 0.0, 0.0));
        assert_eq!((none.min(), none.max()), (f64::INFINITY, f64::NEG_INFINITY));
        assert!(none.variance().is_nan() && none.stdev().is_nan() && none.sample_variance().is_nan());
    }

    #[test]
    fn one_nan_spoils_everything_but_the_count() {
        for numbers in [[f64::NAN, 1.0], [1.0, f64::NAN]] {
            let stats: StatCounter = numbers.into_iter().collect();
            assert_eq!(stats.count(), 2);
            assert!(stats.min().is_nan() && stats.max().is_nan() && stats.mean().is_nan() && stats.variance().is_nan());
        }
    }

    #[test]
    fn an_infinity_spoils_the_variance() {
        let stats: StatCounter = [1.0, f64::INFINITY].into_iter().collect();
        assert_eq!(stats.max(), f64::INFINITY);
        assert!(stats.variance().is_nan());
    }

    #[test]
    fn signed_zeros_are_told_apart() {
        let stats: StatCounter = [0.0, -0.0].into_iter().collect();
        assert!(stats.max().is_sign_positive() && stats.min().is_sign_negative());
    }

    #[test]
    fn merging_is_stable_far_from_zero() {
        let base = 1e9;
        let mut merged = StatCounter::new();
        for part in 0..100 {
            merged.merge(&(0..10).map(|i| base + f64::from(part * 10 + i)).collect());
        }
        let expected = (1000.0 * 1000.0 - 1.0) / 12.0;
        assert!((merged.variance() - expected).abs() < 1e-3, "{}", merged.variance());
        assert!((merged.mean() - (base + 499.5)).abs() < 1e-5);
    }

    #[test]
    fn prints_as_spark_does() {
        let stats: StatCounter = [1.0, 2.0, 3.0, 4.0].into_iter().collect();
        assert_eq!(stats.to_string(), "(count: 4, mean: 2.500000, stdev: 1.118034, max: 4.000000, min: 1.000000)");
    }
}
