//! The CRM cell: a headless, multi-tenant CRM service with one SQLite file per tenant.
//!
//! Every module is a room; imports point only downward in this list (`tests/layering.rs` fails otherwise):
//!
//! 1. [`cli`]: one file per command of the binary.
//! 2. [`app`]: the only wiring; [`app::App::build`] and [`app::App::run`].
//! 3. [`admin`]: the operators' routes, on a socket of their own, and the client of the command line.
//! 4. [`http`]: route table, hoops, extractors, envelope; one file per resource.
//! 5. [`demo`]: a year of sample data for a tenant.
//! 6. [`legacy`]: the Python cell's database becomes one file per tenant.
//! 7. [`events`]: from each tenant's outbox to the bus, and from the bus to each tenant's inbox.
//! 8. [`flows`]: what an event of another system does to records of more than one kind.
//! 9. [`store`]: SQL, as free functions on [`tenancy::Read`] and [`tenancy::Write`]; one file per resource.
//! 10. [`tenancy`]: tenant id to file to open connections; the engine that reads and writes one tenant.
//! 11. [`identity`]: bearer token to [`identity::Principal`].
//! 12. [`telemetry`]: log subscriber and metrics registry.
//! 13. [`governance`]: the platform is told where this cell is.
//! 14. [`config`]: every setting with its default, its layers and its validation.
//! 15. [`upstream`]: how other services are called over HTTP.
//! 16. [`domain`]: pure rules and types; no I/O.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod events;
pub mod flows;
pub mod governance;
pub mod http;
pub mod identity;
pub mod legacy;
pub mod store;
pub mod telemetry;
pub mod tenancy;
pub mod upstream;
