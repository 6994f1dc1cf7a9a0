//! What RDD operations mean, told by plain vectors of partitions: every record in its partition, in its place.

use firesteel::prelude::*;
use std::{collections::HashMap, hash::Hash};

/// An RDD's elements, partition by partition.
pub(crate) type Parts<T> = Vec<Vec<T>>;
pub(crate) type Pair = (u64, u64);

/// How keys are spread.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Spread {
    Hash(usize),
    Range { bounds: Vec<u64>, ascending: bool },
}

impl Spread {
    pub(crate) fn count(&self) -> usize {
        match self {
            Spread::Hash(n) => *n,
            Spread::Range { bounds, .. } => bounds.len() + 1,
        }
    }
    fn place(&self, key: u64) -> usize {
        match self {
            Spread::Hash(n) => HashPartitioner::new(*n).partition(&key),
            Spread::Range { bounds, ascending } => {
                let at = bounds.iter().filter(|bound| **bound < key).count();
                if *ascending { at } else { bounds.len() - at }
            }
        }
    }
}

/// Spark's default partitioner for RDDs of so many partitions, spread so.
pub(crate) fn default_spread(rdds: &[(usize, Option<&Spread>)]) -> Spread {
    let most = rdds.iter().map(|(count, _)| *count).max().unwrap_or(0);
    let mut best: Option<&Spread> = None;
    for spread in rdds.iter().filter_map(|(_, spread)| *spread).filter(|spread| spread.count() > 0) {
        if best.is_none_or(|best| spread.count() > best.count()) {
            best = Some(spread);
        }
    }
    match best {
        Some(best) if most <= best.count() || (most as f64).log10() - (best.count() as f64).log10() < 1.0 => {
            best.clone()
        }
        _ => Spread::Hash(most),
    }
}

/// Every record in the partition that `place` says, in map order.
fn scatter<T: Clone>(parts: &Parts<T>, count: usize, place: impl Fn(&T) -> usize) -> Parts<T> {
    let mut out = vec![Vec::new(); count];
    // Into no partitions nothing goes.
    for item in parts.iter().flatten().take_while(|_| count > 0) {
        out[place(item)].push(item.clone());
    }
    out
}

/// As [`scatter`], by key; in place where the records lie so already.
pub(crate) fn moved(parts: &Parts<Pair>, now: Option<&Spread>, to: &Spread) -> Parts<Pair> {
    if now == Some(to) { parts.clone() } else { scatter(parts, to.count(), |(k, _)| to.place(*k)) }
}

/// The values of equal keys merged, keys in the order of their first arrival.
fn merged<K: Hash + Eq + Clone, V: Clone>(records: &[(K, V)], merge: impl Fn(V, V) -> V) -> Vec<(K, V)> {
    let mut at: HashMap<K, usize> = HashMap::new();
    let mut out: Vec<(K, V)> = Vec::new();
    for (k, v) in records {
        match at.get(k) {
            Some(at) => out[*at].1 = merge(out[*at].1.clone(), v.clone()),
            None => {
                at.insert(k.clone(), out.len());
                out.push((k.clone(), v.clone()));
            }
        }
    }
    out
}

/// `reduce_by_key`: combined before the shuffle and after it, or in place.
pub(crate) fn reduced(
    parts: &Parts<Pair>,
    now: Option<&Spread>,
    to: &Spread,
    f: impl Fn(u64, u64) -> u64,
) -> Parts<Pair> {
    let combined: Parts<Pair> = parts.iter().map(|part| merged(part, &f)).collect();
    if now == Some(to) {
        return combined;
    }
    moved(&combined, now, to).iter().map(|part| merged(part, &f)).collect()
}

/// `group_by_key`.
pub(crate) fn grouped(parts: &Parts<Pair>, now: Option<&Spread>, to: &Spread) -> Parts<(u64, Vec<u64>)> {
    let group = |part: &Vec<Pair>| {
        let singles: Vec<(u64, Vec<u64>)> = part.iter().map(|(k, v)| (*k, vec![*v])).collect();
        merged(&singles, |a, b| [a, b].concat())
    };
    moved(parts, now, to).iter().map(group).collect()
}

/// `cogroup` of two sides that are spread as `to` says.
pub(crate) fn cogrouped(left: &Parts<Pair>, right: &Parts<Pair>) -> Parts<(u64, (Vec<u64>, Vec<u64>))> {
    let row = |(left, right): (&Vec<Pair>, &Vec<Pair>)| {
        let left = left.iter().map(|(k, v)| (*k, (vec![*v], vec![])));
        let right = right.iter().map(|(k, w)| (*k, (vec![], vec![*w])));
        let all: Vec<(u64, (Vec<u64>, Vec<u64>))> = left.chain(right).collect();
        merged(&all, |a, b| ([a.0, b.0].concat(), [a.1, b.1].concat()))
    };
    left.iter().zip(right).map(row).collect()
}

/// `subtract_by_key` of two sides that are spread alike.
pub(crate) fn without(left: &Parts<Pair>, right: &Parts<Pair>) -> Parts<Pair> {
    let pass = |(left, right): (&Vec<Pair>, &Vec<Pair>)| {
        left.iter().filter(|(k, _)| right.iter().all(|(gone, _)| gone != k)).copied().collect()
    };
    left.iter().zip(right).map(pass).collect()
}

fn hash_place<T: Hash>(n: usize) -> impl Fn(&T) -> usize {
    move |item| HashPartitioner::new(n).partition(item)
}

/// `distinct` by a shuffle.
pub(crate) fn distinct<T: Hash + Eq + Clone>(parts: &Parts<T>, n: usize) -> Parts<T> {
    distinct_in_place(&scatter(&distinct_in_place(parts), n, hash_place(n)))
}

