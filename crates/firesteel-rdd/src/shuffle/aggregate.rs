//! How the values of one key become one: the functions behind every `…_by_key`.

use crate::{
    Data,
    func::{Func, FuncRef, Merge, MergeRef, Step},
    stream::Lent,
};
use firesteel_store::weigh;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Three functions, as Spark's aggregator has them: from the first value, for a further value, for two partial results. Values
/// are lent: what only looks at them clones none.
pub trait Aggregate<V>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// A partial result.
    type Part: Data;
    /// Whether a partial result begins with a zero, which counts once for each key and map partition.
    const HAS_ZERO: bool = false;
    /// Whether map sides aggregate what they have before they send it.
    const COMBINES: bool = true;
    /// Of a partial result that is nothing but all values, in order: what makes it of them at once.
    const OF_ALL: Option<fn(&[V]) -> Self::Part> = None;
    /// Starts with a value.
    fn create<L: Lent<V>>(&self, value: L) -> Self::Part;
    /// Adds a value.
    fn add<L: Lent<V>>(&self, part: Self::Part, value: L) -> Self::Part;
    /// Merges two partial results, the earlier one first.
    fn merge(&self, a: Self::Part, b: Self::Part) -> Self::Part;
    /// What a partial result owns outside itself, by estimate, in bytes.
    fn owned(part: &Self::Part) -> u64 {
        weigh::owned(part)
    }
}

/// `reduce_by_key`: values are merged as they are.
#[derive(Clone, Serialize, Deserialize)]
pub struct Reducing<C>(pub C);

impl<V: Data, C: Merge<V, V, Out = V>> Aggregate<V> for Reducing<C> {
    type Part = V;
    #[inline(always)]
    fn create<L: Lent<V>>(&self, value: L) -> V {
        value.take()
    }
    #[inline(always)]
    fn add<L: Lent<V>>(&self, part: V, value: L) -> V {
        self.0.call(part, value.take())
    }
    #[inline(always)]
    fn merge(&self, a: V, b: V) -> V {
        self.0.call(a, b)
    }
}

/// `combine_by_key`: three functions of the user's.
#[derive(Clone, Serialize, Deserialize)]
pub struct Combining<N, M, C>(pub N, pub M, pub C);

impl<V, A, N, M, C> Aggregate<V> for Combining<N, M, C>
where
    A: Data,
    N: Func<V, Out = A>,
    M: Merge<A, V, Out = A>,
    C: Merge<A, A, Out = A>,
{
    type Part = A;
    #[inline(always)]
    fn create<L: Lent<V>>(&self, value: L) -> A {
        self.0.call(value.take())
    }
    #[inline(always)]
    fn add<L: Lent<V>>(&self, part: A, value: L) -> A {
        self.1.call(part, value.take())
    }
    #[inline(always)]
    fn merge(&self, a: A, b: A) -> A {
        self.2.call(a, b)
    }
}

/// `combine_by_key_ref`: three functions of the user's, two of which only look at values.
#[derive(Clone, Serialize, Deserialize)]
pub struct CombiningRef<N, M, C>(pub N, pub M, pub C);

impl<V, A, N, M, C> Aggregate<V> for CombiningRef<N, M, C>
where
    A: Data,
    N: FuncRef<V, Out = A>,
    M: MergeRef<A, V, Out = A>,
    C: Merge<A, A, Out = A>,
{
    type Part = A;
    #[inline(always)]
    fn create<L: Lent<V>>(&self, mut value: L) -> A {
        self.0.call(value.get())
    }
    #[inline(always)]
    fn add<L: Lent<V>>(&self, part: A, mut value: L) -> A {
        self.1.call(part, value.get())
    }
    #[inline(always)]
    fn merge(&self, a: A, b: A) -> A {
        self.2.call(a, b)
    }
}

/// `aggregate_by_key` and `fold_by_key`: a zero for each key in each map partition, a function that adds a value, one that merges.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "A: Data, S: Serialize + DeserializeOwned, C: Serialize + DeserializeOwned")]
pub struct Folding<A, S, C>(pub A, pub S, pub C);

impl<V, A, S, C> Aggregate<V> for Folding<A, S, C>
where
    A: Data,
    S: Step<A, V>,
    C: Merge<A, A, Out = A>,
{
    type Part = A;
    const HAS_ZERO: bool = true;
    #[inline(always)]
    fn create<L: Lent<V>>(&self, value: L) -> A {
        self.1.step(self.0.clone(), value)
    }
    #[inline(always)]
    fn add<L: Lent<V>>(&self, part: A, value: L) -> A {
        self.1.step(part, value)
    }
    #[inline(always)]
    fn merge(&self, a: A, b: A) -> A {
        self.2.call(a, b)
    }
}

/// `group_by_key`: all values, in order of arrival.
#[derive(Clone, Serialize, Deserialize)]
pub struct Grouping;

impl<V: Data> Aggregate<V> for Grouping {
    type Part = Vec<V>;
    const COMBINES: bool = false;
    const OF_ALL: Option<fn(&[V]) -> Vec<V>> = Some(<[V]>::to_vec);
    fn create<L: Lent<V>>(&self, value: L) -> Vec<V> {
        vec![value.take()]
    }
    fn add<L: Lent<V>>(&self, mut part: Vec<V>, value: L) -> Vec<V> {
        part.push(value.take());
        part
    }
    fn merge(&self, mut a: Vec<V>, b: Vec<V>) -> Vec<V> {
        a.extend(b);
        a
    }
    fn owned(part: &Vec<V>) -> u64 {
        weigh::of_vec(part)
    }
}

/// `distinct`: keys without values.
#[derive(Clone, Serialize, Deserialize)]
pub struct Unique;

impl Aggregate<()> for Unique {
    type Part = ();
    #[inline(always)]
    fn create<L: Lent<()>>(&self, _: L) {}
    #[inline(always)]
    fn add<L: Lent<()>>(&self, (): (), _: L) {}
    #[inline(always)]
    fn merge(&self, (): (), (): ()) {}
}

/// `count_by_key` and `count_by_value`: how many values there are, whatever they are.
#[derive(Clone, Serialize, Deserialize)]
pub struct Counting;

impl<V> Aggregate<V> for Counting {
    type Part = u64;
    #[inline(always)]
    fn create<L: Lent<V>>(&self, _: L) -> u64 {
        1
    }
    #[inline(always)]
    fn add<L: Lent<V>>(&self, part: u64, _: L) -> u64 {
        part + 1
    }
    #[inline(always)]
    fn merge(&self, a: u64, b: u64) -> u64 {
        a + b
    }
}
