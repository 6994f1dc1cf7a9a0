//! The reduce side of keyed aggregation: one partial result for each key.

use super::{
    aggregate::Aggregate,
    lists::{self, Brought, Lists, SideLists},
    read::{PartByPart, RunStream, Side, SideStream, TextSink},
    rows::{Aside, Leaving, Left, Row, Rows, replay},
    table::PART,
    texts::TextRows,
};
use crate::{
    Data, Key,
    node::Erased,
    op::{HalfOf, Second},
    partitioner::hash_of,
    pipeline::Pipeline,
    segment::PortStream,
    stream::{Flow, Lent, Loan, Own, Sink, Stream},
    task::Task,
};
use firesteel_model::ShuffleId;
use firesteel_store::{Spilled, chunk::may_be_texts, weigh::Weigher};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    any::Any,
    marker::PhantomData,
    mem::{needs_drop, replace},
};

/// What arrives at the reduce side.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: Data, V: Data")]
enum Arriving<K, V> {
    /// Values as they are: no map side combined them.
    Values(Side<(K, V)>),
    /// Partial results of map sides.
    Parts(ShuffleId),
    /// Keys alone, in place, all with this value.
    Alike(Erased<K>, V),
}

/// Nothing is compiled for what cannot arrive.
const NEVER: &str = "what arrives is known when the program is compiled";

/// Aggregates the values, or merges the partial results, of each key of a partition. Keys come out in the order of their first
/// arrival, in each part of a partition that is spread.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: Data, V: Data, A: Aggregate<V> + Serialize + DeserializeOwned")]
pub struct Combine<K, V, A: Aggregate<V>> {
    arriving: Arriving<K, V>,
    aggregate: A,
    partitions: usize,
}

impl<K: Key, V: Data, A: Aggregate<V>> Combine<K, V, A> {
    /// Of values.
    ///
    /// # Panics
    /// If they come by a shuffle whose map sides [combine](Aggregate::COMBINES).
    pub fn values(side: Side<(K, V)>, aggregate: A, partitions: usize) -> Self {
        assert!(!A::COMBINES || matches!(side, Side::Narrow(_)), "map sides combine: partial results arrive");
        Combine { arriving: Arriving::Values(side), aggregate, partitions }
    }
    /// Of partial results.
    ///
    /// # Panics
    /// If map sides do not [combine](Aggregate::COMBINES).
    pub fn parts(shuffle: ShuffleId, aggregate: A, partitions: usize) -> Self {
        assert!(A::COMBINES, "map sides do not combine: values arrive");
        Combine { arriving: Arriving::Parts(shuffle), aggregate, partitions }
    }
}

