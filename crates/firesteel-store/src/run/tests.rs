use super::*;
use crate::{Memory, Scratch, boundary::Sample};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use std::sync::Arc;

fn written<R: Serialize>(partitions: usize, records: impl IntoIterator<Item = (usize, u64, R)>) -> Run<R> {
    let mut writer = RunWriter::new(partitions);
    records.into_iter().for_each(|(partition, hash, record)| writer.push(partition, hash, record));
    writer.take_records()
}

fn output<R: Serialize>(
    partitions: usize,
    records: impl IntoIterator<Item = (usize, u64, R)>,
    room: Option<Room>,
) -> MapOutput<R> {
    let mut writer = RunWriter::new(partitions);
    if let Some(room) = room {
        writer = writer.within(room);
    }
    records.into_iter().for_each(|(partition, hash, record)| writer.push(partition, hash, record));
    writer.finish().0
}

fn all<R: Clone>(run: &Run<R>, partition: usize) -> Vec<R> {
    run.partition(partition).flatten().cloned().collect()
}

#[test]
fn partitions_are_spread_by_hash_once_there_are_many_records() {
    let record = |i: u64| (i as usize % 3, i << 32, i);
    for (records, spread) in [(1_024, 0), (1_025, 6), (5_000, 6)] {
        let mut writer = RunWriter::new(3).spread();
        (0..records).map(record).for_each(|(partition, hash, record)| writer.push(partition, hash, record));
        let (output, sizes) = writer.finish();
        assert_eq!((output.spread(), output.len() as u64), (spread, records));
        assert_eq!(sizes, [0, 1, 2].map(|p| (records - p).div_ceil(3) * 8));
        for part in 0..3usize << spread {
            let (partition, within) = (part >> spread, part & ((1 << spread) - 1));
            let expected = (0..records).filter(|i| (record(*i).0, part_of(i << 32, spread)) == (partition, within));
            assert!(output.in_memory(part).flatten().copied().eq(expected), "part {part} of {records} records");
        }
    }
    // Large records are many as soon as they take much.
    let mut writer = RunWriter::new(1).spread();
    (0..30u64).for_each(|i| writer.push(0, i << 32, "x".repeat(10_000)));
    assert_eq!(writer.finish().0.spread(), 8);
}

#[test]
fn many_records_that_own_memory_are_encoded_and_read_the_same() {
    let files = RunFiles::new(Scratch::new(vec![std::env::temp_dir()]), true);
    let memory = Memory::new(64 << 20, 0.5);
    let write = |records: u64, length: usize| {
        let room = Room {
            reservation: memory.task(|| false).reservation(),
            files: files.clone(),
            shuffle: ShuffleId(1),
            to_disk: false,
            fail: |e| panic!("{e}"),
        };
        let mut writer = RunWriter::new(3).within(room);
        (0..records).for_each(|i| writer.push(i as usize % 3, i, format!("{i:0>length$}")));
        writer.finish()
    };
    for (records, length, pieces) in [(1_024, 5, 0), (1_025, 5, 1), (20_000, 5, 1), (5_000, 200, 1), (5_000, 2_000, 0)]
    {
        let (output, sizes) = write(records, length);
        assert_eq!((output.pieces(), output.len() as u64), (pieces, records), "of {length} bytes");
        assert!(output.check(&mut Sample::default()).is_ok());
        for partition in 0..3u64 {
            let mut all: Vec<String> = output.in_memory(partition as usize).flatten().cloned().collect();
            for piece in 0..pieces {
                let mut piece = output.piece(piece, partition as usize).unwrap();
                assert_eq!(piece.bytes(), sizes[partition as usize]);
                all.extend(std::iter::from_fn(|| piece.next().unwrap()));
            }
            assert!(all.into_iter().eq((partition..records).step_by(3).map(|i| format!("{i:0>length$}"))));
        }
    }
}

