//! Sorting inside a partition.

use super::{
    outgoing::Outgoing,
    read::{Side, SideStream, by_partition},
    rows::Disk,
};
use crate::{
    Data,
    func::FuncRef,
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::{Task, cannot_store},
};
use firesteel_store::{Reservation, SpillReader, SpillWriter, Spilled, weigh::Weigher};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    cmp::{Ordering, Reverse},
    mem::take,
};

/// What elements are ordered by.
pub trait Order<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The key's type.
    type Key: Ord;
    /// Whether the key is the key of a pair, so that whoever is sorted is spread by key.
    const BY_KEY: bool;
    /// Looks at an element's key.
    fn with_key<R>(&self, item: &T, look: impl FnOnce(&Self::Key) -> R) -> R;
    /// Compares two elements by their keys.
    fn compare(&self, a: &T, b: &T) -> Ordering {
        self.with_key(a, |a| self.with_key(b, |b| a.cmp(b)))
    }
    /// Sorts; elements with equal keys keep their order.
    fn sort(&self, items: &mut [T], ascending: bool);
}

/// By a pair's key: `sort_by_key`, `repartition_and_sort_within_partitions`.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct ByKey;

impl<K: Data + Ord, V: 'static> Order<(K, V)> for ByKey {
    type Key = K;
    const BY_KEY: bool = true;
    #[inline(always)]
    fn with_key<R>(&self, item: &(K, V), look: impl FnOnce(&K) -> R) -> R {
        look(&item.0)
    }
    fn sort(&self, items: &mut [(K, V)], ascending: bool) {
        if ascending { items.sort_by(|a, b| a.0.cmp(&b.0)) } else { items.sort_by(|a, b| b.0.cmp(&a.0)) }
    }
}

/// By what a function makes of an element: `sort_by`. The function is called once per element and sort; where sorted sequences on disk
/// are merged, also twice per comparison.
#[derive(Clone, Serialize, Deserialize)]
pub struct ByKeyFunc<C>(pub C);

impl<T: 'static, C: FuncRef<T, Out: Ord>> Order<T> for ByKeyFunc<C> {
    type Key = C::Out;
    const BY_KEY: bool = false;
    #[inline(always)]
    fn with_key<R>(&self, item: &T, look: impl FnOnce(&C::Out) -> R) -> R {
        look(&self.0.call(item))
    }
    fn sort(&self, items: &mut [T], ascending: bool) {
        if ascending {
            items.sort_by_cached_key(|item| self.0.call(item))
        } else {
            items.sort_by_cached_key(|item| Reverse(self.0.call(item)))
        }
    }
}

/// Reads a side and sorts each partition.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "T: Data, O: Serialize + DeserializeOwned")]
pub struct Sorted<T, O> {
    /// What is sorted.
    pub side: Side<T>,
    /// By what.
    pub order: O,
    /// Which way.
    pub ascending: bool,
    /// How many partitions there are.
    pub partitions: usize,
}

impl<T: Data, O: Order<T>> Pipeline for Sorted<T, O> {
    type Item = T;
    type Split = u32;
    type Stream = SortedStream<T, O>;
    fn open(&self, split: u32, task: &Task) -> Self::Stream {
        let sorter = Sorter::new(self.order.clone(), self.ascending, task);
        SortedStream { state: Box::new(State::Reading(self.side.open(split, task), sorter)) }
    }
    by_partition!(side);
}

/// How many sorted sequences are merged at once: however little memory there is, and however much.
const FAN_IN: (usize, usize) = (4, 32);
/// Memory is asked for in steps of at least and at most so many bytes.
const STEP_BYTES: (u64, u64) = (64 << 10, 4 << 20);
/// Less than this is not sorted and spilled.
const MIN_SPILL_BYTES: u64 = 256 << 10;

/// The elements of a partition, sorted into sequences on disk as far as there is no memory for them.
struct Sorter<T, O> {
    order: O,
    ascending: bool,
    disk: Disk,
    memory: Reservation,
    items: Vec<T>,
    /// What `items` take, with what sorting them takes.
    used: u64,
    weigher: Weigher,
    writer: Option<SpillWriter<T>>,
    /// In order of arrival: among equal keys an earlier sequence's elements come first.
    sorted: Vec<Spilled<T>>,
}

