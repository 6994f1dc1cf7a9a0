//! The world around a master: workers, applications and submitters, connections that break, and a disk.

use super::{
    Report,
    peers::{Application, Peer, Stage, Visit, Worker},
    plan::{ApplicationPlan, ClusterPlan, DriverPlan, Trouble, Work, WorkerPlan, wants_all},
};
use crate::{
    plan::{ExecutorPlan, Mischief, Plan},
    rng::Rng,
    world::{Ask, World},
};
use firesteel_cluster::{
    client::ApplicationEvent,
    master::state::{Command, ConnectionId, Event, Master, Saved},
    protocol::{
        DriverDescription, DriverEnd, DriverId, DriverState, ExecutorEnd, ExecutorName, FromApplication, FromSubmitter,
        FromWorker, HowEnded, ToApplication, ToSubmitter, ToWorker, WorkerId,
    },
    worker::state::{self, End, Process},
};
use firesteel_model::HostId;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Arguments, Write},
    time::Duration,
};

/// More steps than any history needs.
const STEPS: u64 = 200_000;
/// When the cluster is calm, all that can be done is done within this time.
const LONG: Duration = Duration::from_secs(300);
/// The first pause of a master where executors have ended; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A master that stood still looks at the time before it hears what was said meanwhile.
const LATE_TO_HEAR: Duration = Duration::from_millis(1);

/// One direction of a connection keeps its order.
struct Line {
    peer: Peer,
    /// Nothing arrives any more.
    cut: bool,
    began: Duration,
    to_master: Duration,
    to_peer: Duration,
}

enum Answer {
    Worker(ToWorker),
    Application(ToApplication),
}

enum Happening {
    MasterHears(ConnectionId, Event),
    /// It sees that a connection has ended.
    MasterNotices(ConnectionId),
    MasterBegins,
    PeerHears(ConnectionId, Answer),
    PeerNotices(Peer, ConnectionId),
    Connect(Peer),
    Heartbeat(Peer, ConnectionId),
    WorkerComes(Box<WorkerPlan>),
    ApplicationComes(usize),
    ApplicationWants(usize, u32),
    ApplicationEnds(usize),
    ExecutorBegins(usize, ExecutorName, u32),
    ProcessEnds(usize, Process, HowEnded),
    /// Its worker sees that a process has ended.
    Noticed(usize, End),
    /// A run of a driver is over.
    DriverRan(usize, DriverId, usize),
    Submit(usize),
    Kill(usize),
    Trouble(Trouble),
    /// Whether somebody waits who could be served.
    Look,
    /// Whether all is free when all are gone.
    Count,
}

/// A driver that was submitted, as it really is.
struct Driver {
    plan: usize,
    launched: u32,
    worker: usize,
    at: Duration,
    /// When its worker saw that it had ended well.
    finished: Option<Duration>,
    /// The master has promised to end it.
    doomed: bool,
    /// The master knows that it has ended.
    over: bool,
}

/// One seeded history of a cluster.
pub(super) struct Cluster {
    plan: ClusterPlan,
    rng: Rng,
    now: Duration,
    sequence: u64,
    queue: BTreeMap<(Duration, u64), Happening>,
    master: Option<Master>,
    /// When it began, or went on after it stood still; zero of the first.
    began: Duration,
    /// Until when it stands still.
    stopped: Duration,
    /// The workers that it was told of when it began, and that have not come back to it.
    missing: BTreeSet<WorkerId>,
    disk: Saved,
    /// The next event is the master's last.
    dies_midway: Option<Duration>,
    lines: BTreeMap<ConnectionId, Line>,
    connections: u64,
    workers: Vec<Worker>,
    applications: Vec<Application>,
    drivers: BTreeMap<DriverId, Driver>,
    /// How many times each planned driver has yet to fail.
    failures: Vec<u32>,
    submitted: Vec<Option<DriverId>>,
    /// What submitters have asked for.
    asked: BTreeMap<ConnectionId, usize>,
    /// Connections up to this one were those of a master that has died.
    floor: ConnectionId,
    /// Whether all are gone, and one has come that wants everything; whether it has got it.
    counting: bool,
    counted: bool,
    looks: u64,
    report: Report,
    trace: Option<String>,
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl Cluster {
    pub(super) fn new(seed: u64, plan: ClusterPlan, trace: bool) -> Self {
        let disk = Saved::default();
        let mut cluster = Cluster {
            rng: Rng::new(seed.wrapping_mul(29).wrapping_add(5)),
            now: Duration::ZERO,
            sequence: 0,
            queue: BTreeMap::new(),
            master: Some(Master::new(plan.rules.clone(), disk.clone(), Duration::ZERO)),
            began: Duration::ZERO,
            stopped: Duration::ZERO,
            missing: BTreeSet::new(),
            disk,
            dies_midway: None,
            lines: BTreeMap::new(),
            connections: 0,
            workers: Vec::new(),
            applications: plan
                .applications
                .iter()
                .cloned()
                .map(|app| Application::new(app, plan.rules.faults))
                .collect(),
            drivers: BTreeMap::new(),
            failures: plan.drivers.iter().map(|driver| driver.failures).collect(),
            submitted: vec![None; plan.drivers.len()],
            asked: BTreeMap::new(),
            floor: ConnectionId(0),
            counting: false,
            counted: false,
            looks: 0,
            report: Report::default(),
            trace: trace.then(String::new),
            plan,
        };
        cluster.note(format_args!("{:#?}", cluster.plan.clone()));
        for worker in cluster.plan.workers.clone() {
            cluster.at(worker.at, Happening::WorkerComes(Box::new(worker)));
        }
        for index in 0..cluster.plan.applications.len() {
            cluster.at(cluster.plan.applications[index].at, Happening::ApplicationComes(index));
        }
        for index in 0..cluster.plan.drivers.len() {
            let driver = &cluster.plan.drivers[index];
            let (at, killed) = (driver.at, driver.killed);
            cluster.at(at, Happening::Submit(index));
            killed.into_iter().for_each(|after| cluster.at(at + after, Happening::Kill(index)));
        }
        for (at, trouble) in cluster.plan.troubles.clone() {
            cluster.at(at, Happening::Trouble(trouble));
        }
        cluster.at(Duration::from_millis(50), Happening::Look);
        cluster
    }

    /// Lives it to its end.
    pub(super) fn run(mut self) -> (Result<Report, String>, Option<String>) {
        let result = self.live().map_err(|broken| format!("at {:?}: {broken}", self.now));
        (result.map(|()| self.report.clone()), self.trace)
    }

    fn live(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            if self.counted {
                return Ok(());
            }
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.master.as_ref().and_then(Master::next_deadline).map(|at| at.max(self.stopped));
            let worlds = self.applications.iter().enumerate();
            let world = worlds.filter_map(|(i, app)| Some((app.world.as_ref()?.next()?, i))).min();
            let next = [queued, deadline, world.map(|(at, _)| at)].into_iter().flatten().min();
            let next = next.ok_or("nothing more happens")?;
            self.now = self.now.max(next);
            if self.now > self.plan.calm + LONG {
                return Err(self.who_waits());
            }
            match world {
                _ if queued == Some(next) => {
                    let ((_, sequence), happening) = self.queue.pop_first().expect("it was just seen");
                    let is_masters = matches!(happening, Happening::MasterHears(..) | Happening::MasterNotices(_));
                    let hears = self.stopped + LATE_TO_HEAR;
                    if is_masters && !self.stopped.is_zero() && self.now < hears {
                        // In the order in which it was said.
                        self.queue.insert((hears, sequence), happening);
                    } else {
                        self.happens(happening)?;
                    }
                }
                Some((at, application)) if at == next => self.step(application)?,
                _ => self.tell_master(Event::Tick)?,
            }
        }
        Err(format!("no end in sight: {}", self.who_waits()))
    }

