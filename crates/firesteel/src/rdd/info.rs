//! What an RDD says about itself.

use super::Rdd;
use crate::{Context, graph::RddNode};
use firesteel_model::{Result, StorageLevel};
use firesteel_rdd::{Partitioning, Pipeline};
use std::{collections::HashSet, sync::Arc};

impl<T, P> Rdd<T, P> {
    /// Its number, unique in the context and growing in the order of creation.
    pub fn id(&self) -> u64 {
        self.node().id.0
    }
    /// Its name, if it was given one.
    pub fn name(&self) -> Option<String> {
        self.node().name()
    }
    /// Names it, for the UI, the event log and [`to_debug_string`](Rdd::to_debug_string). Other handles of the same RDD see the
    /// name too.
    pub fn set_name(&self, name: impl Into<String>) -> Self {
        self.node().set_name(name.into());
        self.clone()
    }
    /// The context that it belongs to.
    pub fn context(&self) -> &Context {
        &self.context
    }
}

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    pub(crate) fn count_partitions(&self) -> Result<usize> {
        Ok(self.pipeline().splits(&*self.node().engine)?.len())
    }

    /// How many partitions it has. Runs the preparations that this needs: listings of input files, the sampling job of a sort.
    ///
    /// # Errors
    /// If a preparation fails, or an argument of a transformation makes no sense.
    #[track_caller]
    pub fn num_partitions(&self) -> Result<usize> {
        self.node().engine.check_usable("num_partitions")?;
        self.node().prepare()?;
        self.count_partitions()
    }

    /// The hosts on which a partition would best be computed; empty if there is none, or if nobody knows yet. Runs no job.
    pub fn preferred_locations(&self, partition: usize) -> Vec<String> {
        self.node().prepare_softly();
        let splits = self.pipeline().splits(&*self.node().engine).unwrap_or_default();
        splits.get(partition).map(|split| self.pipeline().locations(split)).unwrap_or_default()
    }

    /// How its keys are spread, if that is known: two RDDs for which this is equal are joined without a shuffle. Runs the
    /// preparations that this needs.
    ///
    /// # Errors
    /// As [`num_partitions`](Rdd::num_partitions).
    pub fn partitioner(&self) -> Result<Option<Partitioning>> {
        self.node().engine.check_usable("partitioner")?;
        self.node().prepare()?;
        Ok(self.node().partitioning())
    }

    /// The lineage, as Spark prints it: this RDD first, `+-` where a shuffle lies between, partition counts in parentheses, storage
    /// levels in brackets. Runs no job: a count that would need one prints as `(?)`. A shared ancestor is printed once.
    pub fn to_debug_string(&self) -> String {
        self.node().prepare_softly();
        let own = self.pipeline().splits(&*self.node().engine).ok().map(|splits| splits.len());
        debug_string(self.node(), own)
    }
}

/// One line: `ShuffledRDD[4] at reduce_by_key at main.rs:12 [Memory Deserialized 1x Replicated]`.
fn describe(node: &RddNode) -> String {
    let name = node.name().map(|name| format!("{name} ")).unwrap_or_default();
    let level = node.cache.as_ref().map(|cache| cache.level()).filter(|level| *level != StorageLevel::NONE);
    let level = level.map(|level| level.to_string()).unwrap_or_default();
    // One that turned out to be made in place, or only keeps what a shuffle brought, shuffles nothing itself.
    let in_place = node.kind == "ShuffledRDD" && node.is_prepared() && node.shuffle(0).is_none();
    let kind = if in_place { "MapPartitionsRDD" } else { node.kind };
    format!("{name}{kind}[{}] at {} [{level}]", node.id, node.call_site)
}

fn debug_string(top: &Arc<RddNode>, own: Option<usize>) -> String {
    let count = |count: Option<usize>| count.map_or("(?)".to_string(), |count| format!("({count})"));
    let mut out = String::new();
    let mut seen = HashSet::new();
    // Each entry: the RDD, what stands before it, and whether a stage begins with it.
    let mut stack = vec![(top.clone(), String::new(), Some(count(own)))];
    while let Some((node, indent, head)) = stack.pop() {
        let first_time = seen.insert(node.id);
        if !first_time {
            continue;
        }
        let (mark, below) = match &head {
            Some(count) => (format!("{indent}{count} "), format!("{indent}{} ", " ".repeat(count.len() - 1))),
            None => (format!("{indent}|  "), indent.clone()),
        };
        out.push_str(&mark);
        out.push_str(&describe(&node));
        out.push('\n');
        let parents = node.parents();
        for (i, parent) in parents.iter().enumerate().rev() {
            let shuffle = node.shuffle(i);
            match shuffle {
                Some(_) => {
                    let partitions = parent.known_partitions().ok();
                    stack.push((parent.clone(), format!("{below}+-"), Some(count(partitions))));
                }
                None => stack.push((parent.clone(), below.clone(), None)),
            }
        }
        // The word stands once for each shuffle, also where several end in one RDD.
        if !node.kind.contains("Shuffled") {
            for i in 0..parents.len() {
                if let Some(dep) = node.shuffle(i) {
                    out.push_str(&format!("{below}|  Shuffled by key into {} [shuffle {}]\n", dep.partitions, dep.id));
                }
            }
        }
    }
    out
}
