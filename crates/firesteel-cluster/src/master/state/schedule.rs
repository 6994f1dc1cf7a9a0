//! Who gets what is free.

use super::{Command, Driver, Executor, Holder, Holding, Master};
use crate::{
    master::placement::{Room, Wish, place},
    protocol::{
        ApplicationDescription, ApplicationId, DriverState, ExecutorName, RunningExecutor, ToApplication, ToWorker,
        WorkerId,
    },
};
use firesteel_model::ExecutorId;
use std::{cmp::Reverse, num::NonZeroU32};

impl Master {
    /// Gives what is free to drivers, then to applications, in the order of their coming; tells those that get nothing why.
    pub(super) fn schedule(&mut self) {
        let waits = self.waits_for_workers();
        if !waits {
            for turn in
                self.drivers.iter().filter(|(_, driver)| driver.waits()).map(|(turn, _)| *turn).collect::<Vec<_>>()
            {
                self.place_driver(turn);
            }
        }
        let mut order: Vec<_> = self.applications.iter().map(|(id, app)| (app.turn, id.clone())).collect();
        order.sort();
        for (_, id) in order {
            if !waits {
                self.place_executors(&id);
            }
            self.tell_what_it_waits_for(&id);
        }
    }

    /// Workers that can be given something, the emptiest first.
    pub(super) fn open_workers(&self) -> Vec<(WorkerId, Room)> {
        let connected = self.workers.iter().filter(|(_, worker)| worker.connection.is_some());
        let mut open: Vec<_> = connected.map(|(id, worker)| (id.clone(), worker.free())).collect();
        open.sort_by_key(|(_, room)| Reverse(room.cores));
        open
    }

    fn place_driver(&mut self, turn: u64) {
        let Driver { id, description, .. } = &self.drivers[&turn];
        let (cores, memory_mib) = (description.cores, description.memory_mib);
        let fits = |room: &Room| room.cores >= cores && room.memory_mib >= memory_mib;
        // One that has lost it, and still has to end it, could not tell the two apart.
        let had = |worker: &WorkerId| self.workers[worker].holdings.contains_key(&Holder::Driver(id.clone()));
        let found = self.open_workers().into_iter().find(|(worker, room)| fits(room) && !had(worker));
        let largest = self
            .workers
            .values()
            .any(|worker| fits(&Room { cores: worker.description.cores, memory_mib: worker.description.memory_mib }));
        let Some(driver) = self.drivers.get_mut(&turn) else { return };
        let Some((id, _)) = found else {
            let why = if largest { "it waits until others have ended" } else { "it waits for such a worker" };
            driver.message = format!(
                "no worker has {cores} cores and {memory_mib} MiB free for it (firesteel.driver.cores, .memory): {why}"
            );
            return;
        };
        driver.state = DriverState::Running;
        driver.worker = Some(id.clone());
        driver.message.clear();
        let (driver, description) = (driver.id.clone(), driver.description.clone());
        self.unsaved = true;
        self.commands.push(Command::Log(format!("driver {driver} starts on {id}")));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.holdings.insert(Holder::Driver(driver.clone()), Holding { cores, memory_mib });
        if let Some(connection) = worker.connection {
            let launch = ToWorker::LaunchDriver(driver, description);
            self.commands.push(Command::ToWorker(connection, launch));
        }
    }

    fn place_executors(&mut self, id: &ApplicationId) {
        let Some(application) = self.applications.get(id) else { return };
        if application.connection.is_none() {
            return;
        }
        let description = application.description.clone();
        let has = application.executors.values().fold(0u32, |sum, executor| sum.saturating_add(executor.cores));
        let wants = if self.rules.faults.give_unwanted { u32::MAX } else { application.wants };
        let wish = Wish {
            executors: wants.saturating_sub(application.executors.len() as u32),
            cores: description.cores_max.unwrap_or(self.rules.default_cores).saturating_sub(has),
            executor_cores: description.executor_cores.and_then(NonZeroU32::new),
            executor_memory_mib: description.executor_memory_mib,
            spread_out: self.rules.spread_out,
        };
        let held_back = |worker: &WorkerId| application.held_back.get(worker).is_some_and(|held| held.until.is_some());
        let mut open = self.open_workers();
        open.retain(|(worker, _)| !held_back(worker));
        let rooms: Vec<Room> = open.iter().map(|(_, room)| *room).collect();
        for ((worker, _), executors) in open.iter().zip(place(&rooms, wish)) {
            for cores in executors {
                self.launch(id, worker, cores);
            }
        }
    }

    fn launch(&mut self, id: &ApplicationId, worker_id: &WorkerId, cores: u32) {
        let Some(application) = self.applications.get_mut(id) else { return };
        let Some(worker) = self.workers.get_mut(worker_id) else { return };
        let executor = ExecutorId(application.next_executor);
        application.next_executor = application.next_executor.saturating_add(1);
        application.executors.insert(executor, Executor { worker: worker_id.clone(), cores, works: false });
        application.waits = None;
        let memory_mib = application.description.executor_memory_mib;
        let name = ExecutorName { application: id.clone(), executor };
        worker.holdings.insert(Holder::Executor(name.clone()), Holding { cores, memory_mib });
        worker.applications.insert(id.clone());
        let host = worker.description.host.clone();
        if let Some(connection) = worker.connection {
            let launch = ToWorker::LaunchExecutor {
                executor: RunningExecutor { name, cores, memory_mib },
                application: application.description.clone(),
            };
            self.commands.push(Command::ToWorker(connection, launch));
        }
        let granted = ToApplication::ExecutorGranted { executor, worker: worker_id.clone(), host, cores };
        self.tell(id, granted);
    }

    fn tell_what_it_waits_for(&mut self, id: &ApplicationId) {
        let Some(application) = self.applications.get(id) else { return };
        if !application.executors.is_empty() || application.wants == 0 || application.connection.is_none() {
            return;
        }
        let why = self.why_it_waits(&application.description);
        if application.waits.as_ref() != Some(&why) {
            self.tell(id, ToApplication::Waiting(why.clone()));
            if let Some(application) = self.applications.get_mut(id) {
                application.waits = Some(why);
            }
        }
    }

    fn why_it_waits(&self, wants: &ApplicationDescription) -> String {
        if self.waits_for_workers() {
            return "the master was restarted, and waits for the workers that it knew".into();
        }
        let offers = || self.workers.values().map(|worker| &worker.description);
        let (memory, cores) = (wants.executor_memory_mib, wants.executor_cores.unwrap_or(1));
        let Some(most_memory) = offers().map(|worker| worker.memory_mib).max() else {
            return "no worker has registered with the master: start one with `firesteel worker`".into();
        };
        let most_cores = offers().map(|worker| worker.cores).max().unwrap_or(0);
        if most_memory < memory {
            return format!(
                "each executor wants {memory} MiB of memory (firesteel.executor.memory), and no worker has more than {most_memory} MiB"
            );
        }
        if most_cores < cores {
            return format!(
                "each executor wants {cores} cores (firesteel.executor.cores), and no worker has more than {most_cores}"
            );
        }
        if offers().all(|worker| worker.memory_mib < memory || worker.cores < cores) {
            return format!("each executor wants {cores} cores and {memory} MiB of memory, and no worker has both");
        }
        let fits = |room: &Room| room.cores >= cores && room.memory_mib >= memory;
        if self.open_workers().iter().any(|(_, room)| fits(room)) {
            return "its executors have ended where there is room; they are started there again after a while".into();
        }
        format!(
            "no worker has {cores} cores and {memory} MiB of memory free for an executor: others have them (see firesteel.cores.max)"
        )
    }
}
