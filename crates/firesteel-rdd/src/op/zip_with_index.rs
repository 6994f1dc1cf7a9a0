//! Elements with numbers.

use crate::{
    pipeline::{Pipeline, Plan},
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// `zip_with_index`: each element with its position in the RDD. Where each partition starts is found out by a preparation
/// on the driver.
#[derive(Clone, Serialize, Deserialize)]
pub struct ZipWithIndex<P>(P, #[serde(skip)] Arc<OnceLock<Vec<u64>>>);

impl<P> ZipWithIndex<P> {
    /// Numbers `parent`'s elements; `starts` will hold the first number of each partition when the preparation has run.
    pub fn new(parent: P, starts: Arc<OnceLock<Vec<u64>>>) -> Self {
        ZipWithIndex(parent, starts)
    }
}

impl<P: Pipeline> Pipeline for ZipWithIndex<P> {
    type Item = (P::Item, u64);
    type Split = (P::Split, u64);
    type Stream = NumberedStream<P::Stream>;

    fn open(&self, (split, next): Self::Split, task: &Task) -> Self::Stream {
        NumberedStream { input: self.0.open(split, task), next, step: 1 }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let uncounted = || Error::InvalidArgument("the partitions have not been counted yet".into());
        let starts = self.1.get().ok_or_else(uncounted)?;
        Ok(self.0.splits(plan)?.into_iter().zip(starts.iter().copied()).collect())
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

/// `zip_with_unique_id`: element `i` of partition `k` of `n` with the number `i * n + k`.
#[derive(Clone, Serialize, Deserialize)]
pub struct ZipWithUniqueId<P>(P);

impl<P> ZipWithUniqueId<P> {
    /// Numbers `parent`'s elements.
    pub fn new(parent: P) -> Self {
        ZipWithUniqueId(parent)
    }
}

impl<P: Pipeline> Pipeline for ZipWithUniqueId<P> {
    type Item = (P::Item, u64);
    type Split = (P::Split, (u64, u64));
    type Stream = NumberedStream<P::Stream>;

    fn open(&self, (split, (next, step)): Self::Split, task: &Task) -> Self::Stream {
        NumberedStream { input: self.0.open(split, task), next, step }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let splits = self.0.splits(plan)?;
        let count = splits.len() as u64;
        Ok(splits.into_iter().zip((0..).map(|k| (k, count))).collect())
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

/// The run of [`ZipWithIndex`] or [`ZipWithUniqueId`].
pub struct NumberedStream<S> {
    input: S,
    next: u64,
    step: u64,
}

struct Number<'a, K> {
    next: &'a mut u64,
    step: u64,
    sink: &'a mut K,
}

impl<T, K: Sink<(T, u64)>> Sink<T> for Number<'_, K> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        let number = *self.next;
        *self.next += self.step;
        self.sink.push(Own((item.take(), number)))
    }
}

impl<S: Stream> Stream for NumberedStream<S> {
    type Item = (S::Item, u64);
    #[inline(always)]
    fn drive<K: Sink<Self::Item>>(&mut self, sink: &mut K) -> Flow {
        self.input.drive(&mut Number { next: &mut self.next, step: self.step, sink })
    }
    #[inline]
    fn tally(&mut self, seen: &mut u64) -> Flow {
        self.input.tally(seen)
    }
}
