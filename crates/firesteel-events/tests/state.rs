//! What the state says after histories whose counts are known from Spark's own REST answers, or are plain.

use firesteel_events::{
    AppState, Event, JobStatus, Listener, Retained, StageStatus,
    event::{
        BlockManagerAdded, BlockManagerId, BlockUpdated, ExceptionFailure, ExecutorAdded, ExecutorExcluded,
        ExecutorExcludedForStage, ExecutorInfo, ExecutorMetrics, ExecutorRemoved, ExecutorUnexcluded, FetchFailed,
        JOB_DESCRIPTION, JOB_GROUP_ID, JOB_TAGS, JobEnd, JobResult, JobStart, NodeExcluded, NodeUnexcluded, Properties,
        RddInfo, SCHEDULER_POOL, StageCompleted, StageInfo, StageSubmitted, TaskEnd, TaskEndReason, TaskInfo,
        TaskLocality, TaskStart, TaskType, UnpersistRdd,
    },
};
use firesteel_model::{
    AttemptId, BlockId, JobId, PartitionIndex, RddId, ShuffleId, StageAttempt, StageId, StorageLevel, TaskMetrics,
};
use proptest::prelude::*;
use std::sync::Arc;

fn stage(id: u64, attempt: u32, tasks: u32) -> StageInfo {
    let name = format!("stage {id} at main.rs:{id}").into();
    StageInfo { id: StageId(id), attempt: StageAttempt(attempt), name, tasks, ..Default::default() }
}

fn job_start(job: u64, stages: &[StageInfo], properties: &[(&str, &str)]) -> Event {
    let properties: Properties = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let stages = stages.iter().cloned().map(Arc::new).collect();
    JobStart { job: JobId(job), time: 10, stages, properties: Arc::new(properties) }.into()
}

fn job_end(job: u64, result: JobResult) -> Event {
    JobEnd { job: JobId(job), time: 90, result }.into()
}

fn submitted(id: u64, attempt: u32, tasks: u32) -> Event {
    let stage = StageInfo { submitted: Some(20), ..stage(id, attempt, tasks) };
    StageSubmitted { stage, properties: Default::default() }.into()
}

fn completed(id: u64, attempt: u32, tasks: u32, failure: Option<&str>) -> Event {
    let failure_reason = failure.map(Into::into);
    let stage = StageInfo { submitted: Some(20), completed: Some(80), failure_reason, ..stage(id, attempt, tasks) };
    StageCompleted { stage }.into()
}

fn task(id: u64, index: u32, attempt: u32) -> TaskInfo {
    TaskInfo {
        id: AttemptId(id),
        index,
        attempt,
        partition: Some(PartitionIndex(index)),
        launched: 30,
        executor: "1".into(),
        host: "h".into(),
        locality: TaskLocality::ProcessLocal,
        speculative: false,
        getting_result: 0,
        finished: 0,
        failed: false,
        killed: false,
        accumulables: vec![],
    }
}

/// A task attempt from launch to end.
fn run(state: &mut AppState, stage: (u64, u32), task: TaskInfo, reason: TaskEndReason) {
    start(state, stage, task.clone());
    end(state, stage, task, reason);
}

fn start(state: &mut AppState, stage: (u64, u32), task: TaskInfo) {
    state.on_event(&TaskStart { stage: StageId(stage.0), stage_attempt: StageAttempt(stage.1), task }.into());
}

fn end(state: &mut AppState, (stage, attempt): (u64, u32), task: TaskInfo, reason: TaskEndReason) {
    let (stage, stage_attempt) = (StageId(stage), StageAttempt(attempt));
    let metrics = Some(TaskMetrics { run_ns: 5, input_records: 2, ..Default::default() });
    let task = TaskInfo { finished: 40, ..task };
    let (task_type, peaks) = (TaskType::Result, ExecutorMetrics::default());
    state.on_event(&TaskEnd { stage, stage_attempt, task_type, reason, task, peaks, metrics }.into());
}