impl<T: Data, O: Order<T>> Sorter<T, O> {
    fn new(order: O, ascending: bool, task: &Task) -> Self {
        let (disk, memory) = (Disk::new(task), task.memory().spillable().named("sort"));
        let weigher = Weigher::default();
        Sorter { order, ascending, disk, memory, items: Vec::new(), used: 0, weigher, writer: None, sorted: Vec::new() }
    }

    /// An element in a vector with room to grow, and in the merge sort's buffer or as a cached key.
    const IN_PLACE: u64 = (size_of::<T>() * 5 / 2 + 16) as u64;

    #[inline(always)]
    fn add(&mut self, item: T) {
        self.used += Self::IN_PLACE + self.weigher.weigh(&item);
        self.items.push(item);
        if self.used > self.memory.room() {
            self.reserve();
        }
    }

    #[cold]
    #[inline(never)]
    fn reserve(&mut self) {
        if self.memory.is_asked() {
            match self.used < 2 * self.memory.at_least(MIN_SPILL_BYTES) {
                true => self.memory.shrink_to(self.used),
                false => return self.spill(),
            }
        }
        if self.used <= self.memory.bytes() {
            return;
        }
        let lacking = self.used - self.memory.bytes();
        let step = (self.used / 4).clamp(STEP_BYTES.0, STEP_BYTES.1).max(lacking);
        if self.memory.grow(step).or_else(|_| self.memory.grow(lacking)).is_ok() {
            return;
        }
        if self.used < self.memory.at_least(MIN_SPILL_BYTES) {
            return self.memory.take(lacking);
        }
        self.spill();
    }

    /// Sorts what is in memory and writes it.
    fn spill(&mut self) {
        let mut items = take(&mut self.items);
        if items.is_empty() {
            return;
        }
        self.order.sort(&mut items, self.ascending);
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.disk.expect(self.disk.writer())),
        };
        for item in items {
            self.disk.expect(writer.push(&item));
        }
        let spilled = self.disk.expect(writer.end());
        self.disk.count(&spilled, take(&mut self.used));
        self.sorted.push(spilled);
        self.memory.shrink_to(0);
        self.disk.task().check();
    }

    /// The elements in order.
    fn finish(mut self) -> Merge<T, O> {
        let mut readers = self.disk.task().memory().reservation().named("sort: merge");
        let fan_in = self.reserve_readers(&mut readers);
        // Neighbours are merged until few enough are left, so that equal keys keep their order.
        while self.sorted.len() > fan_in {
            let mut level = Vec::new();
            let mut writer = self.disk.expect(self.disk.writer());
            for some in self.sorted.chunks(fan_in) {
                let mut merge = Merge::new(self.order.clone(), self.ascending, some, None);
                while let Some(item) = merge.next() {
                    self.disk.expect(writer.push(&item));
                }
                level.push(self.disk.expect(writer.end()));
                self.disk.task().check();
            }
            self.sorted = level;
        }
        let mut items = take(&mut self.items);
        self.order.sort(&mut items, self.ascending);
        let owned = self.used.saturating_sub(items.len() as u64 * Self::IN_PLACE);
        let items = Outgoing::new(items, owned, self.memory, self.disk).scattered();
        Merge { readers: Some(readers), ..Merge::new(self.order, self.ascending, &self.sorted, Some(items)) }
    }

    /// Reserves memory for as many readers as can be had, and says for how many. What is in memory makes room for them.
    fn reserve_readers(&mut self, readers: &mut Reservation) -> usize {
        let wanted = |sorted: &Vec<_>| FAN_IN.1.min(sorted.len());
        let bytes = |fan_in| fan_in as u64 * SpillReader::<T>::BYTES;
        let mut fan_in = wanted(&self.sorted);
        if fan_in == 0 || readers.grow(bytes(fan_in)).is_ok() {
            return FAN_IN.1;
        }
        self.spill();
        fan_in = wanted(&self.sorted);
        while readers.grow(bytes(fan_in)).is_err() {
            if fan_in <= FAN_IN.0 {
                readers.take(bytes(fan_in));
                break;
            }
            fan_in = (fan_in / 2).max(FAN_IN.0);
        }
        fan_in.max(2)
    }
}

