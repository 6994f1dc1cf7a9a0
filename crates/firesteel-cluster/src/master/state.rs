//! What the master decides: a state machine without clock, sockets or threads.
//!
//! [`Master::handle`] is told what came from whom and what time it is, and answers with [`Command`]s; [`Master::next_deadline`] says when it
//! wants to be called at the latest. A connection is a number; whoever owns the sockets carries messages to and fro. A history
//! of events replays exactly.
//!
//! - Applications are served first come, first served: the first takes what it wants, up to its `cores.max` and as many executors as it says,
//!   then the next. Drivers come before applications.
//! - What an executor or a driver takes is taken from its worker from its launch until the worker says that it has ended, so a worker
//!   never has more to do than it offered, also when applications go or come back in between.
//! - Who loses the connection has time to come back; what it runs goes on meanwhile. A worker that does not come back is lost with what
//!   it ran.
//! - Nobody is lost for time in which the master itself stood still: what was said to it meanwhile it has not heard yet.
//! - After a restart the master knows which workers and applications there were. It gives nothing away until all workers are back, which say
//!   themselves what they run, or their time is over; what others have who are not back stays theirs until then.

mod applications;
mod drivers;
mod schedule;
#[cfg(test)]
mod tests;
mod workers;

pub use drivers::SavedDriver;

use crate::{
    faults::Faults,
    protocol::{
        ApplicationDescription, ApplicationId, DriverDescription, DriverId, DriverState, DriverStatus, ExecutorName,
        FromApplication, FromSubmitter, FromWorker, ToApplication, ToSubmitter, ToWorker, WorkerDescription, WorkerId,
    },
};
use firesteel_model::ExecutorId;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long a worker that lost its connection may take to come back, if `worker.timeout` is not shorter.
const TIME_TO_RECONNECT: Duration = Duration::from_secs(5);
/// How long those who were there before a restart may take to come back, if `worker.timeout` is not shorter: who lives tries every two
/// seconds, or waits ten for a network that swallows everything.
const TIME_TO_RETURN: Duration = Duration::from_secs(15);
/// A master that comes so late says so.
const LATE: Duration = Duration::from_secs(2);

/// How a master decides.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What ids contain, so that those of different masters, or of one that forgot its state, differ.
    pub stamp: String,
    /// The most cores of an application that does not say.
    pub default_cores: u32,
    /// Whether an application's executors go to as many workers as possible, not as few.
    pub spread_out: bool,
    /// After so many executors of an application that ended one after another it is removed, if none works.
    pub max_executor_retries: u32,
    /// Who says nothing for so long is lost.
    pub worker_timeout: Duration,
    /// Faults that a test puts in on purpose.
    #[doc(hidden)]
    pub faults: Faults,
}

/// One connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnectionId(pub u64);

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A worker says something.
    Worker(ConnectionId, FromWorker),
    /// An application says something.
    Application(ConnectionId, FromApplication),
    /// A submitter says something.
    Submitter(ConnectionId, FromSubmitter),
    /// A connection has ended.
    Disconnected(ConnectionId),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Command {
    /// Say something to a worker.
    ToWorker(ConnectionId, ToWorker),
    /// Say something to an application.
    ToApplication(ConnectionId, ToApplication),
    /// Say something to a submitter.
    ToSubmitter(ConnectionId, ToSubmitter),
    /// End a connection, after what was said.
    Close(ConnectionId),
    /// Write something into the log.
    Log(String),
    /// Keep this for the case of a restart, before anything that follows is done.
    Save(Saved),
}

/// What a restarted master cannot learn from those who come back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    /// The lowest number that no application has had.
    pub next_application: u64,
    /// The lowest number that no driver has had.
    pub next_driver: u64,
    /// Those who will come back.
    #[serde(default)]
    pub workers: BTreeSet<WorkerId>,
    /// Those who will come back.
    #[serde(default)]
    pub applications: BTreeSet<ApplicationId>,
    /// All drivers that are remembered, the oldest first.
    #[serde(default)]
    pub drivers: Vec<SavedDriver>,
}

/// The master's state.
#[derive(Debug)]
pub struct Master {
    rules: Rules,
    clock: Clock,
    workers: BTreeMap<WorkerId, Worker>,
    applications: BTreeMap<ApplicationId, Application>,
    /// In the order of their coming; those that have ended are remembered for a while.
    drivers: BTreeMap<u64, Driver>,
    connections: BTreeMap<ConnectionId, Who>,
    next_application: u64,
    next_driver: u64,
    /// Those that were there before the restart, and until when they are waited for.
    recovery: Option<Recovery>,
    commands: Vec<Command>,
    /// What must be kept has changed.
    unsaved: bool,
}

