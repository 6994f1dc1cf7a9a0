//! How elements stand in text files: as Spark prints them.

use crate::total::Total;
use firesteel_io::JavaFloat;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    fmt::Write,
    rc::Rc,
    sync::Arc,
};

/// An element that can stand in a text file: what `save_as_text_file` prints and `pipe` hands to its program.
///
/// Prints as Spark does: tuples as `(word,3)`, options as `Some(2)` and `None`, vectors as `List(1, 2)`, maps as
/// `Map(a -> 1)`, sets as `Set(1, 2)`, floats as Java writes them (`1.0E7`). Hash maps and hash sets print in the order in
/// which they iterate.
///
/// ```
/// use firesteel_rdd::TextLine;
/// let mut line = String::new();
/// ("word", 3, Some(vec![0.5])).write_line(&mut line);
/// assert_eq!(line, "(word,3,Some(List(0.5)))");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how it stands in a text file",
    label = "not a `TextLine`",
    note = "make it text first: `rdd.map(|x| x.to_string())` or `rdd.map(|x| format!(..))`",
    note = "or implement `TextLine` for a type of your own"
)]
pub trait TextLine {
    /// Appends the element, without a line end.
    fn write_line(&self, out: &mut String);
}

impl TextLine for str {
    #[inline]
    fn write_line(&self, out: &mut String) {
        out.push_str(self)
    }
}

impl TextLine for String {
    #[inline]
    fn write_line(&self, out: &mut String) {
        out.push_str(self)
    }
}

impl TextLine for () {
    fn write_line(&self, out: &mut String) {
        out.push_str("()")
    }
}

macro_rules! displayed {
    ($($t:ty)*) => {$(
        impl TextLine for $t {
            #[inline]
            fn write_line(&self, out: &mut String) {
                // Writing into a `String` cannot fail.
                let _ = write!(out, "{self}");
            }
        }
    )*};
}
displayed!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize bool char);

macro_rules! floats {
    ($($t:ty)*) => {$(
        impl TextLine for $t {
            #[inline]
            fn write_line(&self, out: &mut String) {
                let _ = write!(out, "{}", JavaFloat(*self));
            }
        }
    )*};
}
floats!(f32 f64);

impl<F: TextLine> TextLine for Total<F> {
    #[inline]
    fn write_line(&self, out: &mut String) {
        self.0.write_line(out)
    }
}

macro_rules! pointers {
    ($($t:ty)*) => {$(
        impl<T: TextLine + ?Sized> TextLine for $t {
            #[inline]
            fn write_line(&self, out: &mut String) {
                (**self).write_line(out)
            }
        }
    )*};
}
pointers!(&T Box<T> Rc<T> Arc<T>);

impl<T: TextLine> TextLine for Option<T> {
    fn write_line(&self, out: &mut String) {
        match self {
            Some(value) => {
                out.push_str("Some(");
                value.write_line(out);
                out.push(')');
            }
            None => out.push_str("None"),
        }
    }
}

/// `Name(a, b)`
fn listed<T>(name: &str, items: impl IntoIterator<Item = T>, out: &mut String, print: impl Fn(T, &mut String)) {
    out.push_str(name);
    out.push('(');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        print(item, out);
    }
    out.push(')');
}

macro_rules! lists {
    ($($name:literal $t:ty $([$($g:tt)*])?;)*) => {$(
        impl<T: TextLine $(, $($g)*)?> TextLine for $t {
            fn write_line(&self, out: &mut String) {
                listed($name, self, out, |item, out| item.write_line(out))
            }
        }
    )*};
}
lists! {
    "List" Vec<T>;
    "List" VecDeque<T>;
    "List" [T];
    "List" [T; N] [const N: usize];
    "Set" BTreeSet<T>;
    "Set" HashSet<T, S> [S];
}

macro_rules! maps {
    ($($t:ty $([$g:ident])?;)*) => {$(
        impl<K: TextLine, V: TextLine $(, $g)?> TextLine for $t {
            fn write_line(&self, out: &mut String) {
                listed("Map", self, out, |(key, value), out| {
                    key.write_line(out);
                    out.push_str(" -> ");
                    value.write_line(out);
                })
            }
        }
    )*};
}
maps! {
    BTreeMap<K, V>;
    HashMap<K, V, S> [S];
}

macro_rules! tuples {
    ($($first:ident $($rest:ident)*;)*) => {$(
        impl<$first: TextLine, $($rest: TextLine),*> TextLine for ($first, $($rest,)*) {
            #[inline]
            fn write_line(&self, out: &mut String) {
                #[allow(non_snake_case, reason = "named as their types")]
                let ($first, $($rest,)*) = self;
                out.push('(');
                $first.write_line(out);
                $(
                    out.push(',');
                    $rest.write_line(out);
                )*
                out.push(')');
            }
        }
    )*};
}
tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
    A B C D E F G H I;
    A B C D E F G H I J;
    A B C D E F G H I J K;
    A B C D E F G H I J K L;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(item: impl TextLine) -> String {
        let mut out = String::new();
        item.write_line(&mut out);
        out
    }

    #[test]
    fn elements_print_as_in_spark() {
        assert_eq!(line(("word", 3u64)), "(word,3)");
        assert_eq!(line(("a".to_string(), (1, 2.0))), "(a,(1,2.0))");
        assert_eq!(line((Some(2), None::<u8>)), "(Some(2),None)");
        assert_eq!(line(vec![1, 2]), "List(1, 2)");
        assert_eq!(line(Vec::<u8>::new()), "List()");
        assert_eq!(line([1.5e7, 0.001]), "List(1.5E7, 0.001)");
        assert_eq!(line(0.1f32), "0.1");
        assert_eq!(line(BTreeMap::from([("a", 1), ("b", 2)])), "Map(a -> 1, b -> 2)");
        assert_eq!(line(BTreeSet::from(['x', 'y'])), "Set(x, y)");
        assert_eq!(line((true, (), -7i8)), "(true,(),-7)");
        assert_eq!(line(Arc::new(("k", Box::new(1)))), "(k,1)");
        assert_eq!(line(("k", (vec![1, 2], Vec::<i32>::new()))), "(k,(List(1, 2),List()))");
    }
}
