//! Folders of a store's own under the scratch folders it was given.
//!
//! Each is made when it is first needed and removed with its last file's last reader. Its file `lock` is locked while its
//! process lives, so that whoever starts next can tell a folder in use from what a killed process left.

use crate::{
    StoreError,
    sync::{Mutex, MutexGuard},
};
use std::{
    collections::VecDeque,
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    hash::{BuildHasher, RandomState},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
};

const PREFIX: &str = "firesteel-blocks-";
const LOCK: &str = "lock";

/// How many files are kept open for whoever reads or appends next.
const OPEN_FILES: usize = 128;

/// Gives out new files, in one scratch folder after another: for blocks, for map outputs, for what does not fit into memory.
///
/// A file is removed when its last holder lets go of it, a folder with its last file. At most 128 files stay open.
pub struct Scratch {
    dirs: Vec<PathBuf>,
    /// What is done when all of them are gone that somebody else has made; none if they are made here.
    when_gone: Option<Box<dyn Fn() + Send + Sync>>,
    state: Mutex<State>,
    open: Arc<OpenFiles>,
}

/// The files that are open, the longest untouched first.
#[derive(Default)]
struct OpenFiles {
    files: Mutex<VecDeque<Weak<Handle>>>,
}

/// A file's handle, while it is open.
type Handle = Mutex<Option<Arc<File>>>;

#[derive(Default)]
struct State {
    /// Our folder in each of the scratch folders.
    folders: Vec<Option<Arc<Folder>>>,
    /// How many files were named.
    files: u64,
    /// How many writers have had a scratch folder assigned to begin with.
    turns: usize,
    closed: bool,
}

/// A folder of ours; removed, with everything in it, when dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Locked while open.
    _lock: File,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.path)
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("could not remove the scratch folder {}: {e}", self.path.display());
        }
    }
}

/// A folder below ours for files that others read by their paths; removed, with everything in it, when dropped.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    _folder: Arc<Folder>,
}

impl ScratchFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.path)
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("could not remove the folder {}: {e}", self.path.display());
        }
    }
}

/// A file of ours; removed when dropped.
pub(crate) struct ScratchFile {
    pub(crate) path: PathBuf,
    /// Which of the store's files this is.
    pub(crate) number: u64,
    handle: Arc<Handle>,
    open: Arc<OpenFiles>,
    _folder: Arc<Folder>,
}

impl ScratchFile {
    /// The file, opened for reading and writing at any place.
    pub(crate) fn handle(&self) -> io::Result<Arc<File>> {
        self.opened(File::options().read(true).write(true))
    }

    fn opened(&self, how: &OpenOptions) -> io::Result<Arc<File>> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*handle {
            return Ok(file.clone());
        }
        let file = Arc::new(how.open(&self.path)?);
        *handle = Some(file.clone());
        drop(handle);
        self.open.opened(&self.handle);
        Ok(file)
    }

    /// Writes all of `bytes` at a place.
    pub(crate) fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), StoreError> {
        let file = self.handle().map_err(StoreError::io("open", &self.path))?;
        file.write_all_at(bytes, at).map_err(StoreError::io("write", &self.path))
    }

    /// Makes the file.
    pub(crate) fn create(&self) -> Result<(), StoreError> {
        let new = self.opened(File::options().read(true).write(true).create_new(true));
        new.map_err(StoreError::io("create", &self.path)).map(drop)
    }
}

impl fmt::Debug for ScratchFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScratchFile({})", self.path.display())
    }
}

impl OpenFiles {
    /// Counts a file that was just opened; closes the one that was opened first, if they are too many.
    fn opened(&self, handle: &Arc<Handle>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.push_back(Arc::downgrade(handle));
        let mut closed = Vec::new();
        while files.len() > OPEN_FILES {
            closed.push(files.pop_front());
        }
        drop(files);
        for handle in closed.into_iter().flatten().filter_map(|handle| handle.upgrade()) {
            handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // Gone already if someone emptied the scratch folder, which readers have noticed.
        let _ = fs::remove_file(&self.path);
    }
}

impl Scratch {
    /// Files will lie under `dirs`, in folders of our own that are made when they are first needed. Removes what killed
    /// processes left there. Without any folder nothing can be written.
    pub fn new(dirs: Vec<PathBuf>) -> Arc<Self> {
        Scratch::tidy(&dirs);
        Scratch::with(dirs, None)
    }

    /// Files will lie under `dirs`, which whoever started this process has made, and removes when it has ended. A folder that is gone is
    /// not made again, since nobody would remove it; when all are, `when_gone` is called.
    pub fn given(dirs: Vec<PathBuf>, when_gone: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Scratch::with(dirs, Some(Box::new(when_gone)))
    }

    fn with(dirs: Vec<PathBuf>, when_gone: Option<Box<dyn Fn() + Send + Sync>>) -> Arc<Self> {
        let state = Mutex::new(State { folders: dirs.iter().map(|_| None).collect(), ..State::default() });
        Arc::new(Scratch { state, dirs, when_gone, open: Arc::default() })
    }

