//! Ranges of numbers, cut without being made.

use super::slice_bounds;
use crate::{
    pipeline::{Pipeline, Plan, check_partitions},
    stream::{Flow, Own, Sink, Stream},
    task::{Stride, Task},
};
use firesteel_model::{Error, PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// `range`: the numbers from `start` to just before `end`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RangeOf {
    start: u64,
    end: u64,
    partitions: usize,
}

impl RangeOf {
    /// Cuts the range into slices that differ by at most one in length.
    pub fn new(range: Range<u64>, partitions: usize) -> Self {
        RangeOf { start: range.start, end: range.end.max(range.start), partitions }
    }
}

impl Pipeline for RangeOf {
    type Item = u64;
    type Split = (u64, u64);
    type Stream = RangeStream;

    fn open(&self, (start, end): (u64, u64), task: &Task) -> RangeStream {
        RangeStream { next: start, end, stride: Stride::new(), task: task.clone() }
    }
    fn splits(&self, _: &dyn Plan) -> Result<Vec<(u64, u64)>> {
        at_least_one(self.partitions)?;
        let length = (self.end - self.start) as u128;
        Ok((0..self.partitions)
            .map(|i| slice_bounds(length, i, self.partitions))
            .map(|(a, b)| (self.start + a as u64, self.start + b as u64))
            .collect())
    }
    fn refers(&self, _: &mut dyn FnMut(RddId)) {}
    fn reads(&self, _: &(u64, u64), _: &mut dyn FnMut(RddId, PartitionIndex)) {}
}

pub(super) fn at_least_one(partitions: usize) -> Result<()> {
    match partitions {
        0 => Err(Error::InvalidArgument("positive number of partitions required, not 0".into())),
        _ => check_partitions(partitions),
    }
}

/// The run of [`RangeOf`].
pub struct RangeStream {
    next: u64,
    end: u64,
    stride: Stride,
    task: Task,
}

impl Stream for RangeStream {
    type Item = u64;

    #[inline(always)]
    fn drive<S: Sink<u64>>(&mut self, sink: &mut S) -> Flow {
        while self.next < self.end {
            let stop = self.end.min(self.next.saturating_add(self.stride.begin(&self.task) as u64));
            for i in self.next..stop {
                if !sink.push(Own(i)) {
                    self.next = i + 1;
                    return Flow::Full;
                }
            }
            self.next = stop;
        }
        Flow::Done
    }
}

/// `range_step_n`: every `step`-th number from `start` to before `end`, downwards for a negative step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepRangeOf {
    start: i64,
    end: i64,
    step: i64,
    partitions: usize,
}

impl StepRangeOf {
    /// Cuts the range into slices that differ by at most one in length.
    pub fn new(range: Range<i64>, step: i64, partitions: usize) -> Self {
        StepRangeOf { start: range.start, end: range.end, step, partitions }
    }

    fn length(&self) -> u128 {
        let (start, end, step) = (self.start as i128, self.end as i128, self.step as i128);
        let span = if step > 0 { end - start } else { start - end };
        if span <= 0 { 0 } else { (span as u128).div_ceil(step.unsigned_abs()) }
    }
}

impl Pipeline for StepRangeOf {
    type Item = i64;
    type Split = (i64, u64);
    type Stream = StepRangeStream;

    fn open(&self, (next, left): (i64, u64), task: &Task) -> StepRangeStream {
        StepRangeStream { next, left, step: self.step, stride: Stride::new(), task: task.clone() }
    }
    fn splits(&self, _: &dyn Plan) -> Result<Vec<(i64, u64)>> {
        at_least_one(self.partitions)?;
        if self.step == 0 {
            return Err(Error::InvalidArgument("step cannot be 0".into()));
        }
        let length = self.length();
        Ok((0..self.partitions)
            .map(|i| slice_bounds(length, i, self.partitions))
            .map(|(a, b)| ((self.start as i128 + self.step as i128 * a as i128) as i64, (b - a) as u64))
            .collect())
    }
    fn refers(&self, _: &mut dyn FnMut(RddId)) {}
    fn reads(&self, _: &(i64, u64), _: &mut dyn FnMut(RddId, PartitionIndex)) {}
}

/// The run of [`StepRangeOf`].
pub struct StepRangeStream {
    next: i64,
    left: u64,
    step: i64,
    stride: Stride,
    task: Task,
}

impl Stream for StepRangeStream {
    type Item = i64;

    #[inline(always)]
    fn drive<S: Sink<i64>>(&mut self, sink: &mut S) -> Flow {
        while self.left > 0 {
            for _ in 0..self.left.min(self.stride.begin(&self.task) as u64) {
                let item = self.next;
                self.next = item.wrapping_add(self.step);
                self.left -= 1;
                if !sink.push(Own(item)) {
                    return Flow::Full;
                }
            }
        }
        Flow::Done
    }
}
