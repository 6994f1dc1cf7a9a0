//! The reduce side: one partition's records out of every map output, in map order.

use crate::{
    Data, Key,
    failure::TaskFailure,
    node::Erased,
    partitioner::hash_of,
    peers::{RemoteOutputs, RemotePart},
    pipeline::Pipeline,
    segment::PortStream,
    stream::{Decoded, Flow, Lent, Loan, Own, Sink, Stream},
    task::{MapOutputs, Stride, Task},
};
use firesteel_model::{AttemptId, ExecutorId, PartitionIndex, RddId, ShuffleId};
use firesteel_store::{MapOutput, Piece, RawPage, StoreError, Wanted, part_of};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::Instant,
};

/// Lends the records of one reduce partition: map output after map output, each in its order of arrival. A partition that is spread
/// is read part by part, or as a whole: then every map output part by part.
pub struct RunStream<R> {
    task: Task,
    shuffle: ShuffleId,
    partition: usize,
    outputs: Arc<MapOutputs>,
    /// What other executors hold; none if they hold nothing.
    elsewhere: Option<Box<Elsewhere>>,
    wanted: Wanted,
    /// Of a record's key, where a part is wanted.
    hash: Option<fn(&R) -> u64>,
    next_map: usize,
    current: Option<Reading<R>>,
    stride: Stride,
}

/// Where in a map output the reader is: in its parts one after the other, in each first in the encoded pieces, then in
/// values in memory.
struct Reading<R> {
    /// None if another executor holds it: then it is one piece, and already opened.
    output: Option<Arc<MapOutput<R>>>,
    /// Those that are still to be read.
    parts: Range<usize>,
    /// Whether records of other parts than the one that is wanted are among them.
    among_others: bool,
    next_piece: usize,
    piece: Option<Box<Piece<R>>>,
    /// How many of the records in memory were read.
    read: usize,
}

impl<R> Reading<R> {
    fn has_pieces(&self) -> bool {
        self.piece.is_some() || self.output.as_ref().is_some_and(|output| output.pieces() > 0)
    }
}

/// So many executors are asked ahead of the one that is read from.
const AHEAD: usize = 8;

/// What a reduce partition reads from other executors.
struct Elsewhere {
    /// Those that were asked, by their place among the holders, and how many of their map outputs are still to come.
    asked: BTreeMap<u32, (Box<dyn RemoteOutputs>, usize)>,
    /// Those that are to be asked, in the order of their first map output, and for which.
    to_ask: VecDeque<(u32, Vec<(PartitionIndex, AttemptId)>)>,
}

impl Elsewhere {
    /// Everything that this executor does not hold itself.
    fn of(outputs: &MapOutputs, here: ExecutorId) -> Option<Box<Self>> {
        let mut to_ask: VecDeque<(u32, Vec<_>)> = VecDeque::new();
        let mut places = BTreeMap::new();
        for (map, attempt) in outputs.attempts.iter().enumerate() {
            let Some((place, _)) = outputs.holder(map).filter(|(_, holder)| holder.executor != here) else { continue };
            let at = *places.entry(place).or_insert_with(|| {
                to_ask.push_back((place, Vec::new()));
                to_ask.len() - 1
            });
            to_ask[at].1.push((PartitionIndex(map as u32), *attempt));
        }
        (!to_ask.is_empty()).then(|| Box::new(Elsewhere { asked: BTreeMap::new(), to_ask }))
    }

    /// The next map output of the holder at this place.
    fn next(
        &mut self,
        place: u32,
        outputs: &MapOutputs,
        reader: (&Task, ShuffleId, (u32, Wanted)),
    ) -> Result<RemotePart, StoreError> {
        let (task, shuffle, partition) = reader;
        while self.asked.len() < AHEAD || !self.asked.contains_key(&place) {
            let at = match self.asked.contains_key(&place) {
                true => 0,
                false => self.to_ask.iter().position(|(other, _)| *other == place).unwrap_or(0),
            };
            let Some((place, maps)) = self.to_ask.remove(at) else { break };
            let (holder, count) = (&outputs.holders[place as usize], maps.len());
            let peers = task.executor().peers.as_ref().expect("only executors with peers are told of other holders");
            self.asked.insert(place, (peers.map_outputs(holder, shuffle, partition, maps), count));
        }
        let (remote, left) = self.asked.get_mut(&place).expect("whoever holds something was asked");
        *left -= 1;
        let last = *left == 0;
        let part = remote.next();
        if last {
            self.asked.remove(&place);
        }
        part
    }
}

