//! What every operation means: against plain `Vec` models with generated data, and edge cases by name.

mod actions;
mod approximate;
mod forms;
mod masters;
mod numeric;
mod ranges;
mod run_job;
mod sampling;
mod save;
mod structure;
mod tree;
