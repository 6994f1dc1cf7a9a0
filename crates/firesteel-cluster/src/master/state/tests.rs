//! A test for each rule. Histories of peers that lose connections, die and come back are in the simulator (firesteel-sim).

use super::*;
use crate::{
    content::ContentHash,
    protocol::{Blob, DriverEnd, ExecutorEnd, HowEnded, RunningDriver, RunningExecutor},
};
use firesteel_net::Secret;

const TIMEOUT: Duration = Duration::from_secs(60);

fn rules() -> Rules {
    Rules {
        stamp: "t".into(),
        default_cores: u32::MAX,
        spread_out: true,
        max_executor_retries: 3,
        worker_timeout: TIMEOUT,
        faults: Faults::default(),
    }
}

fn blob() -> Blob {
    let (hash, length) = ContentHash::of(&b"program"[..]).unwrap();
    Blob { hash, length }
}

fn wants(cores_max: Option<u32>, executor_cores: Option<u32>, executor_memory_mib: u64) -> ApplicationDescription {
    ApplicationDescription {
        name: "words".into(),
        cores_max,
        executor_cores,
        executor_memory_mib,
        driver: "h:1".into(),
        secret: Secret::from_bytes(&[7; 16]).unwrap(),
        files_at: "h:2".into(),
        executable: blob(),
    }
}

fn driver(supervise: bool) -> DriverDescription {
    DriverDescription {
        name: "words".into(),
        executable: blob(),
        args: Vec::new(),
        settings: Vec::new(),
        cores: 1,
        memory_mib: 512,
        supervise,
        files: Vec::new(),
    }
}

fn id<T: TryFrom<String, Error = String>>(name: &str) -> T {
    T::try_from(name.to_string()).unwrap()
}

/// A worker, as it is outside of the master.
#[derive(Clone, Debug)]
struct Machine {
    description: WorkerDescription,
    connection: Option<ConnectionId>,
    runs: Vec<RunningExecutor>,
    drives: Vec<RunningDriver>,
    /// What of it was told to end.
    doomed: BTreeSet<Holder>,
    /// The applications of which it keeps files.
    keeps: BTreeSet<ApplicationId>,
}

/// An application, as it is outside of the master.
#[derive(Clone, Debug)]
struct Program {
    wants: ApplicationDescription,
    id: Option<ApplicationId>,
    connection: Option<ConnectionId>,
    executors: BTreeSet<ExecutorId>,
    next: u64,
    /// So many executors in all.
    most: u32,
    ended: Vec<(ExecutorId, HowEnded)>,
    waits: Option<String>,
    removed: Option<String>,
}

/// A master and everybody around it; messages arrive at once.
struct World {
    master: Master,
    saved: Saved,
    now: Duration,
    connections: u64,
    machines: Vec<Machine>,
    programs: Vec<Program>,
    answers: Vec<ToSubmitter>,
}

impl World {
    fn new(rules: Rules) -> World {
        let (saved, now) = (Saved::default(), Duration::ZERO);
        let master = Master::new(rules, saved.clone(), now);
        World { master, saved, now, connections: 0, machines: vec![], programs: vec![], answers: vec![] }
    }

    fn connection(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId(self.connections)
    }

    fn event(&mut self, event: Event) {
        for command in self.master.handle(self.now, event) {
            match command {
                Command::ToWorker(connection, message) => self.worker_hears(connection, message),
                Command::ToApplication(connection, message) => self.program_hears(connection, message),
                Command::Close(connection) => self.closed(connection),
                Command::ToSubmitter(_, message) => self.answers.push(message),
                Command::Save(saved) => self.saved = saved,
                Command::Log(_) => {}
            }
        }
    }

    fn worker_hears(&mut self, connection: ConnectionId, message: ToWorker) {
        let Some(i) = self.machines.iter().position(|machine| machine.connection == Some(connection)) else { return };
        let machine = &mut self.machines[i];
        match message {
            ToWorker::LaunchExecutor { executor, .. } => {
                assert!(machine.runs.iter().all(|other| other.name != executor.name), "{} starts twice", executor.name);
                machine.keeps.insert(executor.name.application.clone());
                machine.runs.push(executor);
            }
            ToWorker::LaunchDriver(driver, of) => {
                assert!(machine.drives.iter().all(|other| other.driver != driver), "{driver} starts twice");
                machine.drives.push(RunningDriver { driver, cores: of.cores, memory_mib: of.memory_mib });
            }
            // What is told to end ends later.
            ToWorker::KillExecutor(name) => drop(machine.doomed.insert(Holder::Executor(name))),
            ToWorker::KillDriver(id) => drop(machine.doomed.insert(Holder::Driver(id))),
            ToWorker::ApplicationEnded(id) => {
                let its = machine.runs.iter().filter(|executor| executor.name.application == id);
                machine.doomed.extend(its.map(|executor| Holder::Executor(executor.name.clone())));
                machine.keeps.remove(&id);
            }
            ToWorker::Registered { .. } | ToWorker::Heartbeat => {}
            ToWorker::Refused(why) => panic!("{why}"),
        }
        let cores: u32 = machine.runs.iter().map(|e| e.cores).chain(machine.drives.iter().map(|d| d.cores)).sum();
        assert!(cores <= machine.description.cores, "{machine:?}");
    }