fn panicked() -> TaskEndReason {
    let description = "attempt to divide by zero".into();
    TaskEndReason::ExceptionFailure(ExceptionFailure { class: "panic".into(), description, ..Default::default() })
}

fn manager(executor: &str) -> BlockManagerId {
    BlockManagerId { executor: executor.into(), host: "h".into(), port: 7 }
}

fn executor_added(state: &mut AppState, executor: &str) {
    let info = ExecutorInfo { host: "h".into(), cores: 2, ..Default::default() };
    state.on_event(&ExecutorAdded { time: 1, executor: executor.into(), info }.into());
    let manager = manager(executor);
    let max = 1_000;
    state.on_event(
        &BlockManagerAdded { manager, max_memory: max, time: 1, max_on_heap_memory: max, max_off_heap_memory: 0 }
            .into(),
    );
}

fn block(executor: &str, rdd: u64, partition: u32, level: StorageLevel, memory: u64, disk: u64) -> Event {
    let block = BlockId::Rdd(RddId(rdd), PartitionIndex(partition));
    BlockUpdated::new(manager(executor), block, level, memory, disk).into()
}

#[test]
fn a_jobs_counts_are_spark_s() {
    let state = &mut AppState::default();
    executor_added(state, "1");
    let properties =
        [(JOB_GROUP_ID, "wc"), (JOB_DESCRIPTION, "word count group"), (JOB_TAGS, "tagA,tagB"), (SCHEDULER_POOL, "p")];
    state.on_event(&job_start(0, &[stage(1, 0, 3), stage(0, 0, 4)], &properties));
    assert_eq!(state.active_job_ids(), [JobId(0)]);
    assert_eq!(state.stage(StageId(1)).unwrap().status, StageStatus::Pending);
    state.on_event(&submitted(0, 0, 4));
    assert_eq!(state.active_stage_ids(), [StageId(0)]);
    start(state, (0, 0), task(0, 0, 0));
    assert_eq!(state.job(JobId(0)).unwrap().active_tasks, 1);
    assert_eq!(state.executors()[0].active_tasks, 1);
    end(state, (0, 0), task(0, 0, 0), TaskEndReason::Success);
    run(state, (0, 0), task(1, 1, 0), panicked());
    for (id, index, attempt) in [(2, 1, 1), (3, 2, 0), (4, 3, 0)] {
        run(state, (0, 0), task(id, index, attempt), TaskEndReason::Success);
    }
    state.on_event(&completed(0, 0, 4, None));
    state.on_event(&submitted(1, 0, 3));
    (5..8).for_each(|id| run(state, (1, 0), task(id, id as u32 - 5, 0), TaskEndReason::Success));
    state.on_event(&completed(1, 0, 3, None));
    state.on_event(&job_end(0, JobResult::Succeeded));

    // ../rest-examples/job-one.json of the specification.
    let job = state.job(JobId(0)).unwrap();
    assert_eq!((&*job.name, job.description.as_deref()), ("stage 1 at main.rs:1", Some("word count group")));
    assert_eq!((job.status, job.submitted, job.completed), (JobStatus::Succeeded, 10, Some(90)));
    assert_eq!((job.tasks, job.active_tasks, job.completed_tasks, job.skipped_tasks), (7, 0, 7, 0));
    assert_eq!((job.failed_tasks, job.killed_tasks, job.completed_indices), (1, 0, 7));
    assert_eq!((job.active_stages, job.completed_stages.len(), job.failed_stages), (0, 2, 0));
    assert!(job.skipped_stages.is_empty());

    let first = state.stage(StageId(0)).unwrap();
    assert_eq!((first.status, first.completed_tasks, first.failed_tasks), (StageStatus::Complete, 4, 1));
    assert_eq!((first.metrics.run_ns, first.metrics.input_records, first.first_task_launched), (25, 10, Some(30)));
    assert_eq!(first.last_failure.unwrap().task.id, AttemptId(1));
    let executor = &state.executors()[0];
    assert_eq!((executor.total_tasks, executor.completed_tasks, executor.failed_tasks), (8, 7, 1));
    assert_eq!((executor.active_tasks, executor.total_duration, executor.cores), (0, 80, 2));
    assert!(state.active_job_ids().is_empty() && state.active_stage_ids().is_empty());
}

