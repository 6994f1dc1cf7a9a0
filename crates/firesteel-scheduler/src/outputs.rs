//! Where the map outputs of a shuffle are: what Spark calls the map-output tracker.

use firesteel_model::{AttemptId, ExecutorId};

/// The complete map outputs of a shuffle, as they were at one time: what a reduce task needs to know.
///
/// The scheduler hands out one shared copy per version, so that 10,000 reduce tasks do not cost 10,000 copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapOutputs {
    /// Grows whenever an output of this shuffle is lost or replaced; two snapshots of one shuffle with the same version are equal.
    pub version: u64,
    /// One for each map partition, in order.
    pub outputs: Vec<MapLocation>,
}

/// Where one map output is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapLocation {
    /// The attempt that made it; part of its name.
    pub attempt: AttemptId,
    /// The executor that made it.
    pub executor: ExecutorId,
    /// About how large it is.
    pub total_bytes: u64,
}
