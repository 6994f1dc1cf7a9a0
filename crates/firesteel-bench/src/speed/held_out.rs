//! Programs of other shapes than the workloads that the engine was made fast with: keys that are enums and structs, skewed sums,
//! keys of text, joins of keys that both sides have many times, iterations over kept structs, text that is parsed by hand. Each by the
//! engine and as an ordinary Rust programmer writes it; nothing in the engine was made for them.

use super::{Answer, Setting, hand::merged, inputs::mix};
use firesteel::prelude::*;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fs};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Kind {
    Bought(u8),
    Returned,
    Looked { twice: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Place {
    kind: Kind,
    shop: u16,
    day: u32,
}

/// What happened: 4.6 million different places, of which some are frequent.
#[inline(always)]
fn event(i: u64) -> (Place, u32) {
    let random = mix(i);
    let kind = match random % 10 {
        0..5 => Kind::Looked { twice: random & 1024 == 0 },
        5..9 => Kind::Bought((random >> 16) as u8 % 8),
        _ => Kind::Returned,
    };
    let shop = (random >> 24) as u16 % 1_000;
    (Place { kind, shop, day: (random >> 40) as u32 % (1 + u32::from(shop)) }, (random >> 50) as u32 % 100)
}

/// The same for every order of the places.
#[inline(always)]
fn mark(place: &Place, (n, sum): (u32, u64)) -> u64 {
    let kind = match place.kind {
        Kind::Bought(n) => u64::from(n) + 3,
        Kind::Returned => 2,
        Kind::Looked { twice } => u64::from(twice),
    };
    mix(kind << 48 | u64::from(place.shop) << 32 | u64::from(place.day)).wrapping_mul(sum ^ u64::from(n))
}

pub(super) fn structs_by_engine(sc: &Context, setting: &Setting) -> Result<Answer> {
    let (n, marks) = sc
        .range_n(0..setting.of(10e6), 8)
        .map(event)
        .map_values(|amount| (1u32, u64::from(amount)))
        .reduce_by_key(|(n, sum), (m, other)| (n + m, sum + other))
        .map(|(place, sums)| (1u64, mark(&place, sums)))
        .reduce(|(n, a), (m, b)| (n + m, a.wrapping_add(b)))?;
    Ok(Answer::exact(format!("{n}/{marks}")))
}

pub(super) fn structs_by_hand(setting: &Setting) -> Result<Answer> {
    let events =
        (0..setting.of(10e6)).into_par_iter().map(event).map(|(place, amount)| (place, (1, u64::from(amount))));
    let sums: HashMap<Place, (u32, u64)> = merged(events, |(n, sum), (m, other)| (*n, *sum) = (*n + m, *sum + other));
    let marks = sums.iter().fold(0u64, |all, (place, sums)| all.wrapping_add(mark(place, *sums)));
    Ok(Answer::exact(format!("{}/{marks}", sums.len())))
}

/// Half of the values belong to one key, a quarter to the next, and so on; the rest is of a million keys.
#[inline(always)]
fn skewed(i: u64) -> (u64, f64) {
    let random = mix(i);
    let key = match (random as u32).trailing_zeros() {
        frequent @ 0..4 => u64::from(frequent),
        _ => 4 + (random >> 32) % 1_000_000,
    };
    (key, (random >> 20 & 1023) as f64)
}

pub(super) fn skew_by_engine(sc: &Context, setting: &Setting) -> Result<Answer> {
    let means = sc
        .range_n(0..setting.of(20e6), 8)
        .map(skewed)
        .combine_by_key(|v| (v, 1u64), |(sum, n), v| (sum + v, n + 1), |(a, n), (b, m)| (a + b, n + m))
        .map_values(|(sum, n)| sum / n as f64);
    let (n, sum) = means.map(|(_, mean)| (1u64, mean)).reduce(|(n, a), (m, b)| (n + m, a + b))?;
    Ok(Answer::about(n, sum))
}

pub(super) fn skew_by_hand(setting: &Setting) -> Result<Answer> {
    let values = (0..setting.of(20e6)).into_par_iter().map(skewed).map(|(key, v)| (key, (v, 1u64)));
    let means = merged(values, |(sum, n), (v, m)| (*sum, *n) = (*sum + v, *n + m));
    Ok(Answer::about(means.len(), means.values().map(|(sum, n)| sum / *n as f64).sum()))
}

#[inline(always)]
fn visit(i: u64) -> (String, u64) {
    (format!("/shop/{}/item-{}", mix(i) % 20, mix(i) % 400_000), i % 7)
}

fn sizes(counts: Vec<(String, u64)>) -> Answer {
    Answer::exact(counts.into_iter().map(|(page, n)| format!("{page}:{n}")).collect::<Vec<_>>().join(" "))
}

pub(super) fn strings_by_engine(sc: &Context, setting: &Setting) -> Result<Answer> {
    let visits = sc.range_n(0..setting.of(10e6), 8).map(visit).reduce_by_key(|a, b| a + b);
    Ok(sizes(visits.map(|(page, n)| (n, page)).top(10)?.into_iter().map(|(n, page)| (page, n)).collect()))
}

pub(super) fn strings_by_hand(setting: &Setting) -> Result<Answer> {
    let mut visits: Vec<(String, u64)> =
        merged((0..setting.of(10e6)).into_par_iter().map(visit), |a, b| *a += b).into_iter().collect();
    visits.par_sort_by(|(a, n), (b, m)| (m, b).cmp(&(n, a)));
    visits.truncate(10);
    Ok(sizes(visits))
}

/// Each key ten times or so on either side.
#[inline(always)]
fn many(i: u64, n: u64, side: u64) -> (u64, u64) {
    (mix(i ^ side) % (n / 10).max(1), i)
}

pub(super) fn duplicates_by_engine(sc: &Context, setting: &Setting) -> Result<Answer> {
    let n = setting.of(2e6);
    let left = sc.range_n(0..n, 8).map_with(n, |n, i| many(i, *n, 0));
    let right = sc.range_n(0..n, 8).map_with(n, |n, i| many(i, *n, 1 << 40));
    let pairs = left.join(&right).map(|(key, (a, b))| (1u64, key ^ (a * 3) ^ b));
    let (n, sum) = pairs.reduce(|a, b| (a.0 + b.0, a.1.wrapping_add(b.1)))?;
    Ok(Answer::exact(format!("{n}/{sum}")))
}

pub(super) fn duplicates_by_hand(setting: &Setting) -> Result<Answer> {
    let n = setting.of(2e6);
    let of_key = (0..n).into_par_iter().map(|i| many(i, n, 0)).map(|(key, a)| (key, vec![a]));
    let left = merged(of_key, |all, more| all.extend(more));
    let right = (0..n).into_par_iter().map(|i| many(i, n, 1 << 40));
    let pairs =
        right.flat_map_iter(|(key, b)| left.get(&key).into_iter().flatten().map(move |a| (1u64, key ^ (a * 3) ^ b)));
    let (n, sum) = pairs.reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)));
    Ok(Answer::exact(format!("{n}/{sum}")))
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Body {
    mass: f64,
    place: [f64; 3],
    speed: [f64; 3],
    alive: bool,
}

