//! Text files as single elements.

use crate::{
    pipeline::{Pipeline, Plan},
    stream::{Flow, Own, Sink, Stream},
    task::Task,
};
use firesteel_io::{InputFile, WholeFileSplit, file_uri, read_whole};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// `whole_text_files`: the name and the text of each file. The splits are made by a preparation on the driver.
#[derive(Clone, Serialize, Deserialize)]
pub struct WholeTextFiles {
    #[serde(skip)]
    splits: Arc<OnceLock<Vec<WholeFileSplit>>>,
}

impl WholeTextFiles {
    /// Reads the splits that will be in `splits` when the preparation has run.
    pub fn new(splits: Arc<OnceLock<Vec<WholeFileSplit>>>) -> Self {
        WholeTextFiles { splits }
    }
}

impl Pipeline for WholeTextFiles {
    type Item = (String, String);
    type Split = WholeFileSplit;
    type Stream = WholeTextStream;

    fn open(&self, split: WholeFileSplit, task: &Task) -> WholeTextStream {
        WholeTextStream { files: split.files.into_iter(), task: task.clone() }
    }
    fn splits(&self, _: &dyn Plan) -> Result<Vec<WholeFileSplit>> {
        let unlisted = || Error::InvalidArgument("the input has not been listed yet".into());
        self.splits.get().cloned().ok_or_else(unlisted)
    }
    fn refers(&self, _: &mut dyn FnMut(RddId)) {}
    fn reads(&self, _: &WholeFileSplit, _: &mut dyn FnMut(RddId, PartitionIndex)) {}
}

/// The run of [`WholeTextFiles`].
pub struct WholeTextStream {
    files: std::vec::IntoIter<InputFile>,
    task: Task,
}

impl Stream for WholeTextStream {
    type Item = (String, String);

    fn drive<S: Sink<Self::Item>>(&mut self, sink: &mut S) -> Flow {
        loop {
            self.task.check();
            let Some(file) = self.files.next() else { return Flow::Done };
            let text = self.task.expect(read_whole(&file.path));
            self.task.measure(|m| {
                m.input_records += 1;
                m.input_bytes += file.len;
            });
            if !sink.push(Own((file_uri(&file.path), text))) {
                return Flow::Full;
            }
        }
    }

    fn batch_limit(&self) -> usize {
        1
    }
}
