//! Measurements: task metrics as Spark writes them, twice (as an object, and as accumulators), and executor metrics.

use super::{AccumulableInfo, AccumulableValue};
use firesteel_model::{AccumulatorId, TaskMetrics};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use std::{
    fmt,
    sync::{Arc, LazyLock},
};

const NS_PER_MS: u64 = 1_000_000;

/// Spark's metrics of an executor process: memory by kind, in bytes, and collections of garbage.
///
/// What a process without a garbage collector cannot have is 0.
///
/// ```
/// use firesteel_events::event::ExecutorMetrics;
///
/// let mut peaks = ExecutorMetrics::default();
/// peaks.set("OnHeapStorageMemory", 309_713);
/// assert_eq!(peaks.get("OnHeapStorageMemory"), Some(309_713));
/// assert_eq!(peaks.get("Nonsense"), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecutorMetrics([i64; EXECUTOR_METRICS.len()]);

/// The names of an executor's metrics, in Spark's order.
pub const EXECUTOR_METRICS: [&str; 23] = [
    "JVMHeapMemory",
    "JVMOffHeapMemory",
    "OnHeapExecutionMemory",
    "OffHeapExecutionMemory",
    "OnHeapStorageMemory",
    "OffHeapStorageMemory",
    "OnHeapUnifiedMemory",
    "OffHeapUnifiedMemory",
    "DirectPoolMemory",
    "MappedPoolMemory",
    "ProcessTreeJVMVMemory",
    "ProcessTreeJVMRSSMemory",
    "ProcessTreePythonVMemory",
    "ProcessTreePythonRSSMemory",
    "ProcessTreeOtherVMemory",
    "ProcessTreeOtherRSSMemory",
    "MinorGCCount",
    "MinorGCTime",
    "MajorGCCount",
    "MajorGCTime",
    "TotalGCTime",
    "ConcurrentGCCount",
    "ConcurrentGCTime",
];

impl ExecutorMetrics {
    /// The metric with this name, one of [`EXECUTOR_METRICS`].
    pub fn get(&self, name: &str) -> Option<i64> {
        EXECUTOR_METRICS.iter().position(|n| *n == name).map(|i| self.0[i])
    }

    /// Sets the metric with this name, and does nothing if there is none.
    pub fn set(&mut self, name: &str, value: i64) {
        if let Some(i) = EXECUTOR_METRICS.iter().position(|n| *n == name) {
            self.0[i] = value;
        }
    }

    /// Raises every metric to the other's, where that is more.
    pub fn raise(&mut self, other: &ExecutorMetrics) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }
}

impl Serialize for ExecutorMetrics {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(EXECUTOR_METRICS.iter().zip(&self.0))
    }
}

impl<'de> Deserialize<'de> for ExecutorMetrics {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ExecutorMetrics;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of executor metrics")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<ExecutorMetrics, A::Error> {
                let mut metrics = ExecutorMetrics::default();
                while let Some((name, value)) = map.next_entry::<std::borrow::Cow<'de, str>, i64>()? {
                    metrics.set(&name, value);
                }
                Ok(metrics)
            }
        }
        d.deserialize_map(Visitor)
    }
}

/// [`TaskMetrics`] as an object of Spark's names and units: whole milliseconds where ours are nanoseconds, except for
/// CPU times and the time of shuffle writes.
pub(super) mod task_metrics {
    use super::*;

