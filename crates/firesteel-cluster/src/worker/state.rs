//! What a worker knows: what it runs, of which applications it keeps files, and which ends the master may not have heard of. A state machine
//! without processes, sockets or threads, as the [master's](crate::master::state): it is told what the master says and what has ended, and
//! says what is to be done.

use crate::{
    faults::Faults,
    protocol::{
        ApplicationDescription, ApplicationId, DriverDescription, DriverEnd, DriverId, ExecutorEnd, ExecutorName,
        FromWorker, RunningDriver, RunningExecutor, ToWorker, WorkerDescription,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// So many ends are remembered until the master has heard of them.
const MOST_ENDS: usize = 10_000;

/// What a worker runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Process {
    /// An executor.
    Executor(ExecutorName),
    /// A driver, each time that it is started.
    Driver(DriverId),
}

/// How something that a worker ran has ended.
#[derive(Clone, Debug)]
pub enum End {
    /// An executor.
    Executor(ExecutorName, ExecutorEnd),
    /// A driver.
    Driver(DriverId, DriverEnd),
}

impl End {
    /// What has ended.
    pub fn process(&self) -> Process {
        match self {
            End::Executor(name, _) => Process::Executor(name.clone()),
            End::Driver(id, _) => Process::Driver(id.clone()),
        }
    }
}

/// What a worker is to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Start an executor, and keep files of its application from now on.
    StartExecutor {
        /// Which, and with what.
        executor: RunningExecutor,
        /// Of what.
        application: Arc<ApplicationDescription>,
    },
    /// Start a driver.
    StartDriver(DriverId, Arc<DriverDescription>),
    /// End this, which runs.
    Kill(Process),
    /// An application has ended, whose files are kept no longer than its executors run: end those soon, if they do not end by themselves.
    EndApplication(ApplicationId, Vec<ExecutorName>),
}

/// A worker's state.
///
/// ```
/// use firesteel_cluster::{protocol::{FromWorker, ToWorker, WorkerDescription}, worker::state::WorkerState};
///
/// let description = WorkerDescription { id: "w-1".to_string().try_into()?, host: "h".into(), cores: 2, memory_mib: 1024 };
/// let mut worker = WorkerState::new(description, Default::default());
/// assert!(matches!(worker.introduction(), FromWorker::Register { executors, .. } if executors.is_empty()));
/// // Nothing like it runs here.
/// let stray = ToWorker::KillDriver("driver-1".to_string().try_into()?);
/// assert!(worker.hears(stray).is_none());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug)]
pub struct WorkerState {
    description: WorkerDescription,
    faults: Faults,
    stopping: bool,
    executors: BTreeMap<ExecutorName, RunningExecutor>,
    drivers: BTreeMap<DriverId, RunningDriver>,
    /// Those that have not ended, as far as is known here.
    applications: BTreeSet<ApplicationId>,
    /// Ends of which the master may not have heard.
    ends: Vec<End>,
    /// How many of them came before each heartbeat that has no answer yet, and after the one before.
    unanswered: VecDeque<usize>,
}

impl WorkerState {
    /// That of a worker that runs nothing yet.
    pub fn new(description: WorkerDescription, faults: Faults) -> Self {
        WorkerState {
            description,
            faults,
            stopping: false,
            executors: BTreeMap::new(),
            drivers: BTreeMap::new(),
            applications: BTreeSet::new(),
            ends: Vec::new(),
            unanswered: VecDeque::new(),
        }
    }

    /// Who it is.
    pub fn description(&self) -> &WorkerDescription {
        &self.description
    }

    /// The executors that it runs.
    pub fn executors(&self) -> impl Iterator<Item = &RunningExecutor> {
        self.executors.values()
    }

    /// The drivers that it runs.
    pub fn drivers(&self) -> impl Iterator<Item = &RunningDriver> {
        self.drivers.values()
    }

    /// Those of which it keeps files.
    pub fn applications(&self) -> impl Iterator<Item = &ApplicationId> {
        self.applications.iter()
    }

