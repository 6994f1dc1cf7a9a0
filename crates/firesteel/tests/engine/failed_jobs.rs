//! What people read when a job fails.

use crate::steps::{Told, local};
use firesteel::{
    JobFailure,
    events::{
        Event,
        event::{JobResult, TaskEndReason},
    },
    prelude::*,
};
use std::{cell::RefCell, fmt, sync::Once};
use tracing::{Level, Metadata, Subscriber, field, span};

thread_local! {
    /// The errors that were logged on this thread, if anybody wants them.
    static ERRORS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Keeps the errors of each thread that wants them.
struct Errors;

struct Text(String);

impl field::Visit for Text {
    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        ERRORS.with_borrow_mut(|errors| errors.iter_mut().for_each(|errors| errors.push(text.0.clone())));
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An action's error, and the errors that were logged meanwhile on its thread.
fn failing<R: fmt::Debug>(action: impl FnOnce() -> Result<R>) -> (JobFailure, Vec<String>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Errors).unwrap());
    ERRORS.set(Some(Vec::new()));
    let error = action().unwrap_err();
    let Error::Job(failure) = error else { panic!("not a failed job: {error:?}") };
    (*failure, ERRORS.take().unwrap())
}

#[test]
fn a_panic_is_told_with_stage_task_attempt_and_lines() {
    let sc = local("local[2,3]");
    let told = Told::of(&sc);
    let (failure, logged) = failing(|| {
        let numbers = sc.range_n(0..10, 3);
        numbers
            .map(|x| match x {
                5 => panic!("five is a bad number"),
                x => x,
            })
            .count()
    });
    let panic_line = line!() - 5;
    let count_line = line!() - 3;
    let place = format!("{}:{panic_line}:", file!());
    // Three attempts at the second of three tasks; which number the last has depends on the others.
    let attempt = failure.attempt.unwrap();
    assert_eq!((failure.partition.unwrap().0, failure.failures, failure.job.0), (1, 3, 0));
    let text = failure.to_string();
    let start = format!(
        "job 0 failed: task 1 of stage 0 failed 3 times, most recently attempt {attempt} (at count at failed_jobs.rs:{count_line}): panicked at {place}"
    );
    assert!(text.starts_with(&start), "{text}\n{start}");
    assert!(text.ends_with(": five is a bad number"), "{text}");

    assert_eq!(logged.len(), 1, "{logged:?}");
    let lines: Vec<&str> = logged[0].lines().map(str::trim).collect();
    assert_eq!(lines[0], format!("job 0 failed (count at failed_jobs.rs:{count_line})"));
    assert_eq!(lines[1], format!("stage     0 (count at failed_jobs.rs:{count_line}), attempt 0, 3 tasks"));
    assert!(lines[2].starts_with("task      partition 1, attempt 2 on executor driver of host "), "{}", lines[2]);
    assert!(lines[2].ends_with(&format!("(TID {attempt})")), "{}", lines[2]);
    assert_eq!(lines[3], "attempts  3 failed");
    assert_eq!(lines[4], format!("code      count at failed_jobs.rs:{count_line}"));
    assert!(lines[5].starts_with(&format!("cause     panicked at {place}")), "{}", lines[5]);
    assert!(lines[5].ends_with("five is a bad number"), "{}", lines[5]);

    let events = told.until_end_of(0);
    let failed: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::TaskEnd(end) => match &end.reason {
                TaskEndReason::ExceptionFailure(failure) => Some((end.task.attempt, failure)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(failed.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [0, 1, 2]);
    for (_, failure) in failed {
        assert_eq!(failure.class, "panic");
        assert_eq!((failure.stack_trace[0].file.as_str(), failure.stack_trace[0].line), (file!(), panic_line as i32));
    }
    let Some(Event::JobEnd(end)) = events.last() else { unreachable!() };
    assert!(matches!(&end.result, JobResult::Failed { error } if error.message == text), "{:?}", end.result);
}

#[test]
fn a_failed_map_stage_is_told_by_the_line_that_made_it() {
    let sc = local("local[1]");
    let pairs = sc.range_n(0..4, 2).map(|x| (x, 12 / (x - 1)));
    let map_line = line!() - 1;
    let (failure, logged) = failing(|| pairs.reduce_by_key(|a, b| a + b).collect());
    assert_eq!((failure.failures, failure.partition.unwrap().0), (1, 0));
    assert!(failure.call_site.ends_with(&format!("at failed_jobs.rs:{map_line}")), "{}", failure.call_site);
    assert!(failure.message.contains("attempt to subtract with overflow"), "{}", failure.message);
    assert!(failure.message.contains(&format!("{}:{map_line}:", file!())), "{}", failure.message);
    assert!(logged[0].contains("collect at failed_jobs.rs"), "{}", logged[0]);
}

#[test]
fn an_error_of_the_users_is_told_in_its_own_words() {
    let sc = local("local[2,2]");
    let words = sc.parallelize_n(["7", "12", "x1"].map(String::from), 3);
    let (failure, logged) = failing(|| words.try_map(|word| word.parse::<u32>()).collect());
    assert_eq!((failure.failures, failure.partition.unwrap().0), (2, 2));
    assert!(failure.message.contains("invalid digit found in string"), "{}", failure.message);
    assert_eq!(logged.len(), 1);
}

#[test]
fn a_thread_may_name_its_call_sites_itself() {
    let sc = local("local[1]");
    sc.set_call_site("the nightly count");
    sc.range(0..10).count().unwrap();
    let job = sc.status_tracker().job_info(0).unwrap();
    assert_eq!(&*job.name, "the nightly count");
    assert_eq!(&*sc.status_tracker().stage_info(job.stages[0].0).unwrap().info.name, "the nightly count");
    sc.clear_call_site();
    sc.range(0..10).count().unwrap();
    assert_eq!(&*sc.status_tracker().job_info(1).unwrap().name, format!("count at failed_jobs.rs:{}", line!() - 1));
}
