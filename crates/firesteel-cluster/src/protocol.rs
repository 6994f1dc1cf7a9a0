//! What master, workers, applications and submitters say to each other.
//!
//! They may be of different releases, so messages are JSON that describes itself: fields that a release does not know are passed
//! over, fields that were added since have defaults, and a message that it does not know is answered with
//! `Refused`, not with the end of the connection. What cannot be said so is a new [`VERSION`], which the handshake compares.
//!
//! Who connects says in the handshake as what ([`Caller`]). Workers and applications keep their connection for as long as they
//! live, and say something at least every quarter of the time after which the other side takes silence for death.

use crate::content::ContentHash;
use firesteel_model::ExecutorId;
use firesteel_net::{FrameReader, Hello, Options, Secret};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc, time::Duration};

/// What the protocol is called.
pub const PROTOCOL: &str = "firesteel-cluster";
/// Its version: releases with the same one understand each other.
pub const VERSION: u32 = 1;
/// The longest message. Contents of files travel in pieces of a quarter of it.
const MAX_FRAME: usize = 4 << 20;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// It is also the name of a folder: 1 to 128 letters, digits, `-`, `_` and `.`, and no `.` first.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(name: String) -> Result<Self, String> {
                match is_name(&name) {
                    true => Ok($name(name.into())),
                    false => Err(format!("{name:?} is no id of the cluster's")),
                }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                (*self.0).as_ref()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// An application: `app-20260412093000-0000`.
    ApplicationId;
    /// A worker: `worker-20260412093000-host-40123`.
    WorkerId;
    /// A driver that runs on a worker: `driver-20260412093000-0000`.
    DriverId;
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// As what somebody connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Caller {
    /// A worker: [`FromWorker`], [`ToWorker`].
    Worker,
    /// An application: [`FromApplication`], [`ToApplication`].
    Application,
    /// Somebody who submits a driver or asks about one: [`FromSubmitter`], [`ToSubmitter`].
    Submitter,
    /// Somebody who wants, or brings, a file: [`crate::blob`].
    Files,
}

/// What somebody who connects says of itself; none for who listens.
pub fn hello(caller: Option<Caller>) -> Hello {
    Hello::new(PROTOCOL, VERSION).details(caller.map_or_else(Vec::new, |caller| encode(&caller)))
}

/// As what the other side connected.
///
/// # Errors
/// If that is nothing that this release knows.
pub fn caller(hello: &Hello) -> Result<Caller, String> {
    decode(&hello.details).map_err(|_| "it connects as something that this release does not know".into())
}

/// The limits of connections that carry this protocol; `silence` is how long the other side may say nothing, if that is not looked
/// at elsewhere.
pub fn options(silence: Option<Duration>) -> Options {
    let write_timeout = Duration::from_secs(10);
    Options { max_frame: MAX_FRAME, read_timeout: silence, write_timeout, ..Options::default() }
}

/// A message's bytes.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages have no map whose keys are no text")
}

/// The message that bytes are.
///
/// # Errors
/// If they are none that this release knows.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("a message that this release does not know: {e}"))
}

/// What comes from the other side.
#[derive(Debug)]
pub enum Heard<T> {
    /// A message.
    Message(T),
    /// A message that this release does not know, which is why.
    Unknown(String),
    /// No more; why.
    End(String),
}

/// Waits for the next message; `frame` is used again.
pub fn receive<T: DeserializeOwned>(reader: &mut FrameReader, frame: &mut Vec<u8>) -> Heard<T> {
    match reader.recv(frame) {
        Ok(true) => decode(frame).map_or_else(Heard::Unknown, Heard::Message),
        Ok(false) => Heard::End("the other side has ended the connection".into()),
        Err(e) => Heard::End(e.to_string()),
    }
}

/// Contents that can be fetched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Blob {
    /// Their name everywhere.
    pub hash: ContentHash,
    /// How many bytes.
    pub length: u64,
}

/// A file that processes find in the folder in which they start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamedFile {
    /// Its name there.
    pub name: String,
    /// What is in it.
    pub contents: Blob,
}

/// What an application wants of the cluster, and what its executors need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApplicationDescription {
    /// What its user calls it.
    pub name: String,
    /// The most cores that all its executors have together; none for what the master gives applications that do not say.
    #[serde(default)]
    pub cores_max: Option<u32>,
    /// The cores of each executor; none for one executor on each worker, with as many as it gets there.
    #[serde(default)]
    pub executor_cores: Option<u32>,
    /// The memory of each executor.
    pub executor_memory_mib: u64,
    /// Where its driver listens for executors.
    pub driver: String,
    /// What the driver shares with its executors, and with who fetches files there.
    #[serde(with = "crate::role::secret")]
    pub secret: Secret,
    /// Where its driver serves files.
    pub files_at: String,
    /// The program that its executors run.
    pub executable: Blob,
}

