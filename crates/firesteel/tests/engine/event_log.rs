//! The event log: Spark's format, and all that happened can be read from it.

use crate::steps::local;
use firesteel::{
    events::{
        Event,
        event::{AccumulableValue, JobResult, StageInfo, TaskEndReason, TaskType},
        read_log,
    },
    prelude::*,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn logging(folder: &Path, master: &str) -> firesteel::ContextBuilder {
    Context::builder()
        .app_name("A small program")
        .master(master)
        .conf("firesteel.eventLog.enabled", true)
        .conf("firesteel.eventLog.dir", folder.display())
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn read(path: &Path) -> Vec<Event> {
    read_log(path).unwrap().map(|event| event.unwrap()).collect()
}

/// Three jobs: one with a task that fails once, one that finds its shuffle and its cached RDD there, one that fails.
fn small_program(sc: &Context) {
    let lines = sc.parallelize_n(["to be or not", "to be", "that is"].map(String::from), 3).set_name("lines");
    let words_seen = sc.long_accumulator("words seen");
    sc.set_job_group("wc", "word count group", false);
    sc.add_job_tag("tagA").unwrap();
    sc.set_local_property("my.password", Some("not for the log"));
    let counts = lines
        .flat_map_with(words_seen.clone(), |seen, line: String| {
            let task = TaskContext::get().unwrap();
            assert!((task.partition_id(), task.attempt_number()) != (1, 0), "planned failure");
            let words: Vec<String> = line.split_whitespace().map(String::from).collect();
            seen.add(words.len() as i64);
            words
        })
        .map(|word| (word, 1u64))
        .reduce_by_key_into(2, |a, b| a + b)
        .cache()
        .set_name("counts");
    assert_eq!(counts.count().unwrap(), 6);
    sc.clear_job_group();
    sc.clear_job_tags();
    assert_eq!(counts.count().unwrap(), 6);
    assert_eq!(words_seen.value(), 8);
    let error = counts.map(|(word, n)| if n == 2 { panic!("no {word}") } else { n }).collect().unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    counts.unpersist(true).unwrap();
}

/// What the log says of each job: its result, its stages, and which of them ran.
struct Jobs {
    results: Vec<JobResult>,
    stages: Vec<Vec<StageInfo>>,
    submitted: Vec<BTreeSet<(u64, u32)>>,
    completed: Vec<StageInfo>,
}

fn jobs(events: &[Event]) -> Jobs {
    let mut jobs = Jobs { results: vec![], stages: vec![], submitted: vec![], completed: vec![] };
    for event in events {
        match event {
            Event::JobStart(start) => {
                assert_eq!(start.job.0 as usize, jobs.stages.len());
                jobs.stages.push(start.stages.iter().map(|stage| StageInfo::clone(stage)).collect());
                jobs.submitted.push(BTreeSet::new());
            }
            Event::StageSubmitted(s) => {
                jobs.submitted.last_mut().unwrap().insert((s.stage.id.0, s.stage.attempt.0));
            }
            Event::StageCompleted(s) => jobs.completed.push(s.stage.clone()),
            Event::JobEnd(end) => jobs.results.push(end.result.clone()),
            _ => {}
        }
    }
    jobs
}

#[test]
fn what_ran_what_was_skipped_and_what_failed_can_be_read_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let sc = logging(folder.path(), "local[2,2]").build().unwrap();
    let id = sc.application_id().to_string();
    small_program(&sc);
    assert_eq!(files(folder.path()), [format!("{id}.inprogress")]);
    sc.stop().unwrap();
    assert_eq!(files(folder.path()), [id.as_str()]);
    let events = read(&folder.path().join(&id));

    let names: Vec<&str> = events.iter().map(Event::name).collect();
    let start = [
        "SparkListenerLogStart",
        "SparkListenerResourceProfileAdded",
        "SparkListenerBlockManagerAdded",
        "SparkListenerEnvironmentUpdate",
        "SparkListenerApplicationStart",
        "SparkListenerExecutorAdded",
        "SparkListenerJobStart",
    ];
    assert_eq!(names[..start.len()], start);
    assert_eq!(names.last(), Some(&"SparkListenerApplicationEnd"));
    assert!(!names.contains(&"SparkListenerBlockUpdated"));
    assert!(names.contains(&"SparkListenerUnpersistRDD"));
    let Event::ApplicationStart(application) = &events[4] else { unreachable!() };
    assert_eq!((&*application.name, &*application.id), ("A small program", id.as_str()));
    let Event::EnvironmentUpdate(environment) = &events[3] else { unreachable!() };
    assert_eq!(environment.properties["spark.master"], "local[2,2]");
    assert_eq!(environment.properties["spark.eventLog.enabled"], "true");

    let jobs = jobs(&events);
    assert!(jobs.results[..2].iter().all(|result| matches!(result, JobResult::Succeeded)));
    let JobResult::Failed { error } = &jobs.results[2] else { panic!("the last job failed") };
    assert!(error.message.contains("panicked at") && error.message.contains("failed 2 times"), "{}", error.message);
    assert_eq!(jobs.results.len(), 3);

    // The map stage is in all three, and ran in the first only.
    let map = jobs.stages[0][0].id;
    let ids = |job: usize| jobs.stages[job].iter().map(|stage| stage.id).collect::<BTreeSet<_>>();
    assert!((0..3).all(|job| jobs.stages[job].len() == 2 && ids(job).contains(&map)));
    let ran = |job: usize| jobs.submitted[job].iter().map(|(stage, _)| *stage).collect::<BTreeSet<_>>();
    assert!(ran(0).contains(&map.0) && ran(0).len() == 2);
    assert_eq!((ran(1).len(), ran(2).len()), (1, 1));
    assert!(!ran(1).contains(&map.0) && !ran(2).contains(&map.0));
    // A stage that is there already is listed as the attempt that would be its next.
    let attempts = |job: usize| jobs.stages[job].iter().find(|stage| stage.id == map).unwrap().attempt.0;
    assert_eq!((attempts(0), attempts(1), attempts(2)), (0, 1, 1));
    let first = &jobs.stages[0][0];
    let last = jobs.stages[0].iter().find(|stage| stage.id != map).unwrap();
    assert_eq!((first.tasks, last.tasks), (3, 2));
    assert_eq!((&*first.parents, &*last.parents), (&[][..], &[map][..]));
    assert!(first.name.starts_with("map at event_log.rs:"), "{}", first.name);
    assert!(last.name.starts_with("count at event_log.rs:"), "{}", last.name);
    let rdds = |stage: &StageInfo| stage.rdds.iter().map(|rdd| rdd.name.to_string()).collect::<Vec<_>>();
    assert_eq!(rdds(first), ["MapPartitionsRDD", "MapPartitionsRDD", "lines"]);
    assert_eq!(rdds(last)[0], "counts");
    assert_eq!(last.rdds[0].level, StorageLevel::MEMORY_ONLY);
    assert!(last.rdds.iter().all(|rdd| rdd.partitions == 2) && first.rdds.iter().all(|rdd| rdd.partitions == 3));

    // The task that failed was tried again; only what counts is counted.
    let ends: Vec<_> =
        events.iter().filter_map(|event| if let Event::TaskEnd(end) = event { Some(end) } else { None }).collect();
    let of_map: Vec<_> = ends.iter().filter(|end| end.stage == map).collect();
    assert_eq!(of_map.len(), 4);
    assert!(of_map.iter().all(|end| end.task_type == TaskType::ShuffleMap));
    let failed: Vec<_> = of_map.iter().filter(|end| end.task.failed).collect();
    let [failed] = failed[..] else { panic!("one attempt failed") };
    assert_eq!((failed.task.index, failed.task.attempt), (1, 0));
    let TaskEndReason::ExceptionFailure(why) = &failed.reason else { panic!("{:?}", failed.reason) };
    assert!(why.description.ends_with("planned failure"), "{}", why.description);
    let again = of_map.iter().find(|end| end.task.index == 1 && !end.task.failed).unwrap();
    assert_eq!(again.task.attempt, 1);
    let seen = |accumulables: &[firesteel::events::event::AccumulableInfo]| {
        let named = accumulables.iter().find(|a| a.name.as_deref() == Some("words seen"));
        named.map(|a| (a.update.clone(), a.value.clone()))
    };
    let text = |text: &str| Some(AccumulableValue::Text(text.into()));
    assert_eq!(seen(&again.task.accumulables).unwrap().0, text("2"));
    assert_eq!(seen(&failed.task.accumulables), None);
    let map_end = jobs.completed.iter().find(|stage| stage.id == map).unwrap();
    assert_eq!(seen(&map_end.accumulables), Some((None, text("8"))));
    let total = |stage: &StageInfo, name: &str| {
        let found = stage.accumulables.iter().find(|a| a.name.as_deref() == Some(name));
        found.unwrap_or_else(|| panic!("no {name}: {:?}", stage.accumulables)).value.clone()
    };
    let written = "internal.metrics.shuffle.write.recordsWritten";
    let read = "internal.metrics.shuffle.read.recordsRead";
    assert_eq!(total(map_end, written), Some(AccumulableValue::Number(8)));
    let first_end = jobs.completed.iter().find(|stage| stage.id == last.id).unwrap();
    assert_eq!(total(first_end, read), Some(AccumulableValue::Number(8)));
    assert!(first_end.submitted.is_some() && first_end.completed >= first_end.submitted);
    assert_eq!(first_end.failure_reason, None);
    let failed_end = jobs.completed.last().unwrap();
    assert!(failed_end.failure_reason.as_deref().unwrap().contains("panicked at"), "{:?}", failed_end.failure_reason);

    // Secrets are not in it, the group and its kin are.
    let Some(Event::JobStart(start)) = events.iter().find(|event| matches!(event, Event::JobStart(_))) else {
        panic!()
    };
    let property = |key: &str| start.properties[key].as_str();
    assert_eq!(property("spark.jobGroup.id"), "wc");
    assert_eq!(property("spark.job.description"), "word count group");
    assert_eq!(property("spark.job.tags"), "tagA");
    assert_eq!(property("my.password"), "*********(redacted)");
}

/// The keys of an object, below each other, as `a/b`; lists are looked at by their first element.
fn keys(prefix: &str, value: &Value, all: &mut BTreeSet<String>) {
    // What stands in these is named by the program or the machine.
    const FREE: [&str; 8] = [
        "Properties",
        "Spark Properties",
        "System Properties",
        "Hadoop Properties",
        "Metrics Properties",
        "Classpath Entries",
        "JVM Information",
        "Log Urls",
    ];
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                all.insert(format!("{prefix}/{key}"));
                if !FREE.contains(&key.as_str()) {
                    keys(&format!("{prefix}/{key}"), value, all);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(&format!("{prefix}[]"), value, all)),
        _ => {}
    }
}

