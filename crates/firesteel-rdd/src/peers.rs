//! What other processes hold, as a task reads it.

use crate::{Data, task::Executor};
use firesteel_model::{AttemptId, BlockId, BroadcastId, ExecutorId, PartitionIndex, ShuffleId, StorageLevel};
use firesteel_store::{BlockStatus, CachedBlock, RemoteChunks, StoreError, Wanted, record};
use serde::{Deserialize, Serialize};
use std::{fmt, io, sync::Arc};

/// An executor that holds something, and where that is served: `host:port`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// Which executor.
    pub executor: ExecutorId,
    /// Where it can be asked.
    pub address: String,
    /// Whether the executor has died, and what it left is served there.
    pub is_dead: bool,
}

impl Holder {
    /// What the driver is called where it holds something.
    pub const DRIVER: ExecutorId = ExecutorId(u64::MAX);
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.executor {
            Holder::DRIVER => write!(f, "the driver at {}", self.address),
            executor if self.is_dead => write!(f, "what is left of executor {executor} at {}", self.address),
            executor => write!(f, "executor {executor} at {}", self.address),
        }
    }
}

/// How an executor asks other processes for what they hold. An executor that shares the driver's process needs nobody.
pub trait Peers: Send + Sync {
    /// Asks for one reduce partition of map outputs, and what of it; they come in the order in which they are asked for. What comes may be waiting
    /// here or on its way before it is read, within bounds.
    fn map_outputs(
        &self,
        holder: &Holder,
        shuffle: ShuffleId,
        partition: (u32, Wanted),
        maps: Vec<(PartitionIndex, AttemptId)>,
    ) -> Box<dyn RemoteOutputs>;

    /// A block that another process holds, and which that is; `None` if nobody does.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if nobody who has it can be asked.
    fn block(&self, id: BlockId) -> Result<Option<(Box<dyn RemoteChunks>, String)>, StoreError>;

    /// The bytes of a broadcast value; `None` if nobody has it. The pieces in which they come are kept for others who want them.
    ///
    /// # Errors
    /// As [`block`](Peers::block).
    fn broadcast(&self, id: BroadcastId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Has other executors keep copies of a block that is kept here, so many as can be had; those that do.
    fn copy(&self, id: BlockId, level: StorageLevel, copies: usize) -> Vec<ExecutorId>;

    /// This executor keeps a block since now that it fetched.
    fn keeps(&self, id: BlockId, status: BlockStatus);
}

/// Map outputs that were asked for.
pub trait RemoteOutputs {
    /// The next one. The one before must have been read, or is left out.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is missing or damaged where it should be, [`StoreError::Unreachable`] if its holder is.
    fn next(&mut self) -> Result<RemotePart, StoreError>;
}

/// One reduce partition of a map output that another executor holds.
pub struct RemotePart {
    /// How many records it has.
    pub records: u64,
    /// How many bytes will come.
    pub bytes: u64,
    /// Whether records of other parts than the one that is wanted are among them.
    pub among_others: bool,
    /// What comes: pages, as in the holder's files.
    pub stream: Box<dyn io::Read>,
}

impl Executor {
    /// A block to be read, from here or from whoever has it.
    pub(crate) fn block<T: Data>(&self, id: BlockId) -> Result<Option<CachedBlock<T>>, StoreError> {
        if let Some(block) = self.blocks.get::<T>(id)? {
            return Ok(Some(block));
        }
        let Some(peers) = &self.peers else { return Ok(None) };
        Ok(peers.block(id)?.map(|(chunks, from)| CachedBlock::of_remote(chunks, format!("block {id} of {from}"))))
    }

    /// A broadcast value: fetched from another process when it is first asked for here, and kept.
    pub(crate) fn broadcast<T: Data>(&self, id: BroadcastId) -> Result<Option<Arc<T>>, StoreError> {
        let block = BlockId::Broadcast(id);
        if let Some(value) = self.blocks.get_value::<T>(block) {
            return Ok(Some(value));
        }
        let Some(peers) = &self.peers else { return Ok(None) };
        // One thread fetches; the others find what it has brought.
        let _fetching = self.fetching.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(value) = self.blocks.get_value::<T>(block) {
            return Ok(Some(value));
        }
        let Some(bytes) = peers.broadcast(id)? else { return Ok(None) };
        let value: T = record::from_slice(&bytes)
            .map_err(|e| StoreError::Corrupt { place: format!("{block} of other processes"), what: e.to_string() })?;
        let value = Arc::new(value);
        peers.keeps(block, self.blocks.put_value(block, value.clone()));
        Ok(Some(value))
    }
}
