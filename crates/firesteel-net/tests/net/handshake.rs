//! Who gets in, and what the others are told.

use crate::{LONG, frames_of, hello, listen, patient, relay, secret};
use firesteel_net::{Connection, Hello, Listener, NetErrorKind, Options, Secret, connect};
use proptest::prelude::*;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

/// The length of the first message in both directions.
const OPENING: usize = 40;

fn kind_of(result: firesteel_net::Result<Connection>) -> NetErrorKind {
    result.expect_err("refused").kind().clone()
}

#[test]
fn both_sides_learn_who_the_other_is() {
    for address in ["127.0.0.1:0", "[::1]:0", "localhost:0"] {
        if TcpListener::bind(address).is_err() {
            continue; // a machine without IPv6
        }
        let (arrived, connections) = mpsc::channel();
        let on_connection = move |connection| drop(arrived.send(connection));
        let driver = hello().details(b"driver");
        let listener = Listener::bind(address, Some(&secret()), &driver, &patient(), on_connection).unwrap();
        let executor = hello().details(vec![7; Hello::MAX_DETAILS]);
        let here = connect(listener.local_addr(), Some(&secret()), &executor, &patient()).unwrap();
        let there = connections.recv().unwrap();
        assert_eq!((here.hello(), there.hello()), (&driver, &executor));
        assert_eq!((here.peer_addr(), here.local_addr()), (there.local_addr(), there.peer_addr()));
        assert_eq!(here.peer_addr(), listener.local_addr());
        assert_eq!(here.peer(), listener.local_addr().to_string());
    }
}

#[test]
fn either_side_can_have_frames_encrypted() {
    for (ours, theirs) in [(false, false), (false, true), (true, false), (true, true)] {
        let options = |encrypt| Options { encrypt, ..patient() };
        let (listener, connections) = listen(&options(theirs));
        let here = connect(listener.local_addr(), Some(&secret()), &hello(), &options(ours)).unwrap();
        let there = connections.recv().unwrap();
        assert_eq!((here.is_encrypted(), there.is_encrypted()), (ours || theirs, ours || theirs));
    }
}

#[test]
fn only_the_same_secret_gets_in() {
    let other = Secret::from_bytes(b"another secret of the same length").unwrap();
    let (secret, none) = (secret(), None);
    for (ours, theirs) in [(Some(&secret), Some(&other)), (Some(&secret), none), (none, Some(&secret)), (none, none)] {
        let (arrived, connections) = mpsc::channel();
        let on_connection = move |connection| drop(arrived.send(connection));
        let listener = Listener::bind("127.0.0.1:0", theirs, &hello(), &patient(), on_connection).unwrap();
        let result = connect(listener.local_addr(), ours, &hello(), &patient());
        if ours.is_none() && theirs.is_none() {
            assert!(result.is_ok() && connections.recv().is_ok());
        } else {
            drop(listener);
            let e = result.unwrap_err();
            assert!(matches!(e.kind(), NetErrorKind::Secret), "{e}");
            assert!(e.to_string().contains("firesteel.authenticate.secret"), "{e}");
            assert!(connections.recv().is_err(), "the listener handed on a stranger");
        }
    }
}

#[test]
fn another_protocol_or_version_is_refused_and_named() {
    let (listener, connections) = listen(&patient());
    let connect = |hello: &Hello| kind_of(connect(listener.local_addr(), Some(&secret()), hello, &patient()));
    let kind = connect(&Hello::new("other", 1));
    assert!(matches!(&kind, NetErrorKind::Protocol { theirs, ours } if theirs == "test" && ours == "other"), "{kind}");
    let kind = connect(&Hello::new("test", 2));
    assert!(matches!(&kind, NetErrorKind::Version { theirs: 1, ours: 2, .. }), "{kind}");
    drop(listener);
    assert!(connections.recv().is_err(), "the listener handed on a connection that it cannot understand");
}

#[test]
fn a_handshake_of_another_version_is_named_on_both_sides() {
    let (listener, _connections) = listen(&patient());
    let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
    let mut opening = [0; OPENING];
    opening[..7].copy_from_slice(b"fsnet\x09C");
    stream.write_all(&opening).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(
        (answer.len(), &answer[..7]),
        (OPENING, b"fsnet\x01L".as_slice()),
        "the listener says which version it has"
    );

    opening[6] = b'L';
    let kind = answered_with(opening.to_vec());
    assert!(matches!(kind, NetErrorKind::HandshakeVersion { theirs: 9, ours: 1 }), "{kind}");
}

/// How connecting fails when the other side answers with these bytes and then waits for the end.
fn answered_with(bytes: Vec<u8>) -> NetErrorKind {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Who refuses early may have reset the connection before all was said.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let kind = kind_of(connect(address, Some(&secret()), &hello(), &patient()));
    thread.join().unwrap();
    kind
}

