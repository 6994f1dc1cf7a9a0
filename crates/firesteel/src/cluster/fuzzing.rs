//! What a fuzzer can reach of what processes say to each other.

use super::{
    blocks::{Answer, Ask},
    messages::{FromExecutor, Introduction, ToExecutor},
};
use crate::executor::decode;

/// Messages of any kind.
pub fn messages(bytes: &[u8]) {
    let _ = decode::<Introduction>(bytes);
    let _ = decode::<ToExecutor>(bytes);
    let _ = decode::<FromExecutor>(bytes);
    let _ = decode::<Ask>(bytes);
    let _ = decode::<Answer>(bytes);
}
