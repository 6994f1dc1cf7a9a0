//! Several RDDs side by side, a partition at a time.

use crate::masters::{any_context, any_partitions, config, local4, slices, spread};
use firesteel::prelude::*;
use proptest::prelude::*;

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0u64..50, 0..60)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_closure_sees_partitions_of_equal_index(
        sc in any_context(), a in numbers(), b in numbers(), c in numbers(), n in any_partitions(), most in 0usize..130,
    ) {
        let (left, right, third) = (spread(&sc, &a, n), spread(&sc, &b, n), spread(&sc, &c, n));
        let (a, b, c) = (slices(&a, n), slices(&b, n), slices(&c, n));

        let two = left.zip_partitions(&right.map(|i| i + 100), |a, b| a.chain(b));
        let expected: Vec<u64> =
            (0..n).flat_map(|i| a[i].iter().copied().chain(b[i].iter().map(|x| x + 100)).collect::<Vec<_>>()).collect();
        prop_assert_eq!(two.collect()?, expected.clone());
        prop_assert_eq!(two.num_partitions()?, n);
        prop_assert_eq!(two.erase().take(most)?, expected.into_iter().take(most).collect::<Vec<_>>());

        let three = left.zip_partitions3_with(&right, &third, 7, |more, a, b, c| {
            [(a.count(), b.sum::<u64>() + more, c.max())]
        });
        let expected: Vec<_> =
            (0..n).map(|i| (a[i].len(), b[i].iter().sum::<u64>() + 7, c[i].iter().copied().max())).collect();
        prop_assert_eq!(three.collect()?, expected);

        // One side is read to its end before the other is begun, another not at all.
        let four = left.erase().zip_partitions4(&right.erase(), &third, &left, |a, b, c, _| {
            let c: Vec<u64> = c.collect();
            b.chain(a).chain(c)
        });
        let expected: Vec<u64> = (0..n).flat_map(|i| [&b[i][..], &a[i], &c[i]].concat()).collect();
        prop_assert_eq!(four.collect()?, expected);
    }
}

#[test]
fn unequal_numbers_of_partitions_are_an_error_of_the_action() {
    let sc = local4();
    let (a, b, c) = (sc.range_n(0..9, 2), sc.range_n(0..9, 3), sc.range_n(0..9, 2));
    let e = a.zip_partitions(&b, |a, _| a).count().unwrap_err();
    assert!(matches!(e, Error::InvalidArgument(_)) && e.to_string().contains("List(2, 3)"), "{e}");
    let e = a.zip_partitions3(&c, &b, |a, _, _| a).count().unwrap_err();
    assert!(e.to_string().contains("List(2, 2, 3)"), "{e}");
    let e = a.zip_partitions4(&c, &b, &a, |a, _, _, _| a).erase().count().unwrap_err();
    assert!(e.to_string().contains("List(2, 2, 3, 2)"), "{e}");
}

#[test]
fn partitions_are_read_lazily_and_in_any_turn() {
    let sc = local4();
    let (evens, odds) =
        (sc.range_n(0..2_000_000_000, 2).map(|i| i * 2), sc.range_n(0..2_000_000_000, 2).map(|i| i * 2 + 1));
    let turns = evens.erase().zip_partitions(&odds.erase(), |a, b| a.zip(b).flat_map(|(a, b)| [a, b]));
    assert_eq!(turns.take(5).unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn sides_that_are_spread_alike_are_joined_by_hand() {
    let sc = local4();
    let pairs = |n: u64| sc.range_n(0..n, 3).map(|i| (i, i)).partition_by(4);
    let (a, b) = (pairs(20), pairs(10));
    let missing = a
        .zip_partitions(&b, |a, b| {
            let there: std::collections::HashSet<u64> = b.map(|(key, _)| key).collect();
            a.filter(move |(key, _)| !there.contains(key))
        })
        .preserves_partitioning();
    assert_eq!(missing.partitioner().unwrap(), a.partitioner().unwrap());
    assert_eq!(missing.sort_by_key(true).keys().collect().unwrap(), (10..20).collect::<Vec<_>>());
}
