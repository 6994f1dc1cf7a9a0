//! Everything that happens in a Firesteel application: one schema, its bus, the event log, the state that user
//! interfaces show, and the console.
//!
//! - [`Event`] is the schema: Spark's listener events, with Spark's names and task metrics.
//! - [`Bus`] carries events, in order, to [`Listener`]s on threads of their own.
//! - [`EventLogWriter`] is the listener that writes the event log, [`read_log`] reads it back.
//! - [`AppState`] is the listener that keeps what the status tracker and user interfaces ask for.
//! - [`ConsoleProgress`] draws Spark's progress bar on a terminal, [`failure_summary`] says why a job failed.
//!
//! Nothing here knows the scheduler or the driver, and nothing here reads a clock to stamp an event: whoever makes an
//! event gives its time, in milliseconds since 1970.

mod bus;
mod console;
pub mod event;
mod log;
mod state;

pub use bus::{Bus, Listener, ListenerHandle, Queue};
pub use console::{ConsoleProgress, RunningJob, StageProgress, failure_summary, progress_bar};
pub use event::Event;
pub use log::{EventLogWriter, LogFailure, LogReader, MAX_LINE, SPARK_VERSION, read_log};
pub use state::*;
