//! Files that a program hands to its tasks.

use crate::{Context, engine::Engine, graph::lock};
use firesteel_model::{Error, Result};
use firesteel_store::{Scratch, ScratchFolder};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// The files that were added to a context, as its tasks see them: Spark's `SparkFiles`.
///
/// ```
/// use firesteel::prelude::*;
/// let sc = Context::builder().master("local[2]").build()?;
/// let path = std::env::temp_dir().join(format!("stop-words-{}.txt", std::process::id()));
/// std::fs::write(&path, "the\na\n")?;
/// sc.add_file(path.display().to_string())?;
/// let name = path.file_name().unwrap().to_string_lossy().into_owned();
/// let lengths = sc.range_n(0..2, 2).try_map_with(name, |name, _| -> Result<usize> {
///     Ok(std::fs::read_to_string(Files::get(name)?)?.lines().count())
/// });
/// assert_eq!(lengths.collect()?, [2, 2]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Files(());

thread_local! {
    /// The files of the context whose tasks this thread runs.
    static OF_TASKS: RefCell<Option<Arc<AddedFiles>>> = const { RefCell::new(None) };
}

/// Says that this thread runs a context's tasks.
pub(crate) fn on_task_thread(files: &Arc<AddedFiles>) {
    OF_TASKS.set(Some(files.clone()));
}

impl Files {
    /// In a task: where a file is that was added with [`Context::add_file`], by its name without folders. On the driver
    /// [`Context::file`] knows.
    ///
    /// # Errors
    /// There is no such file, or this thread runs no task.
    pub fn get(name: impl AsRef<str>) -> Result<PathBuf> {
        Self::of_task()?.get(name.as_ref())
    }

    /// In a task: the folder of all files that were added.
    ///
    /// # Errors
    /// This thread runs no task.
    pub fn root_directory() -> Result<PathBuf> {
        Self::of_task()?.all()
    }

    fn of_task() -> Result<Arc<AddedFiles>> {
        OF_TASKS
            .with_borrow(Clone::clone)
            .ok_or_else(|| Error::InvalidArgument("`Files` belongs to tasks: on the driver use `Context::file`".into()))
    }
}

/// Whoever has the files that a process has not yet: the driver, for executors in other processes.
pub(crate) trait FileSource: Send + Sync {
    /// The names of all files.
    fn names(&self) -> Result<Vec<String>>;
    /// Copies a file, or a folder with all that is in it, into a folder; says whether there is such a file.
    fn fetch(&self, name: &str, into: &Path) -> Result<bool>;
}

/// The files of one context, copied into a folder of its own below the scratch folder.
pub(crate) struct AddedFiles {
    scratch: Arc<Scratch>,
    source: Option<Box<dyn FileSource>>,
    /// Held while a file is copied; tasks wait for that where they have it fetched themselves.
    adding: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The paths as they were given, by the files' names.
    added: BTreeMap<String, String>,
    /// Made with the first file.
    folder: Option<ScratchFolder>,
}

impl AddedFiles {
    /// Files will lie below one of `scratch`'s folders. Those that were not added here are fetched from `source` when they are first
    /// asked for.
    pub(crate) fn new(scratch: Arc<Scratch>, source: Option<Box<dyn FileSource>>) -> Arc<Self> {
        Arc::new(AddedFiles { scratch, source, adding: Mutex::default(), state: Mutex::default() })
    }

    fn folder(&self) -> Result<PathBuf> {
        let mut state = lock(&self.state);
        let folder = match &state.folder {
            Some(folder) => folder,
            None => state.folder.insert(self.scratch.folder()?),
        };
        Ok(folder.path().to_path_buf())
    }

    fn get(&self, name: &str) -> Result<PathBuf> {
        let missing =
            || Error::Path(format!("no file {name} was added to the context: `add_file` before the job that needs it"));
        if let Some(path) = self.here(name) {
            return Ok(path);
        }
        let source = self.source.as_ref().ok_or_else(missing)?;
        let _adding = lock(&self.adding);
        if self.here(name).is_none() {
            if !source.fetch(name, &self.folder()?)? {
                return Err(missing());
            }
            lock(&self.state).added.insert(name.to_string(), name.to_string());
        }
        self.here(name).ok_or_else(missing)
    }

    fn here(&self, name: &str) -> Option<PathBuf> {
        let state = lock(&self.state);
        let folder = state.folder.as_ref().filter(|_| state.added.contains_key(name))?;
        Some(folder.path().join(name))
    }

    /// The folder of all files, which are fetched if they are not here.
    fn all(&self) -> Result<PathBuf> {
        if let Some(source) = &self.source {
            for name in source.names()? {
                self.get(&name)?;
            }
        }
        self.folder()
    }

