//! Workers and applications as they are: their states, what really runs, and their connection to the master.

use super::plan::{ApplicationPlan, WorkerPlan};
use crate::world::World;
use firesteel_cluster::{
    client::state::ApplicationState,
    faults::Faults,
    master::state::ConnectionId,
    protocol::{ExecutorName, WorkerDescription},
    worker::state::{Process, WorkerState},
};
use firesteel_model::ExecutorId;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// Who has a connection to the master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    Worker(usize),
    Application(usize),
    Submitter,
}

/// The connection of somebody who makes it again when it is lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Visit {
    pub(super) connection: Option<ConnectionId>,
    /// When the master was last heard.
    pub(super) heard: Duration,
    /// There is no way to the master until then.
    pub(super) cut: Duration,
}

/// A worker, from its start to its end; its machine may have others later.
pub(super) struct Worker {
    pub(super) plan: WorkerPlan,
    /// The real one's: what it runs as far as it has noticed, and what it tells the master.
    pub(super) state: WorkerState,
    pub(super) visit: Visit,
    pub(super) alive: bool,
    /// It stands still until then.
    pub(super) stopped: Duration,
    /// When its connection last ended, it was stopped, or the master died.
    pub(super) disturbed: Duration,
    /// What really runs.
    pub(super) lives: BTreeSet<Process>,
    /// Which application each of its executors is of.
    pub(super) of: BTreeMap<ExecutorName, usize>,
}

impl Worker {
    pub(super) fn new(plan: WorkerPlan, number: usize, faults: Faults) -> Self {
        let WorkerPlan { cores, memory_mib, .. } = plan;
        let id = format!("w{number}").try_into().expect("it is an id");
        let description = WorkerDescription { id, host: format!("h{number}"), cores, memory_mib };
        Worker {
            plan,
            state: WorkerState::new(description, faults),
            visit: Visit::default(),
            alive: true,
            stopped: Duration::ZERO,
            disturbed: Duration::ZERO,
            lives: BTreeSet::new(),
            of: BTreeMap::new(),
        }
    }

    /// The cores and memory that nobody has.
    pub(super) fn free(&self) -> (i64, i64) {
        let executors = self.state.executors().map(|executor| (executor.cores, executor.memory_mib));
        let drivers = self.state.drivers().map(|driver| (driver.cores, driver.memory_mib));
        let WorkerDescription { cores, memory_mib, .. } = self.state.description();
        executors.chain(drivers).fold((i64::from(*cores), *memory_mib as i64), |(cores, memory), (c, m)| {
            (cores - i64::from(c), memory - m as i64)
        })
    }
}

/// An application.
pub(super) struct Application {
    pub(super) plan: ApplicationPlan,
    pub(super) visit: Visit,
    pub(super) stage: Stage,
    /// Its driver's scheduler, its executors and what they do, if there is anything to do.
    pub(super) world: Option<Box<World>>,
    /// The real one's, of the master's client in its driver.
    pub(super) state: ApplicationState,
    /// Those that its driver was told of and that have not ended, with their cores.
    pub(super) executors: BTreeMap<ExecutorId, u32>,
    /// How many it wanted, one after another.
    pub(super) wishes: Vec<u32>,
    /// The place there of the last of which the master has certainly heard.
    pub(super) heard: usize,
    /// The same for when each heartbeat on this connection is answered.
    pub(super) unanswered: VecDeque<usize>,
    /// Executors that have registered with the driver, and where they run.
    pub(super) places: BTreeMap<ExecutorId, (usize, ExecutorName)>,
    /// The numbers of all executors that have ever registered with it.
    pub(super) numbers: BTreeSet<ExecutorId>,
    /// How many of its executors have ended badly.
    pub(super) failures: u32,
    /// When the master last heard it.
    pub(super) reached: Duration,
    /// Since when it could have had another executor.
    pub(super) starving: Option<Duration>,
    /// Since when it could have had one, and nothing stood in the way.
    pub(super) starving_at_once: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    NotYet,
    Runs,
    Over,
}

impl Application {
    pub(super) fn new(plan: ApplicationPlan, faults: Faults) -> Self {
        Application {
            plan,
            visit: Visit::default(),
            stage: Stage::NotYet,
            world: None,
            state: ApplicationState::with(faults),
            executors: BTreeMap::new(),
            wishes: vec![0],
            heard: 0,
            unanswered: VecDeque::new(),
            places: BTreeMap::new(),
            numbers: BTreeSet::new(),
            failures: 0,
            reached: Duration::ZERO,
            starving: None,
            starving_at_once: None,
        }
    }

    /// How many executors it wants.
    pub(super) fn wanted(&self) -> u32 {
        *self.wishes.last().expect("the first stays")
    }

    /// The most of which the master may think that it wants them.
    pub(super) fn may_want(&self) -> u32 {
        self.wishes[self.heard..].iter().copied().max().expect("the last is there")
    }

    /// The most cores that its executors may have.
    pub(super) fn most(&self, default_cores: u32) -> u32 {
        self.plan.wants.cores_max.unwrap_or(default_cores)
    }
}
