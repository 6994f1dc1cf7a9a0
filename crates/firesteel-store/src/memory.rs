//! The memory of an executor: one budget, shared by what its tasks do and what it keeps for later.
//!
//! Spark's unified memory: what tasks work with (tables, sort buffers, runs being written) is *execution* memory, what waits
//! for a reader (cached partitions, finished map outputs) is *storage* memory. Each may use what the other leaves; execution
//! evicts storage down to a floor, storage never takes from execution. A task may hold its share of what execution can
//! have, 1/N with N tasks running, and waits for 1/(2N) rather than go without.
//!
//! The owner of the data reserves before it grows, and is told `Refused` when it has to spill. Nothing is ever taken away from
//! it: [`Reservation`] and [`Kept`] give back what they hold when they are dropped.

use crate::heap;
use firesteel_model::RddId;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long a waiting task sleeps before it looks whether it was told to stop.
const LOOK: Duration = Duration::from_millis(20);

/// Why memory was not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The task holds its share, or there is no more: something must be spilled.
    Budget,
    /// The budget has room, but the process as a whole holds more than all budgets in it: estimates were too low. Spill what
    /// can be spilled, and go on if there is nothing.
    Pressure,
}

/// Something kept that can make room, by moving to disk or by being forgotten.
pub trait Evict: Send + Sync {
    /// Lets go of the memory; what is being read is freed by its last reader. Called without any of the memory's locks held.
    fn evict(&self);
}

/// The budget of one executor and who holds how much of it.
///
/// ```
/// use firesteel_store::{Memory, Refused};
///
/// let memory = Memory::new(1_000, 0.5);
/// let task = memory.task(|| false);
/// let mut table = task.reservation();
/// assert_eq!(table.grow(600), Ok(()));
/// assert_eq!(table.grow(600), Err(Refused::Budget));
/// table.shrink_to(0);
/// assert_eq!(memory.execution(), 0);
/// ```
pub struct Memory {
    total: u64,
    floor: u64,
    state: Mutex<State>,
    /// Execution memory was given back.
    freed: Condvar,
}

#[derive(Default)]
struct State {
    execution: u64,
    storage: u64,
    /// What each running task holds, by the task's number here.
    tasks: BTreeMap<u64, u64>,
    /// What is kept and can be evicted, the least recently used first.
    kept: BTreeMap<u64, Candidate>,
    /// The next task's number, and the next moment of use.
    next: u64,
}

