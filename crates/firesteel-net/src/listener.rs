//! A listener: accepts connections, shakes hands with a few at a time, and hands on those that know the secret.

use crate::{
    Connection, Hello, NetError, NetErrorKind, Options, Result, Secret,
    connection::{Link, is_loopback},
    handshake::Side,
};
use std::{
    fmt::{self, Display},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// When all handshakes are taken and another peer waits, the oldest is closed if it is older than this.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many refusals are warnings in the log; what follows is for those who look for it.
const WARNINGS: u32 = 20;
/// How long to wait when the system cannot accept (no file descriptors left).
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections on an address until it is dropped.
///
/// Each connection is authenticated first, on a thread of its own, at most
/// [`max_handshakes`](Options::max_handshakes) at a time and each within
/// [`handshake_timeout`](Options::handshake_timeout); when all are taken, one that takes longer than a second gives way to the
/// next. What fails is logged, the first few times as a warning, and otherwise without consequence.
///
/// Dropping it ends its threads and handshakes, and frees the port; connections that were handed on live on.
pub struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The socket that is listened on, for shutting it down.
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
}

/// What `address` stands for, if it may be listened on.
fn allowed(address: &(impl ToSocketAddrs + Display), secret: Option<&Secret>) -> Result<Vec<SocketAddr>> {
    let failed = |kind| NetError::new(&address.to_string().into(), kind);
    let addresses = address.to_socket_addrs().map_err(|e| failed(NetErrorKind::Listen(Arc::new(e))))?;
    let addresses: Vec<_> = addresses.collect();
    match secret.is_none() && !addresses.iter().all(is_loopback) {
        true => Err(failed(NetErrorKind::NoSecret)),
        false => Ok(addresses),
    }
}

impl Listener {
    /// Whether [`bind`](Listener::bind) may listen on `address` with this secret: for who has something to prepare before it does.
    ///
    /// # Errors
    /// As `bind`, but for what the system and the hello would say.
    pub fn check(address: impl ToSocketAddrs + Display, secret: Option<&Secret>) -> Result<()> {
        allowed(&address, secret).map(drop)
    }

    /// Listens on `address` (port 0 for a free one), says `hello` to those who connect, and gives each
    /// authenticated connection to `on_connection`.
    ///
    /// That is called on the handshake's thread, which others wait for: hand the connection on, and neither work nor
    /// wait nor drop the listener there.
    ///
    /// # Errors
    /// [`NoSecret`](NetErrorKind::NoSecret) when the address can be reached from other machines and there is no
    /// secret; [`Listen`](NetErrorKind::Listen) when the system refuses; [`BadHello`](NetErrorKind::BadHello).
    pub fn bind(
        address: impl ToSocketAddrs + Display,
        secret: Option<&Secret>,
        hello: &Hello,
        options: &Options,
        on_connection: impl Fn(Connection) + Send + Sync + 'static,
    ) -> Result<Listener> {
        let name: Arc<str> = address.to_string().into();
        let failed = |kind| NetError::new(&name, kind);
        let listen_failed = |e| failed(NetErrorKind::Listen(Arc::new(e)));
        hello.encode().map_err(failed)?;
        let addresses = allowed(&address, secret)?;
        let listener = TcpListener::bind(&*addresses).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let socket = OwnedFd::from(listener.try_clone().map_err(listen_failed)?).into();

        let shared = Arc::new(Shared::default());
        let (secret, hello, options) = (secret.cloned(), hello.clone(), options.clone());
        let accepting = Accepting {
            shared: Arc::clone(&shared),
            secret,
            hello,
            options,
            refusals: AtomicU32::new(0),
            on_connection,
        };
        let thread = thread::Builder::new()
            .name("firesteel-listen".into())
            .spawn(move || accepting.run(&listener))
            .map_err(listen_failed)?;
        Ok(Listener { address, shared, socket, thread: Some(thread) })
    }

    /// The address that is listened on, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        state.handshakes.iter().filter_map(|h| h.link.upgrade()).for_each(|link| link.close());
        drop(state);
        self.shared.changed.notify_all();
        // Ends an `accept` that waits, where the system has that; elsewhere a last connection does.
        if self.socket.shutdown(Shutdown::Both).is_err() {
            let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What the accepting thread works with.
struct Accepting<F> {
    shared: Arc<Shared>,
    secret: Option<Secret>,
    hello: Hello,
    options: Options,
    refusals: AtomicU32,
    on_connection: F,
}

impl<F: Fn(Connection) + Sync> Accepting<F> {
    /// Accepts until the listener stops, and then waits for the handshakes' threads.
    fn run(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            loop {
                let accepted = listener.accept();
                if self.shared.lock().stopping {
                    return;
                }
                let begun = accepted.and_then(|(stream, peer)| {
                    let link = Link::new(stream, peer.to_string().into(), self.options.clone());
                    let Some(turn) = Turn::begin(&self.shared, &link, self.options.max_handshakes) else {
                        return Ok(());
                    };
                    let serve = move || self.serve(link, &turn);
                    thread::Builder::new().name("firesteel-handshake".into()).spawn_scoped(scope, serve).map(drop)
                });
                if let Err(e) = begun {
                    self.warn(&format_args!(
                        "a connection could not be accepted: {e}; see the limits on open files and threads"
                    ));
                    drop(self.shared.wait(self.shared.lock(), PAUSE));
                }
            }
        });
    }