impl<K: Key, A: Aggregate<()>> Combine<K, (), A> {
    /// Of keys without values that lie in place.
    pub fn alike(keys: Erased<K>, aggregate: A, partitions: usize) -> Self {
        Combine { arriving: Arriving::Alike(keys, ()), aggregate, partitions }
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> Pipeline for Combine<K, V, A> {
    type Item = (K, A::Part);
    type Split = u32;
    type Stream = CombineStream<K, V, A>;

    fn open(&self, split: u32, task: &Task) -> Self::Stream {
        let (input, by_part) = match &self.arriving {
            Arriving::Values(side) => {
                let mut side = side.open(split, task);
                let by_part = PartByPart::begin([&mut side]);
                (Input::Values(side), by_part)
            }
            Arriving::Parts(shuffle) => {
                let mut stream = Box::new(RunStream::open(task, *shuffle, split));
                let by_part = PartByPart::begin([&mut *stream]);
                (Input::Parts(stream), by_part)
            }
            // Those lie in place, and are read as a whole.
            Arriving::Alike(keys, value) => (Input::Alike(keys.open(split, task), value.clone()), PartByPart::whole()),
        };
        let by_text = TextRows::<K, A::Part>::fit() && matches!(input, Input::Parts(_));
        CombineStream {
            input,
            by_part,
            texts: by_text.then(|| Box::new(TextRows::new(task, "combine"))),
            aggregate: self.aggregate.clone(),
            lists: match A::OF_ALL {
                Some(of_all) if CombineStream::<K, V, A>::LISTS => Some(Box::new(KeyLists::new(task, of_all))),
                _ => None,
            },
            rows: Rows::new(task, "combine", |part| part.as_ref().map_or(0, A::owned)),
            values: Aside::new(),
            parts: Aside::new(),
            state: State::Reading,
        }
    }
    fn splits(&self, _: &dyn crate::pipeline::Plan) -> firesteel_model::Result<Vec<u32>> {
        Ok((0..self.partitions as u32).collect())
    }
    fn refers(&self, visit: &mut dyn FnMut(firesteel_model::RddId)) {
        match &self.arriving {
            Arriving::Values(side) => side.refers(visit),
            Arriving::Parts(_) => {}
            Arriving::Alike(keys, _) => keys.refers(visit),
        }
    }
    fn reads(&self, split: &u32, visit: &mut dyn FnMut(firesteel_model::RddId, firesteel_model::PartitionIndex)) {
        match &self.arriving {
            Arriving::Values(side) => side.reads(*split, visit),
            Arriving::Parts(_) => {}
            Arriving::Alike(keys, _) => keys.reads(split, visit),
        }
    }
}

enum Input<K, V, P> {
    Values(SideStream<(K, V)>),
    Parts(Box<RunStream<(K, P)>>),
    Alike(PortStream<K>, V),
}

enum State<K, V, P> {
    Reading,
    Writing(Box<Leaving<K, Option<P>>>, Option<Later<K, V, P>>),
}

/// What waits for the next pass.
struct Later<K, V, P> {
    rows: Option<Left<K, Option<P>>>,
    values: Option<Spilled<(K, V)>>,
    parts: Option<Spilled<(K, P)>>,
}

/// The run of [`Combine`].
pub struct CombineStream<K, V, A: Aggregate<V>> {
    aggregate: A,
    input: Input<K, V, A::Part>,
    /// Which parts of the partition are still to come.
    by_part: PartByPart,
    /// What gathers values that are all kept, until there are too many for that.
    lists: Option<Box<KeyLists<K, V, A::Part>>>,
    /// What gathers the parts of keys that are text, likewise.
    texts: Option<Box<TextRows<K, A::Part>>>,
    rows: Rows<K, Option<A::Part>>,
    values: Aside<(K, V)>,
    parts: Aside<(K, A::Part)>,
    state: State<K, V, A::Part>,
}

impl<P: Data> Row for Option<P> {}

/// The values of the keys of a part that is small; once it is read, the keys that come out.
struct KeyLists<K, V, P> {
    lists: Lists<K, 1>,
    values: SideLists<V>,
    keys: Option<Brought<K, 1>>,
    of_all: fn(&[V]) -> P,
}

impl<K: Key, V: Data, P: Data> KeyLists<K, V, P> {
    fn new(task: &Task, of_all: fn(&[V]) -> P) -> Self {
        KeyLists { lists: Lists::new(task, "combine"), values: SideLists::new(), keys: None, of_all }
    }

    /// What was read comes out.
    fn end(&mut self) {
        self.lists.put_in_order(0, &mut self.values);
        self.keys = Some(self.lists.end());
    }

    /// The next key with all that it has.
    #[inline]
    fn next(&mut self) -> Option<(K, P)> {
        let (key, [values]) = self.keys.as_mut()?.next()?;
        Some((key, (self.of_all)(self.values.of(&values))))
    }

    /// All keys have left; the next part may begin.
    fn reuse(&mut self) {
        if let Some(left) = self.keys.take() {
            self.lists.reuse(left);
        }
    }
}

/// How rows are made of what arrives.
pub(super) trait Gathering<X> {
    type Part: Data;
    /// Of a key's first record.
    fn first<L: Lent<X>>(&self, record: L) -> Self::Part;
    /// By a further one.
    fn next<L: Lent<X>>(&self, part: Self::Part, record: L) -> Self::Part;

    /// Adds a further record to a row; says by how much that has grown, by estimate.
    #[inline(always)]
    fn add<L: Lent<X>>(&self, row: &mut Option<Self::Part>, mut record: L, weigher: &mut Weigher) -> u64
    where
        X: Serialize,
    {
        let part = row.take().expect(PART);
        // A part that owns something is taken to grow by what it is given.
        let grown = match needs_drop::<Self::Part>() {
            true => (size_of::<X>() * 3 / 2) as u64 + weigher.weigh(record.get()),
            false => 0,
        };
        *row = Some(self.next(part, record));
        grown
    }
}

/// Values arrive.
pub(super) struct Values<'a, A>(pub(super) &'a A);
/// Partial results arrive.
struct Parts<'a, V, A: Aggregate<V>>(&'a A, PhantomData<V>);

impl<V, A: Aggregate<V>> Gathering<V> for Values<'_, A> {
    type Part = A::Part;
    #[inline(always)]
    fn first<L: Lent<V>>(&self, value: L) -> A::Part {
        self.0.create(value)
    }
    #[inline(always)]
    fn next<L: Lent<V>>(&self, part: A::Part, value: L) -> A::Part {
        self.0.add(part, value)
    }
}
impl<V, A: Aggregate<V>> Gathering<A::Part> for Parts<'_, V, A> {
    type Part = A::Part;
    #[inline(always)]
    fn first<L: Lent<A::Part>>(&self, part: L) -> A::Part {
        part.take()
    }
    #[inline(always)]
    fn next<L: Lent<A::Part>>(&self, part: A::Part, other: L) -> A::Part {
        self.0.merge(part, other.take())
    }
}

