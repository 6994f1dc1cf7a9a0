//! Floating-point numbers as Java prints them, which is how they stand in Spark's text output.

use std::fmt::{self, Display, Formatter, LowerExp, Write};

/// A number to be printed as Java's `Double.toString` does (`Float.toString` for an `f32`): the fewest digits that tell it
/// from its neighbours, plain from 0.001 to below 10⁷ and as `1.0E7`, `9.0E-4` outside, always with a digit after the
/// point; `NaN`, `Infinity`, `-Infinity`, `-0.0`.
///
/// ```
/// use firesteel_io::JavaFloat;
/// assert_eq!(JavaFloat(1e7).to_string(), "1.0E7");
/// assert_eq!(JavaFloat(0.001).to_string(), "0.001");
/// assert_eq!(JavaFloat(16_777_216f32).to_string(), "1.6777216E7");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct JavaFloat<F>(pub F);

impl Display for JavaFloat<f64> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_number(f, self.0, self.0.is_nan(), self.0.is_infinite(), self.0.is_sign_negative())
    }
}

impl Display for JavaFloat<f32> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_number(f, self.0, self.0.is_nan(), self.0.is_infinite(), self.0.is_sign_negative())
    }
}

/// Digits of one number: `-d.ddde-324` at the longest, written without an allocation.
struct Digits {
    text: [u8; 32],
    len: usize,
}

impl Write for Digits {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.len + s.len();
        self.text.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl Digits {
    fn of(args: fmt::Arguments<'_>) -> Result<Digits, fmt::Error> {
        let mut digits = Digits { text: [0; 32], len: 0 };
        digits.write_fmt(args)?;
        Ok(digits)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

fn write_number<F>(f: &mut Formatter<'_>, x: F, nan: bool, infinite: bool, negative: bool) -> fmt::Result
where
    F: LowerExp + PartialEq + std::str::FromStr,
{
    if nan {
        return f.write_str("NaN");
    }
    if infinite {
        return f.write_str(if negative { "-Infinity" } else { "Infinity" });
    }
    let mut shortest = Digits::of(format_args!("{x:e}"))?;
    if !shortest.text().contains('.') {
        // Java never prints fewer than two digits, and chooses the closest of those: 4.9E-324, where one would be 5.
        let two = Digits::of(format_args!("{x:.1e}"))?;
        if two.text().parse::<F>().is_ok_and(|back| back == x) {
            shortest = two;
        }
    }
    let (mantissa, exponent) = shortest.text().split_once('e').ok_or(fmt::Error)?;
    let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            f.write_char('-')?;
            rest
        }
        None => mantissa,
    };
    let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // `5.0` is `5` again from here on.
    let rest = rest.trim_end_matches('0');
    match exponent {
        0..=6 => {
            let whole = (exponent as usize).min(rest.len());
            f.write_str(first)?;
            f.write_str(&rest[..whole])?;
            f.write_str(&"000000"[whole..exponent as usize])?;
            f.write_char('.')?;
            f.write_str(if whole < rest.len() { &rest[whole..] } else { "0" })
        }
        // Zero has exponent 0, so here is a first digit that counts.
        -3..=-1 => {
            f.write_str("0.")?;
            f.write_str(&"00"[..(-exponent - 1) as usize])?;
            f.write_str(first)?;
            f.write_str(rest)
        }
        _ => {
            f.write_str(first)?;
            f.write_char('.')?;
            f.write_str(if rest.is_empty() { "0" } else { rest })?;
            write!(f, "E{exponent}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_print_as_in_java() {
        for (x, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (10.0, "10.0"),
            (100.0, "100.0"),
            (123.0, "123.0"),
            (120.5, "120.5"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1.0 / 3.0, "0.3333333333333333"),
            (9_999_999.0, "9999999.0"),
            (9_999_999.999, "9999999.999"),
            (1_000_000.0, "1000000.0"),
            (1_234_567.0, "1234567.0"),
            (1e7, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (1e-3, "0.001"),
            (0.0123, "0.0123"),
            (9e-4, "9.0E-4"),
            (-1.25e-5, "-1.25E-5"),
            (1e21, "1.0E21"),
            (1e23, "1.0E23"),
            (2e23, "2.0E23"),
            (8.41e21, "8.41E21"),
            (9_007_199_254_740_993.0, "9.007199254740992E15"),
            (1e100, "1.0E100"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (5e-324, "4.9E-324"),
            (1e-323, "9.9E-324"),
            (2e-323, "2.0E-323"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(JavaFloat(x).to_string(), text);
        }
    }

    #[test]
    fn floats_print_their_own_shortest_digits() {
        for (x, text) in [
            (0.1f32, "0.1"),
            (16_777_216.0, "1.6777216E7"),
            (3.4028235e38, "3.4028235E38"),
            (f32::MIN_POSITIVE, "1.1754944E-38"),
            (1.4e-45, "1.4E-45"),
            (1.0 / 3.0, "0.33333334"),
            (1e10, "1.0E10"),
            (-0.0, "-0.0"),
            (f32::NAN, "NaN"),
            (f32::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(JavaFloat(x).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn every_double_reads_back_and_has_a_point(bits in any::<u64>()) {
            let x = f64::from_bits(bits);
            prop_assume!(x.is_finite());
            let text = JavaFloat(x).to_string();
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
            prop_assert!(text.contains('.'));
            let plain = x == 0.0 || (1e-3..1e7).contains(&x.abs());
            prop_assert_eq!(!text.contains('E'), plain);
        }

        #[test]
        fn plain_numbers_read_back(n in -100_000_000i64..100_000_000, scale in 0u32..8) {
            let x = n as f64 / 10f64.powi(scale as i32);
            prop_assert_eq!(JavaFloat(x).to_string().parse::<f64>().unwrap(), x);
        }

        #[test]
        fn every_float_reads_back(bits in any::<u32>()) {
            let x = f32::from_bits(bits);
            prop_assume!(x.is_finite());
            prop_assert_eq!(JavaFloat(x).to_string().parse::<f32>().unwrap().to_bits(), bits);
        }
    }
}
