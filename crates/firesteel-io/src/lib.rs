//! Firesteel's input and output: listings of files, splits, lines of text, codecs, output commit, checkpoint files.
//!
//! Nothing here knows of RDDs. The driver lists and splits, tasks read and write; whatever the driver makes for a task
//! is plain serialisable data ([`TextSplit`]), so it travels with the task. Files are the local file system's so far; a
//! path with another scheme than `file:` is an error that says so.
//!
//! ```
//! # fn main() -> firesteel_model::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # std::fs::write(dir.path().join("a.txt"), "one\ntwo\r\nthree").unwrap();
//! # let spec = dir.path().join("*.txt").display().to_string();
//! let files = firesteel_io::list_inputs(&spec)?;
//! let mut lines = Vec::new();
//! for split in firesteel_io::text_splits(&files, 4) {
//!     let mut reader = firesteel_io::LineReader::open(&split)?;
//!     while let Some(some) = reader.lines()? {
//!         lines.extend(some.map(str::to_string));
//!     }
//! }
//! assert_eq!(lines, ["one", "two", "three"]);
//! # Ok(())
//! # }
//! ```

mod checkpoint;
mod codec;
mod glob;
mod java_float;
mod line_buffer;
mod line_ends;
mod line_reader;
mod listing;
mod output;
mod path;
mod pipe;
mod split;
mod task_writer;
mod utf8;
mod whole_file;

pub use checkpoint::{CheckpointDir, CheckpointWriter, RddCheckpoint};
pub use codec::Codec;
pub use java_float::JavaFloat;
pub use line_buffer::Lines;
pub use line_reader::LineReader;
pub use listing::{InputFile, list_inputs};
pub use output::OutputCommitter;
pub use path::{file_uri, local_path};
pub use pipe::{PipeCommand, PipeStep, PipedProcess};
pub use split::{TextSplit, text_splits};
pub use task_writer::{TaskWriter, Written};
pub use utf8::decode_utf8;
pub use whole_file::{WholeFileSplit, read_whole, whole_file_splits};
