//! How many numbers lie between which edges.

use crate::{
    action::{Action, Input},
    stats::{Number, java_max, java_min},
    stream::{Lent, Sink, Stream},
    total::Total,
};
use serde::{Deserialize, Serialize};

/// The least and the greatest number; (∞, -∞) of none.
#[derive(Clone, Serialize, Deserialize)]
pub struct Extremes;

impl Extremes {
    /// Of none.
    pub const NONE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

    /// Of two sets of numbers together.
    #[inline(always)]
    pub fn both(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
        (java_min(a.0, b.0), java_max(a.1, b.1))
    }
}

impl<T: Number> Action<T> for Extremes {
    type Out = (f64, f64);
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> (f64, f64) {
        struct Widening((f64, f64));
        impl<T: Number> Sink<T> for Widening {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
                let number = item.get().to_f64();
                self.0 = Extremes::both(self.0, (number, number));
                true
            }
        }
        let mut found = Widening(Extremes::NONE);
        input.drive(&mut found);
        found.0
    }
}

/// Counts numbers by bucket. Bucket `i` is from edge `i` up to, but without, edge `i + 1`; the last one includes its end. What
/// lies outside, and NaN, is not counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Histogram {
    edges: Vec<f64>,
    even: bool,
}

impl Histogram {
    /// Between edges that rise from each to the next, of which there are at least two.
    pub fn between(edges: Vec<f64>) -> Self {
        Histogram { edges, even: false }
    }

    /// `count` buckets of one width from `min` to `max`, or a single one if these are equal.
    pub fn even(min: f64, max: f64, count: usize) -> Self {
        let edges = if min == max {
            vec![min, min]
        } else {
            let span = max - min;
            (0..count).map(|i| min + i as f64 * span / count as f64).chain([max]).collect()
        };
        Histogram { edges, even: true }
    }

    /// The edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }
    /// How many buckets.
    pub fn buckets(&self) -> usize {
        self.edges.len() - 1
    }

    /// Which bucket a number belongs to.
    #[inline]
    fn bucket(&self, number: f64) -> Option<usize> {
        let (first, last) = (self.edges[0], self.edges[self.edges.len() - 1]);
        if self.even {
            if number.is_nan() || number < first || number > last {
                return None;
            }
            // Equal ends make 0 / 0, which is bucket 0.
            let at = ((number - first) / (last - first) * self.buckets() as f64) as usize;
            return Some(at.min(self.buckets() - 1));
        }
        let not_after = self.edges.partition_point(|edge| Total(*edge) <= Total(number));
        match not_after {
            0 => None,
            n if n < self.edges.len() => Some(n - 1),
            _ if Total(number) == Total(last) => Some(self.buckets() - 1),
            _ => None,
        }
    }
}

impl<T: Number> Action<T> for Histogram {
    type Out = Vec<u64>;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> Vec<u64> {
        struct Counting<'a>(&'a Histogram, Vec<u64>);
        impl<T: Number> Sink<T> for Counting<'_> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
                if let Some(bucket) = self.0.bucket(item.get().to_f64()) {
                    self.1[bucket] += 1;
                }
                true
            }
        }
        let mut counting = Counting(self, vec![0; self.buckets()]);
        input.drive(&mut counting);
        counting.1
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn buckets_are_half_open_but_the_last() {
        let given = Histogram::between(vec![0.0, 10.0, 20.0]);
        let even = Histogram::even(0.0, 20.0, 2);
        for (number, bucket) in
            [(0.0, Some(0)), (9.9, Some(0)), (10.0, Some(1)), (20.0, Some(1)), (20.1, None), (-0.1, None)]
        {
            assert_eq!(given.bucket(number), bucket, "{number}");
            assert_eq!(even.bucket(number), bucket, "{number}");
        }
        assert_eq!(given.bucket(f64::NAN), None);
        assert_eq!(even.bucket(f64::NAN), None);
        assert_eq!(given.bucket(-0.0), None, "Java's order puts -0.0 before 0.0");
    }

    #[test]
    fn equal_ends_make_one_bucket() {
        let one = Histogram::even(3.0, 3.0, 5);
        assert_eq!((one.edges(), one.bucket(3.0)), (&[3.0, 3.0][..], Some(0)));
        assert_eq!(Histogram::between(vec![3.0, 3.0]).bucket(3.0), Some(0));
    }
}