impl<R: Data> RunStream<R> {
    /// Opens a reduce partition. A shuffle that the driver told nothing about is a fetch failure.
    pub fn open(task: &Task, shuffle: ShuffleId, partition: u32) -> Self {
        let Some(outputs) = task.outputs(shuffle) else {
            TaskFailure::Fetch {
                shuffle,
                map: PartitionIndex(0),
                attempt: None,
                holder: None,
                unreachable: false,
                message: "the map outputs are not complete".into(),
            }
            .raise()
        };
        RunStream {
            task: task.clone(),
            shuffle,
            partition: partition as usize,
            elsewhere: Elsewhere::of(&outputs, task.executor().id),
            outputs,
            wanted: Wanted::All,
            hash: None,
            next_map: 0,
            current: None,
            stride: Stride::new(),
        }
    }

    /// Leaves the task: the map output that is being read is lost, or damaged.
    fn lost(&self, message: String, unreachable: bool) -> ! {
        let map = self.next_map.saturating_sub(1);
        let attempt = self.outputs.attempts.get(map).copied();
        let holder = self.outputs.holder(map).map_or(self.task.executor().id, |(_, holder)| holder.executor);
        let (shuffle, map, holder) = (self.shuffle, PartitionIndex(map as u32), Some(holder));
        TaskFailure::Fetch { shuffle, map, attempt, holder, unreachable, message }.raise()
    }

    fn unless_lost<T>(&self, result: Result<T, StoreError>) -> T {
        result.unwrap_or_else(|e| self.lost(e.to_string(), matches!(e, StoreError::Unreachable { .. })))
    }

    /// Whether this is the first time that the map outputs are read.
    fn is_first(&self) -> bool {
        matches!(self.wanted, Wanted::All | Wanted::Part { part: 0, .. })
    }

    fn next_output(&mut self) -> bool {
        let Some(attempt) = self.outputs.attempts.get(self.next_map).copied() else { return false };
        self.stride.begin(&self.task);
        let map = PartitionIndex(self.next_map as u32);
        self.next_map += 1;
        if let Some((place, holder)) = self.outputs.holder(map.index())
            && let Some(elsewhere) = &mut self.elsewhere
            && holder.executor != self.task.executor().id
        {
            let since = Instant::now();
            let wanted = (self.partition as u32, self.wanted);
            let part = elsewhere.next(place, &self.outputs, (&self.task, self.shuffle, wanted));
            let part = self.unless_lost(part);
            let records = if part.among_others && !self.is_first() { 0 } else { part.records };
            self.task.measure(|m| {
                m.shuffle_fetch_wait_ns += since.elapsed().as_nanos() as u64;
                m.shuffle_read_records += records;
                m.shuffle_read_remote_bytes += part.bytes;
                m.shuffle_read_remote_blocks += u64::from(part.records > 0);
            });
            if part.records > 0 {
                let piece = Piece::of_stream(part.stream, holder.to_string(), part.records, part.bytes);
                self.current = Some(Reading {
                    output: None,
                    parts: 0..1,
                    among_others: part.among_others,
                    next_piece: 0,
                    piece: Some(Box::new(piece)),
                    read: 0,
                });
            }
            return true;
        }
        let Some(output) = self.task.executor().shuffles.get::<R>(self.shuffle, map, attempt) else {
            self.lost(format!("the output of map task {map} (attempt {attempt}) is gone"), false)
        };
        let (parts, among_others) = output.parts(self.partition, self.wanted);
        let records = parts.clone().map(|part| output.records_in_memory(part) as u64).sum::<u64>();
        if records == 0 && output.pieces() == 0 {
            return true;
        }
        if !among_others || self.is_first() {
            self.count(records, records * size_of::<R>() as u64);
        }
        self.current = Some(Reading { output: Some(output), parts, among_others, next_piece: 0, piece: None, read: 0 });
        true
    }

    fn count(&self, records: u64, bytes: u64) {
        self.task.measure(|m| {
            m.shuffle_read_records += records;
            m.shuffle_read_local_bytes += bytes;
            m.shuffle_read_local_blocks += u64::from(records > 0);
        });
    }

