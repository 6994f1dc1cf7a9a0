//! Elements brought to the driver one partition at a time.

use super::{Rdd, site};
use crate::{
    graph::CallSite,
    job::{self, Wanted},
};
use firesteel_model::Result;
use firesteel_rdd::{Collect, Data, Pipeline};
use std::{fmt, iter::FusedIterator, vec};

impl<T: 'static, P: Pipeline<Item = T>> Rdd<T, P> {
    /// All elements in order, fetched when they are asked for: one job for each partition, so that the driver needs room for the
    /// largest one only. After an error there is nothing more.
    ///
    /// Each job computes what its partition needs; [`cache`](Rdd::cache) what a shuffle does not hold already.
    ///
    /// ```
    /// # use firesteel::prelude::*;
    /// let sc = Context::builder().master("local[2]").build()?;
    /// let mut sum = 0;
    /// for number in sc.range_n(0..10, 3).to_local_iterator() {
    ///     sum += number?;
    /// }
    /// assert_eq!(sum, 45);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn to_local_iterator(&self) -> LocalIter<T>
    where
        T: Data,
    {
        LocalIter { rdd: self.erase(), site: site("to_local_iterator"), left: None, current: Vec::new().into_iter() }
    }
}

/// The iterator of [`Rdd::to_local_iterator`].
#[must_use = "iterators are lazy: nothing is computed until `next`"]
pub struct LocalIter<T> {
    rdd: Rdd<T>,
    site: CallSite,
    /// The partitions that no job has been run for; not known before the first element is wanted.
    left: Option<std::ops::Range<u32>>,
    current: vec::IntoIter<T>,
}

impl<T: Data> LocalIter<T> {
    /// The next partition's elements.
    fn fetch(&mut self) -> Option<Result<Vec<T>>> {
        let left = match &mut self.left {
            Some(left) => left,
            unknown => match self.rdd.node().prepare().and_then(|()| self.rdd.count_partitions()) {
                Ok(count) => unknown.insert(0..count as u32),
                Err(e) => return Some(Err(e)),
            },
        };
        let wanted = Wanted::These(vec![left.next()?]);
        let parts = job::run(&self.rdd, wanted, Collect { limit: None }, self.site);
        Some(parts.map(|parts| parts.into_iter().flatten().collect()))
    }
}

impl<T: Data> Iterator for LocalIter<T> {
    type Item = Result<T>;
    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(item) = self.current.next() {
                return Some(Ok(item));
            }
            match self.fetch()? {
                Ok(items) => self.current = items.into_iter(),
                Err(e) => {
                    self.left = Some(0..0);
                    return Some(Err(e));
                }
            }
        }
    }
}

impl<T: Data> FusedIterator for LocalIter<T> {}

impl<T> fmt::Debug for LocalIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalIter").field("rdd", &self.rdd).field("left", &self.left).finish_non_exhaustive()
    }
}
