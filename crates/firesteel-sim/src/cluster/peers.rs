//! Workers and applications as they are: what they know, what runs, and their connection to the master.

use super::plan::{ApplicationPlan, WorkerPlan};
use crate::world::World;
use firesteel_cluster::{
    master::state::ConnectionId,
    protocol::{
        ApplicationId, DriverEnd, DriverId, ExecutorEnd, ExecutorName, FromApplication, FromWorker, RunningDriver,
        RunningExecutor, WorkerDescription,
    },
};
use firesteel_model::ExecutorId;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Who has a connection to the master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    Worker(usize),
    Application(usize),
    Submitter,
}

/// A process that a worker runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Process {
    Executor(ExecutorName),
    Driver(DriverId),
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
    pub(super) description: WorkerDescription,
    pub(super) visit: Visit,
    pub(super) alive: bool,
    /// It stands still until then.
    pub(super) stopped: Duration,
    /// When its connection last ended, it was stopped, or the master died.
    pub(super) disturbed: Duration,
    /// What it runs, as far as it has noticed.
    pub(super) executors: BTreeMap<ExecutorName, RunningExecutor>,
    pub(super) drivers: BTreeMap<DriverId, RunningDriver>,
    /// What really runs.
    pub(super) lives: BTreeSet<Process>,
    /// Which application each of its executors is of.
    pub(super) of: BTreeMap<ExecutorName, usize>,
    /// The applications of which it keeps files.
    pub(super) keeps: BTreeSet<ApplicationId>,
    pub(super) ends: Vec<End>,
    pub(super) said: usize,
}

#[derive(Clone, Debug)]
pub(super) enum End {
    Executor(ExecutorName, ExecutorEnd),
    Driver(DriverId, DriverEnd),
}

impl Worker {
    pub(super) fn new(plan: WorkerPlan, number: usize) -> Self {
        let WorkerPlan { cores, memory_mib, .. } = plan;
        let id = format!("w{number}").try_into().expect("it is an id");
        Worker {
            plan,
            description: WorkerDescription { id, host: format!("h{number}"), cores, memory_mib },
            visit: Visit::default(),
            alive: true,
            stopped: Duration::ZERO,
            disturbed: Duration::ZERO,
            executors: BTreeMap::new(),
            drivers: BTreeMap::new(),
            lives: BTreeSet::new(),
            of: BTreeMap::new(),
            keeps: BTreeSet::new(),
            ends: Vec::new(),
            said: 0,
        }
    }

    pub(super) fn introduction(&mut self) -> FromWorker {
        self.said = 0;
        let (mut ended, mut drivers_ended) = (Vec::new(), Vec::new());
        for end in self.ends.iter().cloned() {
            match end {
                End::Executor(name, end) => ended.push((name, end)),
                End::Driver(id, end) => drivers_ended.push((id, end)),
            }
        }
        FromWorker::Register {
            worker: self.description.clone(),
            executors: self.executors.values().cloned().collect(),
            drivers: self.drivers.values().cloned().collect(),
            ended,
            drivers_ended,
            applications: self.keeps.iter().cloned().collect(),
        }
    }

    /// The cores and memory that nobody has.
    pub(super) fn free(&self) -> (i64, i64) {
        let executors = self.executors.values().map(|executor| (executor.cores, executor.memory_mib));
        let drivers = self.drivers.values().map(|driver| (driver.cores, driver.memory_mib));
        executors
            .chain(drivers)
            .fold((i64::from(self.description.cores), self.description.memory_mib as i64), |(cores, memory), (c, m)| {
                (cores - i64::from(c), memory - m as i64)
            })
    }
}

/// An application, as the master's client in its driver knows it.
pub(super) struct Application {
    pub(super) plan: ApplicationPlan,
    pub(super) visit: Visit,
    pub(super) state: Stage,
    /// Its driver's scheduler, its executors and what they do, if there is anything to do.
    pub(super) world: Option<Box<World>>,
    pub(super) id: Option<ApplicationId>,
    /// Those that were granted and have not ended, with their cores.
    pub(super) executors: BTreeMap<ExecutorId, u32>,
    pub(super) next_executor: u64,
    working: BTreeSet<ExecutorId>,
    pub(super) killed: BTreeSet<ExecutorId>,
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
    pub(super) fn new(plan: ApplicationPlan) -> Self {
        Application {
            plan,
            visit: Visit::default(),
            state: Stage::NotYet,
            world: None,
            id: None,
            executors: BTreeMap::new(),
            next_executor: 0,
            working: BTreeSet::new(),
            killed: BTreeSet::new(),
            places: BTreeMap::new(),
            numbers: BTreeSet::new(),
            failures: 0,
            reached: Duration::ZERO,
            starving: None,
            starving_at_once: None,
        }
    }

    pub(super) fn introduction(&self) -> FromApplication {
        FromApplication::Register {
            application: Box::new(self.plan.wants.clone()),
            id: self.id.clone(),
            executors: self.executors.keys().copied().collect(),
            next_executor: self.next_executor,
        }
    }

    pub(super) fn registered(&mut self, id: ApplicationId) {
        self.working.clear();
        self.id = Some(id);
    }

    /// An executor was granted; whether that is news.
    pub(super) fn granted(&mut self, executor: ExecutorId, cores: u32) -> bool {
        self.next_executor = self.next_executor.max(executor.0 + 1);
        self.executors.insert(executor, cores).is_none()
    }

    pub(super) fn ended(&mut self, executor: ExecutorId) {
        if self.executors.remove(&executor).is_some() {
            self.working.clear();
            self.killed.remove(&executor);
        }
    }

    /// A task has succeeded there; what to tell the master, if it does not know.
    pub(super) fn works(&mut self, executor: ExecutorId) -> Option<FromApplication> {
        self.working.insert(executor).then_some(FromApplication::Works(executor))
    }

    pub(super) fn kill(&mut self, executor: ExecutorId) -> Option<FromApplication> {
        let is_its = self.executors.contains_key(&executor) || executor.0 >= self.next_executor;
        (is_its && self.killed.insert(executor)).then_some(FromApplication::KillExecutor(executor))
    }

    /// The most cores that its executors may have.
    pub(super) fn most(&self, default_cores: u32) -> u32 {
        self.plan.wants.cores_max.unwrap_or(default_cores)
    }
}
