//! Writes one attempt's part file.

use crate::{Codec, OutputCommitter};
use firesteel_model::{AttemptId, Error, PartitionIndex, Result};
use flate2::{Compression, write::GzEncoder};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

/// How much text is collected before it goes to the file. As the buffer of the file that a task reads, it is one of a fixed size for each
/// task that runs, which a budget for what grows with the data does not count.
const BUFFER: usize = 256 << 10;

/// What one attempt has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Bytes in the file, compressed ones if it is compressed.
    pub bytes: u64,
    /// Lines.
    pub records: u64,
}

/// The part file of one attempt at one partition. Committed, it takes its partition's place in the output; aborted or
/// dropped, it is gone.
///
/// ```
/// # fn main() -> firesteel_model::Result<()> {
/// use firesteel_io::{Codec, OutputCommitter, TaskWriter};
/// use firesteel_model::{AttemptId, PartitionIndex};
/// # let dir = tempfile::tempdir().unwrap();
/// # let out = dir.path().join("out").display().to_string();
/// let job = OutputCommitter::setup_job(&out, 0, Codec::None)?;
/// let mut writer = TaskWriter::create(&job, PartitionIndex(0), AttemptId(5))?;
/// writer.write_line("one")?;
/// writer.write_with(|text| text.push_str("two"))?;
/// writer.finish()?; // then ask the driver for permission
/// assert_eq!(writer.commit()?.records, 2);
/// job.commit_job(1)?;
/// assert_eq!(std::fs::read_to_string(job.dir().join("part-00000")).unwrap(), "one\ntwo\n");
/// # Ok(())
/// # }
/// ```
#[must_use = "a writer that is dropped without a commit leaves nothing"]
pub struct TaskWriter {
    /// The attempt's own folder, removed when the writer goes.
    folder: PathBuf,
    /// The file in it.
    path: PathBuf,
    target: PathBuf,
    text: String,
    /// None once everything is in the file.
    file: Option<Encoder>,
    written: Written,
}

enum Encoder {
    Plain(Counted),
    Gzip(GzEncoder<Counted>),
}

struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl TaskWriter {
    /// Begins the attempt's part file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made; most of all, if the job has ended.
    pub fn create(job: &OutputCommitter, partition: PartitionIndex, attempt: AttemptId) -> Result<TaskWriter> {
        let folder = job.attempt_dir(partition, attempt);
        fs::create_dir(&folder).map_err(|e| Error::io("create folder", folder.display(), e))?;
        let name = job.part_name(partition);
        let mut writer = TaskWriter {
            path: folder.join(&name),
            folder,
            target: job.committed().join(name),
            text: String::with_capacity(BUFFER + 4096),
            file: None,
            written: Written::default(),
        };
        let file = File::create(&writer.path).map_err(|e| Error::io("create", writer.path.display(), e))?;
        let file = Counted { file, bytes: 0 };
        writer.file = Some(match job.codec() {
            Codec::None => Encoder::Plain(file),
            Codec::Gzip => Encoder::Gzip(GzEncoder::new(file, Compression::default())),
        });
        Ok(writer)
    }

    /// Writes one element: `line` and LF.
    ///
    /// # Errors
    /// [`Error::Io`] names the file if the system refuses. A line after [`TaskWriter::finish`] makes the commit fail.
    #[inline]
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        self.write_with(|text| text.push_str(line))
    }

    /// Writes one element as `print` appends it, and LF. What `text` holds already is earlier elements' and not to be
    /// touched.
    ///
    /// # Errors
    /// As [`TaskWriter::write_line`].
    #[inline]
    pub fn write_with(&mut self, print: impl FnOnce(&mut String)) -> Result<()> {
        print(&mut self.text);
        self.text.push('\n');
        self.written.records += 1;
        if self.text.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let done = match &mut self.file {
            Some(Encoder::Plain(file)) => file.write_all(self.text.as_bytes()),
            Some(Encoder::Gzip(file)) => file.write_all(self.text.as_bytes()),
            None => Err(io::Error::other("a line after the end")),
        };
        self.text.clear();
        done.map_err(|e| Error::io("write", self.path.display(), e))
    }

    /// Brings everything into the file: what can go wrong does so before permission to commit is asked for. No line may
    /// follow. Doing it twice is fine.
    ///
    /// # Errors
    /// [`Error::Io`] names the file.
    pub fn finish(&mut self) -> Result<()> {
        if self.file.is_some() || !self.text.is_empty() {
            self.flush()?;
        }
        let file = match self.file.take() {
            None => return Ok(()),
            Some(Encoder::Plain(file)) => file,
            Some(Encoder::Gzip(encoder)) => encoder.finish().map_err(|e| Error::io("write", self.path.display(), e))?,
        };
        self.written.bytes = file.bytes;
        Ok(())
    }

    /// Makes this attempt's file its partition's part, in place of one that an earlier attempt committed. The driver must
    /// have permitted it.
    ///
    /// # Errors
    /// [`Error::Io`] names the file: it cannot be finished or moved, or the job has ended. Then nothing is left of it.
    pub fn commit(mut self) -> Result<Written> {
        self.finish()?;
        fs::rename(&self.path, &self.target).map_err(|e| Error::io("commit", self.path.display(), e))?;
        Ok(self.written)
    }

    /// Leaves nothing of this attempt, as dropping the writer does.
    pub fn abort(self) {}
}

