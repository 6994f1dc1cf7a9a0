//! What an executor's files of map outputs hold, told by a file beside them, so that it can be read when the executor has died.
//!
//! Each shuffle has one, `shuffle-7.outputs` in the first scratch folder. Every finished map output is appended to it:
//!
//! ```text
//! length of what follows the checksum u32 · its CRC32C u32 · map partition, attempt, place as a record
//! ```
//!
//! Who writes and who reads it are the same program. Who hands its bytes on need not know what they mean: a reader asks for ranges of
//! bytes, of the catalogue, then of the indices of the outputs that it wants, then of their pages.

use crate::{
    Scratch, StoreError, Wanted,
    flushed::{Bounds, entries_of},
    output::parts,
    record,
    sync::{Mutex, MutexGuard},
};
use firesteel_model::{AttemptId, PartitionIndex, ShuffleId};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::PoisonError,
};

/// No output is spread further: numbers of partitions and parts together are below 2^63.
const MOST_SPREAD: u32 = 31;
/// A length and a checksum.
const HEADER: usize = 8;

/// What the catalogue says of the map outputs of one shuffle.
///
/// ```
/// use firesteel_model::{AttemptId, PartitionIndex, ShuffleId};
/// use firesteel_store::{Catalogue, Memory, Room, RunFiles, RunWriter, Scratch, ShuffleStore, Wanted};
/// # fn fail(e: firesteel_store::StoreError) -> ! { panic!("{e}") }
///
/// let folder = tempfile::tempdir().unwrap();
/// let store = ShuffleStore::new(RunFiles::catalogued(Scratch::new(vec![folder.path().into()]), true));
/// let (shuffle, map, attempt) = (ShuffleId(7), PartitionIndex(0), AttemptId(1));
/// let reservation = Memory::new(1 << 20, 0.5).task(|| false).reservation();
/// let room = Room { reservation, files: store.files().clone(), shuffle, to_disk: true, fail };
/// let mut writer = RunWriter::new(2).within(room);
/// writer.push(1, 0, 'a');
/// store.put(shuffle, map, attempt, writer.finish().0);
///
/// let catalogue = Catalogue::of(&std::fs::read(folder.path().join(Catalogue::file_of(shuffle))).unwrap());
/// let output = catalogue.find(map, attempt).unwrap();
/// assert_eq!(output.index(1, Wanted::All).unwrap().len(), 1, "one piece, one index");
/// ```
#[derive(Debug, Default)]
pub struct Catalogue(BTreeMap<(PartitionIndex, AttemptId), OutputPlace>);

/// Where one map output lies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutputPlace {
    pub(crate) spread: u32,
    pub(crate) pieces: Vec<PiecePlace>,
}

/// Where one of its pieces lies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PiecePlace {
    /// Which scratch folder, and which file in it.
    pub(crate) folder: u32,
    pub(crate) file: String,
    pub(crate) bounds: Bounds,
}

/// A part of a file of the executor's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRange {
    /// In which of its scratch folders the file is, in the order of the configuration.
    pub folder: u32,
    /// The file's path there.
    pub file: String,
    /// Which bytes of it.
    pub bytes: Range<u64>,
}

/// What a reader reads of one map output.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Located {
    /// How many records it has.
    pub records: u64,
    /// How many bytes of pages it has.
    pub bytes: u64,
    /// Whether records of other parts than the one that is wanted are among them.
    pub among_others: bool,
    /// Where the pages are, in order.
    pub ranges: Vec<FileRange>,
}

impl Located {
    /// Leaves so many bytes out: a reader that was cut off has them.
    pub fn skip(&mut self, bytes: u64) {
        let mut left = bytes.min(self.bytes);
        self.bytes -= left;
        self.ranges.retain_mut(|range| {
            let step = left.min(range.bytes.end - range.bytes.start);
            range.bytes.start += step;
            left -= step;
            !range.bytes.is_empty()
        });
    }
}

impl Catalogue {
    /// The path of a shuffle's catalogue in the first scratch folder.
    pub fn file_of(shuffle: ShuffleId) -> String {
        format!("shuffle-{shuffle}.outputs")
    }

    /// Reads a catalogue. What comes after a damaged place is not in it.
    pub fn of(bytes: &[u8]) -> Self {
        let mut found = BTreeMap::new();
        let mut rest = bytes;
        while let Some((entry, after)) = next(rest) {
            if let Ok((map, attempt, place)) = record::from_slice::<(PartitionIndex, AttemptId, OutputPlace)>(entry)
                && place.spread <= MOST_SPREAD
            {
                found.insert((map, attempt), place);
            }
            rest = after;
        }
        Catalogue(found)
    }