/// Puts what arrives into the rows.
pub(super) struct Gather<'a, K, X, G: Gathering<X>> {
    pub(super) rows: &'a mut Rows<K, Option<G::Part>>,
    aside: &'a mut Aside<(K, X)>,
    weigher: Weigher,
    how: G,
}

impl<'a, K: Key, X: Data, G: Gathering<X>> Gather<'a, K, X, G> {
    pub(super) fn new(rows: &'a mut Rows<K, Option<G::Part>>, aside: &'a mut Aside<(K, X)>, how: G) -> Self {
        Gather { rows, aside, weigher: Weigher::default(), how }
    }
}

impl<K: Key, X: Data, G: Gathering<X>> Sink<(K, X)> for Gather<'_, K, X, G> {
    #[inline(always)]
    fn push<L: Lent<(K, X)>>(&mut self, mut item: L) -> bool {
        let hash = hash_of(&item.get().0);
        if let Some(slot) = self.rows.find(hash, &item.get().0) {
            let grown = self.how.add(slot, HalfOf::new(item, &Second), &mut self.weigher);
            self.rows.grew(grown);
        } else if self.rows.is_open() {
            let owned = self.weigher.weigh(item.get());
            let how = &self.how;
            let (key, part) =
                item.take_part(|(key, x)| (key, how.first(Own(x))), |(key, x)| (key.clone(), how.first(Loan(x))));
            self.rows.insert(hash, key, Some(part), owned);
        } else {
            self.aside.push(item.get(), self.rows.disk());
        }
        true
    }
}

/// Gathers keys that all have the same value; only new ones are kept.
struct Alike<'a, K, V, G: Gathering<V>>(Gather<'a, K, V, G>, &'a V);

impl<K: Key, V: Data, G: Gathering<V>> Sink<K> for Alike<'_, K, V, G> {
    #[inline(always)]
    fn push<L: Lent<K>>(&mut self, mut item: L) -> bool {
        let Alike(gather, value) = self;
        match gather.rows.find(hash_of(item.get()), item.get()) {
            Some(slot) => {
                let grown = gather.how.add(slot, Loan(*value), &mut gather.weigher);
                gather.rows.grew(grown);
                true
            }
            None => gather.push(Own((item.take(), value.clone()))),
        }
    }
}

/// Gathers parts by keys that are text.
struct GatherTexts<'a, K, V, A: Aggregate<V>>(&'a mut TextRows<K, A::Part>, &'a A);

