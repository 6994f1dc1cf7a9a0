//! Everything that happens in a Firesteel application: one schema, its bus, the event log, the state that user
//! interfaces show, and the console.
//!
//! - [`Event`] is the schema: Spark's listener events, with Spark's names and task metrics.
//!
//! Nothing here knows the scheduler or the driver, and nothing here reads a clock to stamp an event: whoever makes an
//! event gives its time, in milliseconds since 1970.

pub mod event;

pub use event::Event;