    /// Where the output of one attempt at one map task lies; none if it is not told.
    pub fn find(&self, map: PartitionIndex, attempt: AttemptId) -> Option<&OutputPlace> {
        self.0.get(&(map, attempt))
    }
}

/// The first entry of some bytes, and those after it.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (entry, after) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (crc32c::crc32c(entry) == u32::from_le_bytes(*crc)).then_some((entry, after))
}

impl OutputPlace {
    /// What to read to learn where a reduce partition, or what is wanted of it, lies: an index for each piece.
    ///
    /// # Errors
    /// Why that cannot be, if the output has no such partition.
    pub fn index(&self, partition: usize, wanted: Wanted) -> Result<Vec<FileRange>, &'static str> {
        let (parts, _) = parts(self.spread, partition, wanted);
        let index = |piece: &PiecePlace| Ok(piece.range(piece.bounds.entries(&parts)?));
        self.pieces.iter().map(index).collect()
    }

    /// Where it lies, by those indices: as [`PartBytes`](crate::PartBytes) would give it, byte for byte.
    ///
    /// # Errors
    /// What is wrong with the indices.
    pub fn locate(&self, partition: usize, wanted: Wanted, indices: &[Vec<u8>]) -> Result<Located, &'static str> {
        let (parts, among_others) = parts(self.spread, partition, wanted);
        let mut located = Located { among_others, ..Located::default() };
        for part in parts.clone() {
            for (piece, index) in self.pieces.iter().zip(indices) {
                let (bytes, records) = piece.bounds.extent(entries_of(index, &parts, part), part)?;
                let records = located.records.checked_add(records);
                let total = located.bytes.checked_add(bytes.end - bytes.start);
                (located.records, located.bytes) = records.zip(total).ok_or("its indices contradict each other")?;
                match located.ranges.last_mut() {
                    Some(last)
                        if (last.folder, &last.file, last.bytes.end) == (piece.folder, &piece.file, bytes.start) =>
                    {
                        last.bytes.end = bytes.end;
                    }
                    _ if bytes.is_empty() => {}
                    _ => located.ranges.push(piece.range(bytes)),
                }
            }
        }
        Ok(located)
    }
}

impl PiecePlace {
    fn range(&self, bytes: Range<u64>) -> FileRange {
        FileRange { folder: self.folder, file: self.file.clone(), bytes }
    }
}

fn path(scratch: &Scratch, shuffle: ShuffleId) -> Option<PathBuf> {
    Some(scratch.first_dir()?.join(Catalogue::file_of(shuffle)))
}

/// Those that a process writes, and how far each is written: an entry that could not be written whole is overwritten by the next.
#[derive(Debug, Default)]
pub(crate) struct Catalogues(Mutex<BTreeMap<ShuffleId, u64>>);

