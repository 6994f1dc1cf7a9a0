//! The blocks of an executor: cached partitions, items of `parallelize`, broadcast values, task results.

use crate::{
    CachedBlock, Chunk, Data, EncodedBlock, Evict, Kept, KeptKind, Memory, StoreError,
    block_file::BlockWriter,
    cached_block::{BlockFile, Bytes, Chunks, Values, chunks_of_file},
    record,
    scratch::{Scratch, ScratchFile},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, is_careless},
    weigh,
};
use firesteel_model::{BlockId, PartitionIndex, RddId, StorageLevel};
use serde::{Deserialize, Serialize};
use std::{
    any::{Any, TypeId, type_name},
    collections::BTreeMap,
    fmt,
    fs::File,
    sync::{Arc, OnceLock, PoisonError, Weak},
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

/// Keeps blocks by name, in memory or in files, until they are removed or have to make room.
///
/// A block's elements come in chunks, and are given back in the same; nothing ever holds more than one decoded chunk of a
/// block that is kept as bytes. What is being read stays readable when it is removed.
///
/// When others need the memory the blocks that were not used for longest leave it: those whose level names the disk move there,
/// the others are forgotten.
///
/// ```
/// use firesteel_model::{BlockId, PartitionIndex, RddId, StorageLevel};
/// use firesteel_store::{BlockStore, Memory, Scratch};
///
/// let store = BlockStore::new(Scratch::new(vec![std::env::temp_dir()]), Memory::new(1 << 20, 0.5));
/// let id = BlockId::Rdd(RddId(3), PartitionIndex(0));
/// let (status, _) = store.put(id, StorageLevel::DISK_ONLY, vec![vec![1u64, 2], vec![3]])?;
/// assert!(status.disk_bytes > 0);
///
/// let block = store.get::<u64>(id)?.expect("just put there");
/// assert_eq!((block.chunks(), block.records()), (2, 3));
/// assert_eq!(block.chunk(1)?.to_vec(), [3]);
/// # Ok::<(), firesteel_store::StoreError>(())
/// ```
pub struct BlockStore {
    shared: Arc<Shared>,
}

/// Bytes that are kept for another process are cut into chunks of so many.
const BYTES_CHUNK: usize = 4 << 20;

/// What a block needs to leave memory by itself.
struct Shared {
    blocks: RwLock<BTreeMap<BlockId, Block>>,
    scratch: Arc<Scratch>,
    memory: Arc<Memory>,
    evicted: OnceLock<Evicted>,
}

/// Told of each block that left memory to make room: what it takes now, or nothing if it was forgotten.
type Evicted = Box<dyn Fn(BlockId, Option<BlockStatus>) + Send + Sync>;

/// One block as the store holds it.
struct Block {
    status: BlockStatus,
    /// Of the elements, or of the value.
    of: Type,
    held: Held,
}

/// A type of elements.
enum Type {
    Known(TypeId, &'static str),
    /// That of a copy from another process of the same program, where types have no numbers in common.
    Named(String),
}

impl Type {
    fn of<T: 'static>() -> Self {
        Type::Known(TypeId::of::<T>(), type_name::<T>())
    }
    fn is<T: 'static>(&self) -> bool {
        match self {
            Type::Known(id, _) => *id == TypeId::of::<T>(),
            Type::Named(name) => name == type_name::<T>(),
        }
    }
    fn name(&self) -> &str {
        match self {
            Type::Known(_, name) => name,
            Type::Named(name) => name,
        }
    }
}

