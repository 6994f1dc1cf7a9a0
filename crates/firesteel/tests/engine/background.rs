//! Actions that run in the background.

use crate::steps::{Signal, local};
use firesteel::{FutureAction, prelude::*};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as TaskWaker, Poll, Wake, Waker},
    thread::Thread,
};

fn reason<R: std::fmt::Debug>(result: Result<R>) -> String {
    match result {
        Err(Error::Cancelled { reason, .. }) => reason,
        other => panic!("not cancelled: {other:?}"),
    }
}

#[test]
fn they_end_as_the_actions_in_the_foreground_do() {
    static SUM: AtomicU64 = AtomicU64::new(0);
    let sc = local("local[2]");
    let numbers = sc.range_n(0..100, 7);
    let (counted, collected) = (numbers.count_async(), numbers.map(|x| x + 1).collect_async());
    let taken = numbers.take_async(30);
    let each = numbers.for_each_async(|x| _ = SUM.fetch_add(x, Ordering::Relaxed));
    let parts = numbers.for_each_partition_async(|items| _ = SUM.fetch_add(items.count() as u64, Ordering::Relaxed));
    assert_eq!(counted.get().unwrap(), 100);
    assert_eq!(collected.get().unwrap(), (1..101).collect::<Vec<_>>());
    assert_eq!(taken.get().unwrap(), (0..30).collect::<Vec<_>>());
    each.get().unwrap();
    parts.get().unwrap();
    assert_eq!(SUM.load(Ordering::Relaxed), 4950 + 100);
}

#[test]
fn failures_are_told_by_get() {
    let sc = local("local[2]");
    let numbers = sc.range_n(0..10, 2);
    let error = numbers.map(|x| if x == 7 { panic!("seven") } else { x }).count_async().get().unwrap_err();
    assert!(matches!(&error, Error::Job(failure) if failure.message.contains("seven")), "{error}");
    let error = numbers.for_each_async(|x| assert!(x < 5, "five")).get().unwrap_err();
    assert!(
        error.to_string().contains("five") && error.to_string().contains("for_each_async at background.rs"),
        "{error}"
    );
    sc.stop().unwrap();
    assert!(matches!(numbers.count_async().get(), Err(Error::Stopped(_))));
}

#[test]
fn cancel_ends_the_jobs() {
    static STARTED: Signal = Signal::new();
    let sc = local("local[2]");
    let counted = sc
        .range_n(0..u64::MAX, 2)
        .map_partitions(|items| {
            STARTED.raise();
            items
        })
        .filter(|x| x % 2 == 7)
        .take_async(1);
    STARTED.wait();
    assert_eq!(counted.job_ids(), [0]);
    assert!(!counted.is_cancelled() && !counted.is_completed());
    counted.cancel_because("the user has gone");
    counted.cancel();
    assert!(counted.is_cancelled());
    assert_eq!(reason(counted.get()), "the user has gone");
    assert!(sc.status_tracker().active_job_ids().is_empty());

    let counted = sc.range(0..10).count_async();
    let done = sc.range(0..10).count_async();
    while !done.is_completed() {
        std::thread::yield_now();
    }
    // Too late, so without effect.
    done.cancel();
    assert!(!done.is_cancelled());
    assert_eq!((done.get().unwrap(), counted.get().unwrap()), (10, 10));
}

#[test]
fn they_have_the_local_properties_of_the_thread_that_started_them() {
    let sc = local("local[2]");
    sc.set_job_group("g", "a description", false);
    sc.set_local_property("colour", Some("green"));
    let colours = sc
        .range_n(0..2, 2)
        .map(|_| TaskContext::get().unwrap().local_property("colour").unwrap().to_string())
        .collect_async();
    sc.clear_job_group();
    let ids = || colours.job_ids();
    while ids().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(sc.status_tracker().job_ids_for_group(Some("g")), ids());
    assert_eq!(colours.get().unwrap(), ["green", "green"]);
}

