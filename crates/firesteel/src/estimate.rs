//! Estimates of a whole from the partitions that are done, by Spark's formulas: what is missing is taken to be like what was seen.

use crate::{BoundedDouble, quantile};
use firesteel_rdd::StatCounter;
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

/// Counts up to this are bounded by the negative binomial distribution, greater ones by Poisson's.
const SMALL_COUNT: u64 = 10_000;

/// From how many numbers on the normal distribution stands for Student's.
const MANY_NUMBERS: u64 = 100;

/// How much of a job is done, and how sure one wants to be.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) done: usize,
    pub(crate) total: usize,
    pub(crate) confidence: f64,
}

impl Asked {
    fn all_done(&self) -> bool {
        self.done == self.total
    }
    fn share(&self) -> f64 {
        self.done as f64 / self.total as f64
    }

    /// A count of which `seen` were seen.
    fn bound(&self, seen: u64) -> BoundedDouble {
        let (sum, p) = (seen as f64, self.share());
        let (mean, (low, high)) = if seen <= SMALL_COUNT {
            // Each element was seen with chance p; how many were missed before `seen` were seen is negative binomial.
            (sum * (1.0 - p) / p, quantile::negative_binomial(seen, p, self.confidence))
        } else {
            let rest = sum * (1.0 - p) / p;
            (rest, quantile::poisson(rest, self.confidence))
        };
        BoundedDouble::new(sum + mean, self.confidence, sum + low, sum + high)
    }

    /// By how many standard deviations a mean of `count` numbers may be off.
    fn reach(&self, count: u64) -> f64 {
        if count > MANY_NUMBERS {
            quantile::normal_reach(self.confidence)
        } else {
            quantile::student_reach(self.confidence, (count - 1) as f64)
        }
    }
}

/// How many elements there are.
pub(crate) fn count(parts: &[&u64], asked: Asked) -> BoundedDouble {
    let seen: u64 = parts.iter().copied().sum();
    if asked.all_done() {
        BoundedDouble::exact(seen as f64)
    } else if seen == 0 {
        BoundedDouble::new(0.0, 0.0, 0.0, f64::INFINITY)
    } else {
        asked.bound(seen)
    }
}

/// How often each element that was seen occurs.
pub(crate) fn counts<T: Hash + Eq + Clone>(parts: &[&Vec<(T, u64)>], asked: Asked) -> HashMap<T, BoundedDouble> {
    let mut seen: HashMap<&T, u64> = HashMap::new();
    for (item, count) in parts.iter().flat_map(|part| part.iter()) {
        *seen.entry(item).or_default() += count;
    }
    // Many elements occur equally often.
    let mut known: HashMap<u64, BoundedDouble> = HashMap::new();
    let mut estimate = |count| match known.entry(count) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(new) if asked.all_done() => *new.insert(BoundedDouble::exact(count as f64)),
        Entry::Vacant(new) => *new.insert(asked.bound(count)),
    };
    seen.into_iter().map(|(item, count)| (item.clone(), estimate(count))).collect()
}

fn merged(parts: &[&StatCounter]) -> StatCounter {
    parts.iter().fold(StatCounter::new(), |mut all, part| {
        all.merge(part);
        all
    })
}

/// The mean of numbers.
pub(crate) fn mean(parts: &[&StatCounter], asked: Asked) -> BoundedDouble {
    let seen = merged(parts);
    let mean = seen.mean();
    if asked.all_done() {
        return BoundedDouble::exact(mean);
    }
    match seen.count() {
        0 => BoundedDouble::new(0.0, 0.0, f64::NEG_INFINITY, f64::INFINITY),
        1 => BoundedDouble::new(mean, asked.confidence, f64::NEG_INFINITY, f64::INFINITY),
        n => {
            let off = asked.reach(n) * (seen.sample_variance() / n as f64).sqrt();
            BoundedDouble::new(mean, asked.confidence, mean - off, mean + off)
        }
    }
}

