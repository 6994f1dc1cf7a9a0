//! The check at boundaries: what works on threads must work on a cluster.
//!
//! Between threads values move as they are; between processes they move as [records](crate::record). So that a type which
//! cannot be carried fails in local mode too, and at once, the first record of each type that reaches a shuffle, a cache
//! or a collect is written, read back and written again.

use crate::record::{self, RecordError};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::{TypeId, type_name},
    cell::Cell,
    collections::HashSet,
    fmt,
    sync::{PoisonError, RwLock},
};

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
    if occurrences(&first) != occurrences(&again) { fail(Cause::Bytes) } else { Ok(()) }
}

/// Types whose first record has passed, in this process.
static PASSED: RwLock<Option<HashSet<TypeId>>> = RwLock::new(None);

/// How many types a thread remembers by itself; a stage's boundaries see one or two.
const REMEMBERED: usize = 4;

thread_local! {
    static RECENT: [Cell<Option<TypeId>>; REMEMBERED] = const { [const { Cell::new(None) }; REMEMBERED] };
}

/// [`check`] for the first record of each type in this process; nothing for all that follow.
///
/// # Errors
/// As [`check`]. A type that failed is checked again at its next record.
///
/// # Cost
/// A nanosecond or two once the type has passed, the check itself before that.
#[inline]
pub fn check_once<T: Serialize + DeserializeOwned + 'static>(value: &T) -> Result<(), BoundaryError> {
    let id = TypeId::of::<T>();
    if RECENT.with(|recent| recent.iter().any(|seen| seen.get() == Some(id))) { Ok(()) } else { first_here(id, value) }
}

#[cold]
#[inline(never)]
fn first_here<T: Serialize + DeserializeOwned>(id: TypeId, value: &T) -> Result<(), BoundaryError> {
    let passed = PASSED.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|set| set.contains(&id));
    if !passed {
        check(value)?;
        PASSED.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(id);
    }
    RECENT.with(|recent| {
        for i in (1..REMEMBERED).rev() {
            recent[i].set(recent[i - 1].get());
        }
        recent[0].set(Some(id));
    });
    Ok(())
}

#[cfg(test)]
mod tests;
