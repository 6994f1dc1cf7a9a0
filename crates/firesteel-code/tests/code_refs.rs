//! References to code: what resolves, what does not, and that nothing wrong is ever called.

use firesteel_code::{Captureless, Code, CodeError, CodeRef, Named, code_ref, module_id};
use proptest::prelude::*;
use std::{marker::PhantomData, process::Command, thread};

type Sig = fn(u64) -> u64;

struct Add<const N: u64>;
impl<const N: u64> Named for Add<N> {
    type Sig = Sig;
    const FN: Sig = |x| x.wrapping_add(N);
}

/// Two names for the same code, which a compiler merges.
struct Same<T>(PhantomData<T>);
impl<T: 'static> Named for Same<T> {
    type Sig = Sig;
    const FN: Sig = |x| x ^ 0xff;
}

struct Lend;
impl Named for Lend {
    type Sig = for<'a> fn(&'a [u8]) -> &'a [u8];
    const FN: Self::Sig = |bytes| &bytes[1..];
}

/// A reference as it comes from outside.
fn reference(module: u32, offset: i64) -> CodeRef {
    postcard::from_bytes(&postcard::to_stdvec(&(module, offset)).unwrap()).unwrap()
}

fn offset(code: CodeRef) -> i64 {
    postcard::from_bytes::<(u32, i64)>(&postcard::to_stdvec(&code).unwrap()).unwrap().1
}

fn copy<F: Captureless>(f: Code<F>) -> Code<F> {
    postcard::from_bytes(&postcard::to_stdvec(&f).unwrap()).unwrap()
}

#[test]
fn a_reference_resolves_to_the_function_it_was_made_of() {
    assert_eq!(code_ref::<Add<1>>().resolve::<Sig>().unwrap()(1), 2);
    assert_eq!(code_ref::<Add<2>>().resolve::<Sig>().unwrap()(1), 3);
    let lend = code_ref::<Lend>().resolve::<for<'a> fn(&'a [u8]) -> &'a [u8]>().unwrap();
    assert_eq!(lend(b"abc"), b"bc");
    thread::spawn(|| assert_eq!(code_ref::<Add<3>>().resolve::<Sig>().unwrap()(1), 4)).join().unwrap();
}

#[test]
fn names_of_merged_functions_stay_apart() {
    let (a, b) = (code_ref::<Same<u8>>(), code_ref::<Same<i8>>());
    assert_ne!(a, b);
    assert_eq!(a.resolve_as::<Same<u8>>().unwrap()(0), 0xff);
    assert!(matches!(a.resolve_as::<Same<i8>>(), Err(CodeError::OtherName { .. })));
}

