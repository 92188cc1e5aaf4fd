//! Every setting of the cell: its type, default, sources and validation (contract §11).

mod settings;

pub use settings::{
    Api, Auth, Binding, Config, Idempotency, Log, LogFormat, PatchNull, Provision, Server, Storage, Tenants,
    UnknownFields,
};
