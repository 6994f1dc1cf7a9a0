//! Writes the event log.

use super::{SPARK_VERSION, redaction::redacted};
use crate::{Event, Listener, event::LogStart};
use firesteel_model::{Error, Result};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The listener that writes the event log: one file in Spark's format, named `<application id>.inprogress` until the bus stops
/// after the application's end, and `<application id>` from then on.
///
/// A line is on its way to the file, past every buffer of ours, when a job or a stage ends and whenever something else
/// happens that is not as frequent as tasks are. [Secrets](firesteel_model::conf::is_secret) are redacted. Should writing fail (a full disk), an error is
/// logged, the log ends there and keeps its suffix, and the application goes on.
///
/// ```
/// use firesteel_events::{Bus, Event, EventLogWriter, Queue, event::ApplicationEnd, read_log};
///
/// let dir = std::env::temp_dir().join(format!("event-log-example-{}", std::process::id()));
/// std::fs::create_dir_all(&dir)?;
/// let bus = Bus::new(10_000);
/// let log = EventLogWriter::create(dir.to_str().unwrap(), "local-1795232036363", false)?;
/// let path = log.path().to_owned();
/// bus.add(Queue::EventLog, log)?;
/// bus.post(ApplicationEnd { time: 1_795_232_443_348, exit_code: Some(0) });
/// bus.stop();
/// let names: Vec<_> = read_log(path)?.map(|event| event.unwrap().name()).collect();
/// assert_eq!(names, ["SparkListenerLogStart", "SparkListenerApplicationEnd"]);
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), firesteel_model::Error>(())
/// ```
#[derive(Debug)]
pub struct EventLogWriter {
    path: PathBuf,
    unfinished: PathBuf,
    /// None once writing failed, or after the end.
    file: Option<io::BufWriter<File>>,
    line: Vec<u8>,
    log_block_updates: bool,
    ended: bool,
    failure: LogFailure,
}

/// What went wrong with an event log, if anything did, for whoever wants to know in the end.
#[derive(Clone, Debug, Default)]
pub struct LogFailure(Arc<Mutex<Option<Error>>>);

impl LogFailure {
    /// The first failure; from then on none.
    pub fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

impl EventLogWriter {
    /// Begins the log of an application in a folder (a path, or `file:` and a path). `log_block_updates` says whether
    /// [`BlockUpdated`](crate::event::BlockUpdated) events are written; there may be a great many.
    ///
    /// # Errors
    /// The folder does not exist, cannot be written to, or has a log of that application id already; the message names the folder
    /// or file, and the remedy.
    pub fn create(dir: &str, app_id: &str, log_block_updates: bool) -> Result<Self> {
        let dir = Path::new(match dir.strip_prefix("file:") {
            Some(path) => path.strip_prefix("//").unwrap_or(path),
            None => dir,
        });
        match fs::metadata(dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(Error::Config(format!("firesteel.eventLog.dir: {} is not a folder", dir.display()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Config(format!(
                    "firesteel.eventLog.dir: the folder {} does not exist; create it, or set firesteel.eventLog.dir to one that does",
                    dir.display()
                )));
            }
            Err(e) => return Err(Error::io("look at firesteel.eventLog.dir", dir.display(), e)),
        }
        let name = file_name(app_id);
        let path = dir.join(&name);
        let unfinished = dir.join(format!("{name}.inprogress"));
        if path.exists() {
            return Err(exists(&path));
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o660);
        let file = options.open(&unfinished).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => exists(&unfinished),
            _ => Error::io("create the event log", unfinished.display(), e),
        })?;
        let file = Some(io::BufWriter::with_capacity(1 << 16, file));
        let mut log = Self {
            path,
            unfinished,
            file,
            line: Vec::new(),
            log_block_updates,
            ended: false,
            failure: LogFailure::default(),
        };
        let start =
            LogStart { spark_version: SPARK_VERSION.into(), firesteel_version: Some(env!("CARGO_PKG_VERSION").into()) };
        log.write(&start.into(), true).map_err(|e| Error::io("write the event log", log.unfinished.display(), e))?;
        Ok(log)
    }

    /// Where the finished log will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells what will have gone wrong, once the bus has stopped.
    pub fn failure(&self) -> LogFailure {
        self.failure.clone()
    }

    /// Where the log is until then.
    pub fn unfinished_path(&self) -> &Path {
        &self.unfinished
    }

    fn write(&mut self, event: &Event, flush: bool) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.line.clear();
        serde_json::to_writer(&mut self.line, event)?;
        self.line.push(b'\n');
        if let Some(twin) = event.twin() {
            // The older name comes first, as in Spark.
            let end = self.line.iter().position(|b| *b == b',').unwrap_or(self.line.len());
            write!(file, "{{\"Event\":\"{twin}\"")?;
            file.write_all(&self.line[end..])?;
        }
        file.write_all(&self.line)?;
        if flush { file.flush() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.flush()?;
        drop(file);
        if self.ended { fs::rename(&self.unfinished, &self.path) } else { Ok(()) }
    }

    fn give_up(&mut self, e: io::Error) {
        // What is buffered would follow the gap.
        if let Some(file) = self.file.take() {
            drop(file.into_parts());
        }
        let path = self.unfinished.display();
        tracing::error!(
            "could not write the event log {path}: {e}; it ends here, and the application goes on without it"
        );
        self.failure.note(Error::io("write the event log", path, e));
    }
}

impl Listener for EventLogWriter {
    fn on_event(&mut self, event: &Event) {
        let flush = match event {
            // Known only to listeners, as in Spark.
            Event::SpeculativeTaskSubmitted(_) | Event::ExecutorMetricsUpdate(_) | Event::LogStart(_) => return,
            Event::BlockUpdated(_) if !self.log_block_updates => return,
            Event::BlockUpdated(_)
            | Event::EnvironmentUpdate(_)
            | Event::ResourceProfileAdded(_)
            | Event::StageSubmitted(_)
            | Event::StageExecutorMetrics(_)
            | Event::TaskStart(_)
            | Event::TaskGettingResult(_)
            | Event::TaskEnd(_) => false,
            _ => true,
        };
        self.ended |= matches!(event, Event::ApplicationEnd(_));
        if let Err(e) = self.write(&redacted(event), flush) {
            self.give_up(e);
        }
    }

    fn on_stop(&mut self) {
        if let Err(e) = self.finish() {
            let (from, to) = (self.unfinished.display(), self.path.display());
            tracing::error!("could not finish the event log {from}, which was to become {to}: {e}");
            self.failure.note(Error::io("finish the event log", from, e));
        }
    }
}

fn exists(path: &Path) -> Error {
    Error::Path(format!(
        "the event log {} exists already: an application id is used once; remove or rename the older log, or set another firesteel.eventLog.dir",
        path.display()
    ))
}

/// An application's id as Spark makes a file's name of it.
fn file_name(app_id: &str) -> String {
    let replaced = app_id.chars().map(|c| match c {
        ' ' | ':' | '/' | '\\' => '-',
        '.' | '$' | '{' | '}' | '\'' | '"' => '_',
        c => c,
    });
    replaced.collect::<String>().to_lowercase()
}
