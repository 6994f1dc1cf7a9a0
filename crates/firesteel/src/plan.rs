//! From an RDD to a job: preparations first, then stages cut at shuffles, each with what its tasks must be told.

use crate::{
    executor::encode,
    graph::{CallSite, RddNode, drop_flat},
};
use firesteel_model::{PartitionIndex, RddId, Result, ShuffleId, StageId, StorageLevel};
use firesteel_rdd::{NodeBytes, Plan, Root, Splits, StageBytes, encoding_for};
use firesteel_scheduler::{Input, Inputs, Preference, StageOutput, StageSpec};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

/// One stage of a job: what the scheduler is told, and what tasks are told.
pub(crate) struct Stage {
    pub(crate) spec: Arc<StageSpec>,
    pub(crate) call_site: CallSite,
    /// The last RDD.
    pub(crate) rdd: Arc<RddNode>,
    /// The RDDs computed in it, last first.
    pub(crate) lineage: Vec<Arc<RddNode>>,
    /// The stages whose shuffles it reads.
    pub(crate) parents: Vec<StageId>,
    root: Arc<dyn Root>,
    root_splits: Arc<dyn Splits>,
    /// The erased RDDs that its tasks may open, parents first.
    nodes: Vec<Arc<RddNode>>,
    splits: HashMap<RddId, Arc<dyn Splits>>,
    bytes: OnceLock<Result<Arc<Vec<u8>>>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop_flat(std::mem::take(&mut self.lineage));
        drop_flat(std::mem::take(&mut self.nodes));
    }
}

/// An environment of more than this is told to the user: it is decoded for every task attempt.
const LARGE_STAGE: usize = 1 << 20;

impl Stage {
    /// The stage as it is sent; made at the first call.
    pub(crate) fn bytes(&self) -> Result<Arc<Vec<u8>>> {
        self.bytes.get_or_init(|| self.encode().map(Arc::new)).clone()
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let _home = encoding_for(&self.rdd.engine.mark);
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let exec = node.exec().expect("a stage's nodes are erased");
            nodes.push(NodeBytes { rdd: node.id, code: exec.code(), bytes: exec.encode()? });
        }
        let bytes = encode(&StageBytes { nodes, code: self.root.code(), bytes: self.root.encode()? })?;
        if bytes.len() > LARGE_STAGE {
            tracing::warn!(
                "the environments of stage {} ({}) take {} MiB, decoded for every task attempt: hand large values over as a broadcast",
                self.spec.stage,
                self.call_site,
                bytes.len() >> 20
            );
        }
        Ok(bytes)
    }

    /// What a task is told of splits: the root's own, and those of every erased partition that it opens.
    pub(crate) fn task_splits(
        &self,
        partition: PartitionIndex,
    ) -> Result<(Option<Vec<u8>>, Vec<((RddId, PartitionIndex), Vec<u8>)>)> {
        let _home = encoding_for(&self.rdd.engine.mark);
        let root = self.root_splits.encode(partition)?;
        let mut told = Vec::new();
        let mut open = Vec::new();
        let mut seen = HashSet::new();
        self.root_splits.reads(partition, &mut |rdd, p| open.push((rdd, p)));
        while let Some((rdd, p)) = open.pop() {
            let Some(splits) = self.splits.get(&rdd) else { continue };
            if !seen.insert((rdd, p)) {
                continue;
            }
            if let Some(bytes) = splits.encode(p)? {
                told.push(((rdd, p), bytes));
            }
            splits.reads(p, &mut |rdd, p| open.push((rdd, p)));
        }
        Ok((root, told))
    }

    /// The shuffles that its tasks may read.
    pub(crate) fn shuffles(&self) -> impl Iterator<Item = ShuffleId> + '_ {
        self.spec.inputs.shuffles()
    }
}

/// The narrow part of a lineage: the RDDs that one stage computes, and what it reads from others.
struct Narrow {
    /// Last RDD first.
    lineage: Vec<Arc<RddNode>>,
    inputs: Inputs,
    /// The shuffles read, with the RDD that their map side computes.
    shuffles: Vec<(Arc<crate::graph::ShuffleDep>, Arc<RddNode>)>,
}

