//! Floats that can be keys and be sorted.

use firesteel_io::JavaFloat;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
};

/// A float in Java's total order: -∞ < … < -0.0 < 0.0 < … < ∞ < NaN, every NaN equal to every other.
///
/// With it floats can be keys of a shuffle and be sorted, where Rust's own have neither [`Eq`] nor [`Ord`].
///
/// ```
/// use firesteel_rdd::Total;
/// let mut all = [f64::NAN, 0.0, -0.0, -1.0].map(Total);
/// all.sort();
/// assert_eq!(all, [-1.0, -0.0, 0.0, f64::NAN].map(Total));
/// assert_ne!(Total(0.0), Total(-0.0));
/// assert_eq!(*Total(2.5) * 2.0, 5.0);
/// ```
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Total<F>(pub F);

impl<F> Deref for Total<F> {
    type Target = F;
    fn deref(&self) -> &F {
        &self.0
    }
}

impl<F> DerefMut for Total<F> {
    fn deref_mut(&mut self) -> &mut F {
        &mut self.0
    }
}

impl<F: fmt::Debug> fmt::Debug for Total<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<F> fmt::Display for Total<F>
where
    F: Copy,
    JavaFloat<F>: fmt::Display,
{
    /// As Java prints the float.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        JavaFloat(self.0).fmt(f)
    }
}

macro_rules! total {
    ($($float:ident as $bits:ident),*) => {$(
        impl Total<$float> {
            /// The number that stands for it in the order of floats.
            #[inline(always)]
            pub(crate) fn rank(&self) -> u64 {
                let (bits, sign) = (self.canonical().to_bits(), 1 << ($bits::BITS - 1));
                (if bits & sign == 0 { bits | sign } else { !bits }).into()
            }

            /// The one NaN that stands for all of them, so that what is equal is equal in its bits.
            #[inline(always)]
            fn canonical(&self) -> $float {
                if self.0.is_nan() { $float::NAN.abs() } else { self.0 }
            }
        }

        impl From<$float> for Total<$float> {
            fn from(value: $float) -> Self {
                Total(value)
            }
        }
        impl From<Total<$float>> for $float {
            fn from(value: Total<$float>) -> Self {
                value.0
            }
        }

        impl PartialEq for Total<$float> {
            #[inline(always)]
            fn eq(&self, other: &Self) -> bool {
                self.canonical().to_bits() == other.canonical().to_bits()
            }
        }
        impl Eq for Total<$float> {}

        impl PartialOrd for Total<$float> {
            #[inline(always)]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for Total<$float> {
            #[inline(always)]
            fn cmp(&self, other: &Self) -> Ordering {
                self.canonical().total_cmp(&other.canonical())
            }
        }

        impl Hash for Total<$float> {
            #[inline(always)]
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.canonical().to_bits().hash(state)
            }
        }
    )*};
}

total!(f32 as u32, f64 as u64);

#[cfg(test)]
mod tests {
    use super::Total;
    use crate::hash_of;

    #[test]
    fn every_nan_is_the_last_and_equal_to_every_other() {
        let nans = [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), f64::from_bits(u64::MAX)].map(Total);
        for a in nans {
            assert!(a > Total(f64::INFINITY), "{:x}", a.0.to_bits());
            for b in nans {
                assert_eq!((a, hash_of(&a)), (b, hash_of(&b)));
            }
        }
    }

    #[test]
    fn ranks_are_in_the_order_of_floats() {
        let floats = [f64::MIN, -1.5, -1.0, -f64::MIN_POSITIVE, -0.0, 0.0, 5e-324, 1.0, f64::MAX, f64::INFINITY];
        for (a, b) in floats.iter().flat_map(|a| floats.iter().chain(&[f64::NAN, -f64::NAN]).map(move |b| (*a, *b))) {
            assert_eq!(Total(a).rank().cmp(&Total(b).rank()), Total(a).cmp(&Total(b)), "{a} {b}");
            let (a, b) = (Total(a as f32), Total(b as f32));
            assert_eq!(a.rank().cmp(&b.rank()), a.cmp(&b), "{a} {b}");
        }
        assert_eq!(Total(f64::NAN).rank(), Total(-f64::NAN).rank());
    }

    #[test]
    fn zeros_differ_by_sign() {
        assert!(Total(-0.0f32) < Total(0.0f32));
        assert_ne!(hash_of(&Total(-0.0)), hash_of(&Total(0.0)));
    }

    #[test]
    fn prints_as_java_does() {
        assert_eq!(Total(1e7).to_string(), "1.0E7");
        assert_eq!(format!("{:?}", Total(2.0f32)), "2.0");
    }
}
