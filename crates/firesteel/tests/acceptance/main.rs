//! The examples, run as a user runs them: the acceptance programs under every master, the others once.
//!
//! Cargo builds examples for `cargo test -p firesteel`; who runs this file alone builds them first, with
//! `cargo build -p firesteel --examples`.

use firesteel_cluster::{
    master::server::{self, MasterServer},
    worker::{self, WorkerServer},
};
use firesteel_model::conf::Conf;
use std::{
    path::PathBuf,
    process::{Command, Output},
};

const MASTERS: [&str; 4] = ["local[1]", "local[4]", "local[4,2]", "local-cluster[2,1,1024]"];

/// Where cargo puts the examples of the build that this test belongs to.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let built = test.parent().and_then(|deps| deps.parent()).expect("target/<profile>/deps/<test>").join("examples");
    let path = built.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is not built: cargo build -p firesteel --examples", path.display());
    path
}

/// Runs an example in a folder of its own, in which it must leave nothing behind.
fn run(name: &str, args: &[&str], master: &str) -> Output {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(example(name))
        .args(args)
        .current_dir(scratch.path())
        .env_clear()
        .env("FIRESTEEL_MASTER", master)
        .env("FIRESTEEL_CONF", "firesteel.executor.cores=2")
        .env("FIRESTEEL_LOCAL_DIRS", scratch.path())
        .output()
        .expect("the example starts");
    let left: Vec<_> = scratch.path().read_dir().expect("readable").flatten().map(|e| e.path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "{name} under {master} leaves files behind");
    output
}

/// What a successful run prints.
fn printed(name: &str, args: &[&str], master: &str) -> String {
    let output = run(name, args, master);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} under {master}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Ends with `ok`, and says the same under every master.
fn is_accepted(name: &str) {
    let first = printed(name, &[], MASTERS[0]);
    assert_eq!(first.lines().last(), Some("ok"), "{name} under {}:\n{first}", MASTERS[0]);
    let cluster = Cluster::start();
    for master in MASTERS[1..].iter().copied().chain([&*cluster.url]) {
        assert_eq!(printed(name, &[], master), first, "{name} under {master}");
    }
}

/// A standalone cluster, whose executors are processes.
struct Cluster {
    url: String,
    _worker: WorkerServer,
    _master: MasterServer,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [master, worker, scratch] = ["master", "worker", "scratch"].map(|name| folder.path().join(name));
        std::fs::create_dir(&scratch).expect("a folder");
        let mut conf = Conf::new();
        conf.set("firesteel.deploy.recoveryDirectory", master.display());
        conf.set("firesteel.worker.dir", worker.display()).set("firesteel.local.dir", scratch.display());
        let settings = server::Settings::new(&conf, "127.0.0.1:0".into()).expect("settings");
        let master = MasterServer::start(settings).expect("a master");
        let address = master.address().to_string();
        let settings =
            worker::Settings::new(&conf, vec![address.clone()], "127.0.0.1".into(), 4, 4096).expect("settings");
        let worker = WorkerServer::start(settings, |why| panic!("{why}")).expect("a worker");
        Cluster { url: format!("firesteel://{address}"), _worker: worker, _master: master, _folder: folder }
    }
}

#[test]
fn collections() {
    is_accepted("collections");
}

#[test]
fn failures() {
    is_accepted("failures");
}

#[test]
fn log_mining() {
    is_accepted("log_mining");
}

#[test]
fn logistic_regression() {
    is_accepted("logistic_regression");
}

#[test]
fn page_rank() {
    is_accepted("page_rank");
}

#[test]
fn word_count() {
    is_accepted("word_count");
}

#[test]
fn word_count_writes_its_counts_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (input, output) = (folder.path().join("input.txt"), folder.path().join("counts"));
    std::fs::write(&input, "to be or not to be").expect("writable");
    let args = [&input, &output].map(|path| path.to_str().expect("text"));
    printed("word_count", &args, "local[2]");

    let mut parts: Vec<_> = output.read_dir().expect("written").flatten().map(|e| e.path()).collect();
    parts.sort();
    let lines: Vec<String> = parts
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")))
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("readable");
            text.lines().map(String::from).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(lines, ["(be,2)", "(not,1)", "(or,1)", "(to,2)"]);
    assert!(output.join("_SUCCESS").is_file());

    let again = run("word_count", &args, "local[2]");
    let error = String::from_utf8_lossy(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{error}");
    assert!(error.contains("counts") && error.contains("exists"), "{error}");
}

#[test]
fn the_other_examples_print_a_result() {
    let says = |name, args: &[&str], expected: &str| {
        let text = printed(name, args, "local[2]");
        assert!(text.contains(expected), "{name} {args:?} says:\n{text}");
        assert_eq!(text, printed(name, args, "local[3]"), "{name} {args:?} on other threads");
    };
    says("custom_partitioner", &[], "site1.example      985 visits");
    says("inverted_index", &[], "firesteel");
    says("k_means", &[], "centre (30.00, 10.00)");
    says("monte_carlo_pi", &["2"], "pi is about 3.14");
    says("own_accumulator", &[], "words in lines of");
    says("top_n_per_key", &[], "Lugano   999.90 (order 6668)");
    assert!(printed("words", &[], "local[2]").contains("words, "));
}
