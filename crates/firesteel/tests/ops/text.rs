//! Text input, from files to elements.

use crate::masters::{any_context, config, local4};
use firesteel::prelude::*;
use proptest::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder with some files.
fn folder<const N: usize>(files: [(&str, &[u8]); N]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

fn at(root: &TempDir, name: &str) -> String {
    root.path().join(name).display().to_string()
}

/// Lines end at LF, CRLF or CR; what follows the last end is a line if it is anything.
fn lines(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        lines.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        let skip = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = rest.get(end + skip..).unwrap_or_default();
    }
    lines
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Short lines, long ones, all kinds of ends, characters of several bytes, and bytes that are none.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-cé€🦀]{0,6}".prop_map(String::into_bytes),
        4 => prop::sample::select(vec!["\n", "\r\n", "\r", "\n\n", "\r\r\n"]).prop_map(|end| end.as_bytes().to_vec()),
        1 => prop::sample::select(vec![vec![0xff], vec![0xc3], vec![0xe2, 0x82], vec![0, 0x0b, 0x0c]]),
        1 => (1usize..3_000).prop_map(|n| vec![b'x'; n]),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lines_stay_in_order_where_segments_and_caches_pass_them_on(
        texts in prop::collection::vec(any_text(), 1..4), few in 0u64..40, sc in any_context(),
    ) {
        let root = tempfile::tempdir().unwrap();
        let (mut all, mut expected) = (sc.empty_rdd().erase(), Vec::new());
        for (i, text) in texts.iter().enumerate() {
            fs::write(root.path().join(format!("{i}")), text).unwrap();
            let file = sc.text_file_n(at(&root, &format!("{i}")), 1);
            // Lent by the file, owned, lent by a cache.
            let owned = file.map(|line| line + "!").erase();
            let cached = file.filter(|line| line.len() < 2_000).cache();
            all = sc.union(&[all, file.erase(), owned, cached.erase(), cached.erase()]).erase();
            let lines = lines(text);
            let short = || lines.iter().filter(|line| line.len() < 2_000).cloned();
            expected.extend(lines.iter().cloned());
            expected.extend(lines.iter().map(|line| format!("{line}!")));
            expected.extend(short().chain(short()));
        }
        // One partition, so that what is lent and what is owned meet in a batch.
        let one = all.coalesce(1).erase();
        prop_assert_eq!(&all.collect().unwrap(), &expected);
        prop_assert_eq!(&one.collect().unwrap(), &expected);
        prop_assert_eq!(one.count().unwrap(), expected.len() as u64);
        let kept = one.cache();
        for _ in 0..2 {
            prop_assert_eq!(kept.take(few as usize).unwrap(), &expected[..expected.len().min(few as usize)]);
            prop_assert_eq!(&kept.erase().collect().unwrap(), &expected);
        }
        // What is drawn once is lent, what is drawn more often is owned: both in one batch.
        let drawn = kept.sample(true, 1.5, 7);
        prop_assert_eq!(drawn.erase().collect().unwrap(), drawn.collect().unwrap());
        let short: Vec<_> = expected.iter().filter(|line| line.len() < 3).cloned().collect();
        prop_assert_eq!(kept.erase().filter(|line| line.len() < 3).erase().collect().unwrap(), short);
    }

    #[test]
    fn every_line_is_read_once_wherever_files_are_cut(
        sc in any_context(), texts in prop::collection::vec(any_text(), 1..4), partitions in 0usize..20, most in 0usize..40,
    ) {
        let root = folder([]);
        for (i, text) in texts.iter().enumerate() {
            fs::write(root.path().join(format!("part-{i}")), text)?;
        }
        let rdd = sc.text_file_n(at(&root, "part-*"), partitions);
        let expected: Vec<String> = texts.iter().flat_map(|text| lines(text)).collect();
        prop_assert_eq!(rdd.collect()?, expected.clone());
        prop_assert_eq!(rdd.count()?, expected.len() as u64);
        prop_assert_eq!(rdd.erase().take(most)?, expected.into_iter().take(most).collect::<Vec<_>>());
    }
}

#[test]
fn every_cut_of_a_file_with_every_end_gives_the_same_lines() {
    let sc = local4();
    let text = b"one\r\ntwo\rthree\n\n\r\n\rfour\xff\r\n\xe2\x82\xac five";
    let root = folder([("a.txt", text)]);
    for partitions in 0..=text.len() + 2 {
        let rdd = sc.text_file_n(at(&root, "a.txt"), partitions);
        let read = rdd.collect().unwrap();
        assert_eq!(read, ["one", "two", "three", "", "", "", "four\u{fffd}", "€ five"], "{partitions}");
        assert!(rdd.num_partitions().unwrap() >= partitions.min(text.len() / 2), "{partitions}");
    }
}

#[test]
fn a_line_longer_than_many_partitions_is_one_line() {
    let long = "é".repeat(1 << 20);
    let root = folder([("a.txt", format!("before\n{long}\nafter").as_bytes())]);
    let rdd = local4().text_file_n(at(&root, "a.txt"), 9);
    assert_eq!(rdd.map(|line| line.chars().count()).collect().unwrap(), [6, 1 << 20, 5]);
    assert_eq!(rdd.num_partitions().unwrap(), 9);
}

#[test]
fn a_byte_order_mark_begins_a_file_and_is_dropped() {
    let root = folder([("a.txt", b"\xef\xbb\xbfone\n\xef\xbb\xbftwo")]);
    assert_eq!(local4().text_file_n(at(&root, "a.txt"), 3).collect().unwrap(), ["one", "\u{feff}two"]);
}

