//! Hadoop's glob patterns: `?`, `*`, `[a-z]`, `[^a-z]`, `{a,b}` (nested too, also across `/`), `\` before a character
//! that means itself. A wildcard does not match `/`.

use firesteel_model::{Error, Result};
use std::{
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// More alternatives than a sensible pattern has: `{a,b}` repeated 14 times would be 16,384.
const MAX_ALTERNATIVES: usize = 10_000;
/// The longest pattern that is looked at.
const MAX_PATTERN: usize = 64 << 10;

/// What a pattern matched.
pub(crate) struct Matches {
    /// The paths that exist, sorted by their bytes, each once.
    pub(crate) paths: Vec<PathBuf>,
    /// Whether the pattern had any wildcard or alternative; without one, no match means a missing file.
    pub(crate) is_pattern: bool,
}

/// All paths that `pattern` matches.
pub(crate) fn matches(pattern: &str) -> Result<Matches> {
    let alternatives = expand(pattern)?;
    let mut is_pattern = alternatives.len() > 1;
    let mut paths = Vec::new();
    for alternative in &alternatives {
        is_pattern |= walk(pattern, alternative, &mut paths)?;
    }
    paths.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    paths.dedup();
    Ok(Matches { paths, is_pattern })
}

fn bad(pattern: &str, what: &str) -> Error {
    Error::InvalidArgument(format!("path pattern {pattern}: {what} (a \\ before a character makes it mean itself)"))
}

/// The patterns without braces that `pattern` stands for, from left to right.
fn expand(pattern: &str) -> Result<Vec<String>> {
    if pattern.len() > MAX_PATTERN {
        return Err(bad(&pattern[..pattern.floor_char_boundary(80)], "longer than 64 KiB"));
    }
    let mut done = Vec::new();
    let mut open = vec![pattern.to_string()];
    while let Some(next) = open.pop() {
        match first_group(pattern, &next)? {
            None => done.push(next),
            Some((head, alternatives, tail)) => {
                open.extend(alternatives.iter().rev().map(|alternative| format!("{head}{alternative}{tail}")));
            }
        }
        if done.len() + open.len() > MAX_ALTERNATIVES {
            return Err(bad(pattern, "stands for more than 10,000 alternatives"));
        }
    }
    Ok(done)
}

/// What is before, in and after the first `{…}`.
type Group<'a> = (&'a str, Vec<&'a str>, &'a str);

fn first_group<'a>(whole: &str, text: &'a str) -> Result<Option<Group<'a>>> {
    let (mut depth, mut escaped, mut class) = (0usize, false, false);
    let (mut open, mut from, mut alternatives) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match c {
            '\\' => escaped = true,
            '[' if !class => class = true,
            ']' => class = false,
            _ if class => {}
            '{' => {
                depth += 1;
                if depth == 1 {
                    (open, from) = (at, at + 1);
                }
            }
            ',' if depth == 1 => {
                alternatives.push(&text[from..at]);
                from = at + 1;
            }
            '}' if depth == 1 => {
                alternatives.push(&text[from..at]);
                return Ok(Some((&text[..open], alternatives, &text[at + 1..])));
            }
            '}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    if depth > 0 { Err(bad(whole, "a { is never closed")) } else { Ok(None) }
}

/// Adds what one pattern without braces matches; whether it had a wildcard.
fn walk(whole: &str, pattern: &str, out: &mut Vec<PathBuf>) -> Result<bool> {
    let mut found = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    let mut wild = false;
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let tokens = parse(whole, part)?;
        if let Some(name) = literal(&tokens) {
            found.iter_mut().for_each(|path| path.push(&name));
            continue;
        }
        wild = true;
        let mut next = Vec::new();
        for dir in &found {
            list_matching(dir, &tokens, &mut next)?;
        }
        found = next;
    }
    found.retain(|path| path.as_os_str().is_empty() || path.symlink_metadata().is_ok());
    out.append(&mut found);
    Ok(wild)
}

/// Adds the entries of `dir` whose names match. A `dir` that is missing or is no directory has none.
fn list_matching(dir: &Path, tokens: &[Token], out: &mut Vec<PathBuf>) -> Result<()> {
    let place = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let entries = match place.read_dir() {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(e) => return Err(Error::io("list", place.display(), e)),
    };
    for entry in entries {
        let name = entry.map_err(|e| Error::io("list", place.display(), e))?.file_name();
        if name_matches(tokens, &name.to_string_lossy()) {
            out.push(dir.join(name));
        }
    }
    Ok(())
}

/// One element of a pattern for a name.
#[derive(Debug, PartialEq)]
enum Token {
    Char(char),
    AnyChar,
    AnyRun,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::AnyChar | Token::AnyRun => true,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

fn parse(whole: &str, part: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = part.chars().peekable();
    let cut = || bad(whole, "ends after a \\");
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '\\' => Token::Char(chars.next().ok_or_else(cut)?),
            '?' => Token::AnyChar,
            '*' => Token::AnyRun,
            '[' => {
                let negated = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match chars.next().ok_or_else(|| bad(whole, "a [ is never closed"))? {
                        ']' if ranges.is_empty() => return Err(bad(whole, "[] matches nothing")),
                        ']' => break,
                        '\\' => chars.next().ok_or_else(cut)?,
                        other => other,
                    };
                    let mut after = chars.clone();
                    if after.next() == Some('-') && after.next().is_some_and(|c| c != ']') {
                        chars.next();
                        let high = match chars.next() {
                            Some('\\') => chars.next().ok_or_else(cut)?,
                            other => other.ok_or_else(cut)?,
                        };
                        if low > high {
                            return Err(bad(whole, &format!("the range {low}-{high} is backwards")));
                        }
                        ranges.push((low, high));
                    } else {
                        ranges.push((low, low));
                    }
                }
                Token::Class { negated, ranges }
            }
            other => Token::Char(other),
        });
    }
    Ok(tokens)
}

