//! Lines of real event logs of Spark 4.3.0 (`tests/data`) are read, and written again as they were.

use firesteel_events::{Event, event::EXECUTOR_METRICS};
use serde::{
    Deserialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use std::fmt;

/// JSON with the order of its keys.
#[derive(Debug, PartialEq)]
enum Json {
    Object(Vec<(String, Json)>),
    List(Vec<Json>),
    Leaf(String),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, v: bool) -> Result<Json, E> {
                Ok(Json::Leaf(v.to_string()))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Json, E> {
                Ok(Json::Leaf(v.to_string()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Json, E> {
                Ok(Json::Leaf(v.to_string()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Json, E> {
                Ok(Json::Leaf(format!("{v:?}")))
            }
            fn visit_str<E>(self, v: &str) -> Result<Json, E> {
                Ok(Json::Leaf(format!("{v:?}")))
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Leaf("null".into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut out = Vec::new();
                while let Some(v) = seq.next_element()? {
                    out.push(v);
                }
                Ok(Json::List(out))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut out = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    out.push(entry);
                }
                Ok(Json::Object(out))
            }
        }
        d.deserialize_any(V)
    }
}

/// Maps whose keys are data: their order means nothing.
const MAPS: [&str; 9] = [
    "Properties",
    "JVM Information",
    "Spark Properties",
    "Hadoop Properties",
    "System Properties",
    "Metrics Properties",
    "Classpath Entries",
    "Executor Resource Requests",
    "Log Urls",
];

/// What Spark measures and Firesteel has no word for.
const LOST: [&str; 2] = ["JVM GC Time", "Remote Requests Duration"];

fn normalised(json: Json) -> Json {
    match json {
        Json::Object(mut entries) => {
            for (key, value) in &mut entries {
                if LOST.contains(&key.as_str()) {
                    *value = Json::Leaf("lost".into());
                }
                if MAPS.contains(&key.as_str())
                    && let Json::Object(map) = value
                {
                    map.sort_by(|a, b| a.0.cmp(&b.0));
                }
            }
            Json::Object(entries.into_iter().map(|(k, v)| (k, normalised(v))).collect())
        }
        Json::List(items) => Json::List(items.into_iter().map(normalised).collect()),
        leaf => leaf,
    }
}

fn examples() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let name = |p: &std::path::Path| p.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|p| (name(p), std::fs::read_to_string(p).unwrap())).collect()
}

#[test]
fn every_example_is_read_and_written_again_with_the_same_fields_in_the_same_order() {
    let examples = examples();
    assert_eq!(examples.len(), 36);
    let mut known = 0;
    for (file, text) in examples {
        let event = Event::from_json(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        // Spark writes exclusions twice, the older name second; other events it has for SQL alone.
        let skipped = file.contains("Blacklisted") || file.contains("Unblacklisted") || file.contains("DriverAccum");
        assert_eq!(event.is_none(), skipped, "{file}");
        let Some(event) = event else { continue };
        known += 1;
        let written = event.to_json();
        let expected: Json = serde_json::from_str(&text).unwrap();
        let actual: Json = serde_json::from_str(&written).unwrap();
        assert_eq!(normalised(actual), normalised(expected), "{file}");
        assert_eq!(Event::from_json(&written).unwrap(), Some(event), "{file}");
        assert!(!written.contains('\n'), "{file}");
    }
    assert_eq!(known, 31);
}

#[test]
fn an_event_names_itself_as_its_line_does() {
    for (file, text) in examples() {
        if let Some(event) = Event::from_json(&text).unwrap() {
            assert!(text.contains(&format!("\"Event\": \"{}\"", event.name())), "{file}");
        }
    }
}

#[test]
fn executor_metrics_are_the_examples_own() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/SparkListenerExecutorMetricsUpdate.json"
    ))
    .unwrap();
    let Some(Event::ExecutorMetricsUpdate(update)) = Event::from_json(&text).unwrap() else { panic!("{text}") };
    assert_eq!(update.peaks[0].stage, None);
    assert_eq!(update.peaks[0].metrics.get("JVMHeapMemory"), Some(255_731_056));
    assert!(EXECUTOR_METRICS.iter().all(|m| update.peaks[0].metrics.get(m).is_some()));
}

#[test]
fn lines_that_are_no_events_are_errors_that_say_where() {
    for line in ["", "{", "[]", "{}", r#"{"Event":7}"#, r#"{"Event":"SparkListenerJobEnd","Job ID":0}"#] {
        assert!(Event::from_json(line).is_err(), "{line}");
    }
    let error = Event::from_json(r#"{"Event":"SparkListenerUnpersistRDD","RDD ID":-1}"#).unwrap_err().to_string();
    assert!(error.contains("column"), "{error}");
}

#[test]
fn deep_nesting_overflows_no_stack() {
    // What is not read is passed over in a loop.
    let line = format!(r#"{{"Event":"x","a":{}0{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(Event::from_json(&line).unwrap(), None);
    // What is read may nest 128 levels deep.
    let parents = format!("{}null{}", r#"{"id":"1","name":"n","parent":"#.repeat(100_000), "}".repeat(100_000));
    let level = r#"{"Use Disk":false,"Use Memory":false,"Deserialized":false,"Replication":1}"#;
    let rdd = serde_json::json!({"RDD ID": 1, "Name": "n", "Scope": parents, "Number of Partitions": 1});
    let rdd = rdd.to_string().replacen('{', &format!("{{\"Storage Level\":{level},"), 1);
    let line = format!(
        r#"{{"Event":"SparkListenerStageCompleted","Stage Info":{{"Stage ID":1,"Stage Name":"n","Number of Tasks":1,"RDD Info":[{rdd}]}}}}"#
    );
    let error = Event::from_json(&line).unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
    let reason = format!(r#"{{"Reason":"ExceptionFailure","Class Name":{}0{}}}"#, "[".repeat(200), "]".repeat(200));
    assert!(serde_json::from_str::<firesteel_events::event::TaskEndReason>(&reason).is_err());
}
