//! The mistakes in `compile_fail` as they should be written. It must compile, and run.
use firesteel::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct City {
    name: String,
}

struct Job {
    numbers: Rdd<u64>,
}

fn total(numbers: &Rdd<u64>) -> Result<u64> {
    numbers.reduce(|a, b| a + b)
}

fn total_of_any(numbers: &Rdd<u64, impl Pipeline<Item = u64>>) -> Result<u64> {
    numbers.reduce(|a, b| a + b)
}

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::builder().master("local[2]").build()?;
    let (factor, weights) = (7, vec![1, 2, 3]);
    assert_eq!(sc.range(0..3).map_with(factor, |factor, x| x * factor).collect()?, [0, 7, 14]);
    assert_eq!(sc.range(0..3).map_with(weights, |weights, x| x * weights[2]).collect()?, [0, 3, 6]);
    let cities = sc.range(0..3).map(|i| (City { name: i.to_string() }, 1));
    assert_eq!(cities.reduce_by_key(|a, b| a + b).count()?, 3);
    assert_eq!(sc.range(0..3).map(|i| Arc::new(i)).collect()?.len(), 3);
    assert_eq!(sc.parallelize(["to", "be"].map(String::from)).count()?, 2);
    let job = Job { numbers: sc.range(0..10).filter(|i| i % 2 == 0).erase() };
    assert_eq!(total(&job.numbers)?, 20);
    assert_eq!(total_of_any(&sc.range(0..10).map(|i| i + 1))?, 55);
    let mut rdd = job.numbers;
    for _ in 0..3 {
        rdd = rdd.map(|i| i * 2).erase();
    }
    assert_eq!(total(&rdd)?, 160);
    let stop_words = sc.broadcast(sc.parallelize(["the".to_string()]).collect()?);
    let words = sc.parallelize(["the".to_string(), "end".to_string()]);
    assert_eq!(words.filter_with(stop_words, |stop, word| !stop.value().contains(word)).count()?, 1);
    Ok(())
}
