//! What a fuzzer can reach of how settings are read, beside what is public.

/// The text of a file of settings, and of `FIRESTEEL_CONF`.
pub fn settings(text: &str) {
    let _ = super::properties::parse(text);
    let _ = super::load::parse_lines(text);
}
