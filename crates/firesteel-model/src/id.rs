//! Identities of everything the engine talks about. Each is a number of its own type, so that a stage is never taken
//! for a shuffle; all are unique within one context and grow in the order of creation.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

ids! {
    /// One job: what an action submits.
    JobId(u64);
    /// One stage of a job. A shuffle-map stage keeps its id for as long as its shuffle lives.
    StageId(u64);
    /// The how-manieth submission of a stage, from 0.
    StageAttempt(u32);
    /// One attempt at one task, unique in the context (Spark's "task id" or `taskAttemptId`).
    AttemptId(u64);
    /// An RDD: one node of the lineage graph.
    RddId(u64);
    /// A shuffle: the data between a map stage and its readers.
    ShuffleId(u64);
    /// A partition's position in its RDD, from 0.
    PartitionIndex(u32);
    /// A broadcast value.
    BroadcastId(u64);
    /// An accumulator.
    AccumulatorId(u64);
    /// Counts the losses of map output that the scheduler has seen; a task carries the epoch that it was launched in.
    Epoch(u64);
    /// An executor. In local mode the one executor is number 0 and shows itself as `driver`.
    ExecutorId(u64);
    /// A host, numbered by whoever supplies executors; its name is kept with the executor's registration.
    HostId(u32);
}

impl PartitionIndex {
    /// As an index into a slice.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A block of data that a store holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum BlockId {
    /// A cached partition.
    Rdd(RddId, PartitionIndex),
    /// A partition's worth of the items given to `parallelize`, held by the driver.
    Source(RddId, PartitionIndex),
    /// A broadcast value.
    Broadcast(BroadcastId),
    /// Some of the bytes of a broadcast value, as it travels between processes.
    BroadcastPiece(BroadcastId, u32),
    /// A task result too large to be sent along with the task's end.
    TaskResult(AttemptId),
}

impl fmt::Display for BlockId {
    /// Spark's names: `rdd_3_1`, `broadcast_2`, `broadcast_2_piece0`, `taskresult_17`; ours: `source_0_1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockId::Rdd(rdd, part) => write!(f, "rdd_{rdd}_{part}"),
            BlockId::Source(rdd, part) => write!(f, "source_{rdd}_{part}"),
            BlockId::Broadcast(id) => write!(f, "broadcast_{id}"),
            BlockId::BroadcastPiece(id, piece) => write!(f, "broadcast_{id}_piece{piece}"),
            BlockId::TaskResult(id) => write!(f, "taskresult_{id}"),
        }
    }
}
