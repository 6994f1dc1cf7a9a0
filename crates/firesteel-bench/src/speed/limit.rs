//! The workloads in the fastest form known, made for one job each: inputs mapped, keys that are slices of the input, no scheduler,
//! lineage, serialisation or recovery. An engine will not get there; it says how much of an engine's time is not the work itself.

use super::{
    Answer, Setting,
    inputs::{DIMENSIONS, mix},
};
use firesteel::prelude::*;
use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry};
use memchr::{memchr, memchr_iter, memmem};
use memmap2::Mmap;
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::{
    fs::{self, File},
    hash::BuildHasher,
    hint::black_box,
    io::Write,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

/// Into so many parts keys are scattered, so that a part's table stays in the cache.
const PARTS: usize = 64;
/// Into so many pieces inputs are cut.
const PIECES: usize = 64;

fn map(path: impl AsRef<Path>) -> Result<Mmap> {
    // SAFETY: the inputs are written once, under another name, and never changed.
    Ok(unsafe { Mmap::map(&File::open(path)?)? })
}

/// Cuts a text at line ends into about so many pieces.
fn pieces(text: &[u8]) -> Vec<&[u8]> {
    let (mut pieces, mut from) = (Vec::new(), 0);
    for i in 1..=PIECES {
        let mut to = text.len() * i / PIECES;
        if to < from {
            continue;
        }
        to += memchr(b'\n', &text[to..]).map_or(text.len() - to, |end| end + 1);
        if to > from {
            pieces.push(&text[from..to]);
        }
        from = to;
    }
    pieces
}

/// Threads pull numbers below `n`, each with a state of its own.
fn pull<S: Send>(
    setting: &Setting,
    n: usize,
    new: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, usize) + Sync,
) -> Vec<S> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut state = new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                return state;
            }
            each(&mut state, i);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..setting.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread of the limit panics")).collect()
    })
}

fn parts<T>() -> Vec<Vec<T>> {
    (0..PARTS).map(|_| Vec::new()).collect()
}

/// Appends a number in decimal.
fn put(out: &mut Vec<u8>, mut n: u64) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A word that occurs `n` times, first at `from`.
#[derive(Clone, Copy, Default)]
struct Word {
    hash: u64,
    from: u32,
    length: u32,
    n: u32,
}

impl Word {
    fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.from as usize..][..self.length as usize]
    }
    fn part(&self) -> usize {
        (self.hash >> 58) as usize
    }
}

/// A small cache of frequent words per thread, which stays in the second-level cache; what falls out of it goes to its part, and each
/// part is counted in one go.
pub(super) fn w1(setting: &Setting) -> Result<Answer> {
    const SLOTS: usize = 1 << 14;
    let text = map(setting.inputs().text)?;
    let (text, hasher) = (&text[..], FixedState::default());
    let cut = pieces(text);
    let scattered = pull(
        setting,
        cut.len(),
        || (vec![[Word::default(); 2]; SLOTS], parts::<Word>()),
        |(cache, parts), i| {
            for word in cut[i].split(|byte| *byte == b' ' || *byte == b'\n').filter(|word| !word.is_empty()) {
                let hash = hasher.hash_one(word);
                let slot = &mut cache[hash as usize & (SLOTS - 1)];
                let hit = |entry: &Word| entry.hash == hash && entry.n > 0 && entry.text(text) == word;
                if hit(&slot[0]) {
                    slot[0].n += 1;
                } else if hit(&slot[1]) {
                    slot[1].n += 1;
                    if slot[1].n > slot[0].n {
                        slot.swap(0, 1);
                    }
                } else {
                    if slot[1].n > 0 {
                        parts[slot[1].part()].push(slot[1]);
                    }
                    let from = (word.as_ptr().addr() - text.as_ptr().addr()) as u32;
                    slot[1] = Word { hash, from, length: word.len() as u32, n: 1 };
                }
            }
        },
    );
    let scattered: Vec<_> = scattered
        .into_iter()
        .map(|(cache, mut parts)| {
            cache.into_iter().flatten().filter(|word| word.n > 0).for_each(|word| parts[word.part()].push(word));
            parts
        })
        .collect();
    fs::create_dir_all(setting.output())?;
    let saved = pull(
        setting,
        PARTS,
        || Ok(()),
        |saved: &mut Result<()>, part| {
            let mut table = HashTable::new();
            for word in scattered.iter().flat_map(|parts| &parts[part]) {
                let same = |other: &Word| other.hash == word.hash && other.text(text) == word.text(text);
                match table.entry(word.hash, same, |other| other.hash) {
                    Entry::Occupied(mut entry) => entry.get_mut().n += word.n,
                    Entry::Vacant(entry) => drop(entry.insert(*word)),
                }
            }
            let written = save(&setting.output().join(format!("part-{part:05}")), table.iter(), |out, word| {
                out.push(b'(');
                out.extend_from_slice(word.text(text));
                out.push(b',');
                put(out, word.n.into());
                out.extend_from_slice(b")\n");
            });
            if written.is_err() {
                *saved = written;
            }
        },
    );
    saved.into_iter().collect::<Result<()>>()?;
    Ok(Answer::default())
}

