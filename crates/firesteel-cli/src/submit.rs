//! `firesteel submit`: runs a program, its driver here or on a worker.

use crate::{
    daemons::masters,
    settings::{SettingArguments, show_log},
};
use clap::Args;
use firesteel_cluster::{
    protocol::{DriverDescription, DriverId, NamedFile},
    security,
    submit::Submitter,
};
use firesteel_model::{
    Error, Result,
    conf::{Conf, KeyInfo, Origin, is_secret, keys},
};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};
use tracing::level_filters::LevelFilter;

/// `firesteel submit`
#[derive(Args)]
pub(crate) struct SubmitArguments {
    /// Who supplies the executors: firesteel://HOST:PORT, local-cluster[N,CORES,MIB], local[N]; local[*] if not said.
    #[arg(long, value_name = "URL")]
    master: Option<String>,
    /// Where the driver runs: client (here) or cluster (on a worker).
    #[arg(long, value_parser = ["client", "cluster"])]
    deploy_mode: Option<String>,
    /// What the application is called.
    #[arg(long)]
    name: Option<String>,
    /// Count the file of defaults beside --properties-file, which wins.
    #[arg(long, alias = "load-defaults")]
    load_spark_defaults: bool,
    /// The memory that the driver takes of its worker, in cluster mode; 1g if not said.
    #[arg(long, value_name = "SIZE")]
    driver_memory: Option<String>,
    /// The cores that the driver takes of its worker, in cluster mode; 1 if not said.
    #[arg(long, value_name = "N")]
    driver_cores: Option<String>,
    /// The memory of each executor; 1g if not said.
    #[arg(long, value_name = "SIZE")]
    executor_memory: Option<String>,
    /// The cores of each executor; one executor with all that it gets of each worker if not said.
    #[arg(long, value_name = "N")]
    executor_cores: Option<String>,
    /// The most cores of all executors together.
    #[arg(long, value_name = "N")]
    total_executor_cores: Option<String>,
    /// Files that tasks find by their names, with commas between.
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    files: Vec<PathBuf>,
    /// Start the driver again when it fails or its worker is lost, in cluster mode.
    #[arg(long)]
    supervise: bool,
    /// End a driver that was submitted in cluster mode.
    #[arg(long, value_name = "ID", conflicts_with_all = ["status", "program"])]
    kill: Option<String>,
    /// Say how a driver is that was submitted in cluster mode.
    #[arg(long, value_name = "ID", conflicts_with = "program")]
    status: Option<String>,
    /// Show the settings first.
    #[arg(long, short)]
    verbose: bool,
    /// A setting, such as firesteel.executor.memory=2g; may be given often. docs/configuration.md has all of them.
    #[arg(long, short, value_name = "KEY=VALUE")]
    conf: Vec<String>,
    #[command(flatten)]
    settings: SettingArguments,
    /// The program: an executable whose `main` has `#[firesteel::main]`.
    #[arg(required_unless_present_any = ["kill", "status"])]
    program: Option<PathBuf>,
    /// The program's arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn submit(arguments: SubmitArguments) -> Result<()> {
    let conf = arguments.conf()?;
    show_log(&conf, LevelFilter::WARN)?;
    if arguments.verbose {
        eprintln!("{}", conf.to_debug_string());
    }
    if let Some(id) = &arguments.status {
        return status(&conf, id);
    }
    if let Some(id) = &arguments.kill {
        let id = driver(id)?;
        submitter(&conf)?.kill(&id)?;
        println!("{id} is told to end");
        return Ok(());
    }
    let Some(program) = &arguments.program else { return Err(Error::Config("which program?".into())) };
    check_program(program)?;
    // What cannot be read is told here, not by a process on another machine.
    conf.master()?;
    conf.get(keys::EXECUTOR_MEMORY)?;
    conf.get(keys::EXECUTOR_CORES)?;
    conf.get(keys::CORES_MAX)?;
    if conf.get(keys::SUBMIT_DEPLOY_MODE)? == "cluster" {
        return on_cluster(&conf, program, &arguments.args);
    }
    for key in [keys::DRIVER_CORES.info, keys::DRIVER_MEMORY.info, keys::DRIVER_SUPERVISE.info] {
        if conf.origin(key.key()) == Some(Origin::Flags) {
            tracing::warn!("{} has no effect in client mode: the driver runs here, as any other program", key.key());
        }
    }
    here(&conf, &arguments, program)
}

impl SubmitArguments {
    fn conf(&self) -> Result<Conf> {
        let files = self.files.iter().map(|file| {
            let found = file.canonicalize().map_err(|e| Error::io("find", file.display(), e))?;
            Ok(found.display().to_string())
        });
        let files = files.collect::<Result<Vec<_>>>()?;
        let flag = |info: KeyInfo, value: &Option<String>| (info.key(), value.clone());
        let flags = [
            flag(keys::MASTER.info, &self.master),
            flag(keys::SUBMIT_DEPLOY_MODE.info, &self.deploy_mode),
            flag(keys::APP_NAME.info, &self.name),
            flag(keys::DRIVER_MEMORY.info, &self.driver_memory),
            flag(keys::DRIVER_CORES.info, &self.driver_cores),
            flag(keys::EXECUTOR_MEMORY.info, &self.executor_memory),
            flag(keys::EXECUTOR_CORES.info, &self.executor_cores),
            flag(keys::CORES_MAX.info, &self.total_executor_cores),
            flag(keys::FILES.info, &Some(files.join(",")).filter(|files| !files.is_empty())),
            flag(keys::DRIVER_SUPERVISE.info, &self.supervise.then(|| "true".into())),
        ];
        let flags: Vec<_> = flags.iter().map(|(key, value)| (&**key, value.clone())).collect();
        self.settings.load(&self.conf, &flags, self.load_spark_defaults)
    }
}

