//! A partition's elements into a part file: one line each, committed once.

use crate::{
    action::{Action, Input},
    failure::TaskFailure,
    stream::{Lent, Sink, Stream},
    task::Task,
    text_line::TextLine,
};
use firesteel_io::{OutputCommitter, TaskWriter};
use serde::{Deserialize, Serialize};

/// `save_as_text_file`: writes the partition's part file into its attempt's own folder, and moves it into place once the driver
/// permits it. An attempt that fails, or is not permitted, leaves nothing.
#[derive(Clone, Serialize, Deserialize)]
pub struct SaveText(pub OutputCommitter);

struct Lines<'a> {
    writer: TaskWriter,
    task: &'a Task,
}

impl<T: TextLine> Sink<T> for Lines<'_> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        self.task.expect(self.writer.write_with(|text| item.get().write_line(text)));
        true
    }
}

impl<T: TextLine + 'static> Action<T> for SaveText {
    type Out = ();
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) {
        let task = input.task().clone();
        let (partition, attempt) = (task.info().partition, task.info().attempt);
        let mut lines = Lines { writer: task.expect(TaskWriter::create(&self.0, partition, attempt)), task: &task };
        input.drive(&mut lines);
        let mut writer = lines.writer;
        task.expect(writer.finish());
        task.check();
        if !(task.executor().may_commit)(attempt) {
            drop(writer);
            TaskFailure::CommitDenied.raise()
        }
        let written = task.expect(writer.commit());
        task.measure(|m| {
            m.output_bytes += written.bytes;
            m.output_records += written.records;
        });
    }
}