impl<K: Key, V: Data, A: Aggregate<V>> TextSink<A::Part> for GatherTexts<'_, K, V, A> {
    #[inline(always)]
    fn push<L: Lent<A::Part>>(&mut self, hash: u64, text: &str, part: L) -> bool {
        self.0.add(hash, text, part, |a, b| self.1.merge(a, b))
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> CombineStream<K, V, A> {
    /// Whether values are gathered in lists first.
    const LISTS: bool = A::OF_ALL.is_some() && lists::fits::<V>();
    /// Whether keys may be text, and are gathered as such first.
    const TEXTS: bool = A::COMBINES && may_be_texts::<K>() && !needs_drop::<A::Part>();
    /// Whether keys may arrive alone: those have no value.
    const ALIKE: bool = size_of::<V>() == 0;

    /// Reads the current part where keys are text; rows take over where there is too much.
    fn read_texts(&mut self) -> Flow {
        let Some(mut texts) = self.texts.take() else { return Flow::Done };
        let Input::Parts(stream) = &mut self.input else { return Flow::Done };
        let Some(stream) = (&mut **stream as &mut dyn Any).downcast_mut::<RunStream<(String, A::Part)>>() else {
            return Flow::Done;
        };
        let flow = stream.drive_texts(&mut GatherTexts(&mut texts, &self.aggregate));
        if flow == Flow::Full {
            texts.end();
            while let Some((key, part)) = texts.next().map(Lent::take).or_else(|| texts.refused()) {
                self.rows.again(key, Some(part));
            }
            return Flow::Done;
        }
        if flow == Flow::Done {
            texts.end();
        }
        self.texts = Some(texts);
        flow
    }

    /// Reads the current part into the lists; gives those up where there is too much for them, or it is no values that arrive.
    fn read_lists(&mut self) -> Flow {
        let Some(mut lists) = self.lists.take() else { return Flow::Done };
        let Input::Values(stream) = &mut self.input else { return Flow::Done };
        let flow = stream.drive(&mut lists.lists.gather(0, &mut lists.values));
        if flow == Flow::Full {
            lists.end();
            while let Some((key, part)) = lists.next() {
                self.rows.again(key, Some(part));
            }
            return Flow::Done;
        }
        if flow == Flow::Done {
            lists.end();
        }
        self.lists = Some(lists);
        flow
    }

    /// Lets out what has been gathered.
    fn write(&mut self) {
        let disk = self.rows.disk();
        let (values, parts) = (self.values.end(disk), self.parts.end(disk));
        let (leaving, rows) = self.rows.end();
        let more = rows.is_some() || values.is_some() || parts.is_some();
        self.state = State::Writing(Box::new(leaving), more.then_some(Later { rows, values, parts }));
    }

    /// Gathers what waited on disk.
    #[cold]
    fn again(&mut self, later: Later<K, V, A::Part>) {
        let a = &self.aggregate;
        let task = self.rows.disk().task().clone();
        if let Some(rows) = later.rows {
            self.rows.begin(rows);
        }
        let mut values = Gather::new(&mut self.rows, &mut self.values, Values(a));
        replay(later.values, &task, |record| {
            values.push(Own(record));
        });
        if A::COMBINES {
            let mut parts = Gather::new(&mut self.rows, &mut self.parts, Parts(a, PhantomData));
            replay(later.parts, &task, |record| {
                parts.push(Own(record));
            });
        }
        self.write();
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> Stream for CombineStream<K, V, A> {
    type Item = (K, A::Part);

    #[inline]
    fn drive<S: Sink<Self::Item>>(&mut self, sink: &mut S) -> Flow {
        loop {
            if Self::LISTS && self.lists.as_ref().is_some_and(|lists| lists.keys.is_none()) {
                let flow = self.read_lists();
                if flow != Flow::Done {
                    return flow;
                }
            }
            if Self::LISTS
                && let (Some(lists), Input::Values(stream)) = (&mut self.lists, &mut self.input)
            {
                while let Some(row) = lists.next() {
                    if !sink.push(Own(row)) {
                        return Flow::Full;
                    }
                }
                if !self.by_part.next([stream]) {
                    return Flow::Done;
                }
                lists.reuse();
                continue;
            }
            if Self::TEXTS && self.texts.as_ref().is_some_and(|texts| texts.is_reading()) {
                let flow = self.read_texts();
                if flow != Flow::Done {
                    return flow;
                }
            }
            if Self::TEXTS
                && let (Some(texts), Input::Parts(stream)) = (&mut self.texts, &mut self.input)
            {
                while let Some(row) = texts.next() {
                    if !sink.push(row) {
                        return Flow::Full;
                    }
                }
                if !self.by_part.next([&mut **stream]) {
                    texts.leave();
                    return Flow::Done;
                }
                texts.begin();
                continue;
            }
            if let State::Reading = &self.state {
                let a = &self.aggregate;
                let (rows, values, parts) = (&mut self.rows, &mut self.values, &mut self.parts);
                let flow = match &mut self.input {
                    Input::Values(SideStream::Narrow(stream)) => {
                        stream.drive(&mut Gather::new(rows, values, Values(a)))
                    }
                    Input::Values(SideStream::Shuffle(stream)) => {
                        if A::COMBINES {
                            unreachable!("{NEVER}")
                        }
                        stream.drive(&mut Gather::new(rows, values, Values(a)))
                    }
                    Input::Parts(stream) => {
                        if !A::COMBINES {
                            unreachable!("{NEVER}")
                        }
                        stream.drive(&mut Gather::new(rows, parts, Parts(a, PhantomData)))
                    }
                    Input::Alike(stream, value) => {
                        if !Self::ALIKE {
                            unreachable!("{NEVER}")
                        }
                        stream.drive(&mut Alike(Gather::new(rows, values, Values(a)), value))
                    }
                };
                if flow != Flow::Done {
                    return flow;
                }
                self.write();
            }
            while let State::Writing(rows, later) = &mut self.state {
                for (key, part) in &mut **rows {
                    if !sink.push(Own((key, part.expect(PART)))) {
                        return Flow::Full;
                    }
                }
                match later.take() {
                    Some(later) => self.again(later),
                    None => break,
                }
            }
            let more = match &mut self.input {
                Input::Values(stream) => self.by_part.next([stream]),
                Input::Parts(stream) => self.by_part.next([&mut **stream]),
                Input::Alike(..) => false,
            };
            if !more {
                return Flow::Done;
            }
            if let State::Writing(left, _) = replace(&mut self.state, State::Reading) {
                self.rows.reuse(*left);
            }
        }
    }
}
