//! What is not allocated: ordinary programs make nothing per line that they look at, per record that they pass on, or per key that is
//! known.
//!
//! A program of its own, since it counts all allocations of the process, and without a clock: jobs of two sizes are compared.

use firesteel::prelude::*;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is this call's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is this call's.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is this call's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// A job over so many records.
type Job = fn(&Context, u64) -> Result<u64>;

/// How many allocations each further record costs.
fn per_record(sc: &Context, job: Job) -> Result<f64> {
    const FEW: u64 = 20_000;
    const MANY: u64 = 100_000;
    let count = |n| -> Result<u64> {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        job(sc, n)?;
        Ok(ALLOCATIONS.load(Ordering::Relaxed) - before)
    };
    // Once for what is allocated once.
    count(FEW)?;
    let (few, many) = (count(FEW)?, count(MANY)?);
    Ok(many.saturating_sub(few) as f64 / (MANY - FEW) as f64)
}

/// The path of a file of so many lines, of which so many are different.
fn lines(n: u64, different: u64) -> Result<String> {
    let path = std::env::temp_dir().join(format!("firesteel-allocations-{}-{n}-{different}", std::process::id()));
    if !path.exists() {
        let mut text = String::new();
        (0..n)
            .for_each(|i| writeln!(text, "line {} of some that are different", i % different).expect("into a string"));
        std::fs::write(&path, text)?;
    }
    Ok(path.display().to_string())
}

/// What a job is, how many allocations each of its records may cost, and the job.
const JOBS: [(&str, f64, Job); 12] = [
    ("lines that are looked at", 0.01, |sc, n| {
        sc.text_file(lines(n, 100)?).filter(|line| line.contains("7 of s")).count()
    }),
    ("lines that are known", 0.01, |sc, n| sc.text_file(lines(n, 100)?).distinct().count()),
    // Pages of a shuffle hold a kibibyte and more.
    ("lines that are all different", 0.05, |sc, n| sc.text_file(lines(n, n)?).distinct().count()),
    // One of the user's own.
    ("words that are counted", 1.01, |sc, n| {
        let words = sc.range_n(0..n, 4).map(|x| ((x % 1_000).to_string(), 1));
        words.reduce_by_key(|a, b| a + b).filter(|(_, n)| *n > 100).count()
    }),
    ("numbers", 0.01, |sc, n| {
        sc.range_n(0..n, 4).map(|x| x * 2).filter(|x| x % 3 == 0).map(|x| x + 1).reduce(|a, b| a.wrapping_add(b))
    }),
    ("sums of few keys", 0.01, |sc, n| sc.range_n(0..n, 4).map(|x| (x % 100, x)).reduce_by_key(|a, b| a + b).count()),
    ("sums of many keys", 0.01, |sc, n| {
        sc.range_n(0..n, 4).map(|x| (x.wrapping_mul(0x9e37_79b9) % 10_007, x)).reduce_by_key(|a, b| a + b).count()
    }),
    ("lines of an erased RDD", 0.01, |sc, n| {
        sc.text_file(lines(n, 100)?).erase().filter(|line| line.contains("7 of s")).count()
    }),
    ("cached lines", 0.01, |sc, n| {
        let cached = sc.text_file(lines(n, 100)?).cache();
        cached.count()?;
        cached.erase().filter(|line| line.contains("7 of s")).count()
    }),
    // One when it is cached.
    ("lines that are values of a cache", 1.05, |sc, n| {
        let pairs = sc.text_file(lines(n, 100)?).map(|line| (1, line)).cache();
        pairs.values().erase().filter(|line| line.contains("7 of s")).count()
    }),
    ("cached records", 0.01, |sc, n| {
        let cached = sc.range_n(0..n, 4).map(|x| (x, x)).cache();
        cached.count()?;
        cached.filter(|pair| pair.0 % 2 == 0).count()
    }),
    // Chunks of a shuffle hold 64 records and more.
    ("pairs of a join", 0.1, |sc, n| {
        let side = |by: u64| sc.range_n(0..n, 4).map_with(by, |by, x| (x, x * by));
        side(2).join(&side(3)).count()
    }),
];

fn main() -> Result<()> {
    let sc = Context::builder().master("local[2]").build()?;
    for (what, most, job) in JOBS {
        let allocations = per_record(&sc, job)?;
        println!("{what}: {allocations:.4} allocations per record");
        assert!(allocations < most, "{what}: {allocations} allocations per record");
    }
    sc.stop()?;
    for n in [20_000, 100_000] {
        std::fs::remove_file(lines(n, 100)?)?;
        std::fs::remove_file(lines(n, n)?)?;
    }
    println!("ok");
    Ok(())
}
