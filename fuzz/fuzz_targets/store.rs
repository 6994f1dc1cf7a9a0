//! Records, pages of records, catalogues and indices of map outputs, and block files.

#![no_main]

use firesteel_store::{decode_block_file, fuzzing, record};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

type Nested = Vec<(String, Option<Result<u64, char>>)>;

fuzz_target!(|bytes: &[u8]| {
    let _ = record::from_slice::<Nested>(bytes);
    let _ = record::from_slice::<BTreeMap<String, (f64, bool, Vec<()>)>>(bytes);
    let _ = record::from_slice::<(u8, i128, String, [u16; 3])>(bytes);
    let _ = decode_block_file::<Nested>(bytes, 0);
    fuzzing::pages::<Nested>(bytes);
    fuzzing::catalogue(bytes);
    fuzzing::block_file::<Nested>(bytes);
    fuzzing::block_file::<String>(bytes);
});