#[test]
fn groups_and_tags_find_their_jobs_running_or_not() {
    let state = &mut AppState::default();
    state.on_event(&job_start(0, &[], &[(JOB_GROUP_ID, "a"), (JOB_TAGS, "x,y")]));
    state.on_event(&job_start(1, &[], &[]));
    state.on_event(&job_start(2, &[], &[("firesteel.jobGroup.id", "a"), (JOB_TAGS, "y")]));
    state.on_event(&job_end(0, JobResult::failed("part of cancelled job group a")));
    assert_eq!(state.job_ids_for_group(Some("a")), [JobId(0), JobId(2)]);
    assert_eq!(state.job_ids_for_group(None), [JobId(1)]);
    assert_eq!(state.job_ids_for_group(Some("b")), []);
    assert_eq!(state.job_ids_for_tag("y"), [JobId(0), JobId(2)]);
    assert_eq!(state.active_job_ids(), [JobId(1), JobId(2)]);
    assert_eq!(state.job(JobId(0)).unwrap().failure.as_deref(), Some("part of cancelled job group a"));
    assert_eq!(state.jobs().iter().map(|j| j.id.0).collect::<Vec<_>>(), [2, 1, 0]);
}

#[test]
fn a_stage_that_no_job_needed_is_skipped_and_the_first_run_of_a_reused_one_stays() {
    let state = &mut AppState::default();
    state.on_event(&job_start(0, &[stage(0, 0, 4)], &[]));
    state.on_event(&submitted(0, 0, 4));
    state.on_event(&completed(0, 0, 4, None));
    state.on_event(&job_end(0, JobResult::Succeeded));
    // Two ways to list the stage again: as it was, or as the attempt that it would be.
    for (job, attempt) in [(1, 0), (2, 1)] {
        let result = 10 + job;
        state.on_event(&job_start(job, &[stage(0, attempt, 4), stage(result, 0, 2)], &[]));
        state.on_event(&submitted(result, 0, 2));
        (0..2).for_each(|i| run(state, (result, 0), task(i, i as u32, 0), TaskEndReason::Success));
        state.on_event(&completed(result, 0, 2, None));
        state.on_event(&job_end(job, JobResult::Succeeded));
        let job = state.job(JobId(job)).unwrap();
        assert_eq!((job.tasks, job.completed_tasks, job.skipped_tasks), (6, 2, 4));
        assert_eq!(job.skipped_stages.into_iter().collect::<Vec<_>>(), [StageId(0)]);
    }
    assert_eq!(state.stage_attempt(StageId(0), StageAttempt(0)).unwrap().status, StageStatus::Complete);
    assert_eq!(state.stage_attempt(StageId(0), StageAttempt(1)).unwrap().status, StageStatus::Skipped);
    // What was skipped once may run another time.
    state.on_event(&job_start(3, &[stage(0, 1, 4)], &[]));
    assert_eq!(state.stage(StageId(0)).unwrap().status, StageStatus::Pending);
    state.on_event(&submitted(0, 1, 4));
    assert_eq!(state.active_stage_ids(), [StageId(0)]);
}

