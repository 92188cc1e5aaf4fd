//! The CRM cell: a headless, multi-tenant CRM service with one SQLite file per tenant.
//!
//! Every module is a room; imports point only downward in this list (`tests/layering.rs` fails otherwise):
//!
//! 1. [`cli`]: one file per command of the binary.
//! 2. [`app`]: the only wiring; [`app::App::build`] and [`app::App::run`].
//! 3. [`http`]: route table, hoops, extractors, envelope; one file per resource.
//! 4. [`demo`]: a year of sample data for a tenant.
//! 5. [`legacy`]: the Python cell's database becomes one file per tenant.
//! 6. [`events`]: from each tenant's outbox to the bus, and from the bus to each tenant's inbox.
//! 7. [`flows`]: what an event of another system does to records of more than one kind.
//! 8. [`store`]: SQL, as free functions on [`tenancy::Read`] and [`tenancy::Write`]; one file per resource.
//! 9. [`tenancy`]: tenant id to file to open connections; the engine that reads and writes one tenant.
//! 10. [`identity`]: bearer token to [`identity::Principal`].
//! 11. [`telemetry`]: log subscriber and metrics registry.
//! 12. [`governance`]: the platform is told where this cell is.
//! 13. [`config`]: every setting with its default, its layers and its validation.
//! 14. [`upstream`]: how other services are called over HTTP.
//! 15. [`domain`]: pure rules and types; no I/O.

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
