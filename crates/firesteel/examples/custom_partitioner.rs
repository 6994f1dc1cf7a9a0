//! A partitioner of one's own: pages of one site stay together, so what follows needs no second shuffle.
use firesteel::prelude::*;
use serde::{Deserialize, Serialize};

/// Sends a page to the partition of its site. Two that are equal spread keys alike, and joins know that.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct BySite {
    partitions: usize,
}

fn site(url: &str) -> &str {
    url.split('/').next().unwrap_or(url)
}

impl Partitioner<String> for BySite {
    fn num_partitions(&self) -> usize {
        self.partitions
    }
    fn partition(&self, url: &String) -> usize {
        // The same in every process and every run: a partition must depend on nothing but the key.
        site(url).bytes().fold(0usize, |hash, b| hash.wrapping_mul(31).wrapping_add(b.into())) % self.partitions
    }
}

#[firesteel::main]
fn main() -> Result<()> {
    let sc = Context::builder().app_name("pages by site").build()?;
    let url = |i: u64| format!("site{}.example/page{}", i % 7, i % 1_000);
    let visits = sc.parallelize_n((0..20_000).map(|i| (url(i * i), 1u64)).collect::<Vec<_>>(), 4);
    let titles = sc.parallelize_n((0..1_000).map(|i| (url(i), format!("Page {i}"))).collect::<Vec<_>>(), 4);

    let by_site = BySite { partitions: 3 };
    let titles = titles.partition_by(by_site.clone()).cache();
    let counted = visits.reduce_by_key_into(by_site, |a, b| a + b);
    let named = titles.join(&counted);

    // Two shuffles, one for each side; the join itself moves nothing.
    println!("{} shuffles", named.to_debug_string().matches("Shuffled").count());
    // All pages of a site are in one partition, so a site's total needs no third.
    let sites = named.map_partitions(|pages| {
        let mut totals = std::collections::BTreeMap::new();
        for (url, (_, visits)) in pages {
            *totals.entry(site(&url).to_string()).or_insert(0) += visits;
        }
        totals
    });
    for (site, visits) in sites.sort_by_key(true).collect()? {
        println!("{site:<15} {visits:>6} visits");
    }
    Ok(())
}