    /// The piece of the current map output that is being read, or the next one that has records.
    fn take_piece(&mut self) -> Option<Box<Piece<R>>> {
        loop {
            let reading = self.current.as_mut()?;
            if let Some(piece) = reading.piece.take() {
                return Some(piece);
            }
            let output = reading.output.as_ref().filter(|output| reading.next_piece < output.pieces())?;
            self.task.check();
            let piece = output.piece(reading.next_piece, reading.parts.start);
            reading.next_piece += 1;
            let among_others = reading.among_others;
            let piece = self.unless_lost(piece);
            if !among_others || self.is_first() {
                self.count(piece.records(), piece.bytes());
            }
            if piece.records() > 0 {
                return Some(Box::new(piece));
            }
        }
    }

    /// The current piece is read another time, from where it is.
    fn put_back(&mut self, piece: Box<Piece<R>>) {
        if let Some(reading) = &mut self.current {
            reading.piece = Some(piece);
        }
    }
}

/// Of which part records are wanted, as a power of two, and what a record's key hashes to; where other parts' are among them.
type Sieve<R> = Option<(u32, u32, fn(&R) -> u64)>;

/// How records are taken out of map outputs.
trait Take<R> {
    /// Takes a piece's next record, unless it is sorted out; says whether more are wanted, or that there is none.
    fn decode(&mut self, piece: &mut Piece<R>, sieve: Sieve<R>) -> Result<Option<bool>, StoreError>;
    /// Takes all records of a page, none of which is sorted out, if they are wanted so; says whether it did.
    #[inline(always)]
    fn page(&mut self, _page: &Arc<RawPage>) -> bool {
        false
    }
    /// Takes a record that lies in memory.
    fn lend(&mut self, record: &R, sieve: Sieve<R>) -> bool;
    /// Takes records that lie one after another, and adds to `taken` how many; says whether more are wanted: if so, all were taken.
    #[inline(always)]
    fn lend_all(&mut self, records: &[R], sieve: Sieve<R>, taken: &mut usize) -> bool {
        self.lend_each(records, sieve, taken)
    }
    /// The same, one by one.
    #[inline(always)]
    fn lend_each(&mut self, records: &[R], sieve: Sieve<R>, taken: &mut usize) -> bool {
        records.iter().all(|record| {
            *taken += 1;
            self.lend(record, sieve)
        })
    }
}

/// As they are.
struct Records<'a, S>(&'a mut S);

impl<R: Data, S: Sink<R>> Take<R> for Records<'_, S> {
    #[inline(always)]
    fn decode(&mut self, piece: &mut Piece<R>, sieve: Sieve<R>) -> Result<Option<bool>, StoreError> {
        let Some(record) = piece.next()? else { return Ok(None) };
        let wanted = sieve.is_none_or(|(part, spread, hash)| part_of(hash(&record), spread) == part as usize);
        Ok(Some(!wanted || self.0.push(Decoded(record, piece))))
    }
    #[inline(always)]
    fn page(&mut self, page: &Arc<RawPage>) -> bool {
        self.0.push_page(page)
    }
    #[inline(always)]
    fn lend(&mut self, record: &R, sieve: Sieve<R>) -> bool {
        let wanted = sieve.is_none_or(|(part, spread, hash)| part_of(hash(record), spread) == part as usize);
        !wanted || self.0.push(Loan(record))
    }
    #[inline(always)]
    fn lend_all(&mut self, records: &[R], sieve: Sieve<R>, taken: &mut usize) -> bool {
        match sieve {
            None => self.0.push_loans(records, taken),
            Some(_) => self.lend_each(records, sieve, taken),
        }
    }
}

/// Where pairs go whose keys are text; as [`Sink`].
pub(super) trait TextSink<X> {
    /// Accepts a pair; the text stays where it lies, and comes with its hash.
    fn push<L: Lent<X>>(&mut self, hash: u64, text: &str, value: L) -> bool;
}

/// Without a `String` for each.
struct AsTexts<'a, S>(&'a mut S);

impl<S> AsTexts<'_, S> {
    #[inline(always)]
    fn push<X, L: Lent<X>>(&mut self, text: &str, value: L, sieve: Sieve<(String, X)>) -> bool
    where
        S: TextSink<X>,
    {
        let hash = hash_of(text);
        let wanted = sieve.is_none_or(|(part, spread, _)| part_of(hash, spread) == part as usize);
        !wanted || self.0.push(hash, text, value)
    }
}

