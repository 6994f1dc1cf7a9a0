//! A hash table whose entries lie in the order of their first arrival.

use crate::partitioner::hash_of;
use firesteel_store::weigh;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use std::hash::Hash;

/// How many entries are weighed to know what all own.
const SAMPLE: usize = 64;

/// Keys and what belongs to them, in the order in which the keys came first.
pub struct Table<K, V> {
    index: HashTable<u32>,
    entries: Vec<Entry<K, V>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Entry<K, V> {
    pub(crate) hash: u64,
    pub(crate) key: K,
    pub(crate) value: V,
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// An empty table.
    pub fn new() -> Self {
        Table { index: HashTable::new(), entries: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What an entry takes in the table itself, by estimate: vectors and the index have room to grow.
    pub(crate) const IN_PLACE: u64 = (size_of::<Entry<K, V>>() * 3 / 2 + 8) as u64;

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

    /// The value of a key that is there.
    #[inline(always)]
    pub fn find(&mut self, hash: u64, key: &K) -> Option<&mut V> {
        let entries = &self.entries;
        let at = *self.index.find(hash, |at| {
            let entry = &entries[*at as usize];
            entry.hash == hash && entry.key == *key
        })?;
        Some(&mut self.entries[at as usize].value)
    }

    /// Adds a key that is not there.
    #[inline(always)]
    pub fn insert(&mut self, hash: u64, key: K, value: V) {
        let at = u32::try_from(self.entries.len()).expect("a table of one partition holds less than 2^32 keys");
        self.entries.push(Entry { hash, key, value });
        let entries = &self.entries;
        self.index.insert_unique(hash, at, |at| entries[*at as usize].hash);
    }

    /// The value of `key`, made if it is not there.
    #[inline]
    pub fn entry(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V
    where
        K: Clone,
    {
        let hash = hash_of(key);
        let entries = &self.entries;
        let found = self.index.find(hash, |at| entries[*at as usize].key == *key).copied();
        let at = match found {
            Some(at) => at as usize,
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
        self.index.find(hash_of(key), |at| self.entries[*at as usize].key == *key).is_some()
    }

    /// Empties the table, in order of first arrival.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Entry<K, V>> + '_ {
        self.index.clear();
        self.entries.drain(..)
    }

    /// Takes out the keys that came after the first `at`, in their order.
    pub(crate) fn split_off(&mut self, at: usize) -> Vec<Entry<K, V>> {
        let tail = self.entries.split_off(at);
        self.index.clear();
        for (i, entry) in self.entries.iter().enumerate() {
            self.index.insert_unique(entry.hash, i as u32, |i| self.entries[*i as usize].hash);
        }
        tail
    }

    pub(crate) fn first_mut(&mut self) -> Option<&mut Entry<K, V>> {
        self.entries.first_mut()
    }

    pub(crate) fn into_entries(self) -> Vec<Entry<K, V>> {
        self.entries
    }
}

impl<K: Hash + Eq, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}
