//! Orders and new partitions.

use crate::{
    masters::{any_context, config, kept, local4, slices, spread},
    model::{any_pairs, any_words, few_or_many, hashed, parts},
};
use firesteel::prelude::*;
use proptest::prelude::*;
use std::{
    cmp::{Ordering, Reverse},
    io::Write,
};

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        -3.0..3.0,
    ]
}

/// Java's order: NaN after everything and equal to itself, -0.0 before 0.0.
fn java(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_sort_is_stable_both_ways(
        sc in any_context(),
        pairs in any_pairs(),
        n in few_or_many(),
        into in 1usize..9,
    ) {
        let rdd = spread(&sc, &pairs, n);
        let mut up = kept(&pairs, n);
        let mut down = up.clone();
        up.sort_by_key(|pair| pair.0);
        down.sort_by_key(|pair| Reverse(pair.0));
        for (sorted, expected, most) in [
            (rdd.sort_by_key(true), &up, n),
            (rdd.sort_by_key(false), &down, n),
            (rdd.sort_by_key_n(true, into), &up, into),
            (rdd.sort_by_key_n(false, into), &down, into),
            (rdd.sort_by(|pair| pair.0, true), &up, n),
            (rdd.sort_by(|pair| pair.0, false), &down, n),
            (rdd.sort_by_n(|pair| pair.0, true, into), &up, into),
            (rdd.sort_by_n(|pair| pair.0, false, into), &down, into),
        ] {
            prop_assert_eq!(&sorted.collect()?, expected);
            prop_assert!(sorted.num_partitions()? <= most.max(1));
            // Equal keys lie in one partition.
            let keys: Vec<Vec<i64>> = parts(&sorted.keys())?;
            let filled: Vec<&Vec<i64>> = keys.iter().filter(|part| !part.is_empty()).collect();
            prop_assert!(filled.windows(2).all(|two| two[0].last() != two[1].first()));
        }
    }

    #[test]
    fn floats_are_sorted_as_java_sorts_them(
        sc in any_context(),
        floats in prop::collection::vec(any_float(), 0..40),
        n in few_or_many(),
        ascending in any::<bool>(),
    ) {
        let items: Vec<(usize, f64)> = floats.into_iter().enumerate().collect();
        let rdd = spread(&sc, &items, n);
        let mut expected = kept(&items, n);
        expected.sort_by(|a, b| if ascending { java(a.1, b.1) } else { java(b.1, a.1) });
        let places = |items: &[(usize, f64)]| items.iter().map(|item| item.0).collect::<Vec<_>>();
        prop_assert_eq!(places(&rdd.sort_by(|item| Total(item.1), ascending).collect()?), places(&expected));
        if !expected.is_empty() {
            let (least, greatest) = (rdd.map(|item| Total(item.1)).min()?, rdd.map(|item| Total(item.1)).max()?);
            let ends = if ascending { (0, expected.len() - 1) } else { (expected.len() - 1, 0) };
            prop_assert_eq!(java(least.0, expected[ends.0].1), Ordering::Equal);
            prop_assert_eq!(java(greatest.0, expected[ends.1].1), Ordering::Equal);
        }
    }

    #[test]
    fn texts_are_sorted_by_their_bytes(sc in any_context(), words in any_words(), n in few_or_many()) {
        let rdd = spread(&sc, &words, n);
        let mut expected = kept(&words, n);
        expected.sort();
        prop_assert_eq!(&rdd.sort_by(|word| word.clone(), true).collect()?, &expected);
        prop_assert_eq!(rdd.map(|word| (word, ())).sort_by_key(true).keys().collect()?, expected);
    }

    #[test]
    fn each_partition_is_sorted_by_key(sc in any_context(), pairs in any_pairs(), n in few_or_many(), into in 1usize..9) {
        let rdd = spread(&sc, &pairs, n);
        let mut expected = hashed(&kept(&pairs, n), into, |pair| pair.0);
        expected.iter_mut().for_each(|part| part.sort_by_key(|pair| pair.0));
        prop_assert_eq!(&parts(&rdd.repartition_and_sort_within_partitions(into))?, &expected);
        prop_assert_eq!(&parts(&rdd.partition_by(into).repartition_and_sort_within_partitions(into))?, &expected);
    }

    #[test]
    fn elements_are_dealt_out_evenly(sc in any_context(), length in 0usize..60, n in few_or_many(), into in 1usize..9) {
        let items: Vec<usize> = (0..length).collect();
        let rdd = spread(&sc, &items, n);
        for dealt in [parts(&rdd.repartition(into))?, parts(&rdd.coalesce_shuffle(into))?] {
            prop_assert_eq!(dealt.len(), into);
            let mut all = dealt.concat();
            all.sort();
            prop_assert_eq!(all, kept(&items, n));
            for part in &dealt {
                prop_assert!(part.is_sorted(), "in the order of the parent's partitions: {:?}", part);
            }
            for slice in slices(&items, n) {
                let shares = dealt.iter().map(|part| part.iter().filter(|item| slice.contains(item)).count());
                let (least, most) = (shares.clone().min(), shares.max());
                prop_assert!(most <= least.map(|least| least + 1), "{:?} of {:?}", dealt, slice);
            }
        }
    }

    #[test]
    fn few_partitions_are_neighbours_together(
        sc in any_context(),
        length in 0usize..60,
        n in few_or_many(),
        into in 1usize..9,
    ) {
        let items: Vec<usize> = (0..length).collect();
        let rdd = spread(&sc, &items, n);
        let together = into.min(n);
        let before = slices(&items, n);
        let expected: Vec<Vec<usize>> = (0..together).map(|i| before[i * n / together..(i + 1) * n / together].concat()).collect();
        prop_assert_eq!(parts(&rdd.coalesce(into))?, expected);
    }
}