    fn program_hears(&mut self, connection: ConnectionId, message: ToApplication) {
        let Some(i) = self.programs.iter().position(|program| program.connection == Some(connection)) else { return };
        let program = &mut self.programs[i];
        match message {
            ToApplication::Registered { id, .. } => program.id = Some(id),
            ToApplication::ExecutorGranted { executor, .. } => {
                let had = program.ended.iter().any(|(ended, _)| *ended == executor);
                assert!(program.executors.insert(executor) && !had, "{executor} is granted twice");
                program.next = program.next.max(executor.0 + 1);
                program.waits = None;
            }
            ToApplication::ExecutorEnded(executor, end) => {
                assert!(program.executors.remove(&executor), "{executor} ends twice");
                program.ended.push((executor, end.how));
            }
            ToApplication::Waiting(why) => program.waits = Some(why),
            ToApplication::Removed(why) | ToApplication::Refused(why) => {
                program.removed = Some(why);
                program.connection = None;
            }
            ToApplication::Heartbeat => {}
        }
    }

    fn closed(&mut self, connection: ConnectionId) {
        self.machines.iter_mut().filter(|m| m.connection == Some(connection)).for_each(|m| m.connection = None);
        self.programs.iter_mut().filter(|p| p.connection == Some(connection)).for_each(|p| p.connection = None);
    }

    fn worker(&mut self, cores: u32, memory_mib: u64) -> usize {
        let i = self.machines.len();
        let description = WorkerDescription { id: id(&format!("w{i}")), host: format!("h{i}"), cores, memory_mib };
        let (doomed, keeps) = (BTreeSet::new(), BTreeSet::new());
        self.machines.push(Machine { description, connection: None, runs: vec![], drives: vec![], doomed, keeps });
        self.connect_worker(i);
        i
    }

    fn connect_worker(&mut self, i: usize) {
        let connection = self.connection();
        let machine = &mut self.machines[i];
        machine.connection = Some(connection);
        let register = FromWorker::Register {
            worker: machine.description.clone(),
            executors: machine.runs.clone(),
            drivers: machine.drives.clone(),
            ended: vec![],
            drivers_ended: vec![],
            applications: machine.keeps.iter().cloned().collect(),
        };
        self.event(Event::Worker(connection, register));
    }

    fn disconnect_worker(&mut self, i: usize) {
        if let Some(connection) = self.machines[i].connection.take() {
            self.event(Event::Disconnected(connection));
        }
    }

    fn program(&mut self, wants: ApplicationDescription) -> usize {
        let program = Program {
            wants,
            id: None,
            connection: None,
            executors: BTreeSet::new(),
            next: 0,
            most: u32::MAX,
            ended: vec![],
            waits: None,
            removed: None,
        };
        self.programs.push(program);
        self.connect_program(self.programs.len() - 1);
        self.programs.len() - 1
    }

    fn connect_program(&mut self, i: usize) {
        let connection = self.connection();
        let program = &mut self.programs[i];
        program.connection = Some(connection);
        let register = FromApplication::Register {
            application: Box::new(program.wants.clone()),
            id: program.id.clone(),
            executors: program.executors.iter().copied().collect(),
            next_executor: program.next,
            wants: program.most,
        };
        self.event(Event::Application(connection, register));
    }

    fn program_wants(&mut self, i: usize, executors: u32) {
        self.programs[i].most = executors;
        self.program_says(i, FromApplication::Want { executors });
    }

    fn disconnect_program(&mut self, i: usize) {
        if let Some(connection) = self.programs[i].connection.take() {
            self.event(Event::Disconnected(connection));
        }
    }

    fn program_says(&mut self, i: usize, message: FromApplication) {
        if let Some(connection) = self.programs[i].connection {
            self.event(Event::Application(connection, message));
        }
    }

    /// The `n`th executor that a worker runs ends.
    fn executor_ends(&mut self, i: usize, n: usize, how: HowEnded) {
        let machine = &mut self.machines[i];
        let executor = machine.runs.remove(n);
        let end = ExecutorEnd { how, message: "the log is there".into() };
        if let Some(connection) = machine.connection {
            self.event(Event::Worker(connection, FromWorker::ExecutorEnded(executor.name, end)));
        }
    }

    fn submits(&mut self, message: FromSubmitter) -> ToSubmitter {
        let connection = self.connection();
        self.event(Event::Submitter(connection, message));
        self.answers.pop().unwrap()
    }

