//! The pairs of a small part in which no key that both sides have comes twice on the left, found without a table of keys: the right side's records
//! are put in the order of their hashes by counting, and each left record looks there for its own.
//!
//! Nothing waits for anything: no step depends on what the one before found, nor branches on it, so that a processor has many
//! of them under way. What comes out is what [`Lists`](super::lists::Lists) let out, in the same order; they take over where such a
//! key comes twice, where many records share a slot and where the right side is large, and rows where there is more.

use super::lists::{FIRST, most};
use crate::{
    Data, Key,
    partitioner::hash_of,
    stream::{Lent, Sink},
    task::Task,
};
use firesteel_store::Reservation;
use std::{mem::replace, ops::Range};

/// Both sides' records of a part, and which of them belong together.
pub(super) struct Probe<K, V, W> {
    left: Vec<(K, V)>,
    right: Vec<(K, W)>,
    /// For so many records of each side there is memory.
    room: [usize; 2],
    /// Of each right record.
    slots: Vec<u32>,
    /// Where the records of the slot before end, and with one more, where those of the last one do.
    ends: Vec<u32>,
    /// The right records by slot, in order of arrival within each; with two more, so that two can be looked at anywhere.
    by_slot: Vec<(K, W)>,
    /// Whether this right record has been found.
    taken: Vec<bool>,
    /// Places of left records, and of right ones by slot; as many as come out, and what was written beyond.
    found: Vec<(u32, u32)>,
    /// Which of them come out, once all are found.
    pub(super) pairs: Option<Range<usize>>,
    memory: Reservation,
}

/// So many records of a slot are looked at in any case.
const AT_ONCE: usize = 2;
/// More looks than so many for each record at those of full slots are not worth it.
const LOOKS: usize = 4;

impl<K: Key, V: Data, W: Data> Probe<K, V, W> {
    /// What is held for a right record: itself twice, its slot, whether it is taken, what was found, and its share of the slots.
    const RIGHT: usize = 2 * size_of::<(K, W)>() + 4 + 1 + 8 + 8;

    /// No records yet.
    pub(super) fn new(task: &Task) -> Self {
        Probe {
            left: Vec::new(),
            right: Vec::new(),
            room: [0; 2],
            slots: Vec::new(),
            ends: Vec::new(),
            by_slot: Vec::new(),
            taken: Vec::new(),
            found: Vec::new(),
            pairs: None,
            memory: task.memory().reservation().named("join"),
        }
    }