/// Spark's own lines, by the event and what tells its kinds apart.
fn examples() -> BTreeMap<String, BTreeSet<String>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../firesteel-events/tests/data");
    let mut examples: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        keys("", &line, examples.entry(kind(&line)).or_default());
    }
    examples
}

fn kind(line: &Value) -> String {
    let event = line["Event"].as_str().unwrap();
    let reason = line["Task End Reason"]["Reason"].as_str().or(line["Job Result"]["Result"].as_str());
    format!("{event} {}", reason.unwrap_or_default())
}

#[test]
fn its_lines_have_the_fields_of_sparks() {
    let folder = tempfile::tempdir().unwrap();
    let sc = logging(folder.path(), "local[2,2]").conf("spark.eventLog.logBlockUpdates.enabled", true).build().unwrap();
    let path = folder.path().join(sc.application_id());
    small_program(&sc);
    sc.stop().unwrap();

    let examples = examples();
    let mut compared = BTreeSet::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (kind, mut ours) = (kind(&line), BTreeSet::new());
        keys("", &line, &mut ours);
        let spark = examples.get(&kind).unwrap_or_else(|| panic!("Spark has no {kind}"));
        // Lists may be empty in one line and not in another, and times are there when they are known; what both have in a list of
        // accumulables or stack frames is compared where both have one.
        let is_optional =
            |key: &&String| key.contains("[]") || key.ends_with("/Submission Time") || key.ends_with("/Failure Reason");
        let beyond: Vec<_> = ours.difference(spark).filter(|key| *key != "/Firesteel Version").collect();
        let hollow = |key: &&String| {
            let list = key.rsplit_once("[]").map(|(list, _)| format!("{list}[]"));
            list.is_some_and(|list| !spark.iter().any(|key| key.starts_with(&list)))
        };
        let beyond: Vec<_> = beyond.into_iter().filter(|key| !hollow(key)).collect();
        assert!(beyond.is_empty(), "{kind}: Spark has no {beyond:?}");
        let missing: Vec<_> = spark.difference(&ours).filter(|key| !is_optional(key)).collect();
        let known = |key: &&&String| {
            // Of an executor of threads there is no log; off-heap memory is the JVM's.
            !key.contains("/offHeap") && !key.starts_with("/Executor Resource Requests/cores")
        };
        let missing: Vec<_> = missing.into_iter().filter(|key| known(&key)).collect();
        assert!(missing.is_empty(), "{kind}: {missing:?} are missing");
        compared.insert(kind);
    }
    // The last job's other task may have been told to stop in time, or not.
    compared.remove("SparkListenerTaskEnd TaskKilled");
    let compared: Vec<&str> = compared.iter().map(|kind| kind.trim_start_matches("SparkListener").trim()).collect();
    assert_eq!(
        compared,
        [
            "ApplicationEnd",
            "ApplicationStart",
            "BlockManagerAdded",
            "BlockUpdated",
            "EnvironmentUpdate",
            "ExecutorAdded",
            "JobEnd JobFailed",
            "JobEnd JobSucceeded",
            "JobStart",
            "LogStart",
            "ResourceProfileAdded",
            "StageCompleted",
            "StageSubmitted",
            "TaskEnd ExceptionFailure",
            "TaskEnd Success",
            "TaskStart",
            "UnpersistRDD",
        ]
    );
}

