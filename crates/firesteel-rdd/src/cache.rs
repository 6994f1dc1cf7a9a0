//! Partitions that are kept: cached blocks, and checkpoints that cut the lineage.

use crate::{
    Data,
    action::{Action, Input, check_sample},
    failure::TaskFailure,
    node::Erased,
    pipeline::{Pipeline, Plan},
    segment::PortStream,
    source::{BlockStream, lost_checkpoint},
    stream::{Flow, Lent, Sink, Stream},
    task::{Task, cannot_store},
};
use firesteel_io::{CheckpointWriter, RddCheckpoint};
use firesteel_model::{BlockId, Error, PartitionIndex, RddId, Result, StorageLevel};
use firesteel_store::{
    BlockBuilder, BlockWriter, CachedBlock, Chunk, Texts,
    boundary::Sample,
    chunk::{are_texts, may_be_texts, text_of},
    read_checkpoint,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
};

/// What the driver knows of a kept RDD: how its partitions are kept now.
#[derive(Debug)]
pub struct CacheState {
    inner: RwLock<Kept>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    level: StorageLevel,
    /// The folder of a finished checkpoint.
    checkpoint: Option<PathBuf>,
    /// Whether the blocks are all there is: a local checkpoint has cut the lineage.
    cut: bool,
}

impl CacheState {
    /// Not computed yet, to be kept at `level`.
    pub fn new(level: StorageLevel) -> Arc<Self> {
        Arc::new(CacheState { inner: RwLock::new(Kept { level, checkpoint: None, cut: false }) })
    }
    fn read(&self) -> Kept {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
    fn change(&self, f: impl FnOnce(&mut Kept)) {
        f(&mut self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
    /// The level at which partitions are kept.
    pub fn level(&self) -> StorageLevel {
        self.read().level
    }
    /// Keeps partitions no more.
    pub fn forget(&self) {
        self.change(|kept| kept.level = StorageLevel::NONE);
    }
    /// From now on partitions are read from the checkpoint in `dir`.
    pub fn set_checkpoint(&self, dir: PathBuf) {
        self.change(|kept| kept.checkpoint = Some(dir));
    }
    /// The folder of the finished checkpoint.
    pub fn checkpoint(&self) -> Option<PathBuf> {
        self.read().checkpoint
    }
    /// From now on the stored blocks are the only source.
    pub fn cut(&self) {
        self.change(|kept| kept.cut = true);
    }
    /// Whether the lineage is cut, by either kind of checkpoint.
    pub fn is_cut(&self) -> bool {
        let kept = self.read();
        kept.cut || kept.checkpoint.is_some()
    }
}

/// `cache`, `persist`, `checkpoint`, `local_checkpoint`: partitions are computed once and kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Cached<T> {
    rdd: RddId,
    parent: Erased<T>,
    #[serde(serialize_with = "write_state", deserialize_with = "read_state")]
    state: Arc<CacheState>,
}

fn write_state<S: Serializer>(state: &Arc<CacheState>, serializer: S) -> Result<S::Ok, S::Error> {
    state.read().serialize(serializer)
}

fn read_state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<CacheState>, D::Error> {
    Ok(Arc::new(CacheState { inner: RwLock::new(Kept::deserialize(deserializer)?) }))
}

impl<T> Cached<T> {
    /// Keeps the partitions of `parent` as blocks of `rdd`.
    pub fn new(rdd: RddId, parent: RddId, state: Arc<CacheState>) -> Self {
        Cached { rdd, parent: Erased::of(parent), state }
    }
}

impl<T: Data> Pipeline for Cached<T> {
    type Item = T;
    type Split = u32;
    type Stream = CachedStream<T>;

    fn open(&self, split: u32, task: &Task) -> CachedStream<T> {
        let kept = self.state.read();
        let partition = PartitionIndex(split);
        let id = BlockId::Rdd(self.rdd, partition);
        if kept.level != StorageLevel::NONE
            && let Some(block) = find(id, task)
        {
            return CachedStream::Reading(BlockStream::named(block, id, task));
        }
        if let Some(dir) = &kept.checkpoint {
            let block = read_checkpoint(dir, partition).unwrap_or_else(|e| lost_checkpoint(self.rdd, e));
            return CachedStream::Reading(BlockStream::checkpointed(block, self.rdd, task));
        }
        if kept.cut {
            TaskFailure::Engine(Error::InvalidArgument(format!(
                "block {id} of a local checkpoint is lost, and its lineage is cut: use `checkpoint` where executors may die"
            )))
            .raise()
        }
        let parent = self.parent.open(split, task);
        if kept.level == StorageLevel::NONE {
            return CachedStream::Passing(parent);
        }
        CachedStream::Storing(Box::new(Storing::new(parent, id, kept.level, task)))
    }

    fn splits(&self, plan: &dyn Plan) -> Result<Vec<u32>> {
        Ok((0..plan.partitions(self.rdd)? as u32).collect())
    }

    fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        if !self.state.is_cut() {
            self.parent.refers(visit);
        }
    }

    fn reads(&self, split: &u32, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        if !self.state.is_cut() {
            self.parent.reads(split, visit);
        }
    }
}

/// The kept block, if it is there and whole.
fn find<T: Data>(id: BlockId, task: &Task) -> Option<CachedBlock<T>> {
    match task.executor().block::<T>(id) {
        Ok(block) => block,
        // A damaged block is as good as none: the partition is computed again.
        Err(e) => {
            tracing::warn!("block {id} cannot be read and is computed again: {e}");
            task.drop_block(id);
            None
        }
    }
}

/// About so much lies in a chunk.
const CHUNK: usize = 256 << 10;

/// So many elements in place.
const fn chunk_items<T>() -> usize {
    let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    let items = CHUNK / size;
    if items == 0 { 1 } else { items }
}

/// The elements of a chunk, until it is full.
struct Gathered<T> {
    values: Vec<T>,
    /// Instead of values, where elements are text.
    texts: Texts,
    /// What is checked to survive the record format.
    sample: Sample,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Gathered { values: Vec::new(), texts: Texts::default(), sample: Sample::default() }
    }
}

