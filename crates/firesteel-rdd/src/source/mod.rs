//! Where elements come from: ranges, items of the driver's program, lines of text, files.

mod empty;
mod parallelize;
mod range;
mod text_file;
mod whole_text_files;

pub use empty::Empty;
pub(crate) use parallelize::lost_checkpoint;
pub use parallelize::{BlockStream, Parallelize, slice_bounds};
pub use range::{RangeOf, StepRangeOf};
pub(crate) use text_file::LentText;
pub use text_file::TextFile;
pub use whole_text_files::WholeTextFiles;
