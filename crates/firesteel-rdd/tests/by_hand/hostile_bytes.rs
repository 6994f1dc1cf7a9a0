//! Bytes that nobody of ours wrote: stages, nodes, splits, partitioners. An error, never a panic.

use crate::hand::{Hand, Lineage, failure_of};
use firesteel_model::{PartitionIndex, RddId, ShuffleId};
use firesteel_rdd::{
    Combine, Count, Ending, Erased, Filter, KeyPartitioner, Map, MapOutputs, MapPartitions, Node, NodeBytes,
    PartitionIter, Piece, Plain, RangeOf, RangePartitioner, Reducing, Root, ScatterCombined, SplitBytes, StageBytes,
    Task, TaskFailure, With, Without,
};
use firesteel_store::record;
use proptest::prelude::*;
use std::sync::Arc;

/// A stage with an erased node, environments, a partitioner and a shuffle on either side.
fn stage() -> StageBytes {
    let add = Reducing(Plain::new(|a: u64, b: u64| a + b));
    let read = Combine::<String, u64, _>::parts(ShuffleId(3), add.clone(), 4);
    let node = Piece(Arc::new(read));
    let nodes = vec![NodeBytes { rdd: RddId(9), code: node.code(), bytes: node.encode().unwrap() }];
    let env = vec!["a".to_string(), "b".to_string()];
    let parent = Erased::<(String, u64)>::of(RddId(9));
    let known = With::new(env, |env: &Vec<String>, pair: &(String, u64)| env.contains(&pair.0));
    let bounds = vec!["g".to_string(), "q".to_string()];
    let partitioner = KeyPartitioner::of(RangePartitioner::from_bounds(bounds, true));
    let action = ScatterCombined { shuffle: ShuffleId(4), partitioner, aggregate: add };
    let root = Ending(Arc::new(Filter::new(parent, known)), Arc::new(action));
    StageBytes { nodes, code: root.code(), bytes: root.encode().unwrap() }
}

fn task() -> Task {
    let task = Hand::new().task(&Lineage::default(), 0, 1);
    // Whatever starts to run after all stops at its first look.
    task.kill_flag().kill();
    task
}

fn decode_stage(bytes: &[u8]) {
    if let Ok(stage) = record::from_slice::<StageBytes>(bytes) {
        let task = task();
        let _ = stage.decode(&task);
        task.close();
    }
}

/// Runs a good stage on any split.
fn run_split(root: &dyn Root, split: &[u8]) {
    let stage = StageBytes { nodes: vec![], code: root.code(), bytes: root.encode().unwrap() };
    let task = task();
    let root = stage.decode(&task).unwrap();
    let failure = failure_of(|| root.run(SplitBytes::Bytes(split), &task));
    assert!(matches!(failure, Some(TaskFailure::Engine(_) | TaskFailure::Killed)), "{failure:?}");
    task.close();
}

#[test]
fn a_stage_survives_being_sent() {
    let bytes = record::to_vec(&stage()).unwrap();
    let there: StageBytes = record::from_slice(&bytes).unwrap();
    there.decode(&task()).map(|_| ()).unwrap();
}

#[test]
fn a_root_in_the_place_of_a_node_is_refused() {
    let good = stage();
    let swapped = StageBytes { code: good.nodes[0].code, ..good.clone() };
    let error = swapped.decode(&task()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("stage's code"), "{error}");
    let mut swapped = good.clone();
    swapped.nodes[0].code = good.code;
    assert!(swapped.decode(&task()).is_err());
}

#[test]
fn a_stage_whose_node_is_missing_says_which() {
    let mut stage = stage();
    stage.nodes.clear();
    let task = Hand::new().task(&Lineage::default(), 0, 1);
    let root = stage.decode(&task).unwrap();
    let failure = failure_of(|| root.run(SplitBytes::Index(PartitionIndex(0)), &task));
    match failure {
        Some(TaskFailure::Engine(e)) => assert!(e.to_string().contains("RDD 9"), "{e}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_rdd_read_as_another_type_is_an_error() {
    let mut lineage = Lineage::default();
    lineage.erase(RddId(1), RangeOf::new(0..10, 1));
    let failure = failure_of(|| Hand::new().run(&lineage, Erased::<String>::of(RddId(1)), Count));
    assert!(matches!(failure, Some(TaskFailure::Engine(_))), "{failure:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_stage_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_stage(&bytes);
        let _ = record::from_slice::<NodeBytes>(&bytes);
        let _ = record::from_slice::<MapOutputs>(&bytes);
        let _ = record::from_slice::<KeyPartitioner<String>>(&bytes);
        let _ = record::from_slice::<RangePartitioner<String>>(&bytes);
    }

    #[test]
    fn any_damage_to_a_stage_is_an_error_or_another_stage(
        at in any::<prop::sample::Index>(), with: u8, cut in any::<prop::sample::Index>()
    ) {
        let good = stage();
        let mut bytes = record::to_vec(&good).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        decode_stage(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        decode_stage(&bytes);
        for damage in 0..2 {
            let mut stage = good.clone();
            let inner = if damage == 0 { &mut stage.bytes } else { &mut stage.nodes[0].bytes };
            let at = at % inner.len();
            inner[at] ^= with;
            decode_stage(&record::to_vec(&stage).unwrap());
        }
    }

    #[test]
    fn any_split_is_a_split_or_an_error(split in prop::collection::vec(any::<u8>(), 0..40)) {
        let sum = Plain::new(|items: PartitionIter<'static, u64>| [items.sum::<u64>()]);
        let range = MapPartitions::new(Map::new(RangeOf::new(0..10, 2), Plain::new(|i: u64| i + 1)), Without(sum));
        run_split(&Ending(Arc::new(range), Arc::new(Count)), &split);
        run_split(&Ending(Arc::new(firesteel_rdd::TextFile::new(Arc::default())), Arc::new(Count)), &split);
    }
}