/// Writes lines by the megabyte.
fn save<T>(path: &Path, items: impl Iterator<Item = T>, line: impl Fn(&mut Vec<u8>, T)) -> Result<()> {
    let (mut file, mut out) = (File::create(path)?, Vec::with_capacity(1 << 20));
    for item in items {
        line(&mut out, item);
        if out.len() > (1 << 20) - 4_096 {
            file.write_all(&out)?;
            out.clear();
        }
    }
    Ok(file.write_all(&out)?)
}

/// Looks for the word, not for lines.
pub(super) fn w2(setting: &Setting) -> Result<Answer> {
    let text = map(setting.inputs().text)?;
    let (cut, finder) = (pieces(&text), memmem::Finder::new("error"));
    let count = |n: &mut usize, i: usize| {
        let mut rest = cut[i];
        while let Some(at) = finder.find(rest) {
            *n += 1;
            match memchr(b'\n', &rest[at..]) {
                Some(end) => rest = &rest[at + end + 1..],
                None => break,
            }
        }
    };
    Ok(Answer::exact(pull(setting, cut.len(), || 0, count).into_iter().sum::<usize>()))
}

pub(super) fn w3(setting: &Setting) -> Result<Answer> {
    let n = setting.of(200e6);
    let sums = pull(
        setting,
        8,
        || 0u64,
        |sum, i| {
            let i = i as u64;
            let numbers = n * i / 8..n * (i + 1) / 8;
            *sum = numbers.map(|x| x * 2).filter(|x| x % 3 == 0).map(|x| x + 1).fold(*sum, u64::wrapping_add);
        },
    );
    Ok(Answer::exact(sums.into_iter().fold(0, u64::wrapping_add)))
}

/// Scatters numbered pairs by the high bits of their keys' hashes.
fn scatter(setting: &Setting, n: u64, pair: impl Fn(u64) -> (u64, i64) + Sync) -> Vec<Vec<Vec<(u64, i64)>>> {
    pull(setting, 32, parts, |parts, i| {
        let i = i as u64;
        for i in n * i / 32..n * (i + 1) / 32 {
            let (key, value) = pair(i);
            parts[(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize].push((key, value));
        }
    })
}

type Sum = (u64, i64);

fn total(sums: Vec<Sum>) -> Answer {
    let (n, sum) = sums.into_iter().fold((0, 0i64), |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)));
    Answer::exact(format!("{n}/{sum}"))
}

fn add((n, sum): &mut Sum, key: u64, value: i64) {
    (*n, *sum) = (*n + 1, sum.wrapping_add((key as i64 * 31) ^ value));
}

pub(super) fn w4(setting: &Setting) -> Result<Answer> {
    let keys = setting.of(1e6);
    let scattered = scatter(setting, setting.of(20e6), |i| (mix(i) % keys, i as i64));
    let reduce = |sum: &mut Sum, part: usize| {
        let mut table: FxHashMap<u64, i64> = FxHashMap::default();
        for (key, value) in scattered.iter().flat_map(|parts| &parts[part]) {
            *table.entry(*key).or_default() += value;
        }
        table.into_iter().for_each(|(key, value)| add(sum, key, value));
    };
    Ok(total(pull(setting, PARTS, || (0, 0), reduce)))
}

