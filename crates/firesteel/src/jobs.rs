//! What a context says about its jobs: groups, descriptions, tags and other local properties; and their cancellation.

use crate::{Context, driver::Msg, properties};
use firesteel_model::{AttemptId, Error, JobId, Result, StageId};
use firesteel_scheduler::Event;
use std::collections::{BTreeMap, BTreeSet};

impl Context {
    /// Puts the jobs that this thread submits from now on into a group, with a description: they can be
    /// [cancelled](Context::cancel_job_group) and [asked for](crate::StatusTracker) together. `interrupt_on_cancel` is noted for
    /// those who ask; a cancelled task stops at its next look at its kill flag in any case.
    ///
    /// ```
    /// use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// sc.set_job_group("nightly", "counts of the night", false);
    /// sc.range(0..10).count()?;
    /// assert_eq!(sc.status_tracker().job_ids_for_group(Some("nightly")), [0]);
    /// sc.clear_job_group();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_job_group(&self, id: &str, description: &str, interrupt_on_cancel: bool) {
        self.set_local_property(properties::GROUP, Some(id));
        self.set_local_property(properties::DESCRIPTION, Some(description));
        self.set_interrupt_on_cancel(interrupt_on_cancel);
    }

    /// Takes [`set_job_group`](Context::set_job_group) back, for this thread.
    pub fn clear_job_group(&self) {
        for key in [properties::GROUP, properties::DESCRIPTION, properties::INTERRUPT] {
            self.set_local_property(key, None);
        }
    }

    /// Describes the jobs that this thread submits from now on.
    pub fn set_job_description(&self, description: &str) {
        self.set_local_property(properties::DESCRIPTION, Some(description));
    }

    /// Notes whether threads of cancelled tasks may be interrupted, for tasks that ask for the property
    /// `spark.job.interruptOnCancel`. Threads of Rust programs cannot be interrupted from outside: tasks look at their kill flag.
    pub fn set_interrupt_on_cancel(&self, interrupt: bool) {
        self.set_local_property(properties::INTERRUPT, Some(if interrupt { "true" } else { "false" }));
    }

    /// Tags the jobs that this thread submits from now on. A tag that is there already is there once.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty tag, and for one with a comma.
    pub fn add_job_tag(&self, tag: &str) -> Result<()> {
        check_tag(tag)?;
        self.change_tags(|tags| {
            tags.insert(tag.to_string());
        });
        Ok(())
    }

    /// Takes a tag back, for this thread; one that is not there is ignored.
    ///
    /// # Errors
    /// As [`add_job_tag`](Context::add_job_tag).
    pub fn remove_job_tag(&self, tag: &str) -> Result<()> {
        check_tag(tag)?;
        self.change_tags(|tags| {
            tags.remove(tag);
        });
        Ok(())
    }

    /// This thread's tags.
    pub fn job_tags(&self) -> BTreeSet<String> {
        self.local_property(properties::TAGS).map(|tags| split(&tags)).unwrap_or_default()
    }

    /// Takes all of this thread's tags back.
    pub fn clear_job_tags(&self) {
        self.set_local_property(properties::TAGS, None);
    }

    fn change_tags(&self, change: impl FnOnce(&mut BTreeSet<String>)) {
        let mut tags = self.job_tags();
        change(&mut tags);
        let joined = tags.into_iter().collect::<Vec<_>>().join(",");
        self.set_local_property(properties::TAGS, Some(joined.as_str()).filter(|tags| !tags.is_empty()));
    }

    /// What this thread says about the jobs that it submits: one local property.
    pub fn local_property(&self, key: &str) -> Option<String> {
        properties::get(self.engine()).get(&properties::spelled(key)).cloned()
    }

    /// All local properties of this thread, to be handed to another: threads inherit nothing.
    ///
    /// ```
    /// use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// sc.set_job_group("nightly", "counts of the night", false);
    /// let (properties, other) = (sc.local_properties(), sc.clone());
    /// std::thread::spawn(move || {
    ///     other.set_local_properties(properties);
    ///     other.range(0..10).count()
    /// })
    /// .join()
    /// .unwrap()?;
    /// assert_eq!(sc.status_tracker().job_ids_for_group(Some("nightly")), [0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn local_properties(&self) -> BTreeMap<String, String> {
        BTreeMap::clone(&properties::get(self.engine()))
    }

    /// Gives this thread these local properties, instead of those that it has.
    pub fn set_local_properties(&self, properties: BTreeMap<String, String>) {
        let spelled = properties.into_iter().map(|(key, value)| (properties::spelled(&key), value)).collect();
        properties::change(self.engine(), |own| *own = spelled);
    }

    /// The name, in the UI and the event log, of the actions that this thread calls from now on, instead of their place in the
    /// program (`count at main.rs:12`).
    pub fn set_call_site(&self, site: &str) {
        self.set_local_property(properties::CALL_SITE, Some(site));
    }

    /// Takes [`set_call_site`](Context::set_call_site) back.
    pub fn clear_call_site(&self) {
        self.set_local_property(properties::CALL_SITE, None);
    }

    fn cancel(&self, event: Event) {
        self.engine().tell(Msg::Scheduler(event));
    }

    /// Cancels the jobs of a group that run now: their actions fail with [`Error::Cancelled`], `part of cancelled job group g`.
    pub fn cancel_job_group(&self, id: &str) {
        self.cancel(Event::GroupCancelled { group: id.into(), reason: None, future: false });
    }

    /// [`cancel_job_group`](Context::cancel_job_group) with a reason, which the errors tell.
    pub fn cancel_job_group_because(&self, id: &str, reason: &str) {
        self.cancel(Event::GroupCancelled { group: id.into(), reason: Some(reason.into()), future: false });
    }

    /// Cancels the jobs of a group, also those that will be submitted with it later. The latest 1,000 such groups are kept.
    pub fn cancel_job_group_and_future_jobs(&self, id: &str) {
        self.cancel(Event::GroupCancelled { group: id.into(), reason: None, future: true });
    }

    /// [`cancel_job_group_and_future_jobs`](Context::cancel_job_group_and_future_jobs) with a reason, which the errors tell.
    pub fn cancel_job_group_and_future_jobs_because(&self, id: &str, reason: &str) {
        self.cancel(Event::GroupCancelled { group: id.into(), reason: Some(reason.into()), future: true });
    }

    /// Cancels the jobs with a tag that run now: their actions fail with [`Error::Cancelled`], `part of cancelled job tags t`.
    pub fn cancel_jobs_with_tag(&self, tag: &str) {
        self.cancel(Event::TagCancelled { tag: tag.into(), reason: None, future: false });
    }

    /// [`cancel_jobs_with_tag`](Context::cancel_jobs_with_tag) with a reason, which the errors tell.
    pub fn cancel_jobs_with_tag_because(&self, tag: &str, reason: &str) {
        self.cancel(Event::TagCancelled { tag: tag.into(), reason: Some(reason.into()), future: false });
    }

    /// Cancels the jobs with a tag, also those that will be submitted with it later. The latest 1,000 such tags are kept.
    pub fn cancel_jobs_with_tag_and_future_jobs(&self, tag: &str) {
        self.cancel(Event::TagCancelled { tag: tag.into(), reason: None, future: true });
    }

    /// Cancels all jobs that run now.
    pub fn cancel_all_jobs(&self) {
        self.cancel(Event::AllJobsCancelled { reason: "as part of cancellation of all jobs".into() });
    }

    /// Cancels a job; one that does not run is ignored.
    pub fn cancel_job(&self, id: u64) {
        self.cancel_job_because(id, "on request");
    }

    /// [`cancel_job`](Context::cancel_job) with a reason, which the error tells.
    pub fn cancel_job_because(&self, id: u64, reason: &str) {
        self.cancel(Event::JobCancelled { job: JobId(id), reason: reason.into() });
    }

    /// Cancels the jobs that need a stage; one that is not active is ignored.
    pub fn cancel_stage(&self, id: u64) {
        self.cancel(Event::StageCancelled { stage: StageId(id), reason: None });
    }

    /// [`cancel_stage`](Context::cancel_stage) with a reason, which the errors tell.
    pub fn cancel_stage_because(&self, id: u64, reason: &str) {
        self.cancel(Event::StageCancelled { stage: StageId(id), reason: Some(reason.into()) });
    }

    /// Kills a task attempt, by [its number](crate::TaskContext::task_attempt_id); its task is tried again, and no failure is
    /// counted. Returns whether the attempt was running; on the driver's own thread (the merge of an accumulator runs there) false.
    pub fn kill_task_attempt(&self, attempt: u64, reason: &str) -> bool {
        let (answer, running) = crossbeam_channel::bounded(1);
        self.engine().tell(Msg::KillAttempt(AttemptId(attempt), reason.into(), answer));
        !crate::engine::is_drivers_thread() && running.recv().unwrap_or(false)
    }
}

fn split(tags: &str) -> BTreeSet<String> {
    tags.split(',').filter(|tag| !tag.is_empty()).map(String::from).collect()
}

fn check_tag(tag: &str) -> Result<()> {
    let bad = match tag {
        "" => "it is empty",
        tag if tag.contains(',') => "it contains a comma",
        _ => return Ok(()),
    };
    Err(Error::InvalidArgument(format!("the job tag {tag:?} cannot be used: {bad}")))
}