#[test]
fn pages_note_where_their_records_begin_and_hashes_if_they_are_to() {
    let files = RunFiles::new(Scratch::new(vec![std::env::temp_dir()]), true);
    let memory = Memory::new(64 << 20, 0.5);
    for (indexed, hashed) in [(true, true), (true, false), (false, false)] {
        let (reservation, files) = (memory.task(|| false).reservation(), files.clone());
        let room = Room { reservation, files, shuffle: ShuffleId(1), to_disk: false, fail: |e| panic!("{e}") };
        let writer = RunWriter::new(3).within(room);
        let mut writer = match (indexed, hashed) {
            (_, true) => writer.indexed_with_hashes(),
            (true, false) => writer.indexed(),
            _ => writer,
        };
        let text = |i: u64| "x".repeat(i as usize % 50);
        (0..20_000).for_each(|i| writer.push(i as usize % 3, i, (i, text(i))));
        let (output, _) = writer.finish();
        for partition in 0..3 {
            let mut piece = output.piece(0, partition).unwrap();
            let mut next = partition as u64;
            while let Some(page) = piece.page().cloned() {
                assert_eq!(page.starts().is_some(), indexed);
                assert_eq!(page.hashes().is_some(), hashed);
                let notes = (page.starts().map_or(0, size_of_val) + page.hashes().map_or(0, size_of_val)) as u64;
                assert!(page.takes() >= page.bytes.len() as u64 + notes);
                assert!(page.takes() <= page.bytes.capacity() as u64 + 2 * notes + 12 * MIN_NOTES as u64);
                let hashes = (next..).step_by(3).take(page.records as usize);
                assert!(page.hashes().is_none_or(|noted| hashes.eq(noted.iter().copied())));
                for at in page.starts().unwrap_or_default() {
                    assert_eq!(page.read::<u64>(*at).unwrap(), next);
                    assert_eq!(page.read::<(u64, String)>(*at).unwrap(), (next, text(next)));
                    next += 3;
                }
                piece.skip_page();
            }
            assert_eq!(next >= 20_000, indexed, "as far as {next}");
            assert!(piece.next().unwrap().is_none());
        }
    }
}

#[test]
fn records_of_a_partition_keep_their_order_of_arrival() {
    // Few and many partitions, small runs and large ones: each of the four ways of finishing.
    for (partitions, records) in [(7, 1_000), (7, 300_000), (256, 200_000), (257, 5_000), (10_000, 400_000)] {
        let place = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % partitions;
        let run = written(partitions, (0..records).map(|i| (place(i), i, (i, i))));
        let mut expected = vec![Vec::new(); partitions];
        (0..records).for_each(|i| expected[place(i)].push((i, i)));
        for (p, expected) in expected.iter().enumerate() {
            assert_eq!(&all(&run, p), expected, "partition {p} of {partitions}");
            assert_eq!(run.records(p), expected.len());
            assert_eq!(run.sizes()[p], expected.len() as u64 * 16);
        }
        assert_eq!(run.len() as u64, records);
        assert_eq!(run.bytes(), records * 16);
    }
}

#[test]
fn empty_run_has_no_records_anywhere() {
    for partitions in [0, 1, 300] {
        let run = written::<String>(partitions, []);
        assert_eq!(run.len(), 0);
        assert_eq!(run.partition(0).count(), 0);
        assert_eq!(run.partition(partitions + 5).count(), 0);
        assert_eq!(run.sizes(), vec![0; partitions]);
    }
}

#[test]
fn records_without_size_are_counted() {
    let run = written(300, (0..5_000).map(|i| (i % 3, 0, ())));
    assert_eq!(run.records(1), 1_667);
    assert_eq!(run.partition(1).flatten().count(), 1_667);
    assert_eq!(run.bytes(), 0);
}

