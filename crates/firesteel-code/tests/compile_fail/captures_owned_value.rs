//! A captured vector is not `Copy`, so the bound gives it away.
use firesteel_code::{Captureless, Code};

fn map<F: Fn(u64) -> u64 + Captureless>(f: F) -> Code<F> {
    Code::new(f)
}

fn main() {
    let weights = vec![1, 2, 3];
    map(move |x| x * weights[0]);
}
