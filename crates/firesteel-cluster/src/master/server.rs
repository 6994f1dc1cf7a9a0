//! The master as a process has it: sockets, threads, the clock and the disk around [`state`](super::state).
//!
//! A thread for each connection hears what is said, one thread decides, and an outbox for each connection says the answers. What a
//! restarted master must know is on the disk before anybody hears of it.

use super::state::{Command, ConnectionId, Event, Master, Rules, Saved};
use crate::{
    blob::{self, Cache},
    guests::served,
    protocol::{
        self, Caller, DriverDescription, FromSubmitter, Heard, ToApplication, ToSubmitter, ToWorker, encode, receive,
    },
};
use crossbeam_channel::{Receiver, Sender};
use firesteel_model::{
    Error, Result,
    conf::{Conf, keys},
};
use firesteel_net::{Closer, Connection, FrameReader, Listener, Outbox, Secret};
use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// So many connections are served at a time, two threads each.
const MOST_CONNECTIONS: usize = 4096;
/// So many events may wait; connections wait then, too.
const MOST_EVENTS: usize = 1024;
/// So many bytes may wait for somebody who does not read; who lets more wait is cut off.
const UNSENT: usize = 64 << 20;
/// So many files of drivers are kept, beside those that are still needed.
const MOST_FILES: usize = 64;

/// How a master is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens: `host:port`, port 0 for a free one.
    pub address: String,
    /// What all processes of the cluster share.
    pub secret: Option<Secret>,
    /// How it decides.
    pub rules: Rules,
    /// Where it keeps the files of drivers, and what a restarted master must know.
    pub folder: PathBuf,
    /// Whether it goes on with what an earlier one kept there.
    pub recovers: bool,
}

impl Settings {
    /// What the configuration says.
    ///
    /// # Errors
    /// As [`Conf::get`], and for a secret that cannot be used.
    pub fn new(conf: &Conf, address: String) -> Result<Settings> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Settings {
            address,
            secret: crate::security::secret(conf)?,
            rules: Rules {
                stamp: since_epoch.as_millis().to_string(),
                default_cores: conf.get(keys::DEPLOY_DEFAULT_CORES)?,
                spread_out: conf.get(keys::DEPLOY_SPREAD_OUT_APPS)?,
                max_executor_retries: conf.get(keys::DEPLOY_MAX_EXECUTOR_RETRIES)?,
                worker_timeout: Duration::from_secs(conf.get(keys::WORKER_TIMEOUT)?),
                faults: Default::default(),
            },
            folder: conf.get(keys::DEPLOY_RECOVERY_DIRECTORY)?.into(),
            recovers: conf.get(keys::DEPLOY_RECOVERY_MODE)? == "FILESYSTEM",
        })
    }
}

/// A running master. It ends when it is dropped; workers and applications go on, and come back to the next.
#[derive(Debug)]
pub struct MasterServer {
    address: SocketAddr,
    listener: Option<Listener>,
    to_loop: Sender<Input>,
    thread: Option<JoinHandle<()>>,
}

