//! Which settings are secrets: Spark's rule `(?i)secret|password|token|access[.]?key|credential`.

/// What stands in the place of a secret's value wherever settings are shown or recorded; Spark's words.
pub const REDACTED: &str = "*********(redacted)";

/// Does the name, or the value itself, look like a secret, so that the value must not be shown?
///
/// ```
/// use firesteel_model::conf::is_secret;
/// assert!(is_secret("firesteel.hadoop.fs.s3a.access.key", "AKIA"));
/// assert!(is_secret("my.option", "--password=x"));
/// assert!(!is_secret("firesteel.task.maxFailures", "4"));
/// ```
pub fn is_secret(name: &str, value: &str) -> bool {
    const WORDS: [&str; 6] = ["secret", "password", "token", "accesskey", "access.key", "credential"];
    [name, value].iter().any(|text| {
        let text = text.to_lowercase();
        WORDS.iter().any(|word| text.contains(word))
    })
}
