//! How a process learns that it is to be an executor: by the socket that is its standard input, which is gone before any code
//! of the user's runs. A child program that a task starts finds nothing there; secrets are in no argument and no environment.
//!
//! The message is a line of ASCII and then JSON, of which fields that are not known are passed over: who starts an executor, a
//! worker of the cluster for one, may be of another version than the program.
//!
//! A driver that a worker starts finds its settings there in the same way, the cluster's secret among them.

use crate::content::{ContentHash, from_hex, to_hex};
use firesteel_model::{Error, ExecutorId, Result};
use firesteel_net::Secret;
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, Write},
    num::NonZeroU32,
    os::fd::OwnedFd,
    process,
    sync::OnceLock,
    thread,
};

/// What the message that makes a process an executor begins with.
pub(crate) const MAGIC: [u8; 16] = *b"firesteel role 1";
/// The same for the driver of a cluster.
pub(crate) const DRIVER: [u8; 16] = *b"firesteel driver";
/// It is not longer than this.
const MAX: usize = 16 << 10;

/// Who the process is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Role {
    /// Where the driver listens.
    pub driver: String,
    #[serde(with = "secret")]
    /// What the driver and its executors share.
    pub secret: Secret,
    /// Which executor.
    pub executor: ExecutorId,
    /// The hash of its executable; none where the driver has started its own again.
    #[serde(default)]
    pub executable: Option<ContentHash>,
    /// How many tasks it runs at a time; none if the driver says it.
    #[serde(default)]
    pub cores: Option<NonZeroU32>,
    /// Its folders for scratch files; none if the driver says them.
    #[serde(default)]
    pub local_dirs: Vec<String>,
    /// Where it puts its map outputs, if they are to outlive it.
    #[serde(default)]
    pub outputs: Option<ShuffleFolders>,
    /// Whether it ends when the process that started it does, even if its driver lives: see [`Given::starter`].
    #[serde(default)]
    pub ends_with_starter: bool,
}

/// Where map outputs outlive the executor that writes them, and who serves them then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShuffleFolders {
    /// Folders of the executor's own.
    pub folders: Vec<String>,
    /// Where [`ShuffleService`](crate::shuffle_service::ShuffleService) serves them, at the address at which the executor is reached.
    pub port: u16,
}

pub(crate) mod secret {
    use super::{Secret, from_hex, to_hex};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(secret.expose()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        let bytes = from_hex(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("no secret"))?;
        Secret::from_bytes(&bytes).map_err(D::Error::custom)
    }
}

/// What [`Role::stdin`] makes.
#[derive(Debug)]
pub struct Stdin {
    /// The standard input of the process that is to have the role.
    pub theirs: OwnedFd,
    /// The other end. A process whose role [ends with its starter](Role::ends_with_starter) ends when this is closed.
    pub ours: OwnedFd,
}

impl Role {
    /// The standard input of a process that is to have this role.
    ///
    /// # Errors
    /// [`Error::Io`] if the system makes no socket.
    pub fn stdin(&self) -> Result<Stdin> {
        stdin(MAGIC, self)
    }

    pub(crate) fn decode(message: &[u8]) -> Result<Role> {
        decode(MAGIC, message)
    }
}

fn decode<T: DeserializeOwned>(magic: [u8; 16], message: &[u8]) -> Result<T> {
    let json = message.strip_prefix(&magic).unwrap_or_default();
    serde_json::from_slice(json).map_err(|e| {
        Error::Config(format!("what started this process says in no way that this version knows what it is to be: {e}"))
    })
}

fn stdin(magic: [u8; 16], role: &impl Serialize) -> Result<Stdin> {
    let failed = |e: rustix::io::Errno| Error::io("make", "the socket that tells a process who it is", e.into());
    let kind = SocketType::SEQPACKET;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(failed)?;
    let mut message = magic.to_vec();
    serde_json::to_writer(&mut message, role).map_err(|e| Error::Serialization(e.to_string()))?;
    if message.len() > MAX {
        return Err(Error::Config(format!(
            "what a process is told at its start takes {} bytes, and {MAX} are the most: give fewer or shorter settings or scratch folders",
            message.len()
        )));
    }
    rustix::net::send(&ours, &message, SendFlags::empty()).map_err(failed)?;
    Ok(Stdin { theirs, ours })
}

/// A role as a process found it.
#[derive(Debug)]
pub struct Given {
    /// Who to be.
    pub role: Role,
    /// Present if the role [ends with its starter](Role::ends_with_starter): reading it ends when the starter does.
    pub starter: Option<Starter>,
}

/// The process that started this one, as far as that is left.
#[derive(Debug)]
pub struct Starter(OwnedFd);

impl Starter {
    /// Returns when the process that started this one has ended, or wants this one's end.
    pub fn wait(self) {
        // It says nothing more, so whatever there is to read is the end.
        while rustix::net::recv(&self.0, &mut [0u8; 1][..], RecvFlags::empty()) == Err(rustix::io::Errno::INTR) {}
    }
}

/// Whether this process was started as an executor and has not become one.
pub fn is_waiting() -> bool {
    begins_with(MAGIC)
}