#[test]
fn blocks_are_in_it_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let sc =
        logging(folder.path(), "local[2]").conf("firesteel.eventLog.logBlockUpdates.enabled", true).build().unwrap();
    let path = folder.path().join(sc.application_id());
    let kept = sc.range_n(0..10, 2).cache();
    kept.count().unwrap();
    kept.count().unwrap();
    sc.stop().unwrap();
    let mut blocks: Vec<_> = read(&path)
        .into_iter()
        .filter_map(|event| if let Event::BlockUpdated(updated) = event { Some(updated.info) } else { None })
        .map(|info| (info.block, info.level, info.memory > 0, info.disk))
        .collect();
    blocks.sort_by(|a, b| a.0.cmp(&b.0));
    let block = |name: &str| (name.to_string(), StorageLevel::MEMORY_ONLY, true, 0);
    assert_eq!(blocks, [block("rdd_1_0"), block("rdd_1_1")]);
}

#[test]
fn it_is_closed_when_the_last_handle_goes() {
    let folder = tempfile::tempdir().unwrap();
    let sc = logging(folder.path(), "local[2]").build().unwrap();
    let id = sc.application_id().to_string();
    let numbers = sc.range(0..10).map(|x| x + 1);
    numbers.count().unwrap();
    drop(sc);
    assert_eq!(files(folder.path()), [format!("{id}.inprogress")], "an RDD holds the context");
    drop(numbers);
    assert_eq!(files(folder.path()), [id.as_str()]);
    assert!(matches!(read(&folder.path().join(id)).last(), Some(Event::ApplicationEnd(_))));
}

#[test]
fn whoever_stops_a_context_finds_it_closed() {
    let folder = tempfile::tempdir().unwrap();
    let sc = logging(folder.path(), "local[2]").build().unwrap();
    sc.range(0..10).count().unwrap();
    let id = sc.application_id();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                sc.stop().unwrap();
                assert_eq!(files(folder.path()), [id]);
            });
        }
    });
}

#[test]
fn a_folder_that_does_not_exist_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = logging(&missing, "local").build().map(drop).unwrap_err();
    assert!(error.to_string().contains("missing does not exist"), "{error}");
    // Nothing is written without being asked for.
    drop(local("local[1]"));
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_log_that_is_lost_is_told_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let sc = Context::builder()
        .master("local[2]")
        .conf("firesteel.eventLog.enabled", true)
        .conf("firesteel.eventLog.dir", logs.display())
        .build()
        .unwrap();
    sc.range(0..10).count().unwrap();
    fs::remove_dir_all(&logs).unwrap();
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
    let error = sc.stop().unwrap_err().to_string();
    assert!(error.contains("finish the event log") && error.contains("logs"), "{error}");
    sc.stop().unwrap();
}
