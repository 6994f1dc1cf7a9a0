//! A standalone cluster of real processes: this program again, as master, worker or driver.

use crate::{
    Ground, answers,
    awkward::shuffle_to,
    chaos::children_of,
    counted, executors, files, kill, numbers,
    relay::{self, Relay},
};
use firesteel::{
    events::{
        Event,
        event::{FetchFailed, TaskEndReason},
    },
    prelude::*,
};
use firesteel_cluster::{
    master::server::{MasterServer, Settings},
    worker::{self, WorkerServer},
};
use firesteel_model::conf::Conf;
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::park,
    time::{Duration, Instant},
};

/// The first argument of a process that is to be something else than tests.
const BE: &str = "--be";

/// A part of the cluster, killed when dropped.
pub(crate) struct Part(Child);

impl Part {
    /// Starts this program as `what`.
    fn begin(what: &[&str]) -> Part {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Part(command.arg(BE).args(what).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Starts this program as `what`; what it says first, which means that it is ready.
    fn start(what: &[&str]) -> (Part, String) {
        let mut part = Part::begin(what);
        let mut line = String::new();
        BufReader::new(part.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (part, line.trim().to_string())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is what the arguments say, if they do, until the test ends.
pub(crate) fn be_a_part() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words.first() != Some(&BE) {
        return;
    }
    // Standard input ends with the test, whatever is waited for here.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let mut conf = Conf::new();
    conf.set("firesteel.worker.timeout", "2");
    match words[1..] {
        ["master", address, folder] => {
            conf.set("firesteel.deploy.recoveryDirectory", folder);
            conf.set("firesteel.deploy.recoveryMode", "FILESYSTEM");
            // Who kills executors at random may kill one before it works, again and again.
            conf.set("firesteel.deploy.maxExecutorRetries", "1000");
            let server = MasterServer::start(Settings::new(&conf, address.into()).unwrap()).unwrap();
            println!("{}", server.address());
            stays();
        }
        ["worker", master, cores, memory, folder] => {
            let scratch = Path::new(folder).join("scratch");
            fs::create_dir_all(&scratch).unwrap();
            conf.set("firesteel.worker.dir", folder).set("firesteel.local.dir", scratch.display());
            let (cores, memory) = (cores.parse().unwrap(), memory.parse().unwrap());
            let settings =
                worker::Settings::new(&conf, vec![master.into()], "127.0.0.1".into(), cores, memory).unwrap();
            let server = WorkerServer::start(settings, |_| {}).unwrap();
            println!("{}", server.id());
            stays();
        }
        ["driver", master, folder] => {
            let ground = Ground::at(Path::new(folder));
            let sc = small(ground.builder(&format!("firesteel://{master}"))).build().unwrap();
            let pids = executors(&sc);
            println!("{}", pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
            stays();
        }
        ["shuffler", folders] => {
            println!("{}", shuffle_to(folders));
            std::process::exit(0);
        }
        _ => panic!("there is no such part: {words:?}"),
    }
}

fn stays() -> ! {
    loop {
        park();
    }
}

/// A master and workers.
pub(crate) struct Cluster {
    pub(crate) ground: Ground,
    /// Where the master listens.
    address: SocketAddr,
    /// By way of which all parts of it, and programs, reach each other.
    pub(crate) relay: Option<Relay>,
    /// None while it is dead.
    pub(crate) master: Option<Part>,
    /// None where one is dead.
    pub(crate) workers: Vec<Option<Part>>,
}

/// What each worker offers unless another is given.
const CORES: u32 = 2;

impl Cluster {
    fn new(workers: usize) -> Self {
        Cluster::by_way_of(None, workers)
    }

    pub(crate) fn by_way_of(relay: Option<Relay>, workers: usize) -> Self {
        let ground = Ground::new();
        let (master, address) = Part::start(&["master", "127.0.0.1:0", path(&ground, "master").to_str().unwrap()]);
        let (address, master) = (address.parse().unwrap(), Some(master));
        let mut cluster = Cluster { ground, address, relay, master, workers: Vec::new() };
        (0..workers).for_each(|_| cluster.add_worker(1024));
        cluster
    }

    fn add_worker(&mut self, memory_mib: u32) {
        let number = self.workers.len();
        let (part, _) = self.with_worker(number, memory_mib, Part::start);
        self.workers.push(Some(part));
    }

    fn with_worker<T>(&self, number: usize, memory_mib: u32, start: impl FnOnce(&[&str]) -> T) -> T {
        let folder = path(&self.ground, &format!("worker-{number}"));
        let (cores, memory) = (CORES.to_string(), memory_mib.to_string());
        start(&["worker", &self.reached_at(), &cores, &memory, folder.to_str().unwrap()])
    }

    pub(crate) fn restart_master(&mut self) {
        let folder = path(&self.ground, "master");
        self.master = Some(Part::start(&["master", &self.address.to_string(), folder.to_str().unwrap()]).0);
    }

    /// Where everybody finds the master.
    fn reached_at(&self) -> String {
        let host = if self.relay.is_some() { relay::host().into() } else { self.address.ip() };
        SocketAddr::new(host, self.address.port()).to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("firesteel://{}", self.reached_at())
    }

    /// Starts another worker in the folder of one that is dead; does not wait for the master, which may be dead, too.
    pub(crate) fn restart_worker(&mut self, number: usize) {
        self.workers[number] = Some(self.with_worker(number, 1024, Part::begin));
    }

    /// The processes of all executors.
    pub(crate) fn executors(&self) -> Vec<u32> {
        self.workers.iter().flatten().flat_map(|worker| children_of(worker.pid())).collect()
    }

    /// No program runs any more: neither do executors, and the next program gets all there is.
    pub(crate) fn is_free_again(&self) {
        soon("executors end with their application", || self.executors().is_empty());
        let sc = self.builder().build().unwrap();
        soon("all cores are free again", || {
            sc.range_n(0..1, 1).count().unwrap();
            self.executors().len() == self.workers.len() * CORES as usize
        });
        sc.stop().unwrap();
        soon("executors end with their application", || self.executors().is_empty());
        let blocks = |path: &PathBuf| path.to_string_lossy().contains("block-");
        let left = || files(self.ground.dir()).into_iter().filter(blocks).collect::<Vec<_>>();
        soon("scratch files go", || left().is_empty());
    }

    pub(crate) fn builder(&self) -> firesteel::ContextBuilder {
        small(self.reachable(self.ground.builder(&self.url())))
    }

    /// The driver is reached as all others are.
    pub(crate) fn reachable(&self, builder: firesteel::ContextBuilder) -> firesteel::ContextBuilder {
        match self.relay {
            Some(_) => {
                builder.conf("firesteel.driver.host", relay::host()).conf("firesteel.driver.bindAddress", "127.0.0.1")
            }
            None => builder,
        }
    }
}

/// With executors of a core each.
fn small(builder: firesteel::ContextBuilder) -> firesteel::ContextBuilder {
    builder.conf("firesteel.executor.cores", 1).conf("firesteel.executor.memory", "256m")
}

fn path(ground: &Ground, name: &str) -> PathBuf {
    ground.dir().join(name)
}

fn is_there(pid: u32) -> bool {
    // A zombie has no memory any more.
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("VmRSS"))
}

/// Waits until something is so.
pub(crate) fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within half a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn answers_of_a_standalone_cluster_are_those_of_threads() {
    let cluster = Cluster::new(2);
    let on_threads = answers(&cluster.ground.builder("local[2]").build().unwrap(), &path(&cluster.ground, "a"));
    let sc = cluster.builder().conf("firesteel.cores.max", 3).build().unwrap();
    let on_cluster = answers(&sc, &path(&cluster.ground, "b"));
    for (threads, processes) in on_threads.iter().zip(&on_cluster) {
        assert_eq!(threads, processes);
    }
    sc.stop().unwrap();
    cluster.is_free_again();
}

pub(crate) fn as_many_executors_are_granted_as_the_program_wants_also_by_the_next_master() {
    let mut cluster = Cluster::new(2);
    let sc = cluster.builder().conf("firesteel.executor.instances", 1).build().unwrap();
    assert_eq!(sc.range(0..10).count().unwrap(), 10);
    assert_eq!(cluster.executors().len(), 1);
    assert!(sc.request_total_executors(3).unwrap());
    soon("two more come", || cluster.executors().len() == 3);
    assert!(sc.request_total_executors(2).unwrap());
    cluster.master.take().unwrap().kill();
    cluster.restart_master();
    cluster.executors().into_iter().for_each(kill);
    assert_eq!(sc.range_n(0..100, 20).count().unwrap(), 100);
    soon("two take the place of three", || cluster.executors().len() == 2);
    sc.stop().unwrap();
    cluster.is_free_again();
}

pub(crate) fn killed_worker_takes_its_executors_along_and_costs_what_they_held() {
    let mut cluster = Cluster::new(2);
    let sc = cluster.builder().build().unwrap();
    let sums = numbers(&sc).reduce_by_key_into(4, |a, b| a + b);
    let expected = sums.collect().unwrap();
    let worker = cluster.workers[0].take().unwrap();
    soon("both its executors start", || children_of(worker.pid()).len() == 2);
    let its = children_of(worker.pid());
    worker.kill();
    soon("executors end with their worker", || !its.iter().any(|pid| is_there(*pid)));
    assert_eq!(sums.collect().unwrap(), expected);
    sc.stop().unwrap();
}

/// Kills the worker of the executor that gets here, if that is the first to, and with it the executor itself.
fn orphaned<T>(mark: &String, here: bool, item: T) -> T {
    if here && fs::create_dir(mark).is_ok() {
        kill(std::os::unix::process::parent_id());
        stays();
    }
    item
}

pub(crate) fn worker_killed_while_its_executors_map_and_read_costs_time_only() {
    let cluster = Cluster::new(3);
    let sc = cluster.builder().build().unwrap();
    let counted_by = sc.long_accumulator("counted");
    for stage in 0..2 {
        let mark = path(&cluster.ground, &format!("mark-{stage}")).display().to_string();
        let numbers = numbers(&sc);
        let sums = match stage {
            0 => numbers
                .map_with(mark.clone(), |mark, pair| orphaned(mark, pair.1 == 12_345, pair))
                .reduce_by_key_into(4, |a, b| a + b)
                .erase(),
            _ => numbers
                .reduce_by_key_into(4, |a, b| a + b)
                .map_with(mark.clone(), |mark, pair| orphaned(mark, pair.0 == 50, pair))
                .erase(),
        };
        let sum = counted(&sums, &counted_by).values().sum().unwrap();
        assert_eq!(sum, (0..20_000u64).sum::<u64>() as f64);
        assert_eq!(counted_by.value(), 97 * (stage + 1), "exactly once in an action");
        assert!(Path::new(&mark).exists());
    }
}

/// The files of map outputs that executors of a worker have written.
fn output_files(ground: &Ground, worker: usize) -> Vec<PathBuf> {
    let mut found = files(&path(ground, &format!("worker-{worker}/scratch")));
    found.retain(|path| path.to_string_lossy().contains("block-"));
    found
}

pub(crate) fn map_outputs_of_killed_executors_are_not_made_again() {
    let cluster = Cluster::new(1);
    let sc = cluster.builder().build().unwrap();
    let pids = executors(&sc);
    let computed = sc.long_accumulator("computed");
    let sums = counted(&numbers(&sc), &computed).reduce_by_key_into(4, |a, b| a + b);
    let groups = counted(&numbers(&sc), &computed).repartition(3);
    let expected = (sums.collect().unwrap(), groups.glom().collect().unwrap());
    assert_eq!(computed.value(), 40_000);
    // One, and then those that read what it has left, so that all comes from the worker.
    for pid in pids {
        kill(pid);
        assert_eq!((sums.collect().unwrap(), groups.glom().collect().unwrap()), expected);
    }
    executors(&sc).into_iter().for_each(kill);
    assert_eq!((sums.collect().unwrap(), groups.glom().collect().unwrap()), expected);
    assert_eq!(computed.value(), 40_000, "nothing is computed again");
    assert!(!output_files(&cluster.ground, 0).is_empty());
    drop((sums, groups));
    soon("files go with their shuffles", || output_files(&cluster.ground, 0).is_empty());
    let last = numbers(&sc).repartition(3);
    assert_eq!(last.count().unwrap(), 20_000);
    executors(&sc).into_iter().for_each(kill);
    assert!(!output_files(&cluster.ground, 0).is_empty());
    sc.stop().unwrap();
    soon("files go with their application", || output_files(&cluster.ground, 0).is_empty());
}

pub(crate) fn map_outputs_of_executors_that_are_given_up_are_not_made_again() {
    let cluster = Cluster::new(1);
    let sc = cluster
        .builder()
        .conf("firesteel.network.timeout", "2s")
        .conf("firesteel.executor.heartbeatInterval", "200ms")
        .build()
        .unwrap();
    let one = executors(&sc).pop_first().unwrap();
    let computed = sc.long_accumulator("computed");
    let sums = counted(&numbers(&sc), &computed).reduce_by_key_into(4, |a, b| a + b);
    let expected = sums.collect().unwrap();
    assert!(Command::new("kill").args(["-STOP", &one.to_string()]).status().unwrap().success());
    assert_eq!(sums.collect().unwrap(), expected);
    assert!(!executors(&sc).contains(&one), "it was given up");
    assert_eq!(sums.collect().unwrap(), expected);
    assert_eq!(computed.value(), 20_000, "nothing is computed again");
}

/// Text that cannot be compressed.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(2) + 1;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'0' + (state >> 58) as u8
    });
    String::from_utf8(bytes.take(64 << 10).collect()).unwrap()
}

pub(crate) fn an_executor_killed_while_it_is_read_from_is_read_on_from_its_worker() {
    let cluster = Cluster::new(1);
    let sc = cluster.builder().conf("firesteel.locality.wait", "0s").build().unwrap();
    executors(&sc);
    let made = sc.long_accumulator("made");
    // 40 MiB, far more than waits in sockets.
    let noises = sc.range_n(0..640, 8).map(|i| (std::process::id(), i, noise(i))).erase();
    let all = counted(&noises, &made).repartition(1);
    let mark = path(&cluster.ground, "mark").display().to_string();
    let read = all.map_with(mark, |mark, (maker, i, text)| {
        if maker != std::process::id() && fs::File::create_new(mark).is_ok() {
            kill(maker);
        }
        (i, text == noise(i))
    });
    let mut read = read.collect().unwrap();
    read.sort();
    assert_eq!(read, (0..640).map(|i| (i, true)).collect::<Vec<_>>());
    assert!(path(&cluster.ground, "mark").exists(), "nobody was killed");
    assert_eq!(made.value(), 640, "nothing is made again");
}

pub(crate) fn damaged_files_of_killed_executors_cost_what_was_in_them() {
    let cluster = Cluster::new(1);
    let sc = cluster.builder().conf("firesteel.locality.wait", "0s").build().unwrap();
    let computed = sc.long_accumulator("computed");
    let numbers = sc.range_n(0..30_000, 3).map(|i| (i % 97, i)).erase();
    // Until both executors have had some of the three map tasks.
    let (sums, files) = loop {
        executors(&sc);
        computed.reset();
        let sums = counted(&numbers, &computed).reduce_by_key_into(4, |a, b| a + b);
        sums.count().unwrap();
        let files = output_files(&cluster.ground, 0);
        if files.len() == 2 {
            break (sums, files);
        }
        drop(sums);
        soon("files go with their shuffles", || output_files(&cluster.ground, 0).is_empty());
    };
    let expected = sums.collect().unwrap();
    executors(&sc).into_iter().for_each(kill);
    // A page of the first map output in one.
    let file = fs::File::options().read(true).write(true).open(&files[0]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 40).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], 40).unwrap();
    assert_eq!(sums.collect().unwrap(), expected);
    assert_eq!(computed.value(), 40_000, "one more");
    // The other, which has one map output or two.
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(sums.collect().unwrap(), expected);
    assert!([50_000, 60_000].contains(&computed.value()), "{} computed", computed.value());
}

