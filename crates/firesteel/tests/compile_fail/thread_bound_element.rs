//! An `Rc` is shared within one thread only.
use firesteel::prelude::*;
use std::rc::Rc;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let shared = sc.range(0..3).map(|i| Rc::new(i));
    println!("{:?}", shared.collect()?);
    Ok(())
}
