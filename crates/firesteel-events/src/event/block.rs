//! Events of blocks and of the stores that hold them.

use super::json;
use firesteel_model::{BlockId, PartitionIndex, RddId, StorageLevel};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A block store: the executor (or `driver`) that it belongs to, and its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockManagerId {
    /// The executor's name, or `driver`.
    #[serde(rename = "Executor ID")]
    pub executor: Arc<str>,
    /// Its host.
    #[serde(rename = "Host")]
    pub host: Arc<str>,
    /// The port that serves its blocks; 0 where nothing listens, as in local mode.
    #[serde(rename = "Port")]
    pub port: u16,
}

/// A block store was registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockManagerAdded {
    /// Which.
    #[serde(rename = "Block Manager ID")]
    pub manager: BlockManagerId,
    /// How many bytes of memory it can hold.
    #[serde(rename = "Maximum Memory")]
    pub max_memory: u64,
    /// When.
    #[serde(rename = "Timestamp")]
    pub time: u64,
    /// How much of its memory is ordinary heap.
    #[serde(rename = "Maximum Onheap Memory", default)]
    pub max_on_heap_memory: u64,
    /// How much of its memory is not.
    #[serde(rename = "Maximum Offheap Memory", default)]
    pub max_off_heap_memory: u64,
}

/// A block store is gone, and all that it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockManagerRemoved {
    /// Which.
    #[serde(rename = "Block Manager ID")]
    pub manager: BlockManagerId,
    /// When.
    #[serde(rename = "Timestamp")]
    pub time: u64,
}

/// A block was stored, moved between memory and disk, or dropped (it is then neither in memory nor on disk).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockUpdated {
    /// Which block, where, and how it is held now.
    #[serde(rename = "Block Updated Info")]
    pub info: BlockUpdatedInfo,
}

/// A block's place and size after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockUpdatedInfo {
    /// The store that holds it.
    #[serde(rename = "Block Manager ID")]
    pub manager: BlockManagerId,
    /// The block's name (`rdd_3_1`).
    #[serde(rename = "Block ID")]
    pub block: String,
    /// How it is held there now; neither in memory nor on disk when it is gone.
    #[serde(rename = "Storage Level", with = "json::storage_level")]
    pub level: StorageLevel,
    /// Bytes in memory.
    #[serde(rename = "Memory Size")]
    pub memory: u64,
    /// Bytes on disk.
    #[serde(rename = "Disk Size")]
    pub disk: u64,
}

impl BlockUpdated {
    /// A block that `manager` holds in this way, with so many bytes in `memory` and on `disk`.
    pub fn new(manager: BlockManagerId, block: BlockId, level: StorageLevel, memory: u64, disk: u64) -> Self {
        Self { info: BlockUpdatedInfo { manager, block: block.to_string(), level, memory, disk } }
    }
}

impl BlockUpdatedInfo {
    /// The cached partition that the block is, if it is one.
    ///
    /// ```
    /// use firesteel_events::event::{BlockManagerId, BlockUpdated};
    /// use firesteel_model::{BlockId, PartitionIndex, RddId, StorageLevel};
    ///
    /// let manager = BlockManagerId { executor: "driver".into(), host: "localhost".into(), port: 0 };
    /// let block = BlockId::Rdd(RddId(3), PartitionIndex(1));
    /// let event = BlockUpdated::new(manager, block, StorageLevel::MEMORY_ONLY, 1008, 0);
    /// assert_eq!(event.info.cached_partition(), Some((RddId(3), PartitionIndex(1))));
    /// ```
    pub fn cached_partition(&self) -> Option<(RddId, PartitionIndex)> {
        let (rdd, partition) = self.block.strip_prefix("rdd_")?.split_once('_')?;
        Some((RddId(rdd.parse().ok()?), PartitionIndex(partition.parse().ok()?)))
    }
}

/// An RDD is no longer kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnpersistRdd {
    /// Which.
    #[serde(rename = "RDD ID")]
    pub rdd: RddId,
}
