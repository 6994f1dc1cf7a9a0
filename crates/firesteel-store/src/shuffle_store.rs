//! The finished map outputs of an executor: what its map tasks wrote and reduce tasks read.

use crate::{
    MapOutput, PartBytes, RunFiles, StoreError, Wanted,
    output::{Place, Placed},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use firesteel_model::{AttemptId, PartitionIndex, ShuffleId};
use serde::Serialize;
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError},
};

/// Holds finished [`MapOutput`]s until their shuffle is released.
///
/// Map outputs are named by the attempt that wrote them, so that a second attempt at a task never replaces what readers of
/// the first were told about. Reading does not consume: a retry or a second job finds them again. What was written within a
/// memory budget moves to disk when others need the memory.
///
/// ```
/// use firesteel_model::{AttemptId, PartitionIndex, ShuffleId};
/// use firesteel_store::{RunFiles, RunWriter, Scratch, ShuffleStore};
///
/// let store = ShuffleStore::new(RunFiles::new(Scratch::new(vec![std::env::temp_dir()]), true));
/// let mut writer = RunWriter::new(2);
/// writer.push(1, 0, 'a');
/// let (shuffle, map, attempt) = (ShuffleId(0), PartitionIndex(0), AttemptId(7));
/// store.put(shuffle, map, attempt, writer.finish().0);
///
/// let output = store.get::<char>(shuffle, map, attempt).unwrap();
/// assert_eq!(output.in_memory(1).next().unwrap(), ['a']);
/// store.remove_shuffle(shuffle);
/// assert!(store.is_empty());
/// assert_eq!(output.records_in_memory(1), 1, "what is being read stays readable");
/// ```
pub struct ShuffleStore {
    outputs: RwLock<Outputs>,
    files: Arc<RunFiles>,
}

type Outputs = BTreeMap<ShuffleId, BTreeMap<(PartitionIndex, AttemptId), Output>>;

struct Output {
    /// An `Arc<Place<R>>`.
    place: Arc<dyn Any + Send + Sync>,
    placed: Arc<dyn Placed>,
}

impl ShuffleStore {
    /// A store without map outputs; those that leave memory go to `files`.
    pub fn new(files: Arc<RunFiles>) -> Self {
        ShuffleStore { outputs: RwLock::default(), files }
    }

    /// Where map outputs go that have no room in memory.
    pub fn files(&self) -> &Arc<RunFiles> {
        &self.files
    }

    fn read(&self) -> RwLockReadGuard<'_, Outputs> {
        self.outputs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Outputs> {
        self.outputs.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the output of one attempt at one map task. Anything that the same attempt put before is replaced.
    pub fn put<R: Serialize + Send + Sync + 'static>(
        &self,
        shuffle: ShuffleId,
        map: PartitionIndex,
        attempt: AttemptId,
        output: impl Into<Arc<MapOutput<R>>>,
    ) {
        let output = output.into();
        if let Some(pieces) = output.on_disk() {
            self.files.note(shuffle, map, attempt, output.spread(), pieces);
        }
        let place = Place::new(output, shuffle, self.files.clone());
        self.insert(shuffle, map, attempt, Output { placed: place.clone(), place });
    }

    #[inline(never)]
    fn insert(&self, shuffle: ShuffleId, map: PartitionIndex, attempt: AttemptId, output: Output) {
        let replaced = self.write().entry(shuffle).or_default().insert((map, attempt), output);
        // Dropped here, not under the lock: records may own much.
        drop(replaced);
    }

    #[inline(never)]
    fn find(&self, shuffle: ShuffleId, map: PartitionIndex, attempt: AttemptId) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.read().get(&shuffle)?.get(&(map, attempt))?.place.clone())
    }

    /// The output of one attempt at one map task; `None` if there is none, or if its records are not of type `R`.
    ///
    /// # Cost
    /// Two lookups under a shared lock.
    pub fn get<R: Serialize + Send + Sync + 'static>(
        &self,
        shuffle: ShuffleId,
        map: PartitionIndex,
        attempt: AttemptId,
    ) -> Option<Arc<MapOutput<R>>> {
        Some(self.find(shuffle, map, attempt)?.downcast::<Place<R>>().ok()?.get())
    }

    /// One partition of the output of one attempt, or some of its parts, as another process can read it; `None` if there is no such
    /// output. What is in memory moves to disk first.
    ///
    /// # Errors
    /// If it is damaged, or cannot be moved to disk.
    pub fn part(
        &self,
        shuffle: ShuffleId,
        map: PartitionIndex,
        attempt: AttemptId,
        partition: usize,
        wanted: Wanted,
    ) -> Result<Option<PartBytes>, StoreError> {
        let placed = self.read().get(&shuffle).and_then(|maps| Some(maps.get(&(map, attempt))?.placed.clone()));
        placed.map(|placed| placed.part(partition, wanted)).transpose()
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
        self.files.forget(shuffle);
        removed.map_or(0, |maps| maps.len())
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let removed = std::mem::take(&mut *self.write());
        drop(removed);
    }

    /// The names of all outputs at this moment, in order.
    pub fn names(&self) -> Vec<(ShuffleId, PartitionIndex, AttemptId)> {
        let outputs = self.read();
        let of = |(shuffle, maps): (&ShuffleId, &BTreeMap<_, _>)| {
            let shuffle = *shuffle;
            maps.keys().map(move |(map, attempt)| (shuffle, *map, *attempt)).collect::<Vec<_>>()
        };
        outputs.iter().flat_map(of).collect()
    }

    /// How many outputs are kept.
    pub fn len(&self) -> usize {
        self.read().values().map(BTreeMap::len).sum()
    }

    /// Whether no output is kept.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// What all outputs take, in memory (records in place) and on disk.
    pub fn bytes(&self) -> (u64, u64) {
        self.sum(|placed| placed.bytes())
    }

    /// What it takes, in memory and on disk, to know where each reduce partition's records lie.
    pub fn index_bytes(&self) -> (u64, u64) {
        self.sum(|placed| placed.index_bytes())
    }

    fn sum(&self, of: impl Fn(&dyn Placed) -> (u64, u64)) -> (u64, u64) {
        let outputs = self.read();
        let all = outputs.values().flat_map(BTreeMap::values).map(|output| of(&*output.placed));
        all.fold((0, 0), |(m, d), (a, b)| (m + a, d + b))
    }
}