#[test]
fn one_that_is_dropped_goes_on_and_ends_the_context_that_only_it_holds() {
    static MAY: Signal = Signal::new();
    static SEEN: Signal = Signal::new();
    let sc = local("local[2]");
    let folder = tempfile::tempdir().unwrap();
    let numbers = sc.range_n(0..4, 2);
    drop(numbers.for_each_async(|_| {
        MAY.wait();
        SEEN.raise();
    }));
    drop((sc, numbers, folder));
    MAY.raise();
    SEEN.wait_for(4);
}

/// The least that runs a future.
fn block_on<R>(future: impl Future<Output = R>) -> R {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskWaker::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn they_are_futures() {
    let sc = local("local[2]");
    let sum = block_on(async {
        let (few, many) = (sc.range(0..10).count_async(), sc.range(0..1000).count_async());
        Ok::<_, Error>(few.await? + many.await?)
    });
    assert_eq!(sum.unwrap(), 1010);
}

#[test]
fn inside_a_task_they_are_an_error() {
    static LENT: Mutex<Option<Rdd<u64>>> = Mutex::new(None);
    let sc = local("local[2]");
    *LENT.lock().unwrap() = Some(sc.range(0..10).erase());
    let told = sc.range_n(0..1, 1).map(|_| {
        let rdd = LENT.lock().unwrap();
        let action: FutureAction<u64> = rdd.as_ref().unwrap().count_async();
        (rdd.as_ref().unwrap().count().unwrap_err().to_string(), action.get().unwrap_err().to_string())
    });
    let told = told.collect().unwrap().remove(0);
    assert!(told.0.contains("count works on the driver only, and was called inside a task"), "{}", told.0);
    assert!(told.1.contains("inside a task"), "{}", told.1);
    LENT.lock().unwrap().take();
}

#[test]
fn thousands_at_a_time_take_no_threads() {
    static MAY: Signal = Signal::new();
    let sc = local("local[2]");
    let held = sc.range_n(0..2, 2).for_each_async(|_| MAY.wait());
    let numbers = sc.range_n(0..10, 2);
    let many: Vec<_> = (0..3_000).map(|_| numbers.count_async()).collect();
    // Each would have a thread of its own now, as none has ended. (Other tests have a few for `take_async`.)
    #[cfg(target_os = "linux")]
    {
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
        assert!(names.filter(|name| name.starts_with("firesteel-actio")).count() < 1_000);
    }
    MAY.raise();
    held.get().unwrap();
    assert!(many.into_iter().all(|counted| counted.get().unwrap() == 10));
}

#[test]
fn more_takes_than_there_are_threads_for_them_wait_for_their_turn() {
    static MAY: Signal = Signal::new();
    static NEVER: Signal = Signal::new();
    fn after(signal: &'static Signal, x: u64) -> u64 {
        signal.wait();
        x
    }
    let sc = local("local[2]");
    let numbers = sc.range_n(0..10, 2).map(|x| after(&MAY, x));
    let many: Vec<_> = (0..40).map(|n| numbers.take_async(n % 10)).collect();
    let late = sc.range_n(0..10, 2).map(|x| after(&NEVER, x)).take_async(1);
    late.cancel_because("nobody waits for it");
    MAY.raise();
    for (n, taken) in many.into_iter().enumerate() {
        assert_eq!(taken.get().unwrap(), (0..n as u64 % 10).collect::<Vec<_>>());
    }
    assert_eq!(reason(late.get()), "nobody waits for it");
    NEVER.raise();
}

#[test]
fn a_context_that_only_a_result_holds_ends_when_that_is_taken() {
    let logs = tempfile::tempdir().unwrap();
    let files = || -> Vec<String> {
        let names =
            std::fs::read_dir(logs.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        names.collect()
    };
    let counted = {
        let sc = Context::builder()
            .master("local[2]")
            .conf("firesteel.eventLog.enabled", true)
            .conf("firesteel.eventLog.dir", logs.path().display());
        sc.build().unwrap().range(0..1000).count_async()
    };
    assert_eq!(counted.get().unwrap(), 1000);
    assert!(matches!(&files()[..], [log] if !log.ends_with(".inprogress")), "{:?}", files());
}
