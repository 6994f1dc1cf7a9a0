//! An accumulator of one's own type: what a job saw on the way, without a second pass. Each partition counts once, also if
//! one of its tasks fails and runs again.
use firesteel::prelude::*;
use serde::{Deserialize, Serialize};

/// How wide the lines are, as a histogram by tens, and the widest one.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Widths {
    tens: Vec<u64>,
    widest: String,
}

impl Widths {
    fn of(line: &str) -> Self {
        let mut tens = vec![0; line.chars().count() / 10 + 1];
        *tens.last_mut().expect("at least one") = 1;
        Widths { tens, widest: line.to_string() }
    }
    fn merge(&mut self, other: Widths) {
        self.tens.resize(self.tens.len().max(other.tens.len()), 0);
        self.tens.iter_mut().zip(other.tens).for_each(|(a, b)| *a += b);
        if other.widest.chars().count() > self.widest.chars().count() {
            self.widest = other.widest;
        }
    }
}

#[firesteel::main]
fn main() -> Result<()> {
    let input = std::env::args().nth(1).unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/*.md").into());
    let sc = Context::builder().app_name("widths").build()?;
    let widths = sc.accumulator("widths", Widths::default(), |all, line| all.merge(line));

    let words = sc
        .text_file(&input)
        .map_with(widths.clone(), |widths, line| {
            widths.add(Widths::of(&line));
            line.split_whitespace().count() as u64
        })
        .fold(0, |a, b| a + b)?;

    let widths = widths.value();
    println!("{words} words in lines of");
    for (i, n) in widths.tens.iter().enumerate() {
        println!("{:>4} to {:>3} characters {n:>5} {}", i * 10, i * 10 + 9, "▇".repeat((*n as usize).min(60)));
    }
    println!("the widest: {}", widths.widest);
    Ok(())
}