#[test]
fn a_failed_fetch_fails_the_stage_attempt_and_the_retry_counts_for_the_same_job() {
    let state = &mut AppState::default();
    state.on_event(&job_start(0, &[stage(0, 0, 2), stage(1, 0, 2)], &[]));
    state.on_event(&submitted(0, 0, 2));
    (0..2).for_each(|i| run(state, (0, 0), task(i, i as u32, 0), TaskEndReason::Success));
    state.on_event(&completed(0, 0, 2, None));
    state.on_event(&submitted(1, 0, 2));
    let fetch = TaskEndReason::FetchFailed(FetchFailed {
        manager: None,
        shuffle: ShuffleId(0),
        map_attempt: None,
        map: None,
        reduce: None,
        message: "gone".into(),
    });
    run(state, (1, 0), task(2, 0, 0), fetch);
    state.on_event(&completed(1, 0, 2, Some("FetchFailed")));
    let job = state.job(JobId(0)).unwrap();
    assert_eq!((job.failed_stages, job.active_stages, job.failed_tasks), (1, 0, 1));
    state.on_event(&submitted(0, 1, 1));
    run(state, (0, 1), task(3, 0, 0), TaskEndReason::Success);
    state.on_event(&completed(0, 1, 1, None));
    state.on_event(&submitted(1, 1, 2));
    assert_eq!(state.job(JobId(0)).unwrap().active_stages, 1);
    assert_eq!(state.stage(StageId(1)).unwrap().jobs, [JobId(0)]);
    assert_eq!(state.stage_attempt(StageId(1), StageAttempt(0)).unwrap().status, StageStatus::Failed);
}

#[test]
fn killed_and_resubmitted_tasks_are_counted_as_what_they_are() {
    let state = &mut AppState::default();
    executor_added(state, "1");
    state.on_event(&job_start(0, &[stage(0, 0, 2)], &[]));
    state.on_event(&submitted(0, 0, 2));
    run(state, (0, 0), task(0, 0, 0), TaskEndReason::Success);
    let killed = TaskEndReason::TaskKilled { reason: "another attempt succeeded".into(), accumulators: vec![] };
    run(state, (0, 0), task(1, 0, 1), killed);
    end(state, (0, 0), task(0, 0, 0), TaskEndReason::Resubmitted);
    let stage = state.stage(StageId(0)).unwrap();
    assert_eq!((stage.active_tasks, stage.completed_tasks, stage.completed_indices), (0, 1, 0));
    assert_eq!(stage.killed_tasks_summary.get("another attempt succeeded"), Some(&1));
    assert_eq!(stage.metrics.run_ns, 10, "what is resubmitted does not measure twice");
    assert_eq!(stage.last_failure, None);
    assert_eq!(state.job(JobId(0)).unwrap().killed_tasks_summary.len(), 1);
    assert_eq!(state.executors()[0].failed_tasks, 0);
}

#[test]
fn a_stage_that_two_jobs_need_runs_once_and_counts_for_both() {
    let state = &mut AppState::default();
    state.on_event(&job_start(0, &[stage(0, 0, 1), stage(1, 0, 1)], &[]));
    state.on_event(&submitted(0, 0, 1));
    state.on_event(&job_start(1, &[stage(0, 0, 1), stage(2, 0, 1)], &[]));
    assert_eq!(state.job(JobId(1)).unwrap().active_stages, 1);
    run(state, (0, 0), task(0, 0, 0), TaskEndReason::Success);
    state.on_event(&completed(0, 0, 1, None));
    for job in [0, 1] {
        let job = state.job(JobId(job)).unwrap();
        assert_eq!((job.completed_tasks, job.completed_stages.len(), job.active_stages), (1, 1, 0));
    }
}

