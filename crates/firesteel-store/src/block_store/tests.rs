use super::*;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

const LEVELS: [StorageLevel; 12] = [
    StorageLevel::NONE,
    StorageLevel::DISK_ONLY,
    StorageLevel::DISK_ONLY_2,
    StorageLevel::DISK_ONLY_3,
    StorageLevel::MEMORY_ONLY,
    StorageLevel::MEMORY_ONLY_2,
    StorageLevel::MEMORY_ONLY_SER,
    StorageLevel::MEMORY_ONLY_SER_2,
    StorageLevel::MEMORY_AND_DISK,
    StorageLevel::MEMORY_AND_DISK_2,
    StorageLevel::MEMORY_AND_DISK_SER,
    StorageLevel::MEMORY_AND_DISK_SER_2,
];

fn id(partition: u32) -> BlockId {
    BlockId::Rdd(RddId(1), PartitionIndex(partition))
}

fn words() -> Vec<Vec<(String, u64)>> {
    (0..3).map(|c| (0..1_000 * c).map(|i| (format!("word {i}"), i)).collect()).collect()
}

fn all<T: Data>(block: &CachedBlock<T>) -> Vec<Vec<T>> {
    (0..block.chunks()).map(|i| block.chunk(i).unwrap().to_vec()).collect()
}

/// A store and the folder that it writes to.
fn store() -> (BlockStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (BlockStore::new(Scratch::new(vec![dir.path().into()]), Memory::new(1 << 30, 0.5)), dir)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in fs::read_dir(dir).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.retain(|path| !path.ends_with("lock"));
    files
}

#[test]
fn every_level_gives_back_what_was_put() {
    let (store, dir) = store();
    for level in LEVELS {
        let (status, block) = store.put(id(0), level, words()).unwrap();
        assert_eq!(all(&block), words(), "{level:?}");
        assert_eq!((block.chunks(), block.records()), (3, 3_000));
        let kept = store.get::<(String, u64)>(id(0)).unwrap();
        if level == StorageLevel::NONE {
            assert!(kept.is_none());
            continue;
        }
        assert_eq!(all(&kept.unwrap()), words(), "{level:?}");
        assert_eq!(store.status(id(0)), Some(status));
        let on_disk = !level.use_memory;
        assert_eq!((status.level.use_memory, status.level.use_disk), (!on_disk, on_disk));
        assert_eq!((status.memory_bytes > 0, status.disk_bytes > 0), (!on_disk, on_disk));
        assert_eq!(status.level.replication, level.replication);
        drop(block);
        assert_eq!(files(dir.path()).len(), on_disk as usize, "{level:?}");
    }
}

#[test]
fn empty_blocks_are_blocks() {
    let (store, _dir) = store();
    for level in &LEVELS[1..] {
        for chunks in [vec![], vec![vec![]], vec![vec![]; 3]] {
            store.put::<String>(id(0), *level, chunks.clone()).unwrap();
            assert_eq!(all(&store.get::<String>(id(0)).unwrap().unwrap()), chunks);
        }
        store.put(id(1), *level, vec![vec![(); 5]]).unwrap();
        assert_eq!(store.get::<()>(id(1)).unwrap().unwrap().chunk(0).unwrap().len(), 5);
    }
}

#[test]
fn size_of_values_counts_what_they_own() {
    let (store, _dir) = store();
    let size = |chunks: Vec<Vec<String>>| store.put(id(0), StorageLevel::MEMORY_ONLY, chunks).unwrap().0.memory_bytes;
    let strings = |n: usize, len: usize| vec!["x".repeat(len); n];
    assert_eq!(size(vec![strings(10, 100), strings(990, 100)]), 1_000 * (24 + 4 + 100) + 2 * 24);
    assert_eq!(store.put(id(0), StorageLevel::MEMORY_ONLY, vec![vec![1u64; 10]]).unwrap().0.memory_bytes, 80 + 24);
    assert_eq!(store.put_value(id(0), Arc::new("x".repeat(100))).memory_bytes, 24 + 104);
}

