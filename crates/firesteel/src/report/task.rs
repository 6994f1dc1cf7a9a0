//! A task attempt, and how it ended, as events describe them.

use crate::plan::Stage;
use firesteel_events::event::{
    BlockManagerId, ExceptionFailure, FetchFailed, StackFrame, TaskEnd, TaskEndReason, TaskInfo, TaskLocality, TaskType,
};
use firesteel_model::{AttemptId, StageAttempt, StageId};
use firesteel_scheduler::{Failure, Locality, StageOutput, TaskEndReason as Reason, TaskLaunch};

pub(super) fn kind(stage: &Stage) -> TaskType {
    match stage.spec.output {
        StageOutput::Result => TaskType::Result,
        StageOutput::Shuffle(_) => TaskType::ShuffleMap,
    }
}

/// An attempt that runs since `at`.
pub(super) fn info(launch: &TaskLaunch, at: u64, executor: &BlockManagerId) -> TaskInfo {
    TaskInfo {
        id: launch.attempt,
        index: launch.index,
        attempt: launch.attempt_number,
        partition: Some(launch.partition),
        launched: at,
        executor: executor.executor.clone(),
        host: executor.host.clone(),
        locality: match launch.locality {
            Locality::ProcessLocal => TaskLocality::ProcessLocal,
            Locality::NodeLocal => TaskLocality::NodeLocal,
            Locality::NoPref => TaskLocality::NoPref,
            Locality::RackLocal => TaskLocality::RackLocal,
            Locality::Any => TaskLocality::Any,
        },
        speculative: launch.speculative,
        getting_result: 0,
        finished: 0,
        failed: false,
        killed: false,
        accumulables: Vec::new(),
    }
}

/// Says in the task's description how it ended.
pub(super) fn mark(task: &mut TaskInfo, reason: &TaskEndReason) {
    match reason {
        TaskEndReason::Success => {}
        TaskEndReason::TaskKilled { .. } => task.killed = true,
        _ => task.failed = true,
    }
}

pub(super) fn reason(reason: &Reason, executor: &BlockManagerId, launch: &TaskLaunch) -> TaskEndReason {
    match reason {
        Reason::Success => TaskEndReason::Success,
        Reason::Unknown => TaskEndReason::Unknown,
        Reason::ExecutorLost { reason, .. } => TaskEndReason::ExecutorLostFailure {
            executor: executor.executor.clone(),
            caused_by_app: reason.counts_as_failure(),
            reason: reason.to_string().into(),
        },
        Reason::Failed(failure) => match failure {
            Failure::Error { message, .. } => TaskEndReason::ExceptionFailure(exception(message)),
            Failure::FetchFailed(fetch) => TaskEndReason::FetchFailed(FetchFailed {
                manager: fetch.map.map(|_| executor.clone()),
                shuffle: fetch.shuffle,
                map_attempt: fetch.map.map(|map| map.attempt),
                map: fetch.map.map(|map| map.partition),
                reduce: Some(fetch.reduce),
                message: fetch.to_string(),
            }),
            Failure::CommitDenied => TaskEndReason::TaskCommitDenied {
                job: launch.stage.0,
                partition: Some(launch.partition),
                attempt: launch.attempt_number,
            },
            Failure::Killed { reason } => {
                TaskEndReason::TaskKilled { reason: reason.as_str().into(), accumulators: Vec::new() }
            }
            Failure::ResultLost => TaskEndReason::TaskResultLost,
            failure @ Failure::ResultTooLarge { .. } => {
                TaskEndReason::ExceptionFailure(exception(&failure.to_string()))
            }
        },
    }
}

/// A panic's text says where it happened: `panicked at src/main.rs:12:30: no such key`.
fn exception(message: &str) -> ExceptionFailure {
    let place = message.strip_prefix("panicked at ").and_then(|rest| {
        let (place, _) = rest.split_once(": ")?;
        let mut parts = place.rsplitn(3, ':');
        let (_column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some(StackFrame { file: file.into(), line: line.parse().ok()?, ..StackFrame::default() })
    });
    ExceptionFailure {
        class: if message.starts_with("panicked") { "panic" } else { "error" }.into(),
        description: message.into(),
        stack_trace: place.into_iter().collect(),
        full_stack_trace: message.into(),
        accumulators: Vec::new(),
    }
}

/// A task that had ended well runs again, because its map output is lost.
pub(super) fn resubmitted(
    stage: StageId,
    stage_attempt: StageAttempt,
    index: u32,
    lost: AttemptId,
    time: u64,
    executor: &BlockManagerId,
) -> TaskEnd {
    let task = TaskInfo {
        id: lost,
        index,
        attempt: 0,
        partition: None,
        launched: time,
        executor: executor.executor.clone(),
        host: executor.host.clone(),
        locality: TaskLocality::Any,
        speculative: false,
        getting_result: 0,
        finished: time,
        failed: true,
        killed: false,
        accumulables: Vec::new(),
    };
    TaskEnd {
        stage,
        stage_attempt,
        task_type: TaskType::ShuffleMap,
        reason: TaskEndReason::Resubmitted,
        task,
        peaks: Default::default(),
        metrics: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panics_place_is_told_apart() {
        let failure = exception("panicked at src/main.rs:12:30: no such key: 7");
        assert_eq!(failure.class, "panic");
        assert_eq!((failure.stack_trace[0].file.as_str(), failure.stack_trace[0].line), ("src/main.rs", 12));
        assert_eq!(exception("invalid digit: 7").class, "error");
        assert!(exception("panicked at nowhere").stack_trace.is_empty());
    }
}
