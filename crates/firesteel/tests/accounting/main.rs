//! What the memory budget says is held, against what the allocator knows, at every thousandth record of jobs that spill and evict.
//!
//! A program of its own, since all that a process allocates is counted. There is one task at a time, so that nothing else allocates
//! while a task looks.

use firesteel::prelude::*;
use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

const BUDGET: i64 = 24 << 20;
/// How far the two may be apart.
///
/// What is held and not said: buffers of files that are being written and read, batches between segments, chunks that are not full yet,
/// and what strings have reserved beyond their length. What is said and not held: memory is asked for in steps, and for vectors as if
/// they were about to grow.
const SLACK: i64 = BUDGET / 4;

static CONTEXT: OnceLock<Context> = OnceLock::new();
/// What was allocated before.
static BEFORE: OnceLock<i64> = OnceLock::new();
static SEEN: AtomicU64 = AtomicU64::new(0);
static DIFFERENCES: Mutex<Vec<(i64, i64)>> = Mutex::new(Vec::new());

fn allocated() -> i64 {
    firesteel_store::heap::allocated().expect("the allocator of this program counts") as i64
}

/// Notes, at some of the calls, what the budget says and what is so.
fn look() {
    if !SEEN.fetch_add(1, Ordering::Relaxed).is_multiple_of(1_000) {
        return;
    }
    let (Some(sc), Some(before)) = (CONTEXT.get(), BEFORE.get()) else { return };
    let said: i64 = sc.executor_memory_status().values().map(|(_, free)| BUDGET - *free as i64).sum();
    let held = allocated() - before;
    DIFFERENCES.lock().unwrap_or_else(PoisonError::into_inner).push((said, held));
}

fn check(what: &str, job: impl FnOnce(&Context) -> Result<u64>) -> Result<()> {
    let sc = CONTEXT.get().expect("made first");
    let records = job(sc)?;
    let seen = std::mem::take(&mut *DIFFERENCES.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(seen.len() >= 50, "{what}: looked {} times at {records} records", seen.len());
    let most = seen.iter().map(|(said, _)| *said).max().unwrap();
    let unsaid = seen.iter().map(|(said, held)| held - said).max().unwrap();
    let unused = seen.iter().map(|(said, held)| said - held).max().unwrap();
    assert!(unsaid <= SLACK && unused <= SLACK, "{what}: {unsaid} B were not said, {unused} B not used, of {most} B");
    println!("{what}: at most {} KiB said; {} KiB unsaid, {} KiB unused", most >> 10, unsaid >> 10, unused >> 10);
    Ok(())
}

fn records(sc: &Context, n: u64) -> Rdd<(u64, String)> {
    sc.range_n(0..n, 3).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 100_000, format!("{i:0>100}"))).erase()
}

fn looked_at(rdd: &Rdd<(u64, String), impl Pipeline<Item = (u64, String)>>) -> Rdd<(u64, String)> {
    rdd.map_values(|value| {
        look();
        value
    })
    .erase()
}

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::builder().master("local[1]").conf("firesteel.memory.budget", BUDGET).build()?;
    let _ = CONTEXT.set(sc.clone());
    sc.range(0..10).count()?;
    let _ = BEFORE.set(allocated());
    let n = 400_000;
    check("a shuffle", |sc| looked_at(&records(sc, n)).partition_by(3).count())?;
    check("a shuffle that combines", |sc| {
        looked_at(&records(sc, n)).reduce_by_key(|a, b| if a.len() < b.len() { b } else { a }).count()
    })?;
    check("groups on their way out", |sc| {
        let groups = records(sc, n).group_by_key_into(3);
        groups
            .map(|group| {
                look();
                group
            })
            .filter(|(_, values)| values.len() > 1_000)
            .count()
    })?;
    check("a sort on its way out", |sc| looked_at(&records(sc, n).sort_by_key_n(true, 3)).count())?;
    check("blocks that are cached", |sc| {
        let cached = looked_at(&records(sc, n)).persist(StorageLevel::MEMORY_AND_DISK);
        cached.count()?;
        looked_at(&cached).count()
    })?;
    check("lines that are cached", |sc| {
        let lines = looked_at(&records(sc, 2 * n)).values().persist(StorageLevel::MEMORY_AND_DISK);
        lines.count()?;
        lines
            .map(|line| {
                look();
                line
            })
            .count()
    })?;
    check("groups that are gathered", |sc| {
        let spread = records(sc, n).partition_by(HashPartitioner::new(3));
        looked_at(&spread).group_by_key_into(HashPartitioner::new(3)).count()
    })?;
    check("a join", |sc| {
        let spread = records(sc, n).partition_by(HashPartitioner::new(3));
        let other = looked_at(&records(sc, n / 10).partition_by(HashPartitioner::new(3)));
        looked_at(&spread)
            .join_into(&other, HashPartitioner::new(3))
            .map(|pair| {
                look();
                pair
            })
            .count()
    })?;
    Ok(())
}