impl MasterServer {
    /// Starts to listen.
    ///
    /// # Errors
    /// [`Error::Other`] if the address cannot be listened on, or is beyond loopback and there is no secret; [`Error::Io`] and
    /// [`Error::Config`] if the folder cannot be used, is another master's, or holds what no master wrote.
    pub fn start(settings: Settings) -> Result<MasterServer> {
        let Settings { address, secret, rules, folder, recovers } = settings;
        // Before there is a folder for one that will not be.
        Listener::check(&*address, secret.as_ref()).map_err(|e| Error::Other(Arc::new(e)))?;
        let memory = Memory::open(&folder)?;
        let files = Arc::new(Cache::open(folder.join("files"), MOST_FILES)?);
        let saved = if recovers { memory.load()? } else { Saved::default() };
        let silence = rules.worker_timeout;
        let (to_loop, inputs) = crossbeam_channel::bounded(MOST_EVENTS);
        let door = Door { to_loop: to_loop.clone(), files: files.clone(), connections: AtomicU64::new(0) };
        let serve = served("firesteel-master-peer", MOST_CONNECTIONS, move |connection| {
            let peer = connection.peer().to_string();
            if let Err(why) = door.serve(connection) {
                tracing::warn!("{peer} is sent away: {why}");
            }
        });
        let options = protocol::options(Some(silence));
        let listener = Listener::bind(&*address, secret.as_ref(), &protocol::hello(None), &options, serve)
            .map_err(|e| Error::Other(Arc::new(e)))?;
        let deciding = Deciding {
            master: Master::new(rules, saved, Duration::ZERO),
            began: Instant::now(),
            lines: BTreeMap::new(),
            memory,
            saves: recovers,
            files,
        };
        let thread = std::thread::Builder::new()
            .name("firesteel-master".into())
            .spawn(move || deciding.run(&inputs))
            .map_err(|e| Error::io("start", "the master's thread", e))?;
        let address = listener.local_addr();
        tracing::info!("the master is at firesteel://{address}");
        Ok(MasterServer { address, listener: Some(listener), to_loop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MasterServer {
    fn drop(&mut self) {
        // Nobody comes any more, then all go.
        self.listener = None;
        let _ = self.to_loop.send(Input::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the deciding thread is told.
enum Input {
    /// Somebody has come.
    Opened(ConnectionId, Line),
    Event(Event),
    Stop,
}

/// How somebody is reached.
struct Line {
    outbox: Arc<Outbox>,
    closer: Closer,
}

/// Who lets in those who connect.
struct Door {
    to_loop: Sender<Input>,
    files: Arc<Cache>,
    connections: AtomicU64,
}

impl Door {
    fn serve(&self, connection: Connection) -> Result<(), String> {
        match protocol::caller(connection.hello())? {
            Caller::Files => {
                blob::serve(connection, &*self.files);
                Ok(())
            }
            Caller::Worker => self.listen(connection, Event::Worker, |why| encode(&ToWorker::Refused(why))),
            Caller::Application => {
                self.listen(connection, Event::Application, |why| encode(&ToApplication::Refused(why)))
            }
            Caller::Submitter => {
                let event = |connection, message: FromSubmitter| Event::Submitter(connection, message);
                let refuse = |why| encode(&ToSubmitter::Refused(why));
                self.listen_checking(connection, event, refuse, |message| match message {
                    FromSubmitter::Submit(description) => self.has_files_of(description),
                    FromSubmitter::Status(_) | FromSubmitter::Kill(_) => Ok(()),
                })
            }
        }
    }

    /// Whether the files of a driver were brought.
    fn has_files_of(&self, description: &DriverDescription) -> Result<(), String> {
        let DriverDescription { executable, files, .. } = description;
        for blob in files.iter().map(|file| file.contents).chain([*executable]) {
            let missing = |_: &mut File| Err(Error::Config(format!("its file {} was not brought", blob.hash)));
            self.files.get(blob, missing).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn listen<T: DeserializeOwned>(
        &self,
        connection: Connection,
        event: impl Fn(ConnectionId, T) -> Event,
        refuse: impl Fn(String) -> Vec<u8>,
    ) -> Result<(), String> {
        self.listen_checking(connection, event, refuse, |_| Ok(()))
    }

    /// Passes on what somebody says until the connection ends.
    fn listen_checking<T: DeserializeOwned>(
        &self,
        connection: Connection,
        event: impl Fn(ConnectionId, T) -> Event,
        refuse: impl Fn(String) -> Vec<u8>,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Result<(), String> {
        let id = ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed));
        let closer = connection.closer();
        let (mut reader, writer) = connection.split();
        let outbox = Arc::new(Outbox::new(writer, UNSENT).map_err(|e| e.to_string())?);
        // Who decides has it, and lets it go.
        let answers = Arc::downgrade(&outbox);
        let tell = |input| self.to_loop.send(input).map_err(|_| "the master stops".to_string());
        tell(Input::Opened(id, Line { outbox, closer }))?;
        let passed_on = pass_on(&mut reader, &answers, refuse, check, |message| tell(Input::Event(event(id, message))));
        tell(Input::Event(Event::Disconnected(id)))?;
        passed_on
    }
}

/// Passes on what is said, and answers what makes no sense.
fn pass_on<T: DeserializeOwned>(
    reader: &mut FrameReader,
    answers: &Weak<Outbox>,
    refuse: impl Fn(String) -> Vec<u8>,
    check: impl Fn(&T) -> Result<(), String>,
    tell: impl Fn(T) -> Result<(), String>,
) -> Result<(), String> {
    let mut frame = Vec::new();
    loop {
        let refused = match receive(reader, &mut frame) {
            Heard::Message(message) => match check(&message) {
                Ok(()) => {
                    tell(message)?;
                    continue;
                }
                Err(why) => why,
            },
            Heard::Unknown(why) => {
                tracing::warn!("{} says something: {why}", reader.peer());
                why
            }
            Heard::End(why) => {
                tracing::debug!("{} has gone: {why}", reader.peer());
                return Ok(());
            }
        };
        let Some(answers) = answers.upgrade() else { return Ok(()) };
        answers.try_send(refuse(refused)).map_err(|e| e.to_string())?;
    }
}

/// The thread that decides.
struct Deciding {
    master: Master,
    began: Instant,
    lines: BTreeMap<ConnectionId, Line>,
    memory: Memory,
    saves: bool,
    files: Arc<Cache>,
}

impl Deciding {
    fn run(mut self, inputs: &Receiver<Input>) {
        self.files.keep(self.master.needed_files());
        loop {
            let input = match self.master.next_deadline() {
                None => inputs.recv().unwrap_or(Input::Stop),
                Some(deadline) => match inputs.recv_deadline(self.began + deadline) {
                    Ok(input) => input,
                    Err(crossbeam_channel::RecvTimeoutError::Timeout) => Input::Event(Event::Tick),
                    Err(crossbeam_channel::RecvTimeoutError::Disconnected) => Input::Stop,
                },
            };
            match input {
                Input::Opened(id, line) => drop(self.lines.insert(id, line)),
                Input::Event(event) => {
                    let gone = if let Event::Disconnected(id) = event { Some(id) } else { None };
                    for command in self.master.handle(self.began.elapsed(), event) {
                        self.obey(command);
                    }
                    gone.into_iter().for_each(|id| self.close(id));
                }
                Input::Stop => break,
            }
        }
        // Those who wait to be heard see that nobody hears them.
        for line in self.lines.into_values() {
            line.closer.close();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::ToWorker(id, message) => self.say(id, encode(&message)),
            Command::ToApplication(id, message) => self.say(id, encode(&message)),
            Command::ToSubmitter(id, message) => self.say(id, encode(&message)),
            Command::Close(id) => self.close(id),
            Command::Log(what) => tracing::info!("{what}"),
            Command::Save(saved) => {
                self.files.keep(self.master.needed_files());
                if self.saves
                    && let Err(e) = self.memory.save(&saved)
                {
                    tracing::error!("a restarted master would not know what this one does: {e}");
                }
            }
        }
    }

    fn say(&mut self, id: ConnectionId, message: Vec<u8>) {
        if let Some(line) = self.lines.get(&id)
            && let Err(e) = line.outbox.try_send(message)
        {
            tracing::warn!("{} is cut off: {e}", line.outbox.peer());
            line.closer.close();
        }
    }

    /// Lets a connection end after what was said. That may take a while, so it is not waited for here.
    fn close(&mut self, id: ConnectionId) {
        let Some(line) = self.lines.remove(&id) else { return };
        let closer = line.closer.clone();
        let ending = move || {
            drop(line.outbox);
            line.closer.close();
        };
        if std::thread::Builder::new().name("firesteel-master-bye".into()).spawn(ending).is_err() {
            closer.close();
        }
    }
}

/// What the next master must know, on disk.
struct Memory {
    path: PathBuf,
    /// Held for as long as this master lives.
    _lock: File,
}

impl Memory {
    fn open(folder: &Path) -> Result<Memory> {
        let failed = |e| Error::io("use the master's folder", folder.display(), e);
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Config(format!(
                "{} is in use by another master: give this one a folder of its own ({})",
                folder.display(),
                keys::DEPLOY_RECOVERY_DIRECTORY.info.key()
            )));
        }
        Ok(Memory { path: folder.join("state.json"), _lock: lock })
    }

    fn load(&self) -> Result<Saved> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Saved::default()),
            Err(e) => return Err(Error::io("read", self.path.display(), e)),
        };
        serde_json::from_slice(&text).map_err(|e| {
            Error::Config(format!(
                "{} is nothing that a master of this release wrote ({e}): move it away, and the drivers that were submitted are forgotten",
                self.path.display()
            ))
        })
    }

    /// Complete or not at all, also if the machine stops in the middle.
    fn save(&self, saved: &Saved) -> Result<()> {
        let failed = |e| Error::io("write", self.path.display(), e);
        let new = self.path.with_extension("new");
        // Drivers' settings are nobody else's business.
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
        file.write_all(&encode(saved)).and_then(|()| file.sync_data()).map_err(failed)?;
        fs::rename(&new, &self.path).map_err(failed)
    }
}
