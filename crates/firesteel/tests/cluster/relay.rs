//! A bad network: a relay between processes of this machine, which delays, slows down, holds and cuts what goes through it.
//!
//! Whatever listens at 127.0.0.1 is reached at [`host`], too, at the same port, and then by way of the relay. It connects from there
//! itself, so who is told from where others come answers by way of the relay.

use crate::random_program::random::Random;
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU16, Ordering::Relaxed},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Where the relay is: each process that runs tests has an address of its own, since the relays of two would take each other's ports.
pub(crate) fn host() -> Ipv4Addr {
    // Numbers of processes have 22 bits at most.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + high, middle, low)
}

/// How often the relay looks who listens, and who comes.
const LOOK: Duration = Duration::from_millis(2);

/// What becomes of a connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fate {
    /// Nothing gets through before; others overtake it.
    pub(crate) waits: Duration,
    /// It ends after so many bytes in either direction, wherever in a frame that is; what is on its way is lost.
    pub(crate) cut_after: Option<usize>,
    /// How long each piece of 64 KiB takes.
    pub(crate) slow: Duration,
}

impl Fate {
    pub(crate) fn random(random: &mut Random) -> Fate {
        let mut fate = Fate::default();
        match random.below(12) {
            0 => fate.waits = Duration::from_millis(random.below(300) as u64),
            // Short and long ones alike: the handshake takes some hundred bytes.
            1 => {
                let most = 1 << (5 + random.below(16));
                fate.cut_after = Some(random.below(most));
            }
            2 => fate.slow = Duration::from_millis(random.below(20) as u64),
            _ => {}
        }
        fate
    }
}

/// A relay, until it is dropped; then all its connections are cut.
pub(crate) struct Relay {
    network: Arc<Network>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Fates = Box<dyn FnMut(u16) -> Fate + Send>;
type Ports = Box<dyn Fn(u16) -> bool + Send>;

struct Network {
    state: Mutex<State>,
    /// What is held may go on, or is cut.
    changed: Condvar,
}

struct State {
    fates: Fates,
    held: Option<Ports>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    cuts: u64,
    carried: BTreeMap<u16, usize>,
}

struct Connection {
    port: u16,
    ends: [TcpStream; 2],
    left: Option<usize>,
    slow: Duration,
}

impl Relay {
    /// Lets all connections live until something else is said.
    pub(crate) fn start() -> Relay {
        let fates: Fates = Box::new(|_| Fate::default());
        let (connections, carried) = Default::default();
        let state = State { fates, held: None, connections, next: 0, cuts: 0, carried };
        let network = Arc::new(Network { state: Mutex::new(state), changed: Condvar::new() });
        let (end, over) = channel();
        let looking = network.clone();
        let thread = std::thread::spawn(move || {
            let mut doors = BTreeMap::new();
            while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                open_doors(&mut doors);
                for (port, door) in &doors {
                    while let Ok((stream, _)) = door.accept() {
                        looking.clone().carry(*port, stream);
                    }
                }
            }
        });
        Relay { network, end: Some(end), thread: Some(thread) }
    }

    /// Who connects to a port from now on has this fate.
    pub(crate) fn fates(&self, fates: impl FnMut(u16) -> Fate + Send + 'static) {
        self.network.lock().fates = Box::new(fates);
    }

    /// Nothing gets through any more to and from these ports.
    pub(crate) fn hold(&self, ports: impl Fn(u16) -> bool + Send + 'static) {
        self.network.lock().held = Some(Box::new(ports));
    }

    /// What was held goes on.
    pub(crate) fn release(&self) {
        self.network.lock().held = None;
        self.network.changed.notify_all();
    }

    /// Cuts all connections that there are.
    pub(crate) fn cut(&self) {
        self.network.cut(|_| true);
    }

    /// Cuts those to these ports.
    pub(crate) fn cut_those_to(&self, ports: &[u16]) {
        self.network.cut(|port| ports.contains(&port));
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.network.lock().cuts
    }

    /// How many bytes have gone through connections to these ports.
    pub(crate) fn carried(&self, ports: &[u16]) -> usize {
        let carried = &self.network.lock().carried;
        ports.iter().filter_map(|port| carried.get(port)).sum()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(JoinHandle::join);
        self.release();
        self.cut();
    }
}

