//! The service as its clients meet it: black-box tests over HTTP, one module per resource and per promise.

mod customers;
mod durability;
mod edges;
mod idempotency;
mod lists;
mod support;
mod tenancy;