    fn submit(&mut self, description: DriverDescription) -> DriverId {
        match self.submits(FromSubmitter::Submit(Box::new(description))) {
            ToSubmitter::Submitted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self, id: &DriverId) -> DriverState {
        self.master.status(id).unwrap().state
    }

    fn passes(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.master.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.event(Event::Tick);
        }
        self.now = until;
    }

    fn heartbeats_pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            for i in 0..self.machines.len() {
                if let Some(connection) = self.machines[i].connection {
                    self.event(Event::Worker(connection, FromWorker::Heartbeat));
                }
            }
            for i in 0..self.programs.len() {
                self.program_says(i, FromApplication::Heartbeat);
            }
            self.passes((TIMEOUT / 4).min(until - self.now));
        }
    }

    /// The master dies, and another begins with what was kept.
    fn restart(&mut self) {
        self.machines.iter_mut().for_each(|machine| machine.connection = None);
        self.programs.iter_mut().for_each(|program| program.connection = None);
        self.master = Master::new(self.master.rules.clone(), self.saved.clone(), self.now);
    }

    /// The cores of a program's executors, by worker.
    fn cores(&self, i: usize) -> Vec<Vec<u32>> {
        let of = |machine: &Machine| {
            let his = machine.runs.iter().filter(|e| Some(&e.name.application) == self.programs[i].id.as_ref());
            his.map(|e| e.cores).collect()
        };
        self.machines.iter().map(of).collect()
    }
}

#[test]
fn the_first_application_takes_what_it_wants_and_the_next_what_is_left() {
    let mut world = World::new(rules());
    world.worker(4, 4096);
    world.worker(4, 4096);
    let first = world.program(wants(Some(6), Some(2), 1024));
    let second = world.program(wants(None, None, 1024));
    let third = world.program(wants(None, None, 1024));
    assert_eq!(world.cores(first), [vec![2, 2], vec![2]]);
    assert_eq!(world.cores(second), [vec![], vec![2]]);
    let waits = world.programs[third].waits.clone().unwrap();
    assert!(waits.contains("others have them") && waits.contains("firesteel.cores.max"), "{waits}");
    // What the first gives back goes to the second first.
    world.program_says(first, FromApplication::Unregister);
    assert_eq!(world.cores(second), [vec![], vec![2]], "executors that still run have their cores");
    for _ in 0..2 {
        world.executor_ends(0, 0, HowEnded::Killed);
    }
    assert_eq!(world.cores(second), [vec![2, 2], vec![2]]);
    assert_eq!(world.cores(third), [vec![0u32; 0], vec![]]);
}

#[test]
fn an_application_gets_as_many_executors_as_it_wants_and_keeps_more_until_they_end() {
    let mut world = World::new(rules());
    world.worker(3, 4096);
    let program = world.program(wants(None, Some(1), 512));
    assert_eq!(world.cores(program), [vec![1, 1, 1]]);
    world.program_wants(program, 2);
    assert!(world.machines[0].doomed.is_empty(), "which may go is for the application to say");
    world.executor_ends(0, 0, HowEnded::Exited(0));
    assert_eq!(world.cores(program), [vec![1, 1]], "it had one more than it wants");
    // What one does not want is another's.
    let other = world.program(wants(None, Some(1), 512));
    assert_eq!(world.cores(other), [vec![1]]);
    world.restart();
    world.connect_worker(0);
    world.connect_program(program);
    world.connect_program(other);
    world.program_says(other, FromApplication::Unregister);
    world.executor_ends(0, 2, HowEnded::Killed);
    assert_eq!(world.cores(program), [vec![1, 1]], "a restarted master knows how many it wants");
    world.executor_ends(0, 0, HowEnded::Exited(0));
    assert_eq!(world.cores(program), [vec![1, 1]], "one that ends is replaced");
    world.program_wants(program, 3);
    assert_eq!(world.cores(program), [vec![1, 1, 1]]);
}

#[test]
fn an_application_that_wants_no_executors_waits_for_none() {
    let mut world = World::new(rules());
    let program = world.program(wants(None, None, 512));
    assert!(world.programs[program].waits.take().is_some());
    world.program_wants(program, 0);
    world.worker(1, 4096);
    assert_eq!((&world.programs[program].waits, world.cores(program)), (&None, vec![vec![]]));
    world.program_wants(program, 1);
    assert_eq!(world.cores(program), [vec![1]]);
}

#[test]
fn an_application_that_does_not_say_gets_the_default_cores_packed_if_the_rules_say_so() {
    let mut world = World::new(Rules { default_cores: 3, spread_out: false, ..rules() });
    world.worker(2, 4096);
    world.worker(4, 4096);
    let program = world.program(wants(None, None, 1024));
    assert_eq!(world.cores(program), [vec![], vec![3]]);
}

