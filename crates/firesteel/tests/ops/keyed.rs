//! Everything that ends in `_by_key`, and what is asked of one key.

use crate::{
    masters::{any_context, config, kept, slices, spread},
    model::{any_pairs, any_words, each_group, few_or_many, grouped, hashed, parts},
};
use firesteel::prelude::*;
use proptest::prelude::*;
use std::collections::HashMap;

type Pair = (i64, i64);

/// In how many of the map partitions a key lies.
fn partitions_with(pairs: &[Pair], n: usize, key: i64) -> i64 {
    slices(pairs, n).iter().filter(|part| part.iter().any(|pair| pair.0 == key)).count() as i64
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn values_are_merged_by_key(sc in any_context(), pairs in any_pairs(), n in few_or_many(), into in 1usize..9) {
        let rdd = spread(&sc, &pairs, n);
        let pairs = kept(&pairs, n);
        // Not commutative: shows the order in which values are merged.
        let merged = |m: usize| each_group(&pairs, m, |_, v| v.iter().copied().reduce(|a, b| a * 3 % 1009 + b).unwrap());
        let in_one_partition = spread(&sc, &pairs, 1);
        prop_assert_eq!(parts(&in_one_partition.reduce_by_key_into(into, |a, b| a * 3 % 1009 + b))?, merged(into));
        let sums = |m: usize| each_group(&pairs, m, |_, v| v.iter().sum::<i64>());
        prop_assert_eq!(parts(&rdd.reduce_by_key(|a, b| a + b))?, sums(n));
        prop_assert_eq!(parts(&rdd.reduce_by_key_into(into, |a, b| a + b))?, sums(into));
        prop_assert_eq!(parts(&rdd.reduce_by_key_with(1, |one, a, b| a + one * b))?, sums(n));
        prop_assert_eq!(parts(&rdd.reduce_by_key_into_with(into, 1, |one, a, b| a + one * b))?, sums(into));
        let locally: HashMap<i64, i64> = sums(1).into_iter().flatten().collect();
        prop_assert_eq!(rdd.reduce_by_key_locally(|a, b| a + b)?, locally);
        // In place where keys lie right already.
        let placed = rdd.partition_by(into);
        prop_assert_eq!(parts(&placed.reduce_by_key(|a, b| a + b))?, sums(into));
    }

    #[test]
    fn a_zero_counts_once_for_each_key_of_each_partition_that_has_it(
        sc in any_context(),
        pairs in any_pairs(),
        n in few_or_many(),
        into in 1usize..9,
    ) {
        let rdd = spread(&sc, &pairs, n);
        let pairs = kept(&pairs, n);
        let sums = |m: usize| each_group(&pairs, m, |k, v| v.iter().sum::<i64>() + 10 * partitions_with(&pairs, n, *k));
        prop_assert_eq!(parts(&rdd.fold_by_key(10, |a, b| a + b))?, sums(n));
        prop_assert_eq!(parts(&rdd.fold_by_key_into(into, 10, |a, b| a + b))?, sums(into));
        prop_assert_eq!(parts(&rdd.aggregate_by_key(10, |a, v| a + v, |a, b| a + b))?, sums(n));
        prop_assert_eq!(parts(&rdd.aggregate_by_key_into(into, 10, |a, v| a + v, |a, b| a + b))?, sums(into));
        let placed = rdd.partition_by(into);
        let once = each_group(&pairs, into, |_, v| v.iter().sum::<i64>() + 10);
        prop_assert_eq!(parts(&placed.fold_by_key(10, |a, b| a + b))?, once);
    }

    #[test]
    fn values_are_gathered_by_key_in_their_order(
        sc in any_context(),
        pairs in any_pairs(),
        n in few_or_many(),
        into in 1usize..9,
    ) {
        let rdd = spread(&sc, &pairs, n);
        let pairs = kept(&pairs, n);
        prop_assert_eq!(parts(&rdd.group_by_key())?, grouped(&pairs, n));
        prop_assert_eq!(parts(&rdd.group_by_key_into(into))?, grouped(&pairs, into));
        prop_assert_eq!(parts(&rdd.partition_by(into).group_by_key())?, grouped(&pairs, into));
        let combined = rdd.combine_by_key(
            |v| vec![v],
            |mut all, v| { all.push(v); all },
            |mut a, b| { a.extend(b); a },
        );
        prop_assert_eq!(parts(&combined)?, grouped(&pairs, n));
        let combined = rdd.combine_by_key_into(
            HashPartitioner::new(into),
            |v| vec![v],
            |mut all, v| { all.push(v); all },
            |mut a, b| { a.extend(b); a },
        );
        prop_assert_eq!(parts(&combined)?, grouped(&pairs, into));
        let items: Vec<i64> = pairs.iter().map(|pair| pair.1).collect();
        let by: Vec<Pair> = items.iter().map(|v| (v % 5, *v)).collect();
        let rdd = spread(&sc, &items, n);
        prop_assert_eq!(parts(&rdd.group_by(|v| v % 5))?, grouped(&by, n));
        prop_assert_eq!(parts(&rdd.group_by_into(into, |v| v % 5))?, grouped(&by, into));
    }

    #[test]
    fn pairs_go_to_their_keys_partition_in_order(
        sc in any_context(),
        pairs in any_pairs(),
        n in few_or_many(),
        into in 1usize..9,
    ) {
        let rdd = spread(&sc, &pairs, n);
        let pairs = kept(&pairs, n);
        let placed = rdd.partition_by(HashPartitioner::new(into));
        prop_assert_eq!(parts(&placed)?, hashed(&pairs, into, |pair| pair.0));
        let values = |f: fn(Pair) -> Vec<Pair>| -> Vec<Vec<Pair>> {
            hashed(&pairs, into, |pair| pair.0).into_iter().map(|part| part.into_iter().flat_map(f).collect()).collect()
        };
        prop_assert_eq!(parts(&placed.map_values(|v| v + 1))?, values(|(k, v)| vec![(k, v + 1)]));
        prop_assert_eq!(parts(&placed.flat_map_values(|v| [v, -v]))?, values(|(k, v)| vec![(k, v), (k, -v)]));
        prop_assert_eq!(placed.map_values_with(2, |by, v| v * by).values().sum()?, 2.0 * placed.values().sum()?);
        prop_assert_eq!(placed.keys().count()?, pairs.len() as u64);
        for key in [-4i64, 0, 7] {
            let values: Vec<i64> = pairs.iter().filter(|pair| pair.0 == key).map(|pair| pair.1).collect();
            prop_assert_eq!(&rdd.lookup(&key)?, &values);
            prop_assert_eq!(&placed.lookup(&key)?, &values);
        }
    }

    #[test]
    fn pairs_become_maps(sc in any_context(), pairs in any_pairs(), n in few_or_many()) {
        let rdd = spread(&sc, &pairs, n);
        let pairs = kept(&pairs, n);
        let last: HashMap<i64, i64> = pairs.iter().copied().collect();
        prop_assert_eq!(rdd.collect_as_map()?, last);
        let mut counts: HashMap<i64, u64> = HashMap::new();
        pairs.iter().for_each(|pair| *counts.entry(pair.0).or_default() += 1);
        prop_assert_eq!(rdd.count_by_key()?, counts);
    }

    #[test]
    fn texts_are_keys_like_others(sc in any_context(), words in any_words(), n in few_or_many(), into in 1usize..9) {
        let rdd = spread(&sc, &words, n).map(|word| (word, 1i64)).erase();
        let pairs: Vec<(String, i64)> = kept(&words, n).into_iter().map(|word| (word, 1)).collect();
        let counts = each_group(&pairs, into, |_, v| v.len() as i64);
        prop_assert_eq!(&parts(&rdd.reduce_by_key_into(into, |a, b| a + b))?, &counts);
        prop_assert_eq!(&parts(&rdd.partition_by(into).reduce_by_key(|a, b| a + b))?, &counts);
        // Who looks at keys that are lent sees each.
        let even = counts.iter().map(|part| part.iter().filter(|(word, _)| word.len() % 2 == 0).cloned().collect());
        let looked_at = rdd.reduce_by_key_into(into, |a, b| a + b).filter(|(word, _)| word.len() % 2 == 0);
        prop_assert_eq!(parts(&looked_at)?, even.collect::<Vec<Vec<_>>>());
        prop_assert_eq!(parts(&rdd.group_by_key_into(into))?, grouped(&pairs, into));
        prop_assert_eq!(rdd.count_by_key()?.values().sum::<u64>(), pairs.len() as u64);
        prop_assert_eq!(rdd.lookup(&String::new())?.len(), pairs.iter().filter(|pair| pair.0.is_empty()).count());
    }
}

