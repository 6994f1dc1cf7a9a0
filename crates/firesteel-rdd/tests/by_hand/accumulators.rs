//! Accumulators on their way: bound to the attempt where they are decoded in a task, on their own elsewhere.

use crate::hand::{Hand, Lineage};
use firesteel_model::AccumulatorId;
use firesteel_rdd::{Accumulator, ContextMark, LongAccumulator, enter};
use firesteel_store::record;
use proptest::prelude::*;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU32, Ordering},
};

fn texts(id: u64) -> (Accumulator<Vec<String>>, std::sync::Arc<dyn firesteel_rdd::AnyAccumulator>) {
    let merge = |all: &mut Vec<String>, more| all.extend(more);
    Accumulator::make(ContextMark::default(), AccumulatorId(id), "texts".into(), Vec::new(), merge)
}

#[test]
fn decoded_outside_of_a_task_it_counts_for_itself() {
    let (driver, _) = texts(1);
    driver.add(vec!["here".into()]);
    let there: Accumulator<Vec<String>> = record::from_slice(&record::to_vec(&driver).unwrap()).unwrap();
    assert_eq!((there.id(), there.name(), there.value()), (driver.id(), "texts", vec![]));
    there.add(vec!["there".into()]);
    assert_eq!(there.value(), ["there"]);
    assert_eq!(driver.value(), ["here"]);
}

#[test]
fn in_a_task_all_copies_add_to_the_attempt_and_the_driver_merges_its_update() {
    let (driver, any) = texts(1);
    let (count, count_any) = LongAccumulator::make(ContextMark::default(), AccumulatorId(2), "count".into());
    let sent = record::to_vec(&(&driver, &count)).unwrap();
    let task = Hand::new().task(&Lineage::default(), 0, 1);
    let current = enter(&task);
    let (a, n): (Accumulator<Vec<String>>, LongAccumulator) = record::from_slice(&sent).unwrap();
    let (b, _): (Accumulator<Vec<String>>, LongAccumulator) = record::from_slice(&sent).unwrap();
    a.add(vec!["a".into()]);
    std::thread::scope(|scope| scope.spawn(|| b.add(vec!["b".into()])).join().unwrap());
    n.add(40);
    n.add(2);
    assert_eq!(a.value(), ["a", "b"]);
    drop(current);
    assert!(driver.value().is_empty());
    for (id, update) in task.accumulators().updates().unwrap() {
        let any = if id == AccumulatorId(1) { &any } else { &count_any };
        let mut tally = any.tally();
        let (shown, total) = tally.add(&update).unwrap();
        assert_eq!(shown, total, "nothing was there before");
        any.merge(&update).unwrap();
    }
    assert_eq!(driver.value(), ["a", "b"]);
    assert_eq!((count.value(), count.count(), count.avg()), (42, 2, 21.0));
    assert_eq!(count_any.tally().add(&record::to_vec(&(0i64, 0u64)).unwrap()).unwrap().1, "42");
}

#[test]
fn one_that_came_with_a_task_is_no_element() {
    let (driver, _) = texts(1);
    let there: Accumulator<Vec<String>> = record::from_slice(&record::to_vec(&driver).unwrap()).unwrap();
    let error = record::to_vec(&there).unwrap_err().to_string();
    assert!(error.contains("accumulator \"texts\"") && error.contains("environments only"), "{error}");
}

#[test]
fn two_types_under_one_id_are_refused() {
    let (driver, _) = texts(1);
    let (other, _) = LongAccumulator::make(ContextMark::default(), AccumulatorId(1), "count".into());
    let task = Hand::new().task(&Lineage::default(), 0, 1);
    let _current = enter(&task);
    let first: Result<Accumulator<Vec<String>>, _> = record::from_slice(&record::to_vec(&driver).unwrap());
    first.unwrap();
    let second: Result<LongAccumulator, _> = record::from_slice(&record::to_vec(&other).unwrap());
    assert!(second.unwrap_err().to_string().contains("two types"));
}

#[test]
fn reset_in_a_task_takes_back_what_it_added_to_the_zero() {
    // A type without a default, and a zero that would be none.
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Level {
        Low(u32),
        High,
    }
    let merge = |a: &mut Level, b: Level| *a = b;
    let (driver, _) = Accumulator::make(ContextMark::default(), AccumulatorId(1), "level".into(), Level::Low(7), merge);
    let sent = record::to_vec(&driver).unwrap();
    let task = Hand::new().task(&Lineage::default(), 0, 1);
    let _current = enter(&task);
    let there: Accumulator<Level> = record::from_slice(&sent).unwrap();
    there.add(Level::High);
    assert_eq!(there.value(), Level::High);
    there.reset();
    assert_eq!(there.value(), Level::Low(7));
}

#[test]
fn merging_an_update_clones_nothing_of_what_is_there() {
    static CLONES: AtomicU32 = AtomicU32::new(0);
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Seen(Vec<u64>);
    impl Clone for Seen {
        fn clone(&self) -> Self {
            CLONES.fetch_add(1, Ordering::Relaxed);
            Seen(self.0.clone())
        }
    }
    let merge = |a: &mut Seen, b: Seen| a.0.extend(b.0);
    let (driver, any) = Accumulator::make(ContextMark::default(), AccumulatorId(1), "seen".into(), Seen(vec![]), merge);
    let made = CLONES.load(Ordering::Relaxed);
    for i in 0..100u64 {
        any.merge(&record::to_vec(&vec![i]).unwrap()).unwrap();
    }
    assert_eq!(CLONES.load(Ordering::Relaxed), made);
    assert_eq!(driver.value().0.len(), 100);
}

#[test]
fn a_merge_that_panics_ends_that_update_only() {
    let (driver, any) = Accumulator::make(
        ContextMark::default(),
        AccumulatorId(1),
        "small".into(),
        1u64,
        |sum: &mut u64, more: u64| {
            *sum += more;
            assert!(*sum < 10, "too large");
        },
    );
    any.merge(&record::to_vec(&5u64).unwrap()).unwrap();
    let update = record::to_vec(&5u64).unwrap();
    assert!(any.tally().add(&update).is_none());
    catch_unwind(AssertUnwindSafe(|| any.merge(&update))).unwrap_err();
    assert_eq!(driver.value(), 11);
    driver.reset();
    any.merge(&update).unwrap();
    assert_eq!(driver.value(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_are_no_update_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let (driver, any) = texts(1);
        if any.merge(&bytes).is_err() {
            prop_assert!(driver.value().is_empty());
        }
        any.tally().add(&bytes);
        let _: Result<Accumulator<Vec<String>>, _> = record::from_slice(&bytes);
    }
}
