//! A hash table whose entries lie in the order of their first arrival.

use crate::partitioner::hash_of;
use firesteel_store::weigh;
use serde::{Deserialize, Serialize};
use std::hash::Hash;

/// Room of up to so many bytes is kept for the entries that come next.
pub(super) const KEEP_BYTES: usize = 2 << 20;
/// Of a part that is taken out while the user's function runs.
pub(super) const PART: &str = "a table's parts are there between records";
/// How many entries are weighed to know what all own.
pub(super) const SAMPLE: usize = 64;

/// Where the entries of keys are, by the keys' hashes: open addressing, so that entries stay where they are when it grows, and are not
/// looked at.
#[derive(Default)]
pub(super) struct Index {
    /// A power of two of slots, or none. A slot is the low half of a key's hash and, in its own low half, the place of the
    /// entry plus one; 0 is free. The low half of the hash also says where to look: what came into one
    /// partition has the same high bits.
    slots: Vec<u64>,
}

impl Index {
    /// Where the entry of a key is; `is` says whether an entry is the key's.
    #[inline(always)]
    pub(super) fn place(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as u32 as usize;
        loop {
            // Without any slot there is none to get.
            let slot = *self.slots.get(at & mask)?;
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == hash as u32 {
                let place = slot as u32 as usize - 1;
                if is(place) {
                    return Some(place);
                }
            }
            at += 1;
        }
    }

    /// Notes where the entry of a new key is: behind all that were there before, whose number this is.
    #[inline(always)]
    pub(super) fn add(&mut self, hash: u64, place: usize) {
        // At most three of four slots are taken.
        if place * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let place = u32::try_from(place + 1).expect("a table of one partition holds less than 2^32 keys");
        self.take_slot(hash << 32 | u64::from(place));
    }

    #[inline(always)]
    fn take_slot(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (slot >> 32) as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.keep(usize::MAX, (self.slots.len() * 2).max(16));
    }

    /// Makes it anew of so many slots, with the first `most` entries.
    fn keep(&mut self, most: usize, slots: usize) {
        for slot in std::mem::replace(&mut self.slots, vec![0; slots]) {
            if slot != 0 && slot as u32 as usize <= most {
                self.take_slot(slot);
            }
        }
    }

    /// Forgets all entries; the room stays.
    pub(super) fn clear(&mut self) {
        self.slots.fill(0);
    }

    /// What it takes for so many entries, in bytes.
    pub(super) fn bytes(entries: usize) -> u64 {
        ((entries * 4).div_ceil(3).next_power_of_two().max(16) * size_of::<u64>()) as u64
    }
}

/// Keys and what belongs to them, in the order in which the keys came first.
pub struct Table<K, V> {
    index: Index,
    entries: Vec<Entry<K, V>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// An empty table.
    pub fn new() -> Self {
        Table { index: Index::default(), entries: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What an entry takes in the table itself, by estimate: vectors and the index have room to grow.
    pub(crate) const IN_PLACE: u64 = (size_of::<Entry<K, V>>() * 3 / 2 + 16) as u64;

    /// What the entries own outside the table, from looking at some of them. `owned` says it of a value.
    pub(crate) fn owned(&self, owned: impl Fn(&V) -> u64) -> u64
    where
        K: Serialize,
    {
        let stride = self.entries.len().div_ceil(SAMPLE).max(1);
        let (mut sum, mut sampled) = (0, 0);
        for entry in self.entries.iter().step_by(stride) {
            sum += weigh::owned(&entry.key) + owned(&entry.value);
            sampled += 1;
        }
        sum * self.entries.len() as u64 / u64::max(sampled, 1)
    }

    /// Where the entry of a key is.
    #[inline(always)]
    pub(crate) fn place(&self, hash: u64, key: &K) -> Option<usize> {
        self.index.place(hash, |place| self.entries[place].key == *key)
    }

    /// The value of a key that is there.
    #[inline(always)]
    pub fn find(&mut self, hash: u64, key: &K) -> Option<&mut V> {
        let place = self.place(hash, key)?;
        Some(&mut self.entries[place].value)
    }

    /// Adds a key that is not there.
    #[inline(always)]
    pub fn insert(&mut self, hash: u64, key: K, value: V) {
        self.index.add(hash, self.entries.len());
        self.entries.push(Entry { key, value });
    }

    /// The value of `key`, made if it is not there.
    #[inline]
    pub fn entry(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V
    where
        K: Clone,
    {
        let hash = hash_of(key);
        let at = match self.place(hash, key) {
            Some(at) => at,
            None => {
                self.insert(hash, key.clone(), make());
                self.entries.len() - 1
            }
        };
        &mut self.entries[at].value
    }

    /// Whether a key is there.
    #[inline]
    pub fn contains(&self, key: &K) -> bool {
        self.place(hash_of(key), key).is_some()
    }

    /// Empties the table, in order of first arrival.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Entry<K, V>> + '_ {
        self.index.clear();
        self.entries.drain(..)
    }

    /// Takes out the keys that came after the first `at`, in their order.
    pub(crate) fn split_off(&mut self, at: usize) -> Vec<Entry<K, V>> {
        let tail = self.entries.split_off(at);
        self.index.keep(at, self.index.slots.len());
        tail
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [Entry<K, V>] {
        &mut self.entries
    }

    pub(crate) fn first_mut(&mut self) -> Option<&mut Entry<K, V>> {
        self.entries.first_mut()
    }

    /// Takes all entries out, with their room.
    pub(crate) fn take_entries(&mut self) -> Vec<Entry<K, V>> {
        match size_of_val(&self.index.slots[..]) <= KEEP_BYTES {
            true => self.index.clear(),
            false => self.index = Index::default(),
        }
        std::mem::take(&mut self.entries)
    }

    pub(crate) fn into_entries(self) -> Vec<Entry<K, V>> {
        self.entries
    }

    /// Gives room back that was [taken](Table::take_entries), for the entries that come next.
    pub(crate) fn reuse(&mut self, room: Vec<Entry<K, V>>) {
        debug_assert!(room.is_empty() && self.entries.is_empty());
        self.entries = room;
    }
}

impl<K: Hash + Eq, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}
