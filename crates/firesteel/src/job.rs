//! Running a job from an action's thread: plan, submit, wait, and what follows a success.

use crate::{
    driver::{JobNews, Msg, Results, Submission, Waiter},
    engine::Engine,
    graph::{CallSite, Checkpoint, RddNode, lock},
    plan, properties,
    rdd::Rdd,
    soon::soon,
};
use crossbeam_channel::Receiver;
use firesteel_events::{Queue, failure_summary};
use firesteel_model::{Error, JobId, PartitionIndex, RddId, Result};
use firesteel_rdd::{Action, Ending, Output, Pipeline, Root};
use firesteel_scheduler::{JobKind, StageOutput};
use serde::de::DeserializeOwned;
use std::{
    collections::HashSet,
    sync::{Arc, Weak},
};

/// A job that runs.
pub(crate) struct RunningJob {
    job: Submitted,
    news: Receiver<JobNews>,
    engine: Arc<Engine>,
    /// The progress bar is gone before the action returns.
    _bar: Option<firesteel_events::RunningJob>,
}

/// Which partitions a job computes.
pub(crate) enum Wanted {
    All,
    These(Vec<u32>),
}

/// How long a job may take.
pub(crate) enum Patience {
    /// As long as it needs.
    Endless,
    /// As long as it needs, but after this time its caller is told.
    Until(std::time::Duration),
}

/// What came of waiting for a job with a time limit.
pub(crate) enum Waited {
    /// Its results, in the order of its partitions.
    Ended(Vec<Output>),
    /// It goes on.
    TimeUp(RunningJob),
}

/// Submits a job and returns at once.
pub(crate) fn submit<P: Pipeline, A: Action<P::Item>>(
    rdd: &Rdd<P::Item, P>,
    wanted: Wanted,
    action: A,
    site: CallSite,
    patience: Patience,
) -> Result<RunningJob> {
    begin(rdd.node(), root(rdd, action), wanted, site, patience)
}

fn begin(
    top: &Arc<RddNode>,
    root: Arc<dyn Root>,
    wanted: Wanted,
    site: CallSite,
    patience: Patience,
) -> Result<RunningJob> {
    let engine = top.engine.clone();
    let (done, news) = crossbeam_channel::unbounded();
    let job = send_root(top, root, wanted, site, patience, Box::new(|_| Box::new(done)))?;
    let bar = engine.progress.as_ref().map(|progress| progress.job());
    // After the submission, so that whoever cancels the background action now finds a job that is known.
    crate::future::job_submitted(&engine, job.id);
    Ok(RunningJob { job, news, engine, _bar: bar })
}

/// A job as its submitter knows it.
#[derive(Clone)]
pub(crate) struct Submitted {
    pub(crate) id: JobId,
    results: Results,
    partitions: usize,
    /// The RDDs that it computes, of all stages.
    computed: Arc<[RddId]>,
}

impl Submitted {
    /// The results of a job that has succeeded, in the order of its partitions.
    pub(crate) fn outputs(&self) -> Vec<Output> {
        let results = std::mem::take(&mut *lock(&self.results));
        // A hole would be a wrong answer in disguise.
        assert_eq!(results.len(), self.partitions, "a finished job has a result for each partition");
        results.into_values().collect()
    }
}

/// Submits a job; whom `waiter` makes is told of its end.
pub(crate) fn send<P: Pipeline, A: Action<P::Item>>(
    rdd: &Rdd<P::Item, P>,
    wanted: Wanted,
    action: A,
    site: CallSite,
    patience: Patience,
    waiter: impl FnOnce(&Submitted) -> Box<dyn Waiter>,
) -> Result<Submitted> {
    send_root(rdd.node(), root(rdd, action), wanted, site, patience, Box::new(waiter))
}

/// What runs in a job's final stage.
fn root<P: Pipeline, A: Action<P::Item>>(rdd: &Rdd<P::Item, P>, action: A) -> Arc<dyn Root> {
    Arc::new(Ending(rdd.pipeline().clone(), Arc::new(action)))
}