/// A text of 60,000 lines and more than 8 MiB, which is read in two splits or so.
fn long_text() -> tempfile::NamedTempFile {
    let text: String = (0..60_000u64).map(|i| format!("{:0>150}\n", i * 7_919 % 60_000)).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_sort_of_text_looks_at_some_of_it_for_its_bounds_and_reads_the_rest_once() {
    let (sc, file) = (local4(), long_text());
    let parsed = sc.long_accumulator("parsed");
    let numbers = sc.text_file(file.path().display().to_string()).map_with(parsed.clone(), |parsed, line| {
        parsed.add(1);
        line.parse::<u64>().unwrap()
    });
    let sorted = numbers.sort_by_n(|n| *n, true, 4);
    let partitions = sorted.glom().collect().unwrap();
    assert!(partitions.concat().into_iter().eq(0..60_000));
    for partition in partitions {
        assert!((10_000..20_000).contains(&partition.len()), "{} of 60,000 in one of four", partition.len());
    }
    let parsed = parsed.value();
    assert!((60_001..90_000).contains(&parsed), "{parsed} lines were parsed");
}

#[test]
fn what_a_glimpse_does_not_show_is_looked_for_everywhere() {
    let (sc, file) = (local4(), long_text());
    let rare = sc.text_file(file.path().display().to_string()).map(|line| line.parse::<u64>().unwrap());
    let rare = rare.filter(|n| n % 500 == 0);
    let partitions = rare.sort_by_n(|n| *n, true, 4).glom().collect().unwrap();
    assert!(partitions.concat().into_iter().eq((0..60_000).step_by(500)));
    assert!(partitions.iter().all(|partition| (20..=40).contains(&partition.len())), "{partitions:?}");
}

#[test]
fn many_texts_are_sorted_by_any_key_and_equal_keys_keep_their_order() {
    let sc = local4();
    // Few records are not encoded, 512 in a partition or more of those that are have their whole numbers dealt out.
    for n in [1_600u64, 6_000, 12_000] {
        let key = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as i64 % 1_000 - 500;
        let pairs: Vec<_> = (0..n).map(|i| (key(i), format!("{i:0>60}"))).collect();
        let rdd = sc.parallelize_n(pairs.clone(), 4);
        let texts = rdd.map(|(key, text)| (format!("{key:0>5}"), text));
        for ascending in [true, false] {
            let (mut expected, mut of_texts) = (pairs.clone(), pairs.clone());
            match ascending {
                true => expected.sort_by_key(|pair| pair.0),
                false => expected.sort_by_key(|pair| Reverse(pair.0)),
            }
            match ascending {
                true => of_texts.sort_by_cached_key(|(key, _)| format!("{key:0>5}")),
                false => of_texts.sort_by_cached_key(|(key, _)| Reverse(format!("{key:0>5}"))),
            }
            assert_eq!(rdd.sort_by_key(ascending).collect().unwrap(), expected);
            assert_eq!(rdd.sort_by(|pair| pair.0, ascending).collect().unwrap(), expected);
            assert!(
                texts.sort_by_key(ascending).values().collect().unwrap().iter().eq(of_texts.iter().map(|pair| &pair.1))
            );
        }
    }
}