struct Candidate {
    bytes: u64,
    rdd: Option<RddId>,
    owner: Weak<dyn Evict>,
    /// Someone is evicting it.
    leaving: bool,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Memory {
    /// A budget of so many bytes. Of storage, the share `storage_fraction` is safe from execution.
    pub fn new(total: u64, storage_fraction: f64) -> Arc<Self> {
        heap::budget_added(total);
        let floor = (total as f64 * storage_fraction.clamp(0.0, 1.0)) as u64;
        Arc::new(Memory { total, floor, state: Mutex::default(), freed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The budget in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }
    /// How much tasks hold.
    pub fn execution(&self) -> u64 {
        self.state().execution
    }
    /// How much is kept.
    pub fn storage(&self) -> u64 {
        self.state().storage
    }

    /// Counts a task in, which from now on has its share. `killed` says whether it was told to stop, so that it does not wait
    /// for memory any longer.
    pub fn task(self: &Arc<Self>, killed: impl Fn() -> bool + Send + Sync + 'static) -> Arc<TaskMemory> {
        let mut state = self.state();
        let number = state.number();
        state.tasks.insert(number, 0);
        let killed = Box::new(killed);
        Arc::new(TaskMemory { memory: self.clone(), number, killed, peak: AtomicU64::new(0) })
    }

    /// Gives `bytes` of execution memory to a task.
    fn reserve(&self, task: &TaskMemory, bytes: u64) -> Result<(), Refused> {
        let mut state = self.state();
        loop {
            let running = state.tasks.len().max(1) as u64;
            let pool = self.total - state.storage.min(self.floor);
            let held = state.tasks.get(&task.number).copied().unwrap_or(0);
            let wanted = held.saturating_add(bytes);
            if wanted > pool / running {
                return Err(Refused::Budget);
            }
            let free = self.total.saturating_sub(state.execution).saturating_sub(state.storage);
            if bytes <= free {
                state.execution += bytes;
                state.tasks.insert(task.number, wanted);
                task.peak.fetch_max(wanted, Ordering::Relaxed);
                return Ok(());
            }
            let evictable = state.storage.saturating_sub(self.floor);
            let leaving = self.choose(&mut state, (bytes - free).min(evictable), None);
            if !leaving.is_empty() {
                drop(state);
                leaving.iter().filter_map(Weak::upgrade).for_each(|owner| owner.evict());
                state = self.state();
                continue;
            }
            // Whoever holds less than half a share waits for those that hold more than theirs, since the time when fewer were
            // running: they do not wait, and are refused until they have given back. All others go and spill.
            let mut others = state.tasks.iter().filter(|(number, _)| **number != task.number);
            let in_sight = others.any(|(_, held)| *held > pool / running);
            if wanted > pool / (2 * running) || !in_sight || (task.killed)() {
                return Err(Refused::Budget);
            }
            state = self.freed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Marks what will be evicted to free so much, the least recently used first, but nothing of the RDD `spared`.
    fn choose(&self, state: &mut State, bytes: u64, spared: Option<RddId>) -> Vec<Weak<dyn Evict>> {
        let mut chosen = Vec::new();
        let mut found = 0;
        for candidate in state.kept.values_mut() {
            if found >= bytes {
                break;
            }
            if candidate.leaving || spared.is_some() && candidate.rdd == spared {
                continue;
            }
            candidate.leaving = true;
            found += candidate.bytes;
            chosen.push(candidate.owner.clone());
        }
        chosen
    }

    /// Counts something kept, evicting others for it if need be; `None` if there is no room for it.
    ///
    /// What is kept of `rdd` itself is not evicted for it: a partition would push out the one before.
    pub fn keep(self: &Arc<Self>, bytes: u64, rdd: Option<RddId>) -> Option<Kept> {
        let mut kept = Kept { memory: self.clone(), bytes: 0, rdd, stamp: Mutex::default() };
        kept.grow(bytes).then_some(kept)
    }

    /// Counts something kept whether there is room or not: what nobody can do without, and nobody can evict.
    pub fn keep_anyway(self: &Arc<Self>, bytes: u64) -> Kept {
        self.state().storage += bytes;
        Kept { memory: self.clone(), bytes, rdd: None, stamp: Mutex::default() }
    }

    /// Evicts everything that can be, down to the floor, if the process holds more than its budgets allow.
    fn relieve(&self) {
        let mut state = self.state();
        let evictable = state.storage.saturating_sub(self.floor);
        let leaving = if evictable > 0 { self.choose(&mut state, evictable, None) } else { Vec::new() };
        drop(state);
        leaving.iter().filter_map(Weak::upgrade).for_each(|owner| owner.evict());
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        heap::budget_gone(self.total);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let (execution, storage, tasks) = (state.execution, state.storage, state.tasks.len());
        write!(f, "Memory({execution} B in {tasks} tasks and {storage} B kept, of {} B)", self.total)
    }
}

/// One running task's part in the memory. Dropping the last handle counts it out.
pub struct TaskMemory {
    memory: Arc<Memory>,
    number: u64,
    killed: Box<dyn Fn() -> bool + Send + Sync>,
    peak: AtomicU64,
}

impl TaskMemory {
    /// An empty reservation, for one operator of the task.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { task: self.clone(), bytes: 0 }
    }

    /// The most that the task held at any time, in bytes.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// What the task may hold at most, with as many running as now.
    pub fn share(&self) -> u64 {
        let state = self.memory.state();
        (self.memory.total - state.storage.min(self.memory.floor)) / state.tasks.len().max(1) as u64
    }

    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut state = self.memory.state();
        state.execution = state.execution.saturating_sub(bytes);
        if let Some(held) = state.tasks.get_mut(&self.number) {
            *held = held.saturating_sub(bytes);
        }
        drop(state);
        self.memory.freed.notify_all();
    }
}

impl Drop for TaskMemory {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        let held = state.tasks.remove(&self.number).unwrap_or(0);
        state.execution = state.execution.saturating_sub(held);
        drop(state);
        self.memory.freed.notify_all();
    }
}

impl fmt::Debug for TaskMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskMemory({} B at most so far)", self.peak())
    }
}