enum Held {
    /// A single value, and the memory that it takes.
    One {
        value: Arc<dyn Any + Send + Sync>,
        to_send: Arc<dyn Chunks>,
        #[expect(dead_code, reason = "gives the memory back when it is dropped")]
        kept: Kept,
    },
    /// [`Values`] of the elements' type, and how they leave.
    Values(
        Arc<dyn Any + Send + Sync>,
        Arc<dyn Chunks>,
        #[expect(dead_code, reason = "kept alive while the block is there")] Arc<dyn Evict>,
    ),
    Bytes(Arc<Bytes>, #[expect(dead_code, reason = "kept alive while the block is there")] Arc<dyn Evict>),
    File(Arc<BlockFile>),
}

/// A single value to be sent.
struct One<T>(Arc<T>);

impl<T: Serialize + Send + Sync> Chunks for One<T> {
    fn records(&self) -> u64 {
        1
    }
    fn count(&self) -> usize {
        1
    }
    fn encoded(&self, _: usize) -> Result<(Vec<u8>, u64), StoreError> {
        let bytes =
            record::to_vec(&*self.0).map_err(|source| StoreError::Record { block: "of one value".into(), source })?;
        Ok((bytes, 1))
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<BlockId, Block>> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<BlockId, Block>> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `now` in the place of the block that is `held`, unless another has taken its name.
    fn replace(&self, id: BlockId, is_same: impl Fn(&Held) -> bool, now: Option<(BlockStatus, Held)>) {
        let mut blocks = self.write();
        let Some(block) = blocks.get_mut(&id).filter(|block| is_same(&block.held) || is_careless()) else { return };
        let status = now.as_ref().map(|(status, _)| *status);
        let before = match now {
            Some((status, held)) => {
                block.status = status;
                Some(std::mem::replace(&mut block.held, held))
            }
            None => blocks.remove(&id).map(|block| block.held),
        };
        drop(blocks);
        // Dropped here, not under the lock: elements may own much.
        drop(before);
        if let Some(evicted) = self.evicted.get() {
            evicted(id, status);
        }
    }
}

/// How a block leaves memory.
struct Leaving<T> {
    id: BlockId,
    level: StorageLevel,
    form: Form<T>,
    shared: Weak<Shared>,
}

enum Form<T> {
    Values(Weak<Values<T>>),
    Bytes(Weak<Bytes>),
}

impl<T: Data> Evict for Leaving<T> {
    fn evict(&self) -> bool {
        let Some(shared) = self.shared.upgrade() else { return true };
        match &self.form {
            Form::Values(values) => {
                let Some(values) = values.upgrade() else { return true };
                let write = |out: &mut BlockWriter<File>| {
                    values.chunks.iter().try_for_each(|chunk| out.elements(chunk, chunk.len()))
                };
                let Ok(now) = self.moved(&shared, write) else { return false };
                let this: Arc<dyn Any + Send + Sync> = values;
                let is_this = |held: &Held| matches!(held, Held::Values(other, ..) if Arc::ptr_eq(other, &this));
                shared.replace(self.id, is_this, now);
            }
            Form::Bytes(bytes) => {
                let Some(bytes) = bytes.upgrade() else { return true };
                let write = |out: &mut BlockWriter<File>| {
                    bytes.chunks.iter().try_for_each(|(raw, records)| out.chunk_bytes(raw, *records))
                };
                let Ok(now) = self.moved(&shared, write) else { return false };
                let is_this = |held: &Held| matches!(held, Held::Bytes(other, _) if Arc::ptr_eq(other, &bytes));
                shared.replace(self.id, is_this, now);
            }
        }
        true
    }
}

impl<T> Leaving<T> {
    /// What the block is from now on: a file, if its level names the disk, or nothing. An error if it cannot be written and
    /// has to stay.
    fn moved(
        &self,
        shared: &Shared,
        write: impl Fn(&mut BlockWriter<File>) -> Result<(), StoreError>,
    ) -> Result<Option<(BlockStatus, Held)>, StoreError> {
        if !self.level.use_disk {
            return Ok(None);
        }
        let written = shared.scratch.write(|file| {
            let mut writer = BlockWriter::create(&file.path, file.number)?;
            write(&mut writer)?;
            writer.end()
        });
        let (file, disk_bytes) = written.inspect_err(|e| tracing::warn!("block {} stays in memory: {e}", self.id))?;
        Ok(Some((status(self.level, 0, disk_bytes), Held::File(Arc::new(BlockFile::new(file))))))
    }
}

/// What a block shows that was asked for at `level` and takes so much.
fn status(level: StorageLevel, memory_bytes: u64, disk_bytes: u64) -> BlockStatus {
    let in_memory = level.use_memory && disk_bytes == 0;
    let level = StorageLevel {
        use_memory: in_memory,
        use_disk: disk_bytes > 0 || level.use_disk && !in_memory,
        deserialized: level.deserialized && in_memory,
        ..level
    };
    BlockStatus { level, memory_bytes, disk_bytes }
}

impl BlockStore {
    /// A store that writes files by `scratch` and keeps what `memory` has room for.
    pub fn new(scratch: Arc<Scratch>, memory: Arc<Memory>) -> Self {
        let (blocks, evicted) = (RwLock::default(), OnceLock::new());
        BlockStore { shared: Arc::new(Shared { blocks, scratch, memory, evicted }) }
    }

