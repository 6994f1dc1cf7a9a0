//! Records of functions, and the references to them that travel.

use crate::module;
use serde::{Deserialize, Serialize};
use std::{
    any::{TypeId, type_name},
    fmt,
    mem::transmute_copy,
    ptr::with_exposed_provenance,
};

/// A function that has a name in every process that runs this executable.
///
/// Implemented on a marker type, generic where the function is: `struct RunTask<P, A>(PhantomData<fn(P, A)>)`. The
/// *marker* is the identity: two markers have two records, even if the compiler merges their functions.
///
/// ```
/// use firesteel_code::{Named, code_ref};
/// use std::{fmt::Display, marker::PhantomData};
///
/// struct Show<T>(PhantomData<fn(T)>);
/// impl<T: Display + From<u8> + 'static> Named for Show<T> {
///     type Sig = fn(u8) -> String;
///     const FN: Self::Sig = |byte| T::from(byte).to_string();
/// }
/// let shows = [code_ref::<Show<char>>(), code_ref::<Show<u64>>()].map(|code| code.resolve::<fn(u8) -> String>());
/// assert_eq!(shows.map(|show| show.unwrap()(65)), ["A", "65"]);
/// ```
pub trait Named: 'static {
    /// The type of the function, a function pointer (`fn(..) -> ..`): what both sides must agree on.
    type Sig: Copy + Send + Sync + 'static;
    /// The function.
    const FN: Self::Sig;
}

/// Marks a record; no other constant of an executable is likely to hold these 16 bytes.
const MAGIC: [u64; 2] = [0xf12e_57ee_1c0d_e5ed, 0x9b1d_7c3a_52e8_064f];

/// What stands before the constant in every record, whatever the constant's type. Plain numbers first, so that they can
/// be looked at before anything is believed.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Header {
    magic: [u64; 2],
    sig: TypeId,
    name: TypeId,
}

/// A record: a constant of the executable at an address of its own. The `TypeId`s make records of different
/// names differ in content, so that neither compiler nor linker can merge them.
#[repr(C)]
pub(crate) struct Entry {
    header: Header,
    /// The bytes of the constant, which is of the type that the header says. A pointer, so that a function keeps what
    /// makes it callable (its provenance).
    f: *const (),
}

/// The record of `N`, made at compile time.
pub(crate) fn entry<N: Named>() -> &'static Entry {
    const {
        assert!(size_of::<N::Sig>() == size_of::<*const ()>(), "`Named::Sig` must be a function pointer type");
        // SAFETY: of the same size, and a function pointer is a valid raw pointer (were it another type of that size
        // with bytes that are not, the compiler would refuse this constant).
        let f = unsafe { transmute_copy::<N::Sig, *const ()>(&N::FN) };
        &Entry { header: Header { magic: MAGIC, sig: TypeId::of::<N::Sig>(), name: TypeId::of::<N>() }, f }
    }
}

/// Distances between records are counted in this many bytes, so that no reference can be misaligned.
const UNIT: usize = 8;

const _: () = {
    assert!(align_of::<Entry>() == UNIT);
    assert!(module::ANCHOR_ALIGN.is_multiple_of(UNIT));
};

/// A name of code that means the same in every process that runs this executable: which module, and where in it a
/// constant record lies, counted from an anchor in the same module. Some 4 bytes in postcard.
///
/// It is an *address*, checked when it is [resolved](CodeRef::resolve); not an identity: one record may exist twice in
/// an executable, so do not use it as a key, and do not store it beyond the life of this build.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CodeRef {
    /// 0 is the executable. Others are for code that arrives while the program runs.
    module: u32,
    /// From the module's anchor, in units of 8 bytes.
    offset: i64,
}

/// The name of `N`'s function. Costs a subtraction.
pub fn code_ref<N: Named>() -> CodeRef {
    CodeRef::of(entry::<N>())
}

impl CodeRef {
    /// The name of a record.
    pub(crate) fn of(entry: &'static Entry) -> Self {
        let address = (&raw const *entry).expose_provenance();
        module::made(address);
        let distance = address.wrapping_sub(module::anchor()) as isize;
        debug_assert_eq!(distance % UNIT as isize, 0);
        CodeRef { module: 0, offset: (distance / UNIT as isize) as i64 }
    }