#[test]
fn block_of_another_type_is_an_error_that_names_both() {
    let (store, _dir) = store();
    store.put(id(0), StorageLevel::MEMORY_ONLY_SER, vec![vec![1u64]]).unwrap();
    let error = store.get::<i64>(id(0)).unwrap_err().to_string();
    assert!(error.contains("rdd_1_0") && error.contains("u64") && error.contains("i64"), "{error}");
    store.put_value(id(1), Arc::new(5u64));
    assert!(matches!(store.get::<u64>(id(1)), Err(StoreError::WrongType { .. })));
    assert!(store.get_value::<u64>(id(0)).is_none());
    assert!(store.get_value::<i64>(id(1)).is_none());
    assert_eq!(store.get_value::<u64>(id(1)).as_deref(), Some(&5));
}

#[test]
fn removed_block_stays_readable_for_who_reads_it() {
    let (store, dir) = store();
    for level in &LEVELS[1..] {
        store.put(id(0), *level, words()).unwrap();
        let block = store.get::<(String, u64)>(id(0)).unwrap().unwrap();
        assert!(store.remove(id(0)).is_some());
        assert!(store.remove(id(0)).is_none());
        assert!(store.get::<(String, u64)>(id(0)).unwrap().is_none());
        assert_eq!(all(&block), words());
        assert_eq!(all(&block.clone()), words());
    }
    assert!(files(dir.path()).is_empty());
}

#[test]
fn replaced_block_leaves_no_file() {
    let (store, dir) = store();
    for n in 0..3u8 {
        store.put(id(0), StorageLevel::DISK_ONLY, vec![vec![n]]).unwrap();
    }
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!(all(&store.get::<u8>(id(0)).unwrap().unwrap()), [[2]]);
}

#[test]
fn removing_an_rdd_removes_its_partitions_only() {
    let store = BlockStore::new(Scratch::new(vec![]), Memory::new(1 << 30, 0.5));
    let other = BlockId::Rdd(RddId(2), PartitionIndex(0));
    let source = BlockId::Source(RddId(1), PartitionIndex(0));
    for block in [id(0), id(7), other, source] {
        store.put(block, StorageLevel::MEMORY_ONLY, vec![vec![1u8]]).unwrap();
    }
    let removed: Vec<_> =
        store.remove_rdd(RddId(1)).into_iter().map(|(id, status)| (id, status.memory_bytes)).collect();
    assert_eq!(removed, [(id(0), 25), (id(7), 25)]);
    assert_eq!(store.statuses().map(|(id, _)| id).collect::<Vec<_>>(), [other, source]);
    assert_eq!(store.remove_source(RddId(1)).len(), 1);
    store.clear();
    assert!(store.is_empty());
}

#[test]
fn missing_file_is_told_once_and_then_the_block_is_gone() {
    let (store, dir) = store();
    store.put(id(0), StorageLevel::DISK_ONLY, words()).unwrap();
    fs::remove_file(&files(dir.path())[0]).unwrap();
    let error = store.get::<(String, u64)>(id(0)).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("block-0"), "{error}");
    assert!(store.get::<(String, u64)>(id(0)).unwrap().is_none());
    assert!(store.is_empty());
}

#[test]
fn damage_found_while_reading_takes_the_block_away() {
    let (store, dir) = store();
    store.put(id(0), StorageLevel::DISK_ONLY, words()).unwrap();
    let path = &files(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    let block = store.get::<(String, u64)>(id(0)).unwrap().unwrap();
    let errors: Vec<_> = (0..block.chunks()).filter_map(|i| block.chunk(i).err()).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("checksum"), "{}", errors[0]);
    assert!(store.get::<(String, u64)>(id(0)).unwrap().is_none());
}

