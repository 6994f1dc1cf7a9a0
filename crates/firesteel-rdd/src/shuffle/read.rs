//! The reduce side: one partition's records out of every map output, in map order.

use crate::{
    Data,
    failure::TaskFailure,
    node::Dyn,
    pipeline::Pipeline,
    segment::PortStream,
    stream::{Flow, Loan, Sink, Stream},
    task::{MapOutputs, Stride, Task},
};
use firesteel_model::{PartitionIndex, RddId, ShuffleId};
use firesteel_store::Run;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Lends the records of one reduce partition: map output after map output, each in its order of arrival.
pub struct RunStream<R> {
    task: Task,
    shuffle: ShuffleId,
    partition: usize,
    outputs: Arc<MapOutputs>,
    next_map: usize,
    current: Option<(Arc<Run<R>>, usize)>,
    stride: Stride,
}

impl<R: Data> RunStream<R> {
    /// Opens a reduce partition. A shuffle that the driver told nothing about is a fetch failure.
    pub fn open(task: &Task, shuffle: ShuffleId, partition: u32) -> Self {
        let Some(outputs) = task.outputs(shuffle) else {
            TaskFailure::Fetch {
                shuffle,
                map: PartitionIndex(0),
                attempt: None,
                message: "the map outputs are not complete".into(),
            }
            .raise()
        };
        RunStream {
            task: task.clone(),
            shuffle,
            partition: partition as usize,
            outputs,
            next_map: 0,
            current: None,
            stride: Stride::new(),
        }
    }

    fn next_run(&mut self) -> bool {
        let Some(attempt) = self.outputs.attempts.get(self.next_map).copied() else { return false };
        self.stride.begin(&self.task);
        let map = PartitionIndex(self.next_map as u32);
        let Some(run) = self.task.executor().shuffles.get::<R>(self.shuffle, map, attempt) else {
            TaskFailure::Fetch {
                shuffle: self.shuffle,
                map,
                attempt: Some(attempt),
                message: format!("the output of map task {map} (attempt {attempt}) is gone"),
            }
            .raise()
        };
        let (records, bytes) = (run.records(self.partition) as u64, run.size(self.partition));
        self.task.measure(|m| {
            m.shuffle_read_records += records;
            m.shuffle_read_local_bytes += bytes;
            m.shuffle_read_local_blocks += u64::from(records > 0);
        });
        self.next_map += 1;
        self.current = (records > 0).then_some((run, 0));
        true
    }
}

impl<R: Data> Stream for RunStream<R> {
    type Item = R;

    #[inline]
    fn drive<S: Sink<R>>(&mut self, sink: &mut S) -> Flow {
        loop {
            if let Some((run, read)) = &mut self.current {
                let mut skip = *read;
                for slice in run.partition(self.partition) {
                    if skip >= slice.len() {
                        skip -= slice.len();
                        continue;
                    }
                    for block in slice[std::mem::take(&mut skip)..].chunks(Stride::MAX as usize) {
                        self.task.check();
                        for record in block {
                            *read += 1;
                            if !sink.push(Loan(record)) {
                                return Flow::Full;
                            }
                        }
                    }
                }
                self.current = None;
            }
            if !self.next_run() {
                return Flow::Done;
            }
        }
    }
}

/// One input of an operation that brings RDDs together: in place, where the data already lie right, or by a shuffle.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Side<R> {
    /// The partition of the same index of an RDD that is spread as the result will be.
    Narrow(Dyn<R>),
    /// The reduce partition of a shuffle.
    Shuffle(ShuffleId),
}

impl<R: Data> Side<R> {
    /// Opens a partition.
    pub fn open(&self, partition: u32, task: &Task) -> SideStream<R> {
        match self {
            Side::Narrow(rdd) => SideStream::Narrow(rdd.open(partition, task)),
            Side::Shuffle(shuffle) => SideStream::Shuffle(RunStream::open(task, *shuffle, partition)),
        }
    }
    /// Names the erased RDD that is read, if one is.
    pub fn refers(&self, visit: &mut dyn FnMut(RddId)) {
        if let Side::Narrow(rdd) = self {
            rdd.refers(visit);
        }
    }
    /// Names the erased partition that is read, if one is.
    pub fn reads(&self, partition: u32, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
        if let Side::Narrow(rdd) = self {
            rdd.reads(&partition, visit);
        }
    }
}

/// The run of a [`Side`].
pub enum SideStream<R> {
    /// In place.
    Narrow(PortStream<R>),
    /// By a shuffle.
    Shuffle(RunStream<R>),
}

impl<R: Data> Stream for SideStream<R> {
    type Item = R;
    #[inline]
    fn drive<S: Sink<R>>(&mut self, sink: &mut S) -> Flow {
        match self {
            SideStream::Narrow(stream) => stream.drive(sink),
            SideStream::Shuffle(stream) => stream.drive(sink),
        }
    }
}

/// The parts of a pipeline that brings sides together partition by partition.
macro_rules! by_partition {
    ($($side:ident),+) => {
        fn splits(&self, _: &dyn $crate::pipeline::Plan) -> firesteel_model::Result<Vec<u32>> {
            Ok((0..self.partitions as u32).collect())
        }
        fn refers(&self, visit: &mut dyn FnMut(firesteel_model::RddId)) {
            $(self.$side.refers(visit);)+
        }
        fn reads(
            &self,
            split: &u32,
            visit: &mut dyn FnMut(firesteel_model::RddId, firesteel_model::PartitionIndex),
        ) {
            $(self.$side.reads(*split, visit);)+
        }
    };
}
pub(super) use by_partition;

impl<R: Data> Pipeline for ReadSide<R> {
    type Item = R;
    type Split = u32;
    type Stream = SideStream<R>;
    fn open(&self, split: u32, task: &Task) -> SideStream<R> {
        self.side.open(split, task)
    }
    by_partition!(side);
}

/// Reads one side as it is: `partition_by`, `repartition`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ReadSide<R> {
    /// What is read.
    pub side: Side<R>,
    /// How many partitions there are.
    pub partitions: usize,
}
