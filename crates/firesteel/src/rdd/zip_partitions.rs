//! Several RDDs side by side, a partition at a time.

use super::{Rdd, site};
use crate::graph::NewNode;
use firesteel_rdd::{Captureless, Data, PartitionIter, Pipeline, Plain, With, ZipPartitions};

macro_rules! zip_partitions {
    ($($(#[$doc:meta])* $fn:ident $fn_with:ident $kind:literal $($q:ident $u:ident $other:ident),+;)*) => {
        impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $fn<$($u: 'static, $q: Pipeline<Item = $u>,)+ I, F>(
                    &self,
                    $($other: &Rdd<$u, $q>,)+
                    f: F,
                ) -> Rdd<I::Item, ZipPartitions<(P, $($q),+), Plain<F>>>
                where
                    I: IntoIterator<Item: 'static> + 'static,
                    F: Fn(PartitionIter<'static, T>, $(PartitionIter<'static, $u>),+) -> I + Captureless,
                {
                    let parents = vec![self.node().clone(), $($other.node().clone()),+];
                    let pipeline = ZipPartitions::new((self.parent(), $($other.parent()),+), Plain::new(f));
                    Rdd::of(self.context(), pipeline, NewNode::narrow($kind, site(stringify!($fn)), parents))
                }

                /// The same with an environment.
                #[track_caller]
                pub fn $fn_with<EN: Data, $($u: 'static, $q: Pipeline<Item = $u>,)+ I, F>(
                    &self,
                    $($other: &Rdd<$u, $q>,)+
                    env: EN,
                    f: F,
                ) -> Rdd<I::Item, ZipPartitions<(P, $($q),+), With<EN, F>>>
                where
                    I: IntoIterator<Item: 'static> + 'static,
                    F: Fn(&EN, PartitionIter<'static, T>, $(PartitionIter<'static, $u>),+) -> I + Captureless,
                {
                    let parents = vec![self.node().clone(), $($other.node().clone()),+];
                    let pipeline = ZipPartitions::new((self.parent(), $($other.parent()),+), With::new(env, f));
                    Rdd::of(self.context(), pipeline, NewNode::narrow($kind, site(stringify!($fn_with)), parents))
                }
            )*
        }
    };
}

zip_partitions! {
    /// Calls the closure once for each index with both RDDs' partitions of that index, as iterators. Narrow; drops the partitioner, which
    /// [`preserves_partitioning`](Rdd::preserves_partitioning) brings back. The RDDs must have equal numbers of partitions, but
    /// partitions may be of any size.
    ///
    /// # Errors
    /// Of the first action: unequal numbers of partitions.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let (a, b) = (sc.range_n(0..6, 2), sc.range_n(0..4, 2));
    /// let sums = a.zip_partitions(&b, |a, b| [(a.sum::<u64>(), b.sum::<u64>())]);
    /// assert_eq!(sums.collect()?, [(3, 1), (12, 5)]);
    /// # Ok::<(), Error>(())
    /// ```
    zip_partitions zip_partitions_with "ZippedPartitionsRDD2" Q U other;
    /// [`zip_partitions`](Rdd::zip_partitions) of three RDDs.
    zip_partitions3 zip_partitions3_with "ZippedPartitionsRDD3" Q U second, R V third;
    /// [`zip_partitions`](Rdd::zip_partitions) of four RDDs.
    zip_partitions4 zip_partitions4_with "ZippedPartitionsRDD4" Q U second, R V third, S W fourth;
}
