//! Applications: they come, come back, lose executors, and end.

use super::{Application, Command, ConnectionId, Executor, HeldBack, Holder, Master, Who};
use crate::protocol::{ApplicationDescription, ApplicationId, ExecutorName, FromApplication, ToApplication, WorkerId};
use firesteel_model::ExecutorId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// After the second executor of an application that ended on a worker no other starts there for so long; then twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Of fewer executors was an application not told when a master ended: one with a much higher number is none of its.
const MOST_UNTOLD: u64 = 1 << 20;

impl Master {
    pub(super) fn application_says(&mut self, now: Duration, connection: ConnectionId, message: FromApplication) {
        if let FromApplication::Register { application, id, executors, next_executor, wants } = message {
            let known = (executors, next_executor);
            self.application_registers(now, connection, *application, id, known, wants);
            return;
        }
        let Some(Who::Application(id)) = self.connections.get(&connection).cloned() else {
            self.commands.push(Command::ToApplication(connection, ToApplication::Refused("register first".into())));
            return;
        };
        let Some(application) = self.applications.get_mut(&id) else { return };
        application.deadline = now + self.rules.worker_timeout;
        match message {
            FromApplication::Register { .. } => unreachable!("see above"),
            FromApplication::Heartbeat => {
                self.commands.push(Command::ToApplication(connection, ToApplication::Heartbeat));
            }
            FromApplication::Works(executor) => {
                if let Some(executor) = application.executors.get_mut(&executor) {
                    executor.works = true;
                    application.failures = 0;
                    let worker = executor.worker.clone();
                    application.held_back.remove(&worker);
                }
            }
            FromApplication::Want { executors } if self.rules.faults.keep_wishes && executors < application.wants => {}
            FromApplication::Want { executors } => application.wants = executors,
            FromApplication::KillExecutor(executor) => {
                let worker = application.executors.get(&executor).map(|of| of.worker.clone());
                // One of which it was not told may come back with its worker.
                let untold = application.told..application.told.saturating_add(MOST_UNTOLD);
                let may_come = self.recovery.is_some() && untold.contains(&executor.0);
                if worker.is_some() || application.missing.contains(&executor) || may_come {
                    application.killed.insert(executor);
                    application.next_executor = application.next_executor.max(executor.0.saturating_add(1));
                }
                worker.into_iter().for_each(|worker| {
                    self.kill(&worker, ExecutorName { application: id.clone(), executor });
                });
            }
            FromApplication::Unregister => self.application_ended(&id, "it has said so"),
        }
    }

    fn application_registers(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        description: ApplicationDescription,
        id: Option<ApplicationId>,
        (knows, next_executor): (Vec<ExecutorId>, u64),
        wants: u32,
    ) {
        let registered = "it has registered already".to_string();
        let registered = self.connections.contains_key(&connection).then_some(registered);
        if let Some(why) = impossible(&description).or(registered) {
            self.commands.push(Command::ToApplication(connection, ToApplication::Refused(why)));
            return;
        }
        let turn = self.next_application;
        let id = id.unwrap_or_else(|| {
            self.next_application += 1;
            let name = format!("app-{}-{turn:04}", self.rules.stamp);
            ApplicationId::try_from(name).expect("the stamp has nothing that an id may not have")
        });
        let deadline = now + self.rules.worker_timeout;
        let is_new = !self.applications.contains_key(&id);
        if let Some(recovery) = &mut self.recovery {
            recovery.applications.remove(&id);
        }
        if is_new {
            self.unsaved = true;
            self.commands.push(Command::Log(format!("application {id} has come: {:?}", description.name)));
            // Who comes back was there before all that come for the first time, and after those who came back before.
            self.applications.insert(
                id.clone(),
                Application {
                    turn,
                    description: Arc::new(description),
                    connection: None,
                    deadline,
                    executors: BTreeMap::new(),
                    missing: BTreeSet::new(),
                    killed: BTreeSet::new(),
                    next_executor: 0,
                    wants,
                    told: 0,
                    failures: 0,
                    held_back: BTreeMap::new(),
                    waits: None,
                },
            );
        }
        let before = self.applications.get(&id).and_then(|application| application.connection);
        self.close(before);
        self.connections.insert(connection, Who::Application(id.clone()));
        let silence_ms = self.rules.worker_timeout.as_millis() as u64;
        let registered = ToApplication::Registered { id: id.clone(), silence_ms };
        self.commands.push(Command::ToApplication(connection, registered));

        // Executors that workers run for it, since it was known or since before a restart.
        let mut run = Vec::new();
        for (worker, of) in &self.workers {
            for (holder, holding) in &of.holdings {
                if let Holder::Executor(name) = holder
                    && name.application == id
                {
                    run.push((name.executor, worker.clone(), of.description.host.clone(), holding.cores));
                }
            }
        }
        let application = self.applications.get_mut(&id).expect("it was put there");
        application.connection = Some(connection);
        application.deadline = deadline;
        application.wants = wants;
        application.waits = None;
        let highest = knows
            .iter()
            .chain(run.iter().map(|(executor, ..)| executor))
            .map(|executor| executor.0.saturating_add(1))
            .max();
        application.told = next_executor;
        application.next_executor = application.next_executor.max(next_executor).max(highest.unwrap_or(0));
        run.sort();
        let (mut grant, mut over) = (Vec::new(), Vec::new());
        for (executor, worker, host, cores) in run {
            let known = knows.contains(&executor);
            // It was told that this one has ended, or it was given up while there was no connection.
            let given_up = !is_new && !application.executors.contains_key(&executor);
            if given_up || !known && executor.0 < next_executor {
                application.executors.remove(&executor);
                over.push((worker, ExecutorName { application: id.clone(), executor }));
                continue;
            }
            let of = || Executor { worker: worker.clone(), cores, works: true };
            application.executors.entry(executor).or_insert_with(of);
            if !known {
                grant.push(ToApplication::ExecutorGranted { executor, worker, host, cores });
            }
        }
        application.missing = knows.into_iter().filter(|id| !application.executors.contains_key(id)).collect();
        // Ends first: so that it never seems to have more than it may.
        if !self.waits_for_workers() {
            self.give_up_missing(&id);
        }
        grant.into_iter().for_each(|message| self.tell(&id, message));
        over.into_iter().for_each(|(worker, name)| self.kill(&worker, name));
    }