    fn serve(&self, link: Arc<Link>, turn: &Turn<'_>) {
        match Connection::establish(link, Side::Listening, self.secret.as_ref(), &self.hello) {
            Ok(connection) => {
                if turn.hands_shaken() {
                    // A panic has been told by the panic hook, and is no reason to stop listening.
                    let _ = catch_unwind(AssertUnwindSafe(|| (self.on_connection)(connection)));
                }
            }
            Err(e) => self.warn(&format_args!("a connection was refused: {e}")),
        }
    }

    fn warn(&self, what: &dyn Display) {
        match self.refusals.fetch_add(1, Ordering::Relaxed).saturating_add(1) {
            n if n < WARNINGS => tracing::warn!("{what}"),
            WARNINGS => tracing::warn!("{what} (further refusals are logged at debug level)"),
            _ => tracing::debug!("{what}"),
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// How many handshakes began.
    begun: u64,
    /// Those that run, oldest first.
    handshakes: Vec<Handshake>,
}

struct Handshake {
    id: u64,
    since: Instant,
    /// Nothing once the hands are shaken: from then on the connection is not the listener's to close.
    link: Weak<Link>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A place among the handshakes, free again when it is dropped.
struct Turn<'a> {
    shared: &'a Shared,
    id: u64,
}

impl<'a> Turn<'a> {
    /// Waits for a place among at most `max` handshakes; none when the listener stops.
    fn begin(shared: &'a Shared, link: &Arc<Link>, max: usize) -> Option<Turn<'a>> {
        let mut state = shared.lock();
        while !state.stopping && state.handshakes.len() >= max.max(1) {
            let mut time = PATIENCE;
            if let Some((since, link)) = state.handshakes.iter().find_map(|h| Some((h.since, h.link.upgrade()?))) {
                match PATIENCE.saturating_sub(since.elapsed()) {
                    Duration::ZERO => link.close(),
                    left => time = left,
                }
            }
            state = shared.wait(state, time);
        }
        if state.stopping {
            return None;
        }
        let id = state.begun;
        state.begun += 1;
        state.handshakes.push(Handshake { id, since: Instant::now(), link: Arc::downgrade(link) });
        Some(Turn { shared, id })
    }

    /// Takes the connection out of the listener's hands; `false` when it stopped meanwhile.
    fn hands_shaken(&self) -> bool {
        let mut state = self.shared.lock();
        if let Some(handshake) = state.handshakes.iter_mut().find(|h| h.id == self.id) {
            handshake.link = Weak::new();
        }
        !state.stopping
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.lock().handshakes.retain(|h| h.id != self.id);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use tracing::{Event, Level, Metadata, Subscriber, field, span};

    static LOGGED: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

    struct Log;

    struct Text(String);

    impl field::Visit for Text {
        fn record_debug(&mut self, _: &field::Field, value: &dyn fmt::Debug) {
            self.0 = format!("{value:?}");
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            LOGGED.lock().unwrap().push((*event.metadata().level(), text.0));
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn refusals_are_logged_with_the_peer_and_the_first_as_warnings() {
        // The only test of this binary that has a listener.
        tracing::subscriber::set_global_default(Log).unwrap();
        let listener =
            Listener::bind("127.0.0.1:0", None, &Hello::new("test", 1), &Options::default(), |_| {}).unwrap();
        let mut peers = Vec::new();
        for _ in 0..WARNINGS + 5 {
            let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
            peers.push(stream.local_addr().unwrap());
            stream.write_all(&[b'x'; 40]).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
        drop(listener);
        let logged = LOGGED.lock().unwrap();
        assert_eq!(logged.len(), peers.len());
        for peer in &peers {
            let (_, message) = logged.iter().find(|(_, message)| message.contains(&format!(" {peer}: "))).unwrap();
            assert!(
                message.starts_with("a connection was refused: ") && message.contains("does not speak Firesteel"),
                "{message}"
            );
        }
        assert_eq!(logged.iter().filter(|(level, _)| *level == Level::WARN).count(), WARNINGS as usize);
        assert_eq!(logged.iter().filter(|(_, message)| message.contains("further refusals")).count(), 1);
    }
}
