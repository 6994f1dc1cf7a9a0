//! A program of another language between two RDDs.

use crate::{
    pipeline::{Pipeline, Plan},
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
    text_line::TextLine,
};
use firesteel_io::{PipeCommand, PipeStep, PipedProcess};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};

/// `pipe`: what a program prints that reads a partition's elements as lines. One process for each partition, empty ones included.
#[derive(Clone, Serialize, Deserialize)]
pub struct Piped<P> {
    parent: P,
    /// Or why there is none, which the first action tells.
    command: Result<PipeCommand, String>,
}

impl<P> Piped<P> {
    /// Hands `parent`'s elements to `command`.
    pub fn new(parent: P, command: Result<PipeCommand>) -> Self {
        let command = command.map_err(|e| match e {
            Error::InvalidArgument(what) => what,
            other => other.to_string(),
        });
        Piped { parent, command }
    }

    fn command(&self) -> Result<PipeCommand> {
        self.command.clone().map_err(Error::InvalidArgument)
    }
}

impl<P: Pipeline<Item: TextLine>> Pipeline for Piped<P> {
    type Item = String;
    type Split = P::Split;
    type Stream = PipedStream<P::Stream>;

    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        PipedStream {
            input: self.parent.open(split, task),
            state: State::Before(task.expect(self.command())),
            task: task.clone(),
        }
    }
    fn splits(&self, plan: &dyn Plan) -> Result<Vec<P::Split>> {
        self.command()?;
        self.parent.splits(plan)
    }
    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        self.parent.refers(visit)
    }
    fn reads(&self, split: &P::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        self.parent.reads(split, visit)
    }
    fn locations(&self, split: &P::Split) -> Vec<String> {
        self.parent.locations(split)
    }
}

enum State {
    Before(PipeCommand),
    /// Killed when it is dropped, however the task ends.
    Running(PipedProcess),
    Ended,
}

/// The run of [`Piped`]. Reads what the program prints whenever there is something, and hands it elements whenever it can take
/// some; in between, and at least ten times in a second, it looks at the kill flag.
pub struct PipedStream<S> {
    input: S,
    state: State,
    task: Task,
}

/// Hands elements to the program until that is enough for now.
struct Feed<'a>(&'a mut PipedProcess);

impl<T: TextLine> Sink<T> for Feed<'_> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        self.0.write_with(|text| item.get().write_line(text))
    }
}

impl<S: Stream<Item: TextLine>> Stream for PipedStream<S> {
    type Item = String;

    fn drive<K: Sink<String>>(&mut self, sink: &mut K) -> Flow {
        loop {
            self.task.check();
            let process = match &mut self.state {
                State::Before(command) => {
                    let process = self.task.expect(PipedProcess::spawn(command));
                    self.state = State::Running(process);
                    continue;
                }
                State::Running(process) => process,
                State::Ended => return Flow::Done,
            };
            match self.task.expect(process.step()) {
                PipeStep::Waiting => {}
                PipeStep::End => self.state = State::Ended,
                PipeStep::Output => {
                    for line in process.lines().into_iter().flatten() {
                        if !sink.push(Own(line.to_string())) {
                            return Flow::Full;
                        }
                    }
                }
                PipeStep::WantsInput => match self.input.drive(&mut Feed(process)) {
                    Flow::Done => process.close_input(),
                    Flow::Full => {}
                    starved => return starved,
                },
            }
        }
    }
}
