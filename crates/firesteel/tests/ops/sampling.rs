//! Samples: what may come out for any seed, and that it comes out again.

use crate::masters::{Watched, any_context, any_partitions, config, contexts, kept, local4, slices, spread};
use firesteel::prelude::*;
use proptest::prelude::*;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0u64..50, 0..60)
}

/// Whether `part` is left when some elements of `whole` are taken away.
fn is_part_of<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|one| rest.any(|other| other == one))
}

/// The same without the order.
fn is_drawn_from(mut part: Vec<u64>, mut whole: Vec<u64>) -> bool {
    part.sort();
    whole.sort();
    is_part_of(&part, &whole)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_sample_is_a_part_in_order_and_the_same_under_every_master(
        sc in any_context(), items in numbers(), n in any_partitions(), fraction in 0.0..=1.0f64, seed: u64, most in 0usize..70,
    ) {
        let sample = spread(&sc, &items, n).sample(false, fraction, seed);
        prop_assert_eq!(sample.num_partitions()?, n);
        let parts = sample.glom().collect()?;
        for (part, slice) in parts.iter().zip(slices(&items, n)) {
            prop_assert!(is_part_of(part, &slice), "{:?} of {:?}", part, slice);
        }
        for sc in contexts() {
            prop_assert_eq!(spread(sc, &items, n).sample(false, fraction, seed).glom().collect()?, parts.clone());
        }
        let all = parts.concat();
        prop_assert_eq!(sample.erase().take(most)?, all.iter().take(most).copied().collect::<Vec<_>>());
        prop_assert_eq!(sample.count()?, all.len() as u64);
    }

    #[test]
    fn a_sample_with_replacement_repeats_elements_in_place(
        sc in any_context(), items in numbers(), n in any_partitions(), fraction in 0.0..20.0f64, seed: u64, most in 0usize..900,
    ) {
        let numbered = spread(&sc, &items, n).zip_with_index();
        let sample = numbered.sample(true, fraction, seed);
        let all = sample.collect()?;
        prop_assert!(all.is_sorted_by_key(|(_, position)| *position));
        prop_assert!(all.iter().all(|(item, position)| items[*position as usize] == *item));
        // Also where a reader stops in the midst of an element's copies.
        prop_assert_eq!(sample.erase().take(most)?, all.iter().take(most).copied().collect::<Vec<_>>());
        prop_assert_eq!(sample.zip_with_index().values().collect()?, (0..all.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn each_element_is_in_one_of_the_splits(
        sc in any_context(), items in numbers(), n in any_partitions(),
        weights in prop::collection::vec(prop_oneof![Just(0.0), 0.1..9.0f64], 0..5), last in 0.1..9.0f64, seed: u64,
    ) {
        let weights: Vec<f64> = weights.into_iter().chain([last]).collect();
        let splits = spread(&sc, &items, n).zip_with_index().random_split(&weights, seed);
        prop_assert_eq!(splits.len(), weights.len());
        let mut all = Vec::new();
        for (split, weight) in splits.iter().zip(&weights) {
            let part = split.collect()?;
            prop_assert!(part.is_sorted_by_key(|(_, position)| *position));
            prop_assert!(*weight > 0.0 || part.is_empty());
            prop_assert_eq!(split.collect()?, part.clone());
            all.extend(part);
        }
        all.sort_by_key(|(_, position)| *position);
        prop_assert_eq!(all, kept(&items, n).into_iter().zip(0..).collect::<Vec<_>>());
    }

    #[test]
    fn a_taken_sample_has_its_size(
        sc in any_context(), items in numbers(), n in any_partitions(), wanted in 0usize..80, replace: bool, seed: u64,
    ) {
        let rdd = spread(&sc, &items, n);
        let sample = rdd.take_sample(replace, wanted, seed)?;
        let there = kept(&items, n);
        let size = match replace {
            true if there.is_empty() => 0,
            true => wanted,
            false => wanted.min(there.len()),
        };
        prop_assert_eq!(sample.len(), size);
        let drawn = if replace { sample.iter().all(|i| there.contains(i)) } else { is_drawn_from(sample.clone(), there) };
        prop_assert!(drawn, "{:?}", sample);
        prop_assert_eq!(rdd.take_sample(replace, wanted, seed)?, sample);
    }
}

#[test]
fn samples_have_about_the_expected_size() {
    let sc = local4();
    for (replace, fraction, from, to) in
        [(false, 0.1, 800, 1_200), (true, 0.1, 800, 1_200), (true, 2.5, 24_000, 26_000)]
    {
        let count = sc.range_n(0..10_000, 4).sample(replace, fraction, 11).count().unwrap();
        assert!((from..to).contains(&count), "{count} of 10,000 with {fraction}");
    }
    let sizes: Vec<u64> =
        sc.range_n(0..10_000, 4).random_split(&[2.0, 6.0, 2.0], 5).iter().map(|split| split.count().unwrap()).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 10_000);
    assert!((1_800..2_200).contains(&sizes[0]) && (5_800..6_200).contains(&sizes[1]), "{sizes:?}");
}

#[test]
fn other_seeds_and_partitions_give_other_samples() {
    let sc = local4();
    let sample = |seed| sc.range_n(0..1_000, 2).sample(false, 0.5, seed).collect().unwrap();
    assert_ne!(sample(1), sample(2));
    let halves = sc.range_n(0..1_000, 2).map(|i| i % 500).sample(false, 0.5, 1).glom().collect().unwrap();
    assert_ne!(halves[0], halves[1], "partitions have chances of their own");
}

#[test]
fn fractions_of_nothing_and_all() {
    let sc = local4();
    let numbers = sc.range_n(0..500, 3);
    assert_eq!(numbers.sample(false, 0.0, 1).count().unwrap(), 0);
    assert_eq!(numbers.sample(true, 0.0, 1).count().unwrap(), 0);
    assert_eq!(numbers.sample(false, 1.0, 1).collect().unwrap(), (0..500).collect::<Vec<_>>());
    assert_eq!(sc.empty_rdd::<u64>().sample(true, 3.0, 1).collect().unwrap(), [0; 0]);
}

#[test]
fn an_impossible_fraction_is_an_error_of_the_action_that_names_it() {
    let numbers = local4().range_n(0..10, 2);
    for (replace, fraction, named) in [
        (false, -0.5, "-0.5"),
        (true, -1.0, "-1.0"),
        (false, 1.5, "1.5"),
        (true, f64::NAN, "NaN"),
        (true, f64::INFINITY, "inf"),
    ] {
        let e = numbers.sample(replace, fraction, 1).count().unwrap_err();
        assert!(matches!(e, Error::InvalidArgument(_)) && e.to_string().contains(named), "{e}");
        let e = numbers.sample(replace, fraction, 1).erase().map(|i| i).count().unwrap_err();
        assert!(matches!(e, Error::InvalidArgument(_)) && e.to_string().contains(named), "{e}");
    }
}

#[test]
fn impossible_weights_are_an_error_of_the_action_that_names_them() {
    let numbers = local4().range_n(0..10, 2);
    for (weights, named) in [(&[1.0, -2.0][..], "[1.0, -2.0]"), (&[0.0, 0.0], "[0.0, 0.0]"), (&[f64::NAN], "[NaN]")] {
        for split in numbers.random_split(weights, 1) {
            let e = split.count().unwrap_err();
            assert!(matches!(e, Error::InvalidArgument(_)) && e.to_string().contains(named), "{e}");
        }
    }
    assert!(numbers.random_split(&[], 1).is_empty());
}

#[test]
fn samples_and_splits_keep_the_partitioner() {
    let keyed = local4().range_n(0..100, 3).map(|i| (i, ())).partition_by(4);
    let spread = keyed.partitioner().unwrap();
    assert!(spread.is_some());
    assert_eq!(keyed.sample(true, 1.5, 1).partitioner().unwrap(), spread);
    for split in keyed.random_split(&[1.0, 1.0], 1) {
        assert_eq!(split.partitioner().unwrap(), spread);
    }
}

#[test]
fn a_taken_sample_is_two_jobs() {
    let watched = Watched::new("local[2]", &[]);
    let numbers = watched.context.range_n(0..1_000, 3);
    assert_eq!(numbers.take_sample(false, 10, 3).unwrap().len(), 10);
    assert_eq!(watched.ran(), [[3], [3]]);
    assert_eq!(numbers.take_sample(false, 2_000, 3).unwrap().len(), 1_000);
    assert_eq!(watched.ran(), [[3], [3]]);
    assert_eq!(numbers.take_sample(true, 0, 3).unwrap(), [0; 0]);
    assert_eq!(watched.ran(), [[0; 0]; 0]);
}

#[test]
fn a_taken_sample_of_all_is_in_any_order() {
    let sample = local4().range_n(0..50, 3).take_sample(false, 50, 9).unwrap();
    assert!(!sample.is_sorted());
    assert!(is_drawn_from((0..50).collect(), sample));
}

#[test]
fn a_taken_sample_of_vanishing_elements_is_an_error() {
    static COMPUTED: AtomicBool = AtomicBool::new(false);
    let fading = local4().range_n(0..10, 1).map_partitions(|items| {
        let gone = COMPUTED.swap(true, Ordering::Relaxed);
        items.filter(move |_| !gone)
    });
    let e = fading.take_sample(false, 5, 1).unwrap_err().to_string();
    assert!(e.contains("take_sample(5) of 10") && e.contains("cache"), "{e}");
}

fn pairs() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0u8..4, 0u64..1_000), 0..60)
}

