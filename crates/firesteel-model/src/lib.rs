//! Firesteel's shared vocabulary: ids, storage levels, configuration keys, errors, metrics.
//!
//! Every other crate of Firesteel speaks in these words; this one knows none of them.

pub mod conf;
mod error;
mod id;
pub mod machine;
mod metrics;
mod storage_level;

pub use error::{Error, JobFailure, Result};
pub use id::*;
pub use metrics::TaskMetrics;
pub use storage_level::StorageLevel;