impl Catalogues {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShuffleId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a map output.
    pub(crate) fn append(
        &self,
        scratch: &Scratch,
        shuffle: ShuffleId,
        map: PartitionIndex,
        attempt: AttemptId,
        place: &OutputPlace,
    ) -> Result<(), StoreError> {
        let path = path(scratch, shuffle).ok_or(StoreError::NoScratch)?;
        let mut bytes = vec![0; HEADER];
        let unwritable = |source| StoreError::Record { block: path.display().to_string(), source };
        record::extend(&mut bytes, &(map, attempt, place)).map_err(unwritable)?;
        let (header, entry) = bytes.split_at_mut(HEADER);
        header[..4].copy_from_slice(&(entry.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&crc32c::crc32c(entry).to_le_bytes());
        let mut ends = self.lock();
        let end = ends.entry(shuffle).or_default();
        *end = write_at(&path, &bytes, *end).map_err(StoreError::io("append to", &path))?;
        Ok(())
    }

    /// Removes a shuffle's catalogue.
    pub(crate) fn remove(&self, scratch: &Scratch, shuffle: ShuffleId) {
        let mut ends = self.lock();
        ends.remove(&shuffle);
        if let Some(path) = path(scratch, shuffle) {
            // There is none if no map task has ended here.
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes there, or where the file ends if that comes first: somebody may have removed it, and zeros would hide what follows. Where that ends.
fn write_at(path: &Path, bytes: &[u8], at: u64) -> io::Result<u64> {
    let file = File::options().create(true).write(true).truncate(false).open(path)?;
    let at = at.min(file.metadata()?.len());
    file.write_all_at(bytes, at)?;
    Ok(at + bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, Room, RunFiles, RunWriter, ShuffleStore, flushed::entry_crc};
    use proptest::prelude::*;
    use std::io::{Read, Write};
    use tempfile::TempDir;

    const S: ShuffleId = ShuffleId(3);
    const M: PartitionIndex = PartitionIndex(1);
    const A: AttemptId = AttemptId(9);

    fn fail(e: StoreError) -> ! {
        panic!("{e}")
    }

    /// A map output of so many records in two scratch folders, in several pieces where memory is short.
    fn written(records: u64, partitions: usize, spread: bool, budget: u64) -> (ShuffleStore, [TempDir; 2]) {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let scratch = Scratch::new(dirs.iter().map(|dir| dir.path().into()).collect());
        let store = ShuffleStore::new(RunFiles::catalogued(scratch, true));
        let memory = Memory::new(budget, 0.0);
        let task = memory.task(|| false);
        let room =
            Room { reservation: task.reservation(), files: store.files().clone(), shuffle: S, to_disk: true, fail };
        let writer = RunWriter::new(partitions).within(room);
        let mut writer = if spread { writer.spread() } else { writer };
        for i in 0..records {
            let hash = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            writer.push((i % partitions as u64) as usize, hash, i);
        }
        store.put(S, M, A, writer.finish().0);
        (store, dirs)
    }

    #[test]
    fn indices_that_promise_more_records_than_can_be_are_refused() {
        let bounds: Bounds = record::from_slice(&record::to_vec(&(0u64, 0u64, 40u64, 1u64)).unwrap()).unwrap();
        let piece = || PiecePlace { folder: 0, file: String::new(), bounds };
        let place = OutputPlace { spread: 0, pieces: vec![piece(), piece()] };
        let entry = |partition: usize, records: u64| {
            let numbers = [[0; 8], records.to_le_bytes()].concat();
            [&numbers[..], &entry_crc(&numbers, 0, partition).to_le_bytes()].concat()
        };
        let index = [entry(0, 0), entry(1, u64::MAX)].concat();
        assert_eq!(place.locate(0, Wanted::All, std::slice::from_ref(&index)).unwrap().records, u64::MAX);
        let both = place.locate(0, Wanted::All, &[index.clone(), index]);
        assert_eq!(both.unwrap_err(), "its indices contradict each other");
    }

    fn read(dirs: &[TempDir; 2], range: &FileRange) -> Vec<u8> {
        let mut bytes = vec![0; (range.bytes.end - range.bytes.start) as usize];
        let file = File::open(dirs[range.folder as usize].path().join(&range.file)).unwrap();
        file.read_exact_at(&mut bytes, range.bytes.start).unwrap();
        bytes
    }

    fn catalogue(dirs: &[TempDir; 2]) -> Vec<u8> {
        fs::read(dirs[0].path().join(Catalogue::file_of(S))).unwrap()
    }

    #[test]
    fn what_a_catalogue_says_is_what_the_store_gives() {
        let little = 256 << 10;
        for (records, partitions, spread, budget) in [
            (50_000, 3, true, little),
            (50_000, 3, false, little),
            (50_000, 600, false, 64 << 20),
            (5, 3, true, little),
        ] {
            let (store, dirs) = written(records, partitions, spread, budget);
            let output = store.get::<u64>(S, M, A).unwrap();
            assert_eq!(output.pieces() > 1, budget == little && records > 10);
            let parts = [Wanted::All, Wanted::Part { part: 1, spread: output.spread().max(1) }];
            let place = Catalogue::of(&catalogue(&dirs));
            let place = place.find(M, A).unwrap();
            for (partition, wanted) in (0..3).flat_map(|partition| parts.map(|wanted| (partition, wanted))) {
                let mut given = store.part(S, M, A, partition, wanted).unwrap().unwrap();
                let indices: Vec<_> =
                    place.index(partition, wanted).unwrap().iter().map(|at| read(&dirs, at)).collect();
                let located = place.locate(partition, wanted, &indices).unwrap();
                assert_eq!(
                    (located.records, located.bytes, located.among_others),
                    (given.records(), given.length(), given.among_others())
                );
                let (mut expected, mut found) = (Vec::new(), Vec::new());
                given.read_to_end(&mut expected).unwrap();
                located.ranges.iter().for_each(|range| found.extend(read(&dirs, range)));
                assert!(found == expected, "{partition} {wanted:?}");
                let (mut rest, mut after) = (located.clone(), Vec::new());
                let skipped = found.len() * 2 / 3;
                rest.skip(skipped as u64);
                rest.ranges.iter().for_each(|range| after.extend(read(&dirs, range)));
                assert!(after == found[skipped..] && rest.bytes == after.len() as u64);
            }
        }
    }

    #[test]
    fn a_catalogue_goes_with_its_shuffle() {
        let (store, dirs) = written(5, 3, false, 1 << 20);
        store.remove_shuffle(S);
        assert_eq!(fs::read_dir(dirs[0].path()).unwrap().count() + fs::read_dir(dirs[1].path()).unwrap().count(), 1);
    }

    #[test]
    fn an_entry_that_was_written_by_halves_hides_none_that_follow() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(vec![dir.path().into()]);
        let place = OutputPlace { spread: 0, pieces: Vec::new() };
        let (catalogues, path) = (Catalogues::default(), path(&scratch, S).unwrap());
        let append = |attempt| catalogues.append(&scratch, S, M, AttemptId(attempt), &place).unwrap();
        append(0);
        let whole = fs::read(&path).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(&whole[..whole.len() - 1]).unwrap();
        append(1);
        append(2);
        let found = Catalogue::of(&fs::read(&path).unwrap());
        assert!((0..3).all(|attempt| found.find(M, AttemptId(attempt)).is_some()));
        // Nor does one of the same number that comes later begin where this one ended.
        catalogues.remove(&scratch, S);
        append(3);
        assert!(Catalogue::of(&fs::read(&path).unwrap()).find(M, AttemptId(3)).is_some());
        // Nor is there a hole where somebody else has removed it.
        fs::remove_file(&path).unwrap();
        append(4);
        assert!(Catalogue::of(&fs::read(&path).unwrap()).find(M, AttemptId(4)).is_some());
    }

    #[test]
    fn a_changed_index_is_noticed() {
        let (_store, dirs) = written(5, 3, false, 1 << 20);
        let place = Catalogue::of(&catalogue(&dirs)).find(M, A).unwrap().clone();
        let index = read(&dirs, &place.index(1, Wanted::All).unwrap()[0]);
        assert!(place.locate(1, Wanted::All, std::slice::from_ref(&index)).is_ok());
        assert!(place.locate(2, Wanted::All, std::slice::from_ref(&index)).is_err(), "of another partition");
        assert!(place.locate(1, Wanted::All, &[index[..39].into()]).is_err());
        for bit in 0..index.len() * 8 {
            let mut index = index.clone();
            index[bit / 8] ^= 1 << (bit % 8);
            assert!(place.locate(1, Wanted::All, &[index]).is_err());
        }
        assert!(place.index(3, Wanted::All).is_err(), "there are three partitions");
    }

    proptest! {
        #[test]
        fn damage_costs_what_comes_after_it(cut in 0usize..200, flip in 0usize..200) {
            let scratch = tempfile::tempdir().unwrap();
            let place = OutputPlace { spread: 0, pieces: Vec::new() };
            let folders = Scratch::new(vec![scratch.path().into()]);
            let catalogues = Catalogues::default();
            (0..5).for_each(|attempt| catalogues.append(&folders, S, M, AttemptId(attempt), &place).unwrap());
            let mut bytes = fs::read(path(&folders, S).unwrap()).unwrap();
            let (length, whole) = (bytes.len() / 5, bytes.len());
            let (cut, flip) = (cut % whole, flip % whole);
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(flip) {
                *byte ^= 0x10;
            }
            let sound = (cut / length).min(if flip < cut { flip / length } else { 5 });
            let found = Catalogue::of(&bytes);
            for attempt in 0..5 {
                prop_assert_eq!(found.find(M, AttemptId(attempt as u64)).is_some(), attempt < sound);
            }
        }

        #[test]
        fn arbitrary_bytes_are_a_catalogue_of_nothing_bad(
            bytes in prop::collection::vec(any::<u8>(), 0..200), numbers: (u64, u64, u64, u64), spread in 0..MOST_SPREAD,
        ) {
            let _ = Catalogue::of(&bytes);
            let (start, index_at, end, partitions) = numbers;
            let bounds: Bounds = record::from_slice(&record::to_vec(&(start, index_at, end, partitions)).unwrap()).unwrap();
            let place = OutputPlace { spread, pieces: vec![PiecePlace { folder: 0, file: String::new(), bounds }] };
            let wanted = Wanted::Part { part: 0, spread };
            let _ = place.index(7, wanted);
            let _ = place.locate(7, wanted, &[bytes]);
        }
    }
}
