//! Elements chosen by chance, by a chance that repeats with its seed.

use crate::{
    partitioner::hash_of,
    pipeline::{Pipeline, Plan},
    stream::{Flow, Lent, Own, Sink, Stream},
    task::{Pace, Task},
};
use firesteel_model::{Error, Result};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use serde::{Deserialize, Serialize};

/// A source of chance that repeats: the same seed and place (a partition, say) give the same numbers on every machine.
pub struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// Chance that depends on `seed` and `place`.
    pub fn new(seed: u64, place: u64) -> Self {
        Dice(Xoshiro256PlusPlus::seed_from_u64(hash_of(&(seed, place))))
    }
    /// Any number.
    #[inline(always)]
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }
    /// From 0 to below 1.
    #[inline(always)]
    pub fn fraction(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
    /// How many times an element is drawn that is drawn `mean` times on average. Takes as long as the number is large, and calls
    /// `step` for each that it counts.
    #[inline]
    pub fn poisson(&mut self, mean: f64, mut step: impl FnMut()) -> u64 {
        let (mut time, mut count) = (0.0, 0);
        loop {
            time -= (1.0 - self.fraction()).ln();
            if time >= mean {
                return count;
            }
            count += 1;
            step();
        }
    }
    /// From 0 to below `end`, which is not 0.
    #[inline(always)]
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }
    /// How many of `trials` succeed, each with the same chance. Takes about as long as there are successes.
    pub fn binomial(&mut self, trials: u64, chance: f64) -> u64 {
        if chance <= 0.0 || chance >= 1.0 {
            return if chance > 0.0 { trials } else { 0 };
        }
        // The lengths of runs of failures are geometric.
        let failure = (-chance).ln_1p();
        let (mut left, mut successes) = (trials, 0);
        loop {
            let run = ((1.0 - self.fraction()).ln() / failure).floor();
            if run >= left as f64 {
                return successes;
            }
            left -= run as u64 + 1;
            successes += 1;
        }
    }
    /// Brings elements into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1);
            items.swap(i, j as usize);
        }
    }
}

/// `sample`: each element with a given chance, or, with replacement, any number of times.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sample<P> {
    parent: P,
    with_replacement: bool,
    fraction: f64,
    seed: u64,
}

impl<P> Sample<P> {
    /// Draws `fraction` of `parent`'s elements on average.
    pub fn new(parent: P, with_replacement: bool, fraction: f64, seed: u64) -> Self {
        Sample { parent, with_replacement, fraction, seed }
    }
}

/// `random_split`: the elements whose number, from 0 to 1 by chance, falls into one of several cells side by side.
#[derive(Clone, Serialize, Deserialize)]
pub struct RandomCell<P> {
    parent: P,
    weights: Vec<f64>,
    cell: u32,
    seed: u64,
}

impl<P> RandomCell<P> {
    /// Cell number `cell` of cells whose widths are as `weights`. Those with the same weights and seed share no element.
    pub fn new(parent: P, weights: Vec<f64>, cell: u32, seed: u64) -> Self {
        RandomCell { parent, weights, cell, seed }
    }

    /// Where the cell starts and ends. The last one that has any width ends at infinity, so that rounding loses nothing.
    fn bounds(&self) -> (f64, f64) {
        let total: f64 = self.weights.iter().sum();
        let cell = self.cell as usize;
        let start = |cell: usize| match self.weights[cell..].iter().any(|weight| *weight > 0.0) {
            true => self.weights[..cell].iter().sum::<f64>() / total,
            false => f64::INFINITY,
        };
        (start(cell), start(cell + 1))
    }
}

/// What an operation passes on whose splits are its parent's and something more.
macro_rules! pass_on_with {
    () => {
        fn refers(&self, visit: &mut dyn FnMut(firesteel_model::RddId)) {
            self.parent.refers(visit)
        }
        fn reads(
            &self,
            (split, _): &Self::Split,
            visit: &mut dyn FnMut(firesteel_model::RddId, firesteel_model::PartitionIndex),
        ) {
            self.parent.reads(split, visit)
        }
        fn locations(&self, (split, _): &Self::Split) -> Vec<String> {
            self.parent.locations(split)
        }
    };
}
pub(super) use pass_on_with;

impl<P: Pipeline<Item: Clone>> Pipeline for Sample<P> {
    type Item = P::Item;
    type Split = (P::Split, u32);
    type Stream = SampleStream<P::Stream>;

