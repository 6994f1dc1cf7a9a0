//! Several keyed RDDs brought together: for each key the values of each side.

use super::{
    read::{Side, SideStream, by_partition},
    table::{Entry, Table},
};
use crate::{
    Data, Key,
    partitioner::hash_of,
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use serde::{Deserialize, Serialize};

/// Adds a side's records to the table: `at` picks the side's list in a row.
struct Gather<'a, K, Row, F> {
    table: &'a mut Table<K, Row>,
    at: F,
}

impl<'a, K, Row, F> Gather<'a, K, Row, F> {
    fn new<V>(table: &'a mut Table<K, Row>, at: F) -> Self
    where
        F: Fn(&mut Row) -> &mut Vec<V>,
    {
        Gather { table, at }
    }
}

impl<K: Key, Row: Default, V, F: Fn(&mut Row) -> &mut Vec<V>> Sink<(K, V)> for Gather<'_, K, Row, F> {
    #[inline(always)]
    fn push<L: Lent<(K, V)>>(&mut self, mut item: L) -> bool {
        let hash = hash_of(&item.get().0);
        match self.table.find(hash, &item.get().0) {
            Some(row) => (self.at)(row).push(item.take().1),
            None => {
                let (key, value) = item.take();
                let mut row = Row::default();
                (self.at)(&mut row).push(value);
                self.table.insert(hash, key, row);
            }
        }
        true
    }
}

macro_rules! cogroup {
    ($(#[$doc:meta])* $name:ident, $stream:ident; $($v:ident $side:ident $at:tt),+) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(bound = "")]
        #[allow(missing_docs, reason = "one field for each side")]
        pub struct $name<K, $($v),+> {
            $(pub $side: Side<(K, $v)>,)+
            pub partitions: usize,
        }

        impl<K: Key, $($v: Data),+> Pipeline for $name<K, $($v),+> {
            type Item = (K, ($(Vec<$v>,)+));
            type Split = u32;
            type Stream = $stream<K, $($v),+>;
            fn open(&self, split: u32, task: &Task) -> Self::Stream {
                $stream {
                    $($side: Some(self.$side.open(split, task)),)+
                    state: State::Reading(Table::new()),
                }
            }
            by_partition!($($side),+);
        }

        /// The run of the operation of the same name: sides are read one after the other, then rows come out in the order in which
        /// their keys arrived first.
        pub struct $stream<K, $($v),+> {
            $($side: Option<SideStream<(K, $v)>>,)+
            state: State<K, ($(Vec<$v>,)+)>,
        }

        impl<K: Key, $($v: Data),+> Stream for $stream<K, $($v),+> {
            type Item = (K, ($(Vec<$v>,)+));
            #[inline]
            fn drive<S: Sink<Self::Item>>(&mut self, sink: &mut S) -> Flow {
                if let State::Reading(table) = &mut self.state {
                    $(
                        if let Some(side) = &mut self.$side {
                            let flow = side.drive(&mut Gather::new(table, |row| &mut row.$at));
                            if flow != Flow::Done {
                                return flow;
                            }
                            self.$side = None;
                        }
                    )+
                    self.state = State::Writing(std::mem::take(table).into_entries());
                }
                self.state.write(sink)
            }
        }
    };
}

enum State<K, Row> {
    Reading(Table<K, Row>),
    Writing(std::vec::IntoIter<Entry<K, Row>>),
}

impl<K: 'static, Row: 'static> State<K, Row> {
    fn write<S: Sink<(K, Row)>>(&mut self, sink: &mut S) -> Flow {
        if let State::Writing(entries) = self {
            for entry in entries {
                if !sink.push(Own((entry.key, entry.value))) {
                    return Flow::Full;
                }
            }
        }
        Flow::Done
    }
}

cogroup! {
    /// `cogroup`: two sides.
    CoGroup2, CoGroup2Stream; V a 0, W b 1
}
cogroup! {
    /// `cogroup2`: three sides.
    CoGroup3, CoGroup3Stream; V a 0, W b 1, X c 2
}
cogroup! {
    /// `cogroup3`: four sides.
    CoGroup4, CoGroup4Stream; V a 0, W b 1, X c 2, Y d 3
}
