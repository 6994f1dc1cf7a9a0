//! Actions: what runs a job and brings something to the driver.

use super::{Rdd, site};
use crate::{
    graph::CallSite,
    job::{self, Wanted},
    panics::on_driver,
};
use firesteel_model::{Error, Result};
use firesteel_rdd::{
    Action, Captureless, Collect, Count, Data, First, Fold, Halves, Keeping, Key, Looking, Merge, OnPartition,
    PartitionIter, Pipeline, Plain, Reduce, SortKey, Step, With,
};
use std::{cmp::Ordering, collections::HashMap};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    pub(crate) fn all<A: Action<T>>(&self, action: A, site: CallSite) -> Result<Vec<A::Out>> {
        job::run(self, Wanted::All, action, site)
    }

    /// Runs an action and brings its parts together by `merge`, which calls functions of the user's.
    pub(crate) fn merged<A: Action<T>, R>(
        &self,
        action: A,
        site: CallSite,
        merge: impl FnOnce(Vec<A::Out>) -> R,
    ) -> Result<R> {
        let parts = self.all(action, site)?;
        on_driver(site, || merge(parts))
    }

    /// How many elements there are.
    ///
    /// # Errors
    /// As every action: [`Error::Job`] if a task failed too often, [`Error::Cancelled`], [`Error::Stopped`], and whatever made the
    /// plan impossible (missing input, an argument that makes no sense).
    #[track_caller]
    pub fn count(&self) -> Result<u64> {
        Ok(self.all(Count, site("count"))?.into_iter().sum())
    }

    /// All elements, partition after partition. They must fit the driver's memory.
    #[track_caller]
    pub fn collect(&self) -> Result<Vec<T>>
    where
        T: Data,
    {
        let parts = self.all(Collect { limit: None }, site("collect"))?;
        let mut all = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        for part in parts {
            all.extend(part);
        }
        Ok(all)
    }

    /// Merges all elements by an associative and commutative function: inside partitions first, then partition after partition. Of
    /// elements that are kept elsewhere each is cloned; [`aggregate_ref`](Rdd::aggregate_ref) only looks at them.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is none.
    #[track_caller]
    pub fn reduce<F: Fn(T, T) -> T + Captureless>(&self, f: F) -> Result<T>
    where
        T: Data,
    {
        self.reduced(Plain::new(f), site("reduce"))
    }

    /// [`reduce`](Rdd::reduce) with an environment.
    ///
    /// # Errors
    /// As `reduce`.
    #[track_caller]
    pub fn reduce_with<E: Data, F: Fn(&E, T, T) -> T + Captureless>(&self, env: E, f: F) -> Result<T>
    where
        T: Data,
    {
        self.reduced(With::new(env, f), site("reduce_with"))
    }

    fn reduced<C: Merge<T, T, Out = T>>(&self, f: C, site: CallSite) -> Result<T>
    where
        T: Data,
    {
        let merge = |parts: Vec<Option<T>>| parts.into_iter().flatten().reduce(|a, b| f.call(a, b));
        self.merged(Reduce(f.clone()), site, merge)?.ok_or(Error::EmptyRdd)
    }

    /// Merges all elements from a zero, which is counted once for each partition and once more on the driver.
    #[track_caller]
    pub fn fold<F: Fn(T, T) -> T + Captureless>(&self, zero: T, f: F) -> Result<T>
    where
        T: Data,
    {
        self.aggregated_by(zero, Keeping(Plain::new(f)), Plain::new(f), site("fold"))
    }

    /// Folds elements into a value of another type: `seq` adds an element, `comb` merges the partitions' values in partition
    /// order. The zero is counted once for each partition and once more on the driver.
    #[track_caller]
    pub fn aggregate<A, S, C>(&self, zero: A, seq: S, comb: C) -> Result<A>
    where
        A: Data,
        S: Fn(A, T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.aggregated_by(zero, Keeping(Plain::new(seq)), Plain::new(comb), site("aggregate"))
    }

    /// [`aggregate`](Rdd::aggregate) with an environment.
    #[track_caller]
    pub fn aggregate_with<E, A, S, C>(&self, env: E, zero: A, seq: S, comb: C) -> Result<A>
    where
        E: Data,
        A: Data,
        S: Fn(&E, A, T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.aggregated_by(zero, Keeping(With::new(env, seq)), Plain::new(comb), site("aggregate_with"))
    }

    pub(super) fn aggregated_by<A, S, C>(&self, zero: A, seq: S, comb: C, site: CallSite) -> Result<A>
    where
        A: Data,
        S: Step<A, T>,
        C: Merge<A, A, Out = A>,
    {
        self.merged(Fold(zero.clone(), seq), site, |parts| parts.into_iter().fold(zero, |a, b| comb.call(a, b)))
    }

    /// [`aggregate`](Rdd::aggregate) that looks at elements where they lie.
    #[track_caller]
    pub fn aggregate_ref<A, S, C>(&self, zero: A, seq: S, comb: C) -> Result<A>
    where
        A: Data,
        S: Fn(A, &T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.aggregated_by(zero, Looking(Plain::new(seq)), Plain::new(comb), site("aggregate_ref"))
    }

    /// [`aggregate_ref`](Rdd::aggregate_ref) with an environment.
    #[track_caller]
    pub fn aggregate_ref_with<E, A, S, C>(&self, env: E, zero: A, seq: S, comb: C) -> Result<A>
    where
        E: Data,
        A: Data,
        S: Fn(&E, A, &T) -> A + Captureless,
        C: Fn(A, A) -> A + Captureless,
    {
        self.aggregated_by(zero, Looking(With::new(env, seq)), Plain::new(comb), site("aggregate_ref_with"))
    }

    /// The first `n` elements, in partition order. Looks at one partition first, then at more, as many as seem needed; each round
    /// is a job, and a partition is left as soon as there are enough.
    #[track_caller]
    pub fn take(&self, n: usize) -> Result<Vec<T>>
    where
        T: Data,
    {
        self.taken(n, site("take"))
    }

    pub(crate) fn taken(&self, n: usize, site: CallSite) -> Result<Vec<T>>
    where
        T: Data,
    {
        use firesteel_model::conf::keys;
        self.node().engine.check_usable(site.method)?;
        let conf = &self.node().engine.conf;
        let scale_up = conf.get(keys::RDD_LIMIT_SCALE_UP_FACTOR)? as usize;
        let initial = conf.get(keys::RDD_LIMIT_INITIAL_NUM_PARTITIONS)? as usize;
        let mut found: Vec<T> = Vec::new();
        if n == 0 {
            return Ok(found);
        }
        self.node().prepare()?;
        let total = self.count_partitions()?;
        let mut scanned = 0;
        while found.len() < n && scanned < total {
            let round = match (scanned, found.len()) {
                (0, _) => initial,
                (_, 0) => scanned.saturating_mul(scale_up),
                (_, have) => {
                    let needed = (1.5 * (n - have) as f64 * scanned as f64 / have as f64).ceil() as usize;
                    needed.max(1).min(scanned.saturating_mul(scale_up))
                }
            };
            let end = total.min(scanned.saturating_add(round));
            let limit = Some((n - found.len()) as u64);
            let parts = job::run(self, Wanted::These((scanned as u32..end as u32).collect()), Collect { limit }, site)?;
            for part in parts {
                let missing = n - found.len();
                found.extend(part.into_iter().take(missing));
            }
            scanned = end;
        }
        Ok(found)
    }

    /// The first element.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is none.
    #[track_caller]
    pub fn first(&self) -> Result<T>
    where
        T: Data,
    {
        self.taken(1, site("first"))?.pop().ok_or(Error::EmptyRdd)
    }

    /// Whether there is no element. Looks at as little as [`take`](Rdd::take)`(1)`, and at nothing if there is no partition.
    #[track_caller]
    pub fn is_empty(&self) -> Result<bool> {
        let any = self.map_ref(|_| ());
        Ok(any.taken(1, site("is_empty"))?.is_empty())
    }

    /// The `n` largest elements by `f`, largest first; of equal ones those that come first.
    #[track_caller]
    pub fn top_by<F: Fn(&T, &T) -> Ordering + Captureless>(&self, n: usize, f: F) -> Result<Vec<T>>
    where
        T: Data,
    {
        self.best(n, Reversed(Plain::new(f)), site("top_by"))
    }

    /// The `n` largest elements, largest first.
    #[track_caller]
    pub fn top(&self, n: usize) -> Result<Vec<T>>
    where
        T: SortKey,
    {
        self.best(n, Reversed(Natural), site("top"))
    }

    /// The `n` smallest elements by `f`, smallest first; of equal ones those that come first.
    #[track_caller]
    pub fn take_ordered_by<F: Fn(&T, &T) -> Ordering + Captureless>(&self, n: usize, f: F) -> Result<Vec<T>>
    where
        T: Data,
    {
        self.best(n, Plain::new(f), site("take_ordered_by"))
    }

    /// The `n` smallest elements, smallest first.
    #[track_caller]
    pub fn take_ordered(&self, n: usize) -> Result<Vec<T>>
    where
        T: SortKey,
    {
        self.best(n, Natural, site("take_ordered"))
    }

    pub(super) fn best<C: Compare<T>>(&self, n: usize, order: C, site: CallSite) -> Result<Vec<T>>
    where
        T: Data,
    {
        if n == 0 {
            self.node().engine.check_usable(site.method)?;
            return Ok(Vec::new());
        }
        self.merged(Best { n: n as u64, order: order.clone() }, site, |parts| {
            let mut all: Vec<T> = parts.into_iter().flatten().collect();
            all.sort_by(|a, b| order.compare(a, b));
            all.truncate(n);
            all
        })
    }

    /// The largest element by `f`; of equal ones the first.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is none.
    #[track_caller]
    pub fn max_by<F: Fn(&T, &T) -> Ordering + Captureless>(&self, f: F) -> Result<T>
    where
        T: Data,
    {
        self.best(1, Reversed(Plain::new(f)), site("max_by"))?.pop().ok_or(Error::EmptyRdd)
    }

    /// The largest element.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is none.
    #[track_caller]
    pub fn max(&self) -> Result<T>
    where
        T: SortKey,
    {
        self.best(1, Reversed(Natural), site("max"))?.pop().ok_or(Error::EmptyRdd)
    }

    /// The smallest element by `f`; of equal ones the first.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is none.
    #[track_caller]
    pub fn min_by<F: Fn(&T, &T) -> Ordering + Captureless>(&self, f: F) -> Result<T>
    where
        T: Data,
    {
        self.best(1, Plain::new(f), site("min_by"))?.pop().ok_or(Error::EmptyRdd)
    }

    /// The smallest element.
    ///
    /// # Errors
    /// [`Error::EmptyRdd`] if there is none.
    #[track_caller]
    pub fn min(&self) -> Result<T>
    where
        T: SortKey,
    {
        self.best(1, Natural, site("min"))?.pop().ok_or(Error::EmptyRdd)
    }

    /// Calls `f` with each element, on executors, for its effects there (and on accumulators).
    #[track_caller]
    pub fn for_each<F: Fn(T) + Captureless>(&self, f: F) -> Result<()> {
        self.all(Each(Plain::new(f)), site("for_each")).map(drop)
    }

    /// [`for_each`](Rdd::for_each) with an environment.
    #[track_caller]
    pub fn for_each_with<E: Data, F: Fn(&E, T) + Captureless>(&self, env: E, f: F) -> Result<()> {
        self.all(Each(With::new(env, f)), site("for_each_with")).map(drop)
    }

    /// [`for_each`](Rdd::for_each) that looks at elements where they lie.
    #[track_caller]
    pub fn for_each_ref<F: Fn(&T) + Captureless>(&self, f: F) -> Result<()> {
        self.all(EachRef(Plain::new(f)), site("for_each_ref")).map(drop)
    }

    /// [`for_each_ref`](Rdd::for_each_ref) with an environment.
    #[track_caller]
    pub fn for_each_ref_with<E: Data, F: Fn(&E, &T) + Captureless>(&self, env: E, f: F) -> Result<()> {
        self.all(EachRef(With::new(env, f)), site("for_each_ref_with")).map(drop)
    }

    /// Calls `f` once for each partition, empty ones included, with an iterator over its elements.
    #[track_caller]
    pub fn for_each_partition<F: Fn(PartitionIter<'_, T>) + Captureless>(&self, f: F) -> Result<()> {
        self.all(OnPartition::new(Plain::new(f)), site("for_each_partition")).map(|_: Vec<()>| ())
    }

    /// [`for_each_partition`](Rdd::for_each_partition) with an environment.
    #[track_caller]
    pub fn for_each_partition_with<E: Data, F: Fn(&E, PartitionIter<'_, T>) + Captureless>(
        &self,
        env: E,
        f: F,
    ) -> Result<()> {
        self.all(OnPartition::new(With::new(env, f)), site("for_each_partition_with")).map(|_: Vec<()>| ())
    }
}

impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// All pairs as a map; of pairs with equal keys the last stays.
    #[track_caller]
    pub fn collect_as_map(&self) -> Result<HashMap<K, V>>
    where
        K: Key,
        V: Data,
    {
        self.merged(Collect { limit: None }, site("collect_as_map"), |parts| parts.into_iter().flatten().collect())
    }

    /// How many pairs each key has. A shuffle, unless the RDD is spread by key already; the result must fit the driver's memory.
    #[track_caller]
    pub fn count_by_key(&self) -> Result<HashMap<K, u64>>
    where
        K: Key,
    {
        let site = site("count_by_key");
        let keys = self.child(Halves::new(self.parent(), First), site, true);
        keys.counted(site).merged(Collect { limit: None }, site, |parts| parts.into_iter().flatten().collect())
    }

    /// The values of one key. Looks at the key's partition alone, if the RDD is spread by key.
    ///
    /// # Errors
    /// As every action; [`Error::Function`] if the RDD's partitioner panics, or names a partition that it does not have.
    #[track_caller]
    pub fn lookup(&self, key: &K) -> Result<Vec<V>>
    where
        K: Key,
        V: Data,
    {
        let site = site("lookup");
        self.node().engine.check_usable(site.method)?;
        self.node().prepare()?;
        let partitioning = self.node().partitioning();
        let wanted = match partitioning.as_ref().and_then(|p| p.keyed::<K>()) {
            Some(partitioner) => Wanted::These(vec![on_driver(site, || partitioner.place(key).0 as u32)?]),
            None => Wanted::All,
        };
        let of_key = self.filter_with(key.clone(), |key, pair| pair.0 == *key).values();
        Ok(job::run(&of_key, wanted, Collect { limit: None }, site)?.into_iter().flatten().collect())
    }
}

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// How often each element occurs. A shuffle; the result must fit the driver's memory.
    #[track_caller]
    pub fn count_by_value(&self) -> Result<HashMap<T, u64>>
    where
        T: Key,
    {
        let site = site("count_by_value");
        let elements = self.child(self.parent(), site, false);
        elements.counted(site).merged(Collect { limit: None }, site, |parts| parts.into_iter().flatten().collect())
    }
}

