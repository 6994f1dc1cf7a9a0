//! Where the executors of one application go: Spark's rule.

use std::num::NonZeroU32;

/// What a worker has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Cores that nobody has.
    pub cores: u32,
    /// Memory that nobody has.
    pub memory_mib: u64,
}

/// What an application wants now.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// So many more executors, at most.
    pub executors: u32,
    /// So many cores in all, at most.
    pub cores: u32,
    /// So many for each executor; none for one executor on each worker.
    pub executor_cores: Option<NonZeroU32>,
    /// So much for each executor.
    pub executor_memory_mib: u64,
    /// Over as many workers as possible, not as few.
    pub spread_out: bool,
}

/// The cores of each new executor, for each of `rooms`.
///
/// Spread out, each worker gets one executor (or one core, if an executor has all that it gets of a worker) after another, in the order of
/// `rooms`; else each gets as many as it can before the next is asked. Costs a step per executor or core that is given.
///
/// ```
/// use firesteel_cluster::master::placement::{Room, Wish, place};
/// let rooms = [Room { cores: 4, memory_mib: 4096 }, Room { cores: 4, memory_mib: 1024 }];
/// let wish = Wish { executors: 9, cores: 5, executor_cores: None, executor_memory_mib: 1024, spread_out: true };
/// assert_eq!(place(&rooms, wish), [vec![3], vec![2]]);
/// assert_eq!(place(&rooms, Wish { executors: 1, ..wish }), [vec![4], vec![]]);
/// assert_eq!(place(&rooms, Wish { spread_out: false, ..wish }), [vec![4], vec![1]]);
/// ```
pub fn place(rooms: &[Room], wish: Wish) -> Vec<Vec<u32>> {
    let mut placed = vec![Vec::new(); rooms.len()];
    let (mut left, mut executors_left) = (wish.cores, wish.executors);
    // One step of a worker: another executor, or another core for its one executor.
    let mut step = |room: &Room, executors: &mut Vec<u32>| {
        let taken: u32 = executors.iter().sum();
        let size = wish.executor_cores.map_or(1, NonZeroU32::get);
        let grows = wish.executor_cores.is_none() && !executors.is_empty();
        let memory = wish.executor_memory_mib.saturating_mul(executors.len() as u64 + u64::from(!grows));
        let is_too_many = !grows && executors_left == 0;
        if is_too_many || left < size || room.cores - taken < size || room.memory_mib < memory {
            return false;
        }
        left -= size;
        match executors.last_mut() {
            Some(cores) if grows => *cores += 1,
            _ => {
                executors_left -= 1;
                executors.push(size);
            }
        }
        true
    };
    if wish.spread_out {
        let mut open: Vec<usize> = (0..rooms.len()).collect();
        while !open.is_empty() {
            open.retain(|&i| step(&rooms[i], &mut placed[i]));
        }
    } else {
        for (room, executors) in rooms.iter().zip(&mut placed) {
            while step(room, executors) {}
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn room(cores: u32, memory_mib: u64) -> Room {
        Room { cores, memory_mib }
    }

    #[test]
    fn executors_of_a_size_are_spread_or_packed() {
        let rooms = [room(8, 8192), room(8, 8192), room(3, 8192)];
        let size = NonZeroU32::new(2);
        let wish =
            Wish { executors: u32::MAX, cores: 9, executor_cores: size, executor_memory_mib: 1024, spread_out: true };
        assert_eq!(place(&rooms, wish), [vec![2, 2], vec![2], vec![2]]);
        assert_eq!(place(&rooms, Wish { spread_out: false, ..wish }), [vec![2, 2, 2, 2], vec![], vec![]]);
        assert_eq!(place(&rooms, Wish { executors: 2, ..wish }), [vec![2], vec![2], vec![]]);
    }

    #[test]
    fn memory_bounds_executors_as_cores_do() {
        let (executors, executor_cores) = (u32::MAX, NonZeroU32::new(1));
        let wish = Wish { executors, cores: 100, executor_cores, executor_memory_mib: 1000, spread_out: true };
        assert_eq!(place(&[room(4, 2500), room(4, 999)], wish), [vec![1, 1], vec![]]);
        let one_each = Wish { executor_cores: None, ..wish };
        assert_eq!(place(&[room(4, 2500), room(4, 999)], one_each), [vec![4], vec![]]);
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_and_nothing_that_would_do_is_left(
            rooms in prop::collection::vec((0..6u32, 0..5u64), 0..5),
            executors in 0..8u32, cores in 0..20u32, size in 0..4u32, memory in 1..3u64, spread_out: bool,
        ) {
            let rooms: Vec<Room> = rooms.into_iter().map(|(cores, memory)| room(cores, memory)).collect();
            let executor_cores = NonZeroU32::new(size);
            let wish = Wish { executors, cores, executor_cores, executor_memory_mib: memory, spread_out };
            let placed = place(&rooms, wish);
            let given: u32 = placed.iter().flatten().sum();
            let are_enough = placed.iter().flatten().count() as u32 == executors;
            prop_assert!(given <= cores && placed.iter().flatten().count() as u32 <= executors);
            for (room, executors) in rooms.iter().zip(&placed) {
                let taken: u32 = executors.iter().sum();
                let memory_taken = memory * executors.len() as u64;
                prop_assert!(taken <= room.cores && memory_taken <= room.memory_mib);
                prop_assert!(executors.iter().all(|cores| size == 0 || *cores == size));
                prop_assert!(size > 0 || executors.len() <= 1);
                let grows = size == 0 && !executors.is_empty();
                let may_step = grows || !are_enough && memory_taken + memory <= room.memory_mib;
                let step = size.max(1);
                prop_assert!(cores - given < step || room.cores - taken < step || !may_step, "{placed:?}");
            }
            prop_assert_eq!(place(&rooms, wish), placed);
        }
    }
}
