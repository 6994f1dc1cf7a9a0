//! Erased crossings and iterators take batches that start small and stay bounded; segments are run flat, never nested.

use crate::hand::{Hand, Lineage};
use firesteel_model::RddId;
use firesteel_rdd::{Collect, Count, Erased, Map, MapPartitions, PartitionIter, Plain, RangeOf, Without};
use std::sync::atomic::{AtomicU64, Ordering};

fn taken(limit: u64, pipeline: impl firesteel_rdd::Pipeline<Item = u64>, lineage: &Lineage) -> Vec<u64> {
    let mut outs = Hand::new().run(lineage, pipeline, Collect { limit: Some(limit) });
    outs.remove(0).1.into_typed().unwrap()
}

#[test]
fn an_iterator_pulls_sixteen_elements_then_twice_as_many() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let seen = |wanted: usize| {
        let source = Map::new(
            RangeOf::new(0..1_000_000, 1),
            Plain::new(|i: u64| {
                SEEN.fetch_add(1, Ordering::Relaxed);
                i
            }),
        );
        let task = Hand::new().task(&Lineage::default(), 0, 1);
        use firesteel_rdd::Pipeline;
        SEEN.store(0, Ordering::Relaxed);
        let mut items = PartitionIter::new(source.open((0, 1_000_000), &task), &task);
        assert_eq!(items.by_ref().take(wanted).count(), wanted);
        SEEN.load(Ordering::Relaxed)
    };
    assert_eq!([seen(0), seen(1), seen(16), seen(17), seen(48), seen(49)], [0, 16, 16, 48, 48, 112]);
    // 16 + 32 + … + 1,024, and from there on 1,024 at a time.
    assert_eq!(seen(2_032), 2_032);
    assert_eq!(seen(2_033), 2_032 + 1_024);
    assert_eq!(seen(10_000), 2_032 + 8 * 1_024);
}

#[test]
fn an_erased_crossing_stays_lazy() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let mut lineage = Lineage::default();
    let source = RangeOf::new(0..1_000_000, 1);
    lineage.erase(
        RddId(0),
        Map::new(
            source,
            Plain::new(|i: u64| {
                SEEN.fetch_add(1, Ordering::Relaxed);
                i
            }),
        ),
    );
    assert_eq!(taken(3, Erased::of(RddId(0)), &lineage), [0, 1, 2]);
    assert_eq!(SEEN.swap(0, Ordering::Relaxed), 16);
    assert_eq!(taken(20, Erased::of(RddId(0)), &lineage).len(), 20);
    assert_eq!(SEEN.swap(0, Ordering::Relaxed), 48);
}

#[test]
fn the_iterator_says_how_much_is_left_once_it_knows() {
    let lengths = Plain::new(|mut items: PartitionIter<'static, u64>| {
        let mut hints = vec![items.size_hint().1.map_or(u64::MAX, |n| n as u64)];
        items.next();
        hints.push(items.size_hint().0 as u64);
        let rest = items.by_ref().count() as u64;
        hints.extend([rest, items.size_hint().1.map_or(u64::MAX, |n| n as u64)]);
        hints
    });
    let parts = Hand::new().collect(&Lineage::default(), MapPartitions::new(RangeOf::new(0..5, 1), Without(lengths)));
    assert_eq!(parts, [[u64::MAX, 4, 4, 0]]);
}

#[test]
fn a_long_erased_lineage_needs_no_deep_stack() {
    const STEPS: u64 = 20_000;
    // A thread with a small stack: one frame for each step would not fit.
    let run = || {
        let mut lineage = Lineage::default();
        lineage.erase(RddId(0), RangeOf::new(0..100, 1));
        for id in 1..=STEPS {
            lineage.erase(RddId(id), Map::new(Erased::<u64>::of(RddId(id - 1)), Plain::new(|i: u64| i + 1)));
        }
        let hand = Hand::new();
        assert_eq!(
            hand.collect(&lineage, Erased::<u64>::of(RddId(STEPS)))[0],
            (STEPS..STEPS + 100).collect::<Vec<_>>()
        );
        let mut counts = hand.run(&lineage, Erased::<u64>::of(RddId(STEPS)), Count);
        assert_eq!(*counts[0].1.typed::<u64>().unwrap(), 100);
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}
