//! What can go wrong between two processes.

use std::{io, sync::Arc};

/// The result of anything that needs a peer.
pub type Result<T, E = NetError> = std::result::Result<T, E>;

/// Why a connection did not come about, or ended. The message names the peer, what happened, and the remedy.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{peer}: {kind}")]
pub struct NetError {
    peer: Arc<str>,
    kind: NetErrorKind,
}

/// The kinds of [`NetError`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetErrorKind {
    /// An address that others can reach, and no secret.
    #[error(
        "this address is beyond the machine's loopback, and no secret is set: whoever reaches it could run code here; set the same \
         `firesteel.authenticate.secret` on all machines, or use 127.0.0.1"
    )]
    NoSecret,
    /// A secret that cannot be used.
    #[error("the secret cannot be used: {0}")]
    BadSecret(String),
    /// This side's own hello is longer than the handshake allows.
    #[error("this side's hello does not fit into the handshake: {0}")]
    BadHello(String),
    /// The address could not be listened on.
    #[error("cannot listen here: {0}; see that the address is this machine's and the port is free, or choose port 0")]
    Listen(Arc<io::Error>),
    /// No connection could be made.
    #[error("cannot connect: {0}; see that the process there runs, and that no firewall is between")]
    Connect(Arc<io::Error>),
    /// The handshake took longer than it may.
    #[error(
        "silent during the handshake, which has a time limit; see that the address is a Firesteel process's, and that it \
         is not overloaded"
    )]
    HandshakeTimeout,
    /// The connection ended before the handshake did.
    #[error("closed the connection during the handshake; the log there says why")]
    HandshakeEnded,
    /// Something that is not this protocol.
    #[error("does not speak Firesteel's protocol; see that address and port are a Firesteel process's")]
    NotFiresteel,
    /// A handshake of another version.
    #[error(
        "speaks version {theirs} of the handshake, this side version {ours}: use the same release of Firesteel on both sides"
    )]
    HandshakeVersion {
        /// The peer's.
        theirs: u8,
        /// This side's.
        ours: u8,
    },
    /// The peer has another secret, or none while this side has one; or somebody changed bytes on the way.
    #[error(
        "authentication failed: the secrets differ, or only one side has one; set the same `firesteel.authenticate.secret` on both"
    )]
    Secret,
    /// The peer speaks something else over the same transport.
    #[error("speaks the protocol `{theirs}`, this side `{ours}`: see that the address is that of the right process")]
    Protocol {
        /// The peer's.
        theirs: String,
        /// This side's.
        ours: String,
    },
    /// The peer speaks another version of the same protocol.
    #[error(
        "speaks version {theirs} of the protocol `{protocol}`, this side version {ours}: use the same release on both sides"
    )]
    Version {
        /// The protocol.
        protocol: String,
        /// The peer's version.
        theirs: u32,
        /// This side's.
        ours: u32,
    },
    /// A frame longer than the limit, to be sent or announced by the peer.
    #[error(
        "a frame of {length} bytes is longer than the limit of {limit} bytes; send it in parts, or raise the limit on both sides"
    )]
    FrameTooLong {
        /// The frame's length.
        length: u64,
        /// The limit.
        limit: usize,
    },
    /// The connection ended without saying so, perhaps in the middle of a frame.
    #[error("the connection was cut off; the process there may have died: see its log")]
    CutOff,
    /// An encrypted frame whose check failed.
    #[error(
        "bytes were changed on the way, so the connection was closed; look for faulty network hardware, or an intruder"
    )]
    Damaged,
    /// Nothing came for longer than the read timeout.
    #[error(
        "sent nothing for longer than the read timeout; see whether the process there is alive and the network whole"
    )]
    Silent,
    /// The peer took nothing for longer than the write timeout.
    #[error(
        "read nothing for longer than the write timeout, so the connection was closed; see whether the process there hangs and the network is whole"
    )]
    SlowReader,
    /// More bytes wait for the peer than may.
    #[error(
        "{waiting} bytes wait to be sent, and one more frame would pass the limit of {limit}: the peer does not read fast enough"
    )]
    QueueFull {
        /// How many bytes wait.
        waiting: usize,
        /// The limit.
        limit: usize,
    },
    /// This side closed the connection, or an error before this one did.
    #[error("the connection has been closed")]
    Closed,
    /// Anything else that the system says.
    #[error("the connection failed: {0}")]
    Io(Arc<io::Error>),
    /// The system gave no random bytes.
    #[error("the system has no random bytes to give, so no connection can be made safe")]
    NoRandomness,
}

impl NetError {
    pub(crate) fn new(peer: &Arc<str>, kind: NetErrorKind) -> NetError {
        NetError { peer: Arc::clone(peer), kind }
    }

    /// Who it is about: an address, as given and as resolved.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// What happened.
    pub fn kind(&self) -> &NetErrorKind {
        &self.kind
    }
}
