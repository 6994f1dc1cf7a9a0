//! Contents by their hash: what programs and files are called on their way through a cluster.

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    fmt,
    io::{self, Read},
};

/// The SHA-256 of some bytes: their name wherever they are.
///
/// ```
/// use firesteel_cluster::content::ContentHash;
/// let (hash, length) = ContentHash::of(&b"abc"[..])?;
/// assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
/// assert_eq!((length, ContentHash::parse(&hash.to_string())), (3, Some(hash)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of all that a reader gives, and how many bytes those are.
    ///
    /// # Errors
    /// The reader's.
    pub fn of(mut bytes: impl Read) -> io::Result<(ContentHash, u64)> {
        let mut hashing = Hashing::default();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match bytes.read(&mut buffer) {
                Ok(0) => return Ok(hashing.finish()),
                Ok(n) => hashing.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The hash that 64 hexadecimal digits are; none for anything else.
    pub fn parse(text: &str) -> Option<ContentHash> {
        Some(ContentHash(from_hex(text)?.try_into().ok()?))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        ContentHash::parse(&text).ok_or_else(|| D::Error::custom("no SHA-256 in 64 hexadecimal digits"))
    }
}

/// A hash in the making.
pub(crate) struct Hashing {
    context: Context,
    length: u64,
}

impl Default for Hashing {
    fn default() -> Self {
        Hashing { context: Context::new(&SHA256), length: 0 }
    }
}

impl Hashing {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.length += bytes.len() as u64;
    }

    pub(crate) fn finish(self) -> (ContentHash, u64) {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.context.finish().as_ref());
        (ContentHash(hash), self.length)
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[digit as usize]))
        .collect()
}

/// The bytes that hexadecimal digits stand for; none if they are none.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_survive_their_digits(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        }

        #[test]
        fn arbitrary_text_is_a_hash_or_none(text in ".{0,70}") {
            if let Some(hash) = ContentHash::parse(&text) {
                prop_assert_eq!(hash.to_string(), text.to_lowercase());
            }
        }
    }
}
