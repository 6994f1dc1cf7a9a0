//! A connection to the master that is made again when it is lost: what workers and applications have in common.

use crate::protocol::{self, Caller, Heard, encode, receive};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use firesteel_model::{Error, Result};
use firesteel_net::{Closer, FrameReader, NetError, NetErrorKind, Outbox, Secret, connect};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    convert::Infallible,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// So many bytes may wait for a master that does not read; one that lets more wait is left.
const UNSENT: usize = 64 << 20;
/// After a failed attempt to connect the next comes after this time, then after twice the time, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long it may take to say the last words, and to end.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// So many heartbeats are said while silence may last.
const BEATS: u32 = 4;
/// How long the master may take to answer a registration.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who keeps a connection to the master.
pub(crate) trait Visitor: Send + Sync + 'static {
    const CALLER: Caller;
    type Says: Serialize;
    type Hears: DeserializeOwned;

    /// The first message of each connection: who this is, and all that the master must know, since what was said before may have
    /// been lost. Made under the link's lock, as `heartbeat`: nobody may say anything while he holds a lock that these take.
    fn introduction(&self) -> Self::Says;
    fn heartbeat(&self) -> Self::Says;
    /// Looks at the first answer: how long silence may last, or why there is no connection, ever.
    fn welcomed(&self, answer: Self::Hears) -> std::result::Result<Duration, String>;
    /// What the master says afterwards. `false` ends the connection for good.
    fn heard(self: &Arc<Self>, message: Self::Hears) -> bool;
    /// The connection is there again; `say` is how to say something.
    fn reconnected(&self, say: &dyn Fn(&Self::Says));
    /// The connection is lost.
    fn disconnected(&self, why: &str);
    /// There will be no connection any more.
    fn refused(&self, why: &str);
}

/// The connection of a visitor.
pub(crate) struct MasterLink<V: Visitor> {
    shared: Arc<Shared<V>>,
    /// Each with what is disconnected when it ends.
    threads: Vec<(JoinHandle<()>, Receiver<Infallible>)>,
}

struct Shared<V> {
    masters: Vec<String>,
    secret: Option<Secret>,
    visitor: Arc<V>,
    state: Mutex<State>,
    /// It stops.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    line: Option<Line>,
    silence: Duration,
}

/// One connection.
struct Line {
    outbox: Outbox,
    closer: Closer,
    /// So many heartbeats were said since something was heard: not for how long, since this process may have stood still.
    unheard: u32,
}

/// Why there is no connection, and whether it makes sense to try again.
struct Failure {
    why: String,
    hopeless: bool,
}

impl<V: Visitor> MasterLink<V> {
    /// Connects to one of the masters and registers; tries for so long, or until somebody stops it.
    ///
    /// # Errors
    /// [`Error::Config`] if no master can be reached in time, or refuses.
    pub(crate) fn start(
        masters: Vec<String>,
        secret: Option<Secret>,
        visitor: Arc<V>,
        patience: Option<Duration>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared { masters, secret, visitor, state: Mutex::default(), changed: Condvar::new() });
        let reader = shared.connect(patience).map_err(|failure| Error::Config(failure.why))?;
        let mut link = MasterLink { shared: shared.clone(), threads: Vec::new() };
        let mut start = |name: &str, body: Box<dyn FnOnce() + Send>| -> Result<()> {
            let (running, ended) = crossbeam_channel::bounded(0);
            let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
                body();
                drop::<Sender<Infallible>>(running);
            });
            let thread = thread.map_err(|e| Error::io("start", "a thread for the connection to the master", e))?;
            link.threads.push((thread, ended));
            Ok(())
        };
        let listening = shared.clone();
        start("firesteel-master-link", Box::new(move || listening.listen(reader)))?;
        start("firesteel-heartbeat", Box::new(move || shared.beat()))?;
        Ok(link)
    }

    /// Says something; without effect while there is no connection, since the next one begins with an introduction.
    pub(crate) fn say(&self, message: &V::Says) {
        self.shared.lock().say(message);
    }

    /// As [`say`](MasterLink::say); no introduction or heartbeat comes between what `make` does and what is said of it.
    pub(crate) fn make_and_say(&self, make: impl FnOnce() -> V::Says) {
        let state = self.shared.lock();
        state.say(&make());
    }

    /// Ends the connection; what was said before arrives, if the master takes it within two seconds. Not to be called by what the visitor
    /// does when it hears something.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        let line = state.line.take();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(Line { outbox, closer, .. }) = line {
            if !outbox.flush(LAST_WAIT) {
                closer.close();
            }
            drop(outbox);
            closer.close();
        }
        let until = Instant::now() + LAST_WAIT;
        for (thread, ended) in self.threads.drain(..) {
            // One that is connecting again cannot be called back: it ends by itself when that is done, and does no more.
            if ended.recv_deadline(until) == Err(RecvTimeoutError::Disconnected) {
                let _ = thread.join();
            }
        }
    }
}

impl<V: Visitor> Drop for MasterLink<V> {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn say<T: Serialize>(&self, message: &T) {
        if let Some(line) = &self.line
            && let Err(e) = line.outbox.try_send(encode(message))
        {
            tracing::warn!("the master was not told: {e}");
            line.closer.close();
        }
    }
}

