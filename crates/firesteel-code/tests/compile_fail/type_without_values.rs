//! A type that has no values cannot be made from bytes.
use firesteel_code::Code;

#[derive(Clone, Copy)]
enum Void {}

fn main() {
    let _ = postcard::from_bytes::<Code<Void>>(&[0]);
}