/// Sorted sequences merged into one; among equal keys an earlier sequence's elements come first.
struct Merge<T, O> {
    order: O,
    ascending: bool,
    /// The sequences that are not at their end, each with its next element.
    heads: Vec<(T, Source<T>)>,
    /// The indices of `heads` as a heap, the least first.
    heap: Vec<usize>,
    /// The only sequence, where there is no other.
    alone: Option<Outgoing<T>>,
    /// What the sequences on disk need to be read.
    #[expect(dead_code, reason = "held until the end")]
    readers: Option<Reservation>,
}

enum Source<T> {
    Disk(SpillReader<T>),
    Memory(Outgoing<T>),
}

impl<T: Data> Source<T> {
    fn next(&mut self) -> Option<T> {
        match self {
            Source::Disk(reader) => reader.next().unwrap_or_else(|e| cannot_store(e)),
            Source::Memory(items) => items.next(),
        }
    }
}

impl<T: Data, O: Order<T>> Merge<T, O> {
    /// Of sequences on disk, and what comes after them in memory.
    fn new(order: O, ascending: bool, sorted: &[Spilled<T>], items: Option<Outgoing<T>>) -> Self {
        let (heads, heap) = (Vec::new(), Vec::new());
        let mut merge = Merge { order, ascending, heads, heap, alone: None, readers: None };
        if sorted.is_empty() {
            merge.alone = items;
            return merge;
        }
        let on_disk = sorted.iter().map(|spilled| Source::Disk(spilled.reader()));
        for mut source in on_disk.chain(items.map(Source::Memory)) {
            if let Some(first) = source.next() {
                merge.heads.push((first, source));
            }
        }
        merge.heap = (0..merge.heads.len()).collect();
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sink_down(at);
        }
        merge
    }

    /// Whether the head `a` comes before the head `b`.
    fn before(&self, a: usize, b: usize) -> bool {
        let order = self.order.compare(&self.heads[a].0, &self.heads[b].0);
        let order = if self.ascending { order } else { order.reverse() };
        order.then(a.cmp(&b)).is_lt()
    }

    fn sink_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut least = at;
            for child in [left, right] {
                if child < self.heap.len() && self.before(self.heap[child], self.heap[least]) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.alone {
            Some(items) => items.next(),
            None => self.next_of_all(),
        }
    }

    fn next_of_all(&mut self) -> Option<T> {
        let least = *self.heap.first()?;
        let (head, source) = &mut self.heads[least];
        let item = match source.next() {
            Some(next) => std::mem::replace(head, next),
            None => {
                // The place stays taken by an element that is never looked at again.
                let last = head.clone();
                self.heap.swap_remove(0);
                last
            }
        };
        self.sink_down(0);
        Some(item)
    }
}

enum State<T, O> {
    Reading(SideStream<T>, Sorter<T, O>),
    Writing(Merge<T, O>),
    Changing,
}

/// The run of [`Sorted`].
pub struct SortedStream<T, O> {
    state: Box<State<T, O>>,
}

impl<T: Data, O: Order<T>> Stream for SortedStream<T, O> {
    type Item = T;
    #[inline]
    fn drive<S: Sink<T>>(&mut self, sink: &mut S) -> Flow {
        struct Keep<'a, T, O>(&'a mut Sorter<T, O>);
        impl<T: Data, O: Order<T>> Sink<T> for Keep<'_, T, O> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, item: L) -> bool {
                self.0.add(item.take());
                true
            }
        }
        if let State::Reading(input, sorter) = &mut *self.state {
            let flow = input.drive(&mut Keep(sorter));
            if flow != Flow::Done {
                return flow;
            }
            if let State::Reading(_, sorter) = std::mem::replace(&mut *self.state, State::Changing) {
                *self.state = State::Writing(sorter.finish());
            }
        }
        if let State::Writing(items) = &mut *self.state {
            while let Some(item) = items.next() {
                if !sink.push(Own(item)) {
                    return Flow::Full;
                }
            }
        }
        Flow::Done
    }
}
