//! Sending without waiting.

use crate::{ends, frames_of, patient};
use firesteel_net::{Connection, FrameReader, NetErrorKind, Options, Outbox};
use std::{sync::Arc, thread, time::Duration};

/// An outbox, what reads beside it, and the other end.
fn outbox(options: &Options, limit: usize) -> (Outbox, FrameReader, Connection) {
    let (here, there) = ends(options);
    let (reader, writer) = here.split();
    (Outbox::new(writer, limit).unwrap(), reader, there)
}

#[test]
fn what_was_queued_arrives_in_order_before_the_end() {
    for encrypt in [false, true] {
        let (outbox, _reader, there) = outbox(&Options { encrypt, ..patient() }, 64 << 20);
        let receiver = thread::spawn(move || frames_of(there).unwrap());
        let frames: Vec<_> = (0..1000u32).map(|i| i.to_le_bytes().repeat(i as usize % 50)).collect();
        for frame in &frames {
            outbox.try_send(frame.clone()).unwrap();
        }
        outbox.finish().unwrap();
        assert_eq!(receiver.join().unwrap(), frames);
    }
}

#[test]
fn many_threads_share_an_outbox() {
    let (outbox, _reader, there) = outbox(&patient(), 64 << 20);
    let receiver = thread::spawn(move || frames_of(there).unwrap());
    let outbox = Arc::new(outbox);
    let senders: Vec<_> = (0..8u8)
        .map(|sender| {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || (0..100u8).for_each(|i| outbox.try_send(vec![sender, i]).unwrap()))
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    drop(outbox);
    let frames = receiver.join().unwrap();
    for sender in 0..8 {
        let of_sender: Vec<_> = frames.iter().filter(|frame| frame[0] == sender).map(|frame| frame[1]).collect();
        assert_eq!(of_sender, (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn a_queue_for_a_peer_that_does_not_read_fills_up() {
    let limit = 4 << 20;
    let (outbox, reader, there) = outbox(&patient(), limit);
    // Longer than the limit, but alone.
    outbox.try_send(vec![0; 2 * limit]).unwrap();
    let e = loop {
        if let Err(e) = outbox.try_send(vec![0; 1 << 20]) {
            break e;
        }
    };
    assert!(matches!(e.kind(), NetErrorKind::QueueFull { .. }), "{e}");
    // The caller's choice; otherwise the end would wait for the write timeout, which is long here.
    reader.closer().close();
    assert!(outbox.finish().is_err());
    assert!(frames_of(there).is_err());
}

#[test]
fn a_frame_over_the_limit_is_not_queued_and_harms_nothing() {
    let (outbox, _reader, there) = outbox(&Options { max_frame: 1000, ..patient() }, 1 << 20);
    for e in [outbox.try_send(vec![0; 1001]).unwrap_err(), outbox.send(vec![0; 1001]).unwrap_err()] {
        assert!(matches!(e.kind(), NetErrorKind::FrameTooLong { length: 1001, limit: 1000 }), "{e}");
    }
    outbox.try_send(vec![0; 1000]).unwrap();
    outbox.finish().unwrap();
    assert_eq!(frames_of(there).unwrap(), [[0; 1000]]);
}

#[test]
fn who_can_wait_waits_for_room() {
    for encrypt in [false, true] {
        let (outbox, _reader, there) = outbox(&Options { encrypt, ..patient() }, 1 << 20);
        let outbox = Arc::new(outbox);
        let mut sent = 0;
        while outbox.try_send(vec![0; 100_000]).is_ok() {
            sent += 1;
        }
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let outbox = Arc::clone(&outbox);
                thread::spawn(move || (0..50).for_each(|_| outbox.send(vec![0; 100_000]).unwrap()))
            })
            .collect();
        let receiver = thread::spawn(move || frames_of(there).unwrap());
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        drop(outbox);
        assert_eq!(receiver.join().unwrap().len(), sent + 200);
    }
}

#[test]
fn who_waits_for_room_is_told_when_the_connection_ends() {
    let (outbox, reader, _there) = outbox(&patient(), 1 << 20);
    let outbox = Arc::new(outbox);
    while outbox.try_send(vec![0; 1 << 19]).is_ok() {}
    let sender = thread::spawn({
        let outbox = Arc::clone(&outbox);
        move || loop {
            if let Err(e) = outbox.send(vec![0; 1 << 19]) {
                break e;
            }
        }
    });
    reader.closer().close();
    let e = sender.join().unwrap();
    assert!(matches!(e.kind(), NetErrorKind::Io(_)), "{e}");
}

#[test]
fn the_end_of_an_outbox_does_not_wait_for_a_peer_that_does_not_read() {
    let (outbox, _reader, there) = outbox(&Options { write_timeout: Duration::from_millis(20), ..patient() }, 1 << 30);
    outbox.try_send(vec![0; 64 << 20]).unwrap();
    let e = outbox.finish().unwrap_err();
    assert!(matches!(e.kind(), NetErrorKind::SlowReader), "{e}");
    assert!(frames_of(there).is_err());
}

#[test]
fn what_ended_the_connection_is_told_to_the_sender() {
    let (outbox, _reader, there) = outbox(&patient(), usize::MAX);
    drop(there);
    let e = loop {
        if let Err(e) = outbox.try_send(vec![0; 10]) {
            break e;
        }
    };
    assert!(matches!(e.kind(), NetErrorKind::Io(_)), "{e}");
    assert_eq!(e.peer(), outbox.peer());
}

#[test]
fn what_is_short_is_on_its_way_when_its_sender_goes_on() {
    for encrypt in [false, true] {
        let (outbox, _reader, there) = outbox(&Options { encrypt, ..patient() }, 1 << 20);
        outbox.try_send(b"first".to_vec()).unwrap();
        assert!(outbox.flush(Duration::ZERO));
        outbox.send(b"second".to_vec()).unwrap();
        assert!(outbox.flush(Duration::ZERO));
        outbox.finish().unwrap();
        assert_eq!(frames_of(there).unwrap(), [b"first".to_vec(), b"second".to_vec()]);
    }
}

#[test]
fn what_is_queued_waits_until_it_is_let_go_or_more_is_sent_or_nothing_follows() {
    let (outbox, _reader, there) = outbox(&patient(), 1 << 20);
    let queue = |frame: u8| {
        outbox.try_queue(vec![frame]).unwrap();
        assert!(!outbox.flush(Duration::ZERO), "it waits");
    };
    (0..3).for_each(queue);
    outbox.go().unwrap();
    assert!(outbox.flush(Duration::ZERO));
    outbox.go().unwrap();
    queue(3);
    outbox.try_send(vec![4]).unwrap();
    assert!(outbox.flush(Duration::ZERO));
    queue(5);
    outbox.finish().unwrap();
    assert_eq!(frames_of(there).unwrap(), [[0], [1], [2], [3], [4], [5]]);
}

#[test]
fn short_frames_that_the_socket_has_no_room_for_arrive_in_order() {
    for encrypt in [false, true] {
        let (outbox, _reader, there) = outbox(&Options { encrypt, ..patient() }, 8 << 20);
        let frame = |i: u32| i.to_le_bytes().repeat(300 + i as usize % 7);
        let mut frames = Vec::new();
        while outbox.try_send(frame(frames.len() as u32)).is_ok() {
            frames.push(frame(frames.len() as u32));
        }
        let receiver = thread::spawn(move || frames_of(there).unwrap());
        for _ in 0..1000 {
            let next = frame(frames.len() as u32);
            outbox.send(next.clone()).unwrap();
            frames.push(next);
        }
        outbox.finish().unwrap();
        assert!(receiver.join().unwrap() == frames);
    }
}
