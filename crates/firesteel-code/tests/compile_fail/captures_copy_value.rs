//! A captured number is `Copy`, so only the closure's size gives it away.
use firesteel_code::{Captureless, Code};

fn map<F: Fn(u64) -> u64 + Captureless>(f: F) -> Code<F> {
    Code::new(f)
}

fn main() {
    let factor = std::env::args().count() as u64;
    map(move |x| x * factor);
}
