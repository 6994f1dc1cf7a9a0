//! What one task attempt measured about itself: Spark's task metrics.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// Spark's task metrics of one attempt. Times in the unit that the field's name ends with, sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is Spark's metric of the same name")]
pub struct TaskMetrics {
    pub deserialize_ns: u64,
    pub deserialize_cpu_ns: u64,
    pub run_ns: u64,
    pub cpu_ns: u64,
    pub result_size: u64,
    pub result_serialize_ns: u64,
    pub memory_bytes_spilled: u64,
    pub disk_bytes_spilled: u64,
    pub peak_execution_memory: u64,
    pub input_bytes: u64,
    pub input_records: u64,
    pub output_bytes: u64,
    pub output_records: u64,
    pub shuffle_read_local_blocks: u64,
    pub shuffle_read_remote_blocks: u64,
    pub shuffle_read_local_bytes: u64,
    pub shuffle_read_remote_bytes: u64,
    pub shuffle_read_records: u64,
    pub shuffle_fetch_wait_ns: u64,
    pub shuffle_write_bytes: u64,
    pub shuffle_write_records: u64,
    pub shuffle_write_ns: u64,
}

macro_rules! values {
    ($($metric:ident)*) => {
        impl TaskMetrics {
            /// How many they are.
            pub const COUNT: usize = [$(stringify!($metric)),*].len();

            /// All of them, in the order of the fields.
            pub fn values(&self) -> [u64; Self::COUNT] {
                // Names every field, so that none is forgotten.
                let TaskMetrics { $($metric),* } = *self;
                [$($metric),*]
            }

            /// What [`values`](TaskMetrics::values) were made of.
            pub fn of_values(values: [u64; Self::COUNT]) -> Self {
                let [$($metric),*] = values;
                TaskMetrics { $($metric),* }
            }
        }
    };
}

values!(
    deserialize_ns
    deserialize_cpu_ns
    run_ns
    cpu_ns
    result_size
    result_serialize_ns
    memory_bytes_spilled
    disk_bytes_spilled
    peak_execution_memory
    input_bytes
    input_records
    output_bytes
    output_records
    shuffle_read_local_blocks
    shuffle_read_remote_blocks
    shuffle_read_local_bytes
    shuffle_read_remote_bytes
    shuffle_read_records
    shuffle_fetch_wait_ns
    shuffle_write_bytes
    shuffle_write_records
    shuffle_write_ns
);

impl AddAssign for TaskMetrics {
    /// Adds every metric, the peak of memory too, as Spark's totals of a stage do.
    fn add_assign(&mut self, other: Self) {
        let mut sums = self.values();
        sums.iter_mut().zip(other.values()).for_each(|(sum, value)| *sum = sum.saturating_add(value));
        *self = Self::of_values(sums);
    }
}
