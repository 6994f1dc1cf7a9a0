//! A stream read by hand: what has two parents pulls from them in bounded batches, without waiting inside either.

use crate::{
    segment::{Batch, FIRST_BATCH, LAST_BATCH},
    stream::{Flow, Port, Stream},
};
use std::collections::VecDeque;

/// A stream and the elements of it that are ready.
pub(super) struct Pulled<S: Stream> {
    stream: S,
    pub(super) ready: VecDeque<S::Item>,
    limit: usize,
    ended: bool,
}

impl<S: Stream> Pulled<S> {
    pub(super) fn new(stream: S) -> Self {
        Pulled { stream, ready: VecDeque::new(), limit: FIRST_BATCH, ended: false }
    }

    /// Whether an element is ready; if not, there are no more. Or the port that must be filled before that is known.
    pub(super) fn fill(&mut self) -> Result<bool, Port> {
        while self.ready.is_empty() {
            if self.ended {
                return Ok(false);
            }
            match self.stream.drive(&mut Batch { owned: &mut self.ready, limit: self.limit }) {
                Flow::Done => self.ended = true,
                Flow::Full => {}
                Flow::Starved(port) if self.ready.is_empty() => return Err(port),
                Flow::Starved(_) => {}
            }
            self.limit = (self.limit * 2).min(LAST_BATCH);
        }
        Ok(true)
    }
}
