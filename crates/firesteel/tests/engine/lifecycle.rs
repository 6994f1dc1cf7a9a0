//! Contexts begin, end, and live beside each other.

use crate::steps::{Signal, local, on_thread};
use firesteel::{events::Event, prelude::*};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

#[test]
fn stop_ends_the_jobs_that_run() {
    static STARTED: Signal = Signal::new();
    let sc = local("local[2]");
    let action = |sc: &Context| {
        on_thread(sc, |sc| {
            let endless = sc.range_n(0..u64::MAX, 1).map_partitions(|items| {
                STARTED.raise();
                items
            });
            endless.filter(|x| x % 2 == 7).count()
        })
    };
    let actions = [action(&sc), action(&sc)];
    STARTED.wait_for(2);
    sc.stop().unwrap();
    for action in actions {
        let error = action.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        assert!(error.to_string().ends_with("cancelled because the context was shut down"), "{error}");
    }
}

#[test]
fn a_stopped_context_says_so() {
    let sc = local("local[2]");
    let before = sc.range(0..10).map(|x| (x % 3, x)).cache();
    before.count().unwrap();
    assert!(!sc.is_stopped());
    sc.stop().unwrap();
    sc.stop().unwrap();
    assert!(sc.is_stopped());
    // Plans can be made, and nothing runs.
    let after = before.reduce_by_key(|a, b| a + b);
    let errors = [
        before.count().unwrap_err(),
        after.collect().map(drop).unwrap_err(),
        sc.range(0..3).take(1).map(drop).unwrap_err(),
        sc.run_job(&before, |items| items.count()).map(drop).unwrap_err(),
        sc.add_file("/etc/hostname").unwrap_err(),
        sc.add_listener(|_: &Event| {}).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Stopped(_)), "{error:?}");
        assert!(error.to_string().starts_with("cannot call methods on a stopped context"), "{error}");
    }
    let words = before.count().unwrap_err().to_string();
    assert_eq!(words, "cannot call methods on a stopped context: count needs one that runs; make a new one");
    // What needs no jobs goes on, and what asks gets no answer instead of none at all.
    assert_eq!(sc.status_tracker().job_ids_for_group(None), [0]);
    assert!(!sc.kill_task_attempt(0, ""));
    sc.cancel_all_jobs();
    let lent = sc.broadcast(vec![1, 2]);
    assert_eq!(*lent.value(), [1, 2]);
}

#[test]
fn contexts_follow_each_other_and_live_beside_each_other() {
    let mut ids = std::collections::BTreeSet::new();
    for round in 0..3 {
        let all: Vec<Context> = (1..4).map(|threads| local(&format!("local[{threads}]"))).collect();
        for (i, sc) in all.iter().enumerate() {
            ids.insert(sc.application_id().to_string());
            assert_eq!(sc.default_parallelism(), i + 1);
            let counts = sc.range(0..100).map(|x| (x % 10, 1u64)).reduce_by_key(|a, b| a + b).cache();
            assert_eq!(counts.count().unwrap(), 10, "round {round}");
            // Each numbers its own.
            assert_eq!(sc.status_tracker().job_ids_for_group(None), [0]);
        }
        let [first, second, _] = &all[..] else { unreachable!() };
        let foreign = second.range(0..10);
        let error = first.run_job(&foreign, |items| items.count()).unwrap_err();
        assert!(error.to_string().contains("belongs to another context"), "{error}");
        first.stop().unwrap();
        assert_eq!(foreign.count().unwrap(), 10);
    }
    assert_eq!(ids.len(), 9);
}

#[test]
fn rdds_keep_the_context_that_nobody_else_holds() {
    let numbers = local("local[2]").range(0..10);
    assert_eq!(numbers.map(|x| x + 1).count().unwrap(), 10);
    assert_eq!(numbers.context().master(), "local[2]");
}

