//! Workers: they come, come back, say what has ended, and are lost.

use super::{Command, ConnectionId, Executor, Holder, Holding, Master, Who, Worker};
use crate::protocol::{
    ApplicationId, ExecutorEnd, ExecutorName, FromWorker, HowEnded, RunningDriver, RunningExecutor, ToApplication,
    ToWorker, WorkerDescription, WorkerId,
};
use std::{collections::BTreeMap, time::Duration};

/// No machine has more; a worker that offers more is mistaken.
const MOST_CORES: u32 = 1 << 16;

impl Master {
    pub(super) fn worker_says(&mut self, now: Duration, connection: ConnectionId, message: FromWorker) {
        if let FromWorker::Register { worker, executors, drivers, ended, drivers_ended, applications } = message {
            // First, so that what has ended is not taken for lost.
            for (name, end) in ended {
                self.executor_ended(now, &worker.id, &name, end);
            }
            for (driver, end) in drivers_ended {
                self.driver_ended(&worker.id, &driver, end);
            }
            let id = worker.id.clone();
            self.worker_registers(now, connection, worker, executors, drivers);
            return self.worker_keeps(connection, &id, applications);
        }
        let Some(Who::Worker(id)) = self.connections.get(&connection).cloned() else {
            self.commands.push(Command::ToWorker(connection, ToWorker::Refused("register first".into())));
            return;
        };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.deadline = now + self.rules.worker_timeout;
        }
        match message {
            FromWorker::Register { .. } => unreachable!("see above"),
            FromWorker::Heartbeat => self.commands.push(Command::ToWorker(connection, ToWorker::Heartbeat)),
            FromWorker::ExecutorEnded(name, end) => self.executor_ended(now, &id, &name, end),
            FromWorker::DriverEnded(driver, end) => self.driver_ended(&id, &driver, end),
            FromWorker::Leave => self.worker_lost(&id, "it was stopped"),
        }
    }

    fn worker_registers(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        description: WorkerDescription,
        executors: Vec<RunningExecutor>,
        drivers: Vec<RunningDriver>,
    ) {
        let id = description.id.clone();
        let mut holdings = BTreeMap::new();
        for RunningExecutor { name, cores, memory_mib } in executors {
            holdings.insert(Holder::Executor(name), Holding { cores, memory_mib });
        }
        for RunningDriver { driver, cores, memory_mib } in drivers {
            holdings.insert(Holder::Driver(driver), Holding { cores, memory_mib });
        }
        let cores: u64 = holdings.values().map(|holding| u64::from(holding.cores)).sum();
        let memory = holdings.values().try_fold(0u64, |sum, holding| sum.checked_add(holding.memory_mib));
        let fits =
            cores <= u64::from(description.cores) && memory.is_some_and(|memory| memory <= description.memory_mib);
        let is_new = !self.connections.contains_key(&connection);
        if !(1..=MOST_CORES).contains(&description.cores) || !fits || !is_new {
            let why = "it offers no core, or too many, or less than it says that it runs, or has registered already";
            self.commands.push(Command::ToWorker(connection, ToWorker::Refused(why.into())));
            return;
        }
        let before = self.workers.remove(&id);
        self.close(before.as_ref().and_then(|worker| worker.connection));
        self.connections.insert(connection, Who::Worker(id.clone()));
        let silence_ms = self.rules.worker_timeout.as_millis() as u64;
        self.commands.push(Command::ToWorker(connection, ToWorker::Registered { silence_ms }));
        if before.is_none() {
            self.unsaved = true;
            self.commands.push(Command::Log(format!(
                "worker {id} has come, with {} cores and {} MiB, and runs {} executors and drivers",
                description.cores,
                description.memory_mib,
                holdings.len()
            )));
        }
        let was_missing = self.recovery.as_mut().is_some_and(|recovery| recovery.workers.remove(&id));
        // What it was to start and does not run never reached it, or has ended without a word.
        let known = before.map(|worker| worker.holdings).unwrap_or_default();
        let not_there: Vec<_> = known.into_keys().filter(|holder| !holdings.contains_key(holder)).collect();
        let runs: Vec<_> = holdings.iter().map(|(holder, holding)| (holder.clone(), *holding)).collect();
        let deadline = now + self.rules.worker_timeout;
        let applications = holdings.keys().filter_map(Holder::application).cloned().collect();
        let worker = Worker { description, connection: Some(connection), deadline, holdings, applications };
        self.workers.insert(id.clone(), worker);
        for holder in not_there {
            match holder {
                Holder::Executor(name) => {
                    self.executor_lost(&name, "it was lost while its worker had no connection to the master");
                }
                Holder::Driver(driver) => self.driver_lost(&driver, &id),
            }
        }
        for (holder, holding) in runs {
            match holder {
                Holder::Executor(name) => self.executor_runs(&id, name, holding, was_missing),
                Holder::Driver(driver) => self.driver_runs(&id, &driver),
            }
        }
        // Drivers that it had before the restart, and does not run.
        self.drivers_lost(&id);
    }

    /// A worker that has come says of which applications it keeps files.
    fn worker_keeps(&mut self, connection: ConnectionId, id: &WorkerId, applications: Vec<ApplicationId>) {
        let worker = self.workers.get_mut(id).filter(|worker| worker.connection == Some(connection));
        let Some(worker) = worker else { return };
        worker.applications.extend(applications);
        self.tell_of_ended_applications(id);
    }

    /// Tells a worker which applications have ended that it may take for running; those that may come back have not.
    pub(super) fn tell_of_ended_applications(&mut self, id: &WorkerId) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let Some(connection) = worker.connection else { return };
        let missing = self.recovery.as_ref().map(|recovery| &recovery.applications);
        let runs = |id: &ApplicationId| self.applications.contains_key(id) || missing.is_some_and(|m| m.contains(id));
        for ended in worker.applications.extract_if(.., |id| !runs(id)) {
            self.commands.push(Command::ToWorker(connection, ToWorker::ApplicationEnded(ended)));
        }
    }

    /// A worker that has come says that it runs this; for the first time since a restart if it `was_missing`.
    fn executor_runs(&mut self, worker: &WorkerId, name: ExecutorName, holding: Holding, was_missing: bool) {
        let Some(application) = self.applications.get_mut(&name.application) else {
            // It may come back.
            if self.recovery.as_ref().is_none_or(|recovery| !recovery.applications.contains(&name.application)) {
                self.kill(worker, name);
            }
            return;
        };
        let number = name.executor.0;
        // Started before a restart, and the application was not told. Later another may have its place.
        let is_adopted =
            was_missing && number >= application.told && !application.executors.contains_key(&name.executor);
        application.next_executor = application.next_executor.max(number.saturating_add(1));
        if application.missing.remove(&name.executor) || is_adopted {
            let executor = Executor { worker: worker.clone(), cores: holding.cores, works: true };
            application.executors.insert(name.executor, executor);
        }
        let is_its = application.executors.get(&name.executor).is_some_and(|executor| executor.worker == *worker);
        if !is_its || application.killed.contains(&name.executor) {
            self.kill(worker, name);
        } else if is_adopted {
            let host = self.workers.get(worker).map_or_else(String::new, |worker| worker.description.host.clone());
            let (executor, worker, cores) = (name.executor, worker.clone(), holding.cores);
            let granted = ToApplication::ExecutorGranted { executor, worker, host, cores };
            self.tell(&name.application, granted);
        }
    }

    pub(super) fn kill(&mut self, worker: &WorkerId, name: ExecutorName) {
        if let Some(connection) = self.workers.get(worker).and_then(|worker| worker.connection) {
            self.commands.push(Command::ToWorker(connection, ToWorker::KillExecutor(name)));
        }
    }

    /// Executors that nobody has come back for are ended.
    pub(super) fn give_up_strays(&mut self) {
        let mut strays = Vec::new();
        for (id, worker) in &self.workers {
            for holder in worker.holdings.keys() {
                if let Holder::Executor(name) = holder
                    && !self.applications.contains_key(&name.application)
                {
                    strays.push((id.clone(), name.clone()));
                }
            }
        }
        strays.into_iter().for_each(|(worker, name)| self.kill(&worker, name));
    }

    /// A worker says that an executor has ended.
    fn executor_ended(&mut self, now: Duration, id: &WorkerId, name: &ExecutorName, end: ExecutorEnd) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.holdings.remove(&Holder::Executor(name.clone()));
        }
        let Some(application) = self.applications.get_mut(&name.application) else { return };
        let was_there = application.executors.get(&name.executor).filter(|executor| executor.worker == *id);
        // What has worked is no habit: all of an application's executors may be lost at once, by whatever befalls their machines.
        let has_worked = was_there.is_some_and(|executor| executor.works);
        if was_there.is_some() {
            application.executors.remove(&name.executor);
        } else if !application.missing.remove(&name.executor) {
            return;
        }
        application.killed.remove(&name.executor);
        let is_failure = !has_worked && !matches!(end.how, HowEnded::Killed | HowEnded::WorkerLost);
        self.commands.push(Command::Log(format!("{name} has ended on {id}: {}", end.message)));
        let message = end.message.clone();
        self.tell(&name.application, ToApplication::ExecutorEnded(name.executor, end));
        if is_failure {
            self.executor_failed(now, &name.application, id, &message);
        }
    }

    /// An executor is gone without an end that its worker could tell.
    pub(super) fn executor_lost(&mut self, name: &ExecutorName, message: &str) {
        let Some(application) = self.applications.get_mut(&name.application) else { return };
        application.killed.remove(&name.executor);
        if application.executors.remove(&name.executor).is_some() | application.missing.remove(&name.executor) {
            let end = ExecutorEnd { how: HowEnded::WorkerLost, message: message.into() };
            self.tell(&name.application, ToApplication::ExecutorEnded(name.executor, end));
        }
    }

    /// A worker is gone.
    pub(super) fn worker_lost(&mut self, id: &WorkerId, why: &str) {
        let Some(worker) = self.workers.remove(id) else { return };
        self.unsaved = true;
        self.close(worker.connection);
        let message = format!("its worker {id} is lost: {why}");
        self.commands.push(Command::Log(format!("worker {id} is lost: {why}")));
        for holder in worker.holdings.into_keys() {
            if let Holder::Executor(name) = holder {
                self.executor_lost(&name, &message);
            }
        }
        for application in self.applications.values_mut() {
            application.held_back.remove(id);
        }
        self.drivers_lost(id);
    }
}