use best::{Best, Compare, Natural, Reversed};
pub(super) use each::Each;
use each::EachRef;

pub(super) mod each {
    //! Elements used up one by one.
    use firesteel_rdd::{Action, Func, FuncRef, Input, Lent, Sink, Stream};
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Serialize, Deserialize)]
    pub(in crate::rdd) struct Each<C>(pub(in crate::rdd) C);
    #[derive(Clone, Serialize, Deserialize)]
    pub(in crate::rdd) struct EachRef<C>(pub(in crate::rdd) C);

    struct Call<'a, C>(&'a C);
    impl<T, C: Func<T, Out = ()>> Sink<T> for Call<'_, C> {
        #[inline(always)]
        fn push<L: Lent<T>>(&mut self, item: L) -> bool {
            self.0.call(item.take());
            true
        }
    }
    struct CallRef<'a, C>(&'a C);
    impl<T, C: FuncRef<T, Out = ()>> Sink<T> for CallRef<'_, C> {
        #[inline(always)]
        fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
            self.0.call(item.get());
            true
        }
    }

    impl<T: 'static, C: Func<T, Out = ()>> Action<T> for Each<C> {
        type Out = ();
        fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) {
            input.drive(&mut Call(&self.0));
        }
    }
    impl<T: 'static, C: FuncRef<T, Out = ()>> Action<T> for EachRef<C> {
        type Out = ();
        fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) {
            input.drive(&mut CallRef(&self.0));
        }
    }
}

