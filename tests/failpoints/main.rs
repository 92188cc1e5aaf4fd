//! The steps at which the engine may be made to fail (`failpoint!` in `src/`). Without the feature: that nothing of them is
//! in the binary. With it, `cargo test --features failpoints --test failpoints`: what becomes of clients and of their
//! writes when a step returns an error, panics, takes long or is the last thing that the process does.

#[cfg(not(feature = "failpoints"))]
mod absent;
#[cfg(feature = "failpoints")]
mod child;
#[cfg(feature = "failpoints")]
mod history;
#[cfg(feature = "failpoints")]
mod operator;
mod points;
#[cfg(feature = "failpoints")]
mod replays;
#[cfg(feature = "failpoints")]
mod steps;
#[cfg(feature = "failpoints")]
#[path = "../engine/support.rs"]
#[expect(dead_code, reason = "the tests of the engine use the rest of it")]
mod support;
#[cfg(feature = "failpoints")]
mod workload;
