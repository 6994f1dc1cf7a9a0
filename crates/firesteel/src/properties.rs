//! Local properties: what a thread of the driver says about the jobs that it submits (group, description, tags, pool).
//!
//! They belong to the thread and the context. Threads that are started by a thread with properties do not inherit them, as
//! Rust's threads inherit nothing: [`Context::local_properties`](crate::Context::local_properties) hands them over.

use crate::engine::Engine;
use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

/// The properties' names.
pub(crate) const GROUP: &str = "spark.jobGroup.id";
pub(crate) const DESCRIPTION: &str = "spark.job.description";
pub(crate) const TAGS: &str = "spark.job.tags";
pub(crate) const POOL: &str = "spark.scheduler.pool";
pub(crate) const INTERRUPT: &str = "spark.job.interruptOnCancel";

pub(crate) type Properties = BTreeMap<String, String>;

thread_local! {
    static LOCAL: RefCell<BTreeMap<usize, Arc<Properties>>> = const { RefCell::new(BTreeMap::new()) };
}

fn key(engine: &Engine) -> usize {
    std::ptr::from_ref(engine) as usize
}

/// The calling thread's properties.
pub(crate) fn get(engine: &Engine) -> Arc<Properties> {
    LOCAL.with_borrow(|all| all.get(&key(engine)).cloned()).unwrap_or_default()
}

/// Changes the calling thread's properties.
pub(crate) fn change(engine: &Engine, change: impl FnOnce(&mut Properties)) {
    LOCAL.with_borrow_mut(|all| change(Arc::make_mut(all.entry(key(engine)).or_default())));
}

/// Forgets the calling thread's properties of a context that has ended.
pub(crate) fn forget(engine: &Engine) {
    let _ = LOCAL.try_with(|all| all.borrow_mut().remove(&key(engine)));
}

/// `spark.x` for `firesteel.x` and for `x` of the engine's own names, so that both spellings mean the same property.
pub(crate) fn spelled(key: &str) -> String {
    match key.strip_prefix("firesteel.") {
        Some(rest) => format!("spark.{rest}"),
        None => key.to_string(),
    }
}
