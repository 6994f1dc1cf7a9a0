//! Where the command's settings come from: its flags, the environment, files.

use clap::Args;
use firesteel_model::{
    Error, Result,
    conf::{Conf, Origin, keys},
};
use std::{env, path::PathBuf};
use tracing::level_filters::LevelFilter;

/// Files of settings, for every command.
#[derive(Args)]
pub(crate) struct SettingArguments {
    /// A file of settings, instead of firesteel-defaults.conf in the folder FIRESTEEL_CONF_DIR.
    #[arg(long, value_name = "FILE")]
    properties_file: Option<PathBuf>,
}

impl SettingArguments {
    /// All settings; `pairs` are those of `--conf`, `flags` those of flags of their own. With `defaults` the file of defaults counts beside `--properties-file`, too.
    pub(crate) fn load(&self, pairs: &[String], flags: &[(&str, Option<String>)], defaults: bool) -> Result<Conf> {
        let instead = self.properties_file.is_some() && !defaults;
        let mut conf = Conf::load_from(|name| match name {
            "FIRESTEEL_CONF_DIR" if instead => None,
            name => env::var_os(name),
        })?;
        if let Some(file) = &self.properties_file {
            conf.load_file(file)?;
        }
        for setting in pairs {
            let Some((key, value)) = setting.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
                return Err(Error::Config(format!("--conf {setting}: write KEY=VALUE")));
            };
            conf.set_from(Origin::Flags, key, value);
        }
        for (key, value) in flags {
            if let Some(value) = value {
                conf.set_from(Origin::Flags, key, value);
            }
        }
        let secret = keys::AUTHENTICATE_SECRET.info.key();
        if conf.origin(&secret) == Some(Origin::Flags) {
            return Err(Error::Config(format!(
                "{secret} in an argument can be read by everybody on this machine: put the secret into a file, and say {}=FILE",
                keys::AUTHENTICATE_SECRET_FILE.info.key()
            )));
        }
        Ok(conf)
    }

    /// The file of settings that counts instead of the default one.
    pub(crate) fn replaces_defaults(&self, defaults: bool) -> bool {
        self.properties_file.is_some() && !defaults
    }
}

/// Shows what happens on standard error, as far as the settings say.
pub(crate) fn show_log(conf: &Conf, level: LevelFilter) -> Result<()> {
    let level = conf.get(keys::LOG_LEVEL)?.unwrap_or(level);
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    lines.with_target(false).with_ansi(false).init();
    conf.check();
    Ok(())
}