#[test]
fn files_folders_globs_and_lists_are_read() {
    let sc = local4();
    let root = folder([
        ("in/a.txt", b"a\n"),
        ("in/b.txt", b"b"),
        ("in/c.log", b"c"),
        ("in/_hidden", b"no"),
        ("in/.hidden", b"no"),
        ("in/empty", b""),
        ("more/d.txt", b"d\n"),
    ]);
    let read = |path: &str| sorted(sc.text_file(path).collect().unwrap());
    assert_eq!(read(&at(&root, "in/a.txt")), ["a"]);
    assert_eq!(read(&at(&root, "in")), ["a", "b", "c"]);
    assert_eq!(read(&at(&root, "in/*.txt")), ["a", "b"]);
    assert_eq!(read(&at(&root, "*/[bd].txt")), ["b", "d"]);
    assert_eq!(read(&at(&root, "{in,more}/{a,d}.txt")), ["a", "d"]);
    assert_eq!(read(&format!("{},{}", at(&root, "more"), at(&root, "in/c*"))), ["c", "d"]);
    assert_eq!(read(&format!("file://{}", at(&root, "in/_hidden"))), ["no"]);
    assert_eq!(sc.text_file(at(&root, "in/empty")).num_partitions().unwrap(), 0);
}

#[test]
fn missing_input_is_an_error_of_the_action_that_names_it() {
    let sc = local4();
    let root = folder([("in/sub/a.txt", b"a")]);
    let error = |path: &str| sc.text_file(path).count().unwrap_err().to_string();
    for missing in [at(&root, "none.txt"), at(&root, "no*")] {
        assert!(error(&missing).contains(&missing), "{}", error(&missing));
        assert!(sc.whole_text_files(&missing).count().unwrap_err().to_string().contains(&missing));
    }
    assert!(error(&at(&root, "in")).contains("sub"), "{}", error(&at(&root, "in")));
}

/// Some lines as gzip writes them.
fn compressed(lines: &[&str]) -> Vec<u8> {
    let root = folder([]);
    let out = at(&root, "out");
    local4().parallelize_n(lines.iter().map(ToString::to_string), 1).save_as_text_file_codec(&out, "gz").unwrap();
    fs::read(Path::new(&out).join("part-00000.gz")).unwrap()
}

#[test]
fn the_names_ending_alone_says_that_a_file_is_compressed() {
    let sc = local4();
    let (one, two) = (compressed(&["one", "two"]), compressed(&["three"]));
    let root = folder([("all.gz", &[one.clone(), two].concat()), ("plain.txt", &one), ("not.gz", b"no gzip")]);
    let all = sc.text_file_n(at(&root, "all.gz"), 5);
    assert_eq!(all.collect().unwrap(), ["one", "two", "three"], "several members are one file");
    assert_eq!(all.num_partitions().unwrap(), 1, "compressed files are not cut");
    assert_eq!(sc.whole_text_files(at(&root, "all.gz")).values().collect().unwrap(), ["one\ntwo\nthree\n"]);
    assert!(sc.text_file(at(&root, "plain.txt")).first().unwrap().starts_with('\u{1f}'));
    let e = sc.text_file(at(&root, "not.gz")).count().unwrap_err().to_string();
    assert!(e.contains("not.gz"), "{e}");
}

#[test]
fn whole_files_are_elements_with_their_names() {
    let sc = local4();
    let root = folder([("a", b"one\r\ntwo"), ("b", b""), ("c", b"\xff\n"), ("_d", b"no")]);
    let mut expected: Vec<(String, String)> = [("a", "one\r\ntwo"), ("b", ""), ("c", "\u{fffd}\n")]
        .map(|(name, text)| (format!("file:{}", at(&root, name)), text.to_string()))
        .into();
    let files: Rdd<(String, String)> = sc.whole_text_files(at(&root, "*"));
    assert_eq!(files.collect().unwrap(), expected);
    assert_eq!(files.map(|(_, text)| text.len()).collect().unwrap(), [8, 0, 4]);
    expected.retain(|(_, text)| text.len() > 4);
    assert_eq!(files.filter(|(_, text)| text.len() > 4).collect().unwrap(), expected);
    assert_eq!(files.name().unwrap(), at(&root, "*"));
    assert_eq!(sc.whole_text_files(format!("{},{}", at(&root, "a"), at(&root, "a"))).count().unwrap(), 2);
}

#[test]
fn whole_files_are_packed_by_their_bytes() {
    let sc = local4();
    let root = folder([("a", &[b'x'; 50]), ("b", &[b'x'; 10]), ("c", &[b'x'; 40]), ("d", &[b'x'; 1])]);
    let sizes = |n| {
        let files = sc.whole_text_files_n(at(&root, "?"), n);
        files.map(|(_, text)| text.len()).glom().collect().unwrap()
    };
    assert_eq!(sizes(1), [[50, 10, 40, 1]]);
    assert_eq!(sizes(2), [vec![50, 10], vec![40, 1]]);
    assert_eq!(sizes(100), [[50], [10], [40], [1]]);
    let empty = folder([("a", b""), ("b", b"")]);
    assert_eq!(
        sc.whole_text_files_n(at(&empty, "?"), 5).map(|(_, text)| text.len()).glom().collect().unwrap(),
        [[0, 0]]
    );
}

#[test]
fn whole_files_are_read_one_at_a_time() {
    let root = folder([("a", b"1"), ("b", b"2"), ("c", b"3")]);
    let files = local4().whole_text_files_n(at(&root, "?"), 1);
    assert_eq!(files.num_partitions().unwrap(), 1);
    // Listed, but gone: whoever reads no further than the first file does not notice.
    let gone: PathBuf = root.path().join("b");
    fs::remove_file(&gone).unwrap();
    assert_eq!(files.values().take(1).unwrap(), ["1"]);
    assert!(files.count().unwrap_err().to_string().contains(&gone.display().to_string()));
}
