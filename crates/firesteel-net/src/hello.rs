//! What each side says of itself in the handshake.

use crate::NetErrorKind;

/// What a side says of itself while it connects: who it is for, and bytes that the application checks.
///
/// Both sides send one, under the keys of the handshake, so what arrives was said by somebody with the secret. The
/// handshake fails where protocol or version differ; the details are for the application to look at, on both sides,
/// before anything else is done with the connection (the executable's hash, an executor's id).
///
/// ```
/// use firesteel_net::Hello;
///
/// let hello = Hello::new("firesteel-executor", 1).details(b"executor 7");
/// assert_eq!(hello.details, b"executor 7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name of the protocol that follows: 1 to [`MAX_PROTOCOL`](Hello::MAX_PROTOCOL) visible ASCII characters.
    pub protocol: String,
    /// Its version: must be the same on both sides.
    pub version: u32,
    /// Whatever else the other side should know, at most [`MAX_DETAILS`](Hello::MAX_DETAILS) bytes.
    pub details: Vec<u8>,
}

impl Hello {
    /// The longest name of a protocol.
    pub const MAX_PROTOCOL: usize = 64;
    /// The most bytes of details.
    pub const MAX_DETAILS: usize = 2048;
    /// The most bytes that a hello takes.
    pub(crate) const MAX_ENCODED: usize = 1 + Hello::MAX_PROTOCOL + 4 + Hello::MAX_DETAILS;

    /// A hello without details.
    pub fn new(protocol: impl Into<String>, version: u32) -> Hello {
        Hello { protocol: protocol.into(), version, details: Vec::new() }
    }

    /// The same with these details.
    pub fn details(self, details: impl Into<Vec<u8>>) -> Hello {
        Hello { details: details.into(), ..self }
    }

    /// The bytes that are sent: the protocol's length and name, the version, the details up to the end.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, NetErrorKind> {
        let Hello { protocol, version, details } = self;
        if !is_protocol(protocol.as_bytes()) {
            let what =
                format!("{protocol:?} is no name of a protocol: 1 to {} visible ASCII characters", Self::MAX_PROTOCOL);
            return Err(NetErrorKind::BadHello(what));
        }
        if details.len() > Self::MAX_DETAILS {
            let what = format!("{} bytes of details are more than {}", details.len(), Self::MAX_DETAILS);
            return Err(NetErrorKind::BadHello(what));
        }
        let mut bytes = vec![protocol.len() as u8];
        bytes.extend_from_slice(protocol.as_bytes());
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(details);
        Ok(bytes)
    }

    /// The hello that `bytes` are; `None` for bytes that no [`encode`](Hello::encode) made.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Hello> {
        let (&length, rest) = bytes.split_first()?;
        let (protocol, rest) = rest.split_at_checked(usize::from(length))?;
        let (version, details) = rest.split_first_chunk()?;
        if !is_protocol(protocol) || details.len() > Self::MAX_DETAILS {
            return None;
        }
        let protocol = String::from_utf8(protocol.to_vec()).ok()?;
        Some(Hello { protocol, version: u32::from_le_bytes(*version), details: details.to_vec() })
    }

    /// Whether a side that says this can speak with one that says `theirs`.
    pub(crate) fn agrees_with(&self, theirs: &Hello) -> Result<(), NetErrorKind> {
        if self.protocol != theirs.protocol {
            let (theirs, ours) = (theirs.protocol.clone(), self.protocol.clone());
            return Err(NetErrorKind::Protocol { theirs, ours });
        }
        if self.version != theirs.version {
            let protocol = self.protocol.clone();
            return Err(NetErrorKind::Version { protocol, theirs: theirs.version, ours: self.version });
        }
        Ok(())
    }
}

/// A name that can stand in a message and a log as it is.
fn is_protocol(name: &[u8]) -> bool {
    (1..=Hello::MAX_PROTOCOL).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hello_survives_the_way(protocol in "[!-~]{1,64}", version: u32, details in prop::collection::vec(any::<u8>(), 0..100)) {
            let hello = Hello { protocol, version, details };
            prop_assert_eq!(Hello::decode(&hello.encode().unwrap()), Some(hello));
        }

        #[test]
        fn arbitrary_bytes_are_a_hello_that_encodes_to_them_or_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.encode().unwrap(), bytes);
            }
        }
    }

    #[test]
    fn the_longest_hello_fits_and_a_longer_one_does_not() {
        let longest = Hello::new("p".repeat(Hello::MAX_PROTOCOL), 1).details(vec![1; Hello::MAX_DETAILS]);
        assert_eq!(longest.encode().unwrap().len(), Hello::MAX_ENCODED);
        assert!(longest.clone().details(vec![1; Hello::MAX_DETAILS + 1]).encode().is_err());
        for protocol in ["", "two words", "line\n", "été", &"p".repeat(Hello::MAX_PROTOCOL + 1)] {
            assert!(Hello::new(protocol, 1).encode().is_err(), "{protocol:?}");
        }
    }
}
