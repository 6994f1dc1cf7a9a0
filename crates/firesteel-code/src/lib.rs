//! Names for compiled code that travel between processes running the same executable.
//!
//! The driver and its executors are the same executable, so the machine code of every closure is already everywhere.
//! What has to travel is *which* code: a [`CodeRef`], a few bytes that name a constant record in the executable. This
//! crate makes such names ([`code_ref`]), turns them back into functions after checking everything that can be checked
//! before a jump ([`CodeRef::resolve`]), and carries closures that capture nothing inside serialised values ([`Code`]).
//! It is for the crates that build and decode pipelines; programs never see it, save in a compile error.
//!
//! All `unsafe` of this idea is here, in three places, each with its reason:
//! reading a record at an address that came from outside ([`CodeRef`], file `code_ref.rs`), asking the system which
//! parts of the executable are mapped (`module.rs`), and making a value of a type without bytes (`code.rs`).
//!
//! ```
//! use firesteel_code::{Code, CodeRef, Named, code_ref};
//!
//! // A function that both processes know, by its place in the executable.
//! struct Double;
//! impl Named for Double {
//!     type Sig = fn(i64) -> i64;
//!     const FN: Self::Sig = |x| x * 2;
//! }
//! let bytes = postcard::to_stdvec(&code_ref::<Double>())?;
//! let name: CodeRef = postcard::from_bytes(&bytes)?;
//! assert_eq!(name.resolve::<fn(i64) -> i64>()?(21), 42);
//! assert!(name.resolve::<fn(u8) -> u8>().is_err());
//!
//! // A closure of a type that both processes know.
//! fn through_bytes<F: firesteel_code::Captureless>(f: F) -> Code<F> {
//!     let bytes = postcard::to_stdvec(&Code::new(f)).unwrap();
//!     postcard::from_bytes(&bytes).unwrap()
//! }
//! assert_eq!(through_bytes(|x: i64| x + 1)(1), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(panic = "abort")]
compile_error!(
    "Firesteel needs `panic = \"unwind\"`: a panic in a task is caught, reported and retried, which `panic = \"abort\"` \
     makes impossible. Remove `panic = \"abort\"` from the profile in Cargo.toml (or from RUSTFLAGS)."
);

mod code;
mod code_ref;
mod module;

pub use code::{Captureless, Code};
pub use code_ref::{CodeError, CodeRef, Named, code_ref};
pub use module::module_id;
