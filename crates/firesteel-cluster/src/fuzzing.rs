//! What a fuzzer can reach of what this crate makes of bytes from outside, beside [`protocol::decode`](crate::protocol::decode).

/// What a shuffle service and its readers say.
pub fn shuffle_service(bytes: &[u8]) {
    let _ = crate::protocol::decode::<crate::shuffle_service::Ask>(bytes);
    let _ = crate::protocol::decode::<crate::shuffle_service::Answer>(bytes);
}

/// What a process finds in its standard input.
pub fn role(bytes: &[u8]) {
    let _ = crate::role::Role::decode(&[&crate::role::MAGIC, bytes].concat());
}
