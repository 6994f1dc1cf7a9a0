//! Jobs that are cancelled from other threads while their tasks run: their actions say why, at once, and nothing is left of them.

use crate::steps::{Signal, Told, local, on_thread};
use firesteel::{
    events::{
        Event,
        event::{JobResult, TaskEndReason},
    },
    prelude::*,
};
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

/// An RDD of two endless partitions, whose tasks raise a signal when they begin.
macro_rules! endless {
    ($sc:expr, $started:ident) => {
        $sc.range_n(0..u64::MAX, 2)
            .map_partitions(|items| {
                $started.raise();
                items
            })
            .filter(|x| x % 2 == 7)
    };
}

fn reason(result: Result<u64>) -> String {
    match result {
        Err(Error::Cancelled { reason, .. }) => reason,
        other => panic!("not cancelled: {other:?}"),
    }
}

#[test]
fn a_groups_jobs_end_and_others_go_on() {
    static OF_GROUP: Signal = Signal::new();
    static OTHER: Signal = Signal::new();
    let sc = local("local[4]");
    let night = on_thread(&sc, |sc| {
        sc.set_job_group("night", "counts of the night", false);
        endless!(sc, OF_GROUP).count()
    });
    let other = on_thread(&sc, |sc| endless!(sc, OTHER).count());
    OF_GROUP.wait_for(2);
    OTHER.wait_for(2);
    sc.cancel_job_group("day");
    sc.cancel_job_group("night");
    let error = night.join().unwrap().unwrap_err();
    let job = sc.status_tracker().job_ids_for_group(Some("night"))[0];
    assert_eq!(error.to_string(), format!("Job {job} cancelled part of cancelled job group night"));
    assert!(matches!(error, Error::Cancelled { .. }));

    assert_eq!(sc.status_tracker().active_job_ids(), [1 - job]);
    sc.cancel_all_jobs();
    assert_eq!(reason(other.join().unwrap()), "as part of cancellation of all jobs");
    // Later jobs of the group run; and all slots are free for them.
    sc.set_job_group("night", "another night", false);
    assert_eq!(sc.range_n(0..100, 8).count().unwrap(), 100);
}

#[test]
fn a_group_is_cancelled_for_a_reason() {
    static STARTED: Signal = Signal::new();
    let sc = local("local[2]");
    let job = on_thread(&sc, |sc| {
        sc.set_job_group("g", "", true);
        endless!(sc, STARTED).count()
    });
    STARTED.wait();
    sc.cancel_job_group_because("g", "because of the rain");
    assert_eq!(reason(job.join().unwrap()), "because of the rain");
}

#[test]
fn jobs_with_a_tag_end() {
    static STARTED: Signal = Signal::new();
    let sc = local("local[4]");
    let tagged = |tag: &'static str| {
        on_thread(&sc, move |sc| {
            sc.add_job_tag("both").unwrap();
            sc.add_job_tag(tag).unwrap();
            endless!(sc, STARTED).count()
        })
    };
    let (red, blue) = (tagged("red"), tagged("blue"));
    STARTED.wait_for(4);
    sc.cancel_jobs_with_tag("bot");
    sc.cancel_jobs_with_tag("red");
    assert_eq!(reason(red.join().unwrap()), "part of cancelled job tags red");
    assert_eq!(sc.status_tracker().job_ids_for_tag("both").len(), 2);
    sc.cancel_jobs_with_tag_because("both", "at closing time");
    assert_eq!(reason(blue.join().unwrap()), "at closing time");
}

#[test]
fn a_job_and_a_stage_are_cancelled_by_number() {
    static JOB: Signal = Signal::new();
    static STAGE: Signal = Signal::new();
    static MAPS: Signal = Signal::new();
    let sc = local("local[2]");
    let job = on_thread(&sc, |sc| endless!(sc, JOB).count());
    JOB.wait();
    // What does not run is ignored.
    sc.cancel_job(77);
    sc.cancel_stage(77);
    let id = sc.status_tracker().active_job_ids()[0];
    sc.cancel_job(id);
    assert_eq!(reason(job.join().unwrap()), "on request");

    let job = on_thread(&sc, |sc| endless!(sc, STAGE).count());
    STAGE.wait();
    let stage = sc.status_tracker().active_stage_ids()[0];
    sc.cancel_stage(stage);
    assert_eq!(reason(job.join().unwrap()), format!("because Stage {stage} was cancelled"));

    // A map stage is the job's as well.
    let job = on_thread(&sc, |sc| endless!(sc, MAPS).map(|x| (x, 1u64)).reduce_by_key(|a, b| a + b).count());
    MAPS.wait();
    let stage = sc.status_tracker().active_stage_ids()[0];
    sc.cancel_stage_because(stage, "it takes too long");
    assert_eq!(reason(job.join().unwrap()), "it takes too long");
}

