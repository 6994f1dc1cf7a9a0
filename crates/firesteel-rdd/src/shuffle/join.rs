//! Joins: the pairs of values of each key.
//!
//! Only the smaller side of a key has to be in memory; the larger one may lie on disk and is read once. Which is the smaller is
//! said by counts, on every machine and with any memory alike: where the left side has as many values as the right one or more,
//! pairs come left by left, else right by right.

use super::{
    cogroup::Gather,
    few::{self, Few},
    lists::{self, Brought, Lists, SideLists},
    probe::Probe,
    read::{PartByPart, Side, SideStream, by_partition},
    rows::{Aside, Disk, Leaving, Left, Row, Rows, one_key_too_large, replay},
};
use crate::{
    Data, Key,
    func::Func,
    pipeline::Pipeline,
    stream::{Flow, Own, Sink, Stream},
    task::{Task, cannot_store},
};
use firesteel_store::{Refused, Reservation, SpillReader, SpillWriter, Spilled, StoreError, weigh::Weigher};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{marker::PhantomData, ops::Range};

/// What a join makes of a key's values, and of a key that a side does not have.
pub trait JoinKind<V, W>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// A left value as it comes out.
    type Left: Clone + 'static;
    /// A right value as it comes out.
    type Right: Clone + 'static;
    /// A left value.
    fn left(value: V) -> Self::Left;
    /// A right value.
    fn right(value: W) -> Self::Right;
    /// What stands for the left side where it has none.
    fn no_left() -> Option<Self::Left>;
    /// What stands for the right side where it has none.
    fn no_right() -> Option<Self::Right>;
}

macro_rules! joins {
    ($($(#[$doc:meta])* $name:ident -> ($l:ty, $r:ty) { $left:expr, $right:expr, $no_left:expr, $no_right:expr })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Serialize, Deserialize)]
        pub struct $name;
        impl<V: Clone + 'static, W: Clone + 'static> JoinKind<V, W> for $name {
            type Left = $l;
            type Right = $r;
            #[inline(always)]
            fn left(value: V) -> $l {
                $left(value)
            }
            #[inline(always)]
            fn right(value: W) -> $r {
                $right(value)
            }
            fn no_left() -> Option<$l> {
                $no_left
            }
            fn no_right() -> Option<$r> {
                $no_right
            }
        }
    )*};
}

joins! {
    /// `join`: keys of both sides.
    Inner -> (V, W) { std::convert::identity, std::convert::identity, None, None }
    /// `left_outer_join`: keys of the left side.
    LeftOuter -> (V, Option<W>) { std::convert::identity, Some, None, Some(None) }
    /// `right_outer_join`: keys of the right side.
    RightOuter -> (Option<V>, W) { Some, std::convert::identity, Some(None), None }
    /// `full_outer_join`: keys of either side.
    FullOuter -> (Option<V>, Option<W>) { Some, Some, Some(None), Some(None) }
}

/// `intersection`: the key, if both sides have it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct InBoth;

impl<K> Func<(K, (Vec<()>, Vec<()>))> for InBoth {
    type Out = Option<K>;
    fn call(&self, (key, (left, right)): (K, (Vec<()>, Vec<()>))) -> Option<K> {
        (!left.is_empty() && !right.is_empty()).then_some(key)
    }
}

/// Joins two sides. Keys come in the order of their first arrival, left side first, in each part of a partition that is spread.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Join<K, V, W, J> {
    left: Side<(K, V)>,
    right: Side<(K, W)>,
    partitions: usize,
    #[serde(skip)]
    kind: PhantomData<fn() -> J>,
}

impl<K, V, W, J> Join<K, V, W, J> {
    /// A join of two sides that are spread alike over so many partitions.
    pub fn new(left: Side<(K, V)>, right: Side<(K, W)>, partitions: usize) -> Self {
        Join { left, right, partitions, kind: PhantomData }
    }
}

