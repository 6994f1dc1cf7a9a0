//! Accumulators: values that tasks add to and the driver reads.
//!
//! In a task an accumulator is bound to the *attempt* at the moment when the stage is decoded, so threads that user code starts
//! add to the same attempt. The attempt's updates travel with its end; the driver counts them once per partition.

use crate::{
    Data, current,
    encoding::{ContextMark, check_home},
};
use firesteel_code::{Captureless, Code, CodeRef, Named, code_ref};
use firesteel_model::{AccumulatorId, Error, Result};
use firesteel_store::record;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of the user's merge function ends its attempt; what it leaves behind is thrown away with the attempt.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct MergeCode<T, M>(PhantomData<fn() -> (T, M)>);

impl<T: Data, M: Fn(&mut T, T) + Captureless> Named for MergeCode<T, M> {
    type Sig = fn(&[u8]) -> Result<MergeWith<T>>;
    const FN: Self::Sig = |bytes| {
        let merge: Code<M> = decode(bytes)?;
        Ok(Arc::new(move |into: &mut T, other: T| (merge.get())(into, other)))
    };
}

type MergeWith<T> = Arc<dyn Fn(&mut T, T) + Send + Sync>;

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    record::from_slice(bytes).map_err(|e| Error::Serialization(e.to_string()))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    record::to_vec(value).map_err(|e| Error::Serialization(e.to_string()))
}

/// What can be done with an accumulator whose type is not known: on the driver.
pub trait AnyAccumulator: Send + Sync {
    /// Its id.
    fn id(&self) -> AccumulatorId;
    /// Its name.
    fn name(&self) -> &str;
    /// Adds an attempt's update.
    ///
    /// # Errors
    /// If the bytes are no update of this accumulator.
    ///
    /// # Panics
    /// If the user's merge function does; the value is then as that has left it.
    fn merge(&self, update: &[u8]) -> Result<()>;
    /// A copy of the value, for events: they show what a value comes to with updates that do not count yet.
    fn tally(&self) -> Box<dyn Tally>;
}

/// What an accumulator comes to, as events tell it, while the updates of a running job are provisional.
pub trait Tally: Send {
    /// Adds an update and returns the texts of the update and of the sum; none if the update cannot be added.
    fn add(&mut self, update: &[u8]) -> Option<(String, String)>;
}

struct Sum<T> {
    value: T,
    merge: MergeWith<T>,
}

impl<T: Data> Tally for Sum<T> {
    fn add(&mut self, update: &[u8]) -> Option<(String, String)> {
        let update: T = decode(update).ok()?;
        let shown = show(&update);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.merge)(&mut self.value, update))).ok()?;
        Some((shown, show(&self.value)))
    }
}

/// What one attempt has added.
#[derive(Default)]
pub struct AttemptAccumulators {
    values: Mutex<BTreeMap<AccumulatorId, Arc<dyn LocalValue>>>,
}

