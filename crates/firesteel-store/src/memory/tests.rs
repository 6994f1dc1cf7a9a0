use super::*;
use std::sync::atomic::AtomicBool;

/// Something kept that is forgotten on request, unless it is stuck.
struct Thing {
    kept: Mutex<Option<Kept>>,
    stuck: AtomicBool,
    asked: AtomicU64,
}

impl Evict for Thing {
    fn evict(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let goes = !self.stuck.load(Ordering::Relaxed);
        if goes {
            drop(self.kept.lock().unwrap().take());
        }
        goes
    }
}

fn evictable(kept: Kept, kind: KeptKind) -> Arc<Thing> {
    let thing =
        Arc::new(Thing { kept: Mutex::new(Some(kept)), stuck: AtomicBool::new(false), asked: AtomicU64::new(0) });
    let owner: Weak<dyn Evict> = Arc::downgrade(&(thing.clone() as Arc<dyn Evict>));
    thing.kept.lock().unwrap().as_ref().unwrap().evictable(kind, owner);
    thing
}

fn thing(memory: &Arc<Memory>, bytes: u64, rdd: Option<RddId>) -> Option<Arc<Thing>> {
    Some(evictable(memory.keep(bytes, rdd)?, KeptKind::Block))
}

fn is_there(thing: &Arc<Thing>) -> bool {
    thing.kept.lock().unwrap().is_some()
}

#[test]
fn each_task_may_hold_its_share() {
    let memory = Memory::new(1_000, 0.5);
    let a = memory.task(|| false);
    let mut first = a.reservation();
    assert_eq!(first.grow(1_000), Ok(()), "alone it may have all");
    first.shrink_to(400);
    let b = memory.task(|| false);
    let mut second = b.reservation();
    assert_eq!(first.grow(101), Err(Refused::Budget));
    assert_eq!(first.grow(100), Ok(()));
    assert_eq!(second.grow(500), Ok(()));
    assert_eq!((memory.execution(), a.peak(), b.peak()), (1_000, 1_000, 500));
    drop((first, second));
    assert_eq!(memory.execution(), 0);
}

#[test]
fn execution_evicts_storage_down_to_the_floor_and_the_oldest_first() {
    let memory = Memory::new(1_000, 0.3);
    let things: Vec<_> = (0..5).map(|_| thing(&memory, 200, None).unwrap()).collect();
    things[0].kept.lock().unwrap().as_ref().unwrap().touch();
    let task = memory.task(|| false);
    let mut work = task.reservation();
    assert_eq!(work.grow(300), Ok(()));
    assert_eq!(things.iter().map(is_there).collect::<Vec<_>>(), [true, false, false, true, true]);
    assert_eq!(work.grow(300), Ok(()));
    assert_eq!(things.iter().map(is_there).collect::<Vec<_>>(), [true, false, false, false, true]);
    assert_eq!(work.grow(200), Err(Refused::Budget), "what is left lies below the floor");
    assert_eq!((memory.execution(), memory.storage()), (600, 400));
}

#[test]
fn storage_takes_nothing_from_execution_and_spares_its_own_rdd() {
    let memory = Memory::new(1_000, 0.5);
    let task = memory.task(|| false);
    let mut work = task.reservation();
    work.grow(400).unwrap();
    let mine = Some(RddId(1));
    let a = thing(&memory, 300, mine).unwrap();
    let b = thing(&memory, 300, Some(RddId(2))).unwrap();
    assert!(thing(&memory, 700, mine).is_none(), "more than execution leaves");
    assert!(is_there(&a) && is_there(&b), "nothing was evicted in vain");
    let c = thing(&memory, 300, mine).unwrap();
    assert!(is_there(&a) && !is_there(&b) && is_there(&c));
    assert!(thing(&memory, 300, mine).is_none());
    drop((a, b, c, work));
    assert_eq!((memory.storage(), memory.execution()), (0, 0));
}

