//! The map side of a shuffle: actions whose result is a run in the executor's shuffle store.

use super::{
    aggregate::Aggregate,
    combine::{Gather, Values},
    dense::{self, Dense},
    lists::most_owned,
    rows::{Aside, Rows, replay},
    sort::{Order, are_ranked, rank},
    table::{Entry, PART, Table},
    texts::TextTable,
};
use crate::{
    Data, Key,
    action::{Action, Input, check_sample, survives},
    op::{HalfOf, Second},
    partitioner::{KeyPartitioner, Ranges, hash_of},
    stream::{Lent, Loan, Own, Sink, Stream},
    task::{Pace, Task},
};
use firesteel_model::ShuffleId;
use firesteel_store::{
    Reservation, RunWriter,
    boundary::Sample,
    chunk::{are_texts, element_of, may_be_texts, text_of},
    weigh::Weigher,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    cell::Cell,
    mem::{needs_drop, replace, take},
    slice::from_ref,
    time::Instant,
};

/// What a map task tells the driver about its output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MapWritten {
    /// Bytes for each reduce partition.
    pub sizes: Vec<u64>,
    /// Of record counts and key hashes in order: two runs of the same task over the same data have the same.
    pub checksum: u64,
    /// How many records were written.
    pub records: u64,
    /// Into how many parts each reduce partition is spread, as a power of two.
    pub spread: u32,
}

/// How much of a map task's output is combined at a time, in bytes of keys and partial results as they lie in the table; they may
/// own as much elsewhere. More combines more, as long as a processor's last cache has room for every thread's table.
const COMBINE_TABLE_BYTES: u64 = 4 << 20;
/// Memory for it is taken in such steps, whether there is any or not: where a table is flushed depends on the data alone, so that a
/// task that runs again, or with another budget, writes the same.
const COMBINE_STEP_BYTES: u64 = 64 << 10;
/// When it seems to have doubled, and has grown by so much, its parts are looked at.
const COMBINE_LOOK_BYTES: u64 = 1 << 20;
/// With so many keys in the table it is asked whether they are whole numbers close together, for which there is a better way.
const DENSE_LOOK: usize = 1 << 13;
/// A table that combines fewer than this many records into one is not worth its cost.
const WORTHWHILE: u64 = 2;
/// After a table that was not worth it, records go past it for so many tables' worth.
const BYPASS_TABLES: u64 = 32;

/// How many places a run has for records of so many partitions: a shuffle into none is made, too, where something else hangs on its
/// stage, and its records go where nobody reads them.
fn places(partitions: usize) -> usize {
    partitions.max(1)
}

/// Keeps a finished run where readers find it, and says what it is.
fn publish<R: Data>(
    task: &Task,
    shuffle: ShuffleId,
    mut writer: RunWriter<R>,
    first: Option<&R>,
    since: Instant,
) -> MapWritten {
    let mut sample = Sample::default();
    check_sample(&mut sample, first.map(from_ref).unwrap_or_default());
    let spilled = writer.spilled();
    let (output, sizes) = writer.finish();
    survives(output.check(&mut sample));
    let (checksum, spread) = (output.checksum(), output.spread());
    let written = MapWritten { sizes, checksum, records: output.len() as u64, spread };
    let (records, bytes, on_disk) = (written.records, written.sizes.iter().sum::<u64>(), output.disk_bytes());
    let info = task.info();
    task.executor().shuffles.put(shuffle, info.partition, info.attempt, output);
    task.note_run(shuffle);
    task.measure(|m| {
        m.shuffle_write_records += records;
        m.memory_bytes_spilled += spilled;
        m.disk_bytes_spilled += if spilled > 0 { on_disk } else { 0 };
        m.shuffle_write_bytes += bytes;
        m.shuffle_write_ns += since.elapsed().as_nanos() as u64;
    });
    written
}

/// Sends each pair to its key's partition, as it is: `partition_by`, `group_by_key`, the sides of joins.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: 'static")]
pub struct Scatter<K> {
    /// Where the run belongs.
    pub shuffle: ShuffleId,
    /// Where keys go.
    pub partitioner: KeyPartitioner<K>,
    /// Whether the reader takes a part of a partition at a time: whoever gathers what belongs to a key does.
    pub spread: bool,
}

