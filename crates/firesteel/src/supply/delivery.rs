//! What suppliers, and the door at which executors register, tell the driver; and what the door tells suppliers.

use super::NewExecutor;
use crate::{driver::Msg, graph::lock};
use crossbeam_channel::Sender;
use firesteel_model::ExecutorId;
use firesteel_scheduler::LossReason;
use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// The supplier's way to the driver.
///
/// Of an executor in another process two learn that it has ended: whoever has a connection to it, and whoever started it, who knows how. The
/// driver is told once, how, when the connection has ended.
#[derive(Clone)]
pub(crate) struct Delivery(Arc<Shared>);

struct Shared {
    to_driver: Sender<Msg>,
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Default)]
struct Known {
    /// The executors that were granted and whose connections live; how they have ended, where that came first.
    connected: HashMap<ExecutorId, Option<LossReason>>,
    /// What the last executor said that could not begin.
    could_not_begin: Option<String>,
    /// No end will be told any more.
    over: bool,
}

impl Delivery {
    pub(crate) fn new(to_driver: Sender<Msg>) -> Self {
        Delivery(Arc::new(Shared { to_driver, known: Mutex::default(), changed: Condvar::new() }))
    }

    /// Here is an executor.
    pub(crate) fn granted(&self, new: NewExecutor) {
        lock(&self.0.known).connected.insert(new.executor, None);
        self.tell(Msg::ExecutorReady(Box::new(new)));
    }

    /// An executor has ended, or is about to; who knows first knows best.
    pub(crate) fn gone(&self, executor: ExecutorId, how: LossReason) {
        let mut all = lock(&self.0.known);
        if let Some(known) = all.connected.get_mut(&executor) {
            known.get_or_insert(how);
            self.0.changed.notify_all();
        } else if let LossReason::HostLost { .. } = how {
            // Its connection ended at once, and its machine is taken for lost after some seconds: what that one served is gone, too.
            self.tell(Msg::ExecutorGone(executor, how));
        }
    }

    /// The connection to an executor has ended; waits for whoever started it to say how it has, but not longer than a second.
    pub(crate) fn disconnected(&self, executor: ExecutorId, otherwise: LossReason) {
        let unknown = |known: &mut Known| !known.over && matches!(known.connected.get(&executor), Some(None));
        let waited = self.0.changed.wait_timeout_while(lock(&self.0.known), Duration::from_secs(1), unknown);
        let how = waited.unwrap_or_else(PoisonError::into_inner).0.connected.remove(&executor).flatten();
        self.tell(Msg::ExecutorGone(executor, how.unwrap_or(otherwise)));
    }

    /// No end is told any more, so nobody waits for one.
    pub(crate) fn over(&self) {
        lock(&self.0.known).over = true;
        self.0.changed.notify_all();
    }

    /// There is no executor for now; why.
    pub(crate) fn waits(&self, why: String) {
        self.tell(Msg::Waiting(why));
    }

    /// No executor will come any more; why.
    pub(crate) fn hopeless(&self, why: String) {
        self.tell(Msg::Hopeless(why));
    }

    /// An executor could not begin; why.
    pub(crate) fn could_not_begin(&self, why: String) {
        lock(&self.0.known).could_not_begin = Some(why);
    }

    /// Why the last one could not begin that could not.
    pub(crate) fn why_not_begun(&self) -> Option<String> {
        lock(&self.0.known).could_not_begin.clone()
    }

    fn tell(&self, msg: Msg) {
        let _ = self.0.to_driver.send(msg);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once_by_who_knows_how_and_the_later_loss_of_its_host_as_well() {
        let (to_driver, messages) = crossbeam_channel::unbounded();
        let delivery = Delivery::new(to_driver);
        let executor = ExecutorId(3);
        let exited = |what: &str| LossReason::Exited { message: what.into(), caused_by_app: false };
        let told = || match messages.try_recv() {
            Ok(Msg::ExecutorGone(ExecutorId(3), how)) => Some(how),
            Ok(_) => panic!("something else is told"),
            Err(_) => None,
        };
        lock(&delivery.0.known).connected.insert(executor, None);
        delivery.gone(executor, exited("it was killed"));
        delivery.gone(executor, exited("nobody knows"));
        assert_eq!(told(), None, "its last words may be on their way");
        delivery.disconnected(executor, exited("the connection has ended"));
        assert_eq!(told(), Some(exited("it was killed")));
        delivery.gone(executor, exited("it was killed"));
        assert_eq!(told(), None);
        let lost = LossReason::HostLost { message: "its worker is lost".into() };
        delivery.gone(executor, lost.clone());
        assert_eq!(told(), Some(lost));
        delivery.over();
        lock(&delivery.0.known).connected.insert(executor, None);
        delivery.disconnected(executor, exited("the connection has ended"));
        assert_eq!(told(), Some(exited("the connection has ended")));
    }
}
