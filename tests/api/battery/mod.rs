//! The battery: what every operation of the API document has in common, asked of each of them.

mod callers;
mod document;
mod examples;
mod requests;
pub mod table;
pub mod world;
