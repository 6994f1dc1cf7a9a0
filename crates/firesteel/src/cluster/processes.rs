//! Suppliers of executors in other processes: what they have in common is a door at which these register.

use super::{
    Control, Hosting, LocalCluster, Places,
    blocks::Holdings,
    control::Address,
    standalone::{self, Program, Registration, Standalone},
};
use crate::supply::{Applicant, Delivery, Supplier, Supply};
use firesteel_cluster::content::ContentHash;
use firesteel_model::{
    Result,
    conf::{Conf, is_secret, keys},
};
use std::sync::Arc;

/// Processes of this machine: so many at most, of so many cores and bytes each.
pub(crate) fn local_cluster(executors: u32, cores: u32, memory: u64, applicant: Applicant<'_>) -> Result<Supply> {
    let (conf, id) = (applicant.conf, applicant.id);
    let mut of_executors = conf.clone();
    // Copying bytes to a file of this machine and over loopback takes less than compressing them.
    of_executors.set_if_missing(keys::SHUFFLE_COMPRESS.info.key(), false);
    let each = Each { slots: cores, memory, executable: None };
    supplied(applicant, &of_executors, each, &Address::loopback(), |control, delivery| {
        Ok((LocalCluster::start(executors, conf, id, control, delivery)?, None))
    })
}

/// What the workers of a standalone cluster start.
pub(crate) fn standalone(masters: &[String], applicant: Applicant<'_>) -> Result<Supply> {
    let (conf, name) = (applicant.conf, applicant.name);
    let at = standalone::address(conf, masters)?;
    let program = Program::this()?;
    // The workers say how many cores each executor has.
    let memory = standalone::executor_memory(conf)?;
    let each = Each { slots: 1, memory, executable: Some(program.executable().hash) };
    supplied(applicant, conf, each, &at, |control, delivery| {
        let registration = Registration { masters, conf, name, at: &at, program };
        let supplier = Standalone::start(registration, control, delivery)?;
        let application = supplier.application();
        Ok((supplier, application))
    })
}

/// What each executor has.
struct Each {
    slots: u32,
    memory: u64,
    /// The hash that its executable must have; none where it is the driver's own.
    executable: Option<ContentHash>,
}

/// Opens the door, and starts who sends executors there; what he calls the application, if he does.
fn supplied(
    applicant: Applicant<'_>,
    of_executors: &Conf,
    each: Each,
    at: &Address,
    start: impl FnOnce(Control, Delivery) -> Result<(Arc<dyn Supplier>, Option<String>)>,
) -> Result<Supply> {
    let Applicant { conf, setups, stores, files, to_driver, .. } = applicant;
    let blocks = stores.blocks;
    let settings = of_executors.get_all().filter(|(key, value)| !is_secret(key, value));
    let hosting = Hosting {
        settings: settings.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        setups,
        slots: each.slots,
        budget: crate::settings::executor_budget(conf, each.memory)?,
        memory: each.memory,
        executable: each.executable,
    };
    let places = Arc::<Places>::default();
    let delivery = Delivery::new(to_driver.clone());
    let holdings = Holdings::of_driver(blocks.clone(), files, places.pieces_sent.clone());
    let control = Control::open(at, hosting, holdings, places.clone(), delivery.clone(), to_driver.clone())?;
    let runners = Some(control.runners(conf, &places, &to_driver)?);
    let patience = conf.get(keys::EXECUTOR_WAIT)?;
    let (supplier, application) = start(control, delivery)?;
    Ok(Supply { supplier, places, blocks, runners, patience, application })
}