fn begins_with(expected: [u8; 16]) -> bool {
    let mut magic = [0; MAGIC.len()];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let stdin = rustix::stdio::stdin();
    rustix::net::sockopt::socket_type(stdin) == Ok(SocketType::SEQPACKET)
        && rustix::net::recv(stdin, &mut magic[..], flags).is_ok_and(|(read, _)| read == magic.len())
        && magic == expected
}

/// The role that this process was started with, if any; its standard input is empty from now on.
pub fn take() -> Option<Result<Given>> {
    is_waiting().then(|| {
        let (message, socket) = take_message()?;
        let role = Role::decode(&message)?;
        let starter = role.ends_with_starter.then_some(Starter(socket));
        Ok(Given { role, starter })
    })
}

/// Takes the message, and puts nothing into its place.
fn take_message() -> Result<(Vec<u8>, OwnedFd)> {
    let failed = |e: rustix::io::Errno| Error::io("read", "what this process was told at its start", e.into());
    let mut message = vec![0; MAX];
    let stdin = rustix::stdio::stdin();
    let (read, _) = rustix::net::recv(stdin, &mut message[..], RecvFlags::empty()).map_err(failed)?;
    message.truncate(read);
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3).map_err(failed)?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    rustix::stdio::dup2_stdin(&nothing).map_err(failed)?;
    Ok((message, socket))
}

/// What a driver is told that a worker starts.
#[derive(Clone, Serialize, Deserialize)]
pub struct DriverRole {
    /// Its settings, which count as flags.
    pub settings: Vec<(String, String)>,
}

impl DriverRole {
    /// The standard input of a driver that is to have these settings, and ends when the other end is closed.
    ///
    /// # Errors
    /// [`Error::Config`] if they are too long, [`Error::Io`] if the system makes no socket.
    pub fn stdin(&self) -> Result<Stdin> {
        stdin(DRIVER, self)
    }

    pub(crate) fn decode(message: &[u8]) -> Result<DriverRole> {
        decode(DRIVER, message)
    }

    /// The settings that a worker gave this process, if it is a driver on a cluster. The first call takes them from its standard
    /// input, which is empty then, and sees to it that the process ends with the worker.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn of_this_process() -> Result<&'static [(String, String)]> {
        static SETTINGS: OnceLock<Result<Vec<(String, String)>>> = OnceLock::new();
        let settings = SETTINGS.get_or_init(|| {
            if !begins_with(DRIVER) {
                return Ok(Vec::new());
            }
            let (message, socket) = take_message()?;
            let role = DriverRole::decode(&message)?;
            let watch = move || {
                Starter(socket).wait();
                // Whoever kept this process's log may be gone, too.
                let _ = writeln!(
                    io::stderr(),
                    "firesteel driver: the worker that started it has ended, and so does this process"
                );
                process::exit(1);
            };
            let thread = thread::Builder::new().name("firesteel-starter".into());
            thread.spawn(watch).map_err(|e| Error::io("start", "a thread that watches who started this process", e))?;
            Ok(role.settings)
        });
        settings.as_deref().map_err(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn role() -> Role {
        Role {
            driver: "10.0.0.1:4040".into(),
            secret: Secret::from_bytes(&[7; 32]).unwrap(),
            executor: ExecutorId(3),
            executable: ContentHash::parse(&"ab".repeat(32)),
            cores: NonZeroU32::new(2),
            local_dirs: vec!["/scratch".into()],
            outputs: Some(ShuffleFolders { folders: vec!["/outputs".into()], port: 7337 }),
            ends_with_starter: true,
        }
    }

    #[test]
    fn a_role_arrives_on_standard_input() {
        let stdin = role().stdin().unwrap();
        let mut message = vec![0; MAX];
        let (read, _) = rustix::net::recv(&stdin.theirs, &mut message[..], RecvFlags::empty()).unwrap();
        let arrived = Role::decode(&message[..read]).unwrap();
        assert_eq!(arrived.secret.expose(), [7; 32]);
        assert_eq!(format!("{arrived:?}"), format!("{:?}", role()));
        // The end of who started it is seen.
        drop(stdin.ours);
        Starter(stdin.theirs).wait();
    }

    #[test]
    fn roles_of_other_versions_are_understood() {
        let secret = to_hex(&[7; 32]);
        let json = format!(r#"{{"driver":"h:1","secret":"{secret}","executor":3,"colour":{{"of":["hat"]}}}}"#);
        let role = Role::decode(&[&MAGIC[..], json.as_bytes()].concat()).unwrap();
        assert_eq!((role.executor, role.cores, role.ends_with_starter), (ExecutorId(3), None, false));
        assert_eq!(role.outputs, None);
    }

    #[test]
    fn a_role_that_is_too_long_is_refused() {
        let role = Role { local_dirs: vec!["/a/folder".into(); 10_000], ..role() };
        assert!(role.stdin().unwrap_err().to_string().contains("scratch folders"));
        let driver = DriverRole { settings: vec![("my.key".into(), "x".repeat(MAX))] };
        assert!(driver.stdin().unwrap_err().to_string().contains("shorter settings"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_role(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Role::decode(&[&MAGIC[..], &bytes].concat()).is_err());
            prop_assert!(Role::decode(&bytes).is_err());
            prop_assert!(DriverRole::decode(&[&DRIVER[..], &bytes].concat()).is_err());
        }
    }
}