    /// The names of the files that are here.
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.state).added.keys().cloned().collect()
    }

    /// What there is of a file: see [`walk`].
    pub(crate) fn entries(&self, name: &str) -> io::Result<Vec<(PathBuf, PathBuf)>> {
        self.here(name).map_or(Ok(Vec::new()), |path| walk(&path))
    }

    /// Returns whether it was not there before.
    pub(crate) fn add(&self, path: &str, recursive: bool) -> Result<bool> {
        let local = match path.split_once("://") {
            Some(("file", local)) => local,
            Some((scheme, _)) => {
                return Err(Error::Path(format!(
                    "{path}: this version adds files of this machine only, not of {scheme}://"
                )));
            }
            None => path.strip_prefix("file:").unwrap_or(path),
        };
        let local = Path::new(local);
        let meta = match fs::metadata(local) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Path(format!("{path}: the file to be added does not exist")));
            }
            Err(e) => return Err(Error::io("look at", path, e)),
        };
        if meta.is_dir() && !recursive {
            return Err(Error::Path(format!("{path} is a folder: `add_folder` adds it with all that is in it")));
        }
        let name = local.file_name().ok_or_else(|| Error::Path(format!("{path} has no name of its own")))?;
        let name = name.to_string_lossy().into_owned();
        let _adding = lock(&self.adding);
        match lock(&self.state).added.get(&name) {
            Some(known) if known == path => return Ok(false),
            Some(known) => {
                return Err(Error::Path(format!(
                    "{path}: a file named {name} was added already ({known}); tasks know files by their names"
                )));
            }
            None => {}
        }
        let copied = copy(local, &self.folder()?);
        copied.map_err(|e| Error::io("copy for the tasks", path, e))?;
        lock(&self.state).added.insert(name, path.to_string());
        Ok(true)
    }

    fn list(&self) -> Vec<String> {
        let mut paths: Vec<String> = lock(&self.state).added.values().cloned().collect();
        paths.sort();
        paths
    }

    /// Removes the copies.
    pub(crate) fn close(&self) {
        let closed = std::mem::take(&mut *lock(&self.state));
        drop(closed);
    }
}

/// A file, or a folder and all that is in it, each after the folder it is in: where they are, and their paths from the folder that
/// the first is in. Links to folders are left out: they may lead in a circle.
fn walk(top: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = vec![(top.to_path_buf(), PathBuf::from(top.file_name().unwrap_or_default()))];
    let mut next = 0;
    while let Some((path, below)) = found.get(next).cloned() {
        next += 1;
        if !fs::metadata(&path)?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if !(entry.file_type()?.is_symlink() && fs::metadata(entry.path())?.is_dir()) {
                found.push((entry.path(), below.join(entry.file_name())));
            }
        }
    }
    Ok(found)
}

/// Copies a file, or a folder with all that is in it, into a folder.
fn copy(from: &Path, into: &Path) -> io::Result<()> {
    for (path, below) in walk(from)? {
        let to = into.join(below);
        if path.is_dir() {
            fs::create_dir_all(to)?;
        } else {
            fs::copy(path, to)?;
        }
    }
    Ok(())
}

impl Context {
    /// Hands a file to all tasks, which find it by its name with [`Files::get`]. The file is copied now; the same path a second
    /// time is ignored.
    ///
    /// # Errors
    /// The file does not exist or cannot be read, it is a folder, another file of that name was added, or the context was stopped.
    pub fn add_file(&self, path: impl AsRef<str>) -> Result<()> {
        self.add(path.as_ref(), false, "add_file")
    }

    /// [`add_file`](Context::add_file) for a folder with all that is in it.
    ///
    /// # Errors
    /// As `add_file`, folders excepted.
    pub fn add_folder(&self, path: impl AsRef<str>) -> Result<()> {
        self.add(path.as_ref(), true, "add_folder")
    }

    fn add(&self, path: &str, recursive: bool, what: &'static str) -> Result<()> {
        let engine: &Engine = self.engine();
        engine.check_usable(what)?;
        if engine.files.add(path, recursive)? {
            engine.bus.post_with(|| engine.application.environment(&engine.files.list()));
        }
        Ok(())
    }

    /// The paths that were added with [`add_file`](Context::add_file).
    pub fn list_files(&self) -> Vec<String> {
        self.engine().files.list()
    }

    /// Where the copy of an added file is, by its name without folders.
    ///
    /// # Errors
    /// There is no such file.
    pub fn file(&self, name: impl AsRef<str>) -> Result<PathBuf> {
        self.engine().files.get(name.as_ref())
    }
}
