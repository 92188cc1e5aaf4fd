//! Every setting of the cell: its type, default, sources and validation (contract §11).
//!
//! [`Config::load`] reads the layers (`config/default.toml`, which is compiled in; `config/<CRM_ENV>.toml`; the file
//! named by `CRM_CONFIG`; environment variables; the last one wins), refuses what it does not know and validates the
//! result once. Whoever holds a [`Config`] may rely on it. Nothing else reads the cell's variables.

mod bus_target;
mod database_url;
mod env;
mod error;
mod file;
mod keys;
mod load;
mod nearest;
mod redact;
mod settings;
mod sources;
mod validate;

pub use bus_target::BusTarget;
pub use database_url::{InvalidDatabaseUrl, database_file};
pub use error::{ConfigError, Problem};
pub use settings::{
    Admin, Api, Auth, Backup, Binding, Config, Events, Governance, Idempotency, Legacy, Log, LogFormat,
    PatchNull, Provision, Server, Storage, Tenants, UnknownFields,
};
pub use sources::Sources;
