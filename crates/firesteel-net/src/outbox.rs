//! A queue before a writer, so that sending a message waits for no network. What is small and meets no other is written by whoever says it,
//! which spares two threads a change; what the socket has no room for is left to a thread.

use crate::{
    FrameWriter, NetError, NetErrorKind, Result,
    connection::Link,
    writer::{HEADER, RECORD},
};
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
/// So much is written at once by who sends it, if the socket has room; it must be less than a record, which would be waited for.
const AT_ONCE: usize = RECORD / 2;

/// Frames on their way to a peer: a bounded queue, and a thread that sends what waits, all of it in as few writes as possible. A caller whose
/// frame is short and finds nothing before it sends it itself, as far as the socket has room for it.
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
    /// There is room in the queue, or the connection has ended.
    room: Condvar,
}

struct State {
    queue: VecDeque<Vec<u8>>,
    /// What the queue and the frames that are being sent cost.
    waiting: usize,
    /// How much of that the writer has, which the socket had no room for.
    begun: usize,
    /// How many wait for room.
    waiters: usize,
    closing: bool,
    writer: Writer,
}

/// Who writes. Whoever does takes along what is queued meanwhile.
enum Writer {
    /// Nobody: all is sent, or waits for [`Outbox::go`].
    Idle(FrameWriter),
    /// The thread is to.
    Left(FrameWriter),
    /// Somebody does.
    Busy,
    /// Nobody any more.
    Ended(Result<()>),
}

impl State {
    /// Whether there is room for a frame, or an end that makes it needless.
    fn has_room(&self, frame: &Vec<u8>, limit: usize) -> bool {
        self.waiting == 0 || self.waiting.saturating_add(cost(frame)) <= limit || self.has_ended()
    }

    fn has_ended(&self) -> bool {
        matches!(self.writer, Writer::Ended(_))
    }

    /// The writer, if nobody writes and the thread has not been told to.
    fn take_idle(&mut self) -> Option<FrameWriter> {
        match mem::replace(&mut self.writer, Writer::Busy) {
            Writer::Idle(writer) => Some(writer),
            other => {
                self.writer = other;
                None
            }
        }
    }
}

