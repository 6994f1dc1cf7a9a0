//! Letting shuffles go before their RDDs do.

use super::Rdd;
use crate::graph::drop_flat;
use firesteel_model::Result;
use firesteel_rdd::Pipeline;
use std::collections::HashSet;

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// Removes the shuffled data that this RDD and its ancestors read, up to those that are kept (`cache`, `persist`): memory is free
    /// at once, and a later job that needs them computes them again. What running jobs read goes when they are done. With `blocking`
    /// it returns when the driver has seen to it. Without this call shuffled data go with the last handle of the RDD that reads them.
    ///
    /// # Errors
    /// In a task, or after the context was stopped.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let counts = sc.range(0..100).map(|i| (i % 3, 1)).reduce_by_key(|a, b| a + b).cache();
    /// let largest = counts.values().max()?;
    /// // From here on `counts` is read from the cache.
    /// counts.clean_shuffle_dependencies(true)?;
    /// assert_eq!(counts.values().max()?, largest);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn clean_shuffle_dependencies(&self, blocking: bool) -> Result<()> {
        let engine = &self.node().engine;
        engine.check_usable("clean_shuffle_dependencies")?;
        let mut seen = HashSet::from([self.node().id]);
        let mut open = vec![self.node().clone()];
        while let Some(node) = open.pop() {
            for (i, parent) in node.parents().into_iter().enumerate() {
                if let Some(shuffle) = node.shuffle(i) {
                    engine.release_shuffle(shuffle.id);
                }
                let is_kept =
                    parent.cache.as_ref().is_some_and(|cache| cache.level() != firesteel_model::StorageLevel::NONE);
                if !is_kept && seen.insert(parent.id) {
                    open.push(parent);
                }
            }
            drop_flat(vec![node]);
        }
        if blocking {
            engine.ask(|_| ());
        }
        Ok(())
    }
}