#[test]
fn another_signature_is_refused() {
    let code = code_ref::<Add<1>>();
    for error in [
        code.resolve::<fn(u64) -> i64>().unwrap_err(),
        code.resolve::<fn(u64)>().err().unwrap(),
        code.resolve::<u64>().unwrap_err(),
    ] {
        assert!(matches!(error, CodeError::OtherType { .. }), "{error}");
    }
    // Differing in a lifetime alone is differing.
    assert!(code_ref::<Lend>().resolve::<fn(&'static [u8]) -> &'static [u8]>().is_err());
}

#[test]
fn a_module_that_is_not_loaded_is_refused() {
    let error = reference(1, offset(code_ref::<Add<1>>())).resolve::<Sig>().unwrap_err();
    assert!(matches!(error, CodeError::UnknownModule { .. }), "{error}");
}

#[test]
fn places_outside_of_the_executable_are_refused() {
    for far in [i64::MIN, i64::MAX, i64::MIN / 8, i64::MAX / 8, 1 << 40, -(1 << 40), 1 << 60] {
        let error = reference(0, far).resolve::<Sig>().unwrap_err();
        assert!(matches!(error, CodeError::Outside { .. }), "{far}: {error}");
    }
}

#[test]
fn the_places_around_a_record_are_refused() {
    let middle = offset(code_ref::<Add<1>>());
    for step in -4..=4 {
        let found = reference(0, middle + step).resolve_as::<Add<1>>();
        assert_eq!(found.is_ok(), step == 0, "{step}");
    }
}

#[test]
fn errors_name_the_place_and_the_remedy() {
    let error = reference(0, 1 << 40).resolve::<Sig>().unwrap_err().to_string();
    assert!(error.contains("code 0:+1099511627776") && error.contains("same executable"), "{error}");
    let error = code_ref::<Add<1>>().resolve::<fn(u8)>().err().unwrap().to_string();
    assert!(error.contains("fn(u8)"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 32 } else { 4_096 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_offset_is_a_function_of_the_type_or_an_error(offset in any::<i64>(), near in -2_000_000i64..2_000_000) {
        for offset in [offset, offset >> 20, offset >> 40, near, near / 64] {
            if let Ok(f) = reference(0, offset).resolve::<Sig>() {
                f(1);
            }
            prop_assert!(reference(0, offset).resolve::<fn(i128, &str) -> [u8; 3]>().is_err());
        }
    }

    #[test]
    fn any_flipped_bit_is_an_error_or_another_function_of_the_type(bit in 0usize..64) {
        let mut bytes = postcard::to_stdvec(&code_ref::<Add<1>>()).unwrap();
        let bit = bit % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(f) = postcard::from_bytes::<CodeRef>(&bytes).map_or(Err(()), |code| code.resolve::<Sig>().map_err(drop)) {
            f(1);
        }
    }

    #[test]
    fn any_bytes_decode_to_this_closure_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        fn decode<F: Captureless>(_: F, bytes: &[u8]) -> Option<Code<F>> {
            postcard::from_bytes(bytes).ok()
        }
        if let Some(f) = decode(|x: u64| x + 1, &bytes) {
            prop_assert_eq!(f(1), 2);
        }
    }
}

#[test]
fn closures_and_functions_travel_without_bytes_of_their_own() {
    let f = Code::new(|x: &str| x.len());
    assert_eq!(size_of_val(&f), 0);
    assert_eq!(copy(f)("abc"), 3);
    assert_eq!(copy(Code::new(str::len))("abcd"), 4);
    assert!(postcard::to_stdvec(&f).unwrap().len() <= 6);
    assert_eq!([1, 2].map(copy(Code::new(|x: i32| x * 10)).get()), [10, 20]);
}

#[test]
fn a_closure_is_not_decoded_from_another_ones_bytes() {
    fn as_second<A: Captureless, B: Captureless>(a: A, _: B) -> Result<Code<B>, postcard::Error> {
        postcard::from_bytes(&postcard::to_stdvec(&Code::new(a)).unwrap())
    }
    assert!(as_second(|x: u64| x, |x: u64| x).is_err());
    assert!(
        postcard::from_bytes::<Code<fn_types::Token>>(&postcard::to_stdvec(&code_ref::<Add<1>>()).unwrap()).is_err()
    );
}

mod fn_types {
    /// Only its own module may make one; nobody ever sends one.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Token(());
    const _: Token = Token(());
}

#[test]
fn debug_form_names_the_closure() {
    assert!(format!("{:?}", Code::new(|x: u8| x)).contains("debug_form_names_the_closure"));
}

/// Set in a child process to the hexadecimal bytes of what its parent sends.
const SENT: &str = "FIRESTEEL_TEST_SENT";

fn sent() -> (CodeRef, Code<impl Captureless + Fn(u64) -> u64>, u128) {
    (code_ref::<Add<40>>(), Code::new(|x: u64| x * 3), module_id().unwrap())
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn another_process_of_the_same_executable_understands_references() {
    fn decode<T: serde::de::DeserializeOwned>(_like: T, bytes: &[u8]) -> T {
        postcard::from_bytes(bytes).unwrap()
    }
    if let Ok(hex) = std::env::var(SENT) {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let (add, triple, id) = decode(sent(), &bytes);
        assert_eq!(add.resolve::<Sig>().unwrap()(2), 42);
        assert_eq!(triple(14), 42);
        assert_eq!(id, module_id().unwrap());
        return;
    }
    let hex: String = postcard::to_stdvec(&sent()).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process_of_the_same_executable_understands_references"])
        .env(SENT, hex)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}
