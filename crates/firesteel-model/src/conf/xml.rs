//! Just enough XML for files of FAIR pools: elements, attributes, text, comments. No document types, so nothing can
//! expand.

/// How deep elements may lie in each other.
const MAX_DEPTH: usize = 16;

/// An element.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Element>,
    /// The text directly inside, without blanks around it.
    pub(super) text: String,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// Reads a document: its one outermost element.
///
/// # Errors
/// What is wrong and in which line.
pub(super) fn parse(text: &str) -> Result<Element, String> {
    let mut reader = Reader { text, rest: text };
    reader.document().map_err(|problem| {
        let read = text.len() - reader.rest.len();
        format!("line {}: {problem}", 1 + text[..read].matches('\n').count())
    })
}

struct Reader<'a> {
    text: &'a str,
    /// What has not been read yet, a suffix of `text`.
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Element, String> {
        self.rest = self.text.strip_prefix('\u{feff}').unwrap_or(self.text);
        self.misc()?;
        if !self.take("<") {
            return Err("an element is expected, such as <allocations>".into());
        }
        let root = self.element(1)?;
        self.misc()?;
        if self.rest.is_empty() { Ok(root) } else { Err(format!("nothing may follow </{}>", root.name)) }
    }

    /// What may stand around the outermost element.
    fn misc(&mut self) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.comment()? {
                return Ok(());
            }
        }
    }

    /// A comment or a processing instruction, if one is next.
    fn comment(&mut self) -> Result<bool, String> {
        if self.take("<!--") {
            self.until("-->")?;
        } else if self.take("<?") {
            self.until("?>")?;
        } else if self.rest.starts_with("<!") {
            return Err("document types and CDATA are not accepted".into());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The rest of an element after its `<`.
    fn element(&mut self, depth: usize) -> Result<Element, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} elements inside each other"));
        }
        let mut element = Element { name: self.name()?, ..Element::default() };
        loop {
            self.rest = self.rest.trim_start();
            if self.take("/>") {
                return Ok(element);
            }
            if self.take(">") {
                break;
            }
            let name = self.name()?;
            self.rest = self.rest.trim_start();
            if !self.take("=") {
                return Err(format!("the attribute {name} has no value"));
            }
            self.rest = self.rest.trim_start();
            let quote = if self.take("\"") { "\"" } else { "'" };
            if quote == "'" && !self.take(quote) {
                return Err(format!("the value of the attribute {name} needs quotes"));
            }
            let value = unescape(self.until(quote)?)?;
            element.attributes.push((name, value));
        }
        let mut text = String::new();
        loop {
            let end = self.rest.find('<').ok_or_else(|| format!("<{}> is never closed", element.name))?;
            text.push_str(&unescape(&self.rest[..end])?);
            self.rest = &self.rest[end..];
            if self.comment()? {
                continue;
            }
            if self.take("</") {
                let name = self.name()?;
                self.rest = self.rest.trim_start();
                if name != element.name || !self.take(">") {
                    return Err(format!("<{}> is closed by </{name}>", element.name));
                }
                element.text = text.trim().to_owned();
                return Ok(element);
            }
            self.take("<");
            element.children.push(self.element(depth + 1)?);
        }
    }

    fn name(&mut self) -> Result<String, String> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || "_-.:".contains(c))).unwrap_or(self.rest.len());
        if end == 0 {
            return Err("a name is expected".into());
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn take(&mut self, what: &str) -> bool {
        self.rest.strip_prefix(what).map(|rest| self.rest = rest).is_some()
    }

    fn until(&mut self, end: &str) -> Result<&'a str, String> {
        let (before, after) = self.rest.split_once(end).ok_or_else(|| format!("{end} is missing"))?;
        self.rest = after;
        Ok(before)
    }
}

fn unescape(text: &str) -> Result<String, String> {
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, after) = part.split_once(';').ok_or("an & that begins no entity: write &amp;")?;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => return Err(format!("the entity &{name}; is not accepted")),
        });
        out.push_str(after);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_attributes_text_and_comments() {
        let text = "\u{feff}<?xml version=\"1.0\"?>\n<!-- a > b -->\n<a x='1' y = \"&lt;2&gt;\">\n one <b/> two &amp; <!-- no --> <c>three</c >\n</a> <!-- end -->";
        let a = parse(text).unwrap();
        assert_eq!((a.name.as_str(), a.attribute("x"), a.attribute("y")), ("a", Some("1"), Some("<2>")));
        assert_eq!(a.children.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(a.child("c").unwrap().text, "three");
        assert!(a.text.starts_with("one") && a.text.contains("two &"));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, expected) in [
            ("", "line 1: an element is expected"),
            ("\n<a>\n<b>\n</a>", "line 4: <b> is closed by </a>"),
            ("<a>", "<a> is never closed"),
            ("<a x=1/>", "needs quotes"),
            ("<a x/>", "has no value"),
            ("<a/><b/>", "nothing may follow </a>"),
            ("<a>&x;</a>", "&x;"),
            ("<a>R&D</a>", "&amp;"),
            ("<!DOCTYPE a><a/>", "document types"),
            ("<!-- a", "--> is missing"),
            ("< a/>", "a name is expected"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(parse(&"<a>".repeat(100_000)).unwrap_err().contains("inside each other"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"(<a|/>|>|</a>|<!--|-->|&|;| x=|"|'|\PC){0,40}"#) {
            let _ = parse(&text);
        }
    }
}
