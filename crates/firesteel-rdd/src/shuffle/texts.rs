//! Keys that are text, without a `String` for each: they lie one after another in one buffer, and are looked up as they lie in lines,
//! pages and tables.

use super::{
    lists::most,
    table::{Index, PART, SAMPLE},
};
use crate::{stream::Lent, task::Task};
use firesteel_store::{
    Reservation,
    chunk::{are_texts, element_of},
};
use std::{any::Any, mem::needs_drop};

#[inline(always)]
fn text_mut<K: 'static>(key: &mut K) -> Option<&mut String> {
    (key as &mut dyn Any).downcast_mut()
}

/// A [`Table`](super::table::Table) whose keys are text.
pub(super) struct TextTable<V> {
    index: Index,
    entries: Vec<Text<V>>,
    /// All keys, one after another.
    text: String,
}

struct Text<V> {
    from: u32,
    length: u32,
    value: V,
}

impl<V> Default for TextTable<V> {
    fn default() -> Self {
        TextTable { index: Index::default(), entries: Vec::new(), text: String::new() }
    }
}

impl<V> TextTable<V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What a key takes besides its text, by estimate: vectors and the index have room to grow.
    pub(super) const IN_PLACE: u64 = (size_of::<Text<V>>() * 3 / 2 + 16) as u64;

    /// What so much text takes, by the same estimate.
    pub(super) fn takes(length: usize) -> u64 {
        (length * 3 / 2) as u64
    }

    /// What all of it takes by these estimates, with what some of the values own, by which the others are judged.
    pub(super) fn estimate(&self, owned: impl Fn(&V) -> u64) -> u64 {
        let stride = self.len().div_ceil(SAMPLE).max(1);
        let sampled = self.len().div_ceil(stride).max(1) as u64;
        let owned: u64 = self.entries.iter().step_by(stride).map(|entry| owned(&entry.value)).sum();
        self.len() as u64 * Self::IN_PLACE + Self::takes(self.text.len()) + owned * self.len() as u64 / sampled
    }

    /// The value of a key that is there.
    #[inline(always)]
    pub(super) fn find(&mut self, hash: u64, key: &str) -> Option<&mut V> {
        let is = |place: usize| {
            let Text { from, length, .. } = self.entries[place];
            length as usize == key.len() && same(&self.text.as_bytes()[from as usize..][..key.len()], key.as_bytes())
        };
        let place = self.index.place(hash, is)?;
        Some(&mut self.entries[place].value)
    }

    /// Whether so much text can be added: a place is a `u32`.
    #[inline(always)]
    pub(super) fn fits(&self, key: &str) -> bool {
        self.text.len() + key.len() <= u32::MAX as usize
    }

    /// Adds a key that is not there and [fits](TextTable::fits).
    #[inline(always)]
    pub(super) fn insert(&mut self, hash: u64, key: &str, value: V) {
        self.index.add(hash, self.entries.len());
        self.entries.push(Text { from: self.text.len() as u32, length: key.len() as u32, value });
        self.text.push_str(key);
    }

    /// The keys and their values, in order of first arrival.
    pub(super) fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut V)> {
        let text = &self.text;
        self.entries.iter_mut().map(|entry| (text_at(text, entry.from, entry.length), &mut entry.value))
    }

    /// Whether there is room for another key, of this length.
    #[inline(always)]
    fn has_room(&self, length: usize) -> bool {
        self.entries.len() < self.entries.capacity() && length <= self.text.capacity() - self.text.len()
    }

    /// How much text there is room for.
    pub(super) fn room(&self) -> u64 {
        self.text.capacity() as u64
    }

    /// Forgets all keys; the room stays.
    pub(super) fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
        self.text.clear();
    }
}

/// Whether two texts of one length are the same: short ones without a call.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> bool {
    ends::<8>(a, b).or_else(|| ends::<4>(a, b)).unwrap_or_else(|| a == b)
}

/// The same by the first and the last `N` bytes, if they are all.
#[inline(always)]
fn ends<const N: usize>(a: &[u8], b: &[u8]) -> Option<bool> {
    match a.len() <= 2 * N {
        true => Some(a.first_chunk::<N>()? == b.first_chunk::<N>()? && a.last_chunk::<N>()? == b.last_chunk::<N>()?),
        false => None,
    }
}

#[inline(always)]
fn text_at(text: &str, from: u32, length: u32) -> &str {
    &text[from as usize..][..length as usize]
}

/// Room for so many keys, and for so much text, is made first.
const FIRST: (usize, usize) = (256, 4 << 10);

