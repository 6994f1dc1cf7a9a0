//! The values of a part's keys, brought together without a list for each: where values own nothing and the part is small.
//!
//! Values are gathered as they come, each with its key's place, and then put in order by counting. What comes out is what
//! [`Rows`](super::rows::Rows) let out, in the same order; rows take over where there is more.

use super::table::{Entry, Table};
use crate::{
    Data, Key,
    partitioner::hash_of,
    stream::{Lent, Sink},
    task::Task,
};
use firesteel_store::{Reservation, weigh::Weigher};
use std::{
    array::from_fn,
    collections::VecDeque,
    mem::{needs_drop, replace},
    ops::Range,
};

/// With more bytes than this, or more than this share of a task's memory, rows take over.
const MOST: (u64, u64) = (8 << 20, 8);
/// Room for so many values is made first.
pub(super) const FIRST: usize = 256;

/// Whether values of this type are gathered so.
pub(super) const fn fits<V>() -> bool {
    !needs_drop::<V>()
}

/// What this operator may hold before rows take over.
pub(super) fn most(memory: &Reservation) -> u64 {
    MOST.0.min(most_owned(memory))
}

/// The same with what values own, which no processor's cache has to have room for: nobody walks over it.
pub(super) fn most_owned(memory: &Reservation) -> u64 {
    memory.task().share() / MOST.1
}

/// The keys of a part in the order of their first arrival, each with how many values it has on each of `N` sides.
pub(super) struct Lists<K, const N: usize> {
    table: Table<K, [u32; N]>,
    weigher: Weigher,
    /// What keys own outside the table.
    owned: u64,
    /// For so many keys, that own so much, memory is reserved.
    room: (usize, u64),
    /// What there is room for on each side.
    sides: [u64; N],
    /// Held until the operator ends: the next part needs as much.
    memory: Reservation,
}

/// The values of a side.
pub(super) struct SideLists<V> {
    /// Each with the place of its key.
    arrived: Vec<(u32, V)>,
    /// In the order of their keys.
    values: Vec<V>,
}

impl<V> SideLists<V> {
    pub(super) fn new() -> Self {
        SideLists { arrived: Vec::new(), values: Vec::new() }
    }

    /// The values of a key.
    #[inline(always)]
    pub(super) fn of(&self, key: &Range<usize>) -> &[V] {
        &self.values[key.clone()]
    }
}

impl<K: Key, const N: usize> Lists<K, N> {
    /// No keys yet. `operator` is who gathers them.
    pub(super) fn new(task: &Task, operator: &'static str) -> Self {
        let memory = task.memory().reservation().named(operator);
        Lists { table: Table::new(), weigher: Weigher::default(), owned: 0, room: (0, 0), sides: [0; N], memory }
    }

    /// Makes room for more values of a side; says whether there is memory for them.
    #[cold]
    #[inline(never)]
    fn more<V>(&mut self, side: usize, values: &mut Vec<(u32, V)>) -> bool {
        let more = values.len().max(FIRST);
        // As they come, and once more in order.
        self.sides[side] = ((values.len() + more) * (size_of::<(u32, V)>() + size_of::<V>())) as u64;
        let fits = self.reserve();
        if fits {
            values.reserve_exact(more);
        }
        fits
    }

    /// Sees that there is memory for all that there is room for, and for twice the keys that there are.
    #[cold]
    #[inline(never)]
    fn reserve(&mut self) -> bool {
        self.room = (self.room.0.max(2 * self.table.len()).max(FIRST), self.room.1.max(2 * self.owned));
        let keys = self.room.0 as u64 * Table::<K, [u32; N]>::IN_PLACE + self.room.1;
        let used = self.sides.iter().sum::<u64>() + keys;
        let lacking = used.saturating_sub(self.memory.bytes());
        used <= most(&self.memory) && self.memory.grow(lacking).is_ok()
    }

    /// Takes a side's records, which is the `side`th; full when there is no room for more, so that rows have to take over.
    pub(super) fn gather<'a, V>(&'a mut self, side: usize, of: &'a mut SideLists<V>) -> Gather<'a, K, V, N> {
        Gather { lists: self, side, arrived: &mut of.arrived, known_keys_only: false }
    }

    /// Puts the values of the `side`th side in the order of their keys.
    pub(super) fn put_in_order<V: Clone>(&mut self, side: usize, of: &mut SideLists<V>) {
        let keys = self.table.entries_mut();
        let mut end = 0;
        for key in keys.iter_mut() {
            let count = &mut key.value[side];
            (*count, end) = (end, end + *count);
        }
        of.values.clear();
        if let Some((_, any)) = of.arrived.first() {
            of.values.resize(of.arrived.len(), any.clone());
        }
        for (place, value) in of.arrived.drain(..) {
            let at = &mut keys[place as usize].value[side];
            of.values[*at as usize] = value;
            *at += 1;
        }
    }

    /// Lets the keys out, once all sides are in order.
    pub(super) fn end(&mut self) -> Brought<K, N> {
        self.owned = 0;
        Brought { keys: self.table.take_entries().into(), ends: [0; N] }
    }

    /// Takes the room of keys that have all left for those that come next.
    pub(super) fn reuse(&mut self, left: Brought<K, N>) {
        self.table.reuse(left.keys.into());
    }
}

/// Keys on their way out, each with where its values are on every side.
pub(super) struct Brought<K, const N: usize> {
    keys: VecDeque<Entry<K, [u32; N]>>,
    ends: [u32; N],
}

impl<K, const N: usize> Iterator for Brought<K, N> {
    type Item = (K, [Range<usize>; N]);
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let Entry { key, value: ends } = self.keys.pop_front()?;
        let begins = replace(&mut self.ends, ends);
        Some((key, from_fn(|side| begins[side] as usize..ends[side] as usize)))
    }
}

/// Adds a side's records.
pub(super) struct Gather<'a, K, V, const N: usize> {
    lists: &'a mut Lists<K, N>,
    side: usize,
    arrived: &'a mut Vec<(u32, V)>,
    known_keys_only: bool,
}

impl<K, V, const N: usize> Gather<'_, K, V, N> {
    /// Drops what belongs to keys that are not there yet, where that is all they would have.
    pub(super) fn known_keys_only(self, only: bool) -> Self {
        Gather { known_keys_only: only, ..self }
    }
}

impl<K: Key, V: Data, const N: usize> Sink<(K, V)> for Gather<'_, K, V, N> {
    #[inline(always)]
    fn push<L: Lent<(K, V)>>(&mut self, mut item: L) -> bool {
        let Lists { table, weigher, owned, room, .. } = &mut *self.lists;
        let hash = hash_of(&item.get().0);
        let mut fits = true;
        let (place, value) = match table.place(hash, &item.get().0) {
            Some(place) => {
                table.entries_mut()[place].value[self.side] += 1;
                (place, item.take_part(|pair| pair.1, |pair| pair.1.clone()))
            }
            None if self.known_keys_only => return true,
            None => {
                let (key, value) = item.take();
                *owned += weigher.weigh(&key);
                let mut counts = [0; N];
                counts[self.side] = 1;
                table.insert(hash, key, counts);
                let place = table.len() - 1;
                if table.len() > room.0 || *owned > room.1 {
                    fits = self.lists.reserve();
                }
                (place, value)
            }
        };
        self.arrived.push((place as u32, value));
        fits && (self.arrived.len() < self.arrived.capacity() || self.lists.more(self.side, self.arrived))
    }
}
