//! What executors do once, before their first task.

use crate::panics::caught;
use firesteel_code::{Captureless, Code, CodeRef, Named, code_ref};
use firesteel_model::{Error, Result};
use firesteel_store::record;
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, marker::PhantomData, sync::Mutex};

/// A function to be called in every executor process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    code: CodeRef,
    /// The function, as it travels.
    function: Vec<u8>,
}

type Call = fn(&[u8]) -> Result<()>;

struct Called<F>(PhantomData<fn() -> F>);

impl<F: Fn() -> Result<()> + Captureless> Named for Called<F> {
    type Sig = Call;
    const FN: Call = |bytes| {
        let f: Code<F> = record::from_slice(bytes).map_err(|e| Error::Serialization(e.to_string()))?;
        f()
    };
}

impl Setup {
    pub(crate) fn of<F: Fn() -> Result<()> + Captureless>(f: F) -> Self {
        let function = record::to_vec(&Code::new(f)).expect("a function's name can be written");
        Setup { code: code_ref::<Called<F>>(), function }
    }

    /// Calls the function unless this process has called it before, with success. Executors are the process's, not a context's.
    pub(crate) fn once(&self) -> Result<()> {
        static DONE: Mutex<Option<HashSet<CodeRef>>> = Mutex::new(None);
        let call = self.code.resolve::<Call>().map_err(|e| Error::Serialization(e.to_string()))?;
        let mut done = crate::graph::lock(&DONE);
        let done = done.get_or_insert_default();
        if done.contains(&self.code) {
            return Ok(());
        }
        caught(|| call(&self.function)).unwrap_or_else(|panic| {
            Err(Error::Function { call_site: "executor_setup".into(), message: panic.to_string() })
        })?;
        done.insert(self.code);
        Ok(())
    }
}
