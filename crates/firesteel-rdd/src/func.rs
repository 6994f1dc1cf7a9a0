//! User functions as values that travel: a closure that captures nothing, alone or beside an environment that does the
//! capturing, and the small functions that the keyed operations are made of.

use crate::{Data, stream::Lent};
use firesteel_code::{Captureless, Code};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// A function of one owned element, called for each.
pub trait Func<T>: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it returns.
    type Out;
    /// Calls it.
    fn call(&self, item: T) -> Self::Out;
}

/// A function that only looks at an element.
pub trait FuncRef<T>: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it returns.
    type Out;
    /// Calls it.
    fn call(&self, item: &T) -> Self::Out;
}

/// A function of two owned values: how two of a kind become one.
pub trait Merge<A, B>: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it returns.
    type Out;
    /// Calls it.
    fn call(&self, a: A, b: B) -> Self::Out;
}

/// A function of an owned value and one that it only looks at.
pub trait MergeRef<A, B>: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it returns.
    type Out;
    /// Calls it.
    fn call(&self, a: A, b: &B) -> Self::Out;
}

/// How a value grows by an element, which the function keeps or only looks at.
pub trait Step<A, T>: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static {
    /// Adds the element.
    fn step<L: Lent<T>>(&self, so_far: A, item: L) -> A;
}

/// The inner function keeps each element.
#[derive(Clone, Serialize, Deserialize)]
pub struct Keeping<C>(pub C);

/// The inner function only looks at each element.
#[derive(Clone, Serialize, Deserialize)]
pub struct Looking<C>(pub C);

impl<A, T, C: Merge<A, T, Out = A>> Step<A, T> for Keeping<C> {
    #[inline(always)]
    fn step<L: Lent<T>>(&self, so_far: A, item: L) -> A {
        self.0.call(so_far, item.take())
    }
}
impl<A, T, C: MergeRef<A, T, Out = A>> Step<A, T> for Looking<C> {
    #[inline(always)]
    fn step<L: Lent<T>>(&self, so_far: A, mut item: L) -> A {
        self.0.call(so_far, item.get())
    }
}

/// A closure alone.
#[derive(Serialize, Deserialize)]
#[serde(bound = "F: Captureless")]
pub struct Plain<F: Captureless>(Code<F>);

impl<F: Captureless> Plain<F> {
    /// Wraps a closure; one that captures anything does not compile.
    #[inline(always)]
    pub fn new(f: F) -> Self {
        Plain(Code::new(f))
    }
    /// The closure.
    #[inline(always)]
    pub fn f(&self) -> F {
        self.0.get()
    }
}

impl<F: Captureless> Clone for Plain<F> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<F: Captureless> Copy for Plain<F> {}

impl<T, U, F: Fn(T) -> U + Captureless> Func<T> for Plain<F> {
    type Out = U;
    #[inline(always)]
    fn call(&self, item: T) -> U {
        (self.0.get())(item)
    }
}
impl<T, U, F: Fn(&T) -> U + Captureless> FuncRef<T> for Plain<F> {
    type Out = U;
    #[inline(always)]
    fn call(&self, item: &T) -> U {
        (self.0.get())(item)
    }
}
impl<A, B, U, F: Fn(A, B) -> U + Captureless> Merge<A, B> for Plain<F> {
    type Out = U;
    #[inline(always)]
    fn call(&self, a: A, b: B) -> U {
        (self.0.get())(a, b)
    }
}
impl<A, B, U, F: Fn(A, &B) -> U + Captureless> MergeRef<A, B> for Plain<F> {
    type Out = U;
    #[inline(always)]
    fn call(&self, a: A, b: &B) -> U {
        (self.0.get())(a, b)
    }
}

/// Returns what it is given.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Identity;

impl<T> Func<T> for Identity {
    type Out = T;
    #[inline(always)]
    fn call(&self, item: T) -> T {
        item
    }
}

/// A user's value beside a closure. Shared on the driver, decoded once per attempt in a task.
pub struct Env<E>(pub Arc<E>);

impl<E> Clone for Env<E> {
    fn clone(&self) -> Self {
        Env(self.0.clone())
    }
}
impl<E: Serialize> Serialize for Env<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
impl<'de, E: Deserialize<'de>> Deserialize<'de> for Env<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        E::deserialize(deserializer).map(|env| Env(Arc::new(env)))
    }
}

/// A closure and its environment, which it sees first.
#[derive(Serialize, Deserialize)]
#[serde(bound = "E: Data, F: Captureless")]
pub struct With<E: Data, F: Captureless>(Env<E>, Code<F>);

