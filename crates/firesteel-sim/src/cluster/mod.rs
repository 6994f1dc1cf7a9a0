//! A simulated standalone cluster: a master, workers, applications whose drivers are schedulers, and drivers under supervision.
//!
//! The master is the real one, with a disk that keeps what it saves; an application's driver is the real scheduler, in the world that
//! [`simulate`](crate::simulate) leads it through, with the cluster's executors. What workers and the clients in drivers
//! know and say is the real ones', too; their connections and processes are models: who loses a connection makes another. A seed stands
//! for what they offer and want, and for what goes wrong: the master dies (in the middle of what it does, too) and comes back, or stands still, connections end on one side
//! or both, are cut for a while, messages are late or lost with them, workers die, stand still and return, executors and drivers die.
//!
//! What is checked: no worker has more to do than it offers; no application has more cores than it may, and none goes without an
//! executor for which there is room; the jobs of each application end with right answers; a restarted master costs no executor; an
//! application is removed for a reason; a driver starts again only if it is supervised, and only when its worker was disturbed, and is never
//! forgotten; and when all are gone, all is free.

mod peers;
mod plan;
mod world;

pub use firesteel_cluster::faults::Faults;

/// How a history of a cluster went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that masters were told.
    pub events: u64,
    /// Commands that they gave.
    pub commands: u64,
    /// Executors that registered with their drivers.
    pub executors: u64,
    /// Applications that did what they had to do.
    pub applications: u64,
    /// Applications that were removed, each for a reason that was found to be right.
    pub removed: u64,
    /// Jobs that succeeded.
    pub jobs: u64,
    /// Attempts at tasks.
    pub attempts: u64,
}

/// Lives one seed's history of a cluster to its end. With `trace`, what happened is returned as well, one line each.
///
/// # Errors
/// What did not hold, and when.
pub fn simulate(seed: u64, faults: Faults, trace: bool) -> (Result<Report, String>, Option<String>) {
    world::Cluster::new(seed, plan::ClusterPlan::of(seed, faults), trace).run()
}
