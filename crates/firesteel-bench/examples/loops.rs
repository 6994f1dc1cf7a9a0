//! Two pipelines that `.ci/machine-code` looks up in the compiled program, each by a number that nothing else has: a whole
//! stage must be one loop without calls, and where the baseline of the processor has vector instructions for what the user
//! does, as it has for the first and not for the remainder in the second (W3's shape), the loop must use them.

use firesteel::prelude::*;

fn main() -> Result<()> {
    let sc = Context::builder().master("local[2]").app_name("loops").build()?;
    let numbers = sc.range_n(0..1 << 24, 8);
    let sum = numbers.map(|x| x ^ 0x5eed_0001).map(|x| x + 3).reduce(|a, b| a.wrapping_add(b))?;
    let third =
        numbers.map(|x| x * 2).filter(|x| x % 3 == 0).map(|x| x ^ 0x5eed_0002).reduce(|a, b| a.wrapping_add(b))?;
    println!("{sum} {third}");
    Ok(())
}
