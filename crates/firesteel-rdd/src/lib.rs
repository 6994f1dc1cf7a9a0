//! Firesteel's pipelines: streams, adaptors, partitioners, the typed side of shuffle and cache.
//!
//! No threads and no sockets: a pipeline can be driven by hand. README.md beside this crate's sources walks an element
//! through a stage.

mod accumulator;
mod action;
mod broadcast;
mod cache;
mod current;
mod distinct_count;
mod encoding;
mod failure;
mod func;
mod histogram;
mod iter;
mod locally;
mod node;
mod op;
mod partitioner;
mod peers;
mod pipeline;
mod save_text;
mod segment;
mod shuffle;
mod source;
mod stats;
mod stream;
mod task;
mod text_line;
mod total;

pub use accumulator::{Accumulator, AnyAccumulator, AttemptAccumulators, DoubleAccumulator, LongAccumulator, Tally};
pub use action::*;
pub use broadcast::{Broadcast, OnRelease, Release};
pub use cache::{CacheState, Cached, WriteCheckpoint};
pub use current::{Entered, TaskContext, enter, in_task};
pub use distinct_count::{Estimate, HyperLogLog, Precision, Sketch, Sketching};
pub use encoding::{ContextMark, Encoding, encoding_for};
pub use failure::{TaskFailure, panic_message};
pub use firesteel_code::Captureless;
pub use firesteel_store::Data;
pub use firesteel_store::{Chunk, Texts};
pub use func::*;
pub use histogram::{Extremes, Histogram};
pub use iter::PartitionIter;
pub use locally::{CountEach, ReduceEach};
pub use node::*;
pub use op::*;
pub use partitioner::{
    HashPartitioner, KeyPartitioner, Partitioner, Partitioning, RangePartitioner, RangeSource, SAMPLES_PER_PARTITION,
    hash_of,
};
pub use peers::{Holder, Peers, RemoteOutputs, RemotePart};
pub use pipeline::{MAX_PARTITIONS, Pipeline, Plan, check_partitions};
pub use save_text::SaveText;
pub use segment::PortStream;
pub use shuffle::*;
pub use source::*;
pub use stats::{Number, StatCounter, Stats, Sum};
pub use stream::{Flow, Lent, Loan, LoanBy, Own, Port, Shared, Sink, Stream};
pub use task::{EndHook, Executor, KillFlag, MapOutputs, SplitTable, Stride, Task, TaskInfo};
pub use text_line::TextLine;
pub use total::Total;

use std::hash::Hash;

/// What can be the key of a shuffle: [`Data`] with a hash and an equality that agree.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "not a `Key`: needs Hash and Eq besides what `Data` needs",
    note = "floats are no keys as they are: wrap them in `Total(x)` from the prelude",
    note = "on a type of your own: `#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]`"
)]
pub trait Key: Data + Hash + Eq {}

#[diagnostic::do_not_recommend]
impl<T: Data + Hash + Eq> Key for T {}

/// What can be sorted by, or compared for the greatest: [`Data`] with a total order.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no total order to sort or compare by",
    label = "not a `SortKey`: needs Ord besides what `Data` needs",
    note = "floats are compared as `Total(x)` from the prelude, or by a comparison: `max_by`, `top_by`, `take_ordered_by`",
    note = "on a type of your own: `#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]`"
)]
pub trait SortKey: Data + Ord {}

#[diagnostic::do_not_recommend]
impl<T: Data + Ord> SortKey for T {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
