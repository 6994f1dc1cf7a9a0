//! Whose turn it is: FIFO and FAIR pools.

use crate::{PoolConfig, SchedulingMode};
use firesteel_model::{JobId, StageId};
use std::collections::{BTreeMap, BTreeSet};

/// The number of a pool, for as long as it exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PoolId(u32);

/// A fair share as an ordered number: needy ones first, then those with the least of their share, then the oldest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    satisfied: bool,
    /// A non-negative float's bits, which are in the order of its values.
    ratio: u64,
}

impl Share {
    fn of(running: u32, config: PoolConfig) -> Self {
        let satisfied = running >= config.min_share;
        let per = if satisfied { config.weight } else { config.min_share };
        Share { satisfied, ratio: (f64::from(running) / f64::from(per.max(1))).to_bits() }
    }
}

struct Pool {
    name: String,
    config: PoolConfig,
    running: u32,
    /// Task sets that want slots: in FIFO order (all shares equal) or by share.
    wanting: BTreeSet<(Share, JobId, StageId)>,
    /// How many task sets are in the pool, wanting or not.
    sets: u32,
}

/// The place of one task set in the pools.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) pool: PoolId,
    /// Oldest job first.
    pub(crate) job: JobId,
    pub(crate) stage: StageId,
    /// Running attempts of the set.
    pub(crate) running: u32,
    /// Whether the set is listed as wanting slots.
    pub(crate) wanting: bool,
}

/// All pools, and the order in which their task sets are offered a free slot.
pub(crate) struct Pools {
    mode: SchedulingMode,
    configured: BTreeMap<String, PoolConfig>,
    names: BTreeMap<String, PoolId>,
    pools: BTreeMap<PoolId, Pool>,
    /// Pools with a task set that wants slots.
    ranked: BTreeSet<(Share, PoolId)>,
    next: u32,
}

const EQUAL: Share = Share { satisfied: false, ratio: 0 };

impl Pools {
    pub(crate) fn new(mode: SchedulingMode, configured: BTreeMap<String, PoolConfig>) -> Self {
        Pools { mode, configured, names: BTreeMap::new(), pools: BTreeMap::new(), ranked: BTreeSet::new(), next: 0 }
    }

    /// Enters a task set into the pool of that name. Without FAIR there is one pool for all.
    pub(crate) fn enter(&mut self, name: &str, job: JobId, stage: StageId) -> Place {
        let name = if self.mode == SchedulingMode::Fifo { "" } else { name };
        let pool = match self.names.get(name) {
            Some(pool) => *pool,
            None => {
                let pool = PoolId(self.next);
                self.next += 1;
                let config = self.configured.get(name).copied().unwrap_or_default();
                self.names.insert(name.to_owned(), pool);
                self.pools.insert(
                    pool,
                    Pool { name: name.to_owned(), config, running: 0, wanting: BTreeSet::new(), sets: 0 },
                );
                pool
            }
        };
        self.pool(pool).sets += 1;
        Place { pool, job, stage, running: 0, wanting: false }
    }

    /// Takes a task set out; its attempts that still run keep counting for the pool.
    pub(crate) fn leave(&mut self, mut place: Place) {
        self.want(&mut place, false);
        self.pool(place.pool).sets -= 1;
        self.forget_if_empty(place.pool);
    }

    fn pool(&mut self, pool: PoolId) -> &mut Pool {
        self.pools.get_mut(&pool).expect("a pool exists while anything is in it")
    }

    fn forget_if_empty(&mut self, id: PoolId) {
        let pool = &self.pools[&id];
        if pool.sets == 0 && pool.running == 0 {
            self.names.remove(&pool.name);
            self.pools.remove(&id);
        }
    }

    fn key(pool: &Pool, place: &Place) -> (Share, JobId, StageId) {
        let share = match pool.config.mode {
            SchedulingMode::Fifo => EQUAL,
            SchedulingMode::Fair => Share::of(place.running, PoolConfig::default()),
        };
        (share, place.job, place.stage)
    }

    /// Says whether a task set wants slots.
    pub(crate) fn want(&mut self, place: &mut Place, wants: bool) {
        if place.wanting == wants {
            return;
        }
        place.wanting = wants;
        let pool = self.pools.get_mut(&place.pool).expect("a pool exists while anything is in it");
        let key = Self::key(pool, place);
        let rank = (Share::of(pool.running, pool.config), place.pool);
        if wants {
            if pool.wanting.is_empty() {
                self.ranked.insert(rank);
            }
            pool.wanting.insert(key);
        } else {
            pool.wanting.remove(&key);
            if pool.wanting.is_empty() {
                self.ranked.remove(&rank);
            }
        }
    }

    /// An attempt of the task set was launched.
    pub(crate) fn launched(&mut self, place: &mut Place) {
        self.count(place.pool, true);
        self.recount(place, place.running + 1);
    }

    /// An attempt ended that belonged to the pool, and to the task set if that is still there.
    pub(crate) fn ended(&mut self, pool: PoolId, place: Option<&mut Place>) {
        self.count(pool, false);
        if let Some(place) = place {
            self.recount(place, place.running - 1);
        }
        self.forget_if_empty(pool);
    }

    fn count(&mut self, id: PoolId, up: bool) {
        let pool = self.pools.get_mut(&id).expect("a pool exists while anything is in it");
        let listed = self.ranked.remove(&(Share::of(pool.running, pool.config), id));
        pool.running = if up { pool.running + 1 } else { pool.running - 1 };
        if listed {
            self.ranked.insert((Share::of(pool.running, pool.config), id));
        }
    }

    fn recount(&mut self, place: &mut Place, running: u32) {
        let pool = self.pools.get_mut(&place.pool).expect("a pool exists while anything is in it");
        if place.wanting && pool.config.mode == SchedulingMode::Fair {
            pool.wanting.remove(&Self::key(pool, place));
            place.running = running;
            pool.wanting.insert(Self::key(pool, place));
        } else {
            place.running = running;
        }
    }

    /// The task sets that want slots, whose turn it is first.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = StageId> {
        self.ranked.iter().flat_map(|(_, pool)| self.pools[pool].wanting.iter().map(|(_, _, stage)| *stage))
    }

    /// Name, settings and running attempts of every pool that is in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, PoolConfig, u32)> {
        self.pools.values().map(|pool| (pool.name.as_str(), pool.config, pool.running))
    }

    pub(crate) fn len(&self) -> usize {
        self.pools.len()
    }
}
