#[firesteel_macros::main]
fn main<T>() {}
