//! What a context says about itself.

use crate::Context;
use firesteel_model::conf::{Conf, Master};

impl Context {
    /// The number of partitions where nothing else is said: `default.parallelism`, or the number of cores.
    pub fn default_parallelism(&self) -> usize {
        self.engine().default_parallelism
    }
    /// The least number of partitions of text files where nothing else is said: 2, or less if
    /// [`default_parallelism`](Context::default_parallelism) is.
    pub fn default_min_partitions(&self) -> usize {
        self.default_parallelism().min(2)
    }
    /// The application's name.
    pub fn app_name(&self) -> &str {
        &self.engine().application.name
    }
    /// The application's id: `local-<milliseconds>`.
    pub fn application_id(&self) -> &str {
        &self.engine().application.id
    }
    /// The master URL.
    pub fn master(&self) -> &str {
        &self.engine().application.master
    }
    /// Where the driver runs: `client`, with the program that was started.
    pub fn deploy_mode(&self) -> &str {
        "client"
    }
    /// When the context started, in milliseconds since 1970.
    pub fn start_time(&self) -> u64 {
        self.engine().application.start_time
    }
    /// Who runs the program.
    pub fn user(&self) -> &str {
        &self.engine().application.user
    }
    /// Firesteel's version.
    pub fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }
    /// Whether tasks run in this process.
    pub fn is_local(&self) -> bool {
        matches!(Master::parse(self.master()), Ok(Master::Local { .. }))
    }
    /// Whether the context was stopped.
    pub fn is_stopped(&self) -> bool {
        self.engine().is_stopped()
    }
    /// A copy of the settings; changing it changes nothing here.
    pub fn conf(&self) -> Conf {
        self.engine().conf.clone()
    }
    /// The folder that `set_checkpoint_dir` named, if it did.
    pub fn checkpoint_dir(&self) -> Option<String> {
        self.engine().checkpoint_path()
    }
    /// Shows log messages of this level and worse from now on, where the program has left its logging to `#[firesteel::main]`: ALL,
    /// TRACE, DEBUG, INFO, WARN, ERROR, FATAL or OFF, in any case. It holds for the whole process.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for any other text.
    pub fn set_log_level(&self, level: &str) -> crate::Result<()> {
        crate::logging::set_level(level)
    }
}
