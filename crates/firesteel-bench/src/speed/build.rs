//! What it costs to build a program: word count in a package of its own, from scratch and after a change.

use super::{
    record::marked,
    sheet::{Sheet, about, number},
    short,
};
use firesteel::prelude::*;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

const PROGRAM: &str = r#"use firesteel::prelude::*;

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::builder().master("local[2]").build()?;
    let counts = sc
        .text_file("*.txt")
        .flat_map(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>())
        .map(|word| (word, 1u64))
        .reduce_by_key(|a, b| a + b);
    // Here.
    for (word, count) in counts.top(10)? {
        println!("{word} {count}");
    }
    Ok(())
}
"#;

/// What is added: one more keyed operation, of other types.
const KEYED: &str = "println!(\"{}\", counts.map(|(word, n)| (word.len(), n)).group_by_key().count()?);";

/// A package in a folder that goes with it.
struct Package {
    folder: PathBuf,
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Package {
    fn new(folder: PathBuf) -> Result<Self> {
        let firesteel = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("firesteel");
        let package = Package { folder };
        fs::create_dir_all(package.folder.join("src"))?;
        let manifest = format!(
            "[package]\nname = \"word-count\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\nfiresteel = {{ path = {firesteel:?} }}\n\
             \n[workspace]\n"
        );
        fs::write(package.folder.join("Cargo.toml"), manifest)?;
        package.write("")?;
        // What is fetched is fetched before any clock runs.
        package.cargo(&["fetch"])?;
        Ok(package)
    }

    fn write(&self, more: &str) -> Result<()> {
        Ok(fs::write(self.folder.join("src/main.rs"), PROGRAM.replace("// Here.", more))?)
    }

    /// Seconds.
    fn cargo(&self, words: &[&str]) -> Result<f64> {
        let start = Instant::now();
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
        cargo.args(words).current_dir(&self.folder).env("CARGO_TARGET_DIR", self.folder.join("target"));
        let output = cargo.env_remove("CARGO_INCREMENTAL").env_remove("RUSTFLAGS").output()?;
        match output.status.success() {
            true => Ok(start.elapsed().as_secs_f64()),
            false => Err(Error::InvalidArgument(format!("cargo: {}", String::from_utf8_lossy(&output.stderr)))),
        }
    }

    /// MB.
    fn size(&self, profile: &str) -> Result<f64> {
        Ok(fs::metadata(self.folder.join("target").join(profile).join("word-count"))?.len() as f64 / 1e6)
    }
}

/// Builds it, in both profiles, prints and records.
pub(crate) fn measure(record: Option<&str>, command: &str) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("firesteel-build-{}", std::process::id()));
    let package = Package::new(folder)?;
    let mut text = about(command);
    for (profile, words) in [("debug", &["build"][..]), ("release", &["build", "--release"][..])] {
        package.write("")?;
        let scratch = package.cargo(words)?;
        let size = package.size(profile)?;
        package.write("println!(\"the most frequent ones:\");")?;
        let line = package.cargo(words)?;
        package.write(KEYED)?;
        let keyed = package.cargo(words)?;
        let more = package.size(profile)? - size;
        let _ = writeln!(text, "{profile}\t{scratch}\t{line}\t{keyed}\t{size}\t{more}");
    }
    print!("{text}");
    Ok(record.map_or(Ok(()), |path| fs::write(path, &text))?)
}

/// Puts the table into the page.
pub(super) fn page(recorded: &Path, folder: &Path) -> Result<()> {
    let text = fs::read_to_string(recorded)?;
    let sheet = Sheet::of(&text);
    let mut table = sheet.list();
    table.push_str("\n| | from scratch, s | after a change of a line, s | with one more keyed operation, s | MB | MB more with it |\n");
    table.push_str("|---|--:|--:|--:|--:|--:|\n");
    for [profile, scratch, line, keyed, size, more] in sheet.rows()? {
        let (scratch, line, keyed) = (short(number(scratch)), short(number(line)), short(number(keyed)));
        let _ =
            writeln!(table, "| {profile} | {scratch} | {line} | {keyed} | {:.1} | {:.2} |", number(size), number(more));
    }
    marked(folder, "build", &table)
}
