//! What the driver and its executors say to each other. Both are the same executable, so these are plain serde types.

use crate::{
    executor::{Order, TaskMsg},
    setup::Setup,
};
use firesteel_cluster::content::ContentHash;
use firesteel_model::{AccumulatorId, AttemptId, BlockId, ExecutorId, ShuffleId, StageId, TaskMetrics};
use firesteel_rdd::{Holder, TaskFailure};
use firesteel_store::BlockStatus;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, num::NonZeroU32};

/// The protocol between driver and executor, and its version.
pub(super) const CONTROL: (&str, u32) = ("firesteel-executor", 1);

/// What an executor says of itself when it connects.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Introduction {
    /// The hash of its executable; none if the driver has started its own again.
    pub(super) executable: Option<ContentHash>,
    pub(super) executor: ExecutorId,
    /// How many tasks it was told to run at a time, if it was.
    pub(super) cores: Option<NonZeroU32>,
    pub(super) pid: u32,
}

/// What an executor needs to begin.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    pub(super) slots: u32,
    /// Bytes for tasks and what is kept.
    pub(super) budget: u64,
    /// Bytes that it may take in all.
    pub(super) memory: u64,
    /// The settings that are not defaults.
    pub(super) settings: Vec<(String, String)>,
    /// What to do before the first task.
    pub(super) setups: Vec<Setup>,
    /// Where the driver serves blocks.
    pub(super) driver: Holder,
}

/// From the driver.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToExecutor {
    /// First of all.
    Welcome(Box<Welcome>),
    /// It cannot be an executor of this driver; why.
    Refused(String),
    /// Run a task.
    Launch(Launch),
    /// No more tasks of the stage.
    ForgetStage(StageId),
    Order(Order),
    /// Who holds what was asked for.
    Located {
        question: u64,
        holders: Vec<Holder>,
    },
    /// Where what the executor holds is served that was asked about; nowhere if that is lost.
    Whereabouts {
        question: u64,
        holder: Option<Holder>,
    },
    /// End.
    Close,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) task: TaskMsg,
    /// Nothing if this executor has them.
    pub(super) stage_bytes: Bytes,
    /// The map outputs that it may read, by version; nothing for those that this executor has.
    pub(super) outputs: Vec<(ShuffleId, u64, Bytes)>,
}

/// From an executor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromExecutor {
    /// It can run tasks, and serves what it holds at this port. Its map outputs will be served at the other when it has died.
    Ready {
        port: u16,
        outputs_port: Option<u16>,
    },
    /// It cannot begin; why.
    Failed(String),
    Heartbeat {
        number: u64,
        running: Vec<AttemptId>,
    },
    Ended(Box<Ended>),
    MayCommit(AttemptId),
    Block(BlockId, Option<BlockStatus>),
    /// Who holds a block?
    Locate {
        question: u64,
        block: BlockId,
    },
    /// Which other executors are there?
    Others {
        question: u64,
    },
    /// Where is served what an executor holds?
    WhereIs {
        question: u64,
        executor: ExecutorId,
    },
}

/// How an attempt ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) attempt: AttemptId,
    /// No bytes if they are kept until they are fetched.
    pub(super) outcome: Result<Option<Bytes>, TaskFailure>,
    pub(super) metrics: FewMetrics,
    pub(super) peaks: Vec<(Cow<'static, str>, u64)>,
    pub(super) accumulators: Vec<(AccumulatorId, Bytes)>,
    pub(super) blocks: Vec<(BlockId, BlockStatus)>,
    pub(super) copies: Vec<(BlockId, ExecutorId)>,
}

/// Bytes that are written and read in one piece, where serde alone would take them one by one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Bytes(#[serde(with = "firesteel_rdd::in_one_piece")] pub(super) Vec<u8>);

/// Metrics, of which most are zero: only those that are not.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FewMetrics {
    /// Which they are, a bit for each.
    which: u32,
    values: Vec<u64>,
}

impl From<TaskMetrics> for FewMetrics {
    fn from(metrics: TaskMetrics) -> Self {
        const { assert!(TaskMetrics::COUNT <= u32::BITS as usize) };
        let few = (0..).zip(metrics.values()).filter(|(_, value)| *value > 0);
        let which = few.clone().fold(0, |which, (i, _)| which | 1 << i);
        FewMetrics { which, values: few.map(|(_, value)| value).collect() }
    }
}

impl From<FewMetrics> for TaskMetrics {
    fn from(few: FewMetrics) -> Self {
        let mut values = [0; TaskMetrics::COUNT];
        let places = (0..).zip(&mut values).filter(|(i, _)| few.which & 1 << i != 0);
        places.zip(few.values).for_each(|((_, place), value)| *place = value);
        TaskMetrics::of_values(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::{decode, encode};

    #[test]
    fn metrics_that_are_zero_take_no_room() {
        let some = TaskMetrics { run_ns: 7, shuffle_write_ns: 1 << 60, ..TaskMetrics::default() };
        let mut all = [0; TaskMetrics::COUNT];
        (1..).zip(&mut all).for_each(|(i, value)| *value = i);
        for (metrics, most) in [(some, 16), (TaskMetrics::default(), 2), (TaskMetrics::of_values(all), 64)] {
            let bytes = encode(&FewMetrics::from(metrics)).unwrap();
            assert!(bytes.len() <= most, "{} B", bytes.len());
            assert_eq!(TaskMetrics::from(decode::<FewMetrics>(&bytes).unwrap()), metrics);
        }
    }

    #[test]
    fn metrics_that_were_not_sent_are_zero() {
        let few = FewMetrics { which: u32::MAX, values: vec![1] };
        assert_eq!(TaskMetrics::from(few), TaskMetrics { deserialize_ns: 1, ..TaskMetrics::default() });
    }
}
