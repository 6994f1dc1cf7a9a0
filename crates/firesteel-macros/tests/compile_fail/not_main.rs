#[firesteel_macros::main]
pub fn run() {}

fn main() {}
