//! The bounds of a range partitioner, by Spark's rule: a sample of each partition, more of it where a partition is much
//! larger than the others, and cuts at equal weights. Unlike Spark's, the sample is of [a glimpse](Pipeline::glimpse) where that shows
//! enough: else every line of text would be read and parsed twice.

use crate::{
    graph::CallSite,
    job::{self, Wanted},
    panics::on_driver,
    rdd::Rdd,
};
use firesteel_model::{Error, Result};
use firesteel_rdd::{Data, Glimpsed, Pipeline, RangePartitioner, Reservoir};

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
    // How many times as many elements as are seen each partition has.
    let splits = keys.pipeline().splits(&*keys.node().engine)?;
    let times: Vec<Option<f64>> = splits.iter().map(|split| Some(keys.pipeline().glimpse(split)?.1)).collect();
    let parents = splits.len().max(1);
    let total = (samples as f64 * wanted as f64).min(MOST_SAMPLES);
    // Three times as many, so that uneven partitions are seen well enough the first time.
    let each = (3.0 * total / parents as f64).ceil() as u64;
    let of = |pipeline| Rdd::at(keys.context(), pipeline, keys.node().clone());
    let glimpses = of(Glimpsed::new(keys.parent()));
    let sketch = job::run(&glimpses, Wanted::All, Reservoir { size: each, seed: 1 }, site)?;
    let sketch: Vec<_> = sketch
        .into_iter()
        .zip(times)
        .map(|((seen, sample), times)| (seen as f64 * times.unwrap_or(1.0), times.is_some() && seen < each, sample))
        .collect();
    let count: f64 = sketch.iter().map(|(count, ..)| count).sum();
    let fraction = (total / count.max(1.0)).min(1.0);
    let mut weighted: Vec<(K, f64)> = Vec::new();
    let mut again = Vec::new();
    let mut largest = each as f64;
    for (partition, (count, too_few, sample)) in sketch.into_iter().enumerate() {
        if too_few || fraction * count > each as f64 {
            again.push(partition as u32);
            largest = largest.max(fraction * count);
        } else {
            let weight = count / sample.len().max(1) as f64;
            weighted.extend(sample.into_iter().map(|key| (key, weight)));
        }
    }
    if !again.is_empty() {
        let (size, wholes) = (largest.ceil() as u64, of(Glimpsed::whole(keys.parent())));
        for (seen, sample) in job::run(&wholes, Wanted::These(again), Reservoir { size, seed: 2 }, site)? {
            let weight = seen as f64 / sample.len().max(1) as f64;
            weighted.extend(sample.into_iter().map(|key| (key, weight)));
        }
    }
    if weighted.is_empty() {
        return Ok(RangePartitioner::from_bounds(Vec::new(), ascending));
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