/// Sorts the keys with the places of their records.
pub(super) fn w5(setting: &Setting) -> Result<Answer> {
    const LENGTH: usize = 100;
    let text = map(setting.inputs().records)?;
    let text = &text[..];
    let key = |i: usize| text[i * LENGTH..][..19].iter().fold(0, |key, digit| key * 10 + u64::from(digit - b'0'));
    let mut keys: Vec<(u64, u32)> = (0..text.len() / LENGTH).into_par_iter().map(|i| (key(i), i as u32)).collect();
    keys.par_sort_unstable();
    fs::create_dir_all(setting.output())?;
    let share = keys.len().div_ceil(setting.threads);
    keys.par_chunks(share).enumerate().try_for_each(|(part, keys)| {
        save(&setting.output().join(format!("part-{part:05}")), keys.iter(), |out, (_, i)| {
            out.extend_from_slice(&text[*i as usize * LENGTH..][..LENGTH]);
        })
    })?;
    Ok(Answer::default())
}

/// The left side's keys are unique here.
pub(super) fn w6(setting: &Setting) -> Result<Answer> {
    let n = setting.of(5e6);
    let left = scatter(setting, n, |i| (i * 2_654_435_761 % n, i as i64));
    let right = scatter(setting, n, |i| (mix(i) % (2 * n), i as i64));
    let join = |(n, sum): &mut Sum, part: usize| {
        let mut table: FxHashMap<u64, i64> = FxHashMap::default();
        table.reserve(left.iter().map(|parts| parts[part].len()).sum());
        left.iter().for_each(|parts| table.extend(parts[part].iter().copied()));
        for (key, b) in right.iter().flat_map(|parts| &parts[part]) {
            if let Some(a) = table.get(key) {
                (*n, *sum) = (*n + 1, sum.wrapping_add(a ^ b));
            }
        }
    };
    Ok(total(pull(setting, PARTS, || (0, 0), join)))
}

/// Vertices are indices of arrays; each sums what its in-links give.
pub(super) fn w7(setting: &Setting) -> Result<Answer> {
    const BLOCK: usize = 8_192;
    let start = Instant::now();
    let text = map(setting.inputs().edges)?;
    let cut = pieces(&text);
    let edges = pull(setting, cut.len(), Vec::new, |edges: &mut Vec<(u32, u32)>, i| {
        let (mut from, mut number) = (0, 0);
        for byte in cut[i] {
            match byte {
                b'\t' => (from, number) = (number, 0),
                b'\n' => {
                    edges.push((from, number));
                    number = 0;
                }
                digit => number = number * 10 + u32::from(digit - b'0'),
            }
        }
    });
    let edges = || edges.iter().flatten();
    let vertices = edges().map(|(from, to)| from.max(to)).max().map_or(0, |v| *v as usize + 1);
    let (mut degree, mut ends) = (vec![0u32; vertices], vec![0u32; vertices + 1]);
    for (from, to) in edges() {
        degree[*from as usize] += 1;
        ends[*to as usize + 1] += 1;
    }
    for i in 0..vertices {
        ends[i + 1] += ends[i];
    }
    let (mut next, mut sources) = (ends.clone(), vec![0u32; ends[vertices] as usize]);
    for (from, to) in edges() {
        let at = &mut next[*to as usize];
        sources[*at as usize] = *from;
        *at += 1;
    }
    let loaded = start.elapsed().as_secs_f64();
    // 0 for those without a rank.
    let mut ranks: Vec<f64> = degree.iter().map(|degree| if *degree > 0 { 1.0 } else { 0.0 }).collect();
    let mut shares = vec![0.0; vertices];
    for _ in 0..10 {
        shares.par_chunks_mut(BLOCK).enumerate().for_each(|(block, shares)| {
            for (i, share) in shares.iter_mut().enumerate() {
                let v = block * BLOCK + i;
                *share = if degree[v] > 0 { ranks[v] / f64::from(degree[v]) } else { 0.0 };
            }
        });
        ranks.par_chunks_mut(BLOCK).enumerate().for_each(|(block, ranks)| {
            for (i, rank) in ranks.iter_mut().enumerate() {
                let v = block * BLOCK + i;
                let of = &sources[ends[v] as usize..ends[v + 1] as usize];
                let sum: f64 = of.iter().map(|source| shares[*source as usize]).sum();
                *rank = if sum > 0.0 { 0.15 + 0.85 * sum } else { 0.0 };
            }
        });
    }
    let answer = Answer::about(ranks.iter().filter(|rank| **rank > 0.0).count(), ranks.iter().sum());
    Ok(answer.parts(&[("load", loaded), ("iterations", start.elapsed().as_secs_f64() - loaded)]))
}

