//! Pipelines driven by hand: no threads, no driver; what a stage's parts promise each other.

mod accumulators;
mod batches;
mod hand;
mod hostile_bytes;
mod memory;
mod partitioners;
mod resuming;
mod shuffles;
mod sizes;
mod sorts;
mod tables;
mod texts;
