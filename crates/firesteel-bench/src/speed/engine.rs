//! The workloads as an ordinary user of Firesteel writes them.

use super::{
    Answer, Setting,
    inputs::{DIMENSIONS, mix},
};
use firesteel::prelude::*;
use std::{sync::Arc, time::Instant};

type Point = [f64; DIMENSIONS];

fn path(path: std::path::PathBuf) -> String {
    path.display().to_string()
}

pub(super) fn w1(sc: &Context, setting: &Setting) -> Result<Answer> {
    sc.text_file(path(setting.inputs().text))
        .flat_map(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>())
        .map(|word| (word, 1u64))
        .reduce_by_key(|a, b| a + b)
        .save_as_text_file(path(setting.output()))?;
    Ok(Answer::default())
}

pub(super) fn w1_emit(sc: &Context, setting: &Setting) -> Result<Answer> {
    sc.text_file(path(setting.inputs().text))
        .flat_map_emit(|line, out| line.split_whitespace().for_each(|word| out.emit((word.to_string(), 1u64))))
        .reduce_by_key(|a, b| a + b)
        .save_as_text_file(path(setting.output()))?;
    Ok(Answer::default())
}

pub(super) fn w2(sc: &Context, setting: &Setting) -> Result<Answer> {
    let lines = sc.text_file(path(setting.inputs().text));
    Ok(Answer::exact(lines.filter(|line| line.contains("error")).count()?))
}

pub(super) fn w3(sc: &Context, setting: &Setting) -> Result<Answer> {
    let numbers = sc.range_n(0..setting.of(200e6), 8);
    let sum = numbers.map(|x| x * 2).filter(|x| x % 3 == 0).map(|x| x + 1).reduce(|a, b| a.wrapping_add(b))?;
    Ok(Answer::exact(sum))
}

/// 20 million pairs of a million keys, at scale 1.
fn pairs(sc: &Context, setting: &Setting) -> Rdd<(u32, i64), impl Pipeline<Item = (u32, i64)> + use<>> {
    let keys = setting.of(1e6);
    sc.range_n(0..setting.of(20e6), 8).map_with(keys, |keys, i| ((mix(i) % keys) as u32, i as i64))
}

fn sum(pairs: Rdd<(u32, i64), impl Pipeline<Item = (u32, i64)>>) -> Result<Answer> {
    let (n, sum) = pairs.map(|(k, v)| (1u64, (k as i64 * 31) ^ v)).reduce(|a, b| (a.0 + b.0, a.1.wrapping_add(b.1)))?;
    Ok(Answer::exact(format!("{n}/{sum}")))
}

pub(super) fn w4(sc: &Context, setting: &Setting) -> Result<Answer> {
    sum(pairs(sc, setting).reduce_by_key(|a, b| a + b))
}

pub(super) fn w5(sc: &Context, setting: &Setting) -> Result<Answer> {
    sc.text_file(path(setting.inputs().records))
        .try_map(|line| Ok::<_, std::num::ParseIntError>((line[..19].parse::<u64>()?, line[20..].to_string())))
        .sort_by_key(true)
        .map(|(key, rest)| format!("{key}\t{rest}"))
        .save_as_text_file(path(setting.output()))?;
    Ok(Answer::default())
}

pub(super) fn w5_lines(sc: &Context, setting: &Setting) -> Result<Answer> {
    sc.text_file(path(setting.inputs().records))
        .sort_by(|line| line[..19].parse::<u64>().expect("a number of nineteen digits"), true)
        .save_as_text_file(path(setting.output()))?;
    Ok(Answer::default())
}

pub(super) fn w6(sc: &Context, setting: &Setting) -> Result<Answer> {
    let n = setting.of(5e6);
    let left = sc.range_n(0..n, 8).map_with(n, |n, i| (i * 2_654_435_761 % n, i));
    let right = sc.range_n(0..n, 8).map_with(n, |n, i| (mix(i) % (2 * n), i));
    let joined = left.join(&right).map(|(_, (a, b))| (1u64, a ^ b));
    let (n, sum) = joined.reduce(|a, b| (a.0 + b.0, a.1.wrapping_add(b.1)))?;
    Ok(Answer::exact(format!("{n}/{sum}")))
}

fn links(sc: &Context, setting: &Setting) -> Rdd<(u32, Arc<[u32]>), impl Pipeline<Item = (u32, Arc<[u32]>)> + use<>> {
    sc.text_file_n(path(setting.inputs().edges), 8)
        .try_map(|line| {
            let (from, to) = line.split_once('\t').ok_or("no tab")?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((from.parse::<u32>()?, to.parse::<u32>()?))
        })
        .group_by_key()
        .map_values(Arc::<[u32]>::from)
        .cache()
}

/// How many have a rank, and the sum of all ranks.
fn ranks(ranks: &Rdd<(u32, f64)>) -> Result<Answer> {
    let (n, sum) = ranks.map(|(_, rank)| (1u64, rank)).reduce(|a, b| (a.0 + b.0, a.1 + b.1))?;
    Ok(Answer::about(n, sum))
}

pub(super) fn w7(sc: &Context, setting: &Setting) -> Result<Answer> {
    let start = Instant::now();
    let links = links(sc, setting);
    links.count()?;
    let loaded = start.elapsed().as_secs_f64();
    let mut of = links.map_values(|_| 1.0).erase();
    for _ in 0..10 {
        let contributions = links.join(&of).flat_map(|(_, (targets, rank))| {
            let share = rank / targets.len() as f64;
            targets.iter().map(|target| (*target, share)).collect::<Vec<_>>()
        });
        of = contributions.reduce_by_key(|a, b| a + b).map_values(|sum| 0.15 + 0.85 * sum).erase();
    }
    let answer = ranks(&of)?;
    Ok(answer.parts(&[("load", loaded), ("iterations", start.elapsed().as_secs_f64() - loaded)]))
}

