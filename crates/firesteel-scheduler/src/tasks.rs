//! The task set of one stage attempt: which of its tasks wait, and where they would like to run.

use crate::{
    Locality, LocalityWait, RackId, Speculation,
    exclusion::SetExclusions,
    executors::{Executor, Executors},
    pools::Place,
};
use firesteel_model::{AttemptId, ExecutorId, HostId, StageAttempt};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque, btree_map::Entry},
    time::Duration,
};

/// What is known about one task of an active stage. A stage has up to millions: this is what each costs.
#[derive(Clone, Default)]
pub(crate) struct Task {
    /// The attempt whose result counts, once the task is done (result stages).
    pub(crate) winner: AttemptId,
    /// Attempts launched in this stage attempt.
    pub(crate) launched: u32,
    /// Counted failures in this stage attempt.
    pub(crate) failures: u32,
    /// Attempts of this stage attempt that run.
    pub(crate) copies: u32,
    pub(crate) done: bool,
    /// Waits for a slot.
    pub(crate) pending: bool,
}

/// Where a task would like to run; nothing at all if it does not care.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) executors: Vec<ExecutorId>,
    pub(crate) hosts: Vec<HostId>,
    pub(crate) racks: Vec<RackId>,
}

impl Wishes {
    fn none(&self) -> bool {
        self.executors.is_empty() && self.hosts.is_empty() && self.racks.is_empty()
    }
}

/// Lists of waiting tasks by where they would like to run. An entry is only a hint: the task's own flag says whether it
/// still waits, and entries that it no longer fits are thrown away when they are met.
#[derive(Default)]
struct Lists {
    no_preference: VecDeque<u32>,
    by_executor: BTreeMap<ExecutorId, VecDeque<u32>>,
    by_host: BTreeMap<HostId, VecDeque<u32>>,
    by_rack: BTreeMap<RackId, VecDeque<u32>>,
    /// All that have a preference.
    anywhere: VecDeque<u32>,
}

/// The levels that a task set waits at, in order; [`Locality::Any`] is where waiting ends.
const LEVELS: [Locality; 4] = [Locality::ProcessLocal, Locality::NodeLocal, Locality::RackLocal, Locality::Any];

/// The tasks of one stage attempt.
pub(crate) struct TaskSet {
    pub(crate) attempt: StageAttempt,
    pub(crate) place: Place,
    /// How many tasks it had to run when it began.
    pub(crate) size: u32,
    /// How many tasks wait for a slot.
    pub(crate) pending: u32,
    lists: Lists,
    /// Place in `LEVELS`.
    level: usize,
    /// Since when a slot has been refused because it is not near enough to any waiting task.
    pub(crate) delayed: Option<Duration>,
    /// Whether a task was launched since slots were last looked at.
    pub(crate) launched: bool,
    /// Tasks that wait for a slot for a second attempt.
    pub(crate) slow: BTreeSet<u32>,
    durations: Durations,
    pub(crate) exclusions: SetExclusions,
}

impl TaskSet {
    pub(crate) fn new(attempt: StageAttempt, place: Place) -> Self {
        TaskSet {
            attempt,
            place,
            size: 0,
            pending: 0,
            lists: Lists::default(),
            level: 0,
            delayed: None,
            launched: false,
            slow: BTreeSet::new(),
            durations: Durations::default(),
            exclusions: SetExclusions::default(),
        }
    }

    /// Lets a task wait for a slot. `again`: before all others, because it has waited before.
    pub(crate) fn add(&mut self, index: u32, task: &mut Task, wishes: Wishes, again: bool) {
        debug_assert!(!task.done && !task.pending);
        task.pending = true;
        self.pending += 1;
        let push = |list: &mut VecDeque<u32>| if again { list.push_front(index) } else { list.push_back(index) };
        if wishes.none() {
            return push(&mut self.lists.no_preference);
        }
        for executor in wishes.executors {
            push(self.lists.by_executor.entry(executor).or_default());
        }
        for host in wishes.hosts {
            push(self.lists.by_host.entry(host).or_default());
        }
        for rack in wishes.racks {
            push(self.lists.by_rack.entry(rack).or_default());
        }
        push(&mut self.lists.anywhere);
    }

    /// A waiting task is no longer to be run: an attempt of an earlier stage attempt has done it.
    pub(crate) fn withdraw(&mut self, index: u32, task: &mut Task) {
        if task.pending {
            task.pending = false;
            self.pending -= 1;
        }
        self.slow.remove(&index);
    }