impl<K: Key, V: Data> Action<(K, V)> for Scatter<K> {
    type Out = MapWritten;
    fn run<S: Stream<Item = (K, V)>>(&self, mut input: Input<S>) -> MapWritten {
        struct Scattering<'a, K, V>(&'a KeyPartitioner<K>, RunWriter<(K, V)>, Option<(K, V)>);
        impl<K: Key, V: Data> Sink<(K, V)> for Scattering<'_, K, V> {
            #[inline(always)]
            fn push<L: Lent<(K, V)>>(&mut self, mut item: L) -> bool {
                let (partition, hash) = self.0.place(&item.get().0);
                if self.2.is_none() {
                    self.2 = Some(item.get().clone());
                }
                match self.1.encodes() {
                    true => self.1.push_encoded(partition, hash, item.get()),
                    false => self.1.push(partition, hash, item.take()),
                }
                true
            }
        }
        let writer = RunWriter::new(places(self.partitioner.count())).within(input.task().room(self.shuffle));
        let writer = if self.spread { writer.spread() } else { writer };
        let mut sink = Scattering(&self.partitioner, writer, None);
        input.drive(&mut sink);
        publish(input.task(), self.shuffle, sink.1, sink.2.as_ref(), Instant::now())
    }
}

/// Combines the values of each key before it sends them: `reduce_by_key` and its kin.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: 'static, A: Serialize + DeserializeOwned")]
pub struct ScatterCombined<K, A> {
    /// Where the run belongs.
    pub shuffle: ShuffleId,
    /// Where keys go.
    pub partitioner: KeyPartitioner<K>,
    /// How values become one.
    pub aggregate: A,
}

/// A bounded table in front of a run: flushed whole when full, in order of first arrival, and passed by for a while after it
/// has combined too little. Where parts have a zero it is not flushed before the end: rows take over.
struct Combiner<'a, K, V, A: Aggregate<V>> {
    partitioner: &'a KeyPartitioner<K>,
    aggregate: &'a A,
    table: Table<K, Option<A::Part>>,
    /// Instead, where keys are text: with each its hash, which is dear then.
    texts: TextTable<(u64, Option<A::Part>)>,
    capacity: usize,
    /// Parts that lie where their keys say; the table has those of other keys.
    dense: Dense<V, A::Part>,
    /// What those take.
    dense_memory: Reservation,
    /// What the table takes, by estimate, and with how much it is full.
    used: u64,
    limit: u64,
    /// What it took when its parts were looked at.
    weighed: u64,
    weigher: Weigher,
    memory: Reservation,
    seen: u64,
    bypass: u64,
    /// Where parts have a zero, and must not be written before all values have come: whether there is no room for more of them.
    full: bool,
    run: RunWriter<(K, A::Part)>,
    first: Option<(K, A::Part)>,
}

/// What comes to a combiner: a key with a value, or alone.
trait Keyed<K, V>: Sized {
    fn key(&mut self) -> &K;
    /// What all of it, or its value, owns.
    fn weigh(&mut self, weigher: &mut Weigher) -> u64;
    fn weigh_value(&mut self, weigher: &mut Weigher) -> u64;
    fn into_value(self) -> impl Lent<V>;
    /// The key, owned, with its first part.
    fn begin<A: Aggregate<V>>(self, a: &A) -> (K, A::Part);
    /// The same for one who only looks at the key.
    fn lend<A: Aggregate<V>>(self, a: &A, see: impl FnOnce(&K, A::Part));
}

/// A pair on its way.
struct Pair<L>(L);

