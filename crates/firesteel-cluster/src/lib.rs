//! The standalone cluster: what its master, its workers and the processes that they start say to each other.
//!
//! A process that is started as an executor learns it by its [`role`]; programs and files are called by the hash of their
//! [`content`].

pub mod content;
pub mod role;
