//! Some elements pass, others do not.

use super::pass_on;
use crate::{
    func::{Func, FuncRef},
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize};

/// `filter`: what passes goes on as it came; a loan stays a loan.
#[derive(Clone, Serialize, Deserialize)]
pub struct Filter<P, C>(P, C);

/// `filter_map`: the function makes one element of each, or none.
#[derive(Clone, Serialize, Deserialize)]
pub struct FilterMap<P, C>(P, C);

impl<P, C> Filter<P, C> {
    /// Lets pass what `f` says yes to.
    pub fn new(parent: P, f: C) -> Self {
        Filter(parent, f)
    }
}
impl<P, C> FilterMap<P, C> {
    /// Lets pass what `f` makes.
    pub fn new(parent: P, f: C) -> Self {
        FilterMap(parent, f)
    }
}

/// The run of [`Filter`].
pub struct FilterStream<S, C>(S, C);
/// The run of [`FilterMap`].
pub struct FilterMapStream<S, C>(S, C);

impl<P: Pipeline, C: FuncRef<P::Item, Out = bool>> Pipeline for Filter<P, C> {
    type Item = P::Item;
    type Split = P::Split;
    type Stream = FilterStream<P::Stream, C>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        FilterStream(self.0.open(split, task), self.1.clone())
    }
    pass_on!(0, glimpses);
}

impl<P: Pipeline, U: 'static, C: Func<P::Item, Out = Option<U>>> Pipeline for FilterMap<P, C> {
    type Item = U;
    type Split = P::Split;
    type Stream = FilterMapStream<P::Stream, C>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        FilterMapStream(self.0.open(split, task), self.1.clone())
    }
    pass_on!(0, glimpses);
}

impl<S: Stream, C: FuncRef<S::Item, Out = bool>> Stream for FilterStream<S, C> {
    type Item = S::Item;
    #[inline(always)]
    fn drive<K: Sink<S::Item>>(&mut self, sink: &mut K) -> Flow {
        self.0.drive(&mut FilterSink(&self.1, sink))
    }
}

impl<S: Stream, U: 'static, C: Func<S::Item, Out = Option<U>>> Stream for FilterMapStream<S, C> {
    type Item = U;
    #[inline(always)]
    fn drive<K: Sink<U>>(&mut self, sink: &mut K) -> Flow {
        self.0.drive(&mut FilterMapSink(&self.1, sink))
    }
}

struct FilterSink<'a, C, K>(&'a C, &'a mut K);

impl<T, C: FuncRef<T, Out = bool>, K: Sink<T>> Sink<T> for FilterSink<'_, C, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        !self.0.call(item.get()) || self.1.push(item)
    }
}

struct FilterMapSink<'a, C, K>(&'a C, &'a mut K);

impl<T, U, C: Func<T, Out = Option<U>>, K: Sink<U>> Sink<T> for FilterMapSink<'_, C, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        match self.0.call(item.take()) {
            Some(made) => self.1.push(Own(made)),
            None => true,
        }
    }
}
