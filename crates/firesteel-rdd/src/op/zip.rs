//! Two RDDs side by side, element by element.

use super::pulled::Pulled;
use crate::{
    failure::TaskFailure,
    pipeline::{Pipeline, Plan},
    stream::{Flow, Own, Sink, Stream},
    task::Task,
};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};

/// `zip`: the first elements of both, then the second ones, and so on.
#[derive(Clone, Serialize, Deserialize)]
pub struct Zip<P, Q>(P, Q);

impl<P, Q> Zip<P, Q> {
    /// Pairs `left`'s elements with `right`'s.
    pub fn new(left: P, right: Q) -> Self {
        Zip(left, right)
    }
}

/// Fails unless all RDDs have as many partitions as the first.
pub(super) fn equal_counts(counts: &[usize]) -> Result<()> {
    if counts.iter().all(|count| *count == counts[0]) {
        return Ok(());
    }
    let list = counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(Error::InvalidArgument(format!(
        "Can't zip RDDs with unequal numbers of partitions: List({list}); repartition or coalesce one of them"
    )))
}

impl<P: Pipeline, Q: Pipeline> Pipeline for Zip<P, Q> {
    type Item = (P::Item, Q::Item);
    type Split = (P::Split, Q::Split);
    type Stream = ZipStream<P::Stream, Q::Stream>;

    fn open(&self, (left, right): Self::Split, task: &Task) -> Self::Stream {
        ZipStream { left: Pulled::new(self.0.open(left, task)), right: Pulled::new(self.1.open(right, task)) }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let (left, right) = (self.0.splits(plan)?, self.1.splits(plan)?);
        equal_counts(&[left.len(), right.len()])?;
        Ok(left.into_iter().zip(right).collect())
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

/// The hosts that all sides like, or, if there is none, those that any side likes.
pub(super) fn common_or_all(sides: Vec<Vec<String>>) -> Vec<String> {
    let common: Vec<String> =
        sides[0].iter().filter(|host| sides.iter().all(|side| side.contains(host))).cloned().collect();
    if !common.is_empty() {
        return common;
    }
    let mut all: Vec<String> = Vec::new();
    for host in sides.into_iter().flatten() {
        if !all.contains(&host) {
            all.push(host);
        }
    }
    all
}

/// The run of [`Zip`].
pub struct ZipStream<A: Stream, B: Stream> {
    left: Pulled<A>,
    right: Pulled<B>,
}

impl<A: Stream, B: Stream> Stream for ZipStream<A, B> {
    type Item = (A::Item, B::Item);

    #[inline]
    fn drive<K: Sink<Self::Item>>(&mut self, sink: &mut K) -> Flow {
        loop {
            let left = match self.left.fill() {
                Ok(left) => left,
                Err(port) => return Flow::Starved(port),
            };
            let right = match self.right.fill() {
                Ok(right) => right,
                Err(port) => return Flow::Starved(port),
            };
            match (left, right) {
                (false, false) => return Flow::Done,
                (true, true) => {}
                _ => {
                    TaskFailure::User("Can only zip RDDs with same number of elements in each partition".into()).raise()
                }
            }
            for _ in 0..self.left.ready.len().min(self.right.ready.len()) {
                if let (Some(a), Some(b)) = (self.left.ready.pop_front(), self.right.ready.pop_front())
                    && !sink.push(Own((a, b)))
                {
                    return Flow::Full;
                }
            }
        }
    }
}
