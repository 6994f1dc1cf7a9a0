//! Text files as single elements.

use super::{Rdd, site};
use crate::{
    Context,
    graph::{CallSite, NewNode, Prepared},
};
use firesteel_io::{list_inputs, whole_file_splits};
use firesteel_rdd::WholeTextFiles;
use std::sync::{Arc, OnceLock};

impl Context {
    /// Each file as one element: its name as a URI (`file:/data/a.txt`) and its text, line ends and all; files that end in `.gz` are
    /// decompressed. For many small files: a file is read by one task and held in memory while it is worked on. The path is a
    /// file, a folder, a glob, or a comma-separated list of these, as for [`text_file`](Context::text_file). In at most about
    /// `min(default_parallelism, 2)` partitions; empty files are elements too.
    ///
    /// # Errors
    /// Of the first action: input that does not exist or cannot be read.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let dir = folder.path().display().to_string();
    /// std::fs::write(format!("{dir}/a.txt"), "one\ntwo\n")?;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let files = sc.whole_text_files(&dir).collect()?;
    /// assert_eq!(files, [(format!("file:{dir}/a.txt"), "one\ntwo\n".to_string())]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn whole_text_files(&self, path: impl AsRef<str>) -> Rdd<(String, String)> {
        self.whole_files(path.as_ref(), self.default_parallelism().min(2), site("whole_text_files"))
    }

    /// [`whole_text_files`](Context::whole_text_files) in about so many partitions: files are put together until a partition has
    /// its share of all bytes, so a few large files make fewer.
    #[track_caller]
    pub fn whole_text_files_n(&self, path: impl AsRef<str>, min_partitions: usize) -> Rdd<(String, String)> {
        self.whole_files(path.as_ref(), min_partitions, site("whole_text_files_n"))
    }

    fn whole_files(&self, path: &str, min_partitions: usize, site: CallSite) -> Rdd<(String, String)> {
        let splits = Arc::new(OnceLock::new());
        let (found, spec) = (splits.clone(), path.to_string());
        let new = NewNode::narrow("WholeTextFileRDD", site, Vec::new()).prepared_by(move |_| {
            let made = whole_file_splits(&list_inputs(&spec)?, min_partitions);
            let _ = found.set(made);
            Ok(Prepared::default())
        });
        let rdd = Rdd::of(self, WholeTextFiles::new(splits), new).erase();
        rdd.set_name(path)
    }
}
