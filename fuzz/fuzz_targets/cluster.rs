//! Messages of master, workers, applications, submitters, shuffle services and those who fetch files, a line each, and what processes are told at
//! their start; and what a master, a worker and an application do when they are said to it.

#![no_main]

use firesteel_cluster::{
    client::state::ApplicationState,
    fuzzing,
    master::state::{ConnectionId, Event, Master, Rules, Saved},
    protocol::{
        Caller, FromApplication, FromSubmitter, FromWorker, ToApplication, ToSubmitter, ToWorker, WorkerDescription,
        decode,
    },
    worker::state::WorkerState,
};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|bytes: &[u8]| {
    let rules = Rules {
        stamp: "t".into(),
        default_cores: u32::MAX,
        spread_out: true,
        max_executor_retries: 3,
        worker_timeout: Duration::from_secs(60),
        faults: Default::default(),
    };
    let (mut master, mut now) = (Master::new(rules, Saved::default(), Duration::ZERO), Duration::ZERO);
    let id = "w0".to_string().try_into().expect("it is an id");
    let description = WorkerDescription { id, host: "h".into(), cores: 2, memory_mib: 4096 };
    let mut worker = WorkerState::new(description, Default::default());
    let mut application = ApplicationState::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = decode::<Caller>(line);
        if let Ok(message) = decode::<ToWorker>(line) {
            worker.hears(message);
        }
        if let Ok(message) = decode::<ToApplication>(line) {
            application.hears(message);
        }
        let _ = decode::<ToSubmitter>(line);
        let _ = decode::<Saved>(line);
        fuzzing::roles(line);
        fuzzing::files(line);
        fuzzing::shuffle_service(line);
        // The first byte says who speaks, and how much later.
        let Some((who, message)) = line.split_first() else { continue };
        now += Duration::from_millis(u64::from(who >> 4) * 500);
        let connection = ConnectionId(u64::from(who & 3));
        let event = match who & 12 {
            0 => decode::<FromWorker>(message).map(|message| Event::Worker(connection, message)),
            4 => decode::<FromApplication>(message)
                .map(|message| Event::Application(ConnectionId(connection.0 + 4), message)),
            8 => decode::<FromSubmitter>(message)
                .map(|message| Event::Submitter(ConnectionId(connection.0 + 8), message)),
            _ => Ok(Event::Disconnected(ConnectionId(u64::from(who & 3) + u64::from(message.len() as u32 % 3 * 4)))),
        };
        if let Ok(event) = event {
            master.handle(now, event);
        }
    }
});
