//! How many different elements there are, about: a HyperLogLog sketch.
//!
//! Registers are as in HyperLogLog++ (64-bit hashes, sparse while few are set). The estimate is Ertl's ("New cardinality
//! estimation algorithms for HyperLogLog sketches", 2017), which is unbiased from one element on and needs no tables.

use crate::{
    action::{Action, Input},
    func::Func,
    shuffle::Aggregate,
    stream::{Lent, Sink, Stream},
};
use firesteel_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hash},
};

/// How many bits of a hash choose the register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Precision(u8);

impl Precision {
    /// The precision whose relative standard deviation is at most `relative_sd`, by Spark's rule.
    ///
    /// # Errors
    /// If `relative_sd` is not above 0.000017, which would take 2^32 registers.
    pub fn of(relative_sd: f64) -> Result<Self> {
        // Written so that NaN is refused too.
        if !matches!(relative_sd.partial_cmp(&0.000017), Some(std::cmp::Ordering::Greater)) {
            return Err(Error::InvalidArgument(format!("accuracy ({relative_sd}) must be greater than 0.000017")));
        }
        let bits = (2.0 * (1.054 / relative_sd).log2()).ceil();
        Ok(Precision(bits.clamp(4.0, 32.0) as u8))
    }
    /// So many bits: 2^`bits` registers, and a relative standard deviation of about `1.054 / 2^(bits / 2)`.
    ///
    /// # Errors
    /// If that is less than 4 or more than 32.
    pub fn of_bits(bits: u32) -> Result<Self> {
        match bits {
            4..=32 => Ok(Precision(bits as u8)),
            _ => Err(Error::InvalidArgument(format!("p ({bits}) must be at least 4 and at most 32"))),
        }
    }
    fn registers(self) -> usize {
        1 << self.0
    }
    /// The bits of a hash that are left for the rank.
    fn rest(self) -> u8 {
        64 - self.0
    }
}

/// The hash that sketches are made of; its bits are mixed better than those which spread keys.
#[inline(always)]
fn sketch_hash<T: Hash + ?Sized>(value: &T) -> u64 {
    foldhash::quality::FixedState::with_seed(0x2f0b_4c47).hash_one(value)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Registers {
    /// Those that are set, while they are few.
    Sparse(BTreeMap<u32, u8>),
    Dense(Vec<u8>),
}

/// A sketch of a set: adding is idempotent and merging is commutative, so the order of either plays no part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HyperLogLog {
    precision: Precision,
    registers: Registers,
}

impl HyperLogLog {
    /// Of nothing.
    pub fn new(precision: Precision) -> Self {
        HyperLogLog { precision, registers: Registers::Sparse(BTreeMap::new()) }
    }

    /// Adds an element.
    #[inline]
    pub fn add<T: Hash + ?Sized>(&mut self, value: &T) {
        let hash = sketch_hash(value);
        let rest = self.precision.rest();
        let register = (hash >> rest) as u32;
        let zeros = (hash << self.precision.0).leading_zeros() as u8;
        self.raise(register, zeros.min(rest) + 1);
    }

    #[inline]
    fn raise(&mut self, register: u32, rank: u8) {
        match &mut self.registers {
            Registers::Dense(all) => {
                let held = &mut all[register as usize];
                *held = rank.max(*held);
            }
            Registers::Sparse(set) => {
                let held = set.entry(register).or_default();
                *held = rank.max(*held);
                // An entry of the tree takes about as much as sixteen registers.
                if set.len() * 16 > self.precision.registers() {
                    self.make_dense();
                }
            }
        }
    }

    #[cold]
    fn make_dense(&mut self) {
        if let Registers::Sparse(set) = &self.registers {
            let mut all = vec![0; self.precision.registers()];
            for (register, rank) in set {
                all[*register as usize] = *rank;
            }
            self.registers = Registers::Dense(all);
        }
    }

    /// Adds the elements of another sketch, of the same precision.
    pub fn merge(&mut self, other: &HyperLogLog) {
        match &other.registers {
            Registers::Sparse(set) => set.iter().for_each(|(register, rank)| self.raise(*register, *rank)),
            Registers::Dense(theirs) => {
                self.make_dense();
                if let Registers::Dense(ours) = &mut self.registers {
                    for (held, rank) in ours.iter_mut().zip(theirs) {
                        *held = (*rank).max(*held);
                    }
                }
            }
        }
    }

