//! The memory of an executor: one budget, shared by what its tasks do and what it keeps for later.
//!
//! Spark's unified memory: what tasks work with (tables, sort buffers, runs being written) is *execution* memory, what waits
//! for a reader (cached partitions, finished map outputs) is *storage* memory. Each may use what the other leaves; execution
//! evicts storage down to a floor, storage never takes from execution. A task may hold its share of what execution can
//! have, 1/N with N tasks running, and waits for 1/(2N) rather than go without.
//!
//! The owner of the data reserves before it grows, and is told `Refused` when it has to spill. Nothing is ever taken away from
//! it: [`Reservation`] and [`Kept`] give back what they hold when they are dropped. But the operator of a task that holds most is
//! *asked* to shrink when another one of the same task is refused, and does so as soon as it is its turn.
//!
//! What nobody can evict (broadcast values) takes from cached blocks first, and from execution down to the floor's worth only: tasks
//! are guaranteed what lies above the floor, and where the rest is not enough for all that is pinned the budget is overdrawn by it.

use crate::{
    heap,
    sync::{Condvar, Mutex, MutexGuard},
};
use firesteel_model::RddId;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long a waiting task sleeps before it looks whether it was told to stop.
const LOOK: Duration = Duration::from_millis(20);
/// What could not be evicted is not tried again before so many uses of other things, or new tasks.
const PATIENCE: u64 = 64;

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
    /// Lets go of the memory; what is being read is freed by its last reader. Says whether it has: what cannot move to disk
    /// and must not be lost stays. Called without any of the memory's locks held.
    fn evict(&self) -> bool;
}

/// What something kept is, in the order in which they make room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KeptKind {
    /// A finished map output: it moves to disk without loss, and is read once more at most by each of its readers.
    MapOutput,
    /// A cached block, as Spark evicts them: whatever its level, the one that was not used for longest.
    Block,
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
    /// What of storage nobody can evict and nobody was asked about.
    pinned: u64,
    /// What is being evicted at this moment.
    evicting: u64,
    /// What each running task holds, by the task's number here.
    tasks: BTreeMap<u64, Held>,
    /// What is kept and can be evicted, in the order in which it would be.
    kept: BTreeMap<Turn, Candidate>,
    /// The next task's number, and the next moment of use.
    next: u64,
}

/// What a task holds.
#[derive(Default)]
struct Held {
    bytes: u64,
    /// How much of it was taken without asking. It is not given back for others, so nobody waits for it.
    taken: u64,
}

/// The place of something kept among all that can be evicted: its kind, and its last use.
type Turn = (KeptKind, u64);