/// `distinct` where equal elements share a partition.
pub(crate) fn distinct_in_place<T: Hash + Eq + Clone>(parts: &Parts<T>) -> Parts<T> {
    let once = |part: &Vec<T>| {
        let keys: Vec<(T, ())> = part.iter().map(|item| (item.clone(), ())).collect();
        merged(&keys, |(), ()| ()).into_iter().map(|(item, ())| item).collect()
    };
    parts.iter().map(once).collect()
}

/// `intersection` into `n` partitions by hash.
pub(crate) fn intersection<T: Hash + Eq + Clone>(left: &Parts<T>, right: &Parts<T>, n: usize) -> Parts<T> {
    let (left, right) = (scatter(left, n, hash_place(n)), scatter(right, n, hash_place(n)));
    let both = |(left, right): (&Vec<T>, Vec<T>)| left.iter().filter(|item| right.contains(item)).cloned().collect();
    distinct_in_place(&left.iter().zip(right).map(both).collect())
}

/// `subtract` into `n` partitions by hash.
pub(crate) fn subtract<T: Hash + Eq + Clone>(left: &Parts<T>, right: &Parts<T>, n: usize) -> Parts<T> {
    let (left, right) = (scatter(left, n, hash_place(n)), scatter(right, n, hash_place(n)));
    let rest = |(left, right): (&Vec<T>, Vec<T>)| left.iter().filter(|item| !right.contains(item)).cloned().collect();
    left.iter().zip(right).map(rest).collect()
}

/// Cuts at equal numbers of keys, as the engine makes them of a sample that has all keys.
fn bounds(mut keys: Vec<u64>, wanted: usize) -> Vec<u64> {
    keys.sort_unstable();
    let partitions = wanted.min(keys.len());
    let step = keys.len() as f64 / partitions as f64;
    let (mut target, mut bounds) = (step, Vec::new());
    for (i, key) in keys.into_iter().enumerate() {
        if (i + 1) as f64 >= target && bounds.len() + 1 < partitions && bounds.last().is_none_or(|last| key > *last) {
            bounds.push(key);
            target += step;
        }
    }
    bounds
}

/// Whether a sort into `wanted` partitions sees every key when it samples.
pub(crate) fn is_fully_sampled<T>(parts: &Parts<T>, wanted: usize) -> bool {
    let each = (60.0 * wanted as f64 / parts.len().max(1) as f64).ceil() as usize;
    wanted <= 1 || parts.iter().all(|part| part.len() <= each)
}

/// A sort by a key, and how it spreads that key.
pub(crate) fn sorted<T: Clone>(
    parts: &Parts<T>,
    wanted: usize,
    ascending: bool,
    key: impl Fn(&T) -> u64,
) -> (Parts<T>, Spread) {
    let keys: Vec<u64> = parts.iter().flatten().map(&key).collect();
    let bounds = if wanted <= 1 || keys.is_empty() { Vec::new() } else { bounds(keys, wanted) };
    let spread = Spread::Range { bounds, ascending };
    let mut out = scatter(parts, spread.count(), |item| spread.place(key(item)));
    for part in &mut out {
        match ascending {
            true => part.sort_by_key(&key),
            false => part.sort_by_key(|item| std::cmp::Reverse(key(item))),
        }
    }
    (out, spread)
}

/// `repartition`: dealt out one by one, from a place that depends on the partition.
pub(crate) fn dealt<T: Clone>(parts: &Parts<T>, n: usize) -> Parts<T> {
    let mut out = vec![Vec::new(); n];
    for (p, part) in (0u32..).zip(parts) {
        let start = firesteel_rdd::hash_of(&p) as usize % n;
        for (i, item) in part.iter().enumerate() {
            out[(start + i) % n].push(item.clone());
        }
    }
    out
}

/// `coalesce`: neighbours together.
pub(crate) fn coalesced<T: Clone>(parts: &Parts<T>, n: usize) -> Parts<T> {
    let groups = n.min(parts.len());
    (0..groups).map(|i| parts[i * parts.len() / groups..(i + 1) * parts.len() / groups].concat()).collect()
}

/// `union`.
pub(crate) fn union<T: Clone>(sides: &[(&Parts<T>, Option<&Spread>)]) -> (Parts<T>, Option<Spread>) {
    let sides: Vec<_> = sides.iter().filter(|(parts, _)| !parts.is_empty()).collect();
    if let Some((first, Some(spread))) = sides.first()
        && sides.iter().all(|(_, other)| *other == Some(*spread))
    {
        let part = |p: usize| sides.iter().flat_map(|(parts, _)| parts[p].clone()).collect();
        return ((0..first.len()).map(part).collect(), Some((*spread).clone()));
    }
    (sides.iter().flat_map(|(parts, _)| parts.iter().cloned()).collect(), None)
}

/// `cartesian`.
pub(crate) fn cartesian(left: &Parts<u64>, right: &Parts<u64>) -> Parts<Pair> {
    let pairs = |l: &Vec<u64>, r: &Vec<u64>| l.iter().flat_map(|a| r.iter().map(move |b| (*a, *b))).collect();
    left.iter().flat_map(|l| right.iter().map(move |r| pairs(l, r))).collect()
}

/// `parallelize_n`.
pub(crate) fn sliced<T: Clone>(items: &[T], n: usize) -> Parts<T> {
    (0..n).map(|i| items[i * items.len() / n..(i + 1) * items.len() / n].to_vec()).collect()
}

/// Every element changed in its place.
pub(crate) fn each<T, U>(parts: &Parts<T>, f: impl Fn(&T) -> U) -> Parts<U> {
    parts.iter().map(|part| part.iter().map(&f).collect()).collect()
}
