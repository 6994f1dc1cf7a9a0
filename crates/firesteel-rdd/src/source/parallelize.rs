//! Items of the driver's program as an RDD. The items are blocks that the driver holds; a stage names them only.

use crate::{
    Data,
    action::check_boundary,
    failure::TaskFailure,
    pipeline::{Pipeline, Plan},
    stream::{Flow, Shared, Sink, Stream},
    task::{Stride, Task},
};
use firesteel_model::{BlockId, Error, PartitionIndex, RddId, Result};
use firesteel_store::{CachedBlock, Chunk, StoreError};
use serde::{Deserialize, Serialize};
use std::{fmt, marker::PhantomData, sync::Arc};

/// Slice `i` of `n`: from `i * length / n` to `(i + 1) * length / n`, as Spark cuts.
pub fn slice_bounds(length: u128, i: usize, n: usize) -> (u128, u128) {
    (length * i as u128 / n as u128, length * (i as u128 + 1) / n as u128)
}

/// `parallelize`: reads the source blocks of its RDD.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Parallelize<T> {
    rdd: RddId,
    length: u64,
    partitions: usize,
    /// Where each partition would best be computed, if that was said; the driver's affair.
    #[serde(skip)]
    locations: Arc<[Vec<String>]>,
    #[serde(skip)]
    item: PhantomData<fn() -> T>,
}

impl<T> Parallelize<T> {
    /// Reads the blocks [`BlockId::Source`] of `rdd`, one for each partition that has any of its `length` elements.
    pub fn new(rdd: RddId, length: usize, partitions: usize) -> Self {
        Parallelize { rdd, length: length as u64, partitions, locations: Arc::default(), item: PhantomData }
    }
    /// Says for each partition on which hosts it would best be computed.
    pub fn located(self, locations: Vec<Vec<String>>) -> Self {
        Parallelize { locations: locations.into(), ..self }
    }

    fn is_empty(&self, partition: u32) -> bool {
        let (from, to) = slice_bounds(self.length.into(), partition as usize, self.partitions);
        from == to
    }
}

impl<T: Data> Pipeline for Parallelize<T> {
    type Item = T;
    type Split = u32;
    type Stream = BlockStream<T>;

    fn open(&self, split: u32, task: &Task) -> BlockStream<T> {
        if self.is_empty(split) {
            return BlockStream::new(None, task);
        }
        let id = BlockId::Source(self.rdd, PartitionIndex(split));
        let block = match task.executor().block::<T>(id) {
            Ok(Some(block)) => block,
            Ok(None) => lost(id, "it is gone"),
            Err(e) => unreadable(id, e),
        };
        let first = (block.chunks() > 0).then(|| block.chunk(0).unwrap_or_else(|e| unreadable(id, e)));
        // Text survives any boundary.
        if let Some(Chunk::Values(first)) = first {
            check_boundary(&first);
        }
        let records = block.records();
        task.measure(|m| m.input_records += records);
        BlockStream::named(block, id, task)
    }
    fn splits(&self, _: &dyn Plan) -> Result<Vec<u32>> {
        super::range::at_least_one(self.partitions)?;
        Ok((0..self.partitions as u32).collect())
    }
    fn refers(&self, _: &mut dyn FnMut(RddId)) {}
    fn reads(&self, _: &u32, _: &mut dyn FnMut(RddId, PartitionIndex)) {}
    fn locations(&self, split: &u32) -> Vec<String> {
        self.locations.get(*split as usize).cloned().unwrap_or_default()
    }
}

/// Leaves the task: elements that the driver's program gave out are not there any more, and nothing else has them.
#[cold]
fn lost(block: BlockId, why: impl fmt::Display) -> ! {
    TaskFailure::Engine(Error::Path(format!(
        "block {block}, items given to `parallelize`, is lost ({why}): nothing can compute them again, so make the RDD anew"
    )))
    .raise()
}

/// Leaves the task: such elements cannot be read, here and now or at all.
#[cold]
fn unreadable(block: BlockId, e: StoreError) -> ! {
    match e {
        e @ StoreError::Unreachable { .. } => TaskFailure::Engine(e.into()).raise(),
        e => lost(block, e),
    }
}

/// Fails the task because nothing can compute a checkpoint's partition again.
#[cold]
pub(crate) fn lost_checkpoint(rdd: RddId, e: StoreError) -> ! {
    let why = match e {
        StoreError::Corrupt { place, what } => format!("{place}: {what}"),
        e => e.to_string(),
    };
    TaskFailure::Engine(Error::Path(format!(
        "the checkpoint of RDD {rdd} is lost or damaged ({why}), and its lineage was cut there: put the file back, or make the RDD \
         anew from its source and checkpoint it in another folder"
    )))
    .raise()
}

/// Where a stored block comes from.
#[derive(Clone, Copy)]
enum Origin {
    Block(BlockId),
    Checkpoint(RddId),
}

/// Lends the elements of a stored block, chunk by chunk.
pub struct BlockStream<T> {
    block: Option<CachedBlock<T>>,
    /// What the block is.
    of: Option<Origin>,
    next_chunk: usize,
    current: Option<Shared<T>>,
    stride: Stride,
    task: Task,
}

impl<T: Data> BlockStream<T> {
    /// Reads `block`; none has no elements.
    pub fn new(block: Option<CachedBlock<T>>, task: &Task) -> Self {
        BlockStream { block, of: None, next_chunk: 0, current: None, stride: Stride::new(), task: task.clone() }
    }

    /// Reads the block `id`; if it is a kept partition and turns out to be damaged, it is forgotten and the task tried again.
    pub(crate) fn named(block: CachedBlock<T>, id: BlockId, task: &Task) -> Self {
        BlockStream { of: Some(Origin::Block(id)), ..Self::new(Some(block), task) }
    }

    /// Reads a partition of an RDD's checkpoint.
    pub(crate) fn checkpointed(block: CachedBlock<T>, rdd: RddId, task: &Task) -> Self {
        BlockStream { of: Some(Origin::Checkpoint(rdd)), ..Self::new(Some(block), task) }
    }

    #[cold]
    #[inline(never)]
    fn damaged(&self, e: StoreError) -> ! {
        match self.of {
            Some(Origin::Block(source @ BlockId::Source(..))) => unreadable(source, e),
            Some(Origin::Checkpoint(rdd)) => lost_checkpoint(rdd, e),
            Some(Origin::Block(block)) if e.is_corrupt() => {
                self.task.drop_block(block);
                TaskFailure::Damaged(format!("block {block}: {e}")).raise()
            }
            _ => TaskFailure::Engine(e.into()).raise(),
        }
    }
}

impl<T: Data> Stream for BlockStream<T> {
    type Item = T;

    #[inline(always)]
    fn drive<S: Sink<T>>(&mut self, sink: &mut S) -> Flow {
        loop {
            while let Some(shared) = &mut self.current {
                self.task.check();
                let go = sink.push_shared(shared);
                if shared.from >= shared.chunk.len() {
                    self.current = None;
                }
                if !go {
                    return Flow::Full;
                }
            }
            let Some(block) = &self.block else { return Flow::Done };
            if self.next_chunk == block.chunks() {
                return Flow::Done;
            }
            self.stride.begin(&self.task);
            let chunk = block.chunk(self.next_chunk).unwrap_or_else(|e| self.damaged(e));
            self.current = Some(Shared { chunk, from: 0, clone: T::clone });
            self.next_chunk += 1;
        }
    }
}
