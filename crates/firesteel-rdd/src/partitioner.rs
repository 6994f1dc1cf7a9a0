//! Which partition a key lives in.

use crate::Data;
use firesteel_code::{CodeRef, Named, code_ref};
use firesteel_store::record;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    any::{Any, TypeId},
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    marker::PhantomData,
    sync::Arc,
};

/// The hash that decides everything in a shuffle: the same on every machine and in every run.
#[inline(always)]
pub fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    foldhash::fast::FixedState::with_seed(0x5157).hash_one(key)
}

/// Says which partition a key lives in. The user's own partitioners implement it; a number of partitions is one as well (it means
/// [`HashPartitioner`]).
///
/// Two RDDs whose partitioners are equal are joined without a shuffle, so equal partitioners must send equal keys to equal
/// partitions, and `partition` must depend on nothing but the key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which partition a key of type `{K}` lives in",
    label = "not a `Partitioner<{K}>`",
    note = "say a number of partitions as a `usize`, a `HashPartitioner`, a `RangePartitioner`, or a type of your own that implements `Partitioner<{K}>`"
)]
pub trait Partitioner<K: ?Sized>: Data + PartialEq {
    /// How many partitions there are.
    fn num_partitions(&self) -> usize;
    /// Where `key` lives: less than [`num_partitions`](Partitioner::num_partitions), else the task fails.
    fn partition(&self, key: &K) -> usize;
}

/// Spreads keys by their hash.
///
/// ```
/// use firesteel_rdd::{HashPartitioner, Partitioner};
/// let by_hash = HashPartitioner::new(8);
/// assert!(by_hash.partition("spark") < 8);
/// assert_eq!(Partitioner::<str>::num_partitions(&by_hash), 8);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HashPartitioner {
    partitions: usize,
}

impl HashPartitioner {
    /// Spreads keys over so many partitions.
    pub fn new(partitions: usize) -> Self {
        HashPartitioner { partitions }
    }
}

#[inline(always)]
fn by_hash(hash: u64, partitions: usize) -> usize {
    // The high bits choose the partition; tables inside a partition use the low ones.
    (((hash >> 32) * partitions as u64) >> 32) as usize
}

impl<K: Hash + ?Sized> Partitioner<K> for HashPartitioner {
    fn num_partitions(&self) -> usize {
        self.partitions
    }
    fn partition(&self, key: &K) -> usize {
        by_hash(hash_of(key), self.partitions)
    }
}

impl<K: Hash + ?Sized> Partitioner<K> for usize {
    fn num_partitions(&self) -> usize {
        *self
    }
    fn partition(&self, key: &K) -> usize {
        by_hash(hash_of(key), *self)
    }
}

/// Spreads keys by ranges: all keys of a partition are less than those of the next (greater, if descending).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RangePartitioner<K> {
    bounds: Vec<K>,
    ascending: bool,
}

/// So many keys are sampled for each partition that is wanted, unless said otherwise.
pub const SAMPLES_PER_PARTITION: usize = 20;

/// What a [`RangePartitioner`] can find its bounds in: an `Rdd` of pairs whose keys have a total order.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no keys to find ranges of",
    label = "not an `Rdd` of pairs whose keys have a total order"
)]
pub trait RangeSource {
    /// The keys.
    type Key;
    /// Bounds for at most so many partitions, from a sample of about so many keys for each of them.
    ///
    /// # Errors
    /// If the sampling job fails.
    #[track_caller]
    fn range_partitioner(
        &self,
        partitions: usize,
        ascending: bool,
        samples: usize,
    ) -> firesteel_model::Result<RangePartitioner<Self::Key>>;
}

impl<K> RangePartitioner<K> {
    /// Ranges of about equal numbers of pairs, ascending, found by sampling `rdd`'s keys: as
    /// `sort_by_key` does. Runs a job (two, if partitions are of very different sizes), unless at most one partition is wanted. There
    /// are fewer partitions than asked for if there are fewer different keys in the sample.
    ///
    /// # Errors
    /// If that job fails.
    #[track_caller]
    pub fn new<R: RangeSource<Key = K>>(partitions: usize, rdd: &R) -> firesteel_model::Result<Self> {
        rdd.range_partitioner(partitions, true, SAMPLES_PER_PARTITION)
    }

