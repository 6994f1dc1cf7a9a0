//! A master, workers and applications over real sockets; what they run are small scripts.

use firesteel_cluster::{
    blob::{BlobServer, Offer},
    client::{Application, ApplicationEvent},
    master::{server, state::Rules},
    protocol::{self, ApplicationDescription, Caller, DriverDescription, DriverState, HowEnded, NamedFile},
    submit::Submitter,
    worker,
};
use firesteel_model::ExecutorId;
use firesteel_net::{Hello, Secret};
use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn secret(text: &str) -> Secret {
    Secret::from_bytes(text.as_bytes()).unwrap()
}

fn cluster_secret() -> Secret {
    secret("the secret of the cluster")
}

fn master_at(folder: &Path, address: &str) -> server::MasterServer {
    server::MasterServer::start(master_settings(folder, address)).unwrap()
}

fn master_settings(folder: &Path, address: &str) -> server::Settings {
    let rules = Rules {
        stamp: "t".into(),
        default_cores: u32::MAX,
        spread_out: true,
        max_executor_retries: 3,
        worker_timeout: Duration::from_secs(20),
        faults: Default::default(),
    };
    server::Settings {
        address: address.into(),
        secret: Some(cluster_secret()),
        rules,
        folder: folder.join("master"),
        recovers: true,
    }
}

fn worker_settings(folder: &Path, name: &str, master: &str) -> worker::Settings {
    worker::Settings {
        masters: vec![master.into()],
        secret: Some(cluster_secret()),
        host: name.into(),
        cores: 2,
        memory_mib: 2048,
        folder: folder.join(name),
        local_dirs: vec![folder.to_path_buf()],
        shuffle_service: true,
        rolling: worker::Rolling { max_size: 1 << 20, max_retained: 1 },
        cleanup: None,
    }
}

fn start_worker(settings: worker::Settings) -> firesteel_model::Result<worker::WorkerServer> {
    worker::WorkerServer::start(settings, |_| {})
}

/// An application whose executors are runs of a script.
struct Program {
    application: Application,
    events: mpsc::Receiver<ApplicationEvent>,
    _files: BlobServer,
}

impl Program {
    fn new(folder: &Path, master: &str, script: &str, cores_max: u32) -> Program {
        let path = folder.join("script");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mut offer = Offer::default();
        let executable = offer.add(&path).unwrap();
        let secret = secret("the secret of the application");
        let files = BlobServer::start("127.0.0.1:0".parse().unwrap(), &secret, Arc::new(offer)).unwrap();
        let description = ApplicationDescription {
            name: "script".into(),
            cores_max: Some(cores_max),
            executor_cores: Some(1),
            executor_memory_mib: 512,
            driver: "127.0.0.1:1".into(),
            secret,
            files_at: files.address().to_string(),
            executable,
        };
        let (told, events) = mpsc::channel();
        let on_event = move |event| drop(told.send(event));
        let application =
            Application::register(&[master.into()], Some(&cluster_secret()), description, on_event).unwrap();
        application.want(u32::MAX);
        Program { application, events, _files: files }
    }

    fn event(&self) -> ApplicationEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    fn granted(&self) -> (ExecutorId, String) {
        match self.event() {
            ApplicationEvent::ExecutorGranted { executor, host, cores: 1, .. } => (executor, host),
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until a process has written so many lines into a file.
fn text(path: &Path, lines: usize) -> String {
    let mut text = String::new();
    until(|| {
        text = fs::read_to_string(path).unwrap_or_default();
        text.ends_with('\n') && text.lines().count() == lines
    });
    text
}

/// Waits until something holds.
fn until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).join("exe").exists()
}

#[test]
fn executors_run_on_all_workers_and_end_with_the_application() {
    let dir = TempDir::new().unwrap();
    let master = master_at(dir.path(), "127.0.0.1:0");
    let address = master.address().to_string();
    let workers = ["one", "two"].map(|name| start_worker(worker_settings(dir.path(), name, &address)).unwrap());
    let program = Program::new(dir.path(), &address, "echo $$; exec sleep 1000", 2);
    let id = program.application.id();
    let (first, second) = (program.granted(), program.granted());
    assert_ne!(first.1, second.1, "spread out");
    let pid = |(executor, host): &(ExecutorId, String)| {
        text(&dir.path().join(host).join(&id).join(executor.to_string()).join("stdout"), 1)
    };
    let pids = [pid(&first), pid(&second)];
    assert!(pids.iter().all(|pid| is_alive(pid)));

    program.application.kill_executor(first.0);
    match program.event() {
        ApplicationEvent::ExecutorEnded(executor, end) => {
            assert_eq!((executor, end.how), (first.0, HowEnded::Killed));
            assert!(end.message.contains(&first.1) && end.message.contains("stderr"), "{}", end.message);
        }
        other => panic!("{other:?}"),
    }
    let third = program.granted();
    assert_eq!(third.1, first.1, "another takes its place");
    let third = pid(&third);
    // What does not end by itself is ended when its worker stops.
    program.application.unregister();
    drop(workers);
    [&pids[0], &pids[1], &third].into_iter().for_each(|pid| until(|| !is_alive(pid)));
    // No scratch folder stays.
    let left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.starts_with("firesteel-")), "{left:?}");
}