    fn open(&self, (split, index): Self::Split, task: &Task) -> Self::Stream {
        let input = self.parent.open(split, task);
        let dice = Dice::new(self.seed, u64::from(index));
        match self.with_replacement {
            true => SampleStream::Times(TimesStream::new(input, Mean(self.fraction), dice, task)),
            false => SampleStream::Once(CellStream { input, from: 0.0, to: self.fraction, dice }),
        }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let fraction = self.fraction;
        if !(fraction >= 0.0 && fraction.is_finite()) {
            return Err(Error::InvalidArgument(format!("Fraction must be nonnegative, but got {fraction:?}")));
        }
        if fraction > 1.0 && !self.with_replacement {
            return Err(Error::InvalidArgument(format!(
                "Sampling fraction ({fraction:?}) must be on interval [0, 1]; only with replacement may it be larger"
            )));
        }
        Ok(self.parent.splits(plan)?.into_iter().zip(0..).collect())
    }
    pass_on_with!();
}

impl<P: Pipeline> Pipeline for RandomCell<P> {
    type Item = P::Item;
    type Split = (P::Split, u32);
    type Stream = CellStream<P::Stream>;

    fn open(&self, (split, index): Self::Split, task: &Task) -> Self::Stream {
        let (from, to) = self.bounds();
        CellStream { input: self.parent.open(split, task), from, to, dice: Dice::new(self.seed, u64::from(index)) }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let weights = &self.weights;
        let wrong = |what| Err(Error::InvalidArgument(format!("{what}, but got {weights:?}")));
        if !weights.iter().all(|weight| *weight >= 0.0) {
            return wrong("Weights must be nonnegative");
        }
        let total = weights.iter().sum::<f64>();
        if !(total > 0.0 && total.is_finite()) {
            return wrong("Sum of weights must be positive and finite");
        }
        Ok(self.parent.splits(plan)?.into_iter().zip(0..).collect())
    }
    pass_on_with!();
}

/// The run of [`RandomCell`]: what falls between two bounds passes as it came.
pub struct CellStream<S> {
    input: S,
    from: f64,
    to: f64,
    dice: Dice,
}

struct CellSink<'a, K> {
    from: f64,
    to: f64,
    dice: &'a mut Dice,
    sink: &'a mut K,
}

impl<T, K: Sink<T>> Sink<T> for CellSink<'_, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        let at = self.dice.fraction();
        !(at >= self.from && at < self.to) || self.sink.push(item)
    }
}

impl<S: Stream> Stream for CellStream<S> {
    type Item = S::Item;
    #[inline(always)]
    fn drive<K: Sink<S::Item>>(&mut self, sink: &mut K) -> Flow {
        self.input.drive(&mut CellSink { from: self.from, to: self.to, dice: &mut self.dice, sink })
    }
}

/// The run of [`Sample`].
pub enum SampleStream<S: Stream> {
    /// Each element once or not at all.
    Once(CellStream<S>),
    /// Each element any number of times.
    Times(TimesStream<S, Mean>),
}

impl<S: Stream<Item: Clone>> Stream for SampleStream<S> {
    type Item = S::Item;
    #[inline(always)]
    fn drive<K: Sink<S::Item>>(&mut self, sink: &mut K) -> Flow {
        match self {
            SampleStream::Once(stream) => stream.drive(sink),
            SampleStream::Times(stream) => stream.drive(sink),
        }
    }
}

/// Says how many times an element is drawn.
pub trait Draws<T>: 'static {
    /// Looks at the element and rolls the dice; `step` is called for each that it counts.
    fn times(&mut self, item: &T, dice: &mut Dice, step: impl FnMut()) -> u64;
}

/// Each element so many times on average.
pub struct Mean(f64);

impl<T> Draws<T> for Mean {
    #[inline(always)]
    fn times(&mut self, _: &T, dice: &mut Dice, step: impl FnMut()) -> u64 {
        dice.poisson(self.0, step)
    }
}

/// Pushes each element as many times as it is drawn.
pub struct TimesStream<S: Stream, D> {
    input: S,
    draws: D,
    dice: Dice,
    /// An element, and how many times it is still to be pushed.
    left: Option<(S::Item, u64)>,
    pace: Pace,
}

impl<S: Stream, D> TimesStream<S, D> {
    pub(super) fn new(input: S, draws: D, dice: Dice, task: &Task) -> Self {
        TimesStream { input, draws, dice, left: None, pace: Pace::new(task) }
    }
}

