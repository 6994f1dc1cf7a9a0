//! Panics of user code: caught at the task's boundary, with the message and the line where they happened.
//!
//! The hook belongs to the process and is installed once, with the first context or an executor's first task. In a task it notes the panic and prints nothing: the failure is
//! told by the job that it fails. Everywhere else it does what the hook before it did.

use crate::graph::CallSite;
use firesteel_model::{Error, Result};
use firesteel_rdd::{TaskFailure, panic_message};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

thread_local! {
    /// `Some` while a task's code runs on this thread: what its panic said.
    static NOTED: RefCell<Option<String>> = const { RefCell::new(None) };
    static CATCHING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Installs the hook, once in the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                return before(info);
            }
            let place = info.location().map(|at| format!(" at {}:{}:{}", at.file(), at.line(), at.column()));
            let text = format!("panicked{}: {}", place.unwrap_or_default(), panic_message(info.payload()));
            NOTED.with_borrow_mut(|noted| *noted = Some(text));
        }));
    });
}

/// Runs a task's code; whatever unwinds out of it becomes a failure.
pub(crate) fn caught<R>(run: impl FnOnce() -> R) -> Result<R, TaskFailure> {
    install();
    let outer = CATCHING.replace(true);
    NOTED.with_borrow_mut(Option::take);
    let result = catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(outer);
    result.map_err(|payload| TaskFailure::of_payload(payload, NOTED.with_borrow_mut(Option::take)))
}

/// Runs what an action does in its caller's thread with functions of the user's: a panic in them is the action's error, as it would be
/// in a task.
pub(crate) fn on_driver<R>(site: CallSite, run: impl FnOnce() -> R) -> Result<R> {
    caught(run).map_err(|failure| Error::Function { call_site: site.to_string(), message: failure.to_string() })
}

/// Runs what may call code of the user's (a `Drop`, a `Deserialize`) on the driver's thread, which a panic in it must not end: it
/// is told, and that is all.
pub(crate) fn guarded<R>(what: &str, run: impl FnOnce() -> R) -> Option<R> {
    match caught(run) {
        Ok(result) => Some(result),
        Err(panic) => {
            tracing::error!("{what}: {panic}");
            None
        }
    }
}
