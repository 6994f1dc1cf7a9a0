//! Arguments that cannot be meant: an error that names them, at once.

use firesteel::prelude::*;

#[test]
fn more_partitions_than_a_driver_can_know_are_an_error() {
    let sc = Context::builder().master("local[2]").build().unwrap();
    let numbers = sc.range_n(0..10, 2).erase();
    let pairs = numbers.map(|i| (i, i)).erase();
    let wide = sc.range_n(0..10, 100_000).erase();
    for many in [1 << 33, usize::MAX] {
        for (what, found) in [
            ("range_n", sc.range_n(0..3, many).num_partitions()),
            ("range_step_n", sc.range_step_n(0..3, 1, many).num_partitions()),
            ("parallelize_n", sc.parallelize_n([1, 2, 3], many).num_partitions()),
            ("repartition", numbers.repartition(many).num_partitions()),
            ("reduce_by_key_into", pairs.reduce_by_key_into(many, |a, b| a + b).num_partitions()),
            ("partition_by", pairs.partition_by(many).num_partitions()),
            ("join_into", pairs.join_into(&pairs, many).num_partitions()),
            ("sort_by_n", numbers.sort_by_n(|i| *i, true, many).num_partitions()),
            ("distinct_into", numbers.distinct_into(many).num_partitions()),
            ("cartesian", wide.cartesian(&wide).num_partitions()),
        ] {
            let error = found.expect_err(what).to_string();
            assert!(error.contains("partitions are too many"), "{what}: {error}");
        }
    }
    assert_eq!(numbers.coalesce(usize::MAX).num_partitions().unwrap(), 2);
    assert_eq!(numbers.take(usize::MAX).unwrap().len(), 10);
}

#[test]
fn rdds_of_two_contexts_are_not_mixed_up() {
    let contexts = [1, 2].map(|n| Context::builder().master(format!("local[{n}]")).build().unwrap());
    let [here, there] = contexts.each_ref().map(|sc| sc.range_n(0..3, 1).map(|i| (i, i)).erase());
    for (what, found) in [
        ("union", here.union(&there).count()),
        ("join", here.join(&there).count()),
        ("zip", here.zip(&there).count()),
        ("cartesian", here.cartesian(&there).count()),
        ("a step later", here.subtract(&there).map(|pair| pair.0).filter(|i| *i > 0).count()),
    ] {
        let error = found.expect_err(what).to_string();
        assert!(error.contains("belongs to another context"), "{what}: {error}");
    }
    assert_eq!(here.count().unwrap() + there.count().unwrap(), 6);
}

#[test]
fn what_belongs_to_one_context_is_not_read_in_anothers_tasks() {
    let [here, there] = [1, 2].map(|n| Context::builder().master(format!("local[{n}]")).build().unwrap());
    // Each has the number of one of the other's.
    let (ours, theirs) = (here.broadcast(1u64), there.broadcast(2u64));
    let (our_sum, their_sum) = (here.long_accumulator("ours"), there.long_accumulator("theirs"));
    let their_text = there.accumulator("text", String::new(), |a, b: String| a.push_str(&b));
    let numbers = here.range_n(0..4, 2).erase();
    let refused = |what: &str, found: Result<u64>| {
        let error = found.expect_err(what).to_string();
        assert!(error.contains(what) && error.contains("belongs to another context"), "{what}: {error}");
    };
    refused("broadcast 0", numbers.map_with(theirs.clone(), |b, x| x + b.value()).count());
    refused("broadcast 0", numbers.map_with((1, vec![theirs.clone()]), |(_, b), x| x + b[0].value()).erase().count());
    refused("broadcast 0", numbers.map_with(theirs, |b, x| (x + b.value(), x)).group_by_key().count());
    refused("\"theirs\"", numbers.for_each_with(their_sum.clone(), |sum, _| sum.add(1)).map(|()| 0));
    refused("\"text\"", numbers.for_each_with(their_text, |text, _| text.add("x".into())).map(|()| 0));
    assert_eq!((our_sum.value(), their_sum.value()), (0, 0));
    // In their own they are as ever.
    let sum = numbers.map_with((ours, our_sum.clone()), |(b, sum), x| {
        sum.add(1);
        x + b.value()
    });
    assert_eq!((sum.reduce(|a, b| a + b).unwrap(), our_sum.value()), (10, 4));
}