    /// [`new`](Self::new) in either direction, from a sample of about so many keys for each partition (20 there): more make ranges of
    /// more equal sizes. At most a million keys are sampled in all.
    ///
    /// # Errors
    /// As `new`; if no key is to be sampled.
    #[track_caller]
    pub fn sampled<R: RangeSource<Key = K>>(
        partitions: usize,
        rdd: &R,
        ascending: bool,
        samples_per_partition: usize,
    ) -> firesteel_model::Result<Self> {
        rdd.range_partitioner(partitions, ascending, samples_per_partition)
    }
}

impl<K: Data + Ord> RangePartitioner<K> {
    /// Cuts at the given bounds, which are sorted and freed of duplicates here: `n` bounds make `n + 1` partitions, and a key
    /// equal to a bound lives before it.
    pub fn from_bounds(mut bounds: Vec<K>, ascending: bool) -> Self {
        bounds.sort();
        bounds.dedup();
        RangePartitioner { bounds, ascending }
    }
    /// The greatest key of each partition but the last.
    pub fn bounds(&self) -> &[K] {
        &self.bounds
    }
    /// Whether keys grow from partition to partition.
    pub fn is_ascending(&self) -> bool {
        self.ascending
    }
}

impl<K: Data + Ord> Partitioner<K> for RangePartitioner<K> {
    fn num_partitions(&self) -> usize {
        self.bounds.len() + 1
    }
    fn partition(&self, key: &K) -> usize {
        let at = self.bounds.partition_point(|bound| bound < key);
        if self.ascending { at } else { self.bounds.len() - at }
    }
}

trait DynPartitioner<K>: Send + Sync {
    fn partition(&self, key: &K) -> usize;
    fn wire(&self) -> Result<(CodeRef, Vec<u8>), String>;
    fn same(&self, other: &dyn DynPartitioner<K>) -> bool;
    fn as_any(&self) -> &dyn Any;
}

struct Custom<X>(X);

impl<K: 'static, X: Partitioner<K>> DynPartitioner<K> for Custom<X> {
    fn partition(&self, key: &K) -> usize {
        self.0.partition(key)
    }
    fn wire(&self) -> Result<(CodeRef, Vec<u8>), String> {
        Ok((code_ref::<DecodeCustom<K, X>>(), record::to_vec(&self.0).map_err(|e| e.to_string())?))
    }
    fn same(&self, other: &dyn DynPartitioner<K>) -> bool {
        other.as_any().downcast_ref::<X>().is_some_and(|other| *other == self.0)
    }
    fn as_any(&self) -> &dyn Any {
        &self.0
    }
}

type DecodeFn<K> = fn(&[u8]) -> Result<KeyPartitioner<K>, String>;
struct DecodeCustom<K, X>(PhantomData<fn() -> (K, X)>);

impl<K: 'static, X: Partitioner<K>> Named for DecodeCustom<K, X> {
    type Sig = DecodeFn<K>;
    const FN: DecodeFn<K> = |bytes| {
        let inner: X = record::from_slice(bytes).map_err(|e| e.to_string())?;
        Ok(KeyPartitioner::of(inner))
    };
}

/// A partitioner of keys `K` whose own type is forgotten; by hash if nothing else is said.
pub struct KeyPartitioner<K> {
    count: usize,
    by_hash: bool,
    /// Absent only where the engine itself chose to go by hash, for keys that have one.
    custom: Option<Arc<dyn DynPartitioner<K>>>,
}

impl<K> Clone for KeyPartitioner<K> {
    fn clone(&self) -> Self {
        KeyPartitioner { count: self.count, by_hash: self.by_hash, custom: self.custom.clone() }
    }
}

