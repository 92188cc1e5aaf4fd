//! The commands of the binary, as a shell or a container meets them.

mod cell;
mod config;
mod health;
mod serve;
mod service_manager;
mod tenants;
mod token;
mod usage;