#[test]
fn why_an_application_waits_is_told_once_and_when_it_changes() {
    let mut world = World::new(rules());
    let program = world.program(wants(None, Some(4), 2048));
    for (memory, cores, words) in
        [(1024, 2, "2048 MiB"), (4096, 2, "wants 4 cores"), (1024, 8, "no worker has both"), (2048, 4, "")]
    {
        assert!(world.programs[program].waits.is_some());
        world.worker(cores, memory);
        match &world.programs[program].waits {
            Some(why) => assert!(why.contains(words), "{why}"),
            None => assert_eq!(words, ""),
        }
    }
    world.programs[program].waits = None;
    world.worker(4, 2048);
    assert_eq!(world.programs[program].waits, None);
    let never = world.program(wants(Some(1), Some(2), 512));
    assert!(world.programs[never].removed.as_ref().unwrap().contains("firesteel.cores.max"));
}

#[test]
fn executors_that_end_are_replaced_until_there_were_too_many_and_none_works() {
    let mut world = World::new(rules());
    world.worker(1, 4096);
    world.worker(1, 4096);
    let program = world.program(wants(None, None, 1024));
    world.program_says(program, FromApplication::Works(ExecutorId(0)));
    let working = world.machines.iter().position(|machine| machine.runs[0].name.executor == ExecutorId(0)).unwrap();
    let broken = 1 - working;
    for _ in 0..10 {
        world.executor_ends(broken, 0, HowEnded::Exited(1));
        world.heartbeats_pass(TIMEOUT * 2);
        assert_eq!(world.machines[broken].runs.len(), 1, "it is tried again");
    }
    assert_eq!(world.programs[program].removed, None, "the other one works");
    world.executor_ends(working, 0, HowEnded::Signalled(9));
    assert_eq!(world.programs[program].removed, None, "it had worked");
    world.heartbeats_pass(TIMEOUT * 2);
    world.executor_ends(working, 0, HowEnded::Signalled(9));
    let why = world.programs[program].removed.clone().unwrap();
    assert!(why.contains("11 times") && why.contains("the log is there"), "{why}");
}

#[test]
fn executors_that_worked_and_end_all_at_once_are_all_replaced() {
    let mut world = World::new(rules());
    let most = rules().max_executor_retries as usize;
    for _ in 0..most + 2 {
        world.worker(1, 4096);
    }
    let program = world.program(wants(None, None, 1024));
    for executor in 0..most as u64 + 2 {
        world.program_says(program, FromApplication::Works(ExecutorId(executor)));
    }
    let all = world.cores(program);
    for machine in 0..most + 2 {
        world.executor_ends(machine, 0, HowEnded::Signalled(9));
    }
    world.heartbeats_pass(TIMEOUT * 2);
    assert_eq!(world.programs[program].removed, None);
    assert_eq!(world.cores(program), all);
}

#[test]
fn a_worker_where_executors_end_is_left_alone_for_a_while() {
    let mut world = World::new(Rules { max_executor_retries: 100, ..rules() });
    world.worker(1, 4096);
    let program = world.program(wants(None, None, 1024));
    world.executor_ends(0, 0, HowEnded::Exited(1));
    assert_eq!(world.cores(program), [vec![1]], "the first time may have been a misfortune");
    world.executor_ends(0, 0, HowEnded::Exited(1));
    assert_eq!(world.cores(program), [vec![0u32; 0]]);
    assert!(world.programs[program].waits.as_ref().unwrap().contains("after a while"));
    // Others are not held back.
    let other = world.program(wants(None, None, 1024));
    assert_eq!(world.cores(other), [vec![1]]);
    world.executor_ends(0, 0, HowEnded::Exited(1));
    world.program_says(other, FromApplication::Unregister);
    world.executor_ends(0, 0, HowEnded::Killed);
    world.passes(Duration::from_millis(100));
    assert_eq!(world.cores(program), [vec![1]]);
}

#[test]
fn an_executor_that_was_killed_while_its_worker_had_no_connection_ends_when_it_has() {
    let mut world = World::new(rules());
    world.worker(1, 4096);
    let program = world.program(wants(None, None, 1024));
    let said = |world: &mut World| {
        let connection = world.connection();
        let machine = world.machines[0].clone();
        let (worker, executors) = (machine.description, machine.runs);
        let register = FromWorker::Register {
            worker,
            executors,
            drivers: vec![],
            ended: vec![],
            drivers_ended: vec![],
            applications: vec![],
        };
        world.machines[0].connection = Some(connection);
        let commands = world.master.handle(world.now, Event::Worker(connection, register));
        commands.iter().any(|command| matches!(command, Command::ToWorker(_, ToWorker::KillExecutor(_))))
    };
    world.disconnect_worker(0);
    assert!(!said(&mut world));
    world.disconnect_worker(0);
    world.program_says(program, FromApplication::KillExecutor(ExecutorId(0)));
    assert!(said(&mut world));
    // The same while a restarted master does not know it yet.
    world.restart();
    world.connect_program(program);
    world.program_says(program, FromApplication::KillExecutor(ExecutorId(0)));
    assert!(said(&mut world));
    // The same if the application was not told of it, either: it has registered with its driver.
    world.restart();
    (world.programs[program].executors, world.programs[program].next) = (BTreeSet::new(), 0);
    world.connect_program(program);
    world.program_says(program, FromApplication::KillExecutor(ExecutorId(0)));
    assert!(said(&mut world));
}

