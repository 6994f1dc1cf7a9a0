//! Narrow operations: one small file each, a pipeline that wraps its parent's.

mod cartesian;
mod coalesce;
mod filter;
mod flat_map;
mod flat_map_emit;
mod folded;
mod glimpsed;
mod glom;
mod halves;
mod map;
mod map_partitions;
mod pipe;
mod pruned;
mod pulled;
mod sample;
mod sample_by_key;
mod union;
mod zip;
mod zip_partitions;
mod zip_with_index;

pub use cartesian::{Cartesian, CartesianStream};
pub use coalesce::{Coalesce, CoalesceStream};
pub use filter::{Filter, FilterMap};
pub use flat_map::FlatMap;
pub use flat_map_emit::{Emit, FlatMapEmit};
pub use folded::Folded;
pub use glimpsed::Glimpsed;
pub use glom::Glom;
pub use halves::{First, Half, HalfOf, Halves, Second};
pub use map::{Map, MapRef};
pub use map_partitions::{EmitFunc, MapPartitions, PartitionFunc, WithIndex, Without};
pub use pipe::{AsLine, HeadFunc, Piped, PipedStream, Printer, Printing};
pub use pruned::{InRange, Pruned};
pub use sample::{CellStream, Dice, Draws, Mean, RandomCell, Sample, SampleStream, TimesStream};
pub use sample_by_key::{ByCount, ByFraction, CountKeys, SampleByKey, SampleByKeyExact, Share, shares_of};
pub use union::{Concat, MergeAlike};
pub use zip::Zip;
pub use zip_partitions::{ZipFunc, ZipPartitions, ZipPartitionsStream};
pub use zip_with_index::{ZipWithIndex, ZipWithUniqueId};

/// The parts of a pipeline that an operation with one parent and the parent's own splits passes on; `glimpses`, too, if what it makes
/// of an element depends on no other.
macro_rules! pass_on {
    ($parent:tt, glimpses) => {
        pass_on!($parent);
        fn glimpse(
            &self,
            split: &<P as $crate::pipeline::Pipeline>::Split,
        ) -> Option<(Vec<<P as $crate::pipeline::Pipeline>::Split>, f64)> {
            self.$parent.glimpse(split)
        }
    };
    ($parent:tt) => {
        fn splits(
            &self,
            plan: &dyn $crate::pipeline::Plan,
        ) -> firesteel_model::Result<Vec<<P as $crate::pipeline::Pipeline>::Split>> {
            self.$parent.splits(plan)
        }
        fn refers(&self, visit: &mut dyn FnMut(firesteel_model::RddId)) {
            self.$parent.refers(visit)
        }
        fn reads(
            &self,
            split: &<P as $crate::pipeline::Pipeline>::Split,
            visit: &mut dyn FnMut(firesteel_model::RddId, firesteel_model::PartitionIndex),
        ) {
            self.$parent.reads(split, visit)
        }
        fn locations(&self, split: &<P as $crate::pipeline::Pipeline>::Split) -> Vec<String> {
            self.$parent.locations(split)
        }
    };
}
pub(crate) use pass_on;