/// A driver that is to run on a worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriverDescription {
    /// The program's file name.
    pub name: String,
    /// The program, which the master has.
    pub executable: Blob,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its settings.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
    /// The cores that it takes of its worker.
    pub cores: u32,
    /// The memory that it takes of its worker.
    pub memory_mib: u64,
    /// Whether it is started again when it fails.
    #[serde(default)]
    pub supervise: bool,
    /// What it finds in its folder, and the master has.
    #[serde(default)]
    pub files: Vec<NamedFile>,
}

/// A worker, as it registers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerDescription {
    /// Chosen by itself, the same for as long as it lives.
    pub id: WorkerId,
    /// The machine's name or address, for people.
    pub host: String,
    /// How many cores it offers.
    pub cores: u32,
    /// How much memory it offers.
    pub memory_mib: u64,
}

/// An executor, by its application and number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ExecutorName {
    /// Whose.
    pub application: ApplicationId,
    /// Which.
    pub executor: ExecutorId,
}

impl fmt::Display for ExecutorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "executor {} of {}", self.executor, self.application)
    }
}

/// An executor that a worker runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunningExecutor {
    /// Which.
    pub name: ExecutorName,
    /// What it takes of the worker.
    pub cores: u32,
    /// What it takes of the worker.
    pub memory_mib: u64,
}

/// A driver that a worker runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunningDriver {
    /// Which.
    pub driver: DriverId,
    /// What it takes of the worker.
    pub cores: u32,
    /// What it takes of the worker.
    pub memory_mib: u64,
}

/// How an executor has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExecutorEnd {
    /// In short.
    pub how: HowEnded,
    /// For people: how, and where to read what it printed.
    pub message: String,
}

/// How a process has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HowEnded {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It could not be started.
    NotStarted,
    /// By somebody's wish.
    Killed,
    /// With its worker.
    WorkerLost,
}

/// From a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// First of all, also after a connection was lost.
    Register {
        /// Who it is.
        worker: WorkerDescription,
        /// What it runs.
        #[serde(default)]
        executors: Vec<RunningExecutor>,
        /// What it runs.
        #[serde(default)]
        drivers: Vec<RunningDriver>,
        /// What has ended and may not have been told.
        #[serde(default)]
        ended: Vec<(ExecutorName, ExecutorEnd)>,
        /// What has ended and may not have been told.
        #[serde(default)]
        drivers_ended: Vec<(DriverId, DriverEnd)>,
        /// Of which it keeps files until they have ended.
        #[serde(default)]
        applications: Vec<ApplicationId>,
    },
    /// It is there.
    Heartbeat,
    /// An executor has ended.
    ExecutorEnded(ExecutorName, ExecutorEnd),
    /// A driver has ended, and is not started again.
    DriverEnded(DriverId, DriverEnd),
    /// It ends, and what it ran has ended.
    Leave,
}

/// To a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// It is registered.
    Registered {
        /// Who says nothing for so long is taken for dead, on both sides.
        silence_ms: u64,
    },
    /// What it said was not accepted; why.
    Refused(String),
    /// The answer to a heartbeat.
    Heartbeat,
    /// Start an executor.
    LaunchExecutor {
        /// Which, and with what.
        executor: RunningExecutor,
        /// Of what.
        application: Arc<ApplicationDescription>,
    },
    /// End an executor.
    KillExecutor(ExecutorName),
    /// An application has ended: its executors, too, within a short time, and with the last of them what they left for each other. Its
    /// folder may be removed one day.
    ApplicationEnded(ApplicationId),
    /// Start a driver.
    LaunchDriver(DriverId, Arc<DriverDescription>),
    /// End a driver.
    KillDriver(DriverId),
}

/// From an application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromApplication {
    /// First of all, also after a connection was lost.
    Register {
        /// What it wants.
        application: Box<ApplicationDescription>,
        /// Its id, if it has one already.
        #[serde(default)]
        id: Option<ApplicationId>,
        /// Its executors, as far as it knows.
        #[serde(default)]
        executors: Vec<ExecutorId>,
        /// The lowest number that no executor of its has had.
        #[serde(default)]
        next_executor: u64,
        /// How many executors it wants in all.
        #[serde(default = "no_limit")]
        wants: u32,
    },
    /// It is there.
    Heartbeat,
    /// It wants so many executors in all from now on. Those that it has beyond that stay until they end or are given up, and no others
    /// take their place.
    Want {
        /// How many at most; cores and memory limit them, too.
        executors: u32,
    },
    /// An executor has registered with the driver or done a task: those that ended before were misfortunes.
    Works(ExecutorId),
    /// An executor is given up: end it.
    KillExecutor(ExecutorId),
    /// It has ended.
    Unregister,
}

/// What an application wants that does not say.
fn no_limit() -> u32 {
    u32::MAX
}

