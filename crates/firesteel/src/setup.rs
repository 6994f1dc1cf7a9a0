//! What executors do once, before their first task.

use crate::panics::caught;
use firesteel_code::{Captureless, CodeRef, Named, code_ref};
use firesteel_model::{Error, Result};
use std::{collections::HashSet, marker::PhantomData, sync::Mutex};

struct Setup<F>(PhantomData<fn() -> F>);

impl<F: Fn() -> Result<()> + Captureless> Named for Setup<F> {
    type Sig = fn(F) -> Result<()>;
    const FN: Self::Sig = |f| f();
}

/// Calls `f` unless this process has called it before, with success. Executors are the process's, not a context's.
pub(crate) fn once<F: Fn() -> Result<()> + Captureless>(f: F) -> Result<()> {
    static DONE: Mutex<Option<HashSet<CodeRef>>> = Mutex::new(None);
    let code = code_ref::<Setup<F>>();
    let mut done = crate::graph::lock(&DONE);
    let done = done.get_or_insert_default();
    if done.contains(&code) {
        return Ok(());
    }
    caught(f).unwrap_or_else(|panic| {
        Err(Error::Function { call_site: "executor_setup".into(), message: panic.to_string() })
    })?;
    done.insert(code);
    Ok(())
}