/// Walks the lineage from `top` down to its shuffles.
fn narrow(top: &Arc<RddNode>) -> Narrow {
    let mut lineage = Vec::new();
    let mut inputs = Inputs::default();
    let mut shuffles: Vec<(Arc<crate::graph::ShuffleDep>, Arc<RddNode>)> = Vec::new();
    let mut shuffle_at: HashMap<ShuffleId, u32> = HashMap::new();
    // What each RDD reads, as indices into the inputs; shared along chains.
    let mut reads: HashMap<RddId, Arc<Vec<u32>>> = HashMap::new();
    let mut stack = vec![(top.clone(), false)];
    while let Some((node, parents_done)) = stack.pop() {
        if reads.contains_key(&node.id) {
            continue;
        }
        let parents = node.parents();
        if !parents_done {
            lineage.push(node.clone());
            stack.push((node.clone(), true));
            for (i, parent) in parents.iter().enumerate().rev() {
                if node.shuffle(i).is_none() && !reads.contains_key(&parent.id) {
                    stack.push((parent.clone(), false));
                }
            }
            continue;
        }
        let mut own: Arc<Vec<u32>> = Arc::default();
        for (i, parent) in parents.iter().enumerate() {
            let from_parent = match node.shuffle(i) {
                Some(dep) => {
                    let at = *shuffle_at.entry(dep.id).or_insert_with(|| {
                        shuffles.push((dep.clone(), parent.clone()));
                        inputs.push(Input::Shuffle(dep.id))
                    });
                    Arc::new(vec![at])
                }
                None => reads.get(&parent.id).cloned().unwrap_or_default(),
            };
            own = merged(own, from_parent);
        }
        if let Some(cache) = &node.cache
            && cache.level() != StorageLevel::NONE
            && let Ok(partitions) = node.known_partitions()
        {
            let at = inputs.push(Input::Cache { rdd: node.id, partitions: partitions as u32, behind: own.to_vec() });
            own = Arc::new(vec![at]);
        }
        reads.insert(node.id, own);
    }
    inputs.roots = reads.get(&top.id).map(|own| own.to_vec()).unwrap_or_default();
    // A diamond may list an RDD once for each way that leads to it.
    let mut seen = HashSet::new();
    lineage.retain(|node| seen.insert(node.id));
    Narrow { lineage, inputs, shuffles }
}

/// The union of two sorted lists, shared where it is one of them.
fn merged(a: Arc<Vec<u32>>, b: Arc<Vec<u32>>) -> Arc<Vec<u32>> {
    if b.is_empty() || Arc::ptr_eq(&a, &b) {
        return a;
    }
    if a.is_empty() {
        return b;
    }
    let mut both: Vec<u32> = a.iter().chain(b.iter()).copied().collect();
    both.sort_unstable();
    both.dedup();
    Arc::new(both)
}

/// The erased RDDs that `root` may open, parents before children.
fn erased(root: &dyn Root, known: &HashMap<RddId, Arc<RddNode>>) -> Vec<Arc<RddNode>> {
    let mut order = Vec::new();
    let mut done = HashSet::new();
    let mut stack = Vec::new();
    root.refers(&mut |rdd| stack.push((rdd, false)));
    while let Some((rdd, parents_done)) = stack.pop() {
        let Some(node) = known.get(&rdd) else { continue };
        let Some(exec) = node.exec() else { continue };
        if parents_done {
            order.push(node.clone());
        } else if done.insert(rdd) {
            stack.push((rdd, true));
            exec.refers(&mut |parent| stack.push((parent, false)));
        }
    }
    order
}

