//! How a process learns that it is to be an executor: by the socket that is its standard input, which is gone before any code
//! of the user's runs. A child program that a task starts finds nothing there; secrets are in no argument and no environment.

use firesteel_model::{Error, ExecutorId, Result};
use firesteel_net::Secret;
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// What the message that makes a process an executor begins with.
const MAGIC: [u8; 16] = *b"firesteel role 1";
/// It is not longer than this.
const MAX: usize = 4096;

/// Who the process is to be.
#[derive(Serialize, Deserialize)]
pub(crate) struct Role {
    /// Where the driver listens.
    pub(crate) driver: String,
    pub(crate) secret: Vec<u8>,
    pub(crate) executor: ExecutorId,
    /// The hash of its executable; none where the driver has started its own again.
    pub(crate) module: Option<u128>,
}

impl Role {
    pub(crate) fn secret(&self) -> Result<Secret> {
        Secret::from_bytes(&self.secret).map_err(|e| Error::Config(e.to_string()))
    }

    /// The standard input of a process that is to have this role.
    pub(crate) fn stdin(&self) -> Result<OwnedFd> {
        let failed = |e: rustix::io::Errno| Error::io("make", "the socket that hands a role to an executor", e.into());
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(failed)?;
        let mut message = MAGIC.to_vec();
        message.extend(crate::executor::encode(self)?);
        rustix::net::send(&ours, &message, SendFlags::empty()).map_err(failed)?;
        Ok(theirs)
    }
}

/// Whether this process was started as an executor and has not become one.
pub(crate) fn is_waiting() -> bool {
    let mut magic = [0; MAGIC.len()];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let stdin = rustix::stdio::stdin();
    rustix::net::sockopt::socket_type(stdin) == Ok(SocketType::SEQPACKET)
        && rustix::net::recv(stdin, &mut magic[..], flags).is_ok_and(|(read, _)| read == MAGIC.len())
        && magic == MAGIC
}

/// The role that this process was started with, if any; its standard input is empty from now on.
pub(crate) fn take() -> Option<Result<Role>> {
    is_waiting().then(|| {
        let failed = |e: rustix::io::Errno| Error::io("read", "the executor's role", e.into());
        let mut message = vec![0; MAX];
        let (read, _) =
            rustix::net::recv(rustix::stdio::stdin(), &mut message[..], RecvFlags::empty()).map_err(failed)?;
        let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        rustix::stdio::dup2_stdin(&nothing).map_err(failed)?;
        crate::executor::decode(&message[MAGIC.len()..read])
    })
}
