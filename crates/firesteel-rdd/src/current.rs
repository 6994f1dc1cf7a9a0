//! The task that runs on this thread, for what is decoded or asked in it.

use crate::{
    accumulator::AttemptAccumulators,
    task::{EndHook, Executor, KillFlag, Task, TaskInfo},
};
use std::{
    cell::RefCell,
    sync::{Arc, Mutex, OnceLock},
};

/// What user code can learn about the task that it runs in: Spark's `TaskContext`.
#[derive(Clone)]
pub struct TaskContext {
    info: Arc<TaskInfo>,
    executor: Arc<Executor>,
    accumulators: Arc<AttemptAccumulators>,
    kill: KillFlag,
    on_end: Arc<Mutex<Vec<EndHook>>>,
    ending: Arc<OnceLock<bool>>,
}

thread_local! {
    static CURRENT: RefCell<Option<TaskContext>> = const { RefCell::new(None) };
}

/// Makes `task` the thread's task until the guard goes.
pub fn enter(task: &Task) -> Entered {
    let context = TaskContext {
        info: Arc::new(task.info().clone()),
        executor: task.executor().clone(),
        accumulators: task.accumulators().clone(),
        kill: task.kill_flag().clone(),
        on_end: task.on_end().clone(),
        ending: task.ending().clone(),
    };
    Entered(CURRENT.replace(Some(context)))
}

/// Puts the thread's former task back when it is dropped.
pub struct Entered(Option<TaskContext>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

pub(crate) fn accumulators() -> Option<Arc<AttemptAccumulators>> {
    CURRENT.with_borrow(|c| c.as_ref().map(|c| c.accumulators.clone()))
}

pub(crate) fn executor() -> Option<Arc<Executor>> {
    CURRENT.with_borrow(|c| c.as_ref().map(|c| c.executor.clone()))
}

/// Whether this thread is running a task.
pub fn in_task() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

impl TaskContext {
    /// The task that this thread runs; `None` on the driver and in threads that user code started.
    pub fn get() -> Option<TaskContext> {
        CURRENT.with_borrow(Clone::clone)
    }
    /// The partition that the task computes.
    pub fn partition_id(&self) -> usize {
        self.info.partition.index()
    }
    /// The number of partitions of the stage's last RDD.
    pub fn num_partitions(&self) -> usize {
        self.info.partitions as usize
    }
    /// The stage.
    pub fn stage_id(&self) -> u64 {
        self.info.stage.0
    }
    /// The how-manieth submission of the stage, from 0.
    pub fn stage_attempt_number(&self) -> u32 {
        self.info.stage_attempt.0
    }
    /// The how-manieth attempt at this task, from 0.
    pub fn attempt_number(&self) -> u32 {
        self.info.attempt_number
    }
    /// The attempt's number, unique in the context.
    pub fn task_attempt_id(&self) -> u64 {
        self.info.attempt.0
    }
    /// A local property of the driver's thread that submitted the job. A key of the engine's may begin with `firesteel.` or with
    /// `spark.`.
    pub fn local_property(&self, key: &str) -> Option<&str> {
        let value = match key.strip_prefix("firesteel.") {
            Some(rest) => self.info.properties.get(&format!("spark.{rest}")),
            None => self.info.properties.get(key),
        };
        value.map(String::as_str)
    }
    /// Whether the task was asked to stop. Sources look by themselves; long computations of the user's may look here.
    pub fn is_interrupted(&self) -> bool {
        self.kill.is_killed()
    }
    /// Whether the task has ended, well or not: what is called at its end, and threads that it started, may ask.
    pub fn is_completed(&self) -> bool {
        self.ending.get().is_some()
    }
    /// Whether the task has failed.
    pub fn is_failed(&self) -> bool {
        self.ending.get() == Some(&true)
    }
    /// Calls `f` when the task has ended, with or without success; the one added last is called first. A panic in it fails a
    /// task that had succeeded.
    pub fn on_completion(&self, f: impl FnOnce() + Send + 'static) {
        self.hook(Box::new(|_| f()));
    }
    /// Calls `f` when the task has failed.
    pub fn on_failure(&self, f: impl FnOnce() + Send + 'static) {
        self.hook(Box::new(|failed| {
            if failed {
                f()
            }
        }));
    }
    fn hook(&self, hook: EndHook) {
        self.on_end.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(hook);
    }
}
