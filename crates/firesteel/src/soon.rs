//! Waiting for what is likely to come at once: a thread that sleeps is woken late, on an idle machine by some 50 µs.

use crossbeam_channel::{Receiver, TryRecvError};
use std::{
    thread,
    time::{Duration, Instant},
};

/// So long a thread looks for a message before it sleeps; in between it lets others have the processor.
pub(crate) const SOON: Duration = Duration::from_micros(200);

/// A message that comes soon, if one does.
pub(crate) fn soon<T>(messages: &Receiver<T>) -> Option<T> {
    let since = Instant::now();
    loop {
        match messages.try_recv() {
            Ok(message) => return Some(message),
            Err(TryRecvError::Empty) if since.elapsed() < SOON => thread::yield_now(),
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_taken_and_nobody_waits_for_what_does_not_come() {
        let (sender, messages) = crossbeam_channel::unbounded();
        sender.send(1).unwrap();
        assert_eq!(soon(&messages), Some(1));
        assert_eq!(soon(&messages), None);
        drop(sender);
        assert_eq!(soon(&messages), None);
    }
}
