//! Who only looks at elements that are kept elsewhere clones none of them.

use crate::masters::local4;
use serde::{Deserialize, Serialize};
use std::{
    hash::{Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// A number that counts its clones, at a place of the test's own.
macro_rules! counted {
    ($name:ident, $clones:ident) => {
        static $clones: AtomicU64 = AtomicU64::new(0);
        #[derive(PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        struct $name(u64);
        impl Clone for $name {
            fn clone(&self) -> Self {
                $clones.fetch_add(1, SeqCst);
                $name(self.0)
            }
        }
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }
    };
}

/// How many clones `run` makes.
fn clones(counter: &AtomicU64, run: impl FnOnce()) -> u64 {
    let before = counter.load(SeqCst);
    run();
    counter.load(SeqCst) - before
}

/// So many elements are kept, and so many of them differ.
const ALL: u64 = 4_000;
const DIFFERENT: u64 = 10;
/// Of each different one a map side keeps one, for its table, its first record and what is read from it; a check looks at few.
const FEW: u64 = 20 * DIFFERENT;

#[test]
fn actions_by_reference_clone_no_element() {
    counted!(Seen, CLONES);
    let rdd = local4().range_n(0..ALL, 4).map(Seen).cache();
    assert_eq!(rdd.count().unwrap(), ALL);
    let none = |run: &dyn Fn()| assert_eq!(clones(&CLONES, run), 0);
    none(&|| assert_eq!(rdd.tree_aggregate_ref(0, |n, x| n + x.0, |a, b| a + b).unwrap(), ALL * (ALL - 1) / 2));
    none(&|| assert_eq!(rdd.tree_aggregate_ref_with(1, 0, |k, n, _| n + k, |a, b| a + b).unwrap(), ALL));
    none(&|| assert_eq!(rdd.aggregate_ref(0, |n, x| n + x.0, |a, b| a + b).unwrap(), ALL * (ALL - 1) / 2));
}

#[test]
fn counting_by_element_or_key_clones_what_is_new() {
    counted!(Key, KEYS);
    counted!(Value, VALUES);
    let sc = local4();
    let elements = sc.range_n(0..ALL, 4).map(|i| Key(i % DIFFERENT)).cache();
    let pairs = sc.range_n(0..ALL, 4).map(|i| (Key(i % DIFFERENT), Value(i))).cache();
    let by_key = pairs.partition_by(3).cache();
    let keys_by_key = by_key.keys().map(|k| (k, ())).partition_by(3).cache();
    assert_eq!((elements.count().unwrap(), pairs.count().unwrap()), (ALL, ALL));
    assert_eq!((by_key.count().unwrap(), keys_by_key.count().unwrap()), (ALL, ALL));

    let at_most = |limit: u64, run: &dyn Fn()| {
        let mut values = 0;
        let keys = clones(&KEYS, || values = clones(&VALUES, run));
        assert!(values == 0 && keys <= limit, "{keys} keys, {values} values");
    };
    let few_keys = |run: &dyn Fn()| at_most(FEW, run);
    few_keys(&|| assert_eq!(elements.count_by_value().unwrap()[&Key(3)], ALL / DIFFERENT));
    few_keys(&|| assert_eq!(elements.distinct().count().unwrap(), DIFFERENT));
    few_keys(&|| assert_eq!(keys_by_key.distinct_into(3).count().unwrap(), DIFFERENT));
    few_keys(&|| assert_eq!(pairs.keys().count().unwrap(), ALL));
    few_keys(&|| assert_eq!(pairs.values().filter(|v| v.0 == 7).count().unwrap(), 1));
    few_keys(&|| assert_eq!(pairs.count_by_key().unwrap()[&Key(3)], ALL / DIFFERENT));
    // Without a shuffle keys come in batches of their own.
    at_most(ALL + FEW, &|| assert_eq!(by_key.count_by_key().unwrap()[&Key(3)], ALL / DIFFERENT));
    for pairs in [pairs.erase(), by_key.erase()] {
        few_keys(&|| {
            let about = pairs.count_approx_distinct_by_key(0.05).collect_as_map().unwrap()[&Key(3)];
            assert!((350..450).contains(&about), "{about}");
        });
        let sum = (0..ALL).filter(|i| i % DIFFERENT == 3).sum::<u64>();
        few_keys(&|| {
            let sums = pairs.aggregate_by_key_ref(0, |sum, v| sum + v.0, |a, b| a + b);
            assert_eq!(sums.collect_as_map().unwrap()[&Key(3)], sum);
        });
        few_keys(&|| {
            let sums = pairs.aggregate_by_key_ref_into(5, 0, |sum, v| sum + v.0, |a, b| a + b);
            assert_eq!(sums.collect_as_map().unwrap()[&Key(3)], sum);
        });
        few_keys(&|| {
            let sums = pairs.aggregate_by_key_ref_with(2, 0, |by, sum, v| sum + by * v.0, |a, b| a + b);
            assert_eq!(sums.collect_as_map().unwrap()[&Key(3)], 2 * sum);
        });
        few_keys(&|| {
            let sums = pairs.combine_by_key_ref(|v| v.0, |sum, v| sum + v.0, |a, b| a + b);
            assert_eq!(sums.collect_as_map().unwrap()[&Key(3)], sum);
        });
        few_keys(&|| {
            let sums = pairs.combine_by_key_ref_into(5, |v| v.0, |sum, v| sum + v.0, |a, b| a + b);
            assert_eq!(sums.collect_as_map().unwrap()[&Key(3)], sum);
        });
    }
}

#[test]
fn halves_that_are_kept_are_cloned_without_the_other_half() {
    counted!(Key, KEYS);
    counted!(Value, VALUES);
    let pairs = local4().range_n(0..ALL, 4).map(|i| (Key(i), Value(i))).cache();
    assert_eq!(pairs.count().unwrap(), ALL);
    let mut values = 0;
    let keys =
        clones(&KEYS, || values = clones(&VALUES, || assert_eq!(pairs.keys().collect().unwrap().len() as u64, ALL)));
    assert_eq!((keys, values), (ALL, 0));
    let keys = clones(&KEYS, || {
        values = clones(&VALUES, || assert_eq!(pairs.values().map(|v| v.0).sum().unwrap(), 7_998_000.0))
    });
    assert_eq!((keys, values), (0, ALL));
}
