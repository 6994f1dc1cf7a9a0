//! One half of each pair.

use super::pass_on;
use crate::{
    pipeline::Pipeline,
    stream::{Flow, Lent, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// Says which half of a pair is meant.
pub trait Half<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// That half.
    type Out: Clone + 'static;
    /// Looks at it.
    fn of(pair: &T) -> &Self::Out;
    /// Keeps it; the rest goes.
    fn out_of(pair: T) -> Self::Out;
}

/// A pair's key.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct First;
/// A pair's value.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Second;

impl<K: Clone + 'static, V> Half<(K, V)> for First {
    type Out = K;
    #[inline(always)]
    fn of(pair: &(K, V)) -> &K {
        &pair.0
    }
    #[inline(always)]
    fn out_of(pair: (K, V)) -> K {
        pair.0
    }
}
impl<K, V: Clone + 'static> Half<(K, V)> for Second {
    type Out = V;
    #[inline(always)]
    fn of(pair: &(K, V)) -> &V {
        &pair.1
    }
    #[inline(always)]
    fn out_of(pair: (K, V)) -> V {
        pair.1
    }
}

/// A half of a pair on its way through a stage: owned or lent as the pair is, and kept without the other half.
pub struct HalfOf<T, L, C> {
    pair: L,
    which: PhantomData<fn(T) -> C>,
}

impl<T, L: Lent<T>, C: Half<T>> HalfOf<T, L, C> {
    /// The half that `which` names.
    #[inline(always)]
    pub fn new(pair: L, _which: &C) -> Self {
        HalfOf { pair, which: PhantomData }
    }
}

impl<T, L: Lent<T>, C: Half<T>> Lent<C::Out> for HalfOf<T, L, C> {
    const IS_LOAN: bool = L::IS_LOAN;
    #[inline(always)]
    fn get(&mut self) -> &C::Out {
        C::of(self.pair.get())
    }
    #[inline(always)]
    fn take(self) -> C::Out {
        self.pair.take_part(C::out_of, |pair| C::of(pair).clone())
    }
}

/// `keys` and `values`: a loan stays a loan.
#[derive(Clone, Serialize, Deserialize)]
pub struct Halves<P, C>(P, C);

impl<P, C> Halves<P, C> {
    /// The half of each of `parent`'s pairs that `which` names.
    pub fn new(parent: P, which: C) -> Self {
        Halves(parent, which)
    }
}

/// The run of [`Halves`].
pub struct HalvesStream<S, C>(S, C);

impl<P: Pipeline, C: Half<P::Item>> Pipeline for Halves<P, C> {
    type Item = C::Out;
    type Split = P::Split;
    type Stream = HalvesStream<P::Stream, C>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        HalvesStream(self.0.open(split, task), self.1.clone())
    }
    pass_on!(0, glimpses);
}

impl<S: Stream, C: Half<S::Item>> Stream for HalvesStream<S, C> {
    type Item = C::Out;
    #[inline(always)]
    fn drive<K: Sink<C::Out>>(&mut self, sink: &mut K) -> Flow {
        self.0.drive(&mut HalvesSink(&self.1, sink))
    }
    #[inline]
    fn tally(&mut self, seen: &mut u64) -> Flow {
        self.0.tally(seen)
    }
}

struct HalvesSink<'a, C, K>(&'a C, &'a mut K);

impl<T, C: Half<T>, K: Sink<C::Out>> Sink<T> for HalvesSink<'_, C, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        self.1.push(HalfOf::new(item, self.0))
    }
}
