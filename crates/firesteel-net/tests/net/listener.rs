//! A listener among strangers, and its end.

use crate::{LONG, frames_of, hello, listen, patient, secret};
use firesteel_net::{Listener, NetErrorKind, Options, Secret, connect};
use std::{
    fs::{self, Permissions},
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

/// Where a port is free again after its listener has gone: no other test listens on this address.
const OWN_ADDRESS: &str = if cfg!(target_os = "linux") { "127.0.0.2:0" } else { "127.0.0.1:0" };

#[test]
fn nothing_leaves_loopback_without_a_secret() {
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let e = Listener::bind(address, None, &hello(), &patient(), |_| {}).unwrap_err();
        assert!(matches!(e.kind(), NetErrorKind::NoSecret), "{e}");
        assert!(e.to_string().starts_with(address) && e.to_string().contains("firesteel.authenticate.secret"), "{e}");
    }
    let e = connect("192.0.2.1:7077", None, &hello(), &patient()).unwrap_err();
    assert!(matches!(e.kind(), NetErrorKind::NoSecret), "{e}");
    assert!(Listener::bind("0.0.0.0:0", Some(&secret()), &hello(), &patient(), |_| {}).is_ok());
}

#[test]
fn frames_that_leave_loopback_are_encrypted() {
    // The address that this machine has towards others. Nothing is sent.
    let own = UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("192.0.2.1:1").and_then(|()| socket.local_addr()));
    let Ok(own) = own else { return eprintln!("this machine has no network") };
    let (arrived, connections) = mpsc::channel();
    let on_connection = move |connection| drop(arrived.send(connection));
    let listener =
        Listener::bind(SocketAddr::new(own.ip(), 0), Some(&secret()), &hello(), &patient(), on_connection).unwrap();
    let (reader, writer) = {
        let here = connect(listener.local_addr(), Some(&secret()), &hello(), &patient()).unwrap();
        assert!(here.is_encrypted());
        here.split()
    };
    let there = connections.recv().unwrap();
    assert!(there.is_encrypted());
    writer.finish().unwrap();
    assert!(frames_of(there).unwrap().is_empty());
    drop(reader);
}

#[test]
fn a_secret_is_long_enough_and_not_shown() {
    assert!(matches!(Secret::from_bytes(&[1; 15]).unwrap_err().kind(), NetErrorKind::BadSecret(_)));
    assert!(matches!(Secret::from_bytes(&[1; 1025]).unwrap_err().kind(), NetErrorKind::BadSecret(_)));
    let secret = Secret::from_bytes(b"0123456789abcdef").unwrap();
    assert_eq!((format!("{secret:?}").as_str(), secret.expose()), ("Secret(..)", b"0123456789abcdef".as_slice()));
    assert_ne!(Secret::random().unwrap().expose(), Secret::random().unwrap().expose());
}

#[test]
fn a_secret_comes_from_a_file_that_is_not_for_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let write = |contents: &[u8], mode| {
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Secret::from_file(&path)
    };
    let exposed = |secret: firesteel_net::Result<Secret>| secret.unwrap().expose().to_vec();
    assert_eq!(exposed(write(b"0123456789abcdef\n", 0o600)), b"0123456789abcdef");
    assert_eq!(exposed(write(b"\n0123456789 abcdef\r\n", 0o440)), b"\n0123456789 abcdef");
    assert_eq!(exposed(write(&[[b'x'; 1024].as_slice(), b"\r\n"].concat(), 0o600)), [b'x'; 1024]);
    for (contents, mode, says) in [
        (b"0123456789abcdef".as_slice(), 0o604, "chmod 600"),
        (b"0123456789abcde\n", 0o600, "15 bytes"),
        (b"\n\n", 0o600, "0 bytes"),
        (&[b'x'; 2000], 0o600, "16 to 1024"),
    ] {
        let e = write(contents, mode).unwrap_err();
        assert!(e.peer() == path.display().to_string() && e.to_string().contains(says), "{e}");
    }
    assert!(Secret::from_file(&folder.path().join("none")).is_err());
}

#[test]
fn half_open_connections_hinder_nobody() {
    let (listener, connections) = listen(&patient());
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(listener.local_addr()).unwrap()).collect();
    for _ in 0..5 {
        connect(listener.local_addr(), Some(&secret()), &hello(), &patient()).unwrap();
        connections.recv().unwrap();
    }
    drop(silent);
}