impl<K: Key, V: Data, L: Lent<(K, V)>> Keyed<K, V> for Pair<L> {
    #[inline(always)]
    fn key(&mut self) -> &K {
        &self.0.get().0
    }
    #[inline(always)]
    fn weigh(&mut self, weigher: &mut Weigher) -> u64 {
        weigher.weigh(self.0.get())
    }
    #[inline(always)]
    fn weigh_value(&mut self, weigher: &mut Weigher) -> u64 {
        weigher.weigh(&self.0.get().1)
    }
    #[inline(always)]
    fn into_value(self) -> impl Lent<V> {
        HalfOf::new(self.0, &Second)
    }
    #[inline(always)]
    fn begin<A: Aggregate<V>>(self, a: &A) -> (K, A::Part) {
        self.0.take_part(|(key, v)| (key, a.create(Own(v))), |(key, v)| (key.clone(), a.create(Loan(v))))
    }
    #[inline(always)]
    fn lend<A: Aggregate<V>>(self, a: &A, see: impl FnOnce(&K, A::Part)) {
        // Either of two functions is called, and both call it.
        let see = Cell::new(Some(see));
        let see = |key: &K, part| {
            if let Some(see) = see.take() {
                see(key, part);
            }
        };
        self.0.take_part(|(key, v)| see(&key, a.create(Own(v))), |(key, v)| see(key, a.create(Loan(v))));
    }
}

/// A key without a value on its way.
struct Alone<L>(L);

impl<K: Key, L: Lent<K>> Keyed<K, ()> for Alone<L> {
    #[inline(always)]
    fn key(&mut self) -> &K {
        self.0.get()
    }
    #[inline(always)]
    fn weigh(&mut self, weigher: &mut Weigher) -> u64 {
        weigher.weigh(self.0.get())
    }
    #[inline(always)]
    fn weigh_value(&mut self, _: &mut Weigher) -> u64 {
        0
    }
    #[inline(always)]
    fn into_value(self) -> impl Lent<()> {
        Own(())
    }
    #[inline(always)]
    fn begin<A: Aggregate<()>>(self, a: &A) -> (K, A::Part) {
        (self.0.take(), a.create(Own(())))
    }
    #[inline(always)]
    fn lend<A: Aggregate<()>>(mut self, a: &A, see: impl FnOnce(&K, A::Part)) {
        see(self.0.get(), a.create(Own(())));
    }
}

impl<'a, K: Key, V: Data, A: Aggregate<V>> Combiner<'a, K, V, A> {
    /// Whether keys may be whole numbers, and their parts lie where these say.
    const DENSE: bool = dense::may_be_numbers::<K>() && Dense::<V, A::Part>::fits();
    /// Whether keys may be text.
    const TEXTS: bool = may_be_texts::<K>();

    fn new(partitioner: &'a KeyPartitioner<K>, aggregate: &'a A, task: &Task, shuffle: ShuffleId) -> Self {
        let entry = size_of::<K>() + size_of::<A::Part>() + 16;
        let capacity = (COMBINE_TABLE_BYTES as usize / entry).max(64);
        let dense_memory = task.memory().reservation().named("map-side combine");
        let (capacity, limit) = match A::HAS_ZERO && are_texts::<K>() {
            true => (usize::MAX, most_owned(&dense_memory)),
            false => (capacity, capacity as u64 * Self::in_place() + COMBINE_TABLE_BYTES),
        };
        Combiner {
            partitioner,
            aggregate,
            table: Table::new(),
            texts: TextTable::default(),
            capacity,
            dense: Dense::none(),
            dense_memory,
            used: 0,
            limit,
            weighed: 0,
            weigher: Weigher::default(),
            memory: task.memory().reservation().named("map-side combine"),
            seen: 0,
            bypass: 0,
            full: false,
            run: RunWriter::new(places(partitioner.count())).spread().within(task.room(shuffle)),
            first: None,
        }
    }

    /// What an entry takes in its table, by estimate.
    #[inline(always)]
    fn in_place() -> u64 {
        match are_texts::<K>() {
            true => TextTable::<(u64, Option<A::Part>)>::IN_PLACE,
            false => Table::<K, Option<A::Part>>::IN_PLACE,
        }
    }

    /// How many entries there are.
    #[inline(always)]
    fn len(&self) -> usize {
        if Self::TEXTS && are_texts::<K>() { self.texts.len() } else { self.table.len() }
    }

