//! `firesteel master`, `firesteel worker`, `firesteel cluster`: what runs until somebody stops it.

use crate::settings::{SettingArguments, show_log};
use clap::Args;
use firesteel_cluster::{
    master::server::{self, MasterServer},
    worker::{self, WorkerServer},
};
use firesteel_model::{
    Error, Result,
    conf::{ByteSize, Conf, MASTER_PORT, Master, Value},
    machine,
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};
use tracing::level_filters::LevelFilter;

/// What a worker leaves to the system.
const SYSTEMS_MEMORY: u64 = 1 << 30;

/// `firesteel master`
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct MasterArguments {
    /// The address to listen on. Anything but loopback needs firesteel.authenticate.secret.file.
    #[arg(long, short = 'h', default_value = "127.0.0.1")]
    host: String,
    /// The port to listen on; 0 for a free one.
    #[arg(long, short, default_value_t = MASTER_PORT)]
    port: u16,
    /// A setting, such as firesteel.worker.timeout=60; may be given often. docs/configuration.md has all of them.
    #[arg(long, value_name = "KEY=VALUE")]
    conf: Vec<String>,
    #[command(flatten)]
    settings: SettingArguments,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// `firesteel worker`
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct WorkerArguments {
    /// The master: firesteel://HOST:PORT, with commas between several.
    master: String,
    /// How many cores to offer; all of the machine's if not said.
    #[arg(long, short)]
    cores: Option<NonZeroU32>,
    /// How much memory to offer, such as 8g; all but 1g of the machine's if not said.
    #[arg(long, short, value_parser = size)]
    memory: Option<ByteSize>,
    /// Where executors and drivers have their folders and logs.
    #[arg(long, short = 'd', value_name = "FOLDER")]
    work_dir: Option<PathBuf>,
    /// What this machine is called.
    #[arg(long, short = 'h')]
    host: Option<String>,
    /// A setting, such as firesteel.worker.timeout=60; may be given often. docs/configuration.md has all of them.
    #[arg(long, value_name = "KEY=VALUE")]
    conf: Vec<String>,
    #[command(flatten)]
    settings: SettingArguments,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// `firesteel cluster`
#[derive(Args)]
pub(crate) struct ClusterArguments {
    /// How many workers.
    #[arg(default_value = "2")]
    workers: NonZeroU32,
    /// How many cores each offers; its share of the machine's if not said.
    #[arg(long, short)]
    cores: Option<NonZeroU32>,
    /// How much memory each offers; its share of all but 1g of the machine's if not said.
    #[arg(long, short, value_parser = size)]
    memory: Option<ByteSize>,
    /// The master's port; 0 for a free one.
    #[arg(long, short, default_value_t = MASTER_PORT)]
    port: u16,
    /// Where executors and drivers have their folders and logs.
    #[arg(long, short = 'd', value_name = "FOLDER", default_value = "work")]
    work_dir: PathBuf,
    /// A setting, such as firesteel.worker.timeout=60; may be given often. docs/configuration.md has all of them.
    #[arg(long, value_name = "KEY=VALUE")]
    conf: Vec<String>,
    #[command(flatten)]
    settings: SettingArguments,
}

fn size(text: &str) -> Result<ByteSize, String> {
    let size = <ByteSize as Value>::parse(text)?;
    if size.0 < 1 << 20 { Err("a size of at least 1m".into()) } else { Ok(size) }
}

/// Why something that runs ends.
enum End {
    Stopped,
    Refused(String),
}

/// Says when somebody wants the end, by Ctrl-C or SIGTERM.
fn until_stopped() -> Result<(mpsc::Sender<End>, mpsc::Receiver<End>)> {
    let (ends, end) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| Error::io("wait for", "signals", e))?;
    let stopped = ends.clone();
    let waiting = move || {
        signals.forever().for_each(|_| drop(stopped.send(End::Stopped)));
    };
    thread::Builder::new()
        .name("firesteel-signals".into())
        .spawn(waiting)
        .map_err(|e| Error::io("start", "a thread that waits for signals", e))?;
    Ok((ends, end))
}

fn wait(end: &mpsc::Receiver<End>) -> Result<()> {
    match end.recv() {
        Ok(End::Refused(why)) => Err(Error::Config(why)),
        Ok(End::Stopped) | Err(_) => Ok(()),
    }
}

pub(crate) fn master(arguments: MasterArguments) -> Result<()> {
    let conf = arguments.settings.load(&arguments.conf, &[], false)?;
    show_log(&conf, LevelFilter::INFO)?;
    let (_, end) = until_stopped()?;
    let host = match arguments.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => arguments.host,
    };
    let _master = MasterServer::start(server::Settings::new(&conf, format!("{host}:{}", arguments.port))?)?;
    wait(&end)
}

