//! Firesteel's scheduler: a pure state machine from events to commands.
//!
//! No threads, sockets, clocks or randomness: the driver's loop says what happened and when, and is told what to do.
//! README.md beside this crate's sources walks a job with a fetch failure through it.

mod attempts;
mod blocks;
mod command;
mod config;
mod event;
mod exclusion;
mod executors;
mod job;
mod jobs;
mod offers;
mod outputs;
mod pools;
mod scheduler;
mod stages;
mod tasks;

pub use command::{Command, Outcome, SchedulerEvent, TaskEndReason, TaskLaunch};
#[doc(hidden)]
pub use config::Faults;
pub use config::{Config, Exclusion, LocalityWait, PoolConfig, SchedulingMode, Speculation};
pub use event::{Event, Failure, FetchFailure, LossReason, MapRef, MapSizes, Success};
pub use job::{Input, Inputs, JobKind, JobSpec, Locality, Preference, RackId, StageOutput, StageSpec};
pub use outputs::{MapLocation, MapOutputs};
pub use scheduler::{Footprint, Scheduler, StageProgress};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
