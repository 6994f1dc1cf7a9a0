//! Jobs by hand.

use crate::masters::{any_context, any_partitions, config, local4, slices, spread};
use firesteel::prelude::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn results_come_in_the_order_asked_for(
        sc in any_context(),
        items in prop::collection::vec(0u64..100, 0..40),
        n in any_partitions(),
        asked in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let rdd = spread(&sc, &items, n);
        let expected = slices(&items, n);
        prop_assert_eq!(&sc.run_job(&rdd, |items| items.collect::<Vec<_>>())?, &expected);
        if n > 0 {
            let asked: Vec<usize> = asked.iter().map(|at| at.index(n)).collect();
            let these: Vec<_> = asked.iter().map(|at| expected[*at].clone()).collect();
            prop_assert_eq!(sc.run_job_on(&rdd, |items| items.collect::<Vec<_>>(), &asked)?, these);
        }
    }
}

#[test]
fn a_partition_that_does_not_exist_is_an_error() {
    let sc = local4();
    let e = sc.run_job_on(&sc.range_n(0..3, 3), |items| items.count(), &[0, 7]).unwrap_err().to_string();
    assert!(e.contains("attempting to access a non-existent partition: 7. Total number of partitions: 3"), "{e}");
}

#[test]
fn an_rdd_of_another_context_is_refused() {
    let other = Context::builder().master("local[1]").build().unwrap();
    let e = other.run_job(&local4().range(0..3), |items| items.count()).unwrap_err().to_string();
    assert!(e.contains("another context"), "{e}");
}

#[test]
fn an_environment_comes_first() {
    let sc = local4();
    let sums = sc.run_job_with(&sc.range_n(0..4, 2), 10u64, |factor, items| items.sum::<u64>() * factor);
    assert_eq!(sums.unwrap(), [10, 50]);
    let sums = sc.run_job_on_with(&sc.range_n(0..4, 2), 10u64, |factor, items| items.sum::<u64>() * factor, &[1, 0]);
    assert_eq!(sums.unwrap(), [50, 10]);
}