#[test]
fn kept_rdds_show_what_is_cached_and_where() {
    let state = &mut AppState::default();
    executor_added(state, "1");
    executor_added(state, "2");
    let level = StorageLevel::MEMORY_AND_DISK;
    let kept = RddInfo { id: RddId(5), name: "counts".into(), level, partitions: 3, ..Default::default() };
    let plain = RddInfo { id: RddId(6), partitions: 3, ..Default::default() };
    let info = StageInfo { rdds: [kept, plain].into(), ..stage(0, 0, 3) };
    state.on_event(&StageSubmitted { stage: info, properties: Default::default() }.into());
    assert!(state.rdd_storage().is_empty() && state.rdd(RddId(5)).is_some() && state.rdd(RddId(6)).is_none());
    state.on_event(&block("1", 5, 0, StorageLevel::MEMORY_ONLY, 100, 0));
    state.on_event(&block("2", 5, 0, StorageLevel::MEMORY_ONLY, 100, 0));
    state.on_event(&block("2", 5, 1, StorageLevel::MEMORY_ONLY, 50, 0));
    state.on_event(&block("2", 5, 1, StorageLevel::DISK_ONLY, 0, 40)); // evicted
    state.on_event(&block("1", 6, 1, StorageLevel::MEMORY_ONLY, 7, 0)); // of an RDD that is not kept
    let info = &state.rdd_storage()[0];
    assert_eq!(
        (&*info.name, info.partitions, info.cached_partitions, info.memory, info.disk),
        ("counts", 3, 2, 200, 40)
    );
    let executors = state.executors();
    assert_eq!((executors[0].memory_used, executors[0].rdd_blocks), (107, 2));
    assert_eq!((executors[1].memory_used, executors[1].disk_used, executors[1].rdd_blocks), (100, 40, 2));

    state.on_event(&ExecutorRemoved { time: 50, executor: "2".into(), reason: "lost".into() }.into());
    let rdd = state.rdd(RddId(5)).unwrap();
    assert_eq!((rdd.info.cached_partitions, rdd.info.memory, rdd.info.disk), (1, 100, 0));
    assert_eq!(&*rdd.partitions[&PartitionIndex(0)][0].executor, "1");
    let lost = &state.executors()[1];
    assert_eq!((lost.is_active, lost.memory_used, lost.remove_reason.as_deref()), (false, 0, Some("lost")));

    state.on_event(&block("1", 5, 0, StorageLevel::NONE, 0, 0));
    assert!(state.rdd_storage().is_empty());
    state.on_event(&block("1", 5, 2, StorageLevel::MEMORY_ONLY, 9, 0));
    state.on_event(&UnpersistRdd { rdd: RddId(5) }.into());
    assert!(state.rdd(RddId(5)).is_none());
    assert_eq!((state.executors()[0].memory_used, state.executors()[0].rdd_blocks), (7, 1));
}

#[test]
fn an_exclusion_for_a_stage_ends_with_the_stage() {
    let state = &mut AppState::default();
    executor_added(state, "1");
    state.on_event(&submitted(4, 0, 1));
    let (time, executor, task_failures, stage, stage_attempt) = (1, "1".into(), 1, StageId(4), StageAttempt(0));
    state.on_event(&ExecutorExcludedForStage { time, executor, task_failures, stage, stage_attempt }.into());
    assert_eq!(state.executors()[0].excluded_in_stages.len(), 1);
    state.on_event(&completed(4, 0, 1, None));
    assert!(state.executors()[0].excluded_in_stages.is_empty());
}

#[test]
fn an_excluded_executor_stays_so_when_its_host_is_not_excluded_any_more() {
    let state = &mut AppState::default();
    executor_added(state, "1");
    executor_added(state, "2");
    let (time, host) = (1, state.executors()[0].host.clone());
    let excluded = |state: &AppState| state.executors().iter().map(|e| e.is_excluded).collect::<Vec<_>>();
    state.on_event(&ExecutorExcluded { time, executor: "1".into(), task_failures: 2 }.into());
    state.on_event(&NodeExcluded { time, host: host.clone(), executor_failures: 2 }.into());
    executor_added(state, "3");
    assert_eq!(excluded(state), [true, true, true]);
    state.on_event(&NodeUnexcluded { time, host }.into());
    assert_eq!(excluded(state), [true, false, false]);
    state.on_event(&ExecutorUnexcluded { time, executor: "1".into() }.into());
    assert_eq!(excluded(state), [false, false, false]);
}