fn fractions() -> impl Strategy<Value = HashMap<u8, f64>> {
    prop::collection::vec(prop_oneof![Just(0.0), 0.0..=1.0f64, Just(1.0)], 4).prop_map(|all| (0..).zip(all).collect())
}

fn sizes(items: impl IntoIterator<Item = u8>) -> HashMap<u8, u64> {
    let mut sizes = HashMap::new();
    items.into_iter().for_each(|key| *sizes.entry(key).or_default() += 1);
    sizes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_sample_by_key_is_a_part_in_order(
        sc in any_context(), items in pairs(), n in any_partitions(), fractions in fractions(), seed: u64,
    ) {
        let sample = spread(&sc, &items, n).sample_by_key(false, fractions.clone(), seed);
        let parts = sample.glom().collect()?;
        for (part, slice) in parts.iter().zip(slices(&items, n)) {
            prop_assert!(is_part_of(part, &slice));
            for (key, fraction) in &fractions {
                let count = |pairs: &[(u8, u64)]| pairs.iter().filter(|(k, _)| k == key).count();
                prop_assert!(*fraction > 0.0 || count(part) == 0);
                prop_assert!(*fraction < 1.0 || count(part) == count(&slice));
            }
        }
        prop_assert_eq!(spread(local4(), &items, n).sample_by_key(false, fractions, seed).glom().collect()?, parts);
    }

    #[test]
    fn an_exact_sample_by_key_has_the_size_of_each_key(
        sc in any_context(), items in pairs(), n in any_partitions(), fractions in fractions(), replace: bool, seed: u64,
    ) {
        let sample = spread(&sc, &items, n).zip_with_index().map(|((k, v), at)| (k, (v, at))).sample_by_key_exact(replace, fractions.clone(), seed);
        let all = sample.collect()?;
        let mut expected = sizes(kept(&items, n).into_iter().map(|(k, _)| k));
        expected.iter_mut().for_each(|(key, count)| *count = (fractions[key] * *count as f64).ceil() as u64);
        expected.retain(|_, count| *count > 0);
        prop_assert_eq!(sizes(all.iter().map(|(k, _)| *k)), expected);
        prop_assert!(all.iter().all(|(k, (v, at))| items[*at as usize] == (*k, *v)));
        let positions: Vec<u64> = all.iter().map(|(_, (_, at))| *at).collect();
        prop_assert!(positions.is_sorted() && (replace || positions.windows(2).all(|two| two[0] < two[1])));
        prop_assert_eq!(sample.erase().collect()?, all);
    }
}

