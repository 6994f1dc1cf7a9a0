//! Executors of a standalone cluster: its master grants them, its workers start them.

use super::{Control, control::Address, process::FORSAKEN};
use crate::{
    graph::lock,
    supply::{Delivery, Supplier},
};
use firesteel_cluster::{
    blob::{BlobServer, Offer},
    client::{Application, ApplicationEvent},
    protocol::{ApplicationDescription, Blob, ExecutorEnd, HowEnded},
    route::towards,
    security,
};
use firesteel_model::{
    Error, ExecutorId, Result,
    conf::{ByteSize, Conf, keys},
};
use firesteel_scheduler::LossReason;
use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::Path,
    sync::{Arc, Mutex},
};

/// The memory of an executor where nothing says it.
const EXECUTOR_MEMORY: ByteSize = ByteSize(1 << 30);
/// The numbers of SIGKILL and SIGTERM.
const KILL: i32 = rustix::process::Signal::KILL.as_raw();
const TERM: i32 = rustix::process::Signal::TERM.as_raw();

/// An application that is registered with a master.
pub(crate) struct Standalone {
    application: Mutex<Option<Application>>,
    delivery: Delivery,
    _control: Control,
    _files: BlobServer,
}

/// What an application tells a master, and where its executors will find it.
pub(crate) struct Registration<'a> {
    pub(crate) masters: &'a [String],
    pub(crate) conf: &'a Conf,
    pub(crate) name: &'a str,
    pub(crate) at: &'a Address,
    pub(crate) program: Program,
}

/// This program, as executors get it.
pub(crate) struct Program {
    offer: Offer,
    executable: Blob,
}

impl Program {
    /// What runs here, even if its path has been given to another build since. Costs reading it.
    pub(crate) fn this() -> Result<Self> {
        let mut offer = Offer::default();
        let executable = offer.add(Path::new("/proc/self/exe"))?;
        Ok(Program { offer, executable })
    }

    pub(crate) fn executable(&self) -> Blob {
        self.executable
    }
}

/// How much memory an executor has.
pub(crate) fn executor_memory(conf: &Conf) -> Result<u64> {
    Ok(conf.get(keys::EXECUTOR_MEMORY)?.unwrap_or(EXECUTOR_MEMORY).0)
}

/// Where a driver listens so that executors reach it which this master grants.
pub(crate) fn address(conf: &Conf, masters: &[String]) -> Result<Address> {
    let host = match conf.get(keys::DRIVER_HOST)? {
        Some(host) => host,
        None => towards(masters).map_err(no_way)?.to_string(),
    };
    let ip = match conf.get(keys::DRIVER_BIND_ADDRESS)? {
        Some(ip) => ip,
        None => resolve(&host)?,
    };
    Ok(Address { bind: SocketAddr::new(ip, conf.get(keys::DRIVER_PORT)?), host })
}

fn no_way(why: String) -> Error {
    Error::Config(format!(
        "this machine has no way to the master ({why}): is its name right? `{}` says how executors reach the driver",
        keys::DRIVER_HOST.info.key()
    ))
}

fn resolve(host: &str) -> Result<IpAddr> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let found = (plain, 0).to_socket_addrs().map_err(|e| {
        Error::Config(format!(
            "{} is '{host}', which this machine cannot look up ({e}): set {} to an address of its own",
            keys::DRIVER_HOST.info.key(),
            keys::DRIVER_BIND_ADDRESS.info.key()
        ))
    })?;
    let mut found = found.map(|address| address.ip());
    found.next().ok_or_else(|| Error::Config(format!("'{host}' has no address")))
}

impl Standalone {
    /// Registers with one of the masters; its executors come to `control`.
    pub(crate) fn start(registration: Registration<'_>, control: Control, delivery: Delivery) -> Result<Arc<Self>> {
        let Registration { masters, conf, name, at, program: Program { offer, executable } } = registration;
        let secret = security::secret(conf)?;
        let files = BlobServer::start((at.bind.ip(), 0).into(), &control.secret, Arc::new(offer))?;
        let description = ApplicationDescription {
            name: name.to_string(),
            cores_max: conf.get(keys::CORES_MAX)?,
            executor_cores: conf.get(keys::EXECUTOR_CORES)?,
            executor_memory_mib: executor_memory(conf)?.div_ceil(1 << 20),
            driver: control.address().to_string(),
            secret: control.secret.clone(),
            files_at: at.with_port(files.address().port()),
            executable,
        };
        let told = {
            let delivery = delivery.clone();
            move |event| tell(event, &delivery)
        };
        let application = Application::register(masters, secret.as_ref(), description, told)?;
        let application = Mutex::new(Some(application));
        Ok(Arc::new(Standalone { application, delivery, _control: control, _files: files }))
    }

    /// What the master calls the application.
    pub(crate) fn application(&self) -> Option<String> {
        lock(&self.application).as_ref().map(|application| application.id().to_string())
    }
}

/// Tells the driver what the master says.
fn tell(event: ApplicationEvent, delivery: &Delivery) {
    match event {
        ApplicationEvent::ExecutorGranted { executor, worker, host, cores } => {
            tracing::info!("executor {executor} of {cores} cores starts on {worker} ({host})");
        }
        ApplicationEvent::ExecutorEnded(executor, end) => {
            tracing::info!("executor {executor} has ended: {}", end.message);
            delivery.gone(executor, why(end));
        }
        ApplicationEvent::Waiting(why) => {
            tracing::warn!("no executor yet: {why}");
            delivery.waits(why);
        }
        ApplicationEvent::Removed(why) => delivery.hopeless(why),
        ApplicationEvent::Disconnected(why) => {
            tracing::warn!(
                "the master is out of reach ({why}): executors that run go on, and no others come until it is back"
            );
        }
        ApplicationEvent::Reconnected => tracing::info!("the master is back"),
    }
}

fn why(end: ExecutorEnd) -> LossReason {
    let ExecutorEnd { how, message } = end;
    match how {
        HowEnded::WorkerLost => LossReason::HostLost { message },
        HowEnded::Killed => LossReason::Released,
        // What others do to a process (kill it, the machine's memory being full) is not the program's fault.
        HowEnded::Signalled(KILL | TERM) | HowEnded::Exited(FORSAKEN) | HowEnded::NotStarted => {
            LossReason::Exited { message, caused_by_app: false }
        }
        HowEnded::Exited(_) | HowEnded::Signalled(_) => LossReason::Exited { message, caused_by_app: true },
    }
}

impl Supplier for Standalone {
    fn want(&self, executors: u32) {
        if let Some(application) = &*lock(&self.application) {
            application.want(executors);
        }
    }

    fn works(&self, executor: ExecutorId) {
        if let Some(application) = &*lock(&self.application) {
            application.works(executor);
        }
    }

    fn let_go(&self, executor: ExecutorId) {
        if let Some(application) = &*lock(&self.application) {
            application.kill_executor(executor);
        }
    }

    /// Before executors are told to end, so that no others take their place.
    fn ending(&self) {
        if let Some(application) = lock(&self.application).take() {
            application.unregister();
            self.delivery.over();
        }
    }

    fn stop(&self) {
        self.ending();
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        self.stop();
    }
}
