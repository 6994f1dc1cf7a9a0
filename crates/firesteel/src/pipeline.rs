//! What an RDD of your own is made of.
//!
//! A [`Pipeline`] is the description: serialisable, made on the driver, sent to tasks. It says how its partitions are cut
//! ([`Pipeline::splits`]) and opens a [`Stream`] for one of them ([`Pipeline::open`]). A stream pushes its elements into a [`Sink`],
//! until the sink has enough. Everything in Firesteel that computes elements is a pipeline, and nothing about those that come
//! with it is special: yours may be a source, wrap others, or hold a program in a language of its own.
//!
//! [`Context::from_pipeline`](crate::Context::from_pipeline) makes an RDD of a source, [`Rdd::with_pipeline`](crate::Rdd::with_pipeline) of
//! an operation.
//!
//! ```
//! use firesteel::{pipeline::{Flow, Own, PartitionIndex, Plan, RddId, Sink, Stream, Task}, prelude::*};
//! use serde::{Deserialize, Serialize};
//!
//! /// Counts down from each of some numbers, one partition each.
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Countdown { from: Vec<u64> }
//!
//! struct CountdownStream { next: u64, task: Task }
//!
//! impl Pipeline for Countdown {
//!     type Item = u64;
//!     type Split = u64;
//!     type Stream = CountdownStream;
//!     fn open(&self, from: u64, task: &Task) -> CountdownStream { CountdownStream { next: from, task: task.clone() } }
//!     fn splits(&self, _: &dyn Plan) -> Result<Vec<u64>> { Ok(self.from.clone()) }
//!     fn refers(&self, _: &mut dyn FnMut(RddId)) {}
//!     fn reads(&self, _: &u64, _: &mut dyn FnMut(RddId, PartitionIndex)) {}
//! }
//!
//! impl Stream for CountdownStream {
//!     type Item = u64;
//!     fn drive<S: Sink<u64>>(&mut self, sink: &mut S) -> Flow {
//!         while self.next > 0 {
//!             self.task.check(); // a task that is to stop leaves here
//!             self.next -= 1;
//!             if !sink.push(Own(self.next)) {
//!                 return Flow::Full; // a later call goes on here
//!             }
//!         }
//!         Flow::Done
//!     }
//! }
//!
//! let sc = Context::builder().master("local[2]").build()?;
//! let numbers = sc.from_pipeline(Countdown { from: vec![3, 0, 2] });
//! assert_eq!(numbers.collect()?, [2, 1, 0, 1, 0]);
//! assert_eq!(numbers.map(|n| (n, 1)).reduce_by_key(|a, b| a + b).count()?, 3);
//! # Ok::<(), Error>(())
//! ```

pub use firesteel_model::{PartitionIndex, RddId};
pub use firesteel_rdd::{
    Chunk, Erased, Flow, Lent, Loan, LoanBy, Own, Pipeline, Plan, Shared, Sink, Stream, Task, Texts,
};
