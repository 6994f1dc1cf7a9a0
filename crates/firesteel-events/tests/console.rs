//! What a person sees: bars that fit their line, and failures that name everything.

use firesteel_events::{
    AppState, Listener, StageProgress,
    event::{
        ExceptionFailure, JobStart, StackFrame, StageInfo, StageSubmitted, TaskEnd, TaskEndReason, TaskInfo,
        TaskLocality, TaskType,
    },
    failure_summary, progress_bar,
};
use firesteel_model::{AttemptId, JobFailure, JobId, PartitionIndex, StageAttempt, StageId};
use proptest::prelude::*;
use std::sync::Arc;

fn progress(stage: u64, completed: u32, active: u32, total: u32) -> StageProgress {
    StageProgress { stage: StageId(stage), completed, active, total }
}

#[test]
fn a_bar_grows_with_its_tasks() {
    let bar = |completed, active| progress_bar(&[progress(0, completed, active, 4)], 30);
    assert_eq!(bar(0, 4), "[Stage 0:>        (0 + 4) / 4]");
    assert_eq!(bar(2, 2), "[Stage 0:====>    (2 + 2) / 4]");
    assert_eq!(bar(4, 0), "[Stage 0:=========(4 + 0) / 4]");
}

#[test]
fn stages_share_the_line() {
    let line = progress_bar(&[progress(3, 12, 4, 100), progress(14, 0, 0, 2)], 60);
    assert_eq!(line, "[Stage 3:>     (12 + 4) / 100][Stage 14:>       (0 + 0) / 2]");
}

#[test]
fn a_narrow_terminal_gets_numbers_and_no_second_line() {
    assert_eq!(progress_bar(&[progress(3, 12, 4, 100)], 24), "[Stage 3:(12 + 4) / 100]");
    assert_eq!(progress_bar(&[progress(3, 12, 4, 100)], 10), "[Stage 3:(");
    assert_eq!(progress_bar(&[], 10), "");
}

proptest! {
    #[test]
    fn no_bar_is_longer_than_its_line(
        stages in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>()), 0..5),
        width in 0usize..300,
    ) {
        let stages: Vec<_> = stages.into_iter().map(|(s, c, a, t)| progress(s, c, a, t)).collect();
        prop_assert!(progress_bar(&stages, width).len() <= width);
    }
}

#[test]
fn a_failure_names_stage_task_attempt_executor_line_and_message() {
    let mut state = AppState::default();
    let stage = StageInfo { id: StageId(8), name: "collect at main.rs:30".into(), tasks: 2, ..Default::default() };
    let stages = vec![Arc::new(stage.clone())];
    state.on_event(&JobStart { job: JobId(4), time: 0, stages, properties: Default::default() }.into());
    state.on_event(&StageSubmitted { stage, properties: Default::default() }.into());
    let reason = TaskEndReason::ExceptionFailure(ExceptionFailure {
        class: "panic".into(),
        stack_trace: vec![StackFrame { file: "src/main.rs".into(), line: 14, ..Default::default() }],
        ..Default::default()
    });
    let task = TaskInfo {
        id: AttemptId(23),
        index: 1,
        attempt: 3,
        partition: Some(PartitionIndex(1)),
        launched: 0,
        executor: "2".into(),
        host: "node7".into(),
        locality: TaskLocality::Any,
        speculative: false,
        getting_result: 0,
        finished: 9,
        failed: true,
        killed: false,
        accumulables: vec![],
    };
    let (stage, stage_attempt, task_type) = (StageId(8), StageAttempt(0), TaskType::Result);
    let end = TaskEnd { stage, stage_attempt, task_type, reason, task, peaks: Default::default(), metrics: None };
    state.on_event(&end.into());
    let failure = JobFailure {
        job: JobId(4),
        stage: Some(stage),
        partition: Some(PartitionIndex(1)),
        attempt: Some(AttemptId(23)),
        failures: 4,
        call_site: "map at main.rs:12".into(),
        message: "panic: no such word\nin line 7".into(),
    };
    assert_eq!(
        failure_summary(&failure, &state),
        "job 4 failed (collect at main.rs:30)\n\
         \x20 stage     8 (collect at main.rs:30), attempt 0, 2 tasks\n\
         \x20 task      partition 1, attempt 3 on executor 2 of host node7 (TID 23)\n\
         \x20 attempts  4 failed\n\
         \x20 code      map at main.rs:12\n\
         \x20 at        src/main.rs:14\n\
         \x20 cause     panic: no such word\n\
         \x20           in line 7\n"
    );
}

#[test]
fn a_failure_without_a_task_and_with_an_endless_message_is_still_readable() {
    let failure = JobFailure {
        job: JobId(0),
        stage: None,
        partition: None,
        attempt: None,
        failures: 0,
        call_site: String::new(),
        message: "é".repeat(100_000),
    };
    let text = failure_summary(&failure, &AppState::default());
    assert_eq!(text.lines().count(), 2);
    assert!(text.len() < 10_000 && text.ends_with("… and 192000 more bytes\n"), "{text}");
}