fn body(i: u64) -> Body {
    let unit = |k: u64| mix(i * 8 + k) as f64 / (1u64 << 63) as f64 - 0.5;
    Body {
        mass: 0.5 + unit(0).abs(),
        place: [unit(1), unit(2), unit(3)],
        speed: [unit(4), unit(5), unit(6)],
        alive: !mix(i * 8 + 7).is_multiple_of(10),
    }
}

/// A body's part of the moments about a centre.
#[inline(always)]
fn moment(centre: [f64; 3], body: &Body) -> [f64; 4] {
    let apart: [f64; 3] = std::array::from_fn(|i| body.place[i] - centre[i]);
    let turn = apart[0] * body.speed[1] - apart[1] * body.speed[0];
    [body.mass * apart[0], body.mass * apart[1], body.mass * apart[2], body.mass * turn]
}

fn plus(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
    std::array::from_fn(|i| a[i] + b[i])
}

fn shifted(centre: [f64; 3], sum: [f64; 4], n: f64) -> [f64; 3] {
    std::array::from_fn(|i| centre[i] + sum[i] / n)
}

pub(super) fn structs_kept_by_engine(sc: &Context, setting: &Setting) -> Result<Answer> {
    let n = setting.of(4e6);
    let bodies = sc.range_n(0..n, 8).map(body).filter(|body| body.alive).cache();
    let (mut centre, mut turn) = ([0.0; 3], 0.0);
    for _ in 0..20 {
        let sum = bodies.map_ref_with(centre, |centre, body| moment(*centre, body)).reduce(plus)?;
        (centre, turn) = (shifted(centre, sum, n as f64), sum[3]);
    }
    Ok(Answer::about(bodies.count()?, turn + centre.iter().sum::<f64>()))
}

pub(super) fn structs_kept_by_hand(setting: &Setting) -> Result<Answer> {
    let n = setting.of(4e6);
    let bodies: Vec<Body> = (0..n).into_par_iter().map(body).filter(|body| body.alive).collect();
    let (mut centre, mut turn) = ([0.0; 3], 0.0);
    for _ in 0..20 {
        let sum = bodies.par_iter().map(|body| moment(centre, body)).reduce(|| [0.0; 4], plus);
        (centre, turn) = (shifted(centre, sum, n as f64), sum[3]);
    }
    Ok(Answer::about(bodies.len(), turn + centre.iter().sum::<f64>()))
}

/// The first two digits of a line's key, and how often the letter A is in the rest.
fn fields(line: &str) -> Option<(u8, u32)> {
    let (key, rest) = line.split_once('\t')?;
    let [tens, ones, ..] = key.as_bytes() else { return None };
    let letters = rest.bytes().filter(|byte| *byte == b'A').count();
    Some(((tens - b'0') * 10 + (ones - b'0'), letters as u32))
}

fn widest(mut groups: Vec<(u8, (u64, u32))>) -> Answer {
    groups.sort();
    Answer::exact(format!("{groups:?}"))
}

pub(super) fn text_by_engine(sc: &Context, setting: &Setting) -> Result<Answer> {
    let lines = sc.text_file(setting.inputs().records.display().to_string());
    let groups = lines
        .flat_map(|line| fields(&line))
        .filter(|(_, letters)| *letters > 2)
        .map_values(|letters| (1u64, letters))
        .reduce_by_key(|(n, most), (m, other)| (n + m, most.max(other)));
    Ok(widest(groups.collect()?))
}

pub(super) fn text_by_hand(setting: &Setting) -> Result<Answer> {
    let text = fs::read_to_string(setting.inputs().records)?;
    let found = text.par_lines().filter_map(fields).filter(|(_, letters)| *letters > 2);
    let groups = merged(found.map(|(key, letters)| (key, (1u64, letters))), |(n, most), (m, other)| {
        (*n, *most) = (*n + m, (*most).max(other));
    });
    Ok(widest(groups.into_iter().collect()))
}
