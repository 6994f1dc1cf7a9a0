//! Whose stage this thread writes. A broadcast or an accumulator travels as a number that means something in its own context
//! only; in another's it would be another value.

use std::{cell::RefCell, fmt::Display, sync::Arc};

/// Tells one context from all others, for as long as anyone holds it.
pub type ContextMark = Arc<()>;

thread_local! {
    static STAGE_OF: RefCell<Option<ContextMark>> = const { RefCell::new(None) };
}

/// Says that this thread writes parts of a stage of that context until the guard goes.
pub fn encoding_for(context: &ContextMark) -> Encoding {
    Encoding(STAGE_OF.replace(Some(context.clone())))
}

/// Forgets whose stage is written when it is dropped.
pub struct Encoding(Option<ContextMark>);

impl Drop for Encoding {
    fn drop(&mut self) {
        STAGE_OF.set(self.0.take());
    }
}

/// Fails if what belongs to `home` is written for another context's stage.
pub(crate) fn check_home<E: serde::ser::Error>(home: &ContextMark, what: impl Display) -> Result<(), E> {
    match STAGE_OF.with_borrow(|context| context.as_ref().is_some_and(|context| !Arc::ptr_eq(context, home))) {
        true => {
            Err(E::custom(format!("{what} belongs to another context: make one with the context whose RDD uses it")))
        }
        false => Ok(()),
    }
}
