//! The check at boundaries: what works on threads must work on a cluster.
//!
//! Between threads most values move as they are; between processes they move as [records](crate::record). So that a type which
//! cannot be carried fails in local mode too, and at once, some of the records that a task brings to a shuffle, a cache
//! or a collect are written, read back and written again.

use crate::record::{self, Decoder, RecordError};
use serde::{Serialize, de::DeserializeOwned};
use std::{any::type_name, fmt};

/// A value that does not survive being written and read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundaryError {
    type_name: &'static str,
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    Write(RecordError),
    Read(RecordError),
    WriteAgain(RecordError),
    Lengths(usize, usize),
    Bytes,
}

impl BoundaryError {
    /// The type of the record that was checked.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }
}

/// What most often makes the two sides disagree.
const REMEDY: &str = "its `Serialize` and `Deserialize` must agree on what is written: give both the same attributes (`skip`, not \
                      `skip_serializing`; `with`, not `serialize_with` alone), and skip no enum variant but the last ones";

impl fmt::Display for BoundaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "records of type `{}` cannot cross to another process: ", self.type_name)?;
        match &self.cause {
            Cause::Write(e) => write!(f, "{e}"),
            Cause::Read(e) if e.is_unsupported_type() => write!(f, "{e}"),
            Cause::Read(e) => write!(f, "what was written cannot be read back: {e}; {REMEDY}"),
            Cause::WriteAgain(e) => write!(f, "what was read back cannot be written again: {e}; {REMEDY}"),
            Cause::Lengths(first, again) => {
                write!(f, "one took {first} bytes, and {again} after it was read back; {REMEDY}")
            }
            Cause::Bytes => write!(f, "one had other contents after it was read back; {REMEDY}"),
        }
    }
}

impl std::error::Error for BoundaryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Write(e) | Cause::Read(e) | Cause::WriteAgain(e) => Some(e),
            Cause::Lengths(..) | Cause::Bytes => None,
        }
    }
}

impl From<BoundaryError> for firesteel_model::Error {
    fn from(e: BoundaryError) -> Self {
        firesteel_model::Error::Serialization(e.to_string())
    }
}

/// Writes `value`, reads it back, writes that again, and compares.
///
/// The two are compared by length and by how often each byte occurs, never byte for byte, since hash maps have no order.
///
/// # Errors
/// When any step fails or the two differ; the message names type, cause and remedy.
///
/// ```
/// use firesteel_store::boundary;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(untagged)]
/// enum Id {
///     Number(u64),
///     Name(String),
/// }
///
/// assert!(boundary::check(&vec![1, 2, 3]).is_ok());
/// let error = boundary::check(&Id::Number(7)).unwrap_err().to_string();
/// assert!(error.contains("Id` uses #[serde(untagged)]"), "{error}");
/// ```
pub fn check<T: Serialize + DeserializeOwned>(value: &T) -> Result<(), BoundaryError> {
    checked(value).map(drop)
}

/// As [`check`]; says how many bytes the value takes.
fn checked<T: Serialize + DeserializeOwned>(value: &T) -> Result<usize, BoundaryError> {
    let fail = |cause| Err(BoundaryError { type_name: type_name::<T>(), cause });
    let first = match record::to_vec(value) {
        Ok(bytes) => bytes,
        Err(e) => return fail(Cause::Write(e)),
    };
    let back: T = match record::from_slice(&first) {
        Ok(value) => value,
        Err(e) => return fail(Cause::Read(e)),
    };
    let again = match record::to_vec(&back) {
        Ok(bytes) => bytes,
        Err(e) => return fail(Cause::WriteAgain(e)),
    };
    if first.len() != again.len() {
        return fail(Cause::Lengths(first.len(), again.len()));
    }
    let occurrences = |bytes: &[u8]| {
        let mut n = [0u64; 256];
        bytes.iter().for_each(|b| n[*b as usize] += 1);
        n
    };
    if occurrences(&first) != occurrences(&again) { fail(Cause::Bytes) } else { Ok(first.len()) }
}

/// The check of some of the records that reach a boundary: cheap enough to be made in every task, wherever the first, the second, the
/// fourth, the eighth … record of what a task has there may be looked at.
///
/// What is checked depends on the records alone, not on what a process has seen before. A value that is large in the record
/// format ends the sample.
///
/// ```
/// use firesteel_store::boundary::Sample;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Note {
///     #[serde(skip_serializing_if = "Option::is_none")]
///     text: Option<String>,
/// }
/// let notes = [Note { text: Some("a".into()) }, Note { text: None }];
/// let error = Sample::default().check(&notes).unwrap_err().to_string();
/// assert!(error.contains("skip_serializing_if"), "{error}");
/// ```
#[derive(Debug)]
pub struct Sample {
    records: u32,
    bytes: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Sample { records: 32, bytes: 64 << 10 }
    }
}

impl Sample {
    /// Whether enough was looked at.
    pub fn is_full(&self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    /// Checks the first, second, fourth, eighth … of these records, as far as the sample goes.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check<T: Serialize + DeserializeOwned>(&mut self, records: &[T]) -> Result<(), BoundaryError> {
        let mut at = 1;
        while at <= records.len() && !self.is_full() {
            self.records -= 1;
            self.bytes = self.bytes.saturating_sub(checked(&records[at - 1])?);
            at *= 2;
        }
        Ok(())
    }

    /// The same of records that were written: of the first eight of them.
    pub(crate) fn check_encoded<T: Serialize + DeserializeOwned>(
        &mut self,
        bytes: &[u8],
        records: u32,
    ) -> Result<(), BoundaryError> {
        let fail = |cause| BoundaryError { type_name: type_name::<T>(), cause };
        let mut decoder = Decoder::new(bytes);
        for at in 1..=records.min(8) {
            if self.is_full() {
                break;
            }
            let before = decoder.remaining();
            let value: T = decoder.read().map_err(|e| fail(Cause::Read(e)))?;
            if at.is_power_of_two() {
                let (first, again) = (before - decoder.remaining(), checked(&value)?);
                if first != again {
                    return Err(fail(Cause::Lengths(first, again)));
                }
                self.records -= 1;
                self.bytes = self.bytes.saturating_sub(first);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
