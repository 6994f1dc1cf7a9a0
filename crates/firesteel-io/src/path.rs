//! Paths as users write them: which file system, where on it, and how a path travels.

use firesteel_model::{Error, Result};
use std::path::{Component, Path, PathBuf};

/// The local path that `spec` names: a plain path, or one after `file:` or `file://`. A relative path is made absolute
/// here, on the driver, because a task may run in a process with another working directory.
///
/// # Errors
/// [`Error::InvalidArgument`] if `spec` is empty or names a file system that cannot be used yet.
///
/// ```
/// use firesteel_io::local_path;
/// use std::path::Path;
/// assert_eq!(local_path("file:///tmp/x")?, Path::new("/tmp/x"));
/// assert!(local_path("hdfs://name-node/x").unwrap_err().to_string().contains("supported: file:"));
/// # Ok::<_, firesteel_model::Error>(())
/// ```
pub fn local_path(spec: &str) -> Result<PathBuf> {
    let path = without_scheme(spec)?;
    std::path::absolute(path).map_err(|e| Error::io("resolve", path, e))
}

/// `spec` without `file:`; an error for any other scheme.
pub(crate) fn without_scheme(spec: &str) -> Result<&str> {
    if spec.is_empty() {
        return Err(Error::InvalidArgument("a path is empty (a stray comma in a list of paths?)".into()));
    }
    let Some((scheme, rest)) = spec.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else { return Ok(spec) };
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(Error::InvalidArgument(format!(
            "{spec}: no file system for scheme {scheme:?}; supported: file: (a local file with a colon in its name is \
             written ./{spec})"
        )));
    }
    match rest.strip_prefix("//") {
        None if rest.is_empty() => Err(Error::InvalidArgument(format!("{spec}: no path after the scheme"))),
        None => Ok(rest),
        Some(local) if local.starts_with('/') => Ok(local),
        Some(hosted) => hosted.strip_prefix("localhost").filter(|path| path.starts_with('/')).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "{spec}: a file: URI has no host; write file:///path for an absolute path, or the path alone"
            ))
        }),
    }
}

/// Whether this is a URI's scheme (as opposed to the head of a path that has a colon later on).
fn is_scheme(head: &str) -> bool {
    head.starts_with(|c: char| c.is_ascii_alphabetic())
        && head.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// The name under which Spark's `wholeTextFiles` gives a file: `file:/tmp/x`, nothing percent-encoded, `.` and `..`
/// resolved by name alone. Bytes that are not UTF-8 become U+FFFD.
///
/// ```
/// use std::path::Path;
/// assert_eq!(firesteel_io::file_uri(Path::new("/tmp/a/../b c")), "file:/tmp/b c");
/// ```
pub fn file_uri(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    format!("file:{}", plain.to_string_lossy())
}

/// Whether inputs skip this file: its name begins with `_` or `.`, as those of unfinished and marker files do.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| matches!(name.as_encoded_bytes().first(), Some(b'_' | b'.')))
}

/// How a path travels: as its bytes, because a file name need not be UTF-8.
pub(crate) mod as_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::{
        ffi::OsStr,
        os::unix::ffi::{OsStrExt, OsStringExt},
        path::Path,
        sync::Arc,
    };

    pub(crate) fn serialize<S: Serializer>(path: &Arc<Path>, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Path>, D::Error> {
        let bytes = Vec::<u8>::deserialize(from)?;
        Ok(Arc::from(Path::new(&std::ffi::OsString::from_vec(bytes) as &OsStr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn schemes_other_than_file_are_refused_by_name() {
        for spec in ["hdfs://nn/x", "s3a://bucket/x", "http://h/x", "HDFS:/x"] {
            let text = local_path(spec).unwrap_err().to_string();
            assert!(text.contains(spec) && text.contains("supported: file:"), "{text}");
        }
        assert!(local_path("file://host/x").unwrap_err().to_string().contains("no host"));
        assert!(local_path("file:").is_err());
        assert!(local_path("").is_err());
    }

    #[test]
    fn a_colon_after_a_slash_or_a_digit_is_part_of_the_name() {
        assert_eq!(local_path("/a/b:c").unwrap(), Path::new("/a/b:c"));
        assert!(local_path("./hdfs:x").unwrap().ends_with("hdfs:x"));
        assert!(local_path("12:30.txt").unwrap().ends_with("12:30.txt"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_an_error(spec in "(file|hdfs|s3)?:?[/.a ]{0,3}\\PC{0,12}") {
            if let Ok(path) = local_path(&spec) {
                prop_assert!(path.is_absolute());
                prop_assert!(file_uri(&path).starts_with("file:/"));
            }
        }

        #[test]
        fn any_bytes_are_a_split_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(split) = serde_json::from_slice::<crate::TextSplit>(&bytes) {
                prop_assert!(split.end() >= split.start);
            }
        }
    }

    #[test]
    fn every_form_of_a_local_path_means_the_same() {
        for spec in ["/tmp/x", "file:/tmp/x", "file:///tmp/x", "FILE:///tmp/x", "file://localhost/tmp/x", "/tmp//./x"] {
            assert_eq!(local_path(spec).unwrap(), Path::new("/tmp/x"), "{spec}");
        }
        assert!(local_path("x").unwrap().is_absolute());
        assert_eq!(local_path("file:x").unwrap(), local_path("x").unwrap());
    }
}
