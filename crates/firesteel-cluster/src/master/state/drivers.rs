//! Drivers that run on workers: they are submitted, asked about, killed, and end.

use super::{Command, ConnectionId, Driver, Holder, Master};
use crate::protocol::{
    DriverDescription, DriverEnd, DriverId, DriverState, FromSubmitter, ToSubmitter, ToWorker, WorkerId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// So many drivers that have ended are remembered.
const REMEMBERED: usize = 200;

/// A driver as a restarted master finds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedDriver {
    id: DriverId,
    description: Arc<DriverDescription>,
    state: DriverState,
    #[serde(default)]
    worker: Option<WorkerId>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    killed: bool,
}

impl From<&Driver> for SavedDriver {
    fn from(driver: &Driver) -> Self {
        let Driver { id, description, state, worker, message, killed } = driver;
        SavedDriver {
            id: id.clone(),
            description: description.clone(),
            state: *state,
            worker: worker.clone(),
            message: message.clone(),
            killed: *killed,
        }
    }
}

impl From<SavedDriver> for Driver {
    fn from(saved: SavedDriver) -> Self {
        let SavedDriver { id, description, state, worker, message, killed } = saved;
        Driver { id, description, state, worker, message, killed }
    }
}

impl Driver {
    pub(super) fn has_ended(&self) -> bool {
        use DriverState::{Error, Failed, Finished, Killed, Relaunching, Running, Submitted};
        match self.state {
            Submitted | Running | Relaunching => false,
            Finished | Failed | Killed | Error => true,
        }
    }

    pub(super) fn waits(&self) -> bool {
        !self.has_ended() && self.worker.is_none()
    }
}

impl Master {
    pub(super) fn submitter_says(&mut self, connection: ConnectionId, message: FromSubmitter) {
        let unknown = |id: &DriverId| {
            ToSubmitter::Refused(format!(
                "no driver {id} is known here; those that have ended are forgotten after {REMEMBERED} others"
            ))
        };
        let answer = match message {
            FromSubmitter::Submit(description) => self.submitted(*description),
            FromSubmitter::Status(id) => self.status(&id).map_or_else(|| unknown(&id), ToSubmitter::Status),
            FromSubmitter::Kill(id) => match self.kill_driver(&id) {
                None => unknown(&id),
                Some(Err(state)) => ToSubmitter::Refused(format!("driver {id} has ended: it is {state}")),
                Some(Ok(())) => ToSubmitter::Killing(id),
            },
        };
        self.commands.push(Command::ToSubmitter(connection, answer));
    }

    fn submitted(&mut self, description: DriverDescription) -> ToSubmitter {
        if description.cores == 0 || description.memory_mib == 0 {
            return ToSubmitter::Refused("a driver needs at least 1 core and 1 MiB of memory".into());
        }
        let id = format!("driver-{}-{:04}", self.rules.stamp, self.next_driver);
        let id = DriverId::try_from(id).expect("the stamp has nothing that an id may not have");
        self.commands.push(Command::Log(format!("driver {id} was submitted: {:?}", description.name)));
        let turn = self.drivers.last_key_value().map_or(0, |(turn, _)| turn + 1);
        self.next_driver += 1;
        self.unsaved = true;
        self.drivers.insert(
            turn,
            Driver {
                id: id.clone(),
                description: Arc::new(description),
                state: DriverState::Submitted,
                worker: None,
                message: String::new(),
                killed: false,
            },
        );
        ToSubmitter::Submitted(id)
    }

    fn driver(&mut self, id: &DriverId) -> Option<&mut Driver> {
        self.drivers.values_mut().find(|driver| driver.id == *id)
    }

    fn kill_driver(&mut self, id: &DriverId) -> Option<Result<(), DriverState>> {
        let driver = self.driver(id)?;
        if driver.has_ended() {
            return Some(Err(driver.state));
        }
        driver.killed = true;
        match driver.worker.clone() {
            Some(worker) => self.tell_kill(&worker, id),
            None => self.driver_over(id, DriverState::Killed, "it was killed before it ran"),
        }
        self.unsaved = true;
        Some(Ok(()))
    }

