//! Where types are erased inside a stage: segments that hand each other batches, run from a flat table and never nested.
//!
//! A pipeline that reads an erased RDD ([`crate::Erased`]) does not hold that RDD's stream. It holds a *port*, and when the port is
//! empty it says [`Flow::Starved`]. Whoever drives then calls [`Segments::fill`]: an explicit stack runs the segment
//! behind the port until a batch has arrived, and, where that one starves in turn, the segment behind it first. A lineage of
//! 100,000 erased steps is a loop over 100,000 table entries, with a stack no deeper than one.

use crate::{
    stream::{Flow, Lent, Own, Port, Shared, Sink, Stream, Tally, push_each},
    task::Task,
};
use firesteel_model::{PartitionIndex, RddId};
use firesteel_store::{
    Chunk, Texts,
    chunk::{are_texts, element_of, may_be_texts, text_of},
};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
};

/// The size of the first batch, so that `take` stays lazy.
pub(crate) const FIRST_BATCH: usize = 16;
/// The size that batches double to.
pub(crate) const LAST_BATCH: usize = 1_024;
/// When so much text is in it a batch is full, however few elements that are.
const MOST_TEXT: usize = 64 << 10;

/// What has arrived at a port and is not read yet.
pub(crate) struct Mailbox<T> {
    owned: RefCell<VecDeque<T>>,
    shared: RefCell<Option<Shared<T>>>,
    done: Cell<bool>,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Mailbox { owned: RefCell::default(), shared: RefCell::new(None), done: Cell::new(false) }
    }
}

impl<T> Mailbox<T> {
    fn is_empty(&self) -> bool {
        self.owned.borrow().is_empty() && self.shared.borrow().is_none()
    }
}

/// A stream behind a port.
pub(crate) trait Segment {
    /// Runs until a batch has arrived at the port or the stream has ended (`None`), or another port must be filled first.
    fn step(&mut self) -> Option<Port>;
}

/// A sink that fills a batch with elements of its own.
pub(crate) struct Batch<'a, T> {
    pub(crate) owned: &'a mut VecDeque<T>,
    pub(crate) limit: usize,
}

impl<T> Sink<T> for Batch<'_, T> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, item: L) -> bool {
        self.owned.push_back(item.take());
        self.owned.len() < self.limit
    }
}

/// The same, but texts that are lent are copied one after another, and a whole block is passed on as it is. What comes first decides: a
/// batch has elements of its own, or texts, or is a block.
struct Passing<'a, T> {
    batch: Batch<'a, T>,
    texts: &'a mut Texts,
    shared: &'a mut Option<Shared<T>>,
}

impl<T: 'static> Sink<T> for Passing<'_, T> {
    #[inline(always)]
    fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
        if const { may_be_texts::<T>() }
            && are_texts::<T>()
            && (L::IS_LOAN && self.batch.owned.is_empty() || !self.texts.is_empty())
            && let Some(text) = text_of(item.get())
        {
            self.texts.push(text);
            return self.texts.len() < self.batch.limit && self.texts.bytes() < MOST_TEXT;
        }
        self.batch.push(item)
    }

    #[inline]
    fn push_shared(&mut self, shared: &mut Shared<T>) -> bool {
        if !self.batch.owned.is_empty() || !self.texts.is_empty() {
            return push_each(self, shared);
        }
        *self.shared = Some(Shared { chunk: shared.chunk.clone(), from: shared.from, clone: shared.clone });
        shared.from = shared.chunk.len();
        false
    }
}

pub(crate) struct StreamSegment<S: Stream> {
    pub(crate) stream: S,
    pub(crate) mailbox: Rc<Mailbox<S::Item>>,
    pub(crate) limit: usize,
    /// For so much text, and so many of them, room is made at once: the last batch had as much.
    pub(crate) text_room: (usize, usize),
}