#[test]
fn a_kill_of_an_executor_that_never_comes_is_forgotten_and_leaves_numbers_for_others() {
    let mut world = World::new(rules());
    world.worker(1, 4096);
    let program = world.program(wants(None, None, 1024));
    world.restart();
    world.connect_program(program);
    world.program_says(program, FromApplication::KillExecutor(ExecutorId(u64::MAX)));
    world.program_says(program, FromApplication::KillExecutor(ExecutorId(7)));
    world.connect_worker(0);
    let id = world.programs[program].id.clone().unwrap();
    assert!(world.master.recovery.is_none() && world.master.applications[&id].killed.is_empty());
    world.executor_ends(0, 0, HowEnded::Exited(1));
    assert_eq!(world.programs[program].executors, [ExecutorId(8)].into());
}

#[test]
fn killing_an_executor_is_no_failure() {
    let mut world = World::new(rules());
    world.worker(1, 4096);
    let program = world.program(wants(None, None, 1024));
    for _ in 0..20 {
        let executor = *world.programs[program].executors.first().unwrap();
        world.program_says(program, FromApplication::KillExecutor(executor));
        world.executor_ends(0, 0, HowEnded::Killed);
    }
    assert_eq!((world.programs[program].removed.clone(), world.cores(program)), (None, vec![vec![1]]));
}

#[test]
fn what_a_stopped_worker_ran_starts_elsewhere_at_once() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    let program = world.program(wants(Some(2), None, 1024));
    world.worker(2, 4096);
    let connection = world.machines[0].connection.unwrap();
    world.machines[0].runs.clear();
    world.event(Event::Worker(connection, FromWorker::Leave));
    assert_eq!(world.cores(program), [vec![], vec![2]]);
    assert_eq!(world.programs[program].ended, [(ExecutorId(0), HowEnded::WorkerLost)]);
}

#[test]
fn a_silent_worker_is_lost_and_what_it_ran_starts_elsewhere() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    let program = world.program(wants(Some(2), None, 1024));
    world.worker(2, 4096);
    // It says nothing any more, and its connection stands.
    world.machines[0].connection = None;
    world.heartbeats_pass(TIMEOUT * 2);
    assert_eq!(world.programs[program].ended, [(ExecutorId(0), HowEnded::WorkerLost)]);
    assert_eq!(world.cores(program)[1], [2]);
    // It comes back with an executor that is nobody's any more.
    world.connect_worker(0);
    assert_eq!(world.master.workers[&id::<WorkerId>("w0")].free().cores, 0);
    world.executor_ends(0, 0, HowEnded::Killed);
    assert_eq!(world.master.workers[&id::<WorkerId>("w0")].free().cores, 2);
}

#[test]
fn a_silent_driver_loses_its_executors_and_gets_others_if_it_lives() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    let program = world.program(wants(None, None, 1024));
    // Nothing that it says arrives, and what is said to it does.
    for _ in 0..3 {
        world.passes(TIMEOUT / 2);
        let worker = world.machines[0].connection.unwrap();
        world.event(Event::Worker(worker, FromWorker::Heartbeat));
    }
    assert_eq!(world.programs[program].connection, None, "it was cut off");
    assert_eq!(world.programs[program].removed, None, "nobody said that it may not come back");
    world.connect_program(program);
    world.executor_ends(0, 0, HowEnded::Killed);
    assert_eq!(world.programs[program].ended, [(ExecutorId(0), HowEnded::Killed)]);
    assert_eq!(world.cores(program), [vec![2]], "another has begun");
}

#[test]
fn a_worker_that_comes_back_in_time_has_lost_nothing() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    let program = world.program(wants(None, None, 1024));
    world.disconnect_worker(0);
    world.passes(TIME_TO_RECONNECT - Duration::from_millis(1));
    world.connect_worker(0);
    world.passes(TIMEOUT / 2);
    assert_eq!((world.programs[program].ended.len(), world.cores(program)), (0, vec![vec![2]]));
    // What ended meanwhile is noticed.
    world.disconnect_worker(0);
    world.machines[0].runs.clear();
    world.connect_worker(0);
    assert_eq!(world.programs[program].ended, [(ExecutorId(0), HowEnded::WorkerLost)]);
    assert_eq!(world.cores(program), [vec![2]], "another has begun");
}

