//! Rows by key within a task's memory: what every operation gathers in that needs all of a key's records.
//!
//! The rows that come out are the same, in the same order, whether memory was ample or not: keys in the order of their first
//! arrival, and in each row what came, in the order in which it came. When memory runs out the keys that came last leave
//! for the disk with what they have (they are *shed*), and the table is closed: records of keys that it does not have go to disk as
//! they are. At the end of the input the rows that stayed come out; then another pass begins with what lies on disk: keys shed
//! last, which came before those shed earlier, then records in order of arrival. Every pass lets at least one key out.
//!
//! Rows that are in memory while another operator of the task is refused (the other side of a join that is made in the same task, say) are shed
//! or set aside as soon as it is their turn, so that the other goes on with more than the least.

use super::{
    outgoing::Outgoing,
    table::{Entry, Table},
};
use crate::{
    Key,
    failure::TaskFailure,
    task::{Task, cannot_store},
};
use firesteel_model::Error;
use firesteel_store::{Refused, Reservation, SpillReader, SpillWriter, Spilled, StoreError, weigh};
use serde::{Serialize, de::DeserializeOwned};
use std::mem::{needs_drop, take};

/// Memory is asked for in steps of at least and at most so many bytes.
const STEP_BYTES: (u64, u64) = (64 << 10, 4 << 20);
/// What an operator holds at least.
pub(crate) const MIN_BYTES: u64 = 256 << 10;

/// What is gathered for one key.
pub(crate) trait Row: Serialize + DeserializeOwned {
    /// Moves what it can of this row to disk; says whether that was anything. Called for a row that stays in the table.
    fn spill(&mut self, _disk: &Disk) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// Where a task's operators spill to.
#[derive(Clone)]
pub(crate) struct Disk(Task);

impl Disk {
    pub(crate) fn new(task: &Task) -> Self {
        Disk(task.clone())
    }

    pub(crate) fn task(&self) -> &Task {
        &self.0
    }

    /// Begins a file.
    pub(crate) fn writer<R: Serialize>(&self) -> Result<SpillWriter<R>, StoreError> {
        SpillWriter::new(&self.0.executor().scratch, self.0.executor().compress_spills)
    }

    /// Counts what was written.
    pub(crate) fn count<R>(&self, spilled: &Spilled<R>, memory: u64) {
        self.0.measure(|m| {
            m.memory_bytes_spilled += memory;
            m.disk_bytes_spilled += spilled.bytes();
        });
    }