impl<K: 'static> KeyPartitioner<K> {
    /// By hash into so many partitions.
    pub fn hash(partitions: usize) -> Self {
        KeyPartitioner { count: partitions, by_hash: true, custom: None }
    }

    /// Forgets a partitioner's type. A number and a [`HashPartitioner`] of it become the same.
    pub fn of<X: Partitioner<K>>(partitioner: X) -> Self {
        let count = partitioner.num_partitions();
        let kind = TypeId::of::<X>();
        let by_hash = kind == TypeId::of::<usize>() || kind == TypeId::of::<HashPartitioner>();
        KeyPartitioner { count, by_hash, custom: Some(Arc::new(Custom(partitioner))) }
    }

    /// The partitioner itself, if it is an `X`.
    pub fn downcast<X: 'static>(&self) -> Option<&X> {
        self.custom.as_ref()?.as_any().downcast_ref()
    }

    /// How many partitions.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether it is a [`HashPartitioner`].
    pub fn is_by_hash(&self) -> bool {
        self.by_hash
    }

    /// The key's partition and its hash. A partition out of range fails the task.
    #[inline(always)]
    pub fn place(&self, key: &K) -> (usize, u64)
    where
        K: Hash,
    {
        let hash = hash_of(key);
        (self.place_hashed(hash, || key), hash)
    }

    /// The partition of a key of this hash, which is made only for a partitioner of the user's. One out of range fails the task.
    #[inline(always)]
    pub(crate) fn place_hashed<B: Borrow<K>>(&self, hash: u64, key: impl FnOnce() -> B) -> usize {
        match &self.custom {
            Some(custom) if !self.by_hash => self.checked(custom.partition(key().borrow())),
            _ => by_hash(hash, self.count),
        }
    }

    /// The partition of a key that need not have a hash (sorts).
    #[inline(always)]
    pub fn place_unhashed(&self, key: &K) -> usize {
        match &self.custom {
            None => unreachable!("the engine goes by hash for keys that have one only"),
            Some(custom) => self.checked(custom.partition(key)),
        }
    }

    /// The way to find the partitions of many keys. `rank` tells a key's number in the order of keys, if its type has one.
    pub(crate) fn ranges(&self, rank: impl Fn(&K) -> Option<u64>) -> Ranges<'_, K>
    where
        K: Data + Ord,
    {
        let ranked = self.downcast::<RangePartitioner<K>>().and_then(|ranges| Ranked::of(ranges, rank));
        ranked.map_or(Ranges::Any(self), Ranges::Ranked)
    }

    #[inline(always)]
    fn checked(&self, partition: usize) -> usize {
        if partition >= self.count {
            out_of_range(partition, self.count)
        }
        partition
    }
}

/// See [`KeyPartitioner::ranges`].
pub(crate) enum Ranges<'a, K> {
    Any(&'a KeyPartitioner<K>),
    Ranked(Ranked),
}

impl<K: 'static> Ranges<'_, K> {
    /// As [`KeyPartitioner::place_unhashed`]; `rank` is the key's.
    #[inline(always)]
    pub(crate) fn place(&self, key: &K, rank: Option<u64>) -> usize {
        match (self, rank) {
            (Ranges::Ranked(ranked), Some(rank)) => ranked.place(rank),
            (Ranges::Ranked(_), None) => unreachable!("all keys of a type have a number, or none"),
            (Ranges::Any(partitioner), _) => partitioner.place_unhashed(key),
        }
    }
}

/// The bounds of a [`RangePartitioner`] as numbers, and cells of equal width over them: most cells have no bound in them, so that most
/// keys are compared with none.
pub(crate) struct Ranked {
    bounds: Vec<u64>,
    ascending: bool,
    least: u64,
    /// A cell is `1 << shift` wide.
    shift: u32,
    /// How many bounds come before each cell; and how many there are.
    before: Vec<u32>,
}

/// So many cells there are.
const CELLS: usize = 1 << 10;

impl Ranked {
    fn of<K: Data + Ord>(ranges: &RangePartitioner<K>, rank: impl Fn(&K) -> Option<u64>) -> Option<Self> {
        let bounds: Vec<u64> = ranges.bounds.iter().map(rank).collect::<Option<_>>()?;
        let (least, most) = (*bounds.first()?, *bounds.last()?);
        let shift = (u64::BITS - (most - least).leading_zeros()).saturating_sub(CELLS.ilog2());
        let mut ranked = Ranked { bounds, ascending: ranges.ascending, least, shift, before: vec![0; CELLS + 1] };
        for at in 0..ranked.bounds.len() {
            let cell = ranked.cell(ranked.bounds[at]);
            ranked.before[cell + 1] += 1;
        }
        (1..=CELLS).for_each(|cell| ranked.before[cell] += ranked.before[cell - 1]);
        Some(ranked)
    }

