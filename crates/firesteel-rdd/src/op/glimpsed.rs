//! An impression of an RDD's elements.

use super::coalesce::CoalesceStream;
use crate::{
    pipeline::{Pipeline, Plan},
    task::Task,
};
use firesteel_model::{PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};

/// Of each partition what its pipeline [lets see at a glimpse](Pipeline::glimpse), or all of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Glimpsed<P> {
    parent: P,
    whole: bool,
}

impl<P> Glimpsed<P> {
    /// A glimpse of each partition.
    pub fn new(parent: P) -> Self {
        Glimpsed { parent, whole: false }
    }
    /// All of each partition.
    pub fn whole(parent: P) -> Self {
        Glimpsed { parent, whole: true }
    }
}

impl<P: Pipeline> Pipeline for Glimpsed<P> {
    type Item = P::Item;
    type Split = Vec<P::Split>;
    type Stream = CoalesceStream<P>;

    fn open(&self, splits: Self::Split, task: &Task) -> Self::Stream {
        CoalesceStream::new(self.parent.clone(), splits, task)
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let glimpse = |split| match self.parent.glimpse(&split).filter(|_| !self.whole) {
            Some((some, _)) => some,
            None => vec![split],
        };
        Ok(self.parent.splits(plan)?.into_iter().map(glimpse).collect())
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.parent.refers(visit)
    }
    fn reads(&self, splits: &Self::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        splits.iter().for_each(|split| self.parent.reads(split, visit))
    }
    fn locations(&self, splits: &Self::Split) -> Vec<String> {
        splits.first().map(|split| self.parent.locations(split)).unwrap_or_default()
    }
}