impl<X: Data, S: TextSink<X>> Take<(String, X)> for AsTexts<'_, S> {
    #[inline(always)]
    fn decode(
        &mut self,
        piece: &mut Piece<(String, X)>,
        sieve: Sieve<(String, X)>,
    ) -> Result<Option<bool>, StoreError> {
        let Some((text, value)) = piece.next_as::<(&str, X)>()? else { return Ok(None) };
        Ok(Some(self.push(text, Own(value), sieve)))
    }
    #[inline(always)]
    fn lend(&mut self, (text, value): &(String, X), sieve: Sieve<(String, X)>) -> bool {
        self.push(text, Loan(value), sieve)
    }
}

impl<X: Data> RunStream<(String, X)> {
    /// Drives pairs whose keys nobody needs to own.
    pub(super) fn drive_texts<S: TextSink<X>>(&mut self, sink: &mut S) -> Flow {
        self.drive_as(&mut AsTexts(sink))
    }
}

impl<R: Data> Stream for RunStream<R> {
    type Item = R;

    #[inline]
    fn drive<S: Sink<R>>(&mut self, sink: &mut S) -> Flow {
        self.drive_as(&mut Records(sink))
    }
}

impl<R: Data> RunStream<R> {
    #[inline(always)]
    fn drive_as<T: Take<R>>(&mut self, take: &mut T) -> Flow {
        loop {
            let sifted = self.current.as_ref().is_some_and(|reading| reading.among_others);
            let sieve = match (self.wanted, self.hash.filter(|_| sifted)) {
                (Wanted::Part { part, spread }, Some(hash)) => Some((part, spread, hash)),
                _ => None,
            };
            if self.current.as_ref().is_some_and(Reading::has_pieces) {
                let mut until_look = Stride::MAX;
                while let Some(mut piece) = self.take_piece() {
                    while !sifted && piece.page().is_some_and(|page| take.page(page)) {
                        piece.skip_page();
                        self.task.check();
                    }
                    while let Some(go) = self.unless_lost(take.decode(&mut piece, sieve)) {
                        until_look -= 1;
                        if until_look == 0 {
                            self.task.check();
                            until_look = Stride::MAX;
                        }
                        if !go {
                            self.put_back(piece);
                            return Flow::Full;
                        }
                    }
                }
            }
            if let Some(Reading { output: Some(output), parts, next_piece, read, .. }) = &mut self.current {
                let mut skip = *read;
                for slice in output.in_memory(parts.start) {
                    if skip >= slice.len() {
                        skip -= slice.len();
                        continue;
                    }
                    for block in slice[std::mem::take(&mut skip)..].chunks(Stride::MAX as usize) {
                        self.task.check();
                        if !take.lend_all(block, sieve, read) {
                            return Flow::Full;
                        }
                    }
                }
                parts.next();
                (*next_piece, *read) = (0, 0);
                if parts.start < parts.end {
                    continue;
                }
            }
            self.current = None;
            if !self.next_output() {
                return Flow::Done;
            }
        }
    }
}

/// One input of an operation that brings RDDs together: in place, where the data already lie right, or by a shuffle.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Side<R> {
    /// The partition of the same index of an RDD that is spread as the result will be.
    Narrow(Erased<R>),
    /// The reduce partition of a shuffle.
    Shuffle(ShuffleId),
}

impl<R: Data> Side<R> {
    /// Opens a partition.
    pub fn open(&self, partition: u32, task: &Task) -> SideStream<R> {
        match self {
            Side::Narrow(rdd) => SideStream::Narrow(rdd.open(partition, task)),
            Side::Shuffle(shuffle) => SideStream::Shuffle(Box::new(RunStream::open(task, *shuffle, partition))),
        }
    }
    /// Names the erased RDD that is read, if one is.
    pub fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        if let Side::Narrow(rdd) = self {
            rdd.refers(visit);
        }
    }
    /// Names the erased partition that is read, if one is.
    pub fn reads(&self, partition: u32, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        if let Side::Narrow(rdd) = self {
            rdd.reads(&partition, visit);
        }
    }
}