    /// Whether it wants a slot.
    pub(crate) fn wants(&self) -> bool {
        self.pending > 0 || !self.slow.is_empty()
    }

    /// The level that it accepts now.
    pub(crate) fn level(&self) -> Locality {
        LEVELS[self.level]
    }

    /// Goes on from levels at which nobody waits, or at which there is no waiting. Whether it did.
    pub(crate) fn settle_level(&mut self, tasks: &[Task], executors: &Executors, wait: &LocalityWait) -> bool {
        let before = self.level;
        while self.level < 3 && (wait.at(LEVELS[self.level]).is_zero() || !self.anyone_at(tasks, executors)) {
            self.level += 1;
            self.delayed = None;
        }
        self.level > before
    }

    /// Whether a task waits whose wish at the present level a live executor could fulfil.
    fn anyone_at(&mut self, tasks: &[Task], executors: &Executors) -> bool {
        match LEVELS[self.level] {
            Locality::ProcessLocal => anyone_in(&mut self.lists.by_executor, tasks, |id| executors.get(id).is_some()),
            Locality::NodeLocal => anyone_in(&mut self.lists.by_host, tasks, |id| executors.has_host(id)),
            Locality::RackLocal => anyone_in(&mut self.lists.by_rack, tasks, |id| executors.has_rack(id)),
            Locality::NoPref | Locality::Any => true,
        }
    }

    /// The time of waiting at this level is over.
    pub(crate) fn next_level(&mut self) {
        self.level = (self.level + 1).min(3);
        self.delayed = None;
    }

    /// Starts waiting from the best level again.
    pub(crate) fn reset_level(&mut self) {
        self.level = 0;
        self.delayed = None;
    }

    /// Takes a waiting task for this executor, no further from its data than `at_most`.
    pub(crate) fn take(
        &mut self,
        tasks: &mut [Task],
        id: ExecutorId,
        executor: &Executor,
        at_most: Locality,
    ) -> Option<(u32, Locality)> {
        if self.pending == 0 {
            return None;
        }
        let allowed = self.level().min(at_most);
        let (host, lists, exclusions) = (executor.host, &mut self.lists, &self.exclusions);
        let fits = |index: u32| match tasks[index as usize].pending {
            false => Fit::Gone,
            true if exclusions.admit_task(index, id, host) => Fit::Yes,
            true => Fit::NotHere,
        };
        let mut found = pop_at(&mut lists.by_executor, id, &fits).map(|index| (index, Locality::ProcessLocal));
        if found.is_none() && allowed >= Locality::NodeLocal {
            found = pop_at(&mut lists.by_host, host, &fits).map(|index| (index, Locality::NodeLocal));
        }
        if found.is_none() && at_most >= Locality::NoPref {
            found = pop(&mut lists.no_preference, &fits).map(|index| (index, Locality::NoPref));
        }
        if found.is_none() && allowed >= Locality::RackLocal {
            let rack = executor.rack;
            found =
                rack.and_then(|rack| pop_at(&mut lists.by_rack, rack, &fits)).map(|index| (index, Locality::RackLocal));
        }
        if found.is_none() && allowed >= Locality::Any {
            found = pop(&mut lists.anywhere, &fits).map(|index| (index, Locality::Any));
        }
        if let Some((index, _)) = found {
            tasks[index as usize].pending = false;
            self.pending -= 1;
        }
        found
    }

    /// The executors that waiting tasks name, if they are fewer than `limit`.
    pub(crate) fn named_executors(&self, limit: usize) -> Option<Vec<ExecutorId>> {
        let lists = &self.lists.by_executor;
        (lists.len() < limit).then(|| lists.keys().copied().collect())
    }

    /// The hosts that waiting tasks name, if they are fewer than `limit`.
    pub(crate) fn named_hosts(&self, limit: usize) -> Option<Vec<HostId>> {
        let lists = &self.lists.by_host;
        (lists.len() < limit).then(|| lists.keys().copied().collect())
    }

    /// Whether anything can be found at exactly this level.
    pub(crate) fn has_list(&self, level: Locality) -> bool {
        match level {
            Locality::ProcessLocal => !self.lists.by_executor.is_empty(),
            Locality::NodeLocal => !self.lists.by_host.is_empty(),
            Locality::NoPref => !self.lists.no_preference.is_empty() || !self.slow.is_empty(),
            Locality::RackLocal => !self.lists.by_rack.is_empty(),
            Locality::Any => !self.lists.anywhere.is_empty(),
        }
    }

