//! `subtract_by_key`: the left side without the keys of the right one.

use super::{
    read::{Side, SideStream, by_partition},
    table::Table,
};
use crate::{
    Data, Key,
    pipeline::Pipeline,
    stream::{Flow, Lent, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize};

/// Reads the right side's keys, then lets the left side's records pass in order.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "K: Key, V: Data, W: Data")]
pub struct Subtract<K, V, W> {
    /// What is left of it comes out.
    pub left: Side<(K, V)>,
    /// Whose keys are taken away.
    pub right: Side<(K, W)>,
    /// How many partitions there are.
    pub partitions: usize,
}

impl<K: Key, V: Data, W: Data> Pipeline for Subtract<K, V, W> {
    type Item = (K, V);
    type Split = u32;
    type Stream = SubtractStream<K, V, W>;
    fn open(&self, split: u32, task: &Task) -> Self::Stream {
        SubtractStream {
            right: Some(self.right.open(split, task)),
            left: self.left.open(split, task),
            gone: Table::new(),
        }
    }
    by_partition!(left, right);
}

/// The run of [`Subtract`].
pub struct SubtractStream<K, V, W> {
    right: Option<SideStream<(K, W)>>,
    left: SideStream<(K, V)>,
    gone: Table<K, ()>,
}

impl<K: Key, V: Data, W: Data> Stream for SubtractStream<K, V, W> {
    type Item = (K, V);
    #[inline]
    fn drive<S: Sink<(K, V)>>(&mut self, sink: &mut S) -> Flow {
        struct Keys<'a, K>(&'a mut Table<K, ()>);
        impl<K: Key, W> Sink<(K, W)> for Keys<'_, K> {
            #[inline(always)]
            fn push<L: Lent<(K, W)>>(&mut self, mut item: L) -> bool {
                self.0.entry(&item.get().0, || ());
                true
            }
        }
        struct Pass<'a, K, S>(&'a Table<K, ()>, &'a mut S);
        impl<K: Key, V, S: Sink<(K, V)>> Sink<(K, V)> for Pass<'_, K, S> {
            #[inline(always)]
            fn push<L: Lent<(K, V)>>(&mut self, mut item: L) -> bool {
                self.0.contains(&item.get().0) || self.1.push(item)
            }
        }
        if let Some(right) = &mut self.right {
            let flow = right.drive(&mut Keys(&mut self.gone));
            if flow != Flow::Done {
                return flow;
            }
            self.right = None;
        }
        self.left.drive(&mut Pass(&self.gone, sink))
    }
}
