//! `subtract_by_key`: the left side without the keys of the right one.

use super::{
    read::{Side, SideStream, by_partition},
    rows::{Aside, Disk, MIN_BYTES, replay},
    table::Table,
};
use crate::{
    Data, Key,
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::{Task, cannot_store},
};
use firesteel_store::{Reservation, SpillReader, weigh::Weigher};
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
            gone: Gone {
                keys: Table::new(),
                memory: task.memory().reservation().named("subtract"),
                used: 0,
                weigher: Weigher::default(),
                disk: Disk::new(task),
                more: Aside::new(),
                is_full: false,
                first_pass: true,
            },
            survivors: Aside::new(),
            last: None,
        }
    }
    by_partition!(left, right);
}

/// The run of [`Subtract`].
///
/// Keys of the right side for which there is no memory go to disk, and then what is left of the left side has to wait there, too,
/// for passes with the other keys.
pub struct SubtractStream<K, V, W> {
    right: Option<SideStream<(K, W)>>,
    left: SideStream<(K, V)>,
    gone: Gone<K>,
    /// What the left side has left after this pass, where there are further ones.
    survivors: Aside<(K, V)>,
    /// The last pass's left side, where there was more than one.
    last: Option<SpillReader<(K, V)>>,
}

/// Keys that are taken away, as far as there is memory.
struct Gone<K> {
    keys: Table<K, ()>,
    memory: Reservation,
    used: u64,
    weigher: Weigher,
    disk: Disk,
    /// The keys that there was no memory for.
    more: Aside<K>,
    is_full: bool,
    /// The left side is read as it comes, and what is left of it goes out: others of the task may need memory meanwhile.
    first_pass: bool,
}

impl<K: Key> Gone<K> {
    #[inline(always)]
    fn add(&mut self, key: &K) {
        if self.keys.contains(key) {
            return;
        }
        if self.is_full {
            return self.more.push(key, &self.disk);
        }
        self.keys.entry(key, || ());
        self.used += Table::<K, ()>::IN_PLACE + self.weigher.weigh(key);
        if self.used > self.memory.bytes() {
            self.reserve();
        }
    }

    #[cold]
    fn reserve(&mut self) {
        let lacking = self.used - self.memory.bytes();
        let step = (self.used / 4).clamp(64 << 10, 4 << 20).max(lacking);
        let may_grow = !self.first_pass || self.used <= self.half();
        if !may_grow || self.memory.grow(step).or_else(|_| self.memory.grow(lacking)).is_err() {
            // At least these keys: every pass takes some away.
            self.memory.take(lacking);
            self.is_full = self.used >= self.memory.at_least(MIN_BYTES);
        }
    }

    /// Half of what other operators leave: these keys stay as long as the left side is read, and cannot be spilled then.
    fn half(&self) -> u64 {
        let task = self.memory.task();
        let others = task.held() - self.memory.bytes();
        task.share().saturating_sub(others) / 2
    }

    /// Forgets the keys in memory; the next pass adds those that waited.
    fn empty(&mut self) {
        self.keys = Table::new();
        self.memory.shrink_to(0);
        (self.used, self.is_full) = (0, false);
    }
}

impl<K: Key, V: Data, W: Data> SubtractStream<K, V, W> {
    /// Passes over the left side on disk until the keys of the right side are through.
    #[cold]
    fn further_passes(&mut self) {
        let task = self.gone.disk.task().clone();
        loop {
            let left = self.survivors.end(&self.gone.disk);
            let keys = self.gone.more.end(&self.gone.disk);
            let Some(keys) = keys else {
                self.gone.empty();
                self.last = left.map(|left| left.reader());
                return;
            };
            self.gone.empty();
            self.gone.first_pass = false;
            replay(Some(keys), &task, |key| self.gone.add(&key));
            let (gone, survivors) = (&self.gone, &mut self.survivors);
            replay(left, &task, |record: (K, V)| {
                if !gone.keys.contains(&record.0) {
                    survivors.push(&record, &gone.disk);
                }
            });
        }
    }
}

impl<K: Key, V: Data, W: Data> Stream for SubtractStream<K, V, W> {
    type Item = (K, V);
    #[inline]
    fn drive<S: Sink<(K, V)>>(&mut self, sink: &mut S) -> Flow {
        struct Keys<'a, K>(&'a mut Gone<K>);
        impl<K: Key, W> Sink<(K, W)> for Keys<'_, K> {
            #[inline(always)]
            fn push<L: Lent<(K, W)>>(&mut self, mut item: L) -> bool {
                self.0.add(&item.get().0);
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
        struct Wait<'a, K, V>(&'a mut Aside<(K, V)>, &'a Disk);
        impl<K: Key, V: Data> Sink<(K, V)> for Wait<'_, K, V> {
            fn push<L: Lent<(K, V)>>(&mut self, mut item: L) -> bool {
                self.0.push(item.get(), self.1);
                true
            }
        }
        if let Some(right) = &mut self.right {
            let flow = right.drive(&mut Keys(&mut self.gone));
            if flow != Flow::Done {
                return flow;
            }
            self.right = None;
        }
        if !self.gone.more.is_empty() {
            let mut wait = Wait(&mut self.survivors, &self.gone.disk);
            let flow = self.left.drive(&mut Pass(&self.gone.keys, &mut wait));
            if flow != Flow::Done {
                return flow;
            }
            self.further_passes();
        }
        if let Some(last) = &mut self.last {
            while let Some(record) = last.next().unwrap_or_else(|e| cannot_store(e)) {
                if !sink.push(Own(record)) {
                    return Flow::Full;
                }
            }
            return Flow::Done;
        }
        self.left.drive(&mut Pass(&self.gone.keys, sink))
    }
}
