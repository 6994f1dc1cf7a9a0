//! A connection: how it comes about over a socket, and what holds its two halves together.

use crate::{
    FrameReader, FrameWriter, Hello, NetError, NetErrorKind, Options, Result, Secret,
    handshake::{MAX_SEALED, OPENING, Opening, Session, Side},
};
use std::{
    fmt::{self, Display},
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

/// A socket, who is at its other end, and its limits. Both halves share it; with the last it is closed.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    pub(crate) peer: Arc<str>,
    pub(crate) options: Options,
}

impl Link {
    pub(crate) fn new(stream: TcpStream, peer: Arc<str>, options: Options) -> Arc<Link> {
        Arc::new(Link { stream, peer, options })
    }

    pub(crate) fn error(&self, kind: NetErrorKind) -> NetError {
        NetError::new(&self.peer, kind)
    }

    /// Closes the socket in both directions, so that whoever waits on it, here or there, wakes up.
    pub(crate) fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// An error after which nothing more can be said.
    pub(crate) fn fatal(&self, kind: NetErrorKind) -> NetError {
        self.close();
        self.error(kind)
    }

    /// The longest frame whose length is no other mark.
    pub(crate) fn max_frame(&self) -> usize {
        self.options.max_frame.min(u32::MAX as usize - 1)
    }
}

/// Whether an error means that a time limit of the socket passed.
pub(crate) fn timed_out(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Zero is no time limit to the system.
fn limit(time: Duration) -> Option<Duration> {
    Some(time.max(Duration::from_millis(1)))
}

/// Whether an address is this machine's own, out of reach for others.
pub(crate) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// An authenticated connection: both sides know the secret, and each other's [`Hello`].
///
/// What the peer said of itself is in [`hello`](Connection::hello): look at its details before using the connection.
/// Then [`split`](Connection::split) it.
pub struct Connection {
    link: Arc<Link>,
    session: Session,
    hello: Hello,
    peer_addr: SocketAddr,
    local_addr: SocketAddr,
}

impl Connection {
    /// What the peer said of itself: the same protocol and version, its own details.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The peer as messages call it: the address that was connected to, as given and as resolved.
    pub fn peer(&self) -> &str {
        &self.link.peer
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// This side's address, under which the peer's machine can reach this one.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether frames are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.session.is_encrypted()
    }

    /// What closes the connection from elsewhere.
    pub fn closer(&self) -> Closer {
        Closer::new(&self.link)
    }

    /// The two halves, for a thread each.
    pub fn split(self) -> (FrameReader, FrameWriter) {
        let (ours, theirs) = self.session.frame_keys().unzip();
        (FrameReader::new(Arc::clone(&self.link), theirs), FrameWriter::new(self.link, ours))
    }

    /// Shakes hands over a new socket, of which `link` has no other half yet.
    pub(crate) fn establish(link: Arc<Link>, side: Side, secret: Option<&Secret>, hello: &Hello) -> Result<Connection> {
        Self::shake_hands(&link, side, secret, hello)
            .map_err(|kind| link.fatal(kind))
            .map(|(session, hello, peer_addr, local_addr)| Connection { link, session, hello, peer_addr, local_addr })
    }

    fn shake_hands(
        link: &Link,
        side: Side,
        secret: Option<&Secret>,
        hello: &Hello,
    ) -> Result<(Session, Hello, SocketAddr, SocketAddr), NetErrorKind> {
        let encoded = hello.encode()?;
        let options = &link.options;
        let mut timed = Timed { stream: &link.stream, deadline: Instant::now() + options.handshake_timeout };
        let io = |e| NetErrorKind::Io(Arc::new(e));
        let peer_addr = link.stream.peer_addr().map_err(io)?;
        let local_addr = link.stream.local_addr().map_err(io)?;
        link.stream.set_nodelay(true).map_err(io)?;

        let opening = Opening::new(side, options.encrypt || !is_loopback(&peer_addr))?;
        let session = match side {
            Side::Connecting => {
                timed.send(opening.bytes())?;
                let theirs = timed.receive_opening()?;
                let session = opening.agree(&theirs, secret)?;
                timed.send(&session.seal(&encoded))?;
                session
            }
            Side::Listening => {
                let theirs = timed.receive_opening()?;
                let ours = *opening.bytes();
                let session = opening.agree(&theirs, secret);
                // A peer of another version is shown this side's, for its own message.
                if matches!(session, Ok(_) | Err(NetErrorKind::HandshakeVersion { .. })) {
                    timed.send(&ours)?;
                }
                session?
            }
        };
        let theirs = timed.receive_hello().and_then(|sealed| session.open(sealed));
        if side == Side::Listening {
            match &theirs {
                Ok(_) => timed.send(&session.seal(&encoded))?,
                Err(NetErrorKind::Secret) => timed.send(&REFUSAL)?,
                Err(_) => {}
            }
        }
        let theirs = theirs?;
        hello.agrees_with(&theirs)?;

        link.stream.set_read_timeout(options.read_timeout.and_then(limit)).map_err(io)?;
        link.stream.set_write_timeout(limit(options.write_timeout)).map_err(io)?;
        Ok((session, theirs, peer_addr, local_addr))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.link.peer)
            .field("hello", &self.hello)
            .field("encrypted", &self.is_encrypted())
            .finish_non_exhaustive()
    }
}