/// The masters that a URL names.
pub(crate) fn masters(url: &str) -> Result<Vec<String>> {
    match Master::parse(url)? {
        Master::Standalone { masters } => Ok(masters),
        other => Err(Error::Config(format!("the master '{other}' has no cluster: write firesteel://HOST:PORT"))),
    }
}

fn machines_cores() -> u32 {
    thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

fn machines_memory() -> u64 {
    machine::memory().saturating_sub(SYSTEMS_MEMORY).max(512 << 20)
}

pub(crate) fn worker(arguments: WorkerArguments) -> Result<()> {
    let work_dir = arguments.work_dir.map(|dir| dir.display().to_string());
    let conf = arguments.settings.load(&arguments.conf, &[("firesteel.worker.dir", work_dir)], false)?;
    show_log(&conf, LevelFilter::INFO)?;
    let (refused, end) = until_stopped()?;
    let cores = arguments.cores.map_or_else(machines_cores, NonZeroU32::get);
    let memory_mib = arguments.memory.map_or_else(machines_memory, |memory| memory.0) >> 20;
    let host = arguments.host.unwrap_or_else(machine::host);
    let masters = masters(&arguments.master)?;
    let settings = worker::Settings::new(&conf, masters, host, cores, memory_mib)?;
    let starting = thread::Builder::new().name("firesteel-worker".into());
    let on_refused = refused.clone();
    let refuse = move |why: &str| drop(on_refused.send(End::Refused(why.into())));
    // A master that is not there yet is waited for; who stops meanwhile does not wait.
    let (started, running) = mpsc::channel();
    let start = move || {
        let worker = WorkerServer::start(settings, refuse);
        if let Err(e) = &worker {
            let _ = refused.send(End::Refused(e.to_string()));
        }
        let _ = started.send(worker);
    };
    starting.spawn(start).map_err(|e| Error::io("start", "the worker's thread", e))?;
    let ended = wait(&end);
    drop(running.try_recv());
    ended
}

pub(crate) fn cluster(arguments: ClusterArguments) -> Result<()> {
    let conf = arguments.settings.load(&arguments.conf, &[], false)?;
    show_log(&conf, LevelFilter::INFO)?;
    let (refused, end) = until_stopped()?;
    let folder = &arguments.work_dir;
    let mut settings = server::Settings::new(&conf, format!("127.0.0.1:{}", arguments.port))?;
    // All of it ends together, so there is nothing to go on with.
    (settings.folder, settings.recovers) = (folder.join("master"), false);
    let master = MasterServer::start(settings)?;
    let address = master.address().to_string();
    let many = arguments.workers.get();
    let cores = arguments.cores.map_or((machines_cores() / many).max(1), NonZeroU32::get);
    let memory = arguments.memory.map_or(machines_memory() / u64::from(many), |memory| memory.0);
    let start = |number: u32| {
        let folder = folder.join(format!("worker-{number}"));
        let refused = refused.clone();
        let refuse = move |why: &str| drop(refused.send(End::Refused(why.into())));
        WorkerServer::start(of_cluster(&conf, &folder, &address, cores, memory >> 20)?, refuse)
    };
    let workers = (0..many).map(start).collect::<Result<Vec<_>>>()?;
    println!("{many} workers, with {cores} cores and {} MiB each, are at\n\n    firesteel://{address}\n", memory >> 20);
    println!("Run a program with `firesteel submit --master firesteel://{address} PROGRAM`; end with Ctrl-C.");
    let ended = wait(&end);
    drop(workers);
    ended
}

fn of_cluster(conf: &Conf, folder: &Path, master: &str, cores: u32, memory_mib: u64) -> Result<worker::Settings> {
    let mut settings = worker::Settings::new(conf, vec![master.into()], machine::host(), cores, memory_mib)?;
    settings.folder = folder.into();
    Ok(settings)
}