impl<T> Gathered<T> {
    fn len(&self) -> usize {
        self.values.len() + self.texts.len()
    }
}

/// Whether a long text has made the buffers of a chunk's texts too large to be used again.
fn are_large(texts: &Texts) -> bool {
    texts.owned() > 2 * CHUNK as u64
}

impl<T: Data> Sink<T> for Gathered<T> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        if const { may_be_texts::<T>() }
            && are_texts::<T>()
            && let Some(text) = text_of(item.get())
        {
            self.texts.push(text);
            return self.texts.bytes() < CHUNK;
        }
        self.values.push(item.take());
        self.values.len() < const { chunk_items::<T>() }
    }
}

/// A partition that is being stored.
pub struct Storing<T> {
    parent: PortStream<T>,
    id: BlockId,
    level: StorageLevel,
    task: Task,
    /// Made when the partition is first read.
    builder: Option<BlockBuilder<T>>,
    gathered: Gathered<T>,
    /// What was pushed so far has no room in memory, and no other place to be.
    too_large: bool,
}

impl<T: Data> Storing<T> {
    fn new(parent: PortStream<T>, id: BlockId, level: StorageLevel, task: &Task) -> Self {
        let (task, gathered) = (task.clone(), Gathered::default());
        Storing { parent, id, level, task, builder: None, gathered, too_large: false }
    }

    #[cold]
    #[inline(never)]
    fn flush(&mut self) {
        let Gathered { values, texts, sample } = &mut self.gathered;
        let chunk = if texts.is_empty() {
            check_sample(sample, values);
            // Another that is full is likely to follow one that is; one that is not is the last.
            let full = values.len() == chunk_items::<T>();
            let next = Vec::with_capacity(if full { values.len() } else { 0 });
            let mut chunk = std::mem::replace(values, next);
            if chunk.len() < chunk.capacity() {
                // A vector of this very size: one that shrinks would go on taking the room that it grew to.
                let mut fitted = Vec::with_capacity(chunk.len());
                fitted.append(&mut chunk);
                chunk = fitted;
            }
            chunk.into()
        } else {
            let chunk = if are_large(texts) { std::mem::take(texts) } else { texts.fitted() };
            texts.clear();
            Chunk::Texts(Arc::new(chunk))
        };
        let builder = self.builder.as_mut().expect("made before the partition is read");
        let fits = builder.push(chunk).unwrap_or_else(|e| cannot_store(e));
        self.too_large = !fits;
    }