#[test]
fn how_an_executor_ended_while_there_was_no_connection_is_told() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    let program = world.program(wants(None, None, 1024));
    world.disconnect_worker(0);
    let name = world.machines[0].runs.remove(0).name;
    let connection = world.connection();
    world.machines[0].connection = Some(connection);
    let register = FromWorker::Register {
        worker: world.machines[0].description.clone(),
        executors: vec![],
        drivers: vec![],
        ended: vec![(name, ExecutorEnd { how: HowEnded::Signalled(11), message: String::new() })],
        drivers_ended: vec![],
        applications: vec![],
    };
    world.event(Event::Worker(connection, register));
    assert_eq!(world.programs[program].ended, [(ExecutorId(0), HowEnded::Signalled(11))]);
}

#[test]
fn an_application_that_vanishes_is_removed_after_a_while_and_gets_nothing_meanwhile() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    let program = world.program(wants(None, None, 1024));
    world.disconnect_program(program);
    world.executor_ends(0, 0, HowEnded::Exited(1));
    assert_eq!(world.cores(program), [vec![0u32; 0]]);
    world.connect_program(program);
    assert_eq!(world.programs[program].ended, [(ExecutorId(0), HowEnded::WorkerLost)]);
    assert_eq!(world.cores(program), [vec![2]]);
    world.disconnect_program(program);
    world.heartbeats_pass(TIMEOUT * 2);
    assert!(world.master.applications.is_empty());
    world.executor_ends(0, 0, HowEnded::Killed);
    assert_eq!(world.master.workers[&id::<WorkerId>("w0")].free().cores, 2);
}

#[test]
fn a_restarted_master_finds_everything_again_and_gives_nothing_away_before() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    world.worker(2, 4096);
    let first = world.program(wants(Some(4), None, 1024));
    let waiting = world.program(wants(None, None, 1024));
    let driver = world.submit(driver(false));
    world.restart();
    world.connect_program(waiting);
    world.connect_worker(0);
    assert!(world.programs[waiting].waits.as_ref().unwrap().contains("restarted"));
    world.connect_program(first);
    assert_eq!(world.cores(waiting), [vec![0u32; 0], vec![]]);
    world.connect_worker(1);
    assert!(world.master.recovery.is_none(), "all are back");
    assert_eq!((world.cores(first), world.programs[first].ended.len()), (vec![vec![2], vec![2]], 0));
    assert_eq!(world.state(&driver), DriverState::Submitted);
    world.program_says(first, FromApplication::Unregister);
    world.executor_ends(0, 0, HowEnded::Killed);
    assert_eq!(world.state(&driver), DriverState::Running);
    // Ids are not given out twice.
    let new = world.program(wants(None, None, 1024));
    let ids: BTreeSet<_> = world.programs.iter().map(|program| program.id.clone()).collect();
    assert_eq!((ids.len(), new), (3, 2));
}

#[test]
fn a_restarted_master_gives_away_what_is_free_as_soon_as_all_workers_are_back() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    world.worker(2, 4096);
    let gone = world.program(wants(Some(1), None, 1024));
    let first = world.program(wants(Some(2), Some(2), 1024));
    let waiting = world.program(wants(None, None, 1024));
    let cores = [0, 1, 2].map(|program| world.cores(program));
    world.restart();
    let id = world.programs[gone].id.clone();
    world.programs[first].executors.insert(ExecutorId(7));
    world.connect_program(first);
    world.connect_program(waiting);
    world.connect_worker(0);
    assert_eq!(world.programs[first].ended, [], "what it has may be on the other");
    world.connect_worker(1);
    // The first application is not back, and has its executor still.
    assert!(world.master.recovery.is_some() && !world.master.applications.contains_key(id.as_ref().unwrap()));
    assert_eq!(world.programs[first].ended, [(ExecutorId(7), HowEnded::WorkerLost)], "no worker has it");
    assert_eq!([0, 1, 2].map(|program| world.cores(program)), cores);
    assert!(world.machines.iter().all(|machine| machine.doomed.is_empty()));
    // What somebody gives back is another's at once.
    world.program_says(first, FromApplication::Unregister);
    world.executor_ends(1, 0, HowEnded::Killed);
    assert_eq!(world.cores(waiting).concat().iter().sum::<u32>(), 3);
    world.passes(TIME_TO_RETURN);
    assert!(world.master.recovery.is_none());
    assert_eq!(world.machines[0].doomed.len(), 1, "the first one's ends");
}