/// The time in which the master was awake. It wants to be called so often that of a pause in which it stood still only a small part counts, a
/// fraction of what anybody has to be heard in.
#[derive(Debug)]
struct Clock {
    /// When it was called last, for whoever calls.
    called: Duration,
    /// What had passed then, for all deadlines in here.
    passed: Duration,
    /// More than that does not count of any pause.
    step: Duration,
}

#[derive(Debug)]
struct Recovery {
    until: Duration,
    workers: BTreeSet<WorkerId>,
    applications: BTreeSet<ApplicationId>,
}

#[derive(Clone, Debug)]
enum Who {
    Worker(WorkerId),
    Application(ApplicationId),
}

#[derive(Debug)]
struct Worker {
    description: WorkerDescription,
    connection: Option<ConnectionId>,
    /// When it is lost.
    deadline: Duration,
    /// What is taken of it, and by whom. Whoever has ended its application is in here until it has ended itself.
    holdings: BTreeMap<Holder, Holding>,
    /// Those of which it keeps files, and is to be told that they have ended.
    applications: BTreeSet<ApplicationId>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Holder {
    Executor(ExecutorName),
    Driver(DriverId),
}

impl Holder {
    /// Whose executor it is.
    fn application(&self) -> Option<&ApplicationId> {
        match self {
            Holder::Executor(name) => Some(&name.application),
            Holder::Driver(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    cores: u32,
    memory_mib: u64,
}

#[derive(Debug)]
struct Application {
    /// Who came first.
    turn: u64,
    description: Arc<ApplicationDescription>,
    connection: Option<ConnectionId>,
    /// When it is lost.
    deadline: Duration,
    executors: BTreeMap<ExecutorId, Executor>,
    /// Those that it knows of and whose workers have not come back yet.
    missing: BTreeSet<ExecutorId>,
    /// Those of both that it wants to end: their workers may not have heard it yet.
    killed: BTreeSet<ExecutorId>,
    next_executor: u64,
    /// So many executors in all.
    wants: u32,
    /// It was told of all executors with lower numbers, as it said when it came.
    told: u64,
    /// How many executors have ended since the last sign that they work.
    failures: u32,
    /// Where executors have ended, and until when there are no more.
    held_back: BTreeMap<WorkerId, HeldBack>,
    /// What it was told that it waits for.
    waits: Option<String>,
}

#[derive(Debug)]
struct Executor {
    worker: WorkerId,
    cores: u32,
    /// It has registered with its driver.
    works: bool,
}

#[derive(Debug)]
struct HeldBack {
    failures: u32,
    until: Option<Duration>,
}

#[derive(Debug)]
struct Driver {
    id: DriverId,
    description: Arc<DriverDescription>,
    state: DriverState,
    worker: Option<WorkerId>,
    message: String,
    /// It is to end.
    killed: bool,
}

impl Master {
    /// A master that begins, or goes on with what was kept of an earlier one.
    pub fn new(rules: Rules, saved: Saved, now: Duration) -> Master {
        let Saved { next_application, next_driver, workers, applications, drivers } = saved;
        let mut master = Master {
            workers: BTreeMap::new(),
            applications: BTreeMap::new(),
            drivers: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_application,
            next_driver,
            recovery: None,
            commands: Vec::new(),
            unsaved: false,
            clock: Clock { called: now, passed: Duration::ZERO, step: rules.worker_timeout.min(TIME_TO_RECONNECT) / 8 },
            rules,
        };
        master.drivers = (0..).zip(drivers.into_iter().map(Driver::from)).collect();
        // A driver's worker is waited for also if the list of workers does not have it.
        let run = master.drivers.values().filter(|driver| !driver.has_ended());
        let of_drivers = run.filter_map(|driver| driver.worker.clone());
        let workers: BTreeSet<_> = workers.into_iter().chain(of_drivers).collect();
        if (!workers.is_empty() || !applications.is_empty()) && !master.rules.faults.wait_for_nobody {
            let until = master.rules.worker_timeout.min(TIME_TO_RETURN);
            master.recovery = Some(Recovery { until, workers, applications });
        }
        master
    }

    /// Takes what happened at the time `now` (since some fixed point), and says what is to be done, in this order.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Command> {
        let now = self.awake(now);
        // Most events say only that somebody is there, which frees and takes nothing.
        let is_heartbeat = matches!(
            event,
            Event::Worker(_, FromWorker::Heartbeat) | Event::Application(_, FromApplication::Heartbeat)
        );
        let is_forgotten =
            self.rules.faults.forget_who_waits && matches!(event, Event::Worker(_, FromWorker::ExecutorEnded(..)));
        let is_heartbeat = is_heartbeat || is_forgotten;
        let changes_nothing = is_heartbeat && self.deadline().is_none_or(|deadline| deadline > now);
        match event {
            Event::Worker(connection, message) => self.worker_says(now, connection, message),
            Event::Application(connection, message) => self.application_says(now, connection, message),
            Event::Submitter(connection, message) => self.submitter_says(connection, message),
            Event::Disconnected(connection) => self.disconnected(now, connection),
            Event::Tick => {}
        }
        if !changes_nothing {
            self.expire(now);
            self.schedule();
        }
        if self.unsaved {
            self.unsaved = false;
            // Before anybody hears what would be forgotten otherwise.
            self.commands.insert(0, Command::Save(self.saved()));
        }
        if cfg!(debug_assertions) {
            self.check();
        }
        std::mem::take(&mut self.commands)
    }

    /// When it must be called at the latest, for the passing of time.
    pub fn next_deadline(&self) -> Option<Duration> {
        let Clock { called, passed, step } = self.clock;
        self.deadline().map(|deadline| called + deadline.saturating_sub(passed).min(step))
    }

    /// It is called: how much time has passed in which it was awake.
    fn awake(&mut self, now: Duration) -> Duration {
        let pause = now.saturating_sub(self.clock.called);
        if pause > self.clock.step + LATE && self.deadline().is_some() {
            self.commands
                .push(Command::Log(format!("this master has stood still for {pause:?}; nobody is lost for that")));
        }
        let counts = if self.rules.faults.count_all_time { pause } else { pause.min(self.clock.step) };
        self.clock.called = self.clock.called.max(now);
        self.clock.passed += counts;
        self.clock.passed
    }

    /// When something happens because nothing else does.
    fn deadline(&self) -> Option<Duration> {
        let workers = self.workers.values().map(|worker| worker.deadline);
        let applications = self.applications.values().map(|application| application.deadline);
        let held_back = self.applications.values().flat_map(|app| app.held_back.values().filter_map(|held| held.until));
        let recovery = self.recovery.iter().map(|recovery| recovery.until);
        workers.chain(applications).chain(recovery).chain(held_back).min()
    }

    /// The contents of files that drivers need which have not ended.
    pub fn needed_files(&self) -> BTreeSet<crate::content::ContentHash> {
        let waiting = self.drivers.values().filter(|driver| !driver.has_ended());
        waiting
            .flat_map(|driver| {
                let files = driver.description.files.iter().map(|file| file.contents.hash);
                files.chain([driver.description.executable.hash])
            })
            .collect()
    }

    fn saved(&self) -> Saved {
        let (mut workers, mut applications) = match &self.recovery {
            Some(recovery) => (recovery.workers.clone(), recovery.applications.clone()),
            None => Default::default(),
        };
        workers.extend(self.workers.keys().cloned());
        applications.extend(self.applications.keys().cloned());
        Saved {
            next_application: self.next_application,
            next_driver: self.next_driver,
            workers,
            applications,
            drivers: self.drivers.values().map(SavedDriver::from).collect(),
        }
    }

    fn disconnected(&mut self, now: Duration, connection: ConnectionId) {
        match self.connections.remove(&connection) {
            Some(Who::Worker(id)) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.connection = None;
                    worker.deadline = now + self.rules.worker_timeout.min(TIME_TO_RECONNECT);
                }
            }
            Some(Who::Application(id)) => {
                if let Some(application) = self.applications.get_mut(&id) {
                    application.connection = None;
                    application.deadline = now + self.rules.worker_timeout;
                }
            }
            None => {}
        }
    }