#[test]
fn executors_that_always_fail_end_the_application_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let master = master_at(dir.path(), "127.0.0.1:0");
    let address = master.address().to_string();
    let _worker = start_worker(worker_settings(dir.path(), "one", &address)).unwrap();
    let program = Program::new(dir.path(), &address, "exit 7", 1);
    let mut ends = 0;
    let why = loop {
        match program.event() {
            ApplicationEvent::ExecutorEnded(_, end) => {
                assert_eq!(end.how, HowEnded::Exited(7));
                ends += 1;
            }
            ApplicationEvent::Removed(why) => break why,
            ApplicationEvent::ExecutorGranted { .. } | ApplicationEvent::Waiting(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ends, 3);
    assert!(why.contains("3 times") && why.contains("exit status: 7") && why.contains("stderr"), "{why}");
}

#[test]
fn executors_go_on_while_the_master_is_away_and_it_finds_them_again() {
    let dir = TempDir::new().unwrap();
    let master = master_at(dir.path(), "127.0.0.1:0");
    let address = master.address().to_string();
    let worker = start_worker(worker_settings(dir.path(), "one", &address)).unwrap();
    let program = Program::new(dir.path(), &address, "echo $$; exec sleep 1000", 1);
    let (executor, host) = program.granted();
    let id = program.application.id();
    let pid = text(&dir.path().join(host).join(&id).join(executor.to_string()).join("stdout"), 1);
    drop(master);
    assert!(matches!(program.event(), ApplicationEvent::Disconnected(_)));
    let master = master_at(dir.path(), &address);
    assert_eq!(program.event(), ApplicationEvent::Reconnected);
    assert!(is_alive(&pid));
    // The new master knows which executor that is.
    program.application.kill_executor(executor);
    while !matches!(program.event(), ApplicationEvent::ExecutorEnded(ended, _) if ended == executor) {}
    until(|| !is_alive(&pid));
    let (next, _) = loop {
        if let ApplicationEvent::ExecutorGranted { executor, host, .. } = program.event() {
            break (executor, host);
        }
    };
    assert_eq!((next, program.application.id()), (ExecutorId(executor.0 + 1), id));
    drop((program.application, worker, master));
}

#[test]
fn a_driver_is_brought_run_asked_about_and_killed() {
    let dir = TempDir::new().unwrap();
    let master = master_at(dir.path(), "127.0.0.1:0");
    let address = master.address().to_string();
    let _worker = start_worker(worker_settings(dir.path(), "one", &address)).unwrap();
    let submitter = Submitter::new(vec![address], Some(cluster_secret()));
    let path = dir.path().join("driver");
    fs::write(
        &path,
        "#!/bin/sh\ncat words.txt; echo \"$@\"; echo $$ > pid; [ \"$1\" != wait ] || exec sleep 1000; exit $1\n",
    )
    .unwrap();
    let words = dir.path().join("words.txt");
    fs::write(&words, "fire\n").unwrap();
    let submit = |args: &[&str], supervise| {
        let description = DriverDescription {
            name: "driver".into(),
            executable: submitter.bring(&path).unwrap(),
            args: args.iter().map(|arg| arg.to_string()).collect(),
            settings: Vec::new(),
            cores: 1,
            memory_mib: 512,
            supervise,
            files: vec![NamedFile { name: "words.txt".into(), contents: submitter.bring(&words).unwrap() }],
        };
        submitter.submit(description).unwrap()
    };
    let folder = |id: &_| dir.path().join("one").join::<&protocol::DriverId>(id);
    let ended = |id: &_| {
        loop {
            let status = submitter.status(id).unwrap();
            if !matches!(status.state, DriverState::Submitted | DriverState::Running) {
                return status;
            }
            std::thread::yield_now();
        }
    };
    let good = submit(&["0", "two words"], false);
    assert_eq!(ended(&good).state, DriverState::Finished);
    assert_eq!(text(&folder(&good).join("stdout"), 2), "fire\n0 two words\n");
    let bad = ended(&submit(&["3"], false));
    assert_eq!(bad.state, DriverState::Failed);
    assert!(bad.message.contains("exit status: 3") && bad.message.contains("stderr"), "{}", bad.message);

    let endless = submit(&["wait"], true);
    let pid = text(&folder(&endless).join("pid"), 1);
    // A supervised driver that dies starts again.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let next = loop {
        let next = text(&folder(&endless).join("pid"), 1);
        if next != pid {
            break next;
        }
    };
    submitter.kill(&endless).unwrap();
    assert_eq!(ended(&endless).state, DriverState::Killed);
    until(|| !is_alive(&next));
    let again = submitter.kill(&endless).unwrap_err().to_string();
    assert!(again.contains("KILLED"), "{again}");
}

