//! The closure keeps a vector from around it.
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let weights = vec![1, 2, 3];
    println!("{:?}", sc.range(0..3).map(move |x| x * weights[0]).collect()?);
    let wanted = String::from("error");
    println!("{}", sc.text_file("log").filter(move |line| line.contains(&wanted)).count()?);
    Ok(())
}
