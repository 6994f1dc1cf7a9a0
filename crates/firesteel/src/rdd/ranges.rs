//! What is known, or said, about where keys lie.

use super::{Rdd, site};
use crate::{
    graph::{NewNode, Prepared},
    range::range_partitioner,
};
use firesteel_model::{Error, Result};
use firesteel_rdd::{Filter, InRange, Partitioner, Pipeline, Pruned, RangePartitioner, RangeSource, SortKey};
use std::sync::{Arc, OnceLock};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// Says that the last operation left keys in the partitions where they were: after `map_partitions` or `map`, which forget the
    /// partitioner because they cannot know, it is the parent's again, so that a join with an RDD that is spread alike needs no shuffle. Of
    /// several parents the first one counts. It is not checked: if keys did change, later joins and lookups miss pairs.
    ///
    /// # Errors
    /// Of the first action: this RDD has not as many partitions as the partitioner has.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let spread = sc.range(0..10).map(|i| (i, i)).partition_by(4);
    /// let same_keys = spread.map(|(k, v)| (k, v * v));
    /// assert!(same_keys.partitioner()?.is_none());
    /// assert_eq!(same_keys.preserves_partitioning().partitioner()?, spread.partitioner()?);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn preserves_partitioning(&self) -> Self {
        let pipeline = self.pipeline().clone();
        let new = NewNode::narrow("MapPartitionsRDD", site("preserves_partitioning"), vec![self.node().clone()])
            .prepared_by(move |node| {
                let before = node.parents().first().and_then(|last| last.parents().first().cloned());
                let partitioning = before.and_then(|before| before.partitioning());
                if let Some(partitioning) = &partitioning {
                    let count = pipeline.splits(&*node.engine)?.len();
                    if count != partitioning.count() {
                        return Err(Error::InvalidArgument(format!(
                            "preserves_partitioning: {count} partitions cannot be spread by a partitioner of {}; use partition_by",
                            partitioning.count()
                        )));
                    }
                }
                Ok(Prepared { partitioning, ..Prepared::default() })
            });
        Rdd::of(self.context(), self.parent(), new)
    }
}

impl<K: SortKey, V: 'static, P: Pipeline<Item = (K, V)>> Rdd<(K, V), P> {
    /// The pairs whose keys lie between two bounds, which belong to the range. Narrow; keeps order.
    ///
    /// If the RDD is spread by ranges, as [`sort_by_key`](Rdd::sort_by_key) leaves it, only those partitions are computed in which such
    /// keys can be, and the result has only these and no partitioner. Else all are looked through and the partitioner stays.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let sorted = sc.range(0..100).map(|i| (i, ())).sort_by_key_n(true, 10);
    /// let some = sorted.filter_by_range(42, 44);
    /// assert_eq!(some.keys().collect()?, [42, 43, 44]);
    /// assert!(some.num_partitions()? <= 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn filter_by_range(&self, lower: K, upper: K) -> Rdd<(K, V), Filter<Pruned<P>, InRange<K>>> {
        let kept = Arc::new(OnceLock::new());
        let (found, range) = (kept.clone(), InRange { lower, upper });
        let bounds = range.clone();
        let new = NewNode::narrow("MapPartitionsRDD", site("filter_by_range"), vec![self.node().clone()]).prepared_by(
            move |node| {
                let partitioning = node.parents().first().and_then(|parent| parent.partitioning());
                let ranges = partitioning.as_ref().and_then(|partitioning| {
                    partitioning.keyed::<K>()?.downcast::<RangePartitioner<K>>().map(|ranges| {
                        let (a, b) = (ranges.partition(&bounds.lower), ranges.partition(&bounds.upper));
                        a.min(b)..=a.max(b)
                    })
                });
                let partitioning = partitioning.filter(|_| ranges.is_none());
                let _ = found.set(ranges);
                Ok(Prepared { partitioning, ..Prepared::default() })
            },
        );
        Rdd::of(self.context(), Filter::new(Pruned::new(self.parent(), kept), range), new)
    }
}

impl<K: SortKey, V: 'static, P: Pipeline<Item = (K, V)>> RangeSource for Rdd<(K, V), P> {
    type Key = K;

    #[track_caller]
    fn range_partitioner(&self, partitions: usize, ascending: bool, samples: usize) -> Result<RangePartitioner<K>> {
        let site = site("RangePartitioner");
        self.node().engine.check_usable(site.method)?;
        range_partitioner(&self.keys(), partitions, ascending, samples, site)
    }
}
