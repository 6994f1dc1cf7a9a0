//! Fewer partitions, without a shuffle.

use crate::{
    failure::panic_message,
    pipeline::{Pipeline, Plan},
    source::slice_bounds,
    stream::{Flow, Sink, Stream},
    task::Task,
};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

/// `coalesce`: groups of neighbouring partitions become one. Group `i` of `k` has the parents from `i * n / k` to
/// `(i + 1) * n / k`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Coalesce<P> {
    parent: P,
    partitions: usize,
    /// The user's way to group, if there is one; the driver's affair.
    #[serde(skip)]
    by: Option<Arc<By>>,
}

/// Groups of parents: of at most so many, given the hosts on which each parent would best be computed.
type GroupFn = dyn Fn(usize, &[Vec<String>]) -> Vec<Vec<usize>> + Send + Sync;

struct By {
    group: Box<GroupFn>,
    /// What it returned: asked once, so that all who ask see the same partitions.
    groups: OnceLock<Result<Vec<Vec<usize>>>>,
}

impl By {
    fn groups(&self, partitions: usize, locations: &[Vec<String>]) -> Result<Vec<Vec<usize>>> {
        let bad = |what: String| Err(Error::InvalidArgument(format!("coalesce_by: {what}")));
        let ask = || {
            let groups = match catch_unwind(AssertUnwindSafe(|| (self.group)(partitions, locations))) {
                Ok(groups) => groups,
                Err(panic) => return bad(format!("the function panicked: {}", panic_message(&*panic))),
            };
            let mut seen = vec![false; locations.len()];
            for parent in groups.iter().flatten() {
                match seen.get_mut(*parent) {
                    Some(seen) if !*seen => *seen = true,
                    Some(_) => return bad(format!("partition {parent} is in two groups")),
                    None => return bad(format!("there is no partition {parent}, only {}", locations.len())),
                }
            }
            match seen.iter().position(|seen| !seen) {
                Some(missing) => bad(format!("partition {missing} is in no group")),
                None => Ok(groups),
            }
        };
        self.groups.get_or_init(ask).clone()
    }
}

impl<P> Coalesce<P> {
    /// Groups `parent`'s partitions into at most so many.
    pub fn new(parent: P, partitions: usize) -> Self {
        Coalesce { parent, partitions, by: None }
    }
    /// Groups `parent`'s partitions as `group` says.
    pub fn by(parent: P, partitions: usize, group: Box<GroupFn>) -> Self {
        Coalesce { parent, partitions, by: Some(Arc::new(By { group, groups: OnceLock::new() })) }
    }
}

impl<P: Pipeline> Pipeline for Coalesce<P> {
    type Item = P::Item;
    type Split = Vec<P::Split>;
    type Stream = CoalesceStream<P>;

    fn open(&self, splits: Self::Split, task: &Task) -> Self::Stream {
        CoalesceStream::new(self.parent.clone(), splits, task)
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        if self.partitions == 0 {
            return Err(Error::InvalidArgument("coalesce: number of partitions (0) must be positive".into()));
        }
        let splits = self.parent.splits(plan)?;
        if let Some(by) = &self.by {
            let locations: Vec<_> = splits.iter().map(|split| self.parent.locations(split)).collect();
            let groups = by.groups(self.partitions, &locations)?;
            return Ok(groups.iter().map(|group| group.iter().map(|at| splits[*at].clone()).collect()).collect());
        }
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

impl<P: Pipeline> CoalesceStream<P> {
    pub(super) fn new(parent: P, splits: Vec<P::Split>, task: &Task) -> Self {
        CoalesceStream { parent, left: splits.into_iter(), current: None, task: task.clone() }
    }
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