    /// Greater numbers are in no lower cell.
    #[inline(always)]
    fn cell(&self, number: u64) -> usize {
        ((number.saturating_sub(self.least) >> self.shift) as usize).min(CELLS - 1)
    }

    #[inline(always)]
    fn place(&self, number: u64) -> usize {
        let cell = self.cell(number);
        let (from, to) = (self.before[cell] as usize, self.before[cell + 1] as usize);
        let mut at = from;
        if from < to {
            at += self.bounds[from..to].partition_point(|bound| *bound < number);
        }
        if self.ascending { at } else { self.bounds.len() - at }
    }
}

#[cold]
fn out_of_range(partition: usize, count: usize) -> ! {
    crate::failure::TaskFailure::User(format!(
        "a partitioner of {count} partitions sent a key to partition {partition}: `partition` must be less than `num_partitions`"
    ))
    .raise()
}

impl<K: 'static> PartialEq for KeyPartitioner<K> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count
            && self.by_hash == other.by_hash
            && match (&self.custom, &other.custom) {
                (Some(a), Some(b)) if !self.by_hash => a.same(&**b),
                _ => true,
            }
    }
}

impl<K> fmt::Debug for KeyPartitioner<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", if self.by_hash { "hash" } else { "partitioner" }, self.count)
    }
}

impl<K> Serialize for KeyPartitioner<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let custom = match &self.custom {
            None => None,
            Some(custom) => Some(custom.wire().map_err(serde::ser::Error::custom)?),
        };
        (self.count, custom).serialize(serializer)
    }
}

impl<'de, K: 'static> Deserialize<'de> for KeyPartitioner<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (count, custom) = <(usize, Option<(CodeRef, Vec<u8>)>)>::deserialize(deserializer)?;
        match custom {
            None => Ok(Self::hash(count)),
            Some((code, bytes)) => {
                let decode = code.resolve::<DecodeFn<K>>().map_err(serde::de::Error::custom)?;
                decode(&bytes).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// How an RDD's keys are spread, with the key's type forgotten: what the driver remembers of each RDD.
#[derive(Clone)]
pub struct Partitioning {
    count: usize,
    inner: Arc<dyn Any + Send + Sync>,
    same: fn(&dyn Any, &dyn Any) -> bool,
}

impl Partitioning {
    /// Forgets the key's type.
    pub fn of<K: 'static>(partitioner: KeyPartitioner<K>) -> Self {
        Partitioning {
            count: partitioner.count,
            inner: Arc::new(partitioner),
            same: |a, b| match (a.downcast_ref::<KeyPartitioner<K>>(), b.downcast_ref::<KeyPartitioner<K>>()) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            },
        }
    }
    /// How many partitions.
    pub fn count(&self) -> usize {
        self.count
    }
    /// The partitioner, if its keys are `K`.
    pub fn keyed<K: 'static>(&self) -> Option<&KeyPartitioner<K>> {
        self.inner.downcast_ref()
    }
}

impl PartialEq for Partitioning {
    fn eq(&self, other: &Self) -> bool {
        (self.same)(&*self.inner, &*other.inner)
    }
}

impl fmt::Debug for Partitioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partitioning({})", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agrees(bounds: Vec<u64>, keys: &[u64], ascending: bool) {
        let ranges = RangePartitioner::from_bounds(bounds, ascending);
        let Some(ranked) = Ranked::of(&ranges, |bound| Some(*bound)) else { return assert!(ranges.bounds.is_empty()) };
        for key in ranges.bounds.iter().chain(keys).flat_map(|key| [key.saturating_sub(1), *key, key.saturating_add(1)])
        {
            assert_eq!(ranked.place(key), ranges.partition(&key), "{key}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn cells_find_the_ranges_that_comparisons_find(
            bounds in prop::collection::vec(any::<u64>(), 0..60), keys in prop::collection::vec(any::<u64>(), 0..60),
            bits in 0u32..64, more: u64, ascending: bool,
        ) {
            let near = |keys: &[u64]| keys.iter().map(|key| (key >> bits).saturating_add(more)).collect::<Vec<_>>();
            agrees(near(&bounds), &keys, ascending);
            agrees(near(&bounds), &near(&keys), ascending);
            agrees(bounds, &near(&keys), ascending);
        }
    }
}