    pub(crate) fn expect<T>(&self, result: Result<T, StoreError>) -> T {
        result.unwrap_or_else(|e| cannot_store(e))
    }
}

/// Records that go to disk as they are; the file is made with the first.
pub(crate) struct Aside<R>(Option<SpillWriter<R>>);

impl<R: Serialize> Aside<R> {
    pub(crate) fn new() -> Self {
        Aside(None)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn push(&mut self, record: &R, disk: &Disk) {
        let writer = match &mut self.0 {
            Some(writer) => writer,
            None => self.0.insert(disk.expect(disk.writer())),
        };
        disk.expect(writer.push(record));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Ends the sequence, if there is one.
    pub(crate) fn end(&mut self, disk: &Disk) -> Option<Spilled<R>> {
        let spilled = disk.expect(self.0.take()?.end());
        disk.count(&spilled, 0);
        Some(spilled)
    }
}

/// The rows of a partition, as far as there is memory.
pub(crate) struct Rows<K, R> {
    table: Table<K, R>,
    disk: Disk,
    memory: Reservation,
    /// What a row owns outside itself.
    weigh: fn(&R) -> u64,
    /// What the rows take, by estimate, and when they were last weighed.
    used: u64,
    weighed: u64,
    /// Keys that are not in the table have to wait for the next pass.
    closed: bool,
    shedding: Option<SpillWriter<(K, R)>>,
    /// Keys that were shed in this pass, sequence after sequence; later sequences hold keys that came earlier.
    shed: Vec<Spilled<(K, R)>>,
    /// Rows of an earlier pass that found the table closed.
    late: Aside<(K, R)>,
}

/// What one pass leaves for the next: rows in order.
pub(crate) struct Left<K, R> {
    rows: Vec<Spilled<(K, R)>>,
}

impl<K: Key, R: Row> Rows<K, R> {
    /// No rows yet. `operator` is who gathers them; `weigh` says what one owns outside itself.
    pub(crate) fn new(task: &Task, operator: &'static str, weigh: fn(&R) -> u64) -> Self {
        Rows {
            weigh,
            table: Table::new(),
            disk: Disk::new(task),
            memory: task.memory().spillable().named(operator),
            used: 0,
            weighed: 0,
            closed: false,
            shedding: None,
            shed: Vec::new(),
            late: Aside::new(),
        }
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The row of a key that is in the table.
    #[inline(always)]
    pub(crate) fn find(&mut self, hash: u64, key: &K) -> Option<&mut R> {
        self.table.find(hash, key)
    }

    /// Whether new keys may be added.
    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        !self.closed
    }

    /// Adds a key that is not there. `owned` is what key and row own outside themselves.
    #[inline(always)]
    pub(crate) fn insert(&mut self, hash: u64, key: K, row: R, owned: u64) {
        self.table.insert(hash, key, row);
        self.grew(Table::<K, R>::IN_PLACE + owned);
    }

    /// Counts what rows have grown by.
    #[inline(always)]
    pub(crate) fn grew(&mut self, bytes: u64) {
        self.used += bytes;
        if self.used > self.memory.room() {
            self.reserve();
        }
    }

    #[cold]
    #[inline(never)]
    fn reserve(&mut self) {
        if self.memory.is_asked() {
            self.shrink();
        }
        if self.used / 2 >= self.weighed.max(MIN_BYTES) {
            self.weigh();
        }
        while self.used > self.memory.bytes() {
            let lacking = self.used - self.memory.bytes();
            let step = (self.used / 4).clamp(STEP_BYTES.0, STEP_BYTES.1).max(lacking);
            let Err(refused) = self.memory.grow(step).or_else(|_| self.memory.grow(lacking)) else { return };
            if self.used < self.memory.at_least(MIN_BYTES) {
                // Whatever others hold: with less, every pass would let out next to nothing.
                return self.memory.take(lacking);
            }
            let estimated = self.used;
            self.weigh();
            // Rows that change without growing look as if they had grown.
            let overrated = self.used < estimated / 2;
            if refused == Refused::Pressure && self.used < self.memory.task().share() / 4 {
                // Others are to blame for the pressure.
                self.memory.take(self.used.saturating_sub(self.memory.bytes()));
            } else if self.table.len() > 1 && !overrated {
                self.shed();
            } else if !overrated {
                self.relieve(refused);
            }
        }
    }

    /// Another operator of the task was refused, and these rows hold more.
    fn shrink(&mut self) {
        self.weigh();
        if self.used >= 2 * self.memory.at_least(MIN_BYTES) && self.table.len() > 1 {
            self.shed();
        } else {
            self.memory.shrink_to(self.used);
        }
    }

    /// Says what the rows take, from looking at some of them; what is reserved beyond is given back.
    fn weigh(&mut self) {
        self.used = self.table.len() as u64 * Table::<K, R>::IN_PLACE;
        if needs_drop::<K>() || needs_drop::<R>() {
            self.used += self.table.owned(self.weigh);
        }
        self.weighed = self.used;
        if self.used < self.memory.bytes() / 2 {
            self.memory.shrink_to(self.used);
        }
    }

    /// Sends the later half of the keys to disk.
    fn shed(&mut self) {
        self.closed = true;
        let before = self.used;
        let tail = self.table.split_off(self.table.len() / 2);
        let writer = match &mut self.shedding {
            Some(writer) => writer,
            None => self.shedding.insert(self.disk.expect(self.disk.writer())),
        };
        for entry in tail {
            self.disk.expect(writer.push(&(entry.key, entry.value)));
        }
        let spilled = self.disk.expect(writer.end());
        self.weigh();
        self.disk.count(&spilled, before.saturating_sub(self.used));
        self.shed.push(spilled);
        self.memory.shrink_to(self.used.max(STEP_BYTES.0));
    }

    /// One row is left and has no room.
    fn relieve(&mut self, refused: Refused) {
        self.closed = true;
        let Some(entry) = self.table.first_mut() else { return };
        if self.disk.expect(entry.value.spill(&self.disk)) {
            self.weigh();
            self.memory.shrink_to(self.used.max(STEP_BYTES.0));
            return;
        }
        let share = self.memory.task().share();
        if refused == Refused::Budget && self.used > share {
            one_key_too_large(self.used, self.disk.task());
        }
        let lacking = self.used.saturating_sub(self.memory.bytes());
        self.memory.take(lacking);
    }

    /// Adds a row that was gathered before, or sets it aside.
    pub(crate) fn again(&mut self, key: K, row: R) {
        if self.closed {
            self.late.push(&(key, row), &self.disk);
        } else {
            let owned = weigh::owned(&key) + (self.weigh)(&row);
            self.insert(crate::partitioner::hash_of(&key), key, row, owned);
        }
    }

    /// Ends a pass: the rows that stayed, and the rows that wait for the next pass, if any do.
    pub(crate) fn end(&mut self) -> (Leaving<K, R>, Option<Left<K, R>>) {
        let mut rows: Vec<_> = take(&mut self.shed);
        rows.reverse();
        rows.extend(self.late.end(&self.disk));
        self.shedding = None;
        self.closed = false;
        self.weigh();
        let owned = self.used - self.table.len() as u64 * Table::<K, R>::IN_PLACE;
        (self.used, self.weighed) = (0, 0);
        let another = self.memory.another();
        let memory = std::mem::replace(&mut self.memory, another);
        let entries = self.table.take_entries();
        let leaving = Leaving(Outgoing::new(entries, owned, memory, self.disk.clone()));
        (leaving, (!rows.is_empty()).then_some(Left { rows }))
    }

    /// Takes the room of rows that have all left for those that come next.
    pub(crate) fn reuse(&mut self, left: Leaving<K, R>) {
        self.table.reuse(left.0.into_room());
    }

    /// Begins the next pass with the rows that were left.
    pub(crate) fn begin(&mut self, left: Left<K, R>) {
        for spilled in left.rows {
            let mut reader = spilled.reader();
            while let Some((key, row)) = self.disk.expect(reader.next()) {
                self.again(key, row);
            }
            self.disk.task().check();
        }
    }
}

/// Leaves the task: what belongs to one key cannot be in memory as a whole.
#[cold]
pub(crate) fn one_key_too_large(bytes: u64, task: &Task) -> ! {
    let (partition, share) = (task.info().partition, task.memory().share());
    TaskFailure::Engine(Error::OutOfMemory(format!(
        "partition {partition}: what belongs to one key takes {} KiB or more, and a task has {} KiB: use `aggregate_by_key` or \
         `reduce_by_key`, which do not hold all values of a key, or raise `firesteel.memory.budget`",
        bytes.div_ceil(1 << 10),
        share >> 10,
    )))
    .raise()
}

/// Rows that leave the table in order.
pub(crate) struct Leaving<K, R>(Outgoing<Entry<K, R>>);

impl<K: Key, R: Row> Iterator for Leaving<K, R> {
    type Item = (K, R);
    #[inline]
    fn next(&mut self) -> Option<(K, R)> {
        self.0.next().map(|entry| (entry.key, entry.value))
    }
}

/// Reads records that were set aside, looking at the kill flag now and then.
pub(crate) fn replay<R: DeserializeOwned>(spilled: Option<Spilled<R>>, task: &Task, mut each: impl FnMut(R)) {
    let Some(spilled) = spilled else { return };
    let mut reader: SpillReader<R> = spilled.reader();
    let mut until_look = 0u32;
    while let Some(record) = reader.next().unwrap_or_else(|e| cannot_store(e)) {
        if until_look == 0 {
            task.check();
            until_look = crate::task::Stride::MAX;
        }
        until_look -= 1;
        each(record);
    }
}