/// The run of a [`Side`].
pub enum SideStream<R> {
    /// In place.
    Narrow(PortStream<R>),
    /// By a shuffle.
    Shuffle(Box<RunStream<R>>),
}

/// A side that can be read part by part.
pub(super) trait InParts {
    /// Into how many parts it is spread, as a power of two; nothing where it lies in place, and has to be read as a whole.
    fn spread(&mut self) -> Option<u32>;
    /// Begins with a part of `1 << spread`.
    fn begin_part(&mut self, part: u32, spread: u32);
}

impl<K: Key, V: Data> InParts for RunStream<(K, V)> {
    fn spread(&mut self) -> Option<u32> {
        Some(self.outputs.spread)
    }
    fn begin_part(&mut self, part: u32, spread: u32) {
        let hash: fn(&(K, V)) -> u64 = |record| hash_of(&record.0);
        (self.wanted, self.hash) = (Wanted::Part { part, spread }, Some(hash));
        self.next_map = 0;
        self.elsewhere = Elsewhere::of(&self.outputs, self.task.executor().id);
    }
}

impl<K: Key, V: Data> InParts for SideStream<(K, V)> {
    fn spread(&mut self) -> Option<u32> {
        match self {
            SideStream::Narrow(_) => None,
            SideStream::Shuffle(stream) => stream.spread(),
        }
    }
    fn begin_part(&mut self, part: u32, spread: u32) {
        if let SideStream::Shuffle(stream) = self {
            stream.begin_part(part, spread);
        }
    }
}

/// The parts in which an operation takes its sides, so that its table of one part stays in the processor's cache. Sides of few
/// records have a single part: where all have, keys keep the order of their first arrival.
pub(crate) struct PartByPart {
    part: u32,
    spread: u32,
}

impl PartByPart {
    /// A partition that has to be read as a whole.
    pub(super) fn whole() -> Self {
        PartByPart { part: 0, spread: 0 }
    }

    /// Begins with the first part of each side. If one has to be read as a whole, all have to.
    pub(super) fn begin<const N: usize>(mut sides: [&mut dyn InParts; N]) -> Self {
        let spread = sides.iter_mut().try_fold(0, |most, side| Some(side.spread()?.max(most)));
        let parts = PartByPart { part: 0, spread: spread.unwrap_or(0) };
        sides.iter_mut().for_each(|side| side.begin_part(0, parts.spread));
        parts
    }

    /// Begins with the next part of each side, if there is one.
    pub(super) fn next<const N: usize>(&mut self, mut sides: [&mut dyn InParts; N]) -> bool {
        if self.part + 1 == 1 << self.spread {
            return false;
        }
        self.part += 1;
        sides.iter_mut().for_each(|side| side.begin_part(self.part, self.spread));
        true
    }
}

impl<R: Data> Stream for SideStream<R> {
    type Item = R;
    #[inline]
    fn drive<S: Sink<R>>(&mut self, sink: &mut S) -> Flow {
        match self {
            SideStream::Narrow(stream) => stream.drive(sink),
            SideStream::Shuffle(stream) => stream.drive(sink),
        }
    }
}

/// The parts of a pipeline that brings sides together partition by partition.
macro_rules! by_partition {
    ($($side:ident),+) => {
        fn splits(&self, _: &dyn $crate::pipeline::Plan) -> firesteel_model::Result<Vec<u32>> {
            Ok((0..self.partitions as u32).collect())
        }
        fn refers(&self, visit: &mut dyn FnMut(firesteel_model::RddId)) {
            $(self.$side.refers(visit);)+
        }
        fn reads(
            &self,
            split: &u32,
            visit: &mut dyn FnMut(firesteel_model::RddId, firesteel_model::PartitionIndex),
        ) {
            $(self.$side.reads(*split, visit);)+
        }
    };
}
pub(super) use by_partition;

impl<R: Data> Pipeline for ReadSide<R> {
    type Item = R;
    type Split = u32;
    type Stream = SideStream<R>;
    fn open(&self, split: u32, task: &Task) -> SideStream<R> {
        self.side.open(split, task)
    }
    by_partition!(side);
}

/// Reads one side as it is: `partition_by`, `repartition`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ReadSide<R> {
    /// What is read.
    pub side: Side<R>,
    /// How many partitions there are.
    pub partitions: usize,
}