fn send_root(
    top: &Arc<RddNode>,
    root: Arc<dyn Root>,
    wanted: Wanted,
    site: CallSite,
    patience: Patience,
    waiter: Box<dyn FnOnce(&Submitted) -> Box<dyn Waiter> + '_>,
) -> Result<Submitted> {
    let engine = top.engine.clone();
    engine.check_usable(site.method)?;
    top.prepare()?;
    let stages = plan::stages(engine.ids.stage(), StageOutput::Result, site, top, root)?;
    let last = stages.last().expect("a job has a final stage");
    let count = last.spec.tasks;
    let partitions: Vec<PartitionIndex> = match wanted {
        Wanted::All => (0..count).map(PartitionIndex).collect(),
        Wanted::These(these) => {
            if let Some(bad) = these.iter().find(|p| **p >= count) {
                return Err(Error::InvalidArgument(format!(
                    "attempting to access a non-existent partition: {bad}. Total number of partitions: {count}"
                )));
            }
            these.into_iter().map(PartitionIndex).collect()
        }
    };
    let id = engine.ids.job();
    let computed = stages.iter().flat_map(|stage| stage.lineage.iter().map(|node| node.id)).collect();
    for stage in &stages {
        for node in stage.lineage.iter().filter(|node| node.cache.is_some()) {
            node.note_blocks();
        }
    }
    let job = Submitted { id, results: Results::default(), partitions: partitions.len(), computed };
    let done = waiter(&job);
    let kind = match patience {
        Patience::Endless => JobKind::Result { partitions },
        Patience::Until(timeout) => JobKind::Approximate { partitions, timeout },
    };
    engine.tell(Msg::Submit(Box::new(Submission {
        job: id,
        kind,
        stages,
        properties: properties::get(&engine),
        results: job.results.clone(),
        done,
    })));
    Ok(job)
}

impl RunningJob {
    /// How many partitions were wanted.
    pub(crate) fn partitions(&self) -> usize {
        self.job.partitions
    }

    /// Waits for the end.
    pub(crate) fn wait(self) -> Result<Vec<Output>> {
        let mut job = self;
        loop {
            match job.wait_for_a_while()? {
                Waited::Ended(outputs) => return Ok(outputs),
                Waited::TimeUp(running) => job = running,
            }
        }
    }

    /// Waits for the end, or until the job's time is up.
    pub(crate) fn wait_for_a_while(self) -> Result<Waited> {
        match soon(&self.news).map_or_else(|| self.news.recv(), Ok) {
            Ok(JobNews::TimeUp) => return Ok(Waited::TimeUp(self)),
            Ok(JobNews::Ended(Ok(()))) => {}
            Ok(JobNews::Ended(Err(e))) => {
                tell_failure(&self.engine, &e);
                return Err(e);
            }
            Err(_) => return Err(Error::Stopped("it was stopped while a job was running".into())),
        }
        self.succeeded()?;
        Ok(Waited::Ended(self.job.outputs()))
    }

    /// Looks at the results that there are so far.
    pub(crate) fn look_at_results<O: DeserializeOwned + Send + 'static, R>(
        &self,
        look: impl FnOnce(&[&O]) -> R,
    ) -> Result<R> {
        // Taken out meanwhile, so that the driver's loop need not wait for the user's `Eq` and `Clone`.
        let mut taken = std::mem::take(&mut *lock(&self.job.results));
        let made = {
            let seen: Vec<&O> = taken.values_mut().map(Output::typed).collect::<Result<_>>()?;
            look(&seen)
        };
        let mut results = lock(&self.job.results);
        for (index, output) in taken {
            // What was delivered anew meanwhile stays; what was withdrawn is delivered anew before the job ends.
            results.entry(index).or_insert(output);
        }
        Ok(made)
    }

    /// What is to happen after a success: RDDs that the job computed and that wait for their checkpoint get it.
    pub(crate) fn succeeded(&self) -> Result<()> {
        let waiting: Vec<Arc<RddNode>> = {
            let mut all = lock(&self.engine.to_checkpoint);
            if all.is_empty() {
                return Ok(());
            }
            let computed: HashSet<RddId> = self.job.computed.iter().copied().collect();
            let mut now = Vec::new();
            all.retain(|node| match Weak::upgrade(node) {
                Some(node) if computed.contains(&node.id) => {
                    now.push(node);
                    false
                }
                Some(_) => true,
                None => false,
            });
            now
        };
        let mut waiting = waiting.into_iter();
        while let Some(node) = waiting.next() {
            let done = match &node.checkpoint {
                Some(Checkpoint::Reliable(write)) => write(&node),
                Some(Checkpoint::Local(complete)) => complete(&node),
                None => Ok(()),
            };
            if let Err(e) = done {
                let not_done = std::iter::once(&node).chain(waiting.as_slice()).map(Arc::downgrade);
                lock(&self.engine.to_checkpoint).extend(not_done);
                return Err(e);
            }
            node.cut_lineage();
        }
        Ok(())
    }
}

/// Says what is known about a job that failed.
pub(crate) fn tell_failure(engine: &Engine, e: &Error) {
    if let Error::Job(failure) = e {
        engine.bus.flush_queue(Queue::AppStatus);
        tracing::error!("{}", failure_summary(failure, &engine.state).trim_end());
    }
}

/// Runs a job and returns one result for each wanted partition, in the order in which they were asked for.
pub(crate) fn run<P: Pipeline, A: Action<P::Item>>(
    rdd: &Rdd<P::Item, P>,
    wanted: Wanted,
    action: A,
    site: CallSite,
) -> Result<Vec<A::Out>> {
    let outputs = submit(rdd, wanted, action, site, Patience::Endless)?.wait()?;
    outputs.into_iter().map(Output::into_typed).collect()
}
