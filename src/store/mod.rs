//! SQL: free functions on [`Read`](crate::tenancy::Read) and [`Write`](crate::tenancy::Write), one file per resource.
//!
//! None of them takes a tenant: the handle is one tenant's file.

pub mod customers;
mod list;
mod record;

pub use list::{List, SortKey};
