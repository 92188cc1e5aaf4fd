//! What must not compile: a write in a read, a handle that outlives its unit, a unit that is not its own.
//!
//! The `.stderr` files pin what the compiler says, which is what a developer sees; they belong to the toolchain of
//! `rust-version`. After a deliberate change: `TRYBUILD=overwrite cargo test --test compile_fail`. The first run builds the
//! dependencies once more, in `target/tests`.

#[test]
fn misuse_of_the_engine_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
