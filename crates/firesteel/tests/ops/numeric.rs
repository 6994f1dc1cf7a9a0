//! Actions on numbers.

use crate::masters::{any_context, any_partitions, config, kept, local4, spread};
use firesteel::prelude::*;
use proptest::prelude::*;

fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn stats_are_those_of_the_plain_numbers(
        sc in any_context(),
        numbers in prop::collection::vec(-1e6f64..1e6, 0..60),
        n in any_partitions(),
    ) {
        let rdd = spread(&sc, &numbers, n);
        let numbers = kept(&numbers, n);
        let count = numbers.len() as f64;
        prop_assert!(close(rdd.sum()?, numbers.iter().sum()));
        if n == 0 {
            prop_assert!(matches!(rdd.stats(), Err(Error::EmptyRdd)));
            prop_assert!(matches!(rdd.mean(), Err(Error::EmptyRdd)));
            prop_assert!(matches!(rdd.sample_stdev(), Err(Error::EmptyRdd)));
            return Ok(());
        }
        let stats = rdd.stats()?;
        let mean = if numbers.is_empty() { 0.0 } else { numbers.iter().sum::<f64>() / count };
        let squares: f64 = numbers.iter().map(|x| (x - mean) * (x - mean)).sum();
        let variance = if numbers.is_empty() { f64::NAN } else { squares / count };
        let sample = if numbers.len() < 2 { f64::NAN } else { squares / (count - 1.0) };
        prop_assert_eq!(stats.count(), numbers.len() as u64);
        prop_assert!(close(stats.mean(), mean));
        prop_assert!(close(rdd.mean()?, mean));
        prop_assert!(close(rdd.variance()?, variance) && close(rdd.pop_variance()?, variance));
        prop_assert!(close(rdd.stdev()?, variance.sqrt()) && close(rdd.pop_stdev()?, variance.sqrt()));
        prop_assert!(close(rdd.sample_variance()?, sample) && close(rdd.sample_stdev()?, sample.sqrt()));
        prop_assert_eq!(stats.max(), numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        prop_assert_eq!(stats.min(), numbers.iter().copied().fold(f64::INFINITY, f64::min));
    }

    #[test]
    fn histograms_count_every_number_once(
        sc in any_context(),
        numbers in prop::collection::vec(-100i64..100, 0..60),
        n in any_partitions(),
        buckets in 1usize..9,
        mut edges in prop::collection::vec(-120i32..120, 2..6),
    ) {
        let rdd = spread(&sc, &numbers, n);
        let numbers = kept(&numbers, n);
        match rdd.histogram(buckets) {
            Err(Error::EmptyRdd) => prop_assert!(numbers.is_empty()),
            Err(e) => return Err(TestCaseError::fail(e.to_string())),
            Ok((bounds, counts)) => {
                let (min, max) = (*numbers.iter().min().unwrap() as f64, *numbers.iter().max().unwrap() as f64);
                prop_assert_eq!((bounds[0], *bounds.last().unwrap()), (min, max));
                prop_assert_eq!(counts.len(), if min == max { 1 } else { buckets });
                prop_assert_eq!(counts.len() + 1, bounds.len());
                prop_assert_eq!(counts.iter().sum::<u64>(), numbers.len() as u64);
            }
        }
        edges.sort();
        edges.dedup();
        prop_assume!(edges.len() > 1);
        let edges: Vec<f64> = edges.into_iter().map(f64::from).collect();
        let counts = rdd.histogram_buckets(&edges)?;
        for (i, pair) in edges.windows(2).enumerate() {
            let last = i + 2 == edges.len();
            let inside = |x: f64| pair[0] <= x && (x < pair[1] || last && x == pair[1]);
            prop_assert_eq!(counts[i], numbers.iter().filter(|x| inside(**x as f64)).count() as u64);
        }
    }

    #[test]
    fn floats_sort_in_javas_order(
        sc in any_context(),
        numbers in prop::collection::vec(prop_oneof![
            any::<f64>(), Just(f64::NAN), Just(0.0), Just(-0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY)
        ], 0..40),
        n in any_partitions(),
    ) {
        let rdd = spread(&sc, &numbers, n);
        let mut expected = kept(&numbers, n).into_iter().map(Total).collect::<Vec<_>>();
        expected.sort();
        let sorted = rdd.sort_by(|x| Total(*x), true).map(Total).collect()?;
        prop_assert_eq!(&sorted, &expected);
        let top = rdd.map(Total).top(3)?;
        expected.reverse();
        expected.truncate(3);
        prop_assert_eq!(top, expected);
    }
}

#[test]
fn partitions_without_numbers_have_a_mean_of_zero() {
    let none = local4().parallelize_n(Vec::<f64>::new(), 3);
    let stats = none.stats().unwrap();
    assert_eq!((stats.count(), stats.mean(), stats.min(), stats.max()), (0, 0.0, f64::INFINITY, f64::NEG_INFINITY));
    assert!(stats.stdev().is_nan());
    assert_eq!(none.sum().unwrap(), 0.0);
    assert_eq!(none.histogram_buckets(&[0.0, 1.0]).unwrap(), [0]);
}

#[test]
fn no_partitions_have_a_sum_and_no_mean() {
    let none = local4().empty_rdd::<f64>();
    assert_eq!(none.sum().unwrap(), 0.0);
    assert_eq!(none.histogram_buckets(&[0.0, 1.0, 2.0]).unwrap(), [0, 0]);
    assert!(matches!(none.stats(), Err(Error::EmptyRdd)));
    assert!(matches!(none.variance(), Err(Error::EmptyRdd)));
}

#[test]
fn one_nan_spoils_least_and_greatest() {
    let stats = local4().parallelize_n([1.0, f64::NAN, 3.0], 3).stats().unwrap();
    assert!(stats.min().is_nan() && stats.max().is_nan() && stats.mean().is_nan());
}

#[test]
fn a_histogram_refuses_what_it_cannot_spread() {
    let numbers = local4().parallelize([1.0, 2.0]);
    for buckets in [0, (1 << 20) + 1, 1 << 40, usize::MAX] {
        assert!(matches!(numbers.histogram(buckets), Err(Error::InvalidArgument(_))), "{buckets}");
    }
    assert!(matches!(numbers.histogram_buckets(&[1.0]), Err(Error::InvalidArgument(_))));
    assert!(matches!(numbers.histogram_buckets(&[2.0, 1.0]), Err(Error::InvalidArgument(_))));
    assert!(matches!(numbers.histogram_buckets(&[0.0, f64::NAN]), Err(Error::InvalidArgument(_))));
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let e = local4().parallelize([1.0, odd]).histogram(2).unwrap_err().to_string();
        assert!(e.contains("NaN or an infinity"), "{e}");
    }
}

#[test]
fn equal_numbers_make_one_bucket() {
    let (edges, counts) = local4().parallelize([4.0, 4.0, 4.0]).histogram(5).unwrap();
    assert_eq!((edges, counts), (vec![4.0, 4.0], vec![3]));
}

#[test]
fn whole_numbers_are_numbers() {
    let sc = local4();
    assert_eq!(sc.range(0..10).sum().unwrap(), 45.0);
    assert_eq!(sc.parallelize([1u8, 3]).mean().unwrap(), 2.0);
    assert_eq!(sc.parallelize([-1i128, 3]).stats().unwrap().max(), 3.0);
}