#[test]
fn a_fold_by_key_counts_its_zero_in_each_partition() {
    let sc = crate::masters::local4();
    let rdd = sc.parallelize_n([(1, 1), (1, 2)], 2);
    assert_eq!(rdd.fold_by_key(10, |a, b| a + b).collect().unwrap(), [(1, 23)]);
    assert_eq!(rdd.partition_by(2).fold_by_key(10, |a, b| a + b).collect().unwrap(), [(1, 13)]);
    assert_eq!(rdd.partition_by(2).aggregate_by_key(10, |a, v| a + v, |a, b| a + b).collect().unwrap(), [(1, 13)]);
}

#[test]
fn more_keys_than_are_combined_at_a_time_make_no_difference() {
    // The first of them lie where the numbers say, and those after in the table.
    let sc = crate::masters::local4();
    let pairs: Vec<Pair> = (0..150_000).map(|i| (if i % 3 == 0 { i % 900 } else { i }, i)).collect();
    let mut sums: Vec<HashMap<i64, i64>> = vec![HashMap::new(); 3];
    for (key, value) in &pairs {
        *sums[HashPartitioner::new(3).partition(key)].entry(*key).or_default() += value;
    }
    let summed = parts(&sc.parallelize_n(pairs, 2).reduce_by_key_into(3, |a, b| a + b)).unwrap();
    assert!(summed.iter().zip(&sums).all(|(part, sums)| part.len() == sums.len()), "some keys more than once");
    assert!(summed.into_iter().map(HashMap::from_iter).eq(sums), "other sums");
}

