//! Sorting inside a partition.

use super::{
    dense::{are_numbers, number},
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
use firesteel_store::{RawPage, Reservation, SpillReader, SpillWriter, Spilled, StoreError, weigh::Weigher};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    cmp::{Ordering, Reverse},
    marker::PhantomData,
    mem::{needs_drop, take},
    sync::Arc,
};

/// What elements are ordered by.
pub trait Order<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The key's type.
    type Key: Ord + 'static;
    /// Whether the key is the key of a pair, so that whoever is sorted is spread by key.
    const BY_KEY: bool;
    /// Looks at an element's key.
    fn with_key<R>(&self, item: &T, look: impl FnOnce(&Self::Key) -> R) -> R;
    /// Whether it is known what a key owns outside itself.
    const KEYS_ARE_WEIGHED: bool;
    /// What an element is ordered by, to be kept.
    fn key(&self, item: &T) -> Self::Key;
    /// The same of an element that lies encoded in a page, from this byte on.
    fn read_key(&self, page: &RawPage, at: u32) -> Result<Self::Key, StoreError>
    where
        T: DeserializeOwned,
    {
        Ok(self.key(&page.read(at)?))
    }
    /// What a key owns outside itself, where that is known.
    fn weigh(key: &Self::Key, weigher: &mut Weigher) -> u64;
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
    const KEYS_ARE_WEIGHED: bool = true;
    #[inline(always)]
    fn with_key<R>(&self, item: &(K, V), look: impl FnOnce(&K) -> R) -> R {
        look(&item.0)
    }
    fn key(&self, item: &(K, V)) -> K {
        item.0.clone()
    }
    #[inline(always)]
    fn read_key(&self, page: &RawPage, at: u32) -> Result<K, StoreError>
    where
        (K, V): DeserializeOwned,
    {
        page.read(at)
    }
    #[inline(always)]
    fn weigh(key: &K, weigher: &mut Weigher) -> u64 {
        weigher.weigh(key)
    }
    fn sort(&self, items: &mut [(K, V)], ascending: bool) {
        if ascending { items.sort_by(|a, b| a.0.cmp(&b.0)) } else { items.sort_by(|a, b| b.0.cmp(&a.0)) }
    }
}

/// By what a function makes of an element: `sort_by`. The function is called once per element and sort; where sorted sequences on disk
/// are merged, also twice per comparison.
#[derive(Clone, Serialize, Deserialize)]
pub struct ByKeyFunc<C>(pub C);

