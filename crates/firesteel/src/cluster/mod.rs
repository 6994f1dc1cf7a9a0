//! Executors in processes of their own.
//!
//! The driver listens ([`control`]); a supplier of executors ([`processes`]: [`local_cluster`], [`standalone`]) starts the program's own executable again,
//! which finds its role where it starts ([`firesteel_cluster::role`]) and becomes an executor ([`process`]) instead of running `main`. What they say to
//! each other is in [`messages`]. What one process holds and another reads goes by [`blocks`], between any two of them.

mod blocks;
mod control;
#[cfg(fuzzing)]
pub mod fuzzing;
mod local_cluster;
mod messages;
mod process;
mod processes;
mod standalone;

use control::{Control, Hosting};
use local_cluster::LocalCluster;

pub(crate) use control::{Places, Runners};
pub(crate) use process::{note, run as run_executor};
pub(crate) use processes::{local_cluster, standalone};
