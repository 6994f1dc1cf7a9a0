//! Connections on which nothing is asked for now.

use crate::graph::lock;
use std::{collections::HashMap, sync::Mutex};

/// So many are kept to one process.
const MOST: usize = 4;

/// Connections whose answers were all read, by the address of who answered. They may have ended since.
pub(super) struct Resting<T>(Mutex<HashMap<String, Vec<T>>>);

impl<T> Default for Resting<T> {
    fn default() -> Self {
        Resting(Mutex::default())
    }
}

impl<T> Resting<T> {
    pub(super) fn take(&self, address: &str) -> Option<T> {
        lock(&self.0).get_mut(address)?.pop()
    }

    pub(super) fn put(&self, address: &str, connection: T) {
        let mut all = lock(&self.0);
        let here = all.entry(address.to_string()).or_default();
        if here.len() < MOST {
            here.push(connection);
        }
    }

    /// Ends those to one process, since one of them has ended.
    pub(super) fn end(&self, address: &str) {
        let ended = lock(&self.0).remove(address);
        drop(ended);
    }
}