#[test]
fn many_threads_use_one_context_at_once() {
    let sc = local("local[4]");
    let shared = sc.range_n(0..60, 3).map(|x| (x % 6, x)).reduce_by_key_into(2, |a, b| a + b).cache();
    let threads: Vec<_> = (0..8u64)
        .map(|thread| {
            let shared = shared.clone();
            on_thread(&sc, move |sc| {
                let group = format!("thread {thread}");
                sc.set_job_group(&group, "", false);
                let own = sc.long_accumulator("seen");
                for i in 0..50u64 {
                    match i % 5 {
                        0 => assert_eq!(shared.count().unwrap(), 6),
                        1 => assert_eq!(sc.range_n(0..i, 3).count().unwrap(), i),
                        2 => {
                            let counts =
                                sc.range_n(0..20, 2).map(|x| (x % 4, 1u64)).reduce_by_key_into(3, |a, b| a + b);
                            assert_eq!(counts.values().reduce(|a, b| a + b).unwrap(), 20);
                        }
                        3 => sc.range_n(0..10, 2).for_each_with(own.clone(), |own, x| own.add(x as i64)).unwrap(),
                        _ => {
                            let seen = sc.range_n(0..1, 1).map(|_| {
                                TaskContext::get().unwrap().local_property("spark.jobGroup.id").unwrap().to_string()
                            });
                            assert_eq!(seen.collect().unwrap(), [group.as_str()]);
                        }
                    }
                }
                assert_eq!(own.value(), 450);
                sc.status_tracker().job_ids_for_group(Some(&group)).len()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 50);
    }
    assert!(sc.status_tracker().active_job_ids().is_empty());
}

#[test]
fn contexts_are_made_on_many_threads_at_once() {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| {
                let sc = local("local[2]");
                let sum = sc.range(0..100).reduce(|a, b| a + b).unwrap();
                (sc.application_id().to_string(), sum)
            })
        })
        .collect();
    let all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(all.iter().all(|(_, sum)| *sum == 4950));
    assert_eq!(all.into_iter().map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>().len(), 8);
}

#[test]
fn what_belongs_to_the_driver_is_an_error_inside_a_task() {
    static LENT: Mutex<Option<Context>> = Mutex::new(None);
    let sc = local("local[1]");
    *LENT.lock().unwrap() = Some(sc.clone());
    let told = sc.range_n(0..1, 1).flat_map(|_| {
        let lent = LENT.lock().unwrap();
        let sc = lent.as_ref().unwrap();
        [
            sc.range(0..10).count().unwrap_err(),
            sc.range(0..10).map(|x| (x, x)).reduce_by_key(|a, b| a + b).collect().unwrap_err(),
            sc.range(0..10).num_partitions().map(drop).and_then(|()| sc.range(0..3).first().map(drop)).unwrap_err(),
            Context::builder().master("local").build().map(drop).unwrap_err(),
            sc.stop().unwrap_err(),
            sc.add_file("/etc/hostname").unwrap_err(),
        ]
        .map(|error| error.to_string())
    });
    let told = told.collect().unwrap();
    assert_eq!(told.len(), 6);
    for text in told {
        assert!(text.contains("works on the driver only, and was called inside a task"), "{text}");
    }
    LENT.lock().unwrap().take();
    assert!(!sc.is_stopped());
}

#[test]
fn actions_at_a_tasks_end_and_in_drops_there_are_errors_too() {
    static LENT: Mutex<Option<Context>> = Mutex::new(None);
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    fn tell() {
        let lent = LENT.lock().unwrap().clone();
        // On the thread of an action it may run another; on the engine's own nobody would do its tasks.
        if let Some(error) = lent.and_then(|sc| sc.range(0..10).count().err()) {
            TOLD.lock().unwrap().push(error.to_string());
        }
    }
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Tells(u64);
    impl Drop for Tells {
        fn drop(&mut self) {
            if self.0 == 7 {
                tell();
            }
        }
    }
    let sc = local("local[1]");
    *LENT.lock().unwrap() = Some(sc.clone());
    let numbers = sc.range_n(0..2, 1).map_partitions(|items| {
        TaskContext::get().unwrap().on_completion(tell);
        items
    });
    assert_eq!(numbers.count().unwrap(), 2);
    assert_eq!(TOLD.lock().unwrap().len(), 1);
    // Copies of the first are dropped where its task runs.
    let results = sc.range_n(0..2, 2).map(|x| if x == 0 { Tells(7) } else { panic!("a failure") });
    assert!(results.collect().is_err());
    LENT.lock().unwrap().take();
    let told = TOLD.lock().unwrap();
    assert!(told.len() >= 2, "{told:?}");
    assert!(told.iter().all(|text| text.contains("count works on the driver only")), "{told:?}");
}