impl<T: 'static, C: FuncRef<T, Out: Ord + 'static>> Order<T> for ByKeyFunc<C> {
    type Key = C::Out;
    const BY_KEY: bool = false;
    const KEYS_ARE_WEIGHED: bool = !needs_drop::<C::Out>();
    #[inline(always)]
    fn with_key<R>(&self, item: &T, look: impl FnOnce(&C::Out) -> R) -> R {
        look(&self.key(item))
    }
    fn key(&self, item: &T) -> C::Out {
        self.0.call(item)
    }
    fn weigh(_: &C::Out, _: &mut Weigher) -> u64 {
        0
    }
    fn sort(&self, items: &mut [T], ascending: bool) {
        if ascending {
            items.sort_by_cached_key(|item| self.key(item))
        } else {
            items.sort_by_cached_key(|item| Reverse(self.key(item)))
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
/// So many elements in pages are looked at ahead, in the first lines of the processor's cache that each lies in.
const AHEAD: usize = 32;
const CACHE_LINE: usize = 64;
/// Less than this is not sorted and spilled.
const MIN_SPILL_BYTES: u64 = 256 << 10;

/// The elements of a partition, sorted into sequences on disk as far as there is no memory for them.
///
/// The first ones that lie encoded in memory stay where they are: their keys are sorted, and they are read when it is their turn.
struct Sorter<T, O: Order<T>> {
    order: O,
    ascending: bool,
    disk: Disk,
    memory: Reservation,
    items: Vec<T>,
    /// What came before `items`: elements in pages.
    placed: Vec<(O::Key, Place)>,
    pages: Vec<Arc<RawPage>>,
    /// The last page that counts in `used`, or did before something was spilled.
    counted: Option<Arc<RawPage>>,
    /// What `items`, or `placed` and the pages, take, with what sorting them takes.
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
        Sorter {
            order,
            ascending,
            disk,
            memory,
            items: Vec::new(),
            placed: Vec::new(),
            pages: Vec::new(),
            counted: None,
            used: 0,
            weigher,
            writer: None,
            sorted: Vec::new(),
        }
    }

    /// An element in a vector with room to grow, and in the merge sort's buffer or as a cached key.
    const IN_PLACE: u64 = (size_of::<T>() * 5 / 2 + 16) as u64;

    /// The same of a key with a place.
    fn placed_bytes() -> u64 {
        let (placed, dealt) = (size_of::<(O::Key, Place)>(), size_of::<(u64, Place)>());
        (2 * placed + if are_numbers::<O::Key>() { dealt } else { placed / 2 }) as u64
    }

    #[inline(always)]
    fn add<L: Lent<T>>(&mut self, mut item: L) {
        if needs_drop::<T>()
            && O::KEYS_ARE_WEIGHED
            && self.items.is_empty()
            && let Some((page, at)) = item.place()
        {
            if self.pages.last().is_none_or(|last| !Arc::ptr_eq(last, page)) {
                self.begin_page(page);
            }
            let place = Place { page: self.pages.len() as u32 - 1, at };
            let key = self.order.key(item.get());
            self.used += Self::placed_bytes() + O::weigh(&key, &mut self.weigher);
            self.placed.push((key, place));
            if self.used > self.memory.room() {
                self.reserve();
            }
            return;
        }
        self.keep(item.take());
    }

    /// Takes a page whose elements need not be looked at but for their keys, if there is no reason not to.
    fn add_page(&mut self, page: &Arc<RawPage>) -> bool {
        let can = needs_drop::<T>() && O::KEYS_ARE_WEIGHED && self.items.is_empty();
        let Some(starts) = page.starts().filter(|_| can) else { return false };
        self.begin_page(page);
        let number = self.pages.len() as u32 - 1;
        self.placed.reserve(starts.len());
        for at in starts {
            let key = self.order.read_key(page, *at).unwrap_or_else(|e| cannot_store(e));
            self.used += Self::placed_bytes() + O::weigh(&key, &mut self.weigher);
            self.placed.push((key, Place { page: number, at: *at }));
        }
        if self.used > self.memory.room() {
            self.reserve();
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn begin_page(&mut self, page: &Arc<RawPage>) {
        if self.counted.as_ref().is_none_or(|counted| !Arc::ptr_eq(counted, page)) {
            self.used += page.takes();
            self.counted = Some(page.clone());
        }
        self.pages.push(page.clone());
    }

    #[inline(always)]
    fn keep(&mut self, item: T) {
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

    /// The elements in pages, in order.
    fn sort_placed(&mut self) -> (Vec<Place>, Pages<T>) {
        let mut placed = take(&mut self.placed);
        let pages = Pages(take(&mut self.pages), PhantomData);
        if let Some(places) = by_number(&mut placed, self.ascending) {
            return (places, pages);
        }
        match self.ascending {
            true => placed.sort_by(|a, b| a.0.cmp(&b.0)),
            false => placed.sort_by(|a, b| b.0.cmp(&a.0)),
        }
        (placed.into_iter().map(|(_, place)| place).collect(), pages)
    }

    /// Sorts what is in memory and writes it.
    fn spill(&mut self) {
        if !self.placed.is_empty() {
            let (places, pages) = self.sort_placed();
            self.write(places.into_iter().map(|place| pages.read(place)));
        }
        if !self.items.is_empty() {
            let mut items = take(&mut self.items);
            self.order.sort(&mut items, self.ascending);
            self.write(items.into_iter());
        }
        self.memory.shrink_to(0);
        self.disk.task().check();
    }

    /// Writes a sorted sequence.
    fn write(&mut self, items: impl Iterator<Item = T>) {
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
        let (mut placed, mut kept) = (None, None);
        if !self.placed.is_empty() {
            self.used = self.used.saturating_sub(self.placed.len() as u64 * Self::placed_bytes());
            let (places, pages) = self.sort_placed();
            let takes = pages.takes() + size_of_val(&places[..]) as u64;
            let mut memory = self.memory.another();
            self.memory.shrink_to(self.memory.bytes().saturating_sub(takes));
            memory.take(takes);
            self.used = self.used.saturating_sub(pages.takes());
            placed = Some(Source::Places(Placed::new(places, pages, memory, self.disk.clone())));
        }
        if !self.items.is_empty() {
            let mut items = take(&mut self.items);
            self.order.sort(&mut items, self.ascending);
            let owned = self.used.saturating_sub(items.len() as u64 * Self::IN_PLACE);
            kept = Some(Source::Memory(Outgoing::new(items, owned, self.memory, self.disk).scattered()));
        }
        let in_memory = placed.into_iter().chain(kept);
        Merge { readers: Some(readers), ..Merge::new(self.order, self.ascending, &self.sorted, in_memory) }
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

/// So many keys that are integers are sorted at a time, on average: they lie in the processor's nearest cache.
const HEAP: usize = 256;
/// Into no more heaps are they dealt out.
const MOST_HEAPS: usize = 1 << 12;

/// The places in the order of their keys, if these are integers and many: dealt out into heaps by the highest bits in which keys differ,
/// heap by heap sorted. Equal keys keep their order.
fn by_number<K: 'static>(placed: &mut Vec<(K, Place)>, ascending: bool) -> Option<Vec<Place>> {
    if placed.len() < 2 * HEAP {
        return None;
    }
    let order = |key: &K| number(key).map(|number| if ascending { number } else { !number });
    let (mut least, mut most) = (u64::MAX, 0);
    for (key, _) in &*placed {
        let number = order(key)?;
        (least, most) = (least.min(number), most.max(number));
    }
    let heaps = (placed.len() / HEAP).next_power_of_two().min(MOST_HEAPS);
    let shift = (u64::BITS - (most - least).leading_zeros()).saturating_sub(heaps.ilog2());
    let heap = |number: u64| ((number - least) >> shift) as usize;
    // How many each heap has; then where its next one goes; at last where it ends.
    let mut at = vec![0; heaps];
    for (key, _) in &*placed {
        at[heap(order(key)?)] += 1;
    }
    let mut start = 0;
    for at in &mut at {
        start += std::mem::replace(at, start);
    }
    let mut dealt = vec![(0, Place { page: 0, at: 0 }); placed.len()];
    for (key, place) in &*placed {
        let number = order(key)?;
        let at = &mut at[heap(number)];
        dealt[*at] = (number, *place);
        *at += 1;
    }
    // Its room is for what sorting and the places take.
    *placed = Vec::new();
    let mut start = 0;
    for end in at {
        dealt[start..end].sort_by_key(|(number, _)| *number);
        start = end;
    }
    let mut places = Vec::with_capacity(dealt.len());
    places.extend(dealt.iter().map(|(_, place)| *place));
    Some(places)
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
    alone: Option<Source<T>>,
    /// What the sequences on disk need to be read.
    #[expect(dead_code, reason = "held until the end")]
    readers: Option<Reservation>,
}

enum Source<T> {
    Disk(SpillReader<T>),
    Memory(Outgoing<T>),
    Places(Placed<T>),
}

impl<T: Data> Source<T> {
    fn next(&mut self) -> Option<T> {
        match self {
            Source::Disk(reader) => reader.next().unwrap_or_else(|e| cannot_store(e)),
            Source::Memory(items) => items.next(),
            Source::Places(items) => items.next(),
        }
    }
}

/// Where an element begins: which page of a [`Sorter`]'s, and which byte of it.
#[derive(Clone, Copy)]
struct Place {
    page: u32,
    at: u32,
}

/// Pages that elements are read from.
struct Pages<T>(Vec<Arc<RawPage>>, PhantomData<fn() -> T>);

impl<T: Data> Pages<T> {
    /// What they take in memory, in bytes.
    fn takes(&self) -> u64 {
        self.0.iter().map(|page| page.takes()).sum()
    }

    fn read(&self, place: Place) -> T {
        self.0[place.page as usize].read(place.at).unwrap_or_else(|e| cannot_store(e))
    }
}

/// Elements in pages, in order: each is read when it is its turn.
struct Placed<T> {
    places: std::vec::IntoIter<Place>,
    pages: Pages<T>,
    /// So many of the next ones were looked at, at these bytes.
    looked_at: usize,
    lines: [usize; 3],
    memory: Reservation,
    disk: Disk,
    /// What is left, if another operator of the task needed the memory.
    rest: Option<SpillReader<T>>,
}

impl<T: Data> Placed<T> {
    fn new(places: Vec<Place>, pages: Pages<T>, memory: Reservation, disk: Disk) -> Self {
        // Where an average element begins, goes on and ends: more than its own lines need not be fetched.
        let last = pages.0.first().map_or(0, |page| page.record_bytes().saturating_sub(1));
        let lines = [0, CACHE_LINE.min(last), last.min(2 * CACHE_LINE)];
        Placed { places: places.into_iter(), pages, looked_at: 0, lines, memory, disk, rest: None }
    }

    /// Elements lie in no order: the processor fetches several at the same time, so that nobody waits for each.
    #[inline(never)]
    fn look_ahead(&mut self) {
        // Found first, so that nothing stands between the fetches.
        let mut next = [&[][..]; AHEAD];
        for (next, place) in next.iter_mut().zip(self.places.as_slice()) {
            *next = self.pages.0[place.page as usize].rest(place.at);
        }
        let byte = |record: &[u8], at: usize| record.get(at).copied().unwrap_or_default();
        let glance = |record: &[u8]| self.lines.iter().fold(0, |all, at| all ^ byte(record, *at));
        std::hint::black_box(next.iter().fold(0, |all, record| all ^ glance(record)));
        self.looked_at = AHEAD;
    }

    /// Moves what is left to disk.
    #[cold]
    #[inline(never)]
    fn spill(&mut self) {
        let mut writer = self.disk.expect(self.disk.writer());
        for place in take(&mut self.places) {
            self.disk.expect(writer.push(&self.pages.read(place)));
        }
        self.pages.0 = Vec::new();
        self.disk.task().check();
        let spilled = self.disk.expect(writer.end());
        self.disk.count(&spilled, self.memory.bytes());
        self.rest = Some(spilled.reader());
        self.memory.shrink_to(SpillReader::<T>::BYTES);
    }

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.rest.is_none()
            && self.memory.is_asked()
            && self.memory.bytes() >= 2 * self.memory.at_least(MIN_SPILL_BYTES)
        {
            self.spill();
        }
        if let Some(rest) = &mut self.rest {
            return rest.next().unwrap_or_else(|e| cannot_store(e));
        }
        if self.looked_at == 0 {
            self.look_ahead();
        }
        self.looked_at -= 1;
        self.places.next().map(|place| self.pages.read(place))
    }
}

impl<T: Data, O: Order<T>> Merge<T, O> {
    /// Of sequences on disk, and what comes after them in memory.
    fn new(order: O, ascending: bool, sorted: &[Spilled<T>], in_memory: impl IntoIterator<Item = Source<T>>) -> Self {
        let (heads, heap) = (Vec::new(), Vec::new());
        let mut merge = Merge { order, ascending, heads, heap, alone: None, readers: None };
        let on_disk = sorted.iter().map(|spilled| Source::Disk(spilled.reader()));
        let mut sources: Vec<_> = on_disk.chain(in_memory).collect();
        if sources.len() == 1 {
            merge.alone = sources.pop();
        }
        for mut source in sources {
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

enum State<T, O: Order<T>> {
    Reading(SideStream<T>, Sorter<T, O>),
    Writing(Merge<T, O>),
    Changing,
}

/// The run of [`Sorted`].
pub struct SortedStream<T, O: Order<T>> {
    state: Box<State<T, O>>,
}

impl<T: Data, O: Order<T>> Stream for SortedStream<T, O> {
    type Item = T;
    #[inline]
    fn drive<S: Sink<T>>(&mut self, sink: &mut S) -> Flow {
        struct Keep<'a, T, O: Order<T>>(&'a mut Sorter<T, O>);
        impl<T: Data, O: Order<T>> Sink<T> for Keep<'_, T, O> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, item: L) -> bool {
                self.0.add(item);
                true
            }
            #[inline(always)]
            fn push_page(&mut self, page: &Arc<RawPage>) -> bool {
                self.0.add_page(page)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agrees<K: Ord + Copy + 'static>(keys: &[K]) {
        let places = (0..).map(|at| Place { page: at / 7, at });
        let placed: Vec<_> = keys.iter().copied().zip(places).collect();
        for ascending in [true, false] {
            let mut expected = placed.clone();
            match ascending {
                true => expected.sort_by_key(|(key, _)| *key),
                false => expected.sort_by_key(|(key, _)| Reverse(*key)),
            }
            let found = by_number(&mut placed.clone(), ascending);
            assert_eq!(found.is_some(), keys.len() >= 2 * HEAP);
            let found = found.into_iter().flatten().map(|place| (place.page, place.at));
            let expected = expected.into_iter().map(|(_, place)| (place.page, place.at));
            assert!(keys.len() < 2 * HEAP || found.eq(expected));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn keys_that_are_integers_come_in_order_and_equal_ones_in_that_of_arrival(
            keys in prop::collection::vec(any::<u64>(), 2 * HEAP - 2..6 * HEAP), bits in 0u32..=64,
        ) {
            let few: Vec<u64> = keys.iter().map(|key| key.checked_shr(bits).unwrap_or(0)).collect();
            agrees(&few);
            agrees(&few.iter().map(|key| *key as i64).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| *key as i16).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| *key as u8).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| usize::MAX - (*key % 3) as usize).collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_that_are_no_integers_are_left_to_their_own_order() {
        let mut placed = vec![(Reverse(1u64), Place { page: 0, at: 0 }); 4 * HEAP];
        assert!(by_number(&mut placed, true).is_none());
    }
}
