//! Pi by throwing darts, a million for each partition. Usage: monte_carlo_pi [PARTITIONS]
use firesteel::prelude::*;

/// Random numbers that depend on the partition alone: a partition that is computed again throws the same darts.
struct Darts(u64);

impl Darts {
    fn coordinate(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

#[firesteel::main]
fn main() -> Result<()> {
    let partitions = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(8);
    let sc = Context::builder().app_name("pi").build()?;
    let thrown = 1_000_000 * partitions as u64;
    let inside = sc
        .range_n(0..thrown, partitions)
        .map_partitions_with_index(|partition, darts| {
            let mut random = Darts(partition as u64);
            let inside = darts.filter(|_| random.coordinate().powi(2) + random.coordinate().powi(2) <= 1.0).count();
            [inside as u64]
        })
        .fold(0, |a, b| a + b)?;
    println!("pi is about {:.4}, says a board of {thrown} darts", 4.0 * inside as f64 / thrown as f64);
    Ok(())
}