/// A label and a point.
type Labelled = [f64; DIMENSIONS + 1];

fn points(setting: &Setting) -> Result<Vec<(usize, Vec<Labelled>)>> {
    let text = map(setting.inputs().points)?;
    let cut = pieces(&text);
    let parsed = pull(setting, cut.len(), Vec::new, |all: &mut Vec<(usize, Vec<Labelled>)>, i| {
        let (mut rest, mut points) = (cut[i], Vec::new());
        while !rest.is_empty() {
            points.push(std::array::from_fn(|_| {
                let (x, length) = fast_float2::parse_partial(rest).expect("the inputs are numbers");
                rest = &rest[length + 1..];
                x
            }));
        }
        all.push((i, points));
    });
    let mut points: Vec<_> = parsed.into_iter().flatten().collect();
    points.sort_by_key(|(i, _)| *i);
    Ok(points)
}

fn chunks(points: &[(usize, Vec<Labelled>)]) -> Vec<&[Labelled]> {
    points.iter().flat_map(|(_, points)| points.chunks(65_536)).collect()
}

pub(super) fn w8(setting: &Setting) -> Result<Answer> {
    let (mut all, mut centres, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..10 {
        let start = Instant::now();
        if all.is_empty() {
            all = points(setting)?;
            let first = all.iter().flat_map(|(_, points)| points).take(10);
            centres = first.map(|point| std::array::from_fn(|j| point[j + 1])).collect::<Vec<[f64; DIMENSIONS]>>();
        }
        let chunks = chunks(&all);
        let sums = pull(
            setting,
            chunks.len(),
            || [([0.0; DIMENSIONS], 0u64); 10],
            |sums, i| {
                for point in chunks[i] {
                    let (mut best, mut least) = (0, f64::MAX);
                    for (k, centre) in centres.iter().enumerate() {
                        let mut distance = 0.0;
                        for j in 0..DIMENSIONS {
                            let apart = point[j + 1] - centre[j];
                            distance += apart * apart;
                        }
                        if distance < least {
                            (best, least) = (k, distance);
                        }
                    }
                    for j in 0..DIMENSIONS {
                        sums[best].0[j] += point[j + 1];
                    }
                    sums[best].1 += 1;
                }
            },
        );
        for (k, centre) in centres.iter_mut().enumerate() {
            let n: u64 = sums.iter().map(|sums| sums[k].1).sum();
            for j in (0..DIMENSIONS).filter(|_| n > 0) {
                centre[j] = sums.iter().map(|sums| sums[k].0[j]).sum::<f64>() / n as f64;
            }
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    let sum = centres.iter().flatten().sum();
    Ok(Answer::about("centres", sum).iterations(&seconds))
}

pub(super) fn w9(setting: &Setting) -> Result<Answer> {
    let n = setting.of(5e6) as f64;
    let (mut all, mut w, mut seconds) = (Vec::new(), [0.0; DIMENSIONS], Vec::new());
    for _ in 0..10 {
        let start = Instant::now();
        if all.is_empty() {
            all = points(setting)?;
        }
        let chunks = chunks(&all);
        let sums = pull(
            setting,
            chunks.len(),
            || [0.0; DIMENSIONS],
            |sum, i| {
                for point in chunks[i] {
                    let mut dot = 0.0;
                    for j in 0..DIMENSIONS {
                        dot += w[j] * point[j + 1];
                    }
                    let scale = (1.0 / (1.0 + (-point[0] * dot).exp()) - 1.0) * point[0];
                    for j in 0..DIMENSIONS {
                        sum[j] += point[j + 1] * scale;
                    }
                }
            },
        );
        for (j, w) in w.iter_mut().enumerate() {
            *w -= sums.iter().map(|sum| sum[j]).sum::<f64>() / n;
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(Answer::about("weights", w.iter().sum()).iterations(&seconds))
}

pub(super) fn w10(setting: &Setting) -> Result<Answer> {
    let keys = setting.of(1e6);
    let scattered = scatter(setting, setting.of(20e6), |i| (mix(i) % keys, i as i64));
    let group = |sum: &mut Sum, part: usize| {
        let mut table: FxHashMap<u64, Vec<i64>> = FxHashMap::default();
        for (key, value) in scattered.iter().flat_map(|parts| &parts[part]) {
            table.entry(*key).or_default().push(*value);
        }
        black_box(table).iter().for_each(|(key, values)| add(sum, *key, values.iter().sum()));
    };
    Ok(total(pull(setting, PARTS, || (0, 0), group)))
}

pub(super) fn w11(setting: &Setting) -> Result<Answer> {
    let text = map(setting.inputs().text)?;
    let (cut, hasher) = (pieces(&text), FixedState::default());
    let scattered = pull(setting, cut.len(), parts::<(u64, &[u8])>, |parts, i| {
        let mut from = 0;
        for end in memchr_iter(b'\n', cut[i]) {
            let line = &cut[i][from..end];
            let hash = hasher.hash_one(line);
            parts[(hash >> 58) as usize].push((hash, line));
            from = end + 1;
        }
    });
    let count = |n: &mut usize, part: usize| {
        let mut table: HashTable<(u64, &[u8])> = HashTable::new();
        for line in scattered.iter().flat_map(|parts| &parts[part]) {
            if let Entry::Vacant(entry) = table.entry(line.0, |other| other == line, |other| other.0) {
                entry.insert(*line);
            }
        }
        *n += table.len();
    };
    Ok(Answer::exact(pull(setting, PARTS, || 0, count).into_iter().sum::<usize>()))
}

pub(super) fn w12(setting: &Setting) -> Result<Answer> {
    let start = Instant::now();
    let text = map(setting.inputs().text)?;
    let cut = pieces(&text);
    let cached = pull(setting, cut.len(), Vec::new, |cached: &mut Vec<(Vec<u8>, Vec<u32>)>, i| {
        let text = cut[i].to_vec();
        let ends = memchr_iter(b'\n', &text).map(|end| end as u32).collect();
        cached.push((text, ends));
    });
    let first: usize = cached.iter().flatten().map(|(_, ends)| ends.len()).sum();
    let then = start.elapsed().as_secs_f64();
    let cached: Vec<_> = cached.iter().flatten().collect();
    let count = |n: &mut usize, i: usize| {
        let (text, ends) = cached[i];
        let mut from = 0;
        for end in ends {
            black_box(&text[from..*end as usize]);
            *n += 1;
            from = *end as usize + 1;
        }
    };
    let second: usize = pull(setting, cached.len(), || 0, count).into_iter().sum();
    let answer = Answer::exact(format!("{first}/{second}"));
    Ok(answer.parts(&[("first", then), ("second", start.elapsed().as_secs_f64() - then)]))
}

/// Threads that take boxed tasks from one channel and send results by another.
pub(super) fn w13(setting: &Setting) -> Result<Answer> {
    type Work = Box<dyn FnOnce() -> u64 + Send>;
    let (send, tasks) = crossbeam_channel::unbounded::<Work>();
    let (done, results) = crossbeam_channel::unbounded::<u64>();
    let threads: Vec<_> = (0..setting.threads)
        .map(|_| {
            let (tasks, done) = (tasks.clone(), done.clone());
            std::thread::spawn(move || tasks.into_iter().all(|task| done.send(task()).is_ok()))
        })
        .collect();
    let run = |n: u64| -> u64 {
        let sent = (0..n)
            .filter(|i| {
                send.send(Box::new({
                    let i = *i;
                    move || black_box(i)
                }))
                .is_ok()
            })
            .count();
        results.iter().take(sent).map(|_| 1).sum()
    };
    let start = Instant::now();
    run(10_000);
    let of_tasks = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut found: u64 = (0..200).map(|_| run(2)).sum();
    let jobs = start.elapsed().as_secs_f64();
    let mut after_idling = 0.0;
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let start = Instant::now();
        found += run(2);
        after_idling += start.elapsed().as_secs_f64();
    }
    drop(send);
    for thread in threads {
        let _ = thread.join();
    }
    let parts = [("task", of_tasks / 10_000.0), ("job", jobs / 200.0), ("job-after-idling", after_idling / 20.0)];
    Ok(Answer::exact(found).parts(&parts))
}

pub(super) fn w14(setting: &Setting) -> Result<Answer> {
    let n = 200_000u64;
    let count = |count: &mut u64, half: usize| {
        let half = half as u64;
        *count += (n * half / 2..n * (half + 1) / 2).filter(|i| super::inside(*i)).count() as u64;
    };
    let inside: u64 = pull(setting, 2, || 0, count).into_iter().sum();
    Ok(Answer::about(n, 4.0 * inside as f64 / n as f64))
}
