//! Frames arrive as they were sent, or not at all.

use crate::{ends, frames_of, patient};
use firesteel_net::{Connection, NetErrorKind, Options};
use proptest::prelude::*;
use std::{sync::LazyLock, thread, time::Duration};

fn ends_of(encrypt: bool) -> (Connection, Connection) {
    ends(&Options { encrypt, ..patient() })
}

/// Bytes that differ from place to place, and from seed to seed.
fn contents(length: usize, seed: u8) -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..65_521u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]).collect());
    let start = usize::from(seed);
    let mut bytes = BYTES.repeat((start + length).div_ceil(BYTES.len()));
    bytes.truncate(start + length);
    bytes.split_off(start)
}

/// Lengths around what is gathered and what is read at a time.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0usize..100,
        2 => (60usize << 10)..(70 << 10),
        1 => (250usize << 10)..(270 << 10),
        1 => (1usize << 20)..(3 << 20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn frames_arrive_whole_and_in_order(
        frames in prop::collection::vec((length(), any::<u8>(), prop::collection::vec(0.0..1.0, 0..4), any::<bool>()), 0..20),
        encrypt: bool,
    ) {
        let (here, there) = ends_of(encrypt);
        let receiver = thread::spawn(move || frames_of(there));
        let (_reader, mut writer) = here.split();
        let mut sent = Vec::new();
        for (length, seed, cuts, flush) in frames {
            let frame = contents(length, seed);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| (cut * length as f64) as usize).chain([0, length]).collect();
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|cut| &frame[cut[0]..cut[1]]).collect();
            writer.send(&parts).unwrap();
            if flush {
                writer.flush().unwrap();
            }
            sent.push(frame);
        }
        writer.finish().unwrap();
        let received = receiver.join().unwrap().unwrap();
        prop_assert!(received == sent, "frames differ");
    }
}

#[test]
fn a_buffer_is_used_again_whatever_was_in_it() {
    for encrypt in [false, true] {
        let (here, there) = ends_of(encrypt);
        let (_reader, mut writer) = here.split();
        let lengths = [3 << 20, 10, 0, 2 << 20, 1, 5 << 20];
        let sender = thread::spawn(move || {
            for (i, length) in lengths.into_iter().enumerate() {
                writer.send(&[&contents(length, i as u8)]).unwrap();
            }
            writer.finish().unwrap();
        });
        let (mut reader, _writer) = there.split();
        let mut frame = b"something from before".to_vec();
        for (i, length) in lengths.into_iter().enumerate() {
            assert!(reader.recv(&mut frame).unwrap());
            assert!(frame == contents(length, i as u8), "frame {i}");
        }
        assert!(!reader.recv(&mut frame).unwrap());
        sender.join().unwrap();
    }
}

#[test]
fn both_directions_flow_at_once() {
    for encrypt in [false, true] {
        let (here, there) = ends_of(encrypt);
        let threads: Vec<_> = [here, there]
            .into_iter()
            .flat_map(|end| {
                let (mut reader, mut writer) = end.split();
                let sender = thread::spawn(move || {
                    for i in 0..200 {
                        writer.send(&[&contents(50_000, i)]).unwrap();
                    }
                    writer.finish().unwrap();
                });
                let receiver = thread::spawn(move || {
                    let mut frame = Vec::new();
                    for i in 0..200 {
                        assert!(reader.recv(&mut frame).unwrap());
                        assert!(frame == contents(50_000, i), "frame {i}");
                    }
                    assert!(!reader.recv(&mut frame).unwrap());
                });
                [sender, receiver]
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_frame_over_the_limit_is_not_sent_and_harms_nothing() {
    for encrypt in [false, true] {
        let (here, there) = ends(&Options { encrypt, max_frame: 1000, ..patient() });
        let (_reader, mut writer) = here.split();
        writer.send(&[&[1; 600], &[2; 400]]).unwrap();
        let e = writer.send(&[&[1; 600], &[2; 401]]).unwrap_err();
        assert!(matches!(e.kind(), NetErrorKind::FrameTooLong { length: 1001, limit: 1000 }), "{e}");
        writer.send(&[b"after"]).unwrap();
        writer.finish().unwrap();
        let frames = frames_of(there).unwrap();
        assert_eq!(frames, [[[1; 600].as_slice(), &[2; 400]].concat(), b"after".to_vec()]);
    }
}

#[test]
fn a_writer_that_is_dropped_before_its_end_cuts_off() {
    for encrypt in [false, true] {
        let (here, there) = ends_of(encrypt);
        let (_reader, mut writer) = here.split();
        writer.send(&[b"frame"]).unwrap();
        writer.flush().unwrap();
        drop(writer);
        assert!(matches!(frames_of(there).unwrap_err().kind(), NetErrorKind::CutOff));
    }
}

#[test]
fn a_writer_that_finished_still_hears_the_answer() {
    let (here, there) = ends_of(false);
    let (mut reader, mut writer) = here.split();
    writer.send(&[b"question"]).unwrap();
    writer.finish().unwrap();
    let (mut their_reader, mut their_writer) = there.split();
    let mut frame = Vec::new();
    assert!(their_reader.recv(&mut frame).unwrap() && !their_reader.recv(&mut frame).unwrap());
    their_writer.send(&[b"answer"]).unwrap();
    their_writer.finish().unwrap();
    assert!(reader.recv(&mut frame).unwrap());
    assert_eq!(frame, b"answer");
    assert!(!reader.recv(&mut frame).unwrap());
}

#[test]
fn a_peer_that_reads_nothing_is_dropped() {
    for encrypt in [false, true] {
        let (here, there) = ends(&Options { encrypt, write_timeout: Duration::from_millis(20), ..patient() });
        let (mut reader, mut writer) = here.split();
        let frame = vec![0; 1 << 20];
        let e = loop {
            if let Err(e) = writer.send(&[&frame]) {
                break e;
            }
        };
        assert!(matches!(e.kind(), NetErrorKind::SlowReader), "{e}");
        assert!(writer.send(&[&frame]).is_err());
        // The other half has ended, too, and so has the peer's.
        assert!(reader.recv(&mut Vec::new()).is_err());
        assert!(matches!(frames_of(there).unwrap_err().kind(), NetErrorKind::CutOff));
    }
}

#[test]
fn a_peer_that_sends_nothing_is_dropped_after_the_read_timeout() {
    let (here, there) = ends(&Options { read_timeout: Some(Duration::from_millis(20)), ..patient() });
    let (mut reader, _writer) = here.split();
    let e = reader.recv(&mut Vec::new()).unwrap_err();
    assert!(matches!(e.kind(), NetErrorKind::Silent), "{e}");
    assert!(matches!(frames_of(there).unwrap_err().kind(), NetErrorKind::CutOff | NetErrorKind::Silent));
}

#[test]
fn closing_from_elsewhere_wakes_both_sides() {
    let (here, there) = ends_of(true);
    let closer = here.closer();
    let threads = [here, there].map(|end| thread::spawn(move || frames_of(end)));
    closer.close();
    for thread in threads {
        assert!(matches!(thread.join().unwrap().unwrap_err().kind(), NetErrorKind::CutOff));
    }
    closer.close();
}
