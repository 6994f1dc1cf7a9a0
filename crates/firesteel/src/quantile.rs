//! Quantiles of the few distributions that estimates need.

/// ln Γ(x) for x > 0, by Lanczos.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let series = TERMS.iter().enumerate().fold(0.999_999_999_999_809_9, |sum, (i, t)| sum + t / (x + i as f64 + 1.0));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

/// Below this a term of a series or a continued fraction changes nothing.
const TINY: f64 = 1e-300;
const PRECISION: f64 = 1e-14;
/// Series and fractions end long before, by about the square root of their arguments.
const STEPS: u32 = 10_000_000;

/// A continued fraction b₀ + a₁/(b₁ + a₂/(b₂ + …, by Lentz; `term(i)` is (aᵢ, bᵢ) from 1 on.
fn continued_fraction(b0: f64, mut term: impl FnMut(f64) -> (f64, f64)) -> f64 {
    let not_zero = |x: f64| if x.abs() < TINY { TINY } else { x };
    let mut value = not_zero(b0);
    let (mut c, mut d) = (value, 0.0);
    for i in 1..STEPS {
        let (a, b) = term(f64::from(i));
        d = 1.0 / not_zero(b + a * d);
        c = not_zero(b + a / c);
        let step = c * d;
        value *= step;
        if (step - 1.0).abs() < PRECISION {
            break;
        }
    }
    value
}

/// The regularised upper incomplete gamma function Q(a, x).
fn gamma_q(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let factor = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for i in 1..STEPS {
            term *= x / (a + f64::from(i));
            sum += term;
            if term < sum * PRECISION {
                break;
            }
        }
        1.0 - sum * factor
    } else {
        let fraction = continued_fraction(x + 1.0 - a, |i| (i * (a - i), x + 2.0 * i + 1.0 - a));
        factor / fraction
    }
}

/// The regularised incomplete beta function I_x(a, b).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(1.0 - x, b, a);
    }
    let factor = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let fraction = continued_fraction(1.0, |i| {
        let m = (i / 2.0).floor();
        let term = if i % 2.0 == 0.0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        (term, 1.0)
    });
    factor / fraction
}

