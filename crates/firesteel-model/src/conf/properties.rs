//! Files of defaults, in the form that Spark reads them: Java's properties.

/// Reads `key value`, `key=value` or `key: value` lines. `#` and `!` begin comments; a backslash at a line's end joins
/// the next line; `\t`, `\n`, `\r`, `\f` and `\u0041` are characters, and a backslash before any other character means
/// that character.
///
/// # Errors
/// A `\u` without four hexadecimal digits, by the number of its line.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut line = first.to_owned();
        while ends_in_odd_backslashes(&line) {
            line.pop();
            let Some((_, next)) = lines.next() else { break };
            line.push_str(next.trim_start());
        }
        let property = split(&line).map_err(|problem| format!("line {}: {problem}", number + 1))?;
        properties.push(property);
    }
    Ok(properties)
}

fn ends_in_odd_backslashes(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// A logical line's key and value, unescaped; the value without blanks around it, as Spark takes it.
fn split(line: &str) -> Result<(String, String), String> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c.is_ascii_whitespace() || c == '=' || c == ':');
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    Ok((unescape(key)?, unescape(value)?.trim().to_owned()))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let Some(escaped) = (if c == '\\' { chars.next() } else { None }) else {
            out.push(c);
            continue;
        };
        out.push(match escaped {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'u' => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = (digits.len() == 4).then(|| u32::from_str_radix(&digits, 16).ok()).flatten();
                code.and_then(char::from_u32)
                    .ok_or_else(|| format!("\\u{digits} is not a character: four hexadecimal digits are needed"))?
            }
            other => other,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> (String, String) {
        parse(line).unwrap().remove(0)
    }

    #[test]
    fn blanks_equals_and_colons_separate() {
        for line in ["spark.a  b c", "spark.a=b c", "  spark.a = b c ", "spark.a:b c", "spark.a\tb c", "spark.a : b c"]
        {
            assert_eq!(one(line), ("spark.a".into(), "b c".into()), "{line}");
        }
        assert_eq!(one("spark.master spark://h:7077"), ("spark.master".into(), "spark://h:7077".into()));
        assert_eq!(one("spark.a"), ("spark.a".into(), String::new()));
        assert_eq!(one("spark.a=-Dx=\"1 2\""), ("spark.a".into(), "-Dx=\"1 2\"".into()));
    }

    #[test]
    fn comments_and_empty_lines_are_skipped_and_lines_joined() {
        let text = "# one\n\n! two\r\n  # three\nspark.a 1,\\\n    2,\\\r\n    3\nspark.b c:\\\\\nspark.d e\\";
        let expected = [("spark.a", "1,2,3"), ("spark.b", "c:\\"), ("spark.d", "e")];
        assert_eq!(parse(text).unwrap(), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn escapes_stand_for_characters() {
        assert_eq!(one(r"a\ b\:c=\u00e9\tx\q"), ("a b:c".into(), "é\txq".into()));
        for line in [r"a=\u12", r"a=\uzzzz", r"a=\ud800"] {
            assert!(parse(&format!("\n{line}")).unwrap_err().starts_with("line 2: \\u"), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"([a\\ =:#\n]|\\u00|\PC){0,60}") {
            let _ = parse(&text);
        }
    }
}