trait LocalValue: Send + Sync {
    fn encode(&self) -> Result<Vec<u8>>;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Data> LocalValue for Mutex<T> {
    fn encode(&self) -> Result<Vec<u8>> {
        encode(&*lock(self))
    }
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl AttemptAccumulators {
    fn local<T: Data>(&self, id: AccumulatorId, zero: impl FnOnce() -> T) -> Result<Arc<Mutex<T>>> {
        let mut values = lock(&self.values);
        let value = values.entry(id).or_insert_with(|| Arc::new(Mutex::new(zero()))).clone();
        value
            .as_any()
            .downcast()
            .map_err(|_| Error::Serialization(format!("accumulator {id} is used with two types in one stage")))
    }

    /// The updates, in the order of the accumulators' ids.
    ///
    /// # Errors
    /// If a value cannot be written in the record format.
    pub fn updates(&self) -> Result<Vec<(AccumulatorId, Vec<u8>)>> {
        lock(&self.values).iter().map(|(id, value)| Ok((*id, value.encode()?))).collect()
    }
}

struct Shared<T> {
    context: ContextMark,
    id: AccumulatorId,
    name: String,
    zero: T,
    value: Mutex<T>,
    merge: MergeWith<T>,
    code: (CodeRef, Vec<u8>),
}

impl<T: Data> AnyAccumulator for Shared<T>
where
    Self: Send + Sync,
{
    fn id(&self) -> AccumulatorId {
        self.id
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn merge(&self, update: &[u8]) -> Result<()> {
        let update: T = decode(update)?;
        (self.merge)(&mut lock(&self.value), update);
        Ok(())
    }
    fn tally(&self) -> Box<dyn Tally> {
        // Of values that have no text to show a copy would be kept for nothing.
        if is_shown::<T>() {
            Box::new(Sum { value: lock(&self.value).clone(), merge: self.merge.clone() })
        } else {
            Box::new(Unshown(std::any::type_name::<T>()))
        }
    }
}

/// A value that is no number and no text: its type is shown.
struct Unshown(&'static str);

impl Tally for Unshown {
    fn add(&mut self, _update: &[u8]) -> Option<(String, String)> {
        Some((self.0.to_string(), self.0.to_string()))
    }
}

/// Numbers and texts are shown; of other types the name.
fn show<T: Any>(value: &T) -> String {
    text(value).unwrap_or_else(|| std::any::type_name::<T>().to_string())
}

fn text(value: &dyn Any) -> Option<String> {
    macro_rules! try_types {
        ($($t:ty),*) => { $(if let Some(v) = value.downcast_ref::<$t>() { return Some(v.to_string()); })* };
    }
    try_types!(i64, u64, f64, i32, u32, usize, String, bool);
    if let Some((sum, _)) = value.downcast_ref::<(i64, u64)>() {
        return Some(sum.to_string());
    }
    value.downcast_ref::<(f64, u64)>().map(|(sum, _)| sum.to_string())
}

fn is_shown<T: Any>() -> bool {
    use std::any::TypeId;
    macro_rules! any_of {
        ($($t:ty),*) => { [$(TypeId::of::<$t>()),*].contains(&TypeId::of::<T>()) };
    }
    any_of!(i64, u64, f64, i32, u32, usize, String, bool, (i64, u64), (f64, u64))
}

enum Side<T> {
    Driver(Arc<Shared<T>>),
    Task { id: AccumulatorId, name: String, zero: Arc<T>, value: Arc<Mutex<T>>, merge: MergeWith<T> },
}

impl<T> Clone for Side<T> {
    fn clone(&self) -> Self {
        match self {
            Side::Driver(shared) => Side::Driver(shared.clone()),
            Side::Task { id, name, zero, value, merge } => Side::Task {
                id: *id,
                name: name.clone(),
                zero: zero.clone(),
                value: value.clone(),
                merge: merge.clone(),
            },
        }
    }
}

/// A value that tasks add to, of the user's type and with the user's way of adding. Made by `Context::accumulator`.
///
/// Hand it to tasks in an environment (`map_with(acc.clone(), ..)`). In actions each partition's additions count
/// exactly once, whatever is retried; in transformations they count once for each time that the partition is computed. Should the way of
/// adding panic on the driver, an error is logged, and the value is as that has left it.
pub struct Accumulator<T>(Side<T>);

impl<T> Clone for Accumulator<T> {
    fn clone(&self) -> Self {
        Accumulator(self.0.clone())
    }
}

impl<T: Data + fmt::Debug> fmt::Debug for Accumulator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accumulator({}, {:?})", self.name(), self.value())
    }
}

impl<T: Data> Accumulator<T> {
    /// A new accumulator, and the driver's view of it that merges updates. `Context::accumulator` registers it.
    pub fn make<M: Fn(&mut T, T) + Captureless>(
        context: ContextMark,
        id: AccumulatorId,
        name: String,
        zero: T,
        merge: M,
    ) -> (Self, Arc<dyn AnyAccumulator>) {
        let code = Code::new(merge);
        let bytes = record::to_vec(&code).expect("the name of a code record is plain data");
        let shared = Arc::new(Shared {
            context,
            id,
            name,
            value: Mutex::new(zero.clone()),
            zero,
            merge: Arc::new(merge),
            code: (code_ref::<MergeCode<T, M>>(), bytes),
        });
        (Accumulator(Side::Driver(shared.clone())), shared)
    }

    /// Adds to it. On the driver this changes the value at once.
    pub fn add(&self, item: T) {
        match &self.0 {
            Side::Driver(shared) => (shared.merge)(&mut lock(&shared.value), item),
            Side::Task { value, merge, .. } => merge(&mut lock(value), item),
        }
    }

    /// On the driver the value of all that has counted so far; in a task what this attempt has added.
    pub fn value(&self) -> T {
        match &self.0 {
            Side::Driver(shared) => lock(&shared.value).clone(),
            Side::Task { value, .. } => lock(value).clone(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Side::Driver(shared) => &shared.name,
            Side::Task { name, .. } => name,
        }
    }

    /// Its id.
    pub fn id(&self) -> AccumulatorId {
        match &self.0 {
            Side::Driver(shared) => shared.id,
            Side::Task { id, .. } => *id,
        }
    }

    /// Puts it back to its zero; in a task it takes back what this attempt has added.
    pub fn reset(&self) {
        match &self.0 {
            Side::Driver(shared) => *lock(&shared.value) = shared.zero.clone(),
            Side::Task { value, zero, .. } => *lock(value) = T::clone(zero),
        }
    }
}

impl<T: Data> Accumulator<Vec<T>> {
    /// A new accumulator that collects values, and the driver's view of it.
    pub fn collecting(context: ContextMark, id: AccumulatorId, name: String) -> (Self, Arc<dyn AnyAccumulator>) {
        Self::make(context, id, name, Vec::new(), |all: &mut Vec<T>, more: Vec<T>| all.extend(more))
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    id: AccumulatorId,
    name: String,
    zero: Vec<u8>,
    code: CodeRef,
    merge: Vec<u8>,
}

impl<T: Data> Serialize for Accumulator<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Side::Driver(shared) => {
                check_home(&shared.context, format_args!("accumulator {} ({:?})", shared.id, shared.name))?;
                Wire {
                    id: shared.id,
                    name: shared.name.clone(),
                    zero: encode(&shared.zero).map_err(serde::ser::Error::custom)?,
                    code: shared.code.0,
                    merge: shared.code.1.clone(),
                }
                .serialize(serializer)
            }
            Side::Task { name, .. } => Err(serde::ser::Error::custom(format!(
                "accumulator {name:?} is part of an element: accumulators travel in environments only (`map_with(acc, ..)`)"
            ))),
        }
    }
}

impl<'de, T: Data> Deserialize<'de> for Accumulator<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        let make = || -> Result<Self> {
            let merge = wire
                .code
                .resolve::<fn(&[u8]) -> Result<MergeWith<T>>>()
                .map_err(|e| Error::Serialization(e.to_string()))?(&wire.merge)?;
            let zero: T = decode(&wire.zero)?;
            let value = match current::accumulators() {
                Some(attempt) => attempt.local(wire.id, || zero.clone())?,
                // Outside a task, as when a check decodes what it has encoded.
                None => Arc::new(Mutex::new(zero.clone())),
            };
            Ok(Accumulator(Side::Task { id: wire.id, name: wire.name.clone(), zero: Arc::new(zero), value, merge }))
        };
        make().map_err(serde::de::Error::custom)
    }
}

