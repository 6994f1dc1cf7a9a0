//! Folders of what has ended are removed when they are old.

use crossbeam_channel::{RecvTimeoutError, Sender};
use firesteel_model::{Error, Result};
use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

/// A thread that looks for old folders now and then, until it is dropped.
#[derive(Debug)]
pub(super) struct Cleanup {
    stop: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Cleanup {
    /// Looks every `interval` for folders in which nothing was changed for `ttl`, except those that `running` says.
    pub(super) fn start(
        folder: PathBuf,
        interval: Duration,
        ttl: Duration,
        running: impl Fn() -> BTreeSet<String> + Send + 'static,
    ) -> Result<Cleanup> {
        let (stop, stopped) = crossbeam_channel::bounded::<Infallible>(0);
        let looking = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                clean(&folder, SystemTime::now(), ttl, &running());
            }
        };
        let thread = std::thread::Builder::new().name("firesteel-cleanup".into()).spawn(looking);
        let thread = thread.map_err(|e| Error::io("start", "the thread that removes old folders", e))?;
        Ok(Cleanup { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Removes what is old.
fn clean(folder: &Path, now: SystemTime, ttl: Duration, running: &BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = name.starts_with("app-") || name.starts_with("driver-");
        let path = entry.path();
        if !is_ours || running.contains(&name) || age(&path, now).is_none_or(|age| age < ttl) {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!("{} was removed: it is old", path.display()),
            Err(e) => tracing::warn!("{} is old, and stays: {e}", path.display()),
        }
    }
}

/// For how long nothing has changed in a folder, in its folders and in the files that lie there.
fn age(folder: &Path, now: SystemTime) -> Option<Duration> {
    let modified = |path: &Path| fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
    let inside = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut newest = modified(folder)?;
    for path in inside(folder).flat_map(|path| inside(&path).chain([path.clone()]).collect::<Vec<_>>()) {
        newest = newest.max(modified(&path).unwrap_or(newest));
    }
    // What was changed in the future is new.
    Some(now.duration_since(newest).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn folders_that_are_old_go_and_others_stay() {
        let dir = TempDir::new().unwrap();
        for name in ["app-1", "app-2", "driver-1", "files"] {
            fs::create_dir_all(dir.path().join(name).join("0")).unwrap();
            fs::write(dir.path().join(name).join("0/stderr"), "").unwrap();
        }
        let names = || {
            let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let (day, running) = (Duration::from_secs(86_400), BTreeSet::from(["app-2".to_string()]));
        let later = SystemTime::now() + 2 * day;
        clean(dir.path(), SystemTime::now(), day, &running);
        assert_eq!(names().len(), 4);
        let file = fs::File::options().write(true).open(dir.path().join("driver-1/0/stderr")).unwrap();
        file.set_modified(later).unwrap();
        clean(dir.path(), later, day, &running);
        assert_eq!(names(), ["app-2", "driver-1", "files"]);
    }
}