struct Candidate {
    bytes: u64,
    rdd: Option<RddId>,
    owner: Weak<dyn Evict>,
    /// It is being evicted, or was, and is gone with its last reader.
    leaving: bool,
    /// It could not be evicted, and is not tried before this moment.
    not_before: u64,
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// What is to be evicted.
type Chosen = Vec<(Turn, u64, Weak<dyn Evict>)>;

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
        state.tasks.insert(number, Held::default());
        let killed = Box::new(killed);
        Arc::new(TaskMemory {
            memory: self.clone(),
            number,
            killed,
            peak: AtomicU64::new(0),
            operators: Mutex::default(),
            peaks: Mutex::default(),
        })
    }

    /// What storage takes away from execution: what is pinned counts up to the floor.
    fn taken(&self, state: &State) -> u64 {
        state.storage - state.pinned.saturating_sub(self.floor).min(state.storage)
    }

    /// What all tasks together may hold at most.
    fn pool(&self, state: &State) -> u64 {
        self.total - state.storage.min(self.floor)
    }

    /// Gives `bytes` of execution memory to a task.
    fn reserve(&self, task: &TaskMemory, bytes: u64) -> Result<(), Refused> {
        let mut state = self.state();
        let mut may_evict = true;
        loop {
            let running = state.tasks.len().max(1) as u64;
            let pool = self.pool(&state);
            let held = state.tasks.get(&task.number).map_or(0, |held| held.bytes);
            let wanted = held.saturating_add(bytes);
            if wanted > pool / running {
                return Err(Refused::Budget);
            }
            let taken = self.taken(&state);
            let free = self.total.saturating_sub(state.execution).saturating_sub(taken);
            if bytes <= free {
                state.execution += bytes;
                state.tasks.entry(task.number).or_default().bytes = wanted;
                task.peak.fetch_max(wanted, Ordering::Relaxed);
                return Ok(());
            }
            // Nothing is evicted in vain.
            if may_evict && bytes - free <= taken.saturating_sub(self.floor) {
                let chosen = Self::choose(&mut state, bytes - free, bytes - free, None);
                if !chosen.is_empty() {
                    drop(state);
                    may_evict = self.evict(chosen);
                    state = self.state();
                    continue;
                }
                if state.evicting >= bytes - free && !(task.killed)() {
                    state = self.freed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            }
            // Whoever holds less than half a share waits for those that hold more than theirs, since the time when fewer were
            // running: they do not wait, and are refused until they have given back. All others go and spill.
            let mut others = state.tasks.iter().filter(|(number, _)| **number != task.number);
            let in_sight = others.any(|(_, held)| held.bytes - held.taken > pool / running);
            if wanted > pool / (2 * running) || !in_sight || (task.killed)() {
                return Err(Refused::Budget);
            }
            state = self.freed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Marks what will be evicted to free so much, but nothing of the RDD `spared`; nothing at all if as much is leaving already, or
    /// if there are not even `at_least` so many bytes.
    fn choose(state: &mut State, bytes: u64, at_least: u64, spared: Option<RddId>) -> Chosen {
        let missing = bytes.saturating_sub(state.evicting);
        let (now, mut found, mut chosen) = (state.next, 0, Vec::new());
        for (turn, candidate) in &state.kept {
            if found >= missing {
                break;
            }
            if candidate.leaving || candidate.not_before > now || spared.is_some() && candidate.rdd == spared {
                continue;
            }
            found += candidate.bytes;
            chosen.push((*turn, candidate.bytes, candidate.owner.clone()));
        }
        if found + state.evicting < at_least {
            return Vec::new();
        }
        for (turn, ..) in &chosen {
            state.kept.get_mut(turn).expect("found a moment ago").leaving = true;
        }
        state.evicting += found;
        chosen
    }

    /// Evicts what was chosen; says whether all of it went.
    fn evict(&self, chosen: Chosen) -> bool {
        // All of them first: where one panics (user code writes its records), the others stay and can be chosen again.
        let evicting = |(turn, bytes, owner)| (Evicting { memory: self, turn, bytes, went: None }, owner);
        let chosen: Vec<_> = chosen.into_iter().map(evicting).collect();
        chosen.into_iter().fold(true, |all_went, (evicting, owner)| evicting.run(owner) && all_went)
    }

    /// Counts something kept, evicting others for it if need be; `None` if there is no room for it.
    ///
    /// What is kept of `rdd` itself is not evicted for it: a partition would push out the one before.
    pub fn keep(self: &Arc<Self>, bytes: u64, rdd: Option<RddId>) -> Option<Kept> {
        let mut kept = Kept { memory: self.clone(), bytes: 0, rdd, standing: Mutex::new(Standing::Growing) };
        kept.grow(bytes).then_some(kept)
    }

    /// Counts something kept whether there is room or not: what nobody can do without, and nobody can evict. It takes from
    /// execution down to the floor's worth at most.
    pub fn keep_anyway(self: &Arc<Self>, bytes: u64) -> Kept {
        let mut state = self.state();
        state.storage += bytes;
        self.pin(&mut state, bytes as i64);
        Kept { memory: self.clone(), bytes, rdd: None, standing: Mutex::new(Standing::Pinned) }
    }

    /// So much more is pinned. By what is beyond the floor the budget is overdrawn: the process may hold more, too.
    fn pin(&self, state: &mut State, bytes: i64) {
        let overdrawn = state.pinned.saturating_sub(self.floor);
        state.pinned = state.pinned.saturating_add_signed(bytes);
        let now = state.pinned.saturating_sub(self.floor);
        heap::budget_added(now.saturating_sub(overdrawn));
        heap::budget_gone(overdrawn.saturating_sub(now));
    }

    /// Evicts what can be, down to the floor, if the process holds more than its budgets allow.
    fn relieve(&self) {
        let mut state = self.state();
        let more = self.taken(&state).saturating_sub(self.floor);
        let chosen = Self::choose(&mut state, more, 0, None);
        drop(state);
        self.evict(chosen);
    }
}

/// Something that is being evicted.
struct Evicting<'a> {
    memory: &'a Memory,
    turn: Turn,
    bytes: u64,
    /// Whether it went, once it was asked to.
    went: Option<bool>,
}

impl Evicting<'_> {
    fn run(mut self, owner: Weak<dyn Evict>) -> bool {
        self.went = Some(false);
        let went = owner.upgrade().is_none_or(|owner| owner.evict());
        self.went = Some(went);
        went
    }
}

