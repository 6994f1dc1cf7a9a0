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
    stream::{ElementLoan, Flow, Lent, Own, Sink, Stream, TextLoan},
    task::{Task, cannot_store},
    total::Total,
};
use firesteel_store::{
    CACHE_LINE, RawPage, Reservation, SpillReader, SpillWriter, Spilled, StoreError,
    chunk::{are_texts, may_be_texts},
    weigh::Weigher,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    any::{Any, TypeId},
    cmp::{Ordering, Reverse},
    mem::{needs_drop, take},
    ops::Range,
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

/// By what a function makes of an element: `sort_by`. The function is called at most once per element and sort (not at all where a number was
/// noted for it); where sorted sequences on disk are merged, also twice per comparison.
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

/// The number that stands for a key in the order of keys: whole numbers and floats have one, and equal keys the same.
#[inline(always)]
pub(super) fn rank<K: 'static>(key: &K) -> Option<u64> {
    let any: &dyn Any = key;
    let double = any.downcast_ref().map(Total::<f64>::rank);
    let float = any.downcast_ref().map(Total::<f32>::rank);
    number(key).or(double).or(float)
}

/// Whether keys of this type have a [`rank`].
#[inline(always)]
pub(super) fn are_ranked<K: 'static>() -> bool {
    are_numbers::<K>() || [TypeId::of::<Total<f64>>(), TypeId::of::<Total<f32>>()].contains(&TypeId::of::<K>())
}