/// What is gathered by the keys of a part of a partition, where keys are text and what belongs to them owns nothing. What comes out is
/// what [`Rows`](super::rows::Rows) let out, in the same order; rows take over where there is more.
pub(super) struct TextRows<K, P> {
    texts: TextTable<Option<P>>,
    /// While they come out: how many have.
    out: Option<usize>,
    /// Whoever looks at what comes out sees this pair, each time with the next key and part.
    seen: Option<(K, P)>,
    /// What there was no room for.
    refused: Option<(K, P)>,
    /// Held until the last part has come out: the next one needs as much.
    memory: Reservation,
}

impl<K: 'static, P> TextRows<K, P> {
    /// Whether keys and parts of these types are gathered so.
    #[inline(always)]
    pub(super) fn fit() -> bool {
        are_texts::<K>() && !needs_drop::<P>()
    }

    /// No keys yet. `operator` is who gathers them.
    pub(super) fn new(task: &Task, operator: &'static str) -> Self {
        let memory = task.memory().reservation().named(operator);
        TextRows { texts: TextTable::default(), out: None, seen: None, refused: None, memory }
    }

    /// Whether keys are still to be read.
    pub(super) fn is_reading(&self) -> bool {
        self.out.is_none()
    }

    /// Takes a key's further part, to be merged, or its first; says whether there was room for it.
    #[inline(always)]
    pub(super) fn add<L: Lent<P>>(&mut self, hash: u64, key: &str, part: L, merge: impl FnOnce(P, P) -> P) -> bool {
        if let Some(slot) = self.texts.find(hash, key) {
            // Taken out while the user's function runs: if it panics, the attempt ends and the hole is never seen.
            let before = slot.take().expect(PART);
            *slot = Some(merge(before, part.take()));
            return true;
        }
        let fits = self.texts.has_room(key.len()) || self.more(key.len());
        match fits {
            true => self.texts.insert(hash, key, Some(part.take())),
            false => self.refused = Some((element_of(key), part.take())),
        }
        fits
    }

    /// Makes room for more keys, of which the first is so long; says whether there is memory for them.
    #[cold]
    #[inline(never)]
    fn more(&mut self, length: usize) -> bool {
        let TextTable { entries, text, .. } = &mut self.texts;
        let keys = match entries.len() == entries.capacity() {
            true => (2 * entries.len()).max(FIRST.0),
            false => entries.capacity(),
        };
        let bytes = match text.capacity() - text.len() < length {
            true => (2 * text.len()).max(text.len() + length).max(FIRST.1),
            false => text.capacity(),
        };
        let takes = (keys * size_of::<Text<Option<P>>>() + bytes) as u64 + Index::bytes(keys);
        let lacking = takes.saturating_sub(self.memory.bytes());
        // Which is far less than places of 32 bits reach.
        let fits = takes <= most(&self.memory) && self.memory.grow(lacking).is_ok();
        if fits {
            entries.reserve_exact(keys - entries.len());
            text.reserve_exact(bytes - text.len());
        }
        fits
    }

    /// All has been read, and comes out.
    pub(super) fn end(&mut self) {
        self.out = Some(0);
    }

    /// The next key with its part.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<TextRow<'_, K, P>> {
        let out = self.out.as_mut()?;
        let Text { from, length, value } = self.texts.entries.get_mut(*out)?;
        *out += 1;
        let text = text_at(&self.texts.text, *from, *length);
        Some(TextRow { text, part: value.take(), seen: &mut self.seen })
    }

    /// What there was no room for, which came after all that there is.
    pub(super) fn refused(&mut self) -> Option<(K, P)> {
        self.refused.take()
    }

    /// All keys have left; the next part may begin.
    pub(super) fn begin(&mut self) {
        self.texts.clear();
        self.out = None;
    }

    /// All keys of the last part have left.
    pub(super) fn leave(&mut self) {
        self.texts = TextTable::default();
        self.seen = None;
        self.memory.shrink_to(0);
    }
}

/// A key that is text with its part, on its way out.
pub(super) struct TextRow<'a, K, P> {
    text: &'a str,
    /// Until somebody looks.
    part: Option<P>,
    seen: &'a mut Option<(K, P)>,
}

impl<K: 'static, P> Lent<(K, P)> for TextRow<'_, K, P> {
    const IS_LOAN: bool = true;
    #[inline(always)]
    fn get(&mut self) -> &(K, P) {
        if let Some(part) = self.part.take() {
            match self.seen.as_mut().and_then(|(key, part)| Some((text_mut(key)?, part))) {
                Some((key, before)) => {
                    key.clear();
                    key.push_str(self.text);
                    *before = part;
                }
                None => *self.seen = Some((element_of(self.text), part)),
            }
        }
        self.seen.as_ref().expect(PART)
    }
    #[inline(always)]
    fn take(self) -> (K, P) {
        match self.part {
            Some(part) => (element_of(self.text), part),
            None => self.seen.take().expect(PART),
        }
    }
}
