//! The tenancy engine through its own door: `Tenants` → `TenantDb` → units of work. No HTTP.

mod additions;
mod admit;
mod aside;
mod copies;
mod disk;
mod faults;
mod fence;
mod group_commit;
mod hammer;
mod idempotency;
mod identity;
mod idle;
mod map;
mod migration;
mod reads;
mod replaced;
mod root;
mod schema;
mod support;
mod views;
