//! Text out of bytes that need not be UTF-8, as Hadoop's `Text` reads them.

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// The text of `bytes`. What is not UTF-8 becomes U+FFFD, as in [`String::from_utf8_lossy`], one for each longest
/// beginning of a character; except that an encoded surrogate (`ED A0 80`) becomes one, not three, as in Hadoop's `Text`.
/// Never fails; valid input costs one check and no copy.
///
/// ```
/// assert_eq!(firesteel_io::decode_utf8(b"caf\xe9!".to_vec()), "caf\u{fffd}!");
/// assert_eq!(firesteel_io::decode_utf8(b"\xed\xa0\x80!".to_vec()), "\u{fffd}!");
/// ```
pub fn decode_utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| {
        let mut text = String::new();
        decode_lossy(e.as_bytes(), &mut text);
        text
    })
}

/// Adds the text of `bytes` to `out`, with the replacements of [`decode_utf8`].
pub(crate) fn decode_lossy(mut bytes: &[u8], out: &mut String) {
    out.reserve(bytes.len());
    loop {
        let error = match simdutf8::compat::from_utf8(bytes) {
            Ok(rest) => return out.push_str(rest),
            Err(error) => error,
        };
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        // Valid by the decoder's word; a second check of a rare path costs less than trusting it.
        out.push_str(std::str::from_utf8(valid).unwrap_or_default());
        out.push(REPLACEMENT);
        let skip = match rest {
            [0xED, 0xA0..=0xBF, 0x80..=0xBF, ..] => 3,
            [0xED, 0xA0..=0xBF, ..] => 2,
            _ => error.error_len().unwrap_or(rest.len()),
        };
        bytes = &rest[skip..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Java's UTF-8 decoder with replacement, from its documentation of malformed lengths; one unit at a time.
    fn as_java(bytes: &[u8]) -> String {
        let mut out = String::new();
        let mut at = 0;
        let cont = |i: usize| bytes.get(i).is_some_and(|b| (0x80..=0xBF).contains(b));
        while at < bytes.len() {
            let lead = bytes[at];
            let second = bytes.get(at + 1).copied().unwrap_or(0);
            let need = match lead {
                0..=0x7F => 1,
                0xC2..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF4 => 4,
                _ => 0,
            };
            let second_fits = match lead {
                0xE0 => (0xA0..=0xBF).contains(&second),
                0xF0 => (0x90..=0xBF).contains(&second),
                0xF4 => (0x80..=0x8F).contains(&second),
                _ => cont(at + 1),
            };
            let mut len = 1;
            while len < need && if len == 1 { second_fits } else { cont(at + len) } {
                len += 1;
            }
            let whole = if len == need { std::str::from_utf8(&bytes[at..at + len]).ok() } else { None };
            out.push_str(whole.unwrap_or("\u{fffd}"));
            at += len;
        }
        out
    }

    #[test]
    fn replacements_are_hadoops() {
        for (bytes, text) in [
            (&b"\xed\xa0\x80"[..], "\u{fffd}"),
            (b"\xed\xa0\x80\xed\xb0\x80", "\u{fffd}\u{fffd}"),
            (b"\xed\xa0", "\u{fffd}"),
            (b"\xed\xa0x", "\u{fffd}x"),
            (b"\xed", "\u{fffd}"),
            (b"\xf0\x9f\x92", "\u{fffd}"),
            (b"\xc0\x80", "\u{fffd}\u{fffd}"),
            (b"\xf5\x80", "\u{fffd}\u{fffd}"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"a\xe2\x82b", "a\u{fffd}b"),
            (b"", ""),
        ] {
            assert_eq!(decode_utf8(bytes.to_vec()), text, "{bytes:x?}");
        }
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let edge = prop::sample::select(vec![
            0x00u8, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0,
            0xF4, 0xF5, 0xFF,
        ]);
        prop::collection::vec(prop_oneof![4 => edge, 1 => any::<u8>()], 0..40)
    }

    proptest! {
        #[test]
        fn agrees_with_javas_decoder(bytes in bytes()) {
            prop_assert_eq!(decode_utf8(bytes.clone()), as_java(&bytes));
        }

        #[test]
        fn agrees_with_rusts_where_no_surrogate_is_encoded(mut bytes in bytes()) {
            bytes.retain(|b| *b != 0xED);
            prop_assert_eq!(decode_utf8(bytes.clone()), String::from_utf8_lossy(&bytes));
        }
    }
}