    pub(in crate::event) fn serialize<S: Serializer>(metrics: &Option<TaskMetrics>, s: S) -> Result<S::Ok, S::Error> {
        let m = metrics.unwrap_or_default();
        let mut out = s.serialize_map(Some(17))?;
        out.serialize_entry("Executor Deserialize Time", &(m.deserialize_ns / NS_PER_MS))?;
        out.serialize_entry("Executor Deserialize CPU Time", &m.deserialize_cpu_ns)?;
        out.serialize_entry("Executor Run Time", &(m.run_ns / NS_PER_MS))?;
        out.serialize_entry("Executor CPU Time", &m.cpu_ns)?;
        out.serialize_entry("Peak Execution Memory", &m.peak_execution_memory)?;
        out.serialize_entry("Peak On Heap Execution Memory", &0)?;
        out.serialize_entry("Peak Off Heap Execution Memory", &0)?;
        out.serialize_entry("Result Size", &m.result_size)?;
        out.serialize_entry("JVM GC Time", &0)?;
        out.serialize_entry("Result Serialization Time", &(m.result_serialize_ns / NS_PER_MS))?;
        out.serialize_entry("Memory Bytes Spilled", &m.memory_bytes_spilled)?;
        out.serialize_entry("Disk Bytes Spilled", &m.disk_bytes_spilled)?;
        out.serialize_entry("Shuffle Read Metrics", &ShuffleReadJson(&m))?;
        out.serialize_entry(
            "Shuffle Write Metrics",
            &Fields(&[
                ("Shuffle Bytes Written", m.shuffle_write_bytes),
                ("Shuffle Write Time", m.shuffle_write_ns),
                ("Shuffle Records Written", m.shuffle_write_records),
            ]),
        )?;
        out.serialize_entry(
            "Input Metrics",
            &Fields(&[("Bytes Read", m.input_bytes), ("Records Read", m.input_records)]),
        )?;
        out.serialize_entry(
            "Output Metrics",
            &Fields(&[("Bytes Written", m.output_bytes), ("Records Written", m.output_records)]),
        )?;
        out.serialize_entry("Updated Blocks", &[(); 0])?;
        out.end()
    }

    /// Numbers under names.
    struct Fields<'a>(&'a [(&'static str, u64)]);

    impl Serialize for Fields<'_> {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.collect_map(self.0.iter().copied())
        }
    }

