//! Things that go wrong on purpose, the same for the same seed wherever threads do not decide what comes first.

use firesteel::{
    __private::{Footprint, Moment},
    Context, ContextBuilder,
};
use firesteel_model::{BlockId, RddId};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

/// Numbers that look random and repeat with their seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Less than `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What goes wrong, one in so many attempts; 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chaos {
    pub(crate) seed: u64,
    /// A task attempt panics, before it begins or when its result exists.
    pub(crate) failures: usize,
    /// A map output vanishes.
    pub(crate) lost_outputs: usize,
    /// A cached block vanishes.
    pub(crate) lost_blocks: usize,
}

/// How often what went wrong, and what must not.
#[derive(Clone, Default)]
pub(crate) struct Damage {
    pub(crate) failures: Arc<AtomicU32>,
    pub(crate) outputs: Arc<AtomicU32>,
    pub(crate) blocks: Arc<AtomicU32>,
    /// Blocks of these RDDs are all there is of them.
    pub(crate) precious: Arc<Mutex<HashSet<u64>>>,
}

/// So many losses happen in one context at most: each may mean that much is computed again.
const MOST_LOSSES: u32 = 20;

impl Chaos {
    /// Lets it happen. A task fails twice at most; the master must allow that.
    pub(crate) fn unleash(self, builder: ContextBuilder) -> (ContextBuilder, Damage) {
        let damage = Damage::default();
        let done = damage.clone();
        let builder = builder.tamper(move |info, executor, moment| {
            let place = [
                self.seed,
                info.stage.0,
                u64::from(info.stage_attempt.0),
                u64::from(info.partition.0),
                u64::from(info.attempt_number),
                u64::from(moment == Moment::After),
            ];
            let mut random = Random::new(place.iter().fold(0, |sum, part| Random::new(sum ^ part).next()));
            let mut happens = |one_in: usize| one_in > 0 && random.once_in(2 * one_in);
            let (fails, loses_output, loses_block) =
                (happens(self.failures), happens(self.lost_outputs), happens(self.lost_blocks));
            if loses_output && done.outputs.load(Ordering::Relaxed) < MOST_LOSSES {
                let names = executor.shuffles.names();
                if !names.is_empty() {
                    let (shuffle, map, attempt) = names[random.below(names.len())];
                    executor.shuffles.remove_output(shuffle, map, attempt);
                    done.outputs.fetch_add(1, Ordering::Relaxed);
                }
            }
            if loses_block && done.blocks.load(Ordering::Relaxed) < MOST_LOSSES {
                let precious = done.precious.lock().unwrap();
                let droppable = |id: &BlockId| matches!(id, BlockId::Rdd(RddId(rdd), _) if !precious.contains(rdd));
                let blocks: Vec<BlockId> = executor.blocks.statuses().map(|(id, _)| id).filter(droppable).collect();
                if !blocks.is_empty() {
                    executor.blocks.remove(blocks[random.below(blocks.len())]);
                    done.blocks.fetch_add(1, Ordering::Relaxed);
                }
            }
            if fails && info.attempt_number < 2 {
                done.failures.fetch_add(1, Ordering::Relaxed);
                panic!("on purpose");
            }
        });
        (builder.conf("firesteel.stage.maxConsecutiveAttempts", 100), damage)
    }
}

/// What a context keeps when the attempts that nobody waits for any more have ended as well: superseded ones may outlive their job.
pub(crate) fn at_rest(sc: &Context) -> Footprint {
    loop {
        let footprint = sc.footprint().unwrap();
        if footprint.attempts == 0 {
            return footprint;
        }
        std::thread::yield_now();
    }
}