    /// Writes a record that is owned.
    #[inline(always)]
    fn write(&mut self, hash: u64, key: K, part: A::Part) {
        let partition = self.partitioner.place_hashed(hash, || &key);
        if self.first.is_none() {
            self.first = Some((key.clone(), part.clone()));
        }
        self.run.push(partition, hash, (key, part));
    }

    /// Writes what did not go through the table.
    #[inline(always)]
    fn pass<X: Keyed<K, V>>(&mut self, hash: u64, mut x: X) {
        let a = self.aggregate;
        if self.run.encodes() && self.first.is_some() {
            let key = x.key();
            let partition = self.partitioner.place_hashed(hash, || key);
            x.lend(a, |key, part| self.run.push_encoded(partition, hash, &(key, part)));
        } else {
            let (key, part) = x.begin(a);
            self.write(hash, key, part);
        }
    }

    /// Writes an entry whose key is text.
    #[inline(always)]
    fn write_text(&mut self, hash: u64, key: &str, part: A::Part) {
        if self.run.encodes() && self.first.is_some() {
            let partition = self.partitioner.place_hashed(hash, || element_of::<K>(key));
            self.run.push_encoded(partition, hash, &(key, part));
        } else {
            self.write(hash, element_of(key), part);
        }
    }

    #[inline(always)]
    fn add<X: Keyed<K, V>>(&mut self, mut x: X) {
        if Self::DENSE
            && let Some(place) = self.dense.place(x.key())
        {
            return self.dense.add(place, x.into_value().take(), self.aggregate);
        }
        let hash = hash_of(x.key());
        if self.bypass > 0 {
            self.bypass -= 1;
            return self.pass(hash, x);
        }
        self.seen += 1;
        let slot = if Self::TEXTS
            && let Some(text) = text_of(x.key())
        {
            self.texts.find(hash, text).map(|(_, part)| part)
        } else {
            self.table.find(hash, x.key())
        };
        match slot {
            Some(slot) => {
                // Taken out while the user's function runs: if it panics, the attempt ends and the hole is never seen.
                let part = slot.take().expect(PART);
                // A part that owns something is taken to grow by what it is given.
                let grown = match needs_drop::<A::Part>() {
                    true => size_of::<V>() as u64 + x.weigh_value(&mut self.weigher),
                    false => 0,
                };
                *slot = Some(self.aggregate.add(part, x.into_value()));
                if needs_drop::<A::Part>() {
                    self.grew(grown);
                }
            }
            None => self.begin(hash, x),
        }
    }

    /// Adds a key that is not in the table.
    #[inline(always)]
    fn begin<X: Keyed<K, V>>(&mut self, hash: u64, mut x: X) {
        let a = self.aggregate;
        if Self::TEXTS && text_of(x.key()).is_some_and(|text| !self.texts.fits(text)) {
            if !A::HAS_ZERO {
                return self.pass(hash, x);
            }
            // It comes after all others, for rows to take.
            let (key, part) = x.begin(a);
            self.table.insert(hash, key, Some(part));
            return self.fill();
        }
        let owned = if Self::TEXTS && are_texts::<K>() {
            let owned = x.weigh_value(&mut self.weigher);
            let mut length = 0;
            x.lend(a, |key, part| {
                let text = text_of(key).map_or("", String::as_str);
                length = text.len();
                self.texts.insert(hash, text, (hash, Some(part)));
            });
            owned + TextTable::<(u64, Option<A::Part>)>::takes(length)
        } else {
            let owned = x.weigh(&mut self.weigher);
            let (key, part) = x.begin(a);
            self.table.insert(hash, key, Some(part));
            owned
        };
        match self.len() < self.capacity {
            true => self.grew(Self::in_place() + owned),
            false => self.fill(),
        }
        if Self::DENSE && self.table.len() == DENSE_LOOK && !self.full {
            self.look_for_numbers();
        }
    }

