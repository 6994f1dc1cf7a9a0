//! Whole programs with `#[firesteel::main]`: what is written, to where, and what is left when they end well, badly, or in a panic.
//!
//! This test is itself such a program. Without a name in its environment it calls itself, once for each program below, and
//! looks at what that did.

use firesteel::prelude::*;
use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
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
        "has_a_hook" => {
            let sc = forgotten()?;
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                println!("the program's own hook");
                before(info);
            }));
            sc.range_n(0..10, 2).map(|x| 12 / (x - 7)).count()?;
        }
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
        "spills" => spills()?,
        "shuffles_widely" => {
            let numbers = Context::new()?.range_n(0..20_000, 2_000).map(|i| (i.wrapping_mul(0x9e37_79b9), i));
            let sums = numbers.reduce_by_key_into(2_000, |a, b| a + b).map_partitions(|pairs| {
                let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
                [pairs.fold((0, 0, open), |(count, sum, open), (_, i)| (count + 1, sum + i, open))]
            });
            let (count, sum, open) = sums.reduce(|a, b| (a.0 + b.0, a.1 + b.1, a.2.max(b.2)))?;
            println!("{count} {sum} {open}");
        }
        "is_killed" => {
            let sc = Context::new()?;
            let kept = noise(&sc).persist(StorageLevel::DISK_ONLY);
            kept.count()?;
            println!("ready");
            // Until the end comes from outside.
            std::io::stdin().read_line(&mut String::new())?;
        }
        name => panic!("there is no program {name}"),
    }
    Ok(())
}

/// Some 6 MB that do not get smaller by compression.
fn noise(sc: &Context) -> Rdd<(u64, Vec<u64>)> {
    let mixed = |i: u64| (i ^ (i >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    sc.range_n(0..10_000, 2).map_with(0, move |_, i| (mixed(i), (0..80).map(|j| mixed(i * 80 + j)).collect())).erase()
}

/// Goes to the disk in every way, while another thread has jobs that need none; prints what each way came to.
fn spills() -> Result<()> {
    let sc = Context::new()?;
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut jobs = 0;
            while jobs == 0 || !over.load(std::sync::atomic::Ordering::SeqCst) {
                let sevens = sc.range_n(0..1_000, 2).map(|i| (i % 7, 1)).reduce_by_key(|a, b| a + b);
                assert_eq!(sevens.count().expect("a job that needs no disk"), 7);
                jobs += 1;
            }
        });
        let ways: [(&str, fn(&Context) -> Result<u64>); 4] = [
            ("repartition", |sc| noise(sc).repartition(2).count()),
            ("sort", |sc| noise(sc).sort_by_key_n(true, 2).count()),
            ("group", |sc| noise(sc).group_by_key_into(2).count()),
            ("persist", |sc| noise(sc).persist(StorageLevel::DISK_ONLY).count()),
        ];
        for (what, run) in ways {
            match run(&sc) {
                Ok(count) => println!("{what}: {count}"),
                Err(e) => println!("{what}: {e}"),
            }
        }
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        others.join().expect("other jobs go on");
    });
    sc.stop()
}

/// Runs a program with an event log in `folder`.
fn run(name: &str, folder: &Path, conf: &str) -> Output {
    let log = format!("firesteel.eventLog.enabled=true\nfiresteel.eventLog.dir={}\n{conf}", folder.display());
    let mut command = Command::new(env::current_exe().expect("a path"));
    as_program(&mut command, name, &log).output().expect("the program runs")
}

fn as_program<'a>(command: &'a mut Command, name: &str, conf: &str) -> &'a mut Command {
    command.env(NAME, name).env("FIRESTEEL_MASTER", "local[1]").env("FIRESTEEL_CONF", conf).env_remove("RUST_BACKTRACE")
}

/// Runs `spills` with these scratch folders, of which `small` is a disk of one mebibyte, and lists what is left there.
///
/// A disk is mounted in namespaces of the program's own, which needs no rights on most systems. Where it does, there is none.
fn spill_to(small: &Path, folders: &str) -> Option<Output> {
    let mount = "mount -t tmpfs -o size=1m none \"$0\"";
    let in_namespaces = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script]).arg(small).arg(env::current_exe().expect("a path"));
        command
    };
    if !in_namespaces(mount).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let conf = format!("firesteel.memory.budget=1m\nfiresteel.local.dir={folders}");
    let script = format!("{mount} && \"$1\" && ls -A \"$0\"");
    Some(as_program(&mut in_namespaces(&script), "spills", &conf).output().expect("the program runs"))
}

