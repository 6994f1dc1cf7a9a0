//! The executors that are alive, and their free slots.

use crate::RackId;
use firesteel_model::{AttemptId, Epoch, ExecutorId, HostId};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(crate) struct Executor {
    pub(crate) host: HostId,
    pub(crate) rack: Option<RackId>,
    pub(crate) slots: u32,
    /// Slots that are taken. An attempt whose result is being fetched is in `attempts` without taking a slot.
    pub(crate) busy: u32,
    pub(crate) attempts: BTreeSet<AttemptId>,
    /// Attempts that were launched in this epoch or before are no map output: what the executor held was lost since.
    pub(crate) outputs_lost: Option<Epoch>,
    /// Its map outputs are served when it is given up.
    pub(crate) outputs_outlive: bool,
    /// When it last said that it is alive.
    pub(crate) heard: Duration,
    /// The number of the latest heartbeat.
    pub(crate) heartbeat: u64,
    /// When its silence is looked at next.
    pub(crate) silence_timer: Option<Duration>,
    /// The application excludes it: its free slots are nobody's.
    pub(crate) barred: bool,
    /// When, in order of events, a slot last became free.
    freed: u64,
}

/// The executors that are alive.
#[derive(Default)]
pub(crate) struct Executors {
    all: BTreeMap<ExecutorId, Executor>,
    hosts: BTreeMap<HostId, BTreeSet<ExecutorId>>,
    racks: BTreeMap<RackId, u32>,
    /// Those with free slots: the emptiest first, among equals the one that has been free for longest. An executor on
    /// which everything fails at once is therefore not the one that is always asked first.
    free: BTreeSet<(Reverse<u32>, u64, ExecutorId)>,
    frees: u64,
    /// Counts arrivals and losses.
    pub(crate) version: u64,
}

impl Executors {
    pub(crate) fn add(
        &mut self,
        id: ExecutorId,
        host: HostId,
        rack: Option<RackId>,
        slots: u32,
        outputs_outlive: bool,
        now: Duration,
    ) -> bool {
        if self.all.contains_key(&id) {
            return false;
        }
        self.version += 1;
        self.frees += 1;
        let executor = Executor {
            host,
            rack,
            slots,
            busy: 0,
            attempts: BTreeSet::new(),
            outputs_lost: None,
            outputs_outlive,
            heard: now,
            heartbeat: 0,
            silence_timer: None,
            barred: false,
            freed: self.frees,
        };
        self.all.insert(id, executor);
        self.hosts.entry(host).or_default().insert(id);
        if let Some(rack) = rack {
            *self.racks.entry(rack).or_default() += 1;
        }
        self.list(id);
        true
    }

    pub(crate) fn remove(&mut self, id: ExecutorId) -> Option<Executor> {
        self.unlist(id);
        let executor = self.all.remove(&id)?;
        self.version += 1;
        let on_host = self.hosts.get_mut(&executor.host).expect("every executor's host is listed");
        on_host.remove(&id);
        if on_host.is_empty() {
            self.hosts.remove(&executor.host);
        }
        if let Some(rack) = executor.rack {
            let count = self.racks.get_mut(&rack).expect("every executor's rack is listed");
            *count -= 1;
            if *count == 0 {
                self.racks.remove(&rack);
            }
        }
        Some(executor)
    }

    fn unlist(&mut self, id: ExecutorId) {
        if let Some(executor) = self.all.get(&id) {
            self.free.remove(&(Reverse(executor.slots - executor.busy), executor.freed, id));
        }
    }

    fn list(&mut self, id: ExecutorId) {
        let executor = &self.all[&id];
        if executor.busy < executor.slots && !executor.barred {
            self.free.insert((Reverse(executor.slots - executor.busy), executor.freed, id));
        }
    }

    pub(crate) fn get(&self, id: ExecutorId) -> Option<&Executor> {
        self.all.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ExecutorId) -> Option<&mut Executor> {
        self.all.get_mut(&id)
    }

    pub(crate) fn take_slot(&mut self, id: ExecutorId, attempt: AttemptId) {
        self.unlist(id);
        let executor = self.all.get_mut(&id).expect("tasks are launched on live executors");
        assert!(executor.busy < executor.slots, "an executor is not given more tasks than it has slots");
        executor.busy += 1;
        executor.attempts.insert(attempt);
        self.list(id);
    }

    /// Lists an executor's free slots no more, or again.
    pub(crate) fn bar(&mut self, id: ExecutorId, barred: bool) {
        self.unlist(id);
        if let Some(executor) = self.all.get_mut(&id) {
            executor.barred = barred;
            self.list(id);
        }
    }

    /// Frees a slot; whether it is to be offered to waiting tasks.
    pub(crate) fn free_slot(&mut self, id: ExecutorId) -> bool {
        self.unlist(id);
        let Some(executor) = self.all.get_mut(&id) else { return false };
        executor.busy -= 1;
        self.frees += 1;
        executor.freed = self.frees;
        let offered = !executor.barred;
        self.list(id);
        offered
    }

    pub(crate) fn has_free_slot(&self, id: ExecutorId) -> bool {
        self.all.get(&id).is_some_and(|executor| executor.busy < executor.slots && !executor.barred)
    }

    pub(crate) fn any_free_slot(&self) -> bool {
        !self.free.is_empty()
    }

    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn free(&self) -> impl Iterator<Item = ExecutorId> {
        self.free.iter().map(|(_, _, id)| *id)
    }

    pub(crate) fn on_host(&self, host: HostId) -> impl Iterator<Item = ExecutorId> {
        self.hosts.get(&host).into_iter().flatten().copied()
    }

    pub(crate) fn has_host(&self, host: HostId) -> bool {
        self.hosts.contains_key(&host)
    }

    pub(crate) fn has_rack(&self, rack: RackId) -> bool {
        self.racks.contains_key(&rack)
    }

    pub(crate) fn rack_of(&self, host: HostId) -> Option<RackId> {
        self.on_host(host).next().and_then(|id| self.all[&id].rack)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ExecutorId, &Executor)> + Clone {
        self.all.iter().map(|(id, executor)| (*id, executor))
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}
