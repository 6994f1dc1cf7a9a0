//! The bus: carries events from where they happen to listeners, each group of listeners on a thread of its own.

use crate::Event;
use firesteel_model::{Error, Result};
use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How late an event may be delivered, so that others share its wake-up.
const LINGER: Duration = Duration::from_millis(2);
/// A batch of so many events does not linger.
const BATCH: usize = 256;
/// How long a flush, a stop or a full queue waits without a single event being delivered before it gives up.
const NO_PROGRESS: Duration = Duration::from_secs(30);

/// Something that is told of every event.
///
/// Closures are listeners too. A listener that panics is removed, with an error in the log; the others go on.
///
/// ```
/// use firesteel_events::{Bus, Event, Queue, event::UnpersistRdd};
/// use firesteel_model::RddId;
/// use std::sync::mpsc;
///
/// let bus = Bus::new(10_000);
/// let (seen, events) = mpsc::channel();
/// bus.add(Queue::Shared, move |e: &Event| seen.send(e.clone()).unwrap())?;
/// bus.post(UnpersistRdd { rdd: RddId(9) });
/// bus.flush();
/// assert_eq!(events.try_recv().unwrap().name(), "SparkListenerUnpersistRDD");
/// # Ok::<(), firesteel_model::Error>(())
/// ```
pub trait Listener: Send {
    /// An event happened. Called on the thread of the listener's queue: what takes long delays the queue's other listeners.
    fn on_event(&mut self, event: &Event);

    /// The bus stopped; no event follows.
    fn on_stop(&mut self) {}
}

impl<F: FnMut(&Event) + Send> Listener for F {
    fn on_event(&mut self, event: &Event) {
        self(event)
    }
}

/// A group of listeners, with a thread and a queue of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Queue {
    /// Users' listeners, and all that may lose events when it is slow.
    Shared,
    /// What keeps the application's state. Never loses an event.
    AppStatus,
    /// What writes the event log. Never loses an event.
    EventLog,
}

impl Queue {
    const ALL: [Queue; 3] = [Queue::Shared, Queue::AppStatus, Queue::EventLog];

    /// Spark's name of the queue.
    pub fn name(self) -> &'static str {
        match self {
            Queue::Shared => "shared",
            Queue::AppStatus => "appStatus",
            Queue::EventLog => "eventLog",
        }
    }

    fn may_drop(self) -> bool {
        self == Queue::Shared
    }
}

/// Names a listener that was added, to remove it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerHandle {
    queue: Queue,
    number: u64,
}

/// Carries events to listeners, each group of listeners on a thread of its own.
///
/// - Every listener sees the events that are posted after it was added, each once, in the order in which they were
///   posted; and all listeners see the same order.
/// - [`Bus::post`] never waits for a user's listener: when [`Queue::Shared`] is full, its events are dropped, with one
///   warning and a count. The other queues never lose an event: when one is full, the poster waits for room, so a slow
///   disk under the event log slows the driver down and does not fill its memory.
/// - Events are delivered in batches, at most 2 ms late, so that a burst of short tasks does not wake a thread for each of its
///   events. [`Bus::flush`] delivers at once.
///
/// Dropping the bus stops it.
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    capacity: usize,
    /// How many listeners there are, for posters that need not even make their event.
    listeners: AtomicUsize,
    state: Mutex<State>,
    /// How many events were told to listeners, of all queues, while a batch is still under way: a slow listener is no hung one.
    told: AtomicU64,
    /// One per queue: its thread waits here for events.
    wake: [Condvar; Queue::ALL.len()],
    /// Posters wait here for room, and flushes for deliveries.
    progress: Condvar,
}

struct State {
    queues: [QueueState; Queue::ALL.len()],
    next_listener: u64,
    stopped: bool,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<Arc<Event>>,
    /// How many events were put into the queue since the beginning.
    posted: u64,
    /// How many of them every listener has been told of.
    delivered: u64,
    dropped: u64,
    listeners: Vec<Arc<Slot>>,
    /// The thread waits without a time limit: an event has to wake it.
    asleep: bool,
    /// Someone waits for delivery: do not linger.
    urgent: bool,
    thread: Option<JoinHandle<()>>,
    running: bool,
}

