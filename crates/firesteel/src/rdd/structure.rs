//! Narrow transformations that look at positions and partitions, never at what the elements are.

use super::{Rdd, site};
use crate::{
    graph::{NewNode, Prepared},
    job::{self, Wanted},
};
use firesteel_rdd::{Cartesian, Coalesce, Glom, Pipeline, Sizes, Zip, ZipWithIndex, ZipWithUniqueId};
use std::sync::{Arc, OnceLock};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// One vector for each partition, empty ones included. Narrow; drops the partitioner. A partition must fit memory.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// assert_eq!(sc.range_n(0..3, 2).glom().collect()?, [vec![0], vec![1, 2]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn glom(&self) -> Rdd<Vec<T>, Glom<P>> {
        self.child(Glom::new(self.parent()), site("glom"), false)
    }

    /// Pairs the elements of two RDDs by their position. Narrow: partition `i` is made of both partitions `i`; order stays,
    /// the partitioner goes.
    ///
    /// # Errors
    /// Of the first action: the RDDs have unequal numbers of partitions; or, by failing the task, a pair of partitions has unequal
    /// numbers of elements.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let squares = sc.range_n(0..3, 2).zip(&sc.range_n(0..3, 2).map(|i| i * i));
    /// assert_eq!(squares.collect()?, [(0, 0), (1, 1), (2, 4)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn zip<U: 'static, Q: Pipeline<Item = U>>(&self, other: &Rdd<U, Q>) -> Rdd<(T, U), Zip<P, Q>> {
        let parents = vec![self.node().clone(), other.node().clone()];
        let new = NewNode::narrow("ZippedPartitionsRDD2", site("zip"), parents);
        Rdd::of(self.context(), Zip::new(self.parent(), other.parent()), new)
    }

    /// Each element with its position in the RDD: partition after partition, from 0. Narrow; keeps order, drops the partitioner.
    ///
    /// Where partitions start must be known, so a job counts all partitions but the last before the first action, unless there is one
    /// partition only. It does not call the closures of `map` and `map_values` at the end of the lineage, which change no counts.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let letters = sc.parallelize_n(["a", "b", "c"].map(String::from), 2).zip_with_index();
    /// assert_eq!(letters.values().collect()?, [0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn zip_with_index(&self) -> Rdd<(T, u64), ZipWithIndex<P>> {
        let site = site("zip_with_index");
        let starts = Arc::new(OnceLock::new());
        let (found, pipeline, context) = (starts.clone(), self.pipeline().clone(), self.context().clone());
        let new = NewNode::narrow("ZippedWithIndexRDD", site, vec![self.node().clone()])
            .prepared_by(move |node| {
                let parent = Rdd::at(&context, (*pipeline).clone(), node.parents()[0].clone());
                let count = parent.count_partitions()? as u32;
                let mut starts = vec![0; count.min(1) as usize];
                if count > 1 {
                    let mut next = 0;
                    for size in job::run(&parent, Wanted::These((0..count - 1).collect()), Sizes, site)? {
                        next += size;
                        starts.push(next);
                    }
                }
                let _ = found.set(starts);
                Ok(Prepared::default())
            })
            .by_a_job();
        Rdd::of(self.context(), ZipWithIndex::new(self.parent(), starts), new)
    }

    /// Each element with a number that no other has: element `i` of partition `k` of `n` gets `i * n + k`. Narrow; keeps order,
    /// drops the partitioner. Runs no job, as [`zip_with_index`](Rdd::zip_with_index) would; numbers have gaps instead.
    #[track_caller]
    pub fn zip_with_unique_id(&self) -> Rdd<(T, u64), ZipWithUniqueId<P>> {
        self.child(ZipWithUniqueId::new(self.parent()), site("zip_with_unique_id"), false)
    }

    /// All pairs of an element of this RDD and one of the other. Narrow: partition `i * m + j` pairs this RDD's partition `i` with
    /// partition `j` of the other's `m`, left-major. Keeps nothing in memory: the other's partition is computed again for each
    /// element of this one, so [`cache`](Rdd::cache) it if that is dear, and put the smaller RDD on the left.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let pairs = sc.range_n(0..2, 1).cartesian(&sc.range_n(5..7, 1));
    /// assert_eq!(pairs.collect()?, [(0, 5), (0, 6), (1, 5), (1, 6)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cartesian<U: Clone + 'static, Q: Pipeline<Item = U>>(
        &self,
        other: &Rdd<U, Q>,
    ) -> Rdd<(T, U), Cartesian<P, Q>>
    where
        T: Clone,
    {
        let parents = vec![self.node().clone(), other.node().clone()];
        let new = NewNode::narrow("CartesianRDD", site("cartesian"), parents);
        Rdd::of(self.context(), Cartesian::new(self.parent(), other.parent()), new)
    }

    /// At most so many partitions, by putting neighbouring ones together: one of `k` is made of the parent's from `i * n / k` to
    /// `(i + 1) * n / k`. Narrow, so fewer tasks do all the work before it too; [`repartition`](Rdd::repartition) shuffles
    /// instead. Keeps order, drops the partitioner. A number larger than there are partitions changes nothing.
    ///
    /// # Errors
    /// Of the first action: 0 partitions.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// assert_eq!(sc.range_n(0..8, 8).coalesce(3).glom().collect()?, [vec![0, 1], vec![2, 3, 4], vec![5, 6, 7]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn coalesce(&self, partitions: usize) -> Rdd<T, Coalesce<P>> {
        let new = NewNode::narrow("CoalescedRDD", site("coalesce"), vec![self.node().clone()]);
        Rdd::of(self.context(), Coalesce::new(self.parent(), partitions), new)
    }

    /// [`coalesce`](Rdd::coalesce) by groups of your own: `group` is given the number of partitions wanted and, for each partition that
    /// there is, the hosts on which it would best be computed; it returns for each new partition the old ones that it is made of. It is
    /// called on the driver, once, and may capture.
    ///
    /// # Errors
    /// Of the first action: 0 partitions, or groups in which an old partition is missing or stands twice.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let ends = sc.range_n(0..4, 4).coalesce_by(2, |_, hosts| vec![vec![0, hosts.len() - 1], vec![1, 2]]);
    /// assert_eq!(ends.glom().collect()?, [[0, 3], [1, 2]]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn coalesce_by<F>(&self, partitions: usize, group: F) -> Rdd<T, Coalesce<P>>
    where
        F: Fn(usize, &[Vec<String>]) -> Vec<Vec<usize>> + Send + Sync + 'static,
    {
        let new = NewNode::narrow("CoalescedRDD", site("coalesce_by"), vec![self.node().clone()]);
        Rdd::of(self.context(), Coalesce::by(self.parent(), partitions, Box::new(group)), new)
    }
}
