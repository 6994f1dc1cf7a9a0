//! Kept partitions whose bytes were changed behind the engine's back.

use firesteel::{events::Event, prelude::*};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
};

/// The files that blocks lie in.
fn block_files(dir: &Path) -> Vec<PathBuf> {
    let inside = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let all = inside(dir).iter().flat_map(|store| inside(store)).collect::<Vec<_>>();
    all.into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("block")))
        .collect()
}

#[test]
fn a_damaged_block_is_told_and_computed_again() {
    let dir = tempfile::tempdir().unwrap();
    let sc = Context::builder().master("local[1]").conf("firesteel.local.dir", dir.path().display()).build().unwrap();
    let (told, blocks) = mpsc::channel();
    sc.add_listener(move |event: &Event| {
        if let Event::BlockUpdated(update) = event {
            let _ = told.send((update.info.block.clone(), update.info.level));
        }
    })
    .unwrap();
    let made = sc.long_accumulator("made");
    let kept = sc
        .range_n(0..100, 2)
        .map_with(made.clone(), |made, i| {
            made.add(1);
            i
        })
        .persist(StorageLevel::DISK_ONLY);
    assert_eq!(kept.sum().unwrap(), 4950.0);
    let files = block_files(dir.path());
    assert_eq!(files.len(), 2, "{files:?}");
    let mut bytes = fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&files[0], bytes).unwrap();

    assert_eq!(kept.sum().unwrap(), 4950.0);
    assert_eq!(made.value(), 150);
    // It is kept again.
    assert_eq!(kept.sum().unwrap(), 4950.0);
    assert_eq!(made.value(), 150);
    let id = kept.id();
    sc.stop().unwrap();
    let mut seen: Vec<_> = blocks.try_iter().filter(|(name, _)| name.starts_with(&format!("rdd_{id}_"))).collect();
    assert_eq!(seen.len(), 4, "{seen:?}");
    let again = seen.split_off(2);
    assert_eq!(again[0].0, again[1].0);
    assert_eq!((again[0].1, again[1].1), (StorageLevel::NONE, StorageLevel::DISK_ONLY));
}
