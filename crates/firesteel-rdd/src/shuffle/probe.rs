//! The pairs of a small part in which no key that both sides have comes twice on the left, found without a table of keys: the right side's records
//! are put in the order of their hashes by counting, and each left record looks there for its own.
//!
//! Nothing waits for anything: no step depends on what the one before found, nor branches on it, so that a processor has many
//! of them under way. What comes out is what [`Lists`](super::lists::Lists) let out, in the same order; they take over where such a
//! key comes twice, where many records share a slot and where the right side is large, and rows where there is more.
//!
//! Left values may own memory: then rows take over where lists do. Blocks of such records that somebody else keeps are only held, so that
//! nothing but what comes out is cloned.

use super::lists::{FIRST, most, most_owned};
use crate::{
    Data, Key,
    partitioner::hash_of,
    stream::{Lent, Loan, Shared, Sink, push_each},
    task::Task,
};
use firesteel_store::{
    Chunk, Reservation,
    weigh::{self, Weigher},
};
use std::{
    collections::VecDeque,
    mem::{needs_drop, replace, take},
    ops::Range,
    sync::Arc,
};

/// Both sides' records of a part, and which of them belong together.
pub(super) struct Probe<K, V, W> {
    left: Vec<(K, V)>,
    /// All that came of the left side instead, if that was blocks of records that own memory.
    lent: Vec<Held<(K, V)>>,
    right: Vec<(K, W)>,
    room: Room,
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
    /// Left records that own memory, as they come out; and how many of the left side came before these, or before the first block.
    leaving: VecDeque<(K, V)>,
    gone: usize,
    memory: Reservation,
}

/// A block that somebody else keeps, from a record on.
struct Held<R> {
    block: Arc<Vec<R>>,
    from: usize,
}

impl<R> Held<R> {
    #[inline(always)]
    fn records(&self) -> &[R] {
        &self.block[self.from..]
    }
}

