//! Several keyed RDDs brought together: for each key the values of each side.

use super::{
    few::Gathered,
    read::{PartByPart, Side, SideStream, by_partition},
    rows::{Aside, Leaving, Left, Row, Rows, replay},
};
use crate::{
    Data, Key,
    partitioner::hash_of,
    pipeline::Pipeline,
    stream::{Flow, Lent, Own, Sink, Stream},
    task::Task,
};
use firesteel_store::{
    Spilled,
    weigh::{self, Weigher},
};
use serde::{Deserialize, Serialize};

/// Adds a side's records to the rows: `at` picks the side's list in a row.
pub(super) struct Gather<'a, K, R, V, F> {
    rows: &'a mut Rows<K, R>,
    aside: &'a mut Aside<(K, V)>,
    weigher: Weigher,
    known_keys_only: bool,
    at: F,
}

impl<'a, K, R, V, C, F: Fn(&mut R) -> &mut C> Gather<'a, K, R, V, F> {
    pub(super) fn new(rows: &'a mut Rows<K, R>, aside: &'a mut Aside<(K, V)>, at: F) -> Self {
        Gather { rows, aside, weigher: Weigher::default(), known_keys_only: false, at }
    }

    /// Drops what belongs to keys that have no row, where that is all they would have.
    pub(super) fn known_keys_only(self, only: bool) -> Self {
        Gather { known_keys_only: only, ..self }
    }
}

impl<K: Key, R: Row + Default, V: Data, C: Gathered<V>, F: Fn(&mut R) -> &mut C> Sink<(K, V)>
    for Gather<'_, K, R, V, F>
{
    #[inline(always)]
    fn push<L: Lent<(K, V)>>(&mut self, mut item: L) -> bool {
        let hash = hash_of(&item.get().0);
        if let Some(row) = self.rows.find(hash, &item.get().0) {
            let owned = self.weigher.weigh(&item.get().1);
            let value = item.take_part(|pair| pair.1, |pair| pair.1.clone());
            let grown = (self.at)(row).gather(value);
            self.rows.grew(grown + owned);
        } else if !self.rows.is_open() {
            self.aside.push(item.get(), self.rows.disk());
        } else if !self.known_keys_only {
            let owned = self.weigher.weigh(item.get());
            let (key, value) = item.take();
            let mut row = R::default();
            let grown = (self.at)(&mut row).gather(value);
            self.rows.insert(hash, key, row, grown + owned);
        }
        true
    }
}

macro_rules! cogroup {
    ($(#[$doc:meta])* $name:ident, $stream:ident, $later:ident; $($v:ident $side:ident $at:tt),+) => {
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
                $(let mut $side = self.$side.open(split, task);)+
                $stream {
                    parts: PartByPart::begin([$(&mut $side),+]),
                    $($side: ($side, Aside::new(), false),)+
                    rows: Rows::new(task, "cogroup", |row| 0 $(+ weigh::of_vec(&row.$at))+),
                    state: None,
                }
            }
            by_partition!($($side),+);
        }

        impl<$($v: Data),+> Row for ($(Vec<$v>,)+) {}

        /// What waits for the next pass.
        struct $later<K, $($v),+> {
            rows: Option<Left<K, ($(Vec<$v>,)+)>>,
            $($side: Option<Spilled<(K, $v)>>,)+
        }

        /// The run of the operation of the same name: sides are read one after the other, then rows come out in the order in which
        /// their keys arrived first.
        pub struct $stream<K, $($v),+> {
            $(
                /// Says last whether the side's current part is read.
                $side: (SideStream<(K, $v)>, Aside<(K, $v)>, bool),
            )+
            /// Which parts of the partition are still to come.
            parts: PartByPart,
            rows: Rows<K, ($(Vec<$v>,)+)>,
            /// Once all sides are read: the rows that come out, and what waits.
            state: Option<(Leaving<K, ($(Vec<$v>,)+)>, Option<$later<K, $($v),+>>)>,
        }

        impl<K: Key, $($v: Data),+> $stream<K, $($v),+> {
            /// Lets out what has been gathered.
            fn write(&mut self) {
                $(let $side = self.$side.1.end(self.rows.disk());)+
                let (leaving, rows) = self.rows.end();
                let more = rows.is_some() $(|| $side.is_some())+;
                self.state = Some((leaving, more.then_some($later { rows, $($side),+ })));
            }

            /// Gathers what waited on disk.
            #[cold]
            fn again(&mut self, later: $later<K, $($v),+>) {
                let task = self.rows.disk().task().clone();
                if let Some(rows) = later.rows {
                    self.rows.begin(rows);
                }
                $(
                    let mut gather = Gather::new(&mut self.rows, &mut self.$side.1, |row| &mut row.$at);
                    replay(later.$side, &task, |record| {
                        gather.push(Own(record));
                    });
                )+
                self.write();
            }
        }

        impl<K: Key, $($v: Data),+> Stream for $stream<K, $($v),+> {
            type Item = (K, ($(Vec<$v>,)+));
            #[inline]
            fn drive<S: Sink<Self::Item>>(&mut self, sink: &mut S) -> Flow {
                loop {
                    if self.state.is_none() {
                        $(
                            let (side, aside, is_read) = &mut self.$side;
                            if !*is_read {
                                let flow = side.drive(&mut Gather::new(&mut self.rows, aside, |row| &mut row.$at));
                                if flow != Flow::Done {
                                    return flow;
                                }
                                *is_read = true;
                            }
                        )+
                        self.write();
                    }
                    while let Some((rows, later)) = &mut self.state {
                        for row in rows {
                            if !sink.push(Own(row)) {
                                return Flow::Full;
                            }
                        }
                        match later.take() {
                            Some(later) => self.again(later),
                            None => break,
                        }
                    }
                    if !self.parts.next([$(&mut self.$side.0),+]) {
                        return Flow::Done;
                    }
                    if let Some((left, _)) = self.state.take() {
                        self.rows.reuse(left);
                    }
                    $(self.$side.2 = false;)+
                }
            }
        }
    };
}

cogroup! {
    /// `cogroup`: two sides.
    CoGroup2, CoGroup2Stream, Later2; V a 0, W b 1
}
cogroup! {
    /// `cogroup2`: three sides.
    CoGroup3, CoGroup3Stream, Later3; V a 0, W b 1, X c 2
}
cogroup! {
    /// `cogroup3`: four sides.
    CoGroup4, CoGroup4Stream, Later4; V a 0, W b 1, X c 2, Y d 3
}