    /// Executors whose workers have not come back are lost.
    pub(super) fn give_up_all_missing(&mut self) {
        let with = self.applications.iter().filter(|(_, application)| !application.missing.is_empty());
        for id in with.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.give_up_missing(&id);
        }
    }

    fn give_up_missing(&mut self, id: &ApplicationId) {
        let Some(application) = self.applications.get(id) else { return };
        for executor in application.missing.clone() {
            let name = ExecutorName { application: id.clone(), executor };
            self.executor_lost(&name, "it was lost while there was no connection to the master");
        }
    }

    /// An executor has ended that should not have, and has done nothing.
    pub(super) fn executor_failed(&mut self, now: Duration, id: &ApplicationId, worker: &WorkerId, message: &str) {
        let most = self.rules.max_executor_retries;
        let Some(application) = self.applications.get_mut(id) else { return };
        application.failures += 1;
        let held = application.held_back.entry(worker.clone()).or_insert(HeldBack { failures: 0, until: None });
        // The first is tried again at once: it may have been a misfortune.
        let pause = held.failures.checked_sub(1).map(|n| FIRST_PAUSE.saturating_mul(1 << n.min(16)).min(LONGEST_PAUSE));
        held.until = pause.map(|pause| now + pause);
        held.failures += 1;
        if application.failures >= most && application.executors.values().all(|executor| !executor.works) {
            let why = format!(
                "its executors have ended {} times in a row, and none works; the last one: {message}",
                application.failures
            );
            self.tell(id, ToApplication::Removed(why.clone()));
            self.application_ended(id, &why);
        }
    }

    /// An application has ended, as far as can be seen here.
    pub(super) fn application_ended(&mut self, id: &ApplicationId, why: &str) {
        let Some(application) = self.applications.remove(id) else { return };
        self.unsaved = true;
        self.commands.push(Command::Log(format!("application {id} has ended: {why}")));
        if self.rules.faults.give_away_early {
            let of_it = |holder: &Holder| holder.application() == Some(id);
            self.workers.values_mut().for_each(|worker| worker.holdings.retain(|holder, _| !of_it(holder)));
        }
        for worker in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.tell_of_ended_applications(&worker);
        }
        self.close(application.connection);
    }

    pub(super) fn tell(&mut self, id: &ApplicationId, message: ToApplication) {
        if let Some(connection) = self.applications.get(id).and_then(|application| application.connection) {
            self.commands.push(Command::ToApplication(connection, message));
        }
    }
}

/// Why an application can never have an executor, if it cannot.
fn impossible(description: &ApplicationDescription) -> Option<String> {
    match (description.cores_max, description.executor_cores) {
        (Some(0), _) | (_, Some(0)) => Some("it asks for executors with 0 cores: at least 1 is needed".into()),
        (Some(most), Some(each)) if most < each => Some(format!(
            "its executors want {each} cores each (firesteel.executor.cores), and all together may have {most} (firesteel.cores.max)"
        )),
        _ if description.executor_memory_mib == 0 => {
            Some("it asks for executors with less than 1 MiB of memory".into())
        }
        _ => None,
    }
}
