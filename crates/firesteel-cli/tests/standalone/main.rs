//! The command and real clusters: programs get their answers, also while masters, workers, executors and drivers are killed.
//!
//! Its own harness, because it submits itself: `cargo test -p firesteel-cli --test standalone [part of a name]`.

mod ground;
mod program;

use ground::{Ground, alive, kill, until};
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

fn a_program_runs_on_the_workers_and_leaves_only_logs() {
    let ground = Ground::new(2, &[]);
    let here = ground.submit(&["--master", "local[2]"], &["answers"]).ends();
    let there = ground.submit(&["--master", &ground.url()], &["answers"]).ends();
    assert_eq!((here.code, there.code), (Some(0), Some(0)), "{}{}", here.stderr, there.stderr);
    // Here tasks print where the driver does.
    assert_eq!(here.stdout, format!("{}{}", there.stdout, "printed by a task\n".repeat(2)));
    let logs = ground.logs("stdout");
    assert!(logs.contains("printed by a task"), "{logs}");
    let left = ground.scratch();
    assert!(left.iter().all(|path| path.ends_with("lock")), "{left:?}");
}

fn settings_reach_the_program_and_code_wins() {
    let ground = Ground::new(1, &[]);
    let file = ground.path("settings.conf");
    fs::write(&file, "spark.my.first file\nspark.my.second file\nspark.my.third file\nspark.my.fourth file\n").unwrap();
    let file = file.display().to_string();
    let flags = ["--master", "local[1]", "--properties-file", &file, "-c", "spark.my.second=flag"];
    let mut command = ground.submitting(&flags, &["settings"]);
    command.env("FIRESTEEL_CONF", "firesteel.my.second=environment\nfiresteel.my.third=environment");
    let shown = ground.run(command).ends().stdout;
    assert_eq!(shown, "first=file\nsecond=flag\nthird=environment\nfourth=code\n");
}

fn files_reach_tasks_in_both_modes() {
    let ground = Ground::new(2, &[]);
    let words = ground.path("words.txt");
    fs::write(&words, "fire\nsteel\n").unwrap();
    let words = words.display().to_string();
    let ended = ground.submit(&["--master", &ground.url(), "--files", &words], &["files"]).ends();
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "fire\nsteel\n"), "{}", ended.stderr);
    let id = ground.submit_to_cluster(&["--files", &words], &["files"]);
    assert_eq!(ground.driver_ends(&id), "FINISHED");
    assert_eq!(ground.driver_prints(&id), "fire\nsteel\n");
}

fn two_programs_share_a_cluster() {
    let ground = Ground::new(2, &[]);
    let first = ground.submit(&["--master", &ground.url(), "--total-executor-cores", "1"], &["waits", "first", "1"]);
    ground.started("first", 1);
    let second = ground.submit(&["--master", &ground.url(), "--total-executor-cores", "1"], &["waits", "second", "1"]);
    ground.started("second", 1);
    // A third one waits until one of them has ended.
    let third = ground.submit(&["--master", &ground.url()], &["waits", "third", "1"]);
    until("the third is told that it waits", || ground.errors(&third).contains("others have them"));
    ground.go("first");
    assert_eq!(first.ends().code, Some(0));
    ground.started("third", 1);
    ground.go("third");
    assert_eq!(third.ends().code, Some(0));
    ground.go("second");
    assert_eq!(second.ends().code, Some(0));
}

fn a_killed_worker_takes_its_executor_along_and_the_answer_is_right() {
    let mut ground = Ground::new(2, &[]);
    let running = ground.submit(&["--master", &ground.url()], &["waits", "job", "4"]);
    let pids = ground.started("job", 2);
    ground.kill_worker(0);
    until("its executor is gone", || pids.iter().filter(|pid| alive(**pid)).count() == 1);
    ground.go("job");
    let ended = running.ends();
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "the sum is 10\n"), "{}", ended.stderr);
}

fn what_a_killed_worker_and_its_executor_leave_is_removed_by_the_next() {
    let mut ground = Ground::new(1, &[]);
    let running = ground.submit(&["--master", &ground.url()], &["waits", "job", "2"]);
    let orphan = ground.started("job", 1)[0];
    let folders = || ground.scratch_folders().into_iter().filter(|name| name.starts_with("firesteel-worker-"));
    let left = folders().next().unwrap();
    ground.kill_worker(0);
    assert!(ground.scratch_folders().contains(&left), "nobody has removed it");
    // The executor goes on for a moment, in which it works and the next worker tidies up.
    ground.go("job");
    ground.start_worker(0);
    let ended = running.ends();
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "the sum is 3\n"), "{}", ended.stderr);
    until("it is gone", || !alive(orphan));
    ground.end_worker(0);
    assert!(ground.scratch_folders().is_empty(), "{:?}", ground.scratch_folders());
}

