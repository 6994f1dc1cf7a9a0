//! Firesteel's storage: the [record format](record), shuffle runs and cached blocks.
//!
//! README.md beside this crate's sources walks through the life of a run and of a block.

mod block_file;
mod block_store;
pub mod boundary;
mod cached_block;
mod catalogue;
pub mod chunk;
mod error;
mod fetch;
mod flushed;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod heap;
#[cfg(all(test, shuttle))]
mod interleavings;
mod memory;
mod output;
mod page;
pub mod record;
mod run;
mod scratch;
mod serve;
mod shuffle_store;
mod spill;
mod sync;
pub mod weigh;

pub use block_file::BlockWriter;
#[doc(hidden)]
pub use block_file::decode_block_file;
pub use block_store::{BlockBuilder, BlockStatus, BlockStore};
pub use cached_block::{CachedBlock, read_checkpoint};
pub use catalogue::{Catalogue, FileRange, Located, OutputPlace};
pub use chunk::{Chunk, Texts};
pub use error::StoreError;
pub use fetch::LINE as CACHE_LINE;
pub use flushed::RunFiles;
pub use memory::{Evict, Kept, KeptKind, Memory, Refused, Reservation, TaskMemory};
pub use output::{MapOutput, Piece, Wanted};
pub use page::RawPage;
pub(crate) use run::Run;
pub use run::{Room, RunWriter, Slices, part_of};
pub use scratch::{Scratch, ScratchFolder};
pub use serve::{EncodedBlock, PartBytes, RemoteChunks};
pub use shuffle_store::ShuffleStore;
pub use spill::{SpillReader, SpillWriter, Spilled};

use serde::{Serialize, de::DeserializeOwned};

/// What may cross a boundary between stages, threads or processes: be shuffled, cached, collected, broadcast.
///
/// Implemented for every type that is `Clone + Send + Sync + 'static` and both `Serialize` and `Deserialize` (owned).
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Visit {
///     page: String,
///     seconds: f64,
/// }
///
/// fn crosses_boundaries<T: firesteel_store::Data>() {}
/// crosses_boundaries::<Visit>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between executors: be shuffled, cached, collected, broadcast or an environment",
    label = "not `Data`: it and all its parts need Clone, Serialize, Deserialize, Send, Sync and own what they hold",
    note = "on a type of your own: `#[derive(Clone, Serialize, Deserialize)]` (from serde)",
    note = "`Rc`, `&str` and other thread-bound or borrowed parts: use `Arc`, `String`, `Vec` instead",
    note = "an RDD cannot be used in another one's closure: join the two, or collect and broadcast the smaller one"
)]
pub trait Data: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

// What is missing is told by the notes above, in one error instead of one for each bound.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Data for T {}
