#[firesteel_macros::main]
unsafe fn main() {}
