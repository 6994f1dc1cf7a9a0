//! What a fuzzer can reach of what this crate makes of bytes from disks and other processes.
//!
//! No fuzzer guesses a checksum, so they are made right here: what follows them is looked at, too.

use crate::{
    Catalogue, OutputPlace, StoreError, Wanted, decode_block_file,
    flushed::entry_crc,
    output::parts,
    page::{HEADER, PageReader, Source},
    record,
};
use firesteel_model::{AttemptId, PartitionIndex};
use serde::de::DeserializeOwned;

/// Pages as another process sends them.
pub fn pages<R: DeserializeOwned>(bytes: &[u8]) {
    let mut whole = bytes.to_vec();
    let mut at = 0;
    while let Some(page) = whole.get_mut(at..).filter(|rest| rest.len() >= HEADER) {
        let stored = u32::from_le_bytes(*page.first_chunk().expect("it is longer")) as usize;
        let Some(body) = page.get(HEADER..HEADER.saturating_add(stored)) else { break };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&page[..12]), body);
        page[12..HEADER].copy_from_slice(&crc.to_le_bytes());
        at += HEADER + stored;
    }
    for bytes in [bytes, &whole] {
        let reader = || {
            let stream = Box::new(std::io::Cursor::new(bytes.to_vec()));
            PageReader::<R>::new(Source::Stream(stream, "a fuzzer".into()), 0, bytes.len() as u64)
        };
        let (mut owned, mut borrowed) = (reader(), reader());
        while goes_on(owned.next()) {}
        while goes_on(borrowed.next_as::<(&str, u64)>()) {}
    }
}

fn goes_on<R>(next: Result<Option<R>, StoreError>) -> bool {
    match next {
        Ok(next) => next.is_some(),
        Err(StoreError::Corrupt { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

/// A catalogue of map outputs, and the index of one that it names.
pub fn catalogue(bytes: &[u8]) {
    let _ = Catalogue::of(bytes);
    let (map, attempt) = (PartitionIndex(0), AttemptId(0));
    let Some((numbers, place)) = bytes.split_first_chunk::<32>() else { return };
    let Ok(place) = record::from_slice::<OutputPlace>(place) else { return };
    let entry = record::to_vec(&(map, attempt, place)).expect("it was read");
    let (length, crc) = ((entry.len() as u32).to_le_bytes(), crc32c::crc32c(&entry).to_le_bytes());
    let catalogue = Catalogue::of(&[&length[..], &crc, &entry].concat());
    let Some(place) = catalogue.find(map, attempt) else { return };
    for wanted in [Wanted::All, Wanted::Part { part: 1, spread: 1 }] {
        let (parts, _) = parts(place.spread, 3, wanted);
        if place.index(3, wanted).is_err() || parts.len() > 8 {
            continue;
        }
        let entry = |start: u64, partition: usize| {
            let numbers = &numbers[partition % 2 * 16..][..16];
            [numbers, &entry_crc(numbers, start, partition).to_le_bytes()].concat()
        };
        let index = |start: u64| (parts.start..=parts.end).flat_map(|partition| entry(start, partition)).collect();
        let indices: Vec<Vec<u8>> = place.pieces.iter().map(|piece| index(piece.bounds.start)).collect();
        if let Ok(mut located) = place.locate(3, wanted, &indices) {
            located.skip(u64::from(numbers[0]));
        }
    }
}

/// A block file, all of whose checksums are right: how many chunks, what its index says of them, and themselves.
pub fn block_file<T: DeserializeOwned + Clone + 'static>(bytes: &[u8]) {
    const ENTRY: usize = 32;
    let Some((&count, rest)) = bytes.split_first() else { return };
    let Some((index, chunks)) = rest.split_at_checked(usize::from(count % 5) * ENTRY) else { return };
    let mut index = index.to_vec();
    let mut left = chunks;
    for entry in index.chunks_exact_mut(ENTRY) {
        let stored = u64::from_le_bytes(*entry.first_chunk().expect("it is longer")).min(left.len() as u64) as usize;
        let (chunk, after) = left.split_at(stored);
        entry[24..28].copy_from_slice(&crc32c::crc32c(chunk).to_le_bytes());
        left = after;
    }
    let header = [&b"FSBK\x01\0\0\0"[..], &[0; 8]].concat();
    let number = u64::from(count % 5).to_le_bytes();
    let crc = crc32c::crc32c(&[&header[..], &index, &number].concat()).to_le_bytes();
    let _ = decode_block_file::<T>(&[&header[..], chunks, &index, &number, &crc, b"KBSF"].concat(), 0);
}
