//! The workloads as an ordinary Rust programmer writes them without an engine: rayon, std collections, plain text.

use super::{
    Answer, Setting,
    inputs::{DIMENSIONS, mix},
};
use firesteel::prelude::*;
use rayon::prelude::*;
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    hash::Hash,
    io::{BufWriter, Write},
    time::Instant,
};

type Point = [f64; DIMENSIONS];

fn invalid(e: impl std::fmt::Display) -> Error {
    Error::InvalidArgument(e.to_string())
}

/// The values of each key, merged.
pub(super) fn merged<K: Hash + Eq + Send, V: Send>(
    pairs: impl ParallelIterator<Item = (K, V)>,
    merge: impl Fn(&mut V, V) + Sync,
) -> HashMap<K, V> {
    let add = |mut all: HashMap<K, V>, (key, value)| {
        match all.get_mut(&key) {
            Some(known) => merge(known, value),
            None => drop(all.insert(key, value)),
        }
        all
    };
    pairs.fold(HashMap::new, add).reduce(HashMap::new, |a, b| {
        let (large, small) = if a.len() < b.len() { (b, a) } else { (a, b) };
        small.into_iter().fold(large, add)
    })
}

pub(super) fn w1(setting: &Setting) -> Result<Answer> {
    let text = fs::read_to_string(setting.inputs().text)?;
    let words = text.par_lines().flat_map_iter(|line| line.split_whitespace()).map(|word| (word, 1u64));
    let counts = merged(words, |a, b| *a += b);
    fs::create_dir_all(setting.output())?;
    let mut out = BufWriter::new(File::create(setting.output().join("part-00000"))?);
    for (word, count) in counts {
        writeln!(out, "({word},{count})")?;
    }
    out.flush()?;
    Ok(Answer::default())
}

pub(super) fn w2(setting: &Setting) -> Result<Answer> {
    let text = fs::read_to_string(setting.inputs().text)?;
    Ok(Answer::exact(text.par_lines().filter(|line| line.contains("error")).count()))
}

pub(super) fn w3(setting: &Setting) -> Result<Answer> {
    let numbers = (0..setting.of(200e6)).into_par_iter();
    Ok(Answer::exact(numbers.map(|x| x * 2).filter(|x| x % 3 == 0).map(|x| x + 1).sum::<u64>()))
}

fn pairs(setting: &Setting) -> impl ParallelIterator<Item = (u32, i64)> + use<> {
    let keys = setting.of(1e6);
    (0..setting.of(20e6)).into_par_iter().map(move |i| ((mix(i) % keys) as u32, i as i64))
}

fn sum(pairs: impl Iterator<Item = (u32, i64)>) -> Answer {
    let (n, sum) =
        pairs.map(|(k, v)| (1u64, (k as i64 * 31) ^ v)).fold((0, 0i64), |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)));
    Answer::exact(format!("{n}/{sum}"))
}

pub(super) fn w4(setting: &Setting) -> Result<Answer> {
    Ok(sum(merged(pairs(setting), |a, b| *a += b).into_iter()))
}

pub(super) fn w5(setting: &Setting) -> Result<Answer> {
    let text = fs::read_to_string(setting.inputs().records)?;
    let parsed: Result<Vec<(u64, &str)>, _> =
        text.par_lines().map(|line| Ok((line[..19].parse::<u64>()?, &line[20..]))).collect();
    let mut records = parsed.map_err(|e: std::num::ParseIntError| invalid(e))?;
    records.par_sort_by_key(|record| record.0);
    fs::create_dir_all(setting.output())?;
    let share = records.len().div_ceil(setting.threads);
    records.par_chunks(share).enumerate().try_for_each(|(part, records)| -> Result<()> {
        let mut out = BufWriter::new(File::create(setting.output().join(format!("part-{part:05}")))?);
        for (key, rest) in records {
            writeln!(out, "{key}\t{rest}")?;
        }
        Ok(out.flush()?)
    })?;
    Ok(Answer::default())
}

pub(super) fn w6(setting: &Setting) -> Result<Answer> {
    let n = setting.of(5e6);
    let left = merged((0..n).into_par_iter().map(|i| (i * 2_654_435_761 % n, vec![i])), |a, b| a.extend(b));
    let right = (0..n).into_par_iter().map(|i| (mix(i) % (2 * n), i));
    let pairs = right.flat_map_iter(|(key, b)| left.get(&key).into_iter().flatten().map(move |a| (1u64, a ^ b)));
    let (n, sum) = pairs.reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)));
    Ok(Answer::exact(format!("{n}/{sum}")))
}

pub(super) fn w7(setting: &Setting) -> Result<Answer> {
    let start = Instant::now();
    let text = fs::read_to_string(setting.inputs().edges)?;
    let number = |text: &str| text.parse::<u32>().map_err(invalid);
    let edges: Result<Vec<(u32, u32)>> = text
        .par_lines()
        .map(|line| {
            let (from, to) = line.split_once('\t').ok_or_else(|| invalid("no tab"))?;
            Ok((number(from)?, number(to)?))
        })
        .collect();
    let links = merged(edges?.into_par_iter().map(|(from, to)| (from, vec![to])), |a, b| a.extend(b));
    let loaded = start.elapsed().as_secs_f64();
    let mut ranks: HashMap<u32, f64> = links.keys().map(|page| (*page, 1.0)).collect();
    for _ in 0..10 {
        let contributions = links.par_iter().filter_map(|(page, targets)| Some((ranks.get(page)?, targets)));
        let shares = contributions.flat_map_iter(|(rank, targets)| {
            let share = rank / targets.len() as f64;
            targets.iter().map(move |target| (*target, share))
        });
        ranks = merged(shares, |a, b| *a += b).into_iter().map(|(page, sum)| (page, 0.15 + 0.85 * sum)).collect();
    }
    let answer = Answer::about(ranks.len(), ranks.values().sum());
    Ok(answer.parts(&[("load", loaded), ("iterations", start.elapsed().as_secs_f64() - loaded)]))
}