impl Drop for Evicting<'_> {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.evicting -= self.bytes;
        let not_before = if self.went.is_some() { state.next + PATIENCE } else { 0 };
        if let Some(candidate) = state.kept.get_mut(&self.turn).filter(|_| self.went != Some(true)) {
            (candidate.leaving, candidate.not_before) = (false, not_before);
        }
        drop(state);
        self.memory.freed.notify_all();
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
    /// The operators that can spill.
    operators: Mutex<Vec<Weak<Holding>>>,
    /// The most that each named operator held.
    peaks: Mutex<BTreeMap<&'static str, u64>>,
}

/// What one operator of a task holds, as the others see it.
#[derive(Default, Debug)]
struct Holding {
    bytes: AtomicU64,
    /// As `bytes`, or 0 when the operator is asked to shrink.
    room: AtomicU64,
}

impl Holding {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// From now on it holds so much, and is not asked any more.
    fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.room.store(bytes, Ordering::Relaxed);
    }
}

impl TaskMemory {
    /// An empty reservation, for one operator of the task that cannot shrink when it is asked to.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { task: self.clone(), holding: Arc::default(), operator: None, peak: 0 }
    }

    /// An empty reservation, for one operator of the task that watches its [`room`](Reservation::room), and spills when it is
    /// [asked](Reservation::is_asked) to.
    pub fn spillable(self: &Arc<Self>) -> Reservation {
        let reservation = self.reservation();
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        operators.retain(|operator| operator.strong_count() > 0);
        operators.push(Arc::downgrade(&reservation.holding));
        reservation
    }

    /// Asks the operator that holds most to shrink, if that is another one than the one that was refused.
    fn ask_largest(&self, refused: &Holding) {
        let operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        let largest = operators.iter().filter_map(Weak::upgrade).max_by_key(|operator| operator.bytes());
        if let Some(largest) = largest.filter(|largest| largest.bytes() > refused.bytes()) {
            largest.room.store(0, Ordering::Relaxed);
        }
    }

    /// The most that each [named](Reservation::named) operator held at any time, in bytes. Counted when it has given all back.
    pub fn peaks(&self) -> Vec<(&'static str, u64)> {
        let peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner);
        peaks.iter().map(|(operator, peak)| (*operator, *peak)).collect()
    }

    /// The most that the task held at any time, in bytes.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// What the task may hold at most, with as many running as now.
    pub fn share(&self) -> u64 {
        let state = self.memory.state();
        self.memory.pool(&state) / state.tasks.len().max(1) as u64
    }

    /// What the task holds now.
    pub fn held(&self) -> u64 {
        self.memory.state().tasks.get(&self.number).map_or(0, |held| held.bytes)
    }

    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut state = self.memory.state();
        state.execution = state.execution.saturating_sub(bytes);
        if let Some(held) = state.tasks.get_mut(&self.number) {
            held.bytes = held.bytes.saturating_sub(bytes);
            held.taken = held.taken.min(held.bytes);
        }
        drop(state);
        self.memory.freed.notify_all();
    }
}

impl Drop for TaskMemory {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        let held = state.tasks.remove(&self.number).map_or(0, |held| held.bytes);
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
    holding: Arc<Holding>,
    operator: Option<&'static str>,
    /// The most that it held.
    peak: u64,
}

impl Reservation {
    /// For the operator of this name, under which its peak is told.
    #[must_use]
    pub fn named(mut self, operator: &'static str) -> Self {
        self.operator = Some(operator);
        self
    }

