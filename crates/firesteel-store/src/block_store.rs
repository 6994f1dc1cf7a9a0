//! The blocks of an executor: cached partitions, items of `parallelize`, broadcast values, task results.

use crate::{
    CachedBlock, Data, StoreError,
    block_file::BlockWriter,
    cached_block::{BlockFile, Bytes, Values},
    record,
    scratch::Scratch,
};
use firesteel_model::{BlockId, PartitionIndex, RddId, StorageLevel};
use serde::{Deserialize, Serialize};
use std::{
    any::{Any, TypeId, type_name},
    collections::BTreeMap,
    fmt,
    mem::needs_drop,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Where a block is and what it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockStatus {
    /// How it is kept now: a block asked for at `MEMORY_AND_DISK` that lies in memory shows `MEMORY_ONLY`'s flags.
    pub level: StorageLevel,
    /// Bytes in memory. For values an estimate, made from the encoded size of some of them.
    pub memory_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// Keeps blocks by name, in memory or in files, until they are removed.
///
/// A block's elements come in chunks, and are given back in the same; nothing ever holds more than one decoded chunk of a
/// block that is kept as bytes. What is being read stays readable when it is removed.
///
/// ```
/// use firesteel_model::{BlockId, PartitionIndex, RddId, StorageLevel};
/// use firesteel_store::BlockStore;
///
/// let store = BlockStore::new(vec![std::env::temp_dir()]);
/// let id = BlockId::Rdd(RddId(3), PartitionIndex(0));
/// let (status, _) = store.put(id, StorageLevel::DISK_ONLY, vec![vec![1u64, 2], vec![3]])?;
/// assert!(status.disk_bytes > 0);
///
/// let block = store.get::<u64>(id)?.expect("just put there");
/// assert_eq!((block.chunks(), block.records()), (2, 3));
/// assert_eq!(*block.chunk(1)?, [3]);
/// # Ok::<(), firesteel_store::StoreError>(())
/// ```
pub struct BlockStore {
    blocks: RwLock<BTreeMap<BlockId, Block>>,
    scratch: Scratch,
}

/// One block as the store holds it.
struct Block {
    status: BlockStatus,
    /// Of the elements, or of the value.
    type_id: TypeId,
    type_name: &'static str,
    held: Held,
}

enum Held {
    /// A single value.
    One(Arc<dyn Any + Send + Sync>),
    /// [`Values`] of the elements' type.
    Values(Arc<dyn Any + Send + Sync>),
    Bytes(Arc<Bytes>),
    File(Arc<BlockFile>),
}

impl BlockStore {
    /// A store that writes under `scratch` folders, in turn, into folders of its own that it makes when it first needs them.
    ///
    /// Removes what processes that were killed have left there. Without any scratch folder, blocks can be kept in memory
    /// only.
    pub fn new(scratch: Vec<PathBuf>) -> Self {
        BlockStore { blocks: RwLock::default(), scratch: Scratch::new(scratch) }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<BlockId, Block>> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<BlockId, Block>> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a block's elements at a storage level; returns what it takes, and the block to read it from. An earlier block of
    /// the name is replaced.
    ///
    /// Memory is taken to be ample: a level that allows memory keeps the block there. A replication above 1 asks for copies
    /// on other executors, which one executor's store does not make. `NONE` keeps nothing.
    ///
    /// # Errors
    /// If the elements cannot be written as records, or a file cannot be written; then nothing is kept.
    ///
    /// # Cost
    /// As values: nothing per element, but for some hundred that are encoded to estimate the size. As bytes or on disk: encodes
    /// every element; on disk compresses, too.
    pub fn put<T: Data>(
        &self,
        id: BlockId,
        level: StorageLevel,
        chunks: Vec<Vec<T>>,
    ) -> Result<(BlockStatus, CachedBlock<T>), StoreError> {
        let (held, block, memory_bytes, disk_bytes);
        if level.use_memory && level.deserialized || !level.use_disk && !level.use_memory {
            let records = chunks.iter().map(|chunk| chunk.len() as u64).sum();
            (memory_bytes, disk_bytes) = (estimate(&chunks, records), 0);
            let values = Arc::new(Values { chunks: chunks.into_iter().map(Arc::new).collect(), records });
            block = CachedBlock::of_values(values.clone());
            held = Held::Values(values);
        } else if level.use_memory {
            let mut encoded = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                let mut bytes =
                    record::to_vec(&chunk).map_err(|source| StoreError::Record { block: id.to_string(), source })?;
                bytes.shrink_to_fit();
                encoded.push((bytes, chunk.len() as u64));
            }
            (memory_bytes, disk_bytes) = (encoded.iter().map(|(bytes, _)| bytes.len() as u64).sum(), 0);
            let bytes = Arc::new(Bytes { place: format!("block {id}"), chunks: encoded });
            block = CachedBlock::of_bytes(bytes.clone());
            held = Held::Bytes(bytes);
        } else {
            let (file, size) = self.scratch.write(|file| {
                let mut writer = BlockWriter::create(&file.path, file.number)?;
                chunks.iter().try_for_each(|chunk| writer.chunk(chunk))?;
                Ok(writer.finish()?.0)
            })?;
            (memory_bytes, disk_bytes) = (0, size);
            let file = Arc::new(BlockFile::new(file));
            block = CachedBlock::of_file(file.clone())?;
            held = Held::File(file);
        }
        let level = StorageLevel {
            use_memory: level.use_memory,
            use_disk: level.use_disk && !level.use_memory,
            deserialized: level.deserialized && level.use_memory,
            ..level
        };
        if !level.use_memory && !level.use_disk {
            return Ok((BlockStatus { level, memory_bytes: 0, disk_bytes: 0 }, block));
        }
        let status = BlockStatus { level, memory_bytes, disk_bytes };
        self.insert(id, Block { status, type_id: TypeId::of::<T>(), type_name: type_name::<T>(), held });
        Ok((status, block))
    }

    fn insert(&self, id: BlockId, block: Block) {
        let replaced = self.write().insert(id, block);
        // Dropped here, not under the lock: elements may own much.
        drop(replaced);
    }

    /// A block to be read, if there is one of this name.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if its file is missing or damaged; the next call then finds nothing. [`StoreError::WrongType`]
    /// if its elements are not of type `T`.
    ///
    /// # Cost
    /// A lookup under a shared lock; on disk also opening the file and reading its index.
    pub fn get<T: Data>(&self, id: BlockId) -> Result<Option<CachedBlock<T>>, StoreError> {
        let blocks = self.read();
        let Some(block) = blocks.get(&id) else { return Ok(None) };
        let mistyped = StoreError::WrongType { block: id, held: block.type_name, asked: type_name::<T>() };
        if block.type_id != TypeId::of::<T>() {
            return Err(mistyped);
        }
        match &block.held {
            Held::One(_) => Err(mistyped),
            Held::Values(values) => match values.clone().downcast() {
                Ok(values) => Ok(Some(CachedBlock::of_values(values))),
                Err(_) => Err(mistyped),
            },
            Held::Bytes(bytes) => Ok(Some(CachedBlock::of_bytes(bytes.clone()))),
            Held::File(file) => {
                let file = file.clone();
                drop(blocks);
                if file.is_damaged() {
                    self.remove_file(id, &file);
                    return Ok(None);
                }
                CachedBlock::of_file(file).map(Some)
            }
        }
    }

    /// Removes a block on disk, unless another has taken its name.
    fn remove_file(&self, id: BlockId, file: &Arc<BlockFile>) {
        let mut blocks = self.write();
        let removed = match blocks.get(&id) {
            Some(Block { held: Held::File(current), .. }) if Arc::ptr_eq(current, file) => blocks.remove(&id),
            _ => None,
        };
        drop(blocks);
        drop(removed);
    }

    /// Keeps one value, as it is: a broadcast. An earlier block of the name is replaced.
    ///
    /// The status counts what the value takes in place, not what it owns elsewhere.
    pub fn put_value<T: Send + Sync + 'static>(&self, id: BlockId, value: Arc<T>) -> BlockStatus {
        let status =
            BlockStatus { level: StorageLevel::MEMORY_ONLY, memory_bytes: size_of::<T>() as u64, disk_bytes: 0 };
        let held = Held::One(value);
        self.insert(id, Block { status, type_id: TypeId::of::<T>(), type_name: type_name::<T>(), held });
        status
    }

    /// The value kept under this name, if there is one of this type.
    pub fn get_value<T: Send + Sync + 'static>(&self, id: BlockId) -> Option<Arc<T>> {
        match &self.read().get(&id)?.held {
            Held::One(value) => value.clone().downcast().ok(),
            _ => None,
        }
    }

    /// What is known of a block.
    pub fn status(&self, id: BlockId) -> Option<BlockStatus> {
        self.read().get(&id).map(|block| block.status)
    }

    /// All blocks at this moment, in order of their names.
    pub fn statuses(&self) -> impl Iterator<Item = (BlockId, BlockStatus)> + use<> {
        let statuses: Vec<_> = self.read().iter().map(|(id, block)| (*id, block.status)).collect();
        statuses.into_iter()
    }

    /// Removes a block; returns what it took, if there was one. Its file goes when its last reader has.
    pub fn remove(&self, id: BlockId) -> Option<BlockStatus> {
        let removed = self.write().remove(&id);
        removed.map(|block| block.status)
    }

    /// Removes all cached partitions of an RDD; returns them.
    pub fn remove_rdd(&self, rdd: RddId) -> Vec<(BlockId, BlockStatus)> {
        self.remove_range(BlockId::Rdd(rdd, PartitionIndex(0)), BlockId::Rdd(rdd, PartitionIndex(u32::MAX)))
    }

    /// Removes all items that were given to `parallelize` for an RDD; returns their blocks.
    pub fn remove_source(&self, rdd: RddId) -> Vec<(BlockId, BlockStatus)> {
        self.remove_range(BlockId::Source(rdd, PartitionIndex(0)), BlockId::Source(rdd, PartitionIndex(u32::MAX)))
    }

    fn remove_range(&self, first: BlockId, last: BlockId) -> Vec<(BlockId, BlockStatus)> {
        let mut blocks = self.write();
        let ids: Vec<_> = blocks.range(first..=last).map(|(id, _)| *id).collect();
        let removed: Vec<_> = ids.into_iter().filter_map(|id| blocks.remove_entry(&id)).collect();
        drop(blocks);
        removed.into_iter().map(|(id, block)| (id, block.status)).collect()
    }

    /// Removes every block.
    pub fn clear(&self) {
        let removed = std::mem::take(&mut *self.write());
        drop(removed);
    }

    /// Removes every block and the store's folders; what is being read goes with its last reader. From now on nothing can be
    /// kept on disk.
    pub fn close(&self) {
        self.scratch.close();
        self.clear();
    }

    /// How many blocks are kept.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether no block is kept.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }
}

impl fmt::Debug for BlockStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockStore({} blocks)", self.len())
    }
}

/// How many elements of a block are encoded to estimate what it takes.
const SAMPLE: u64 = 128;

/// What values take in memory: in place, and, if they own anything, about as much elsewhere as they take encoded.
fn estimate<T: Data>(chunks: &[Vec<T>], records: u64) -> u64 {
    let in_place = records.saturating_mul(size_of::<T>() as u64);
    if !needs_drop::<T>() || records == 0 {
        return in_place;
    }
    let stride = records.div_ceil(SAMPLE) as usize;
    let (mut bytes, mut total, mut sampled) = (Vec::new(), 0, 0);
    for item in chunks.iter().flatten().step_by(stride) {
        bytes.clear();
        if record::extend(&mut bytes, item).is_ok() {
            total += bytes.len() as u64;
            sampled += 1;
        }
    }
    in_place.saturating_add(total.saturating_mul(records) / u64::max(sampled, 1))
}

#[cfg(test)]
mod tests;
