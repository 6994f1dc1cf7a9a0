//! Actions with a time limit. Time stands still but for where a test moves it.

use crate::masters::{any_context, any_partitions, config, contexts, kept, spread};
use firesteel::{
    __private::{ManualClock, Moment},
    prelude::*,
};
use proptest::prelude::*;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(3600);

/// A context whose one thread stops before a partition until it is let go: what was before it is done by then.
struct Halting {
    context: Context,
    clock: ManualClock,
    halted: Mutex<Receiver<()>>,
    go: Sender<()>,
}

impl Halting {
    fn before(partition: usize) -> Self {
        let (tell, halted) = channel();
        let (go, may_go) = channel::<()>();
        let clock = ManualClock::default();
        let may_go = Arc::new(Mutex::new(may_go));
        let context = Context::builder().master("local[1]").clock(clock.clone()).tamper(move |info, _, moment| {
            if moment == Moment::Before && info.partition.index() == partition {
                let _ = tell.send(());
                let _ = may_go.lock().unwrap().recv();
            }
        });
        Halting { context: context.build().unwrap(), clock, halted: Mutex::new(halted), go }
    }

    /// Waits until two partitions are done, and lets the time limit pass.
    fn let_time_pass(&self) {
        self.halted.lock().unwrap().recv().unwrap();
        self.clock.advance(LIMIT);
        self.context.tick();
    }

    /// What is known of an action at the time limit, when two partitions are done, and the job's last word.
    fn two_done<R: Clone + Send>(&self, action: impl Fn(&Context) -> Result<PartialResult<R>> + Sync) -> (R, R) {
        std::thread::scope(|scope| {
            let partial = scope.spawn(|| action(&self.context).unwrap());
            self.let_time_pass();
            let partial = partial.join().unwrap();
            assert!(!partial.is_final());
            let initial = partial.initial_value().clone();
            self.go.send(()).unwrap();
            (initial, partial.final_value().unwrap())
        })
    }
}

fn numbers(sc: &Context) -> Rdd<u64> {
    sc.range_n(0..1000, 10).erase()
}

#[test]
fn a_count_in_time_is_an_estimate_from_what_is_done() {
    let (at_limit, at_end) = Halting::before(2).two_done(|sc| numbers(sc).count_approx(LIMIT, 0.95));
    assert_eq!((at_limit.mean(), at_limit.confidence()), (1000.0, 0.95));
    assert!(200.0 < at_limit.low() && at_limit.low() < 1000.0, "{at_limit}");
    assert!(1000.0 < at_limit.high() && at_limit.high() < 1200.0, "{at_limit}");
    assert_eq!((at_end.mean(), at_end.confidence(), at_end.low(), at_end.high()), (1000.0, 1.0, 1000.0, 1000.0));
}

#[test]
fn counts_of_values_and_keys_are_estimates_of_those_that_were_seen() {
    let halting = Halting::before(2);
    let (at_limit, at_end) = halting.two_done(|sc| numbers(sc).map(|i| i / 150).count_by_value_approx(LIMIT, 0.9));
    assert_eq!(at_limit.len(), 2);
    assert_eq!((at_limit[&0].mean(), at_limit[&1].mean()), (750.0, 250.0));
    assert_eq!(at_end.len(), 7);
    assert_eq!((at_end[&0].low(), at_end[&6].high()), (150.0, 100.0));
    let (at_limit, at_end) = halting.two_done(|sc| numbers(sc).map(|i| (i % 2, i)).count_by_key_approx(LIMIT, 0.9));
    assert_eq!((at_limit[&0], at_limit[&1].mean()), (at_limit[&1], 500.0));
    assert_eq!(at_end[&1].low(), 500.0);
}

#[test]
fn means_and_sums_are_estimates_from_what_is_done() {
    let halting = Halting::before(2);
    let (at_limit, at_end) = halting.two_done(|sc| numbers(sc).mean_approx(LIMIT, 0.95));
    assert_eq!((at_limit.mean(), at_end.mean()), (99.5, 499.5));
    assert!((at_limit.high() - 99.5 - 1.959964 * 57.8792 / 200f64.sqrt()).abs() < 1e-3, "{at_limit}");
    let (at_limit, at_end) = halting.two_done(|sc| numbers(sc).sum_approx(LIMIT, 0.95));
    assert_eq!((at_limit.mean(), at_end.mean()), (99_500.0, 499_500.0));
    assert!(at_limit.low() < 99_500.0 && 99_500.0 < at_limit.high());
}

