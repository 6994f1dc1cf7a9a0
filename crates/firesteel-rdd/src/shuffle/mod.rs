//! The typed side of a shuffle: map tasks scatter or combine records into runs, readers take their partition's records in map
//! order.

mod aggregate;
mod cogroup;
mod combine;
mod dense;
mod few;
mod join;
mod lists;
mod outgoing;
mod probe;
mod read;
mod rows;
mod sort;
mod subtract;
mod table;
mod texts;
mod write;

pub use aggregate::{Aggregate, Combining, CombiningRef, Counting, Folding, Grouping, Reducing, Unique};
pub use cogroup::{CoGroup2, CoGroup3, CoGroup4};
pub use combine::{Combine, CombineStream};
pub use join::{FullOuter, InBoth, Inner, Join, JoinKind, JoinStream, LeftOuter, RightOuter};
pub use read::{ReadSide, RunStream, Side, SideStream};
pub use sort::{ByKey, ByKeyFunc, Order, Sorted, SortedStream};
pub use subtract::{Subtract, SubtractStream};
pub use table::Table;
pub use write::{MapWritten, Scatter, ScatterAlike, ScatterCombined, ScatterRoundRobin, ScatterSorted};