    /// Stores the whole partition, or as much as has room; what comes out is that, and what is left of the parent.
    fn finish(self) -> CachedStream<T> {
        let Storing { parent, id, level, task, builder, too_large, .. } = self;
        let builder = builder.expect("made before the partition is read");
        let (status, block) = builder.finish().unwrap_or_else(|e| cannot_store(e));
        if too_large {
            let block = BlockStream::new(Some(block), &task);
            tracing::warn!(
                "partition {id} has no room in memory at {level:?} and is computed again where it is needed"
            );
            return CachedStream::Partly(block, parent);
        }
        task.note_block(id, level, status);
        CachedStream::Reading(BlockStream::named(block, id, &task))
    }
}

/// The run of [`Cached`].
pub enum CachedStream<T> {
    /// The partition is kept: its block is read.
    Reading(BlockStream<T>),
    /// It is computed and not kept.
    Passing(PortStream<T>),
    /// It is computed and kept.
    Storing(Box<Storing<T>>),
    /// Its beginning was computed and had no room; the rest follows.
    Partly(BlockStream<T>, PortStream<T>),
    /// Between two of these.
    Changing,
}

impl<T: Data> Stream for CachedStream<T> {
    type Item = T;

    #[inline(always)]
    fn drive<S: Sink<T>>(&mut self, sink: &mut S) -> Flow {
        while let CachedStream::Storing(storing) = self {
            if storing.builder.is_none() {
                let Storing { id, level, task, .. } = &**storing;
                // The same partition may have been opened twice, as the two sides of a `zip`: only one computes it.
                if let Some(block) = find(*id, task) {
                    *self = CachedStream::Reading(BlockStream::named(block, *id, task));
                    break;
                }
                let builder = task.executor().blocks.builder(*id, *level).unwrap_or_else(|e| cannot_store(e));
                storing.builder = Some(builder);
            }
            let flow = storing.parent.drive(&mut storing.gathered);
            if let Flow::Starved(_) = flow {
                return flow;
            }
            if storing.gathered.len() > 0 {
                storing.flush();
            }
            if flow == Flow::Full && !storing.too_large {
                continue;
            }
            if let CachedStream::Storing(storing) = std::mem::replace(self, CachedStream::Changing) {
                *self = storing.finish();
            }
        }
        match self {
            CachedStream::Reading(stream) => stream.drive(sink),
            CachedStream::Passing(stream) => stream.drive(sink),
            CachedStream::Partly(block, rest) => match block.drive(sink) {
                Flow::Done => rest.drive(sink),
                flow => flow,
            },
            CachedStream::Storing(_) | CachedStream::Changing => unreachable!("stored above"),
        }
    }
}

/// Writes a partition into a checkpoint, through a temporary file, so that a repeated attempt does no harm.
#[derive(Clone, Serialize, Deserialize)]
pub struct WriteCheckpoint(pub RddCheckpoint);

impl<T: Data> Action<T> for WriteCheckpoint {
    type Out = ();
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) {
        let task = input.task().clone();
        let partition = task.info().partition;
        let out = task.expect(self.0.create_part(partition, task.info().attempt));
        let path = self.0.path().join(format!("part-{:05}", partition.0));
        let mut chunks = Writing {
            out: task.expect(BlockWriter::new(out, &path, u64::from(partition.0)).map_err(Error::from)),
            gathered: Gathered::default(),
            task: task.clone(),
        };
        input.drive(&mut chunks);
        chunks.flush();
        let (_, out) = task.expect(chunks.out.finish().map_err(Error::from));
        let bytes = task.expect(out.commit());
        task.measure(|m| m.output_bytes += bytes);
    }
}

struct Writing<T> {
    out: BlockWriter<CheckpointWriter>,
    gathered: Gathered<T>,
    task: Task,
}

impl<T: Data> Writing<T> {
    fn flush(&mut self) {
        let records = self.gathered.len() as u64;
        let Gathered { values, texts, sample } = &mut self.gathered;
        if !texts.is_empty() {
            self.task.expect(self.out.texts(texts).map_err(Error::from));
            if are_large(texts) {
                *texts = Texts::default();
            }
            texts.clear();
        } else if !values.is_empty() {
            check_sample(sample, values);
            self.task.expect(self.out.chunk(values).map_err(Error::from));
            values.clear();
        }
        self.task.measure(|m| m.output_records += records);
    }
}

impl<T: Data> Sink<T> for Writing<T> {
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        if !self.gathered.push(item) {
            self.flush();
        }
        true
    }
}
