//! All pairs.

use super::{pulled::Pulled, zip::common_or_all};
use crate::{
    pipeline::{Pipeline, Plan, check_partitions},
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use firesteel_model::{PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};

/// `cartesian`: each element of the left with each of the right. Partition `i * m + j` pairs the left's partition `i` with
/// partition `j` of the right's `m`. Nothing is kept: the right is computed again for each element of the left.
#[derive(Clone, Serialize, Deserialize)]
pub struct Cartesian<P, Q>(P, Q);

impl<P, Q> Cartesian<P, Q> {
    /// Pairs all of `left`'s elements with all of `right`'s.
    pub fn new(left: P, right: Q) -> Self {
        Cartesian(left, right)
    }
}

impl<P: Pipeline<Item: Clone>, Q: Pipeline> Pipeline for Cartesian<P, Q> {
    type Item = (P::Item, Q::Item);
    type Split = (P::Split, Q::Split);
    type Stream = CartesianStream<P, Q>;

    fn open(&self, (left, split): Self::Split, task: &Task) -> Self::Stream {
        let left = Pulled::new(self.0.open(left, task));
        CartesianStream { left, right: self.1.clone(), split, task: task.clone(), current: None }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let (left, right) = (self.0.splits(plan)?, self.1.splits(plan)?);
        check_partitions(left.len().saturating_mul(right.len()))?;
        let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a.clone(), b.clone())));
        Ok(pairs.collect())
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.0.refers(visit);
        self.1.refers(visit);
    }
    fn reads(&self, (left, right): &Self::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        self.0.reads(left, visit);
        self.1.reads(right, visit);
    }
    fn locations(&self, (left, right): &Self::Split) -> Vec<String> {
        common_or_all(vec![self.0.locations(left), self.1.locations(right)])
    }
}

/// The run of [`Cartesian`].
pub struct CartesianStream<P: Pipeline, Q: Pipeline> {
    left: Pulled<P::Stream>,
    right: Q,
    split: Q::Split,
    task: Task,
    /// The element of the left that is being paired, and what of the right it has not met yet.
    current: Option<(P::Item, Q::Stream)>,
}

struct PairWith<'a, A, K>(&'a A, &'a mut K);

impl<A: Clone, B, K: Sink<(A, B)>> Sink<B> for PairWith<'_, A, K> {
    #[inline(always)]
    fn push<L: Lent<B>>(&mut self, item: L) -> bool {
        self.1.push(Own((self.0.clone(), item.take())))
    }
}

impl<P: Pipeline<Item: Clone>, Q: Pipeline> Stream for CartesianStream<P, Q> {
    type Item = (P::Item, Q::Item);

    #[inline]
    fn drive<K: Sink<Self::Item>>(&mut self, sink: &mut K) -> Flow {
        loop {
            if self.current.is_none() {
                match self.left.fill() {
                    Ok(true) => {}
                    Ok(false) => return Flow::Done,
                    Err(port) => return Flow::Starved(port),
                }
                self.task.check();
                let left = self.left.ready.pop_front();
                self.current = left.map(|left| (left, self.right.open(self.split.clone(), &self.task)));
            }
            if let Some((left, right)) = &mut self.current {
                match right.drive(&mut PairWith(left, sink)) {
                    Flow::Done => self.current = None,
                    other => return other,
                }
            }
        }
    }
}