    /// The function that this names, as a value of the signature `S`.
    ///
    /// The reference may come from anywhere: that its place lies inside the executable's read-only memory, that a
    /// record stands there, and that the record's constant is of type `S`, is checked before anything is called. A
    /// wrong reference that happens to name another record of the same signature is not noticed.
    ///
    /// # Errors
    /// [`CodeError`] says which check failed; nothing was called.
    pub fn resolve<S: Copy + Send + Sync + 'static>(self) -> Result<S, CodeError> {
        let (_, f) = self.find::<S>()?;
        Ok(f)
    }

    /// As [`resolve`](CodeRef::resolve), and also checks that it is the function of `N` and of no other name.
    ///
    /// # Errors
    /// As `resolve`, and [`CodeError::OtherName`].
    pub fn resolve_as<N: Named>(self) -> Result<N::Sig, CodeError> {
        match self.find::<N::Sig>()? {
            (name, f) if name == TypeId::of::<N>() => Ok(f),
            _ => Err(CodeError::OtherName { code: self, wanted: type_name::<N>() }),
        }
    }

    fn find<S: Copy + Send + Sync + 'static>(self) -> Result<(TypeId, S), CodeError> {
        if self.module != 0 {
            return Err(CodeError::UnknownModule { code: self });
        }
        let outside = || CodeError::Outside { code: self };
        let distance = isize::try_from(self.offset).ok().and_then(|units| units.checked_mul(UNIT as isize));
        let address = module::anchor().checked_add_signed(distance.ok_or_else(outside)?).ok_or_else(outside)?;
        if !module::holds(address, size_of::<Entry>()) {
            return Err(outside());
        }
        let entry = with_exposed_provenance::<Entry>(address);

        // SAFETY: `entry` is aligned (anchor and distance are), and all its bytes lie in memory of this module that is
        // mapped, initialised by the loader and never written to for as long as the process lives (`holds` has said
        // so). The first read is of plain numbers. The second is of two `TypeId`s, after 16 bytes have said that this
        // is a record; were they lying, a `TypeId` would still be any 16 bytes to be compared. The third is of an `S`,
        // after the record has said that an `S` was put there.
        unsafe {
            if (&raw const (*entry).header.magic).read() != MAGIC {
                return Err(CodeError::NoRecord { code: self });
            }
            let header = (&raw const (*entry).header).read();
            if header.sig != TypeId::of::<S>() {
                return Err(CodeError::OtherType { code: self, wanted: type_name::<S>() });
            }
            Ok((header.name, (&raw const (*entry).f).cast::<S>().read()))
        }
    }
}

impl fmt::Display for CodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}:{:+}", self.module, self.offset)
    }
}

/// Why a [`CodeRef`] leads nowhere. Between processes that have compared their [module ids](crate::module_id) each of
/// these means damaged bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// No module of that number is loaded.
    #[error(
        "{code} is in a module that this process has not loaded: driver and executors must run the same executable"
    )]
    UnknownModule {
        /// The reference.
        code: CodeRef,
    },
    /// Its place is not in the executable's read-only memory.
    #[error(
        "{code} lies outside this executable's read-only memory: the bytes are damaged, or were made by another build \
         (driver and executors must run the same executable), or the executable was linked with `relro-level=off`"
    )]
    Outside {
        /// The reference.
        code: CodeRef,
    },
    /// Something else is in its place.
    #[error(
        "{code} names no record of this executable: the bytes are damaged or were made by another build \
         (driver and executors must run the same executable)"
    )]
    NoRecord {
        /// The reference.
        code: CodeRef,
    },
    /// The record is of another signature.
    #[error("{code} is not of type {wanted}: the bytes are damaged, or are decoded as something that they are not")]
    OtherType {
        /// The reference.
        code: CodeRef,
        /// The signature asked for.
        wanted: &'static str,
    },
    /// The record is of the right signature and another name.
    #[error("{code} is not {wanted}: the bytes are damaged, or are decoded as something that they are not")]
    OtherName {
        /// The reference.
        code: CodeRef,
        /// The name asked for.
        wanted: &'static str,
    },
}
