//! Some of the partitions only.

use crate::{
    Data,
    func::FuncRef,
    pipeline::{Pipeline, Plan},
    task::Task,
};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};
use std::{
    ops::RangeInclusive,
    sync::{Arc, OnceLock},
};

/// Which partitions are kept; all of them if `None`.
type Kept = Option<RangeInclusive<usize>>;

/// Those of the parent's partitions that can have what is looked for. Which they are is found out by a preparation on the driver.
#[derive(Clone, Serialize, Deserialize)]
pub struct Pruned<P>(P, #[serde(skip)] Arc<OnceLock<Kept>>);

impl<P> Pruned<P> {
    /// Keeps the partitions that will be in `kept` when the preparation has run.
    pub fn new(parent: P, kept: Arc<OnceLock<Kept>>) -> Self {
        Pruned(parent, kept)
    }
}

impl<P: Pipeline> Pipeline for Pruned<P> {
    type Item = P::Item;
    type Split = P::Split;
    type Stream = P::Stream;

    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        self.0.open(split, task)
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<P::Split>> {
        let unknown = || Error::InvalidArgument("it has not been found out yet which partitions are needed".into());
        let mut splits = self.0.splits(plan)?;
        if let Some(kept) = self.1.get().ok_or_else(unknown)? {
            splits.truncate(kept.end() + 1);
            splits.drain(..*kept.start().min(&splits.len()));
        }
        Ok(splits)
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.0.refers(visit)
    }
    fn reads(&self, split: &P::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        self.0.reads(split, visit)
    }
    fn locations(&self, split: &P::Split) -> Vec<String> {
        self.0.locations(split)
    }
}

/// Whether a pair's key lies between two bounds, which belong to the range.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: Data")]
pub struct InRange<K> {
    /// The least key.
    pub lower: K,
    /// The greatest key.
    pub upper: K,
}

impl<K: Data + Ord, V> FuncRef<(K, V)> for InRange<K> {
    type Out = bool;
    #[inline(always)]
    fn call(&self, (key, _): &(K, V)) -> bool {
        *key >= self.lower && *key <= self.upper
    }
}