#[test]
fn a_restarted_master_does_not_wait_for_workers_whose_drivers_have_ended() {
    let mut world = World::new(rules());
    world.worker(1, 1024);
    let driver = world.submit(driver(false));
    world.disconnect_worker(0);
    world.passes(TIME_TO_RECONNECT);
    assert_eq!(world.state(&driver), DriverState::Error);
    world.restart();
    assert!(world.master.recovery.is_none());
}

#[test]
fn nobody_is_lost_for_time_in_which_the_master_stood_still() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    let program = world.program(wants(None, None, 1024));
    // However short, and whenever it begins: its eyes open at the wrong moment, before its ears.
    for pause in [1, 10, 100, 1000, 10_000].map(|tenths| TIMEOUT * tenths / 10) {
        world.heartbeats_pass(TIMEOUT);
        world.passes(TIMEOUT / 4);
        world.now += pause;
        world.event(Event::Tick);
        world.heartbeats_pass(TIMEOUT);
        assert_eq!((world.programs[program].ended.len(), world.cores(program)), (0, vec![vec![2]]), "{pause:?}");
    }
    // One that is waited for is waited for.
    world.disconnect_worker(0);
    world.passes(TIME_TO_RECONNECT / 2);
    world.now += TIMEOUT;
    world.event(Event::Tick);
    assert!(world.programs[program].ended.is_empty());
    // It is lost all the same when it does not come.
    world.passes(TIME_TO_RECONNECT / 2);
    assert_eq!(world.programs[program].ended, [(ExecutorId(0), HowEnded::WorkerLost)]);
}

#[test]
fn who_does_not_come_back_to_a_restarted_master_is_lost() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    world.worker(2, 4096);
    let first = world.program(wants(Some(2), Some(1), 1024));
    let second = world.program(wants(None, Some(1), 1024));
    assert_eq!(world.cores(first), [vec![1], vec![1]]);
    let once = world.submit(driver(false));
    world.restart();
    world.connect_worker(0);
    world.connect_program(second);
    world.heartbeats_pass(TIMEOUT + TIMEOUT / 4);
    assert!(world.master.recovery.is_none());
    assert_eq!(world.programs[second].ended, [(ExecutorId(1), HowEnded::WorkerLost)]);
    assert!(!world.master.applications.contains_key(world.programs[first].id.as_ref().unwrap()));
    assert_eq!(world.state(&once), DriverState::Submitted);
    let stray =
        world.machines[0].runs.iter().position(|e| Some(&e.name.application) == world.programs[first].id.as_ref());
    world.executor_ends(0, stray.unwrap(), HowEnded::Killed);
    assert_eq!(world.state(&once), DriverState::Running);
}

#[test]
fn a_driver_goes_where_there_is_room_and_its_end_is_remembered() {
    let mut world = World::new(rules());
    let first = world.submit(driver(false));
    let message = world.master.status(&first).unwrap().message;
    assert!(message.contains("512 MiB") && message.contains("such a worker"), "{message}");
    world.worker(1, 1024);
    let second = world.submit(driver(false));
    assert_eq!((world.state(&first), world.state(&second)), (DriverState::Running, DriverState::Submitted));
    // Killed before it ran.
    assert_eq!(world.submits(FromSubmitter::Kill(second.clone())), ToSubmitter::Killing(second.clone()));
    assert_eq!(world.state(&second), DriverState::Killed);
    let end = DriverEnd { state: DriverState::Finished, message: "it has ended with status 0".into() };
    let connection = world.machines[0].connection.unwrap();
    world.machines[0].drives.clear();
    world.event(Event::Worker(connection, FromWorker::DriverEnded(first.clone(), end)));
    assert_eq!(world.state(&first), DriverState::Finished);
    let refused = world.submits(FromSubmitter::Kill(first.clone()));
    assert!(matches!(refused, ToSubmitter::Refused(why) if why.contains("FINISHED")));
    let unknown = world.submits(FromSubmitter::Status(id("driver-x-7")));
    assert!(matches!(unknown, ToSubmitter::Refused(why) if why.contains("driver-x-7")));
    for _ in 0..300 {
        let id = world.submit(DriverDescription { cores: 9, ..driver(false) });
        world.submits(FromSubmitter::Kill(id));
    }
    assert_eq!((world.master.status(&first), world.master.drivers.len()), (None, 200));
}

#[test]
fn a_supervised_driver_of_a_lost_worker_starts_again_and_another_does_not() {
    let mut world = World::new(rules());
    world.worker(2, 4096);
    let (watched, alone) = (world.submit(driver(true)), world.submit(driver(false)));
    world.disconnect_worker(0);
    world.passes(TIME_TO_RECONNECT);
    assert_eq!((world.state(&watched), world.state(&alone)), (DriverState::Relaunching, DriverState::Error));
    world.worker(2, 4096);
    assert_eq!(world.state(&watched), DriverState::Running);
    assert_eq!(world.machines[1].drives.len(), 1);
    // The lost worker comes back, and is told to end them.
    world.connect_worker(0);
    assert_eq!(world.master.workers[&id::<WorkerId>("w0")].free().cores, 0);
    // A driver that is to end is not started again.
    world.submits(FromSubmitter::Kill(watched.clone()));
    world.disconnect_worker(1);
    world.passes(TIME_TO_RECONNECT);
    assert_eq!(world.state(&watched), DriverState::Killed);
}

