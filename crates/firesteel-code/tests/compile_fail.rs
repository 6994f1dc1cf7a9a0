//! Misuse that must not compile, and what the user reads then.

#[test]
#[cfg_attr(miri, ignore = "runs cargo")]
fn capturing_closures_do_not_compile() {
    let cases = trybuild::TestCases::new();
    // One case that must pass makes the suite build, not just check: constants are evaluated in a build only.
    cases.pass("tests/compile_fail/captures_nothing.rs");
    cases.compile_fail("tests/compile_fail/captures_*_value.rs");
    cases.compile_fail("tests/compile_fail/type_without_values.rs");
}
