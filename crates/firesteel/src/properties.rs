//! Local properties: what a thread of the driver says about the jobs that it submits (group, description, tags, pool).
//!
//! They belong to the thread and the context. Threads that are started by a thread with properties do not inherit them, as
//! Rust's threads inherit nothing: [`Context::local_properties`](crate::Context::local_properties) hands them over.

use crate::engine::Engine;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Weak},
};

/// The properties' names.
pub(crate) const GROUP: &str = "spark.jobGroup.id";
pub(crate) const DESCRIPTION: &str = "spark.job.description";
pub(crate) const TAGS: &str = "spark.job.tags";
pub(crate) const POOL: &str = "spark.scheduler.pool";
pub(crate) const INTERRUPT: &str = "spark.job.interruptOnCancel";
pub(crate) const CALL_SITE: &str = "callSite.short";

pub(crate) type Properties = BTreeMap<String, String>;

/// One context's part of a thread's properties. The engine's mark tells it from another engine, and whether it still lives.
struct Own {
    engine: Weak<()>,
    properties: Arc<Properties>,
}

thread_local! {
    static LOCAL: RefCell<Vec<Own>> = const { RefCell::new(Vec::new()) };
}

fn is_of(own: &Own, engine: &Engine) -> bool {
    std::ptr::eq(own.engine.as_ptr(), Arc::as_ptr(&engine.mark))
}

/// The calling thread's properties.
pub(crate) fn get(engine: &Engine) -> Arc<Properties> {
    let of = |all: &Vec<Own>| all.iter().find(|own| is_of(own, engine)).map(|own| own.properties.clone());
    LOCAL.with_borrow(of).unwrap_or_default()
}

/// Changes the calling thread's properties.
pub(crate) fn change(engine: &Engine, change: impl FnOnce(&mut Properties)) {
    LOCAL.with_borrow_mut(|all| {
        if !all.iter().any(|own| is_of(own, engine)) {
            all.retain(|own| own.engine.strong_count() > 0);
            all.push(Own { engine: Arc::downgrade(&engine.mark), properties: Arc::default() });
        }
        if let Some(own) = all.iter_mut().find(|own| is_of(own, engine)) {
            change(Arc::make_mut(&mut own.properties));
        }
    });
}

/// Forgets the calling thread's properties of a context.
pub(crate) fn forget(engine: &Engine) {
    let _ = LOCAL.try_with(|all| all.borrow_mut().retain(|own| !is_of(own, engine)));
}

/// `spark.x` for `firesteel.x` and for `x` of the engine's own names, so that both spellings mean the same property.
pub(crate) fn spelled(key: &str) -> String {
    match key.strip_prefix("firesteel.") {
        Some(rest) => format!("spark.{rest}"),
        None => key.to_string(),
    }
}
