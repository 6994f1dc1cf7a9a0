//! No partitions at all.

use crate::{
    pipeline::{Pipeline, Plan},
    stream::{Flow, Sink, Stream},
    task::Task,
};
use firesteel_model::{PartitionIndex, RddId, Result};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// `empty_rdd`: no partitions.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Empty<T>(PhantomData<fn() -> T>);

impl<T> Empty<T> {
    /// Has no elements.
    pub fn new() -> Self {
        Empty(PhantomData)
    }
}

impl<T> Default for Empty<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Empty<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

/// The run of [`Empty`], which nobody opens.
pub struct EmptyStream<T>(PhantomData<T>);

impl<T: 'static> Stream for EmptyStream<T> {
    type Item = T;
    fn drive<S: Sink<T>>(&mut self, _: &mut S) -> Flow {
        Flow::Done
    }
}

impl<T: 'static> Pipeline for Empty<T> {
    type Item = T;
    type Split = ();
    type Stream = EmptyStream<T>;
    fn open(&self, (): (), _: &Task) -> EmptyStream<T> {
        EmptyStream(PhantomData)
    }
    fn splits(&self, _: &dyn Plan) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn refers(&self, _: &mut dyn FnMut(RddId)) {}
    fn reads(&self, (): &(), _: &mut dyn FnMut(RddId, PartitionIndex)) {}
}
