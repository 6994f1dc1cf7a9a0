//! Who supplies a context's executors, where they are other processes.

use super::{
    Control, Hosting, LocalCluster, Places, Runners,
    blocks::Holdings,
    control::Address,
    standalone::{self, Program, Registration, Standalone},
};
use crate::{
    driver::Msg,
    files::AddedFiles,
    link::{Endings, Supplier},
    setup::Setup,
};
use crossbeam_channel::Sender;
use firesteel_model::{
    Error, Result,
    conf::{Conf, Master, is_secret, keys},
};
use firesteel_store::BlockStore;
use std::{sync::Arc, time::Duration};

/// What is missing where a process cannot become an executor.
pub(crate) const NEEDS_MAIN: &str = "put `#[firesteel::main]` on the program's `fn main`, where executors begin";

/// An application that wants executors.
pub(crate) struct Applicant<'a> {
    pub(crate) conf: &'a Conf,
    pub(crate) name: &'a str,
    pub(crate) id: &'a str,
    pub(crate) setups: Vec<Setup>,
    pub(crate) blocks: Arc<BlockStore>,
    pub(crate) files: Arc<AddedFiles>,
    pub(crate) to_driver: Sender<Msg>,
}

/// Whence executors come, and how what they hold is reached.
pub(crate) struct Supply {
    pub(crate) supplier: Arc<dyn Supplier>,
    pub(crate) places: Arc<Places>,
    /// What the driver holds.
    pub(crate) blocks: Arc<BlockStore>,
    pub(crate) runners: Runners,
    /// How long jobs wait for a first executor.
    pub(crate) patience: Duration,
    /// What the supplier calls the application, if it has a name of its own for it.
    pub(crate) application: Option<String>,
}

impl Supply {
    /// Has the master's executors begin; none if the threads of this process are all.
    pub(crate) fn start(master: &Master, applicant: Applicant<'_>) -> Result<Option<Supply>> {
        let conf = applicant.conf;
        let (at, program, slots, memory) = match master {
            Master::Local { .. } => return Ok(None),
            _ if !crate::main_fn::can_be_executor() => {
                return Err(Error::Config(format!("the master '{master}' starts this program again: {NEEDS_MAIN}")));
            }
            Master::LocalCluster { cores, memory, .. } => {
                (Address::loopback(), None, cores.get(), u64::from(memory.get()) << 20)
            }
            Master::Standalone { masters } => {
                let at = standalone::address(conf, masters)?;
                // The workers say how many cores each executor has.
                (at, Some(Program::this()?), 1, standalone::executor_memory(conf)?)
            }
        };
        let mut of_executors = conf.clone();
        if let Master::LocalCluster { .. } = master {
            // Copying bytes to a file of this machine and over loopback takes less than compressing them.
            of_executors.set_if_missing(keys::SHUFFLE_COMPRESS.info.key(), false);
        }
        let settings = of_executors.get_all().filter(|(key, value)| !is_secret(key, value));
        let hosting = Hosting {
            settings: settings.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            setups: applicant.setups,
            slots,
            budget: crate::settings::executor_budget(conf, memory)?,
            memory,
            executable: program.as_ref().map(|program| program.executable().hash),
        };
        let (places, endings) = (Arc::<Places>::default(), Arc::<Endings>::default());
        let holdings = Holdings::of_driver(applicant.blocks.clone(), applicant.files, places.pieces_sent.clone());
        let to_driver = applicant.to_driver;
        let control = Control::open(&at, hosting, holdings, places.clone(), endings.clone(), to_driver.clone())?;
        let runners = control.runners(conf, &places, &to_driver)?;
        let (supplier, application): (Arc<dyn Supplier>, _) = match (master, program) {
            (Master::Standalone { masters }, Some(program)) => {
                let registration = Registration { masters, conf, name: applicant.name, at: &at, program };
                let supplier = Standalone::start(registration, control, endings, to_driver)?;
                let application = supplier.application();
                (supplier, application)
            }
            (Master::LocalCluster { executors, .. }, _) => {
                (LocalCluster::start(executors.get(), conf, applicant.id, control, endings, to_driver)?, None)
            }
            _ => return Ok(None),
        };
        let patience = conf.get(keys::EXECUTOR_WAIT)?;
        Ok(Some(Supply { supplier, places, blocks: applicant.blocks, runners, patience, application }))
    }
}