pub(super) mod best {
    //! The first few elements of an order, without sorting the rest.
    use firesteel_rdd::{
        Action, Captureless, Data, Input, Lent, Plain, Sink, Stream, With, check_boundary, sampled_size,
    };
    use serde::{Deserialize, Serialize, de::DeserializeOwned};
    use std::cmp::Ordering;

    pub(in crate::rdd) trait Compare<T>:
        Serialize + DeserializeOwned + Clone + Send + Sync + 'static
    {
        fn compare(&self, a: &T, b: &T) -> Ordering;
    }
    #[derive(Clone, Copy, Serialize, Deserialize)]
    pub(super) struct Natural;
    #[derive(Clone, Serialize, Deserialize)]
    pub(in crate::rdd) struct Reversed<C>(pub(in crate::rdd) C);

    impl<T: Ord> Compare<T> for Natural {
        fn compare(&self, a: &T, b: &T) -> Ordering {
            a.cmp(b)
        }
    }
    impl<T, C: Compare<T>> Compare<T> for Reversed<C> {
        fn compare(&self, a: &T, b: &T) -> Ordering {
            self.0.compare(b, a)
        }
    }
    impl<T, F: Fn(&T, &T) -> Ordering + Captureless> Compare<T> for Plain<F> {
        fn compare(&self, a: &T, b: &T) -> Ordering {
            (self.f())(a, b)
        }
    }