    /// The memory that it shares with others.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.shared.memory
    }

    /// From now on `evicted` is told of each block that leaves memory to make room: what it takes now, or nothing if it was
    /// forgotten. Only the first call counts.
    pub fn on_eviction(&self, evicted: impl Fn(BlockId, Option<BlockStatus>) + Send + Sync + 'static) {
        let _ = self.shared.evicted.set(Box::new(evicted));
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<BlockId, Block>> {
        self.shared.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<BlockId, Block>> {
        self.shared.write()
    }

    /// Keeps a block's elements at a storage level; returns what it takes, and the block to read it from. An earlier block of
    /// the name is replaced. Where a level in memory only does not fit, nothing is kept, and the status says so.
    ///
    /// A replication above 1 asks for copies on other executors, which one executor's store does not make. `NONE` keeps
    /// nothing.
    ///
    /// # Errors
    /// If the elements cannot be written as records, or a file cannot be written; then nothing is kept.
    ///
    /// # Cost
    /// As values: nothing per element, but for some that are encoded to estimate the size. As bytes or on disk: encodes
    /// every element; on disk compresses, too.
    pub fn put<T: Data>(
        &self,
        id: BlockId,
        level: StorageLevel,
        chunks: Vec<Vec<T>>,
    ) -> Result<(BlockStatus, CachedBlock<T>), StoreError> {
        let mut builder = self.builder(id, level)?;
        for chunk in chunks {
            builder.push(chunk)?;
        }
        builder.finish()
    }

    /// Begins a block whose chunks come one after another, so that one that does not fit into memory need not be there as a
    /// whole.
    ///
    /// ```
    /// # use firesteel_model::{BlockId, PartitionIndex, RddId, StorageLevel};
    /// # use firesteel_store::{BlockStore, Memory, Scratch};
    /// let store = BlockStore::new(Scratch::new(vec![]), Memory::new(1 << 10, 0.5));
    /// let mut builder = store.builder(BlockId::Rdd(RddId(3), PartitionIndex(0)), StorageLevel::MEMORY_ONLY)?;
    /// assert!(builder.push(vec![7u64; 100])?);
    /// assert!(!builder.push(vec![8; 100])?, "too large for this memory");
    /// let (status, block) = builder.finish()?;
    /// assert_eq!((status.memory_bytes, block.records()), (0, 200), "not kept, but it can be read");
    /// # Ok::<(), firesteel_store::StoreError>(())
    /// ```
    ///
    /// # Errors
    /// If the level needs a file and none can be made.
    pub fn builder<T: Data>(&self, id: BlockId, level: StorageLevel) -> Result<BlockBuilder<T>, StoreError> {
        let rdd = match id {
            BlockId::Rdd(rdd, _) => Some(rdd),
            _ => None,
        };
        let kept = self.shared.memory.keep(0, rdd);
        let mut builder = BlockBuilder {
            id,
            level,
            shared: self.shared.clone(),
            kept,
            values: Vec::new(),
            bytes: Vec::new(),
            scratch: Vec::new(),
            file: None,
            records: 0,
            fits: true,
            of: Type::of::<T>(),
        };
        if level.use_disk && !level.use_memory {
            builder.move_to_disk()?;
        }
        Ok(builder)
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
        let mistyped =
            || StoreError::WrongType { block: id, held: block.of.name().to_string(), asked: type_name::<T>() };
        if !block.of.is::<T>() {
            return Err(mistyped());
        }
        match &block.held {
            Held::One { .. } => Err(mistyped()),
            Held::Values(values, ..) => match values.clone().downcast::<Values<T>>() {
                Ok(values) => {
                    values.kept.iter().for_each(Kept::touch);
                    Ok(Some(CachedBlock::of_values(values)))
                }
                Err(_) => Err(mistyped()),
            },
            Held::Bytes(bytes, _) => {
                bytes.kept.iter().for_each(Kept::touch);
                Ok(Some(CachedBlock::of_bytes(bytes.clone())))
            }
            Held::File(file) => {
                let file = file.clone();
                drop(blocks);
                self.is_sound(id, &file).then(|| CachedBlock::of_file(file)).transpose()
            }
        }
    }

    /// Whether all that was read of a block on disk was as it should be. If not, it is removed, unless another has taken its name.
    fn is_sound(&self, id: BlockId, file: &Arc<BlockFile>) -> bool {
        if !file.is_damaged() {
            return true;
        }
        let mut blocks = self.write();
        let removed = match blocks.get(&id) {
            Some(Block { held: Held::File(current), .. }) if Arc::ptr_eq(current, file) => blocks.remove(&id),
            _ => None,
        };
        drop(blocks);
        drop(removed);
        false
    }

    /// Keeps one value, as it is: a broadcast. An earlier block of the name is replaced. It is never evicted.
    ///
    /// The status counts what the value takes in place, and what it owns elsewhere by an estimate.
    pub fn put_value<T: Serialize + Send + Sync + 'static>(&self, id: BlockId, value: Arc<T>) -> BlockStatus {
        let memory_bytes = size_of::<T>() as u64 + weigh::owned(&*value);
        let status = BlockStatus { level: StorageLevel::MEMORY_ONLY, memory_bytes, disk_bytes: 0 };
        let kept = self.shared.memory.keep_anyway(memory_bytes);
        let held = Held::One { value: value.clone(), to_send: Arc::new(One(value)), kept };
        let block = Block { status, of: Type::of::<T>(), held };
        let replaced = self.write().insert(id, block);
        drop(replaced);
        status
    }

    /// Keeps bytes for another process, in memory or on disk; they are had again by [`encoded`](BlockStore::encoded), in chunks.
    ///
    /// # Errors
    /// As [`put`](BlockStore::put).
    pub fn put_bytes(&self, id: BlockId, bytes: &[u8]) -> Result<BlockStatus, StoreError> {
        let mut builder = self.builder::<u8>(id, StorageLevel::MEMORY_AND_DISK_SER)?;
        for chunk in bytes.chunks(BYTES_CHUNK) {
            builder.push_bytes(chunk.to_vec(), chunk.len() as u64)?;
        }
        Ok(builder.finish()?.0)
    }

    /// Keeps a copy of a block of another process of this program, of elements that are called so there: its chunks' bytes and how
    /// many records they are, until there is none. It is kept as bytes.
    ///
    /// # Errors
    /// As [`put`](BlockStore::put), and what `next` says.
    pub fn put_copy(
        &self,
        id: BlockId,
        level: StorageLevel,
        type_name: String,
        mut next: impl FnMut() -> Result<Option<(Vec<u8>, u64)>, StoreError>,
    ) -> Result<BlockStatus, StoreError> {
        let mut builder = self.builder::<u8>(id, StorageLevel { deserialized: false, ..level })?;
        builder.of = Type::Named(type_name);
        while let Some((bytes, records)) = next()? {
            builder.push_bytes(bytes, records)?;
        }
        Ok(builder.finish()?.0)
    }

    /// A block as bytes for another process, if there is one of this name.
    ///
    /// # Errors
    /// As [`get`](BlockStore::get).
    pub fn encoded(&self, id: BlockId) -> Result<Option<EncodedBlock>, StoreError> {
        let blocks = self.read();
        let Some(block) = blocks.get(&id) else { return Ok(None) };
        let type_name = block.of.name().to_string();
        let chunks: Arc<dyn Chunks> = match &block.held {
            Held::One { to_send, .. } => to_send.clone(),
            Held::Values(_, to_send, _) => to_send.clone(),
            Held::Bytes(bytes, _) => bytes.clone(),
            Held::File(file) => {
                let file = file.clone();
                drop(blocks);
                if !self.is_sound(id, &file) {
                    return Ok(None);
                }
                chunks_of_file(file)?
            }
        };
        Ok(Some(EncodedBlock { chunks, type_name }))
    }

    /// The value kept under this name, if there is one of this type.
    pub fn get_value<T: Send + Sync + 'static>(&self, id: BlockId) -> Option<Arc<T>> {
        match &self.read().get(&id)?.held {
            Held::One { value, .. } => value.clone().downcast().ok(),
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

    /// Removes a block, a broadcast value's with its pieces; returns what it took, if there was one. Its file goes when its last reader
    /// has.
    pub fn remove(&self, id: BlockId) -> Option<BlockStatus> {
        if let BlockId::Broadcast(id) = id {
            self.remove_range(BlockId::BroadcastPiece(id, 0), BlockId::BroadcastPiece(id, u32::MAX));
        }
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
        self.shared.scratch.close();
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

/// A block that is being made, chunk by chunk.
pub struct BlockBuilder<T> {
    id: BlockId,
    level: StorageLevel,
    shared: Arc<Shared>,
    /// The memory that it takes so far.
    kept: Option<Kept>,
    values: Vec<Chunk<T>>,
    bytes: Vec<(Vec<u8>, u64)>,
    /// Where chunks are encoded.
    scratch: Vec<u8>,
    file: Option<(ScratchFile, BlockWriter<File>)>,
    records: u64,
    fits: bool,
    of: Type,
}

impl<T: Data> BlockBuilder<T> {
    /// Adds a chunk; says whether all so far has room. When it has not, the level is in memory only: what was pushed is still
    /// here, to be read from what [`finish`](BlockBuilder::finish) gives, and what follows should not be pushed.
    ///
    /// # Errors
    /// As [`BlockStore::put`].
    pub fn push(&mut self, chunk: impl Into<Chunk<T>>) -> Result<bool, StoreError> {
        let chunk = chunk.into();
        self.records += chunk.len() as u64;
        if self.file.is_some() {
            self.write(|writer| writer.elements(&chunk, chunk.len()))?;
            return Ok(true);
        }
        let taken = if self.level.deserialized || !self.level.use_memory {
            let taken = chunk.weight();
            self.values.push(chunk);
            taken
        } else {
            let block = || self.id.to_string();
            self.scratch.clear();
            record::extend(&mut self.scratch, &chunk)
                .map_err(|source| StoreError::Record { block: block(), source })?;
            // A vector of this very size: one that shrinks would go on taking the room that it grew to.
            self.bytes.push((self.scratch.as_slice().to_vec(), chunk.len() as u64));
            self.scratch.len() as u64
        };
        self.make_room(taken)
    }

    /// Adds a chunk that is encoded already.
    fn push_bytes(&mut self, bytes: Vec<u8>, records: u64) -> Result<(), StoreError> {
        self.records += records;
        if self.file.is_some() {
            self.write(|writer| writer.chunk_bytes(&bytes, records))?;
            return Ok(());
        }
        let taken = bytes.len() as u64;
        self.bytes.push((bytes, records));
        self.make_room(taken).map(drop)
    }

    /// The chunk that was added takes so much.
    fn make_room(&mut self, taken: u64) -> Result<bool, StoreError> {
        if !self.level.use_memory {
            return Ok(true);
        }
        self.fits = self.fits && self.kept.as_mut().is_some_and(|kept| kept.grow(taken));
        if !self.fits && self.level.use_disk {
            self.move_to_disk()?;
            self.fits = true;
        }
        Ok(self.fits)
    }

    /// From now on chunks go to a file, those that are there first.
    fn move_to_disk(&mut self) -> Result<(), StoreError> {
        let (values, bytes) = (std::mem::take(&mut self.values), std::mem::take(&mut self.bytes));
        self.file = Some(self.shared.scratch.try_each(|file| {
            let mut writer = BlockWriter::create(&file.path, file.number)?;
            values.iter().try_for_each(|chunk| writer.elements(chunk, chunk.len()))?;
            bytes.iter().try_for_each(|(raw, records)| writer.chunk_bytes(raw, *records))?;
            Ok((file, writer))
        })?);
        self.kept = None;
        Ok(())
    }

    /// Writes to the file; in another scratch folder if that fails. Nothing, if there is no file.
    fn write<X>(
        &mut self,
        mut write: impl FnMut(&mut BlockWriter<File>) -> Result<X, StoreError>,
    ) -> Result<Option<X>, StoreError> {
        let Some((_, writer)) = &mut self.file else { return Ok(None) };
        match write(writer) {
            Err(e @ StoreError::Io { .. }) => {
                tracing::warn!("block {} goes on in another file: {e}", self.id);
                let (file, written) = self.shared.scratch.try_each(|file| {
                    let mut writer = writer.copy(&file.path, file.number)?;
                    let written = write(&mut writer)?;
                    Ok(((file, writer), written))
                })?;
                self.file = Some(file);
                Ok(Some(written))
            }
            done => done.map(Some),
        }
    }

    /// The block is whole: keeps it, if it fits.
    ///
    /// # Errors
    /// If its file cannot be written.
    pub fn finish(mut self) -> Result<(BlockStatus, CachedBlock<T>), StoreError> {
        let on_disk = self.write(BlockWriter::end)?;
        let BlockBuilder { id, level, shared, kept, values, bytes, file, records, fits, of, .. } = self;
        let memory_bytes = kept.as_ref().map_or(0, Kept::bytes);
        let weak = Arc::downgrade(&shared);
        let (held, block, status) = if let (Some((file, _)), Some(disk_bytes)) = (file, on_disk) {
            let file = Arc::new(BlockFile::new(file));
            let block = CachedBlock::of_file(file.clone())?;
            (Held::File(file), block, status(level, 0, disk_bytes))
        } else if level.deserialized || !level.use_memory {
            let values = Arc::new(Values { chunks: values, records, kept });
            let leaving: Arc<dyn Evict> =
                Arc::new(Leaving { id, level, form: Form::Values(Arc::downgrade(&values)), shared: weak });
            values
                .kept
                .iter()
                .filter(|_| fits)
                .for_each(|kept| kept.evictable(KeptKind::Block, Arc::downgrade(&leaving)));
            let block = CachedBlock::of_values(values.clone());
            (Held::Values(values.clone(), values, leaving), block, status(level, memory_bytes, 0))
        } else {
            let bytes = Arc::new(Bytes { place: format!("block {id}"), chunks: bytes, kept });
            let leaving: Arc<dyn Evict> =
                Arc::new(Leaving::<T> { id, level, form: Form::Bytes(Arc::downgrade(&bytes)), shared: weak });
            bytes
                .kept
                .iter()
                .filter(|_| fits)
                .for_each(|kept| kept.evictable(KeptKind::Block, Arc::downgrade(&leaving)));
            let block = CachedBlock::of_bytes(bytes.clone());
            (Held::Bytes(bytes, leaving), block, status(level, memory_bytes, 0))
        };
        if !fits || !level.use_memory && !level.use_disk {
            let level = StorageLevel { use_memory: false, use_disk: false, deserialized: false, ..level };
            return Ok((BlockStatus { level, memory_bytes: 0, disk_bytes: 0 }, block));
        }
        let entry = Block { status, of, held };
        let replaced = shared.write().insert(id, entry);
        drop(replaced);
        Ok((status, block))
    }
}

impl<T> fmt::Debug for BlockBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockBuilder({}: {} elements so far)", self.id, self.records)
    }
}

#[cfg(test)]
mod tests;