pub(crate) fn map_outputs_of_a_killed_executor_go_with_its_worker() {
    let mut cluster = Cluster::new(1);
    let sc = cluster.builder().build().unwrap();
    let computed = sc.long_accumulator("computed");
    let sums = counted(&numbers(&sc), &computed).reduce_by_key_into(4, |a, b| a + b);
    executors(&sc);
    let expected = sums.collect().unwrap();
    kill(*executors(&sc).first().unwrap());
    assert_eq!(sums.collect().unwrap(), expected);
    assert_eq!(computed.value(), 20_000);
    cluster.add_worker(1024);
    cluster.workers[0].take().unwrap().kill();
    assert_eq!(sums.collect().unwrap(), expected);
    assert_eq!(computed.value(), 40_000, "all was there");
}

pub(crate) fn a_killed_worker_takes_the_map_outputs_of_all_dead_executors_with_it_at_once() {
    let mut cluster = Cluster::new(1);
    let sc = cluster.builder().build().unwrap();
    let computed = sc.long_accumulator("computed");
    let sums = counted(&numbers(&sc), &computed).reduce_by_key_into(4, |a, b| a + b);
    let expected = sums.collect().unwrap();
    let all = executors(&sc);
    assert!(all.len() > 1);
    all.into_iter().for_each(kill);
    assert_eq!((sums.collect().unwrap(), computed.value()), (expected.clone(), 20_000));
    let unreachable: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let failed = unreachable.clone();
    let listener = move |event: &Event| {
        if let Event::TaskEnd(end) = event
            && let TaskEndReason::FetchFailed(FetchFailed { manager: Some(manager), .. }) = &end.reason
        {
            failed.lock().unwrap().insert(manager.executor.to_string());
        }
    };
    sc.add_listener(listener).unwrap();
    cluster.add_worker(1024);
    cluster.workers[0].take().unwrap().kill();
    assert_eq!((sums.collect().unwrap(), computed.value()), (expected, 40_000));
    let unreachable = unreachable.lock().unwrap();
    assert!(unreachable.len() <= 1, "one after another: {unreachable:?}");
}

