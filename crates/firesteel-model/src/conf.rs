//! Configuration: the keys, each defined once; where settings come from; how their text is read.
//!
//! Keys are Spark's with the prefix `firesteel.` instead of `spark.`; the `spark.` form of a key means the same key, so
//! that an existing spark-defaults.conf works. [`keys`] has a constant for every key that something reads, and
//! [`Conf::get`] takes such a constant, so a key has one name, one type, one default and one description everywhere;
//! the reference in docs/configuration.md is made from them.
//!
//! ```
//! use firesteel_model::conf::{Conf, keys};
//! use std::time::Duration;
//!
//! let mut conf = Conf::new();
//! conf.set("firesteel.task.maxFailures", 8).set("spark.locality.wait", "1500ms");
//! assert_eq!(conf.get(keys::TASK_MAX_FAILURES)?, 8);
//! assert_eq!(conf.get(keys::LOCALITY_WAIT_NODE)?, Duration::from_millis(1500));
//! assert_eq!(conf.get(keys::DEFAULT_PARALLELISM)?, None);
//!
//! conf.set("firesteel.locality.wait", "1.5s");
//! let error = conf.get(keys::LOCALITY_WAIT).unwrap_err().to_string();
//! assert!(error.contains("firesteel.locality.wait = \"1.5s\""), "{error}");
//! # Ok::<(), firesteel_model::Error>(())
//! ```

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod known;
mod load;
mod master;
mod pools;
mod properties;
mod secret;
mod value;
mod xml;

pub use known::{Fallback, Key, KeyInfo, keys};
pub use master::{MASTER_PORT, Master};
pub use pools::{PoolConfig, SchedulingMode};
pub use secret::{REDACTED, is_secret};
pub use value::{ByteSize, Value};

use crate::{Error, Result};
use std::{collections::BTreeMap, env, fmt, path::PathBuf};

/// Where a setting comes from. What comes later in this list wins over what comes earlier, whatever the order of
/// arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Origin {
    /// A file of defaults in the folder `FIRESTEEL_CONF_DIR`.
    File,
    /// `FIRESTEEL_CONF`, `FIRESTEEL_MASTER`.
    Environment,
    /// Passed on by whoever submitted the program.
    Flags,
    /// The program itself.
    Code,
    /// `FIRESTEEL_LOCAL_DIRS` or `SPARK_LOCAL_DIRS`: scratch folders belong to the machine, so they win over the
    /// program.
    Machine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::File => "the defaults file",
            Origin::Environment => "the environment",
            Origin::Flags => "the submission's flags",
            Origin::Code => "the program",
            Origin::Machine => "the machine's environment",
        })
    }
}

/// One setting.
#[derive(Clone, PartialEq, Eq)]
struct Setting {
    value: String,
    origin: Origin,
    /// The key as it was written, for messages.
    written: String,
}

/// A set of settings: an ordered map from keys to text, read through the constants in [`keys`].
///
/// A key with the prefix `spark.` and the same key with `firesteel.` are one. Keys without either prefix are the
/// program's own: kept, and read by nothing here. The debug form hides secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// By key, with the prefix `firesteel.` where it had that or `spark.`.
    settings: BTreeMap<String, Setting>,
}

/// The prefix of our keys.
const PREFIX: &str = "firesteel.";
/// The prefix of Spark's keys, which means the same.
const SPARK_PREFIX: &str = "spark.";

/// The key under which a setting is kept.
fn canonical(key: &str) -> String {
    match key.strip_prefix(SPARK_PREFIX) {
        Some(name) => format!("{PREFIX}{name}"),
        None => key.to_owned(),
    }
}

impl Conf {
    /// No settings: every key has its default. [`Conf::load`] starts from the machine's and the environment's.
    pub fn new() -> Self {
        Conf::default()
    }

    /// Sets a key in the program's name, which wins over flags, environment and files.
    pub fn set(&mut self, key: impl AsRef<str>, value: impl ToString) -> &mut Self {
        self.set_from(Origin::Code, key, value)
    }

    /// Sets a key in the program's name unless something has set it.
    pub fn set_if_missing(&mut self, key: impl AsRef<str>, value: impl ToString) -> &mut Self {
        if self.contains(&key) { self } else { self.set(key, value) }
    }

    /// Sets a key in the name of `origin`; without effect if a stronger origin has set it.
    pub fn set_from(&mut self, origin: Origin, key: impl AsRef<str>, value: impl ToString) -> &mut Self {
        let written = key.as_ref().trim().to_owned();
        let stands = self.settings.entry(canonical(&written));
        let setting = Setting { value: value.to_string(), origin, written };
        stands
            .and_modify(|old| {
                if old.origin <= origin {
                    *old = setting.clone();
                }
            })
            .or_insert(setting);
        self
    }

    /// Forgets a key's setting, so that its default holds; gives back what it was.
    pub fn remove(&mut self, key: impl AsRef<str>) -> Option<String> {
        self.settings.remove(&canonical(key.as_ref())).map(|setting| setting.value)
    }

