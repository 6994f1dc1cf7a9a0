//! What a fuzzer can reach of what this crate makes of bytes from outside, beside [`protocol::decode`](crate::protocol::decode).

use crate::{blob, protocol::decode, role, shuffle_service};

/// What a shuffle service and its readers say.
pub fn shuffle_service(bytes: &[u8]) {
    let _ = decode::<shuffle_service::Ask>(bytes);
    let _ = decode::<shuffle_service::Answer>(bytes);
}

/// What those say who fetch and bring files, and what they are answered.
pub fn files(bytes: &[u8]) {
    let _ = decode::<blob::Wish>(bytes);
    let _ = decode::<blob::Answer>(bytes);
}

/// What an executor and a driver find in their standard input.
pub fn roles(bytes: &[u8]) {
    let _ = role::Role::decode(&[&role::MAGIC, bytes].concat());
    let _ = role::DriverRole::decode(&[&role::DRIVER, bytes].concat());
}
