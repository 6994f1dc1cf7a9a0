//! K-means: the points are made once and kept in memory; the centres travel with each iteration's stage. Usage: k_means [CLUSTERS]
use firesteel::prelude::*;

type Point = [f64; 2];

fn distance(a: &Point, b: &Point) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

fn nearest(centres: &[Point], point: &Point) -> usize {
    (0..centres.len())
        .min_by(|a, b| distance(&centres[*a], point).total_cmp(&distance(&centres[*b], point)))
        .unwrap_or(0)
}

#[firesteel::main]
fn main() -> Result<()> {
    let clusters = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(4).max(1);
    let sc = Context::builder().app_name("k-means").build()?;
    // Clouds around (10, 10), (30, 10), (10, 30), (30, 30).
    let points = sc
        .range_n(0..40_000, 8)
        .map(|i| {
            let noise = |k: u64| (((i + 1) * (k + 48_271) * 2_654_435_761) >> 16) % 1_000;
            let around = |side: u64, k: u64| 10.0 + 20.0 * side as f64 + (noise(k) + noise(k + 2)) as f64 / 200.0 - 5.0;
            [around(i % 2, 0), around(i / 2 % 2, 1)]
        })
        .cache();

    let mut centres: Vec<Point> = points.take_sample(false, clusters, 1)?;
    let mut rounds = 0;
    loop {
        rounds += 1;
        // Sums and counts are merged before anything is shuffled; a centre is as many numbers as it has coordinates.
        let sums = points
            .map_ref_with(centres.clone(), |centres, p| (nearest(centres, p), (*p, 1u64)))
            .reduce_by_key(|(a, n), (b, m)| ([a[0] + b[0], a[1] + b[1]], n + m))
            .collect()?;
        let mut moved = 0.0f64;
        for (i, (sum, n)) in sums {
            let centre = sum.map(|x| x / n as f64);
            moved = moved.max(distance(&centres[i], &centre));
            centres[i] = centre;
        }
        if moved < 1e-6 || rounds == 50 {
            break;
        }
    }

    let cost = points.map_ref_with(centres.clone(), |centres, p| distance(&centres[nearest(centres, p)], p)).sum()?;
    centres.sort_by(|a, b| a[1].total_cmp(&b[1]).then(a[0].total_cmp(&b[0])));
    for [x, y] in &centres {
        println!("centre ({x:.2}, {y:.2})");
    }
    println!("{rounds} rounds, {:.3} from a point to its centre on average", (cost / points.count()? as f64).sqrt());
    Ok(())
}
