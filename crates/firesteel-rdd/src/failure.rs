//! How a failure inside a stage leaves it: by unwinding with a typed payload, caught at the task's boundary.

use firesteel_model::{AttemptId, Error, ExecutorId, PartitionIndex, ShuffleId};
use serde::{Deserialize, Serialize};
use std::{any::Any, fmt, panic::AssertUnwindSafe};

/// Why a task attempt ended without a result. Another process is told of an [`Error`] in its words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum TaskFailure {
    /// The driver asked for it.
    Killed,
    /// User code panicked, or returned an error from a `try_` form; the text names message and place.
    User(String),
    /// An output of a map task is missing or damaged.
    Fetch {
        /// The shuffle that is read.
        shuffle: ShuffleId,
        /// Whose output.
        map: PartitionIndex,
        /// Which attempt's, if one was known.
        attempt: Option<AttemptId>,
        /// Who should have it, if that was known.
        holder: Option<ExecutorId>,
        /// Whether its holder could not be reached at all.
        unreachable: bool,
        /// What was wrong with it.
        message: String,
    },
    /// A kept partition, or what this task had put on disk itself, is damaged, which was seen when some of it had been read:
    /// another attempt computes it again. The text names it and says what was wrong; it is no longer kept.
    Damaged(String),
    /// The driver did not permit the output's commit: another attempt has it.
    CommitDenied,
    /// Input, output or storage failed.
    Engine(#[serde(with = "in_words")] Error),
}

/// Errors, as they are told to other processes.
mod in_words {
    use firesteel_model::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    #[derive(Serialize, Deserialize)]
    enum Words {
        Serialization(String),
        Other(String),
    }

    pub(super) fn serialize<S: Serializer>(e: &Error, serializer: S) -> Result<S::Ok, S::Error> {
        let words = match e {
            Error::Serialization(message) => Words::Serialization(message.clone()),
            e => Words::Other(e.to_string()),
        };
        words.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Error, D::Error> {
        Ok(match Words::deserialize(deserializer)? {
            Words::Serialization(message) => Error::Serialization(message),
            Words::Other(message) => Error::Other(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(message))),
        })
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskFailure::Killed => f.write_str("killed"),
            TaskFailure::User(message) | TaskFailure::Damaged(message) => f.write_str(message),
            TaskFailure::Fetch { message, .. } => f.write_str(message),
            TaskFailure::CommitDenied => f.write_str("another attempt has committed this partition"),
            TaskFailure::Engine(e) => e.fmt(f),
        }
    }
}

impl TaskFailure {
    /// Leaves the task with this failure. The panic hook is not called: nothing is printed.
    pub fn raise(self) -> ! {
        std::panic::resume_unwind(Box::new(self))
    }

    /// What a caught unwinding means. `panicked_at` is what the panic hook noted about the panic, if it was one.
    pub fn of_payload(payload: Box<dyn Any + Send>, panicked_at: Option<String>) -> Self {
        match payload.downcast::<TaskFailure>() {
            Ok(failure) => *failure,
            Err(payload) => {
                let message = panicked_at.unwrap_or_else(|| panic_message(&*payload));
                // A payload may be of a type of the user's, whose drop panics in turn.
                if let Err(again) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                    std::mem::forget(again);
                }
                TaskFailure::User(message)
            }
        }
    }
}

/// The text of a panic's payload.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panicked with a value that is no text".to_string()
    }
}

/// Unwraps, or leaves the task with the error.
pub(crate) trait OrRaise<T> {
    fn or_raise(self) -> T;
}

impl<T, E: Into<Error>> OrRaise<T> for Result<T, E> {
    #[inline]
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(e) => TaskFailure::Engine(e.into()).raise(),
        }
    }
}
