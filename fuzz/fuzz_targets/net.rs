//! What comes over a socket before and after its sender has shown that it knows the secret.

#![no_main]

use firesteel_net::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::hello(bytes);
    fuzzing::handshake(bytes);
    fuzzing::frames(bytes);
});
