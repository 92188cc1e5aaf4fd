//! SQL: free functions on [`Read`](crate::tenancy::Read) and [`Write`](crate::tenancy::Write), one file per resource.
//!
//! None of them takes a tenant: the handle is one tenant's file.

pub mod audit;
pub mod contacts;
pub mod contracts;
pub mod customers;
pub mod explain;
pub mod export;
pub mod follow_ups;
pub mod import;
pub mod inbox;
pub mod legacy;
mod list;
pub mod members;
pub mod opportunities;
pub mod outbox;
pub mod overview;
mod record;
pub mod reports;
mod search;
pub mod trash;

pub use list::{List, SortKey};
pub use record::{Record, get};