#[test]
fn damage_does_not_take_away_the_block_that_came_after() {
    let (store, dir) = store();
    store.put(id(0), StorageLevel::DISK_ONLY, words()).unwrap();
    fs::remove_file(&files(dir.path())[0]).unwrap();
    store.get::<(String, u64)>(id(0)).unwrap_err();
    store.put(id(0), StorageLevel::DISK_ONLY, words()).unwrap();
    assert_eq!(all(&store.get::<(String, u64)>(id(0)).unwrap().unwrap()), words());
}

#[test]
fn block_that_cannot_be_written_is_not_kept_and_leaves_no_file() {
    let (store, dir) = store();
    static FAILS: AtomicBool = AtomicBool::new(true);
    #[derive(Clone, Deserialize)]
    struct Moody;
    impl Serialize for Moody {
        fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            if FAILS.load(Ordering::Relaxed) { Err(serde::ser::Error::custom("not now")) } else { s.serialize_unit() }
        }
    }
    for level in [StorageLevel::DISK_ONLY, StorageLevel::MEMORY_ONLY_SER] {
        let error = store.put(id(0), level, vec![vec![Moody]]).unwrap_err().to_string();
        assert!(error.contains("not now") && error.contains("Moody"), "{error}");
    }
    assert!(store.is_empty() && files(dir.path()).is_empty());
    FAILS.store(false, Ordering::Relaxed);
    store.put(id(0), StorageLevel::DISK_ONLY, vec![vec![Moody]]).unwrap();
}

#[test]
fn store_without_scratch_folder_keeps_blocks_in_memory_only() {
    let store = BlockStore::new(Scratch::new(vec![]), Memory::new(1 << 30, 0.5));
    store.put(id(0), StorageLevel::MEMORY_AND_DISK, vec![vec![1u8]]).unwrap();
    let error = store.put(id(0), StorageLevel::DISK_ONLY, vec![vec![1u8]]).unwrap_err();
    assert!(error.to_string().contains("firesteel.local.dir"), "{error}");
    assert_eq!(all(&store.get::<u8>(id(0)).unwrap().unwrap()), [[1]], "the block before is still there");
}

#[test]
fn closed_store_leaves_nothing_behind() {
    let (store, dir) = store();
    store.put(id(0), StorageLevel::DISK_ONLY, words()).unwrap();
    let block = store.get::<(String, u64)>(id(0)).unwrap().unwrap();
    store.close();
    assert_eq!(all(&block), words(), "still read");
    drop(block);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(matches!(store.put(id(0), StorageLevel::DISK_ONLY, words()), Err(StoreError::Closed)));

    let other = BlockStore::new(Scratch::new(vec![dir.path().into()]), Memory::new(1 << 30, 0.5));
    other.put(id(0), StorageLevel::DISK_ONLY, words()).unwrap();
    drop(other);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn many_threads_share_a_store() {
    let (store, _dir) = store();
    std::thread::scope(|scope| {
        for t in 0..4u32 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..50u32 {
                    let (own, shared) = (id(t + 1), id(0));
                    let level = LEVELS[1 + (i as usize * 5 + t as usize) % 11];
                    store.put(own, level, vec![vec![i; 100]; 2]).unwrap();
                    store.put(shared, level, vec![vec![7u32; 50]]).unwrap();
                    assert_eq!(all(&store.get::<u32>(own).unwrap().unwrap()), vec![vec![i; 100]; 2]);
                    if let Some(block) = store.get::<u32>(shared).unwrap() {
                        assert_eq!(all(&block), [[7; 50]]);
                    }
                    store.remove(shared);
                }
            });
        }
    });
}

/// A store with little memory, and what it said of evictions.
fn small_store(
    bytes: u64,
) -> (BlockStore, Arc<Memory>, Arc<std::sync::Mutex<Vec<(BlockId, Option<BlockStatus>)>>>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new(bytes, 0.0);
    let store = BlockStore::new(Scratch::new(vec![dir.path().into()]), memory.clone());
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = told.clone();
    store.on_eviction(move |id, status| tell.lock().unwrap().push((id, status)));
    (store, memory, told, dir)
}

