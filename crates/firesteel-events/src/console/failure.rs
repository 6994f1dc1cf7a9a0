//! Why a job failed, for a person to read.

use crate::{AppState, event::StackFrame, event::TaskEndReason};
use firesteel_model::JobFailure;
use std::fmt::Write;

/// How much of a message is shown; a panic may well print a whole data set.
const MESSAGE: usize = 4_000;

/// A few lines that say which job failed, in which stage and task, on which executor, at which line of the user's program, why,
/// and after how many attempts. What nobody knows is left out.
///
/// The stage's name, the task's attempt and its executor come from the state:
/// [flush its queue](crate::Bus::flush_queue) first, so that it knows of them.
///
/// ```
/// use firesteel_events::{AppState, failure_summary};
/// use firesteel_model::{JobFailure, JobId, PartitionIndex, StageId};
///
/// let failure = JobFailure {
///     job: JobId(4),
///     stage: Some(StageId(8)),
///     partition: Some(PartitionIndex(1)),
///     attempt: None,
///     failures: 4,
///     call_site: "main.rs:12".into(),
///     message: "attempt to divide by zero, main.rs:12:30".into(),
/// };
/// let text = failure_summary(&failure, &AppState::default());
/// assert_eq!(text, "\
/// job 4 failed
///   stage     8
///   task      partition 1
///   attempts  4 failed
///   code      main.rs:12
///   cause     attempt to divide by zero, main.rs:12:30
/// ");
/// ```
pub fn failure_summary(failure: &JobFailure, state: &AppState) -> String {
    let job = state.job(failure.job);
    let stage = failure.stage.and_then(|s| state.stage(s));
    let last = stage.as_ref().and_then(|s| s.last_failure.as_ref());
    let last = last.filter(|l| failure.attempt.is_none_or(|a| a == l.task.id) && l.task.partition == failure.partition);

    let mut out = format!("job {} failed", failure.job);
    if let Some(name) = job.map(|j| j.name).filter(|n| !n.is_empty()) {
        write!(out, " ({name})").ok();
    }
    out.push('\n');
    if let Some(id) = failure.stage {
        line(&mut out, "stage", |out| match &stage {
            Some(s) => write!(out, "{id} ({}), attempt {}, {} tasks", s.info.name, s.info.attempt, s.info.tasks),
            None => write!(out, "{id}"),
        });
    }
    if let Some(partition) = failure.partition {
        line(&mut out, "task", |out| {
            write!(out, "partition {partition}")?;
            if let Some(l) = last {
                write!(out, ", attempt {} on executor {} of host {}", l.task.attempt, l.task.executor, l.task.host)?;
            }
            failure.attempt.map_or(Ok(()), |a| write!(out, " (TID {a})"))
        });
        line(&mut out, "attempts", |out| write!(out, "{} failed", failure.failures));
    }
    if !failure.call_site.is_empty() {
        line(&mut out, "code", |out| out.write_str(&failure.call_site));
    }
    let raised = last.and_then(|l| match &l.reason {
        TaskEndReason::ExceptionFailure(e) => e.stack_trace.first(),
        _ => None,
    });
    if let Some(StackFrame { file, line: number, .. }) = raised.filter(|f| !f.file.is_empty() && f.line >= 0)
        && !failure.message.contains(&format!("{file}:{number}"))
    {
        line(&mut out, "at", |out| write!(out, "{file}:{number}"));
    }
    line(&mut out, "cause", |out| {
        let end = failure.message.char_indices().nth(MESSAGE).map_or(failure.message.len(), |(i, _)| i);
        let (shown, rest) = failure.message.split_at(end);
        // Further lines stand below the first.
        out.write_str(&shown.trim_end().replace('\n', "\n            "))?;
        if rest.is_empty() { Ok(()) } else { write!(out, " … and {} more bytes", rest.len()) }
    });
    out
}

/// One line: a word, and what `write` writes.
fn line(out: &mut String, word: &str, write: impl FnOnce(&mut String) -> std::fmt::Result) {
    // Writing to a text does not fail.
    let _ = write!(out, "  {word:<10}").and_then(|()| write(out));
    out.push('\n');
}
