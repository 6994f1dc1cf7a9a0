//! Any number of elements out for each element in.

use super::pass_on;
use crate::{
    func::Func,
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::{Pace, Task},
};
use serde::{Deserialize, Serialize};

/// `flat_map`: what the function returns is iterated.
#[derive(Clone, Serialize, Deserialize)]
pub struct FlatMap<P, C>(P, C);

impl<P, C> FlatMap<P, C> {
    /// Iterates what `f` makes of each of `parent`'s elements.
    pub fn new(parent: P, f: C) -> Self {
        FlatMap(parent, f)
    }
}

/// The run of [`FlatMap`]; keeps the iterator that a full sink left unfinished.
pub struct FlatMapStream<S, C, I> {
    input: S,
    f: C,
    rest: Option<I>,
    pace: Pace,
}

impl<P: Pipeline, I: IntoIterator<Item: 'static> + 'static, C: Func<P::Item, Out = I>> Pipeline for FlatMap<P, C> {
    type Item = I::Item;
    type Split = P::Split;
    type Stream = FlatMapStream<P::Stream, C, I::IntoIter>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        FlatMapStream { input: self.0.open(split, task), f: self.1.clone(), rest: None, pace: Pace::new(task) }
    }
    pass_on!(0, glimpses);
}

impl<S, I, C> Stream for FlatMapStream<S, C, I::IntoIter>
where
    S: Stream,
    I: IntoIterator<Item: 'static, IntoIter: 'static>,
    C: Func<S::Item, Out = I>,
{
    type Item = I::Item;
    #[inline(always)]
    fn drive<K: Sink<I::Item>>(&mut self, sink: &mut K) -> Flow {
        if let Some(rest) = &mut self.rest {
            for made in rest {
                self.pace.step();
                if !sink.push(Own(made)) {
                    return Flow::Full;
                }
            }
            self.rest = None;
        }
        self.input.drive(&mut FlatMapSink { f: &self.f, rest: &mut self.rest, pace: &mut self.pace, sink })
    }
}

struct FlatMapSink<'a, C, I, K> {
    f: &'a C,
    rest: &'a mut Option<I>,
    pace: &'a mut Pace,
    sink: &'a mut K,
}

impl<T, I: IntoIterator, C: Func<T, Out = I>, K: Sink<I::Item>> Sink<T> for FlatMapSink<'_, C, I::IntoIter, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        let mut made = self.f.call(item.take()).into_iter();
        while let Some(one) = made.next() {
            self.pace.step();
            if !self.sink.push(Own(one)) {
                *self.rest = Some(made);
                return false;
            }
        }
        true
    }
}
