//! Which files an input's path means: files, folders, globs, and lists of them, as Hadoop's `FileInputFormat` sees them.

use crate::{codec, glob, path};
use firesteel_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fs::Metadata, path::Path, sync::Arc};

/// One file of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it is, absolute.
    #[serde(with = "path::as_bytes")]
    pub path: Arc<Path>,
    /// Its length in bytes when it was listed.
    pub len: u64,
    /// Whether tasks can begin in the middle of it: not if it is compressed.
    pub splittable: bool,
}

/// The files that `spec` means, empty ones included: a file, a folder, a glob, or several of them separated by commas
/// (a comma inside `{}` separates alternatives instead).
///
/// The matches of a glob come sorted; the files of a folder in the file system's listing order, as in Spark, so reading
/// `dir/part-*` keeps the order of parts where reading `dir` need not. Names that begin with `_` or `.` are skipped in folders
/// and by patterns; named in full, such a file or folder is read.
///
/// # Errors
/// [`Error::Path`] names every part of the list that does not exist, or matches nothing; a folder inside a folder; a
/// file in a codec that cannot be read yet. [`Error::InvalidArgument`]: a malformed pattern or another file system.
/// [`Error::Io`]: what could not be listed.
///
/// ```
/// let missing = firesteel_io::list_inputs("/no/such/place/*.txt").unwrap_err();
/// assert_eq!(missing.to_string(), "input pattern /no/such/place/*.txt matches 0 files");
/// ```
pub fn list_inputs(spec: &str) -> Result<Vec<InputFile>> {
    let mut files = Vec::new();
    let mut missing = Vec::new();
    for one in split_list(spec) {
        let found = glob::matches(path::without_scheme(one)?)?;
        let mut any = false;
        for matched in found.paths {
            let matched = std::path::absolute(&matched).map_err(|e| Error::io("resolve", matched.display(), e))?;
            if found.is_pattern && path::is_hidden(&matched) {
                continue;
            }
            any = true;
            let metadata = matched.metadata().map_err(|e| Error::io("read", matched.display(), e))?;
            if metadata.is_dir() {
                list_folder(&matched, &mut files)?
            } else {
                files.push(file(matched.into(), &metadata)?)
            }
        }
        if !any && found.is_pattern {
            missing.push(format!("input pattern {one} matches 0 files"));
        } else if !any {
            missing.push(format!("input path does not exist: {one}"));
        }
    }
    if missing.is_empty() { Ok(files) } else { Err(Error::Path(missing.join("; "))) }
}

fn list_folder(dir: &Path, files: &mut Vec<InputFile>) -> Result<()> {
    let failed = |e| Error::io("list", dir.display(), e);
    for entry in dir.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path::is_hidden(&path) {
            continue;
        }
        let metadata = path.metadata().map_err(|e| Error::io("read", path.display(), e))?;
        if metadata.is_dir() {
            return Err(Error::Path(format!(
                "not a file: {} (a folder inside an input folder; name it, or write {}/*/*)",
                path.display(),
                dir.display()
            )));
        }
        files.push(file(path.into(), &metadata)?);
    }
    Ok(())
}

fn file(path: Arc<Path>, metadata: &Metadata) -> Result<InputFile> {
    if !metadata.is_file() {
        return Err(Error::Path(format!("not a file: {} (a device, pipe or socket cannot be split)", path.display())));
    }
    let splittable = codec::of_file(&path)? == codec::Codec::None;
    Ok(InputFile { path, len: metadata.len(), splittable })
}

/// The paths of a comma-separated list; commas inside `{}` separate alternatives of one pattern.
fn split_list(spec: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    spec.split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

    fn names(files: &[InputFile]) -> Vec<String> {
        let mut all: Vec<_> =
            files.iter().map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        all.sort();
        all
    }

    #[test]
    fn a_folder_gives_its_visible_files_empty_ones_too() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a", "1"), ("b.gz", ""), ("_SUCCESS", ""), (".a.crc", "x"), ("c", "")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::create_dir(dir.path().join("_temporary")).unwrap();
        let files = list_inputs(dir.path().to_str().unwrap()).unwrap();
        assert_eq!(names(&files), ["a", "b.gz", "c"]);
        for f in files {
            assert_eq!(f.splittable, !f.path.ends_with("b.gz"));
            assert_eq!(f.len, f.path.metadata().unwrap().len());
            assert!(f.path.is_absolute());
        }
    }

    #[test]
    fn a_folder_in_a_folder_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("in/deep/deeper")).unwrap();
        fs::write(dir.path().join("in/deep/x"), "x").unwrap();
        let text = list_inputs(dir.path().join("in").to_str().unwrap()).unwrap_err().to_string();
        assert!(text.contains("in/deep"), "{text}");
        let text = list_inputs(dir.path().join("in/*").to_str().unwrap()).unwrap_err().to_string();
        assert!(text.contains("in/deep/deeper"), "{text}");
    }

    #[test]
    fn an_empty_folder_is_an_empty_input() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(list_inputs(dir.path().to_str().unwrap()).unwrap(), []);
    }

    #[test]
    fn lists_split_at_commas_outside_braces() {
        assert_eq!(split_list("a,{b,c},d{e,f{g,h}},i").collect::<Vec<_>>(), ["a", "{b,c}", "d{e,f{g,h}}", "i"]);
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d,e"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let at = dir.path().display();
        assert_eq!(names(&list_inputs(&format!("file:{at}/a,{at}/{{b,c}}")).unwrap()), ["a", "b", "c"]);
        assert!(list_inputs(&format!("{at}/{{d,e}},{at}/a")).is_err(), "the comma inside braces is no part of a name");
        // The same file twice in a list is read twice, as in Spark.
        assert_eq!(names(&list_inputs(&format!("{at}/a,{at}/a")).unwrap()), ["a", "a"]);
    }

    #[test]
    fn every_missing_part_of_a_list_is_named() {
        let text = list_inputs("/no/such/a,/no/such/b*,/no/such/{c,d}").unwrap_err().to_string();
        assert_eq!(
            text,
            "input path does not exist: /no/such/a; input pattern /no/such/b* matches 0 files; input pattern \
             /no/such/{c,d} matches 0 files"
        );
        assert!(list_inputs("/no/such/a,").unwrap_err().to_string().contains("stray comma"));
    }

    #[test]
    fn a_hidden_name_is_read_only_if_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("_logs");
        fs::write(&path, "x").unwrap();
        assert_eq!(names(&list_inputs(path.to_str().unwrap()).unwrap()), ["_logs"]);
        assert!(list_inputs(dir.path().join("*").to_str().unwrap()).is_err());
        assert!(list_inputs(dir.path().join("{_logs,x}").to_str().unwrap()).is_err());
    }

    #[test]
    fn a_codec_that_cannot_be_read_is_refused_at_listing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.bz2"), "BZh9").unwrap();
        let text = list_inputs(dir.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(text.contains("x.bz2") && text.contains(".gz"), "{text}");
    }

    #[test]
    fn names_that_are_not_utf8_survive_the_journey() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OsStr::from_bytes(b"caf\xe9"));
        fs::write(&path, "x").unwrap();
        let files = list_inputs(dir.path().to_str().unwrap()).unwrap();
        assert_eq!(&*files[0].path, &*path);
        let sent = serde_json::to_vec(&files).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<InputFile>>(&sent).unwrap(), files);
    }
}