    /// An executor is gone: nobody waits for it any longer.
    pub(crate) fn forget_executor(&mut self, executor: ExecutorId) {
        self.lists.by_executor.remove(&executor);
    }

    /// An attempt of this set ended well.
    pub(crate) fn note_duration(&mut self, duration: Duration) {
        self.durations.add(duration);
    }

    /// The age from which a running attempt is slow; none while too few tasks have ended to know.
    pub(crate) fn slow_after(&self, rule: &Speculation) -> Option<Duration> {
        let enough = ((rule.quantile * f64::from(self.size)).floor() as usize).max(1);
        if self.size < 2 || self.durations.len() < enough {
            return None;
        }
        let limit = self.durations.median().as_secs_f64() * rule.multiplier;
        Some(Duration::try_from_secs_f64(limit).unwrap_or(Duration::MAX).max(rule.min_task_runtime))
    }
}

impl LocalityWait {
    pub(crate) fn at(&self, level: Locality) -> Duration {
        match level {
            Locality::ProcessLocal => self.process,
            Locality::NodeLocal => self.node,
            Locality::RackLocal => self.rack,
            Locality::NoPref | Locality::Any => Duration::ZERO,
        }
    }
}

/// Whether somebody waits in a list that counts. Lists without anybody are dropped on the way.
fn anyone_in<K: Ord + Copy>(
    lists: &mut BTreeMap<K, VecDeque<u32>>,
    tasks: &[Task],
    counts: impl Fn(K) -> bool,
) -> bool {
    let mut empty = Vec::new();
    let mut found = false;
    for (key, list) in lists.iter_mut() {
        while list.front().is_some_and(|index| !tasks[*index as usize].pending) {
            list.pop_front();
        }
        if list.is_empty() {
            empty.push(*key);
        } else if counts(*key) {
            found = true;
            break;
        }
    }
    for key in empty {
        lists.remove(&key);
    }
    found
}

/// Whether an entry of a list is a task for an executor.
enum Fit {
    Yes,
    /// It waits, and must run elsewhere.
    NotHere,
    /// It waits no more.
    Gone,
}

fn pop(list: &mut VecDeque<u32>, fits: &impl Fn(u32) -> Fit) -> Option<u32> {
    let mut place = 0;
    while let Some(index) = list.get(place).copied() {
        match fits(index) {
            // All but always the first one.
            Fit::Yes => return list.remove(place),
            Fit::NotHere => place += 1,
            Fit::Gone => drop(list.remove(place)),
        }
    }
    None
}

fn pop_at<K: Ord>(lists: &mut BTreeMap<K, VecDeque<u32>>, key: K, fits: &impl Fn(u32) -> Fit) -> Option<u32> {
    let Entry::Occupied(mut list) = lists.entry(key) else { return None };
    let found = pop(list.get_mut(), fits);
    if list.get().is_empty() {
        list.remove();
    }
    found
}

/// The median of all durations so far, in O(log n) each.
#[derive(Default)]
struct Durations {
    lower: BinaryHeap<Duration>,
    upper: BinaryHeap<Reverse<Duration>>,
}

impl Durations {
    fn add(&mut self, duration: Duration) {
        if self.lower.peek().is_some_and(|middle| duration > *middle) {
            self.upper.push(Reverse(duration));
        } else {
            self.lower.push(duration);
        }
        if self.upper.len() > self.lower.len() {
            let Reverse(moved) = self.upper.pop().expect("it is the longer one");
            self.lower.push(moved);
        } else if self.lower.len() > self.upper.len() + 1 {
            let moved = self.lower.pop().expect("it is the longer one");
            self.upper.push(Reverse(moved));
        }
    }

    fn len(&self) -> usize {
        self.lower.len() + self.upper.len()
    }

    fn median(&self) -> Duration {
        match (self.lower.peek(), self.upper.peek()) {
            (Some(low), Some(Reverse(high))) if self.lower.len() == self.upper.len() => (*low + *high) / 2,
            (Some(low), _) => *low,
            (None, _) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn median_is_that_of_the_sorted_list(times in prop::collection::vec(0u64..1000, 1..50)) {
            let mut durations = Durations::default();
            times.iter().for_each(|time| durations.add(Duration::from_millis(2 * time)));
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let half = sorted.len() / 2;
            let median = if sorted.len() % 2 == 1 { 2 * sorted[half] } else { sorted[half - 1] + sorted[half] };
            prop_assert_eq!(durations.median(), Duration::from_millis(median));
        }
    }
}