    /// Moves the table's parts to where their keys say, if these are whole numbers close together.
    #[cold]
    #[inline(never)]
    fn look_for_numbers(&mut self) {
        let Some(any) = self.table.first_mut().and_then(|entry| entry.value.clone()) else { return };
        if !self.dense.is_none() {
            return;
        }
        let numbers = self.table.entries_mut().iter().map_while(|entry| dense::number(&entry.key)).collect();
        let most = if A::HAS_ZERO { dense::MOST_BYTES_FROM_ZERO } else { dense::MOST_BYTES };
        let Some(dense) = Dense::around(numbers, &any, most) else { return };
        self.dense_memory.take(dense.bytes());
        self.dense = dense;
        for Entry { key, value } in take(&mut self.table).into_entries() {
            match self.dense.place(&key) {
                Some(place) => self.dense.put(place, value.expect(PART)),
                None => self.table.insert(hash_of(&key), key, value),
            }
        }
        (self.seen, self.used, self.weighed) = (0, self.len() as u64 * Self::in_place(), 0);
        self.memory.shrink_to(self.used);
    }

    /// Counts what the table has grown by.
    #[inline(always)]
    fn grew(&mut self, bytes: u64) {
        self.used += bytes;
        if self.used > self.memory.bytes() {
            self.reserve();
        }
    }

    /// Takes memory for what came, unless the table is full.
    #[cold]
    #[inline(never)]
    fn reserve(&mut self) {
        if self.used > self.limit.min(2 * self.weighed + COMBINE_LOOK_BYTES) {
            let full = self.used > self.limit;
            // Parts that change without growing look as if they had grown.
            let owned = |part: &Option<A::Part>| part.as_ref().map_or(0, A::owned);
            self.used = if Self::TEXTS && are_texts::<K>() {
                self.texts.estimate(|(_, part)| owned(part))
            } else {
                self.len() as u64 * Self::in_place() + self.table.owned(owned)
            };
            self.weighed = self.used;
            if full && self.used > self.limit / 2 {
                return self.fill();
            }
        }
        let lacking = self.used.saturating_sub(self.memory.bytes()).next_multiple_of(COMBINE_STEP_BYTES);
        // Rows let texts out in the same order, so that these may ask.
        if !(A::HAS_ZERO && are_texts::<K>()) {
            self.memory.take(lacking);
        } else if self.memory.grow(lacking.max(self.used / 4)).or_else(|_| self.memory.grow(lacking)).is_err() {
            self.fill();
        }
    }

    /// There is no room for more: what was combined goes out, or rows take over where a zero must not count again.
    fn fill(&mut self) {
        match A::HAS_ZERO {
            true => self.full = true,
            false => self.flush(),
        }
    }

    /// Writes what is left.
    fn publish(mut self, task: &Task, shuffle: ShuffleId) -> MapWritten {
        let since = Instant::now();
        self.flush();
        publish(task, shuffle, self.run, self.first.as_ref(), since)
    }

