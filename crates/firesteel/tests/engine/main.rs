//! Tests of the engine as a whole: scheduling, failures, depth, determinism, what is kept and for how long.

mod at_once;
mod background;
mod cancellation;
mod chaos;
mod damaged;
mod depth;
mod determinism;
mod disks;
mod event_log;
mod failed_jobs;
mod failures;
mod lifecycle;
mod listening;
mod memory;
mod persistence;
mod pools;
#[path = "../random_program/mod.rs"]
mod random_program;
mod soak;
mod status;
mod steps;
