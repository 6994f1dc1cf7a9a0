//! One element out for each element in.

use super::pass_on;
use crate::{
    func::{Func, FuncRef},
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize};

/// `map` and what is made of it: the function owns the element.
#[derive(Clone, Serialize, Deserialize)]
pub struct Map<P, C>(P, C);

/// `map_ref`: the function looks at the element where it lies.
#[derive(Clone, Serialize, Deserialize)]
pub struct MapRef<P, C>(P, C);

impl<P, C> Map<P, C> {
    /// Applies `f` to each of `parent`'s elements.
    pub fn new(parent: P, f: C) -> Self {
        Map(parent, f)
    }
}
impl<P, C> MapRef<P, C> {
    /// Applies `f` to each of `parent`'s elements.
    pub fn new(parent: P, f: C) -> Self {
        MapRef(parent, f)
    }
}

/// The run of [`Map`] or [`MapRef`].
pub struct MapStream<S, C, const BY_REF: bool>(S, C);

impl<P: Pipeline, C: Func<P::Item, Out: 'static>> Pipeline for Map<P, C> {
    type Item = C::Out;
    type Split = P::Split;
    type Stream = MapStream<P::Stream, C, false>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        MapStream(self.0.open(split, task), self.1.clone())
    }
    pass_on!(0, glimpses);
}

impl<P: Pipeline, C: FuncRef<P::Item, Out: 'static>> Pipeline for MapRef<P, C> {
    type Item = C::Out;
    type Split = P::Split;
    type Stream = MapStream<P::Stream, C, true>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        MapStream(self.0.open(split, task), self.1.clone())
    }
    pass_on!(0, glimpses);
}

impl<S: Stream, C: Func<S::Item, Out: 'static>> Stream for MapStream<S, C, false> {
    type Item = C::Out;
    #[inline(always)]
    fn drive<K: Sink<C::Out>>(&mut self, sink: &mut K) -> Flow {
        self.0.drive(&mut MapSink(&self.1, sink))
    }
    #[inline]
    fn tally(&mut self, seen: &mut u64) -> Flow {
        self.0.tally(seen)
    }
}

impl<S: Stream, C: FuncRef<S::Item, Out: 'static>> Stream for MapStream<S, C, true> {
    type Item = C::Out;
    #[inline(always)]
    fn drive<K: Sink<C::Out>>(&mut self, sink: &mut K) -> Flow {
        self.0.drive(&mut MapRefSink(&self.1, sink))
    }
    #[inline]
    fn tally(&mut self, seen: &mut u64) -> Flow {
        self.0.tally(seen)
    }
}

struct MapSink<'a, C, K>(&'a C, &'a mut K);

impl<T, C: Func<T>, K: Sink<C::Out>> Sink<T> for MapSink<'_, C, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        self.1.push(Own(self.0.call(item.take())))
    }
}

struct MapRefSink<'a, C, K>(&'a C, &'a mut K);

impl<T, C: FuncRef<T>, K: Sink<C::Out>> Sink<T> for MapRefSink<'_, C, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        self.1.push(Own(self.0.call(item.get())))
    }
}