    /// Writes all that was combined. Places by number go, too: if a table got full beside them, they are not the right ones any more.
    #[cold]
    #[inline(never)]
    fn flush(&mut self) {
        if Self::DENSE {
            self.dense.settle(self.aggregate);
            let dense = replace(&mut self.dense, Dense::none());
            dense.drain(|key, part| self.write(hash_of(&key), key, part));
            self.dense_memory.shrink_to(0);
        }
        let (seen, sent) = (self.seen, self.len() as u64);
        let (mut table, mut texts) = (take(&mut self.table), take(&mut self.texts));
        for entry in table.drain() {
            self.write(hash_of(&entry.key), entry.key, entry.value.expect(PART));
        }
        if Self::TEXTS {
            for (key, (hash, part)) in texts.iter_mut() {
                self.write_text(*hash, key, part.take().expect(PART));
            }
            texts.clear();
        }
        (self.seen, self.used, self.weighed) = (0, 0, 0);
        if seen < sent * WORTHWHILE {
            // Nobody needs its room for a long while.
            self.bypass = sent * BYPASS_TABLES;
            self.memory.shrink_to(0);
        } else {
            if texts.room() > 2 * COMBINE_TABLE_BYTES {
                texts = TextTable::default();
            }
            let room = sent * Self::in_place() + texts.room();
            (self.table, self.texts) = (table, texts);
            self.memory.shrink_to(room);
        }
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> Combiner<'_, K, V, A> {
    /// Makes rows of what there is: first of what has a place by number, then of texts, then of others.
    #[cold]
    #[inline(never)]
    fn hand_over(&mut self, rows: &mut Rows<K, Option<A::Part>>, task: &Task) {
        let mut pace = Pace::new(task);
        // For a moment nobody says that this is held: rows that do not get as much now would not ask for it again.
        self.dense_memory.shrink_to(0);
        self.memory.shrink_to(0);
        let mut each = |key, part| {
            pace.step();
            rows.again(key, part);
        };
        if Self::DENSE {
            self.dense.settle(self.aggregate);
            replace(&mut self.dense, Dense::none()).drain(|key, part| each(key, Some(part)));
        }
        if Self::TEXTS {
            take(&mut self.texts).iter_mut().for_each(|(key, (_, part))| each(element_of(key), part.take()));
        }
        take(&mut self.table).drain().for_each(|Entry { key, value }| each(key, value));
    }

    /// Combines all that the partition has of each key before any of it is written: a zero counts once. Rows take over where the
    /// table gets full.
    fn whole<S: Stream<Item = (K, V)>>(&mut self, input: &mut Input<S>) {
        let (task, a) = (input.task().clone(), self.aggregate);
        let mut rows = Rows::new(&task, "map-side combine", |part: &Option<A::Part>| part.as_ref().map_or(0, A::owned));
        let mut aside = Aside::new();
        let gather = Gather::new(&mut rows, &mut aside, Values(a));
        input.drive(&mut Whole { combiner: self, gather, task: &task });
        if !self.full && (Self::DENSE || Self::TEXTS) {
            return;
        }
        let mut pace = Pace::new(&task);
        loop {
            let values = aside.end(rows.disk());
            let (leaving, left) = rows.end();
            for (key, part) in leaving {
                pace.step();
                self.write(hash_of(&key), key, part.expect(PART));
            }
            if values.is_none() && left.is_none() {
                return;
            }
            if let Some(left) = left {
                rows.begin(left);
            }
            let mut gather = Gather::new(&mut rows, &mut aside, Values(a));
            replay(values, &task, |record| {
                gather.push(Own(record));
            });
        }
    }
}

/// Combines parts that have a zero, as long as there is room, and gathers rows from then on.
struct Whole<'a, 'b, K, V, A: Aggregate<V>> {
    combiner: &'a mut Combiner<'b, K, V, A>,
    gather: Gather<'a, K, V, Values<'a, A>>,
    task: &'a Task,
}

impl<K: Key, V: Data, A: Aggregate<V>> Sink<(K, V)> for Whole<'_, '_, K, V, A> {
    #[inline(always)]
    fn push<L: Lent<(K, V)>>(&mut self, item: L) -> bool {
        let combines = const { Combiner::<K, V, A>::DENSE || Combiner::<K, V, A>::TEXTS };
        if !combines || self.combiner.full {
            return self.gather.push(item);
        }
        self.combiner.add(Pair(item));
        if self.combiner.full {
            self.combiner.hand_over(self.gather.rows, self.task);
        }
        true
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> Sink<(K, V)> for Combiner<'_, K, V, A> {
    #[inline(always)]
    fn push<L: Lent<(K, V)>>(&mut self, item: L) -> bool {
        self.add(Pair(item));
        true
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> Action<(K, V)> for ScatterCombined<K, A> {
    type Out = MapWritten;
    fn run<S: Stream<Item = (K, V)>>(&self, mut input: Input<S>) -> MapWritten {
        let mut combiner = Combiner::new(&self.partitioner, &self.aggregate, input.task(), self.shuffle);
        if A::HAS_ZERO {
            combiner.whole(&mut input);
        } else {
            input.drive(&mut combiner);
        }
        combiner.publish(input.task(), self.shuffle)
    }
}

/// Combines equal elements, each a key without a value, before it sends them: `distinct` and `count_by_value`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: 'static, A: Serialize + DeserializeOwned")]
pub struct ScatterAlike<K, A>(pub ScatterCombined<K, A>);

impl<K: Key, A: Aggregate<()>> Action<K> for ScatterAlike<K, A> {
    type Out = MapWritten;
    fn run<S: Stream<Item = K>>(&self, mut input: Input<S>) -> MapWritten {
        struct Alike<'a, K, A: Aggregate<()>>(Combiner<'a, K, (), A>);
        impl<K: Key, A: Aggregate<()>> Sink<K> for Alike<'_, K, A> {
            #[inline(always)]
            fn push<L: Lent<K>>(&mut self, item: L) -> bool {
                self.0.add(Alone(item));
                true
            }
        }
        let ScatterCombined { shuffle, partitioner, aggregate } = &self.0;
        let mut sink = Alike(Combiner::new(partitioner, aggregate, input.task(), *shuffle));
        input.drive(&mut sink);
        sink.0.publish(input.task(), *shuffle)
    }
}

/// Deals elements out one by one, from a place that depends on the map partition: `repartition`.
#[derive(Clone, Serialize, Deserialize)]
pub struct ScatterRoundRobin {
    /// Where the run belongs.
    pub shuffle: ShuffleId,
    /// Over how many partitions.
    pub partitions: usize,
}

impl<T: Data> Action<T> for ScatterRoundRobin {
    type Out = MapWritten;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> MapWritten {
        struct Dealing<T>(usize, usize, RunWriter<T>, Option<T>);
        impl<T: Data> Sink<T> for Dealing<T> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
                if self.3.is_none() {
                    self.3 = Some(item.get().clone());
                }
                match self.2.encodes() {
                    true => self.2.push_encoded(self.0, 0, item.get()),
                    false => self.2.push(self.0, 0, item.take()),
                }
                self.0 += 1;
                if self.0 == self.1 {
                    self.0 = 0;
                }
                true
            }
        }
        let start = hash_of(&input.task().info().partition.0) as usize % self.partitions;
        let writer = RunWriter::new(self.partitions).within(input.task().room(self.shuffle));
        let mut sink = Dealing(start, self.partitions, writer, None);
        input.drive(&mut sink);
        publish(input.task(), self.shuffle, sink.2, sink.3.as_ref(), Instant::now())
    }
}

