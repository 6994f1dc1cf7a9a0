//! A key needs a hash and an equality.
use firesteel::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct City {
    name: String,
}

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let cities = sc.range(0..3).map(|i| (City { name: i.to_string() }, 1));
    println!("{}", cities.reduce_by_key(|a, b| a + b).count()?);
    println!("{}", cities.keys().distinct().count()?);
    Ok(())
}
