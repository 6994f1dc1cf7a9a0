//! Actions that run in the background.

use firesteel_model::{JobId, Result};

/// Notes a job for the background action that this thread runs, if it runs one.
///
/// # Errors
/// If that action was cancelled meanwhile.
pub(crate) fn job_submitted(_job: JobId) -> Result<()> {
    Ok(())
}
