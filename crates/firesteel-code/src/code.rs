//! Closures that capture nothing, as serialisable values.

use crate::code_ref::{CodeRef, Named, code_ref};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{any::type_name, fmt, marker::PhantomData, ops::Deref, ptr::NonNull};

/// A closure or function that can be named in another process: it is `Copy`, shareable, and captures nothing.
///
/// Implemented for every type with these properties; that it captures nothing is checked where a [`Code`] is made
/// (a type's size cannot be a bound). Use it as a bound *beside* the `Fn` bound, never instead of it: only `Fn` bounds
/// let rustc infer a closure's argument types.
#[diagnostic::on_unimplemented(
    message = "this closure captures a value from around it, which does not travel to executors",
    label = "captures a value that is not `Copy`",
    note = "hand the value over with the `_with` form of the method: `rdd.map_with(value, |value, x| ..)`"
)]
pub trait Captureless: Copy + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<F: Copy + Send + Sync + 'static> Captureless for F {}

/// What the user reads who lets a closure capture a value that is `Copy`; rustc adds the closure's file and line.
const CAPTURES: &str = "this closure captures a variable from around it, and captured variables do not travel to \
    executors. Hand the value over with the `_with` form of the method: instead of `rdd.map(move |x| x * factor)` \
    write `rdd.map_with(factor, |factor, x| x * factor)`. The notes below name the closure by its file and line";

/// A closure that captures nothing, and so has no bytes: as a field it costs nothing, serialised it is the name of its
/// type's record in the executable (4 or 5 bytes in postcard).
///
/// Call it as if it were the closure: `(self.f)(x)`; [`get`](Code::get) lends it where a closure is wanted.
///
/// # What keeps deserialisation sound
///
/// Deserialising makes a value of type `F` out of nothing. A type without bytes needs no bytes to be initialised, but
/// it may still be one whose values must not be made at will: an uninhabited type, or a token whose constructor is
/// private. Two checks stand before it. At compile time `F` must have no bytes *and* a value (an `Option` of it needs a
/// byte to say so, which rules out `enum Void {}`). At run time the bytes must name the record of exactly this `F`,
/// and that record comes into the executable only with the code that serialises an existing `Code<F>`, which was
/// made by [`Code::new`] from an existing `F`: so the program hands an `F` to this crate for the purpose of sending it,
/// and `F: Copy + Send` says that one more of it, in another thread, changes nothing.
pub struct Code<F>(F);

impl<F: Captureless> Code<F> {
    const CHECKED: () = {
        assert!(size_of::<F>() == 0, "{}", CAPTURES);
        assert!(size_of::<Option<F>>() != 0, "a type without values cannot be sent to executors");
    };

    /// Takes a closure that captures nothing. One that does is a compile error that names the closure's place and the
    /// remedy (in `cargo build`; `cargo check` does not evaluate it). A function's name is as good as a closure; a
    /// function *pointer* (`fn(i64) -> i64`) is not: it is an address of this process, hence a captured value.
    #[inline(always)]
    pub fn new(f: F) -> Self {
        let () = Self::CHECKED;
        Code(f)
    }

    /// The closure.
    #[inline(always)]
    pub fn get(&self) -> F {
        self.0
    }

    /// Another one of a type known to have values, which are all alike.
    #[inline(always)]
    fn conjure() -> Self {
        let () = Self::CHECKED;
        // SAFETY: `F` has size 0, so a read from any aligned, non-null address reads no memory; that a value of `F`
        // may be made here is what the caller has checked (see the type's documentation).
        Code(unsafe { NonNull::<F>::dangling().read() })
    }
}

impl<F: Captureless> Deref for Code<F> {
    type Target = F;
    #[inline(always)]
    fn deref(&self) -> &F {
        &self.0
    }
}

impl<F: Copy> Clone for Code<F> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Copy> Copy for Code<F> {}

impl<F> fmt::Debug for Code<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({})", type_name::<F>())
    }
}

/// Only in the signature of records that bear witness to a type's values; their function is not called.
struct Exists;

/// Names the record that says: this program sends values of `F`.
struct Witness<F>(PhantomData<fn() -> F>);

impl<F: Captureless> Named for Witness<F> {
    type Sig = fn(Exists);
    const FN: Self::Sig = drop;
}

impl<F: Captureless> Serialize for Code<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The only mention of this record: it takes a `Code<F>` to get here.
        code_ref::<Witness<F>>().serialize(serializer)
    }
}

impl<'de, F: Captureless> Deserialize<'de> for Code<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = CodeRef::deserialize(deserializer)?;
        code.resolve_as::<Witness<F>>().map_err(de::Error::custom)?;
        Ok(Self::conjure())
    }
}
