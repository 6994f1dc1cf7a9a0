//! The finished runs of an executor: what its map tasks wrote and reduce tasks read.

use crate::Run;
use firesteel_model::{AttemptId, PartitionIndex, ShuffleId};
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Holds finished [`Run`]s until their shuffle is released.
///
/// Map outputs are named by the attempt that wrote them, so that a second attempt at a task never replaces what readers of
/// the first were told about. Reading does not consume: a retry or a second job finds them again.
///
/// ```
/// use firesteel_model::{AttemptId, PartitionIndex, ShuffleId};
/// use firesteel_store::{Run, RunWriter, ShuffleStore};
///
/// let store = ShuffleStore::new();
/// let mut writer = RunWriter::new(2);
/// writer.push(1, 0, 'a');
/// let (shuffle, map, attempt) = (ShuffleId(0), PartitionIndex(0), AttemptId(7));
/// store.put(shuffle, map, attempt, writer.finish());
///
/// let run = store.get::<char>(shuffle, map, attempt).unwrap();
/// assert_eq!(run.partition(1).next().unwrap(), ['a']);
/// store.remove_shuffle(shuffle);
/// assert!(store.is_empty());
/// assert_eq!(run.records(1), 1, "what is being read stays readable");
/// ```
#[derive(Default)]
pub struct ShuffleStore {
    outputs: RwLock<Outputs>,
}

type Outputs = BTreeMap<ShuffleId, BTreeMap<(PartitionIndex, AttemptId), Output>>;

struct Output {
    /// An `Arc<Run<R>>`.
    run: Arc<dyn Any + Send + Sync>,
    bytes: u64,
}

impl ShuffleStore {
    /// A store without runs.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Outputs> {
        self.outputs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Outputs> {
        self.outputs.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the output of one attempt at one map task. Anything that the same attempt put before is replaced.
    pub fn put<R: Send + Sync + 'static>(
        &self,
        shuffle: ShuffleId,
        map: PartitionIndex,
        attempt: AttemptId,
        run: impl Into<Arc<Run<R>>>,
    ) {
        let run = run.into();
        let output = Output { bytes: run.bytes(), run };
        let replaced = self.write().entry(shuffle).or_default().insert((map, attempt), output);
        // Dropped here, not under the lock: records may own much.
        drop(replaced);
    }

    /// The output of one attempt at one map task; `None` if there is none, or if its records are not of type `R`.
    ///
    /// # Cost
    /// Two lookups under a shared lock.
    pub fn get<R: Send + Sync + 'static>(
        &self,
        shuffle: ShuffleId,
        map: PartitionIndex,
        attempt: AttemptId,
    ) -> Option<Arc<Run<R>>> {
        let run = self.read().get(&shuffle)?.get(&(map, attempt))?.run.clone();
        run.downcast().ok()
    }

    /// Forgets the output of one attempt; says whether there was one.
    pub fn remove_output(&self, shuffle: ShuffleId, map: PartitionIndex, attempt: AttemptId) -> bool {
        let mut outputs = self.write();
        let Some(maps) = outputs.get_mut(&shuffle) else { return false };
        let removed = maps.remove(&(map, attempt));
        if maps.is_empty() {
            outputs.remove(&shuffle);
        }
        drop(outputs);
        removed.is_some()
    }

    /// Forgets all outputs of a shuffle; says how many there were.
    pub fn remove_shuffle(&self, shuffle: ShuffleId) -> usize {
        let removed = self.write().remove(&shuffle);
        removed.map_or(0, |maps| maps.len())
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let removed = std::mem::take(&mut *self.write());
        drop(removed);
    }

    /// The names of all runs at this moment, in order.
    pub fn names(&self) -> Vec<(ShuffleId, PartitionIndex, AttemptId)> {
        let outputs = self.read();
        let of = |(shuffle, maps): (&ShuffleId, &BTreeMap<_, _>)| {
            let shuffle = *shuffle;
            maps.keys().map(move |(map, attempt)| (shuffle, *map, *attempt)).collect::<Vec<_>>()
        };
        outputs.iter().flat_map(of).collect()
    }

    /// How many runs are kept.
    pub fn len(&self) -> usize {
        self.read().values().map(BTreeMap::len).sum()
    }

    /// Whether no run is kept.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// The size of all runs, as [`Run::bytes`] tells it.
    pub fn bytes(&self) -> u64 {
        self.read().values().flat_map(BTreeMap::values).map(|output| output.bytes).sum()
    }
}

impl fmt::Debug for ShuffleStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShuffleStore({} runs)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunWriter;

    fn run(record: u64) -> Run<u64> {
        let mut writer = RunWriter::new(2);
        writer.push(1, 0, record);
        writer.finish()
    }

    const S: ShuffleId = ShuffleId(3);
    const M: PartitionIndex = PartitionIndex(1);

    #[test]
    fn outputs_of_two_attempts_do_not_replace_each_other() {
        let store = ShuffleStore::new();
        store.put(S, M, AttemptId(1), run(10));
        store.put(S, M, AttemptId(2), Arc::new(run(20)));
        let read = |attempt| store.get::<u64>(S, M, AttemptId(attempt)).map(|r| r.partition(1).next().unwrap()[0]);
        assert_eq!((read(1), read(2), read(3)), (Some(10), Some(20), None));
        assert_eq!((store.len(), store.bytes()), (2, 16));
        assert_eq!(store.names(), [(S, M, AttemptId(1)), (S, M, AttemptId(2))]);
        assert!(store.remove_output(S, M, AttemptId(1)));
        assert!(!store.remove_output(S, M, AttemptId(1)));
        assert_eq!((read(1), read(2)), (None, Some(20)));
    }

    #[test]
    fn reading_does_not_consume() {
        let store = ShuffleStore::new();
        store.put(S, M, AttemptId(1), run(10));
        for _ in 0..3 {
            assert_eq!(store.get::<u64>(S, M, AttemptId(1)).unwrap().len(), 1);
        }
    }

    #[test]
    fn records_of_another_type_are_not_found() {
        let store = ShuffleStore::new();
        store.put(S, M, AttemptId(1), run(10));
        assert!(store.get::<i64>(S, M, AttemptId(1)).is_none());
    }

    #[test]
    fn released_shuffle_leaves_nothing() {
        let store = ShuffleStore::new();
        store.put(S, M, AttemptId(1), run(10));
        store.put(S, PartitionIndex(2), AttemptId(2), run(10));
        store.put(ShuffleId(4), M, AttemptId(3), run(10));
        assert_eq!(store.remove_shuffle(S), 2);
        assert_eq!(store.remove_shuffle(S), 0);
        assert_eq!(store.len(), 1);
        assert!(store.remove_output(ShuffleId(4), M, AttemptId(3)));
        assert!(store.is_empty());
    }
}
