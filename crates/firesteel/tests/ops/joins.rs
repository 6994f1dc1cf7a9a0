//! Several RDDs brought together by key.

use crate::{
    masters::{any_context, config, kept, spread},
    model::{any_pairs, cogrouped, few_or_many, grouped, hashed, parts},
};
use firesteel::prelude::*;
use proptest::prelude::*;

/// The options that an outer join makes of a side's values.
fn options<V: Clone>(values: &[V]) -> Vec<Option<V>> {
    if values.is_empty() { vec![None] } else { values.iter().cloned().map(Some).collect() }
}

/// The rows of a join: every left value with every right one, left by left unless there are more right ones.
fn joined<L: Clone, R: Clone>(
    rows: &[Vec<(i64, (Vec<i64>, Vec<i64>))>],
    left: impl Fn(&[i64]) -> Vec<L>,
    right: impl Fn(&[i64]) -> Vec<R>,
) -> Vec<Vec<(i64, (L, R))>> {
    let of_key = |(key, (v, w)): &(i64, (Vec<i64>, Vec<i64>))| {
        let (key, v, w) = (*key, left(v), right(w));
        let right_by_right = v.len() < w.len();
        let (outer, inner) = if right_by_right { (w.len(), v.len()) } else { (v.len(), w.len()) };
        let at = |i: usize, j: usize| {
            if right_by_right { (v[j].clone(), w[i].clone()) } else { (v[i].clone(), w[j].clone()) }
        };
        (0..outer).flat_map(|i| (0..inner).map(move |j| (i, j))).map(|(i, j)| (key, at(i, j))).collect::<Vec<_>>()
    };
    rows.iter().map(|part| part.iter().flat_map(of_key).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..config() })]

    #[test]
    fn joins_pair_the_values_of_each_key(
        sc in any_context(),
        (left, right) in (any_pairs(), any_pairs()),
        (n, m) in (few_or_many(), few_or_many()),
        into in 1usize..9,
    ) {
        let (a, b) = (spread(&sc, &left, n), spread(&sc, &right, m));
        let (left, right) = (kept(&left, n), kept(&right, m));
        // By default as many partitions as the larger side; in place where a side lies right already.
        let placed = (a.partition_by(into), b.partition_by(HashPartitioner::new(into)));
        for (rows, a, b, given) in [
            (cogrouped(&left, &right, n.max(m)), &a, &b, None),
            (cogrouped(&left, &right, into), &a, &b, Some(into)),
            (cogrouped(&left, &right, into), &placed.0.erase(), &b, Some(into)),
            (cogrouped(&left, &right, into), &placed.0.erase(), &placed.1.erase(), Some(into)),
        ] {
            let plain = |values: &[i64]| values.to_vec();
            let (all, inner, left, right, full) = match given {
                None => (a.cogroup(b), a.join(b), a.left_outer_join(b), a.right_outer_join(b), a.full_outer_join(b)),
                Some(n) => (
                    a.cogroup_into(b, n),
                    a.join_into(b, n),
                    a.left_outer_join_into(b, n),
                    a.right_outer_join_into(b, HashPartitioner::new(n)),
                    a.full_outer_join_into(b, n),
                ),
            };
            prop_assert_eq!(&parts(&all)?, &rows);
            prop_assert_eq!(parts(&inner)?, joined(&rows, plain, plain));
            let has_left = |rows: &[Vec<_>]| -> Vec<Vec<_>> {
                let kept = |part: &Vec<(i64, (Vec<i64>, Vec<i64>))>| part.iter().filter(|row| !row.1.0.is_empty()).cloned().collect();
                rows.iter().map(kept).collect()
            };
            let has_right = |rows: &[Vec<_>]| -> Vec<Vec<_>> {
                let kept = |part: &Vec<(i64, (Vec<i64>, Vec<i64>))>| part.iter().filter(|row| !row.1.1.is_empty()).cloned().collect();
                rows.iter().map(kept).collect()
            };
            prop_assert_eq!(parts(&left)?, joined(&has_left(&rows), plain, options));
            prop_assert_eq!(parts(&right)?, joined(&has_right(&rows), options, plain));
            prop_assert_eq!(parts(&full)?, joined(&rows, options, options));
        }
    }

    #[test]
    fn a_join_keeps_its_order_whether_keys_of_the_left_side_come_once_or_not(
        sc in any_context(),
        left in Just((0i64..80).map(|key| (key, -key)).collect::<Vec<_>>()).prop_shuffle(),
        (kept, twice) in (0usize..80, prop::option::of(0i64..80)),
        right in prop::collection::vec((-5i64..85, 0i64..1000), 0..300),
        (n, into) in (1usize..4, 1usize..3),
    ) {
        let left: Vec<_> = left.into_iter().take(kept).chain(twice.map(|key| (key, 7))).collect();
        let joins = spread(&sc, &left, n).join_into(&spread(&sc, &right, n), into);
        let plain = |values: &[i64]| values.to_vec();
        prop_assert_eq!(parts(&joins)?, joined(&cogrouped(&left, &right, into), plain, plain));
    }

    #[test]
    fn a_join_of_texts_keeps_its_order_whether_they_are_lent_or_not(
        sc in any_context(),
        left in Just((0i64..80).map(|key| (key, -key)).collect::<Vec<_>>()).prop_shuffle(),
        (taken, twice) in (0usize..80, prop::option::of(0i64..80)),
        right in prop::collection::vec((-5i64..85, 0i64..1000), 0..300),
        (n, into, lent) in (1usize..4, 1usize..3, 0usize..100),
    ) {
        let left: Vec<_> = left.into_iter().take(taken).chain(twice.map(|key| (key, 7))).collect();
        // So many are lent by a cache, and the others follow.
        let (kept, others) = left.split_at(lent.min(left.len()));
        let texts = |pairs: &[(i64, i64)]| spread(&sc, pairs, n).map_values(|v| v.to_string()).partition_by(into);
        let texts = texts(kept).cache().erase().union(&texts(others).erase());
        let joins = texts.join_into(&spread(&sc, &right, n), into);
        let (text, plain) = (|values: &[i64]| values.iter().map(i64::to_string).collect(), |values: &[i64]| values.to_vec());
        prop_assert_eq!(parts(&joins)?, joined(&cogrouped(&left, &right, into), text, plain));
    }

    #[test]
    fn an_rdd_joins_itself(sc in any_context(), pairs in any_pairs(), n in few_or_many()) {
        let rdd = spread(&sc, &pairs, n);
        let pairs = kept(&pairs, n);
        prop_assert_eq!(parts(&rdd.cogroup(&rdd))?, cogrouped(&pairs, &pairs, n));
    }

    #[test]
    fn three_and_four_sides_are_brought_together(
        sc in any_context(),
        sides in prop::collection::vec((any_pairs(), 0usize..4), 4),
        into in 1usize..9,
    ) {
        let rdds: Vec<Rdd<(i64, i64)>> = sides.iter().map(|(pairs, n)| spread(&sc, pairs, *n)).collect();
        let sides: Vec<Vec<(i64, i64)>> = sides.iter().map(|(pairs, n)| kept(pairs, *n)).collect();
        // Keys in the order of their first arrival, side after side.
        let values = |side: usize, key: i64| -> Vec<i64> {
            sides[side].iter().filter(|pair| pair.0 == key).map(|pair| pair.1).collect()
        };
        let rows = |count: usize| -> Vec<Vec<(i64, Vec<Vec<i64>>)>> {
            grouped(&sides[..count].concat(), into)
                .into_iter()
                .map(|part| part.into_iter().map(|(k, _)| (k, (0..count).map(|side| values(side, k)).collect())).collect())
                .collect()
        };
        let [a, b, c, d] = &rdds[..] else { unreachable!() };
        let three = a.cogroup2_into(b, c, into).map(|(k, (a, b, c))| (k, vec![a, b, c]));
        prop_assert_eq!(parts(&three)?, rows(3));
        let four = a.cogroup3_into(b, c, d, into).map(|(k, (a, b, c, d))| (k, vec![a, b, c, d]));
        prop_assert_eq!(parts(&four)?, rows(4));
        prop_assert_eq!(a.cogroup2(b, c).count()?, rows(3).concat().len() as u64);
        prop_assert_eq!(a.cogroup3(b, c, d).count()?, rows(4).concat().len() as u64);
    }

    #[test]
    fn pairs_are_left_whose_keys_the_other_side_lacks(
        sc in any_context(),
        (left, right) in (any_pairs(), any_pairs()),
        (n, m) in (few_or_many(), few_or_many()),
        into in 1usize..9,
    ) {
        let (a, b) = (spread(&sc, &left, n), spread(&sc, &right, m));
        let (left, right) = (kept(&left, n), kept(&right, m));
        let rest: Vec<_> = left.iter().copied().filter(|pair| !right.iter().any(|other| other.0 == pair.0)).collect();
        prop_assert_eq!(parts(&a.subtract_by_key(&b))?, hashed(&rest, n, |pair| pair.0));
        prop_assert_eq!(parts(&a.subtract_by_key_into(&b, into))?, hashed(&rest, into, |pair| pair.0));
        let placed = a.partition_by(into);
        prop_assert_eq!(parts(&placed.subtract_by_key(&b))?, hashed(&rest, into, |pair| pair.0));
        prop_assert!(placed.subtract_by_key(&a).is_empty()?);
    }
}
