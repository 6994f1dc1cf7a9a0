//! The handshake, as a function of the bytes that arrive: who connects proves to know the secret, and is shown the same.
//!
//! ```text
//! connecting                                              listening
//!   opening: magic, version, side, flags, ephemeral key ──▶
//!                       ◀── opening: magic, version, side, flags, ephemeral key
//!   both: keys = HKDF(from: X25519 of the ephemeral keys, salt: the secret, for: SHA-256 of both openings)
//!   hello, sealed under the connecting side's key ──────▶   opens: the secrets are the same, and this is no replay
//!                       ◀── hello, sealed under the listening side's key, or a refusal
//! ```
//!
//! Everything that is said before goes into the keys, so a changed bit of an opening (another key, encryption no longer asked for)
//! shows when the first hello is opened. Recorded bytes are worth nothing: each side's ephemeral key is new, and gone
//! afterwards, so who learns the secret later cannot read what was encrypted before.

use crate::{
    Hello, NetErrorKind, Secret,
    keys::{Forged, Sealing, TAG},
};
use ring::{
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    digest::{Context, SHA256},
    hkdf::{HKDF_SHA256, Prk, Salt},
    rand::SystemRandom,
};

/// The bytes of an opening: magic, version, side, flags, key. Every version's opening has this length and begins with
/// magic and version, so that versions can tell each other apart.
pub(crate) const OPENING: usize = 40;
/// The most bytes of a sealed hello.
pub(crate) const MAX_SEALED: usize = Hello::MAX_ENCODED + TAG;

const MAGIC: &[u8; 5] = b"fsnet";
const VERSION: u8 = 1;
const ENCRYPT: u8 = 1;

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Connecting,
    Listening,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Connecting => Side::Listening,
            Side::Listening => Side::Connecting,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Side::Connecting => b'C',
            Side::Listening => b'L',
        }
    }

    fn hello_key(self) -> &'static [u8] {
        match self {
            Side::Connecting => b"connecting hello",
            Side::Listening => b"listening hello",
        }
    }

    fn frames_key(self) -> &'static [u8] {
        match self {
            Side::Connecting => b"connecting frames",
            Side::Listening => b"listening frames",
        }
    }
}

/// What this side opens a handshake with.
pub(crate) struct Opening {
    bytes: [u8; OPENING],
    side: Side,
    encrypt: bool,
    key: EphemeralPrivateKey,
}

impl Opening {
    /// A new opening, of a side that wants its frames encrypted or leaves it to the other.
    pub(crate) fn new(side: Side, encrypt: bool) -> Result<Opening, NetErrorKind> {
        let no_randomness = |_| NetErrorKind::NoRandomness;
        let key = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(no_randomness)?;
        let public = key.compute_public_key().map_err(no_randomness)?;
        let mut bytes = [0; OPENING];
        bytes[..5].copy_from_slice(MAGIC);
        bytes[5..8].copy_from_slice(&[VERSION, side.byte(), if encrypt { ENCRYPT } else { 0 }]);
        bytes[8..].copy_from_slice(public.as_ref());
        Ok(Opening { bytes, side, encrypt, key })
    }

    /// What is sent.
    pub(crate) fn bytes(&self) -> &[u8; OPENING] {
        &self.bytes
    }

    /// Both openings together give the session. It is worth nothing before the peer's hello has been opened.
    pub(crate) fn agree(self, theirs: &[u8; OPENING], secret: Option<&Secret>) -> Result<Session, NetErrorKind> {
        let Opening { bytes: ours, side, encrypt, key } = self;
        let [m0, m1, m2, m3, m4, version, their_side, flags, their_key @ ..] = theirs;
        if [*m0, *m1, *m2, *m3, *m4] != *MAGIC {
            return Err(NetErrorKind::NotFiresteel);
        }
        if *version != VERSION {
            return Err(NetErrorKind::HandshakeVersion { theirs: *version, ours: VERSION });
        }
        if *their_side != side.other().byte() || flags & !ENCRYPT != 0 {
            return Err(NetErrorKind::NotFiresteel);
        }
        let (first, second) = match side {
            Side::Connecting => (&ours, theirs),
            Side::Listening => (theirs, &ours),
        };
        let mut transcript = Context::new(&SHA256);
        transcript.update(first);
        transcript.update(second);
        let transcript = transcript.finish();
        let salt = Salt::new(HKDF_SHA256, secret.map_or(&[], Secret::expose));
        let keys = agree_ephemeral(key, &UnparsedPublicKey::new(&X25519, their_key), |shared| salt.extract(shared))
            .map_err(|_| NetErrorKind::NotFiresteel)?
            .expand(&[b"firesteel-net ", transcript.as_ref()], HKDF_SHA256)
            .expect("a key is far below HKDF's limit")
            .into();
        Ok(Session { keys, side, encrypted: encrypt || *flags == ENCRYPT })
    }
}

