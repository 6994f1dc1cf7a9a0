//! A writer's thread and its queue, so that sending a message waits for no network.

use crate::{FrameWriter, NetError, NetErrorKind, Result, connection::Link};
use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

/// What a frame in the queue costs beyond its bytes, so that many empty ones are bounded too.
const FRAME_COST: usize = 64;
/// Room that was made is told when it is so much, or when all is sent.
const PROGRESS: usize = 1 << 20;

/// Frames on their way to a peer: a bounded queue, and a thread that sends what waits, all of it in as few writes as possible.
///
/// When the peer does not read fast enough the queue fills. Then [`try_send`](Outbox::try_send) fails, and the caller
/// [closes](crate::Closer) the connection or lets the frame go; [`send`](Outbox::send) waits. Dropping the outbox sends what waits, says that no frame
/// follows, and ends the thread; that takes at most the writer's [`write_timeout`](crate::Options::write_timeout), then the
/// connection is cut.
pub struct Outbox {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    peer: Arc<str>,
    /// Keeps the socket open no longer than the thread needs it.
    link: Weak<Link>,
    limit: usize,
    max_frame: usize,
    patience: Duration,
    state: Mutex<State>,
    /// There is something to do for the thread, or it has ended.
    changed: Condvar,
    /// There is room in the queue, or the thread has ended.
    room: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    /// What the queue and the frames that are being sent cost.
    waiting: usize,
    closing: bool,
    /// How the thread ended.
    ended: Option<Result<()>>,
}

impl State {
    /// Whether there is room for a frame, or an end that makes it needless.
    fn has_room(&self, frame: &Vec<u8>, limit: usize) -> bool {
        self.waiting == 0 || self.waiting.saturating_add(cost(frame)) <= limit || self.ended.is_some()
    }
}

impl Outbox {
    /// Starts a thread that sends through `writer`; at most `limit` bytes wait, of which each frame costs 64 beyond its own. A
    /// frame longer than the limit is taken when none waits.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(writer: FrameWriter, limit: usize) -> Result<Outbox> {
        let shared = Arc::new(Shared {
            peer: Arc::clone(&writer.link().peer),
            link: Arc::downgrade(writer.link()),
            limit,
            max_frame: writer.link().max_frame(),
            patience: writer.link().options.write_timeout,
            state: Mutex::default(),
            changed: Condvar::new(),
            room: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("firesteel-outbox".into())
            .spawn(move || {
                let ended = theirs.send_all(writer);
                let mut state = theirs.lock();
                state.ended = Some(ended);
                state.queue = VecDeque::new();
                drop(state);
                theirs.changed.notify_all();
                theirs.room.notify_all();
            })
            .map_err(|e| NetError::new(&shared.peer, NetErrorKind::Io(Arc::new(e))))?;
        Ok(Outbox { shared, thread: Some(thread) })
    }

    /// Queues one frame if it has room.
    ///
    /// # Errors
    /// [`QueueFull`](NetErrorKind::QueueFull) when it has none and [`FrameTooLong`](NetErrorKind::FrameTooLong), after
    /// which everything is as before; otherwise what ended the connection.
    pub fn try_send(&self, frame: Vec<u8>) -> Result<()> {
        let state = self.shared.lock();
        let (waiting, limit) = (state.waiting, self.shared.limit);
        if !state.has_room(&frame, limit) {
            return Err(NetError::new(&self.shared.peer, NetErrorKind::QueueFull { waiting, limit }));
        }
        self.push(state, frame)
    }

    /// Queues one frame, and waits until it has room: for as long as the peer takes something within each
    /// [`write_timeout`](crate::Options::write_timeout).
    ///
    /// # Errors
    /// [`FrameTooLong`](NetErrorKind::FrameTooLong), after which everything is as before; otherwise what ended the
    /// connection.
    pub fn send(&self, frame: Vec<u8>) -> Result<()> {
        let Shared { limit, ref room, .. } = *self.shared;
        let state = room.wait_while(self.shared.lock(), |state| !state.has_room(&frame, limit));
        self.push(state.unwrap_or_else(PoisonError::into_inner), frame)
    }

    fn push(&self, mut state: MutexGuard<'_, State>, frame: Vec<u8>) -> Result<()> {
        match &state.ended {
            Some(Err(e)) => return Err(e.clone()),
            Some(Ok(())) => return Err(NetError::new(&self.shared.peer, NetErrorKind::Closed)),
            None => {}
        }
        let (length, limit) = (frame.len(), self.shared.max_frame);
        if length > limit {
            return Err(NetError::new(&self.shared.peer, NetErrorKind::FrameTooLong { length: length as u64, limit }));
        }
        // The thread waits only for the first.
        let first = state.queue.is_empty();
        state.waiting = state.waiting.saturating_add(cost(&frame));
        state.queue.push_back(frame);
        drop(state);
        if first {
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// Waits until all that was queued is on its way, or the connection has ended, but not longer than this; says whether it is on its
    /// way.
    pub fn flush(&self, within: Duration) -> bool {
        let state = self.shared.lock();
        let waits = |state: &mut State| state.waiting > 0 && state.ended.is_none();
        let waited = self.shared.room.wait_timeout_while(state, within, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting == 0
    }

    /// Sends what waits, says that no frame follows, and ends the thread: what dropping does, with its outcome.
    ///
    /// # Errors
    /// What ended the connection; [`SlowReader`](NetErrorKind::SlowReader) when the time was not enough.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    /// The peer as messages call it.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }

    fn end(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let shared = &*self.shared;
        let mut state = shared.lock();
        state.closing = true;
        shared.changed.notify_all();
        let (state, wait) = shared
            .changed
            .wait_timeout_while(state, shared.patience, |state| state.ended.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if wait.timed_out()
            && let Some(link) = shared.link.upgrade()
        {
            link.close();
        }
        let _ = thread.join();
        if wait.timed_out() {
            return Err(NetError::new(&shared.peer, NetErrorKind::SlowReader));
        }
        shared.lock().ended.take().unwrap_or(Ok(()))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: sends until the outbox closes and nothing waits.
    fn send_all(&self, mut writer: FrameWriter) -> Result<()> {
        let mut batch = VecDeque::new();
        loop {
            let state = self.lock();
            let mut state = self
                .changed
                .wait_while(state, |state| state.queue.is_empty() && !state.closing)
                .unwrap_or_else(PoisonError::into_inner);
            if state.queue.is_empty() {
                break;
            }
            mem::swap(&mut batch, &mut state.queue);
            drop(state);
            let mut sent = 0;
            for frame in batch.drain(..) {
                writer.send(&[&frame])?;
                sent += cost(&frame);
                if sent >= PROGRESS {
                    writer.flush()?;
                    self.made_room(mem::take(&mut sent));
                }
            }
            writer.flush()?;
            self.made_room(sent);
        }
        writer.finish()
    }

    fn made_room(&self, sent: usize) {
        self.lock().waiting -= sent;
        self.room.notify_all();
    }
}

fn cost(frame: &Vec<u8>) -> usize {
    frame.capacity() + FRAME_COST
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}
