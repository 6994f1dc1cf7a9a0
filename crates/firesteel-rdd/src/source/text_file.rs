//! Lines of text.

use crate::{
    pipeline::{Pipeline, Plan},
    stream::{Flow, Sink, Stream, TextLoan},
    task::{Stride, Task},
};
use firesteel_io::{LineReader, TextSplit};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// `text_file`: the lines of text files, without their ends. The splits are made by a preparation on the driver.
#[derive(Clone, Serialize, Deserialize)]
pub struct TextFile {
    #[serde(skip)]
    splits: Arc<OnceLock<Vec<TextSplit>>>,
}

impl TextFile {
    /// Reads the splits that will be in `splits` when the preparation has run.
    pub fn new(splits: Arc<OnceLock<Vec<TextSplit>>>) -> Self {
        TextFile { splits }
    }
}

impl Pipeline for TextFile {
    type Item = String;
    type Split = TextSplit;
    type Stream = LineStream;

    fn open(&self, split: TextSplit, task: &Task) -> LineStream {
        LineStream {
            reader: task.expect(LineReader::open(&split)),
            stride: Stride::new(),
            task: task.clone(),
            counted: 0,
        }
    }
    fn splits(&self, _: &dyn Plan) -> Result<Vec<TextSplit>> {
        let unlisted = || Error::InvalidArgument("the input has not been listed yet".into());
        self.splits.get().cloned().ok_or_else(unlisted)
    }
    fn glimpse(&self, split: &TextSplit) -> Option<(Vec<TextSplit>, f64)> {
        split.glimpse()
    }
    fn refers(&self, _: &mut dyn FnMut(RddId)) {}
    fn reads(&self, _: &TextSplit, _: &mut dyn FnMut(RddId, PartitionIndex)) {}
}

/// The run of [`TextFile`].
pub struct LineStream {
    reader: LineReader,
    stride: Stride,
    task: Task,
    counted: u64,
}

impl Stream for LineStream {
    type Item = String;

    #[inline(always)]
    fn drive<S: Sink<String>>(&mut self, sink: &mut S) -> Flow {
        loop {
            let stride = self.stride.begin(&self.task);
            let mut records = 0;
            let mut flow = None;
            match self.task.expect(self.reader.lines()) {
                None => flow = Some(Flow::Done),
                Some(lines) => {
                    for text in lines {
                        records += 1;
                        if !sink.push(TextLoan::new(text)) {
                            flow = Some(Flow::Full);
                            break;
                        }
                        if records == stride as u64 {
                            break;
                        }
                    }
                }
            }
            let read = self.reader.bytes_read();
            self.task.measure(|m| {
                m.input_records += records;
                m.input_bytes += read - self.counted;
            });
            self.counted = read;
            if let Some(flow) = flow {
                return flow;
            }
        }
    }
}
