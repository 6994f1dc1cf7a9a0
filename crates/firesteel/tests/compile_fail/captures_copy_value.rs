//! The closure keeps a number from around it.
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let factor = 7;
    println!("{:?}", sc.range(0..3).map(move |x| x * factor).collect()?);
    Ok(())
}
