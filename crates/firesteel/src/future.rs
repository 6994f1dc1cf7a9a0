//! Actions that run in the background.

use crate::{
    driver::{JobNews, Msg, Waiter},
    engine::Engine,
    graph::{CallSite, lock},
    job::{self, Patience, Submitted, Wanted},
    panics::guarded,
    properties::{self, Properties},
    rdd::Rdd,
};
use firesteel_model::{Error, JobId, Result};
use firesteel_rdd::{Action, Output, Pipeline};
use firesteel_scheduler::Event;
use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, Weak},
    task::{Context as TaskWaker, Poll, Waker},
};

/// An action that runs in the background: wait for it with [`get`](FutureAction::get), or `.await` it under any runtime. Dropping it
/// does not cancel it; a context that nobody else holds lives until its result is taken, or it is dropped after its end.
///
/// `count_async`, `collect_async` and `for_each_async` are one job each and take no thread, so there may be thousands at a time. What
/// must be known before a job (the listing of an input, the bounds of a sort) the calling thread finds out before it goes on. Of
/// `take_async` sixteen run at a time in a context; more wait for their turn. A [`checkpoint`](crate::Rdd::checkpoint) is
/// written after an action in the foreground only.
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
    result: Option<Made<R>>,
    over: bool,
    waker: Option<Waker>,
}

/// What is left to do when the result is asked for, in the thread that asks.
type Made<R> = Box<dyn FnOnce() -> Result<R> + Send>;

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

/// Ends a background action with its job, on the driver's thread.
struct AtEnd<R: 'static> {
    finish: Option<Finish<R>>,
    /// Gone before the action has ended.
    bar: Option<firesteel_events::RunningJob>,
}

struct Finish<R> {
    shared: Arc<Shared<R>>,
    result: Box<dyn FnOnce(Result<()>) -> Result<R> + Send>,
}

impl<R: 'static> Waiter for AtEnd<R> {
    fn tell(&mut self, news: JobNews) {
        if let JobNews::Ended(ended) = news
            && let Some(Finish { shared, result }) = self.finish.take()
        {
            self.bar = None;
            // A waker and, if nobody waits, the drop of the results may be code of the user's.
            guarded("ending a background action", move || shared.finish(Box::new(move || result(ended))));
        }
    }
}

impl<R: 'static> Drop for AtEnd<R> {
    fn drop(&mut self) {
        self.tell(JobNews::Ended(Err(Error::Stopped("it was stopped while a job was running".into()))));
    }
}

impl<R: Send + 'static> FutureAction<R> {
    fn new(engine: &Arc<Engine>) -> Self {
        let jobs = Arc::new(Jobs { engine: Arc::downgrade(engine), state: Mutex::default() });
        let end = Mutex::new(End { result: None, over: false, waker: None });
        FutureAction { shared: Arc::new(Shared { jobs, end, ended: Condvar::new() }) }
    }

    /// Submits the one job of an action; `merge` is called by whoever takes the result.
    pub(crate) fn of_job<T: 'static, P: Pipeline<Item = T>, A: Action<T>>(
        rdd: &Rdd<T, P>,
        action: A,
        site: CallSite,
        merge: impl FnOnce(Vec<A::Out>) -> R + Send + 'static,
    ) -> Self {
        let engine = rdd.node().engine.clone();
        let future = Self::new(&engine);
        let shared = future.shared.clone();
        let bar = engine.progress.as_ref().map(|progress| progress.job());
        let at_end = move |job: &Submitted| -> Box<dyn Waiter> {
            lock(&shared.jobs.state).ids.push(job.id);
            let job = job.clone();
            let result = Box::new(move |ended: Result<()>| {
                ended.inspect_err(|e| job::tell_failure(&engine, e))?;
                Ok(merge(job.outputs().into_iter().map(Output::into_typed).collect::<Result<_>>()?))
            });
            Box::new(AtEnd { finish: Some(Finish { shared, result }), bar })
        };
        if let Err(e) = job::send(rdd, Wanted::All, action, site, Patience::Endless, at_end) {
            future.shared.finish(Box::new(|| Err(e)));
        }
        future
    }

    /// Runs an action of several jobs on a thread, with the calling thread's local properties.
    pub(crate) fn on_thread<T: 'static, P: Pipeline<Item = T>>(
        rdd: &Rdd<T, P>,
        action: impl FnOnce(&Rdd<T, P>) -> Result<R> + Send + 'static,
    ) -> Self {
        let engine = &rdd.node().engine;
        let properties = properties::get(engine);
        let future = Self::new(engine);
        if let Err(e) = crate::engine::not_inside("a background action") {
            future.shared.finish(Box::new(|| Err(e)));
            return future;
        }
        let (rdd, on_thread) = (rdd.clone(), future.shared.clone());
        let part = Box::new(move || {
            on_thread.run(move || {
                properties::change(&rdd.node().engine, |own| *own = Properties::clone(&properties));
                // The handle goes before the result is there, so that a context whose last one it is has ended by then.
                let result = action(&rdd);
                drop(rdd);
                result
            });
        });
        if let Err(e) = engine.background.run(part) {
            future.shared.finish(Box::new(|| Err(Error::io("start", "the thread of a background action", e))));
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
        let made = end.result.take();
        drop(end);
        made.map_or_else(taken, |made| made())
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
        if !end.over {
            end.waker = Some(waker.waker().clone());
            return Poll::Pending;
        }
        let made = end.result.take();
        drop(end);
        Poll::Ready(made.map_or_else(taken, |made| made()))
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

impl<R: Send + 'static> Shared<R> {
    fn run(&self, action: impl FnOnce() -> Result<R>) {
        CURRENT.set(Some(self.jobs.clone()));
        let run = std::panic::AssertUnwindSafe(action);
        let result = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            let message = firesteel_rdd::panic_message(&*panic);
            Err(Error::InvalidArgument(format!("a background action panicked on the driver: {message}")))
        });
        CURRENT.set(None);
        self.finish(Box::new(|| result));
    }
}

impl<R> Shared<R> {
    fn finish(&self, result: Made<R>) {
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

/// The threads of background actions of several jobs: few at a time, which end when they have nothing to do.
#[derive(Default)]
pub(crate) struct Background(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    parts: VecDeque<Box<dyn FnOnce() + Send>>,
    threads: usize,
}

impl Background {
    /// At most so many at a time.
    const THREADS: usize = 16;

    /// Runs `part` when a thread is free.
    fn run(self: &Arc<Self>, part: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
        let mut waiting = lock(&self.0);
        waiting.parts.push_back(part);
        if waiting.threads == Self::THREADS {
            return Ok(());
        }
        let own = self.clone();
        match std::thread::Builder::new().name("firesteel-action".into()).spawn(move || own.work()) {
            Ok(_) => waiting.threads += 1,
            Err(e) if waiting.threads == 0 => {
                waiting.parts.pop_back();
                return Err(e);
            }
            // Those that there are will come to it.
            Err(_) => {}
        }
        Ok(())
    }

    fn work(&self) {
        let next = || {
            let mut waiting = lock(&self.0);
            let part = waiting.parts.pop_front();
            waiting.threads -= usize::from(part.is_none());
            part
        };
        while let Some(part) = next() {
            part();
        }
    }
}