#[test]
fn future_jobs_of_a_group_or_with_a_tag_do_not_start() {
    static STARTED: Signal = Signal::new();
    let sc = local("local[2]");
    let told = Told::of(&sc);
    let job = on_thread(&sc, |sc| {
        sc.set_job_group("g", "", false);
        endless!(sc, STARTED).count()
    });
    STARTED.wait();
    sc.cancel_job_group_and_future_jobs("g");
    sc.cancel_jobs_with_tag_and_future_jobs("t");
    assert_eq!(reason(job.join().unwrap()), "part of cancelled job group g");
    sc.set_job_group("g", "", false);
    assert_eq!(reason(sc.range(0..10).count()), "part of cancelled job group g");
    sc.clear_job_group();
    sc.add_job_tag("t").unwrap();
    assert_eq!(reason(sc.range(0..10).count()), "part of cancelled job tags t");
    sc.cancel_job_group_and_future_jobs_because("h", "never again");
    sc.clear_job_tags();
    sc.set_job_group("h", "", false);
    assert_eq!(reason(sc.range(0..10).count()), "never again");
    sc.clear_job_group();
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
    sc.stop().unwrap();
    // Of what did not start nothing is told.
    let started = told.rest().into_iter().filter(|event| matches!(event, Event::JobStart(_)));
    assert_eq!(started.count(), 2);
}

#[test]
fn a_cancelled_action_returns_while_its_task_still_runs_and_the_task_sees_its_kill_flag() {
    static STARTED: Signal = Signal::new();
    static RETURNED: Signal = Signal::new();
    static SEEN: Mutex<Vec<bool>> = Mutex::new(Vec::new());
    static ENDED: Signal = Signal::new();
    let sc = local("local[1]");
    let told = Told::of(&sc);
    let job = on_thread(&sc, |sc| {
        sc.add_job_tag("slow").unwrap();
        sc.range_n(0..10, 1)
            .map_partitions(|items| {
                let task = TaskContext::get().unwrap();
                task.on_completion(|| ENDED.raise());
                SEEN.lock().unwrap().push(task.is_interrupted());
                STARTED.raise();
                RETURNED.wait();
                SEEN.lock().unwrap().push(task.is_interrupted());
                items
            })
            .count()
    });
    STARTED.wait();
    sc.cancel_jobs_with_tag("slow");
    assert_eq!(reason(job.join().unwrap()), "part of cancelled job tags slow");
    assert_eq!(ENDED.times(), 0);
    RETURNED.raise();
    ENDED.wait();
    assert_eq!(*SEEN.lock().unwrap(), [false, true]);
    assert_eq!(sc.range(0..10).count().unwrap(), 10);

    let events = told.until_end_of(1);
    let ends: Vec<_> =
        events.iter().filter_map(|event| if let Event::TaskEnd(end) = event { Some(end) } else { None }).collect();
    assert!(
        matches!(&ends[0].reason, TaskEndReason::TaskKilled { reason, .. } if reason.contains("Job 0 cancelled")),
        "{:?}",
        ends[0].reason
    );
    assert!(ends[0].task.killed && !ends[0].task.failed);
    let JobResult::Failed { error } = events
        .iter()
        .find_map(|event| if let Event::JobEnd(end) = event { Some(end.result.clone()) } else { None })
        .unwrap()
    else {
        panic!("the job was cancelled")
    };
    assert_eq!(error.message, "Job 0 cancelled part of cancelled job tags slow");
}

