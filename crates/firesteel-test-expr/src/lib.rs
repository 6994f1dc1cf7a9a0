//! Pipelines whose code is bytes: a tiny interpreter, as a Python bridge or a query planner would bring along a large one.
//!
//! A [`Program`] is compiled on the driver from a text, travels to tasks as bytes, is checked when it is decoded, and turns one row
//! of numbers into another. [`Interpreted`] runs it over the rows of any other pipeline. Firesteel knows nothing of either.
//!
//! ```
//! use firesteel::prelude::*;
//! use firesteel_test_expr::{Interpret, Program};
//!
//! let sc = Context::builder().master("local[2]").build()?;
//! let rows = sc.range_n(0..4, 2).map(|i| vec![i as i64, 10]);
//! let sums = rows.interpret(Program::compile("$0 $1 +").unwrap());
//! assert_eq!(sums.collect()?, [[10], [11], [12], [13]]);
//! # Ok::<(), Error>(())
//! ```

mod pipeline;
mod program;

pub use pipeline::{Interpret, Interpreted, InterpretedStream, Kept};
pub use program::{CompileError, Program, Row};
