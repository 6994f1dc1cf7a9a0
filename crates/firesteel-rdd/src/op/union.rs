//! Several RDDs as one.

use crate::{
    node::Erased,
    pipeline::{Pipeline, Plan},
    segment::PortStream,
    stream::{Flow, Sink, Stream},
    task::Task,
};
use firesteel_model::{PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};

/// `union` of RDDs that are spread differently: the first one's partitions, then the second one's, and so on.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Concat<T>(Vec<Erased<T>>);

/// `union` of RDDs that are all spread alike: the partitions of equal index become one.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct MergeAlike<T>(Vec<Erased<T>>);

impl<T> Clone for Concat<T> {
    fn clone(&self) -> Self {
        Concat(self.0.clone())
    }
}

impl<T> Concat<T> {
    /// Puts the partitions of `parents` one after the other.
    pub fn new(parents: Vec<Erased<T>>) -> Self {
        Concat(parents)
    }
}

impl<T> Clone for MergeAlike<T> {
    fn clone(&self) -> Self {
        MergeAlike(self.0.clone())
    }
}

impl<T> MergeAlike<T> {
    /// Puts partition `i` of all `parents`, which have equally many, into partition `i`.
    pub fn new(parents: Vec<Erased<T>>) -> Self {
        MergeAlike(parents)
    }
}

impl<T: 'static> Pipeline for Concat<T> {
    type Item = T;
    type Split = (u32, u32);
    type Stream = PortStream<T>;

    fn open(&self, (parent, split): Self::Split, task: &Task) -> Self::Stream {
        self.0[parent as usize].open(split, task)
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
        let mut all = Vec::new();
        for (i, parent) in (0..).zip(&self.0) {
            all.extend(parent.splits(plan)?.into_iter().map(|split| (i, split)));
        }
        Ok(all)
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.0.iter().for_each(|parent| parent.refers(visit))
    }
    fn reads(&self, (parent, split): &Self::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        self.0[*parent as usize].reads(split, visit)
    }
}

impl<T: 'static> Pipeline for MergeAlike<T> {
    type Item = T;
    type Split = u32;
    type Stream = MergeAlikeStream<T>;

    fn open(&self, split: u32, task: &Task) -> Self::Stream {
        MergeAlikeStream { left: self.0.clone().into_iter(), current: None, split, task: task.clone() }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<u32>> {
        self.0.first().map_or(Ok(Vec::new()), |parent| parent.splits(plan))
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.0.iter().for_each(|parent| parent.refers(visit))
    }
    fn reads(&self, split: &u32, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        self.0.iter().for_each(|parent| parent.reads(split, visit))
    }
}

/// The run of [`MergeAlike`].
pub struct MergeAlikeStream<T> {
    left: std::vec::IntoIter<Erased<T>>,
    current: Option<PortStream<T>>,
    split: u32,
    task: Task,
}

impl<T: 'static> Stream for MergeAlikeStream<T> {
    type Item = T;

    #[inline(always)]
    fn drive<K: Sink<T>>(&mut self, sink: &mut K) -> Flow {
        loop {
            if let Some(stream) = &mut self.current {
                match stream.drive(sink) {
                    Flow::Done => self.current = None,
                    other => return other,
                }
            }
            let Some(parent) = self.left.next() else { return Flow::Done };
            self.current = Some(parent.open(self.split, &self.task));
        }
    }
}
