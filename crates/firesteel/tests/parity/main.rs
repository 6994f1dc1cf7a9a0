//! docs/parity.md is true: every row of Spark's API is there, and every method that it names exists.

mod methods;

use std::{collections::BTreeSet, fs, path::Path};

struct Row {
    section: String,
    spark: String,
    methods: Vec<String>,
    note: String,
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn table() -> Vec<Row> {
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in read("../../docs/parity.md").lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_string();
        } else if let Some(row) = line.strip_prefix("| ").filter(|row| !row.starts_with("Spark |")) {
            let row = row.replace("\\|", "\u{1}");
            let cells: Vec<String> =
                row.split(" | ").map(|cell| cell.trim_end_matches(" |").replace('\u{1}', "|")).collect();
            let [spark, methods, note] = &cells[..] else { panic!("three cells wanted: {line}") };
            let methods = methods.split('`').filter(|m| m.contains("::")).map(String::from).collect();
            rows.push(Row { section: section.clone(), spark: spark.clone(), methods, note: note.clone() });
        }
    }
    rows
}

#[test]
fn every_method_that_the_table_names_exists() {
    let defined = methods::defined_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let missing: Vec<String> = table()
        .iter()
        .flat_map(|row| row.methods.iter().map(move |method| format!("{}: {method}", row.spark)))
        .filter(|named| !defined.contains(named.rsplit_once(": ").unwrap().1))
        .collect();
    assert!(missing.is_empty(), "docs/parity.md names what does not exist:\n{}", missing.join("\n"));
}

#[test]
fn every_row_of_sparks_api_is_in_the_table_once() {
    let rows = table();
    let names = read("tests/parity/rows.tsv");
    let wanted: BTreeSet<(&str, &str)> = names.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let there: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row.section.as_str(), row.spark.as_str())).collect();
    assert_eq!(there.len(), rows.len(), "a row stands twice");
    assert_eq!(wanted.difference(&there).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "rows without an entry");
    assert_eq!(
        there.difference(&wanted).collect::<Vec<_>>(),
        Vec::<&(&str, &str)>::new(),
        "entries that Spark does not have"
    );
}

/// What a note names as a method: `lower_case` words in code, alone or called, but for one or two letters, which are arguments.
fn named_in(note: &str) -> Vec<String> {
    let spans = note.split('`').skip(1).step_by(2);
    let word = |span: &str| {
        let end = span.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(span.len());
        let is_name = end == span.len() || span[end..].starts_with('(');
        if is_name { span[..end].to_string() } else { String::new() }
    };
    let is_method = |name: &String| {
        name.contains("::")
            || name.len() > 2
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && !name.contains(|c: char| c.is_ascii_uppercase())
    };
    spans.map(word).filter(is_method).collect()
}

#[test]
fn every_method_that_a_note_names_exists() {
    assert_eq!(
        named_in("as `for_each(f)`, no `sp`, `camelCase`, `_with`, `#[x]`, `local[*]`; `Rdd::map`"),
        ["for_each", "Rdd::map"]
    );
    let defined = methods::defined_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let exists = |name: &String| match name.contains("::") {
        true => defined.contains(name),
        false => defined.iter().any(|method| method.rsplit("::").next() == Some(name)),
    };
    let missing: Vec<String> = table()
        .iter()
        .flat_map(|row| named_in(&row.note).into_iter().map(move |name| (row.spark.clone(), name)))
        .filter(|(_, name)| !exists(name))
        .map(|(row, name)| format!("{row}: {name}"))
        .collect();
    assert!(missing.is_empty(), "notes of docs/parity.md name what does not exist:\n{}", missing.join("\n"));
}

#[test]
fn a_row_of_several_names_has_a_method_for_each_or_says_why_not() {
    let short: Vec<String> = table()
        .into_iter()
        .filter(|row| row.spark.split([',', '/']).count() > row.methods.len() && row.note.is_empty())
        .map(|row| row.spark)
        .collect();
    assert!(short.is_empty(), "fewer methods than names, and no reason: {short:?}");
}

#[test]
fn a_row_without_a_method_says_why() {
    let silent: Vec<String> =
        table().into_iter().filter(|row| row.methods.is_empty() && row.note.is_empty()).map(|row| row.spark).collect();
    assert!(silent.is_empty(), "no method and no reason: {silent:?}");
}