impl<K: Key, V: Data, W: Data, J: JoinKind<V, W>> Pipeline for Join<K, V, W, J> {
    type Item = (K, (J::Left, J::Right));
    type Split = u32;
    type Stream = JoinStream<K, V, W, J>;
    fn open(&self, split: u32, task: &Task) -> Self::Stream {
        let (mut left, mut right) = (self.left.open(split, task), self.right.open(split, task));
        JoinStream {
            parts: PartByPart::begin([&mut left, &mut right]),
            left: (left, Aside::new()),
            right: (right, Aside::new()),
            left_is_read: false,
            lists: JoinLists::new::<J>(task).map(Box::new),
            rows: Rows::new(task, "join", |row| row.left.owned() + row.right.owned()),
            state: None,
            pairs: None,
            current: task.memory().reservation().named("join: one key"),
        }
    }
    by_partition!(left, right);
}

/// The values of one key, as far as there is memory; the others lie on disk and come first.
#[derive(Serialize, Deserialize)]
#[serde(bound = "V: Data, W: Data")]
struct Values<V, W> {
    left: Few<V>,
    right: Few<W>,
    /// Only ever of a row that stays in the table until it comes out.
    #[serde(skip)]
    spilled: Option<Box<SpilledSides<V, W>>>,
}

impl<V, W> Default for Values<V, W> {
    fn default() -> Self {
        Values { left: Few::None, right: Few::None, spilled: None }
    }
}

struct SpilledSides<V, W> {
    left: SpilledSide<V>,
    right: SpilledSide<W>,
}

struct SpilledSide<T> {
    writer: Option<SpillWriter<T>>,
    sequences: Vec<Spilled<T>>,
}

impl<T> Default for SpilledSide<T> {
    fn default() -> Self {
        SpilledSide { writer: None, sequences: Vec::new() }
    }
}

impl<T: Data> SpilledSide<T> {
    fn spill(&mut self, values: &mut Few<T>, disk: &Disk) -> Result<(), StoreError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(disk.writer()?),
        };
        for value in std::mem::take(values) {
            writer.push(&value)?;
        }
        let spilled = writer.end()?;
        disk.count(&spilled, spilled.records() * size_of::<T>() as u64);
        self.sequences.push(spilled);
        Ok(())
    }
}

impl<V: Data, W: Data> Row for Values<V, W> {
    fn spill(&mut self, disk: &Disk) -> Result<bool, StoreError> {
        if self.left.len() + self.right.len() == 0 {
            return Ok(false);
        }
        let spilled = self.spilled.get_or_insert_with(|| {
            Box::new(SpilledSides { left: SpilledSide::default(), right: SpilledSide::default() })
        });
        match self.left.len() >= self.right.len() {
            true => spilled.left.spill(&mut self.left, disk)?,
            false => spilled.right.spill(&mut self.right, disk)?,
        }
        Ok(true)
    }
}

/// One side's values of one key, in order.
struct SideValues<T> {
    spilled: std::vec::IntoIter<Spilled<T>>,
    reading: Option<SpillReader<T>>,
    rest: few::IntoIter<T>,
    count: u64,
}

impl<T: Data> SideValues<T> {
    fn new(spilled: Vec<Spilled<T>>, rest: Few<T>) -> Self {
        let count = spilled.iter().map(Spilled::records).sum::<u64>() + rest.len() as u64;
        SideValues { spilled: spilled.into_iter(), reading: None, rest: rest.into_iter(), count }
    }

    /// The values of the smaller side, which has to be in memory as a whole: `memory` grows by what is read from disk.
    fn in_memory(self, disk: &Disk, memory: &mut Reservation) -> few::IntoIter<T> {
        if self.spilled.len() == 0 {
            return self.rest;
        }
        let before = memory.bytes();
        let (mut weigher, mut used, mut values) = (Weigher::default(), 0, Vec::new());
        for value in self {
            used += (size_of::<T>() * 3 / 2) as u64 + weigher.weigh(&value);
            values.push(value);
            if before + used <= memory.bytes() {
                continue;
            }
            let step = (used / 4).max(64 << 10);
            match memory.grow(step) {
                Err(Refused::Budget) if used > memory.task().share() => one_key_too_large(used, disk.task()),
                Err(_) => memory.take(step),
                Ok(()) => {}
            }
        }
        Few::Many(values).into_iter()
    }
}

