//! Messages of driver and executors, and of processes that ask each other for blocks.

#![no_main]

use firesteel::__private::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::messages(bytes));
