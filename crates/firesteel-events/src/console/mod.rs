//! What a person at a terminal sees: a progress bar while jobs run, and why a job failed.

mod bar;
mod failure;
mod progress;

pub use bar::{StageProgress, progress_bar};
pub use failure::failure_summary;
pub use progress::{ConsoleProgress, RunningJob};
