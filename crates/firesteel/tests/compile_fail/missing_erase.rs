//! A struct field, a function's argument and a loop's variable want the erased form.
use firesteel::prelude::*;

struct Job {
    numbers: Rdd<u64>,
}

fn total(numbers: &Rdd<u64>) -> Result<u64> {
    numbers.reduce(|a, b| a + b)
}

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let even = sc.range(0..10).filter(|i| i % 2 == 0);
    let job = Job { numbers: even };
    total(&sc.range(0..10).map(|i| i + 1))?;
    let mut rdd = job.numbers;
    for _ in 0..3 {
        rdd = rdd.map(|i| i * 2);
    }
    Ok(())
}