    /// Removes what processes left in scratch folders that were killed. Costs reading the folders' lists.
    pub fn tidy(dirs: &[PathBuf]) {
        dirs.iter().for_each(|dir| remove_leftovers(dir));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder, in the next scratch folder that can be written to.
    ///
    /// # Errors
    /// [`StoreError::Scratch`] if none can, [`StoreError::NoScratch`] without any, [`StoreError::Closed`].
    pub fn folder(&self) -> Result<ScratchFolder, StoreError> {
        self.try_each(|file| {
            let path = file.path.with_extension("files");
            fs::create_dir(&path).map_err(StoreError::io("create", &path))?;
            Ok(ScratchFolder { path, _folder: file._folder.clone() })
        })
    }

    /// Has `write` write a new file, in the next scratch folder; in another if that fails, until all have.
    pub(crate) fn write(
        &self,
        mut write: impl FnMut(&ScratchFile) -> Result<u64, StoreError>,
    ) -> Result<(ScratchFile, u64), StoreError> {
        self.try_each(|file| {
            let size = write(&file)?;
            Ok((file, size))
        })
    }

    /// Has `attempt` use a new file, in the next scratch folder; another if that fails, until all have.
    pub(crate) fn try_each<T>(
        &self,
        mut attempt: impl FnMut(ScratchFile) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut done = None;
        self.try_each_dyn(&mut |file| {
            done = Some(attempt(file)?);
            Ok(())
        })?;
        Ok(done.expect("an attempt has succeeded"))
    }

    fn try_each_dyn(&self, attempt: &mut dyn FnMut(ScratchFile) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut errors = Vec::new();
        let first = self.next_turn();
        for i in 0..self.dirs.len() {
            let mut attempt = || self.file_in((first + i) % self.dirs.len()).and_then(&mut *attempt);
            // A folder that vanishes in this very moment is made anew.
            let done = attempt().or_else(|e| if e.is_missing() { attempt() } else { Err(e) });
            match done {
                Ok(()) => return Ok(()),
                Err(e @ StoreError::Io { .. }) => {
                    tracing::warn!("a scratch file could not be written: {e}");
                    errors.push(e.to_string());
                }
                Err(e) => return Err(e),
            }
        }
        if let Some(gone) = &self.when_gone
            && self.dirs.iter().all(|dir| !dir.exists())
        {
            gone();
        }
        Err(if errors.is_empty() { StoreError::NoScratch } else { StoreError::Scratch(errors.join("; ")) })
    }

    /// The first of the scratch folders.
    pub(crate) fn first_dir(&self) -> Option<&Path> {
        self.dirs.first().map(PathBuf::as_path)
    }

    /// In which of the scratch folders a file of ours is, and where in it.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> Option<(u32, &'a str)> {
        let in_it = |(i, dir)| Some((i, path.strip_prefix(dir).ok()?.to_str()?));
        (0..).zip(&self.dirs).find_map(in_it)
    }

    /// Where the next writer begins. Writers at the same time begin at different scratch folders.
    fn next_turn(&self) -> usize {
        let mut state = self.state();
        state.turns += 1;
        state.turns - 1
    }

    /// A new file in a scratch folder, given by its place.
    fn file_in(&self, turn: usize) -> Result<ScratchFile, StoreError> {
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let number = state.files;
        state.files += 1;
        // A folder that vanished, with everything in it, is made anew.
        if state.folders[turn].as_ref().is_some_and(|folder| !folder.path.is_dir()) {
            state.folders[turn] = None;
        }
        let folder = match &state.folders[turn] {
            Some(folder) => folder.clone(),
            None => state.folders[turn].insert(Arc::new(self.make_folder(&self.dirs[turn])?)).clone(),
        };
        drop(state);
        let path = folder.path.join(format!("block-{number}"));
        Ok(ScratchFile { path, number, handle: Arc::default(), open: self.open.clone(), _folder: folder })
    }

    fn make_folder(&self, dir: &Path) -> Result<Folder, StoreError> {
        if self.when_gone.is_none() {
            // A fresh machine has no scratch folder.
            fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        }
        make_folder(dir)
    }

    /// Lets go of the folders: each is removed with its last file. No more files from now on.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let folders = std::mem::take(&mut state.folders);
        drop(state);
        drop(folders);
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scratch({:?})", self.dirs)
    }
}

fn make_folder(dir: &Path) -> Result<Folder, StoreError> {
    let random = RandomState::new().hash_one(std::process::id());
    let path = dir.join(format!("{PREFIX}{}-{random:016x}", std::process::id()));
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        // Other users of the machine have no business with what is cached here.
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(&path).map_err(StoreError::io("create", &path))?;
    let lock = path.join(LOCK);
    let file = File::create_new(&lock).map_err(StoreError::io("create", &lock))?;
    match file.try_lock() {
        Ok(()) => {}
        // Where files cannot be locked, leftovers cannot be told from folders in use, and are left alone.
        Err(TryLockError::Error(e)) => tracing::debug!("{} cannot be locked: {e}", lock.display()),
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::io("lock", &lock)(io::ErrorKind::WouldBlock.into()));
        }
    }
    // Someone who cleans up may have taken the lock, and the folder, in the instant before.
    fs::metadata(&lock).map_err(StoreError::io("lock", &lock))?;
    Ok(Folder { path, _lock: file })
}

