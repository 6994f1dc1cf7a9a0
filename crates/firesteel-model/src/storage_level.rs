//! Where a cached partition is kept.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Where and how a cached partition is kept; the constants are Spark's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StorageLevel {
    /// Kept on disk, or moved there when memory is short.
    pub use_disk: bool,
    /// Kept in memory.
    pub use_memory: bool,
    /// Kept as values rather than as bytes while in memory.
    pub deserialized: bool,
    /// On how many executors.
    pub replication: u8,
}

#[rustfmt::skip]
#[allow(missing_docs, reason = "the names say it; the struct's fields are documented")]
impl StorageLevel {
    const fn of(use_disk: bool, use_memory: bool, deserialized: bool, replication: u8) -> Self { Self { use_disk, use_memory, deserialized, replication } }
    pub const NONE: Self = Self::of(false, false, false, 1);
    pub const DISK_ONLY: Self = Self::of(true, false, false, 1);
    pub const DISK_ONLY_2: Self = Self::of(true, false, false, 2);
    pub const DISK_ONLY_3: Self = Self::of(true, false, false, 3);
    pub const MEMORY_ONLY: Self = Self::of(false, true, true, 1);
    pub const MEMORY_ONLY_2: Self = Self::of(false, true, true, 2);
    pub const MEMORY_ONLY_SER: Self = Self::of(false, true, false, 1);
    pub const MEMORY_ONLY_SER_2: Self = Self::of(false, true, false, 2);
    pub const MEMORY_AND_DISK: Self = Self::of(true, true, true, 1);
    pub const MEMORY_AND_DISK_2: Self = Self::of(true, true, true, 2);
    pub const MEMORY_AND_DISK_SER: Self = Self::of(true, true, false, 1);
    pub const MEMORY_AND_DISK_SER_2: Self = Self::of(true, true, false, 2);
}

/// The levels by their names.
const NAMED: [(&str, StorageLevel); 12] = [
    ("NONE", StorageLevel::NONE),
    ("DISK_ONLY", StorageLevel::DISK_ONLY),
    ("DISK_ONLY_2", StorageLevel::DISK_ONLY_2),
    ("DISK_ONLY_3", StorageLevel::DISK_ONLY_3),
    ("MEMORY_ONLY", StorageLevel::MEMORY_ONLY),
    ("MEMORY_ONLY_2", StorageLevel::MEMORY_ONLY_2),
    ("MEMORY_ONLY_SER", StorageLevel::MEMORY_ONLY_SER),
    ("MEMORY_ONLY_SER_2", StorageLevel::MEMORY_ONLY_SER_2),
    ("MEMORY_AND_DISK", StorageLevel::MEMORY_AND_DISK),
    ("MEMORY_AND_DISK_2", StorageLevel::MEMORY_AND_DISK_2),
    ("MEMORY_AND_DISK_SER", StorageLevel::MEMORY_AND_DISK_SER),
    ("MEMORY_AND_DISK_SER_2", StorageLevel::MEMORY_AND_DISK_SER_2),
];

impl FromStr for StorageLevel {
    type Err = Error;

    /// A level by the name of its constant.
    ///
    /// ```
    /// use firesteel_model::StorageLevel;
    /// assert_eq!("MEMORY_AND_DISK".parse::<StorageLevel>()?, StorageLevel::MEMORY_AND_DISK);
    /// assert!("OFF_HEAP".parse::<StorageLevel>().is_err());
    /// # Ok::<(), firesteel_model::Error>(())
    /// ```
    fn from_str(name: &str) -> Result<Self, Error> {
        let found = NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, level)| *level).ok_or_else(|| {
            let known = NAMED.map(|(known, _)| known).join(", ");
            Error::InvalidArgument(format!("{name:?} is no storage level; there are {known}"))
        })
    }
}

impl fmt::Display for StorageLevel {
    /// Spark's words: `Disk Memory Deserialized 1x Replicated`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.use_disk {
            f.write_str("Disk ")?;
        }
        if self.use_memory {
            f.write_str("Memory ")?;
        }
        let form = if self.deserialized { "Deserialized" } else { "Serialized" };
        write!(f, "{form} {}x Replicated", self.replication)
    }
}
