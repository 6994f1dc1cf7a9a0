//! One call for each partition: user code that sees an ordinary iterator.

use crate::{
    Data,
    func::{Plain, Try, With, user_error},
    iter::PartitionIter,
    op::Emit,
    pipeline::{Pipeline, Plan},
    stream::{Flow, Own, Sink, Stream},
    task::{Pace, Task},
};
use firesteel_code::Captureless;
use firesteel_model::{PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A function of a partition's index and elements.
pub trait PartitionFunc<T: 'static>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it returns.
    type Out: IntoIterator<Item: 'static> + 'static;
    /// Calls it.
    fn call(&self, index: usize, items: PartitionIter<'static, T>) -> Self::Out;
}

/// A function that emits any number of elements for each that it looks at.
pub trait EmitFunc<T, U>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Calls it.
    fn call(&self, item: &T, out: &mut Emit<'_, U>);
}

impl<T, U, F: Fn(&T, &mut Emit<'_, U>) + Captureless> EmitFunc<T, U> for Plain<F> {
    #[inline(always)]
    fn call(&self, item: &T, out: &mut Emit<'_, U>) {
        (self.f())(item, out)
    }
}
impl<E: Data, T, U, F: Fn(&E, &T, &mut Emit<'_, U>) + Captureless> EmitFunc<T, U> for With<E, F> {
    #[inline(always)]
    fn call(&self, item: &T, out: &mut Emit<'_, U>) {
        (self.f())(self.env(), item, out)
    }
}

impl<T, U, X, F> EmitFunc<T, U> for Try<Plain<F>>
where
    X: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(&T, &mut Emit<'_, U>) -> std::result::Result<(), X> + Captureless,
{
    #[inline(always)]
    fn call(&self, item: &T, out: &mut Emit<'_, U>) {
        (self.0.f())(item, out).unwrap_or_else(|e| user_error(e.into()))
    }
}
impl<E, T, U, X, F> EmitFunc<T, U> for Try<With<E, F>>
where
    E: Data,
    X: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(&E, &T, &mut Emit<'_, U>) -> std::result::Result<(), X> + Captureless,
{
    #[inline(always)]
    fn call(&self, item: &T, out: &mut Emit<'_, U>) {
        (self.0.f())(self.0.env(), item, out).unwrap_or_else(|e| user_error(e.into()))
    }
}

/// The function wants the partition's index.
#[derive(Clone, Serialize, Deserialize)]
pub struct WithIndex<C>(pub C);
/// The function does not want the partition's index.
#[derive(Clone, Serialize, Deserialize)]
pub struct Without<C>(pub C);

impl<T: 'static, I, F> PartitionFunc<T> for Without<Plain<F>>
where
    I: IntoIterator<Item: 'static> + 'static,
    F: Fn(PartitionIter<'static, T>) -> I + Captureless,
{
    type Out = I;
    fn call(&self, _: usize, items: PartitionIter<'static, T>) -> I {
        (self.0.f())(items)
    }
}
impl<T: 'static, E: Data, I, F> PartitionFunc<T> for Without<With<E, F>>
where
    I: IntoIterator<Item: 'static> + 'static,
    F: Fn(&E, PartitionIter<'static, T>) -> I + Captureless,
{
    type Out = I;
    fn call(&self, _: usize, items: PartitionIter<'static, T>) -> I {
        (self.0.f())(self.0.env(), items)
    }
}
impl<T: 'static, I, X, C> PartitionFunc<T> for Try<C>
where
    I: IntoIterator<Item: 'static> + 'static,
    X: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    C: PartitionFunc<T, Out = std::result::Result<I, X>>,
{
    type Out = I;
    fn call(&self, index: usize, items: PartitionIter<'static, T>) -> I {
        self.0.call(index, items).unwrap_or_else(|e| user_error(e.into()))
    }
}
impl<T: 'static, I, F> PartitionFunc<T> for WithIndex<Plain<F>>
where
    I: IntoIterator<Item: 'static> + 'static,
    F: Fn(usize, PartitionIter<'static, T>) -> I + Captureless,
{
    type Out = I;
    fn call(&self, index: usize, items: PartitionIter<'static, T>) -> I {
        (self.0.f())(index, items)
    }
}
impl<T: 'static, E: Data, I, F> PartitionFunc<T> for WithIndex<With<E, F>>
where
    I: IntoIterator<Item: 'static> + 'static,
    F: Fn(&E, usize, PartitionIter<'static, T>) -> I + Captureless,
{
    type Out = I;
    fn call(&self, index: usize, items: PartitionIter<'static, T>) -> I {
        (self.0.f())(self.0.env(), index, items)
    }
}

/// `map_partitions` and `map_partitions_with_index`: the function is called once for each partition, empty ones included.
#[derive(Clone, Serialize, Deserialize)]
pub struct MapPartitions<P, C>(P, C);

impl<P, C> MapPartitions<P, C> {
    /// Calls `f` once for each of `parent`'s partitions.
    pub fn new(parent: P, f: C) -> Self {
        MapPartitions(parent, f)
    }
}

impl<P: Pipeline, C: PartitionFunc<P::Item>> Pipeline for MapPartitions<P, C> {
    type Item = <C::Out as IntoIterator>::Item;
    type Split = (P::Split, u32);
    type Stream = MapPartitionsStream<P::Stream, C, <C::Out as IntoIterator>::IntoIter>;

    fn open(&self, (split, index): Self::Split, task: &Task) -> Self::Stream {
        let items = PartitionIter::new(self.0.open(split, task), task);
        MapPartitionsStream { read: Read::Before(Some(items), self.1.clone(), index), pace: Pace::new(task) }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        Ok(self.0.splits(plan)?.into_iter().zip(0..).collect())
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.0.refers(visit)
    }
    fn reads(&self, (split, _): &Self::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        self.0.reads(split, visit)
    }
    fn locations(&self, (split, _): &Self::Split) -> Vec<String> {
        self.0.locations(split)
    }
}

/// The run of [`MapPartitions`]: the function is called when the first element is wanted.
pub struct MapPartitionsStream<S: Stream, C, I> {
    read: Read<S, C, I>,
    pace: Pace,
}

enum Read<S: Stream, C, I> {
    /// Not called yet.
    Before(Option<PartitionIter<'static, S::Item>>, C, u32),
    /// What it returned is being read.
    During(I),
    /// All of that has been read.
    Ended,
}

impl<S: Stream, C: PartitionFunc<S::Item>> Stream for MapPartitionsStream<S, C, <C::Out as IntoIterator>::IntoIter>
where
    <C::Out as IntoIterator>::IntoIter: 'static,
{
    type Item = <C::Out as IntoIterator>::Item;

    #[inline]
    fn drive<K: Sink<Self::Item>>(&mut self, sink: &mut K) -> Flow {
        loop {
            match &mut self.read {
                Read::Before(items, f, index) => {
                    let Some(items) = items.take() else { return Flow::Done };
                    self.read = Read::During(f.call(*index as usize, items).into_iter());
                }
                Read::During(made) => {
                    for one in made {
                        self.pace.step();
                        if !sink.push(Own(one)) {
                            return Flow::Full;
                        }
                    }
                    self.read = Read::Ended;
                }
                Read::Ended => return Flow::Done,
            }
        }
    }
}
