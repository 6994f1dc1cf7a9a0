//! Logging: the engine logs through `tracing`; which lines are shown is the subscriber's matter.
//!
//! A program that has no subscriber still shows warnings and errors: `#[firesteel::main]` lets the first context install a small
//! one that writes lines to standard error. A program with one of its own sets it before it makes a context.

use firesteel_model::{
    Error, Result,
    conf::{Conf, Value, keys},
};
use std::{
    fmt::{self, Write as _},
    io::Write as _,
    sync::{
        Once,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{Event, Level, Metadata, Subscriber, field, level_filters::LevelFilter, span};

/// Whether the program lets us set up its logging.
static MAY_INSTALL: AtomicBool = AtomicBool::new(false);
/// The least severe level that is shown, from 0 (none) to 5 (trace).
static SHOWN: AtomicU8 = AtomicU8::new(2);

/// Says that the program left its logging to us, should it not set up its own.
pub(crate) fn is_ours() {
    MAY_INSTALL.store(true, Ordering::Relaxed);
}

/// Installs the subscriber if the program wants one, and applies the configured level.
pub(crate) fn apply(conf: &Conf) -> Result<()> {
    static ONCE: Once = Once::new();
    if MAY_INSTALL.load(Ordering::Relaxed) {
        ONCE.call_once(|| {
            if !tracing::dispatcher::has_been_set() {
                let _ = tracing::subscriber::set_global_default(Lines);
            }
        });
    }
    if let Some(level) = conf.get(keys::LOG_LEVEL)? {
        show(level);
    }
    Ok(())
}

/// Shows messages of this level and worse, from now on.
pub(crate) fn set_level(level: &str) -> Result<()> {
    let level = <LevelFilter as Value>::parse(level.trim()).map_err(|kind| {
        Error::InvalidArgument(format!("the log level {level:?} is none of those that there are: {kind}"))
    })?;
    show(level);
    Ok(())
}

fn show(level: LevelFilter) {
    SHOWN.store(level.into_level().map_or(0, rank), Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Writes each message as a line: time, level, text, and where it comes from.
struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && rank(*metadata.level()) <= SHOWN.load(Ordering::Relaxed)
    }
    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = line(now.as_millis() as u64, *event.metadata().level(), &text);
        // A standard error that is closed is no reason to disturb a job.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    // No spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A message and the fields beside it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl field::Visit for Text {
    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        // Writing to a text does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// `26/11/21 03:34:42 WARN the text`, as Spark's log has it; in UTC.
fn line(millis: u64, level: Level, text: &Text) -> String {
    let seconds = millis / 1000;
    let (days, in_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{:02}/{month:02}/{day:02} {:02}:{:02}:{:02} {level} {}{}\n",
        year % 100,
        in_day / 3600,
        in_day / 60 % 60,
        in_day % 60,
        text.message,
        text.fields
    )
}

/// Year, month and day of a number of days since 1970, by the Gregorian calendar (its years begin in March here, so that the
/// leap day is the last).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, in_era) = (shifted / 146_097, shifted % 146_097);
    let year = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_and_text() {
        let text = Text { message: "disk full".into(), fields: " path=\"/tmp\"".into() };
        assert_eq!(line(1_795_232_082_123, Level::WARN, &text), "26/11/21 03:34:42 WARN disk full path=\"/tmp\"\n");
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(20_454), (2026, 1, 1));
    }
}
