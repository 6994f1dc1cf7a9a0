//! A partition as one element.

use super::pass_on;
use crate::{
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize};

/// `glom`: all elements of each partition in one vector.
#[derive(Clone, Serialize, Deserialize)]
pub struct Glom<P>(P);

impl<P> Glom<P> {
    /// Gathers each of `parent`'s partitions.
    pub fn new(parent: P) -> Self {
        Glom(parent)
    }
}

impl<P: Pipeline> Pipeline for Glom<P> {
    type Item = Vec<P::Item>;
    type Split = P::Split;
    type Stream = GlomStream<P::Stream>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        GlomStream(self.0.open(split, task), Some(Vec::new()))
    }
    pass_on!(0);
}

/// The run of [`Glom`]: the vector, until it is handed on.
pub struct GlomStream<S: Stream>(S, Option<Vec<S::Item>>);

struct Gather<'a, T>(&'a mut Vec<T>);

impl<T> Sink<T> for Gather<'_, T> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        self.0.push(item.take());
        true
    }
}

impl<S: Stream> Stream for GlomStream<S> {
    type Item = Vec<S::Item>;
    #[inline(always)]
    fn drive<K: Sink<Self::Item>>(&mut self, sink: &mut K) -> Flow {
        let Some(gathered) = &mut self.1 else { return Flow::Done };
        match self.0.drive(&mut Gather(gathered)) {
            Flow::Done => {
                let whole = std::mem::take(gathered);
                self.1 = None;
                if sink.push(Own(whole)) { Flow::Done } else { Flow::Full }
            }
            other => other,
        }
    }
}