#[test]
fn what_is_still_being_read_counts_until_its_reader_is_done() {
    struct Read(Mutex<Option<Arc<Kept>>>);
    impl Evict for Read {
        fn evict(&self) -> bool {
            self.0.lock().unwrap().take();
            true
        }
    }
    let memory = Memory::new(1_000, 0.0);
    let kept = Arc::new(memory.keep(800, None).unwrap());
    let reader = kept.clone();
    let owner = Arc::new(Read(Mutex::new(Some(kept))));
    reader.evictable(KeptKind::Block, Arc::downgrade(&(owner.clone() as Arc<dyn Evict>)));
    let task = memory.task(|| false);
    let mut work = task.reservation();
    assert_eq!(work.grow(900), Err(Refused::Budget));
    assert!(owner.0.lock().unwrap().is_none(), "asked to go");
    drop(reader);
    assert_eq!(work.grow(900), Ok(()));
}

#[test]
fn a_task_waits_for_half_its_share_and_no_longer_when_killed() {
    let memory = Memory::new(1_000, 0.5);
    let early = memory.task(|| false);
    let mut all = early.reservation();
    all.grow(1_000).unwrap();
    let killed = Arc::new(AtomicBool::new(false));
    let flag = killed.clone();
    let late = memory.task(move || flag.load(Ordering::Relaxed));
    let mut work = late.reservation();
    assert_eq!(work.grow(251), Err(Refused::Budget), "more than half its share: it spills instead");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| work.grow(250));
        assert_eq!(all.grow(1), Err(Refused::Budget));
        all.shrink_to(700);
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
    all.take(50);
    killed.store(true, Ordering::Relaxed);
    let mut more = late.reservation();
    assert_eq!(more.grow(1), Err(Refused::Budget));
}

#[test]
fn work_becomes_kept_and_is_given_back_with_its_last_holder() {
    let memory = Memory::new(1_000, 0.5);
    let task = memory.task(|| false);
    let mut work = task.reservation();
    work.grow(500).unwrap();
    let kept = work.into_kept(450);
    assert_eq!((memory.execution(), memory.storage(), kept.bytes()), (0, 450, 450));
    drop(kept);
    assert_eq!(memory.storage(), 0);
    assert_eq!(format!("{memory:?}"), "Memory(0 B in 1 tasks and 0 B kept, of 1000 B)");
}

#[test]
fn a_kept_thing_that_evicts_itself_while_others_reserve_ends_well() {
    let memory = Memory::new(10_000, 0.1);
    std::thread::scope(|scope| {
        for t in 0..4u64 {
            let memory = &memory;
            scope.spawn(move || {
                for i in 0..500 {
                    let task = memory.task(|| false);
                    let mut work = task.reservation();
                    let _ = work.grow(100 + (i * 37 + t * 11) % 2_000);
                    let kept: Vec<_> = (0..3).filter_map(|n| thing(memory, 300 + n * 100, Some(RddId(t)))).collect();
                    let _ = work.grow(500);
                    kept.iter().for_each(|k| {
                        if let Some(kept) = k.kept.lock().unwrap().as_ref() {
                            kept.touch()
                        }
                    });
                }
            });
        }
    });
    assert_eq!((memory.execution(), memory.storage()), (0, 0));
    assert!(memory.state().kept.is_empty() && memory.state().tasks.is_empty());
}

#[test]
fn map_outputs_make_room_before_blocks_that_were_used_earlier() {
    let memory = Memory::new(1_000, 0.0);
    let block = thing(&memory, 400, None).unwrap();
    let output = evictable(memory.keep_anyway(400), KeptKind::MapOutput);
    output.kept.lock().unwrap().as_ref().unwrap().touch();
    let task = memory.task(|| false);
    let mut work = task.reservation();
    assert_eq!(work.grow(500), Ok(()));
    assert!(is_there(&block) && !is_there(&output));
    assert_eq!(work.grow(500), Ok(()));
    assert!(!is_there(&block));
}

#[test]
fn nothing_is_evicted_where_that_would_not_be_enough() {
    let memory = Memory::new(1_000, 0.2);
    let first = memory.task(|| false);
    let mut large = first.reservation();
    large.grow(500).unwrap();
    let things: Vec<_> = (0..2).map(|_| thing(&memory, 200, None).unwrap()).collect();
    let second = memory.task(|| false);
    let mut work = second.reservation();
    assert_eq!(work.grow(350), Err(Refused::Budget), "100 are free, and 200 above the floor");
    assert!(things.iter().all(is_there));
    assert_eq!(work.grow(300), Ok(()));
    assert_eq!(things.iter().filter(|thing| is_there(thing)).count(), 1);
}

