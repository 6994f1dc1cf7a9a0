//! A program of another language between two RDDs.

use crate::{
    Data,
    func::{Plain, With},
    op::{Emit, EmitFunc},
    pipeline::{Pipeline, Plan},
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
    text_line::TextLine,
};
use firesteel_code::Captureless;
use firesteel_io::{PipeCommand, PipeStep, PipedProcess};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// `pipe`: what a program prints that reads a partition's elements as lines. One process for each partition, empty ones included.
#[derive(Clone, Serialize, Deserialize)]
pub struct Piped<P, C> {
    parent: P,
    /// Or why there is none, which the first action tells.
    command: Result<PipeCommand, String>,
    printer: C,
}

/// How a program is given elements.
pub trait Printer<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Writes what comes before the elements.
    fn head(&self, process: &mut PipedProcess);
    /// Writes one element; whether the program wants more now.
    fn element(&self, item: &T, process: &mut PipedProcess) -> bool;
}

/// Each element is a line, as text files have it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct AsLine;

impl<T: TextLine> Printer<T> for AsLine {
    fn head(&self, _: &mut PipedProcess) {}
    #[inline(always)]
    fn element(&self, item: &T, process: &mut PipedProcess) -> bool {
        process.write_with(|text| item.write_line(text))
    }
}

/// Two functions of the user's emit lines: before the elements, and for each of them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Printing<H, F>(pub H, pub F);

impl<T, H: HeadFunc, F: EmitFunc<T, String>> Printer<T> for Printing<H, F> {
    fn head(&self, process: &mut PipedProcess) {
        self.0.call(&mut Emit::new(&mut |line: String| {
            process.write_with(|text| text.push_str(&line));
        }));
    }
    fn element(&self, item: &T, process: &mut PipedProcess) -> bool {
        let mut go = true;
        self.1.call(item, &mut Emit::new(&mut |line: String| go &= process.write_with(|text| text.push_str(&line))));
        go
    }
}

/// A function that emits what comes before a partition's elements.
pub trait HeadFunc: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Calls it.
    fn call(&self, out: &mut Emit<'_, String>);
}

impl<H: Fn(&mut Emit<'_, String>) + Captureless> HeadFunc for Plain<H> {
    fn call(&self, out: &mut Emit<'_, String>) {
        (self.f())(out)
    }
}
impl<E: Data, H: Fn(&E, &mut Emit<'_, String>) + Captureless> HeadFunc for With<E, H> {
    fn call(&self, out: &mut Emit<'_, String>) {
        (self.f())(self.env(), out)
    }
}

impl<P, C> Piped<P, C> {
    /// Hands `parent`'s elements to `command`.
    pub fn new(parent: P, command: Result<PipeCommand>, printer: C) -> Self {
        let command = command.map_err(|e| match e {
            Error::InvalidArgument(what) => what,
            other => other.to_string(),
        });
        Piped { parent, command, printer }
    }

    fn command(&self) -> Result<PipeCommand> {
        self.command.clone().map_err(Error::InvalidArgument)
    }
}

impl<P: Pipeline, C: Printer<P::Item>> Pipeline for Piped<P, C> {
    type Item = String;
    type Split = P::Split;
    type Stream = PipedStream<P::Stream, C>;

    fn open(&self, split: P::Split, task: &Task) -> Self::Stream {
        PipedStream {
            input: self.parent.open(split, task),
            printer: self.printer.clone(),
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
    Running(Box<PipedProcess>),
    Ended,
}

/// The run of [`Piped`]. Reads what the program prints whenever there is something, and hands it elements whenever it can take
/// some; in between, and at least ten times in a second, it looks at the kill flag.
pub struct PipedStream<S, C> {
    input: S,
    printer: C,
    state: State,
    task: Task,
}

/// Hands elements to the program until that is enough for now.
struct Feed<'a, C>(&'a mut PipedProcess, &'a C);

impl<T, C: Printer<T>> Sink<T> for Feed<'_, C> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        self.1.element(item.get(), self.0)
    }
}

impl<S: Stream, C: Printer<S::Item>> Stream for PipedStream<S, C> {
    type Item = String;

    fn drive<K: Sink<String>>(&mut self, sink: &mut K) -> Flow {
        loop {
            self.task.check();
            let process = match &mut self.state {
                State::Before(command) => {
                    let mut process = self.task.expect(PipedProcess::spawn(command));
                    self.printer.head(&mut process);
                    self.state = State::Running(Box::new(process));
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
                PipeStep::WantsInput => match self.input.drive(&mut Feed(process, &self.printer)) {
                    Flow::Done => process.close_input(),
                    Flow::Full => {}
                    starved => return starved,
                },
            }
        }
    }
}
