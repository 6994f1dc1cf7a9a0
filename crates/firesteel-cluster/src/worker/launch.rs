//! How a worker runs one executor, and one driver.

use super::{Worker, outputs::Kept, process::Life};
use crate::{
    blob::fetch,
    cgroup,
    protocol::{
        ApplicationDescription, Blob, DriverDescription, DriverEnd, DriverId, DriverState, ExecutorEnd, HowEnded,
        NamedFile, RunningExecutor,
    },
    role::{DriverRole, Role, Stdin},
};
use firesteel_model::{Error, Result, conf::keys};
use std::{
    ffi::OsStr,
    fs,
    num::NonZeroU32,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

/// A supervised driver that failed is started again after this time, then after twice the time, and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The status of a process that took more memory than its group may.
const TOOK_TOO_MUCH: i32 = 128 + rustix::process::Signal::KILL.as_raw();
/// One that ran for so long begins with the first pause again.
const GOOD_RUN: Duration = Duration::from_secs(5);

/// The end of an executor that never ran.
pub(super) fn not_started(e: &Error) -> ExecutorEnd {
    ExecutorEnd { how: HowEnded::NotStarted, message: format!("it could not be started: {e}") }
}

/// The end of a driver that never ran.
pub(super) fn driver_not_started(e: &Error) -> DriverEnd {
    DriverEnd { state: DriverState::Error, message: format!("it could not be started: {e}") }
}

impl Worker {
    /// Runs an executor to its end.
    pub(super) fn run_executor(
        &self,
        executor: &RunningExecutor,
        application: &ApplicationDescription,
        kept: &Kept,
        life: &Life,
    ) -> ExecutorEnd {
        let name = &executor.name;
        let folder = self.folder.join(&name.application).join(name.executor.to_string());
        match self.try_executor(executor, application, kept, &folder, life) {
            Ok(Some((pid, status))) => {
                let took_too_much = self.cgroups.as_ref().is_some_and(|groups| groups.leave(pid));
                let how = match (life.is_killed(), status.code(), status.signal()) {
                    (true, ..) => HowEnded::Killed,
                    (false, Some(code), _) => HowEnded::Exited(code),
                    // As shells say it: it has ended for what it did itself.
                    (false, None, _) if took_too_much => HowEnded::Exited(TOOK_TOO_MUCH),
                    (false, None, signal) => HowEnded::Signalled(signal.unwrap_or(0)),
                };
                let why = if took_too_much { cgroup::TOOK_TOO_MUCH } else { "" };
                ExecutorEnd { how, message: self.how_it_ended(status, &folder) + why }
            }
            Ok(None) => ExecutorEnd { how: HowEnded::Killed, message: "it was killed before it ran".into() },
            Err(e) => {
                tracing::warn!("{name} could not be started: {e}");
                not_started(&e)
            }
        }
    }

    fn how_it_ended(&self, status: ExitStatus, folder: &Path) -> String {
        format!(
            "its process has ended ({status}); what it printed is on {} in {}",
            self.settings.host,
            folder.join("stderr").display()
        )
    }

    fn try_executor(
        &self,
        executor: &RunningExecutor,
        application: &ApplicationDescription,
        kept: &Kept,
        folder: &Path,
        life: &Life,
    ) -> Result<Option<(u32, ExitStatus)>> {
        let name = &executor.name;
        let program = self.files.get(application.executable, |file| {
            fetch(&application.files_at, Some(&application.secret), application.executable, file)
        })?;
        fs::create_dir_all(folder).map_err(|e| Error::io("make", folder.display(), e))?;
        let scratch = self.scratch.process(&format!("{}-{}", name.application, name.executor))?;
        let outputs = match kept.outputs(&name.application, application, &self.scratch, self.settings.shuffle_service) {
            Some(outputs) => outputs
                .folders(name.executor)
                .map_err(|e| tracing::warn!("map outputs of {name} will not outlive it: {e}"))
                .ok(),
            None => None,
        };
        let role = Role {
            driver: application.driver.clone(),
            secret: application.secret.clone(),
            executor: name.executor,
            executable: Some(application.executable.hash),
            cores: NonZeroU32::new(executor.cores),
            local_dirs: scratch.paths(),
            outputs,
            ends_with_starter: true,
        };
        let Stdin { theirs, ours } = role.stdin()?;
        let mut command = Command::new(program);
        command.stdin(theirs);
        tracing::info!("{name} starts in {}", folder.display());
        let status = life.run(command, folder, self.settings.rolling);
        // Closed now, and not before: the process ends with it.
        drop(ours);
        status
    }

    /// Runs a driver to its end, again and again if it is supervised.
    pub(super) fn run_driver(&self, id: &DriverId, description: &DriverDescription, life: &Life) -> DriverEnd {
        let folder = self.folder.join(id);
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let end = match self.try_driver(id, description, &folder, life) {
                _ if life.is_killed() => DriverEnd { state: DriverState::Killed, message: "it was killed".into() },
                Ok(Some((_, status))) => {
                    let state = if status.success() { DriverState::Finished } else { DriverState::Failed };
                    DriverEnd { state, message: self.how_it_ended(status, &folder) }
                }
                Ok(None) => DriverEnd { state: DriverState::Killed, message: "it was killed before it ran".into() },
                Err(e) => driver_not_started(&e),
            };
            if !description.supervise || matches!(end.state, DriverState::Finished | DriverState::Killed) {
                return end;
            }
            if began.elapsed() > GOOD_RUN {
                pause = FIRST_PAUSE;
            }
            tracing::warn!("driver {id} is started again after {pause:?}: {}", end.message);
            life.pause(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_driver(
        &self,
        id: &DriverId,
        description: &DriverDescription,
        folder: &Path,
        life: &Life,
    ) -> Result<Option<(u32, ExitStatus)>> {
        let bring = |blob: Blob| self.files.get(blob, |file| self.fetch_from_master(blob, file));
        let program = bring(description.executable)?;
        make_folder(folder, &description.files, bring)?;
        let mut settings = description.settings.clone();
        let mut set = |key: String, value: String| {
            settings.retain(|(other, _)| *other != key);
            settings.push((key, value));
        };
        set(keys::MASTER.info.key(), format!("firesteel://{}", self.settings.masters.join(",")));
        if let Some(secret) = &self.settings.secret {
            let text = std::str::from_utf8(secret.expose()).map_err(|_| {
                Error::Config(
                    "the cluster's secret is no text, so drivers cannot have it: make one with `openssl rand -hex 32`"
                        .into(),
                )
            })?;
            set(keys::AUTHENTICATE_SECRET.info.key(), text.into());
        }
        let Stdin { theirs, ours } = DriverRole { settings }.stdin()?;
        let mut command = Command::new(program);
        let scratch = self.scratch.process(&id.to_string())?;
        command.args(&description.args).stdin(theirs).env("FIRESTEEL_LOCAL_DIRS", scratch.paths().join(","));
        tracing::info!("a driver starts in {}", folder.display());
        let status = life.run(command, folder, self.settings.rolling);
        drop(ours);
        status
    }

    /// Any of the masters may have it.
    fn fetch_from_master(&self, blob: Blob, file: &mut fs::File) -> Result<()> {
        use std::io::Seek;
        let mut failures = Vec::new();
        for master in &self.settings.masters {
            match fetch(master, self.settings.secret.as_ref(), blob, file) {
                Ok(()) => return Ok(()),
                Err(e) => failures.push(e.to_string()),
            }
            file.rewind().and_then(|()| file.set_len(0)).map_err(|e| Error::io("write", "a fetched file", e))?;
        }
        Err(Error::Config(failures.join("; ")))
    }
}

/// Makes the folder in which a driver runs, with copies of its files: what it does with them is its own matter.
fn make_folder(folder: &Path, files: &[NamedFile], bring: impl Fn(Blob) -> Result<PathBuf>) -> Result<()> {
    let failed = |e| Error::io("make", folder.display(), e);
    fs::create_dir_all(folder).map_err(failed)?;
    for NamedFile { name, contents } in files {
        // Nothing but a name may leave the folder.
        if Path::new(name).file_name() != Some(OsStr::new(name)) || ["stdout", "stderr"].contains(&&**name) {
            return Err(Error::Config(format!("{name:?} is no name for a file of a driver's")));
        }
        let to = folder.join(name);
        fs::copy(bring(*contents)?, &to).map_err(|e| Error::io("write", to.display(), e))?;
    }
    Ok(())
}