/// The ports at which somebody listens at 127.0.0.1 alone, and the sockets' numbers.
fn listened_on() -> BTreeMap<u16, String> {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let ports = sockets.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, "0A", _, _, _, _, _, inode, ..] = words[..] else { return None };
        let port = u16::from_str_radix(local.strip_prefix("0100007F:")?, 16).ok()?;
        Some((port, format!("socket:[{inode}]")))
    });
    ports.collect()
}

/// The ports at which a process listens.
pub(crate) fn ports_of(pid: u32) -> Vec<u16> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open: Vec<_> = files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    let own = listened_on().into_iter().filter(|(_, socket)| open.iter().any(|file| file.as_os_str() == &**socket));
    own.map(|(port, _)| port).collect()
}

/// Listens wherever somebody does.
fn open_doors(doors: &mut BTreeMap<u16, TcpListener>) {
    let ports = listened_on();
    doors.retain(|port, _| ports.contains_key(port));
    for port in ports.into_keys() {
        if !doors.contains_key(&port)
            && let Ok(door) = TcpListener::bind(SocketAddrV4::new(host(), port))
        {
            door.set_nonblocking(true).unwrap();
            doors.insert(port, door);
        }
    }
}

/// Connects from the relay's own address, and a port that the system gives to nobody who listens at any.
fn connect(port: u16) -> io::Result<TcpStream> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let bind = || rustix::net::bind(&socket, &SocketAddrV4::new(host(), 10_000 + NEXT.fetch_add(1, Relaxed) % 20_000));
    while bind() == Err(rustix::io::Errno::ADDRINUSE) {}
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(socket.into())
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Carries what comes by a connection to the port, and back.
    fn carry(self: Arc<Self>, port: u16, from: TcpStream) {
        let fate = (self.lock().fates)(port);
        from.set_nonblocking(false).unwrap();
        std::thread::spawn(move || {
            self.pass(port, fate.waits);
            let Ok(to) = connect(port) else { return };
            let copy = |stream: &TcpStream| stream.try_clone().unwrap();
            let ends = [copy(&from), copy(&to)];
            ends.iter().for_each(|end| end.set_nodelay(true).unwrap());
            let number = {
                let mut state = self.lock();
                let (number, Fate { cut_after: left, slow, .. }) = (state.next, fate);
                state.connections.insert(number, Connection { port, ends, left, slow });
                state.next += 1;
                number
            };
            let (network, ways) = (self.clone(), [(copy(&to), copy(&from)), (from, to)]);
            let [there, back] = ways;
            let returning = std::thread::spawn(move || network.pump(number, port, back));
            self.pump(number, port, there);
            let _ = returning.join();
            self.lock().connections.remove(&number);
        });
    }

    /// Waits for so long, and for as long as the port is held.
    fn pass(&self, port: u16, time: Duration) {
        std::thread::sleep(time);
        let held = |state: &mut State| state.held.as_ref().is_some_and(|ports| ports(port));
        drop(self.changed.wait_while(self.lock(), held).unwrap());
    }

    /// Carries one direction until it ends or is cut.
    fn pump(&self, number: u64, port: u16, (mut from, mut to): (TcpStream, TcpStream)) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let slow = self.lock().connections.get(&number).map_or(Duration::ZERO, |connection| connection.slow);
            self.pass(port, slow);
            let mut state = self.lock();
            let Some(connection) = state.connections.get_mut(&number) else { break };
            let goes = connection.left.map_or(read, |left| left.min(read));
            connection.left = connection.left.map(|left| left - goes);
            let is_cut = connection.left == Some(0);
            *state.carried.entry(port).or_default() += goes;
            drop(state);
            if to.write_all(&buffer[..goes]).is_err() || is_cut {
                return self.cut_one(number);
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn cut_one(&self, number: u64) {
        let mut state = self.lock();
        if let Some(connection) = state.connections.remove(&number) {
            state.cuts += 1;
            connection.cut();
        }
    }

    fn cut(&self, ports: impl Fn(u16) -> bool) {
        let state = self.lock();
        let numbers: Vec<u64> = state
            .connections
            .iter()
            .filter(|(_, connection)| ports(connection.port))
            .map(|(number, _)| *number)
            .collect();
        drop(state);
        numbers.into_iter().for_each(|number| self.cut_one(number));
    }
}

impl Connection {
    /// Both sides are told so, and what they have not read is lost.
    fn cut(self) {
        for end in self.ends {
            let _ = sockopt::set_socket_linger(&end, Some(Duration::ZERO));
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
