//! The values of one key on one side of a join: mostly one, which then needs no vector.

use firesteel_store::weigh;
use serde::{Deserialize, Serialize};
use std::{mem::take, option, slice, vec};

/// None, one or many values, in order of arrival.
#[derive(Default, Serialize, Deserialize)]
pub(super) enum Few<T> {
    #[default]
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(value) => slice::from_ref(value),
            Few::Many(values) => values,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }
}

impl<T: Serialize> Few<T> {
    /// What the values own outside themselves, and the vector, by estimate, in bytes.
    pub(super) fn owned(&self) -> u64 {
        match self {
            Few::None => 0,
            Few::One(value) => weigh::owned(value),
            Few::Many(values) => weigh::of_vec(values),
        }
    }
}

/// Where the values of one key are gathered.
pub(super) trait Gathered<T>: Default {
    /// Adds a value; says by how many bytes what lies outside has grown, without what the value owns.
    fn gather(&mut self, value: T) -> u64;
}

impl<T> Gathered<T> for Vec<T> {
    #[inline(always)]
    fn gather(&mut self, value: T) -> u64 {
        let before = self.capacity();
        self.push(value);
        ((self.capacity() - before) * size_of::<T>()) as u64
    }
}

impl<T> Gathered<T> for Few<T> {
    #[inline(always)]
    fn gather(&mut self, value: T) -> u64 {
        match self {
            Few::None => {
                *self = Few::One(value);
                0
            }
            Few::Many(values) => values.gather(value),
            Few::One(_) => {
                let mut values = Vec::with_capacity(4);
                values.extend(take(self));
                values.push(value);
                let bytes = values.capacity() * size_of::<T>();
                *self = Few::Many(values);
                bytes as u64
            }
        }
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        match self {
            Few::None => IntoIter::One(None.into_iter()),
            Few::One(value) => IntoIter::One(Some(value).into_iter()),
            Few::Many(values) => IntoIter::Many(values.into_iter()),
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut few = Few::None;
        for value in values {
            few.gather(value);
        }
        few
    }
}

/// The values of a [`Few`].
pub(super) enum IntoIter<T> {
    One(option::IntoIter<T>),
    Many(vec::IntoIter<T>),
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        match self {
            IntoIter::One(value) => value.next(),
            IntoIter::Many(values) => values.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_order_and_only_the_second_one_allocates() {
        let mut few = Few::default();
        assert_eq!(few.gather(1u64), 0);
        assert_eq!(few.gather(2), 32);
        assert_eq!([few.gather(3), few.gather(4), few.gather(5)], [0, 0, 32]);
        assert_eq!(few.as_slice(), [1, 2, 3, 4, 5]);
        assert_eq!(few.into_iter().collect::<Few<_>>().into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }
}
