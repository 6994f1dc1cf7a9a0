//! What an application knows of its executors on a cluster. A state machine without sockets or threads, as the
//! [master's](crate::master::state): it is told what the master says and what the driver wants, and says what either is to be told.

use super::ApplicationEvent;
use crate::{
    faults::Faults,
    protocol::{ApplicationDescription, ApplicationId, FromApplication, HowEnded, ToApplication},
};
use firesteel_model::ExecutorId;
use std::{collections::BTreeSet, time::Duration};

/// An application's state.
///
/// ```
/// use firesteel_cluster::{client::state::ApplicationState, protocol::{FromApplication, ToApplication}};
/// use firesteel_model::ExecutorId;
///
/// let mut application = ApplicationState::default();
/// let granted = ToApplication::ExecutorGranted {
///     executor: ExecutorId(0),
///     worker: "w-1".to_string().try_into()?,
///     host: "h".into(),
///     cores: 2,
/// };
/// assert!(application.hears(granted.clone()).is_some());
/// assert!(application.hears(granted).is_none(), "it is no news any more");
/// assert!(matches!(application.kill(ExecutorId(0)), Some(FromApplication::KillExecutor(_))));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Default)]
pub struct ApplicationState {
    faults: Faults,
    id: Option<ApplicationId>,
    /// Those that were granted and have not ended.
    executors: BTreeSet<ExecutorId>,
    next_executor: u64,
    /// So many in all.
    wants: u32,
    /// Of which the master knows that they work, after the last that ended.
    working: BTreeSet<ExecutorId>,
    /// Those that are to end.
    killed: BTreeSet<ExecutorId>,
}

impl ApplicationState {
    /// That of an application that makes these mistakes.
    #[doc(hidden)]
    pub fn with(faults: Faults) -> Self {
        ApplicationState { faults, ..Default::default() }
    }

    /// What the master calls it, if it has ever been registered.
    pub fn id(&self) -> Option<&ApplicationId> {
        self.id.as_ref()
    }

    /// What it says first on a new connection.
    pub fn introduction(&self, application: Box<ApplicationDescription>) -> FromApplication {
        FromApplication::Register {
            application,
            id: self.id.clone(),
            executors: self.executors.iter().copied().collect(),
            next_executor: self.next_executor,
            wants: self.wants,
        }
    }

    /// The master's answer to that: how long silence may last.
    ///
    /// # Errors
    /// Why there is no connection, ever.
    pub fn welcomed(&mut self, answer: ToApplication) -> Result<Duration, String> {
        match answer {
            ToApplication::Registered { id, silence_ms } => {
                self.working.clear();
                self.id = Some(id);
                Ok(Duration::from_millis(silence_ms))
            }
            ToApplication::Refused(why) | ToApplication::Removed(why) => Err(why),
            other => Err(format!("it begins with {other:?}, which no master does")),
        }
    }

    /// What it says after that, if it was registered before: the master may not have heard it.
    pub fn repeats(&self) -> Vec<FromApplication> {
        let killed = self.killed.iter().filter(|_| !self.faults.forget_kills);
        killed.copied().map(FromApplication::KillExecutor).collect()
    }

    /// What the driver is told when the master says this, if it is news.
    pub fn hears(&mut self, message: ToApplication) -> Option<ApplicationEvent> {
        match message {
            ToApplication::ExecutorGranted { executor, worker, host, cores } => {
                self.next_executor = self.next_executor.max(executor.0.saturating_add(1));
                let is_news = self.executors.insert(executor);
                is_news.then_some(ApplicationEvent::ExecutorGranted { executor, worker, host, cores })
            }
            ToApplication::ExecutorEnded(executor, mut end) => {
                if !self.executors.remove(&executor) {
                    return None;
                }
                self.working.clear();
                if self.killed.remove(&executor) {
                    end.how = HowEnded::Killed;
                }
                Some(ApplicationEvent::ExecutorEnded(executor, end))
            }
            ToApplication::Waiting(why) => Some(ApplicationEvent::Waiting(why)),
            ToApplication::Removed(why) => Some(ApplicationEvent::Removed(why)),
            ToApplication::Refused(_) | ToApplication::Registered { .. } | ToApplication::Heartbeat => None,
        }
    }

    /// It wants so many executors in all from now on, at first none: what the master is told, unless it knows.
    pub fn want(&mut self, executors: u32) -> Option<FromApplication> {
        let before = std::mem::replace(&mut self.wants, executors);
        (before != executors).then_some(FromApplication::Want { executors })
    }

    /// An executor has done a task: what the master is told, unless it knows.
    pub fn works(&mut self, executor: ExecutorId) -> Option<FromApplication> {
        self.working.insert(executor).then_some(FromApplication::Works(executor))
    }

    /// An executor is to end: what the master is told, unless it knows.
    pub fn kill(&mut self, executor: ExecutorId) -> Option<FromApplication> {
        // It may have come before the master's word of it.
        let may_be_its = self.executors.contains(&executor) || executor.0 >= self.next_executor;
        (may_be_its && self.killed.insert(executor)).then_some(FromApplication::KillExecutor(executor))
    }
}
