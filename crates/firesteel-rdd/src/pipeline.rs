//! The five things an RDD is: splits, a stream for each split, what it depends on, how its keys are spread, where it
//! would best run.
//!
//! A pipeline is the *description*; it is serialisable and travels to executors. Its run over one split is a
//! [`Stream`]. The partitioner and the lineage are not here: they live in the driver's graph.

use crate::{stream::Stream, task::Task};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Serialize, de::DeserializeOwned};

/// More partitions than this are an error: a driver keeps a few hundred bytes for each, and a number that is larger is a mistake.
pub const MAX_PARTITIONS: usize = 1 << 24;

/// Refuses more than [`MAX_PARTITIONS`], before anything is made for each of them.
///
/// # Errors
/// [`Error::InvalidArgument`] says how many there may be.
pub fn check_partitions(partitions: usize) -> Result<()> {
    match partitions {
        0..=MAX_PARTITIONS => Ok(()),
        _ => Err(Error::InvalidArgument(format!(
            "{partitions} partitions are too many: an RDD may have {MAX_PARTITIONS} of them"
        ))),
    }
}

/// What the driver knows about the other RDDs of a program when it makes splits.
pub trait Plan {
    /// How many partitions an erased RDD has.
    ///
    /// # Errors
    /// If that cannot be told, because its own splits could not be made.
    fn partitions(&self, rdd: RddId) -> Result<usize>;
}

/// One RDD's code: how its partitions are cut and computed.
///
/// Adaptors wrap their parent's pipeline as iterator adaptors do, so a chain of narrow operations is one type and its
/// `drive` one loop. Any serialisable type can be a pipeline, also outside this crate, also one whose code is data (an
/// interpreter's program): see `firesteel::pipeline`, and the crate `firesteel-test-expr`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a pipeline",
    note = "an `Rdd<T, P>` is used here with a `P` that does not compute `T`; if a struct field or a function signature says `Rdd<T>`, hand it `rdd.erase()`"
)]
pub trait Pipeline: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The element type.
    type Item: 'static;
    /// What a task must be told to compute one partition. Made on the driver, sent with the task.
    type Split: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// A run over one split.
    type Stream: Stream<Item = Self::Item>;

    /// Opens the stream of one split. Called in a task; cheap: the work is in [`Stream::drive`].
    fn open(&self, split: Self::Split, task: &Task) -> Self::Stream;

    /// The splits, in partition order. Called on the driver after all preparations have run.
    ///
    /// # Errors
    /// If an argument of the operation makes no sense (unequal partition counts of a zip, a negative fraction).
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>>;

    /// Names the erased RDDs that partitions of this one may read.
    fn refers(&self, visit: &mut dyn FnMut(RddId));

    /// Names the partitions of erased RDDs that the split reads.
    fn reads(&self, split: &Self::Split, visit: &mut dyn FnMut(RddId, PartitionIndex));

    /// Some of the split, cut from all over it, for whoever needs an impression of its elements, and how many times as much the
    /// whole split is. `None` if nothing less than the split can be computed, or would be worth it: so it must be where what becomes
    /// of an element depends on others.
    fn glimpse(&self, split: &Self::Split) -> Option<(Vec<Self::Split>, f64)> {
        let _ = split;
        None
    }

    /// The hosts on which the split would best run, if any.
    fn locations(&self, split: &Self::Split) -> Vec<String> {
        let _ = split;
        Vec::new()
    }
}
