//! The driver's clock: the system's, or one that a test moves by hand.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Time since the driver's start.
#[derive(Clone)]
pub(crate) enum Clock {
    System(Instant),
    Manual(ManualClock),
}

/// A clock that stands still until it is moved.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Mutex<Duration>>);

impl ManualClock {
    /// Moves the clock; the driver must be told to look (`Context::tick`).
    pub fn advance(&self, by: Duration) {
        *crate::graph::lock(&self.0) += by;
    }
}

impl Clock {
    pub(crate) fn system() -> Self {
        Clock::System(Instant::now())
    }
    pub(crate) fn now(&self) -> Duration {
        match self {
            Clock::System(start) => start.elapsed(),
            Clock::Manual(clock) => *crate::graph::lock(&clock.0),
        }
    }
    /// How long to wait for `at`; for ever on a clock that moves by hand.
    pub(crate) fn until(&self, at: Duration) -> Option<Duration> {
        match self {
            Clock::System(_) => Some(at.saturating_sub(self.now())),
            Clock::Manual(_) => None,
        }
    }
}