#[test]
fn records_larger_than_a_chunk_are_kept() {
    let run = written(2, (0..10u8).map(|i| (i as usize % 2, 0, [[[i; 32]; 32]; 32])));
    assert_eq!(run.partition(1).flatten().map(|r| r[31][31][31]).collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
}

#[test]
fn few_records_for_many_partitions_take_little_room() {
    let run = written(10_000, (0..10).map(|i| (i * 999, 1, i as u64)));
    assert_eq!((run.extents.len(), run.chunks.len(), run.chunks[0].capacity()), (10, 1, 10));
    assert_eq!(all(&run, 8_991), [9]);
    assert_eq!(run.records(8_992), 0);
}

#[derive(Clone)]
struct Counted(Arc<()>);

impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[test]
fn each_record_is_dropped_once() {
    let record = Counted(Arc::new(()));
    for (partitions, n) in [(3, 100), (3, 200_000), (1_000, 200_000)] {
        let run = written(partitions, (0..n).map(|i| (i % partitions, 0, record.clone())));
        assert_eq!(Arc::strong_count(&record.0), n + 1);
        drop(run);
        assert_eq!(Arc::strong_count(&record.0), 1);
    }
    let mut writer = RunWriter::new(1_000);
    (0..1_000).for_each(|i| writer.push(i, 0, record.clone()));
    drop(writer);
    assert_eq!(Arc::strong_count(&record.0), 1);
}

#[test]
fn checksum_sees_order_within_a_partition_only() {
    let sum = |records: &[(usize, u64)]| output(4, records.iter().map(|(p, h)| (*p, *h, 0u8)), None).checksum();
    let base = sum(&[(0, 1), (1, 2), (0, 3)]);
    assert_eq!(base, sum(&[(1, 2), (0, 1), (0, 3)]), "other interleaving");
    assert_ne!(base, sum(&[(0, 3), (1, 2), (0, 1)]), "other order");
    assert_ne!(base, sum(&[(0, 1), (2, 2), (0, 3)]), "other partition");
    assert_ne!(base, sum(&[(0, 1), (1, 2), (0, 3), (3, 0)]), "one more, hash 0");
    assert_ne!(base, sum(&[(0, 1), (1, 2)]), "one less");
}

#[test]
fn checksum_does_not_see_how_records_lie() {
    let hashes: Vec<(usize, u64)> = (0..100_000u64).map(|i| (i as usize % 300, i * i)).collect();
    let small = output(300, hashes.iter().map(|(p, h)| (*p, *h, ())), None);
    let large = output(300, hashes.iter().map(|(p, h)| (*p, *h, [0u64; 9])), None);
    assert_eq!(small.checksum(), large.checksum());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]
    #[test]
    fn any_run_is_what_was_pushed(partitions in 1usize..600, pushed in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), ".{0,3}"), 0..300)) {
        let pushed: Vec<_> = pushed.into_iter().map(|(p, h, r)| (p.index(partitions), h, r)).collect();
        let run = written(partitions, pushed.clone());
        for p in 0..partitions {
            let expected: Vec<String> = pushed.iter().filter(|r| r.0 == p).map(|r| r.2.clone()).collect();
            prop_assert_eq!(all(&run, p), expected);
        }
    }

    #[test]
    fn what_was_flushed_under_a_tiny_budget_reads_the_same(
        partitions in 1usize..600, n in 0u64..60_000, length in 0usize..60, budget in 1u64..4_000_000
    ) {
        // Some are encoded, some wait to be put where they belong, some take no room.
        reads_the_same(partitions, n, budget, |i| (i, "x".repeat(length)))?;
        reads_the_same(partitions, n, budget, |i| (i, [i; 3]))?;
        reads_the_same(partitions, n, budget, |_| ())?;
    }
}

fn reads_the_same<R>(partitions: usize, n: u64, budget: u64, record: impl Fn(u64) -> R) -> Result<(), TestCaseError>
where
    R: Serialize + DeserializeOwned + Clone + PartialEq + fmt::Debug,
{
    let dir = tempfile::tempdir().unwrap();
    let files = RunFiles::new(Scratch::new(vec![dir.path().into()]), true);
    let memory = Memory::new(budget, 0.5);
    let task = memory.task(|| false);
    let reservation = task.reservation();
    let room = Room { reservation, files, shuffle: ShuffleId(0), to_disk: false, fail: |e| panic!("{e}") };
    let place = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % partitions;
    let pushed = || (0..n).map(|i| (place(i), i, record(i)));
    let (in_memory, spilled) = (output(partitions, pushed(), None), output(partitions, pushed(), Some(room)));
    prop_assert_eq!(in_memory.checksum(), spilled.checksum());
    prop_assert_eq!(in_memory.len(), spilled.len());
    prop_assert!(task.peak() <= budget.max(2 << 20), "{} of {budget}", task.peak());
    for p in 0..partitions {
        let mut records = Vec::new();
        for piece in 0..spilled.pieces() {
            let mut part = spilled.piece(piece, p).unwrap();
            while let Some(record) = part.next().unwrap() {
                records.push(record);
            }
        }
        records.extend(spilled.in_memory(p).flatten().cloned());
        let expected: Vec<_> = in_memory.in_memory(p).flatten().cloned().collect();
        prop_assert_eq!(records, expected);
    }
    drop(spilled);
    prop_assert_eq!(memory.storage(), 0);
    Ok(())
}