#[test]
fn executor_setup_runs_once_in_the_process() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let make = || {
        let setup = || {
            CALLS.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        Context::builder().master("local[2]").executor_setup(setup).build().unwrap()
    };
    let (one, two) = (make(), make());
    assert_eq!(one.range(0..10).map(|_| CALLS.load(Ordering::Relaxed)).max().unwrap(), 1);
    assert_eq!(two.range(0..10).map(|_| CALLS.load(Ordering::Relaxed)).max().unwrap(), 1);

    let failing = || Context::builder().master("local").executor_setup(|| Err(Error::Path("no such logger".into())));
    for _ in 0..2 {
        assert_eq!(failing().build().map(drop).unwrap_err().to_string(), "no such logger");
    }

    // It does not run where a setting cannot be used.
    static EARLY: AtomicBool = AtomicBool::new(false);
    let setup = || {
        EARLY.store(true, Ordering::Relaxed);
        Ok(())
    };
    let builder = Context::builder().master("local").conf("firesteel.executor.instances", "many");
    let error = builder.executor_setup(setup).build().map(drop).unwrap_err().to_string();
    assert!(error.contains("firesteel.executor.instances") && !EARLY.load(Ordering::Relaxed), "{error}");

    static BROKEN: AtomicBool = AtomicBool::new(true);
    let panicking = || {
        let setup = || match BROKEN.load(Ordering::Relaxed) {
            true => panic!("no such folder"),
            false => Ok(()),
        };
        Context::builder().master("local").executor_setup(setup).build()
    };
    let error = panicking().map(drop).unwrap_err().to_string();
    assert!(error.starts_with("executor_setup: ") && error.contains("lifecycle.rs"), "{error}");
    assert!(error.ends_with("no such folder"), "{error}");
    BROKEN.store(false, Ordering::Relaxed);
    assert_eq!(panicking().unwrap().range(0..10).count().unwrap(), 10);
}

#[test]
fn a_listener_may_ask_its_context_while_that_ends() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let sc = Context::builder().master("local[2]").conf("firesteel.scheduler.mode", "FAIR").build().unwrap();
    let inside = sc.clone();
    sc.add_listener(move |event: &Event| {
        if let Event::ApplicationEnd(_) = event {
            // What it tells is kept by another listener, which may be behind this one.
            inside.status_tracker().active_job_ids();
            assert!(inside.all_pools().unwrap().iter().all(|pool| pool.running_tasks == 0));
            assert!(!inside.kill_task_attempt(0, ""));
            ASKED.fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
    sc.range_n(0..10, 2).count().unwrap();
    sc.stop().unwrap();
    // A listener that waited for an answer would be taken for a hung one, and left behind.
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
}

#[test]
fn the_merge_of_an_accumulator_may_ask_its_context() {
    static LENT: Mutex<Option<Context>> = Mutex::new(None);
    let sc = Context::builder().master("local[2]").build().unwrap();
    *LENT.lock().unwrap() = Some(sc.clone());
    let sum = sc.accumulator("asking", 0u64, |a, b| {
        if TaskContext::get().is_none() {
            let lent = LENT.lock().unwrap().clone().unwrap();
            lent.status_tracker().active_job_ids();
            assert!(!lent.kill_task_attempt(0, ""));
        }
        *a += b;
    });
    let (done, wait) = std::sync::mpsc::channel();
    let (numbers, added) = (sc.range_n(0..4, 2), sum.clone());
    std::thread::spawn(move || done.send(numbers.for_each_with(added, |sum, i| sum.add(i))));
    wait.recv_timeout(std::time::Duration::from_secs(100)).expect("the driver waits for itself").unwrap();
    assert_eq!(sum.value(), 6);
    LENT.lock().unwrap().take();
}