/// The sum of numbers.
pub(crate) fn sum(parts: &[&StatCounter], asked: Asked) -> BoundedDouble {
    let seen = merged(parts);
    if asked.all_done() {
        return BoundedDouble::exact(seen.sum());
    }
    if seen.count() == 0 {
        return BoundedDouble::new(0.0, 0.0, f64::NEG_INFINITY, f64::INFINITY);
    }
    let (n, p) = (seen.count() as f64, asked.share());
    // The numbers that are missing have the mean of those that were seen; how many they are is negative binomial.
    let (mean, mean_variance) = (seen.mean(), seen.sample_variance() / n);
    let (missing, missing_variance) = (n * (1.0 - p) / p, n * (1.0 - p) / (p * p));
    let rest = mean * missing;
    let whole = seen.sum() + rest;
    if mean_variance.is_nan() {
        return BoundedDouble::new(whole, asked.confidence, f64::NEG_INFINITY, f64::INFINITY);
    }
    // The variance of a product of two independent values.
    let variance =
        mean * mean * missing_variance + missing * missing * mean_variance + mean_variance * missing_variance;
    let off = asked.reach(seen.count()) * variance.sqrt();
    BoundedDouble::new(whole, asked.confidence, whole - off, whole + off)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Asked = Asked { done: 1, total: 2, confidence: 0.95 };

    #[test]
    fn nothing_seen_is_nothing_known() {
        let none = Asked { done: 0, ..HALF };
        assert_eq!(count(&[], none), BoundedDouble::new(0.0, 0.0, 0.0, f64::INFINITY));
        assert_eq!(mean(&[], none), BoundedDouble::new(0.0, 0.0, f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(sum(&[], none), mean(&[], none));
        assert!(counts::<u8>(&[], none).is_empty());
    }

    #[test]
    fn everything_seen_is_exact() {
        let all = Asked { done: 2, ..HALF };
        assert_eq!(count(&[&3, &4], all), BoundedDouble::exact(7.0));
        assert_eq!(counts(&[&vec![('a', 1)], &vec![('a', 2)]], all)[&'a'], BoundedDouble::exact(3.0));
        let numbers: StatCounter = [1.0, 2.0].into_iter().collect();
        assert_eq!(mean(&[&numbers, &numbers], all), BoundedDouble::exact(1.5));
        assert_eq!(sum(&[&numbers, &numbers], all), BoundedDouble::exact(6.0));
        // An RDD without partitions.
        assert_eq!(count(&[], Asked { done: 0, total: 0, ..HALF }), BoundedDouble::exact(0.0));
    }

    #[test]
    fn a_count_is_bounded_by_what_may_have_been_missed() {
        let of = |seen, done, total| count(&[&seen], Asked { done, total, confidence: 0.95 });
        // 1 + the failures before the first success of chance 0.1: 0.9^36 < 0.025 < 0.9^35.
        assert_eq!(of(1, 1, 10), BoundedDouble::new(10.0, 0.95, 1.0, 36.0));
        assert_eq!(of(10, 1, 2).mean(), 20.0);
        let many = of(1_000_000, 1, 2);
        assert_eq!((many.mean(), many.low(), many.high()), (2_000_000.0, 1_998_041.0, 2_001_960.0));
    }

    #[test]
    fn one_number_has_no_bounds() {
        let one: StatCounter = [5.0].into_iter().collect();
        assert_eq!(mean(&[&one], HALF), BoundedDouble::new(5.0, 0.95, f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(sum(&[&one], HALF), BoundedDouble::new(10.0, 0.95, f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn means_and_sums_are_bounded_by_their_spread() {
        let few: StatCounter = [1.0, 2.0, 3.0].into_iter().collect();
        let about = mean(&[&few], HALF);
        // 2 ± 4.302653 · √(1/3)
        assert!((about.low() - (2.0 - 2.484138)).abs() < 1e-5, "{about}");
        assert!((about.high() - (2.0 + 2.484138)).abs() < 1e-5, "{about}");
        let about = sum(&[&few], HALF);
        // 12 ± 4.302653 · √(4·6 + 9/3 + 6/3)
        assert_eq!(about.mean(), 12.0);
        assert!((about.high() - 12.0 - 4.302653 * 29f64.sqrt()).abs() < 1e-4, "{about}");
        let many: StatCounter = (0..200).map(|i| f64::from(i % 2)).collect();
        let about = mean(&[&many], HALF);
        let off = 1.959964 * (0.25 * 200.0 / 199.0 / 200.0_f64).sqrt();
        assert!((about.high() - 0.5 - off).abs() < 1e-6, "{about}");
    }
}