/// Runs `spills` where no file may be larger than 32 KiB, which is as good as a full disk where none can be mounted.
fn spill_to_small_files(folder: &Path) -> Output {
    let conf = format!("firesteel.memory.budget=1m\nfiresteel.local.dir={}", folder.display());
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\""]).arg(env::current_exe().expect("a path"));
    as_program(&mut command, "spills", &conf).output().expect("the program runs")
}

/// What the four ways to the disk came to.
fn four_ways(output: &Output) -> Vec<(&str, &str)> {
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 4, "four ways, and nothing left in the folder: {lines:?}");
    lines.iter().map(|line| line.split_once(": ").expect("a way and what it came to")).collect()
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
    let checks: [(&str, Check); 9] = [
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
        ("a_hook_that_is_set_after_the_context_is_called_and_the_place_is_told", |folder| {
            let output = run("has_a_hook", folder, "");
            assert!(text(&output.stdout).contains("the program's own hook"), "{}", text(&output.stdout));
            let told = text(&output.stderr);
            assert!(told.contains("\n  cause     panicked at ") && !told.contains("thread '"), "{told}");
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
        ("a_full_disk_fails_the_jobs_that_need_it_and_no_others", |folder| {
            let small_files = Some(("File too large", spill_to_small_files(folder)));
            let disk =
                spill_to(folder, &folder.display().to_string()).map(|output| ("No space left on device", output));
            for (why, output) in small_files.into_iter().chain(disk) {
                for (what, error) in four_ways(&output) {
                    let named =
                        error.contains(&folder.display().to_string()) && error.contains("`firesteel.local.dir`");
                    assert!(error.starts_with("job ") && error.contains(why) && named, "{what}: {error}");
                }
            }
            assert_eq!(fs::read_dir(folder).expect("a folder").count(), 0, "nothing stays");
        }),
        ("a_full_disk_is_passed_over_where_there_is_another", |folder| {
            let [small, large] = ["small", "large"].map(|name| folder.join(name));
            fs::create_dir(&small).expect("a folder");
            // Twice the small one, so that what has to leave it comes to it again first.
            let folders = format!("{},{},{}", small.display(), small.display(), large.display());
            let Some(output) = spill_to(&small, &folders) else {
                return println!("not tested: no file system can be mounted here (`unshare -rm` does not work)");
            };
            assert!(four_ways(&output).iter().all(|(_, count)| *count == "10000"), "{output:?}");
            let told = text(&output.stderr);
            for what in ["what a task spills goes on in", "a scratch file could not be written", "WARN block rdd_"] {
                assert!(told.contains(what), "{what}: {told}");
            }
            assert_eq!(fs::read_dir(large).expect("a folder").count(), 0, "nothing stays");
        }),
        ("four_million_pairs_of_map_and_reduce_tasks_need_few_open_files", |folder| {
            let scratch = folder.join("scratch");
            let conf = format!("firesteel.memory.budget=1m\nfiresteel.local.dir={}", scratch.display());
            let mut command = Command::new(env::current_exe().expect("a path"));
            let output = as_program(&mut command, "shuffles_widely", &conf).output().expect("the program runs");
            let numbers: Vec<u64> =
                text(&output.stdout).split_whitespace().map(|n| n.parse().expect("a number")).collect();
            let [count, sum, open] = numbers[..] else { panic!("{output:?}") };
            assert_eq!((count, sum), (20_000, 199_990_000));
            assert!(open < 200, "{open} files are open: 128 of the store's, and some of the process's");
            assert_eq!(fs::read_dir(scratch).expect("it had to use the disk").count(), 0);
        }),
        ("what_a_killed_process_left_is_removed_by_the_next", |folder| {
            let conf = format!("firesteel.local.dir={}", folder.display());
            let mut command = Command::new(env::current_exe().expect("a path"));
            as_program(&mut command, "is_killed", &conf).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().expect("the program runs");
            let mut ready = String::new();
            let out = child.stdout.as_mut().expect("a pipe");
            BufReader::new(out).read_line(&mut ready).expect("a line");
            assert_eq!(ready, "ready\n");
            let stores = || fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a store").path());
            // It lives: whoever starts now leaves it alone.
            drop(Context::builder().master("local[1]").conf("firesteel.local.dir", folder.display()).build());
            assert_eq!(stores().map(|store| fs::read_dir(store).expect("a store").count()).collect::<Vec<_>>(), [3]);
            child.kill().expect("it can be killed");
            child.wait().expect("it has ended");
            assert_eq!(stores().count(), 1, "it had no time to clean up");
            drop(Context::builder().master("local[1]").conf("firesteel.local.dir", folder.display()).build());
            assert_eq!(stores().count(), 0);
        }),
    ];
    for (name, check) in checks {
        let folder = tempfile::tempdir().expect("a folder");
        check(folder.path());
        println!("test {name} ... ok");
    }
}