impl fmt::Debug for ShuffleStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShuffleStore({} map outputs)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, Room, RunWriter, Scratch};

    fn store() -> (ShuffleStore, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (ShuffleStore::new(RunFiles::new(Scratch::new(vec![dir.path().into()]), true)), dir)
    }

    fn output(record: u64) -> MapOutput<u64> {
        let mut writer = RunWriter::new(2);
        writer.push(1, 0, record);
        writer.finish().0
    }

    fn all(output: &MapOutput<u64>, partition: usize) -> Vec<u64> {
        let mut records = Vec::new();
        for piece in 0..output.pieces() {
            let mut part = output.piece(piece, partition).unwrap();
            let before = records.len();
            while let Some(record) = part.next().unwrap() {
                records.push(record);
            }
            assert_eq!(part.records() as usize, records.len() - before);
        }
        records.extend(output.in_memory(partition).flatten());
        records
    }

    fn fail(e: StoreError) -> ! {
        panic!("{e}")
    }

    #[test]
    fn outputs_move_to_disk_when_others_need_the_memory_and_read_the_same() {
        let (store, dir) = store();
        let memory = Memory::new(4 << 20, 0.0);
        let mut checksums = Vec::new();
        for partitions in [3, 1_000] {
            let task = memory.task(|| false);
            let room = Room {
                reservation: task.reservation(),
                files: store.files().clone(),
                shuffle: S,
                to_disk: false,
                fail,
            };
            let mut writer = RunWriter::new(partitions).within(room);
            (0..50_000u64).for_each(|i| writer.push(i as usize % partitions, i, i));
            let (output, sizes) = writer.finish();
            assert_eq!((output.pieces(), sizes.iter().sum::<u64>()), (0, 400_000));
            checksums.push(output.checksum());
            store.put(S, M, AttemptId(partitions as u64), output);
        }
        assert!(memory.storage() > 800_000);
        let reading = store.get::<u64>(S, M, AttemptId(3)).unwrap();
        let task = memory.task(|| false);
        let mut other = task.reservation();
        assert_eq!(other.grow((4 << 20) - 100_000), Err(crate::Refused::Budget), "one of them is being read");
        assert_eq!(all(&reading, 1).len(), 16_667);
        drop(reading);
        other.grow((4 << 20) - 100_000).unwrap();
        assert_eq!(store.bytes().0, 0);
        for (partitions, checksum) in [3, 1_000].into_iter().zip(checksums) {
            let output = store.get::<u64>(S, M, AttemptId(partitions as u64)).unwrap();
            assert_eq!((output.pieces(), output.len(), output.checksum()), (1, 50_000, checksum));
            for partition in 0..partitions {
                let expected: Vec<_> = (0..50_000u64).filter(|i| *i as usize % partitions == partition).collect();
                assert_eq!(all(&output, partition), expected);
            }
        }
        store.remove_shuffle(S);
        assert_eq!((memory.storage(), store.len()), (0, 0));
        let folder = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "the lock alone");
    }

    const S: ShuffleId = ShuffleId(3);
    const M: PartitionIndex = PartitionIndex(1);

    #[test]
    fn outputs_of_two_attempts_do_not_replace_each_other() {
        let (store, _dir) = store();
        store.put(S, M, AttemptId(1), output(10));
        store.put(S, M, AttemptId(2), Arc::new(output(20)));
        let read = |attempt| store.get::<u64>(S, M, AttemptId(attempt)).map(|o| o.in_memory(1).next().unwrap()[0]);
        assert_eq!((read(1), read(2), read(3)), (Some(10), Some(20), None));
        assert_eq!((store.len(), store.bytes()), (2, (16, 0)));
        assert_eq!(store.names(), [(S, M, AttemptId(1)), (S, M, AttemptId(2))]);
        assert!(store.remove_output(S, M, AttemptId(1)));
        assert!(!store.remove_output(S, M, AttemptId(1)));
        assert_eq!((read(1), read(2)), (None, Some(20)));
    }

    #[test]
    fn reading_does_not_consume() {
        let (store, _dir) = store();
        store.put(S, M, AttemptId(1), output(10));
        for _ in 0..3 {
            assert_eq!(store.get::<u64>(S, M, AttemptId(1)).unwrap().len(), 1);
        }
    }

    #[test]
    fn records_of_another_type_are_not_found() {
        let (store, _dir) = store();
        store.put(S, M, AttemptId(1), output(10));
        assert!(store.get::<i64>(S, M, AttemptId(1)).is_none());
    }

    #[test]
    fn released_shuffle_leaves_nothing() {
        let (store, _dir) = store();
        store.put(S, M, AttemptId(1), output(10));
        store.put(S, PartitionIndex(2), AttemptId(2), output(10));
        store.put(ShuffleId(4), M, AttemptId(3), output(10));
        assert_eq!(store.remove_shuffle(S), 2);
        assert_eq!(store.remove_shuffle(S), 0);
        assert_eq!(store.len(), 1);
        assert!(store.remove_output(ShuffleId(4), M, AttemptId(3)));
        assert!(store.is_empty());
    }
}
