//! A process that a worker runs: in a group of its own, so that nothing that it started outlives it.

use super::logs::{Rolling, copy};
use crossbeam_channel::Sender;
use firesteel_model::{Error, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{
    convert::Infallible,
    io::{self, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long what an ended process printed may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a program that is still being written somewhere is tried again.
const BUSY: Duration = Duration::from_secs(2);

/// The life of a process, or of several of which one follows another: whether it is to end, and which one runs.
#[derive(Debug, Default)]
pub(super) struct Life {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    killed: bool,
    /// The group, for as long as its leader has not been waited for: until then nobody else can have its number.
    group: Option<Pid>,
}

impl Life {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what runs, and sees to it that nothing runs any more.
    pub(super) fn kill(&self) {
        let mut state = self.lock();
        state.killed = true;
        if let Some(group) = state.group {
            end(group);
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn is_killed(&self) -> bool {
        self.lock().killed
    }

    /// Waits for so long, or until it is killed.
    pub(super) fn pause(&self, time: Duration) {
        let _ = self.changed.wait_timeout_while(self.lock(), time, |state| !state.killed);
    }

    /// Runs a process to its end; says which it was. What it prints goes to `stdout` and `stderr` in the folder in which it runs. None if it
    /// is not to run.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be started.
    pub(super) fn run(
        &self,
        mut command: Command,
        folder: &Path,
        rolling: Rolling,
    ) -> Result<Option<(u32, ExitStatus)>> {
        let failed = |e| Error::io("start", format!("a process in {}", folder.display()), e);
        command.current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let (mut child, group) = {
            let mut state = self.lock();
            if state.killed {
                return Ok(None);
            }
            let child = spawn(&mut command).map_err(failed)?;
            let group = Pid::from_child(&child);
            state.group = Some(group);
            (child, group)
        };
        // Its standard input is open in this process for as long as the command is.
        drop(command);
        let (writing, written) = crossbeam_channel::bounded(0);
        let read = |from: Option<Box<dyn Read + Send>>, name: &str, writing: Sender<Infallible>| {
            let path = folder.join(name);
            let copying = move || {
                from.into_iter().for_each(|from| copy(from, &path, rolling));
                drop(writing);
            };
            if let Err(e) = std::thread::Builder::new().name("firesteel-log".into()).spawn(copying) {
                tracing::warn!("no thread for what a process prints: {e}");
            }
        };
        read(child.stdout.take().map(|pipe| Box::new(pipe) as _), "stdout", writing.clone());
        read(child.stderr.take().map(|pipe| Box::new(pipe) as _), "stderr", writing);
        let status = self.wait(&mut child, group).map_err(failed)?;
        // Something that left the group may hold the pipes for longer.
        let _ = written.recv_timeout(LAST_WORDS);
        Ok(Some((child.id(), status)))
    }

    fn wait(&self, child: &mut Child, group: Pid) -> io::Result<ExitStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(e) = waitid(WaitId::Pid(group), options) {
            if e != rustix::io::Errno::INTR {
                break;
            }
        }
        let mut state = self.lock();
        // What it started and left behind.
        end(group);
        state.group = None;
        child.wait()
    }
}

fn end(group: Pid) {
    // It may have ended by itself.
    let _ = kill_process_group(group, Signal::KILL);
}

/// Starts a program that may have been written a moment ago: a process that another thread starts at the same time holds the file open for
/// writing until it has begun.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let began = Instant::now();
    loop {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && began.elapsed() < BUSY => {
                std::thread::sleep(Duration::from_millis(10));
            }
            started => return started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::process::ExitStatusExt, sync::Arc};
    use tempfile::TempDir;

    const ROLLING: Rolling = Rolling { max_size: 1 << 20, max_retained: 1 };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn what_a_process_prints_is_in_its_folder_and_its_end_is_told() {
        let dir = TempDir::new().unwrap();
        let status = Life::default().run(shell("echo here; echo there >&2; exit 3"), dir.path(), ROLLING).unwrap();
        assert_eq!(status.and_then(|(_, status)| status.code()), Some(3));
        assert_eq!(fs::read_to_string(dir.path().join("stdout")).unwrap(), "here\n");
        assert_eq!(fs::read_to_string(dir.path().join("stderr")).unwrap(), "there\n");
    }

    #[test]
    fn a_process_that_is_killed_takes_what_it_started_along() {
        let dir = TempDir::new().unwrap();
        let life = Arc::new(Life::default());
        let (ours, theirs) = io::pipe().unwrap();
        let mut command = shell("sleep 1000 & echo ready; wait");
        // Open in both of its processes.
        command.stdin(theirs);
        let (running, folder) = (life.clone(), dir.path().to_path_buf());
        let waiting = std::thread::spawn(move || running.run(command, &folder, ROLLING));
        while fs::read_to_string(dir.path().join("stdout")).unwrap_or_default() != "ready\n" {
            std::thread::yield_now();
        }
        life.kill();
        assert_eq!(waiting.join().unwrap().unwrap().and_then(|(_, status)| status.signal()), Some(9));
        // Ends when nobody holds the other end.
        assert_eq!(io::read_to_string(ours).unwrap(), "");
        // Nothing runs any more.
        assert!(life.run(shell("exit 0"), dir.path(), ROLLING).unwrap().is_none());
    }
}