impl<T: Data> Iterator for SideValues<T> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(reader) = &mut self.reading {
                match reader.next().unwrap_or_else(|e| cannot_store(e)) {
                    Some(value) => return Some(value),
                    None => self.reading = None,
                }
            }
            match self.spilled.next() {
                Some(spilled) => self.reading = Some(spilled.reader()),
                None => return self.rest.next(),
            }
        }
    }
}

/// The pairs of one key.
enum Pairs<V, W, L, R> {
    /// Left by left.
    Left { next: usize, outer: SideValues<V>, current: Option<L>, inner: Few<R> },
    /// Right by right.
    Right { next: usize, outer: SideValues<W>, current: Option<R>, inner: Few<L> },
}

type PairsOf<K, V, W, J> = (K, Pairs<V, W, <J as JoinKind<V, W>>::Left, <J as JoinKind<V, W>>::Right>);

/// The values of the keys of a part that is small.
struct JoinLists<K, V, W> {
    /// Instead of all that follows, as long as no key of the left side that the right one has comes twice.
    probe: Option<Probe<K, V, W>>,
    lists: Lists<K, 2>,
    left: SideLists<V>,
    right: SideLists<W>,
    /// Once both sides are read: the keys that come out.
    keys: Option<Brought<K, 2>>,
    /// The key whose pairs come out, and how many of its outer and inner values have.
    current: Option<(K, [Range<usize>; 2])>,
    done: (usize, usize),
}

impl<K: Key, V: Data, W: Data> JoinLists<K, V, W> {
    /// None where rows are the only way.
    fn new<J: JoinKind<V, W>>(task: &Task) -> Option<Self> {
        let pairs_only = J::no_left().is_none() && J::no_right().is_none();
        let probe = (pairs_only && lists::fits::<K>() && lists::fits::<W>()).then(|| Probe::new(task));
        if !Self::BY_LISTS && probe.is_none() {
            return None;
        }
        let (left, right) = (SideLists::new(), SideLists::new());
        Some(JoinLists { probe, lists: Lists::new(task, "join"), left, right, keys: None, current: None, done: (0, 0) })
    }

    /// Whether lists are a way, and not only the probe.
    const BY_LISTS: bool = lists::fits::<V>() && lists::fits::<W>();

    /// Whether both sides are read.
    fn is_ready(&self) -> bool {
        self.keys.is_some() || self.probe.as_ref().is_some_and(|probe| probe.pairs.is_some())
    }

    /// Both sides are read, or as much as there is memory for.
    fn end(&mut self) -> Brought<K, 2> {
        self.lists.put_in_order(0, &mut self.left);
        self.lists.put_in_order(1, &mut self.right);
        self.lists.end()
    }

    /// All keys have left; the next part may begin.
    fn reuse(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.reuse();
        }
        if let Some(left) = self.keys.take() {
            self.lists.reuse(left);
        }
    }

    /// Makes rows of what there is: there is too much for lists.
    fn give_up_for(&mut self, rows: &mut Rows<K, Values<V, W>>) {
        for (key, [left, right]) in self.end() {
            let (left, right) = (self.left.of(&left).iter().cloned(), self.right.of(&right).iter().cloned());
            rows.again(key, Values { left: left.collect(), right: right.collect(), spilled: None });
        }
    }

    /// Pushes the pairs of all keys; says whether the sink wants more.
    #[inline]
    fn push<J: JoinKind<V, W>, S: Sink<(K, (J::Left, J::Right))>>(&mut self, sink: &mut S) -> bool {
        while let Some((key, left, right)) = self.probe.as_mut().and_then(Probe::next) {
            if !sink.push(Own((key, (J::left(left), J::right(right))))) {
                return false;
            }
        }
        let Some(keys) = &mut self.keys else { return true };
        loop {
            if let Some((key, [left, right])) = &self.current {
                let (left, right) = (self.left.of(left), self.right.of(right));
                let done = &mut self.done;
                let mut push = |left, right| sink.push(Own((key.clone(), (left, right))));
                let wants_more = match (left.is_empty(), right.is_empty()) {
                    (false, false) if left.len() >= right.len() => {
                        nested(done, left, right, |v, w| push(J::left(v.clone()), J::right(w.clone())))
                    }
                    (false, false) => nested(done, right, left, |w, v| push(J::left(v.clone()), J::right(w.clone()))),
                    (true, _) => J::no_left()
                        .is_none_or(|none| nested(done, right, &[none], |w, v| push(v.clone(), J::right(w.clone())))),
                    (_, true) => J::no_right()
                        .is_none_or(|none| nested(done, left, &[none], |v, w| push(J::left(v.clone()), w.clone()))),
                };
                if !wants_more {
                    return false;
                }
                self.current = None;
            }
            let Some((key, [left, right])) = keys.next() else { return true };
            // The only pair of its key is pushed as it is.
            if let ([left], [right]) = (self.left.of(&left), self.right.of(&right)) {
                if !sink.push(Own((key, (J::left(left.clone()), J::right(right.clone()))))) {
                    return false;
                }
            } else {
                (self.current, self.done) = (Some((key, [left, right])), (0, 0));
            }
        }
    }
}

