//! What is meant to compile.
use firesteel_code::{Captureless, Code};

fn map<F: Fn(u64) -> u64 + Captureless>(f: F) -> Code<F> {
    Code::new(f)
}

fn main() {
    assert_eq!(map(|x| x + 1)(1), 2);
    assert_eq!(map(u64::count_ones_as)(7), 3);
}

trait CountOnes {
    fn count_ones_as(self) -> u64;
}

impl CountOnes for u64 {
    fn count_ones_as(self) -> u64 {
        self.count_ones().into()
    }
}