#[test]
fn what_is_no_firesteel_process_is_said_to_be_none() {
    let kind = answered_with(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec());
    assert!(matches!(kind, NetErrorKind::NotFiresteel), "{kind}");
    let kind = answered_with(b"220 mail".to_vec());
    assert!(matches!(kind, NetErrorKind::HandshakeEnded), "{kind}");
    // Zeros are a key with which there is no common secret.
    let kind = answered_with([b"fsnet\x01L\0".as_slice(), &[0; 32]].concat());
    assert!(matches!(kind, NetErrorKind::NotFiresteel), "{kind}");
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { handshake_timeout: Duration::from_millis(20), ..patient() };
    let e = connect(silent.local_addr().unwrap(), Some(&secret()), &hello(), &options).unwrap_err();
    assert!(matches!(e.kind(), NetErrorKind::HandshakeTimeout), "{e}");
    assert_eq!(e.peer(), silent.local_addr().unwrap().to_string());

    // The same the other way round: the listener closes.
    let (listener, _connections) = listen(&options);
    let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn a_hello_that_is_too_long_is_refused_before_it_comes() {
    let (listener, _connections) = listen(&patient());
    let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
    let opening = [b"fsnet\x01C\0".as_slice(), &[9; 32]].concat();
    stream.write_all(&[&opening, [0xff; 2].as_slice()].concat()).unwrap();
    // The listener waits for nothing more, though its time limit is far.
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), OPENING);
}

#[test]
fn a_byte_changed_anywhere_in_the_handshake_is_refused_by_who_receives_it() {
    // Passes only where a changed length makes a side wait for more.
    let options = Options { handshake_timeout: Duration::from_millis(500), ..patient() };
    let lengths = {
        let (listener, connections) = listen(&patient());
        let (address, relay) = relay(listener.local_addr(), |_, byte| byte, |_, byte| byte);
        drop(connect(address, Some(&secret()), &hello(), &patient()).unwrap());
        drop(connections.recv().unwrap());
        let (there, back) = relay.join().unwrap();
        [there.len(), back.len()]
    };
    for (direction, length) in lengths.into_iter().enumerate() {
        assert!(length > OPENING);
        for at in 0..length {
            let flip =
                move |of: usize| move |i, byte| if of == direction && i == at { byte ^ (1 << (at % 8)) } else { byte };
            let (listener, connections) = listen(&options);
            let (address, relay) = relay(listener.local_addr(), flip(0), flip(1));
            let result = connect(address, Some(&secret()), &hello(), &options);
            assert!(result.is_err(), "the connecting side took byte {at} of direction {direction}");
            drop(listener);
            // What the listening side says last can only be found wrong by the connecting side.
            match connections.recv() {
                Ok(connection) if direction == 1 && at >= OPENING => {
                    assert!(matches!(frames_of(connection).unwrap_err().kind(), NetErrorKind::CutOff));
                }
                Ok(_) => panic!("the listening side took byte {at} of direction {direction}"),
                Err(_) => {}
            }
            relay.join().unwrap();
        }
    }
}

#[test]
fn a_recorded_handshake_opens_nothing() {
    let (listener, connections) = listen(&patient());
    let (address, relay) = relay(listener.local_addr(), |_, byte| byte, |_, byte| byte);
    let here = connect(address, Some(&secret()), &hello(), &patient()).unwrap();
    drop((here, connections.recv().unwrap()));
    let (there, back) = relay.join().unwrap();

    let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
    stream.write_all(&there).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), OPENING + 2, "an opening, and a refusal");
    drop(listener);
    assert!(connections.recv().is_err(), "the listener handed on a replay");

    let kind = answered_with(back);
    assert!(matches!(kind, NetErrorKind::Secret), "{kind}");
}

#[test]
fn a_listener_does_not_take_its_own_words_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mirror = thread::spawn(move || {
        let (mut from, _) = listener.accept().unwrap();
        let mut to = from.try_clone().unwrap();
        let _ = std::io::copy(&mut from, &mut to);
    });
    let kind = kind_of(connect(address, Some(&secret()), &hello(), &patient()));
    assert!(matches!(kind, NetErrorKind::NotFiresteel), "{kind}");
    mirror.join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_is_refused_and_hinders_nobody(garbage in prop::collection::vec(any::<u8>(), 0..200), wearing_magic: bool) {
        let (listener, connections) = listen(&Options { handshake_timeout: LONG, ..patient() });
        let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
        let magic: &[u8] = if wearing_magic { b"fsnet\x01C\x01" } else { b"" };
        // The listener may have reset the connection before all was said.
        let _ = stream.write_all(&[magic, &garbage].concat());
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        let client = connect(listener.local_addr(), Some(&secret()), &hello(), &patient());
        prop_assert!(client.is_ok() && connections.recv().is_ok());
        drop(listener);
        prop_assert!(connections.recv().is_err(), "the listener handed on garbage");
    }
}