/// Goes on through all outer and inner values, as long as `pair` wants more; says whether it still does.
#[inline]
fn nested<O, I>(done: &mut (usize, usize), outer: &[O], inner: &[I], mut pair: impl FnMut(&O, &I) -> bool) -> bool {
    while let Some(value) = outer.get(done.0) {
        // How far it is, is only noted where it stops.
        if let Some(at) = inner[done.1..].iter().position(|other| !pair(value, other)) {
            done.1 += at + 1;
            return false;
        }
        *done = (done.0 + 1, 0);
    }
    true
}

/// What waits for the next pass.
struct Later<K, V, W> {
    rows: Option<Left<K, Values<V, W>>>,
    left: Option<Spilled<(K, V)>>,
    right: Option<Spilled<(K, W)>>,
}

/// The run of [`Join`].
pub struct JoinStream<K, V, W, J: JoinKind<V, W>> {
    left: (SideStream<(K, V)>, Aside<(K, V)>),
    right: (SideStream<(K, W)>, Aside<(K, W)>),
    /// Which parts of the partition are still to come.
    parts: PartByPart,
    /// The left side of the current part is.
    left_is_read: bool,
    /// What gathers the values of each key, until there are too many for that.
    lists: Option<Box<JoinLists<K, V, W>>>,
    rows: Rows<K, Values<V, W>>,
    /// Once both sides are read: the rows that come out, and what waits.
    state: Option<(Leaving<K, Values<V, W>>, Option<Later<K, V, W>>)>,
    pairs: Option<PairsOf<K, V, W, J>>,
    /// What the values of that key take.
    current: Reservation,
}

/// A key with more values has them weighed while its pairs come out.
const MANY: usize = 1_024;

impl<K: Key, V: Data, W: Data, J: JoinKind<V, W>> JoinStream<K, V, W, J> {
    /// Reads both sides of the current part, as long as there is not too much for that.
    fn read_small(&mut self) -> Flow {
        let Some(JoinLists { probe: Some(probe), .. }) = self.lists.as_deref_mut() else { return self.read_lists() };
        let mut flow = Flow::Done;
        if !self.left_is_read {
            flow = self.left.0.drive(&mut probe.left());
            self.left_is_read = flow == Flow::Done;
        }
        if self.left_is_read {
            flow = self.right.0.drive(&mut probe.right());
        }
        match flow {
            Flow::Starved(_) => flow,
            Flow::Done if probe.find() => flow,
            _ => {
                self.give_up_probe();
                self.read_lists()
            }
        }
    }

