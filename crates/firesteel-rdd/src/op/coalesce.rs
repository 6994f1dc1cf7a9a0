//! Fewer partitions, without a shuffle.

use crate::{
    pipeline::{Pipeline, Plan},
    source::slice_bounds,
    stream::{Flow, Sink, Stream},
    task::Task,
};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};

/// `coalesce`: groups of neighbouring partitions become one. Group `i` of `k` has the parents from `i * n / k` to
/// `(i + 1) * n / k`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Coalesce<P> {
    parent: P,
    partitions: usize,
}

impl<P> Coalesce<P> {
    /// Groups `parent`'s partitions into at most so many.
    pub fn new(parent: P, partitions: usize) -> Self {
        Coalesce { parent, partitions }
    }
}

impl<P: Pipeline> Pipeline for Coalesce<P> {
    type Item = P::Item;
    type Split = Vec<P::Split>;
    type Stream = CoalesceStream<P>;

    fn open(&self, splits: Self::Split, task: &Task) -> Self::Stream {
        CoalesceStream { parent: self.parent.clone(), left: splits.into_iter(), current: None, task: task.clone() }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        if self.partitions == 0 {
            return Err(Error::InvalidArgument("coalesce: number of partitions (0) must be positive".into()));
        }
        let splits = self.parent.splits(plan)?;
        let (length, groups) = (splits.len(), self.partitions.min(splits.len()));
        let mut splits = splits.into_iter();
        Ok((0..groups)
            .map(|i| slice_bounds(length as u128, i, groups))
            .map(|(from, to)| splits.by_ref().take((to - from) as usize).collect())
            .collect())
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.parent.refers(visit)
    }
    fn reads(&self, splits: &Self::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        splits.iter().for_each(|split| self.parent.reads(split, visit))
    }
    fn locations(&self, splits: &Self::Split) -> Vec<String> {
        splits.iter().map(|split| self.parent.locations(split)).find(|hosts| !hosts.is_empty()).unwrap_or_default()
    }
}

/// The run of [`Coalesce`]: one parent partition after the other, each opened when it is its turn.
pub struct CoalesceStream<P: Pipeline> {
    parent: P,
    left: std::vec::IntoIter<P::Split>,
    current: Option<P::Stream>,
    task: Task,
}

impl<P: Pipeline> Stream for CoalesceStream<P> {
    type Item = P::Item;

    #[inline(always)]
    fn drive<K: Sink<P::Item>>(&mut self, sink: &mut K) -> Flow {
        loop {
            if let Some(stream) = &mut self.current {
                match stream.drive(sink) {
                    Flow::Done => self.current = None,
                    other => return other,
                }
            }
            let Some(split) = self.left.next() else { return Flow::Done };
            self.current = Some(self.parent.open(split, &self.task));
        }
    }
}
