//! Things that go wrong on purpose, the same for the same seed wherever threads do not decide what comes first.

use crate::random_program::random::Random;
use firesteel::{
    __private::{Footprint, ManualClock, Moment},
    Context, ContextBuilder, TaskContext,
};
use firesteel_model::{BlockId, RddId};
use firesteel_rdd::TaskInfo;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

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
    /// Tasks at whose end a map output was on disk.
    pub(crate) flushed: Arc<AtomicU32>,
    /// Blocks of these RDDs are all there is of them.
    pub(crate) precious: Arc<Mutex<HashSet<u64>>>,
}

/// So many losses happen in one context at most: each may mean that much is computed again.
const MOST_LOSSES: u32 = 20;

impl Chaos {
    /// Lets it happen. A task fails twice at most; the master must allow that.
    pub(crate) fn unleash(self, builder: ContextBuilder, stragglers: Stragglers) -> (ContextBuilder, Damage) {
        let damage = Damage::default();
        let done = damage.clone();
        let builder = builder.tamper(move |info, executor, moment| {
            stragglers.meet(info, moment);
            let place = [
                self.seed,
                info.stage.0,
                u64::from(info.stage_attempt.0),
                u64::from(info.partition.0),
                u64::from(info.attempt_number),
                u64::from(moment == Moment::After),
            ];
            let mut random = Random::new(place.iter().fold(0, |sum, part| Random::new(sum ^ part).next()));
            if moment == Moment::After && executor.shuffles.bytes().1 > 0 {
                done.flushed.fetch_add(1, Ordering::Relaxed);
            }
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

/// First attempts that wait until a copy has overtaken them, or at least begun; those of stages that get no copies give up in time.
/// The driver's clock must be moved by hand.
#[derive(Clone, Default)]
pub(crate) struct Stragglers(Arc<Slow>);

#[derive(Default)]
struct Slow {
    one_in: usize,
    /// No more wait at the same time, so that there is a thread for the copies.
    most: usize,
    waiting: AtomicUsize,
    ticks: AtomicU64,
    /// The attempts seen at each task.
    begun: Mutex<HashMap<(u64, u32), u32>>,
    overtaken: Arc<AtomicU32>,
}

/// After so many ticks without a copy there will be none.
const PATIENCE: u64 = 50;

impl Stragglers {
    /// One first attempt in so many is slow, if a thread is left for its copy; 0 for none.
    pub(crate) fn new(one_in: usize, threads: usize) -> Self {
        Stragglers(Arc::new(Slow { one_in, most: threads - 1, ..Slow::default() }))
    }

    /// How many attempts had a copy.
    pub(crate) fn overtaken(&self) -> Arc<AtomicU32> {
        self.0.overtaken.clone()
    }

    fn meet(&self, info: &TaskInfo, moment: Moment) {
        let slow = &*self.0;
        if slow.one_in == 0 || moment == Moment::After {
            return;
        }
        let task = (info.stage.0, info.partition.0);
        let seen = {
            let mut begun = slow.begun.lock().unwrap();
            let seen = begun.entry(task).or_default();
            *seen += 1;
            *seen
        };
        let mut random = Random::new(info.stage.0 << 20 ^ u64::from(info.partition.0));
        if seen > 1 || info.attempt_number > 0 || !random.once_in(slow.one_in) {
            return;
        }
        if slow.waiting.fetch_add(1, Ordering::SeqCst) < slow.most {
            let until_over = random.once_in(2);
            let (task_context, since) = (TaskContext::get().unwrap(), slow.ticks.load(Ordering::SeqCst));
            let mut copied = false;
            while !task_context.is_interrupted() && slow.ticks.load(Ordering::SeqCst) < since + PATIENCE {
                if !copied && slow.begun.lock().unwrap()[&task] > 1 {
                    copied = true;
                    slow.overtaken.fetch_add(1, Ordering::SeqCst);
                }
                if copied && !until_over {
                    break;
                }
                std::thread::yield_now();
            }
        }
        slow.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Moves the clock until `run` has returned.
    pub(crate) fn while_time_passes<R>(&self, sc: &Context, clock: &ManualClock, run: impl FnOnce() -> R) -> R {
        if self.0.one_in == 0 {
            return run();
        }
        /// Ends the clock's thread when `run` panics, too.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    clock.advance(Duration::from_millis(200));
                    sc.tick();
                    // Answered when the tick has been looked at.
                    let _ = sc.footprint();
                    self.0.ticks.fetch_add(1, Ordering::SeqCst);
                    std::thread::yield_now();
                }
            });
            let _over = Over(&over);
            run()
        })
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
