use super::*;
use proptest::prelude::*;

type Item = (String, Option<u32>);

fn file(chunks: &[Vec<Item>]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("block");
    let mut writer = BlockWriter::create(&path, 9).unwrap();
    chunks.iter().for_each(|chunk| writer.chunk(chunk).unwrap());
    let (len, _) = writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, len);
    bytes
}

fn sample() -> Vec<Vec<Item>> {
    vec![(0..100).map(|i| (format!("item {}", i % 7), Some(i))).collect(), vec![], vec![("one".into(), None)]]
}

fn read(bytes: &[u8]) -> Result<Vec<Vec<Item>>, String> {
    decode_block_file(bytes, 9)
}

/// A file whose index says `change` of an honest one, with a checksum that fits.
fn forged(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let bytes = file(&sample());
    let at = bytes.len() - (FOOTER + 3 * ENTRY) as usize;
    let (body, tail) = bytes.split_at(at);
    let mut index = tail[..tail.len() - FOOTER as usize].to_vec();
    change(&mut index);
    let count = (index.len() as u64 / ENTRY).to_le_bytes();
    let crc = index_crc(&body[..HEADER as usize], &index, &count);
    [body, &index, &count, &crc.to_le_bytes(), &END_MAGIC].concat()
}

#[test]
fn chunks_come_back_in_order() {
    assert_eq!(read(&file(&sample())).unwrap(), sample());
    assert_eq!(read(&file(&[])).unwrap(), Vec::<Vec<Item>>::new());
}

#[test]
fn chunks_are_compressed_where_that_helps() {
    let repeated = file(&[vec![("a".repeat(10_000), None)]]);
    assert!(repeated.len() < 300, "{}", repeated.len());
}

#[test]
fn existing_file_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("block");
    std::fs::write(&path, "precious").unwrap();
    assert!(BlockWriter::create(&path, 0).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = file(&sample());
    (0..bytes.len()).for_each(|len| assert!(read(&bytes[..len]).is_err(), "{len} bytes"));
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut bytes = file(&sample());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn other_version_and_other_number_are_named() {
    let mut bytes = file(&sample());
    assert!(decode_block_file::<Item>(&bytes, 8).unwrap_err().contains("number 9, not 8"));
    bytes[4] = 2;
    assert!(read(&bytes).unwrap_err().contains("version 2"));
}

#[test]
fn forged_index_is_refused() {
    let set = |at: usize, value: u64| {
        read(&forged(|index| index[at..at + 8].copy_from_slice(&value.to_le_bytes()))).unwrap_err()
    };
    for value in [0, 1, 1 << 20, 1 << 60, u64::MAX] {
        set(0, value);
        set(8, value);
        set(16, value);
    }
    assert!(set(16, 99).contains("100 records instead of 99"));
    assert!(read(&forged(|index| index[28] = 7)).unwrap_err().contains("codec"));
    assert!(read(&forged(|index| index.truncate(64))).is_err());
    assert!(read(&forged(|index| index.extend_from_slice(&[0; 32]))).is_err());
}

proptest! {
    #[test]
    fn any_chunks_come_back(chunks in prop::collection::vec(prop::collection::vec(any::<Item>(), 0..8), 0..4)) {
        prop_assert_eq!(read(&file(&chunks)).unwrap(), chunks);
    }

    #[test]
    fn hostile_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn changed_files_are_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4)) {
        let whole = file(&sample());
        let mut bytes = whole.clone();
        changes.iter().for_each(|(at, with)| bytes[at.index(whole.len())] ^= with);
        prop_assume!(bytes != whole);
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn forged_indices_are_read_or_refused(at in 0usize..96, with: u8) {
        let _ = read(&forged(|index| index[at] = with));
    }
}