/// The one name that these tokens match, if they have no wildcard.
fn literal(tokens: &[Token]) -> Option<String> {
    tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect()
}

/// Matches in steps of at most `tokens × name`: on a mismatch the last `*` takes one character more.
fn name_matches(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut token, mut at, mut retry) = (0, 0, None);
    loop {
        match tokens.get(token) {
            Some(Token::AnyRun) => {
                token += 1;
                retry = Some((token, at));
                continue;
            }
            Some(one) if name.get(at).is_some_and(|c| one.accepts(*c)) => {
                (token, at) = (token + 1, at + 1);
                continue;
            }
            None if at == name.len() => return true,
            _ => {}
        }
        match retry {
            Some((from, taken)) if taken < name.len() => {
                retry = Some((from, taken + 1));
                (token, at) = (from, taken + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hits(pattern: &str, name: &str) -> bool {
        expand(pattern).unwrap().iter().any(|one| name_matches(&parse(pattern, one).unwrap(), name))
    }

    #[test]
    fn names_match_as_in_hadoop() {
        for (pattern, yes, no) in [
            ("*.txt", "a.txt", "a.txt.gz"),
            ("*", "", "a"),
            ("a?c", "aéc", "ac"),
            ("part-*", "part-00001", "par"),
            ("[a-c]x", "bx", "dx"),
            ("[^a-c]x", "dx", "bx"),
            ("[!a-c]x", "dx", "bx"),
            ("[a-]x", "-x", "bx"),
            ("[ab][]x", "", ""),
            ("\\*", "*", "a"),
            ("[\\]]", "]", "\\"),
            ("{a,bc}d", "bcd", "bd"),
            ("{a,b{c,d}}", "bd", "b"),
            ("{,x}y", "y", "xxy"),
            ("a}b", "a}b", "ab"),
            ("*a*b*c", "xxaybzzc", "xxaybzz"),
            ("\\{a,b\\}", "{a,b}", "a"),
        ] {
            if pattern == "[ab][]x" {
                assert!(parse(pattern, pattern).is_err());
                continue;
            }
            assert!(hits(pattern, yes), "{pattern} should match {yes}");
            assert!(pattern == "*" || !hits(pattern, no), "{pattern} should not match {no}");
        }
    }

    #[test]
    fn a_malformed_pattern_is_an_error_that_shows_it() {
        for pattern in ["/x/{a,b", "/x/[a", "/x/\\", "/x/[]", "/x/[z-a]", "/x/[a-\\"] {
            let text = matches(pattern).err().unwrap().to_string();
            assert!(text.contains(pattern), "{text}");
        }
    }

    #[test]
    fn alternatives_are_bounded() {
        assert!(matches(&"{a,b}".repeat(30)).is_err());
        assert!(matches(&format!("{}a{}", "{".repeat(3000), "}".repeat(3000))).unwrap().paths.is_empty());
        assert!(matches(&"a".repeat(100_000)).is_err());
    }

    #[test]
    fn matches_are_sorted_and_may_cross_folders() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/2.txt", "b/1.txt", "a/9.txt", "a/x.log", "c.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let all = matches(&format!("{}/{pattern}", dir.path().display())).unwrap().paths;
            all.iter().map(|p| p.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(found("*/*.txt"), ["a/9.txt", "b/1.txt", "b/2.txt"]);
        assert_eq!(found("{b/1,a/*,c}.txt"), ["a/9.txt", "b/1.txt", "c.txt"]);
        assert_eq!(found("[ab]"), ["a", "b"]);
        assert_eq!(found("c.txt/*"), Vec::<String>::new());
        assert_eq!(found("{c,c,?}.txt"), ["c.txt"]);
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_an_error(pattern in "[a-c{},*?\\[\\]^\\\\/-]{0,24}", name in "[a-c]{0,8}") {
            if let Ok(alternatives) = expand(&pattern) {
                for one in alternatives {
                    if let Ok(tokens) = parse(&pattern, &one) {
                        name_matches(&tokens, &name);
                    }
                }
            }
        }

        #[test]
        fn star_matching_agrees_with_plain_recursion(pattern in "[ab*?]{0,10}", name in "[ab]{0,10}") {
            fn slow(p: &[u8], n: &[u8]) -> bool {
                match p.first() {
                    None => n.is_empty(),
                    Some(b'*') => slow(&p[1..], n) || !n.is_empty() && slow(p, &n[1..]),
                    Some(c) => !n.is_empty() && (*c == b'?' || *c == n[0]) && slow(&p[1..], &n[1..]),
                }
            }
            prop_assert_eq!(hits(&pattern, &name), slow(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
