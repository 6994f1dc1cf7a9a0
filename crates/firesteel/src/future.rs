//! Actions that run in the background.

use crate::{
    driver::Msg,
    engine::Engine,
    graph::lock,
    properties::{self, Properties},
    rdd::Rdd,
};
use firesteel_model::{Error, JobId, Result};
use firesteel_rdd::Pipeline;
use firesteel_scheduler::Event;
use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, Weak},
    task::{Context as TaskWaker, Poll, Waker},
};

/// An action that runs in the background, on a thread of its own: wait for it with [`get`](FutureAction::get), or `.await` it under
/// any runtime. Dropping it does not cancel it.
///
/// ```
/// use firesteel::prelude::*;
/// let sc = Context::builder().master("local[2]").build()?;
/// let counted = sc.range(0..1000).count_async();
/// let firsts = sc.range(0..1000).take_async(3);
/// assert_eq!(counted.get()?, 1000);
/// assert_eq!(firsts.get()?, [0, 1, 2]);
/// # Ok::<(), Error>(())
/// ```
#[must_use = "the action runs whether or not it is waited for; its failure is told by `get` only"]
pub struct FutureAction<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    jobs: Arc<Jobs>,
    end: Mutex<End<R>>,
    ended: Condvar,
}

struct End<R> {
    result: Option<Result<R>>,
    over: bool,
    waker: Option<Waker>,
}

/// The jobs of one background action.
struct Jobs {
    engine: Weak<Engine>,
    state: Mutex<JobsState>,
}

#[derive(Default)]
struct JobsState {
    ids: Vec<JobId>,
    /// Why it was cancelled, if it was.
    cancelled: Option<String>,
}

thread_local! {
    /// The background action that this thread runs.
    static CURRENT: RefCell<Option<Arc<Jobs>>> = const { RefCell::new(None) };
}

/// Notes a job, which the driver knows by now, for the background action that this thread runs, if it runs one; a job of an action
/// that was cancelled meanwhile is cancelled.
pub(crate) fn job_submitted(engine: &Engine, job: JobId) {
    let Some(jobs) = CURRENT.with_borrow(Clone::clone) else { return };
    let mut state = lock(&jobs.state);
    state.ids.push(job);
    if let Some(reason) = state.cancelled.clone() {
        engine.tell(Msg::Scheduler(Event::JobCancelled { job, reason }));
    }
}

impl<R: Send + 'static> FutureAction<R> {
    /// Runs an action of `rdd` in the background, with the calling thread's local properties.
    pub(crate) fn run<T: 'static, P: Pipeline<Item = T>>(
        rdd: &Rdd<T, P>,
        action: impl FnOnce(&Rdd<T, P>) -> Result<R> + Send + 'static,
    ) -> Self {
        let engine = &rdd.node().engine;
        let properties = properties::get(engine);
        let jobs = Arc::new(Jobs { engine: Arc::downgrade(engine), state: Mutex::default() });
        let end = Mutex::new(End { result: None, over: false, waker: None });
        let shared = Arc::new(Shared { jobs, end, ended: Condvar::new() });
        let future = FutureAction { shared: shared.clone() };
        if let Err(e) = crate::engine::not_inside("a background action") {
            shared.finish(Err(e));
            return future;
        }
        let (rdd, on_thread) = (rdd.clone(), shared.clone());
        let thread = std::thread::Builder::new().name("firesteel-action".into()).spawn(move || {
            on_thread.run(move || {
                properties::change(&rdd.node().engine, |own| *own = Properties::clone(&properties));
                // The handle goes before the result is there, so that a context whose last one it is has ended by then.
                let result = action(&rdd);
                drop(rdd);
                result
            });
        });
        if let Err(e) = thread {
            shared.finish(Err(Error::io("start", "the thread of a background action", e)));
        }
        future
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// As the action; [`Error::Cancelled`] if one of its jobs was cancelled.
    pub fn get(self) -> Result<R> {
        let end = lock(&self.shared.end);
        let mut end =
            self.shared.ended.wait_while(end, |end| !end.over).unwrap_or_else(std::sync::PoisonError::into_inner);
        end.result.take().unwrap_or_else(taken)
    }
}

fn taken<R>() -> Result<R> {
    Err(Error::InvalidArgument("the result of a background action was taken already".into()))
}

impl<R> FutureAction<R> {
    /// Cancels the action: its jobs end, also those that it would submit later, and [`get`](FutureAction::get) is an error.
    pub fn cancel(&self) {
        self.cancel_because("by its background action's `cancel`");
    }

    /// [`cancel`](FutureAction::cancel) with a reason, which the error tells.
    pub fn cancel_because(&self, reason: &str) {
        let jobs = &self.shared.jobs;
        let mut state = lock(&jobs.state);
        if lock(&self.shared.end).over {
            return;
        }
        state.cancelled.get_or_insert_with(|| reason.to_string());
        let Some(engine) = jobs.engine.upgrade() else { return };
        for job in &state.ids {
            engine.tell(Msg::Scheduler(Event::JobCancelled { job: *job, reason: reason.into() }));
        }
    }

    /// Whether it was cancelled through [`cancel`](FutureAction::cancel), before its end.
    pub fn is_cancelled(&self) -> bool {
        lock(&self.shared.jobs.state).cancelled.is_some()
    }

    /// Whether it has ended, well or not.
    pub fn is_completed(&self) -> bool {
        lock(&self.shared.end).over
    }

    /// The jobs that it has submitted so far.
    pub fn job_ids(&self) -> Vec<u64> {
        lock(&self.shared.jobs.state).ids.iter().map(|id| id.0).collect()
    }
}

impl<R> Future for FutureAction<R> {
    type Output = Result<R>;

    fn poll(self: Pin<&mut Self>, waker: &mut TaskWaker<'_>) -> Poll<Result<R>> {
        let mut end = lock(&self.shared.end);
        if end.over {
            Poll::Ready(end.result.take().unwrap_or_else(taken))
        } else {
            end.waker = Some(waker.waker().clone());
            Poll::Pending
        }
    }
}

impl<R> fmt::Debug for FutureAction<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FutureAction")
            .field("jobs", &self.job_ids())
            .field("completed", &self.is_completed())
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

impl<R> Shared<R> {
    fn run(&self, action: impl FnOnce() -> Result<R>) {
        CURRENT.set(Some(self.jobs.clone()));
        let run = std::panic::AssertUnwindSafe(action);
        let result = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            let message = firesteel_rdd::panic_message(&*panic);
            Err(Error::InvalidArgument(format!("a background action panicked on the driver: {message}")))
        });
        CURRENT.set(None);
        self.finish(result);
    }

    fn finish(&self, result: Result<R>) {
        let waker = {
            let mut end = lock(&self.end);
            end.result = Some(result);
            end.over = true;
            end.waker.take()
        };
        self.ended.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
