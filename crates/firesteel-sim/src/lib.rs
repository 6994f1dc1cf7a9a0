//! A simulator that leads Firesteel's scheduler, and [whole clusters](cluster) with their master, through seeded histories of failure.
//!
//! A seed stands for a cluster, some shuffles, cached RDDs and jobs, and all that goes wrong: executors crash, messages are
//! late, lost or repeated, map outputs vanish, tasks fail, give other data when they are repeated, or are slow, users
//! cancel. Beside the scheduler stands an independent record of what it was told and what it said, and the
//! [invariants](crate) are checked at every step: every job ends; each result counts once, its accumulators included; no
//! answer mixes two versions of the same data; no task runs without its inputs; no slot is idle for longer than the
//! locality wait while a task could run; no task runs where it is excluded; one committer per output; nothing is kept for what was released.
//!
//! ```
//! let report = firesteel_sim::simulate(1, Default::default(), false).0.unwrap();
//! assert!(report.attempts > 0);
//! ```

pub mod bench;
mod checks;
pub mod cluster;
mod excluded;
pub mod plan;
pub mod rng;
pub mod world;

use firesteel_scheduler::Faults;
use plan::Plan;
use world::{Report, World};

/// Lives one seed's history to its end. With `trace`, what happened is returned as well, one line each.
///
/// # Errors
/// The invariant that was broken, and when.
pub fn simulate(seed: u64, faults: Faults, trace: bool) -> (Result<Report, String>, Option<String>) {
    World::new(seed, Plan::of(seed, faults), trace).run()
}
