//! Where the map outputs of each shuffle are: what Spark calls the map-output tracker.

use crate::{MapRef, MapSizes, StageSpec};
use firesteel_model::{AttemptId, ExecutorId, HostId, PartitionIndex, ShuffleId, StageId};
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The complete map outputs of a shuffle, as they were at one time: what a reduce task needs to know.
///
/// The scheduler hands out one shared copy per version, so that 10,000 reduce tasks do not cost 10,000 copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapOutputs {
    /// Grows whenever an output of this shuffle is lost or made; two snapshots of one shuffle with the same version are
    /// equal.
    pub version: u64,
    /// One for each map partition, in order.
    pub outputs: Vec<MapLocation>,
}

/// Where one map output is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapLocation {
    /// The attempt that made it; part of its name.
    pub attempt: AttemptId,
    /// The executor that made it.
    pub executor: ExecutorId,
    /// About how large it is.
    pub total_bytes: u64,
}

/// One map partition of a shuffle.
#[derive(Clone, Default)]
struct Slot {
    location: Option<MapLocation>,
    /// Of the latest output that somebody may have read; kept when the output is lost, to see whether its rerun differs.
    checksum: Option<u64>,
    /// Per reduce partition; kept only where [`Shuffle::near`] will look at it.
    levels: Option<Box<[u8]>>,
}

/// A shuffle that is known: its map stage's description and its outputs.
pub(crate) struct Shuffle {
    pub(crate) spec: Arc<StageSpec>,
    slots: Vec<Slot>,
    present: u32,
    version: u64,
    snapshot: OnceCell<Arc<MapOutputs>>,
    /// The number of the map stage's next attempt; outlives the stage's runs.
    pub(crate) next_attempt: u32,
    /// Released while a job still used it: to be forgotten when that job is done with it.
    pub(crate) released: bool,
}

/// Above so many map or reduce partitions nobody looks at where the data of a reduce partition is; Spark's limits.
const NEAR_LIMIT: usize = 1000;

impl Shuffle {
    pub(crate) fn new(spec: Arc<StageSpec>) -> Self {
        let slots = vec![Slot::default(); spec.tasks as usize];
        Shuffle { spec, slots, present: 0, version: 0, snapshot: OnceCell::new(), next_attempt: 0, released: false }
    }

    pub(crate) fn stage(&self) -> StageId {
        self.spec.stage
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.present as usize == self.slots.len()
    }

    pub(crate) fn location(&self, map: PartitionIndex) -> Option<MapLocation> {
        self.slots.get(map.index())?.location
    }

    pub(crate) fn snapshot(&self) -> Option<Arc<MapOutputs>> {
        if !self.is_complete() {
            return None;
        }
        let snapshot = self.snapshot.get_or_init(|| {
            Arc::new(MapOutputs {
                version: self.version,
                outputs: self.slots.iter().filter_map(|slot| slot.location).collect(),
            })
        });
        Some(snapshot.clone())
    }

    fn changed(&mut self) {
        self.version += 1;
        self.snapshot.take();
        debug_assert_eq!(self.present as usize, self.slots.iter().filter(|s| s.location.is_some()).count());
    }

    /// The executors that hold a fifth or more of what a reduce partition reads.
    pub(crate) fn near(&self, reduce: PartitionIndex) -> Vec<ExecutorId> {
        let mut by_executor = BTreeMap::<ExecutorId, u64>::new();
        let mut total = 0;
        for slot in &self.slots {
            let (Some(location), Some(levels)) = (slot.location, &slot.levels) else { continue };
            let bytes = levels.get(reduce.index()).map_or(0, |level| MapSizes::bytes(*level));
            *by_executor.entry(location.executor).or_default() += bytes;
            total += bytes;
        }
        by_executor.retain(|_, bytes| *bytes > 0 && *bytes * 5 >= total);
        by_executor.into_keys().collect()
    }
}

/// All that is known about shuffles and their outputs.
#[derive(Default)]
pub(crate) struct Tracker {
    shuffles: BTreeMap<ShuffleId, Shuffle>,
    stages: BTreeMap<StageId, ShuffleId>,
    /// Executors that hold outputs, alive or gone (their outputs may survive them).
    holders: BTreeMap<ExecutorId, Holder>,
}

struct Holder {
    host: HostId,
    outputs: BTreeMap<ShuffleId, BTreeSet<u32>>,
}

impl Tracker {
    pub(crate) fn get(&self, shuffle: ShuffleId) -> Option<&Shuffle> {
        self.shuffles.get(&shuffle)
    }

    pub(crate) fn get_mut(&mut self, shuffle: ShuffleId) -> Option<&mut Shuffle> {
        self.shuffles.get_mut(&shuffle)
    }

    pub(crate) fn shuffle_of(&self, stage: StageId) -> Option<ShuffleId> {
        self.stages.get(&stage).copied()
    }

    pub(crate) fn is_complete(&self, shuffle: ShuffleId) -> bool {
        self.get(shuffle).is_some_and(Shuffle::is_complete)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ShuffleId, &Shuffle)> {
        self.shuffles.iter().map(|(id, shuffle)| (*id, shuffle))
    }