impl<V: Visitor> Shared<V> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long; whether it goes on afterwards.
    fn pause(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |state| !state.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    /// Tries the masters in turn until one answers.
    fn connect(&self, patience: Option<Duration>) -> std::result::Result<FrameReader, Failure> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let mut failures = Vec::new();
            for master in &self.masters {
                match self.register(master) {
                    Ok(reader) => return Ok(reader),
                    Err(failure) => failures.push(failure),
                }
            }
            let why = failures.iter().map(|failure| &*failure.why).collect::<Vec<_>>().join("; ");
            let hopeless = failures.iter().all(|failure| failure.hopeless);
            if hopeless || patience.is_some_and(|patience| began.elapsed() + pause > patience) || !self.pause(pause) {
                return Err(Failure { why, hopeless });
            }
            if pause == FIRST_PAUSE {
                tracing::warn!("no master answers, and it is tried again: {why}");
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn register(&self, master: &str) -> std::result::Result<FrameReader, Failure> {
        let later = |why: String| Failure { why, hopeless: false };
        let never = |why: String| Failure { why: format!("the master at {master}: {why}"), hopeless: true };
        let hello = protocol::hello(Some(V::CALLER));
        let connected = connect(master, self.secret.as_ref(), &hello, &protocol::options(None));
        let connection =
            connected.map_err(|e| Failure { hopeless: is_hopeless(&e), why: format!("the master at {e}") })?;
        let closer = connection.closer();
        let (mut reader, writer) = connection.split();
        let outbox = Outbox::new(writer, UNSENT).map_err(|e| later(e.to_string()))?;
        {
            let mut state = self.lock();
            if state.stopping {
                return Err(never("this process ends".into()));
            }
            // Under the lock: what changes from here on is said after the introduction.
            let introduction = encode(&self.visitor.introduction());
            outbox.try_send(introduction).map_err(|e| later(e.to_string()))?;
            state.line = Some(Line { outbox, closer: closer.clone(), unheard: 0 });
        }
        let answer = within(PATIENCE, &closer, || receive(&mut reader, &mut Vec::new()));
        let failure = match answer {
            Heard::Message(answer) => match self.visitor.welcomed(answer) {
                Ok(silence) => {
                    self.lock().silence = silence.max(Duration::from_millis(40));
                    self.changed.notify_all();
                    return Ok(reader);
                }
                Err(why) => never(why),
            },
            Heard::Unknown(why) => never(why),
            Heard::End(why) => later(why),
        };
        self.hang_up();
        Err(failure)
    }

    fn hang_up(&self) {
        let line = self.lock().line.take();
        if let Some(line) = line {
            line.closer.close();
        }
    }

    /// Hears what the master says, and connects again when the connection is lost, until it is stopped.
    fn listen(&self, mut reader: FrameReader) {
        let mut frame = Vec::new();
        loop {
            let why = loop {
                match receive(&mut reader, &mut frame) {
                    Heard::Message(message) => {
                        if let Some(line) = &mut self.lock().line {
                            line.unheard = 0;
                        }
                        if !self.visitor.heard(message) {
                            self.lock().stopping = true;
                            self.changed.notify_all();
                            break String::new();
                        }
                    }
                    Heard::Unknown(why) => tracing::warn!("the master says something: {why}"),
                    Heard::End(why) => break why,
                }
            };
            self.hang_up();
            if self.lock().stopping {
                return;
            }
            tracing::warn!("the connection to the master is lost, and is made again: {why}");
            self.visitor.disconnected(&why);
            reader = match self.connect(None) {
                Ok(reader) => reader,
                Err(failure) => {
                    if !self.lock().stopping {
                        tracing::error!("{}", failure.why);
                        self.visitor.refused(&failure.why);
                    }
                    return;
                }
            };
            tracing::info!("the master answers again");
            self.visitor.reconnected(&|message| self.lock().say(message));
        }
    }

    /// Says that it is there, and looks whether the master is.
    fn beat(&self) {
        loop {
            let between = self.lock().silence / BEATS;
            if !self.pause(between) {
                return;
            }
            let mut state = self.lock();
            let silence = state.silence;
            let Some(line) = &mut state.line else { continue };
            if line.unheard > BEATS {
                tracing::warn!("the master has said nothing for {silence:?}");
                line.closer.close();
                continue;
            }
            line.unheard += 1;
            // Under the lock, as an introduction: it is of this connection, and comes after all that the visitor takes for said.
            state.say(&self.visitor.heartbeat());
        }
    }
}

/// Whether there is no sense in trying again.
fn is_hopeless(e: &NetError) -> bool {
    use NetErrorKind::{BadHello, BadSecret, HandshakeVersion, NoSecret, NotFiresteel, Protocol, Secret, Version};
    matches!(
        e.kind(),
        BadHello(_)
            | BadSecret(_)
            | HandshakeVersion { .. }
            | NoSecret
            | NotFiresteel
            | Protocol { .. }
            | Secret
            | Version { .. }
    )
}

/// Runs what waits on a connection, which is closed if that takes too long.
fn within<T>(time: Duration, closer: &Closer, wait: impl FnOnce() -> T) -> T {
    let (done, until) = crossbeam_channel::bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if until.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                closer.close();
            }
        });
        let outcome = wait();
        drop(done);
        outcome
    })
}
