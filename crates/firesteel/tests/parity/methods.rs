//! Which methods the sources define: `Type::name` for every function and constant in an `impl` block or a trait, those that
//! macros of the same file write included.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// All methods of the crates in `crates/*/src`.
pub(crate) fn defined_in(crates: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = Vec::new();
    for entry in fs::read_dir(crates).unwrap() {
        open.push(entry.unwrap().path().join("src"));
    }
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                collect(&tokens(&fs::read_to_string(&path).unwrap()), &mut found);
            }
        }
    }
    found
}

/// Words (with the `$` of macros) and single punctuation marks, without comments, texts and lifetimes.
fn tokens(source: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let bytes = source.as_bytes();
    let mut at = 0;
    let find = |from: usize, what: &str| source[from..].find(what).map_or(bytes.len(), |i| from + i + what.len());
    while at < bytes.len() {
        let rest = &source[at..];
        let c = rest.chars().next().unwrap();
        if rest.starts_with("//") {
            at = find(at, "\n");
        } else if rest.starts_with("/*") {
            at = find(at, "*/");
        } else if rest.starts_with("r\"") {
            at = find(at + 2, "\"");
        } else if rest.starts_with("r#\"") {
            at = find(at + 3, "\"#");
        } else if c == '"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' {
            // A character, or a lifetime.
            let mut chars = rest.char_indices().skip(1);
            at += match (chars.next(), chars.next()) {
                (Some((_, '\\')), _) => {
                    rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(1, |(i, _)| i + 3)
                }
                (Some(_), Some((i, '\''))) => i + 1,
                _ => 1,
            };
        } else if c.is_alphanumeric() || c == '_' || c == '$' {
            let length = rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(rest.len(), |i| i + 1);
            out.push(rest[..length].to_string());
            at += length;
        } else {
            if !c.is_whitespace() {
                out.push(c.to_string());
            }
            at += c.len_utf8();
        }
    }
    out
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The type that an `impl` block's header is about: what follows `for`, else the first name after the generics.
fn subject(header: &[String]) -> Option<String> {
    let mut depth = 0i32;
    let mut name = None;
    for (i, token) in header.iter().enumerate() {
        match token.as_str() {
            "<" => depth += 1,
            ">" if i == 0 || header[i - 1] != "-" => depth -= 1,
            "where" if depth == 0 => break,
            "for" if depth == 0 => name = None,
            // The last part of a path counts.
            word if depth == 0 && (is_name(word) || word.starts_with('$')) => name = Some(word.to_string()),
            _ => {}
        }
    }
    name
}

fn collect(tokens: &[String], found: &mut BTreeSet<String>) {
    // What each macro of the file defines: (type, method), either of which may be one of its variables.
    let mut macros: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut within: Vec<(usize, String)> = Vec::new();
    let mut of_macro: Option<(usize, String)> = None;
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                within.retain(|(d, _)| *d <= depth);
                of_macro.take_if(|(d, _)| *d > depth);
            }
            "macro_rules" if of_macro.is_none() => {
                of_macro = Some((depth + 1, tokens[at + 2].clone()));
                at += 2;
            }
            word @ ("impl" | "trait")
                if at == 0
                    || matches!(tokens[at - 1].as_str(), "}" | ";" | "{" | "]" | "pub" | "unsafe" | "(" | ")") =>
            {
                let end = tokens[at..].iter().position(|t| t == "{" || t == ";").map_or(tokens.len(), |i| at + i);
                let subject = if word == "trait" { tokens.get(at + 1).cloned() } else { subject(&tokens[at + 1..end]) };
                if let Some(subject) = subject
                    && tokens.get(end).is_some_and(|t| t == "{")
                {
                    within.push((depth + 1, subject));
                }
                at = end;
                continue;
            }
            "fn" | "const" => {
                if let (Some((_, subject)), Some(name)) = (within.last(), tokens.get(at + 1)) {
                    match &of_macro {
                        Some((_, of)) => macros.entry(of.clone()).or_default().push((subject.clone(), name.clone())),
                        None => {
                            found.insert(format!("{subject}::{name}"));
                        }
                    }
                }
            }
            name if tokens.get(at + 1).is_some_and(|t| t == "!") && macros.contains_key(name) && of_macro.is_none() => {
                let mut open = 0;
                let mut words = BTreeSet::new();
                for token in &tokens[at + 2..] {
                    match token.as_str() {
                        "{" | "(" | "[" => open += 1,
                        "}" | ")" | "]" => open -= 1,
                        word if is_name(word) => {
                            words.insert(word);
                        }
                        _ => {}
                    }
                    if open == 0 {
                        break;
                    }
                }
                for (subject, method) in &macros[name] {
                    for subject in
                        if subject.starts_with('$') { words.iter().copied().collect() } else { vec![subject.as_str()] }
                    {
                        for method in if method.starts_with('$') {
                            words.iter().copied().collect()
                        } else {
                            vec![method.as_str()]
                        } {
                            found.insert(format!("{subject}::{method}"));
                        }
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[test]
fn methods_are_found_wherever_they_are_written() {
    let source = r##"
        impl<T: 'static, P: Pipeline<Item = T>> crate::Rdd<T, P> { pub fn map(&self) -> Vec<u8> { fn inner() {} "impl No { fn no() {} }"; '{'; } }
        pub trait Split { fn at(&self) -> Option<u8>; }
        impl<F: Fn(u8) -> u8> Split for Half<F> where F: Copy { fn at(&self) -> Option<u8> { None } }
        fn free() {} // impl Gone { fn gone() {} }
        macro_rules! joins { ($($fn:ident)*) => { impl<T> Rdd<T> { $(pub fn $fn(&self) {})* } } }
        joins! { left right }
        macro_rules! counters { ($($name:ident)*) => { $(impl $name { pub fn add(&self) {} })* } }
        counters! { Long }
    "##;
    let mut found = BTreeSet::new();
    collect(&tokens(source), &mut found);
    for method in ["Rdd::map", "Split::at", "Half::at", "Rdd::left", "Rdd::right", "Long::add"] {
        assert!(found.contains(method), "{method} in {found:?}");
    }
    assert!(!found.iter().any(|m| m.ends_with("free") || m.contains("No::") || m.contains("Gone")), "{found:?}");
}
