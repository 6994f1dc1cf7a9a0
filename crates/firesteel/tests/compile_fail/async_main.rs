//! `main` must be an ordinary function: actions block until their job has ended.

#[firesteel::main]
async fn main() {}