#[test]
fn a_killed_attempt_is_tried_again_and_is_no_failure() {
    static ATTEMPT: AtomicU64 = AtomicU64::new(u64::MAX);
    static STARTED: Signal = Signal::new();
    // A task may not fail even once.
    let sc = local("local[2]");
    let job = on_thread(&sc, |sc| {
        sc.range_n(0..10, 1)
            .map_partitions(|items| {
                let task = TaskContext::get().unwrap();
                if task.attempt_number() == 0 {
                    ATTEMPT.store(task.task_attempt_id(), Ordering::Relaxed);
                    STARTED.raise();
                    while !task.is_interrupted() {
                        std::thread::yield_now();
                    }
                }
                items
            })
            .collect()
    });
    STARTED.wait();
    assert!(!sc.kill_task_attempt(99, "unknown"));
    let attempt = ATTEMPT.load(Ordering::Relaxed);
    assert!(sc.kill_task_attempt(attempt, "it is on the wrong foot"));
    assert_eq!(job.join().unwrap().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(!sc.kill_task_attempt(attempt, "again"));
}

#[test]
fn a_killed_attempt_does_not_count_though_it_never_looked() {
    static ATTEMPT: AtomicU64 = AtomicU64::new(u64::MAX);
    static STARTED: Signal = Signal::new();
    static KILLED: Signal = Signal::new();
    let sc = local("local[2]");
    let job = on_thread(&sc, |sc| {
        sc.run_job(&sc.range_n(0..10, 1), |_| {
            let task = TaskContext::get().unwrap();
            if task.attempt_number() == 0 {
                ATTEMPT.store(task.task_attempt_id(), Ordering::Relaxed);
                STARTED.raise();
                KILLED.wait();
            }
            task.attempt_number()
        })
    });
    STARTED.wait();
    assert!(sc.kill_task_attempt(ATTEMPT.load(Ordering::Relaxed), "it is on the wrong foot"));
    KILLED.raise();
    assert_eq!(job.join().unwrap().unwrap(), [1]);
}

#[test]
fn a_listener_may_cancel_a_job_and_run_another() {
    static STARTED: Signal = Signal::new();
    static COUNTED: Signal = Signal::new();
    let sc = local("local[2]");
    let inside = sc.clone();
    let listener = sc
        .add_listener(move |event: &Event| {
            if let Event::JobStart(start) = event
                && start.job.0 == 0
            {
                STARTED.wait();
                inside.cancel_job_because(0, "by a listener");
                assert_eq!(inside.range(0..10).count().unwrap(), 10);
                COUNTED.raise();
            }
        })
        .unwrap();
    assert_eq!(reason(endless!(sc, STARTED).count()), "by a listener");
    COUNTED.wait();
    assert!(sc.remove_listener(listener));
}

#[test]
fn bad_tags_are_refused_and_tags_are_a_threads_own() {
    let sc = local("local[1]");
    for bad in ["", "a,b"] {
        assert!(matches!(sc.add_job_tag(bad), Err(Error::InvalidArgument(text)) if text.contains(&format!("{bad:?}"))));
        assert!(sc.remove_job_tag(bad).is_err());
    }
    for tag in ["b", "a", "b"] {
        sc.add_job_tag(tag).unwrap();
    }
    assert_eq!(sc.job_tags().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(sc.local_property("spark.job.tags").unwrap(), "a,b");
    assert!(on_thread(&sc, |sc| sc.job_tags()).join().unwrap().is_empty());
    sc.remove_job_tag("a").unwrap();
    sc.remove_job_tag("c").unwrap();
    assert_eq!(sc.job_tags().into_iter().collect::<Vec<_>>(), ["b"]);
    sc.clear_job_tags();
    assert!(sc.job_tags().is_empty());
}

/// What one element expands to has no end; a task in the middle of it stops all the same, and gives its slot back.
#[test]
fn a_task_whose_element_expands_without_end_stops() {
    static STARTED: Signal = Signal::new();
    fn endless(_: u64) -> impl Iterator<Item = u64> {
        STARTED.raise();
        0..
    }
    fn told(x: u64) -> u64 {
        STARTED.raise();
        x
    }
    let sc = local("local[1]");
    let one = sc.range_n(0..1, 1).erase();
    let pair = one.map(|x| (x, x)).erase();
    let all: Vec<(&str, FutureAction<u64>)> = vec![
        ("flat_map", one.flat_map(endless).count_async()),
        ("after it", one.flat_map(endless).map(|x| (x % 7, x)).reduce_by_key(|a, b| a ^ b).count_async()),
        ("flat_map_values", pair.flat_map_values(endless).count_async()),
        ("map_partitions", one.map_partitions(|items| items.flat_map(endless)).count_async()),
        ("flat_map_emit", one.flat_map_emit(|x, out| endless(*x).for_each(|y| out.emit(y))).count_async()),
        (
            "flat_map_emit, erased",
            one.flat_map_emit(|x, out| endless(*x).for_each(|y| out.emit(y))).erase().count_async(),
        ),
        ("sample", one.map(told).sample(true, 1e15, 1).count_async()),
        ("sample_by_key", pair.map_values(told).sample_by_key(true, [(0, 1e15)].into(), 1).count_async()),
    ];
    for (i, (what, action)) in all.into_iter().enumerate() {
        STARTED.wait_for(i + 1);
        action.cancel_because(what);
        assert_eq!(reason(action.get()), what);
    }
    // The one slot is free.
    assert_eq!(sc.range_n(0..4, 1).count().unwrap(), 4);
}
