//! What tests of several threads share: signals between tasks and a test, and what a listener was told.

use firesteel::{
    Context,
    events::{Event, ListenerHandle, event::JobEnd},
};
use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        mpsc::{Receiver, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Nothing in these tests takes long; a wait that does is a failure.
const PATIENCE: Duration = Duration::from_secs(100);

/// Something that one thread tells others, as often as it likes: tasks a test, in statics, or the other way round.
pub(crate) struct Signal {
    raised: Mutex<usize>,
    more: Condvar,
}

impl Signal {
    pub(crate) const fn new() -> Self {
        Signal { raised: Mutex::new(0), more: Condvar::new() }
    }
    pub(crate) fn raise(&self) {
        *self.raised.lock().unwrap() += 1;
        self.more.notify_all();
    }
    /// Waits until it was raised.
    pub(crate) fn wait(&self) {
        self.wait_for(1);
    }
    /// Waits until it was raised so often.
    pub(crate) fn wait_for(&self, times: usize) {
        let raised = self.raised.lock().unwrap();
        let waited = self.more.wait_timeout_while(raised, PATIENCE, |raised| *raised < times);
        let (raised, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let raised = *raised;
        assert!(!timeout.timed_out(), "waited for {times} signals, and {raised} came");
    }
    pub(crate) fn times(&self) -> usize {
        *self.raised.lock().unwrap()
    }
}

/// What a listener was told, in order.
pub(crate) struct Told {
    events: Receiver<Event>,
    pub(crate) listener: ListenerHandle,
}

impl Told {
    pub(crate) fn of(sc: &Context) -> Self {
        let (tell, events) = channel();
        // The test may have heard enough.
        let listener = sc.add_listener(move |event: &Event| drop(tell.send(event.clone()))).unwrap();
        Told { events, listener }
    }

    /// The next events, up to the first for which `is_last` says so.
    pub(crate) fn until(&self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all: Vec<Event> = Vec::new();
        while !all.last().is_some_and(&is_last) {
            let names = || all.iter().map(Event::name).collect::<Vec<_>>();
            all.push(self.events.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{e} after {:?}", names())));
        }
        all
    }

    /// The next events, up to the end of a job.
    pub(crate) fn until_end_of(&self, id: u64) -> Vec<Event> {
        self.until(|event| matches!(event, Event::JobEnd(JobEnd { job, .. }) if job.0 == id))
    }

    /// What is left when the context has ended.
    pub(crate) fn rest(self) -> Vec<Event> {
        self.events.iter().collect()
    }
}

pub(crate) fn local(master: &str) -> Context {
    Context::builder().master(master).build().unwrap()
}

/// Runs a part of a program on a thread of its own.
pub(crate) fn on_thread<R: Send + 'static>(
    sc: &Context,
    part: impl FnOnce(Context) -> R + Send + 'static,
) -> JoinHandle<R> {
    let sc = sc.clone();
    std::thread::spawn(move || part(sc))
}