#[test]
fn the_oldest_half_open_connection_gives_way_when_there_are_too_many() {
    let (listener, _connections) = listen(&Options { max_handshakes: 2, ..patient() });
    let mut silent: Vec<_> = (0..3).map(|_| TcpStream::connect(listener.local_addr()).unwrap()).collect();
    // No handshake ends by its own time limit here, and those before this one say nothing.
    connect(listener.local_addr(), Some(&secret()), &hello(), &patient()).unwrap();
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0, "the first has been closed");
}

#[test]
fn a_listener_that_is_dropped_leaves_nothing_behind() {
    let kept = Arc::new(());
    let held = Arc::clone(&kept);
    let (arrived, connections) = mpsc::channel();
    let on_connection = move |connection| {
        let _held = &held;
        let _ = arrived.send(connection);
    };
    let options = Options { max_handshakes: 1, ..patient() };
    let listener = Listener::bind(OWN_ADDRESS, Some(&secret()), &hello(), &options, on_connection).unwrap();
    let address = listener.local_addr();
    let (_reader, mut writer) = connect(address, Some(&secret()), &hello(), &options).unwrap().split();
    let handed_on = connections.recv().unwrap();
    // One shakes hands forever, one waits for its turn.
    let mut silent = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    drop(listener);
    assert_eq!(Arc::strong_count(&kept), 1, "no thread has the callback");
    for stream in &mut silent {
        let _ = stream.set_read_timeout(Some(LONG));
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
    assert!(TcpStream::connect(address).is_err());
    TcpListener::bind(address).expect("the port is free");
    // What was handed on lives.
    writer.send(&[b"still here"]).unwrap();
    writer.finish().unwrap();
    assert_eq!(frames_of(handed_on).unwrap(), [b"still here"]);
}

#[test]
fn many_connect_at_once() {
    let (listener, connections) = listen(&Options { max_handshakes: 4, ..patient() });
    let address = listener.local_addr();
    let clients: Vec<_> = (0..40u8)
        .map(|i| {
            thread::spawn(move || {
                let (mut reader, mut writer) =
                    connect(address, Some(&secret()), &hello().details([i]), &patient()).unwrap().split();
                writer.send(&[&[i]]).unwrap();
                writer.finish().unwrap();
                // The peer says nothing, and ends when it has heard all.
                assert!(reader.recv(&mut Vec::new()).is_err());
            })
        })
        .collect();
    let mut seen: Vec<u8> = connections
        .iter()
        .take(clients.len())
        .map(|connection| {
            let details = connection.hello().details.clone();
            assert_eq!(frames_of(connection).unwrap(), [details.as_slice()]);
            details[0]
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn a_callback_that_panics_spoils_one_connection() {
    let first = AtomicBool::new(true);
    let (arrived, connections) = mpsc::channel();
    let on_connection = move |connection| {
        assert!(!first.swap(false, Ordering::SeqCst), "the first connection is not to my liking");
        let _ = arrived.send(connection);
    };
    let options = Options { max_handshakes: 1, ..patient() };
    let listener = Listener::bind("127.0.0.1:0", Some(&secret()), &hello(), &options, on_connection).unwrap();
    let address = listener.local_addr();
    let spoiled = connect(address, Some(&secret()), &hello(), &options).unwrap();
    assert!(frames_of(spoiled).is_err());
    let _fine = connect(address, Some(&secret()), &hello(), &options).unwrap();
    connections.recv().unwrap();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let listener = Listener::bind(OWN_ADDRESS, Some(&secret()), &hello(), &patient(), |_| {}).unwrap();
    let address = listener.local_addr();
    let e = Listener::bind(address, Some(&secret()), &hello(), &patient(), |_| {}).unwrap_err();
    assert!(matches!(e.kind(), NetErrorKind::Listen(_)), "{e}");
    assert_eq!(e.peer(), address.to_string());
    drop(listener);
    let e = connect(address, Some(&secret()), &hello(), &patient()).unwrap_err();
    assert!(matches!(e.kind(), NetErrorKind::Connect(_)), "{e}");
}
