//! Tests of the engine as a whole: scheduling, failures, depth, determinism, what is kept and for how long.

mod chaos;
mod depth;
mod determinism;
mod failures;
mod plain;
mod soak;
