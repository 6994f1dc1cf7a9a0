//! RDDs as sets and bags.

use crate::{
    masters::{any_context, config, kept, spread},
    model::{any_words, few_or_many, hashed, parts},
};
use firesteel::prelude::*;
use proptest::prelude::*;

/// The first of equal items.
fn unique<T: Clone + PartialEq>(items: &[T]) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    items.iter().for_each(|item| {
        if !seen.contains(item) {
            seen.push(item.clone())
        }
    });
    seen
}

fn any_items() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(-6i64..9, 0..40)
}

fn sets_are_those_of<T: Key + std::fmt::Debug>(
    sc: &Context,
    left: &[T],
    right: &[T],
    (n, m, into): (usize, usize, usize),
) -> Result<()> {
    let (a, b) = (spread(sc, left, n), spread(sc, right, m));
    let (left, right) = (kept(left, n), kept(right, m));
    let by_key = |items: &[T], n: usize| hashed(items, n, T::clone);
    assert_eq!(parts(&a.distinct())?, by_key(&unique(&left), n));
    assert_eq!(parts(&a.distinct_into(into))?, by_key(&unique(&left), into));
    let both: Vec<T> = unique(&left).into_iter().filter(|item| right.contains(item)).collect();
    assert_eq!(parts(&a.intersection(&b))?, by_key(&both, n.max(m)));
    assert_eq!(parts(&a.intersection_into(&b, into))?, by_key(&both, into));
    let rest: Vec<T> = left.iter().filter(|item| !right.contains(item)).cloned().collect();
    assert_eq!(parts(&a.subtract(&b))?, by_key(&rest, n));
    assert_eq!(parts(&a.subtract_into(&b, into))?, by_key(&rest, into));
    assert_eq!(a.union(&b).collect()?, [left.clone(), right.clone()].concat());
    assert_eq!(sc.union(&[b.clone(), a.clone(), b]).collect()?, [right.clone(), left, right].concat());
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn sets_of_numbers(
        sc in any_context(),
        (left, right) in (any_items(), any_items()),
        n in (few_or_many(), few_or_many(), 1usize..9),
    ) {
        sets_are_those_of(&sc, &left, &right, n)?;
    }

    #[test]
    fn sets_of_texts(
        sc in any_context(),
        (left, right) in (any_words(), any_words()),
        n in (few_or_many(), few_or_many(), 1usize..9),
    ) {
        sets_are_those_of(&sc, &left, &right, n)?;
    }

    #[test]
    fn pairs_in_place_are_told_apart_in_place(sc in any_context(), items in any_items(), into in 1usize..9) {
        let pairs: Vec<(i64, i64)> = items.iter().map(|item| (*item, item % 2)).collect();
        let placed = spread(&sc, &pairs, 3).partition_by(into);
        let alone = placed.distinct();
        prop_assert_eq!(parts(&alone)?, hashed(&unique(&pairs), into, |pair| pair.0));
        prop_assert!(alone.partitioner()?.is_some());
    }
}
