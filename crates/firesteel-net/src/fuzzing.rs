//! What a fuzzer can reach of what this crate makes of bytes from outside.

use crate::{
    Hello, NetErrorKind, Secret,
    handshake::{OPENING, Opening, Side},
    keys::Sealing,
    reader::{Incoming, recv_frame},
};
use ring::hkdf::{HKDF_SHA256, Salt};

/// The longest frame that is received.
const MAX_FRAME: usize = 1 << 16;

/// What somebody who knows the secret says of itself.
pub fn hello(bytes: &[u8]) {
    if let Some(hello) = Hello::decode(bytes) {
        assert_eq!(hello.encode().ok().as_deref(), Some(bytes));
    }
}

/// What somebody says who may not know the secret: an opening, and a sealed hello.
pub fn handshake(bytes: &[u8]) {
    let Some((opening, sealed)) = bytes.split_first_chunk::<OPENING>() else { return };
    let secret = Secret::from_bytes(b"a secret for a fuzzer").expect("it is long enough");
    let ours = Opening::new(Side::Listening, false).expect("there is randomness");
    if let Ok(session) = ours.agree(opening, Some(&secret)) {
        assert!(session.open(sealed.to_vec()).is_err(), "nobody guesses a key");
    }
}

/// Frames, in the clear and encrypted.
pub fn frames(bytes: &[u8]) {
    for encrypted in [false, true] {
        let sealing =
            encrypted.then(|| Sealing::new(&Salt::new(HKDF_SHA256, b"salt").extract(b"a secret"), b"fuzzing"));
        let (mut incoming, mut rest, mut frame) = (Incoming::new(sealing), bytes, Vec::new());
        loop {
            match recv_frame(&mut incoming, &mut rest, MAX_FRAME, &mut frame) {
                Ok(true) => assert!(frame.len() <= MAX_FRAME && !encrypted),
                Ok(false) => break assert!(!encrypted),
                Err(NetErrorKind::CutOff | NetErrorKind::Damaged | NetErrorKind::FrameTooLong { .. }) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}
