//! The event log as a file: its name, its lines, what it leaves out, and that damage is no more than an error.

use firesteel_events::{
    Bus, Event, EventLogWriter, Listener, LogReader, Queue,
    event::{
        ApplicationEnd, BlockManagerId, BlockUpdated, EnvironmentUpdate, ExecutorExcluded, ExecutorMetricsUpdate,
        JobEnd, JobResult, JobStart, Properties, SpeculativeTaskSubmitted, StageInfo, StageSubmitted, UnpersistRdd,
    },
    read_log,
};
use firesteel_model::{BlockId, JobId, PartitionIndex, RddId, StageAttempt, StageId, StorageLevel, conf::REDACTED};
use proptest::prelude::*;
use std::{fs, sync::Arc};

fn examples() -> Vec<Event> {
    let mut files: Vec<_> =
        fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().filter_map(|p| Event::from_json(&fs::read_to_string(p).unwrap()).unwrap()).collect()
}

fn properties<const N: usize>(entries: [(&str, &str); N]) -> Properties {
    entries.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

fn written(events: &[Event], log_block_updates: bool) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = EventLogWriter::create(dir.path().to_str().unwrap(), "app-1", log_block_updates).unwrap();
    events.iter().for_each(|e| log.on_event(e));
    log.on_event(&ApplicationEnd { time: 1, exit_code: None }.into());
    log.on_stop();
    let text = fs::read_to_string(dir.path().join("app-1")).unwrap();
    (dir, text)
}

fn block_update() -> Event {
    let manager = BlockManagerId { executor: "driver".into(), host: "h".into(), port: 0 };
    let block = BlockId::Rdd(RddId(1), PartitionIndex(2));
    BlockUpdated::new(manager, block, StorageLevel::MEMORY_ONLY, 10, 0).into()
}

#[test]
fn a_log_is_in_progress_until_the_bus_stops_after_the_applications_end() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let log = EventLogWriter::create(&url, "app-20261121033358-0000", true).unwrap();
    let (path, unfinished) = (log.path().to_owned(), log.unfinished_path().to_owned());
    assert_eq!(unfinished.file_name().unwrap(), "app-20261121033358-0000.inprogress");
    let bus = Bus::new(100);
    bus.add(Queue::EventLog, log).unwrap();
    // Every kind of event that Spark's logs have, the last of them the application's end.
    let mut events = examples();
    events.retain(|e| !matches!(e, Event::LogStart(_) | Event::ExecutorMetricsUpdate(_)));
    events.sort_by_key(|e| matches!(e, Event::ApplicationEnd(_)));
    events.iter().for_each(|e| bus.post(e.clone()));
    bus.flush();
    assert!(unfinished.exists() && !path.exists());
    bus.stop();
    assert!(!unfinished.exists());
    let read: Vec<Event> = read_log(&path).unwrap().map(Result::unwrap).collect();
    let Event::LogStart(start) = &read[0] else { panic!("{:?}", read[0]) };
    assert_eq!(
        (start.spark_version.as_str(), start.firesteel_version.as_deref()),
        ("4.3.0", Some(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(read[1..], events);
}

#[test]
fn a_log_without_an_end_stays_in_progress() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = EventLogWriter::create(dir.path().to_str().unwrap(), "app-1", false).unwrap();
    log.on_event(&UnpersistRdd { rdd: RddId(1) }.into());
    log.on_stop();
    assert_eq!(read_log(dir.path().join("app-1.inprogress")).unwrap().count(), 2);
}

#[test]
fn the_end_of_a_job_is_on_disk_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = EventLogWriter::create(dir.path().to_str().unwrap(), "app-1", false).unwrap();
    let end = Event::from(JobEnd { job: JobId(3), time: 5, result: JobResult::failed("task 1 of stage 2 failed") });
    log.on_event(&end);
    assert_eq!(read_log(log.unfinished_path()).unwrap().last().unwrap().unwrap(), end);
}

#[test]
fn a_folder_that_is_missing_or_no_folder_or_has_the_log_already_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let error = |dir: &str| EventLogWriter::create(dir, "app-1", false).unwrap_err().to_string();
    let missing = error(&path("missing"));
    assert!(missing.contains("missing does not exist; create it, or set firesteel.eventLog.dir"), "{missing}");
    fs::write(path("file"), "").unwrap();
    assert!(error(&path("file")).contains("file is not a folder"));
    let _first = EventLogWriter::create(&path(""), "app-1", false).unwrap();
    assert!(error(&path("")).contains("app-1.inprogress exists already"));
    fs::rename(path("app-1.inprogress"), path("app-1")).unwrap();
    assert!(error(&path("")).contains("app-1 exists already"));
}

