//! Users' listeners: all that happens, in order, and nothing that they do disturbs the program.

use crate::steps::{Signal, Told, local, on_thread};
use firesteel::{
    events::{
        Event,
        event::{StageCompleted, StageSubmitted, TaskEnd, TaskEndReason},
    },
    prelude::*,
};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.name().strip_prefix("SparkListener").unwrap()).collect()
}

#[test]
fn events_come_in_the_order_in_which_things_happen() {
    let sc = local("local[1]");
    let told = Told::of(&sc);
    let counts = sc.range_n(0..10, 2).map(|x| (x % 3, x)).reduce_by_key_into(1, |a, b| a + b);
    assert_eq!(counts.count().unwrap(), 3);
    // The map stage is there already.
    assert_eq!(counts.count().unwrap(), 3);
    let (first, second) = (told.until_end_of(0), told.until_end_of(1));
    let task = ["TaskStart", "TaskEnd"];
    let expected = [&["JobStart", "StageSubmitted"][..], &task, &task, &["StageCompleted", "StageSubmitted"], &task];
    assert_eq!(names(&first), [expected.concat(), vec!["StageCompleted", "JobEnd"]].concat());
    assert_eq!(names(&second), ["JobStart", "StageSubmitted", "TaskStart", "TaskEnd", "StageCompleted", "JobEnd"]);

    assert!(sc.remove_listener(told.listener));
    assert!(!sc.remove_listener(told.listener));
    counts.count().unwrap();
    sc.stop().unwrap();
    assert!(told.rest().is_empty());
}

#[test]
fn all_listeners_see_the_same_order_and_times_never_go_back() {
    let sc = local("local[4]");
    let (one, other) = (Told::of(&sc), Told::of(&sc));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            on_thread(&sc, |sc| sc.range_n(0..40, 8).map(|x| (x % 5, 1)).reduce_by_key(|a, b| a + b).count().unwrap())
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 5);
    }
    sc.stop().unwrap();
    let (one, other) = (one.rest(), other.rest());
    assert_eq!(one, other);
    assert_eq!(names(&one).last(), Some(&"ApplicationEnd"));

    let mut running = BTreeMap::new();
    let mut last = 0;
    let mut not_before = |time: u64| {
        assert!(time >= last, "{time} after {last}");
        last = time;
    };
    for event in &one {
        match event {
            Event::StageSubmitted(StageSubmitted { stage, .. }) => {
                assert!(running.insert(stage.id, 0).is_none());
                not_before(stage.submitted.unwrap());
            }
            Event::TaskStart(start) => {
                *running.get_mut(&start.stage).unwrap() += 1;
                not_before(start.task.launched);
            }
            Event::TaskEnd(TaskEnd { stage, task, metrics, reason, .. }) => {
                assert_eq!(*reason, TaskEndReason::Success);
                *running.get_mut(stage).unwrap() -= 1;
                not_before(task.finished);
                assert!(task.launched <= task.finished);
                assert!(metrics.unwrap().run_ns > 0);
            }
            Event::StageCompleted(StageCompleted { stage }) => {
                assert_eq!(running.remove(&stage.id), Some(0));
                assert!(stage.submitted <= stage.completed);
                not_before(stage.completed.unwrap());
            }
            _ => {}
        }
    }
    assert!(running.is_empty());
}

#[test]
fn a_task_tells_how_long_it_ran_and_how_much_of_that_it_had_a_processor() {
    const NAP: Duration = Duration::from_millis(50);
    let sc = local("local[1]");
    let told = Told::of(&sc);
    sc.range_n(0..1, 1).map(|_| std::thread::sleep(NAP)).count().unwrap();
    sc.range_n(0..50_000, 1).filter(|x| (0..200).fold(*x, |x, i| std::hint::black_box(x ^ i)) != 7).count().unwrap();
    sc.stop().unwrap();
    let metrics: Vec<_> = told
        .rest()
        .into_iter()
        .filter_map(|event| match event {
            Event::TaskEnd(end) => end.metrics,
            _ => None,
        })
        .collect();
    let [asleep, awake] = metrics[..] else { panic!("{metrics:?}") };
    let nap = NAP.as_nanos() as u64;
    assert!(asleep.run_ns >= nap && asleep.cpu_ns < nap, "{asleep:?}");
    assert!(awake.cpu_ns > asleep.cpu_ns && awake.cpu_ns > 1_000_000, "{awake:?}");
    assert!(asleep.deserialize_cpu_ns > 0 && asleep.deserialize_ns > 0, "{asleep:?}");
}

#[test]
fn a_listener_that_panics_is_removed_and_disturbs_nobody() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let sc = local("local[2]");
    let before = Told::of(&sc);
    let bad = sc
        .add_listener(|_: &Event| {
            CALLS.fetch_add(1, Ordering::Relaxed);
            // Quietly: no hook is told.
            std::panic::resume_unwind(Box::new("a listener's mistake"));
        })
        .unwrap();
    let after = Told::of(&sc);
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
    assert_eq!(sc.range(0..20).count().unwrap(), 20);
    for told in [before, after] {
        assert_eq!(names(&told.until_end_of(0)).len() + names(&told.until_end_of(1)).len(), 16);
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    assert!(!sc.remove_listener(bad));
}

#[test]
fn a_slow_listener_delays_no_job() {
    static MAY_GO_ON: Signal = Signal::new();
    static HEARD: AtomicUsize = AtomicUsize::new(0);
    let sc = Context::builder()
        .master("local[2]")
        .conf("firesteel.scheduler.listenerbus.eventqueue.capacity", 50)
        .build()
        .unwrap();
    sc.add_listener(|_: &Event| {
        MAY_GO_ON.wait();
        HEARD.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();
    // Far more events than its queue holds: what is too much is dropped for it, and for nobody else.
    for _ in 0..50 {
        assert_eq!(sc.range_n(0..10, 2).count().unwrap(), 10);
    }
    assert_eq!(sc.status_tracker().job_ids_for_group(None).len(), 50);
    MAY_GO_ON.raise();
    sc.stop().unwrap();
    let heard = HEARD.load(Ordering::Relaxed);
    assert!((50..=150).contains(&heard), "{heard}");
}

#[test]
fn a_listener_cannot_stop_its_context_and_may_hold_the_last_handle() {
    static TOLD: Mutex<Option<String>> = Mutex::new(None);
    static HEARD: Signal = Signal::new();
    static DROPPED: Signal = Signal::new();
    struct Last(Option<Context>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0 = None;
            DROPPED.raise();
        }
    }
    let sc = local("local[2]");
    let mut last = Last(Some(sc.clone()));
    sc.add_listener(move |event: &Event| {
        if matches!(event, Event::JobEnd(_)) {
            let sc = last.0.take().unwrap();
            *TOLD.lock().unwrap() = Some(sc.stop().unwrap_err().to_string());
            HEARD.raise();
            // The main thread has dropped its own by now: the context ends here.
            DROPPED.wait();
            drop(sc);
            DROPPED.raise();
        }
    })
    .unwrap();
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
    HEARD.wait();
    drop(sc);
    DROPPED.raise();
    DROPPED.wait_for(2);
    let told = TOLD.lock().unwrap().take().unwrap();
    assert!(told.contains("a listener cannot stop its context"), "{told}");
}