/// Where each task would best run: with the kept partition that it reads, if it reads one.
fn preferences(
    lineage: &[Arc<RddNode>],
    root: &dyn Splits,
    splits: &HashMap<RddId, Arc<dyn Splits>>,
) -> Option<Arc<[Vec<Preference>]>> {
    // A kept RDD's partitions are known by its own id where it is erased, by its parent's where it is not.
    let mut kept: HashMap<RddId, RddId> = HashMap::new();
    for node in lineage {
        if node.cache.as_ref().is_some_and(|cache| cache.level() != StorageLevel::NONE) {
            kept.insert(node.id, node.id);
            kept.extend(node.parents().first().map(|parent| (parent.id, node.id)));
        }
    }
    if kept.is_empty() {
        return None;
    }
    let of_task = |partition| {
        let mut open = Vec::new();
        let mut seen = HashSet::new();
        root.reads(partition, &mut |rdd, p| open.push((rdd, p)));
        while let Some((rdd, p)) = open.pop() {
            if let Some(kept) = kept.get(&rdd) {
                return vec![Preference::Cached(*kept, p)];
            }
            if let Some(splits) = splits.get(&rdd)
                && seen.insert((rdd, p))
            {
                splits.reads(p, &mut |rdd, p| open.push((rdd, p)));
            }
        }
        Vec::new()
    };
    Some((0..root.count() as u32).map(|p| of_task(PartitionIndex(p))).collect())
}

fn stage(
    id: StageId,
    output: StageOutput,
    call_site: CallSite,
    top: &Arc<RddNode>,
    root: Arc<dyn Root>,
    plan: &dyn Plan,
) -> Result<(Stage, Vec<(Arc<crate::graph::ShuffleDep>, Arc<RddNode>)>)> {
    let Narrow { lineage, inputs, shuffles } = narrow(top);
    let known: HashMap<RddId, Arc<RddNode>> = lineage.iter().map(|node| (node.id, node.clone())).collect();
    let nodes = erased(&*root, &known);
    let root_splits = root.splits(plan)?;
    let mut splits = HashMap::with_capacity(nodes.len());
    for node in &nodes {
        splits.insert(node.id, node.splits()?);
    }
    drop_flat(known.into_values().collect());
    let preferences = preferences(&lineage, &*root_splits, &splits);
    let spec = StageSpec { stage: id, output, tasks: root_splits.count() as u32, inputs, preferences };
    let stage = Stage {
        spec: Arc::new(spec),
        call_site,
        rdd: top.clone(),
        lineage,
        parents: shuffles.iter().map(|(dep, _)| dep.stage).collect(),
        root,
        root_splits,
        nodes,
        splits,
        bytes: OnceLock::new(),
    };
    Ok((stage, shuffles))
}

/// All stages of a job that computes `root` over `top`, parents before children, the final stage last. All preparations must have
/// run.
pub(crate) fn stages(
    final_stage: StageId,
    output: StageOutput,
    call_site: CallSite,
    top: &Arc<RddNode>,
    root: Arc<dyn Root>,
) -> Result<Vec<Arc<Stage>>> {
    let engine = top.engine.clone();
    let (last, mut open) = stage(final_stage, output, call_site, top, root, &*engine)?;
    let mut planned: BTreeMap<StageId, Arc<Stage>> = BTreeMap::new();
    while let Some((dep, parent)) = open.pop() {
        if planned.contains_key(&dep.stage) {
            continue;
        }
        let output = StageOutput::Shuffle(dep.id);
        let (made, more) = stage(dep.stage, output, parent.call_site, &parent, dep.root.clone(), &*engine)?;
        planned.insert(dep.stage, Arc::new(made));
        open.extend(more);
    }
    let last = Arc::new(last);
    let mut order = Vec::with_capacity(planned.len() + 1);
    let mut done = HashSet::new();
    let mut stack = vec![(last, false)];
    while let Some((stage, parents_done)) = stack.pop() {
        if parents_done {
            order.push(stage);
        } else if done.insert(stage.spec.stage) {
            let parents: Vec<_> = stage.parents.iter().filter_map(|id| planned.get(id).cloned()).collect();
            stack.push((stage, true));
            stack.extend(parents.into_iter().rev().map(|parent| (parent, false)));
        }
    }
    Ok(order)
}
