//! Two ends of a connection, as their users see them.

mod frames;
mod handshake;
mod listener;
mod outbox;

use firesteel_net::{Connection, Hello, Listener, Options, Result, Secret, connect};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

/// Long enough never to pass.
const LONG: Duration = Duration::from_secs(3600);

fn secret() -> Secret {
    Secret::from_bytes(b"a secret for the tests").unwrap()
}

fn hello() -> Hello {
    Hello::new("test", 1)
}

/// Options whose time limits do not pass on a busy machine.
fn patient() -> Options {
    Options { handshake_timeout: LONG, connect_timeout: LONG, write_timeout: LONG, ..Options::default() }
}

/// A listener on loopback, and what it hands on.
fn listen(options: &Options) -> (Listener, Receiver<Connection>) {
    let (arrived, connections) = mpsc::channel();
    let on_connection = move |connection| drop(arrived.send(connection));
    (Listener::bind("127.0.0.1:0", Some(&secret()), &hello(), options, on_connection).unwrap(), connections)
}

/// Both ends of a connection.
fn ends(options: &Options) -> (Connection, Connection) {
    let (listener, connections) = listen(options);
    let here = connect(listener.local_addr(), Some(&secret()), &hello(), options).unwrap();
    (here, connections.recv().unwrap())
}

/// What the connection sends from now on, as the peer's frames.
fn frames_of(connection: Connection) -> Result<Vec<Vec<u8>>> {
    let (mut reader, _writer) = connection.split();
    let (mut frames, mut frame) = (Vec::new(), Vec::new());
    while reader.recv(&mut frame)? {
        frames.push(frame.clone());
    }
    Ok(frames)
}

/// Stands between a client and the listener at `to` for one connection: passes on what `there` (towards the listener)
/// and `back` make of each byte, and returns what came from either side.
fn relay(
    to: SocketAddr,
    there: impl Fn(usize, u8) -> u8 + Send + 'static,
    back: impl Fn(usize, u8) -> u8 + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<(Vec<u8>, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(to).unwrap();
        let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let backward = thread::spawn(move || pass(server2, client2, back));
        (pass(client, server, there), backward.join().unwrap())
    });
    (address, thread)
}

fn pass(mut from: TcpStream, mut to: TcpStream, change: impl Fn(usize, u8) -> u8) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let changed: Vec<_> = buffer[..n].iter().enumerate().map(|(i, &byte)| change(all.len() + i, byte)).collect();
        all.extend_from_slice(&buffer[..n]);
        if to.write_all(&changed).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    all
}