/// What would fail the job in a task fails the action on the driver, in the same words.
fn told_on_the_driver<R: std::fmt::Debug>(what: &str, message: &str, found: Result<R>) {
    match found {
        Err(Error::Function { call_site, message: told }) => {
            assert!(call_site.starts_with(&format!("{what} at mistakes.rs:")), "{what}: {call_site}");
            assert!(told.contains(message), "{what}: {told}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_panic_where_the_driver_merges_is_the_actions_error() {
    let sc = Context::builder().master("local[2]").build().unwrap();
    // One element in each partition: the functions are called on the driver only.
    let two = sc.range_n(0..2, 2).erase();
    let pairs = two.map(|i| (0, i)).erase();
    let sevens = |what: &str, found: Result<u64>| told_on_the_driver(what, "panicked at", found);
    sevens("reduce", two.reduce(|_, _| panic!("seven")));
    sevens("reduce_with", two.reduce_with(7, |n, _, _| panic!("{n}")));
    sevens("fold", two.fold(0, |a, b| if a > 0 { panic!("seven") } else { a + b + 1 }));
    sevens("fold_with", two.fold_with(7, 0, |n, a, b| if a > 0 { panic!("{n}") } else { a + b + 1 }));
    sevens("aggregate", two.aggregate(0, |a, b| a + b, |_, _| panic!("seven")));
    sevens("aggregate_with", two.aggregate_with(7, 0, |_, a, b| a + b, |_, _| panic!("seven")));
    sevens("aggregate_ref", two.aggregate_ref(0, |a, b| a + b, |_, _| panic!("seven")));
    sevens("tree_reduce", two.tree_reduce(|_, _| panic!("seven")));
    sevens(
        "tree_aggregate",
        two.tree_aggregate(0, |a, b| a + b, |a, b| if a > 0 { panic!("seven") } else { a + b + 1 }),
    );
    sevens("max_by", two.max_by(|_, _| panic!("seven")));
    sevens("reduce_by_key_locally", pairs.reduce_by_key_locally(|_, _| panic!("seven")).map(|_| 0));
    assert_eq!(two.reduce(|a, b| a + b).unwrap(), 1);
}

#[test]
fn a_partitioner_that_goes_wrong_on_the_driver_is_the_lookups_error() {
    #[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Odd;
    impl Partitioner<u64> for Odd {
        fn num_partitions(&self) -> usize {
            2
        }
        fn partition(&self, key: &u64) -> usize {
            assert!(*key != 7, "seven");
            *key as usize
        }
    }
    let sc = Context::builder().master("local[2]").build().unwrap();
    let spread = sc.range_n(0..2, 2).map(|i| (i, i)).partition_by(Odd);
    assert_eq!(spread.lookup(&1).unwrap(), [1]);
    told_on_the_driver("lookup", "`partition` must be less than `num_partitions`", spread.lookup(&99));
    told_on_the_driver("lookup", "seven", spread.lookup(&7));
    sc.stop().unwrap();
    assert!(matches!(spread.lookup(&1), Err(Error::Stopped(_))));
}

#[test]
fn what_is_wrong_with_an_environment_is_told_without_the_pipelines_types() {
    #[derive(Clone, serde::Serialize)]
    struct Torn(u8);
    impl<'de> serde::Deserialize<'de> for Torn {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
            Err(serde::de::Error::custom("it was torn"))
        }
    }
    let sc = Context::builder().master("local[2]").build().unwrap();
    let torn = sc.range_n(0..4, 2).filter(|i| i % 2 == 0).map_with(Torn(1), |torn, i| i + u64::from(torn.0)).count();
    let gone = sc.broadcast(1u64);
    gone.destroy().unwrap();
    let gone = sc.range_n(0..4, 2).filter(|i| i % 2 == 0).map_with((1, gone), |(_, b), i| i + b.value()).count();
    for (found, told) in [(torn, "it was torn (in a `"), (gone, "broadcast 0 is used after it was destroyed")] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains("firesteel_rdd::"), "{error}");
    }
}
