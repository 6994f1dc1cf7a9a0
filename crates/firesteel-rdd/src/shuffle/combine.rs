//! The reduce side of keyed aggregation: one partial result for each key.

use super::{
    aggregate::Aggregate,
    read::{Side, SideStream},
    table::{Entry, Table},
};
use crate::{
    Data, Key,
    partitioner::hash_of,
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

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
        CombineStream { aggregate: self.aggregate.clone(), state: State::Reading(input, Table::new()) }
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
    Reading(Input<K, V, P>, Table<K, Option<P>>),
    Writing(std::vec::IntoIter<Entry<K, Option<P>>>),
}

/// The run of [`Combine`].
pub struct CombineStream<K, V, A: Aggregate<V>> {
    aggregate: A,
    state: State<K, V, A::Part>,
}

/// Puts what arrives into the table: `first` makes a part of a key's first record, `next` adds a further one.
struct Gather<'a, K, P, X, N, M> {
    table: &'a mut Table<K, Option<P>>,
    first: N,
    next: M,
    record: PhantomData<X>,
}

impl<K: Key, P, X, N: Fn(X) -> P, M: Fn(P, X) -> P> Sink<(K, X)> for Gather<'_, K, P, X, N, M> {
    #[inline(always)]
    fn push<L: Lent<(K, X)>>(&mut self, mut item: L) -> bool {
        let hash = hash_of(&item.get().0);
        match self.table.find(hash, &item.get().0) {
            Some(slot) => {
                let part = slot.take().expect("a table's parts are there between records");
                *slot = Some((self.next)(part, item.take().1));
            }
            None => {
                let (key, record) = item.take();
                let part = (self.first)(record);
                self.table.insert(hash, key, Some(part));
            }
        }
        true
    }
}

impl<K: Key, V: Data, A: Aggregate<V>> Stream for CombineStream<K, V, A> {
    type Item = (K, A::Part);

    #[inline]
    fn drive<S: Sink<Self::Item>>(&mut self, sink: &mut S) -> Flow {
        if let State::Reading(input, table) = &mut self.state {
            let a = &self.aggregate;
            let flow = match input {
                Input::Values(stream) => stream.drive(&mut Gather {
                    table,
                    first: |value| a.create(value),
                    next: |part, value| a.add(part, value),
                    record: PhantomData,
                }),
                Input::Parts(stream) => stream.drive(&mut Gather {
                    table,
                    first: |part| part,
                    next: |part, other| a.merge(part, other),
                    record: PhantomData,
                }),
            };
            if flow != Flow::Done {
                return flow;
            }
            self.state = State::Writing(std::mem::take(table).into_entries());
        }
        if let State::Writing(entries) = &mut self.state {
            for entry in entries {
                if !sink.push(Own((entry.key, entry.value.expect("a table's parts are there between records")))) {
                    return Flow::Full;
                }
            }
        }
        Flow::Done
    }
}
