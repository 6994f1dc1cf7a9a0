//! An application's side of the cluster: it registers with the master, and is told of its executors.

use crate::{
    link::{MasterLink, Visitor},
    protocol::{
        ApplicationDescription, ApplicationId, Caller, ExecutorEnd, FromApplication, HowEnded, ToApplication, WorkerId,
    },
};
use firesteel_model::{ExecutorId, Result};
use firesteel_net::Secret;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a master that does not answer is waited for when an application begins.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an application is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplicationEvent {
    /// An executor starts; it registers with the driver by itself, perhaps before this is told.
    ExecutorGranted {
        /// Which.
        executor: ExecutorId,
        /// Where.
        worker: WorkerId,
        /// The worker's host.
        host: String,
        /// How many cores it has.
        cores: u32,
    },
    /// An executor has ended. Another takes its place as soon as there is room.
    ExecutorEnded(ExecutorId, ExecutorEnd),
    /// The application has no executor, and this is why. Told again when the reason changes.
    Waiting(String),
    /// The master has ended the application, or will not have it again; why. Nothing is told any more.
    Removed(String),
    /// The connection to the master is lost; why. Executors that run go on.
    Disconnected(String),
    /// The connection to the master is there again.
    Reconnected,
}

/// An application that is registered with a master, until it is dropped or [unregistered](Application::unregister).
///
/// When the connection is lost it is made again, to any of the masters; until then the executors that run go on, and none is added.
pub struct Application {
    registration: Arc<Registration>,
    link: MasterLink<Registration>,
}

impl Application {
    /// Registers with one of the masters (`host:port`). From then on `on_event` is told what happens, one after another, on a thread
    /// that nothing else waits for; it must not drop the application.
    ///
    /// # Errors
    /// [`Config`](firesteel_model::Error::Config): no master answers within ten seconds, secret or version differ, or the master
    /// refuses.
    pub fn register(
        masters: &[String],
        secret: Option<&Secret>,
        description: ApplicationDescription,
        on_event: impl Fn(ApplicationEvent) + Send + Sync + 'static,
    ) -> Result<Application> {
        let registration =
            Arc::new(Registration { description, on_event: Box::new(on_event), state: Mutex::new(State::default()) });
        let link = MasterLink::start(masters.to_vec(), secret.cloned(), registration.clone(), Some(PATIENCE))?;
        Ok(Application { registration, link })
    }

    /// What the master calls it.
    pub fn id(&self) -> ApplicationId {
        self.registration.lock().id.clone().expect("who is registered has an id")
    }

    /// An executor has done a task: it works, and those that ended before were misfortunes, not a habit.
    /// Costs nothing if that is known.
    pub fn works(&self, executor: ExecutorId) {
        let is_new = self.registration.lock().working.insert(executor);
        if is_new {
            self.link.say(&FromApplication::Works(executor));
        }
    }

    /// Ends an executor.
    pub fn kill_executor(&self, executor: ExecutorId) {
        let mut state = self.registration.lock();
        // It may have come before the master's word of it.
        let may_be_its = state.executors.contains(&executor) || executor.0 >= state.next_executor;
        if may_be_its && state.killed.insert(executor) {
            drop(state);
            self.link.say(&FromApplication::KillExecutor(executor));
        }
    }

    /// The application has ended: its executors are ended where they do not end by themselves within a short time.
    pub fn unregister(self) {
        self.link.say(&FromApplication::Unregister);
        self.link.stop();
    }
}

struct Registration {
    description: ApplicationDescription,
    on_event: Box<dyn Fn(ApplicationEvent) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    id: Option<ApplicationId>,
    /// Those that were granted and have not ended.
    executors: BTreeSet<ExecutorId>,
    next_executor: u64,
    /// Of which the master knows that they work, after the last that ended.
    working: BTreeSet<ExecutorId>,
    /// Those that are to end.
    killed: BTreeSet<ExecutorId>,
}

impl Registration {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor for Registration {
    const CALLER: Caller = Caller::Application;
    type Says = FromApplication;
    type Hears = ToApplication;

    fn introduction(&self) -> FromApplication {
        let state = self.lock();
        FromApplication::Register {
            application: Box::new(self.description.clone()),
            id: state.id.clone(),
            executors: state.executors.iter().copied().collect(),
            next_executor: state.next_executor,
        }
    }

    fn heartbeat(&self) -> FromApplication {
        FromApplication::Heartbeat
    }

    fn welcomed(&self, answer: ToApplication) -> std::result::Result<Duration, String> {
        match answer {
            ToApplication::Registered { id, silence_ms } => {
                let mut state = self.lock();
                state.working.clear();
                state.id = Some(id);
                Ok(Duration::from_millis(silence_ms))
            }
            ToApplication::Refused(why) | ToApplication::Removed(why) => Err(why),
            other => Err(format!("it begins with {other:?}, which no master does")),
        }
    }

    fn heard(self: &Arc<Self>, message: ToApplication) -> bool {
        let event = match message {
            ToApplication::ExecutorGranted { executor, worker, host, cores } => {
                let mut state = self.lock();
                state.next_executor = state.next_executor.max(executor.0.saturating_add(1));
                if !state.executors.insert(executor) {
                    return true;
                }
                ApplicationEvent::ExecutorGranted { executor, worker, host, cores }
            }
            ToApplication::ExecutorEnded(executor, mut end) => {
                let mut state = self.lock();
                if !state.executors.remove(&executor) {
                    return true;
                }
                state.working.clear();
                if state.killed.remove(&executor) {
                    end.how = HowEnded::Killed;
                }
                ApplicationEvent::ExecutorEnded(executor, end)
            }
            ToApplication::Waiting(why) => ApplicationEvent::Waiting(why),
            ToApplication::Removed(why) => ApplicationEvent::Removed(why),
            ToApplication::Refused(why) => {
                tracing::warn!("the master has refused something: {why}");
                return true;
            }
            ToApplication::Registered { .. } | ToApplication::Heartbeat => return true,
        };
        let goes_on = !matches!(event, ApplicationEvent::Removed(_));
        (self.on_event)(event);
        goes_on
    }

    fn reconnected(&self, say: &dyn Fn(&FromApplication)) {
        let killed: Vec<_> = self.lock().killed.iter().copied().collect();
        killed.into_iter().for_each(|executor| say(&FromApplication::KillExecutor(executor)));
        (self.on_event)(ApplicationEvent::Reconnected);
    }

    fn disconnected(&self, why: &str) {
        (self.on_event)(ApplicationEvent::Disconnected(why.into()));
    }

    fn refused(&self, why: &str) {
        (self.on_event)(ApplicationEvent::Removed(why.into()));
    }
}