    impl<T, E: Data, F: Fn(&E, &T, &T) -> Ordering + Captureless> Compare<T> for With<E, F> {
        fn compare(&self, a: &T, b: &T) -> Ordering {
            (self.f())(self.env(), a, b)
        }
    }

    /// The first `n` of a partition, in order.
    #[derive(Clone, Serialize, Deserialize)]
    pub(super) struct Best<C> {
        pub(super) n: u64,
        pub(super) order: C,
    }

    /// Keeps up to twice as many as are wanted, and cuts back when that is full: each element costs a comparison with the
    /// worst that is still wanted, and a share of a selection.
    struct Keep<'a, T, C> {
        n: usize,
        order: &'a C,
        kept: Vec<T>,
        /// Whether `kept[n - 1]` is the worst that is wanted.
        cut: bool,
    }

    impl<T, C: Compare<T>> Keep<'_, T, C> {
        fn cut(&mut self) {
            self.kept.sort_by(|a, b| self.order.compare(a, b));
            self.kept.truncate(self.n);
            self.cut = self.kept.len() == self.n;
        }
    }

    impl<T, C: Compare<T>> Sink<T> for Keep<'_, T, C> {
        #[inline]
        fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
            // Of equals the first stays, so one that is only as good as the worst is not wanted.
            if self.cut && self.order.compare(item.get(), &self.kept[self.n - 1]) != Ordering::Less {
                return true;
            }
            self.kept.push(item.take());
            if self.kept.len() >= self.n.saturating_mul(2) {
                self.cut();
            }
            true
        }
    }

    impl<T: Data, C: Compare<T>> Action<T> for Best<C> {
        type Out = Vec<T>;
        fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> Vec<T> {
            let n = usize::try_from(self.n).unwrap_or(usize::MAX);
            let mut keep = Keep { n, order: &self.order, kept: Vec::new(), cut: false };
            input.drive(&mut keep);
            keep.cut();
            check_boundary(&keep.kept);
            keep.kept
        }
        fn size(&self, out: &Vec<T>) -> u64 {
            sampled_size(out)
        }
    }
}
