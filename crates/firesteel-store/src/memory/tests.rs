use super::*;
use std::sync::atomic::AtomicBool;

/// Something kept that is forgotten on request.
struct Thing {
    kept: Mutex<Option<Kept>>,
}

impl Evict for Thing {
    fn evict(&self) {
        drop(self.kept.lock().unwrap().take());
    }
}

fn thing(memory: &Arc<Memory>, bytes: u64, rdd: Option<RddId>) -> Option<Arc<Thing>> {
    let kept = memory.keep(bytes, rdd)?;
    let thing = Arc::new(Thing { kept: Mutex::new(Some(kept)) });
    let owner: Weak<dyn Evict> = Arc::downgrade(&(thing.clone() as Arc<dyn Evict>));
    thing.kept.lock().unwrap().as_ref().unwrap().evictable(owner);
    Some(thing)
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
        fn evict(&self) {
            self.0.lock().unwrap().take();
        }
    }
    let memory = Memory::new(1_000, 0.0);
    let kept = Arc::new(memory.keep(800, None).unwrap());
    let reader = kept.clone();
    let owner = Arc::new(Read(Mutex::new(Some(kept))));
    reader.evictable(Arc::downgrade(&(owner.clone() as Arc<dyn Evict>)));
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
