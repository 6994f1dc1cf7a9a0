//! The texts of settings: numbers, sizes, times, lists.

use std::{net::IpAddr, time::Duration};
use tracing::level_filters::LevelFilter;

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ByteSize(pub u64);

/// A type that a setting can have.
pub trait Value: Sized {
    /// What the type is called in the reference.
    const KIND: &'static str;

    /// Reads the text of a setting. Surrounding blanks do not count.
    ///
    /// # Errors
    /// Says what is accepted, to go after "… is not": "a whole number of at least 1".
    fn parse(text: &str) -> Result<Self, String>;

    /// The value of a key without a default that nobody has set, if there is one.
    fn unset() -> Option<Self> {
        None
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false".into()),
        }
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const KIND: &'static str = "whole number";

            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX))
            }
        }
    )*};
}
whole_numbers!(u16, u32, u64, usize, i32, i64);

impl Value for f64 {
    const KIND: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "a number".into())
    }
}

impl Value for IpAddr {
    const KIND: &'static str = "IP address";

    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "an IP address: 127.0.0.1, 0.0.0.0 (all), ::1".into())
    }
}

impl Value for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.trim().to_owned())
    }
}

/// A list with commas between; none for an empty text.
impl Value for Vec<String> {
    const KIND: &'static str = "list";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn unset() -> Option<Self> {
        Some(Vec::new())
    }
}

/// Unset is `None`.
impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

/// A log level in Spark's words.
impl Value for LevelFilter {
    const KIND: &'static str = "log level";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text.trim().to_ascii_uppercase().as_str() {
            "ALL" | "TRACE" => LevelFilter::TRACE,
            "DEBUG" => LevelFilter::DEBUG,
            "INFO" => LevelFilter::INFO,
            "WARN" => LevelFilter::WARN,
            "ERROR" | "FATAL" => LevelFilter::ERROR,
            "OFF" => LevelFilter::OFF,
            _ => return Err("a log level: ALL, TRACE, DEBUG, INFO, WARN, ERROR, FATAL or OFF".into()),
        })
    }
}

/// `512m`: powers of 1024; a bare number is bytes.
impl Value for ByteSize {
    const KIND: &'static str = "size";

    fn parse(text: &str) -> Result<Self, String> {
        let wanted = || {
            "a size: a whole number with b, k, m, g, t or p (powers of 1024), such as 512m; a bare number is bytes"
                .to_owned()
        };
        let (number, suffix) = number_and_suffix(text).ok_or_else(wanted)?;
        let shift = match suffix.as_str() {
            "" | "b" => 0,
            "k" | "kb" => 10,
            "m" | "mb" => 20,
            "g" | "gb" => 30,
            "t" | "tb" => 40,
            "p" | "pb" => 50,
            _ => return Err(wanted()),
        };
        number.checked_mul(1 << shift).map(ByteSize).ok_or_else(|| "a size that 64 bits can hold".into())
    }
}

/// `30s`, `5min`; a bare number is milliseconds.
impl Value for Duration {
    const KIND: &'static str = "time";

    fn parse(text: &str) -> Result<Self, String> {
        const MICROS_PER_MS: u64 = 1_000;
        const MICROS_PER_S: u64 = 1_000_000;
        let wanted = || {
            "a time: a whole number with us, ms, s, m (or min), h or d, such as 30s; a bare number is milliseconds"
                .to_owned()
        };
        let (number, suffix) = number_and_suffix(text).ok_or_else(wanted)?;
        let micros = match suffix.as_str() {
            "us" => 1,
            "ms" | "" => MICROS_PER_MS,
            "s" => MICROS_PER_S,
            "m" | "min" => 60 * MICROS_PER_S,
            "h" => 3_600 * MICROS_PER_S,
            "d" => 86_400 * MICROS_PER_S,
            _ => return Err(wanted()),
        };
        number.checked_mul(micros).map(Duration::from_micros).ok_or_else(|| "a time that 64 bits of µs can hold".into())
    }
}

/// Digits, then letters in lower case; nothing else, so neither signs nor fractions.
fn number_and_suffix(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, suffix) = text.split_at(digits);
    Some((number.parse().ok()?, suffix.trim_start().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Option<u64> {
        ByteSize::parse(text).ok().map(|size| size.0)
    }

    fn micros(text: &str) -> Option<u128> {
        Duration::parse(text).ok().map(|time| time.as_micros())
    }

    #[test]
    fn sizes_are_powers_of_1024_and_bare_numbers_are_bytes() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("17b", 17), ("1k", 1 << 10), ("1KB", 1 << 10), (" 512m ", 512 << 20)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        assert_eq!([size("2g"), size("3t"), size("4p")], [Some(2 << 30), Some(3 << 40), Some(4 << 50)]);
    }

    #[test]
    fn fractions_signs_other_units_and_too_much_are_refused() {
        for text in ["", "m", "1.5g", "-1", "+1", "1 0", "1x", "0x10", "١", "16384p", "99999999999999999999", "1kib"] {
            assert_eq!(size(text), None, "{text}");
        }
        for text in ["", "s", "1.5s", "-1ms", "1w", "1ns", "5124095577d", "18446744073709551615s"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_seven_suffixes_and_bare_numbers_are_milliseconds() {
        let s = 1_000_000;
        for (text, expected) in [
            ("7us", 7),
            ("7ms", 7_000),
            ("7", 7_000),
            ("7s", 7 * s),
            ("7m", 420 * s),
            ("7min", 420 * s),
            ("7h", 25_200 * s),
            ("365D", 31_536_000 * s),
        ] {
            assert_eq!(micros(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_is_accepted() {
        assert!(ByteSize::parse("1.5g").unwrap_err().contains("such as 512m"));
        assert!(Duration::parse("1.5s").unwrap_err().contains("such as 30s"));
        assert_eq!(bool::parse("yes").unwrap_err(), "true or false");
        assert_eq!(u32::parse("-1").unwrap_err(), "a whole number from 0 to 4294967295");
        assert!(f64::parse("NaN").is_err());
        assert!(LevelFilter::parse("loud").unwrap_err().contains("WARN"));
    }

    #[test]
    fn lists_and_options() {
        assert_eq!(Vec::<String>::parse(" a, b,,c ").unwrap(), ["a", "b", "c"]);
        assert_eq!(Option::<u32>::parse("3").unwrap(), Some(3));
        assert!(Option::<u32>::parse("").is_err());
    }
}