#[test]
fn more_than_all_with_replacement_and_not_more_without() {
    let pairs = local4().range_n(0..10, 3).map(|i| (i % 2, i));
    let fractions = HashMap::from([(0, 30.0), (1, 2.0)]);
    let many = pairs.sample_by_key_exact(true, fractions.clone(), 1).count_by_key().unwrap();
    assert_eq!(many, HashMap::from([(0, 150), (1, 10)]));
    assert_eq!(pairs.sample_by_key_exact(false, fractions.clone(), 1).count().unwrap(), 10);
    assert_eq!(pairs.sample_by_key(false, fractions.clone(), 1).count().unwrap(), 10);
    let about = pairs.sample_by_key(true, fractions, 1).count().unwrap();
    assert!((110..210).contains(&about), "{about}");
}

#[test]
fn a_key_without_a_fraction_is_an_error() {
    let pairs = local4().range_n(0..10, 3).map(|i| (i % 3, i));
    let fractions = HashMap::from([(0, 0.5), (1, 0.5)]);
    let e = pairs.sample_by_key(false, fractions.clone(), 1).count().unwrap_err();
    assert!(matches!(&e, Error::Job(_)) && e.to_string().contains("not among the sampling fractions"), "{e}");
    let e = pairs.sample_by_key_exact(false, fractions, 1).count().unwrap_err();
    assert!(
        matches!(&e, Error::InvalidArgument(_)) && e.to_string().contains("not among the sampling fractions"),
        "{e}"
    );
}

#[test]
fn negative_sampling_rates_are_an_error_of_the_action_that_names_one() {
    let pairs = local4().range_n(0..10, 3).map(|i| (i % 2, i));
    let fractions = HashMap::from([(0, 0.5), (1, -0.25)]);
    for e in [
        pairs.sample_by_key(true, fractions.clone(), 1).count().unwrap_err(),
        pairs.sample_by_key_exact(true, fractions, 1).count().unwrap_err(),
    ] {
        assert!(matches!(&e, Error::InvalidArgument(_)) && e.to_string().contains("-0.25"), "{e}");
    }
}

#[test]
fn samples_by_key_keep_the_partitioner_and_count_once() {
    let watched = Watched::new("local[2]", &[]);
    let pairs = watched.context.range_n(0..100, 3).map(|i| (i % 5, i)).partition_by(4).cache();
    assert_eq!(pairs.count().unwrap(), 100);
    let known = pairs.partitioner().unwrap();
    let fractions: HashMap<u64, f64> = (0..5).map(|key| (key, 0.5)).collect();
    assert_eq!(pairs.sample_by_key(false, fractions.clone(), 1).partitioner().unwrap(), known);
    watched.ran();
    let exact = pairs.sample_by_key_exact(false, fractions, 1);
    assert_eq!(exact.partitioner().unwrap(), known);
    assert_eq!(watched.ran(), [[4]]);
    assert_eq!(exact.count().unwrap(), 50);
    assert_eq!(watched.ran(), [[4]]);
}