impl<E: Data, F: Captureless> With<E, F> {
    /// Wraps a closure and what it would have captured.
    #[inline(always)]
    pub fn new(env: E, f: F) -> Self {
        With(Env(Arc::new(env)), Code::new(f))
    }
    /// The closure.
    #[inline(always)]
    pub fn f(&self) -> F {
        self.1.get()
    }
    /// The environment.
    #[inline(always)]
    pub fn env(&self) -> &E {
        &self.0.0
    }
    /// The same environment beside another closure.
    #[inline(always)]
    pub fn beside<G: Captureless>(&self, g: G) -> With<E, G> {
        With(self.0.clone(), Code::new(g))
    }
}
impl<E: Data, F: Captureless> Clone for With<E, F> {
    fn clone(&self) -> Self {
        With(self.0.clone(), self.1)
    }
}
impl<E: Data, T, U, F: Fn(&E, T) -> U + Captureless> Func<T> for With<E, F> {
    type Out = U;
    #[inline(always)]
    fn call(&self, item: T) -> U {
        (self.1.get())(&self.0.0, item)
    }
}
impl<E: Data, T, U, F: Fn(&E, &T) -> U + Captureless> FuncRef<T> for With<E, F> {
    type Out = U;
    #[inline(always)]
    fn call(&self, item: &T) -> U {
        (self.1.get())(&self.0.0, item)
    }
}
impl<E: Data, A, B, U, F: Fn(&E, A, B) -> U + Captureless> Merge<A, B> for With<E, F> {
    type Out = U;
    #[inline(always)]
    fn call(&self, a: A, b: B) -> U {
        (self.1.get())(&self.0.0, a, b)
    }
}
impl<E: Data, A, B, U, F: Fn(&E, A, &B) -> U + Captureless> MergeRef<A, B> for With<E, F> {
    type Out = U;
    #[inline(always)]
    fn call(&self, a: A, b: &B) -> U {
        (self.1.get())(&self.0.0, a, b)
    }
}

/// The inner function returns a `Result`; an error fails the task with the error's text.
#[derive(Clone, Serialize, Deserialize)]
pub struct Try<C>(pub C);

pub(crate) fn user_error(e: Box<dyn std::error::Error + Send + Sync>) -> ! {
    crate::failure::TaskFailure::User(e.to_string()).raise()
}

impl<T, U, X, C> Func<T> for Try<C>
where
    C: Func<T, Out = Result<U, X>>,
    X: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Out = U;
    #[inline(always)]
    fn call(&self, item: T) -> U {
        match self.0.call(item) {
            Ok(value) => value,
            Err(e) => user_error(e.into()),
        }
    }
}
impl<T, U, X, C> FuncRef<T> for Try<C>
where
    C: FuncRef<T, Out = Result<U, X>>,
    X: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Out = U;
    #[inline(always)]
    fn call(&self, item: &T) -> U {
        match self.0.call(item) {
            Ok(value) => value,
            Err(e) => user_error(e.into()),
        }
    }
}

/// Applies the inner function to a pair's value.
#[derive(Clone, Serialize, Deserialize)]
pub struct OnValue<C>(pub C);

impl<K, V, C: Func<V>> Func<(K, V)> for OnValue<C> {
    type Out = (K, C::Out);
    #[inline(always)]
    fn call(&self, (key, value): (K, V)) -> (K, C::Out) {
        (key, self.0.call(value))
    }
}

/// Applies the inner function to a pair's value where it lies; the key is cloned.
#[derive(Clone, Serialize, Deserialize)]
pub struct OnValueRef<C>(pub C);

impl<K: Clone, V, C: FuncRef<V>> FuncRef<(K, V)> for OnValueRef<C> {
    type Out = (K, C::Out);
    #[inline(always)]
    fn call(&self, (key, value): &(K, V)) -> (K, C::Out) {
        (key.clone(), self.0.call(value))
    }
}

/// Pairs a key with each of what the inner function makes of its value.
#[derive(Clone, Serialize, Deserialize)]
pub struct OnEachValue<C>(pub C);

/// Pairs a key, which is cloned, with each of what the inner function makes of its value where it lies.
#[derive(Clone, Serialize, Deserialize)]
pub struct OnEachValueRef<C>(pub C);

impl<K: Clone, V, C: FuncRef<V, Out: IntoIterator>> FuncRef<(K, V)> for OnEachValueRef<C> {
    type Out = Keyed<K, <C::Out as IntoIterator>::IntoIter>;
    #[inline(always)]
    fn call(&self, (key, value): &(K, V)) -> Self::Out {
        Keyed { key: key.clone(), values: self.0.call(value).into_iter() }
    }
}

/// The elements of [`OnEachValue`] and [`OnEachValueRef`].
pub struct Keyed<K, I> {
    key: K,
    values: I,
}

impl<K: Clone, I: Iterator> Iterator for Keyed<K, I> {
    type Item = (K, I::Item);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.values.next().map(|value| (self.key.clone(), value))
    }
}

impl<K: Clone, V, C: Func<V, Out: IntoIterator>> Func<(K, V)> for OnEachValue<C> {
    type Out = Keyed<K, <C::Out as IntoIterator>::IntoIter>;
    #[inline(always)]
    fn call(&self, (key, value): (K, V)) -> Self::Out {
        Keyed { key, values: self.0.call(value).into_iter() }
    }
}

/// Pairs each element with what the inner function makes of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyBy<C>(pub C);

impl<T, C: FuncRef<T>> Func<T> for KeyBy<C> {
    type Out = (C::Out, T);
    #[inline(always)]
    fn call(&self, item: T) -> (C::Out, T) {
        (self.0.call(&item), item)
    }
}

/// Makes a key with no value of an element.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct AsKey;

impl<T> Func<T> for AsKey {
    type Out = (T, ());
    #[inline(always)]
    fn call(&self, item: T) -> (T, ()) {
        (item, ())
    }
}
