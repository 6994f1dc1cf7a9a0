//! Log levels: the engine logs through `tracing`; which lines are shown is the subscriber's matter, if the program has one.

use firesteel_model::{Result, conf::Conf};

/// Nothing to apply yet but the level's own check.
pub(crate) fn apply(conf: &Conf) -> Result<()> {
    conf.get(firesteel_model::conf::keys::LOG_LEVEL).map(drop)
}
