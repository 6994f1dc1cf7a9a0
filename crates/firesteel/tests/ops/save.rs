//! Text output.

use crate::{
    masters::{any_context, config, local4, slices},
    structure::some_partitions,
};
use firesteel::prelude::*;
use proptest::prelude::*;
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

fn folder() -> (TempDir, String) {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("a/out").display().to_string();
    (root, out)
}

/// Every file below `dir`, with its content.
fn files(dir: impl AsRef<Path>) -> BTreeMap<String, String> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|_| "a folder or no text".into());
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(&path)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..config() })]

    #[test]
    fn each_partition_is_a_file_of_lines(
        sc in any_context(), words in prop::collection::vec("[a-zé ]{0,5}", 0..20), n in some_partitions(),
    ) {
        let (_root, out) = folder();
        sc.parallelize_n(words.clone(), n).save_as_text_file(&out)?;
        let mut expected: BTreeMap<String, String> = slices(&words, n)
            .into_iter()
            .enumerate()
            .map(|(i, slice)| (format!("part-{i:05}"), slice.into_iter().map(|word| word + "\n").collect()))
            .collect();
        expected.insert("_SUCCESS".into(), String::new());
        prop_assert_eq!(files(&out), expected);
        prop_assert_eq!(sc.text_file(format!("{out}/part-*")).collect()?, words);
    }
}

#[test]
fn elements_stand_as_spark_prints_them() {
    let sc = local4();
    let (_root, out) = folder();
    let rows = [("a", 1.0, Some(2), vec![1, 2]), ("b", 1e7, None, vec![])];
    let rows = sc.parallelize_n(rows.map(|(a, b, c, d)| (a.to_string(), b, c, d)), 1);
    rows.save_as_text_file(&out).unwrap();
    assert_eq!(files(&out)["part-00000"], "(a,1.0,Some(2),List(1, 2))\n(b,1.0E7,None,List())\n");
}

#[test]
fn an_existing_folder_is_refused_before_any_task() {
    let sc = local4();
    let root = tempfile::tempdir().unwrap();
    let ran = sc.long_accumulator("ran");
    let numbers = sc.range_n(0..3, 1).map_with(ran.clone(), |ran, i| {
        ran.add(1);
        i
    });
    let e = numbers.save_as_text_file(root.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(e.contains("already exists") && e.contains(root.path().to_str().unwrap()), "{e}");
    assert_eq!(ran.value(), 0);
    assert_eq!(files(root.path()), BTreeMap::new());
}

#[test]
fn no_partitions_leave_only_the_marker() {
    let (_root, out) = folder();
    local4().empty_rdd::<String>().save_as_text_file(&out).unwrap();
    assert_eq!(files(&out).into_keys().collect::<Vec<_>>(), ["_SUCCESS"]);
}

#[test]
fn a_job_that_fails_leaves_nothing() {
    let (root, out) = folder();
    let bad = local4().range_n(0..100, 4).map(|i| if i == 77 { panic!("seventy-seven") } else { i });
    let e = bad.save_as_text_file(&out).unwrap_err().to_string();
    assert!(e.contains("seventy-seven"), "{e}");
    assert_eq!(files(root.path()), BTreeMap::new());
}

#[test]
fn a_repeated_attempt_leaves_nothing_behind() {
    let sc = Context::builder().master("local[2,3]").build().unwrap();
    let (_root, out) = folder();
    let numbers = sc.range_n(0..8, 4).map(|i| {
        let attempt = TaskContext::get().expect("a task").attempt_number();
        if i % 2 == 1 && attempt < 2 {
            panic!("attempt {attempt} at {i}")
        }
        i
    });
    numbers.save_as_text_file(&out).unwrap();
    let expected = [
        ("_SUCCESS", ""),
        ("part-00000", "0\n1\n"),
        ("part-00001", "2\n3\n"),
        ("part-00002", "4\n5\n"),
        ("part-00003", "6\n7\n"),
    ];
    assert_eq!(files(&out), expected.map(|(name, text)| (name.to_string(), text.to_string())).into());
}

#[test]
fn compressed_output_is_read_back() {
    let sc = local4();
    let (_root, out) = folder();
    let lines: Vec<String> = (0..1_000).map(|i| format!("line {i}")).collect();
    for codec in ["gz", "org.apache.hadoop.io.compress.GzipCodec"] {
        let out = format!("{out}-{codec}");
        sc.parallelize_n(lines.clone(), 3).save_as_text_file_codec(&out, codec).unwrap();
        assert_eq!(
            files(&out).into_keys().collect::<Vec<_>>(),
            ["_SUCCESS", "part-00000.gz", "part-00001.gz", "part-00002.gz"]
        );
        let back = sc.text_file_n(format!("{out}/part-*"), 9);
        assert_eq!(back.num_partitions().unwrap(), 3, "compressed files are not cut");
        assert_eq!(back.collect().unwrap(), lines);
    }
}

#[test]
fn an_unknown_codec_is_an_error_before_anything_is_made() {
    let (root, out) = folder();
    let e = local4().range(0..1).save_as_text_file_codec(&out, "rar").unwrap_err().to_string();
    assert!(e.contains("rar") && e.contains("gz"), "{e}");
    assert_eq!(files(root.path()), BTreeMap::new());
}

#[test]
fn a_failed_sort_before_a_save_leaves_nothing() {
    let (root, out) = folder();
    let sorted = local4().range_n(0..10, 2).map(|i| if i == 3 { panic!("three") } else { i }).sort_by(|i| *i, true);
    assert!(sorted.save_as_text_file(&out).unwrap_err().to_string().contains("three"));
    assert_eq!(files(root.path()), BTreeMap::new());
}