#[test]
fn whole_numbers_as_keys_are_merged_in_order_wherever_they_lie() {
    let sc = crate::masters::local4();
    // So many that a map task puts their parts where the keys say; where some of them are far from the others, those go the common way.
    macro_rules! merged {
        ($int:ty, $least:expr, $span:expr, $far:expr) => {{
            let key = |i: u64| match i {
                60_000.. if i % 97 == 0 => $far,
                _ => ($least as $int).wrapping_add((i * i % $span) as $int),
            };
            let pairs: Vec<($int, u64)> = (0..120_000).map(|i| (key(i), i)).collect();
            let mut expected: HashMap<$int, u64> = HashMap::new();
            for (key, value) in &pairs {
                expected.entry(*key).and_modify(|sum| *sum = *sum * 3 % 1009 + value).or_insert(*value);
            }
            let rdd = sc.parallelize_n(pairs.clone(), 1);
            let merged = rdd.reduce_by_key_into(3, |a, b| a * 3 % 1009 + b).collect().unwrap();
            assert_eq!(merged.len(), expected.len(), "some {} more than once", stringify!($int));
            assert_eq!(HashMap::from_iter(merged), expected, "{}", stringify!($int));
            let counts: HashMap<$int, u64> = rdd.keys().count_by_value().unwrap();
            assert_eq!(counts.values().sum::<u64>(), 120_000);
            assert_eq!(rdd.keys().distinct().count().unwrap(), expected.len() as u64);
        }};
    }
    merged!(u8, 0, 251, 255);
    merged!(i16, i16::MIN, 65_521, i16::MAX);
    merged!(u16, 0, 65_521, 40_000);
    merged!(i32, -30_000, 60_013, i32::MIN);
    merged!(u32, 7, 60_013, u32::MAX);
    merged!(i64, i64::MIN, 60_013, i64::MAX);
    merged!(i64, -30_000, 60_013, -30_001);
    merged!(u64, u64::MAX - 60_013, 60_013, 0);
    merged!(usize, 1_u64 << 40, 60_013, 1);
    merged!(isize, -5, 60_013, 2_000_000);
}

