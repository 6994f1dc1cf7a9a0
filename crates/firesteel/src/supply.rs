//! Where executors come from: threads of this process, processes that it starts, a cluster's workers; other cluster managers one day.
//!
//! A driver and whoever supplies its executors say to each other what is in here, and nothing else:
//!
//! - The driver says to its [`Supplier`] how many executors it *wants* in all, and says it again when that changes. The supplier brings
//!   their number up to that, as far as it can and as soon as it can, and replaces those that end. If there are more it ends none, since only the driver
//!   knows what they hold: it replaces none until there are few enough, and ends those that the driver *lets go*.
//! - The supplier says by its [`Delivery`] which executor is *granted* (its number, its host, its cores, the [`Link`] by which it is
//!   reached) and which is *gone*, and how; why there is none for now, and why there will never be one.
//! - An executor in a process of its own is granted when it registers with the driver (`cluster::control`): a supplier has only to start
//!   processes, and to say how those end that do.
//!
//! Neither waits for the other; the driver's thread never waits for a supplier, except at the application's end.

mod delivery;
mod threads;

pub(crate) use delivery::Delivery;

use crate::{
    cluster::{self, Places, Runners},
    driver::Msg,
    executor::{Stores, Tamper},
    files::AddedFiles,
    link::Link,
    setup::Setup,
};
use crossbeam_channel::Sender;
use firesteel_model::{
    Error, ExecutorId, HostId, Result,
    conf::{Conf, Master, keys},
};
use firesteel_store::BlockStore;
use std::{sync::Arc, time::Duration};

/// What is missing where a process cannot become an executor.
pub(crate) const NEEDS_MAIN: &str = "put `#[firesteel::main]` on the program's `fn main`, where executors begin";

/// Whoever has executors to give.
pub(crate) trait Supplier: Send + Sync {
    /// The application wants so many executors in all from now on; [`u32::MAX`] are as many as there can be.
    fn want(&self, executors: u32);
    /// A task has succeeded there: if others have ended, that was misfortune, not a habit.
    fn works(&self, executor: ExecutorId);
    /// Ends an executor that the driver has done with. Another takes its place if so many are wanted.
    fn let_go(&self, executor: ExecutorId);
    /// The application ends: none is started any more, whatever ends.
    fn ending(&self);
    /// The application's executors have been told to end: sees that they do, and waits for it.
    fn stop(&self);
}

/// An executor that can run tasks.
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

/// Where an executor in another process is.
pub(crate) struct Place {
    pub(crate) host: String,
    /// Where it serves what it holds.
    pub(crate) port: u16,
    /// How many bytes of blocks it has room for.
    pub(crate) memory: u64,
}

/// An application that is to have executors.
pub(crate) struct Applicant<'a> {
    pub(crate) conf: &'a Conf,
    pub(crate) name: &'a str,
    pub(crate) id: &'a str,
    pub(crate) setups: Vec<Setup>,
    /// What this process holds: for executors, or as the one that there is.
    pub(crate) stores: Stores,
    pub(crate) files: Arc<AddedFiles>,
    pub(crate) tamper: Option<Tamper>,
    pub(crate) to_driver: Sender<Msg>,
}

/// Whence executors come, and how what they hold is reached.
pub(crate) struct Supply {
    pub(crate) supplier: Arc<dyn Supplier>,
    /// Where those in other processes serve what they hold.
    pub(crate) places: Arc<Places>,
    /// What the driver holds.
    pub(crate) blocks: Arc<BlockStore>,
    /// Bring what executors in other processes keep.
    pub(crate) runners: Option<Runners>,
    /// How long jobs wait for a first executor.
    pub(crate) patience: Duration,
    /// What the supplier calls the application, if it has a name of its own for it.
    pub(crate) application: Option<String>,
}

impl Supply {
    /// That of a master; executors come when they are wanted.
    pub(crate) fn open(master: &Master, applicant: Applicant<'_>) -> Result<Supply> {
        let patience = applicant.conf.get(keys::EXECUTOR_WAIT)?;
        match master {
            Master::Local { .. } => {
                let blocks = applicant.stores.blocks.clone();
                let supplier = Arc::new(threads::OwnThreads::start(master.threads().get(), applicant)?);
                Ok(Supply { supplier, places: Arc::default(), blocks, runners: None, patience, application: None })
            }
            _ if !crate::main_fn::can_be_executor() => {
                Err(Error::Config(format!("the master '{master}' starts this program again: {NEEDS_MAIN}")))
            }
            Master::LocalCluster { executors, cores, memory } => {
                cluster::local_cluster(executors.get(), cores.get(), u64::from(memory.get()) << 20, applicant)
            }
            Master::Standalone { masters } => cluster::standalone(masters, applicant),
        }
    }
}
