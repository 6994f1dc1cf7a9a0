//! Operations that look at elements one by one, or at partitions as they are.

use crate::{
    masters::{any_context, config, slices, spread},
    model::{few_or_many, parts},
};
use proptest::prelude::*;

fn any_items() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(-50i64..50, 0..50)
}

/// What `f` makes of each partition's items.
fn each<U>(items: &[i64], n: usize, f: impl Fn(i64) -> Vec<U>) -> Vec<Vec<U>> {
    slices(items, n).into_iter().map(|part| part.into_iter().flat_map(&f).collect()).collect()
}

fn as_many(x: i64) -> Vec<i64> {
    vec![x; x.rem_euclid(3) as usize]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn maps(sc in any_context(), items in any_items(), n in few_or_many()) {
        let rdd = spread(&sc, &items, n);
        let expected = each(&items, n, |x| vec![x * 3]);
        prop_assert_eq!(&parts(&rdd.map(|x| x * 3))?, &expected);
        prop_assert_eq!(&parts(&rdd.map_with(3, |by, x| x * by))?, &expected);
        prop_assert_eq!(&parts(&rdd.map_ref(|x| x * 3))?, &expected);
        prop_assert_eq!(&parts(&rdd.map_ref_with(3, |by, x| x * by))?, &expected);
        prop_assert_eq!(&parts(&rdd.try_map(|x| Ok::<_, String>(x * 3)))?, &expected);
        prop_assert_eq!(&parts(&rdd.try_map_with(3, |by, x| Ok::<_, String>(x * by)))?, &expected);
        prop_assert_eq!(&parts(&rdd.try_map_ref(|x| Ok::<_, String>(x * 3)))?, &expected);
        prop_assert_eq!(&parts(&rdd.try_map_ref_with(3, |by, x| Ok::<_, String>(x * by)))?, &expected);
        let keyed = each(&items, n, |x| vec![(x % 7, x)]);
        prop_assert_eq!(&parts(&rdd.key_by(|x| x % 7))?, &keyed);
        prop_assert_eq!(&parts(&rdd.key_by_with(7, |by, x| x % by))?, &keyed);
    }

    #[test]
    fn flat_maps(sc in any_context(), items in any_items(), n in few_or_many()) {
        let rdd = spread(&sc, &items, n);
        let expected = each(&items, n, as_many);
        prop_assert_eq!(&parts(&rdd.flat_map(as_many))?, &expected);
        prop_assert_eq!(&parts(&rdd.flat_map_with(3, |by, x| vec![x; x.rem_euclid(*by) as usize]))?, &expected);
        prop_assert_eq!(&parts(&rdd.flat_map_emit(|x, out| for y in as_many(*x) { out.emit(y) }))?, &expected);
        let emitting = rdd.flat_map_emit_with(3, |by, x, out| (0..x.rem_euclid(*by)).for_each(|_| out.emit(*x)));
        prop_assert_eq!(&parts(&emitting)?, &expected);
        prop_assert_eq!(&parts(&rdd.flat_map_ref(|x| as_many(*x)))?, &expected);
        prop_assert_eq!(&parts(&rdd.flat_map_ref_with(3, |by, x| vec![*x; x.rem_euclid(*by) as usize]))?, &expected);
        prop_assert_eq!(&parts(&rdd.try_flat_map(|x| Ok::<_, String>(as_many(x))))?, &expected);
        let trying = rdd.try_flat_map_with(3, |by, x| Ok::<_, String>(vec![x; x.rem_euclid(*by) as usize]));
        prop_assert_eq!(&parts(&trying)?, &expected);
        // One that stops half-way through an element goes on there.
        for wanted in [1, 2, 5] {
            let all = expected.concat();
            prop_assert_eq!(&rdd.flat_map(as_many).take(wanted)?[..], &all[..wanted.min(all.len())]);
            let emitted = rdd.flat_map_emit(|x, out| for y in as_many(*x) { out.emit(y) });
            prop_assert_eq!(&emitted.take(wanted)?[..], &all[..wanted.min(all.len())]);
            let through = emitted.map_partitions(|items| items.filter(|x| x % 2 == 0).take(3));
            let firsts = expected.iter().flat_map(|part| part.iter().copied().filter(|x| x % 2 == 0).take(3));
            prop_assert_eq!(through.collect()?, firsts.collect::<Vec<_>>());
        }
    }

    #[test]
    fn filters(sc in any_context(), items in any_items(), n in few_or_many()) {
        let rdd = spread(&sc, &items, n);
        let expected = each(&items, n, |x| if x % 3 == 0 { vec![x] } else { vec![] });
        prop_assert_eq!(&parts(&rdd.filter(|x| x % 3 == 0))?, &expected);
        prop_assert_eq!(&parts(&rdd.filter_with(3, |by, x| x % by == 0))?, &expected);
        prop_assert_eq!(&parts(&rdd.try_filter(|x| Ok::<_, String>(x % 3 == 0)))?, &expected);
        prop_assert_eq!(&parts(&rdd.try_filter_with(3, |by, x| Ok::<_, String>(x % by == 0)))?, &expected);
        let some = |x: i64| if x % 3 == 0 { Some(x) } else { None };
        prop_assert_eq!(&parts(&rdd.filter_map(some))?, &expected);
        prop_assert_eq!(&parts(&rdd.filter_map_with(3, |by, x| (x % by == 0).then_some(x)))?, &expected);
        prop_assert_eq!(&parts(&rdd.filter_map_ref(|x| (x % 3 == 0).then_some(*x)))?, &expected);
        prop_assert_eq!(&parts(&rdd.filter_map_ref_with(3, |by, x| (x % by == 0).then_some(*x)))?, &expected);
        prop_assert_eq!(&parts(&rdd.try_filter_map(|x| Ok::<_, String>((x % 3 == 0).then_some(x))))?, &expected);
        let trying = rdd.try_filter_map_with(3, |by, x| Ok::<_, String>((x % by == 0).then_some(x)));
        prop_assert_eq!(&parts(&trying)?, &expected);
    }

    #[test]
    fn partitions_are_mapped_whole_empty_ones_too(sc in any_context(), items in any_items(), n in few_or_many()) {
        let rdd = spread(&sc, &items, n);
        let slices = slices(&items, n);
        let sums: Vec<Vec<i64>> = slices.iter().map(|part| vec![part.iter().sum()]).collect();
        prop_assert_eq!(&parts(&rdd.map_partitions(|items| [items.sum::<i64>()]))?, &sums);
        prop_assert_eq!(&parts(&rdd.map_partitions_with(0, |zero, items| [items.fold(*zero, |a, b| a + b)]))?, &sums);
        prop_assert_eq!(&parts(&rdd.try_map_partitions(|items| Ok::<_, String>([items.sum::<i64>()])))?, &sums);
        let trying = rdd.try_map_partitions_with(0, |zero, items| Ok::<_, String>([items.fold(*zero, |a, b| a + b)]));
        prop_assert_eq!(&parts(&trying)?, &sums);
        let numbered: Vec<Vec<(usize, i64)>> =
            slices.iter().enumerate().map(|(i, part)| part.iter().map(|x| (i, *x)).collect()).collect();
        prop_assert_eq!(&parts(&rdd.map_partitions_with_index(|i, items| items.map(move |x| (i, x))))?, &numbered);
        let with = rdd.map_partitions_with_index_with(1, |one, i, items| {
            let one = *one;
            items.map(move |x| (i * one, x))
        });
        prop_assert_eq!(&parts(&with)?, &numbered);
        prop_assert_eq!(rdd.glom().collect()?, slices);
    }

    #[test]
    fn a_long_pipeline_is_its_steps(sc in any_context(), items in any_items(), n in few_or_many()) {
        let rdd = spread(&sc, &items, n);
        let steps = rdd
            .map(|x| x + 1)
            .filter(|x| x % 5 != 0)
            .erase()
            .flat_map(as_many)
            .map_partitions(|items| items.step_by(2))
            .erase()
            .map_ref(|x| x - 1);
        let expected: Vec<Vec<i64>> = slices(&items, n)
            .into_iter()
            .map(|part| part.into_iter().map(|x| x + 1).filter(|x| x % 5 != 0).flat_map(as_many).step_by(2).map(|x| x - 1).collect())
            .collect();
        prop_assert_eq!(parts(&steps)?, expected);
    }
}