/// What there is memory for.
#[derive(Default)]
struct Room {
    /// So many records of each side.
    records: [usize; 2],
    /// What left records own, with the blocks that are held: so much of it as there is, and so much as is reserved.
    owned: [u64; 2],
    weigher: Weigher,
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
            lent: Vec::new(),
            right: Vec::new(),
            room: Room::default(),
            slots: Vec::new(),
            ends: Vec::new(),
            by_slot: Vec::new(),
            taken: Vec::new(),
            found: Vec::new(),
            pairs: None,
            leaving: VecDeque::new(),
            gone: 0,
            memory: task.memory().reservation().named("join"),
        }
    }

    /// Takes the left side's records; full when there is no room for more.
    pub(super) fn left(&mut self) -> Take<'_, (K, V)> {
        let Probe { left, lent, room, memory, .. } = self;
        Take { records: left, lent: Some(lent), room, side: 0, bytes: Self::BYTES, memory }
    }

    /// Takes the right side's records; full when there is no room for more.
    pub(super) fn right(&mut self) -> Take<'_, (K, W)> {
        let Probe { right, room, memory, .. } = self;
        Take { records: right, lent: None, room, side: 1, bytes: Self::BYTES, memory }
    }

    const BYTES: [usize; 2] = [size_of::<(K, V)>(), Self::RIGHT];

    /// Finds the pairs; says whether it could: no right record is in two of them, and few records share a slot.
    pub(super) fn find(&mut self) -> bool {
        self.sort();
        let pairs = self.probe().filter(|pairs| self.are_unique(*pairs));
        self.pairs = pairs.map(|pairs| 0..pairs);
        if needs_drop::<V>() && pairs.is_some() {
            self.leaving = take(&mut self.left).into();
        }
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
        let Probe { left, lent, right, ends, by_slot, found, .. } = self;
        if right.is_empty() {
            return Some(0);
        }
        lengthen(found, right.len() + AT_ONCE, (0, 0));
        let (ends, by_slot, found) = (&ends[..], &by_slot[..], &mut found[..right.len() + AT_ONCE]);
        let mask = ends.len() - 3;
        let pieces = || lent.iter().map(Held::records).chain([&left[..]]);
        let mut looks = LOOKS * (pieces().map(<[_]>::len).sum::<usize>() + right.len());
        let (mut l, mut pairs) = (0, 0);
        for piece in pieces() {
            for (key, _) in piece {
                let slot = hash_of(key) as usize & mask;
                let (begin, end) = (ends[slot] as usize, ends[slot + 1] as usize);
                let [first, second] = by_slot[begin..].first_chunk()?;
                // There is room as long as no right record has been found twice.
                let next: &mut [_; AT_ONCE] = found.get_mut(pairs..)?.first_chunk_mut()?;
                let is_first = usize::from((begin < end) & (first.0 == *key));
                let is_second = usize::from((begin + 1 < end) & (second.0 == *key));
                next[0] = (l, begin as u32);
                next[is_first] = (l, begin as u32 + 1);
                pairs += is_first + is_second;
                if begin + AT_ONCE < end {
                    looks = looks.checked_sub(end - begin)?;
                    for (at, (other, _)) in (begin..end).zip(&by_slot[begin..end]).skip(AT_ONCE) {
                        if other == key {
                            *found.get_mut(pairs)? = (l, at as u32);
                            pairs += 1;
                        }
                    }
                }
                l += 1;
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

    /// The next pair, with its key.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<(K, V, W)> {
        let pairs = self.pairs.as_mut()?;
        let at = pairs.next()?;
        let (left, right) = self.found[at];
        let w = self.by_slot[right as usize].1.clone();
        let (key, v) = match needs_drop::<V>() {
            true => {
                let again = pairs.start < pairs.end && self.found[at + 1].0 == left;
                self.next_left(left as usize, again).expect("a left record that was found")
            }
            false => self.left[left as usize].clone(),
        };
        Some((key, v, w))
    }

    /// A left record that owns memory: cloned if it is lent, or is wanted `again`.
    #[inline(always)]
    fn next_left(&mut self, at: usize, again: bool) -> Option<(K, V)> {
        while let Some(held) = self.lent.first() {
            if let Some(record) = held.records().get(at - self.gone) {
                return Some(record.clone());
            }
            self.gone += held.records().len();
            self.lent.remove(0);
        }
        self.leaving.drain(..at - self.gone);
        self.gone = at + usize::from(!again);
        if again { self.leaving.front().cloned() } else { self.leaving.pop_front() }
    }

    /// All pairs have left; the next part may begin.
    pub(super) fn reuse(&mut self) {
        if needs_drop::<V>() {
            self.leaving.clear();
            (self.left, self.gone) = (take(&mut self.leaving).into(), 0);
        }
        self.left.clear();
        self.lent.clear();
        self.right.clear();
        self.pairs = None;
        // What left values owned has gone with them.
        self.room.owned = [0; 2];
        let in_place = self.room.records.iter().zip(Self::BYTES).map(|(room, bytes)| room * bytes).sum::<usize>();
        self.memory.shrink_to(in_place as u64);
    }

    /// What was taken, for somebody else.
    pub(super) fn into_records(self) -> (impl Iterator<Item = (K, V)>, Vec<(K, W)>, Reservation) {
        let lent = self.lent.into_iter();
        let lent = lent.flat_map(|held| (held.from..held.block.len()).map(move |at| held.block[at].clone()));
        (lent.chain(self.left), self.right, self.memory)
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
    /// Where blocks are held.
    lent: Option<&'a mut Vec<Held<R>>>,
    room: &'a mut Room,
    side: usize,
    bytes: [usize; 2],
    memory: &'a mut Reservation,
}

impl<R: Data> Take<'_, R> {
    /// Makes room for more records; says whether there is memory for them.
    #[cold]
    #[inline(never)]
    fn more(&mut self) -> bool {
        let more = self.records.len().max(FIRST);
        self.room.records[self.side] = self.records.len() + more;
        let fits = self.reserve();
        if fits {
            self.records.reserve_exact(more);
        }
        fits
    }

    /// Sees that there is memory for all that there is room for, and for what records own.
    #[cold]
    #[inline(never)]
    fn reserve(&mut self) -> bool {
        let Room { records, owned: [owned, reserved], .. } = &mut *self.room;
        if owned > reserved {
            *reserved = *owned + *owned / 4;
        }
        let in_place = records.iter().zip(self.bytes).map(|(room, bytes)| room * bytes).sum::<usize>() as u64;
        let used = in_place + *reserved;
        let fits = in_place <= most(self.memory) && used <= most_owned(self.memory);
        fits && self.memory.grow(used.saturating_sub(self.memory.bytes())).is_ok()
    }

    /// Keeps the records of blocks that are held, since others came.
    #[cold]
    #[inline(never)]
    fn keep_lent(&mut self) {
        for held in self.lent.as_deref_mut().map(take).unwrap_or_default() {
            self.records.extend_from_slice(held.records());
        }
    }
}

impl<R: Data> Sink<R> for Take<'_, R> {
    #[inline(always)]
    fn push<L: Lent<R>>(&mut self, mut item: L) -> bool {
        let mut fits = true;
        if needs_drop::<R>() {
            if self.lent.as_ref().is_some_and(|lent| !lent.is_empty()) {
                self.keep_lent();
            }
            let Room { owned: [owned, reserved], weigher, .. } = &mut *self.room;
            *owned += weigher.weigh(item.get());
            fits = *owned <= *reserved;
        }
        self.records.push(item.take());
        (self.records.len() < self.room.records[self.side] || self.more()) && (fits || self.reserve())
    }
    #[inline(always)]
    fn push_loans(&mut self, items: &[R], taken: &mut usize) -> bool {
        let mut rest = items;
        if needs_drop::<R>() {
            return rest.iter().all(|item| {
                *taken += 1;
                self.push(Loan(item))
            });
        }
        while !rest.is_empty() {
            let room = self.room.records[self.side].saturating_sub(self.records.len());
            let (some, others) = rest.split_at(rest.len().min(room.max(1)));
            self.records.extend_from_slice(some);
            *taken += some.len();
            if self.records.len() >= self.room.records[self.side] && !self.more() {
                return false;
            }
            rest = others;
        }
        true
    }
    #[inline(always)]
    fn push_shared(&mut self, shared: &mut Shared<R>) -> bool {
        let Shared { chunk, from, .. } = shared;
        match (&mut self.lent, chunk) {
            (Some(lent), Chunk::Values(block)) if needs_drop::<R>() && self.records.is_empty() => {
                let held = Held { block: block.clone(), from: replace(from, block.len()) };
                let [owned, reserved] = &mut self.room.owned;
                *owned += size_of_val(held.records()) as u64 + weigh::all_owned(held.records());
                let fits = *owned <= *reserved;
                lent.push(held);
                fits || self.reserve()
            }
            (_, Chunk::Values(block)) => self.push_loans(&block[*from..], from),
            _ => push_each(self, shared),
        }
    }
}