fn labelled(line: &str) -> Result<(f64, Point)> {
    let mut fields = line.split(',');
    let label = fields.next().unwrap_or_default().parse().map_err(invalid)?;
    let mut point = [0.0; DIMENSIONS];
    for (x, field) in point.iter_mut().zip(fields) {
        *x = field.parse().map_err(invalid)?;
    }
    Ok((label, point))
}

fn labelled_points(setting: &Setting) -> Result<Vec<(f64, Point)>> {
    fs::read_to_string(setting.inputs().points)?.par_lines().map(labelled).collect()
}

fn nearest(centres: &[Point], point: &Point) -> usize {
    let distance = |centre: &Point| centre.iter().zip(point).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    (0..centres.len()).min_by(|a, b| distance(&centres[*a]).total_cmp(&distance(&centres[*b]))).unwrap_or(0)
}

pub(super) fn w8(setting: &Setting) -> Result<Answer> {
    let (mut points, mut centres, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..10 {
        let start = Instant::now();
        if points.is_empty() {
            points = labelled_points(setting)?.into_iter().map(|(_, x)| x).collect();
            centres = points.iter().take(10).copied().collect();
        }
        let nearest = points.par_iter().map(|point| (nearest(&centres, point), (*point, 1u64)));
        let sums = merged(nearest, |(a, n), (b, m)| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            *n += m;
        });
        for (i, (sum, n)) in sums {
            centres[i] = sum.map(|x| x / n as f64);
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(Answer::about("centres", centres.iter().flatten().sum()).iterations(&seconds))
}

pub(super) fn w9(setting: &Setting) -> Result<Answer> {
    let n = setting.of(5e6) as f64;
    let (mut points, mut w, mut seconds) = (Vec::new(), [0.0; DIMENSIONS], Vec::new());
    for _ in 0..10 {
        let start = Instant::now();
        if points.is_empty() {
            points = labelled_points(setting)?;
        }
        let gradients = points.par_iter().map(|(y, x)| {
            let dot: f64 = w.iter().zip(x).map(|(w, x)| w * x).sum();
            let scale = (1.0 / (1.0 + (-y * dot).exp()) - 1.0) * y;
            x.map(|x| x * scale)
        });
        let gradient = gradients.reduce(|| [0.0; DIMENSIONS], |a, b| std::array::from_fn(|i| a[i] + b[i]));
        w = std::array::from_fn(|i| w[i] - gradient[i] / n);
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(Answer::about("weights", w.iter().sum()).iterations(&seconds))
}

pub(super) fn w10(setting: &Setting) -> Result<Answer> {
    let groups = merged(pairs(setting).map(|(key, value)| (key, vec![value])), |a, b| a.extend(b));
    Ok(sum(groups.into_iter().map(|(key, values)| (key, values.iter().sum()))))
}

pub(super) fn w11(setting: &Setting) -> Result<Answer> {
    let text = fs::read_to_string(setting.inputs().text)?;
    Ok(Answer::exact(text.par_lines().collect::<HashSet<_>>().len()))
}

pub(super) fn w12(setting: &Setting) -> Result<Answer> {
    let start = Instant::now();
    let text = fs::read_to_string(setting.inputs().text)?;
    let lines: Vec<String> = text.par_lines().map(String::from).collect();
    drop(text);
    let first = lines.len();
    let then = start.elapsed().as_secs_f64();
    let second = std::hint::black_box(&lines).len();
    let answer = Answer::exact(format!("{first}/{second}"));
    Ok(answer.parts(&[("first", then), ("second", start.elapsed().as_secs_f64() - then)]))
}

pub(super) fn w13(_: &Setting) -> Result<Answer> {
    let count = |tasks: u32| (0..tasks).into_par_iter().with_max_len(1).map(std::hint::black_box).count();
    let start = Instant::now();
    count(10_000);
    let tasks = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut found: usize = (0..200).map(|_| count(2)).sum();
    let jobs = start.elapsed().as_secs_f64();
    let mut after_idling = 0.0;
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let start = Instant::now();
        found += count(2);
        after_idling += start.elapsed().as_secs_f64();
    }
    let parts = [("task", tasks / 10_000.0), ("job", jobs / 200.0), ("job-after-idling", after_idling / 20.0)];
    Ok(Answer::exact(found).parts(&parts))
}

pub(super) fn w14(_: &Setting) -> Result<Answer> {
    let n = 200_000u64;
    let inside = (0..n).into_par_iter().filter(|i| super::inside(*i)).count();
    Ok(Answer::about(n, 4.0 * inside as f64 / n as f64))
}
