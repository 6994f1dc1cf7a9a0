//! Files as single elements: how many small files become a partition, and how one is read.

use crate::{
    InputFile,
    codec::{self, Codec, GzipReader},
    decode_utf8,
};
use firesteel_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fs::File, io::Read, path::Path};

/// The files that one task reads whole, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeFileSplit {
    /// At least one.
    pub files: Vec<InputFile>,
}

/// Packs files into partitions as Spark's `wholeTextFiles` does: in their order, into one partition until that holds
/// total bytes / `min_partitions` (rounded up) or more, then into the next. So the count is a hint: a few large files
/// make fewer partitions, and files that are all empty make one. Empty files count, no file is cut.
///
/// ```
/// use firesteel_io::{InputFile, whole_file_splits};
/// let files = [5, 0, 4, 9, 1].map(|len| InputFile { path: std::path::Path::new("/x").into(), len, splittable: true });
/// let lens = whole_file_splits(&files, 3).iter().map(|s| s.files.iter().map(|f| f.len).collect()).collect::<Vec<Vec<u64>>>();
/// assert_eq!(lens, [vec![5, 0, 4], vec![9], vec![1]]);
/// ```
pub fn whole_file_splits(files: &[InputFile], min_partitions: usize) -> Vec<WholeFileSplit> {
    let total: u64 = files.iter().map(|file| file.len).sum();
    let enough = total.div_ceil(min_partitions.max(1) as u64);
    let mut splits = Vec::new();
    let mut open = Vec::new();
    let mut held = 0;
    for file in files {
        open.push(file.clone());
        held += file.len;
        if enough > 0 && held >= enough {
            splits.push(WholeFileSplit { files: std::mem::take(&mut open) });
            held = 0;
        }
    }
    if !open.is_empty() {
        splits.push(WholeFileSplit { files: open });
    }
    splits
}

/// The text of a file, decompressed if its name says that it is compressed, with the replacements of
/// [`decode_utf8`]; line ends and a byte order mark stay, as in Spark.
///
/// # Errors
/// [`Error::Io`] names the file: it cannot be read, is a damaged `.gz`, or is larger than memory.
pub fn read_whole(path: &Path) -> Result<String> {
    let failed = |e| Error::io("read", path.display(), e);
    let mut file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    match codec::of_file(path)? {
        Codec::None => file.read_to_end(&mut bytes),
        Codec::Gzip => GzipReader::new(file).read_to_end(&mut bytes),
    }
    .map_err(failed)?;
    Ok(decode_utf8(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::{fs, io::Write};

    fn files(lens: &[u64]) -> Vec<InputFile> {
        lens.iter()
            .enumerate()
            .map(|(i, len)| InputFile { path: Path::new(&i.to_string()).into(), len: *len, splittable: true })
            .collect()
    }

    #[test]
    fn empty_files_make_one_partition_and_no_files_none() {
        assert_eq!(whole_file_splits(&files(&[0, 0, 0]), 5).len(), 1);
        assert_eq!(whole_file_splits(&[], 5).len(), 0);
        assert_eq!(whole_file_splits(&files(&[7]), 0).len(), 1);
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, packed) = (dir.path().join("a"), dir.path().join("a.gz"));
        let text = b"\xef\xbb\xbfone\r\ntwo\xff";
        fs::write(&plain, text).unwrap();
        let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap();
        for path in [&plain, &packed] {
            assert_eq!(read_whole(path).unwrap(), "\u{feff}one\r\ntwo\u{fffd}");
        }
        fs::write(&plain, "").unwrap();
        fs::write(&packed, "").unwrap();
        assert_eq!(read_whole(&plain).unwrap() + &read_whole(&packed).unwrap(), "");
        fs::write(&packed, "\x1f").unwrap();
        assert!(read_whole(&packed).unwrap_err().to_string().contains("a.gz"));
        assert!(read_whole(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_partition_in_order(lens in prop::collection::vec(0u64..50, 0..30), asked in 0usize..20) {
            let files = files(&lens);
            let splits = whole_file_splits(&files, asked);
            let back: Vec<_> = splits.iter().flat_map(|split| split.files.clone()).collect();
            prop_assert_eq!(back, files);
            prop_assert!(splits.iter().all(|split| !split.files.is_empty()));
            // Every partition but the last holds its share, so only files of no bytes can make one more than asked.
            prop_assert!(splits.len() <= asked.max(1) + 1);
        }
    }
}
