//! What an RDD says about itself.

use super::Rdd;
use crate::{Context, graph::RddNode};
use firesteel_events::{Queue, event::RddInfo};
use firesteel_model::{RddId, Result, StorageLevel};
use firesteel_rdd::{Partitioning, Pipeline};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

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

    /// The RDDs that it is made from, and whether a shuffle lies between. Runs the preparations that this needs.
    ///
    /// # Errors
    /// As [`num_partitions`](Rdd::num_partitions).
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let pairs = sc.range_n(0..10, 2).map(|i| (i % 3, i));
    /// let sums = pairs.reduce_by_key(|a, b| a + b);
    /// let [from] = sums.dependencies()?[..] else { panic!() };
    /// assert_eq!((from.rdd, from.shuffle), (pairs.id(), Some(0)));
    /// assert_eq!(sums.map(|pair| pair.1).dependencies()?[0].shuffle, None);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dependencies(&self) -> Result<Vec<Dependency>> {
        self.node().engine.check_usable("dependencies")?;
        self.node().prepare()?;
        let depends = |(i, parent): (usize, &Arc<RddNode>)| Dependency {
            rdd: parent.id.0,
            shuffle: self.node().shuffle(i).map(|dep| dep.id.0),
        };
        Ok(self.node().parents().iter().enumerate().map(depends).collect())
    }

    /// The lineage, as Spark prints it: this RDD first; `+-` where a shuffle lies between and `|` where none does; partition counts in
    /// parentheses where a stage begins; storage levels in brackets, and below a kept RDD how much of it is kept. Runs no job: a count
    /// that would need one prints as `(?)`. A shared ancestor is printed once. Beyond some 40 shuffles in a row the margin stays.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let counts = sc.range_n(0..10, 2).map(|i| (i % 3, 1)).reduce_by_key_into(4, |a, b| a + b);
    /// let text = counts.to_debug_string();
    /// assert!(text.starts_with("(4) ShuffledRDD[2] at reduce_by_key_into at "), "{text}");
    /// assert!(text.contains("\n +-(2) MapPartitionsRDD[1] at map at "), "{text}");
    /// assert!(text.contains("\n    |  ParallelCollectionRDD[0] at range_n at "), "{text}");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_debug_string(&self) -> String {
        self.node().prepare_softly();
        let engine = &self.node().engine;
        let own = self.pipeline().splits(&**engine).ok().map(|splits| splits.len());
        engine.bus.flush_queue(Queue::AppStatus);
        let kept = engine.state.rdd_storage().into_iter().map(|info| (info.id, info)).collect();
        debug_string(self.node(), own, &kept)
    }
}

/// What an RDD is made from, as [`Rdd::dependencies`] shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dependency {
    /// The parent's id.
    pub rdd: u64,
    /// The number of the shuffle that lies between; none if each partition is made from certain partitions of the parent.
    pub shuffle: Option<u64>,
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

/// How much of an RDD is kept, below its own line.
fn storage(info: &RddInfo) -> String {
    let (memory, disk) = (size_text(info.memory), size_text(info.disk));
    format!("    CachedPartitions: {}; MemorySize: {memory}; DiskSize: {disk}", info.cached_partitions)
}

/// Spark's way to print a number of bytes: in a larger unit from two of it on.
fn size_text(bytes: u64) -> String {
    let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let (shift, unit) = units.into_iter().find(|(shift, _)| bytes >= 2 << shift).unwrap_or((0, "B"));
    format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64)
}

/// From where on a further shuffle moves the margin no more: a lineage of thousands stays readable, and its text small.
const MARGIN: usize = 120;

/// A line of [`debug_string`] that is still to come.
struct Line {
    node: Arc<RddNode>,
    /// What stands before it.
    start: String,
    /// What stands before its parents in the same stage.
    below: String,
}

impl Line {
    /// The first line of a stage. `margin` is what stands before it, `next` where its ancestors' margin is.
    fn stage(node: &Arc<RddNode>, partitions: Option<usize>, margin: &str, mark: &str, next: &str) -> Line {
        let count = partitions.map_or("(?)".to_string(), |count| format!("({count})"));
        let left = (count.len() - 1) / 2;
        let next = &next[..next.len().min(MARGIN)];
        let below = format!("{next}{}|{}", " ".repeat(left), " ".repeat(count.len() - left));
        Line { node: node.clone(), start: format!("{margin}{mark}{count} "), below }
    }
}

fn debug_string(top: &Arc<RddNode>, own: Option<usize>, kept: &BTreeMap<RddId, RddInfo>) -> String {
    let mut out = String::new();
    let mut seen = HashSet::new();
    let mut stack = vec![Line::stage(top, own, "", "", "")];
    while let Some(Line { node, start, below }) = stack.pop() {
        if !seen.insert(node.id) {
            continue;
        }
        out.extend([&start, &*describe(&node), "\n"]);
        if let Some(info) = kept.get(&node.id) {
            // Spark's first such line stands one further to the right.
            let more = if Arc::ptr_eq(&node, top) { " " } else { "" };
            out.extend([&below, more, &*storage(info), "\n"]);
        }
        let parents = node.parents();
        // The word stands once for each shuffle, also where several end in one RDD.
        if !node.kind.contains("Shuffled") {
            for dep in (0..parents.len()).filter_map(|i| node.shuffle(i)) {
                out.push_str(&format!("{below}Shuffled by key into {} [shuffle {}]\n", dep.partitions, dep.id));
            }
        }
        for (i, parent) in parents.iter().enumerate().rev() {
            stack.push(match node.shuffle(i) {
                Some(_) => {
                    let margin = below.trim_end().trim_end_matches('|');
                    let next = format!("{margin}{}", if i + 1 == parents.len() { "  " } else { "| " });
                    Line::stage(parent, parent.known_partitions().ok(), margin, "+-", &next)
                }
                None => Line { node: parent.clone(), start: below.clone(), below: below.clone() },
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_in_sparks_words() {
        let texts = [0, 2047, 2048, 3 << 20, 5 << 30, u64::MAX].map(super::size_text);
        assert_eq!(texts, ["0.0 B", "2047.0 B", "2.0 KiB", "3.0 MiB", "5.0 GiB", "16.0 EiB"]);
    }
}
