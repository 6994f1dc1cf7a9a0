//! Whole programs with `#[firesteel::main]`: what is written, to where, and what is left when they end well, badly, or in a panic.
//!
//! This test is itself such a program. Without a name in its environment it calls itself, once for each program below, and
//! looks at what that did.

use firesteel::prelude::*;
use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
    sync::OnceLock,
};

/// Says which program to be.
const NAME: &str = "FIRESTEEL_TEST_PROGRAM";

#[firesteel::main]
fn main() -> Result<()> {
    match env::var(NAME) {
        Ok(name) => program(&name),
        Err(_) => {
            checks();
            Ok(())
        }
    }
}

/// A context that `main` forgets, as statics do.
fn forgotten() -> Result<&'static Context> {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    let sc = Context::new()?;
    Ok(CONTEXT.get_or_init(|| sc))
}

fn program(name: &str) -> Result<()> {
    match name {
        "succeeds" => println!("{}", forgotten()?.range_n(0..10, 2).count()?),
        "fails" => println!("{}", forgotten()?.range_n(0..10, 2).map(|x| 12 / (x - 7)).count()?),
        "panics" => {
            forgotten()?.range_n(0..10, 2).count()?;
            panic!("the driver's own mistake");
        }
        "logs" => {
            let sc = Context::builder().conf("firesteel.nosuch.key", 1).build()?;
            tracing::info!("information from the program");
            tracing::warn!(user = "Ada", "a warning from the program");
            sc.set_log_level("error")?;
            tracing::warn!("a warning that nobody wants");
            tracing::error!("an error from the program");
            sc.set_log_level("OFF")?;
            tracing::error!("an error that nobody wants");
        }
        name => panic!("there is no program {name}"),
    }
    Ok(())
}

/// Runs a program with an event log in `folder`.
fn run(name: &str, folder: &Path, conf: &str) -> Output {
    let log = format!("firesteel.eventLog.enabled=true\nfiresteel.eventLog.dir={}\n{conf}", folder.display());
    let mut command = Command::new(env::current_exe().expect("a path"));
    command.env(NAME, name).env("FIRESTEEL_MASTER", "local[1]").env("FIRESTEEL_CONF", log).env_remove("RUST_BACKTRACE");
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// The one finished event log of a folder.
fn finished_log(folder: &Path) -> String {
    let names: Vec<_> = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    let [log] = &names[..] else { panic!("one log, not {names:?}") };
    assert_eq!(log.extension(), None, "the log is finished");
    let text = fs::read_to_string(log).expect("a log");
    assert!(text.lines().last().is_some_and(|line| line.contains("SparkListenerApplicationEnd")), "{text}");
    text
}

fn checks() {
    type Check = fn(&Path);
    let checks: [(&str, Check); 4] = [
        ("success_is_quiet_and_closes_the_log", |folder| {
            let output = run("succeeds", folder, "");
            assert_eq!((output.status.code(), text(&output.stdout), text(&output.stderr)), (Some(0), "10\n", ""));
            assert!(finished_log(folder).contains("\"JobSucceeded\""));
        }),
        ("a_failure_is_told_and_the_log_closed", |folder| {
            let output = run("fails", folder, "");
            let told = text(&output.stderr);
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
            // The summary, as a line of the log, then the error that `main` returned. No terminal, so no progress bar.
            let (summary, error) = told.split_once("Error: ").expect("an error");
            assert!(summary.contains(" ERROR job 0 failed (count at main.rs:"), "{told}");
            assert!(summary.contains("\n  cause     panicked at ") && !told.contains('\r'), "{told}");
            assert!(error.starts_with("job 0 failed: task 0 of stage 0 failed 1 times"), "{told}");
            assert!(error.ends_with("attempt to subtract with overflow\n") && !told.contains("thread '"), "{told}");
            assert!(finished_log(folder).contains("\"JobFailed\""));
        }),
        ("a_panic_is_told_and_the_log_closed", |folder| {
            let output = run("panics", folder, "");
            assert_eq!(output.status.code(), Some(101));
            assert!(text(&output.stderr).contains("the driver's own mistake"), "{}", text(&output.stderr));
            assert!(finished_log(folder).contains("\"JobSucceeded\""));
        }),
        ("warnings_and_errors_are_shown_and_levels_are_obeyed", |folder| {
            let told = run("logs", folder, "").stderr;
            let lines: Vec<&str> = text(&told).lines().collect();
            let [unknown, warning, error] = lines[..] else { panic!("{lines:?}") };
            assert!(unknown.contains(" WARN ") && unknown.contains("firesteel.nosuch.key"), "{unknown}");
            assert!(warning.ends_with(" WARN a warning from the program user=\"Ada\""), "{warning}");
            assert!(error.ends_with(" ERROR an error from the program"), "{error}");
            // `26/11/21 03:34:42`
            let shape: String = error[..17].chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "00/00/00 00:00:00");

            let folder = &folder.join("quiet");
            fs::create_dir(folder).expect("a folder");
            let told = run("logs", folder, "firesteel.log.level=ERROR\n").stderr;
            assert_eq!(text(&told).lines().count(), 1, "{}", text(&told));
            let told = run("logs", folder, "firesteel.log.level=info\n").stderr;
            assert!(text(&told).contains(" INFO information from the program"), "{}", text(&told));
        }),
    ];
    for (name, check) in checks {
        let folder = tempfile::tempdir().expect("a folder");
        check(folder.path());
        println!("test {name} ... ok");
    }
}
