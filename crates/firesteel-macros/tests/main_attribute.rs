//! What the attribute makes of a main function. This crate plays `firesteel`, whose `run_main` the expansion calls and whose
//! allocator it installs.

extern crate self as firesteel;

#[doc(hidden)]
pub mod __private {
    pub use std::alloc::System as Allocator;
    use std::{fmt::Debug, process::ExitCode};

    /// Stands for the real one: exit code 10 plus what the function's value prints as says that it was called.
    pub fn run_main<T: Debug>(main: fn() -> T) -> ExitCode {
        ExitCode::from(10 + format!("{:?}", main()).len() as u8)
    }
}

mod plain {
    #[firesteel_macros::main]
    pub(crate) fn main() {
        super::said("plain");
    }
}

mod with_result {
    /// Documentation and other attributes stay. There can be one allocator only.
    #[firesteel_macros::main(own_allocator)]
    #[allow(clippy::unnecessary_wraps, unused_mut, unused_variables)]
    pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
        let mut unused = 1;
        Err("no".parse::<u8>().map_or(String::from("12345"), |n| n.to_string()))?;
        Ok(())
    }
}

fn said(what: &str) {
    assert_eq!(what.len(), 5);
}

/// An `ExitCode` shows its number only in its debug form.
fn same(a: std::process::ExitCode, b: u8) -> bool {
    format!("{a:?}") == format!("{:?}", std::process::ExitCode::from(b))
}

#[test]
fn the_body_runs_inside_run_main() {
    assert!(same(plain::main(), 10 + "()".len() as u8));
}

#[test]
fn the_users_return_type_is_kept() {
    assert!(same(with_result::main(), 10 + "Err(\"12345\")".len() as u8));
}

#[test]
fn what_is_no_main_function_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