    /// Gathers what has been read of the current part into lists if that is all of the left side, or else into rows.
    #[cold]
    #[inline(never)]
    fn give_up_probe(&mut self) {
        let Some((mut lists, probe)) =
            self.lists.take().and_then(|mut lists| lists.probe.take().map(|probe| (lists, probe)))
        else {
            return;
        };
        let (left, right, _memory) = probe.into_records();
        let (mut left, mut right) = (left, right.into_iter());
        let JoinLists { lists: of, left: of_left, right: of_right, .. } = &mut *lists;
        if JoinLists::<K, V, W>::BY_LISTS
            && self.left_is_read
            && left.by_ref().all(|record| of.gather(0, of_left).push(Own(record)))
            && right.by_ref().all(|record| of.gather(1, of_right).known_keys_only(true).push(Own(record)))
        {
            self.lists = Some(lists);
            return;
        }
        lists.give_up_for(&mut self.rows);
        // What left values own may be much, and part of it goes to disk: the task may be asked to stop meanwhile.
        let task = self.rows.disk().task().clone();
        let mut gather = Gather::new(&mut self.rows, &mut self.left.1, |row: &mut Values<V, W>| &mut row.left);
        left.for_each(|record| {
            task.check();
            gather.push(Own(record));
        });
        let gather = Gather::new(&mut self.rows, &mut self.right.1, |row: &mut Values<V, W>| &mut row.right);
        let mut gather = gather.known_keys_only(true);
        right.for_each(|record| {
            task.check();
            gather.push(Own(record));
        });
    }

    /// Reads both sides of the current part into the lists; gives those up where there is too much for them.
    fn read_lists(&mut self) -> Flow {
        let Some(JoinLists { lists, left, right, .. }) = self.lists.as_deref_mut() else { return Flow::Done };
        let mut flow = Flow::Done;
        if !self.left_is_read {
            flow = self.left.0.drive(&mut lists.gather(0, left));
            self.left_is_read = flow == Flow::Done;
        }
        if self.left_is_read {
            let known_keys_only = J::no_left().is_none();
            flow = self.right.0.drive(&mut lists.gather(1, right).known_keys_only(known_keys_only));
        }
        match (flow, &mut self.lists) {
            (Flow::Full, lists) => {
                lists.take().into_iter().for_each(|mut lists| lists.give_up_for(&mut self.rows));
                return Flow::Done;
            }
            (Flow::Done, Some(lists)) => lists.keys = Some(lists.end()),
            _ => {}
        }
        flow
    }

    /// Lets out what has been gathered.
    fn write(&mut self) {
        let (left, right) = (self.left.1.end(self.rows.disk()), self.right.1.end(self.rows.disk()));
        let (leaving, rows) = self.rows.end();
        let more = rows.is_some() || left.is_some() || right.is_some();
        self.state = Some((leaving, more.then_some(Later { rows, left, right })));
    }

    /// Gathers what waited on disk.
    #[cold]
    fn again(&mut self, later: Later<K, V, W>) {
        let task = self.rows.disk().task().clone();
        if let Some(rows) = later.rows {
            self.rows.begin(rows);
        }
        let mut gather = Gather::new(&mut self.rows, &mut self.left.1, |row: &mut Values<V, W>| &mut row.left);
        replay(later.left, &task, |record| {
            gather.push(Own(record));
        });
        let mut gather = Gather::new(&mut self.rows, &mut self.right.1, |row: &mut Values<V, W>| &mut row.right)
            .known_keys_only(J::no_left().is_none());
        replay(later.right, &task, |record| {
            gather.push(Own(record));
        });
        self.write();
    }

    /// Begins with the pairs of a key; `None` if it has none.
    #[inline]
    fn pairs(values: Values<V, W>, disk: &Disk, memory: &mut Reservation) -> Option<Pairs<V, W, J::Left, J::Right>> {
        let Values { left, right, spilled } = values;
        if left.len() + right.len() > MANY {
            memory.take(left.owned() + right.owned());
        }
        let (of_left, of_right) = spilled.map_or_else(Default::default, |s| (s.left.sequences, s.right.sequences));
        let (left, right) = (SideValues::new(of_left, left), SideValues::new(of_right, right));
        if left.count >= right.count {
            let inner: Few<_> = match right.count {
                0 => J::no_right().into_iter().collect(),
                _ => right.in_memory(disk, memory).map(J::right).collect(),
            };
            (inner.len() > 0).then(|| Pairs::Left { next: inner.len(), outer: left, current: None, inner })
        } else {
            let inner: Few<_> = match left.count {
                0 => J::no_left().into_iter().collect(),
                _ => left.in_memory(disk, memory).map(J::left).collect(),
            };
            (inner.len() > 0).then(|| Pairs::Right { next: inner.len(), outer: right, current: None, inner })
        }
    }

