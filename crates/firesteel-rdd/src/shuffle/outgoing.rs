//! What an operator has gathered or sorted, on its way out: memory is given back as values go, and when another operator of the task needs it,
//! the rest waits on disk.

use super::{
    rows::{Disk, MIN_BYTES},
    table::KEEP_BYTES,
};
use crate::task::cannot_store;
use firesteel_store::{Reservation, SpillReader, weigh};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::VecDeque, mem::needs_drop};

/// Of values in no order in memory so many are looked at ahead, unless they are larger than this: the processor then fetches several
/// at the same time, and whoever takes them need not wait for each.
const AHEAD: usize = 16;
const AHEAD_BYTES: u64 = 512;
/// Memory is given back in steps of at least so many bytes.
const STEP_BYTES: u64 = 64 << 10;

/// Values in order, in memory or, from some point on, on disk.
pub(crate) struct Outgoing<T> {
    values: VecDeque<T>,
    /// What one of them owns outside itself, on average.
    owned: u64,
    /// When so many are left, there is memory to be given back.
    look_at: usize,
    /// What values own lies in no order; and how many were looked at.
    scattered: bool,
    looked_at: usize,
    memory: Reservation,
    disk: Disk,
    rest: Option<SpillReader<T>>,
}

impl<T: Serialize + DeserializeOwned> Outgoing<T> {
    /// All of `values`, which own `owned` bytes outside themselves. `memory` is what is reserved for them.
    pub(crate) fn new(values: Vec<T>, owned: u64, memory: Reservation, disk: Disk) -> Self {
        let owned = owned / values.len().max(1) as u64;
        let look_at = values.len();
        Outgoing { values: values.into(), owned, look_at, scattered: false, looked_at: 0, memory, disk, rest: None }
    }

    /// The same, of values whose order is not that in which they were made.
    pub(crate) fn scattered(self) -> Self {
        Outgoing { scattered: needs_drop::<T>() && self.owned <= AHEAD_BYTES, ..self }
    }

    #[cold]
    #[inline(never)]
    fn look_ahead(&mut self) {
        for value in self.values.iter().take(AHEAD) {
            std::hint::black_box(weigh::owned(value));
        }
        self.looked_at = AHEAD;
    }

    /// The room of values that have all left, or none if it is large.
    pub(crate) fn into_room(mut self) -> Vec<T> {
        self.values.clear();
        match self.values.capacity() * size_of::<T>() <= KEEP_BYTES {
            true => self.values.into(),
            false => Vec::new(),
        }
    }

    /// What those that are left take.
    fn takes(&self) -> u64 {
        (self.values.capacity() * size_of::<T>()) as u64 + self.values.len() as u64 * self.owned
    }

    /// Gives back what is not needed any more.
    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        if self.memory.is_asked() && self.takes() >= 2 * self.memory.at_least(MIN_BYTES) && self.values.len() > 1 {
            return self.spill();
        }
        let (left, room) = (self.values.len(), self.values.capacity());
        if left < room / 2 && room * size_of::<T>() > KEEP_BYTES {
            self.values.shrink_to_fit();
        }
        self.memory.shrink_to(if left == 0 { 0 } else { self.takes() });
        // Next when the values that went owned so much, or when the buffer is half empty.
        let by_owned = STEP_BYTES.checked_div(self.owned).map_or(0, |values| left.saturating_sub(values as usize + 1));
        let half = self.values.capacity() / 2;
        let by_room = if half <= left { half.saturating_sub(1) } else { 0 };
        self.look_at = by_owned.max(by_room);
    }

    /// Moves what is left to disk.
    fn spill(&mut self) {
        let takes = self.takes();
        let mut writer = self.disk.expect(self.disk.writer());
        for value in std::mem::take(&mut self.values) {
            self.disk.expect(writer.push(&value));
        }
        let spilled = self.disk.expect(writer.end());
        self.disk.count(&spilled, takes);
        self.rest = Some(spilled.reader());
        self.memory.shrink_to(SpillReader::<T>::BYTES);
    }
}

impl<T: Serialize + DeserializeOwned> Iterator for Outgoing<T> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.rest.is_none() && (self.values.len() <= self.look_at || self.memory.is_asked()) {
            self.look();
        }
        match &mut self.rest {
            Some(rest) => rest.next().unwrap_or_else(|e| cannot_store(e)),
            None => {
                if self.scattered {
                    if self.looked_at == 0 {
                        self.look_ahead();
                    }
                    self.looked_at -= 1;
                }
                self.values.pop_front()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Executor, KillFlag, Task, TaskInfo};
    use firesteel_model::{AttemptId, ExecutorId, JobId, PartitionIndex, StageAttempt, StageId};
    use firesteel_store::{Memory, Scratch};
    use std::{collections::BTreeMap, sync::Arc};

    fn task(budget: u64) -> Task {
        let info = TaskInfo {
            job: JobId(0),
            stage: StageId(0),
            stage_attempt: StageAttempt(0),
            partition: PartitionIndex(0),
            partitions: 1,
            attempt: AttemptId(0),
            attempt_number: 0,
            executor: ExecutorId(0),
            properties: Arc::default(),
        };
        let (scratch, memory) = (Scratch::new(vec![std::env::temp_dir()]), Memory::new(budget, 0.5));
        let executor = Arc::new(Executor::new(ExecutorId(0), scratch, memory, |_| true));
        Task::new(info, executor, KillFlag::default(), BTreeMap::new(), BTreeMap::new())
    }

    /// Strings of 100 bytes, and what is reserved for them.
    fn outgoing(task: &Task, n: u64) -> Outgoing<String> {
        let values: Vec<_> = (0..n).map(|i| format!("{i:0>100}")).collect();
        let mut memory = task.memory().spillable();
        memory.take(n * (size_of::<String>() as u64 + 100));
        Outgoing::new(values, n * 100, memory, Disk::new(task))
    }

    #[test]
    fn memory_is_given_back_as_values_go() {
        let task = task(64 << 20);
        let mut values = outgoing(&task, 200_000);
        let all = task.memory().held();
        for quarter in 1..=4 {
            assert_eq!(values.by_ref().take(50_000).count(), 50_000);
            let left = all * (4 - quarter) / 4;
            let held = task.memory().held();
            // The vector's own room goes when it is half empty.
            assert!(
                held >= left && held <= left + 200_000 * 24 / 2 + 2 * STEP_BYTES,
                "{held} after {quarter} quarters of {all}"
            );
        }
        assert!(values.next().is_none());
        assert_eq!(task.memory().held(), 0);
    }

    #[test]
    fn what_is_left_waits_on_disk_when_another_operator_needs_the_memory() {
        let task = task(4 << 20);
        let mut values = outgoing(&task, 30_000);
        let first: Vec<_> = values.by_ref().take(1_000).collect();
        let mut other = task.memory().reservation();
        assert!(other.grow(2 << 20).is_err());
        let second = values.next();
        assert!(other.grow(2 << 20).is_ok(), "{} held", task.memory().held());
        let all: Vec<_> = first.into_iter().chain(second).chain(values).collect();
        assert!(all.iter().enumerate().all(|(i, value)| *value == format!("{i:0>100}")));
        assert_eq!(all.len(), 30_000);
        assert!(task.metrics().memory_bytes_spilled > 3_000_000);
    }
}
