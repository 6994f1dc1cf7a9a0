//! Keeps secrets out of the log.

use crate::event::{EnvironmentUpdate, Event, JobStart, Properties, StageSubmitted};
use firesteel_model::conf::{REDACTED, is_secret};
use std::{borrow::Cow, sync::Arc};

/// The event without secrets; a copy only if it has any.
pub(super) fn redacted(event: &Event) -> Cow<'_, Event> {
    match event {
        Event::EnvironmentUpdate(e) => {
            let shown = |k: &str, v: &String| if is_secret(k, v) { REDACTED.to_owned() } else { v.clone() };
            let all = |p: &Properties| p.iter().map(|(k, v)| (k.clone(), shown(k, v))).collect();
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
    properties.keys().any(|k| is_secret(k, "")).then(|| {
        let value = |k: &str, v: &String| if is_secret(k, "") { REDACTED.to_owned() } else { v.clone() };
        Arc::new(properties.iter().map(|(k, v)| (k.clone(), value(k, v))).collect())
    })
}