    struct ShuffleReadJson<'a>(&'a TaskMetrics);

    impl Serialize for ShuffleReadJson<'_> {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            let m = self.0;
            let mut out = s.serialize_map(Some(9))?;
            out.serialize_entry("Remote Blocks Fetched", &m.shuffle_read_remote_blocks)?;
            out.serialize_entry("Local Blocks Fetched", &m.shuffle_read_local_blocks)?;
            out.serialize_entry("Fetch Wait Time", &(m.shuffle_fetch_wait_ns / NS_PER_MS))?;
            out.serialize_entry("Remote Bytes Read", &m.shuffle_read_remote_bytes)?;
            out.serialize_entry("Remote Bytes Read To Disk", &0)?;
            out.serialize_entry("Local Bytes Read", &m.shuffle_read_local_bytes)?;
            out.serialize_entry("Total Records Read", &m.shuffle_read_records)?;
            out.serialize_entry("Remote Requests Duration", &0)?;
            out.serialize_entry(
                "Push Based Shuffle",
                &Fields(&[
                    ("Corrupt Merged Block Chunks", 0),
                    ("Merged Fetch Fallback Count", 0),
                    ("Merged Remote Blocks Fetched", 0),
                    ("Merged Local Blocks Fetched", 0),
                    ("Merged Remote Chunks Fetched", 0),
                    ("Merged Local Chunks Fetched", 0),
                    ("Merged Remote Bytes Read", 0),
                    ("Merged Local Bytes Read", 0),
                    ("Merged Remote Requests Duration", 0),
                ]),
            )?;
            out.end()
        }
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Read {
        #[serde(rename = "Executor Deserialize Time")]
        deserialize_ms: u64,
        #[serde(rename = "Executor Deserialize CPU Time")]
        deserialize_cpu_ns: u64,
        #[serde(rename = "Executor Run Time")]
        run_ms: u64,
        #[serde(rename = "Executor CPU Time")]
        cpu_ns: u64,
        #[serde(rename = "Peak Execution Memory")]
        peak_execution_memory: u64,
        #[serde(rename = "Result Size")]
        result_size: u64,
        #[serde(rename = "Result Serialization Time")]
        result_serialize_ms: u64,
        #[serde(rename = "Memory Bytes Spilled")]
        memory_bytes_spilled: u64,
        #[serde(rename = "Disk Bytes Spilled")]
        disk_bytes_spilled: u64,
        #[serde(rename = "Shuffle Read Metrics")]
        shuffle_read: ShuffleRead,
        #[serde(rename = "Shuffle Write Metrics")]
        shuffle_write: ShuffleWrite,
        #[serde(rename = "Input Metrics")]
        input: Input,
        #[serde(rename = "Output Metrics")]
        output: Output,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ShuffleRead {
        #[serde(rename = "Remote Blocks Fetched")]
        remote_blocks: u64,
        #[serde(rename = "Local Blocks Fetched")]
        local_blocks: u64,
        #[serde(rename = "Fetch Wait Time")]
        fetch_wait_ms: u64,
        #[serde(rename = "Remote Bytes Read")]
        remote_bytes: u64,
        #[serde(rename = "Local Bytes Read")]
        local_bytes: u64,
        #[serde(rename = "Total Records Read")]
        records: u64,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct ShuffleWrite {
        #[serde(rename = "Shuffle Bytes Written")]
        bytes: u64,
        #[serde(rename = "Shuffle Write Time")]
        write_ns: u64,
        #[serde(rename = "Shuffle Records Written")]
        records: u64,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Input {
        #[serde(rename = "Bytes Read")]
        bytes: u64,
        #[serde(rename = "Records Read")]
        records: u64,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Output {
        #[serde(rename = "Bytes Written")]
        bytes: u64,
        #[serde(rename = "Records Written")]
        records: u64,
    }

    pub(in crate::event) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<TaskMetrics>, D::Error> {
        let ns = |ms: u64| ms.saturating_mul(NS_PER_MS);
        Ok(Option::<Read>::deserialize(d)?.map(|r| TaskMetrics {
            deserialize_ns: ns(r.deserialize_ms),
            deserialize_cpu_ns: r.deserialize_cpu_ns,
            run_ns: ns(r.run_ms),
            cpu_ns: r.cpu_ns,
            result_size: r.result_size,
            result_serialize_ns: ns(r.result_serialize_ms),
            memory_bytes_spilled: r.memory_bytes_spilled,
            disk_bytes_spilled: r.disk_bytes_spilled,
            peak_execution_memory: r.peak_execution_memory,
            input_bytes: r.input.bytes,
            input_records: r.input.records,
            output_bytes: r.output.bytes,
            output_records: r.output.records,
            shuffle_read_local_blocks: r.shuffle_read.local_blocks,
            shuffle_read_remote_blocks: r.shuffle_read.remote_blocks,
            shuffle_read_local_bytes: r.shuffle_read.local_bytes,
            shuffle_read_remote_bytes: r.shuffle_read.remote_bytes,
            shuffle_read_records: r.shuffle_read.records,
            shuffle_fetch_wait_ns: ns(r.shuffle_read.fetch_wait_ms),
            shuffle_write_bytes: r.shuffle_write.bytes,
            shuffle_write_records: r.shuffle_write.records,
            shuffle_write_ns: r.shuffle_write.write_ns,
        }))
    }
}

/// The task metrics of one stage attempt as Spark's internal accumulators: what each task added, and the stage's totals.
///
/// Spark gives every stage attempt [`InternalAccumulables::IDS`] ids of accumulators for this, one after the other. Only
/// what is not zero is shown. Times are in Spark's units, milliseconds for most.
///
/// ```
/// use firesteel_events::event::InternalAccumulables;
/// use firesteel_model::{AccumulatorId, TaskMetrics};
///
/// let mut stage = InternalAccumulables::new(AccumulatorId(38));
/// let shown = stage.add(&TaskMetrics { run_ns: 932_000_000, ..Default::default() });
/// assert_eq!(shown.len(), 1);
/// assert_eq!(shown[0].id, AccumulatorId(40));
/// assert_eq!(shown[0].name.as_deref(), Some("internal.metrics.executorRunTime"));
/// assert_eq!(stage.totals(), [shown[0].clone()].map(|a| firesteel_events::event::AccumulableInfo { update: None, ..a }));
/// ```
#[derive(Clone, Debug)]
pub struct InternalAccumulables {
    first: AccumulatorId,
    totals: [u64; INTERNAL.len()],
}

/// Each metric that we measure: its place among Spark's internal accumulators, its name, its value in Spark's unit.
const INTERNAL: [(u64, &str, fn(&TaskMetrics) -> u64); 22] = [
    (0, "internal.metrics.executorDeserializeTime", |m| m.deserialize_ns / NS_PER_MS),
    (1, "internal.metrics.executorDeserializeCpuTime", |m| m.deserialize_cpu_ns),
    (2, "internal.metrics.executorRunTime", |m| m.run_ns / NS_PER_MS),
    (3, "internal.metrics.executorCpuTime", |m| m.cpu_ns),
    (4, "internal.metrics.resultSize", |m| m.result_size),
    (6, "internal.metrics.resultSerializationTime", |m| m.result_serialize_ns / NS_PER_MS),
    (7, "internal.metrics.memoryBytesSpilled", |m| m.memory_bytes_spilled),
    (8, "internal.metrics.diskBytesSpilled", |m| m.disk_bytes_spilled),
    (9, "internal.metrics.peakExecutionMemory", |m| m.peak_execution_memory),
    (13, "internal.metrics.shuffle.read.remoteBlocksFetched", |m| m.shuffle_read_remote_blocks),
    (14, "internal.metrics.shuffle.read.localBlocksFetched", |m| m.shuffle_read_local_blocks),
    (15, "internal.metrics.shuffle.read.remoteBytesRead", |m| m.shuffle_read_remote_bytes),
    (17, "internal.metrics.shuffle.read.localBytesRead", |m| m.shuffle_read_local_bytes),
    (18, "internal.metrics.shuffle.read.fetchWaitTime", |m| m.shuffle_fetch_wait_ns / NS_PER_MS),
    (19, "internal.metrics.shuffle.read.recordsRead", |m| m.shuffle_read_records),
    (30, "internal.metrics.shuffle.write.bytesWritten", |m| m.shuffle_write_bytes),
    (31, "internal.metrics.shuffle.write.recordsWritten", |m| m.shuffle_write_records),
    (32, "internal.metrics.shuffle.write.writeTime", |m| m.shuffle_write_ns),
    (33, "internal.metrics.input.bytesRead", |m| m.input_bytes),
    (34, "internal.metrics.input.recordsRead", |m| m.input_records),
    (35, "internal.metrics.output.bytesWritten", |m| m.output_bytes),
    (36, "internal.metrics.output.recordsWritten", |m| m.output_records),
];

/// The names as events share them.
static NAMES: LazyLock<[Arc<str>; INTERNAL.len()]> = LazyLock::new(|| INTERNAL.map(|(_, name, _)| name.into()));

impl InternalAccumulables {
    /// How many accumulator ids a stage attempt takes.
    pub const IDS: u64 = 37;

    /// Of a stage attempt whose ids begin here.
    pub fn new(first: AccumulatorId) -> Self {
        Self { first, totals: [0; INTERNAL.len()] }
    }

    /// Adds a task's metrics, and returns what to show in its [`TaskInfo`](super::TaskInfo). About 22 comparisons and one
    /// allocation.
    pub fn add(&mut self, metrics: &TaskMetrics) -> Vec<AccumulableInfo> {
        let mut shown = Vec::new();
        for (i, (_, _, value)) in INTERNAL.iter().enumerate() {
            let update = value(metrics);
            if update != 0 {
                self.totals[i] = self.totals[i].saturating_add(update);
                shown.push(self.info(i, Some(update)));
            }
        }
        shown
    }

    /// What to show in the stage's [`StageInfo`](super::StageInfo) when it ends.
    pub fn totals(&self) -> Vec<AccumulableInfo> {
        (0..INTERNAL.len()).filter(|i| self.totals[*i] != 0).map(|i| self.info(i, None)).collect()
    }

    fn info(&self, i: usize, update: Option<u64>) -> AccumulableInfo {
        let number = |n: u64| AccumulableValue::Number(i64::try_from(n).unwrap_or(i64::MAX));
        AccumulableInfo {
            id: AccumulatorId(self.first.0 + INTERNAL[i].0),
            name: Some(NAMES[i].clone()),
            update: update.map(number),
            value: Some(number(self.totals[i])),
            internal: true,
            count_failed: true,
            metadata: None,
        }
    }
}
