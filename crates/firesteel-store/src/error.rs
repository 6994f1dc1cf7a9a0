//! What can go wrong in a store.

use crate::record::RecordError;
use firesteel_model::BlockId;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why a store could not keep or give something.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What was kept is missing or damaged: it must be computed again, as if it had never been kept.
    #[error("{place} cannot be used ({what}); what it held has to be computed again")]
    Corrupt {
        /// Which file or block.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// Another process that holds something could not be asked for it.
    #[error("{from} cannot be reached: {what}")]
    Unreachable {
        /// Who.
        from: String,
        /// Why.
        what: String,
    },
    /// A file or folder could not be written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// None of the scratch folders could be written to; the text says what failed in each.
    #[error("{0}; see that a scratch folder exists, is writable and has room, or name others in `firesteel.local.dir`")]
    Scratch(String),
    /// A value could not be written as a record.
    #[error("block {block}: {source}")]
    Record {
        /// The block that was to hold it.
        block: String,
        /// Why.
        source: RecordError,
    },
    /// A block was asked for as something else than it holds.
    #[error("block {block} holds elements of type `{held}` and was asked for as `{asked}`")]
    WrongType {
        /// The block.
        block: BlockId,
        /// What it holds.
        held: String,
        /// What was asked for.
        asked: &'static str,
    },
    /// A block should go to disk, and the store has no folder for it.
    #[error(
        "there is no scratch folder to write blocks to: name one in `firesteel.local.dir`, or choose a storage level in memory"
    )]
    NoScratch,
    /// The store was closed.
    #[error("the block store has been closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |source| StoreError::Io { action, path, source: Arc::new(source) }
    }

    /// Whether a file or folder is not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether what was kept is lost, so that the remedy is to compute it again.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, StoreError::Corrupt { .. })
    }
}

impl From<StoreError> for firesteel_model::Error {
    fn from(e: StoreError) -> Self {
        use firesteel_model::Error;
        match e {
            StoreError::Io { action, path, source } => Error::Io { action, path: path.display().to_string(), source },
            StoreError::Record { .. } => Error::Serialization(e.to_string()),
            StoreError::Closed => Error::Stopped(e.to_string()),
            e => Error::Other(Arc::new(e)),
        }
    }
}