#[test]
fn blocks_leave_memory_when_tasks_need_it_as_their_level_says() {
    for level in LEVELS.into_iter().filter(|level| level.use_memory) {
        let (store, memory, told, _dir) = small_store(1 << 20);
        store.put(id(0), level, words()).unwrap();
        assert!(told.lock().unwrap().is_empty());
        let task = memory.task(|| false);
        task.reservation().grow(1_000_000).unwrap();
        let now = store.get::<(String, u64)>(id(0)).unwrap();
        let told = told.lock().unwrap().clone();
        assert_eq!((told.len(), told[0].0, told[0].1), (1, id(0), store.status(id(0))), "{level:?}");
        if level.use_disk {
            assert_eq!(all(&now.unwrap()), words(), "{level:?}");
            let status = told[0].1.unwrap();
            assert!(status.level.use_disk && !status.level.use_memory && status.disk_bytes > 0);
            assert_eq!(status.memory_bytes, 0);
        } else {
            assert!(now.is_none() && store.is_empty(), "{level:?}");
        }
        assert_eq!((memory.storage(), memory.execution()), (0, 0));
    }
}

#[test]
fn a_block_larger_than_memory_goes_to_disk_or_is_not_kept() {
    for level in LEVELS.into_iter().filter(|level| level.use_memory) {
        let (store, memory, _, _dir) = small_store(50_000);
        let mut builder = store.builder(id(0), level).unwrap();
        let mut pushed = Vec::new();
        for chunk in words() {
            pushed.push(chunk.clone());
            if !builder.push(chunk).unwrap() {
                break;
            }
        }
        let (status, block) = builder.finish().unwrap();
        assert_eq!(all(&block), pushed, "what was pushed can be read");
        if level.use_disk {
            assert_eq!(pushed, words());
            assert!(status.level.use_disk && store.get::<(String, u64)>(id(0)).unwrap().is_some());
        } else {
            assert!(!status.level.use_memory && store.is_empty(), "{level:?}");
        }
        drop(block);
        assert_eq!(memory.storage(), 0);
    }
}

#[test]
fn partitions_of_one_rdd_do_not_push_each_other_out_but_others_do() {
    let (store, memory, told, _dir) = small_store(100_000);
    let chunk = || vec![vec![1u8; 30_000]];
    for partition in 0..5 {
        store.put(id(partition), StorageLevel::MEMORY_ONLY, chunk()).unwrap();
    }
    assert_eq!(store.len(), 3);
    assert!(told.lock().unwrap().is_empty());
    let other = BlockId::Rdd(RddId(2), PartitionIndex(0));
    store.get::<u8>(id(0)).unwrap().unwrap();
    store.put(other, StorageLevel::MEMORY_ONLY, chunk()).unwrap();
    assert_eq!(*told.lock().unwrap(), [(id(1), None)], "the one that was not used for longest");
    assert_eq!(store.statuses().map(|(id, _)| id).collect::<Vec<_>>(), [id(0), id(2), other]);
    store.clear();
    assert_eq!(memory.storage(), 0);
}

#[test]
fn a_block_that_cannot_be_moved_to_disk_stays_and_one_in_memory_only_goes() {
    let memory = Memory::new(1 << 20, 0.0);
    let store = BlockStore::new(Scratch::new(vec![]), memory.clone());
    for (partition, level) in [StorageLevel::MEMORY_AND_DISK, StorageLevel::MEMORY_ONLY].into_iter().enumerate() {
        store.put(id(partition as u32), level, vec![vec![7u64; 50_000]]).unwrap();
    }
    let task = memory.task(|| false);
    let mut work = task.reservation();
    assert!(work.grow(800_000).is_err(), "one of them stays");
    assert!(work.grow(500_000).is_ok());
    assert_eq!(store.get::<u64>(id(0)).unwrap().unwrap().records(), 50_000);
    assert!(store.get::<u64>(id(1)).unwrap().is_none());
}
