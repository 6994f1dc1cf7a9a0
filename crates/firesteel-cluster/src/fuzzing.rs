//! What a fuzzer can reach of what this crate makes of bytes from outside, beside [`protocol::decode`](crate::protocol::decode).

/// What a process finds in its standard input.
pub fn role(bytes: &[u8]) {
    let _ = crate::role::Role::decode(&[&crate::role::MAGIC, bytes].concat());
}
