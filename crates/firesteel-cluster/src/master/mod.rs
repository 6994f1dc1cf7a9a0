//! The master: it gives the workers' cores and memory to applications and drivers.

pub mod placement;
pub mod server;
pub mod state;