impl Drop for TaskWriter {
    fn drop(&mut self) {
        // The file first, so that an encoder's last bytes have a place to go.
        self.file = None;
        // Whatever stays behind here goes with `_temporary` at the job's end.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LineReader, list_inputs, text_splits};

    #[test]
    fn what_is_written_is_read_back_with_every_codec() {
        let root = tempfile::tempdir().unwrap();
        for codec in [Codec::None, Codec::Gzip] {
            let out = root.path().join(format!("{codec:?}")).display().to_string();
            let job = OutputCommitter::setup_job(&out, 1, codec).unwrap();
            let mut writer = TaskWriter::create(&job, PartitionIndex(100_000), AttemptId(1)).unwrap();
            for i in 0..50_000 {
                writer.write_with(|text| text.push_str(&format!("({i},é)"))).unwrap();
            }
            let written = writer.commit().unwrap();
            assert_eq!(written.records, 50_000);
            let path = job.committed().join(format!("part-100000{}", codec.extension()));
            assert_eq!(path.metadata().unwrap().len(), written.bytes);
            let mut i = 0;
            for split in text_splits(&list_inputs(path.to_str().unwrap()).unwrap(), 3) {
                let mut reader = LineReader::open(&split).unwrap();
                while let Some(lines) = reader.lines().unwrap() {
                    for line in lines {
                        assert_eq!(line, format!("({i},é)"));
                        i += 1;
                    }
                }
            }
            assert_eq!(i, 50_000);
        }
    }

    #[test]
    fn an_empty_partition_is_an_empty_file() {
        let root = tempfile::tempdir().unwrap();
        for codec in [Codec::None, Codec::Gzip] {
            let out = root.path().join(format!("{codec:?}")).display().to_string();
            let job = OutputCommitter::setup_job(&out, 1, codec).unwrap();
            TaskWriter::create(&job, PartitionIndex(0), AttemptId(1)).unwrap().commit().unwrap();
            job.commit_job(1).unwrap();
            let part = job.dir().join(format!("part-00000{}", codec.extension()));
            assert_eq!(crate::read_whole(&part).unwrap(), "");
        }
    }

    #[test]
    fn no_line_follows_the_end() {
        let root = tempfile::tempdir().unwrap();
        let job = OutputCommitter::setup_job(root.path().join("out").to_str().unwrap(), 1, Codec::None).unwrap();
        let mut writer = TaskWriter::create(&job, PartitionIndex(0), AttemptId(1)).unwrap();
        writer.finish().unwrap();
        writer.finish().unwrap();
        writer.write_line("late").unwrap();
        assert!(writer.commit().is_err());
    }
}
