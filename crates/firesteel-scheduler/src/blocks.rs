//! Which executors hold which partitions of persisted RDDs, and what these were computed from.

use crate::{Input, Inputs};
use firesteel_model::{ExecutorId, PartitionIndex, RddId, ShuffleId};
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

    /// Forgets one copy; whether it was the last.
    pub(crate) fn remove(&mut self, executor: ExecutorId, rdd: RddId, partition: PartitionIndex) -> bool {
        let Some(held) = self.executors.get_mut(&executor) else { return false };
        if !held.remove(&(rdd, partition)) {
            return false;
        }
        if held.is_empty() {
            self.executors.remove(&executor);
        }
        let partitions = self.rdds.get_mut(&rdd).expect("both indices agree");
        let places = partitions.get_mut(&partition).expect("both indices agree");
        places.retain(|place| *place != executor);
        if !places.is_empty() {
            return false;
        }
        partitions.remove(&partition);
        if partitions.is_empty() {
            self.rdds.remove(&rdd);
        }
        true
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

/// What persisted RDDs are computed from, for as long as their blocks may be there: longer than any job.
#[derive(Default)]
pub(crate) struct CacheLineage {
    rdds: BTreeMap<RddId, Node>,
}

#[derive(Default)]
struct Node {
    shuffles: Vec<ShuffleId>,
    rdds: Vec<RddId>,
    /// How many others are computed from it.
    children: u32,
    persisted: bool,
}

impl CacheLineage {
    /// Takes the persisted RDDs among these inputs in; what is said last about one is what holds.
    pub(crate) fn learn(&mut self, inputs: &Inputs) {
        for node in &inputs.nodes {
            let Input::Cache { rdd, behind, .. } = node else { continue };
            let (mut shuffles, mut rdds) = (Vec::new(), Vec::new());
            for place in behind {
                match &inputs.nodes[*place as usize] {
                    Input::Shuffle(shuffle) => shuffles.push(*shuffle),
                    Input::Cache { rdd, .. } => rdds.push(*rdd),
                }
            }
            for parent in &rdds {
                self.rdds.entry(*parent).or_default().children += 1;
            }
            let known = self.rdds.entry(*rdd).or_default();
            known.persisted = true;
            known.shuffles = shuffles;
            let before = std::mem::replace(&mut known.rdds, rdds);
            self.leave(before);
        }
    }

    /// An RDD is no longer persisted. It is forgotten when nothing is computed from it any more.
    pub(crate) fn release(&mut self, rdd: RddId) {
        if let Some(node) = self.rdds.get_mut(&rdd) {
            node.persisted = false;
            self.forget_if_unused(rdd);
        }
    }

    fn leave(&mut self, parents: Vec<RddId>) {
        for parent in parents {
            self.rdds.get_mut(&parent).expect("parents are kept").children -= 1;
            self.forget_if_unused(parent);
        }
    }

    fn forget_if_unused(&mut self, rdd: RddId) {
        let mut unused = vec![rdd];
        while let Some(rdd) = unused.pop() {
            let Some(node) = self.rdds.get(&rdd).filter(|node| !node.persisted && node.children == 0) else { continue };
            for parent in node.rdds.clone() {
                self.rdds.get_mut(&parent).expect("parents are kept").children -= 1;
                unused.push(parent);
            }
            self.rdds.remove(&rdd);
        }
    }

    /// The persisted RDDs that are computed from one of these shuffles.
    pub(crate) fn computed_from(&self, shuffles: &BTreeSet<ShuffleId>) -> Vec<RddId> {
        let mut children = BTreeMap::<RddId, Vec<RddId>>::new();
        let mut reached = Vec::new();
        for (rdd, node) in &self.rdds {
            if node.shuffles.iter().any(|shuffle| shuffles.contains(shuffle)) {
                reached.push(*rdd);
            }
            for parent in &node.rdds {
                children.entry(*parent).or_default().push(*rdd);
            }
        }
        let mut seen = BTreeSet::new();
        while let Some(rdd) = reached.pop() {
            if seen.insert(rdd) {
                reached.extend(children.get(&rdd).into_iter().flatten());
            }
        }
        seen.into_iter().filter(|rdd| self.rdds[rdd].persisted).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.rdds.len()
    }
}
