//! An element type without serde's derives reaches a collect, a cache and a shuffle.
use firesteel::prelude::*;

#[derive(Clone)]
struct Visit {
    seconds: u64,
}

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let visits = sc.range(0..3).map(|seconds| Visit { seconds });
    let all = visits.collect()?;
    let kept = visits.cache();
    let by_second = visits.map(|v| (v.seconds, v)).group_by_key();
    Ok(())
}
