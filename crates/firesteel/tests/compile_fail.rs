//! The mistakes that people make, and what they read then. After a change of a text:
//! `TRYBUILD=overwrite cargo test -p firesteel --test compile_fail`.

#[test]
fn common_mistakes_do_not_compile_and_their_remedies_do() {
    let cases = trybuild::TestCases::new();
    // A case that must pass makes the suite build, not just check: captures are found in a build only.
    cases.pass("tests/compile_pass/*.rs");
    cases.compile_fail("tests/compile_fail/*.rs");
}
