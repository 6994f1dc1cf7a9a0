//! The best few of each group, without bringing a whole group together: what `group_by_key` would do is bounded here.
use firesteel::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Sale {
    cents: u64,
    order: u64,
}

const BEST: usize = 3;
const SHOPS: [&str; 5] = ["Basel", "Bern", "Genève", "Lugano", "Zürich"];

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::builder().app_name("top n per key").build()?;
    let sales = sc.range_n(0..100_000, 8).map(|order| {
        let shop = SHOPS[(order * 7 / 3 % 5) as usize].to_string();
        (shop, Sale { cents: order * 48_271 % 99_991, order })
    });

    // A list never holds more than the best few, on either side of the shuffle. Constants are no captures.
    let top = sales
        .aggregate_by_key(
            Vec::new(),
            |mut top: Vec<Sale>, sale| {
                let at = top.partition_point(|t| *t > sale);
                if at < BEST {
                    top.truncate(BEST - 1);
                    top.insert(at, sale);
                }
                top
            },
            |mut a, b| {
                a.extend(b);
                a.sort_by(|x, y| y.cmp(x));
                a.truncate(BEST);
                a
            },
        )
        .sort_by_key(true);

    for (shop, sales) in top.collect()? {
        let shown: Vec<String> =
            sales.iter().map(|s| format!("{:.2} (order {})", s.cents as f64 / 100.0, s.order)).collect();
        println!("{shop:<8} {}", shown.join(", "));
    }
    Ok(())
}
