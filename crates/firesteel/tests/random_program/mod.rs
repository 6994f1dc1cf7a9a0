//! Small random programs, and the same on plain vectors.

pub(crate) mod plain;
pub(crate) mod random;

use firesteel::{Data, Key, prelude::*};
use plain::{Pair, Parts, Spread};
use random::Random;
use std::{
    collections::HashSet,
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

/// RDDs, by their ids.
pub(crate) type Precious = Arc<Mutex<HashSet<u64>>>;

/// An RDD of the program, and what its elements are.
#[derive(Clone)]
struct Node<T> {
    name: usize,
    rdd: Rdd<T>,
    parts: Arc<Parts<T>>,
    spread: Option<Spread>,
}

impl<T> Node<T> {
    fn len(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }
    fn known(&self) -> (usize, Option<&Spread>) {
        (self.parts.len(), self.spread.as_ref())
    }
}

/// The program so far.
pub(crate) struct Program {
    sc: Context,
    random: Random,
    /// The RDDs whose blocks are all there is of them; none if there shall be no such RDDs.
    precious: Option<Precious>,
    /// How many times longer its RDDs are than they would be with ample memory; then one key may have more than its task's share.
    scale: usize,
    /// The RDDs that are to be kept in memory.
    pub(crate) in_memory: HashSet<u64>,
    names: usize,
    steps: Arc<Mutex<String>>,
    numbers: Vec<Node<u64>>,
    pairs: Vec<Node<Pair>>,
}

/// No RDD has more elements, times the scale.
const MOST_ELEMENTS: usize = 300;
/// Nor has a partition: the output of a map task with more than 1,024 records is spread, and keys then come part by part, which the model
/// does not.
const MOST_IN_A_PARTITION: usize = 1_000;

pub(crate) const LEVELS: [StorageLevel; 11] = [
    StorageLevel::DISK_ONLY,
    StorageLevel::DISK_ONLY_2,
    StorageLevel::DISK_ONLY_3,
    StorageLevel::MEMORY_ONLY,
    StorageLevel::MEMORY_ONLY_2,
    StorageLevel::MEMORY_ONLY_SER,
    StorageLevel::MEMORY_ONLY_SER_2,
    StorageLevel::MEMORY_AND_DISK,
    StorageLevel::MEMORY_AND_DISK_2,
    StorageLevel::MEMORY_AND_DISK_SER,
    StorageLevel::MEMORY_AND_DISK_SER_2,
];

/// Merges so that the order of what is merged shows.
fn mix(a: u64, b: u64) -> u64 {
    a.wrapping_mul(31).wrapping_add(b)
}

fn mix_all(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(7, mix)
}

/// What is done with a kept list of nodes of either type.
trait Kind: Data + Key + Ord + Debug {
    fn nodes(program: &mut Program) -> &mut Vec<Node<Self>>;
    /// An element made of another.
    fn changed(&self, by: u64) -> Self;
    /// A number made of an element.
    fn weight(&self) -> u64;
}

impl Kind for u64 {
    fn nodes(program: &mut Program) -> &mut Vec<Node<u64>> {
        &mut program.numbers
    }
    fn changed(&self, by: u64) -> u64 {
        (self + by) % 23
    }
    fn weight(&self) -> u64 {
        *self
    }
}

impl Kind for Pair {
    fn nodes(program: &mut Program) -> &mut Vec<Node<Pair>> {
        &mut program.pairs
    }
    fn changed(&self, by: u64) -> Pair {
        ((self.0 + by) % 13, self.1)
    }
    fn weight(&self) -> u64 {
        self.0 ^ self.1
    }
}

impl Program {
    /// Writes down its `steps`.
    pub(crate) fn new(
        sc: &Context,
        random: Random,
        precious: Option<Precious>,
        scale: usize,
        steps: Arc<Mutex<String>>,
    ) -> Self {
        let (sc, in_memory) = (sc.clone(), HashSet::new());
        Program { sc, random, precious, scale, in_memory, names: 0, steps, numbers: Vec::new(), pairs: Vec::new() }
    }

    fn step(&self, text: impl FnOnce() -> String) {
        let _ = writeln!(self.steps.lock().unwrap(), "  {}", text());
    }

    fn add<T: Kind>(&mut self, how: String, rdd: Rdd<T>, parts: Parts<T>, spread: Option<Spread>) {
        let (all, most) = (parts.iter().map(Vec::len).sum::<usize>(), parts.iter().map(Vec::len).max());
        if all > MOST_ELEMENTS * self.scale || most > Some(MOST_IN_A_PARTITION) || parts.len() > 12 {
            return;
        }
        let name = self.names;
        self.names += 1;
        self.step(|| format!("r{name} = {how}"));
        T::nodes(self).push(Node { name, rdd, parts: Arc::new(parts), spread });
    }

    fn any<T: Kind>(&mut self) -> Node<T> {
        let count = T::nodes(self).len();
        let at = self.random.below(count);
        T::nodes(self)[at].clone()
    }

    fn partitions(&mut self) -> usize {
        1 + self.random.below(4)
    }

    fn source(&mut self) {
        let (sc, random) = (self.sc.clone(), &mut self.random);
        let length = random.below(40 * self.scale);
        let n = 1 + random.below(5);
        if random.once_in(12) {
            return match random.once_in(2) {
                true => self.add::<u64>("empty_rdd".into(), sc.empty_rdd(), Vec::new(), None),
                false => self.add::<Pair>("empty_rdd of pairs".into(), sc.empty_rdd(), Vec::new(), None),
            };
        }
        if random.once_in(2) {
            let items: Vec<u64> = (0..length).map(|_| random.next() % 23).collect();
            let parts = plain::sliced(&items, n);
            self.add(format!("parallelize_n({items:?}, {n})"), sc.parallelize_n(items, n).erase(), parts, None);
        } else {
            let items: Vec<Pair> = (0..length).map(|_| (random.next() % 13, random.next() % 100)).collect();
            let parts = plain::sliced(&items, n);
            self.add(format!("parallelize_n({items:?}, {n})"), sc.parallelize_n(items, n).erase(), parts, None);
        }
    }

    /// What can be done with elements of any type.
    fn common<T: Kind>(&mut self) {
        let a = self.any::<T>();
        let (n, by, name) = (self.partitions(), self.random.next() % 5, a.name);
        let (rdd, parts) = (&a.rdd, &*a.parts);
        match self.random.below(18) {
            0 => {
                let made = rdd.map_with(by, |by, x| x.changed(*by)).erase();
                self.add(format!("r{name}.map({by})"), made, plain::each(parts, |x| x.changed(by)), None);
            }
            1 => {
                let made = rdd.filter_with(by, |by, x| x.weight() % 5 != *by).erase();
                let pass = |part: &Vec<T>| part.iter().filter(|x| x.weight() % 5 != by).cloned().collect();
                self.add(format!("r{name}.filter({by})"), made, parts.iter().map(pass).collect(), a.spread.clone());
            }
            2 => {
                let made = rdd.flat_map_with(by, |by, x| vec![x.clone(); (x.weight() % (by + 1)) as usize]).erase();
                let times = |x: &T| vec![x.clone(); (x.weight() % (by + 1)) as usize];
                let parts = parts.iter().map(|part| part.iter().flat_map(times).collect()).collect();
                self.add(format!("r{name}.flat_map({by})"), made, parts, None);
            }
            3 => {
                let made = rdd.map_partitions_with_index(|i, items| items.map(move |x| x.changed(i as u64))).erase();
                let of = |(i, part): (u64, &Vec<T>)| part.iter().map(|x| x.changed(i)).collect();
                let parts = (0..).zip(parts).map(of).collect();
                self.add(format!("r{name}.map_partitions_with_index"), made, parts, None);
            }
            4 => {
                let b = self.any::<T>();
                let (parts, spread) = plain::union(&[(parts, a.spread.as_ref()), (&b.parts, b.spread.as_ref())]);
                self.add(format!("r{name}.union(r{})", b.name), rdd.union(&b.rdd).erase(), parts, spread);
            }
            5 => {
                let (b, c) = (self.any::<T>(), self.any::<T>());
                let sides = [&a, &b, &c].map(|node| (&*node.parts, node.spread.as_ref()));
                let (parts, spread) = plain::union(&sides);
                let made = self.sc.union(&[a.rdd.clone(), b.rdd.clone(), c.rdd.clone()]);
                self.add(format!("union(r{name}, r{}, r{})", b.name, c.name), made, parts, spread);
            }
            6 => match &a.spread {
                Some(Spread::Hash(_) | Spread::Range { .. }) => {
                    let parts = plain::distinct_in_place(parts);
                    self.add(format!("r{name}.distinct"), rdd.distinct().erase(), parts, a.spread.clone());
                }
                None => {
                    let parts = plain::distinct(parts, parts.len());
                    self.add(format!("r{name}.distinct"), rdd.distinct().erase(), parts, None);
                }
            },
            7 if a.spread.is_none() => {
                let made = rdd.distinct_into(n).erase();
                self.add(format!("r{name}.distinct_into({n})"), made, plain::distinct(parts, n), None);
            }
            8 => {
                let b = self.any::<T>();
                let n = parts.len().max(b.parts.len());
                let parts = plain::intersection(parts, &b.parts, n);
                self.add(format!("r{name}.intersection(r{})", b.name), rdd.intersection(&b.rdd).erase(), parts, None);
            }
            9 => {
                let b = self.any::<T>();
                let parts = plain::subtract(parts, &b.parts, n);
                let made = rdd.subtract_into(&b.rdd, n).erase();
                self.add(format!("r{name}.subtract_into(r{}, {n})", b.name), made, parts, None);
            }
            10 => self.add(format!("r{name}.coalesce({n})"), rdd.coalesce(n).erase(), plain::coalesced(parts, n), None),
            11 => {
                self.add(format!("r{name}.repartition({n})"), rdd.repartition(n).erase(), plain::dealt(parts, n), None)
            }
            12 if plain::is_fully_sampled(parts, n) => {
                let ascending = by % 2 == 0;
                let made = rdd.sort_by_n(|x| x.weight() % 7, ascending, n).erase();
                let (parts, _) = plain::sorted(parts, n, ascending, |x| x.weight() % 7);
                self.add(format!("r{name}.sort_by_n({ascending}, {n})"), made, parts, None);
            }
            13 | 14 => {
                let level = LEVELS[self.random.below(LEVELS.len())];
                let made = rdd.persist(level).erase();
                if level.use_memory {
                    self.in_memory.insert(made.id());
                }
                if ![StorageLevel::NONE, level].contains(&rdd.storage_level()) {
                    self.step(|| format!("r{name}.persist({level}) is refused"));
                    assert!(made.count().is_err(), "r{name} is kept already");
                    return;
                }
                self.add(format!("r{name}.persist({level})"), made, parts.clone(), a.spread.clone());
            }
            15 => {
                self.add(format!("r{name}.checkpoint()"), rdd.checkpoint().erase(), parts.clone(), a.spread.clone());
            }
            16 => {
                let Some(precious) = &self.precious else { return };
                let made = rdd.local_checkpoint().erase();
                precious.lock().unwrap().insert(made.id());
                self.add(format!("r{name}.local_checkpoint()"), made, parts.clone(), a.spread.clone());
            }
            _ => {
                // A local checkpoint is refused; all others keep nothing from now on.
                self.step(|| format!("r{name}.unpersist"));
                let _ = rdd.unpersist(by % 2 == 0);
            }
        }
    }

    /// What can be done with numbers alone.
    fn of_numbers(&mut self) {
        let a = self.any::<u64>();
        let (by, name) = (1 + self.random.next() % 5, a.name);
        let (rdd, parts) = (&a.rdd, &*a.parts);
        match self.random.below(4) {
            0 => {
                let made = rdd.map_with(by, |by, x| (x % by, x)).erase();
                self.add(format!("r{name}.map(x % {by}, x)"), made, plain::each(parts, |x| (x % by, *x)), None);
            }
            1 => {
                let made = rdd.zip(&rdd.map_with(by, |by, x| x * by)).erase();
                self.add(format!("r{name}.zip(r{name} * {by})"), made, plain::each(parts, |x| (*x, x * by)), None);
            }
            2 => {
                let mut next = 0;
                let mut numbered = |x: &u64| {
                    next += 1;
                    (*x, next - 1)
                };
                let parts = parts.iter().map(|part| part.iter().map(&mut numbered).collect()).collect();
                self.add(format!("r{name}.zip_with_index"), rdd.zip_with_index().erase(), parts, None);
            }
            _ => {
                let b = self.any::<u64>();
                let parts = plain::cartesian(parts, &b.parts);
                self.add(format!("r{name}.cartesian(r{})", b.name), rdd.cartesian(&b.rdd).erase(), parts, None);
            }
        }
    }

    /// What can be done with pairs alone.
    fn of_pairs(&mut self) {
        let a = self.any::<Pair>();
        let (n, name) = (self.partitions(), a.name);
        let (rdd, parts, now) = (&a.rdd, &*a.parts, a.spread.as_ref());
        let into = self.random.once_in(2);
        let alone = if into { Spread::Hash(n) } else { plain::default_spread(&[a.known()]) };
        match self.random.below(13) {
            0 => {
                let made = rdd.map(|(k, v)| mix(k, v) % 23).erase();
                self.add(format!("r{name}.map(mix)"), made, plain::each(parts, |(k, v)| mix(*k, *v) % 23), None);
            }
            1 => {
                let made = rdd.map(|(k, v)| (v % 13, k)).erase();
                self.add(format!("r{name}.map(swap)"), made, plain::each(parts, |(k, v)| (v % 13, *k)), None);
            }
            2 => {
                let made = rdd.map_values(|v| v * 3 + 1).erase();
                let parts = plain::each(parts, |(k, v)| (*k, v.wrapping_mul(3).wrapping_add(1)));
                if parts.iter().flatten().all(|(_, v)| *v < u64::MAX / 8) {
                    self.add(format!("r{name}.map_values"), made, parts, a.spread.clone());
                }
            }
            3 | 4 => {
                let made = match into {
                    true => rdd.reduce_by_key_into(n, |a, b| mix(a, b) % 1000).erase(),
                    false => rdd.reduce_by_key(|a, b| mix(a, b) % 1000).erase(),
                };
                let parts = plain::reduced(parts, now, &alone, |a, b| mix(a, b) % 1000);
                self.add(format!("r{name}.reduce_by_key({alone:?})"), made, parts, Some(alone));
            }
            5 => {
                let grouped = if into { rdd.group_by_key_into(n) } else { rdd.group_by_key() };
                let made = grouped.map_values(|values| mix_all(values) % 1000).erase();
                let grouped = plain::grouped(parts, now, &alone);
                let parts = plain::each(&grouped, |(k, values)| (*k, mix_all(values.iter().copied()) % 1000));
                self.add(format!("r{name}.group_by_key({alone:?})"), made, parts, Some(alone));
            }
            6 => {
                let to = Spread::Hash(n);
                let parts = plain::moved(parts, now, &to);
                self.add(format!("r{name}.partition_by({n})"), rdd.partition_by(n).erase(), parts, Some(to));
            }
            7..=9 => self.of_two(&a, n, into),
            10 if plain::is_fully_sampled(parts, n) => {
                let (parts, spread) = plain::sorted(parts, n, into, |(k, _)| *k);
                let made = rdd.sort_by_key_n(into, n).erase();
                self.add(format!("r{name}.sort_by_key_n({into}, {n})"), made, parts, Some(spread));
            }
            11 => self.add(format!("r{name}.keys"), rdd.keys().erase(), plain::each(parts, |(k, _)| *k), None),
            _ => {
                let to = Spread::Hash(n);
                let mut parts = plain::moved(parts, None, &to);
                parts.iter_mut().for_each(|part| part.sort_by_key(|(k, _)| *k));
                let made = rdd.repartition_and_sort_within_partitions(n).erase();
                self.add(format!("r{name}.repartition_and_sort({n})"), made, parts, Some(to));
            }
        }
    }

    fn of_two(&mut self, a: &Node<Pair>, n: usize, into: bool) {
        let b = self.any::<Pair>();
        let to = if into { Spread::Hash(n) } else { plain::default_spread(&[a.known(), b.known()]) };
        let (left, right) =
            (plain::moved(&a.parts, a.spread.as_ref(), &to), plain::moved(&b.parts, b.spread.as_ref(), &to));
        let rows = plain::cogrouped(&left, &right);
        let (name, what) = (a.name, self.random.below(4));
        let how = |what: &str| format!("r{name}.{what}(r{}, {to:?})", b.name);
        // What a join makes of the rows, a value for each pair.
        let pairs = |row: fn(&[u64], &[u64]) -> Vec<u64>| -> Parts<Pair> {
            let of = |(k, (v, w)): &(u64, (Vec<u64>, Vec<u64>))| -> Vec<Pair> {
                row(v, w).into_iter().map(|value| (*k, value)).collect()
            };
            rows.iter().map(|part| part.iter().flat_map(of).collect()).collect()
        };
        match what {
            0 => {
                let joined = if into { a.rdd.join_into(&b.rdd, n) } else { a.rdd.join(&b.rdd) };
                let made = joined.map_values(|(v, w)| mix(v, w) % 1000).erase();
                let parts = pairs(every_pair);
                self.add(how("join"), made, parts, Some(to.clone()));
            }
            1 => {
                let joined = match into {
                    true => a.rdd.left_outer_join_into(&b.rdd, n),
                    false => a.rdd.left_outer_join(&b.rdd),
                };
                let made = joined.map_values(|(v, w)| mix(v, w.unwrap_or(5)) % 1000).erase();
                let parts = pairs(|v, w| every_pair(v, if w.is_empty() { &[5] } else { w }));
                self.add(how("left_outer_join"), made, parts, Some(to.clone()));
            }
            2 => {
                let grouped = if into { a.rdd.cogroup_into(&b.rdd, n) } else { a.rdd.cogroup(&b.rdd) };
                let made = grouped.map_values(|(v, w)| mix(mix_all(v), mix_all(w)) % 1000).erase();
                let parts = pairs(|v, w| vec![mix(mix_all(v.iter().copied()), mix_all(w.iter().copied())) % 1000]);
                self.add(how("cogroup"), made, parts, Some(to.clone()));
            }
            _ => {
                let to = match &a.spread {
                    _ if into => Spread::Hash(n),
                    Some(spread) => spread.clone(),
                    None => Spread::Hash(a.parts.len()),
                };
                let made = match into {
                    true => a.rdd.subtract_by_key_into(&b.rdd, n).erase(),
                    false => a.rdd.subtract_by_key(&b.rdd).erase(),
                };
                let (left, right) =
                    (plain::moved(&a.parts, a.spread.as_ref(), &to), plain::moved(&b.parts, b.spread.as_ref(), &to));
                let parts = plain::without(&left, &right);
                self.add(format!("r{name}.subtract_by_key(r{}, {to:?})", b.name), made, parts, Some(to));
            }
        }
    }

    /// The result of a job, unless it failed because one key has more than a task can hold.
    fn fits<T>(&self, result: Result<T>) -> Option<T> {
        match result {
            Err(e) if self.scale > 1 && e.to_string().contains("`aggregate_by_key`") => {
                self.step(|| "one key is too large".into());
                None
            }
            result => Some(result.unwrap()),
        }
    }

    /// Runs jobs over a node and compares.
    fn check<T: Kind>(&mut self, node: &Node<T>) {
        let name = node.name;
        let what = self.random.below(4);
        self.step(|| format!("check r{name} ({what})"));
        match what {
            0 => {
                let n = self.random.below(node.len() + 2);
                let first: Vec<T> = node.parts.iter().flatten().take(n).cloned().collect();
                let Some(taken) = self.fits(node.rdd.take(n)) else { return };
                assert_eq!(taken, first, "take({n}) of r{name}");
            }
            1 => {
                let Some(count) = self.fits(node.rdd.count()) else { return };
                assert_eq!(count, node.len() as u64, "count of r{name}");
            }
            _ => {}
        }
        let Some(parts) = self.fits(node.rdd.glom().collect()) else { return };
        assert_eq!(parts, *node.parts, "r{name}");
        assert_eq!(node.rdd.num_partitions().unwrap(), node.parts.len(), "partitions of r{name}");
        assert_eq!(node.rdd.partitioner().unwrap().is_some(), node.spread.is_some(), "partitioner of r{name}");
    }

    fn check_any(&mut self) {
        match self.random.once_in(2) {
            true => {
                let node = self.any::<u64>();
                self.check(&node);
            }
            false => {
                let node = self.any::<Pair>();
                self.check(&node);
            }
        }
    }

    fn forget_any(&mut self) {
        let at = self.random.below(self.numbers.len().max(self.pairs.len()));
        if self.numbers.len() > 1 && at < self.numbers.len() {
            let node = self.numbers.swap_remove(at);
            self.step(|| format!("drop r{}", node.name));
        }
        if self.pairs.len() > 1 && at < self.pairs.len() {
            let node = self.pairs.swap_remove(at);
            self.step(|| format!("drop r{}", node.name));
        }
    }

    /// Makes up a program, runs it, and compares.
    pub(crate) fn run(&mut self) {
        for _ in 0..3 {
            self.source();
        }
        let sc = self.sc.clone();
        self.add(
            "range_n(0..10, 3)".into(),
            sc.range_n(0..10, 3).erase(),
            plain::sliced(&(0..10).collect::<Vec<_>>(), 3),
            None,
        );
        let pairs: Vec<Pair> = (0..10).map(|i| (i % 4, i)).collect();
        self.add("(i % 4, i)".into(), sc.parallelize_n(pairs.clone(), 2).erase(), plain::sliced(&pairs, 2), None);
        for _ in 0..6 + self.random.below(18) {
            match self.random.below(9) {
                0..=1 => self.common::<u64>(),
                2..=3 => self.common::<Pair>(),
                4 => self.of_numbers(),
                5..=6 => self.of_pairs(),
                7 => self.check_any(),
                _ => self.forget_any(),
            }
        }
        if self.scale > 1 {
            self.keep_much::<u64>();
            self.keep_much::<Pair>();
        }
        let last = (self.numbers.last().cloned(), self.pairs.last().cloned());
        if let Some(node) = last.0 {
            self.check(&node);
        }
        if let Some(node) = last.1 {
            self.check(&node);
            // What was computed once is there, or is made again.
            self.check(&node);
        }
        if self.random.once_in(3) {
            self.check_at_once();
        }
    }

    /// Keeps more than there is room for, and reads it again.
    fn keep_much<T: Kind>(&mut self) {
        let mut kept = Vec::new();
        for _ in 0..4 {
            let (a, level) = (self.any::<T>(), LEVELS[self.random.below(LEVELS.len())]);
            let made = a.rdd.map(|x| x).persist(level).erase();
            if level.use_memory {
                self.in_memory.insert(made.id());
            }
            self.add(format!("r{}.map(x).persist({level})", a.name), made, (*a.parts).clone(), None);
            kept.extend(T::nodes(self).last().cloned());
        }
        kept.iter().chain(&kept).for_each(|node| self.check(node));
    }

    /// Jobs from two threads of the driver.
    fn check_at_once(&mut self) {
        let (numbers, pairs) = (self.any::<u64>(), self.any::<Pair>());
        self.step(|| format!("check r{} and r{} at once", numbers.name, pairs.name));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| numbers.rdd.glom().collect());
            if let Some(parts) = self.fits(pairs.rdd.glom().collect()) {
                assert_eq!(parts, *pairs.parts, "r{}", pairs.name);
            }
            if let Some(parts) = self.fits(other.join().unwrap()) {
                assert_eq!(parts, *numbers.parts, "r{}", numbers.name);
            }
        });
    }
}

/// What a join makes of a key's values: left by left, unless there are more right ones.
fn every_pair(v: &[u64], w: &[u64]) -> Vec<u64> {
    let value = |v: &u64, w: &u64| mix(*v, *w) % 1000;
    if v.len() >= w.len() {
        v.iter().flat_map(|v| w.iter().map(move |w| value(v, w))).collect()
    } else {
        w.iter().flat_map(|w| v.iter().map(move |v| value(v, w))).collect()
    }
}