/// How many sorted sequences are merged at once: however little memory there is, and however much.
const FAN_IN: (usize, usize) = (4, 32);
/// Memory is asked for in steps of at least and at most so many bytes.
const STEP_BYTES: (u64, u64) = (64 << 10, 4 << 20);
/// Elements in pages are fetched ahead, so many at a time, and so many before they are read.
const AHEAD: (usize, usize) = (8, 16);
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
    /// What came before `items`: so many elements in pages.
    in_pages: usize,
    pages: Vec<Arc<RawPage>>,
    /// Their keys, unless the pages note [`rank`]s.
    placed: Vec<(O::Key, Place)>,
    /// The last page that counts in `used`, or did before something was spilled.
    counted: Option<Arc<RawPage>>,
    /// What `items`, or the placed ones and their pages, take, with what sorting them takes.
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
            in_pages: 0,
            pages: Vec::new(),
            placed: Vec::new(),
            counted: None,
            used: 0,
            weigher,
            writer: None,
            sorted: Vec::new(),
        }
    }

    /// An element in a vector with room to grow, and in the merge sort's buffer or as a cached key.
    const IN_PLACE: u64 = (size_of::<T>() * 5 / 2 + 16) as u64;

    /// What sorting an element in a page takes: its key with its place, the same for the merge sort, and a place.
    fn placed_bytes() -> u64 {
        let (ranked, placed) = (2 * size_of::<(u64, Place)>() + size_of::<Place>(), size_of::<(O::Key, Place)>());
        (if are_ranked::<O::Key>() { ranked } else { placed * 5 / 2 }) as u64
    }

    #[inline(always)]
    fn add<L: Lent<T>>(&mut self, mut item: L) {
        if needs_drop::<T>()
            && O::KEYS_ARE_WEIGHED
            && !are_ranked::<O::Key>()
            && self.items.is_empty()
            && let Some((page, at)) = item.place()
        {
            if self.pages.last().is_none_or(|last| !Arc::ptr_eq(last, page)) {
                self.begin_page(page);
            }
            let key = self.order.key(item.get());
            self.place(key, at);
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
        if are_ranked::<O::Key>() {
            if page.hashes().is_none() {
                return false;
            }
            self.begin_page(page);
            self.in_pages += starts.len();
            self.used += starts.len() as u64 * Self::placed_bytes();
        } else {
            self.begin_page(page);
            self.placed.reserve(starts.len());
            for at in starts {
                let key = self.order.read_key(page, *at).unwrap_or_else(|e| cannot_store(e));
                self.place(key, *at);
            }
        }
        if self.used > self.memory.room() {
            self.reserve();
        }
        true
    }

    /// Adds an element of the last page.
    #[inline(always)]
    fn place(&mut self, key: O::Key, at: u32) {
        self.used += Self::placed_bytes() + O::weigh(&key, &mut self.weigher);
        self.in_pages += 1;
        self.placed.push((key, Place { page: self.pages.len() as u32 - 1, at }));
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
    fn sort_placed(&mut self) -> (Vec<Place>, Pages) {
        let pages = Pages(take(&mut self.pages));
        let mut placed = take(&mut self.placed);
        self.in_pages = 0;
        if are_ranked::<O::Key>() {
            let notes = pages.0.iter().filter_map(|page| page.hashes().zip(page.starts())).collect::<Vec<_>>();
            return (by_rank(&notes, self.ascending), pages);
        }
        match self.ascending {
            true => placed.sort_by(|a, b| a.0.cmp(&b.0)),
            false => placed.sort_by(|a, b| b.0.cmp(&a.0)),
        }
        let mut places: Vec<Place> = placed.into_iter().map(|(_, place)| place).collect();
        // They may have been collected where the keys were.
        places.shrink_to_fit();
        (places, pages)
    }

    /// Sorts what is in memory and writes it.
    fn spill(&mut self) {
        if self.in_pages > 0 {
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
        if self.in_pages > 0 {
            self.used = self.used.saturating_sub(self.in_pages as u64 * Self::placed_bytes());
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

/// So many elements are sorted at a time, on average: they lie in the processor's nearest cache.
const HEAP: usize = 256;
/// Into no more heaps are they dealt out.
const MOST_HEAPS: usize = 1 << 12;

/// The places of elements in pages in the order of their ranks; of each page there are its elements' ranks, and where they begin. They
/// are dealt out into heaps by the highest bits in which ranks differ, and sorted heap by heap. Equal ranks keep their order.
fn by_rank(pages: &[(&[u64], &[u32])], ascending: bool) -> Vec<Place> {
    let order = |rank: u64| if ascending { rank } else { !rank };
    let (mut least, mut most, mut count) = (u64::MAX, 0, 0);
    for (ranks, _) in pages {
        for rank in *ranks {
            (least, most) = (least.min(order(*rank)), most.max(order(*rank)));
        }
        count += ranks.len();
    }
    let heaps = (count / HEAP).next_power_of_two().min(MOST_HEAPS);
    let width = u64::BITS - most.saturating_sub(least).leading_zeros();
    let shift = width.saturating_sub(heaps.ilog2());
    let heap = |rank: u64| (rank.checked_shr(shift).unwrap_or(0)) as usize;
    // How many each heap has; then where its next one goes; at last where it ends.
    let mut at = vec![0; heaps];
    for rank in pages.iter().flat_map(|(ranks, _)| *ranks) {
        at[heap(order(*rank) - least)] += 1;
    }
    let mut start = 0;
    for at in &mut at {
        start += std::mem::replace(at, start);
    }
    let mut dealt = vec![(0, Place { page: 0, at: 0 }); count];
    for (page, (ranks, starts)) in pages.iter().enumerate() {
        for (rank, start) in ranks.iter().zip(*starts) {
            let rank = order(*rank) - least;
            let at = &mut at[heap(rank)];
            dealt[*at] = (rank, Place { page: page as u32, at: *start });
            *at += 1;
        }
    }
    let (mut places, mut packed, mut start) = (Vec::with_capacity(count), Vec::new(), 0);
    for end in at {
        let heap = &mut dealt[start..end];
        start = end;
        // What is different in a heap's ranks, and where each is in it, most often fit into one number: those are all different.
        let bits = usize::BITS - heap.len().leading_zeros();
        if shift + bits > u64::BITS {
            heap.sort_by_key(|(rank, _)| *rank);
            places.extend(heap.iter().map(|(_, place)| *place));
            continue;
        }
        packed.clear();
        packed.extend(heap.iter().zip(0..).map(|((rank, _), at)| (rank & ((1 << shift) - 1)) << bits | at));
        packed.sort_unstable();
        places.extend(packed.iter().map(|packed| heap[(packed & ((1 << bits) - 1)) as usize].1));
    }
    places
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
struct Pages(Vec<Arc<RawPage>>);

impl Pages {
    /// What they take in memory, in bytes.
    fn takes(&self) -> u64 {
        self.0.iter().map(|page| page.takes()).sum()
    }

    #[inline]
    fn read<'a, Q: Deserialize<'a>>(&'a self, place: Place) -> Q {
        self.0[place.page as usize].read(place.at).unwrap_or_else(|e| cannot_store(e))
    }
}

/// Elements in pages, in order: each is read when it is its turn.
struct Placed<T> {
    places: std::vec::IntoIter<Place>,
    pages: Pages,
    /// As many of the next ones, and as many more as are fetched ahead, are on their way.
    fetched: usize,
    /// Where an average element ends.
    last: usize,
    memory: Reservation,
    disk: Disk,
    /// What is left, if another operator of the task needed the memory.
    rest: Option<SpillReader<T>>,
}

/// Of an element no more lines of the processor's cache are fetched ahead.
const LINES: usize = 4;

impl<T: Data> Placed<T> {
    fn new(places: Vec<Place>, pages: Pages, memory: Reservation, disk: Disk) -> Self {
        let last = pages.0.first().map_or(0, |page| page.record_bytes().saturating_sub(1));
        let placed = Placed {
            places: places.into_iter(),
            pages,
            fetched: 0,
            last: last.min(LINES * CACHE_LINE - 1),
            memory,
            disk,
            rest: None,
        };
        placed.fetch(0..AHEAD.1);
        placed
    }

    /// Elements lie in no order: the processor fetches some of those that follow while others are read, so that nobody waits for them.
    #[inline(never)]
    fn fetch(&self, next: Range<usize>) {
        let places = self.places.as_slice();
        for place in places.iter().take(next.end).skip(next.start) {
            let (page, at) = (&self.pages.0[place.page as usize], place.at as usize);
            for line in (0..self.last).step_by(CACHE_LINE) {
                page.fetch(at + line);
            }
            page.fetch(at + self.last);
        }
    }

    /// Moves what is left to disk.
    #[cold]
    #[inline(never)]
    fn spill(&mut self) {
        let mut writer = self.disk.expect(self.disk.writer());
        for place in take(&mut self.places) {
            self.disk.expect(writer.push(&self.pages.read::<T>(place)));
        }
        self.pages.0 = Vec::new();
        self.disk.task().check();
        let spilled = self.disk.expect(writer.end());
        self.disk.count(&spilled, self.memory.bytes());
        self.rest = Some(spilled.reader());
        self.memory.shrink_to(SpillReader::<T>::BYTES);
    }

    /// Where the next element lies, unless what is left is on disk.
    #[inline]
    fn next_place(&mut self) -> Option<Place> {
        if self.rest.is_none()
            && self.memory.is_asked()
            && self.memory.bytes() >= 2 * self.memory.at_least(MIN_SPILL_BYTES)
        {
            self.spill();
        }
        if self.fetched == 0 {
            self.fetch(AHEAD.1..AHEAD.0 + AHEAD.1);
            self.fetched = AHEAD.0;
        }
        self.fetched -= 1;
        self.places.next()
    }

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self.next_place() {
            Some(place) => Some(self.pages.read(place)),
            None => self.rest.as_mut()?.next().unwrap_or_else(|e| cannot_store(e)),
        }
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
            // Whoever only looks at texts needs no `String` for each.
            if const { may_be_texts::<T>() }
                && are_texts::<T>()
                && let Some(Source::Places(items)) = &mut items.alone
            {
                while let Some(place) = items.next_place() {
                    if !sink.push(ElementLoan(TextLoan::new(items.pages.read(place)))) {
                        return Flow::Full;
                    }
                }
            }
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
        let ranks: Vec<u64> = keys.iter().map(|key| rank(key).unwrap()).collect();
        let starts: Vec<u32> = (0..).take(keys.len()).collect();
        let pages: Vec<_> = ranks.chunks(7).zip(starts.chunks(7)).collect();
        for ascending in [true, false] {
            let mut expected: Vec<_> = keys.iter().zip(starts.iter().map(|at| (at / 7, *at))).collect();
            match ascending {
                true => expected.sort_by_key(|(key, _)| *key),
                false => expected.sort_by_key(|(key, _)| Reverse(*key)),
            }
            let found = by_rank(&pages, ascending).into_iter().map(|place| (place.page, place.at));
            assert!(found.eq(expected.into_iter().map(|(_, place)| place)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn keys_that_are_numbers_come_in_order_and_equal_ones_in_that_of_arrival(
            keys in prop::collection::vec(any::<u64>(), 2 * HEAP - 2..6 * HEAP), bits in 0u32..=64,
        ) {
            let few: Vec<u64> = keys.iter().map(|key| key.checked_shr(bits).unwrap_or(0)).collect();
            agrees(&few);
            // Nearly all in one heap.
            agrees(&few.iter().copied().chain([u64::MAX]).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| *key as i64).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| *key as i16).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| *key as u8).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| usize::MAX - (*key % 3) as usize).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| Total(f64::from_bits(*key))).collect::<Vec<_>>());
            agrees(&few.iter().map(|key| Total(f32::from_bits(*key as u32))).collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_that_are_no_numbers_are_left_to_their_own_order() {
        assert!(rank(&Reverse(1u64)).is_none() && !are_ranked::<Reverse<u64>>());
    }
}
