//! An RDD cannot be used inside another's task.
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::new()?;
    let stop_words = sc.parallelize(["the".to_string()]).erase();
    let words = sc.text_file("log").filter_with(stop_words, |stop_words, word| stop_words.is_empty().is_ok());
    println!("{}", words.count()?);
    Ok(())
}
