//! The reduce side of keyed aggregation: one partial result for each key.

use super::{
    aggregate::Aggregate,
    read::{Side, SideStream},
    rows::{Aside, Leaving, Left, Row, Rows, replay},
};
use crate::{
    Data, Key,
    partitioner::hash_of,
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use firesteel_store::{Spilled, weigh::Weigher};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::mem::needs_drop;

/// What arrives at the reduce side.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: Data, V: Data, P: Data")]
enum Arriving<K, V, P> {
    /// Values as they are: no map side combined them.
    Values(Side<(K, V)>),
    /// Partial results of map sides.
    Parts(Side<(K, P)>),
}

/// Aggregates the values, or merges the partial results, of each key of a partition. Keys come out in the order of their first
/// arrival.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: Data, V: Data, A: Aggregate<V> + Serialize + DeserializeOwned")]
pub struct Combine<K, V, A: Aggregate<V>> {
    arriving: Arriving<K, V, A::Part>,
    aggregate: A,
    partitions: usize,
}

impl<K: Key, V: Data, A: Aggregate<V>> Combine<K, V, A> {
    /// Of values.
    pub fn values(side: Side<(K, V)>, aggregate: A, partitions: usize) -> Self {
        Combine { arriving: Arriving::Values(side), aggregate, partitions }
    }
    /// Of partial results.
    pub fn parts(side: Side<(K, A::Part)>, aggregate: A, partitions: usize) -> Self {
        Combine { arriving: Arriving::Parts(side), aggregate, partitions }
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> Pipeline for Combine<K, V, A> {
    type Item = (K, A::Part);
    type Split = u32;
    type Stream = CombineStream<K, V, A>;

    fn open(&self, split: u32, task: &Task) -> Self::Stream {
        let input = match &self.arriving {
            Arriving::Values(side) => Input::Values(side.open(split, task)),
            Arriving::Parts(side) => Input::Parts(side.open(split, task)),
        };
        CombineStream {
            aggregate: self.aggregate.clone(),
            rows: Rows::new(task, "combine", |part| part.as_ref().map_or(0, A::owned)),
            values: Aside::new(),
            parts: Aside::new(),
            state: State::Reading(Box::new(input)),
        }
    }
    fn splits(&self, _: &dyn crate::pipeline::Plan) -> firesteel_model::Result<Vec<u32>> {
        Ok((0..self.partitions as u32).collect())
    }
    fn refers(&self, visit: &mut dyn FnMut(firesteel_model::RddId)) {
        match &self.arriving {
            Arriving::Values(side) => side.refers(visit),
            Arriving::Parts(side) => side.refers(visit),
        }
    }
    fn reads(&self, split: &u32, visit: &mut dyn FnMut(firesteel_model::RddId, firesteel_model::PartitionIndex)) {
        match &self.arriving {
            Arriving::Values(side) => side.reads(*split, visit),
            Arriving::Parts(side) => side.reads(*split, visit),
        }
    }
}

enum Input<K, V, P> {
    Values(SideStream<(K, V)>),
    Parts(SideStream<(K, P)>),
}

enum State<K, V, P> {
    Reading(Box<Input<K, V, P>>),
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
    rows: Rows<K, Option<A::Part>>,
    values: Aside<(K, V)>,
    parts: Aside<(K, A::Part)>,
    state: State<K, V, A::Part>,
}

impl<P: Data> Row for Option<P> {}

/// Puts what arrives into the rows: `first` makes a part of a key's first record, `next` adds a further one.
pub(super) struct Gather<'a, K, P, X, N, M> {
    rows: &'a mut Rows<K, Option<P>>,
    aside: &'a mut Aside<(K, X)>,
    weigher: Weigher,
    first: N,
    next: M,
}

impl<'a, K: Key, P: Data, X: Data, N: Fn(X) -> P, M: Fn(P, X) -> P> Gather<'a, K, P, X, N, M> {
    pub(super) fn new(rows: &'a mut Rows<K, Option<P>>, aside: &'a mut Aside<(K, X)>, first: N, next: M) -> Self {
        Gather { rows, aside, weigher: Weigher::default(), first, next }
    }
}

impl<K: Key, P: Data, X: Data, N: Fn(X) -> P, M: Fn(P, X) -> P> Sink<(K, X)> for Gather<'_, K, P, X, N, M> {
    #[inline(always)]
    fn push<L: Lent<(K, X)>>(&mut self, mut item: L) -> bool {
        let hash = hash_of(&item.get().0);
        if let Some(slot) = self.rows.find(hash, &item.get().0) {
            let part = slot.take().expect("a table's parts are there between records");
            // A part that owns something is taken to grow by what it is given.
            let grown = match needs_drop::<P>() {
                true => (size_of::<X>() * 3 / 2) as u64 + self.weigher.weigh(&item.get().1),
                false => 0,
            };
            *slot = Some((self.next)(part, item.take_part(|pair| pair.1, |pair| pair.1.clone())));
            if needs_drop::<P>() {
                self.rows.grew(grown);
            }
        } else if self.rows.is_open() {
            let owned = self.weigher.weigh(item.get());
            let (key, record) = item.take();
            let part = (self.first)(record);
            self.rows.insert(hash, key, Some(part), owned);
        } else {
            self.aside.push(item.get(), self.rows.disk());
        }
        true
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> CombineStream<K, V, A> {
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
        let mut values = Gather::new(&mut self.rows, &mut self.values, |v| a.create(v), |p, v| a.add(p, v));
        replay(later.values, &task, |record| {
            values.push(Own(record));
        });
        let mut parts = Gather::new(&mut self.rows, &mut self.parts, |p| p, |p, other| a.merge(p, other));
        replay(later.parts, &task, |record| {
            parts.push(Own(record));
        });
        self.write();
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> Stream for CombineStream<K, V, A> {
    type Item = (K, A::Part);

    #[inline]
    fn drive<S: Sink<Self::Item>>(&mut self, sink: &mut S) -> Flow {
        if let State::Reading(input) = &mut self.state {
            let a = &self.aggregate;
            let (rows, values, parts) = (&mut self.rows, &mut self.values, &mut self.parts);
            let flow = match &mut **input {
                Input::Values(stream) => {
                    stream.drive(&mut Gather::new(rows, values, |v| a.create(v), |part, v| a.add(part, v)))
                }
                Input::Parts(stream) => {
                    stream.drive(&mut Gather::new(rows, parts, |part| part, |part, other| a.merge(part, other)))
                }
            };
            if flow != Flow::Done {
                return flow;
            }
            self.write();
        }
        while let State::Writing(rows, later) = &mut self.state {
            for (key, part) in &mut **rows {
                if !sink.push(Own((key, part.expect("a table's parts are there between records")))) {
                    return Flow::Full;
                }
            }
            match later.take() {
                Some(later) => self.again(later),
                None => break,
            }
        }
        Flow::Done
    }
}
