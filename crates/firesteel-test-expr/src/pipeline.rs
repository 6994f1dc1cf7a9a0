//! Programs as operations on RDDs.

use crate::{Program, Row};
use firesteel::{
    Pipeline, Rdd, Result,
    pipeline::{Flow, Lent, Own, PartitionIndex, Plan, RddId, Sink, Stream, Task},
};
use serde::{Deserialize, Serialize};

/// The operations that programs add to RDDs of rows.
pub trait Interpret<P> {
    /// Each row as the program makes it.
    fn interpret(&self, program: Program) -> Rdd<Row, Interpreted<P>>;
    /// The rows of which the program's last value is not 0.
    fn keep(&self, program: Program) -> Rdd<Row, Kept<P>>;
}

impl<P: Pipeline<Item = Row>> Interpret<P> for Rdd<Row, P> {
    fn interpret(&self, program: Program) -> Rdd<Row, Interpreted<P>> {
        self.with_pipeline(|input| Interpreted { input, program })
    }
    fn keep(&self, program: Program) -> Rdd<Row, Kept<P>> {
        self.with_pipeline(|input| Kept { input, program })
    }
}

/// Runs a program on each row.
#[derive(Clone, Serialize, Deserialize)]
pub struct Interpreted<P> {
    input: P,
    program: Program,
}

/// Keeps rows by what a program says of them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept<P> {
    input: P,
    program: Program,
}

/// The run of [`Interpreted`] (`KEEP` is false) or [`Kept`].
pub struct InterpretedStream<S, const KEEP: bool> {
    input: S,
    program: Program,
}

macro_rules! pipeline {
    ($name:ident, $keep:literal) => {
        impl<P: Pipeline<Item = Row>> Pipeline for $name<P> {
            type Item = Row;
            type Split = P::Split;
            type Stream = InterpretedStream<P::Stream, $keep>;

            fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
                InterpretedStream { input: self.input.open(split, task), program: self.program.clone() }
            }
            fn splits(&self, plan: &dyn Plan) -> Result<Vec<P::Split>> {
                self.input.splits(plan)
            }
            fn refers(&self, visit: &mut dyn FnMut(RddId)) {
                self.input.refers(visit)
            }
            fn reads(&self, split: &P::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
                self.input.reads(split, visit)
            }
            fn locations(&self, split: &P::Split) -> Vec<String> {
                self.input.locations(split)
            }
        }
    };
}
pipeline!(Interpreted, false);
pipeline!(Kept, true);

impl<S: Stream<Item = Row>> Stream for InterpretedStream<S, false> {
    type Item = Row;
    fn drive<K: Sink<Row>>(&mut self, sink: &mut K) -> Flow {
        struct Run<'a, K>(&'a Program, &'a mut K);
        impl<K: Sink<Row>> Sink<Row> for Run<'_, K> {
            fn push<L: Lent<Row>>(&mut self, mut row: L) -> bool {
                self.1.push(Own(self.0.run(row.get())))
            }
        }
        self.input.drive(&mut Run(&self.program, sink))
    }
}

impl<S: Stream<Item = Row>> Stream for InterpretedStream<S, true> {
    type Item = Row;
    fn drive<K: Sink<Row>>(&mut self, sink: &mut K) -> Flow {
        struct Keep<'a, K>(&'a Program, &'a mut K);
        impl<K: Sink<Row>> Sink<Row> for Keep<'_, K> {
            fn push<L: Lent<Row>>(&mut self, mut row: L) -> bool {
                match self.0.run(row.get()).last() {
                    None | Some(0) => true,
                    Some(_) => self.1.push(row),
                }
            }
        }
        self.input.drive(&mut Keep(&self.program, sink))
    }
}
