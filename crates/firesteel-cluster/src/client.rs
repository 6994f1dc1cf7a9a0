//! An application's side of the cluster: it registers with the master, and is told of its executors.

pub mod state;

use crate::{
    link::{MasterLink, Visitor},
    protocol::{ApplicationDescription, ApplicationId, Caller, ExecutorEnd, FromApplication, ToApplication, WorkerId},
};
use firesteel_model::{ExecutorId, Result};
use firesteel_net::Secret;
use state::ApplicationState;
use std::{
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
    /// that nothing else waits for; it must not drop the application. No executor comes before it [wants](Application::want) some.
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
            Arc::new(Registration { description, on_event: Box::new(on_event), state: Mutex::default() });
        let link = MasterLink::start(masters.to_vec(), secret.cloned(), registration.clone(), Some(PATIENCE))?;
        Ok(Application { registration, link })
    }

    /// What the master calls it.
    pub fn id(&self) -> ApplicationId {
        self.registration.lock().id().cloned().expect("who is registered has an id")
    }

    /// An executor has done a task: it works, and those that ended before were misfortunes, not a habit.
    /// Costs nothing if that is known.
    pub fn works(&self, executor: ExecutorId) {
        let message = self.registration.lock().works(executor);
        message.into_iter().for_each(|message| self.link.say(&message));
    }

    /// It wants so many executors in all from now on, as far as its cores and the workers' memory allow. Those that it has beyond that stay
    /// until they end.
    pub fn want(&self, executors: u32) {
        let message = self.registration.lock().want(executors);
        message.into_iter().for_each(|message| self.link.say(&message));
    }

    /// Ends an executor.
    pub fn kill_executor(&self, executor: ExecutorId) {
        let message = self.registration.lock().kill(executor);
        message.into_iter().for_each(|message| self.link.say(&message));
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
    state: Mutex<ApplicationState>,
}

impl Registration {
    fn lock(&self) -> MutexGuard<'_, ApplicationState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor for Registration {
    const CALLER: Caller = Caller::Application;
    type Says = FromApplication;
    type Hears = ToApplication;

    fn introduction(&self) -> FromApplication {
        self.lock().introduction(Box::new(self.description.clone()))
    }

    fn heartbeat(&self) -> FromApplication {
        FromApplication::Heartbeat
    }

    fn welcomed(&self, answer: ToApplication) -> std::result::Result<Duration, String> {
        self.lock().welcomed(answer)
    }

    fn heard(self: &Arc<Self>, message: ToApplication) -> bool {
        if let ToApplication::Refused(why) = &message {
            tracing::warn!("the master has refused something: {why}");
        }
        let Some(event) = self.lock().hears(message) else { return true };
        let goes_on = !matches!(event, ApplicationEvent::Removed(_));
        (self.on_event)(event);
        goes_on
    }

    fn reconnected(&self, say: &dyn Fn(&FromApplication)) {
        let repeated = self.lock().repeats();
        repeated.iter().for_each(say);
        (self.on_event)(ApplicationEvent::Reconnected);
    }

    fn disconnected(&self, why: &str) {
        (self.on_event)(ApplicationEvent::Disconnected(why.into()));
    }

    fn refused(&self, why: &str) {
        (self.on_event)(ApplicationEvent::Removed(why.into()));
    }
}