impl<S: Stream> Segment for StreamSegment<S> {
    fn step(&mut self) -> Option<Port> {
        let flow = {
            let (mut owned, mut shared) = (self.mailbox.owned.borrow_mut(), self.mailbox.shared.borrow_mut());
            let mut texts = Texts::with_room(self.text_room);
            let batch = Batch { owned: &mut owned, limit: self.limit };
            let flow = self.stream.drive(&mut Passing { batch, texts: &mut texts, shared: &mut shared });
            self.text_room = (texts.text_len().min(MOST_TEXT), texts.len());
            if !texts.is_empty() {
                let clone = |text: &S::Item| element_of(text_of(text).expect("an element that is text"));
                *shared = Some(Shared { chunk: Chunk::Texts(Arc::new(texts)), from: 0, clone });
            }
            flow
        };
        self.limit = (self.limit * 2).min(self.stream.batch_limit());
        match flow {
            Flow::Done => self.mailbox.done.set(true),
            Flow::Full => {}
            // What there is goes out first; the next call starves again at once.
            Flow::Starved(_) if !self.mailbox.is_empty() => {}
            Flow::Starved(port) => return Some(port),
        }
        None
    }
}

/// How many elements a stream had, where nobody wants the elements themselves.
#[derive(Default)]
pub(crate) struct Tallied {
    seen: Cell<u64>,
    done: Cell<bool>,
}

/// A stream behind a port whose elements are only counted.
pub(crate) struct TallySegment<S> {
    pub(crate) stream: S,
    pub(crate) tallied: Rc<Tallied>,
}

impl<S: Stream> Segment for TallySegment<S> {
    fn step(&mut self) -> Option<Port> {
        let mut seen = self.tallied.seen.get();
        let flow = self.stream.tally(&mut seen);
        self.tallied.seen.set(seen);
        match flow {
            Flow::Starved(port) => Some(port),
            Flow::Done | Flow::Full => {
                self.tallied.done.set(true);
                None
            }
        }
    }
}

enum Slot {
    Free,
    /// Not opened yet: which node, which partition, and the mailbox that the reader made.
    Waiting(RddId, PartitionIndex, Rc<dyn Any>),
    Open(Box<dyn Segment>),
    Running,
    Ended,
}

/// The segments of one task.
#[derive(Default)]
pub(crate) struct Segments {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    released: RefCell<Vec<usize>>,
    releasing: Cell<bool>,
}

impl Segments {
    fn add(&self, node: RddId, partition: PartitionIndex, mailbox: Rc<dyn Any>) -> Port {
        let slot = Slot::Waiting(node, partition, mailbox);
        let mut slots = self.slots.borrow_mut();
        match self.free.borrow_mut().pop() {
            Some(at) => {
                slots[at] = slot;
                Port(at)
            }
            None => {
                slots.push(slot);
                Port(slots.len() - 1)
            }
        }
    }

    /// From now on the elements behind `port` are only counted. None if they have begun to arrive.
    fn tally(&self, Port(at): Port) -> Option<Rc<Tallied>> {
        match &mut self.slots.borrow_mut()[at] {
            Slot::Waiting(_, _, mailbox) => {
                let tallied = Rc::new(Tallied::default());
                *mailbox = tallied.clone();
                Some(tallied)
            }
            _ => None,
        }
    }

    /// Runs segments until something has arrived at `port`, or nothing more will.
    pub(crate) fn fill(&self, task: &Task, port: Port) {
        let mut stack = vec![port];
        while let Some(&Port(at)) = stack.last() {
            task.check();
            let slot = std::mem::replace(&mut self.slots.borrow_mut()[at], Slot::Running);
            let mut segment = match slot {
                Slot::Waiting(node, partition, mailbox) => {
                    task.node(node).open(task.split(node, partition), task, mailbox)
                }
                Slot::Open(segment) => segment,
                Slot::Ended => {
                    self.slots.borrow_mut()[at] = Slot::Ended;
                    stack.pop();
                    continue;
                }
                Slot::Free | Slot::Running => unreachable!("a port is filled by one reader at a time"),
            };
            let starved = segment.step();
            self.slots.borrow_mut()[at] = Slot::Open(segment);
            match starved {
                Some(port) => stack.push(port),
                None => {
                    stack.pop();
                }
            }
        }
    }