/// What both sides have in common after their openings.
pub(crate) struct Session {
    keys: Prk,
    side: Side,
    encrypted: bool,
}

impl Session {
    /// This side's hello as it is sent: its length, and itself sealed.
    pub(crate) fn seal(&self, hello: &[u8]) -> Vec<u8> {
        let length = u16::try_from(hello.len() + TAG).expect("the length of a hello was checked").to_le_bytes();
        let mut sealed = [&length, hello].concat();
        let tag = Sealing::new(&self.keys, self.side.hello_key()).seal(&length, &mut sealed[2..]);
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// The peer's hello, which proves that it has the secret and that the openings arrived as they were sent.
    pub(crate) fn open(&self, mut sealed: Vec<u8>) -> Result<Hello, NetErrorKind> {
        let length = u16::try_from(sealed.len()).map_err(|_| NetErrorKind::NotFiresteel)?.to_le_bytes();
        Sealing::new(&self.keys, self.side.other().hello_key())
            .open(&length, &mut sealed)
            .map_err(|Forged| NetErrorKind::Secret)?;
        Hello::decode(&sealed[..sealed.len() - TAG]).ok_or(NetErrorKind::NotFiresteel)
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The keys for this side's frames and the peer's; `None` where frames travel in the clear.
    pub(crate) fn frame_keys(self) -> Option<(Sealing, Sealing)> {
        let of = |side: Side| Sealing::new(&self.keys, side.frames_key());
        self.encrypted.then(|| (of(self.side), of(self.side.other())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret() -> Secret {
        Secret::from_bytes(b"a secret for the tests").unwrap()
    }

    /// Both sides' sessions; `change` is what happens to an opening on its way to `Side`.
    fn sessions(encrypt: [bool; 2], change: impl Fn(Side, &mut [u8; OPENING])) -> (Session, Session) {
        let connecting = Opening::new(Side::Connecting, encrypt[0]).unwrap();
        let listening = Opening::new(Side::Listening, encrypt[1]).unwrap();
        let (mut first, mut second) = (*connecting.bytes(), *listening.bytes());
        change(Side::Listening, &mut first);
        change(Side::Connecting, &mut second);
        (connecting.agree(&second, Some(&secret())).unwrap(), listening.agree(&first, Some(&secret())).unwrap())
    }

    fn opens(from: &Session, to: &Session) -> Result<Hello, NetErrorKind> {
        to.open(from.seal(&Hello::new("test", 1).encode().unwrap())[2..].to_vec())
    }

    #[test]
    fn encryption_cannot_be_talked_away_or_into() {
        for side in [Side::Connecting, Side::Listening] {
            for encrypt in [[false, false], [true, false], [false, true], [true, true]] {
                let (connecting, listening) = sessions(encrypt, |to, opening| {
                    if to == side {
                        opening[7] ^= ENCRYPT;
                    }
                });
                assert!(matches!(opens(&connecting, &listening), Err(NetErrorKind::Secret)), "{side:?} {encrypt:?}");
                assert!(matches!(opens(&listening, &connecting), Err(NetErrorKind::Secret)), "{side:?} {encrypt:?}");
            }
        }
    }

    #[test]
    fn each_direction_has_its_own_keys() {
        let (connecting, listening) = sessions([true, false], |_, _| {});
        assert!(opens(&connecting, &listening).is_ok() && opens(&listening, &connecting).is_ok());
        // A hello that comes back to who said it.
        assert!(matches!(opens(&connecting, &connecting), Err(NetErrorKind::Secret)));
        let (mut sent, _) = connecting.frame_keys().unwrap();
        let (mut sent_back, mut received) = listening.frame_keys().unwrap();
        let sealed = |sealing: &mut Sealing| {
            let mut record = *b"contents and a place for the tag";
            let tag = sealing.seal(b"", &mut record[..16]);
            record[16..].copy_from_slice(tag.as_ref());
            record
        };
        let record = sealed(&mut sent);
        assert_ne!(record, sealed(&mut sent_back));
        assert_eq!(received.open(b"", &mut record.clone()), Ok(()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_open_nothing(
            opening in prop::array::uniform32(any::<u8>()), flags in 0..3u8, sealed in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = [0; OPENING];
            bytes[..8].copy_from_slice(&[b'f', b's', b'n', b'e', b't', VERSION, b'C', flags]);
            bytes[8..].copy_from_slice(&opening);
            if let Ok(session) = Opening::new(Side::Listening, false).unwrap().agree(&bytes, Some(&secret())) {
                prop_assert!(session.open(sealed).is_err());
            }
        }
    }
}