/// Sends each element to the partition of its sort key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: 'static, O: Serialize + DeserializeOwned")]
pub struct ScatterSorted<K, O> {
    /// Where the run belongs.
    pub shuffle: ShuffleId,
    /// Where keys go.
    pub partitioner: KeyPartitioner<K>,
    /// What an element's key is.
    pub order: O,
}

impl<T: Data, K: Data + Ord, O: Order<T, Key = K>> Action<T> for ScatterSorted<K, O> {
    type Out = MapWritten;
    fn run<S: Stream<Item = T>>(&self, mut input: Input<S>) -> MapWritten {
        struct Ranging<'a, K, O, T>(&'a Ranges<'a, K>, &'a O, RunWriter<T>, Option<T>);
        impl<T: Data, K: Data + Ord, O: Order<T, Key = K>> Sink<T> for Ranging<'_, K, O, T> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, mut item: L) -> bool {
                // The reader finds the key's number where the run notes hashes.
                let (partition, rank) = self.1.with_key(item.get(), |key| {
                    let rank = rank(key);
                    (self.0.place(key, rank), rank.unwrap_or(0))
                });
                if self.3.is_none() {
                    self.3 = Some(item.get().clone());
                }
                match self.2.encodes() {
                    true => self.2.push_encoded(partition, rank, item.get()),
                    false => self.2.push(partition, rank, item.take()),
                }
                true
            }
        }
        let writer = RunWriter::new(places(self.partitioner.count())).within(input.task().room(self.shuffle));
        let writer = match are_ranked::<K>() {
            true => writer.indexed_with_hashes(),
            false if O::BY_KEY => writer.indexed(),
            false => writer,
        };
        let ranges = self.partitioner.ranges(rank);
        let mut sink = Ranging(&ranges, &self.order, writer, None);
        input.drive(&mut sink);
        publish(input.task(), self.shuffle, sink.2, sink.3.as_ref(), Instant::now())
    }
}
