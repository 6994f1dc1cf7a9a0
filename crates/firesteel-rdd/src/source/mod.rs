//! Where elements come from: ranges, items of the driver's program, lines of text.

mod empty;
mod parallelize;
mod range;
mod text_file;

pub use empty::Empty;
pub use parallelize::{BlockStream, Parallelize, slice_bounds};
pub use range::{RangeOf, StepRangeOf};
pub use text_file::TextFile;