    /// Takes the left side's records; full when there is no room for more.
    pub(super) fn left(&mut self) -> Take<'_, (K, V)> {
        Take { records: &mut self.left, room: &mut self.room, side: 0, bytes: Self::BYTES, memory: &mut self.memory }
    }

    /// Takes the right side's records; full when there is no room for more.
    pub(super) fn right(&mut self) -> Take<'_, (K, W)> {
        Take { records: &mut self.right, room: &mut self.room, side: 1, bytes: Self::BYTES, memory: &mut self.memory }
    }

    const BYTES: [usize; 2] = [size_of::<(K, V)>() + 1, Self::RIGHT];

    /// Finds the pairs; says whether it could: no right record is in two of them, and few records share a slot.
    pub(super) fn find(&mut self) -> bool {
        self.sort();
        let pairs = self.probe().filter(|pairs| self.are_unique(*pairs));
        self.pairs = pairs.map(|pairs| 0..pairs);
        pairs.is_some()
    }

    /// Puts the right records in the order of their slots.
    fn sort(&mut self) {
        let Probe { right, slots, ends, by_slot, .. } = self;
        ends.clear();
        lengthen(ends, right.len().next_power_of_two() + 2, 0);
        slots.clear();
        slots.reserve_exact(right.len());
        // Counted two further on: added up, they say there where each slot begins, and in the end, where the one before ends.
        let counts = &mut ends[2..];
        let mask = counts.len() - 1;
        slots.extend(right.iter().map(|(key, _)| {
            let slot = hash_of(key) as usize & mask;
            counts[slot] += 1;
            slot as u32
        }));
        let mut end = 0;
        for count in ends.iter_mut() {
            end += *count;
            *count = end;
        }
        if let Some(any) = right.first() {
            lengthen(by_slot, right.len() + AT_ONCE, any.clone());
        }
        let (ends, by_slot) = (&mut ends[..], &mut by_slot[..]);
        for (slot, record) in slots.iter().zip(&right[..]) {
            let at = &mut ends[*slot as usize + 1];
            by_slot[*at as usize] = record.clone();
            *at += 1;
        }
    }

    /// Looks every left record's key up, and says how many pairs there are; nothing if keys come twice, or if that would take too long.
    fn probe(&mut self) -> Option<usize> {
        let Probe { left, right, ends, by_slot, found, .. } = self;
        if right.is_empty() {
            return Some(0);
        }
        lengthen(found, right.len() + AT_ONCE, (0, 0));
        let (ends, by_slot, found) = (&ends[..], &by_slot[..], &mut found[..right.len() + AT_ONCE]);
        let mask = ends.len() - 3;
        let mut looks = LOOKS * (left.len() + right.len());
        let mut pairs = 0;
        for (l, (key, _)) in left.iter().enumerate() {
            let slot = hash_of(key) as usize & mask;
            let (begin, end) = (ends[slot] as usize, ends[slot + 1] as usize);
            let [first, second] = by_slot[begin..].first_chunk()?;
            // There is room as long as no right record has been found twice.
            let next: &mut [_; AT_ONCE] = found.get_mut(pairs..)?.first_chunk_mut()?;
            let is_first = usize::from((begin < end) & (first.0 == *key));
            let is_second = usize::from((begin + 1 < end) & (second.0 == *key));
            next[0] = (l as u32, begin as u32);
            next[is_first] = (l as u32, begin as u32 + 1);
            pairs += is_first + is_second;
            if begin + AT_ONCE < end {
                looks = looks.checked_sub(end - begin)?;
                for (at, (other, _)) in (begin..end).zip(&by_slot[begin..end]).skip(AT_ONCE) {
                    if other == key {
                        *found.get_mut(pairs)? = (l as u32, at as u32);
                        pairs += 1;
                    }
                }
            }
        }
        Some(pairs)
    }

    /// Whether no right record is in two pairs.
    fn are_unique(&mut self, pairs: usize) -> bool {
        self.taken.clear();
        lengthen(&mut self.taken, self.right.len(), false);
        self.found.iter().take(pairs).all(|(_, right)| !replace(&mut self.taken[*right as usize], true))
    }

    /// The next pair's records.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<(&(K, V), &(K, W))> {
        let (left, right) = self.found[self.pairs.as_mut()?.next()?];
        Some((&self.left[left as usize], &self.by_slot[right as usize]))
    }

    /// All pairs have left; the next part may begin.
    pub(super) fn reuse(&mut self) {
        self.left.clear();
        self.right.clear();
        self.pairs = None;
    }

    /// What was taken, for somebody else.
    pub(super) fn into_records(self) -> (Vec<(K, V)>, Vec<(K, W)>, Reservation) {
        (self.left, self.right, self.memory)
    }
}

/// Makes it as long as that at least, with room for no more.
fn lengthen<T: Clone>(of: &mut Vec<T>, len: usize, with: T) {
    if of.len() < len {
        of.reserve_exact(len - of.len());
        of.resize(len, with);
    }
}

/// Adds a side's records.
pub(super) struct Take<'a, R> {
    records: &'a mut Vec<R>,
    room: &'a mut [usize; 2],
    side: usize,
    bytes: [usize; 2],
    memory: &'a mut Reservation,
}

impl<R> Take<'_, R> {
    /// Makes room for more records; says whether there is memory for them.
    #[cold]
    #[inline(never)]
    fn more(&mut self) -> bool {
        let more = self.records.len().max(FIRST);
        self.room[self.side] = self.records.len() + more;
        let used = self.room.iter().zip(self.bytes).map(|(room, bytes)| room * bytes).sum::<usize>() as u64;
        let fits = used <= most(self.memory) && self.memory.grow(used.saturating_sub(self.memory.bytes())).is_ok();
        if fits {
            self.records.reserve_exact(more);
        }
        fits
    }
}

impl<R: Clone> Sink<R> for Take<'_, R> {
    #[inline(always)]
    fn push<L: Lent<R>>(&mut self, item: L) -> bool {
        self.records.push(item.take());
        self.records.len() < self.room[self.side] || self.more()
    }
    #[inline(always)]
    fn push_loans(&mut self, items: &[R], taken: &mut usize) -> bool {
        let mut rest = items;
        while !rest.is_empty() {
            let room = self.room[self.side].saturating_sub(self.records.len());
            let (some, others) = rest.split_at(rest.len().min(room.max(1)));
            self.records.extend_from_slice(some);
            *taken += some.len();
            if self.records.len() >= self.room[self.side] && !self.more() {
                return false;
            }
            rest = others;
        }
        true
    }
}
