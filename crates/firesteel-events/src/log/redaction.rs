//! Keeps secrets out of what is written and shown.

use crate::event::{EnvironmentUpdate, Event, JobStart, Properties, StageSubmitted};
use std::{borrow::Cow, sync::Arc};

/// What stands in place of a secret, in Spark's words.
pub const REDACTED: &str = "*********(redacted)";

/// Whether the text looks like that of a secret, by Spark's default rule: it contains `secret`, `password`, `token`, `credential`,
/// `accesskey` or `access.key`, in any case.
///
/// ```
/// use firesteel_events::is_sensitive;
///
/// assert!(is_sensitive("fs.s3a.Access.Key") && is_sensitive("myDBPassword"));
/// assert!(!is_sensitive("spark.executor.memory"));
/// ```
pub fn is_sensitive(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["secret", "password", "token", "credential", "accesskey", "access.key"].iter().any(|word| text.contains(word))
}

/// The value to show for a property: [`REDACTED`] if its name, or the value itself, [is sensitive](is_sensitive).
pub fn redact<'a>(name: &str, value: &'a str) -> &'a str {
    if is_sensitive(name) || is_sensitive(value) { REDACTED } else { value }
}

/// The event without secrets; a copy only if it has any.
pub(super) fn redacted(event: &Event) -> Cow<'_, Event> {
    match event {
        Event::EnvironmentUpdate(e) => {
            let all = |p: &Properties| p.iter().map(|(k, v)| (k.clone(), redact(k, v).to_owned())).collect();
            Cow::Owned(Event::EnvironmentUpdate(EnvironmentUpdate {
                runtime: all(&e.runtime),
                properties: all(&e.properties),
                file_systems: all(&e.file_systems),
                system: all(&e.system),
                metrics: all(&e.metrics),
                code: all(&e.code),
            }))
        }
        Event::JobStart(e) => by_name(&e.properties).map_or(Cow::Borrowed(event), |properties| {
            Cow::Owned(Event::JobStart(JobStart { properties, stages: e.stages.clone(), ..*e }))
        }),
        Event::StageSubmitted(e) => by_name(&e.properties).map_or(Cow::Borrowed(event), |properties| {
            Cow::Owned(Event::StageSubmitted(StageSubmitted { properties, stage: e.stage.clone() }))
        }),
        _ => Cow::Borrowed(event),
    }
}

/// A thread's properties without secrets, if any has the name of one. Their values are not looked at: a job may well be
/// described as `count the tokens`.
fn by_name(properties: &Properties) -> Option<Arc<Properties>> {
    properties.keys().any(|k| is_sensitive(k)).then(|| {
        let value = |k: &str, v: &String| if is_sensitive(k) { REDACTED.to_owned() } else { v.clone() };
        Arc::new(properties.iter().map(|(k, v)| (k.clone(), value(k, v))).collect())
    })
}
