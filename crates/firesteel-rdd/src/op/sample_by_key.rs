//! Samples in which each key has a size of its own.

use super::sample::{Dice, Draws, TimesStream, pass_on_with};
use crate::{
    Key,
    action::{Action, Input, check_boundary, sampled_size},
    failure::TaskFailure,
    func::Env,
    pipeline::{Pipeline, Plan},
    shuffle::Table,
    stream::{Lent, Sink, Stream},
    task::Task,
};
use firesteel_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, OnceLock},
};

fn check_fractions<K>(fractions: &HashMap<K, f64>) -> Result<()> {
    match fractions.values().find(|fraction| !(**fraction >= 0.0 && fraction.is_finite())) {
        Some(bad) => Err(Error::InvalidArgument(format!("Negative sampling rates: a key's fraction is {bad:?}"))),
        None => Ok(()),
    }
}

const NO_FRACTION: &str =
    "a key is not among the sampling fractions: give one for each key, 0 for those that are to be left out";

/// `sample_by_key`: each pair by the chance that its key has.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "P: Pipeline, K: Key")]
pub struct SampleByKey<P, K> {
    parent: P,
    with_replacement: bool,
    fractions: Env<HashMap<K, f64>>,
    seed: u64,
}

impl<P, K> SampleByKey<P, K> {
    /// Draws of each key's pairs the fraction that stands in `fractions`, on average.
    pub fn new(parent: P, with_replacement: bool, fractions: HashMap<K, f64>, seed: u64) -> Self {
        SampleByKey { parent, with_replacement, fractions: Env(Arc::new(fractions)), seed }
    }
}

/// Each pair by its key's chance.
pub struct ByFraction<K> {
    fractions: Env<HashMap<K, f64>>,
    with_replacement: bool,
}

impl<K: Key, V> Draws<(K, V)> for ByFraction<K> {
    #[inline]
    fn times(&mut self, (key, _): &(K, V), dice: &mut Dice, step: impl FnMut()) -> u64 {
        let Some(fraction) = self.fractions.0.get(key) else { TaskFailure::User(NO_FRACTION.into()).raise() };
        match self.with_replacement {
            true => dice.poisson(*fraction, step),
            false => u64::from(dice.fraction() < *fraction),
        }
    }
}

impl<K: Key, V: Clone + 'static, P: Pipeline<Item = (K, V)>> Pipeline for SampleByKey<P, K> {
    type Item = (K, V);
    type Split = (P::Split, u32);
    type Stream = TimesStream<P::Stream, ByFraction<K>>;

    fn open(&self, (split, index): Self::Split, task: &Task) -> Self::Stream {
        let draws = ByFraction { fractions: self.fractions.clone(), with_replacement: self.with_replacement };
        TimesStream::new(self.parent.open(split, task), draws, Dice::new(self.seed, u64::from(index)), task)
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        check_fractions(&self.fractions.0)?;
        Ok(self.parent.splits(plan)?.into_iter().zip(0..).collect())
    }
    pass_on_with!();
}

/// How many pairs each key of one partition has, and how many are to be drawn of them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: Key")]
pub struct Share<K> {
    index: u32,
    keys: Env<HashMap<K, (u64, u64)>>,
}

/// `sample_by_key_exact`: of each key so many pairs as were counted out for it. That is done by a preparation on the driver.
#[derive(Serialize, Deserialize)]
#[serde(bound = "P: Pipeline, K: Key")]
pub struct SampleByKeyExact<P, K> {
    parent: P,
    with_replacement: bool,
    seed: u64,
    #[serde(skip)]
    shares: Arc<OnceLock<Vec<Share<K>>>>,
}

impl<P: Clone, K> Clone for SampleByKeyExact<P, K> {
    fn clone(&self) -> Self {
        SampleByKeyExact { parent: self.parent.clone(), shares: self.shares.clone(), ..*self }
    }
}

impl<P, K> SampleByKeyExact<P, K> {
    /// Draws from each partition what will be in `shares` when the preparation has run.
    pub fn new(parent: P, with_replacement: bool, seed: u64, shares: Arc<OnceLock<Vec<Share<K>>>>) -> Self {
        SampleByKeyExact { parent, with_replacement, seed, shares }
    }
}

/// As many pairs of each key as its share says.
pub struct ByCount<K> {
    /// For each key the pairs that are still to come, and how many of them are still to be drawn.
    left: HashMap<K, (u64, u64)>,
    with_replacement: bool,
}

