//! How many bytes a task is sent in.

use firesteel_rdd::{Count, Ending, Filter, Map, Plain, RangeOf, Root, StageBytes, With};
use firesteel_store::record;
use std::sync::Arc;

fn bytes_of(root: impl Root) -> usize {
    let stage = StageBytes { nodes: vec![], code: root.code(), bytes: root.encode().unwrap() };
    record::to_vec(&stage).unwrap().len()
}

#[test]
fn an_operation_is_sent_as_the_name_of_its_code_and_its_environment() {
    let numbers = || RangeOf::new(0..1_000, 4);
    let none = bytes_of(Ending(Arc::new(numbers()), Arc::new(Count)));
    let doubled = Map::new(numbers(), Plain::new(|x: u64| x * 2));
    let some = Filter::new(doubled, Plain::new(|x: &u64| *x > 3));
    let three = Map::new(some.clone(), Plain::new(|x: u64| x + 1));
    let names = bytes_of(Ending(Arc::new(three), Arc::new(Count))) - none;
    assert!(none <= 64 && names <= 3 * 16, "{none} bytes for a stage, {names} for three operations");
    let with = Map::new(some, With::new(vec![1.0f64; 100], |env: &Vec<f64>, x: u64| x + env.len() as u64));
    let environment = bytes_of(Ending(Arc::new(with), Arc::new(Count))) - none;
    assert!((800..=860).contains(&environment), "{environment} bytes for an environment of 800");
}