pub(super) fn w7_emit(sc: &Context, setting: &Setting) -> Result<Answer> {
    let start = Instant::now();
    let links = links(sc, setting);
    links.count()?;
    let loaded = start.elapsed().as_secs_f64();
    let mut of = links.map_values(|_| 1.0).erase();
    for _ in 0..10 {
        let contributions = links.join(&of).flat_map_emit(|(_, (targets, rank)), out| {
            let share = rank / targets.len() as f64;
            targets.iter().for_each(|target| out.emit((*target, share)));
        });
        of = contributions.reduce_by_key(|a, b| a + b).map_values(|sum| 0.15 + 0.85 * sum).erase();
    }
    let answer = ranks(&of)?;
    Ok(answer.parts(&[("load", loaded), ("iterations", start.elapsed().as_secs_f64() - loaded)]))
}

/// A label and a point.
fn labelled(line: &str) -> Result<(f64, Point), std::num::ParseFloatError> {
    let mut fields = line.split(',');
    let label = fields.next().unwrap_or_default().parse()?;
    let mut point = [0.0; DIMENSIONS];
    for (x, field) in point.iter_mut().zip(fields) {
        *x = field.parse()?;
    }
    Ok((label, point))
}

fn nearest(centres: &[Point], point: &Point) -> usize {
    let mut best = (0, f64::MAX);
    for (i, centre) in centres.iter().enumerate() {
        let distance = centre.iter().zip(point).map(|(a, b)| (a - b) * (a - b)).sum();
        if distance < best.1 {
            best = (i, distance);
        }
    }
    best.0
}

pub(super) fn w8(sc: &Context, setting: &Setting) -> Result<Answer> {
    let points = sc.text_file(path(setting.inputs().points)).try_map(|line| labelled(&line).map(|(_, x)| x)).cache();
    let mut seconds = Vec::new();
    let mut centres = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        if centres.is_empty() {
            centres = points.take(10)?;
        }
        let sums = points
            .map_ref_with(centres.clone(), |centres, p| (nearest(centres, p), (*p, 1u64)))
            .reduce_by_key(|(a, n), (b, m)| (std::array::from_fn(|i| a[i] + b[i]), n + m))
            .collect()?;
        for (i, (sum, n)) in sums {
            centres[i] = sum.map(|x| x / n as f64);
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(Answer::about("centres", centres.iter().flatten().sum()).iterations(&seconds))
}

pub(super) fn w9(sc: &Context, setting: &Setting) -> Result<Answer> {
    let points = sc.text_file(path(setting.inputs().points)).try_map(|line| labelled(&line)).cache();
    let n = setting.of(5e6) as f64;
    let (mut w, mut seconds) = ([0.0; DIMENSIONS], Vec::new());
    for _ in 0..10 {
        let start = Instant::now();
        let gradient: Point = points
            .map_ref_with(w, |w, (y, x)| {
                let dot: f64 = w.iter().zip(x).map(|(w, x)| w * x).sum();
                let scale = (1.0 / (1.0 + (-y * dot).exp()) - 1.0) * y;
                x.map(|x| x * scale)
            })
            .reduce(|a, b| std::array::from_fn(|i| a[i] + b[i]))?;
        w = std::array::from_fn(|i| w[i] - gradient[i] / n);
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(Answer::about("weights", w.iter().sum()).iterations(&seconds))
}

pub(super) fn w10(sc: &Context, setting: &Setting) -> Result<Answer> {
    sum(pairs(sc, setting).group_by_key().map_values(|values| values.iter().sum::<i64>()))
}

pub(super) fn w11(sc: &Context, setting: &Setting) -> Result<Answer> {
    Ok(Answer::exact(sc.text_file(path(setting.inputs().text)).distinct().count()?))
}

pub(super) fn w12(sc: &Context, setting: &Setting) -> Result<Answer> {
    let start = Instant::now();
    let lines = sc.text_file(path(setting.inputs().text)).cache();
    let first = lines.count()?;
    let then = start.elapsed().as_secs_f64();
    let second = lines.count()?;
    let answer = Answer::exact(format!("{first}/{second}"));
    Ok(answer.parts(&[("first", then), ("second", start.elapsed().as_secs_f64() - then)]))
}

pub(super) fn w13(sc: &Context, _: &Setting) -> Result<Answer> {
    let start = Instant::now();
    sc.parallelize_n(Vec::<u64>::new(), 10_000).for_each_partition(|_| ())?;
    let tasks = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut found = 0;
    for _ in 0..200 {
        found += sc.parallelize_n([1, 2], 2).count()?;
    }
    let jobs = start.elapsed().as_secs_f64();
    let mut after_idling = 0.0;
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let start = Instant::now();
        found += sc.parallelize_n([1, 2], 2).count()?;
        after_idling += start.elapsed().as_secs_f64();
    }
    let parts = [("task", tasks / 10_000.0), ("job", jobs / 200.0), ("job-after-idling", after_idling / 20.0)];
    Ok(Answer::exact(found).parts(&parts))
}

pub(super) fn w14(sc: &Context, _: &Setting) -> Result<Answer> {
    let n = 200_000;
    let inside = sc.parallelize_n(0..n, 2).filter(|i| super::inside(*i)).count()?;
    Ok(Answer::about(n, 4.0 * inside as f64 / n as f64))
}