fn a_killed_master_disturbs_no_job_and_the_next_one_knows_what_runs() {
    let mut ground = Ground::new(2, &[]);
    let supervised =
        ground.submit_to_cluster(&["--supervise", "-c", "firesteel.cores.max=1"], &["waits", "driver", "1"]);
    ground.started("driver", 1);
    ground.kill_master();
    ground.start_master();
    ground.go("driver");
    assert_eq!(ground.driver_ends(&supervised), "FINISHED");
    let running = ground.submit(&["--master", &ground.url()], &["waits", "job", "4"]);
    let pids = ground.started("job", 2);
    ground.kill_master();
    // A job that begins and ends without a master.
    ground.go("job");
    let ended = running.ends();
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "the sum is 10\n"), "{}", ended.stderr);
    until("its executors are gone", || !pids.iter().any(|pid| alive(*pid)));
    ground.start_master();
    let next = ground.submit(&["--master", &ground.url()], &["answers"]).ends();
    assert_eq!(next.code, Some(0), "{}", next.stderr);
}

fn a_master_that_stood_still_takes_nobody_for_lost() {
    let ground = Ground::new(2, &["--conf", "firesteel.worker.timeout=4"]);
    let flags = ["--master", &ground.url(), "-c", "firesteel.log.level=INFO"];
    let running = ground.submit(&flags, &["waits", "job", "2"]);
    let pids = ground.started("job", 2);
    ground.stop_master();
    let stopped = Instant::now();
    until("it is taken for dead", || stopped.elapsed() > Duration::from_secs(8));
    ground.continue_master();
    until("all are back", || ground.errors(&running).contains("the master is back"));
    // Time in which whoever was lost would be told so.
    let (back, both) = (Instant::now(), || pids.iter().all(|pid| alive(*pid)));
    until("nobody is lost", || {
        assert!(both(), "{}", ground.errors(&running));
        back.elapsed() > Duration::from_secs(6)
    });
    ground.go("job");
    assert_eq!(running.ends().code, Some(0));
}

fn a_killed_driver_leaves_no_executor() {
    let ground = Ground::new(2, &[]);
    let running = ground.submit(&["--master", &ground.url()], &["waits", "job", "2"]);
    let pids = ground.started("job", 2);
    kill(running.pid());
    until("its executors are gone", || !pids.iter().any(|pid| alive(*pid)));
    // Others have the workers now.
    let next = ground.submit(&["--master", &ground.url()], &["answers"]).ends();
    assert_eq!(next.code, Some(0), "{}", next.stderr);
}

fn a_supervised_driver_starts_again_and_is_ended_by_id() {
    let ground = Ground::new(2, &[]);
    let id = ground.submit_to_cluster(&["--supervise", "-c", "firesteel.cores.max=1"], &["waits", "job", "1"]);
    let first = ground.started("job", 1);
    let driver = ground.driver_of("job");
    kill(driver);
    until("it starts again", || ground.started("job", 1) != first && ground.driver_of("job") != driver);
    let shown = ground.asks(&["--status", &id]);
    assert!(shown.stdout.contains("RUNNING"), "{}", shown.stdout);
    assert_eq!(ground.asks(&["--kill", &id]).code, Some(0));
    assert_eq!(ground.driver_ends(&id), "KILLED");
    let next = ground.driver_of("job");
    until("it is gone", || !alive(next));
    let again = ground.asks(&["--kill", &id]);
    assert!(again.code == Some(1) && again.stderr.contains("KILLED"), "{}", again.stderr);
}

fn a_job_that_no_worker_can_run_ends_with_the_reason() {
    let ground = Ground::new(1, &[]);
    let flags = ["--master", &ground.url(), "--executor-memory", "900g", "-c", "firesteel.executor.wait=1s"];
    let ended = ground.submit(&flags, &["answers"]).ends();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("921600 MiB") && ended.stderr.contains("firesteel.executor.memory"),
        "{}",
        ended.stderr
    );
    let ended = ground.submit(&["--master", "firesteel://127.0.0.1:1"], &["answers"]).ends();
    assert!(ended.code == Some(1) && ended.stderr.contains("127.0.0.1:1"), "{}", ended.stderr);
}