/// A listener's place in its queue.
struct Slot {
    number: u64,
    name: &'static str,
    /// The queue's `posted` when the listener was added: it sees what follows.
    since: u64,
    removed: AtomicBool,
    listener: Mutex<Box<dyn Listener>>,
}

thread_local! {
    /// Whether this thread delivers events: it must wait neither for room nor for delivery, since nobody else would help.
    static DELIVERS: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bus {
    /// A bus whose queues hold up to `capacity` events each (at least one).
    pub fn new(capacity: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                capacity: capacity.max(1),
                listeners: AtomicUsize::new(0),
                state: Mutex::new(State { queues: Default::default(), next_listener: 0, stopped: false }),
                told: AtomicU64::new(0),
                wake: Default::default(),
                progress: Condvar::new(),
            }),
        }
    }

    /// Whether anyone listens: if not, an event need not even be made. Costs one atomic load.
    pub fn is_active(&self) -> bool {
        self.shared.listeners.load(Ordering::Relaxed) > 0
    }

    /// Posts an event to all listeners, and returns before they see it. Costs an allocation and a lock, and a wake-up if the listeners'
    /// threads have been idle; waits only when a queue is full that must not lose events.
    ///
    /// Without listeners, and after [`Bus::stop`], it does nothing.
    pub fn post(&self, event: impl Into<Event>) {
        if self.is_active() {
            self.shared.post(Arc::new(event.into()));
        }
    }

    /// Posts the event that `make` returns; if nobody listens, it is not even called.
    pub fn post_with<E: Into<Event>>(&self, make: impl FnOnce() -> E) {
        if self.is_active() {
            self.shared.post(Arc::new(make().into()));
        }
    }

    /// Adds a listener, which will see every event that is posted from now on.
    ///
    /// # Errors
    /// The bus was stopped, or the system gives no more threads.
    pub fn add<L: Listener + 'static>(&self, queue: Queue, listener: L) -> Result<ListenerHandle> {
        let mut state = lock(&self.shared.state);
        if state.stopped {
            return Err(Error::Stopped("its bus takes no more listeners".into()));
        }
        if !state.queues[queue as usize].running {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("firesteel-listeners-{}", queue.name()))
                .spawn(move || shared.deliver(queue))
                .map_err(|e| Error::io("start the thread of the listener queue", queue.name(), e))?;
            let it = &mut state.queues[queue as usize];
            it.thread = Some(thread);
            it.running = true;
        }
        let number = state.next_listener;
        state.next_listener += 1;
        let it = &mut state.queues[queue as usize];
        it.listeners.push(Arc::new(Slot {
            number,
            name: std::any::type_name::<L>(),
            since: it.posted,
            removed: AtomicBool::new(false),
            listener: Mutex::new(Box::new(listener)),
        }));
        self.shared.listeners.fetch_add(1, Ordering::Relaxed);
        Ok(ListenerHandle { queue, number })
    }

    /// Removes a listener: it is told of no further event, also of none that waits already. (One that it is being told of right
    /// now it sees to the end.) Returns whether it was there. To let it see what was posted before, [`flush`](Bus::flush) first.
    pub fn remove(&self, listener: ListenerHandle) -> bool {
        self.shared.remove(listener.queue, listener.number)
    }

    /// How many events were dropped because [`Queue::Shared`] was full.
    pub fn dropped(&self) -> u64 {
        lock(&self.shared.state).queues.iter().map(|q| q.dropped).sum()
    }

    /// Waits until every event posted before has been delivered to every listener. Returns false when no event was delivered for
    /// 30 seconds: a listener hangs. On a listener's own thread it returns false at once.
    pub fn flush(&self) -> bool {
        self.flush_queues(&Queue::ALL)
    }

    /// As [`Bus::flush`], for the listeners of one queue: to know the application's state, nobody need wait for users' listeners.
    pub fn flush_queue(&self, queue: Queue) -> bool {
        self.flush_queues(&[queue])
    }

    fn flush_queues(&self, queues: &[Queue]) -> bool {
        if DELIVERS.get() {
            return false;
        }
        let mut state = lock(&self.shared.state);
        let mut targets = Vec::with_capacity(queues.len());
        for queue in queues {
            let it = &mut state.queues[*queue as usize];
            it.urgent = it.delivered < it.posted;
            if it.urgent {
                self.shared.wake[*queue as usize].notify_one();
            }
            targets.push((*queue as usize, it.posted));
        }
        self.shared.wait_for_progress(state, "flush the listener bus", |state| {
            let reached = |(queue, target): &(usize, u64)| {
                state.queues[*queue].delivered >= *target || !state.queues[*queue].running
            };
            targets.iter().all(reached)
        })
    }

    /// Whether this thread tells a bus's listeners of events: what a listener does may look, and what waits for the listeners'
    /// end must not be done here.
    pub fn is_delivering() -> bool {
        DELIVERS.get()
    }

    /// Delivers what was posted, tells every listener that it was the end ([`Listener::on_stop`]), and ends the threads. Later events
    /// are ignored. A listener that hangs is given up after 30 seconds. Doing it twice is doing it once. On a listener's own thread
    /// it does not wait for the end.
    pub fn stop(&self) {
        let mut state = lock(&self.shared.state);
        state.stopped = true;
        self.shared.listeners.store(0, Ordering::Relaxed);
        for wake in &self.shared.wake {
            wake.notify_one();
        }
        self.shared.progress.notify_all();
        if DELIVERS.get() || state.queues.iter().all(|q| !q.running && q.thread.is_none()) {
            return;
        }
        let threads: Vec<_> = state.queues.iter_mut().filter_map(|q| q.thread.take()).collect();
        let dropped: u64 = state.queues.iter().map(|q| q.dropped).sum();
        if dropped > 0 {
            tracing::warn!("{dropped} events were dropped, because a listener was slower than they came");
        }
        let ended = |s: &State| s.queues.iter().all(|q| !q.running);
        if self.shared.wait_for_progress(state, "stop the listener bus", ended) {
            for thread in threads {
                // A panic of a listener was caught where it happened.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn post(&self, event: Arc<Event>) {
        let mut state = lock(&self.state);
        if !DELIVERS.get() && Queue::ALL.iter().any(|q| self.is_full(&state, *q)) {
            let room = |s: &State| s.stopped || Queue::ALL.iter().all(|q| !self.is_full(s, *q));
            self.wait_for_progress(
                state,
                "wait for room in the queue of the event log or the application's state",
                room,
            );
            // Without progress the event is kept all the same: these queues lose nothing while there is memory.
            state = lock(&self.state);
        }
        if state.stopped {
            return;
        }
        for queue in Queue::ALL {
            let it = &mut state.queues[queue as usize];
            if it.listeners.is_empty() {
                continue;
            }
            if queue.may_drop() && it.events.len() >= self.capacity {
                if it.dropped == 0 {
                    tracing::warn!(
                        "a listener is slower than events come: {} wait, and those that find the queue full are dropped; \
                         make the listener faster, or raise firesteel.scheduler.listenerbus.eventqueue.capacity",
                        self.capacity
                    );
                }
                it.dropped += 1;
                continue;
            }
            it.events.push_back(event.clone());
            it.posted += 1;
            if it.asleep || it.events.len() == BATCH {
                it.asleep = false;
                self.wake[queue as usize].notify_one();
            }
        }
    }

    fn is_full(&self, state: &State, queue: Queue) -> bool {
        !queue.may_drop() && state.queues[queue as usize].events.len() >= self.capacity
    }

    /// Waits until `done`, as long as events are being delivered meanwhile. Returns whether it is done.
    fn wait_for_progress(&self, mut state: MutexGuard<'_, State>, what: &str, done: impl Fn(&State) -> bool) -> bool {
        loop {
            let before = self.told.load(Ordering::Relaxed);
            let quiet = |s: &mut State| !done(s) && self.told.load(Ordering::Relaxed) == before;
            state =
                self.progress.wait_timeout_while(state, NO_PROGRESS, quiet).unwrap_or_else(PoisonError::into_inner).0;
            if done(&state) {
                return true;
            }
            if self.told.load(Ordering::Relaxed) == before {
                let stuck = state.queues.iter().filter(|q| q.running && q.delivered < q.posted);
                let names: Vec<_> = stuck.flat_map(|q| q.listeners.iter().map(|s| s.name)).collect();
                tracing::error!(
                    "could not {what}: for 30 seconds no event was delivered, so one of these listeners hangs: {names:?}"
                );
                return false;
            }
        }
    }

    fn remove(&self, queue: Queue, number: u64) -> bool {
        let mut state = lock(&self.state);
        let listeners = &mut state.queues[queue as usize].listeners;
        let Some(i) = listeners.iter().position(|s| s.number == number) else { return false };
        let slot = listeners.remove(i);
        slot.removed.store(true, Ordering::Relaxed);
        if !state.stopped {
            self.listeners.fetch_sub(1, Ordering::Relaxed);
        }
        drop(state);
        // The listener itself is dropped here, outside the lock: what it does then may well post.
        drop(slot);
        true
    }

    /// A queue's thread: takes what waits, in batches, and tells the listeners.
    fn deliver(&self, queue: Queue) {
        DELIVERS.set(true);
        let wake = &self.wake[queue as usize];
        let mut batch = VecDeque::new();
        let mut state = lock(&self.state);
        loop {
            if state.queues[queue as usize].events.is_empty() && !state.stopped {
                state.queues[queue as usize].asleep = true;
                let nothing = |s: &mut State| s.queues[queue as usize].events.is_empty() && !s.stopped;
                state = wake.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
                state.queues[queue as usize].asleep = false;
            }
            let more = |s: &mut State| {
                let it = &s.queues[queue as usize];
                !s.stopped && !it.urgent && it.events.len() < BATCH.min(self.capacity)
            };
            state = wake.wait_timeout_while(state, LINGER, more).unwrap_or_else(PoisonError::into_inner).0;
            let stopped = state.stopped;
            let it = &mut state.queues[queue as usize];
            let listeners = it.listeners.clone();
            let first = it.delivered;
            std::mem::swap(&mut batch, &mut it.events);
            drop(state);

            for (sequence, event) in (first..).zip(&batch) {
                for slot in &listeners {
                    self.tell(queue, slot, |listener| listener.on_event(event), sequence);
                }
                self.told.fetch_add(1, Ordering::Relaxed);
            }
            if stopped && batch.is_empty() {
                for slot in &listeners {
                    self.tell(queue, slot, |listener| listener.on_stop(), u64::MAX);
                }
            }
            let told = batch.len() as u64;
            batch.clear();
            drop(listeners);

            state = lock(&self.state);
            let it = &mut state.queues[queue as usize];
            it.delivered += told;
            it.urgent &= it.delivered < it.posted;
            if stopped && told == 0 {
                it.running = false;
                let listeners = std::mem::take(&mut it.listeners);
                self.progress.notify_all();
                drop(state);
                // Dropped outside the lock: what a listener does then may well post.
                drop(listeners);
                return;
            }
            self.progress.notify_all();
        }
    }

    fn tell(&self, queue: Queue, slot: &Slot, what: impl FnOnce(&mut dyn Listener), sequence: u64) {
        if slot.removed.load(Ordering::Relaxed) || sequence < slot.since {
            return;
        }
        let mut listener = lock(&slot.listener);
        if catch_unwind(AssertUnwindSafe(|| what(&mut **listener))).is_err() {
            drop(listener);
            tracing::error!("the listener {} panicked: it is removed, and the other listeners go on", slot.name);
            self.remove(queue, slot.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::UnpersistRdd;
    use firesteel_model::RddId;
    use std::sync::mpsc;

    /// Whoever waits for a slow listener sees that it goes on, long before its batch is done.
    #[test]
    fn each_event_that_is_told_is_progress() {
        let bus = Bus::new(100);
        let shared = Arc::downgrade(&bus.shared);
        let (go, may) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let slow = move |_: &Event| {
            may.recv().unwrap();
            tell.send(shared.upgrade().map(|shared| shared.told.load(Ordering::Relaxed))).unwrap();
        };
        bus.add(Queue::Shared, slow).unwrap();
        let post = || bus.post(UnpersistRdd { rdd: RddId(1) });
        post();
        go.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), Some(0));
        // The listener waits in the first of these, so the other two are one batch.
        for _ in 0..3 {
            post();
        }
        for before in 1..4 {
            go.send(()).unwrap();
            assert_eq!(told.recv().unwrap(), Some(before));
        }
    }
}
