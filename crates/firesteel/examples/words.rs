//! Counts the words of text files and shows the most frequent. Usage: words [PATH …], by default this repository's documents.
use firesteel::prelude::*;
use std::time::Instant;

#[firesteel::main]
fn main() -> Result<()> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let input = match paths.is_empty() {
        true => format!("{root}/*.md,{root}/docs/*.md,{root}/crates/*/README.md"),
        false => paths.join(","),
    };
    let begin = Instant::now();
    let sc = Context::builder().app_name("words").build()?;
    let (lines, bytes) = (sc.long_accumulator("lines"), sc.long_accumulator("bytes"));

    let counts = sc
        .text_file(&input)
        .map_with((lines.clone(), bytes.clone()), |(lines, bytes), line| {
            lines.add(1);
            bytes.add(line.len() as i64 + 1);
            line
        })
        .flat_map_emit(|line, out| {
            for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
                out.emit(word.to_lowercase());
            }
        })
        .map(|word| (word, 1u64))
        .reduce_by_key(|a, b| a + b)
        .cache();

    let words: u64 = counts.values().fold(0, |a, b| a + b)?;
    let different = counts.count()?;
    let most = counts.top_by(15, |a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)))?;
    let took = begin.elapsed();

    let widest = most.first().map_or(1, |(_, n)| *n).max(1);
    for (word, n) in &most {
        println!("{n:>9}  {word:<14} {}", "▇".repeat((n * 40 / widest) as usize));
    }
    println!(
        "\n{words} words, {different} different, in {} lines ({:.1} MB), counted in {:.0} ms on {}.",
        lines.value(),
        bytes.value() as f64 / 1e6,
        took.as_secs_f64() * 1e3,
        sc.master(),
    );
    Ok(())
}
