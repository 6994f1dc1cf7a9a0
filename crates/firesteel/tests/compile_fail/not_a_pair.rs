//! A keyed operation on elements that are no pairs.
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    println!("{:?}", sc.range(0..3).reduce_by_key(|a, b| a + b).collect()?);
    Ok(())
}
