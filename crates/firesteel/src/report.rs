//! What happens, told to the event bus in the words of its schema.

use crate::{engine::Accumulators, executor::TaskEnd, plan::Stage, properties::Properties};
use firesteel_events::Bus;
use firesteel_model::{AttemptId, BlockId, JobId, PartitionIndex, StageId, StorageLevel};
use firesteel_scheduler::{SchedulerEvent, TaskLaunch};
use firesteel_store::BlockStatus;
use std::{collections::HashMap, sync::Arc};

/// Turns the scheduler's events into those that listeners see.
pub(crate) struct Reporter {
    bus: Arc<Bus>,
    tasks: HashMap<AttemptId, (StageId, PartitionIndex)>,
}

impl Reporter {
    pub(crate) fn new(bus: Arc<Bus>) -> Self {
        Reporter { bus, tasks: HashMap::new() }
    }
    pub(crate) fn submitted(&mut self, job: JobId, stages: &[Arc<Stage>], properties: &Arc<Properties>) {
        let _ = (job, stages, properties, &self.bus);
    }
    pub(crate) fn launched(&mut self, launch: &TaskLaunch) {
        self.tasks.insert(launch.attempt, (launch.stage, launch.partition));
    }
    pub(crate) fn task_of(&self, attempt: AttemptId) -> Option<(StageId, PartitionIndex)> {
        self.tasks.get(&attempt).copied()
    }
    pub(crate) fn attempt_ended(&mut self, end: &TaskEnd) {
        let _ = end;
    }
    pub(crate) fn block(&mut self, block: BlockId, level: StorageLevel, status: BlockStatus) {
        let _ = (block, level, status);
    }
    pub(crate) fn publish(&mut self, event: &SchedulerEvent, accumulators: &Accumulators) {
        let _ = accumulators;
        if let SchedulerEvent::TaskEnded { launch, .. } = event {
            self.tasks.remove(&launch.attempt);
        }
    }
    pub(crate) fn stopped(&mut self) {}
}