    /// A connection whose place another has taken, or that is not wanted any more.
    fn close(&mut self, connection: Option<ConnectionId>) {
        if let Some(connection) = connection
            && self.connections.remove(&connection).is_some()
        {
            self.commands.push(Command::Close(connection));
        }
    }

    /// Does what the passing of time brings.
    fn expire(&mut self, now: Duration) {
        let lost = self.workers.iter().filter(|(_, worker)| worker.deadline <= now);
        for id in lost.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.worker_lost(&id, "nothing was heard of it in time");
        }
        let gone = self.applications.iter().filter(|(_, application)| application.deadline <= now);
        for id in gone.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            // If it lives after all, it connects again, and is known again.
            let why = format!("nothing was heard of its driver for {:?}", self.rules.worker_timeout);
            self.application_ended(&id, &why);
        }
        for application in self.applications.values_mut() {
            // It may try there again; how often it failed is remembered for as long as it runs.
            let over = application.held_back.values_mut().filter(|held| held.until.is_some_and(|until| until <= now));
            over.for_each(|held| held.until = None);
        }
        let over = |r: &Recovery| r.until <= now || r.workers.is_empty() && r.applications.is_empty();
        if self.recovery.as_ref().is_some_and(over) {
            self.recovered();
        } else if !self.waits_for_workers() {
            self.give_up_all_missing();
        }
    }

    /// Whether it does not know yet what is taken.
    fn waits_for_workers(&self) -> bool {
        let applications = self.rules.faults.wait_for_applications;
        let waits = |r: &Recovery| !r.workers.is_empty() || applications && !r.applications.is_empty();
        self.recovery.as_ref().is_some_and(waits)
    }

    /// Who was there before the restart is back, or lost.
    fn recovered(&mut self) {
        let Some(recovery) = self.recovery.take() else { return };
        self.unsaved = true;
        let of = |many: usize, what: &str| match many {
            0 => String::new(),
            n => format!("; {n} {what} did not come back"),
        };
        self.commands.push(Command::Log(format!(
            "what was there before the restart is known again{}{}",
            of(recovery.workers.len(), "workers"),
            of(recovery.applications.len(), "applications")
        )));
        self.give_up_all_missing();
        for application in self.applications.values_mut() {
            // Those that may have come with their workers, and did not.
            application.killed.retain(|executor| application.executors.contains_key(executor));
        }
        self.give_up_strays();
        for id in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.tell_of_ended_applications(&id);
        }
        for worker in recovery.workers {
            self.drivers_lost(&worker);
        }
    }

    /// What must hold after every event.
    ///
    /// # Panics
    /// If it does not.
    fn check(&self) {
        for (id, worker) in &self.workers {
            let cores: u64 = worker.holdings.values().map(|holding| u64::from(holding.cores)).sum();
            let memory: u64 = worker.holdings.values().map(|holding| holding.memory_mib).sum();
            let offered = &worker.description;
            assert!(
                cores <= u64::from(offered.cores) && memory <= offered.memory_mib,
                "{id} has more to do than it can"
            );
        }
        for (id, application) in &self.applications {
            for (executor, of) in &application.executors {
                let name = ExecutorName { application: id.clone(), executor: *executor };
                let holder = Holder::Executor(name);
                assert!(self.workers[&of.worker].holdings.contains_key(&holder), "{holder:?} is nowhere");
                assert!(!application.missing.contains(executor) && executor.0 < application.next_executor);
            }
        }
        for driver in self.drivers.values().filter(|driver| !driver.has_ended()) {
            if let Some(worker) = driver.worker.as_ref().and_then(|worker| self.workers.get(worker)) {
                assert!(worker.holdings.contains_key(&Holder::Driver(driver.id.clone())), "{} is nowhere", driver.id);
            }
        }
        for (connection, who) in &self.connections {
            let owner = match who {
                Who::Worker(id) => self.workers.get(id).and_then(|worker| worker.connection),
                Who::Application(id) => self.applications.get(id).and_then(|application| application.connection),
            };
            assert_eq!(owner, Some(*connection), "{who:?}");
        }
    }

    /// A driver's state, for those who ask.
    fn status(&self, id: &DriverId) -> Option<DriverStatus> {
        let driver = self.drivers.values().find(|driver| driver.id == *id)?;
        Some(DriverStatus {
            driver: id.clone(),
            state: driver.state,
            worker: driver.worker.clone(),
            message: driver.message.clone(),
        })
    }
}

impl Worker {
    fn free(&self) -> super::placement::Room {
        let (mut cores, mut memory_mib) = (self.description.cores, self.description.memory_mib);
        for holding in self.holdings.values() {
            cores = cores.saturating_sub(holding.cores);
            memory_mib = memory_mib.saturating_sub(holding.memory_mib);
        }
        super::placement::Room { cores, memory_mib }
    }
}
