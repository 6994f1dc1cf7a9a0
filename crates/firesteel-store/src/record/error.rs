//! Why a record could not be written or read, in words that name the type and the remedy.

use std::{any::type_name, fmt};

/// Why a record could not be written or read.
///
/// The message names the type at fault, the type of the whole record, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    kind: RecordErrorKind,
    /// The innermost type known to have been at work.
    within: Option<&'static str>,
    /// The type of the whole record.
    record: Option<&'static str>,
}

/// The kinds of [`RecordError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordErrorKind {
    /// The bytes ended before the record did.
    UnexpectedEnd {
        /// How many more bytes were asked for, at the least.
        needed: u64,
        /// How many were left.
        left: u64,
    },
    /// The record ended before the bytes did.
    TrailingBytes(u64),
    /// A byte that is neither 0 nor 1 where a `bool` or an `Option`'s tag stands.
    InvalidTag(u8),
    /// A number that is no character.
    InvalidChar(u32),
    /// A string whose bytes are not UTF-8.
    InvalidUtf8,
    /// Values inside values, deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    TooDeep,
    /// A struct left out one of its fields while it was written (`skip_serializing_if`).
    SkippedField {
        /// The struct, or the enum with its variant.
        owner: String,
        /// The field.
        field: &'static str,
    },
    /// A tuple struct or tuple variant was written with another number of fields than its type reads (`skip_serializing_if`).
    FieldCount {
        /// How many were written, modulo 256.
        written: u8,
        /// How many the type reads, modulo 256.
        expected: u8,
    },
    /// The type can only be read from a format that says what each value is (`untagged`, `tag`, `flatten`, `serde_json::Value`).
    SelfDescribing(SelfDescribing),
    /// Anything else that the type's own `Serialize` or `Deserialize` found.
    Custom(String),
}

/// What makes a type ask the format what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelfDescribing {
    /// `#[serde(untagged)]`, on an enum or on a variant.
    Untagged,
    /// `#[serde(tag = "..")]`, with or without `content`.
    Tag,
    /// `#[serde(flatten)]`.
    Flatten,
    /// A hand-written `Deserialize` that calls `deserialize_any` or `deserialize_ignored_any`, as `serde_json::Value` has.
    Any,
}

impl RecordError {
    #[cold]
    pub(crate) fn new(kind: RecordErrorKind) -> Self {
        RecordError(Box::new(Inner { kind, within: None, record: None }))
    }

    /// Which kind of error this is.
    pub fn kind(&self) -> &RecordErrorKind {
        &self.0.kind
    }

    /// Whether the *type* cannot be carried by the record format, whatever the bytes: the program must change.
    /// Otherwise the bytes may be at fault.
    pub fn is_unsupported_type(&self) -> bool {
        matches!(
            self.0.kind,
            RecordErrorKind::SkippedField { .. }
                | RecordErrorKind::FieldCount { .. }
                | RecordErrorKind::SelfDescribing(_)
                | RecordErrorKind::TooDeep
        )
    }

    /// The error without the names of types that only hold the user's: of a whole stage they take pages. `holder` says which
    /// these are, and what they hold, if that is one type.
    #[must_use]
    pub fn without_holders(mut self, holder: impl Fn(&'static str) -> Option<Option<&'static str>>) -> Self {
        self.0.record = None;
        while let Some(held) = self.0.within.and_then(&holder) {
            self.0.within = held;
        }
        self
    }

    /// Remembers the innermost type at work: the first call wins.
    #[cold]
    pub(crate) fn within<T: ?Sized>(self) -> Self {
        self.within_named(type_name::<T>())
    }

    #[inline(never)]
    fn within_named(mut self, name: &'static str) -> Self {
        // What derived code reads identifiers as is nobody's type; its owner follows.
        if !name.ends_with("::__Field") && !name.ends_with("::__Field<'_>") {
            self.0.within.get_or_insert(name);
        }
        self
    }

    /// Remembers the type of the whole record.
    #[cold]
    pub(crate) fn record<T: ?Sized>(mut self) -> Self {
        self.0.record.get_or_insert(type_name::<T>());
        self
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RecordErrorKind::*;
        let Inner { kind, within, record } = &*self.0;
        let culprit = within.or(*record).unwrap_or("the record's type");
        match kind {
            UnexpectedEnd { needed, left } => {
                write!(f, "the bytes of a `{culprit}` end too early: {needed} more needed, {left} left")?
            }
            TrailingBytes(n) => write!(f, "{n} bytes are left after a `{culprit}`")?,
            InvalidTag(b) => write!(f, "{b} stands where a `{culprit}` has 0 or 1")?,
            InvalidChar(c) => write!(f, "{c:#x} is no character (in a `{culprit}`)")?,
            InvalidUtf8 => write!(f, "a string in a `{culprit}` is not UTF-8")?,
            TooDeep => write!(
                f,
                "a `{culprit}` holds values nested more than {} deep: keep linked structures as a `Vec` whose items \
                 refer to each other by index",
                super::MAX_DEPTH
            )?,
            SkippedField { owner, field } => write!(
                f,
                "`{owner}` left out its field `{field}` (#[serde(skip_serializing_if = ..)]): records are written \
                 without field names, so a field is written always or never; remove the attribute (an empty `Option` \
                 takes 1 byte, an empty collection 4), or convert with #[serde(into = .., from = ..)]"
            )?,
            FieldCount { written, expected } => write!(
                f,
                "`{culprit}` was written with {written} fields and is read with {expected}: remove \
                 #[serde(skip_serializing_if = ..)] or #[serde(skip_serializing)] from its fields, or use #[serde(skip)], \
                 which leaves a field out on both sides"
            )?,
            SelfDescribing(what) => {
                use self::SelfDescribing as S;
                let (cause, remedy) = match what {
                    S::Untagged => (
                        "uses #[serde(untagged)], or holds a type that does",
                        "remove the attribute (an enum's variant is then written as a number)",
                    ),
                    S::Tag => (
                        "uses #[serde(tag = ..)], or holds a type that does",
                        "remove the attribute (an enum's variant is then written as a number)",
                    ),
                    S::Flatten => (
                        "uses #[serde(flatten)], or a map with identifiers for keys",
                        "write the inner struct as an ordinary field",
                    ),
                    S::Any => (
                        "asks the format what comes next (`deserialize_any`), or holds a type that does, such as \
                         `serde_json::Value`",
                        "use a type with a fixed shape, or keep the value as its text",
                    ),
                };
                write!(
                    f,
                    "`{culprit}` {cause}: records do not describe themselves, so it cannot be read back; {remedy}, or \
                     convert with #[serde(into = .., from = ..)]"
                )?
            }
            Custom(text) if within.is_none() && record.is_none() => f.write_str(text)?,
            Custom(text) => write!(f, "{text} (in a `{culprit}`)")?,
        }
        match record {
            Some(record) if *record != culprit => write!(f, " (record type `{record}`)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for RecordError {}

impl serde::ser::Error for RecordError {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        RecordError::new(RecordErrorKind::Custom(msg.to_string()))
    }
}

impl serde::de::Error for RecordError {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        RecordError::new(RecordErrorKind::Custom(msg.to_string()))
    }
}

impl From<RecordError> for firesteel_model::Error {
    fn from(e: RecordError) -> Self {
        firesteel_model::Error::Serialization(e.to_string())
    }
}
