//! Settings, masters, pools and event logs.

#![no_main]

use firesteel_events::LogReader;
use firesteel_model::conf::{ByteSize, Master, PoolConfig, Value, fuzzing};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|bytes: &[u8]| {
    for event in LogReader::new(bytes, "a log") {
        drop(event);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    fuzzing::settings(text);
    let _ = Master::parse(text);
    let _ = ByteSize::parse(text);
    let _ = Duration::parse(text);
    let _ = PoolConfig::parse_all(text);
});
