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