impl Outbox {
    /// Starts a thread that sends through `writer` what callers cannot at once; at most `limit` bytes wait, of which each frame costs 64
    /// beyond its own. A frame longer than the limit is taken when none waits.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(writer: FrameWriter, limit: usize) -> Result<Outbox> {
        let link = Arc::clone(writer.link());
        let state = State {
            queue: VecDeque::new(),
            waiting: 0,
            begun: 0,
            waiters: 0,
            closing: false,
            writer: Writer::Idle(writer),
        };
        let shared = Arc::new(Shared {
            peer: Arc::clone(&link.peer),
            link: Arc::downgrade(&link),
            limit,
            max_frame: link.max_frame(),
            patience: link.options.write_timeout,
            state: Mutex::new(state),
            changed: Condvar::new(),
            room: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("firesteel-outbox".into())
            .spawn(move || theirs.send_all())
            .map_err(|e| NetError::new(&shared.peer, NetErrorKind::Io(Arc::new(e))))?;
        Ok(Outbox { shared, thread: Some(thread) })
    }

    /// Sends one frame if the queue has room for it.
    ///
    /// # Errors
    /// [`QueueFull`](NetErrorKind::QueueFull) when it has none and [`FrameTooLong`](NetErrorKind::FrameTooLong), after
    /// which everything is as before; otherwise what ended the connection.
    pub fn try_send(&self, frame: Vec<u8>) -> Result<()> {
        self.try_queue(frame)?;
        self.go()
    }

    /// Queues one frame if it has room, for the next [`go`](Outbox::go), so that several leave in one write. What would be more than that is
    /// sent at once.
    ///
    /// # Errors
    /// As [`try_send`](Outbox::try_send).
    pub fn try_queue(&self, frame: Vec<u8>) -> Result<()> {
        let mut state = self.shared.lock();
        let (waiting, limit) = (state.waiting, self.shared.limit);
        if !state.has_room(&frame, limit) {
            return Err(NetError::new(&self.shared.peer, NetErrorKind::QueueFull { waiting, limit }));
        }
        self.push(&mut state, frame)?;
        if state.waiting > AT_ONCE {
            self.shared.write(state)?;
        }
        Ok(())
    }

    /// Sends what was queued.
    ///
    /// # Errors
    /// What ended the connection.
    pub fn go(&self) -> Result<()> {
        self.shared.write(self.shared.lock())
    }

    /// Sends one frame, and waits until the queue has room for it: for as long as the peer takes something within each
    /// [`write_timeout`](crate::Options::write_timeout).
    ///
    /// # Errors
    /// [`FrameTooLong`](NetErrorKind::FrameTooLong), after which everything is as before; otherwise what ended the
    /// connection.
    pub fn send(&self, frame: Vec<u8>) -> Result<()> {
        let Shared { limit, ref room, .. } = *self.shared;
        let mut state = self.shared.lock();
        state.waiters += 1;
        let state = room.wait_while(state, |state| !state.has_room(&frame, limit));
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.waiters -= 1;
        self.push(&mut state, frame)?;
        self.shared.write(state)
    }

    fn push(&self, state: &mut State, frame: Vec<u8>) -> Result<()> {
        self.shared.living(state)?;
        let (length, limit) = (frame.len(), self.shared.max_frame);
        if length > limit {
            return Err(NetError::new(&self.shared.peer, NetErrorKind::FrameTooLong { length: length as u64, limit }));
        }
        state.waiting = state.waiting.saturating_add(cost(&frame));
        state.queue.push_back(frame);
        Ok(())
    }

    /// Waits until all that was sent is on its way, or the connection has ended, but not longer than this; says whether it is on its
    /// way.
    pub fn flush(&self, within: Duration) -> bool {
        let mut state = self.shared.lock();
        state.waiters += 1;
        let waits = |state: &mut State| state.waiting > 0 && !state.has_ended();
        let waited = self.shared.room.wait_timeout_while(state, within, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiters -= 1;
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
            .wait_timeout_while(state, shared.patience, |state| !state.has_ended())
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
        match &shared.lock().writer {
            Writer::Ended(how) => how.clone(),
            _ => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What ended the connection, if something has.
    fn living(&self, state: &State) -> Result<()> {
        match &state.writer {
            Writer::Ended(Err(e)) => Err(e.clone()),
            Writer::Ended(Ok(())) => Err(NetError::new(&self.peer, NetErrorKind::Closed)),
            _ => Ok(()),
        }
    }

    /// Writes what waits, unless somebody does already: at once what is little and the socket has room for; the rest is left to the thread.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<()> {
        self.living(&state)?;
        if state.queue.is_empty() {
            return Ok(());
        }
        let Some(mut writer) = state.take_idle() else { return Ok(()) };
        let (mut sent, mut length) = (0, 0);
        while let Some(frame) = state.queue.front()
            && length + HEADER + frame.len() <= AT_ONCE
        {
            (sent, length) = (sent + cost(frame), length + HEADER + frame.len());
            // So little is gathered, and not written yet.
            if let Err(e) = writer.send(&[frame]) {
                return self.over(state, writer, e);
            }
            state.queue.pop_front();
        }
        if sent > 0 {
            drop(state);
            let written = writer.flush_now();
            state = self.lock();
            match written {
                Ok(true) => self.made_room(&mut state, sent),
                Ok(false) => state.begun = sent,
                Err(e) => return self.over(state, writer, e),
            }
        }
        if state.begun == 0 && state.queue.is_empty() && !state.closing {
            state.writer = Writer::Idle(writer);
        } else {
            state.writer = Writer::Left(writer);
            drop(state);
            self.changed.notify_all();
        }
        Ok(())
    }

    /// The thread: sends what callers leave to it, and, when the outbox closes, all that waits and the end.
    fn send_all(&self) {
        let mut batch = VecDeque::new();
        let mut state = self.lock();
        loop {
            let has_nothing_to_do = |state: &mut State| match state.writer {
                Writer::Idle(_) => !state.closing,
                Writer::Busy => true,
                Writer::Left(_) | Writer::Ended(_) => false,
            };
            state = self.changed.wait_while(state, has_nothing_to_do).unwrap_or_else(PoisonError::into_inner);
            let mut writer = match mem::replace(&mut state.writer, Writer::Busy) {
                Writer::Idle(writer) | Writer::Left(writer) => writer,
                other => {
                    state.writer = other;
                    return;
                }
            };
            let begun = mem::take(&mut state.begun);
            if begun == 0 && state.queue.is_empty() {
                // The outbox closes.
                drop(state);
                let ended = writer.finish();
                return self.ended(self.lock(), ended);
            }
            mem::swap(&mut batch, &mut state.queue);
            drop(state);
            let written = self.write_batch(&mut writer, &mut batch, begun);
            state = self.lock();
            match written {
                Ok(()) if state.queue.is_empty() => state.writer = Writer::Idle(writer),
                Ok(()) => state.writer = Writer::Left(writer),
                Err(e) => return drop(self.over(state, writer, e)),
            }
        }
    }

    /// Writes frames, after what was `begun`.
    fn write_batch(&self, writer: &mut FrameWriter, batch: &mut VecDeque<Vec<u8>>, begun: usize) -> Result<()> {
        let mut sent = begun;
        for frame in batch.drain(..) {
            writer.send(&[&frame])?;
            sent += cost(&frame);
            if sent >= PROGRESS {
                writer.flush()?;
                self.made_room(&mut self.lock(), mem::take(&mut sent));
            }
        }
        writer.flush()?;
        self.made_room(&mut self.lock(), sent);
        Ok(())
    }

    fn made_room(&self, state: &mut State, sent: usize) {
        state.waiting -= sent;
        if state.waiters > 0 {
            self.room.notify_all();
        }
    }

    /// The connection has ended while somebody wrote.
    fn over(&self, state: MutexGuard<'_, State>, writer: FrameWriter, e: NetError) -> Result<()> {
        drop(writer);
        self.ended(state, Err(e.clone()));
        Err(e)
    }

    fn ended(&self, mut state: MutexGuard<'_, State>, how: Result<()>) {
        state.writer = Writer::Ended(how);
        state.queue = VecDeque::new();
        drop(state);
        self.changed.notify_all();
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
