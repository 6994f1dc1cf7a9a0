//! Reads an event log, ours or Spark's.

use crate::Event;
use firesteel_model::{Error, Result};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// How long a line of an event log may be, in bytes. (The longest are starts of jobs with many thousands of stages.)
pub const MAX_LINE: usize = 128 << 20;

/// Opens an event log: Spark's or ours, finished or still being written, not compressed.
///
/// # Errors
/// The file cannot be opened.
pub fn read_log(path: impl AsRef<Path>) -> Result<LogReader<BufReader<File>>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| Error::io("open the event log", path.display(), e))?;
    Ok(LogReader::new(BufReader::with_capacity(1 << 16, file), path.display().to_string()))
}

/// The events of a log, one by one, in memory that the longest line takes.
///
/// A line that is damaged, or longer than [`MAX_LINE`], is an error that names log and line; the lines after it are read all the
/// same. Events that this version does not know are passed over, and so is a last line that was cut off. An error of the disk ends it.
///
/// ```
/// use firesteel_events::{Event, LogReader};
///
/// let log = "{\"Event\":\"SparkListenerLogStart\",\"Spark Version\":\"4.3.0\"}\n\
///            {\"Event\":\"SparkListenerOfTheFuture\"}\n\
///            damage\n\
///            {\"Event\":\"SparkListenerUnpersistRDD\",\"RDD ID\":9}\n\
///            {\"Event\":\"SparkListenerUnpersi";
/// let events: Vec<_> = LogReader::new(log.as_bytes(), "the example").collect();
/// assert_eq!(events.len(), 3);
/// assert_eq!(events[0].as_ref().unwrap().name(), "SparkListenerLogStart");
/// assert!(events[1].as_ref().unwrap_err().to_string().contains("the example, line 3"));
/// assert_eq!(events[2].as_ref().unwrap().name(), "SparkListenerUnpersistRDD");
/// ```
#[derive(Debug)]
pub struct LogReader<R> {
    input: R,
    name: String,
    line: Vec<u8>,
    number: u64,
    ended: bool,
}

impl<R: BufRead> LogReader<R> {
    /// Reads a log from elsewhere; `name` is for errors.
    pub fn new(input: R, name: impl Into<String>) -> Self {
        Self { input, name: name.into(), line: Vec::new(), number: 0, ended: false }
    }

    /// One line, or none at the end.
    fn next_line(&mut self) -> Option<Result<Option<Event>>> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut self.line);
        let whole = self.line.pop_if(|b| *b == b'\n').is_some();
        match read {
            Ok(0) => return None,
            Ok(_) if !whole && self.line.len() > MAX_LINE => {
                self.line.truncate(0);
                return Some(match self.input.skip_until(b'\n') {
                    Ok(_) => Err(self.damaged(format!("longer than {} MiB", MAX_LINE >> 20))),
                    Err(e) => self.broken(e),
                });
            }
            Ok(_) => {}
            Err(e) => return Some(self.broken(e)),
        }
        if self.line.trim_ascii().is_empty() {
            return Some(Ok(None));
        }
        let event = match std::str::from_utf8(&self.line) {
            Ok(line) => Event::from_json(line).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        match event {
            // The writer was stopped in the middle of its last line.
            Err(_) if !whole => None,
            event => Some(event.map_err(|e| self.damaged(e))),
        }
    }

    fn broken(&mut self, e: std::io::Error) -> Result<Option<Event>> {
        self.ended = true;
        Err(Error::io("read the event log", &self.name, e))
    }

    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::Serialization(format!("the event log {}, line {}, is damaged: {what}", self.name, self.number))
    }
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.next_line() {
                Some(Ok(Some(event))) => return Some(Ok(event)),
                Some(Ok(None)) => {}
                Some(Err(e)) => return Some(Err(e)),
                None => self.ended = true,
            }
        }
        None
    }
}
