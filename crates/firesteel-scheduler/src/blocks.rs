//! Which executors hold which partitions of persisted RDDs.

use firesteel_model::{ExecutorId, PartitionIndex, RddId};
use std::collections::{BTreeMap, BTreeSet};

/// The known places of cached partitions.
#[derive(Default)]
pub(crate) struct Blocks {
    rdds: BTreeMap<RddId, BTreeMap<PartitionIndex, Vec<ExecutorId>>>,
    executors: BTreeMap<ExecutorId, BTreeSet<(RddId, PartitionIndex)>>,
}

impl Blocks {
    pub(crate) fn add(&mut self, executor: ExecutorId, rdd: RddId, partition: PartitionIndex) {
        if self.executors.entry(executor).or_default().insert((rdd, partition)) {
            self.rdds.entry(rdd).or_default().entry(partition).or_default().push(executor);
        }
    }

    pub(crate) fn remove(&mut self, executor: ExecutorId, rdd: RddId, partition: PartitionIndex) {
        let Some(held) = self.executors.get_mut(&executor) else { return };
        if !held.remove(&(rdd, partition)) {
            return;
        }
        if held.is_empty() {
            self.executors.remove(&executor);
        }
        let partitions = self.rdds.get_mut(&rdd).expect("both indices agree");
        let places = partitions.get_mut(&partition).expect("both indices agree");
        places.retain(|place| *place != executor);
        if places.is_empty() {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.rdds.remove(&rdd);
            }
        }
    }

    pub(crate) fn remove_executor(&mut self, executor: ExecutorId) {
        for (rdd, partition) in self.executors.get(&executor).cloned().unwrap_or_default() {
            self.remove(executor, rdd, partition);
        }
    }

    /// Forgets all blocks of an RDD.
    pub(crate) fn remove_rdd(&mut self, rdd: RddId) {
        let Some(partitions) = self.rdds.remove(&rdd) else { return };
        for (partition, places) in partitions {
            for executor in places {
                let held = self.executors.get_mut(&executor).expect("both indices agree");
                held.remove(&(rdd, partition));
                if held.is_empty() {
                    self.executors.remove(&executor);
                }
            }
        }
    }

    /// The executors that hold a partition, the first to have it first.
    pub(crate) fn places(&self, rdd: RddId, partition: PartitionIndex) -> &[ExecutorId] {
        self.rdds.get(&rdd).and_then(|partitions| partitions.get(&partition)).map_or(&[], Vec::as_slice)
    }

    /// Of how many partitions of an RDD somebody holds a copy.
    pub(crate) fn cached_partitions(&self, rdd: RddId) -> usize {
        self.rdds.get(&rdd).map_or(0, BTreeMap::len)
    }

    pub(crate) fn len(&self) -> usize {
        self.executors.values().map(BTreeSet::len).sum()
    }
}