#[test]
fn whatever_somebody_sends_the_master_goes_on() {
    let dir = TempDir::new().unwrap();
    let master = master_at(dir.path(), "127.0.0.1:0");
    let address = master.address();
    let _worker = start_worker(worker_settings(dir.path(), "one", &address.to_string())).unwrap();
    // Somebody without the secret.
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"fsnet"] {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(garbage).unwrap();
    }
    // Somebody with it, who speaks in another way.
    let options = protocol::options(Some(PATIENCE));
    let connect = |hello: Hello| firesteel_net::connect(address, Some(&cluster_secret()), &hello, &options);
    let why = connect(Hello::new(protocol::PROTOCOL, protocol::VERSION + 1)).unwrap_err().to_string();
    assert!(why.contains("version 1"), "{why}");
    let (mut reader, _writer) =
        connect(Hello::new(protocol::PROTOCOL, protocol::VERSION).details(b"{}")).unwrap().split();
    assert!(reader.recv(&mut Vec::new()).is_err(), "it is sent away");
    for caller in [Caller::Worker, Caller::Application, Caller::Submitter, Caller::Files] {
        let (mut reader, mut writer) = connect(protocol::hello(Some(caller))).unwrap().split();
        for nonsense in [&b"{\"PaintItBlue\":7}"[..], b"\xff\x00", b"", b"[[[[[[[[[["] {
            writer.send(&[nonsense]).and_then(|()| writer.flush()).unwrap();
            let mut answer = Vec::new();
            assert!(reader.recv(&mut answer).unwrap());
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.contains("Refused") && answer.contains("does not know"), "{caller:?}: {answer}");
        }
        // A frame that is too long ends the connection before it takes memory.
        assert!(writer.send(&[&vec![0; options.max_frame + 1]]).is_err());
    }
    let program = Program::new(dir.path(), &address.to_string(), "exec sleep 1000", 1);
    program.granted();
}

#[test]
fn an_application_ends_at_once_though_the_master_swallows_everything() {
    let dir = TempDir::new().unwrap();
    let master = master_at(dir.path(), "127.0.0.1:0");
    let address = master.address().to_string();
    let program = Program::new(dir.path(), &address, "exec sleep 1000", 1);
    drop(master);
    while !matches!(program.event(), ApplicationEvent::Disconnected(_)) {}
    // Who takes its place accepts connections, and says nothing for longer than a handshake may take.
    let swallows = TcpListener::bind(&address).unwrap();
    let _connected = swallows.accept().unwrap();
    let began = Instant::now();
    program.application.unregister();
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for the handshake");
}

#[test]
fn a_master_that_may_not_listen_leaves_no_folder() {
    let dir = TempDir::new().unwrap();
    let settings = server::Settings { secret: None, ..master_settings(dir.path(), "0.0.0.0:0") };
    let why = server::MasterServer::start(settings).err().unwrap().to_string();
    assert!(why.contains("firesteel.authenticate.secret"), "{why}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn who_does_not_have_the_secret_or_a_folder_of_its_own_is_told_so() {
    let dir = TempDir::new().unwrap();
    let master = master_at(dir.path(), "127.0.0.1:0");
    let address = master.address().to_string();
    let other = worker::Settings {
        secret: Some(secret("another secret of the cluster")),
        ..worker_settings(dir.path(), "one", &address)
    };
    let why = start_worker(other).err().unwrap().to_string();
    assert!(why.contains("secret"), "{why}");
    let submitter = Submitter::new(vec![address.clone()], None);
    assert!(submitter.bring(&dir.path().join("nothing")).is_err());
    let why = submitter.status(&"driver-0".to_string().try_into().unwrap()).unwrap_err().to_string();
    assert!(why.contains("secret"), "{why}");
    let _first = start_worker(worker_settings(dir.path(), "one", &address)).unwrap();
    let why = start_worker(worker_settings(dir.path(), "one", &address)).err().unwrap().to_string();
    assert!(why.contains("in use by another worker"), "{why}");
}