    /// The segment behind `port` has ended: its stream goes, the port stays until its reader goes.
    fn ended(&self, Port(at): Port) {
        let old = std::mem::replace(&mut self.slots.borrow_mut()[at], Slot::Ended);
        self.drop_later(old);
    }

    fn drop_later(&self, slot: Slot) {
        // Dropping a segment drops the ports it reads, which release their segments: by this list, not by nesting.
        drop(slot);
        self.drain();
    }

    /// The reader of `port` is gone.
    fn release(&self, Port(at): Port) {
        self.released.borrow_mut().push(at);
        self.drain();
    }

    fn drain(&self) {
        if self.releasing.replace(true) {
            return;
        }
        loop {
            let Some(at) = self.released.borrow_mut().pop() else { break };
            let slot = match self.slots.borrow_mut().get_mut(at) {
                Some(slot) => std::mem::replace(slot, Slot::Free),
                None => continue,
            };
            self.free.borrow_mut().push(at);
            drop(slot);
        }
        self.releasing.set(false);
    }

    /// Drops all segments, one after the other.
    pub(crate) fn clear(&self) {
        self.releasing.set(true);
        loop {
            let Some(slot) = self.slots.borrow_mut().pop() else { break };
            drop(slot);
        }
        self.free.borrow_mut().clear();
        self.released.borrow_mut().clear();
        self.releasing.set(false);
    }
}

/// Reads a port: the stream of an erased RDD's partition.
pub struct PortStream<T> {
    task: Task,
    port: Port,
    mailbox: Rc<Mailbox<T>>,
    tallied: Option<Rc<Tallied>>,
}

impl<T: 'static> PortStream<T> {
    pub(crate) fn open(task: &Task, node: RddId, partition: PartitionIndex) -> Self {
        let mailbox = Rc::new(Mailbox::<T>::default());
        let port = task.segments().add(node, partition, mailbox.clone());
        PortStream { task: task.clone(), port, mailbox, tallied: None }
    }
}

impl<T: 'static> Stream for PortStream<T> {
    type Item = T;

    #[inline(always)]
    fn drive<S: Sink<T>>(&mut self, sink: &mut S) -> Flow {
        // Taken out while it is read: what follows may panic, and nobody else looks at it meanwhile.
        let mut owned = self.mailbox.owned.take();
        while let Some(item) = owned.pop_front() {
            if !sink.push(Own(item)) {
                *self.mailbox.owned.borrow_mut() = owned;
                return Flow::Full;
            }
        }
        *self.mailbox.owned.borrow_mut() = owned;
        if let Some(mut shared) = self.mailbox.shared.take() {
            let go = sink.push_shared(&mut shared);
            if shared.from < shared.chunk.len() {
                *self.mailbox.shared.borrow_mut() = Some(shared);
            }
            if !go {
                return Flow::Full;
            }
        }
        if self.mailbox.done.get() {
            self.task.segments().ended(self.port);
            Flow::Done
        } else {
            Flow::Starved(self.port)
        }
    }

    fn tally(&mut self, seen: &mut u64) -> Flow {
        if self.tallied.is_none() {
            self.tallied = self.task.segments().tally(self.port);
        }
        match &self.tallied {
            Some(tallied) if tallied.done.get() => {
                *seen += tallied.seen.take();
                self.task.segments().ended(self.port);
                Flow::Done
            }
            Some(_) => Flow::Starved(self.port),
            None => self.drive(&mut Tally(seen)),
        }
    }
}

impl<T> Drop for PortStream<T> {
    fn drop(&mut self) {
        self.task.segments().release(self.port);
    }
}