/// Execution memory that one operator of a task holds.
#[derive(Debug)]
pub struct Reservation {
    task: Arc<TaskMemory>,
    bytes: u64,
}

impl Reservation {
    /// How much it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The task that holds it.
    pub fn task(&self) -> &Arc<TaskMemory> {
        &self.task
    }

    /// Asks for so much more. Evicts what is kept; waits while the task has less than half its share and others more than
    /// theirs.
    ///
    /// # Errors
    /// [`Refused`]: nothing was added, and the operator has to spill.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Refused> {
        if heap::is_over() {
            self.task.memory.relieve();
            if heap::is_over() {
                return Err(Refused::Pressure);
            }
        }
        self.task.memory.reserve(&self.task, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes so much more, whether it is there or not: for what an operator cannot do without.
    pub fn take(&mut self, bytes: u64) {
        let mut state = self.task.memory.state();
        state.execution += bytes;
        let held = state.tasks.entry(self.task.number).or_insert(0);
        *held += bytes;
        self.task.peak.fetch_max(*held, Ordering::Relaxed);
        self.bytes += bytes;
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        self.task.give_back(more);
    }

    /// What was worked with is from now on kept: moves `bytes` to storage, and gives back the rest.
    pub fn into_kept(mut self, bytes: u64) -> Kept {
        let memory = self.task.memory.clone();
        self.shrink_to(0);
        memory.keep_anyway(bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Storage memory that something kept takes. Dropped with what it stands for.
pub struct Kept {
    memory: Arc<Memory>,
    bytes: u64,
    rdd: Option<RddId>,
    /// The last use, which is the place among those that can be evicted; 0 if it cannot be.
    stamp: Mutex<u64>,
}

impl Kept {
    /// How much it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn stamp(&self) -> MutexGuard<'_, u64> {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for so much more, evicting others if need be; says whether there is room.
    ///
    /// # Panics
    /// If it was made evictable before.
    pub fn grow(&mut self, bytes: u64) -> bool {
        assert_eq!(*self.stamp(), 0, "what can be evicted does not grow");
        if heap::is_over() {
            self.memory.relieve();
            if heap::is_over() {
                return false;
            }
        }
        let memory = self.memory.clone();
        let mut state = memory.state();
        loop {
            let room = memory.total.saturating_sub(state.execution);
            if bytes > room {
                return false;
            }
            let free = room.saturating_sub(state.storage);
            if bytes <= free {
                state.storage += bytes;
                self.bytes += bytes;
                return true;
            }
            let leaving = memory.choose(&mut state, bytes - free, self.rdd);
            if leaving.is_empty() {
                return false;
            }
            drop(state);
            leaving.iter().filter_map(Weak::upgrade).for_each(|owner| owner.evict());
            state = memory.state();
        }
    }

    /// From now on it may be evicted by a call of `owner`, which holds this.
    pub fn evictable(&self, owner: Weak<dyn Evict>) {
        let mut state = self.memory.state();
        let number = state.number();
        let mut stamp = self.stamp();
        let candidate = Candidate { bytes: self.bytes, rdd: self.rdd, owner, leaving: false };
        state.kept.remove(&*stamp);
        state.kept.insert(number, candidate);
        *stamp = number;
    }

    /// It was used: others go before it.
    pub fn touch(&self) {
        let mut state = self.memory.state();
        let mut stamp = self.stamp();
        if let Some(candidate) = state.kept.remove(&*stamp) {
            let number = state.number();
            state.kept.insert(number, candidate);
            *stamp = number;
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.storage = state.storage.saturating_sub(self.bytes);
        let candidate = state.kept.remove(&*self.stamp());
        drop(state);
        // Outside the lock: the last reference to its owner may be in it.
        drop(candidate);
        self.memory.freed.notify_all();
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({} B)", self.bytes)
    }
}

#[cfg(test)]
mod tests;
