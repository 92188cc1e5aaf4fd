//! The CRM cell: a headless, multi-tenant CRM service with one SQLite file per tenant.
//!
//! Every module is a room; imports point only downward in this list (`tests/layering.rs` fails otherwise):
//!
//! 1. [`cli`]: one file per command of the binary.
//! 2. [`app`]: the only wiring; [`app::App::build`] and [`app::App::run`].
//! 3. [`http`]: route table, hoops, extractors, envelope; one file per resource.
//! 4. [`demo`]: a year of sample data for a tenant.
//! 5. [`legacy`]: the Python cell's database becomes one file per tenant.
//! 6. [`store`]: SQL, as free functions on [`tenancy::Read`] and [`tenancy::Write`]; one file per resource.
//! 7. [`tenancy`]: tenant id to file to open connections; the engine that reads and writes one tenant.
//! 8. [`identity`]: bearer token to [`identity::Principal`].
//! 9. [`telemetry`]: log subscriber and metrics registry.
//! 10. [`config`]: every setting with its default, its layers and its validation.
//! 11. [`upstream`]: how other services are called over HTTP.
//! 12. [`domain`]: pure rules and types; no I/O.

pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod http;
pub mod identity;
pub mod legacy;
pub mod store;
pub mod telemetry;
pub mod tenancy;
pub mod upstream;
