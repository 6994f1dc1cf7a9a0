//! What is done with a stage's elements, partition by partition: the ends of a pipeline.

use crate::{
    Data,
    func::{Merge, Plain, Step, Try, With, user_error},
    iter::PartitionIter,
    node::drive,
    stream::{Flow, Lent, Sink, Stream, Tally},
    task::Task,
};
use firesteel_store::{
    boundary::{BoundaryError, Sample},
    record,
};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{marker::PhantomData, slice::from_ref};

/// What a task does with one partition's elements. Sent with the stage.
pub trait Action<T: 'static>: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// One partition's result.
    type Out: Serialize + DeserializeOwned + Send + 'static;
    /// Computes it.
    fn run<S: Stream<Item = T>>(&self, input: Input<S>) -> Self::Out;
    /// How many bytes the result takes when it is sent, or about so many: counted against `driver.maxResultSize`.
    fn size(&self, out: &Self::Out) -> u64 {
        size_of_val(out) as u64
    }
}

/// How many bytes a value takes in the record format; 0 if it cannot be written.
fn written_size<T: Serialize>(value: &T) -> u64 {
    record::to_vec(value).map_or(0, |bytes| bytes.len() as u64)
}

/// About how many bytes values take in the record format: of 16 of them it is known.
pub fn sampled_size<T: Serialize>(values: &[T]) -> u64 {
    let step = values.len().div_ceil(16).max(1);
    let sample = values.iter().step_by(step);
    let count = sample.len() as u64;
    let bytes: u64 = sample.map(written_size).sum();
    (bytes * values.len() as u64).checked_div(count).unwrap_or(0)
}

/// The elements of the partition that a task computes.
pub struct Input<S> {
    pub(crate) stream: S,
    pub(crate) task: Task,
}

impl<S: Stream> Input<S> {
    /// Pushes all elements into `sink`, until it has enough.
    #[inline(always)]
    pub fn drive<K: Sink<S::Item>>(&mut self, sink: &mut K) {
        drive(&mut self.stream, &self.task, sink);
    }
    /// The running task.
    pub fn task(&self) -> &Task {
        &self.task
    }
    /// The elements as an iterator.
    pub fn into_partition_iter(self) -> PartitionIter<'static, S::Item> {
        PartitionIter::new(self.stream, &self.task)
    }
}

/// Fails the task if one of a sample of `records`, which are to leave it, does not survive the record format.
pub fn check_boundary<T: Data>(records: &[T]) {
    check_sample(&mut Sample::default(), records);
}

/// [`check_boundary`] for records that come piece by piece.
pub(crate) fn check_sample<T: Data>(sample: &mut Sample, records: &[T]) {
    survives(sample.check(records));
}

/// Leaves the task if something does not survive being written and read back.
pub(crate) fn survives(checked: Result<(), BoundaryError>) {
    if let Err(e) = checked {
        crate::failure::TaskFailure::Engine(firesteel_model::Error::Serialization(e.to_string())).raise()
    }
}

/// Counts elements.
#[derive(Clone, Serialize, Deserialize)]
pub struct Count;

impl<T: 'static> Action<T> for Count {
    type Out = u64;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> u64 {
        let mut seen = 0;
        input.drive(&mut Tally(&mut seen));
        seen
    }
}

/// Counts elements without making those whose number is known without: user functions of `map` are not called.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sizes;

impl<T: 'static> Action<T> for Sizes {
    type Out = u64;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> u64 {
        let mut seen = 0;
        loop {
            match input.stream.tally(&mut seen) {
                Flow::Done | Flow::Full => return seen,
                Flow::Starved(port) => input.task.segments().fill(&input.task, port),
            }
        }
    }
}

/// Keeps the first `limit` elements, or all.
#[derive(Clone, Serialize, Deserialize)]
pub struct Collect {
    /// At most so many.
    pub limit: Option<u64>,
}

impl<T: Data> Action<T> for Collect {
    type Out = Vec<T>;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> Vec<T> {
        struct Keep<T>(Vec<T>, usize);
        impl<T: Data> Sink<T> for Keep<T> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, item: L) -> bool {
                self.0.push(item.take());
                self.0.len() < self.1
            }
        }
        let limit = self.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        if limit == 0 {
            return Vec::new();
        }
        let mut keep = Keep(Vec::new(), limit);
        input.drive(&mut keep);
        check_boundary(&keep.0);
        keep.0
    }
    fn size(&self, out: &Vec<T>) -> u64 {
        sampled_size(out)
    }
}

/// Merges elements two by two; nothing if there are none.
#[derive(Clone, Serialize, Deserialize)]
pub struct Reduce<C>(pub C);

impl<T: Data, C: Merge<T, T, Out = T>> Action<T> for Reduce<C> {
    type Out = Option<T>;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> Option<T> {
        struct Reducer<'a, T, C>(Option<T>, &'a C);
        impl<T, C: Merge<T, T, Out = T>> Sink<T> for Reducer<'_, T, C> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, item: L) -> bool {
                let item = item.take();
                self.0 = Some(match self.0.take() {
                    Some(so_far) => self.1.call(so_far, item),
                    None => item,
                });
                true
            }
        }
        let mut reducer = Reducer(None, &self.0);
        input.drive(&mut reducer);
        check_boundary(reducer.0.as_slice());
        reducer.0
    }
    fn size(&self, out: &Option<T>) -> u64 {
        written_size(out)
    }
}

