//! Sorting inside a partition.

use super::read::{Side, SideStream, by_partition};
use crate::{
    Data,
    func::FuncRef,
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::cmp::Reverse;

/// What elements are ordered by.
pub trait Order<T>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The key's type.
    type Key: Ord;
    /// Whether the key is the key of a pair, so that whoever is sorted is spread by key.
    const BY_KEY: bool;
    /// Looks at an element's key.
    fn with_key<R>(&self, item: &T, look: impl FnOnce(&Self::Key) -> R) -> R;
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

/// By what a function makes of an element: `sort_by`. The function is called once per element and pass.
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
        SortedStream {
            order: self.order.clone(),
            ascending: self.ascending,
            state: State::Reading(self.side.open(split, task), Vec::new()),
        }
    }
    by_partition!(side);
}

enum State<T> {
    Reading(SideStream<T>, Vec<T>),
    Writing(std::vec::IntoIter<T>),
}

/// The run of [`Sorted`].
pub struct SortedStream<T, O> {
    order: O,
    ascending: bool,
    state: State<T>,
}

impl<T: Data, O: Order<T>> Stream for SortedStream<T, O> {
    type Item = T;
    #[inline]
    fn drive<S: Sink<T>>(&mut self, sink: &mut S) -> Flow {
        struct Keep<'a, T>(&'a mut Vec<T>);
        impl<T> Sink<T> for Keep<'_, T> {
            #[inline(always)]
            fn push<L: Lent<T>>(&mut self, item: L) -> bool {
                self.0.push(item.take());
                true
            }
        }
        if let State::Reading(input, items) = &mut self.state {
            let flow = input.drive(&mut Keep(items));
            if flow != Flow::Done {
                return flow;
            }
            let mut items = std::mem::take(items);
            self.order.sort(&mut items, self.ascending);
            self.state = State::Writing(items.into_iter());
        }
        if let State::Writing(items) = &mut self.state {
            for item in items {
                if !sink.push(Own(item)) {
                    return Flow::Full;
                }
            }
        }
        Flow::Done
    }
}