#[test]
fn an_application_id_cannot_lead_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLogWriter::create(dir.path().to_str().unwrap(), "../A b:c", false).unwrap();
    assert_eq!(log.path(), dir.path().join("__-a-b-c"));
}

#[test]
fn block_updates_are_written_only_when_wanted_and_some_events_never() {
    let update = ExecutorMetricsUpdate { executor: "driver".into(), tasks: vec![], peaks: vec![] };
    let (stage, stage_attempt, partition) = (StageId(0), StageAttempt(0), PartitionIndex(0));
    let copy = SpeculativeTaskSubmitted { stage, stage_attempt, index: 0, partition };
    let events = [block_update(), update.into(), copy.into()];
    assert_eq!(written(&events, false).1.lines().count(), 2);
    let (_dir, text) = written(&events, true);
    assert_eq!(text.lines().count(), 3);
    assert!(text.contains("SparkListenerBlockUpdated"));
}

#[test]
fn secrets_are_redacted() {
    let environment = EnvironmentUpdate {
        properties: properties([("spark.my.password", "hush"), ("spark.app.name", "words"), ("opts", "-Dtoken=hush")]),
        system: properties([("AWS_SECRET_ACCESS_KEY", "hush"), ("HOME", "/root")]),
        ..Default::default()
    };
    let local = Arc::new(properties([("my.Access.Key", "hush"), ("spark.job.description", "count tokens")]));
    let job = JobStart { job: JobId(0), time: 0, stages: vec![], properties: local.clone() };
    let stage = StageSubmitted { stage: StageInfo::default(), properties: local };
    let (_dir, text) = written(&[environment.into(), job.into(), stage.into()], false);
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(text.matches(REDACTED).count(), 5, "{text}");
    assert!(text.contains(r#""spark.app.name":"words""#) && text.contains(r#""HOME":"/root""#), "{text}");
    assert_eq!(text.matches("count tokens").count(), 2, "{text}");
}

#[test]
fn an_exclusion_is_written_under_its_older_name_too() {
    let excluded = ExecutorExcluded { time: 1795232055748, executor: "1".into(), task_failures: 1 };
    let (_dir, text) = written(&[excluded.into()], false);
    let lines: Vec<_> = text.lines().collect();
    let rest = r#""time":1795232055748,"executorId":"1","taskFailures":1}"#;
    let package = "org.apache.spark.scheduler.SparkListener";
    assert_eq!(lines[1], format!(r#"{{"Event":"{package}ExecutorBlacklisted",{rest}"#));
    assert_eq!(lines[2], format!(r#"{{"Event":"{package}ExecutorExcluded",{rest}"#));
}

#[test]
fn a_log_of_any_length_is_read_line_by_line() {
    let line = |n: u64| format!("{}\r\n\n", Event::from(UnpersistRdd { rdd: RddId(n) }).to_json());
    let text: String = (0..5_000).map(line).collect();
    let events = LogReader::new(text.as_bytes(), "test").map(Result::unwrap);
    assert!(events.eq((0..5_000).map(|n| UnpersistRdd { rdd: RddId(n) }.into())));
}

#[test]
fn a_line_without_end_is_an_error_and_the_next_one_is_read() {
    use std::io::{BufReader, Read, repeat};
    let long = repeat(b'x').take(firesteel_events::MAX_LINE as u64 + 10);
    let rest = format!("\n{}", Event::from(UnpersistRdd { rdd: RddId(7) }).to_json());
    let mut log = LogReader::new(BufReader::new(long.chain(rest.as_bytes())), "test");
    let error = log.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("test, line 1, is damaged: longer than 128 MiB"), "{error}");
    assert_eq!(log.next().unwrap().unwrap(), UnpersistRdd { rdd: RddId(7) }.into());
    assert!(log.next().is_none());
}

#[test]
fn a_missing_log_is_an_error_that_names_it() {
    let error = read_log("/nowhere/app-1").unwrap_err().to_string();
    assert!(error.contains("open the event log /nowhere/app-1"), "{error}");
}

proptest! {
    #[test]
    fn no_damage_to_a_line_panics(example in 0usize..31, cut in any::<prop::sample::Index>(), byte: u8, truncate: bool) {
        let mut line = examples()[example].to_json().into_bytes();
        let at = cut.index(line.len());
        line[at] = byte;
        if truncate {
            line.truncate(at);
        }
        line.push(b'\n');
        for event in LogReader::new(&line[..], "test").flatten() {
            prop_assert_eq!(Event::from_json(&event.to_json()).unwrap(), Some(event));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        LogReader::new(&bytes[..], "test").for_each(drop);
    }
}
