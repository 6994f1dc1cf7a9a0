//! What stands before and after a program's own `main`.

use firesteel_cluster::role::DriverRole;
use std::{
    fmt::Display,
    panic::{catch_unwind, resume_unwind},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

/// What a program's `main` may return.
#[diagnostic::on_unimplemented(
    message = "`#[firesteel::main]` functions return nothing or a `Result<()>` whose error can be shown, not `{Self}`"
)]
pub trait MainResult {
    /// The error's text, if there is one.
    fn into_failure(self) -> Option<String>;
}

impl MainResult for () {
    fn into_failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> MainResult for Result<(), E> {
    fn into_failure(self) -> Option<String> {
        self.err().map(|e| e.to_string())
    }
}

/// Whether this program's `main` was run by [`run_main`].
static HAS_MAIN: AtomicBool = AtomicBool::new(false);

/// Whether a process of this program can become an executor.
pub(crate) fn can_be_executor() -> bool {
    HAS_MAIN.load(Ordering::Relaxed)
}

/// Runs a program's `main`; afterwards, also after a panic, every context that still runs is stopped, so that its end is written and nothing stays
/// behind.
pub fn run_main<T: MainResult>(main: fn() -> T) -> ExitCode {
    crate::logging::is_ours();
    crate::allocator::count_for_budgets();
    if let Some(role) = firesteel_cluster::role::take() {
        return crate::cluster::run_executor(role);
    }
    // A driver on a cluster has its settings from its worker, before any code of the user's runs.
    if let Err(e) = DriverRole::of_this_process() {
        eprintln!("Error: {e}");
        return ExitCode::FAILURE;
    }
    HAS_MAIN.store(true, Ordering::Relaxed);
    let ended = catch_unwind(main);
    crate::engine::stop_all();
    match ended.map(MainResult::into_failure) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(text)) => {
            eprintln!("Error: {text}");
            ExitCode::FAILURE
        }
        // The panic hook has told it.
        Err(panic) => resume_unwind(panic),
    }
}
