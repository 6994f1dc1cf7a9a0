//! How the driver reaches its executors: threads of its own process, or a connection to another.

use crate::executor::{Order, Parcel, Runner, Threads};
use crate::graph::lock;
use crossbeam_channel::Receiver;
use firesteel_model::{ExecutorId, HostId, Result, StageId};
use firesteel_rdd::Holder;
use firesteel_scheduler::LossReason;
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// One executor, as the driver reaches it. What is told to it arrives in order; nothing here waits for it.
pub(crate) trait Link: Send {
    /// Takes a task, to be sent before [`send_launched`](Link::send_launched) returns and before whatever else is told.
    ///
    /// # Errors
    /// If it or its stage cannot be encoded.
    fn launch(&mut self, parcel: Parcel) -> Result<()>;
    /// Sends the tasks that it has taken.
    fn send_launched(&mut self) {}
    /// Tells it something.
    fn tell(&mut self, order: Order);
    /// No task of the stage follows.
    fn forget_stage(&mut self, _: StageId) {}
    /// The answer to a question who holds a block.
    fn located(&mut self, _question: u64, _: Vec<Holder>) {}
    /// The answer to a question where is served what an executor holds.
    fn whereabouts(&mut self, _question: u64, _: Option<Holder>) {}
    /// Tells it to end: what runs is to stop, and nothing is answered any more.
    fn close(&mut self);
    /// Disconnected when it has ended.
    fn end(&self) -> Receiver<Infallible>;
    /// It has ended, or `patient` is false and it shall no longer be waited for.
    fn gone(self: Box<Self>, patient: bool);
    /// Of how many shuffles it knows the outputs, as far as that is known here.
    fn known_outputs(&self) -> usize {
        0
    }
}

/// Threads of this process.
pub(crate) struct LocalLink {
    runner: Arc<Runner>,
    threads: Threads,
}

impl LocalLink {
    pub(crate) fn new(runner: Arc<Runner>, threads: Threads) -> Self {
        LocalLink { runner, threads }
    }
}

impl Link for LocalLink {
    fn launch(&mut self, parcel: Parcel) -> Result<()> {
        self.runner.launch(&self.threads, parcel);
        Ok(())
    }
    fn tell(&mut self, order: Order) {
        self.runner.obey(order);
    }
    fn close(&mut self) {
        self.runner.close();
        self.threads.hang_up();
    }
    fn end(&self) -> Receiver<Infallible> {
        self.threads.end().clone()
    }
    fn gone(self: Box<Self>, patient: bool) {
        self.threads.join(patient);
    }
    fn known_outputs(&self) -> usize {
        self.runner.known_outputs()
    }
}

/// Where executors come from, and go when the application ends.
pub(crate) trait Supplier: Send + Sync {
    /// A task has succeeded there.
    fn works(&self, executor: ExecutorId);
    /// The executor was given up: ends it.
    fn give_up(&self, executor: ExecutorId);
    /// The application ends: executors that end are not replaced any more.
    fn ending(&self);
    /// The application's executors have been told to end: sees that they do, and waits for it.
    fn stop(&self);
}

/// How executors end, from whoever started them to whoever has lost the connection to them.
#[derive(Default)]
pub(crate) struct Endings {
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Default)]
struct Known {
    /// The executors whose connections live; how they have ended, where that came first.
    connected: HashMap<ExecutorId, Option<LossReason>>,
    /// What the last executor said that could not begin.
    could_not_begin: Option<String>,
    /// No end will be told any more.
    over: bool,
}

impl Endings {
    /// Whoever loses the connection to this executor will ask for its end.
    pub(crate) fn connected(&self, executor: ExecutorId) {
        lock(&self.known).connected.insert(executor, None);
    }
    /// An executor has ended, or is about to; who knows first knows best. Given back if nobody will ask, because it has no connection
    /// any more, or never had one.
    pub(crate) fn ended(&self, executor: ExecutorId, how: LossReason) -> Option<LossReason> {
        let mut all = lock(&self.known);
        let Some(known) = all.connected.get_mut(&executor) else { return Some(how) };
        known.get_or_insert(how);
        self.changed.notify_all();
        None
    }
    /// How an executor has ended whose connection has; waits for that, but not longer than a second.
    pub(crate) fn of(&self, executor: ExecutorId) -> Option<LossReason> {
        let unknown = |known: &mut Known| !known.over && matches!(known.connected.get(&executor), Some(None));
        let waited = self.changed.wait_timeout_while(lock(&self.known), Duration::from_secs(1), unknown);
        let (mut known, _) = waited.unwrap_or_else(PoisonError::into_inner);
        known.connected.remove(&executor).flatten()
    }
    /// Nobody tells of ends any more, so nobody waits for them.
    pub(crate) fn over(&self) {
        lock(&self.known).over = true;
        self.changed.notify_all();
    }
    /// An executor could not begin; why.
    pub(crate) fn could_not_begin(&self, why: String) {
        lock(&self.known).could_not_begin = Some(why);
    }
    /// Why the last one could not begin that could not.
    pub(crate) fn why_not_begun(&self) -> Option<String> {
        lock(&self.known).could_not_begin.clone()
    }
}

/// Where an executor in another process is.
pub(crate) struct Place {
    pub(crate) host: String,
    /// Where it serves what it holds.
    pub(crate) port: u16,
    /// How many bytes of blocks it has room for.
    pub(crate) memory: u64,
}

/// An executor that is ready, as the driver's loop learns of it.
pub(crate) struct NewExecutor {
    pub(crate) executor: ExecutorId,
    pub(crate) host: HostId,
    pub(crate) slots: u32,
    /// None if it is the driver's own process.
    pub(crate) place: Option<Place>,
    /// Whether somebody else serves its map outputs when it is given up.
    pub(crate) outputs_outlive: bool,
    pub(crate) link: Box<dyn Link>,
}