    /// An empty one for the same operator.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut other = self.task.spillable();
        other.operator = self.operator;
        other
    }

    /// How much it holds.
    #[inline(always)]
    pub fn bytes(&self) -> u64 {
        self.holding.bytes()
    }

    /// How much the operator may use: what it holds, or nothing when it is [asked](Reservation::is_asked) to shrink.
    #[inline(always)]
    pub fn room(&self) -> u64 {
        self.holding.room.load(Ordering::Relaxed)
    }

    /// Whether another operator of the task was refused while this one held more, and this one is to shrink. Whatever it does
    /// next with the reservation is its answer.
    pub fn is_asked(&self) -> bool {
        self.room() < self.bytes()
    }

    /// The task that holds it.
    pub fn task(&self) -> &Arc<TaskMemory> {
        &self.task
    }

    /// Asks for so much more. Evicts what is kept; waits while the task has less than half its share and others more than
    /// theirs.
    ///
    /// # Errors
    /// [`Refused`]: nothing was added, and the operator has to spill. If another one of the task's holds more, that one is asked to shrink.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Refused> {
        let granted = self.try_grow(bytes);
        if granted.is_err() {
            self.task.ask_largest(&self.holding);
        }
        granted
    }

    fn try_grow(&mut self, bytes: u64) -> Result<(), Refused> {
        if heap::is_over() {
            self.task.memory.relieve();
            if heap::is_over() {
                return Err(Refused::Pressure);
            }
        }
        self.task.memory.reserve(&self.task, bytes)?;
        self.grew(bytes);
        Ok(())
    }

    fn grew(&mut self, bytes: u64) {
        let bytes = self.bytes() + bytes;
        self.holding.set(bytes);
        self.peak = self.peak.max(bytes);
    }

    /// What an operator may hold whatever others do, since with less it would get nowhere: `bytes`, but of a small budget an eighth
    /// at most.
    pub fn at_least(&self, bytes: u64) -> u64 {
        bytes.min(self.task.memory.total / 8)
    }

    /// Takes so much more, whether it is there or not: for what an operator cannot do without.
    pub fn take(&mut self, bytes: u64) {
        let mut state = self.task.memory.state();
        state.execution += bytes;
        let held = state.tasks.entry(self.task.number).or_default();
        held.bytes += bytes;
        held.taken += bytes;
        self.task.peak.fetch_max(held.bytes, Ordering::Relaxed);
        drop(state);
        self.grew(bytes);
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let more = self.bytes().saturating_sub(bytes);
        self.holding.set(self.bytes() - more);
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
        if let Some(operator) = self.operator.filter(|_| self.peak > 0) {
            let mut peaks = self.task.peaks.lock().unwrap_or_else(PoisonError::into_inner);
            let peak = peaks.entry(operator).or_default();
            *peak = self.peak.max(*peak);
        }
    }
}

/// Storage memory that something kept takes. Dropped with what it stands for.
pub struct Kept {
    memory: Arc<Memory>,
    bytes: u64,
    rdd: Option<RddId>,
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Standing {
    /// It is being made, and there was room for it.
    Growing,
    /// Nobody can evict it.
    Pinned,
    /// It can be evicted.
    Evictable(Turn),
}

impl Kept {
    /// How much it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for so much more, evicting others if need be; says whether there is room.
    ///
    /// # Panics
    /// If it is evictable or pinned.
    pub fn grow(&mut self, bytes: u64) -> bool {
        assert_eq!(*self.standing(), Standing::Growing, "only what is being made grows");
        if heap::is_over() {
            self.memory.relieve();
            if heap::is_over() {
                return false;
            }
        }
        let memory = self.memory.clone();
        let mut state = memory.state();
        let mut may_evict = true;
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
            let missing = bytes + state.storage - room;
            let chosen = match may_evict {
                true => Memory::choose(&mut state, missing, missing, self.rdd),
                false => Vec::new(),
            };
            if !chosen.is_empty() {
                drop(state);
                may_evict = memory.evict(chosen);
                state = memory.state();
            } else if may_evict && state.evicting >= missing {
                state = memory.freed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            } else {
                return false;
            }
        }
    }

    /// From now on it may be evicted by a call of `owner`, which holds this.
    pub fn evictable(&self, kind: KeptKind, owner: Weak<dyn Evict>) {
        let mut state = self.memory.state();
        let turn = (kind, state.number());
        let candidate = Candidate { bytes: self.bytes, rdd: self.rdd, owner, leaving: false, not_before: 0 };
        let mut standing = self.standing();
        match std::mem::replace(&mut *standing, Standing::Evictable(turn)) {
            Standing::Growing => {}
            Standing::Pinned => self.memory.pin(&mut state, -(self.bytes as i64)),
            Standing::Evictable(turn) => drop(state.kept.remove(&turn)),
        }
        state.kept.insert(turn, candidate);
    }

    /// It was used: others go before it.
    pub fn touch(&self) {
        let mut state = self.memory.state();
        let mut standing = self.standing();
        if let Standing::Evictable(turn) = *standing
            && let Some(candidate) = state.kept.remove(&turn)
        {
            // What is leaving keeps its place, where whoever evicts it looks for it.
            let turn = if candidate.leaving { turn } else { (turn.0, state.number()) };
            state.kept.insert(turn, candidate);
            *standing = Standing::Evictable(turn);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.storage = state.storage.saturating_sub(self.bytes);
        let candidate = match *self.standing() {
            Standing::Growing => None,
            Standing::Pinned => {
                self.memory.pin(&mut state, -(self.bytes as i64));
                None
            }
            Standing::Evictable(turn) => state.kept.remove(&turn),
        };
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
