#[firesteel_macros::main]
async fn main() {}
