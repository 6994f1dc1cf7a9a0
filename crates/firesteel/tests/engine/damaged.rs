//! Files of kept partitions, map outputs and spilled records, changed behind the engine's back.

use crate::{
    disks::files,
    random_program::random::Random,
    steps::{Told, local},
};
use firesteel::{
    __private::Moment,
    events::{Event, event::TaskEnd},
    prelude::*,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

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
    let files = files(dir.path());
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

/// Flips one bit of a file, cuts it short, or deletes it; says which.
fn damage(path: &Path, random: &mut Random) -> &'static str {
    // It may be gone by now: tasks are running.
    let Ok(file) = File::options().read(true).write(true).open(path) else { return "nothing" };
    let length = file.metadata().unwrap().len();
    match random.below(6) {
        0 => {
            let _ = fs::remove_file(path);
            "deleted"
        }
        1 if length > 0 => {
            file.set_len(random.next() % length).unwrap();
            "cut"
        }
        _ if length > 0 => {
            let at = random.next() % length;
            let mut byte = [0];
            if file.read_exact_at(&mut byte, at).is_ok() {
                file.write_all_at(&[byte[0] ^ 1 << random.below(8)], at).unwrap();
            }
            "bit"
        }
        _ => "nothing",
    }
}

/// What went wrong with attempts, by the reason that the events give.
fn reasons(told: Told) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for event in told.rest() {
        if let Event::TaskEnd(TaskEnd { reason, .. }) = event {
            let name = format!("{reason:?}");
            let name = name.split([' ', '{', '(']).next().unwrap_or_default().to_string();
            *reasons.entry(name).or_default() += 1;
        }
    }
    reasons
}

type Rows = Vec<Vec<(u64, u64)>>;

/// A sort, groups, a join and two kept RDDs, all larger than a mebibyte.
fn program(sc: &Context) -> Result<Rows> {
    let wide = sc.range_n(0..8_000, 3).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51, format!("{i:0>250}")));
    let kept = wide.persist(StorageLevel::DISK_ONLY);
    let sorted = kept.sort_by_key_n(true, 3).persist(StorageLevel::MEMORY_AND_DISK);
    let groups = sorted.group_by_key_into(4).map_values(|values| values.iter().map(|v| v.len() as u64).sum::<u64>());
    let joined = kept.map_values(|v| v.len() as u64).join_into(&groups, 3).map_values(|(v, w)| v * 1_000_003 + w);
    joined.glom().collect()
}

#[test]
fn damage_at_any_time_is_noticed_and_never_changes_the_result() {
    let expected = program(&local("local[2]")).unwrap();
    let (mut seen, mut done) = (BTreeMap::<String, usize>::new(), BTreeMap::<&str, usize>::new());
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let (scratch, moments) = (dir.path().to_path_buf(), AtomicUsize::new(0));
        let damages: Arc<Mutex<Vec<&str>>> = Arc::default();
        let what = damages.clone();
        let builder = Context::builder().master("local[2]").conf("firesteel.memory.budget", "1m");
        let builder = builder.conf("firesteel.local.dir", dir.path().display()).tamper(move |_, _, moment| {
            // Three times, so that the job has an end.
            let n = moments.fetch_add(usize::from(moment == Moment::Before), Ordering::SeqCst);
            if moment == Moment::Before && n % 5 == 1 + seed % 4 && n < 18 {
                let mut random = Random::new((seed * 1_000 + n) as u64);
                files(&scratch).iter().for_each(|path| what.lock().unwrap().push(damage(path, &mut random)));
            }
        });
        let sc = builder.conf("firesteel.stage.maxConsecutiveAttempts", 100).build().unwrap();
        let told = Told::of(&sc);
        for run in 0..2 {
            assert_eq!(program(&sc).unwrap(), expected, "seed {seed}, run {run}, {:?}", damages.lock().unwrap());
        }
        sc.stop().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        reasons(told).into_iter().for_each(|(reason, count)| *seen.entry(reason).or_default() += count);
        damages.lock().unwrap().iter().for_each(|damage| *done.entry(damage).or_default() += 1);
    }
    eprintln!("{done:?} gave {seen:?}");
    assert!(["bit", "cut", "deleted"].iter().all(|how| done.contains_key(how)), "{done:?}");
    assert!(["FetchFailed", "TaskKilled"].iter().all(|reason| seen.contains_key(*reason)), "{seen:?}");
}
