//! How the driver reaches its executors: threads of its own process, or a connection to another.

use crate::executor::{Order, Parcel};
use crossbeam_channel::Receiver;
use firesteel_model::{BroadcastId, Result, StageId};
use firesteel_rdd::Holder;
use std::convert::Infallible;

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
    /// A copy that it has of a broadcast value shall go; threads of this process have none.
    fn forget_broadcast(&mut self, _: BroadcastId) {}
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
