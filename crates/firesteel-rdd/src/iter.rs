//! Pulling from a stream that pushes: the ordinary iterator that user code sees in `map_partitions` and its kin.

use crate::{
    segment::{Batch, FIRST_BATCH, LAST_BATCH},
    stream::{Flow, Stream},
    task::Task,
};
use std::{collections::VecDeque, marker::PhantomData};

/// Room that a pull needs on the stack before it goes on a fresh one.
const RED_ZONE: usize = 128 << 10;
/// The size of a fresh stack.
const FRESH_STACK: usize = 2 << 20;

trait Pull<T> {
    /// Adds up to `limit` elements; returns whether more may come.
    fn pull(&mut self, into: &mut VecDeque<T>, limit: usize) -> bool;
}

struct Puller<S> {
    stream: S,
    task: Task,
}

impl<S: Stream> Pull<S::Item> for Puller<S> {
    fn pull(&mut self, into: &mut VecDeque<S::Item>, limit: usize) -> bool {
        self.task.check();
        loop {
            match self.stream.drive(&mut Batch { owned: into, limit }) {
                Flow::Done => return false,
                Flow::Full => return true,
                Flow::Starved(_) if !into.is_empty() => return true,
                Flow::Starved(port) => self.task.segments().fill(&self.task, port),
            }
        }
    }
}

/// The elements of one partition, in order.
///
/// They are pulled in bounded batches that start at 16 and double to 1,024, so a reader that stops early has caused little
/// more work than it saw. Cost: one move per element.
pub struct PartitionIter<'a, T> {
    ready: VecDeque<T>,
    source: Option<Box<dyn Pull<T>>>,
    limit: usize,
    scope: PhantomData<&'a mut T>,
}

impl<T: 'static> PartitionIter<'_, T> {
    /// An iterator over the rest of a stream.
    pub fn new<S: Stream<Item = T>>(stream: S, task: &Task) -> Self {
        PartitionIter {
            ready: VecDeque::new(),
            source: Some(Box::new(Puller { stream, task: task.clone() })),
            limit: FIRST_BATCH,
            scope: PhantomData,
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&mut self) -> Option<T> {
        while self.ready.is_empty() {
            let source = self.source.as_mut()?;
            // User iterators pull from each other without end in a long lineage of `map_partitions`: the stack grows on the heap.
            let more = stacker::maybe_grow(RED_ZONE, FRESH_STACK, || source.pull(&mut self.ready, self.limit));
            self.limit = (self.limit * 2).min(LAST_BATCH);
            if !more {
                self.source = None;
            }
        }
        self.ready.pop_front()
    }
}

impl<T: 'static> Iterator for PartitionIter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self.ready.pop_front() {
            Some(item) => Some(item),
            None => self.refill(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ready.len(), self.source.is_none().then_some(self.ready.len()))
    }
}
