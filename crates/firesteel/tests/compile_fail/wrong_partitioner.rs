//! What follows `_into` is a number of partitions (a `usize`) or a partitioner of the key's type.
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let pairs = sc.range(0..3).map(|i| (i, 1));
    let partitions: u32 = 8;
    println!("{:?}", pairs.reduce_by_key_into(partitions, |a, b| a + b).collect()?);
    Ok(())
}
