//! What every operation means: against plain `Vec` models with generated data, and edge cases by name.

mod actions;
mod approximate;
mod forms;
mod jobs;
mod joins;
mod keyed;
mod lending;
mod masters;
mod mistakes;
mod model;
mod narrow;
mod numeric;
mod partitions;
mod pipe;
mod ranges;
mod run_job;
mod sampling;
mod save;
mod sets;
mod signatures;
mod sorts;
mod structure;
mod text;
mod tree;
mod zip_partitions;