    /// Pushes the pairs of the current key; says whether the sink wants more.
    #[inline]
    fn push_pairs<S: Sink<(K, (J::Left, J::Right))>>(&mut self, sink: &mut S) -> bool {
        let Some((key, pairs)) = &mut self.pairs else { return true };
        match pairs {
            Pairs::Left { next, outer, current, inner } => loop {
                while let Some(right) = inner.as_slice().get(*next) {
                    let left = current.clone().expect("there while the inner side is walked");
                    let pair = (left, right.clone());
                    *next += 1;
                    if !sink.push(Own((key.clone(), pair))) {
                        return false;
                    }
                }
                match outer.next() {
                    Some(value) => (*current, *next) = (Some(J::left(value)), 0),
                    None => break,
                }
            },
            Pairs::Right { next, outer, current, inner } => loop {
                while let Some(left) = inner.as_slice().get(*next) {
                    let right = current.clone().expect("there while the inner side is walked");
                    let pair = (left.clone(), right);
                    *next += 1;
                    if !sink.push(Own((key.clone(), pair))) {
                        return false;
                    }
                }
                match outer.next() {
                    Some(value) => (*current, *next) = (Some(J::right(value)), 0),
                    None => break,
                }
            },
        }
        self.pairs = None;
        self.current.shrink_to(0);
        true
    }
}

impl<K: Key, V: Data, W: Data, J: JoinKind<V, W>> Stream for JoinStream<K, V, W, J> {
    type Item = (K, (J::Left, J::Right));
    #[inline]
    fn drive<S: Sink<Self::Item>>(&mut self, sink: &mut S) -> Flow {
        loop {
            if self.state.is_none() && self.lists.is_some() {
                if self.lists.as_ref().is_some_and(|lists| !lists.is_ready()) {
                    let flow = self.read_small();
                    if flow != Flow::Done {
                        return flow;
                    }
                }
                if let Some(lists) = &mut self.lists {
                    if !lists.push::<J, S>(sink) {
                        return Flow::Full;
                    }
                    if !self.parts.next([&mut self.left.0, &mut self.right.0]) {
                        return Flow::Done;
                    }
                    lists.reuse();
                    self.left_is_read = false;
                    continue;
                }
            }
            if self.state.is_none() {
                if !self.left_is_read {
                    let (side, aside) = &mut self.left;
                    let mut gather = Gather::new(&mut self.rows, aside, |row: &mut Values<V, W>| &mut row.left);
                    let flow = side.drive(&mut gather);
                    if flow != Flow::Done {
                        return flow;
                    }
                    self.left_is_read = true;
                }
                let (side, aside) = &mut self.right;
                let gather = Gather::new(&mut self.rows, aside, |row: &mut Values<V, W>| &mut row.right);
                let flow = side.drive(&mut gather.known_keys_only(J::no_left().is_none()));
                if flow != Flow::Done {
                    return flow;
                }
                self.write();
            }
            if !self.push_pairs(sink) {
                return Flow::Full;
            }
            let Some((rows, later)) = &mut self.state else { return Flow::Done };
            match rows.next() {
                // The only pair of its key is pushed as it is.
                Some((key, Values { left: Few::One(left), right: Few::One(right), spilled: None })) => {
                    if !sink.push(Own((key, (J::left(left), J::right(right))))) {
                        return Flow::Full;
                    }
                }
                // So is nothing of a key without any.
                Some((_, Values { right: Few::None, spilled: None, .. })) if J::no_right().is_none() => {}
                Some((key, values)) => {
                    let pairs = Self::pairs(values, self.rows.disk(), &mut self.current);
                    self.pairs = pairs.map(|pairs| (key, pairs));
                }
                None => match later.take() {
                    Some(later) => self.again(later),
                    None if self.parts.next([&mut self.left.0, &mut self.right.0]) => {
                        self.left_is_read = false;
                        if let Some((left, _)) = self.state.take() {
                            self.rows.reuse(left);
                        }
                    }
                    None => return Flow::Done,
                },
            }
        }
    }
}
