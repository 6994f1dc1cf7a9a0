//! A `&str` belongs to whoever lent it.
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let words = sc.parallelize(["to", "be"]);
    println!("{}", words.count()?);
    Ok(())
}