/// Folds elements into a value that starts at a zero.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "A: Data, C: Serialize + DeserializeOwned")]
pub struct Fold<A, C>(pub A, pub C);

/// What has been folded so far. It is taken out while the user's function runs: if that panics, the attempt ends.
pub(crate) struct Folder<'a, A, C>(pub(crate) Option<A>, pub(crate) &'a C);

impl<T, A, C: Step<A, T>> Sink<T> for Folder<'_, A, C> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        if let Some(so_far) = self.0.take() {
            self.0 = Some(self.1.step(so_far, item));
        }
        true
    }
}

impl<T: 'static, A: Data, C: Step<A, T>> Action<T> for Fold<A, C> {
    type Out = A;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> A {
        let mut folder = Folder(Some(self.0.clone()), &self.1);
        input.drive(&mut folder);
        let value = folder.0.expect("a folder holds a value between pushes");
        check_boundary(from_ref(&value));
        value
    }
    fn size(&self, out: &A) -> u64 {
        written_size(out)
    }
}

/// A function of a whole partition, given as an iterator.
pub trait IterFunc<T: 'static, R>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Calls it.
    fn call(&self, items: PartitionIter<'_, T>) -> R;
}

impl<T: 'static, R, F> IterFunc<T, R> for Plain<F>
where
    F: Fn(PartitionIter<'_, T>) -> R + firesteel_code::Captureless,
{
    fn call(&self, items: PartitionIter<'_, T>) -> R {
        (self.f())(items)
    }
}
impl<E: Data, T: 'static, R, F> IterFunc<T, R> for With<E, F>
where
    F: Fn(&E, PartitionIter<'_, T>) -> R + firesteel_code::Captureless,
{
    fn call(&self, items: PartitionIter<'_, T>) -> R {
        (self.f())(self.env(), items)
    }
}

impl<T: 'static, R, X, F> IterFunc<T, R> for Try<Plain<F>>
where
    X: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(PartitionIter<'_, T>) -> Result<R, X> + firesteel_code::Captureless,
{
    fn call(&self, items: PartitionIter<'_, T>) -> R {
        (self.0.f())(items).unwrap_or_else(|e| user_error(e.into()))
    }
}
impl<E: Data, T: 'static, R, X, F> IterFunc<T, R> for Try<With<E, F>>
where
    X: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(&E, PartitionIter<'_, T>) -> Result<R, X> + firesteel_code::Captureless,
{
    fn call(&self, items: PartitionIter<'_, T>) -> R {
        (self.0.f())(self.0.env(), items).unwrap_or_else(|e| user_error(e.into()))
    }
}

/// Calls a function once with all of a partition's elements.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "C: Serialize + DeserializeOwned")]
pub struct OnPartition<C, R>(pub C, PhantomData<fn() -> R>);

impl<C, R> OnPartition<C, R> {
    /// Calls `f`.
    pub fn new(f: C) -> Self {
        OnPartition(f, PhantomData)
    }
}

impl<T: 'static, R: Data, C: IterFunc<T, R>> Action<T> for OnPartition<C, R> {
    type Out = R;
    fn run<S: Stream<Item = T>>(&self, input: Input<S>) -> R {
        let made = self.0.call(input.into_partition_iter());
        check_boundary(from_ref(&made));
        made
    }
    fn size(&self, out: &R) -> u64 {
        written_size(out)
    }
}

/// A sample of at most `size` elements of each partition, every element with equal chance, and how many there were. The same
/// seed gives the same sample.
#[derive(Clone, Serialize, Deserialize)]
pub struct Reservoir {
    /// At most so many.
    pub size: u64,
    /// What the choice depends on, besides the partition.
    pub seed: u64,
}

impl<T: Data> Action<T> for Reservoir {
    type Out = (u64, Vec<T>);
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> (u64, Vec<T>) {
        struct Keep<T> {
            seen: u64,
            size: u64,
            kept: Vec<T>,
            random: Xoshiro256PlusPlus,
        }
        impl<T: Data> Sink<T> for Keep<T> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, item: L) -> bool {
                self.seen += 1;
                if self.kept.len() as u64 != self.size {
                    self.kept.push(item.take());
                } else {
                    let at = ((self.random.next_u64() as u128 * self.seen as u128) >> 64) as u64;
                    if at < self.size {
                        self.kept[at as usize] = item.take();
                    }
                }
                true
            }
        }
        let partition = u64::from(input.task().info().partition.0);
        let random = Xoshiro256PlusPlus::seed_from_u64(crate::partitioner::hash_of(&(self.seed, partition)));
        let mut keep = Keep { seen: 0, size: self.size, kept: Vec::new(), random };
        input.drive(&mut keep);
        check_boundary(&keep.kept);
        (keep.seen, keep.kept)
    }
    fn size(&self, (_, kept): &(u64, Vec<T>)) -> u64 {
        sampled_size(kept)
    }
}
