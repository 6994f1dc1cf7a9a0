//! Joins: what is made of a cogrouped row.

use crate::func::Func;
use serde::{Deserialize, Serialize};

/// The rows that a join makes of one key: every left value with every right one, left first.
pub struct JoinRows<K, L, R> {
    key: K,
    left: Vec<L>,
    right: Vec<R>,
    at: (usize, usize),
}

impl<K: Clone, L: Clone, R: Clone> Iterator for JoinRows<K, L, R> {
    type Item = (K, (L, R));
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (i, j) = self.at;
        let row = (self.key.clone(), (self.left.get(i)?.clone(), self.right.get(j)?.clone()));
        self.at = if j + 1 < self.right.len() { (i, j + 1) } else { (i + 1, 0) };
        Some(row)
    }
}

fn rows<K, L, R>(key: K, left: Vec<L>, right: Vec<R>) -> JoinRows<K, L, R> {
    JoinRows { key, left, right, at: (0, 0) }
}

/// The values as they are if there are any, else one `None`.
fn or_none<V>(values: Vec<V>) -> Vec<Option<V>> {
    if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() }
}

macro_rules! joins {
    ($($(#[$doc:meta])* $name:ident($v:ident, $w:ident) -> ($l:ty, $r:ty) { $left:expr, $right:expr })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Serialize, Deserialize)]
        pub struct $name;
        impl<K: Clone, V: Clone, W: Clone> Func<(K, (Vec<V>, Vec<W>))> for $name {
            type Out = JoinRows<K, $l, $r>;
            #[inline]
            fn call(&self, (key, ($v, $w)): (K, (Vec<V>, Vec<W>))) -> Self::Out {
                rows(key, $left, $right)
            }
        }
    )*};
}

joins! {
    /// `join`: keys of both sides.
    Inner(v, w) -> (V, W) { v, w }
    /// `left_outer_join`: keys of the left side.
    LeftOuter(v, w) -> (V, Option<W>) { v, or_none(w) }
    /// `right_outer_join`: keys of the right side.
    RightOuter(v, w) -> (Option<V>, W) { or_none(v), w }
    /// `full_outer_join`: keys of either side.
    FullOuter(v, w) -> (Option<V>, Option<W>) { or_none(v), or_none(w) }
}

/// `intersection`: the key, if both sides have it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct InBoth;

impl<K> Func<(K, (Vec<()>, Vec<()>))> for InBoth {
    type Out = Option<K>;
    fn call(&self, (key, (left, right)): (K, (Vec<()>, Vec<()>))) -> Option<K> {
        (!left.is_empty() && !right.is_empty()).then_some(key)
    }
}
