//! Where Spark's JSON differs from what serde would derive.

use firesteel_model::StorageLevel;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A missing number is `-1`.
pub(super) mod minus_one {
    use super::*;

    pub(in crate::event) fn serialize<T: Serialize, S: Serializer>(value: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(v) => v.serialize(s),
            None => s.serialize_i32(-1),
        }
    }

    /// Any negative number is a missing one; one that is too large is an error.
    pub(in crate::event) fn deserialize<'de, T: TryFromIndex, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<T>, D::Error> {
        match i64::deserialize(d)? {
            n if n < 0 => Ok(None),
            n => {
                T::from_index(n.unsigned_abs()).map(Some).ok_or_else(|| serde::de::Error::custom("number out of range"))
            }
        }
    }
}

/// An id that a number from a log may not fit.
pub(super) trait TryFromIndex: Sized {
    fn from_index(n: u64) -> Option<Self>;
}

impl TryFromIndex for firesteel_model::StageId {
    fn from_index(n: u64) -> Option<Self> {
        Some(Self(n))
    }
}

impl TryFromIndex for firesteel_model::StageAttempt {
    fn from_index(n: u64) -> Option<Self> {
        n.try_into().ok().map(Self)
    }
}

impl TryFromIndex for firesteel_model::AttemptId {
    fn from_index(n: u64) -> Option<Self> {
        Some(Self(n))
    }
}

impl TryFromIndex for firesteel_model::PartitionIndex {
    fn from_index(n: u64) -> Option<Self> {
        n.try_into().ok().map(Self)
    }
}

/// `null` is what the type's default is.
pub(super) fn null_is_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// A storage level as an object of five fields.
pub(super) mod storage_level {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Fields {
        #[serde(rename = "Use Disk")]
        use_disk: bool,
        #[serde(rename = "Use Memory")]
        use_memory: bool,
        #[serde(rename = "Use Off Heap", default)]
        use_off_heap: bool,
        #[serde(rename = "Deserialized")]
        deserialized: bool,
        #[serde(rename = "Replication")]
        replication: u8,
    }

    pub(in crate::event) fn serialize<S: Serializer>(level: &StorageLevel, s: S) -> Result<S::Ok, S::Error> {
        let StorageLevel { use_disk, use_memory, deserialized, replication } = *level;
        Fields { use_disk, use_memory, use_off_heap: false, deserialized, replication }.serialize(s)
    }

    pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<StorageLevel, D::Error> {
        let Fields { use_disk, use_memory, deserialized, replication, .. } = Fields::deserialize(d)?;
        Ok(StorageLevel { use_disk, use_memory, deserialized, replication })
    }
}
