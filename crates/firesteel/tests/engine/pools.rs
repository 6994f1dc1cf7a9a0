//! FAIR scheduling between pools of an allocation file.

use crate::steps::{Signal, local, on_thread};
use firesteel::{Pool, SchedulingMode, prelude::*};
use std::sync::Mutex;

const POOLS: &str = "<?xml version=\"1.0\"?>
<allocations>
  <pool name=\"heavy\"><schedulingMode>FAIR</schedulingMode><weight>3</weight></pool>
  <pool name=\"light\"/>
  <pool name=\"urgent\"><minShare>2</minShare></pool>
</allocations>";

fn fair(master: &str) -> (tempfile::TempDir, Context) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.xml");
    std::fs::write(&file, POOLS).unwrap();
    let sc = Context::builder()
        .master(master)
        .conf("spark.scheduler.mode", "fair")
        .conf("firesteel.scheduler.allocation.file", file.display())
        .build()
        .unwrap();
    (folder, sc)
}

fn in_pool(sc: &Context, pool: &str) {
    sc.set_local_property("firesteel.scheduler.pool", Some(pool));
}

/// Occupies all slots with tasks that wait for a signal.
macro_rules! occupied {
    ($sc:expr, $slots:expr, $started:ident, $may_end:ident) => {{
        let blocker = $sc
            .range_n(0..$slots, $slots as usize)
            .map(|x| {
                $started.raise();
                $may_end.wait();
                x
            })
            .count_async();
        $started.wait_for($slots as usize);
        blocker
    }};
}

/// Waits until the driver has been told of a background action's job.
fn submitted<R: Send + 'static>(action: FutureAction<R>) -> FutureAction<R> {
    while action.job_ids().is_empty() {
        std::thread::yield_now();
    }
    action
}

#[test]
fn pools_are_those_of_the_file_the_default_one_and_those_in_use() {
    static STARTED: Signal = Signal::new();
    static MAY_END: Signal = Signal::new();
    let (_folder, sc) = fair("local[2]");
    assert_eq!(sc.scheduling_mode().unwrap(), SchedulingMode::Fair);
    let names = || sc.all_pools().unwrap().into_iter().map(|pool| pool.name).collect::<Vec<_>>();
    assert_eq!(names(), ["default", "heavy", "light", "urgent"]);
    let heavy = Pool { name: "heavy".into(), mode: SchedulingMode::Fair, weight: 3, min_share: 0, running_tasks: 0 };
    assert_eq!(sc.pool("heavy").unwrap(), Some(heavy.clone()));
    let urgent = sc.pool("urgent").unwrap().unwrap();
    assert_eq!((urgent.mode, urgent.weight, urgent.min_share), (SchedulingMode::Fifo, 1, 2));
    assert_eq!(sc.pool("new").unwrap(), None);

    in_pool(&sc, "new");
    let blocker = occupied!(sc, 2, STARTED, MAY_END);
    assert_eq!(sc.pool("new").unwrap().unwrap().running_tasks, 2);
    assert_eq!(names(), ["default", "heavy", "light", "new", "urgent"]);
    MAY_END.raise();
    blocker.get().unwrap();

    let fifo = local("local[1]");
    assert_eq!(fifo.scheduling_mode().unwrap(), SchedulingMode::Fifo);
    assert!(fifo.all_pools().unwrap().is_empty());
}

#[test]
fn slots_are_shared_by_weight() {
    static BLOCKED: Signal = Signal::new();
    static FREE: Signal = Signal::new();
    static STARTED: Signal = Signal::new();
    static MAY_END: Signal = Signal::new();
    let (_folder, sc) = fair("local[4]");
    let blocker = occupied!(sc, 4, BLOCKED, FREE);
    let wide = |pool| {
        in_pool(&sc, pool);
        let tasks = sc.range_n(0..8, 8).map(|x| {
            STARTED.raise();
            MAY_END.wait();
            x
        });
        submitted(tasks.count_async())
    };
    let jobs = [wide("light"), wide("heavy")];
    FREE.raise();
    STARTED.wait_for(4);
    let running = |pool| sc.pool(pool).unwrap().unwrap().running_tasks;
    assert_eq!((running("heavy"), running("light")), (3, 1));
    MAY_END.raise();
    blocker.get().unwrap();
    for job in jobs {
        assert_eq!(job.get().unwrap(), 8);
    }
}

#[test]
fn a_pool_below_its_minimum_share_comes_first() {
    static BLOCKED: Signal = Signal::new();
    static FREE: Signal = Signal::new();
    static ORDER: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let (_folder, sc) = fair("local[1]");
    let blocker = occupied!(sc, 1, BLOCKED, FREE);
    let job = |pool| {
        in_pool(&sc, pool);
        let tasks = sc.range_n(0..2, 2).map(|x| {
            let pool = TaskContext::get().unwrap().local_property("firesteel.scheduler.pool").unwrap().to_string();
            ORDER.lock().unwrap().push(pool);
            x
        });
        submitted(tasks.count_async())
    };
    // Submitted first, and served last.
    let jobs = [job("light"), job("urgent")];
    FREE.raise();
    blocker.get().unwrap();
    for job in jobs {
        job.get().unwrap();
    }
    assert_eq!(*ORDER.lock().unwrap(), ["urgent", "urgent", "light", "light"]);
}

#[test]
fn an_allocation_file_that_is_wrong_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.xml");
    let start = || {
        let fair = Context::builder().master("local").conf("firesteel.scheduler.mode", "FAIR");
        fair.conf("firesteel.scheduler.allocation.file", file.display()).build().map(drop).unwrap_err().to_string()
    };
    let missing = start();
    assert!(missing.contains("pools.xml"), "{missing}");
    std::fs::write(&file, "<allocations><pool name='a'><weight>0</weight></pool></allocations>").unwrap();
    let wrong = start();
    assert!(wrong.contains("pools.xml") && wrong.contains("pool a: <weight> \"0\" is not at least 1"), "{wrong}");
}

#[test]
fn local_properties_are_a_threads_and_a_contexts_own() {
    let (one, two) = (local("local[2]"), local("local[2]"));
    let seen = |sc: &Context| {
        let told = sc.range_n(0..1, 1).map(|_| {
            let task = TaskContext::get().unwrap();
            (task.local_property("colour").map(String::from), task.local_property("firesteel.x").map(String::from))
        });
        told.collect().unwrap().remove(0)
    };
    let text = |text: &str| Some(text.to_string());
    one.set_local_property("colour", Some("green"));
    two.set_local_property("colour", Some("red"));
    one.set_local_property("firesteel.x", Some("1"));
    assert_eq!(seen(&one), (text("green"), text("1")));
    assert_eq!(seen(&two), (text("red"), None));
    assert_eq!(one.local_property("spark.x"), text("1"));
    // Clones are the same context; other threads start without.
    assert_eq!(one.clone().local_property("colour"), text("green"));
    let elsewhere = on_thread(&one, move |sc| {
        let before = seen(&sc);
        sc.set_local_property("colour", Some("blue"));
        (before, seen(&sc))
    });
    assert_eq!(elsewhere.join().unwrap(), ((None, None), (text("blue"), None)));
    assert_eq!(seen(&one), (text("green"), text("1")));
    one.set_local_property("colour", None);
    assert_eq!(seen(&one), (None, text("1")));

    // A new context has nothing of those before, wherever in memory it is.
    for _ in 0..50 {
        let sc = Context::builder().master("local[1]").build().unwrap();
        assert_eq!(sc.local_property("colour"), None);
        sc.set_local_property("colour", Some("grey"));
    }
    assert_eq!(two.local_property("colour"), text("red"));
}
