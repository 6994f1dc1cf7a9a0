//! The hash table of the reduce side, against the standard library's.

use firesteel_rdd::{Table, hash_of};
use proptest::prelude::*;
use std::collections::HashMap;

/// A key with few hashes, so that keys collide.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Clashing(u8);

impl std::hash::Hash for Clashing {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.0 % 3).hash(state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_holds_what_a_map_holds(keys in prop::collection::vec(0u8..40, 0..200)) {
        let mut table = Table::new();
        let mut model: HashMap<u8, Vec<usize>> = HashMap::new();
        for (i, &key) in keys.iter().enumerate() {
            let found = table.find(hash_of(&Clashing(key)), &Clashing(key)).is_some();
            prop_assert_eq!(found, model.contains_key(&key));
            prop_assert_eq!(table.contains(&Clashing(key)), found);
            table.entry(&Clashing(key), Vec::new).push(i);
            model.entry(key).or_default().push(i);
        }
        for (&key, places) in &model {
            prop_assert_eq!(&*table.entry(&Clashing(key), Vec::new), places);
        }
    }
}