/// To an application.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToApplication {
    /// It is registered.
    Registered {
        /// Its id, until it ends.
        id: ApplicationId,
        /// Who says nothing for so long is taken for dead, on both sides.
        silence_ms: u64,
    },
    /// What it said was not accepted; why.
    Refused(String),
    /// The answer to a heartbeat.
    Heartbeat,
    /// An executor starts.
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
    /// An executor has ended.
    ExecutorEnded(ExecutorId, ExecutorEnd),
    /// It has no executor, and this is why.
    Waiting(String),
    /// The master takes it for ended; why.
    Removed(String),
}

/// From somebody who submits drivers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromSubmitter {
    /// Run this. Its executable and its files have been brought.
    Submit(Box<DriverDescription>),
    /// How is this?
    Status(DriverId),
    /// End this.
    Kill(DriverId),
}

/// To somebody who submits drivers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToSubmitter {
    /// It was accepted.
    Submitted(DriverId),
    /// How it is.
    Status(DriverStatus),
    /// It is told to end.
    Killing(DriverId),
    /// What was said was not accepted; why.
    Refused(String),
}

/// How a driver is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriverStatus {
    /// Which.
    pub driver: DriverId,
    /// In short.
    pub state: DriverState,
    /// The worker that runs it.
    #[serde(default)]
    pub worker: Option<WorkerId>,
    /// For people: what it waits for, or how it has ended and where to read what it printed.
    #[serde(default)]
    pub message: String,
}

/// How a driver is, in Spark's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DriverState {
    /// It waits for a worker.
    Submitted,
    /// It runs, or is started again where it ran.
    Running,
    /// It waits for another worker, since its own is lost.
    Relaunching,
    /// It ended well.
    Finished,
    /// It ended badly.
    Failed,
    /// It was killed.
    Killed,
    /// It could not be started.
    Error,
}

impl fmt::Display for DriverState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriverState::Submitted => "SUBMITTED",
            DriverState::Running => "RUNNING",
            DriverState::Relaunching => "RELAUNCHING",
            DriverState::Finished => "FINISHED",
            DriverState::Failed => "FAILED",
            DriverState::Killed => "KILLED",
            DriverState::Error => "ERROR",
        })
    }
}

/// How a driver has ended for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DriverEnd {
    /// In short: one of the states that are ends.
    pub state: DriverState,
    /// For people: how, and where to read what it printed.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_of_later_releases_are_passed_over_and_missing_ones_have_defaults() {
        let json =
            r#"{"Register": {"worker": {"id": "w-1", "host": "h", "cores": 2, "memory_mib": 1024, "racks": 3}}}"#;
        let FromWorker::Register { worker, executors, .. } = decode(json.as_bytes()).unwrap() else { panic!() };
        assert_eq!((worker.cores, executors.len()), (2, 0));
    }

    #[test]
    fn messages_of_later_releases_are_told_as_such() {
        let why = decode::<ToWorker>(br#"{"PaintItBlue": 7}"#).unwrap_err();
        assert!(why.contains("this release does not know") && why.contains("PaintItBlue"), "{why}");
        assert!(caller(&Hello::new(PROTOCOL, VERSION).details(b"\"Astronaut\"")).is_err());
        assert_eq!(caller(&hello(Some(Caller::Worker))), Ok(Caller::Worker));
    }

    #[test]
    fn an_id_is_no_way_out_of_a_folder() {
        for bad in ["", ".", "..", "../x", "a/b", "a b", "é", &"x".repeat(129)] {
            assert!(ApplicationId::try_from(bad.to_string()).is_err(), "{bad}");
            assert!(decode::<ToWorker>(&encode(&("ApplicationEnded", bad))).is_err());
        }
        assert!(ApplicationId::try_from("app-20260412093000-0000".to_string()).is_ok());
    }

    #[test]
    fn a_secret_does_not_show_in_a_message_that_is_printed() {
        let application = ApplicationDescription {
            name: "words".into(),
            cores_max: None,
            executor_cores: Some(2),
            executor_memory_mib: 1024,
            driver: "h:1".into(),
            secret: Secret::from_bytes(b"0123456789abcdef").unwrap(),
            files_at: "h:2".into(),
            executable: Blob { hash: ContentHash::of(&b"x"[..]).unwrap().0, length: 1 },
        };
        let shown = format!("{application:?}");
        assert!(!shown.contains("0123456789abcdef") && !shown.contains("30313233"), "{shown}");
        let back: ApplicationDescription = decode(&encode(&application)).unwrap();
        assert_eq!(back.secret.expose(), b"0123456789abcdef");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<FromWorker>(&bytes);
            let _ = decode::<ToWorker>(&bytes);
            let _ = decode::<FromApplication>(&bytes);
            let _ = decode::<ToApplication>(&bytes);
            let _ = decode::<FromSubmitter>(&bytes);
            let _ = decode::<ToSubmitter>(&bytes);
        }
    }
}
