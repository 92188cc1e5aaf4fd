//! The service as its clients meet it: black-box tests over HTTP, one module per resource and per promise.

mod durability;
mod support;
mod tenancy;