pub(crate) fn jobs_go_on_without_a_master_and_the_next_one_knows_them() {
    let mut cluster = Cluster::new(2);
    let sc = cluster.builder().build().unwrap();
    let sums = numbers(&sc).reduce_by_key_into(4, |a, b| a + b);
    let expected = sums.collect().unwrap();
    let before = executors(&sc);
    cluster.master.take().unwrap().kill();
    assert_eq!(sums.collect().unwrap(), expected);
    assert_eq!(numbers(&sc).group_by_key_into(3).count().unwrap(), 97);
    cluster.restart_master();
    // Those that run go on; one that dies now is replaced, by the new master.
    let one = *before.first().unwrap();
    kill(one);
    soon("another executor comes", || executors(&sc).iter().any(|pid| !before.contains(pid)));
    assert_eq!(sums.collect().unwrap(), expected);
    // And it serves others.
    sc.stop().unwrap();
    let other = cluster.builder().build().unwrap();
    assert_eq!(other.range(0..100).count().unwrap(), 100);
}

pub(crate) fn killed_driver_leaves_no_executors_behind() {
    let cluster = Cluster::new(1);
    let folder = path(&cluster.ground, "driver");
    fs::create_dir_all(&folder).unwrap();
    let (driver, pids) = Part::start(&["driver", &cluster.reached_at(), folder.to_str().unwrap()]);
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| is_there(*pid)));
    driver.kill();
    soon("executors end with their driver", || !pids.iter().any(|pid| is_there(*pid)));
    // Their cores are free again.
    let sc = cluster.builder().build().unwrap();
    assert_eq!(sc.range(0..100).count().unwrap(), 100);
}

pub(crate) fn jobs_that_no_cluster_can_run_end_with_the_reason() {
    let mut cluster = Cluster::new(0);
    let waiting = |cluster: &Cluster| cluster.builder().conf("firesteel.executor.wait", "1s");
    let error = waiting(&cluster).build().unwrap().range(0..10).count().unwrap_err().to_string();
    assert!(error.contains("no executor has come within 1s") && error.contains("worker"), "{error}");
    cluster.add_worker(512);
    let large = waiting(&cluster).conf("firesteel.executor.memory", "4g");
    let error = large.build().unwrap().range(0..10).count().unwrap_err().to_string();
    assert!(error.contains("4096"), "{error}");
    let nobody = Context::builder().master("firesteel://127.0.0.1:1").build().map(drop).unwrap_err().to_string();
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
    let begun = cluster.workers[0].as_ref().unwrap().pid();
    assert!(is_there(begun));
}
