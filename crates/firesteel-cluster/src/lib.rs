//! The standalone cluster: what its master, its workers and the processes that they start say to each other.
//!
//! Everybody speaks the messages of [`protocol`], whose releases may differ by additions. Programs and files are called by the
//! hash of their [`content`], and travel by it ([`blob`]). A process that is started as an executor learns it by its [`role`], and an
//! application reaches its master by [`client`]. What an executor has written for others outlives it by the [`shuffle_service`].

pub mod blob;
pub mod cgroup;
pub mod client;
pub mod content;
#[doc(hidden)]
pub mod faults;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guests;
mod link;
pub mod master;
pub mod protocol;
pub mod role;
pub mod route;
pub mod security;
pub mod shuffle_service;
pub mod submit;
pub mod worker;