struct TimesSink<'a, T, D, K> {
    draws: &'a mut D,
    dice: &'a mut Dice,
    left: &'a mut Option<(T, u64)>,
    pace: &'a mut Pace,
    sink: &'a mut K,
}

/// Pushes an element so many times; returns whether more are wanted. What a full sink did not take is left.
#[inline(always)]
fn push_times<T: Clone, K: Sink<T>>(
    item: T,
    times: u64,
    left: &mut Option<(T, u64)>,
    pace: &mut Pace,
    sink: &mut K,
) -> bool {
    for pushed in 1..times {
        pace.step();
        if !sink.push(Own(item.clone())) {
            *left = Some((item, times - pushed));
            return false;
        }
    }
    sink.push(Own(item))
}

impl<T: Clone, D: Draws<T>, K: Sink<T>> Sink<T> for TimesSink<'_, T, D, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        match self.draws.times(item.get(), self.dice, || self.pace.step()) {
            0 => true,
            1 => self.sink.push(item),
            times => push_times(item.take(), times, self.left, self.pace, self.sink),
        }
    }
}

impl<S: Stream<Item: Clone>, D: Draws<S::Item>> Stream for TimesStream<S, D> {
    type Item = S::Item;
    #[inline(always)]
    fn drive<K: Sink<S::Item>>(&mut self, sink: &mut K) -> Flow {
        let TimesStream { input, draws, dice, left, pace } = self;
        if let Some((item, times)) = left.take()
            && !push_times(item, times, left, pace, sink)
        {
            return Flow::Full;
        }
        input.drive(&mut TimesSink { draws, dice, left, pace, sink })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_repeats_with_its_seed_and_place() {
        let numbers = |seed, place| (0..4).map(|_| Dice::new(seed, place).number()).collect::<Vec<_>>();
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(2, 1));
        assert_ne!(numbers(1, 2), numbers(1, 3));
    }

    #[test]
    fn poisson_numbers_have_their_mean_and_variance() {
        for mean in [0.1, 1.0, 20.0] {
            let mut dice = Dice::new(7, 0);
            let drawn: Vec<f64> = (0..20_000).map(|_| dice.poisson(mean, || {}) as f64).collect();
            let average = drawn.iter().sum::<f64>() / 20_000.0;
            let variance = drawn.iter().map(|x| (x - average).powi(2)).sum::<f64>() / 20_000.0;
            assert!((average / mean - 1.0).abs() < 0.1 && (variance / mean - 1.0).abs() < 0.1, "{average} {variance}");
        }
        assert_eq!((0..1_000).map(|place| Dice::new(1, place).poisson(0.0, || {})).sum::<u64>(), 0);
    }

    #[test]
    fn binomial_numbers_have_their_mean() {
        for (trials, chance) in [(10, 0.3), (1_000, 0.001), (40, 0.9), (5, 1.0), (0, 0.5)] {
            let mut dice = Dice::new(7, 0);
            let drawn: Vec<u64> = (0..20_000).map(|_| dice.binomial(trials, chance)).collect();
            assert!(drawn.iter().all(|n| *n <= trials));
            let (average, mean) = (drawn.iter().sum::<u64>() as f64 / 20_000.0, trials as f64 * chance);
            assert!((average - mean).abs() <= 0.1 * mean, "{average} for {mean}");
        }
        assert_eq!(Dice::new(1, 1).binomial(1_000, 0.0), 0);
    }

    #[test]
    fn shuffling_keeps_all_and_reaches_every_order() {
        let mut seen = std::collections::BTreeSet::new();
        for place in 0..200 {
            let mut items = [1, 2, 3];
            Dice::new(3, place).shuffle(&mut items);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn cells_lie_side_by_side_up_to_the_end() {
        let bounds = |weights: &[f64]| -> Vec<(f64, f64)> {
            (0..weights.len() as u32).map(|cell| RandomCell::new((), weights.to_vec(), cell, 0).bounds()).collect()
        };
        let end = f64::INFINITY;
        assert_eq!(bounds(&[1.0, 2.0, 1.0]), [(0.0, 0.25), (0.25, 0.75), (0.75, end)]);
        assert_eq!(bounds(&[0.0, 5.0, 0.0]), [(0.0, 0.0), (0.0, end), (end, end)]);
    }
}