macro_rules! number_accumulators {
    ($($(#[$doc:meta])* $name:ident($t:ty), $add:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub struct $name(Accumulator<($t, u64)>);

        impl $name {
            /// A new accumulator, and the driver's view of it that merges updates.
            pub fn make(context: ContextMark, id: AccumulatorId, name: String) -> (Self, Arc<dyn AnyAccumulator>) {
                let zero = (<$t>::default(), 0);
                let (inner, any) = Accumulator::make(context, id, name, zero, |a: &mut ($t, u64), b: ($t, u64)| {
                    a.0 = $add(a.0, b.0);
                    a.1 += b.1;
                });
                ($name(inner), any)
            }
            /// Adds one number.
            pub fn add(&self, v: $t) {
                self.0.add((v, 1))
            }
            /// The sum of what was added; in a task, of what this attempt has added.
            pub fn value(&self) -> $t {
                self.0.value().0
            }
            /// The same as [`value`](Self::value).
            pub fn sum(&self) -> $t {
                self.value()
            }
            /// How many numbers were added.
            pub fn count(&self) -> u64 {
                self.0.value().1
            }
            /// Sum over count; not a number if nothing was added.
            pub fn avg(&self) -> f64 {
                let (sum, count) = self.0.value();
                sum as f64 / count as f64
            }
            /// Its name.
            pub fn name(&self) -> &str {
                self.0.name()
            }
            /// Its id.
            pub fn id(&self) -> AccumulatorId {
                self.0.id()
            }
            /// Puts it back to 0.
            pub fn reset(&self) {
                self.0.reset()
            }
        }
    )*};
}

number_accumulators! {
    /// An accumulator of whole numbers. Made by `Context::long_accumulator`; see [`Accumulator`]. Wraps on overflow, as
    /// Java's does.
    LongAccumulator(i64), i64::wrapping_add;
    /// An accumulator of floating-point numbers. Made by `Context::double_accumulator`; see [`Accumulator`].
    DoubleAccumulator(f64), |a: f64, b: f64| a + b;
}