#[test]
fn a_driver_that_has_ended_well_is_not_started_again_though_its_worker_was_lost() {
    let mut world = World::new(rules());
    world.worker(1, 1024);
    let driver = world.submit(driver(true));
    world.disconnect_worker(0);
    world.passes(TIME_TO_RECONNECT);
    assert_eq!(world.state(&driver), DriverState::Relaunching);
    world.worker(1, 1024);
    assert_eq!(world.machines[1].drives.len(), 1);
    // The lost worker comes back: there it has ended well meanwhile.
    let connection = world.connection();
    world.machines[0].connection = Some(connection);
    let end = DriverEnd { state: DriverState::Finished, message: String::new() };
    let register = FromWorker::Register {
        worker: world.machines[0].description.clone(),
        executors: vec![],
        drivers: vec![],
        ended: vec![],
        drivers_ended: vec![(driver.clone(), end)],
        applications: vec![],
    };
    world.event(Event::Worker(connection, register));
    assert_eq!(world.state(&driver), DriverState::Finished);
    assert_eq!(world.machines[1].doomed, [Holder::Driver(driver)].into());
}

#[test]
fn executors_of_which_an_application_was_not_told_before_a_restart_are_its_in_whatever_order_their_workers_come() {
    let mut world = World::new(Rules { spread_out: true, ..rules() });
    world.worker(1, 1024);
    world.worker(1, 1024);
    let program = world.program(wants(None, Some(1), 512));
    assert_eq!(world.programs[program].executors.len(), 2);
    // The master dies before its words arrive.
    world.restart();
    (world.programs[program].executors, world.programs[program].next) = (BTreeSet::new(), 0);
    world.connect_program(program);
    let second = world.machines.iter().position(|machine| machine.runs[0].name.executor == ExecutorId(1)).unwrap();
    world.connect_worker(second);
    world.connect_worker(1 - second);
    assert_eq!(world.programs[program].executors, [ExecutorId(0), ExecutorId(1)].into());
    assert!(world.machines.iter().all(|machine| machine.doomed.is_empty()));
}

#[test]
fn an_executor_that_was_given_up_while_its_application_was_away_is_not_its_again() {
    let mut world = World::new(rules());
    world.worker(2, 1024);
    let program = world.program(wants(Some(2), None, 512));
    world.worker(2, 1024);
    world.disconnect_program(program);
    world.disconnect_worker(0);
    world.passes(TIME_TO_RECONNECT);
    // Its worker comes back, and is told to end it; it has not ended yet when the application comes.
    world.connect_worker(0);
    assert_eq!(world.machines[0].doomed.len(), 1);
    world.connect_program(program);
    assert_eq!(world.programs[program].ended, [(ExecutorId(0), HowEnded::WorkerLost)]);
    assert_eq!(world.programs[program].executors, [ExecutorId(1)].into());
    assert_eq!(world.cores(program), [vec![2], vec![2]], "one of them ends");
}

#[test]
fn files_are_needed_until_their_driver_has_ended() {
    let mut world = World::new(rules());
    let id = world.submit(driver(false));
    assert_eq!(world.master.needed_files(), [blob().hash].into());
    world.submits(FromSubmitter::Kill(id));
    assert_eq!(world.master.needed_files(), [].into());
}

#[test]
fn who_speaks_out_of_turn_is_refused() {
    let mut world = World::new(rules());
    let connection = world.connection();
    let said = world.master.handle(world.now, Event::Worker(connection, FromWorker::Heartbeat));
    assert!(matches!(&said[..], [Command::ToWorker(_, ToWorker::Refused(_))]), "{said:?}");
    let said = world.master.handle(world.now, Event::Application(connection, FromApplication::Heartbeat));
    assert!(matches!(&said[..], [Command::ToApplication(_, ToApplication::Refused(_))]), "{said:?}");
    // One connection is one worker.
    world.worker(1, 1024);
    let connection = world.machines[0].connection.unwrap();
    let worker = WorkerDescription { id: id("other"), ..world.machines[0].description.clone() };
    let register = FromWorker::Register {
        worker,
        executors: vec![],
        drivers: vec![],
        ended: vec![],
        drivers_ended: vec![],
        applications: vec![],
    };
    let said = world.master.handle(world.now, Event::Worker(connection, register));
    assert!(matches!(&said[..], [Command::ToWorker(_, ToWorker::Refused(_))]), "{said:?}");
}
