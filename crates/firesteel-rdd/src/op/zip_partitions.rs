//! One call for each group of partitions of equal index: user code that sees an ordinary iterator for each of them.

use super::zip::{common_or_all, equal_counts};
use crate::{
    Data,
    func::{Plain, With},
    iter::PartitionIter,
    pipeline::{Pipeline, Plan},
    stream::{Flow, Own, Sink, Stream},
    task::Task,
};
use firesteel_code::Captureless;
use firesteel_model::{PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A function of several partitions; `I` is the tuple of their iterators.
pub trait ZipFunc<I>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it returns.
    type Out: IntoIterator<Item: 'static> + 'static;
    /// Calls it.
    fn call(&self, inputs: I) -> Self::Out;
}

/// `zip_partitions`, `zip_partitions3`, `zip_partitions4`: `Ps` is the tuple of the parents' pipelines.
#[derive(Clone, Serialize, Deserialize)]
pub struct ZipPartitions<Ps, C>(Ps, C);

impl<Ps, C> ZipPartitions<Ps, C> {
    /// Calls `f` once for each index with the parents' partitions of that index.
    pub fn new(parents: Ps, f: C) -> Self {
        ZipPartitions(parents, f)
    }
}

/// The run of [`ZipPartitions`]: the function is called when the first element is wanted.
pub enum ZipPartitionsStream<I, C, O> {
    /// Not called yet.
    Before(Option<I>, C),
    /// What it returned is being read.
    During(O),
    /// All of that has been read.
    Ended,
}

impl<I: 'static, C: ZipFunc<I>> Stream for ZipPartitionsStream<I, C, <C::Out as IntoIterator>::IntoIter>
where
    <C::Out as IntoIterator>::IntoIter: 'static,
{
    type Item = <C::Out as IntoIterator>::Item;

    #[inline]
    fn drive<K: Sink<Self::Item>>(&mut self, sink: &mut K) -> Flow {
        loop {
            match self {
                Self::Before(inputs, f) => {
                    let Some(inputs) = inputs.take() else { return Flow::Done };
                    *self = Self::During(f.call(inputs).into_iter());
                }
                Self::During(made) => {
                    for one in made {
                        if !sink.push(Own(one)) {
                            return Flow::Full;
                        }
                    }
                    *self = Self::Ended;
                }
                Self::Ended => return Flow::Done,
            }
        }
    }
}

macro_rules! zip_partitions {
    ($($p:ident $t:ident $i:tt $split:ident),+) => {
        impl<O, F, $($t: 'static),+> ZipFunc<($(PartitionIter<'static, $t>,)+)> for Plain<F>
        where
            O: IntoIterator<Item: 'static> + 'static,
            F: Fn($(PartitionIter<'static, $t>),+) -> O + Captureless,
        {
            type Out = O;
            fn call(&self, inputs: ($(PartitionIter<'static, $t>,)+)) -> O {
                (self.f())($(inputs.$i),+)
            }
        }

        impl<E: Data, O, F, $($t: 'static),+> ZipFunc<($(PartitionIter<'static, $t>,)+)> for With<E, F>
        where
            O: IntoIterator<Item: 'static> + 'static,
            F: Fn(&E, $(PartitionIter<'static, $t>),+) -> O + Captureless,
        {
            type Out = O;
            fn call(&self, inputs: ($(PartitionIter<'static, $t>,)+)) -> O {
                (self.f())(self.env(), $(inputs.$i),+)
            }
        }

        impl<C, $($p: Pipeline),+> Pipeline for ZipPartitions<($($p,)+), C>
        where
            C: ZipFunc<($(PartitionIter<'static, $p::Item>,)+)>,
        {
            type Item = <C::Out as IntoIterator>::Item;
            type Split = ($($p::Split,)+);
            type Stream = ZipPartitionsStream<
                ($(PartitionIter<'static, $p::Item>,)+),
                C,
                <C::Out as IntoIterator>::IntoIter,
            >;

            fn open(&self, ($($split,)+): Self::Split, task: &Task) -> Self::Stream {
                let inputs = ($(PartitionIter::new(self.0.$i.open($split, task), task),)+);
                ZipPartitionsStream::Before(Some(inputs), self.1.clone())
            }
            fn splits(&self, plan: &dyn Plan) -> Result<Vec<Self::Split>> {
                $(let $split = self.0.$i.splits(plan)?;)+
                equal_counts(&[$($split.len()),+])?;
                $(let mut $split = $split.into_iter();)+
                Ok(std::iter::from_fn(|| Some(($($split.next()?,)+))).collect())
            }
            fn refers(&self, visit: &mut dyn FnMut(RddId)) {
                $(self.0.$i.refers(visit);)+
            }
            fn reads(&self, ($($split,)+): &Self::Split, visit: &mut dyn FnMut(RddId, PartitionIndex)) {
                $(self.0.$i.reads($split, visit);)+
            }
            fn locations(&self, ($($split,)+): &Self::Split) -> Vec<String> {
                common_or_all(vec![$(self.0.$i.locations($split)),+])
            }
        }
    };
}

zip_partitions!(P T 0 a, Q U 1 b);
zip_partitions!(P T 0 a, Q U 1 b, R V 2 c);
zip_partitions!(P T 0 a, Q U 1 b, R V 2 c, S W 3 d);