    fn who_waits(&self) -> String {
        let open = self.applications.iter().filter(|app| app.stage != Stage::Over);
        let open: Vec<_> = open.map(|app| &app.plan.wants.name).collect();
        let drivers = self.drivers.iter().filter(|(_, driver)| !driver.over).map(|(id, _)| id.to_string());
        format!("applications {open:?} and drivers {:?} have not ended", drivers.collect::<Vec<_>>())
    }

    fn note(&mut self, line: Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>10.3} ms  {line}", self.now.as_secs_f64() * 1e3);
        }
    }

    fn at(&mut self, at: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    fn later(&mut self, low: u64, high: u64, happening: Happening) {
        let at = self.now + self.rng.millis(low, high);
        self.at(at, happening);
    }

    fn timeout(&self) -> Duration {
        self.plan.rules.worker_timeout
    }

    // The master.

    fn tell_master(&mut self, event: Event) -> Result<(), String> {
        let ended = self.drivers_ended(&event);
        let Some(master) = &mut self.master else { return Ok(()) };
        let shown = self.trace.is_some().then(|| format!("> {event:?}"));
        let mut commands = master.handle(self.now, event);
        shown.into_iter().for_each(|shown| self.note(format_args!("{shown}")));
        self.report.events += 1;
        self.report.commands += commands.len() as u64;
        let dies = self.dies_midway.filter(|_| !commands.is_empty());
        if dies.is_some() {
            commands.truncate(self.rng.between(0, commands.len() as u64) as usize);
        }
        if dies.is_none() || commands.iter().any(|command| matches!(command, Command::Save(_))) {
            for id in ended {
                self.drivers.get_mut(&id).expect("it runs somewhere").over = true;
            }
        }
        for command in commands {
            self.note(format_args!("    {command:?}"));
            self.carry_out(command)?;
        }
        if let Some(until) = dies {
            self.dies_midway = None;
            self.master_dies(until);
        }
        Ok(())
    }

    /// The drivers that have ended well, according to this, or must have according to whom it is from.
    fn drivers_ended(&self, event: &Event) -> Vec<DriverId> {
        let Event::Worker(connection, message) = event else { return Vec::new() };
        let (said, knows_before) = match message {
            FromWorker::DriverEnded(id, end) => (vec![(id, end)], Duration::ZERO),
            FromWorker::Register { drivers_ended, .. } => {
                let began = self.lines.get(connection).map_or(Duration::ZERO, |line| line.began);
                (drivers_ended.iter().map(|(id, end)| (id, end)).collect(), began)
            }
            _ => return Vec::new(),
        };
        let well = said.into_iter().filter(|(_, end)| end.state == DriverState::Finished).map(|(id, _)| id);
        let well = well.filter(|id| self.drivers.contains_key(id));
        let whose = self.lines.get(connection).map(|line| line.peer);
        let seen = self.drivers.iter().filter(|(_, driver)| {
            whose == Some(Peer::Worker(driver.worker)) && driver.finished.is_some_and(|at| at < knows_before)
        });
        well.chain(seen.map(|(id, _)| id)).cloned().collect()
    }

    fn master_dies(&mut self, until: Duration) {
        self.note(format_args!("the master dies"));
        self.master = None;
        self.stopped = Duration::ZERO;
        self.disturb_all();
        self.floor = ConnectionId(self.connections);
        for connection in self.lines.keys().copied().collect::<Vec<_>>() {
            // What it said last may still arrive.
            let lost = self.rng.per_mille(500);
            let line = self.lines.get_mut(&connection).expect("it was just seen");
            line.cut |= lost;
            let peer = line.peer;
            if self.plan.restarts_only || self.rng.per_mille(800) {
                self.later(0, 20, Happening::PeerNotices(peer, connection));
            }
        }
        self.applications.iter_mut().for_each(|app| (app.starving, app.starving_at_once) = (None, None));
        self.at(until.max(self.now), Happening::MasterBegins);
    }

    fn carry_out(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Save(saved) => self.disk = saved,
            Command::Log(line) => self.rightly_forgotten(&line)?,
            Command::Close(connection) => {
                if let Some(line) = self.lines.get(&connection) {
                    let (peer, at) = (line.peer, line.to_peer.max(self.now + Duration::from_micros(1)));
                    self.at(at, Happening::PeerNotices(peer, connection));
                }
            }
            Command::ToWorker(connection, message) => {
                if let ToWorker::LaunchDriver(id, wants) = &message {
                    self.driver_launched(connection, id, wants)?;
                }
                self.answer(connection, Answer::Worker(message));
            }
            Command::ToApplication(connection, message) => {
                if let ToApplication::Removed(why) = &message {
                    self.rightly_removed(connection, why)?;
                }
                self.answer(connection, Answer::Application(message));
            }
            Command::ToSubmitter(connection, message) => {
                self.lines.remove(&connection);
                self.submitter_answered(connection, &message)?;
            }
        }
        Ok(())
    }

    fn driver_launched(
        &mut self,
        connection: ConnectionId,
        id: &DriverId,
        wants: &DriverDescription,
    ) -> Result<(), String> {
        let Some(Line { peer: Peer::Worker(worker), cut, .. }) = self.lines.get(&connection) else { return Ok(()) };
        let (worker, cut) = (*worker, *cut);
        let plan = wants.name.parse().map_err(|_| "a driver that nobody submitted")?;
        let new = Driver { plan, launched: 0, worker, at: self.now, finished: None, doomed: false, over: false };
        let driver = self.drivers.entry(id.clone()).or_insert(new);
        ensure(!driver.over, || format!("{id} has ended, and is launched"))?;
        ensure(!driver.doomed, || format!("{id} is to end, and is launched"))?;
        if driver.launched > 0 {
            ensure(wants.supervise, || format!("{id} is launched again, and nobody supervises it"))?;
            let disturbed = self.workers[driver.worker].disturbed;
            ensure(disturbed >= driver.at, || format!("{id} is launched again, and nothing has happened to it"))?;
        }
        // Word of it never arrives on a line that is cut.
        let at = if cut { Duration::ZERO } else { self.now };
        (driver.launched, driver.worker, driver.at, driver.finished) = (driver.launched + 1, worker, at, None);
        Ok(())
    }

    fn rightly_removed(&self, connection: ConnectionId, why: &str) -> Result<(), String> {
        let Some(Peer::Application(index)) = self.lines.get(&connection).map(|line| line.peer) else { return Ok(()) };
        let app = &self.applications[index];
        let rightly = why.contains("in a row") && app.failures >= self.plan.rules.max_executor_retries;
        ensure(rightly, || format!("application {index} is removed without a reason: {why}"))
    }

    /// What the master writes into its log when it has not heard of an application for long.
    fn rightly_forgotten(&self, line: &str) -> Result<(), String> {
        let silent = |app: &&Application| {
            let id = app.state.id().map(|id| format!("application {id} has ended: nothing was heard"));
            id.is_some_and(|words| line.starts_with(&words))
        };
        match self.applications.iter().find(silent) {
            Some(app) => ensure(app.reached + self.timeout() <= self.now, || format!("it was heard of: {line}")),
            None => Ok(()),
        }
    }

    fn submitter_answered(&mut self, connection: ConnectionId, message: &ToSubmitter) -> Result<(), String> {
        let asked = self.asked.get(&connection).copied();
        match message {
            ToSubmitter::Submitted(id) => {
                let plan = asked.ok_or("an answer to nobody")?;
                self.submitted[plan] = Some(id.clone());
                let new =
                    Driver { plan, launched: 0, worker: 0, at: self.now, finished: None, doomed: false, over: false };
                self.drivers.entry(id.clone()).or_insert(new);
            }
            ToSubmitter::Status(status) => {
                use DriverState::{Error, Failed, Finished, Killed};
                if let Some(driver) = self.drivers.get_mut(&status.driver) {
                    driver.over |= matches!(status.state, Finished | Failed | Killed | Error);
                }
            }
            ToSubmitter::Killing(id) => {
                if let Some(driver) = self.drivers.get_mut(id) {
                    driver.doomed = true;
                }
            }
            ToSubmitter::Refused(why) => {
                ensure(!why.contains("no driver"), || format!("a driver is forgotten: {why}"))?;
            }
        }
        Ok(())
    }

    // Connections.

    fn delay(&mut self) -> Duration {
        self.rng.millis(0, self.plan.slowest)
    }

    fn answer(&mut self, connection: ConnectionId, answer: Answer) {
        let delay = self.delay();
        let Some(line) = self.lines.get_mut(&connection) else { return };
        line.to_peer = (self.now + delay).max(line.to_peer + Duration::from_micros(1));
        let at = line.to_peer;
        self.at(at, Happening::PeerHears(connection, answer));
    }

    fn send(&mut self, connection: ConnectionId, event: Event) {
        let delay = self.delay();
        let Some(line) = self.lines.get_mut(&connection) else { return };
        line.to_master = (self.now + delay).max(line.to_master + Duration::from_micros(1));
        let at = line.to_master;
        self.at(at, Happening::MasterHears(connection, event));
    }

    fn worker_says(&mut self, worker: usize, message: FromWorker) {
        if let Some(connection) = self.workers[worker].visit.connection {
            self.send(connection, Event::Worker(connection, message));
        }
    }

    fn application_says(&mut self, application: usize, message: FromApplication) {
        if let Some(connection) = self.applications[application].visit.connection {
            self.send(connection, Event::Application(connection, message));
        }
    }

    fn visit(&mut self, peer: Peer) -> Option<&mut Visit> {
        match peer {
            Peer::Worker(worker) => Some(&mut self.workers[worker].visit),
            Peer::Application(application) => Some(&mut self.applications[application].visit),
            Peer::Submitter => None,
        }
    }

    fn is_there(&self, peer: Peer) -> bool {
        match peer {
            Peer::Worker(worker) => self.workers[worker].alive,
            Peer::Application(application) => self.applications[application].stage == Stage::Runs,
            Peer::Submitter => false,
        }
    }

    /// Until when somebody stands still.
    fn stopped(&self, peer: Peer) -> Option<Duration> {
        let Peer::Worker(worker) = peer else { return None };
        Some(self.workers[worker].stopped).filter(|until| *until > self.now)
    }

    fn disturb(&mut self, peer: Peer, until: Duration) {
        if let Peer::Worker(worker) = peer {
            let worker = &mut self.workers[worker];
            worker.disturbed = worker.disturbed.max(until);
        }
    }

    fn disturb_all(&mut self) {
        (0..self.workers.len()).for_each(|worker| self.disturb(Peer::Worker(worker), self.now));
    }

    fn line(&mut self, peer: Peer) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        self.lines
            .insert(connection, Line { peer, cut: false, began: self.now, to_master: self.now, to_peer: self.now });
        connection
    }

    fn connect(&mut self, peer: Peer) {
        let now = self.now;
        if !self.is_there(peer) {
            return;
        }
        if let Some(until) = self.stopped(peer) {
            return self.at(until, Happening::Connect(peer));
        }
        let Some(visit) = self.visit(peer).filter(|visit| visit.connection.is_none()) else { return };
        if visit.cut > now || self.master.is_none() {
            let most = (self.timeout() / 8).as_millis() as u64;
            return self.later(1, most, Happening::Connect(peer));
        }
        let connection = self.line(peer);
        let heartbeat = self.now + self.timeout() / 4;
        let Some(visit) = self.visit(peer) else { return };
        (visit.connection, visit.heard) = (Some(connection), now);
        match peer {
            Peer::Worker(worker) => {
                let introduction = self.workers[worker].state.introduction();
                self.worker_says(worker, introduction);
            }
            Peer::Application(application) => {
                let app = &mut self.applications[application];
                app.unanswered.clear();
                let introduction = app.state.introduction(Box::new(app.plan.wants.clone()));
                self.application_says(application, introduction);
            }
            Peer::Submitter => {}
        }
        self.at(heartbeat, Happening::Heartbeat(peer, connection));
    }

    fn heartbeat(&mut self, peer: Peer, connection: ConnectionId) {
        let (now, timeout) = (self.now, self.timeout());
        if let Some(until) = self.stopped(peer) {
            return self.at(until, Happening::Heartbeat(peer, connection));
        }
        let Some(visit) = self.visit(peer).filter(|visit| visit.connection == Some(connection)) else { return };
        if visit.heard + timeout < now {
            self.note(format_args!("{peer:?} has heard nothing for long"));
            return self.hang_up(peer);
        }
        match peer {
            Peer::Worker(worker) => {
                let heartbeat = self.workers[worker].state.heartbeat();
                self.worker_says(worker, heartbeat);
            }
            Peer::Application(application) => {
                let app = &mut self.applications[application];
                app.unanswered.push_back(app.wishes.len() - 1);
                self.application_says(application, FromApplication::Heartbeat);
            }
            Peer::Submitter => {}
        }
        self.at(now + timeout / 4, Happening::Heartbeat(peer, connection));
    }

    /// Ends somebody's connection: what was said before arrives, if anything does. Another is made, if it lives.
    fn hang_up(&mut self, peer: Peer) {
        self.disturb(peer, self.now);
        let Some(connection) = self.visit(peer).and_then(|visit| visit.connection.take()) else { return };
        if let Some(line) = self.lines.get(&connection) {
            let (cut, after) = (line.cut, line.to_master);
            match cut {
                true => self.master_notices_late(connection),
                false => {
                    let at = after.max(self.now) + self.delay();
                    self.at(at, Happening::MasterNotices(connection));
                }
            }
        }
        self.later(0, 10, Happening::Connect(peer));
    }

    fn master_notices_late(&mut self, connection: ConnectionId) {
        let late = self.timeout().as_millis() as u64 * 6 / 5;
        self.later(0, late, Happening::MasterNotices(connection));
    }

    /// Nothing goes between somebody and the master any more.
    fn cut(&mut self, peer: Peer, until: Duration) {
        self.disturb(peer, until);
        let Some(visit) = self.visit(peer) else { return };
        visit.cut = visit.cut.max(until);
        let Some(connection) = visit.connection else { return };
        if let Some(line) = self.lines.get_mut(&connection) {
            line.cut = true;
            self.master_notices_late(connection);
            if self.rng.per_mille(500) {
                let late = self.timeout().as_millis() as u64;
                self.later(0, late, Happening::PeerNotices(peer, connection));
            }
        }
    }

    // What happens.

    fn happens(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::MasterHears(connection, event) => return self.master_hears(connection, event),
            Happening::MasterNotices(connection) => {
                if let Some(line) = self.lines.remove(&connection) {
                    self.disturb(line.peer, self.now);
                    return self.tell_master(Event::Disconnected(connection));
                }
            }
            Happening::MasterBegins => {
                self.note(format_args!("a master begins"));
                self.lines.retain(|connection, _| *connection > self.floor);
                self.began = self.now;
                self.missing = self.disk.workers.clone();
                self.disturb_all();
                self.master = Some(Master::new(self.plan.rules.clone(), self.disk.clone(), self.now));
            }
            Happening::PeerHears(connection, answer) => return self.peer_hears(connection, answer),
            Happening::PeerNotices(peer, connection) => {
                if self.visit(peer).is_some_and(|visit| visit.connection == Some(connection)) {
                    self.hang_up(peer);
                }
            }
            Happening::Connect(peer) => self.connect(peer),
            Happening::Heartbeat(peer, connection) => self.heartbeat(peer, connection),
            Happening::WorkerComes(plan) => {
                let number = self.workers.len();
                self.workers.push(Worker::new(*plan, number, self.plan.rules.faults));
                self.connect(Peer::Worker(number));
            }
            Happening::ApplicationComes(index) => self.application_comes(index),
            Happening::ApplicationWants(index, executors) => self.application_wants(index, executors),
            Happening::ApplicationEnds(index) => return self.application_ends(index),
            Happening::ExecutorBegins(worker, name, cores) => return self.executor_begins(worker, name, cores),
            Happening::ProcessEnds(worker, process, how) => return self.process_ends(worker, process, how),
            Happening::Noticed(worker, end) => self.noticed(worker, end),
            Happening::DriverRan(worker, id, plan) => self.driver_ran(worker, id, plan),
            Happening::Submit(plan) => {
                let wants = self.plan.drivers[plan].wants.clone();
                self.ask(plan, FromSubmitter::Submit(Box::new(wants)), Happening::Submit(plan));
            }
            Happening::Kill(plan) => {
                if let Some(id) = self.submitted[plan].clone() {
                    self.ask(plan, FromSubmitter::Kill(id), Happening::Kill(plan));
                }
            }
            Happening::Trouble(trouble) => return self.trouble(trouble),
            Happening::Look => return self.look(),
            Happening::Count => return self.count(),
        }
        Ok(())
    }

    fn master_hears(&mut self, connection: ConnectionId, event: Event) -> Result<(), String> {
        let Some(line) = self.lines.get(&connection) else { return Ok(()) };
        if line.cut || connection <= self.floor {
            return Ok(());
        }
        match (line.peer, &event) {
            (Peer::Application(index), _) => self.applications[index].reached = self.now,
            (peer, Event::Worker(_, FromWorker::Register { worker, .. })) => {
                self.missing.remove(&worker.id);
                self.disturb(peer, self.now);
            }
            _ => {}
        }
        self.tell_master(event)
    }

    fn ask(&mut self, plan: usize, message: FromSubmitter, again: Happening) {
        if self.master.is_none() {
            return self.later(10, 100, again);
        }
        let connection = self.line(Peer::Submitter);
        self.asked.insert(connection, plan);
        self.send(connection, Event::Submitter(connection, message));
    }

    fn peer_hears(&mut self, connection: ConnectionId, answer: Answer) -> Result<(), String> {
        let Some(line) = self.lines.get(&connection).filter(|line| !line.cut) else { return Ok(()) };
        let (peer, now) = (line.peer, self.now);
        if let Some(until) = self.stopped(peer) {
            self.at(until, Happening::PeerHears(connection, answer));
            return Ok(());
        }
        let Some(visit) = self.visit(peer).filter(|visit| visit.connection == Some(connection)) else { return Ok(()) };
        visit.heard = now;
        match (peer, answer) {
            (Peer::Worker(worker), Answer::Worker(message)) => self.worker_hears(worker, message),
            (Peer::Application(index), Answer::Application(message)) => self.application_hears(index, message),
            _ => Err(format!("{peer:?} hears what is meant for others")),
        }
    }

    // Workers.

    fn worker_hears(&mut self, worker: usize, message: ToWorker) -> Result<(), String> {
        let starts = match &message {
            ToWorker::LaunchExecutor { executor, .. } => Some(Process::Executor(executor.name.clone())),
            ToWorker::LaunchDriver(id, _) => Some(Process::Driver(id.clone())),
            ToWorker::Refused(why) => return Err(format!("worker {worker} is refused: {why}")),
            _ => None,
        };
        let its = &mut self.workers[worker];
        let command = its.state.hears(message);
        if let Some(process) = starts {
            let is_new = its.lives.insert(process.clone());
            ensure(is_new && command.is_some(), || format!("{process:?} starts twice"))?;
        }
        match command {
            Some(state::Command::StartExecutor { executor, application }) => {
                let of: usize = application.name.parse().map_err(|_| "an application that nobody knows")?;
                its.of.insert(executor.name.clone(), of);
                self.later(1, 30, Happening::ExecutorBegins(worker, executor.name, executor.cores));
            }
            Some(state::Command::StartDriver(id, wants)) => {
                let plan: usize = wants.name.parse().map_err(|_| "a driver that nobody knows")?;
                let at = self.now + self.plan.drivers[plan].runs;
                self.at(at, Happening::DriverRan(worker, id, plan));
            }
            Some(state::Command::Kill(process)) => self.kill(worker, process, 0, 30),
            Some(state::Command::EndApplication(_, executors)) => {
                for name in executors {
                    self.kill(worker, Process::Executor(name), 50, 150);
                }
            }
            None => {}
        }
        let its = &self.workers[worker];
        let (cores, memory) = its.free();
        ensure(cores >= 0 && memory >= 0, || format!("worker {worker} has more to do than it offers: {:?}", its.lives))
    }

    fn kill(&mut self, worker: usize, process: Process, low: u64, high: u64) {
        self.later(low, high, Happening::ProcessEnds(worker, process, HowEnded::Killed));
    }

    fn executor_begins(&mut self, worker: usize, name: ExecutorName, cores: u32) -> Result<(), String> {
        let its = &self.workers[worker];
        let process = Process::Executor(name.clone());
        if !its.lives.contains(&process) {
            return Ok(());
        }
        let (index, slowness) = (its.of[&name], its.plan.slowness);
        let app = &mut self.applications[index];
        // A driver takes nobody in whose number another has, or has had.
        if app.stage != Stage::Runs || !app.numbers.insert(name.executor) {
            self.later(0, 20, Happening::ProcessEnds(worker, process, HowEnded::Exited(1)));
            return Ok(());
        }
        self.report.executors += 1;
        app.places.insert(name.executor, (worker, name.clone()));
        if let Some(world) = &mut app.world {
            let host = HostId(worker as u32);
            let came = world.executor_comes(
                self.now,
                name.executor,
                ExecutorPlan { host, rack: None, slots: cores, slowness, broken: false },
            );
            return self.after(index, came);
        }
        Ok(())
    }

    fn process_ends(&mut self, worker: usize, process: Process, how: HowEnded) -> Result<(), String> {
        if !self.workers[worker].lives.remove(&process) {
            return Ok(());
        }
        self.note(format_args!("worker {worker}: {process:?} ends: {how:?}"));
        let message = String::from("there is no log");
        let end = match &process {
            Process::Executor(name) => End::Executor(name.clone(), ExecutorEnd { how, message }),
            Process::Driver(id) => {
                let state = match how {
                    HowEnded::Exited(0) => DriverState::Finished,
                    HowEnded::Killed => DriverState::Killed,
                    _ => DriverState::Failed,
                };
                End::Driver(id.clone(), DriverEnd { state, message })
            }
        };
        self.later(0, 3, Happening::Noticed(worker, end));
        self.gone(worker, process, how)
    }

    /// A process is gone: what its application sees of it.
    fn gone(&mut self, worker: usize, process: Process, how: HowEnded) -> Result<(), String> {
        let Process::Executor(name) = process else { return Ok(()) };
        let index = self.workers[worker].of[&name];
        let app = &mut self.applications[index];
        app.failures += u32::from(how != HowEnded::Killed);
        if app.places.get(&name.executor).is_none_or(|place| *place != (worker, name.clone())) {
            return Ok(());
        }
        app.places.remove(&name.executor);
        if app.stage != Stage::Runs {
            return Ok(());
        }
        if self.plan.restarts_only && app.state.id() == Some(&name.application) {
            return Err(format!("{name} is lost, and nothing but the master has died"));
        }
        let Some(world) = &mut app.world else { return Ok(()) };
        world.executor_ends(self.now, name.executor);
        self.after(index, Ok(()))
    }

    fn noticed(&mut self, worker: usize, end: End) {
        if let Some(until) = self.stopped(Peer::Worker(worker)) {
            return self.at(until, Happening::Noticed(worker, end));
        }
        let its = &mut self.workers[worker];
        if !its.alive {
            return;
        }
        if let End::Driver(id, DriverEnd { state: DriverState::Finished, .. }) = &end
            && let Some(driver) = self.drivers.get_mut(id)
            && driver.worker == worker
        {
            driver.finished = Some(self.now);
        }
        let message = its.state.ended(end);
        self.worker_says(worker, message);
    }

    fn driver_ran(&mut self, worker: usize, id: DriverId, plan: usize) {
        let process = Process::Driver(id.clone());
        if !self.workers[worker].lives.contains(&process) {
            return;
        }
        let fails = self.failures[plan] > 0;
        self.failures[plan] -= u32::from(fails);
        let DriverPlan { wants, runs, .. } = &self.plan.drivers[plan];
        match fails && wants.supervise {
            // Its worker starts it again.
            true => {
                let at = self.now + *runs + Duration::from_millis(50);
                self.at(at, Happening::DriverRan(worker, id, plan));
            }
            false => {
                let how = HowEnded::Exited(i32::from(fails));
                self.at(self.now, Happening::ProcessEnds(worker, process, how));
            }
        }
    }

    // Applications.

    fn application_comes(&mut self, index: usize) {
        let app = &mut self.applications[index];
        app.stage = Stage::Runs;
        match app.plan.work {
            Work::Jobs(seed) => {
                let mut plan = Plan::of(seed, Default::default());
                if self.plan.restarts_only {
                    plan.mischief = Mischief::default();
                }
                app.world = Some(Box::new(World::in_cluster(seed, plan, self.trace.is_some(), self.now)));
            }
            Work::Nothing(time) => self.at(self.now + time, Happening::ApplicationEnds(index)),
        }
        self.connect(Peer::Application(index));
        for (after, executors) in self.applications[index].plan.executors.clone() {
            match after.is_zero() {
                true => self.application_wants(index, executors),
                false => self.at(self.now + after, Happening::ApplicationWants(index, executors)),
            }
        }
    }

    fn application_wants(&mut self, index: usize, executors: u32) {
        let app = &mut self.applications[index];
        app.wishes.push(executors);
        let message = app.state.want(executors);
        message.into_iter().for_each(|message| self.application_says(index, message));
    }

    fn step(&mut self, index: usize) -> Result<(), String> {
        let world = self.applications[index].world.as_mut().expect("it was asked what is next");
        let stepped = world.step();
        self.after(index, stepped)
    }

    /// Does what an application's driver asks for after something has happened there.
    fn after(&mut self, index: usize, happened: Result<(), String>) -> Result<(), String> {
        let app = &mut self.applications[index];
        let world = app.world.as_mut().expect("something has just happened there");
        if let (Some(trace), Some(lines)) = (&mut self.trace, world.take_trace()) {
            for line in lines.lines() {
                let _ = writeln!(trace, "{line} [application {index}]");
            }
        }
        happened.map_err(|broken| format!("application {index}: {broken}"))?;
        let asks = world.take_asks();
        let is_over = world.is_over();
        for ask in asks {
            let app = &mut self.applications[index];
            let message = match ask {
                Ask::Works(executor) => app.state.works(executor),
                Ask::GiveUp(executor) => {
                    if let Some((worker, name)) = app.places.get(&executor).cloned()
                        && self.rng.per_mille(500)
                    {
                        // It sees that its driver has hung up; if not, it stands still.
                        let process = Process::Executor(name);
                        self.later(0, 20, Happening::ProcessEnds(worker, process, HowEnded::Exited(1)));
                    }
                    self.applications[index].state.kill(executor)
                }
                Ask::Ended(executor) => {
                    if let Some((worker, name)) = app.places.remove(&executor) {
                        let process = Process::Executor(name);
                        self.later(0, 5, Happening::ProcessEnds(worker, process, HowEnded::Signalled(9)));
                    }
                    None
                }
            };
            message.into_iter().for_each(|message| self.application_says(index, message));
        }
        if is_over { self.application_ends(index) } else { Ok(()) }
    }

    /// An application has done what it had to do.
    fn application_ends(&mut self, index: usize) -> Result<(), String> {
        let app = &mut self.applications[index];
        if app.stage != Stage::Runs {
            return Ok(());
        }
        if let Some(mut world) = app.world.take() {
            world.finish().map_err(|broken| format!("application {index}: {broken}"))?;
            self.report.jobs += world.report().succeeded;
            self.report.attempts += world.report().attempts;
        }
        self.report.applications += 1;
        self.application_says(index, FromApplication::Unregister);
        self.application_over(index);
        Ok(())
    }

    /// Its driver is gone, and so are its executors, soon.
    fn application_over(&mut self, index: usize) {
        let app = &mut self.applications[index];
        (app.stage, app.world) = (Stage::Over, None);
        let places = std::mem::take(&mut app.places);
        self.hang_up(Peer::Application(index));
        for (worker, name) in places.into_values() {
            self.later(0, 50, Happening::ProcessEnds(worker, Process::Executor(name), HowEnded::Exited(0)));
        }
    }

    fn application_hears(&mut self, index: usize, message: ToApplication) -> Result<(), String> {
        let most = self.applications[index].most(self.plan.rules.default_cores);
        // What a master that was restarted does not know yet may have ended.
        let recovered = self.began + self.timeout() + Duration::from_millis(100);
        let all_known = self.began.is_zero() || recovered < self.now;
        let app = &mut self.applications[index];
        match message {
            ToApplication::Refused(why) => return Err(format!("application {index} is refused: {why}")),
            ToApplication::Registered { .. } => {
                app.state.welcomed(message)?;
                let repeated = app.state.repeats();
                repeated.into_iter().for_each(|message| self.application_says(index, message));
                return Ok(());
            }
            ToApplication::Heartbeat => app.heard = app.unanswered.pop_front().unwrap_or(app.heard),
            _ => {}
        }
        match app.state.hears(message) {
            Some(ApplicationEvent::ExecutorGranted { executor, cores, .. }) => {
                let is_new = app.executors.insert(executor, cores).is_none();
                ensure(is_new, || format!("executor {executor} of application {index} is granted twice"))?;
                let has = app.executors.values().map(|cores| u64::from(*cores)).sum::<u64>();
                ensure(!all_known || has <= u64::from(most), || {
                    format!("application {index} has {has} cores of {most}")
                })?;
                let wanted = app.may_want();
                ensure(!all_known || app.executors.len() <= wanted as usize, || {
                    format!("application {index} has more than the {wanted} executors that it wants")
                })?;
            }
            Some(ApplicationEvent::ExecutorEnded(executor, _)) => drop(app.executors.remove(&executor)),
            Some(ApplicationEvent::Removed(_)) => {
                self.report.removed += 1;
                self.application_over(index);
            }
            _ => {}
        }
        Ok(())
    }

    // Trouble.

    fn trouble(&mut self, trouble: Trouble) -> Result<(), String> {
        self.note(format_args!("{trouble:?}"));
        let alive: Vec<_> = (0..self.workers.len()).filter(|worker| self.workers[*worker].alive).collect();
        let runs: Vec<_> =
            (0..self.applications.len()).filter(|app| self.applications[*app].stage == Stage::Runs).collect();
        let peers: Vec<_> =
            alive.iter().map(|w| Peer::Worker(*w)).chain(runs.iter().map(|a| Peer::Application(*a))).collect();
        match trouble {
            Trouble::MasterDies { midway: true, until } => self.dies_midway = Some(until),
            Trouble::MasterDies { midway: false, until } if self.master.is_some() => self.master_dies(until),
            Trouble::MasterDies { .. } => {}
            Trouble::MasterStops { until } if self.master.is_some() => {
                self.stopped = self.stopped.max(until);
                self.began = if self.began.is_zero() { self.began } else { self.stopped };
            }
            Trouble::Cut { whom, until } if !peers.is_empty() => self.cut(peers[whom % peers.len()], until),
            Trouble::HangUp { whom } if !peers.is_empty() => self.hang_up(peers[whom % peers.len()]),
            Trouble::WorkerDies { which, until } if !alive.is_empty() => {
                let worker = alive[which % alive.len()];
                let its = &mut self.workers[worker];
                its.alive = false;
                let (lives, plan) = (std::mem::take(&mut its.lives), its.plan.clone());
                self.disturb(Peer::Worker(worker), Duration::MAX);
                if self.rng.per_mille(500) {
                    // With its machine.
                    self.cut(Peer::Worker(worker), until);
                }
                self.hang_up(Peer::Worker(worker));
                self.at(until, Happening::WorkerComes(Box::new(plan)));
                for process in lives {
                    self.gone(worker, process, HowEnded::Killed)?;
                }
            }
            Trouble::WorkerStops { which, until } if !alive.is_empty() => {
                let worker = alive[which % alive.len()];
                let its = &mut self.workers[worker];
                its.stopped = its.stopped.max(until);
                self.disturb(Peer::Worker(worker), until);
            }
            Trouble::ExecutorDies { which } => {
                let all = alive.iter().flat_map(|worker| {
                    let lives = self.workers[*worker].lives.iter();
                    lives.filter(|life| matches!(life, Process::Executor(_))).map(|life| (*worker, life.clone()))
                });
                let all: Vec<_> = all.collect();
                if !all.is_empty() {
                    let (worker, process) = all[which % all.len()].clone();
                    return self.process_ends(worker, process, HowEnded::Signalled(9));
                }
            }
            Trouble::ApplicationDies { which } if !runs.is_empty() => {
                let index = runs[which % runs.len()];
                if self.rng.per_mille(500) {
                    self.cut(Peer::Application(index), self.now);
                }
                self.application_over(index);
            }
            _ => {}
        }
        Ok(())
    }

    // What must hold.

    fn look(&mut self) -> Result<(), String> {
        self.later(50, 50, Happening::Look);
        for index in 0..self.applications.len() {
            let could = self.master.is_some() && self.stopped <= self.now && self.could_grow(index, |_| true);
            // Who knows what is free, and reaches all, has nothing to wait for.
            let at_once =
                could && self.missing.is_empty() && self.could_grow(index, |line| line.is_some_and(|line| !line.cut));
            let (now, timeout) = (self.now, self.timeout());
            let app = &mut self.applications[index];
            let pause = FIRST_PAUSE * (1 << app.failures.min(10)) + Duration::from_millis(500);
            for (could, starving, longest) in
                [(could, &mut app.starving, timeout * 3 + pause), (at_once, &mut app.starving_at_once, pause)]
            {
                if !could {
                    *starving = None;
                    continue;
                }
                let since = *starving.get_or_insert(now);
                ensure(now - since <= longest, || {
                    format!("application {index} could have had another executor since {since:?}: {:?}", app.executors)
                })?;
            }
        }
        let calm = self.now >= self.plan.calm && self.dies_midway.is_none();
        self.looks += 1;
        if !calm || !self.looks.is_multiple_of(10) {
            return Ok(());
        }
        for (id, plan) in
            self.drivers.iter().filter(|(_, d)| !d.over).map(|(id, d)| (id.clone(), d.plan)).collect::<Vec<_>>()
        {
            self.ask(plan, FromSubmitter::Status(id), Happening::Connect(Peer::Submitter));
        }
        let done = self.applications.iter().all(|app| app.stage == Stage::Over)
            && self.drivers.values().all(|driver| driver.over)
            && !self.queue.values().any(|h| matches!(h, Happening::Submit(_) | Happening::Trouble(_)));
        if done && !self.counting {
            self.counting = true;
            let index = self.applications.len();
            let wants = wants_all(index);
            let executors = vec![(Duration::ZERO, u32::MAX)];
            let plan = ApplicationPlan { at: self.now, wants, executors, work: Work::Nothing(Duration::MAX / 2) };
            self.applications.push(Application::new(plan, self.plan.rules.faults));
            self.application_comes(index);
            // Whoever is gone without a word has gone by then.
            self.at(self.now + self.timeout() * 4 + Duration::from_secs(1), Happening::Count);
        }
        Ok(())
    }

    /// Whether there is room for another executor of an application that may have one, on lines that are as they should.
    fn could_grow(&self, index: usize, is_good: impl Fn(Option<&Line>) -> bool) -> bool {
        let app = &self.applications[index];
        let wants = &app.plan.wants;
        let size = wants.executor_cores.unwrap_or(1);
        let has: u32 = app.executors.values().sum();
        let is_good = |connection: ConnectionId| is_good(self.lines.get(&connection));
        let connected = |visit: &Visit| visit.connection.is_some_and(is_good) && visit.cut <= self.now;
        app.stage == Stage::Runs
            && app.state.id().is_some()
            && connected(&app.visit)
            && has.saturating_add(size) <= app.most(self.plan.rules.default_cores)
            && app.executors.len() < app.wanted() as usize
            && self.workers.iter().any(|worker| {
                let (cores, memory) = worker.free();
                worker.alive
                    && connected(&worker.visit)
                    && worker.stopped <= self.now
                    && cores >= i64::from(size)
                    && memory >= wants.executor_memory_mib as i64
            })
    }

    /// All are gone but one, which has everything.
    fn count(&mut self) -> Result<(), String> {
        if self.drivers.values().any(|driver| !driver.over) {
            // One of which nobody was told that it was accepted, before the master died.
            self.at(self.now + self.timeout(), Happening::Count);
            return Ok(());
        }
        let all: u32 =
            self.workers.iter().filter(|worker| worker.alive).map(|worker| worker.state.description().cores).sum();
        let app = self.applications.last().expect("it has come to be counted");
        let has: u32 = app.executors.values().sum();
        ensure(has == all, || format!("{has} cores of {all} are free when all are gone"))?;
        for worker in self.workers.iter().filter(|worker| worker.alive) {
            let strays = worker.state.executors().filter(|of| Some(&of.name.application) != app.state.id());
            let (strays, drivers): (Vec<_>, Vec<_>) = (strays.collect(), worker.state.drivers().collect());
            let id = &worker.state.description().id;
            ensure(strays.is_empty() && drivers.is_empty(), || format!("{id} still runs {strays:?} and {drivers:?}"))?;
            let keeps: Vec<_> = worker.state.applications().filter(|id| Some(*id) != app.state.id()).collect();
            ensure(keeps.is_empty(), || format!("{id} still keeps files of {keeps:?}"))?;
        }
        self.counted = true;
        Ok(())
    }
}
