//! Samples of pairs in which each key has a size of its own.

use super::{Rdd, site};
use crate::{
    graph::{NewNode, Prepared},
    job::{self, Wanted},
};
use firesteel_rdd::{CountKeys, Key, Pipeline, SampleByKey, SampleByKeyExact, shares_of};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

impl<K: 'static, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// [`sample`](Rdd::sample) by a fraction for each key. Each key's size is about its fraction only;
    /// [`sample_by_key_exact`](Rdd::sample_by_key_exact) is exact and counts the pairs for that. Narrow; keeps order and partitioner.
    ///
    /// # Errors
    /// Of the first action: a fraction is negative or no number; or, by failing the task, a pair's key has none.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// # use std::collections::HashMap;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let pairs = sc.range(0..1_000).map(|i| (i % 2, i));
    /// let some = pairs.sample_by_key(false, HashMap::from([(0, 0.0), (1, 0.5)]), 42);
    /// assert!(some.keys().collect()?.iter().all(|key| *key == 1));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample_by_key(
        &self,
        with_replacement: bool,
        fractions: HashMap<K, f64>,
        seed: u64,
    ) -> Rdd<(K, V), SampleByKey<P, K>>
    where
        K: Key,
        V: Clone,
    {
        let pipeline = SampleByKey::new(self.parent(), with_replacement, fractions, seed);
        self.child(pipeline, site("sample_by_key"), true)
    }

    /// [`sample_by_key`](Rdd::sample_by_key) of exact size: `ceil(fraction * n)` of a key's `n` pairs, all of them at most where
    /// none comes twice. Narrow; keeps order and partitioner.
    ///
    /// How many pairs each key has in each partition must be known, so a job counts them before the first action; the counts are
    /// held by the driver.
    ///
    /// # Errors
    /// Of the first action: a fraction is negative or no number, a pair's key has none, or the counting job fails.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// # use std::collections::HashMap;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let pairs = sc.range(0..1_000).map(|i| (i % 2, i));
    /// let some = pairs.sample_by_key_exact(false, HashMap::from([(0, 0.1), (1, 0.5)]), 42);
    /// assert_eq!(some.count_by_key()?, HashMap::from([(0, 50), (1, 250)]));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn sample_by_key_exact(
        &self,
        with_replacement: bool,
        fractions: HashMap<K, f64>,
        seed: u64,
    ) -> Rdd<(K, V), SampleByKeyExact<P, K>>
    where
        K: Key,
        V: Clone,
    {
        let site = site("sample_by_key_exact");
        let shares = Arc::new(OnceLock::new());
        let (found, pipeline, context) = (shares.clone(), self.pipeline().clone(), self.context().clone());
        let new = NewNode::narrow("MapPartitionsRDD", site, vec![self.node().clone()])
            .prepared_by(move |node| {
                let parent = Rdd::at(&context, (*pipeline).clone(), node.parents()[0].clone());
                let counts = job::run(&parent, Wanted::All, CountKeys, site)?;
                let _ = found.set(shares_of(counts, &fractions, with_replacement, seed)?);
                Ok(Prepared::default())
            })
            .keeping()
            .by_a_job();
        Rdd::of(self.context(), SampleByKeyExact::new(self.parent(), with_replacement, seed, shares), new)
    }
}