impl<K: Key, V> Draws<(K, V)> for ByCount<K> {
    #[inline]
    fn times(&mut self, (key, _): &(K, V), dice: &mut Dice, _: impl FnMut()) -> u64 {
        let Some((pairs, draws)) = self.left.get_mut(key) else { return 0 };
        if *pairs == 0 {
            return 0;
        }
        let times = match self.with_replacement {
            true => dice.binomial(*draws, 1.0 / *pairs as f64),
            false => u64::from(dice.below(*pairs) < *draws),
        };
        *pairs -= 1;
        *draws -= times;
        times
    }
}

impl<K: Key, V: Clone + 'static, P: Pipeline<Item = (K, V)>> Pipeline for SampleByKeyExact<P, K> {
    type Item = (K, V);
    type Split = (P::Split, Share<K>);
    type Stream = TimesStream<P::Stream, ByCount<K>>;

    fn open(&self, (split, share): Self::Split, task: &Task) -> Self::Stream {
        let draws = ByCount { left: (*share.keys.0).clone(), with_replacement: self.with_replacement };
        TimesStream::new(self.parent.open(split, task), draws, Dice::new(self.seed, u64::from(share.index)), task)
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let uncounted = || Error::InvalidArgument("the keys have not been counted yet".into());
        let shares = self.shares.get().ok_or_else(uncounted)?;
        Ok(self.parent.splits(plan)?.into_iter().zip(shares.iter().cloned()).collect())
    }
    pass_on_with!();
}

/// How many pairs each key of a partition has, in the order of first arrival.
#[derive(Clone, Serialize, Deserialize)]
pub struct CountKeys;

impl<K: Key, V: 'static> Action<(K, V)> for CountKeys {
    type Out = Vec<(K, u64)>;
    fn run<S: Stream<Item = (K, V)>>(&self, mut input: Input<S>) -> Self::Out {
        struct Counting<K>(Table<K, u64>);
        impl<K: Key, V> Sink<(K, V)> for Counting<K> {
            #[inline(always)]
            fn push<L: Lent<(K, V)>>(&mut self, mut item: L) -> bool {
                *self.0.entry(&item.get().0, || 0) += 1;
                true
            }
        }
        let mut counting = Counting(Table::new());
        input.drive(&mut counting);
        let counts: Vec<_> = counting.0.into_entries().into_iter().map(|entry| (entry.key, entry.value)).collect();
        check_boundary(&counts);
        counts
    }
    fn size(&self, out: &Self::Out) -> u64 {
        sampled_size(out)
    }
}

/// Deals the sample out to the partitions: of a key with `n` pairs `ceil(fraction * n)` in all, every choice being as likely as
/// any other.
///
/// # Errors
/// A fraction is negative, or there is none for a key that occurs.
pub fn shares_of<K: Key>(
    counts: Vec<Vec<(K, u64)>>,
    fractions: &HashMap<K, f64>,
    with_replacement: bool,
    seed: u64,
) -> Result<Vec<Share<K>>> {
    check_fractions(fractions)?;
    // In the order of first arrival, so that the seed decides all.
    let mut strata: Vec<(K, Vec<(usize, u64)>)> = Vec::new();
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut shares = vec![HashMap::new(); counts.len()];
    for (partition, counts) in counts.into_iter().enumerate() {
        for (key, count) in counts {
            match places.entry(key) {
                Entry::Occupied(at) => strata[*at.get()].1.push((partition, count)),
                Entry::Vacant(slot) => {
                    strata.push((slot.key().clone(), vec![(partition, count)]));
                    slot.insert(strata.len() - 1);
                }
            }
        }
    }
    let mut dice = Dice::new(seed, u64::MAX);
    for (key, counts) in strata {
        let fraction = fractions.get(&key).ok_or_else(|| Error::InvalidArgument(NO_FRACTION.into()))?;
        let sizes: Vec<u64> = counts.iter().map(|(_, count)| *count).collect();
        let total: u64 = sizes.iter().sum();
        let wanted = (fraction * total as f64).ceil() as u64;
        let dealt = match with_replacement {
            true => deal(&sizes, wanted, true, &mut dice),
            false => deal(&sizes, wanted.min(total), false, &mut dice),
        };
        for ((partition, count), draws) in counts.into_iter().zip(dealt) {
            shares[partition].insert(key.clone(), (count, draws));
        }
    }
    Ok((0..).zip(shares).map(|(index, keys)| Share { index, keys: Env(Arc::new(keys)) }).collect())
}