#[test]
fn a_job_that_fails_late_says_so_in_the_end() {
    let halting = Halting::before(2);
    let partial = std::thread::scope(|scope| {
        let failing = scope.spawn(|| {
            numbers(&halting.context)
                .try_map(|i| if i == 999 { Err("the last one") } else { Ok(i) })
                .count_approx(LIMIT, 0.9)
        });
        halting.let_time_pass();
        failing.join().unwrap().unwrap()
    });
    assert_eq!(partial.initial_value().mean(), 1000.0);
    halting.go.send(()).unwrap();
    assert!(partial.final_value().unwrap_err().to_string().contains("the last one"));
}

#[test]
fn a_job_that_fails_in_time_is_an_error() {
    let bad = contexts()[1].range(0..10).try_map(|i| if i == 3 { Err("three") } else { Ok(i) });
    assert!(bad.count_approx(LONG, 0.9).unwrap_err().to_string().contains("three"));
}

#[test]
fn an_answer_that_is_dropped_does_not_end_its_job() {
    let halting = Halting::before(2);
    let seen = halting.context.long_accumulator("seen");
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let counted = halting.context.parallelize_n(0..30, 3).map_with(seen.clone(), |seen, _| seen.add(1));
            drop(counted.count_approx(LIMIT, 0.9).unwrap());
        });
        halting.let_time_pass();
        counting.join().unwrap();
    });
    halting.go.send(()).unwrap();
    // Waits for the one thread.
    halting.context.range_n(0..1, 1).count().unwrap();
    assert_eq!(seen.value(), 30);
}

#[test]
fn without_any_time_nothing_is_known_at_first() {
    let halting = Halting::before(0);
    let counted = numbers(&halting.context).count_approx(Duration::ZERO, 0.9).unwrap();
    assert_eq!((counted.initial_value().low(), counted.initial_value().confidence()), (0.0, 0.0));
    assert_eq!(counted.initial_value().high(), f64::INFINITY);
    halting.go.send(()).unwrap();
    assert_eq!(counted.final_value().unwrap().mean(), 1000.0);
}

#[test]
fn a_confidence_is_between_0_and_1() {
    let rdd = contexts()[1].range(0..10);
    for bad in [-0.1, 1.1, f64::NAN] {
        let e = rdd.count_approx(LONG, bad).unwrap_err().to_string();
        assert!(e.contains("confidence must be between 0 and 1"), "{e}");
        assert!(rdd.sum_approx(LONG, bad).is_err() && rdd.mean_approx(LONG, bad).is_err());
        assert!(rdd.count_by_value_approx(LONG, bad).is_err());
        assert!(rdd.map(|i| (i, i)).count_by_key_approx(LONG, bad).is_err());
    }
    assert!(rdd.count_approx(LONG, 0.0).is_ok() && rdd.count_approx(LONG, 1.0).is_ok());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_done_in_time_is_exact(
        sc in any_context(),
        items in prop::collection::vec(-9i64..9, 0..50),
        n in any_partitions(),
    ) {
        let rdd = spread(&sc, &items, n);
        let items = kept(&items, n);
        let counted = rdd.count_approx(LONG, 0.95)?;
        prop_assert!(counted.is_final());
        prop_assert_eq!(counted.final_value()?.low(), items.len() as f64);
        let mut counts: HashMap<i64, f64> = HashMap::new();
        items.iter().for_each(|x| *counts.entry(*x).or_default() += 1.0);
        let exact = |found: HashMap<i64, BoundedDouble>| -> HashMap<i64, f64> {
            found.into_iter().map(|(item, count)| (item, count.high())).collect()
        };
        prop_assert_eq!(exact(rdd.count_by_value_approx(LONG, 0.95)?.final_value()?), counts.clone());
        prop_assert_eq!(exact(rdd.map(|x| (x, ())).count_by_key_approx(LONG, 0.95)?.final_value()?), counts);
        let sum: i64 = items.iter().sum();
        prop_assert!((rdd.sum_approx(LONG, 0.95)?.final_value()?.mean() - sum as f64).abs() < 1e-9);
        let mean = if items.is_empty() { 0.0 } else { sum as f64 / items.len() as f64 };
        prop_assert!((rdd.mean_approx(LONG, 0.95)?.final_value()?.mean() - mean).abs() < 1e-9);
    }
}