/// The `x` at which `outside`, which falls from 1 towards 0 as `x` grows from 0, is `share`.
fn reach(share: f64, outside: impl Fn(f64) -> f64) -> f64 {
    if share <= 0.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while outside(high) > share {
        if high > f64::MAX / 4.0 {
            return f64::INFINITY;
        }
        (low, high) = (high, high * 2.0);
    }
    // One bit of the answer each.
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if outside(middle) > share {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// How many standard deviations around its mean hold a normally distributed value with this confidence.
pub(crate) fn normal_reach(confidence: f64) -> f64 {
    reach(1.0 - confidence, |z| gamma_q(0.5, z * z / 2.0))
}

/// The same of Student's t distribution.
pub(crate) fn student_reach(confidence: f64, degrees_of_freedom: f64) -> f64 {
    let n = degrees_of_freedom;
    reach(1.0 - confidence, |t| beta(n / (n + t * t), n / 2.0, 0.5))
}

/// The least whole number up to which a share `of` of the distribution lies. A share that is missed by rounding alone is met.
fn discrete(of: f64, mean: f64, cumulative: impl Fn(f64) -> f64) -> f64 {
    let of = of - 1e-12;
    let mut high = mean.ceil().max(1.0);
    while cumulative(high) < of {
        high *= 2.0;
    }
    let mut low = -1.0;
    while high - low > 1.0 {
        let middle = f64::midpoint(low, high).floor();
        if cumulative(middle) < of {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn bounds(confidence: f64, quantile: impl Fn(f64) -> f64) -> (f64, f64) {
    if confidence >= 1.0 {
        return (0.0, f64::INFINITY);
    }
    (quantile((1.0 - confidence) / 2.0), quantile((1.0 + confidence) / 2.0))
}

/// Between which numbers of failures the `successes`th success of chance `p` comes, with this confidence.
pub(crate) fn negative_binomial(successes: u64, p: f64, confidence: f64) -> (f64, f64) {
    let r = successes as f64;
    bounds(confidence, |of| discrete(of, r * (1.0 - p) / p, |k| beta(p, r, k + 1.0)))
}

/// Above this mean a Poisson distribution is normal but for a little skew.
const LARGE_MEAN: f64 = 1e5;

/// Between which bounds a number of events lies of which so many are expected, with this confidence.
pub(crate) fn poisson(mean: f64, confidence: f64) -> (f64, f64) {
    if mean <= LARGE_MEAN || confidence >= 1.0 {
        return bounds(confidence, |of| discrete(of, mean, |k| gamma_q(k + 1.0, mean)));
    }
    let z = normal_reach(confidence);
    let (off, skew) = (z * mean.sqrt(), (z * z - 1.0) / 6.0);
    ((mean - off + skew).round().max(0.0), (mean + off + skew).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{a} {b}");
    }

    #[test]
    fn reaches_are_those_of_the_tables() {
        assert_close(normal_reach(0.95), 1.959_963_985);
        assert_close(normal_reach(0.99), 2.575_829_304);
        assert_close(normal_reach(0.5), 0.674_489_750);
        assert_close(normal_reach(0.0), 0.0);
        assert_eq!(normal_reach(1.0), f64::INFINITY);
        assert_close(student_reach(0.95, 1.0), 12.706_204_736);
        assert_close(student_reach(0.95, 2.0), 4.302_652_730);
        assert_close(student_reach(0.99, 10.0), 3.169_272_667);
        assert_close(student_reach(0.95, 99.0), 1.984_216_952);
        assert_eq!(student_reach(1.0, 5.0), f64::INFINITY);
    }

    /// Quantiles by adding probabilities up.
    fn by_hand(of: f64, probability: impl Fn(u64) -> f64) -> f64 {
        let mut sum = 0.0;
        (0..)
            .find(|k| {
                sum += probability(*k);
                sum >= of - 1e-12
            })
            .map_or(0.0, |k: u64| k as f64)
    }

    #[test]
    fn discrete_quantiles_are_those_of_the_sums_of_probabilities() {
        for mean in [0.3, 1.0, 7.5, 60.0, 400.0] {
            let poisson_of = |k: u64| (k as f64 * f64::ln(mean) - mean - ln_gamma(k as f64 + 1.0)).exp();
            for confidence in [0.0, 0.5, 0.95, 0.999] {
                let expected =
                    (by_hand((1.0 - confidence) / 2.0, poisson_of), by_hand((1.0 + confidence) / 2.0, poisson_of));
                assert_eq!(poisson(mean, confidence), expected, "mean {mean}, confidence {confidence}");
            }
        }
        for (r, p) in [(1u64, 0.1), (1, 0.5), (3, 0.9), (10, 0.5), (200, 0.25)] {
            let chance = |k: u64| {
                let (k, r) = (k as f64, r as f64);
                let ways = ln_gamma(k + r) - ln_gamma(k + 1.0) - ln_gamma(r);
                (ways + r * f64::ln(p) + k * f64::ln(1.0 - p)).exp()
            };
            for confidence in [0.0, 0.5, 0.95, 0.999] {
                let expected = (by_hand((1.0 - confidence) / 2.0, chance), by_hand((1.0 + confidence) / 2.0, chance));
                assert_eq!(negative_binomial(r, p, confidence), expected, "{r} of {p}, confidence {confidence}");
            }
        }
    }

    #[test]
    fn certainty_has_no_upper_bound() {
        assert_eq!(poisson(5.0, 1.0), (0.0, f64::INFINITY));
        assert_eq!(poisson(1e9, 1.0), (0.0, f64::INFINITY));
        assert_eq!(negative_binomial(5, 0.5, 1.0), (0.0, f64::INFINITY));
    }

    #[test]
    fn large_means_go_on_where_smaller_ones_end() {
        let exact = bounds(0.95, |of| discrete(of, 90_000.0, |k| gamma_q(k + 1.0, 90_000.0)));
        let z = normal_reach(0.95);
        let normal = |z: f64| (90_000.0 + z * 300.0 + (z * z - 1.0) / 6.0).round();
        assert_eq!(exact, (normal(-z), normal(z)));
        let (low, high) = poisson(1e12, 0.95);
        assert_close((high - low) / 2e6, 1.959_963_985);
    }

    #[test]
    fn extremes_end() {
        // One element of the first of a million partitions; ten thousand of the first of a million.
        for seen in [1, 10_000] {
            let (low, high) = negative_binomial(seen, 1e-6, 0.95);
            let mean = seen as f64 * 1e6;
            assert!(0.0 < low && low < mean && mean < high && high < 5.0 * mean, "{low} {high}");
        }
        let (low, high) = negative_binomial(10_000, 0.999_999, 0.95);
        assert!(low <= high && high <= 2.0, "{low} {high}");
    }
}