    /// What it says first on a new connection.
    pub fn introduction(&mut self) -> FromWorker {
        self.unanswered.clear();
        let (mut ended, mut drivers_ended) = (Vec::new(), Vec::new());
        for end in self.ends.iter().filter(|_| !self.faults.forget_ends).cloned() {
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
            applications: self.applications.iter().cloned().collect(),
        }
    }

    /// What it says now and then.
    pub fn heartbeat(&mut self) -> FromWorker {
        self.unanswered.push_back(self.ends.len() - self.unanswered.iter().sum::<usize>());
        FromWorker::Heartbeat
    }

    /// The master says something.
    pub fn hears(&mut self, message: ToWorker) -> Option<Command> {
        match message {
            ToWorker::LaunchExecutor { executor, application } => {
                let name = &executor.name;
                if self.stopping || self.executors.contains_key(name) {
                    return None;
                }
                self.applications.insert(name.application.clone());
                self.executors.insert(name.clone(), executor.clone());
                Some(Command::StartExecutor { executor, application })
            }
            ToWorker::LaunchDriver(id, description) => {
                if self.stopping || self.drivers.contains_key(&id) {
                    return None;
                }
                let (cores, memory_mib) = (description.cores, description.memory_mib);
                self.drivers.insert(id.clone(), RunningDriver { driver: id.clone(), cores, memory_mib });
                Some(Command::StartDriver(id, description))
            }
            ToWorker::KillExecutor(name) => {
                self.executors.contains_key(&name).then(|| Command::Kill(Process::Executor(name)))
            }
            ToWorker::KillDriver(id) => self.drivers.contains_key(&id).then(|| Command::Kill(Process::Driver(id))),
            ToWorker::ApplicationEnded(id) => {
                self.applications.remove(&id);
                let its = self.executors.keys().filter(|name| name.application == id).cloned().collect();
                Some(Command::EndApplication(id, its))
            }
            ToWorker::Heartbeat => {
                let heard = self.unanswered.pop_front().unwrap_or(0);
                self.ends.drain(..heard);
                None
            }
            ToWorker::Registered { .. } | ToWorker::Refused(_) => None,
        }
    }

    /// Something has ended, and does not run any more; what the master is told. If it does not hear that, it is told again.
    pub fn ended(&mut self, end: End) -> FromWorker {
        match &end {
            End::Executor(name, _) => drop(self.executors.remove(name)),
            End::Driver(id, _) => drop(self.drivers.remove(id)),
        }
        if self.ends.len() < MOST_ENDS {
            self.ends.push(end.clone());
        }
        match end {
            End::Executor(name, end) => FromWorker::ExecutorEnded(name, end),
            End::Driver(id, end) => FromWorker::DriverEnded(id, end),
        }
    }

    /// The worker ends: nothing starts any more.
    pub fn stops(&mut self) {
        self.stopping = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::DriverState;

    #[test]
    fn an_end_is_told_again_until_a_heartbeat_after_it_is_answered() {
        let id = |id: &str| DriverId::try_from(id.to_string()).unwrap();
        let description =
            WorkerDescription { id: "w".to_string().try_into().unwrap(), host: "h".into(), cores: 1, memory_mib: 1 };
        let mut worker = WorkerState::new(description, Faults::default());
        let end = |id| End::Driver(id, DriverEnd { state: DriverState::Finished, message: String::new() });
        worker.ended(end(id("early")));
        worker.heartbeat();
        worker.ended(end(id("late")));
        worker.heartbeat();
        // The answer to the first of them.
        assert!(worker.hears(ToWorker::Heartbeat).is_none());
        let FromWorker::Register { drivers_ended, .. } = worker.introduction() else { panic!() };
        assert_eq!(drivers_ended.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [id("late")]);
        // What was said on another connection has no answer.
        assert!(worker.hears(ToWorker::Heartbeat).is_none());
        worker.heartbeat();
        assert!(worker.hears(ToWorker::Heartbeat).is_none());
        let FromWorker::Register { drivers_ended, .. } = worker.introduction() else { panic!() };
        assert!(drivers_ended.is_empty());
    }
}
