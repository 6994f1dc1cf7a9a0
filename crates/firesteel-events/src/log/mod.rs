//! The event log: what happened, as lines of JSON in Spark's format, which Spark's history server reads too.

mod reader;
mod redaction;
mod writer;

pub use reader::{LogReader, MAX_LINE, read_log};
pub use writer::{EventLogWriter, LogFailure};

/// The version of Spark whose format the log has.
pub const SPARK_VERSION: &str = "4.3.0";
