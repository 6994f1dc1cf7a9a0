//! Output: text files.

use super::{Rdd, site};
use crate::graph::CallSite;
use firesteel_io::{Codec, OutputCommitter};
use firesteel_model::Result;
use firesteel_rdd::{Pipeline, SaveText, TextLine};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// Writes each element as a line of text: a file `part-00000`, `part-00001`, … for each partition, empty ones included, and
    /// `_SUCCESS` when all are there. Elements stand there as Spark prints them, `(word,3)`: see [`TextLine`].
    ///
    /// Every partition is committed once, whatever fails or is repeated on the way; a job that fails leaves nothing behind. Missing
    /// parent folders are made.
    ///
    /// # Errors
    /// The folder exists already, even if it is empty: then no task runs. Else as every action, and [`Error::Io`](crate::Error::Io)
    /// if the file system refuses.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let out = folder.path().join("out").display().to_string();
    /// let sc = Context::builder().master("local[2]").build()?;
    /// sc.parallelize_n([("fig".to_string(), 1), ("pear".to_string(), 2)], 1).save_as_text_file(&out)?;
    /// assert_eq!(std::fs::read_to_string(format!("{out}/part-00000"))?, "(fig,1)\n(pear,2)\n");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn save_as_text_file(&self, path: impl AsRef<str>) -> Result<()>
    where
        T: TextLine,
    {
        self.saved(path.as_ref(), Codec::None, site("save_as_text_file"))
    }

    /// [`save_as_text_file`](Rdd::save_as_text_file), compressed: `gz` (or Hadoop's `org.apache.hadoop.io.compress.GzipCodec`) writes
    /// `part-00000.gz`, `none` plain files.
    ///
    /// # Errors
    /// As `save_as_text_file`, and for a codec that is not known, before anything is made.
    #[track_caller]
    pub fn save_as_text_file_codec(&self, path: impl AsRef<str>, codec: &str) -> Result<()>
    where
        T: TextLine,
    {
        let site = site("save_as_text_file_codec");
        self.node().engine.check_usable(site.method)?;
        self.saved(path.as_ref(), codec.parse()?, site)
    }

    fn saved(&self, path: &str, codec: Codec, site: CallSite) -> Result<()>
    where
        T: TextLine,
    {
        self.node().engine.check_usable(site.method)?;
        let output = OutputCommitter::setup_job(path, self.id(), codec)?;
        let written = self.all(SaveText(output.clone()), site);
        let done = written.and_then(|parts| output.commit_job(parts.len() as u32));
        if done.is_err()
            && let Err(e) = output.abort_job()
        {
            tracing::warn!("what a failed job wrote to {} is still there: {e}", output.dir().display());
        }
        done
    }
}