    fn tell_kill(&mut self, worker: &WorkerId, id: &DriverId) {
        if let Some(connection) = self.workers.get(worker).and_then(|worker| worker.connection) {
            self.commands.push(Command::ToWorker(connection, ToWorker::KillDriver(id.clone())));
        }
    }

    fn driver_over(&mut self, id: &DriverId, state: DriverState, message: &str) {
        let Some(driver) = self.driver(id) else { return };
        driver.state = state;
        driver.message = message.into();
        self.unsaved = true;
        self.commands.push(Command::Log(format!("driver {id} is {state}: {message}")));
        while self.drivers.values().filter(|driver| driver.has_ended()).count() > REMEMBERED {
            let oldest = self.drivers.iter().find(|(_, driver)| driver.has_ended()).map(|(turn, _)| *turn);
            oldest.map(|turn| self.drivers.remove(&turn));
        }
    }

    /// A worker says that a driver has ended.
    pub(super) fn driver_ended(&mut self, worker: &WorkerId, id: &DriverId, end: DriverEnd) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.holdings.remove(&Holder::Driver(id.clone()));
        }
        let Some(driver) = self.driver(id).filter(|driver| !driver.has_ended()) else { return };
        let runs_on = driver.worker.clone();
        // One that was lost, and has ended well all the same, need not be started again, or is ended where it was.
        if runs_on.as_ref() == Some(worker) || end.state == DriverState::Finished {
            let state = if matches!(end.state, DriverState::Submitted | DriverState::Running | DriverState::Relaunching)
            {
                DriverState::Failed
            } else {
                end.state
            };
            if self.rules.faults.start_again {
                return self.driver_lost(id, worker);
            }
            self.driver_over(id, state, &end.message);
            if let Some(other) = runs_on.filter(|other| other != worker) {
                self.tell_kill(&other, id);
            }
        }
    }

    /// A worker that has come says that it runs this.
    pub(super) fn driver_runs(&mut self, worker: &WorkerId, id: &DriverId) {
        match self.driver(id) {
            // It was to be started elsewhere, and there is no need any more.
            Some(driver) if driver.waits() => {
                driver.worker = Some(worker.clone());
                driver.state = DriverState::Running;
                driver.message.clear();
                self.unsaved = true;
            }
            Some(driver) if !driver.has_ended() && !driver.killed && driver.worker.as_ref() == Some(worker) => {}
            _ => self.tell_kill(worker, id),
        }
    }

    /// A driver's worker does not have it any more.
    pub(super) fn driver_lost(&mut self, id: &DriverId, worker: &WorkerId) {
        let Some(driver) = self.driver(id) else { return };
        if driver.has_ended() || driver.worker.as_ref() != Some(worker) {
            return;
        }
        if driver.killed {
            self.driver_over(id, DriverState::Killed, "it was killed");
        } else if driver.description.supervise {
            driver.worker = None;
            driver.state = DriverState::Relaunching;
            driver.message = format!("its worker {worker} is lost");
            self.unsaved = true;
            self.commands.push(Command::Log(format!("driver {id} is started again: its worker {worker} is lost")));
        } else {
            let message = format!("its worker {worker} is lost; `--supervise` would have started it again elsewhere");
            self.driver_over(id, DriverState::Error, &message);
        }
    }

    /// Of the drivers that a worker should run, those are lost that it does not.
    pub(super) fn drivers_lost(&mut self, worker: &WorkerId) {
        let holdings = self.workers.get(worker).map(|worker| &worker.holdings);
        let runs = |id: &DriverId| holdings.is_some_and(|all| all.contains_key(&Holder::Driver(id.clone())));
        let lost = self.drivers.values().filter(|driver| driver.worker.as_ref() == Some(worker) && !runs(&driver.id));
        for id in lost.map(|driver| driver.id.clone()).collect::<Vec<_>>() {
            self.driver_lost(&id, worker);
        }
    }
}
