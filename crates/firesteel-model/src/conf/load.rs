//! Settings from outside the program: files and environment variables.

use super::{Conf, Origin, keys, properties};
use crate::{Error, Result};
use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Files of settings are written by hand; larger ones are a mistake.
const MAX_FILE: u64 = 1 << 20;

impl Conf {
    /// The settings that this process's environment gives: see [`load_from`](Conf::load_from).
    ///
    /// # Errors
    /// As `load_from`.
    pub fn load() -> Result<Self> {
        Conf::load_from(|name| env::var_os(name))
    }

    /// The settings that environment variables give, weakest first:
    ///
    /// - `FIRESTEEL_CONF_DIR`, a folder: firesteel-defaults.conf in it, or else spark-defaults.conf; and fairscheduler.xml.
    /// - `FIRESTEEL_CONF`: lines of `key=value`.
    /// - `FIRESTEEL_MASTER`: the master URL.
    /// - `FIRESTEEL_LOCAL_DIRS`, or else `SPARK_LOCAL_DIRS`: folders for scratch files. They win over everything, the
    ///   program included.
    ///
    /// Where one place sets a key in both of its forms, the one with `firesteel.` counts. Empty variables are as none.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Io`]: a folder that does not exist, a file that cannot be read, a line that is no
    /// setting; each names the variable or the file.
    ///
    /// ```
    /// use firesteel_model::conf::Conf;
    /// let conf = Conf::load_from(|name| match name {
    ///     "FIRESTEEL_MASTER" => Some("local[2]".into()),
    ///     "FIRESTEEL_CONF" => Some("spark.app.name=words\nspark.locality.wait=0".into()),
    ///     _ => None,
    /// })?;
    /// let shown = "firesteel.app.name=words\nfiresteel.locality.wait=0\nfiresteel.master=local[2]";
    /// assert_eq!(conf.to_debug_string(), shown);
    /// # Ok::<(), firesteel_model::Error>(())
    /// ```
    pub fn load_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let get = |name: &'static str| match variable(name).map(OsString::into_string) {
            Some(Err(_)) => Err(Error::Config(format!("the environment variable {name} is not UTF-8"))),
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
            None => Ok(None),
        };
        let mut conf = Conf::new();
        if let Some(dir) = get("FIRESTEEL_CONF_DIR")? {
            conf.load_folder(Path::new(&dir))?;
        }
        if let Some(lines) = get("FIRESTEEL_CONF")? {
            conf.set_all(Origin::Environment, parse_lines(&lines)?);
        }
        if let Some(master) = get("FIRESTEEL_MASTER")? {
            conf.set_from(Origin::Environment, keys::MASTER.info.key(), master);
        }
        let dirs = get("FIRESTEEL_LOCAL_DIRS")?;
        if let Some(dirs) = dirs.map_or_else(|| get("SPARK_LOCAL_DIRS"), |dirs| Ok(Some(dirs)))? {
            conf.set_from(Origin::Machine, keys::LOCAL_DIR.info.key(), dirs);
        }
        Ok(conf)
    }

    fn load_folder(&mut self, dir: &Path) -> Result<()> {
        if !dir.is_dir() {
            return Err(Error::Config(format!("FIRESTEEL_CONF_DIR is {}, which is no folder", dir.display())));
        }
        let pools = dir.join("fairscheduler.xml");
        if pools.is_file() {
            self.set_from(Origin::File, keys::SCHEDULER_ALLOCATION_FILE.info.key(), pools.display());
        }
        let files = ["firesteel-defaults.conf", "spark-defaults.conf"].map(|name| dir.join(name));
        files.iter().find(|file| file.is_file()).map_or(Ok(()), |file| self.load_file(file))
    }

    /// Sets what a file of properties says: weaker than the environment, stronger than what another file said before.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Config`] if it is none.
    pub fn load_file(&mut self, file: &Path) -> Result<()> {
        let settings = properties::parse(&read(file)?);
        let settings =
            settings.map_err(|problem| Error::Config(format!("settings in {}, {problem}", file.display())))?;
        self.set_all(Origin::File, settings);
        Ok(())
    }

    /// Of the two forms of a key, ours counts, so it comes last.
    fn set_all(&mut self, origin: Origin, mut settings: Vec<(String, String)>) {
        settings.sort_by_key(|(key, _)| key.starts_with(super::PREFIX));
        for (key, value) in settings {
            self.set_from(origin, key, value);
        }
    }
}

/// The lines of `FIRESTEEL_CONF`.
pub(super) fn parse_lines(text: &str) -> Result<Vec<(String, String)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
            _ => Err(Error::Config(format!("FIRESTEEL_CONF holds the line \"{line}\"; each line must be key=value"))),
        })
        .collect()
}

/// The text of a file of settings.
pub(super) fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .and_then(|size| if size as u64 > MAX_FILE { Err(io::Error::other("larger than 1 MiB")) } else { Ok(()) })
        .map_err(|e| Error::io("read settings in", path.display(), e))?;
    Ok(text)
}
