//! The bounds of a range partitioner, by Spark's rule: a sample of each partition, more of it where a partition is much
//! larger than the others, and cuts at equal weights.

use crate::{
    graph::CallSite,
    job::{self, Wanted},
    panics::on_driver,
    rdd::Rdd,
};
use firesteel_model::{Error, Result};
use firesteel_rdd::{Data, Pipeline, RangePartitioner, Reservoir};

/// No more keys than this are sampled in all.
const MOST_SAMPLES: f64 = 1e6;

/// Bounds for at most `wanted` partitions. Runs a job, or two, unless one partition is wanted.
pub(crate) fn range_partitioner<K: Data + Ord, P: Pipeline<Item = K>>(
    keys: &Rdd<K, P>,
    wanted: usize,
    ascending: bool,
    samples: usize,
    site: CallSite,
) -> Result<RangePartitioner<K>> {
    if samples == 0 {
        return Err(Error::InvalidArgument(format!(
            "{}: sample points per partition (0) must be positive",
            site.method
        )));
    }
    if wanted <= 1 {
        return Ok(RangePartitioner::from_bounds(Vec::new(), ascending));
    }
    keys.node().prepare()?;
    let parents = keys.count_partitions()?.max(1);
    let total = (samples as f64 * wanted as f64).min(MOST_SAMPLES);
    // Three times as many, so that uneven partitions are seen well enough the first time.
    let each = (3.0 * total / parents as f64).ceil() as u64;
    let sketch = job::run(keys, Wanted::All, Reservoir { size: each, seed: 1 }, site)?;
    let count: u64 = sketch.iter().map(|(seen, _)| seen).sum();
    if count == 0 {
        return Ok(RangePartitioner::from_bounds(Vec::new(), ascending));
    }
    let fraction = (total / count as f64).min(1.0);
    let mut weighted: Vec<(K, f64)> = Vec::new();
    let mut again = Vec::new();
    let mut largest = 0;
    for (partition, (seen, sample)) in sketch.into_iter().enumerate() {
        if fraction * seen as f64 > each as f64 {
            again.push(partition as u32);
            largest = largest.max(seen);
        } else {
            let weight = seen as f64 / sample.len().max(1) as f64;
            weighted.extend(sample.into_iter().map(|key| (key, weight)));
        }
    }
    if !again.is_empty() {
        let size = (fraction * largest as f64).ceil() as u64;
        for (seen, sample) in job::run(keys, Wanted::These(again), Reservoir { size, seed: 2 }, site)? {
            let weight = seen as f64 / sample.len().max(1) as f64;
            weighted.extend(sample.into_iter().map(|key| (key, weight)));
        }
    }
    let partitions = wanted.min(weighted.len());
    on_driver(site, || RangePartitioner::from_bounds(cuts(weighted, partitions), ascending))
}

/// At most `partitions - 1` keys, between which lie about equal weights.
fn cuts<K: Ord>(mut weighted: Vec<(K, f64)>, partitions: usize) -> Vec<K> {
    weighted.sort_by(|a, b| a.0.cmp(&b.0));
    let step = weighted.iter().map(|(_, weight)| weight).sum::<f64>() / partitions as f64;
    let (mut reached, mut target) = (0.0, step);
    let mut bounds: Vec<K> = Vec::new();
    for (key, weight) in weighted {
        reached += weight;
        if reached >= target && bounds.len() + 1 < partitions && bounds.last().is_none_or(|last| key > *last) {
            bounds.push(key);
            target += step;
        }
    }
    bounds
}
