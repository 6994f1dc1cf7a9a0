//! Apache Spark's RDD engine in Rust: resilient distributed datasets on threads, processes and clusters.
//!
//! ```
//! use firesteel::prelude::*;
//!
//! let sc = Context::builder().master("local[2]").build()?;
//! let lines = sc.parallelize(["to be or not", "to be"].map(String::from));
//! let counts = lines
//!     .flat_map(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>())
//!     .map(|word| (word, 1u64))
//!     .reduce_by_key(|a, b| a + b);
//! assert_eq!(counts.collect_as_map()?["to"], 2);
//! # Ok::<(), Error>(())
//! ```

mod allocator;
mod clock;
mod cluster;
mod context;
mod driver;
mod engine;
mod estimate;
pub mod events;
mod executor;
mod files;
mod footprint;
mod future;
mod getters;
mod graph;
mod job;
mod jobs;
mod link;
mod logging;
mod main_fn;
mod memory_limit;
mod panics;
mod partial;
pub mod pipeline;
mod plan;
mod properties;
mod quantile;
mod range;
mod rdd;
mod report;
mod run_job;
mod settings;
mod setup;
mod soon;
mod supply;
mod tracker;

pub use context::{Context, ContextBuilder};
pub use files::Files;
pub use firesteel_io::PipeCommand;
pub use firesteel_macros::main;
pub use firesteel_model::{
    Error, JobFailure, Result, StorageLevel,
    conf::{Conf, SchedulingMode},
};
pub use firesteel_rdd::{
    Accumulator, Broadcast, Data, DoubleAccumulator, Emit, HashPartitioner, Key, LongAccumulator, Number,
    PartitionIter, Partitioner, Partitioning, Pipeline, RangePartitioner, SortKey, StatCounter, TaskContext, TextLine,
    Total,
};
pub use future::FutureAction;
pub use partial::{BoundedDouble, PartialResult};
pub use rdd::{Dependency, LocalIter, Rdd};
pub use tracker::{PersistentRdd, Pool, StatusTracker};

/// What `#[firesteel::main]` expands to, and hooks for Firesteel's own tests. Nothing here is promised.
#[doc(hidden)]
pub mod __private {
    #[cfg(fuzzing)]
    pub use crate::cluster::fuzzing;
    pub use crate::{
        allocator::Allocator,
        clock::ManualClock,
        executor::Moment,
        footprint::Footprint,
        main_fn::{MainResult, run_main},
    };
}

/// Everything that a program usually needs.
pub mod prelude {
    pub use crate::{
        Accumulator, BoundedDouble, Broadcast, Context, Data, DoubleAccumulator, Error, Files, FutureAction,
        HashPartitioner, Key, LongAccumulator, PartialResult, Partitioner, Pipeline, RangePartitioner, Rdd, Result,
        SortKey, StorageLevel, TaskContext, TextLine, Total,
    };
}

#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../../README.md")]
    struct Project;
    #[doc = include_str!("../../../docs/semantics.md")]
    struct Semantics;
}