    /// Is the key set, by whomever? Defaults do not count.
    pub fn contains(&self, key: impl AsRef<str>) -> bool {
        self.settings.contains_key(&canonical(key.as_ref()))
    }

    /// The text that a key is set to, with whichever prefix it is asked for. Defaults do not count.
    pub fn text(&self, key: impl AsRef<str>) -> Option<&str> {
        self.settings.get(&canonical(key.as_ref())).map(|setting| &*setting.value)
    }

    /// Who set the key.
    pub fn origin(&self, key: impl AsRef<str>) -> Option<Origin> {
        self.settings.get(&canonical(key.as_ref())).map(|setting| setting.origin)
    }

    /// The value of a key: what it is set to, else what the key that it falls back to is set to, else its default.
    ///
    /// # Errors
    /// [`Error::Config`] when the text is not of the key's type or not in its range: names the key as it was written,
    /// the text, and what is accepted.
    pub fn get<T: Value>(&self, key: Key<T>) -> Result<T> {
        let mut info = key.info;
        loop {
            if let Some(setting) = self.settings.get(&info.key()) {
                return key.parse(&setting.value).map_err(|wanted| setting.refused(&wanted));
            }
            match info.fallback {
                Fallback::Text(text) => {
                    return key.parse(text).map_err(|wanted| {
                        Error::Config(format!("the default \"{text}\" of {} is not {wanted}", info.key()))
                    });
                }
                Fallback::SameAs(other) => info = *other,
                Fallback::Unset(_) => {
                    return T::unset().ok_or_else(|| Error::Config(format!("{} must be set", info.key())));
                }
            }
        }
    }

    /// The value of a key of the program's own, or of any other, as a `bool`, a number, a [`ByteSize`] (a bare number
    /// is bytes) or a `Duration` (a bare number is milliseconds).
    ///
    /// # Errors
    /// As [`get`](Conf::get).
    ///
    /// ```
    /// use firesteel_model::conf::{ByteSize, Conf};
    /// let mut conf = Conf::new();
    /// conf.set("wiki.cache", "64m");
    /// assert_eq!(conf.get_as("wiki.cache")?, Some(ByteSize(64 << 20)));
    /// assert_eq!(conf.get_as::<bool>("wiki.fast")?, None);
    /// # Ok::<(), firesteel_model::Error>(())
    /// ```
    pub fn get_as<T: Value>(&self, key: impl AsRef<str>) -> Result<Option<T>> {
        let Some(setting) = self.settings.get(&canonical(key.as_ref())) else { return Ok(None) };
        T::parse(&setting.value).map(Some).map_err(|wanted| setting.refused(&wanted))
    }

    /// All settings by key, ours with the prefix `firesteel.`.
    pub fn get_all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, setting)| (&**key, &*setting.value))
    }

    /// All settings by key, ours with the prefix `spark.`: for what Spark's tools read.
    pub fn spark_properties(&self) -> impl Iterator<Item = (String, &str)> {
        self.get_all().map(|(key, value)| match key.strip_prefix(PREFIX) {
            Some(name) => (format!("{SPARK_PREFIX}{name}"), value),
            None => (key.to_owned(), value),
        })
    }

    /// The settings as sorted lines `key=value`, secrets hidden: for people to read.
    pub fn to_debug_string(&self) -> String {
        let line = |(key, value)| format!("{key}={}", if is_secret(key, value) { REDACTED } else { value });
        self.get_all().map(line).collect::<Vec<_>>().join("\n")
    }

    /// The master, `local[*]` if none is set.
    ///
    /// # Errors
    /// As [`Master::parse`].
    pub fn master(&self) -> Result<Master> {
        self.get(keys::MASTER)?.map_or(Ok(Master::ALL_CORES), |url| Master::parse(&url))
    }

    /// The folders for scratch files: `FIRESTEEL_LOCAL_DIRS`, else `SPARK_LOCAL_DIRS`, else `local.dir`, else the
    /// system's.
    ///
    /// # Errors
    /// As [`get`](Conf::get).
    pub fn local_dirs(&self) -> Result<Vec<PathBuf>> {
        let dirs = self.get(keys::LOCAL_DIR)?;
        Ok(if dirs.is_empty() { vec![env::temp_dir()] } else { dirs.into_iter().map(PathBuf::from).collect() })
    }

    /// What is wrong with the *keys* that are set, a sentence each: keys that nobody knows, with the nearest that
    /// somebody does, and keys of Spark's that are not supported yet. Also logged as warnings. Called once, when a
    /// context starts.
    pub fn check(&self) -> Vec<String> {
        let warnings: Vec<String> = self.settings.values().filter_map(|s| known::complaint(&s.written)).collect();
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        warnings
    }
}

impl Setting {
    fn refused(&self, wanted: &str) -> Error {
        let Setting { value, origin, written } = self;
        Error::Config(format!("{written} = \"{value}\" (set by {origin}) is not {wanted}"))
    }
}

impl fmt::Debug for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_debug_string().lines()).finish()
    }
}