fn beyond_loopback_a_secret_is_needed_and_does() {
    let ground = Ground::new(0, &[]);
    let refused = ground.command(&["master", "--host", "0.0.0.0", "--port", "0"]).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && why.contains("firesteel.authenticate.secret"), "{why}");
    let file = ground.path("secret");
    fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    Command::new("chmod").arg("600").arg(&file).status().unwrap();
    let secret = format!("firesteel.authenticate.secret.file={}", file.display());
    let guarded = Ground::new(2, &["--conf", &secret]);
    let stranger = guarded.submit(&["--master", &guarded.url()], &["answers"]).ends();
    assert!(stranger.code == Some(1) && stranger.stderr.contains("secret"), "{}", stranger.stderr);
    let friend = guarded.submit(&["--master", &guarded.url(), "-c", &secret], &["answers"]).ends();
    assert_eq!(friend.code, Some(0), "{}", friend.stderr);
    let shown = guarded
        .submit(&["--master", &guarded.url(), "-c", "firesteel.authenticate.secret=0123456789abcdef"], &["answers"]);
    assert!(shown.ends().stderr.contains("can be read by everybody"));
}

fn nonsense_is_answered_with_what_makes_sense() {
    let ground = Ground::new(0, &[]);
    let said = |args: &[&str]| {
        let output = ground.command(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let here = std::env::current_exe().unwrap().display().to_string();
    for (args, code, words) in [
        (&["submit"][..], 2, "PROGRAM"),
        (&["submit", "--deploy-mode", "moon", "x"], 2, "cluster"),
        (&["submit", "--conf", "nonsense", &here], 1, "KEY=VALUE"),
        (&["submit", "--executor-memory", "much", &here], 1, "firesteel.executor.memory"),
        (&["submit", "/nowhere/program"], 1, "/nowhere/program"),
        (&["submit", "Cargo.toml"], 1, "cargo build"),
        (&["submit", "--status", "driver-1"], 1, "--master"),
        (&["submit", "--master", "local[2]", "--status", "driver-1"], 1, "firesteel://"),
        (&["submit", "--master", "firesteel://127.0.0.1:1", "--status", "../x"], 1, "../x"),
        (&["worker", "http://h:1"], 1, "http://h:1"),
        (&["worker", "firesteel://h:1", "--memory", "3"], 2, "1m"),
        (&["master", "--conf", "firesteel.deploy.recoveryMode=MAGIC"], 1, "FILESYSTEM"),
        (&["fly"], 2, "fly"),
    ] {
        let (found, text) = said(args);
        assert!(found == Some(code) && text.contains(words), "{args:?}: {found:?} {text}");
    }
}

const TESTS: &[(&str, fn())] = &[
    ("a_program_runs_on_the_workers_and_leaves_only_logs", a_program_runs_on_the_workers_and_leaves_only_logs),
    ("settings_reach_the_program_and_code_wins", settings_reach_the_program_and_code_wins),
    ("files_reach_tasks_in_both_modes", files_reach_tasks_in_both_modes),
    ("two_programs_share_a_cluster", two_programs_share_a_cluster),
    (
        "a_killed_worker_takes_its_executor_along_and_the_answer_is_right",
        a_killed_worker_takes_its_executor_along_and_the_answer_is_right,
    ),
    (
        "what_a_killed_worker_and_its_executor_leave_is_removed_by_the_next",
        what_a_killed_worker_and_its_executor_leave_is_removed_by_the_next,
    ),
    (
        "a_killed_master_disturbs_no_job_and_the_next_one_knows_what_runs",
        a_killed_master_disturbs_no_job_and_the_next_one_knows_what_runs,
    ),
    ("a_master_that_stood_still_takes_nobody_for_lost", a_master_that_stood_still_takes_nobody_for_lost),
    ("a_killed_driver_leaves_no_executor", a_killed_driver_leaves_no_executor),
    ("a_supervised_driver_starts_again_and_is_ended_by_id", a_supervised_driver_starts_again_and_is_ended_by_id),
    ("a_job_that_no_worker_can_run_ends_with_the_reason", a_job_that_no_worker_can_run_ends_with_the_reason),
    ("beyond_loopback_a_secret_is_needed_and_does", beyond_loopback_a_secret_is_needed_and_does),
    ("nonsense_is_answered_with_what_makes_sense", nonsense_is_answered_with_what_makes_sense),
];

#[firesteel::main]
fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((program::FLAG, rest)) = arguments.split_first().map(|(first, rest)| (&**first, rest)) {
        return program::run(rest).map_err(|e| e.to_string());
    }
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(&***part));
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        let begun = Instant::now();
        let ended = std::panic::catch_unwind(test);
        failed += u32::from(ended.is_err());
        let word = if ended.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({:.1} s)", begun.elapsed().as_secs_f64());
    }
    if failed > 0 { Err(format!("{failed} tests failed")) } else { Ok(()) }
}
