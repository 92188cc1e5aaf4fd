//! The service as its clients meet it: black-box tests over HTTP, one module per resource and per promise.

#![expect(
    unreachable_pub,
    reason = "a test binary has no callers: `pub` says what a module offers to the others"
)]

mod battery;
mod contacts;
mod copies;
mod customers;
mod demo;
mod docs;
mod durability;
mod edges;
mod events;
mod exports;
mod fleet;
mod follow_ups;
mod gateway;
mod hand_offs;
mod idempotency;
mod identity;
mod imports;
mod legacy;
mod lists;
mod logs;
mod monitoring;
mod opportunities;
mod plans;
mod platform;
mod privacy;
mod quarantine;
mod reports;
mod scope;
mod search;
mod support;
mod tenancy;
mod trash;
mod views;
