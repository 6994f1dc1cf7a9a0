//! What happens in an application, told to listeners of the program's own.
//!
//! ```
//! use firesteel::{events::{Event, event::JobEnd}, prelude::*};
//! use std::sync::mpsc;
//!
//! let sc = Context::builder().master("local[2]").build()?;
//! let (told, ends) = mpsc::channel();
//! let listener = sc.add_listener(move |event: &Event| {
//!     if let Event::JobEnd(JobEnd { job, .. }) = event {
//!         let _ = told.send(job.0);
//!     }
//! })?;
//! sc.range(0..10).count()?;
//! assert_eq!(ends.recv().unwrap(), 0);
//! assert!(sc.remove_listener(listener));
//! # Ok::<(), Error>(())
//! ```

use crate::Context;
use firesteel_events::Queue;
pub use firesteel_events::{
    Event, ExecutorData, JobData, JobStatus, Listener, ListenerHandle, StageData, StageStatus, event, read_log,
};
use firesteel_model::Result;

impl Context {
    /// Adds a listener, which is told of everything that happens from now on, in order, on a thread of its own and of other
    /// listeners: what takes long there delays no job, and when too many events wait
    /// (`scheduler.listenerbus.eventqueue.capacity`) some are dropped, with a warning. A listener that panics is removed. It may run
    /// jobs, but not stop the context.
    ///
    /// The context holds the listener, so a listener that holds the context (a clone of it, or any of its RDDs) keeps it alive for
    /// ever: that context ends by [`stop`](Context::stop), by [`remove_listener`](Context::remove_listener) and its last other handle, or at
    /// the end of `#[firesteel::main]`, not by its last other handle alone.
    ///
    /// # Errors
    /// After the context was stopped.
    pub fn add_listener(&self, listener: impl Listener + 'static) -> Result<ListenerHandle> {
        self.engine().bus.add(Queue::Shared, listener)
    }

    /// Removes a listener: it is told nothing more, also not what waits already. Returns whether it was there.
    pub fn remove_listener(&self, listener: ListenerHandle) -> bool {
        self.engine().bus.remove(listener)
    }
}
