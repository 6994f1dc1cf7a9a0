//! The inputs of the workloads: always the same for a scale. Scale 1 is some 2.6 GB of files.

use super::Setting;
use firesteel::prelude::*;
use rayon::prelude::*;
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

/// Sizes at scale 1.
const LINES: f64 = 27.3e6;
const EDGES: f64 = 5e6;
const POINTS: f64 = 5e6;
const RECORDS: f64 = 10e6;

/// Dimensions of a point.
pub(super) const DIMENSIONS: usize = 10;

/// Numbers that look random, below 2⁶³: splitmix64.
#[inline(always)]
pub(super) fn mix(i: u64) -> u64 {
    let z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 1
}

/// Random numbers of one line: two lines have nothing in common.
struct Dice(u64);

impl Dice {
    fn of(line: u64) -> Self {
        Dice(mix(line ^ 0x5eed) << 20)
    }
    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.0 += 1;
        mix(self.0) % n
    }
    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        self.0 += 1;
        mix(self.0) as f64 / (1u64 << 63) as f64
    }
    /// Around 0, with variance 1.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Lines as in program text: of a few words after some indentation; some empty, some that occur again and again. Few words are
/// frequent and many rare: at scale 1 some 10 million of them occur.
fn text(setting: &Setting, line: u64, out: &mut Vec<u8>) {
    let mut dice = Dice::of(line);
    let kind = dice.below(100);
    if kind >= 12 {
        // One of a thousand lines, the same wherever it stands.
        if kind < 35 {
            dice = Dice::of(u64::MAX - dice.below(1_000));
        }
        let indentation = 2 * dice.below(13);
        out.resize(out.len() + indentation as usize, b' ');
        let vocabulary = (setting.scale * 25e6).max(1e3).ln();
        for i in 0..1 + dice.below(6) {
            if i > 0 {
                out.push(b' ');
            }
            let mut rank = (vocabulary * dice.unit()).exp() as u64;
            while rank > 0 {
                out.push(b"bcdfghklmnprstvwxyz_"[rank as usize % 20]);
                out.push(b"aeiou"[rank as usize / 20 % 5]);
                rank /= 100;
            }
            match dice.below(300) {
                0 => out.extend_from_slice(b"_error"),
                1..40 => out.extend_from_slice(b");"),
                40..80 => out.extend_from_slice(b"_t"),
                80..100 => out.extend_from_slice(b"->next"),
                _ => {}
            }
        }
    }
    out.push(b'\n');
}

/// An edge of an R-MAT graph with 2¹⁹ vertices at scale 1.
fn edge(setting: &Setting, line: u64, out: &mut Vec<u8>) {
    let mut dice = Dice::of(line);
    let bits = (19.0 + setting.scale.log2()).round().max(4.0) as u32;
    let (mut from, mut to) = (0u64, 0u64);
    for _ in 0..bits {
        let (a, b) = match dice.below(100) {
            0..57 => (0, 0),
            57..76 => (0, 1),
            76..95 => (1, 0),
            _ => (1, 1),
        };
        (from, to) = (from * 2 + a, to * 2 + b);
    }
    // Neighbours in number are not neighbours in the graph.
    let spread = |v: u64| (v * 0x9e37_79b1) & ((1 << bits) - 1);
    let _ = writeln!(out, "{}\t{}", spread(from), spread(to));
}

/// A label, and a point of one of ten clouds.
fn point(_: &Setting, line: u64, out: &mut Vec<u8>) {
    let mut dice = Dice::of(line);
    let cloud = dice.below(10);
    let mut label = 4.0 * dice.normal();
    let x: [f64; DIMENSIONS] = std::array::from_fn(|i| {
        let mut of_cloud = Dice::of(u64::MAX - cloud);
        of_cloud.0 += i as u64;
        let x = 20.0 * of_cloud.unit() - 10.0 + 2.0 * dice.normal();
        label += x * if i % 2 == 0 { 0.5 } else { -0.7 };
        x
    });
    let _ = write!(out, "{}", if label > 0.0 { 1 } else { -1 });
    for x in x {
        let _ = write!(out, ",{x:.6}");
    }
    out.push(b'\n');
}

/// 100 bytes: a number of 19 digits, a tab, 79 letters.
fn record(_: &Setting, line: u64, out: &mut Vec<u8>) {
    let mut dice = Dice::of(line);
    let _ = write!(out, "{}\t", 1_000_000_000_000_000_000 + dice.below(8_000_000_000_000_000_000));
    for letters in [16, 16, 16, 16, 15] {
        let mut bits = dice.below(u64::MAX);
        for _ in 0..letters {
            out.push(b"ABCDEFGHIJKLMNOP"[bits as usize & 15]);
            bits >>= 4;
        }
    }
    out.push(b'\n');
}

/// The paths of the inputs.
pub(super) struct Inputs {
    pub(super) text: PathBuf,
    pub(super) edges: PathBuf,
    pub(super) points: PathBuf,
    pub(super) records: PathBuf,
}

impl Inputs {
    pub(super) fn of(folder: &Path) -> Self {
        let path = |name| folder.join(name);
        Inputs {
            text: path("text.txt"),
            edges: path("edges.tsv"),
            points: path("points.csv"),
            records: path("records.tsv"),
        }
    }
}

/// Makes the inputs that are not there yet.
pub(super) fn make(setting: &Setting) -> Result<()> {
    let inputs = Inputs::of(&setting.folder);
    fs::create_dir_all(&setting.folder)?;
    file(setting, &inputs.text, LINES, text)?;
    file(setting, &inputs.edges, EDGES, edge)?;
    file(setting, &inputs.points, POINTS, point)?;
    file(setting, &inputs.records, RECORDS, record)
}

fn file(setting: &Setting, path: &Path, lines: f64, line: fn(&Setting, u64, &mut Vec<u8>)) -> Result<()> {
    const PIECE: u64 = 10_000;
    if path.exists() {
        return Ok(());
    }
    let lines = setting.of(lines);
    // Under another name until it is whole.
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    let starts: Vec<u64> = (0..lines).step_by(PIECE as usize).collect();
    for batch in starts.chunks(64) {
        let pieces: Vec<Vec<u8>> = batch
            .par_iter()
            .map(|start| {
                let mut piece = Vec::new();
                (*start..(start + PIECE).min(lines)).for_each(|i| line(setting, i, &mut piece));
                piece
            })
            .collect();
        for piece in pieces {
            file.write_all(&piece)?;
        }
    }
    Ok(fs::rename(unfinished, path)?)
}