#[test]
fn what_is_over_is_kept_up_to_a_number_and_what_runs_always() {
    let state = &mut AppState::new(Retained { jobs: 3, stages: 3, dead_executors: 3 });
    state.on_event(&job_start(0, &[stage(0, 0, 1)], &[]));
    state.on_event(&submitted(0, 0, 1));
    for n in 1..100 {
        state.on_event(&job_start(n, &[stage(1_000, 0, 1), stage(n, 0, 1)], &[]));
        state.on_event(&submitted(n, 0, 1));
        state.on_event(&completed(n, 0, 1, None));
        state.on_event(&job_end(n, JobResult::Succeeded));
        executor_added(state, &n.to_string());
        state.on_event(&ExecutorRemoved { time: 1, executor: n.to_string().into(), reason: "idle".into() }.into());
    }
    assert_eq!(state.jobs().iter().map(|j| j.id.0).collect::<Vec<_>>(), [99, 98, 97, 0]);
    assert_eq!(state.stages().iter().map(|s| s.info.id.0).collect::<Vec<_>>(), [1_000, 99, 0]);
    assert_eq!(state.executors().len(), 3);
    assert_eq!(state.active_stage_ids(), [StageId(0)]);
}

/// Any event about few things, in any order: also such that make no sense.
fn any_event() -> impl Strategy<Value = Event> {
    let (job, id, attempt, index) = (0..4u64, 0..4u64, 0..2u32, 0..3u32);
    (0..12u8, job, id, attempt, index).prop_map(|(kind, job, id, attempt, index)| {
        let at = (StageId(id), StageAttempt(attempt));
        let task = task(job, index, attempt);
        let reason = [TaskEndReason::Success, TaskEndReason::Resubmitted, panicked()][index as usize].clone();
        let executor: Arc<str> = index.to_string().into();
        match kind {
            0 | 1 => job_start(job, &[stage(id, attempt, 3), stage((id + 1) % 4, 0, 3)], &[]),
            2 => job_end(job, JobResult::Succeeded),
            3 => {
                let rdd =
                    RddInfo { id: RddId(id), level: StorageLevel::MEMORY_ONLY, partitions: 3, ..Default::default() };
                let stage = StageInfo { submitted: Some(1), rdds: [rdd].into(), ..stage(id, attempt, 3) };
                StageSubmitted { stage, properties: Default::default() }.into()
            }
            4 => completed(id, attempt, 3, (index == 0).then_some("failed")),
            5 => TaskStart { stage: at.0, stage_attempt: at.1, task }.into(),
            6 => {
                let (task_type, peaks, metrics) = (TaskType::Result, ExecutorMetrics::default(), None);
                TaskEnd { stage: at.0, stage_attempt: at.1, task_type, reason, task, peaks, metrics }.into()
            }
            7 => block(&executor, id, index, StorageLevel::MEMORY_ONLY, 10, 0),
            8 => block(&executor, id, index, StorageLevel::NONE, 0, 0),
            9 => UnpersistRdd { rdd: RddId(id) }.into(),
            10 => ExecutorAdded { time: 0, executor, info: Default::default() }.into(),
            _ => ExecutorRemoved { time: 0, executor, reason: "".into() }.into(),
        }
    })
}

proptest! {
    #[test]
    fn no_order_of_events_panics_or_breaks_a_count(events in prop::collection::vec(any_event(), 0..200)) {
        let state = &mut AppState::new(Retained { jobs: 2, stages: 2, dead_executors: 1 });
        for event in &events {
            state.on_event(event);
            for stage in state.stages() {
                prop_assert!(stage.completed_indices <= 3);
                prop_assert_eq!(state.active_stage_ids().contains(&stage.info.id) || stage.status != StageStatus::Active, true);
            }
            for rdd in state.rdd_storage() {
                let known = state.rdd(rdd.id).unwrap();
                prop_assert_eq!(rdd.cached_partitions as usize, known.partitions.len());
                prop_assert_eq!(rdd.memory, 10 * known.partitions.values().flatten().count() as u64);
            }
            prop_assert!(state.jobs().iter().filter(|j| j.status != JobStatus::Running).count() <= 2);
            prop_assert!(state.executors().iter().filter(|e| !e.is_active && e.removed.is_some()).count() <= 1);
        }
    }
}