fn check_program(program: &Path) -> Result<()> {
    let meta = fs::metadata(program).map_err(|e| Error::io("find the program", program.display(), e))?;
    if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
        return Err(Error::Config(format!(
            "{} is no program: give the executable that `cargo build --release` makes",
            program.display()
        )));
    }
    Ok(())
}

/// Becomes the program, with the settings in its environment.
fn here(conf: &Conf, arguments: &SubmitArguments, program: &Path) -> Result<()> {
    let mut lines = String::new();
    for (key, value) in conf.get_all() {
        match conf.origin(key) {
            // It finds these by itself.
            Some(Origin::Machine) => continue,
            Some(Origin::File) if is_secret(key, value) => {
                if !arguments.settings.replaces_defaults(arguments.load_spark_defaults) {
                    continue;
                }
                return Err(Error::Config(format!(
                    "{key} looks like a secret, and would be in the program's environment, which others can read: set it in \
                     firesteel-defaults.conf in the folder FIRESTEEL_CONF_DIR, or, for the cluster's secret, set {}",
                    keys::AUTHENTICATE_SECRET_FILE.info.key()
                )));
            }
            _ => {}
        }
        if value.contains(['\n', '\r']) {
            return Err(Error::Config(format!("{key} has more than one line, which cannot be passed on")));
        }
        lines.push_str(&format!("{key}={value}\n"));
    }
    // A name without a folder is a file here, not a command of the system's.
    let path = program.canonicalize().map_err(|e| Error::io("find the program", program.display(), e))?;
    let mut command = Command::new(&path);
    command.args(&arguments.args).env("FIRESTEEL_CONF", lines).env_remove("FIRESTEEL_MASTER");
    if arguments.settings.replaces_defaults(arguments.load_spark_defaults) {
        command.env_remove("FIRESTEEL_CONF_DIR");
    }
    Err(Error::io("run", path.display(), command.exec()))
}

/// Brings the program to the master, which has a worker run it.
fn on_cluster(conf: &Conf, program: &Path, args: &[String]) -> Result<()> {
    let submitter = submitter(conf)?;
    let mut files = Vec::new();
    for path in conf.get(keys::FILES)?.iter().map(Path::new) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| Error::Config(format!("{} has no name of its own", path.display())))?;
        files.push(NamedFile { name, contents: submitter.bring(path)? });
    }
    let mut settings: Vec<(String, String)> = Vec::new();
    for (key, value) in conf.get_all() {
        // The worker knows them better.
        let others = [keys::MASTER.info, keys::AUTHENTICATE_SECRET.info, keys::AUTHENTICATE_SECRET_FILE.info];
        let is_others = others.iter().any(|info| info.key() == key);
        if !is_others && conf.origin(key) != Some(Origin::Machine) {
            settings.push((key.into(), value.into()));
        }
    }
    let names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
    if !names.is_empty() {
        settings.retain(|(key, _)| *key != keys::FILES.info.key());
        settings.push((keys::FILES.info.key(), names.join(",")));
    }
    let name = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    if !conf.contains(keys::APP_NAME.info.key()) {
        // The worker's copy is called by its hash.
        settings.push((keys::APP_NAME.info.key(), name.clone()));
    }
    let id = submitter.submit(DriverDescription {
        name,
        executable: submitter.bring(program)?,
        args: args.to_vec(),
        settings,
        cores: conf.get(keys::DRIVER_CORES)?,
        memory_mib: conf.get(keys::DRIVER_MEMORY)?.0 >> 20,
        supervise: conf.get(keys::DRIVER_SUPERVISE)?,
        files,
    })?;
    println!("{id}");
    let master = conf.master()?;
    eprintln!(
        "It was submitted; `firesteel submit --master {master} --status {id}` says how it is, and `--kill` ends it."
    );
    Ok(())
}

fn submitter(conf: &Conf) -> Result<Submitter> {
    let url = conf.get(keys::MASTER)?.ok_or_else(|| {
        Error::Config("which master? Give --master firesteel://HOST:PORT, or set FIRESTEEL_MASTER".into())
    })?;
    Ok(Submitter::new(masters(&url)?, security::secret(conf)?))
}

fn driver(id: &str) -> Result<DriverId> {
    DriverId::try_from(id.to_string()).map_err(Error::Config)
}

fn status(conf: &Conf, id: &str) -> Result<()> {
    let status = submitter(conf)?.status(&driver(id)?)?;
    println!("{} is {}", status.driver, status.state);
    if let Some(worker) = status.worker {
        println!("worker: {worker}");
    }
    if !status.message.is_empty() {
        println!("{}", status.message);
    }
    Ok(())
}
