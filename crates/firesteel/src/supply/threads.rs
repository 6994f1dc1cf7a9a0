//! Threads of this process: one executor, which is there as soon as it is wanted, and ends with the application.

use super::{Applicant, Delivery, NewExecutor, Supplier};
use crate::{
    executor::{InProcess, Order, Parcel, Runner, Threads},
    graph::lock,
    link::Link,
    setup::Setup,
};
use crossbeam_channel::Receiver;
use firesteel_model::{ExecutorId, HostId, Result};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

/// Has one executor to give.
pub(crate) struct OwnThreads {
    /// None once it was given.
    executor: Mutex<Option<NewExecutor>>,
    delivery: Delivery,
}

impl OwnThreads {
    /// Sets up and starts so many threads.
    pub(super) fn start(slots: u32, applicant: Applicant<'_>) -> Result<Self> {
        let Applicant { setups, stores, files, tamper, to_driver, .. } = applicant;
        setups.iter().try_for_each(Setup::once)?;
        let executor = ExecutorId(0);
        let delivery = Delivery::new(to_driver.clone());
        let driver = Arc::new(InProcess { executor, to: to_driver });
        let runner = Runner::new(executor, stores, driver, None, tamper, files);
        let threads = runner.start(slots as usize)?;
        let link = Box::new(LocalLink { runner, threads });
        let new = NewExecutor { executor, host: HostId(0), slots, place: None, outputs_outlive: false, link };
        Ok(OwnThreads { executor: Mutex::new(Some(new)), delivery })
    }
}

impl Supplier for OwnThreads {
    fn want(&self, executors: u32) {
        if executors > 0
            && let Some(new) = lock(&self.executor).take()
        {
            self.delivery.granted(new);
        }
    }
    // Its end never comes before the application's, and its link sees to that.
    fn works(&self, _: ExecutorId) {}
    fn let_go(&self, _: ExecutorId) {}
    fn ending(&self) {}
    fn stop(&self) {}
}

/// The way to threads of this process.
struct LocalLink {
    runner: Arc<Runner>,
    threads: Threads,
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
