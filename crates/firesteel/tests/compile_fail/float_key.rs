//! Floats have no hash and no equality to group by, and no order to sort by.
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let by_price = sc.range(0..3).map(|i| (i as f64 / 2.0, 1));
    println!("{:?}", by_price.reduce_by_key(|a, b| a + b).collect()?);
    println!("{:?}", by_price.sort_by_key(true).collect()?);
    println!("{:?}", by_price.keys().max()?);
    Ok(())
}
