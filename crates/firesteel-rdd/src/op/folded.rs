//! A partition as one value.

use super::pass_on;
use crate::{
    Data,
    action::Folder,
    func::Step,
    pipeline::Pipeline,
    stream::{Flow, Own, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// All elements of each partition folded into one value that starts at a zero: the first level of `tree_aggregate`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "P: Serialize + DeserializeOwned, A: Data, C: Serialize + DeserializeOwned")]
pub struct Folded<P, A, C>(P, A, C);

impl<P, A, C> Folded<P, A, C> {
    /// Folds each of `parent`'s partitions by `f`.
    pub fn new(parent: P, zero: A, f: C) -> Self {
        Folded(parent, zero, f)
    }
}

impl<P: Pipeline, A: Data, C: Step<A, P::Item>> Pipeline for Folded<P, A, C> {
    type Item = A;
    type Split = P::Split;
    type Stream = FoldedStream<P::Stream, A, C>;
    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        FoldedStream { input: self.0.open(split, task), so_far: Some(self.1.clone()), f: self.2.clone() }
    }
    pass_on!(0);
}

/// The run of [`Folded`]: the value, until it is handed on.
pub struct FoldedStream<S, A, C> {
    input: S,
    so_far: Option<A>,
    f: C,
}

impl<S: Stream, A: 'static, C: Step<A, S::Item>> Stream for FoldedStream<S, A, C> {
    type Item = A;
    #[inline(always)]
    fn drive<K: Sink<A>>(&mut self, sink: &mut K) -> Flow {
        if self.so_far.is_none() {
            return Flow::Done;
        }
        let mut folder = Folder(self.so_far.take(), &self.f);
        let flow = self.input.drive(&mut folder);
        match (flow, folder.0) {
            (Flow::Done, whole) => match whole.is_none_or(|whole| sink.push(Own(whole))) {
                true => Flow::Done,
                false => Flow::Full,
            },
            (other, so_far) => {
                self.so_far = so_far;
                other
            }
        }
    }
}
