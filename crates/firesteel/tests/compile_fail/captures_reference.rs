//! The closure borrows a variable from around it.
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let factor = 7;
    println!("{:?}", sc.range(0..3).map(|x| x * factor).collect()?);
    Ok(())
}