    /// Makes a shuffle known, or replaces its description (its inputs may have lost or gained cache points). Returns
    /// whether exactly this description was known.
    pub(crate) fn learn(&mut self, shuffle: ShuffleId, spec: &Arc<StageSpec>) -> bool {
        match self.shuffles.get_mut(&shuffle) {
            Some(known) if Arc::ptr_eq(&known.spec, spec) => return true,
            Some(known) => known.spec = spec.clone(),
            None => {
                self.stages.insert(spec.stage, shuffle);
                self.shuffles.insert(shuffle, Shuffle::new(spec.clone()));
            }
        }
        false
    }

    pub(crate) fn forget(&mut self, shuffle: ShuffleId) {
        let Some(known) = self.shuffles.remove(&shuffle) else { return };
        self.stages.remove(&known.stage());
        for location in known.slots.iter().filter_map(|slot| slot.location) {
            if let Some(holder) = self.holders.get_mut(&location.executor) {
                holder.outputs.remove(&shuffle);
                if holder.outputs.is_empty() {
                    self.holders.remove(&location.executor);
                }
            }
        }
    }

    /// Registers an output in an empty place. Returns whether it differs from what stood there before.
    pub(crate) fn register(
        &mut self,
        shuffle: ShuffleId,
        output: MapRef,
        host: HostId,
        sizes: MapSizes,
        checksum: u64,
    ) -> bool {
        let Some(known) = self.shuffles.get_mut(&shuffle) else { return false };
        let maps = known.slots.len();
        let slot = &mut known.slots[output.partition.index()];
        assert!(slot.location.is_none(), "an output is registered once");
        slot.location =
            Some(MapLocation { attempt: output.attempt, executor: output.executor, total_bytes: sizes.total() });
        slot.levels = match sizes {
            MapSizes::PerPartition(levels) if maps < NEAR_LIMIT && levels.len() < NEAR_LIMIT => Some(levels),
            _ => None,
        };
        let differs = slot.checksum.replace(checksum).is_some_and(|before| before != checksum);
        known.present += 1;
        known.changed();
        let holder = self.holders.entry(output.executor).or_insert_with(|| Holder { host, outputs: BTreeMap::new() });
        holder.outputs.entry(shuffle).or_default().insert(output.partition.0);
        differs
    }

    /// Takes an output out, if exactly this one is registered.
    pub(crate) fn unregister(&mut self, shuffle: ShuffleId, output: MapRef) -> bool {
        let Some(known) = self.shuffles.get_mut(&shuffle) else { return false };
        let Some(slot) = known.slots.get_mut(output.partition.index()) else { return false };
        let Some(location) = slot.location.filter(|location| location.attempt == output.attempt) else { return false };
        slot.location = None;
        slot.levels = None;
        known.present -= 1;
        known.changed();
        let holder = self.holders.get_mut(&location.executor).expect("who holds an output is known");
        let maps = holder.outputs.get_mut(&shuffle).expect("who holds an output is known");
        maps.remove(&output.partition.0);
        if maps.is_empty() {
            holder.outputs.remove(&shuffle);
            if holder.outputs.is_empty() {
                self.holders.remove(&location.executor);
            }
        }
        true
    }

    /// Takes every output of a shuffle out and forgets what they looked like, because they will be made anew from other
    /// data. Returns them.
    pub(crate) fn roll_back(&mut self, shuffle: ShuffleId) -> Vec<MapRef> {
        let outputs = self.outputs_of(shuffle);
        for output in &outputs {
            self.unregister(shuffle, *output);
        }
        if let Some(known) = self.shuffles.get_mut(&shuffle) {
            known.slots.iter_mut().for_each(|slot| slot.checksum = None);
        }
        outputs
    }

    /// Every output of a shuffle.
    pub(crate) fn outputs_of(&self, shuffle: ShuffleId) -> Vec<MapRef> {
        let slots = self.get(shuffle).map_or(&[][..], |known| &known.slots);
        (0..)
            .map(PartitionIndex)
            .zip(slots)
            .filter_map(|(partition, slot)| {
                let MapLocation { attempt, executor, .. } = slot.location?;
                Some(MapRef { partition, attempt, executor })
            })
            .collect()
    }

    /// Every output that this executor holds.
    pub(crate) fn held_by(&self, executor: ExecutorId) -> Vec<(ShuffleId, MapRef)> {
        let Some(holder) = self.holders.get(&executor) else { return Vec::new() };
        let mut held = Vec::new();
        for (shuffle, maps) in &holder.outputs {
            for map in maps {
                let partition = PartitionIndex(*map);
                let location = self.get(*shuffle).and_then(|known| known.location(partition));
                let attempt = location.expect("who holds an output is known").attempt;
                held.push((*shuffle, MapRef { partition, attempt, executor }));
            }
        }
        held
    }

    /// Whether this executor holds any output.
    pub(crate) fn holds_outputs(&self, executor: ExecutorId) -> bool {
        self.holders.contains_key(&executor)
    }

    /// Every executor that made outputs on this host, alive or gone.
    pub(crate) fn holders_on(&self, host: HostId) -> Vec<ExecutorId> {
        self.holders.iter().filter(|(_, holder)| holder.host == host).map(|(executor, _)| *executor).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.shuffles.len()
    }

    pub(crate) fn holders(&self) -> usize {
        self.holders.len()
    }
}
