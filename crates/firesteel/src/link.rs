//! How the driver reaches its executors: threads of its own process, or a connection to another.

use crate::executor::{Order, Parcel, Runner, Threads};
use crossbeam_channel::Receiver;
use firesteel_model::{ExecutorId, HostId, Result, StageId};
use firesteel_rdd::Holder;
use firesteel_scheduler::LossReason;
use std::{convert::Infallible, sync::Arc};

/// One executor, as the driver reaches it. What is told to it arrives in order; nothing here waits for it.
pub(crate) trait Link: Send {
    /// Sends a task.
    ///
    /// # Errors
    /// If its stage cannot be encoded.
    fn launch(&mut self, parcel: Parcel) -> Result<()>;
    /// Tells it something.
    fn tell(&mut self, order: Order);
    /// No task of the stage follows.
    fn forget_stage(&mut self, _: StageId) {}
    /// The answer to a question who holds a block.
    fn located(&mut self, _question: u64, _: Vec<Holder>) {}
    /// The answer to a question whether an executor is there.
    fn alive(&mut self, _question: u64, _: bool) {}
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
    /// Why an executor is gone whose connection ended with these words.
    fn why_gone(&self, executor: ExecutorId, words: String) -> LossReason;
    /// A task has succeeded.
    fn works(&self);
    /// The executor was given up: ends it.
    fn give_up(&self, executor: ExecutorId);
    /// The application ends: executors that end are not replaced any more.
    fn ending(&self);
    /// The application's executors have been told to end: sees that they do, and waits for it.
    fn stop(&self);
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
    pub(crate) link: Box<dyn Link>,
}