/// Removes the folders in `dir` whose process is gone. What cannot be looked at or removed is left.
fn remove_leftovers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !ours || !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => tracing::info!("removed {}, left by a process that was killed", entry.path().display()),
                Err(e) => tracing::debug!("could not remove {}: {e}", entry.path().display()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    fn one_byte(file: &ScratchFile) -> Result<u64, StoreError> {
        fs::write(&file.path, [1]).map_err(StoreError::io("write", &file.path))?;
        Ok(1)
    }

    #[test]
    fn folders_are_made_at_need_used_in_turn_and_removed() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let scratch = Scratch::new(vec![a.path().into(), b.path().join("not/yet/there")]);
        assert_eq!(folders(a.path()), 0);
        let files: Vec<_> = (0..4).map(|_| scratch.write(one_byte).unwrap().0).collect();
        let in_a = files.iter().filter(|f| f.path.starts_with(a.path())).count();
        assert_eq!(in_a, 2);
        scratch.close();
        assert!(matches!(scratch.write(one_byte), Err(StoreError::Closed)));
        assert!(files[0].path.exists(), "still held");
        drop(files);
        assert_eq!((folders(a.path()), folders(&b.path().join("not/yet/there"))), (0, 0));
    }

    #[test]
    fn unusable_folder_is_passed_over() {
        let good = tempfile::tempdir().unwrap();
        let file = good.path().join("file");
        fs::write(&file, "").unwrap();
        let scratch = Scratch::new(vec![file.join("below a file"), good.path().into()]);
        for _ in 0..3 {
            assert!(scratch.write(one_byte).unwrap().0.path.starts_with(good.path()));
        }
        let error = Scratch::new(vec![file.join("x")]).write(one_byte).unwrap_err().to_string();
        assert!(error.contains("firesteel.local.dir") && error.contains("file/x"), "{error}");
        assert!(matches!(Scratch::new(vec![]).write(one_byte), Err(StoreError::NoScratch)));
    }

    #[test]
    fn a_folder_goes_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(vec![dir.path().into()]);
        let folder = scratch.folder().unwrap();
        fs::write(folder.path().join("a"), "a").unwrap();
        scratch.close();
        assert!(folder.path().join("a").exists() && folder.path().starts_with(dir.path()));
        drop(folder);
        assert_eq!(folders(dir.path()), 0);
        assert!(matches!(scratch.folder(), Err(StoreError::Closed)));
    }

    #[test]
    fn vanished_folder_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(vec![dir.path().into()]);
        let lost = scratch.write(one_byte).unwrap().0;
        fs::remove_dir_all(lost.path.parent().unwrap()).unwrap();
        assert!(scratch.write(one_byte).unwrap().0.path.exists());
    }

    #[test]
    fn given_folder_that_is_gone_is_not_made_again() {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        let dir = tempfile::tempdir().unwrap();
        let dirs: Vec<_> = ["a", "b"].map(|name| dir.path().join("worker").join(name)).into();
        dirs.iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
        let gone = Arc::<AtomicU32>::default();
        let told = gone.clone();
        let scratch = Scratch::given(dirs.clone(), move || {
            told.fetch_add(1, Relaxed);
        });
        scratch.write(one_byte).unwrap();
        fs::remove_dir_all(&dirs[0]).unwrap();
        for _ in 0..2 {
            assert!(scratch.write(one_byte).unwrap().0.path.starts_with(&dirs[1]), "the other is left");
        }
        assert_eq!(gone.load(Relaxed), 0);
        fs::remove_dir_all(dir.path().join("worker")).unwrap();
        let error = scratch.write(one_byte).unwrap_err().to_string();
        assert!(dirs.iter().all(|dir| error.contains(dir.to_str().unwrap())), "{error}");
        assert_eq!((gone.load(Relaxed), folders(dir.path())), (1, 0));
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed_and_others_kept() {
        let dir = tempfile::tempdir().unwrap();
        let alive = Scratch::new(vec![dir.path().into()]);
        let file = alive.write(one_byte).unwrap().0;
        let dead = dir.path().join(format!("{PREFIX}1-dead"));
        fs::create_dir_all(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("block-0"), "x").unwrap();
        let foreign = dir.path().join("firesteel-something");
        fs::create_dir_all(&foreign).unwrap();
        fs::write(foreign.join(LOCK), "").unwrap();
        Scratch::new(vec![dir.path().into()]);
        assert!(file.path.exists() && foreign.exists() && !dead.exists());
    }
}
