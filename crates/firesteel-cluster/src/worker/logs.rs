//! What a process prints: in a file that is followed by another when it is full.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// When a file is full, and how many full ones are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rolling {
    /// Bytes of one file.
    pub max_size: u64,
    /// `stderr.1` is the last that was full, `stderr.2` the one before it.
    pub max_retained: u32,
}

/// Copies what is printed into the file until nobody prints any more. What cannot be written is lost, so that who prints does not wait.
pub(super) fn copy(mut printed: impl Read, path: &Path, rolling: Rolling) {
    let mut log = Log::new(path.to_path_buf(), rolling);
    let mut buffer = vec![0; 16 << 10];
    let mut told = false;
    loop {
        let read = match printed.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if let Err(e) = log.write(&buffer[..read])
            && !std::mem::replace(&mut told, true)
        {
            tracing::warn!("{} misses what was printed: {e}", path.display());
        }
    }
}

struct Log {
    path: PathBuf,
    rolling: Rolling,
    file: Option<File>,
    size: u64,
}

impl Log {
    fn new(path: PathBuf, rolling: Rolling) -> Log {
        Log { path, rolling, file: None, size: 0 }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.size >= self.rolling.max_size {
                self.file = None;
                self.roll()?;
            }
            let file = match &mut self.file {
                Some(file) => file,
                None => {
                    let file = File::options().create(true).append(true).open(&self.path)?;
                    self.size = file.metadata()?.len();
                    self.file.insert(file)
                }
            };
            let room = self.rolling.max_size.saturating_sub(self.size).max(1);
            let now = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            file.write_all(&bytes[..now])?;
            self.size += now as u64;
            bytes = &bytes[now..];
        }
        Ok(())
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn roll(&mut self) -> io::Result<()> {
        self.size = 0;
        if self.rolling.max_retained == 0 {
            return fs::remove_file(&self.path);
        }
        for n in (1..self.rolling.max_retained).rev() {
            match fs::rename(self.numbered(n), self.numbered(n + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn files(dir: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn printed(text: &str, max_retained: u32) -> Vec<(String, String)> {
        let dir = TempDir::new().unwrap();
        copy(text.as_bytes(), &dir.path().join("stderr"), Rolling { max_size: 4, max_retained });
        files(dir.path())
    }

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
    }

    #[test]
    fn full_files_are_numbered_and_the_oldest_go() {
        assert_eq!(printed("abc", 2), owned(&[("stderr", "abc")]));
        assert_eq!(printed("abcd", 2), owned(&[("stderr", "abcd")]));
        assert_eq!(printed("abcde", 2), owned(&[("stderr", "e"), ("stderr.1", "abcd")]));
        let all = [("stderr", "qr"), ("stderr.1", "mnop"), ("stderr.2", "ijkl")];
        assert_eq!(printed("abcdefghijklmnopqr", 2), owned(&all));
        assert_eq!(printed("abcdefghij", 0), owned(&[("stderr", "ij")]));
    }

    #[test]
    fn a_process_that_starts_again_goes_on_in_the_file() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("stderr");
        for text in ["ab", "cde"] {
            copy(text.as_bytes(), &path, Rolling { max_size: 4, max_retained: 1 });
        }
        assert_eq!(files(dir.path()), owned(&[("stderr", "e"), ("stderr.1", "abcd")]));
    }
}