#[test]
fn what_could_not_be_evicted_is_left_alone_for_a_while() {
    let memory = Memory::new(1_000, 0.0);
    let stuck = thing(&memory, 600, None).unwrap();
    stuck.stuck.store(true, Ordering::Relaxed);
    let task = memory.task(|| false);
    let mut work = task.reservation();
    for _ in 0..5 {
        assert_eq!(work.grow(500), Err(Refused::Budget));
    }
    assert_eq!(stuck.asked.load(Ordering::Relaxed), 1);
    stuck.stuck.store(false, Ordering::Relaxed);
    (0..PATIENCE).for_each(|_| drop(memory.task(|| false)));
    assert_eq!(work.grow(500), Ok(()), "tried again later");
}

#[test]
fn an_eviction_that_panics_leaves_others_able_to_evict() {
    struct Panics(Mutex<Option<Kept>>);
    impl Evict for Panics {
        fn evict(&self) -> bool {
            panic!("a record that cannot be written")
        }
    }
    let memory = Memory::new(1_000, 0.0);
    let panics = Arc::new(Panics(Mutex::new(memory.keep(300, None))));
    let owner: Weak<dyn Evict> = Arc::downgrade(&(panics.clone() as Arc<dyn Evict>));
    panics.0.lock().unwrap().as_ref().unwrap().evictable(KeptKind::Block, owner);
    let after = thing(&memory, 300, None).unwrap();
    let task = memory.task(|| false);
    let mut work = task.reservation();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work.grow(900))).is_err());
    assert!(is_there(&after));
    assert_eq!(work.grow(700), Ok(()));
    assert!(!is_there(&after));
    assert_eq!(memory.state().evicting, 0);
}

#[test]
fn what_is_pinned_takes_from_tasks_no_more_than_the_floor() {
    let memory = Memory::new(1_000, 0.4);
    let cached = thing(&memory, 300, None).unwrap();
    let broadcast = memory.keep_anyway(2_000);
    assert!(thing(&memory, 1, Some(RddId(1))).is_none(), "no room for what can be computed again");
    let task = memory.task(|| false);
    let mut work = task.reservation();
    assert_eq!(task.share(), 600);
    assert_eq!(work.grow(601), Err(Refused::Budget));
    assert_eq!(work.grow(600), Ok(()), "guaranteed");
    assert!(!is_there(&cached));
    drop(broadcast);
    assert_eq!(work.grow(400), Ok(()));
    assert_eq!((memory.storage(), memory.state().pinned), (0, 0));
}

#[test]
fn a_refusal_asks_the_tasks_largest_other_operator_to_shrink() {
    let memory = Memory::new(1_000, 0.5);
    let task = memory.task(|| false);
    let (mut large, mut fixed, mut small) = (task.spillable(), task.reservation(), task.spillable());
    large.grow(500).unwrap();
    fixed.grow(400).unwrap();
    assert_eq!((large.room(), large.is_asked()), (500, false));
    assert_eq!(small.grow(200), Err(Refused::Budget));
    assert_eq!((large.room(), large.is_asked(), large.bytes()), (0, true, 500));
    assert_eq!(fixed.room(), 400, "it cannot shrink");
    large.shrink_to(300);
    assert_eq!((large.room(), large.is_asked()), (300, false));
    assert_eq!(small.grow(200), Ok(()));
    assert_eq!(large.grow(200), Err(Refused::Budget));
    assert!(!small.is_asked() && !large.is_asked(), "the largest itself was refused");
    let other = memory.task(|| false);
    assert_eq!(other.spillable().grow(600), Err(Refused::Budget));
    assert!(!large.is_asked(), "another task's");
}

#[test]
fn nobody_waits_for_what_was_taken_without_asking() {
    let memory = Memory::new(1_000, 0.5);
    let (first, second) = (memory.task(|| false), memory.task(|| false));
    let mut large = first.reservation();
    large.take(2_000);
    assert_eq!(second.reservation().grow(100), Err(Refused::Budget), "at once: it can only spill");
    large.shrink_to(900);
    assert_eq!(second.reservation().grow(100), Ok(()));
}
