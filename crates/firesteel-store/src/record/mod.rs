//! The record format: how users' values become bytes wherever they leave memory as values — spilled runs, blocks on
//! disk, what travels between processes.
//!
//! A fixed-width format for any serde type, between identical binaries: it says nothing about itself, so a type is read
//! back as exactly the type that was written.
//!
//! | value | bytes |
//! |---|---|
//! | integers, floats | little-endian, their own width (`f64`: its bits) |
//! | `bool` | 1 byte, 0 or 1 |
//! | `char` | `u32` |
//! | `()`, unit structs | nothing |
//! | `Option` | 1 byte, 0 or 1, then the value |
//! | `str`, bytes | length, then the bytes |
//! | sequences, maps | length, then the elements; an element that takes no bytes is followed by a 0 |
//! | tuples, structs, newtypes | their fields, nothing between |
//! | tuple structs, tuple variants | 1 byte, the number of fields, then the fields |
//! | enums | the variant's index as `u32`, then its content |
//!
//! A length is a `u32`; 0xffff_ffff says that a `u64` with the length follows.
//!
//! Since every element takes at least a byte, a length beyond what is left is refused before anything is allocated:
//! hostile bytes make the reader allocate no more than their number times the size of the element type in memory.
//!
//! ```
//! use firesteel_store::record;
//!
//! let bytes = record::to_vec(&("spark", 3u64)).unwrap();
//! assert_eq!(bytes, b"\x05\0\0\0spark\x03\0\0\0\0\0\0\0");
//! let (word, count): (String, u64) = record::from_slice(&bytes).unwrap();
//! assert_eq!((word.as_str(), count), ("spark", 3));
//! ```

mod decode;
mod encode;
mod error;

pub use decode::Decoder;
pub use error::{RecordError, RecordErrorKind, SelfDescribing};

use serde::{Serialize, de::DeserializeOwned};

/// How deep values may nest in values: every `Some`, enum, sequence and map inside another counts one.
///
/// A bound, so that neither a long linked list nor hostile bytes overflow the stack.
pub const MAX_DEPTH: u32 = 256;

/// The bytes of one value.
///
/// # Errors
/// When the type leaves out a field (`skip_serializing_if`), nests deeper than [`MAX_DEPTH`], or its own `Serialize` fails.
///
/// # Cost
/// One pass; the vector grows by doubling.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    extend(&mut out, value)?;
    Ok(out)
}

/// Appends the bytes of one value; on an error `out` is as it was.
///
/// # Errors
/// As [`to_vec`].
///
/// ```
/// # use firesteel_store::record;
/// let mut out = Vec::new();
/// record::extend(&mut out, &1u16).unwrap();
/// record::extend(&mut out, &true).unwrap();
/// assert_eq!(out, [1, 0, 1]);
/// ```
#[inline]
pub fn extend<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), RecordError> {
    let start = out.len();
    match value.serialize(&mut encode::Encoder::new(out)) {
        Ok(()) => Ok(()),
        Err(e) => {
            out.truncate(start);
            Err(e.record::<T>())
        }
    }
}

/// The value whose bytes these are, all of them.
///
/// # Errors
/// When the bytes are no such value, end too early or go on after it, or when the type cannot be read from a format that
/// does not describe itself. Never panics, whatever the bytes.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.read()?;
    match decoder.remaining() {
        0 => Ok(value),
        n => Err(RecordError::new(RecordErrorKind::TrailingBytes(n as u64)).record::<T>()),
    }
}

#[cfg(test)]
mod tests;
