//! How much a context keeps track of: asked by tests that nothing is kept for what was dropped.

use crate::{Context, driver::Msg};
use firesteel_model::{Error, Result};

/// How many things a context keeps, by kind. Nothing but sources and live RDDs is left once every job has ended and every
/// handle is dropped, and these are zero when their handles are gone too.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Footprint {
    /// RDDs that somebody holds.
    pub rdds: usize,
    /// RDDs that wait for their checkpoint.
    pub checkpoints: usize,
    /// Jobs that have not ended, on the scheduler's books and on the driver's.
    pub jobs: usize,
    /// Stages, likewise.
    pub stages: usize,
    /// Task attempts, likewise.
    pub attempts: usize,
    /// Shuffles that somebody knows something about.
    pub shuffles: usize,
    /// Finished map outputs.
    pub runs: usize,
    /// Stored blocks: cached partitions, items of `parallelize`, broadcast values.
    pub blocks: usize,
    /// Cached partitions on the scheduler's books.
    pub known_blocks: usize,
    /// How many pieces of broadcast values the driver has ever sent to executors.
    pub pieces_sent: usize,
    /// Accumulators.
    pub accumulators: usize,
    /// Whatever else the scheduler has on its books.
    pub other: usize,
}

impl Context {
    /// What the context keeps now. Answered after all that was queued before: releases of dropped handles included.
    #[doc(hidden)]
    pub fn footprint(&self) -> Result<Footprint> {
        let engine = self.engine();
        let (answer, wait) = crossbeam_channel::bounded(1);
        engine.tell(Msg::Footprint(answer));
        let driver = wait.recv().map_err(|_| Error::Stopped("its footprint was asked for".into()))?;
        let (rdds, checkpoints, accumulators) = engine.held();
        Ok(Footprint {
            rdds,
            checkpoints,
            accumulators,
            runs: engine.shuffles.len(),
            blocks: engine.blocks.len(),
            ..driver
        })
    }
}
