//! Any number of elements out for each element in, handed over one by one instead of in a collection.

use super::{map_partitions::EmitFunc, pass_on};
use crate::{
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::{Pace, Task},
};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, marker::PhantomData};

/// Where `flat_map_emit`'s closure leaves its elements.
pub struct Emit<'a, U>(&'a mut dyn FnMut(U));

impl<'a, U> Emit<'a, U> {
    /// An emitter that calls `f` with each element.
    pub fn new(f: &'a mut dyn FnMut(U)) -> Self {
        Emit(f)
    }
    /// Hands one element on.
    #[inline(always)]
    pub fn emit(&mut self, item: U) {
        (self.0)(item)
    }
}

/// `flat_map_emit`: the function looks at an element and emits what it makes of it; nothing is collected on the way.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "P: Serialize, C: Serialize", deserialize = "P: Deserialize<'de>, C: Deserialize<'de>"))]
pub struct FlatMapEmit<P, U, C>(P, C, PhantomData<fn() -> U>);

impl<P: Clone, U, C: Clone> Clone for FlatMapEmit<P, U, C> {
    fn clone(&self) -> Self {
        FlatMapEmit(self.0.clone(), self.1.clone(), PhantomData)
    }
}

impl<P, U, C> FlatMapEmit<P, U, C> {
    /// Calls `f` with each of `parent`'s elements and an [`Emit`].
    pub fn new(parent: P, f: C) -> Self {
        FlatMapEmit(parent, f, PhantomData)
    }
}

/// The run of [`FlatMapEmit`]; keeps the rest of one record that a full sink did not want.
pub struct FlatMapEmitStream<S, U, C> {
    input: S,
    f: C,
    rest: VecDeque<U>,
    pace: Pace,
}

impl<P: Pipeline, U: 'static, C: EmitFunc<P::Item, U>> Pipeline for FlatMapEmit<P, U, C> {
    type Item = U;
    type Split = P::Split;
    type Stream = FlatMapEmitStream<P::Stream, U, C>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        FlatMapEmitStream {
            input: self.0.open(split, task),
            f: self.1.clone(),
            rest: VecDeque::new(),
            pace: Pace::new(task),
        }
    }
    pass_on!(0, glimpses);
}

impl<S: Stream, U: 'static, C: EmitFunc<S::Item, U>> Stream for FlatMapEmitStream<S, U, C> {
    type Item = U;
    #[inline(always)]
    fn drive<K: Sink<U>>(&mut self, sink: &mut K) -> Flow {
        while let Some(made) = self.rest.pop_front() {
            self.pace.step();
            if !sink.push(Own(made)) {
                return Flow::Full;
            }
        }
        self.input.drive(&mut EmitSink { f: &self.f, rest: &mut self.rest, pace: &mut self.pace, sink })
    }
}

struct EmitSink<'a, U, C, K> {
    f: &'a C,
    rest: &'a mut VecDeque<U>,
    pace: &'a mut Pace,
    sink: &'a mut K,
}

impl<T, U, C: EmitFunc<T, U>, K: Sink<U>> Sink<T> for EmitSink<'_, U, C, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        let mut go = true;
        self.f.call(
            item.get(),
            &mut Emit(&mut |made| {
                self.pace.step();
                if go {
                    go = self.sink.push(Own(made));
                } else {
                    self.rest.push_back(made);
                }
            }),
        );
        go
    }
}