#[test]
fn a_zero_counts_once_for_each_key_and_map_partition_however_many_keys_there_are() {
    let sc = Context::builder().master("local[2]").conf("firesteel.memory.budget", "64m").build().unwrap();
    // Numbers close together, so many that there is no room for all where they say, and some far from the others, fewer and more of them
    // than a table takes; texts, fewer and more of them; keys that are neither.
    macro_rules! counted_once {
        ($keys:expr, $key:expr) => {{
            // Two of each key in each map partition.
            let ones = sc.range_n(0..4 * $keys, 2).map(|i| ($key(i % $keys), 1u32));
            let folded = ones.fold_by_key(10, |a, b| a + b).map(|(_, n)| n);
            assert_eq!(folded.count_by_value().unwrap(), HashMap::from([(24, $keys)]), "{}", stringify!($key));
            // Parts that are wider, and parts that own memory.
            let pairs = ones.aggregate_by_key(
                (10u64, 0u64),
                |a, v| (a.0 + u64::from(v), a.1 + 1),
                |a, b| (a.0 + b.0, a.1 + b.1),
            );
            assert_eq!(pairs.map(|(_, n)| n).count_by_value().unwrap(), HashMap::from([((24, 4), $keys)]));
            let all = ones.aggregate_by_key(
                vec![10],
                |mut a, v| {
                    a.push(v);
                    a
                },
                |mut a, b| {
                    a.extend(b);
                    a
                },
            );
            assert_eq!(
                all.map(|(_, n)| n).count_by_value().unwrap(),
                HashMap::from([(vec![10, 1, 1, 10, 1, 1], $keys)])
            );
        }};
    }
    counted_once!(1_000, |i: u64| i);
    counted_once!(50_000, |i: u64| i as i32 - 7);
    counted_once!(200_000, |i: u64| if i < 60_000 { i } else { i << 40 });
    counted_once!(200_000, |i: u64| 40 * i);
    counted_once!(1_000, |i: u64| i.to_string());
    counted_once!(150_000, |i: u64| format!("{i:0>40}"));
    counted_once!(200_000, |i: u64| (i as u32, i as u32));
}

#[test]
fn shuffle_into_no_partitions_is_made_where_something_else_hangs_on_it() {
    let sc = Context::builder().master("local[2]").build().unwrap();
    let pairs = sc.parallelize_n((0..10u64).map(|i| (i % 4, i)), 2).erase();
    let some = sc.parallelize_n([(1u64, 1u64), (2, 2)], 2).erase();
    let into_none = [
        pairs.partition_by(0).erase(),
        pairs.reduce_by_key_into(0, |a, b| a + b).erase(),
        pairs.group_by_key_into(0).map_values(|all| all.len() as u64).erase(),
        sc.empty_rdd::<(u64, u64)>().subtract_by_key(&pairs).erase(),
    ];
    for none in into_none {
        assert_eq!(none.num_partitions().unwrap(), 0);
        assert_eq!(some.union(&none).collect().unwrap(), [(1, 1), (2, 2)]);
    }
}
