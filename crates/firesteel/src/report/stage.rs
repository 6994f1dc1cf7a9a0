//! A stage and its RDDs, as events describe them.

use crate::{graph::RddNode, plan::Stage, properties::Properties};
use firesteel_events::event::{RddInfo, RddScope, StageInfo};
use firesteel_model::{RddId, StorageLevel};
use firesteel_scheduler::StageOutput;
use std::{collections::HashMap, sync::Arc};

/// What all attempts of a stage have in common.
pub(super) fn info(stage: &Stage, properties: &Properties) -> StageInfo {
    // What a thread says about its call sites is about its actions; map stages are named by the RDD that they compute.
    let said = match stage.spec.output {
        StageOutput::Result => super::said_call_site(properties),
        StageOutput::Shuffle(_) => None,
    };
    let site = &stage.call_site;
    StageInfo {
        id: stage.spec.stage,
        name: said.map_or_else(|| site.to_string().into(), Into::into),
        rdds: rdds(stage),
        parents: stage.parents.as_slice().into(),
        details: format!("{} at {}", site.method, site.at).into(),
        ..StageInfo::default()
    }
}

/// From the last to the first.
fn rdds(stage: &Stage) -> Arc<[RddInfo]> {
    // Operations that are one loop with their parent have as many partitions as it has; where another number is possible, the
    // RDD knows its own.
    let mut partitions: HashMap<RddId, u32> = HashMap::from([(stage.rdd.id, stage.spec.tasks)]);
    let mut of = |node: &RddNode| {
        let from_child = partitions.get(&node.id).copied().unwrap_or(stage.spec.tasks);
        let own = node.known_partitions().map_or(from_child, |count| count as u32);
        let parents = node.parents();
        for parent in &parents {
            partitions.entry(parent.id).or_insert(own);
        }
        RddInfo {
            id: node.id,
            name: node.name().map_or_else(|| node.kind.into(), Into::into),
            scope: Some(Arc::new(RddScope {
                id: node.id.to_string(),
                name: node.call_site.method.into(),
                parent: None,
            })),
            call_site: node.call_site.to_string().into(),
            parents: parents.iter().map(|parent| parent.id).collect(),
            level: node.cache.as_ref().map_or(StorageLevel::NONE, |cache| cache.level()),
            partitions: own,
            ..RddInfo::default()
        }
    };
    stage.lineage.iter().map(|node| of(node)).collect()
}