    /// About how many different elements were added.
    pub fn estimate(&self) -> u64 {
        let m = self.precision.registers() as f64;
        let q = self.precision.rest() as usize;
        // How many registers hold which rank.
        let mut counts = [0u64; 66];
        match &self.registers {
            Registers::Sparse(set) => {
                counts[0] = (self.precision.registers() - set.len()) as u64;
                set.values().for_each(|rank| counts[usize::from(*rank)] += 1);
            }
            Registers::Dense(all) => all.iter().for_each(|rank| counts[usize::from(*rank)] += 1),
        }
        let mut z = m * tau(1.0 - counts[q + 1] as f64 / m);
        for count in counts[1..=q].iter().rev() {
            z = 0.5 * (z + *count as f64);
        }
        z += m * sigma(counts[0] as f64 / m);
        (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
    }
}

/// The share of empty registers, as the estimate weighs it; infinite if all are empty.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The share of registers that are not full, as the estimate weighs it.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// Sketches a partition's elements.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sketch(pub Precision);

impl<T: Hash + 'static> Action<T> for Sketch {
    type Out = HyperLogLog;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> HyperLogLog {
        struct Adding(HyperLogLog);
        impl<T: Hash> Sink<T> for Adding {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
                self.0.add(item.get());
                true
            }
        }
        let mut sketch = Adding(HyperLogLog::new(self.0));
        input.drive(&mut sketch);
        sketch.0
    }
    fn size(&self, out: &HyperLogLog) -> u64 {
        match &out.registers {
            Registers::Sparse(set) => set.len() as u64 * 5,
            Registers::Dense(all) => all.len() as u64,
        }
    }
}

/// Sketches the values of each key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sketching(pub Precision);

impl<V: Hash> Aggregate<V> for Sketching {
    type Part = HyperLogLog;
    fn create<L: Lent<V>>(&self, value: L) -> HyperLogLog {
        self.add(HyperLogLog::new(self.0), value)
    }
    fn add<L: Lent<V>>(&self, mut part: HyperLogLog, mut value: L) -> HyperLogLog {
        part.add(value.get());
        part
    }
    fn merge(&self, mut a: HyperLogLog, b: HyperLogLog) -> HyperLogLog {
        a.merge(&b);
        a
    }
}

/// A sketch's estimate.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Estimate;

impl Func<HyperLogLog> for Estimate {
    type Out = u64;
    fn call(&self, sketch: HyperLogLog) -> u64 {
        sketch.estimate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_stay_within_four_deviations_from_one_element_to_many() {
        for relative_sd in [0.3, 0.05, 0.01] {
            let mut sketch = HyperLogLog::new(Precision::of(relative_sd).unwrap());
            let mut check = 1u64;
            for i in 1..=200_000u64 {
                sketch.add(&i);
                sketch.add(&(i / 2 + 1));
                if i == check {
                    let off = (sketch.estimate() as f64 - i as f64).abs();
                    assert!(off <= 4.0 * relative_sd * i as f64 + 0.5, "{i} at {relative_sd}: off by {off}");
                    check = check * 3 + 1;
                }
            }
        }
    }

    #[test]
    fn merged_sketches_are_those_of_all_elements() {
        let precision = Precision::of(0.05).unwrap();
        let of = |range: std::ops::Range<u64>| {
            let mut sketch = HyperLogLog::new(precision);
            range.for_each(|i| sketch.add(&i));
            sketch
        };
        for (a, b) in [(0..10, 5..20), (0..10, 0..5_000), (0..5_000, 0..10), (0..4_000, 2_000..6_000)] {
            let mut merged = of(a.clone());
            merged.merge(&of(b.clone()));
            assert_eq!(merged.estimate(), of(a.start..b.end.max(a.end)).estimate());
        }
    }

    #[test]
    fn an_accuracy_out_of_reach_is_an_error() {
        for bad in [0.000017, 0.0, -1.0, f64::NAN] {
            assert!(Precision::of(bad).is_err(), "{bad}");
        }
        assert!(Precision::of_bits(3).is_err() && Precision::of_bits(33).is_err());
        assert_eq!(Precision::of(0.05).unwrap(), Precision::of_bits(9).unwrap());
        assert_eq!(Precision::of(0.9).unwrap(), Precision(4));
        assert_eq!(HyperLogLog::new(Precision::of(0.05).unwrap()).estimate(), 0);
    }
}
