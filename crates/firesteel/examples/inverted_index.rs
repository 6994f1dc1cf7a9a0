//! An inverted index: for each word the files and lines where it stands. Usage: inverted_index [PATH [WORD …]]
use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let input = args.next().unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/*.md").into());
    let asked: Vec<String> = args.collect();
    let sc = Context::builder().app_name("inverted index").build()?;

    let index = sc
        .whole_text_files(&input)
        .flat_map_emit(|(path, text), out| {
            let file = path.rsplit('/').next().unwrap_or(path).to_string();
            for (number, line) in text.lines().enumerate() {
                for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3) {
                    out.emit((word.to_lowercase(), (file.clone(), number + 1)));
                }
            }
        })
        .distinct()
        .group_by_key()
        .map_values(|mut places| {
            places.sort();
            places
        })
        .cache();

    println!("{} words", index.count()?);
    let shown = match asked.is_empty() {
        true => index.top_by(5, |a, b| a.1.len().cmp(&b.1.len()).then_with(|| b.0.cmp(&a.0)))?,
        false => index.filter_with(asked, |asked, (word, _)| asked.contains(word)).sort_by_key(true).collect()?,
    };
    for (word, places) in shown {
        let first: Vec<String> = places.iter().take(4).map(|(file, line)| format!("{file}:{line}")).collect();
        println!(
            "{word:<12} {:>4} times: {}{}",
            places.len(),
            first.join(" "),
            if places.len() > 4 { " …" } else { "" }
        );
    }
    Ok(())
}