/// Closes a connection from anywhere: both its halves, here and at the peer, end with an error if they have not ended
/// already. Keeps nothing open.
#[derive(Clone)]
pub struct Closer(Weak<Link>);

impl Closer {
    pub(crate) fn new(link: &Arc<Link>) -> Closer {
        Closer(Arc::downgrade(link))
    }

    /// Closes the connection, now.
    pub fn close(&self) {
        if let Some(link) = self.0.upgrade() {
            link.close();
        }
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closer(..)")
    }
}

/// The length that stands for no hello: the secrets differ.
const REFUSAL: [u8; 2] = [0; 2];

/// A socket with one time limit for all that is done with it, so that a peer that sends a byte now and then gains nothing.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NetErrorKind> {
        self.left()
            .and_then(|left| self.stream.set_write_timeout(left))
            .and_then(|()| self.stream.write_all(bytes))
            .map_err(handshake_error)
    }

    fn receive(&mut self, mut bytes: &mut [u8]) -> Result<(), NetErrorKind> {
        while !bytes.is_empty() {
            let left = self.left().map_err(handshake_error)?;
            match self.stream.set_read_timeout(left).and_then(|()| self.stream.read(bytes)) {
                Ok(0) => return Err(NetErrorKind::HandshakeEnded),
                Ok(n) => bytes = &mut bytes[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(handshake_error(e)),
            }
        }
        Ok(())
    }

    fn receive_opening(&mut self) -> Result<[u8; OPENING], NetErrorKind> {
        let mut opening = [0; OPENING];
        self.receive(&mut opening)?;
        Ok(opening)
    }

    fn receive_hello(&mut self) -> Result<Vec<u8>, NetErrorKind> {
        let mut length = REFUSAL;
        self.receive(&mut length)?;
        match usize::from(u16::from_le_bytes(length)) {
            0 => Err(NetErrorKind::Secret),
            length if length > MAX_SEALED => Err(NetErrorKind::NotFiresteel),
            length => {
                let mut sealed = vec![0; length];
                self.receive(&mut sealed)?;
                Ok(sealed)
            }
        }
    }
}

fn handshake_error(e: io::Error) -> NetErrorKind {
    match e.kind() {
        _ if timed_out(&e) => NetErrorKind::HandshakeTimeout,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::NotConnected => {
            NetErrorKind::HandshakeEnded
        }
        _ => NetErrorKind::Io(Arc::new(e)),
    }
}

/// Connects to a listener, and shakes hands.
///
/// All addresses that a name stands for are tried in turn, within
/// [`connect_timeout`](Options::connect_timeout). Without a secret only loopback can be connected to.
///
/// # Errors
/// When nobody listens there, the handshake fails ([`NetErrorKind`] says how), or a time limit passes.
pub fn connect(
    address: impl ToSocketAddrs + Display,
    secret: Option<&Secret>,
    hello: &Hello,
    options: &Options,
) -> Result<Connection> {
    let name = address.to_string();
    let failed = |kind| NetError::new(&name.as_str().into(), kind);
    let connect_failed = |e| failed(NetErrorKind::Connect(Arc::new(e)));
    let deadline = Instant::now() + options.connect_timeout;
    let mut last = io::Error::new(ErrorKind::NotFound, "the name stands for no address");
    for resolved in address.to_socket_addrs().map_err(connect_failed)? {
        if secret.is_none() && !is_loopback(&resolved) {
            return Err(failed(NetErrorKind::NoSecret));
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&resolved, left) {
            Ok(stream) => {
                let resolved = resolved.to_string();
                let peer = if name == resolved { resolved } else { format!("{name} ({resolved})") };
                let link = Link::new(stream, peer.into(), options.clone());
                return Connection::establish(link, Side::Connecting, secret, hello);
            }
            Err(e) => last = e,
        }
    }
    Err(connect_failed(last))
}