/// How many of `draws` things come out of each urn that holds so many. Without replacement at most as many as there are.
fn deal(urns: &[u64], draws: u64, with_replacement: bool, dice: &mut Dice) -> Vec<u64> {
    let mut total: u64 = urns.iter().sum();
    if !with_replacement && draws > total / 2 {
        let kept_back = deal(urns, total - draws, false, dice);
        return urns.iter().zip(kept_back).map(|(held, kept)| held - kept).collect();
    }
    let mut left = PrefixSums::new(urns);
    let mut dealt = vec![0; urns.len()];
    for _ in 0..draws {
        let urn = left.find(dice.below(total));
        dealt[urn] += 1;
        if !with_replacement {
            left.take_one(urn);
            total -= 1;
        }
    }
    dealt
}

/// Numbers whose running sums can be searched and whose members can be lowered, both in logarithmic time (a Fenwick tree).
struct PrefixSums(Vec<u64>);

impl PrefixSums {
    fn new(numbers: &[u64]) -> Self {
        let mut tree = vec![0; numbers.len() + 1];
        for (i, number) in (1..).zip(numbers) {
            tree[i] += number;
            let next = i + (i & i.wrapping_neg());
            if next < tree.len() {
                tree[next] += tree[i];
            }
        }
        PrefixSums(tree)
    }

    /// The first member up to which the sum is greater than `at`.
    fn find(&self, mut at: u64) -> usize {
        let mut found = 0;
        let mut step = self.0.len().next_power_of_two() / 2;
        while step > 0 {
            if let Some(sum) = self.0.get(found + step)
                && *sum <= at
            {
                at -= sum;
                found += step;
            }
            step /= 2;
        }
        found
    }

    fn take_one(&mut self, member: usize) {
        let mut i = member + 1;
        while i < self.0.len() {
            self.0[i] -= 1;
            i += i & i.wrapping_neg();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn running_sums_are_searched(numbers in prop::collection::vec(0u64..5, 1..40), taken in prop::collection::vec(any::<prop::sample::Index>(), 0..30)) {
            let (mut tree, mut plain) = (PrefixSums::new(&numbers), numbers);
            for index in taken {
                let spread: Vec<usize> = (0..plain.len()).flat_map(|i| vec![i; plain[i] as usize]).collect();
                for (at, member) in spread.iter().enumerate() {
                    prop_assert_eq!(tree.find(at as u64), *member);
                }
                if spread.is_empty() {
                    break;
                }
                let member = *index.get(&spread);
                tree.take_one(member);
                plain[member] -= 1;
            }
        }

        #[test]
        fn what_is_dealt_is_what_was_asked_for(urns in prop::collection::vec(0u64..9, 1..20), part in 0.0..=1.0f64, seed: u64) {
            let total: u64 = urns.iter().sum();
            let draws = (part * total as f64) as u64;
            let dealt = deal(&urns, draws, false, &mut Dice::new(seed, 0));
            prop_assert_eq!(dealt.iter().sum::<u64>(), draws);
            prop_assert!(dealt.iter().zip(&urns).all(|(got, held)| got <= held));
            if total > 0 {
                prop_assert_eq!(deal(&urns, 3 * draws, true, &mut Dice::new(seed, 0)).iter().sum::<u64>(), 3 * draws);
            }
        }
    }

    #[test]
    fn every_pair_is_as_likely_as_any_other() {
        // Two partitions with 2 and 4 pairs of one key, half of them drawn: each should come out in half of the samples.
        let fractions = HashMap::from([('a', 0.5)]);
        let mut seen = [0u32; 6];
        for seed in 0..4_000 {
            let shares = shares_of(vec![vec![('a', 2)], vec![('a', 4)]], &fractions, false, seed).unwrap();
            let mut at = 0;
            for share in shares {
                let mut draws = ByCount { left: (*share.keys.0).clone(), with_replacement: false };
                let mut dice = Dice::new(seed, u64::from(share.index));
                for _ in 0..share.keys.0[&'a'].0 {
                    seen[at] += draws.times(&('a', ()), &mut dice, || {}) as u32;
                    at += 1;
                }
            }
        }
        assert_eq!(seen.iter().sum::<u32>(), 3 * 4_000);
        assert!(seen.iter().all(|times| (1_850..2_150).contains(times)), "{seen:?}");
    }
}
