//! How files become partitions: the rule of Hadoop's `FileInputFormat`.

use crate::{Codec, InputFile, codec, path};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc};

/// What Hadoop takes for the block size of a local disk: no split is longer.
const BLOCK: u64 = 32 << 20;
/// A last split may be this much longer than the others, rather than be followed by a tiny one.
const SLOP: f64 = 1.1;
/// A glimpse of a split is of so many stretches of so many bytes.
const GLIMPSE: (u64, u64) = (16, 64 << 10);
/// A split that is not so many times as long as a glimpse of it is read as a whole.
const WORTHWHILE: u64 = 4;

/// The part of a text file that one task reads: the lines that start in `(start, start + len]`, and for `start` 0 the
/// first one too. Hadoop's rule: each line belongs to exactly one split, wherever the cuts fall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextSplit {
    /// The file, absolute.
    #[serde(with = "path::as_bytes")]
    pub path: Arc<Path>,
    /// The first byte.
    pub start: u64,
    /// How many bytes. Of a compressed file, all of its compressed bytes.
    pub len: u64,
}

impl TextSplit {
    /// The byte after the last.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Stretches from all over the split, for whoever needs an impression of its lines, and how many times as long the split is.
    /// `None` if it is short, or compressed.
    pub fn glimpse(&self) -> Option<(Vec<TextSplit>, f64)> {
        let (stretches, len) = GLIMPSE;
        let plain = matches!(codec::of_file(&self.path), Ok(Codec::None));
        (plain && self.len >= WORTHWHILE * stretches * len).then(|| {
            let start = |i| self.start + (self.len - len) / (stretches - 1) * i;
            let stretch = |i| TextSplit { path: self.path.clone(), start: start(i), len };
            ((0..stretches).map(stretch).collect(), self.len as f64 / (stretches * len) as f64)
        })
    }
}

/// Cuts files into splits, in the files' order, as Hadoop does when asked for at least `min_partitions`: by
/// min(total bytes / asked, 32 MiB), a rest of up to 1.1 times that staying whole. Often it is a few more than asked, and fewer
/// if files are few and tiny. Empty files give none; a compressed file gives one.
///
/// ```
/// use firesteel_io::{InputFile, text_splits};
/// let file = InputFile { path: std::path::Path::new("/x").into(), len: 70, splittable: true };
/// let lens: Vec<u64> = text_splits(&[file], 4).iter().map(|split| split.len).collect();
/// assert_eq!(lens, [17, 17, 17, 17, 2]);
/// ```
pub fn text_splits(files: &[InputFile], min_partitions: usize) -> Vec<TextSplit> {
    let total: u64 = files.iter().map(|file| file.len).sum();
    let goal = total / (min_partitions.max(1) as u64);
    let size = goal.clamp(1, BLOCK);
    let mut splits = Vec::new();
    for file in files {
        let mut start = 0;
        while file.splittable && (file.len - start) as f64 / size as f64 > SLOP {
            splits.push(TextSplit { path: file.path.clone(), start, len: size });
            start += size;
        }
        if start < file.len {
            splits.push(TextSplit { path: file.path.clone(), start, len: file.len - start });
        }
    }
    splits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(name: &str, len: u64) -> InputFile {
        InputFile { path: Path::new(name).into(), len, splittable: !name.ends_with(".gz") }
    }

    #[test]
    fn seventy_bytes_give_what_hadoop_gives() {
        let counts: Vec<usize> = (1..=12).map(|asked| text_splits(&[file("x", 70)], asked).len()).collect();
        assert_eq!(counts, [1, 2, 3, 5, 5, 7, 7, 9, 10, 10, 12, 14]);
        assert_eq!(text_splits(&[file("x", 70)], 0).len(), 1);
        assert_eq!(text_splits(&[file("x", 6)], 4).len(), 6);
    }

    #[test]
    fn a_glimpse_of_a_split_is_of_stretches_all_over_it() {
        let split = TextSplit { path: Path::new("x").into(), start: 5 << 20, len: 32 << 20 };
        let (stretches, times) = split.glimpse().unwrap();
        assert_eq!((stretches.len(), times), (16, 32.0));
        assert_eq!(stretches[0].start, split.start);
        assert!(stretches.is_sorted_by(|a, b| a.end() < b.start));
        let left = split.end() - stretches[15].end();
        assert!(left < 16, "{left} bytes after the last stretch");
        assert_eq!(TextSplit { len: 1 << 20, ..split.clone() }.glimpse(), None);
        assert_eq!(TextSplit { path: Path::new("x.gz").into(), ..split }.glimpse(), None);
    }

    #[test]
    fn blocks_bound_splits_and_empty_files_give_none() {
        let files = [file("a", 0), file("b", 100 << 20), file("c.gz", 100 << 20), file("d", 35 << 20)];
        let splits: Vec<_> =
            text_splits(&files, 1).iter().map(|s| (s.path.display().to_string(), s.len >> 20)).collect();
        let expected = [("b", 32), ("b", 32), ("b", 32), ("b", 4), ("c.gz", 100), ("d", 35)];
        assert_eq!(splits, expected.map(|(name, len)| (name.to_string(), len)));
        assert_eq!(text_splits(&[], 3), []);
    }

    proptest! {
        #[test]
        fn splits_cover_each_file_once(lens in prop::collection::vec(0u64..5000, 0..6), asked in 0usize..40) {
            let files: Vec<_> = lens.iter().enumerate().map(|(i, len)| file(&i.to_string(), *len)).collect();
            let splits = text_splits(&files, asked);
            for f in &files {
                let mut at = 0;
                for s in splits.iter().filter(|s| s.path == f.path) {
                    prop_assert!(s.start == at && s.len > 0);
                    at = s.end();
                }
                prop_assert_eq!(at, f.len);
            }
        }
    }
}
