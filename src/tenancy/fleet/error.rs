//! Why an operator's work came to nothing.

use std::io;

use super::space::LowSpace;
use crate::domain::TenantId;
use crate::tenancy::copies::CopyError;
use crate::tenancy::error::{StoreError, Unavailable};
use crate::tenancy::map::OpenError;

/// Why an operation on a tenant came to nothing. Unless it says otherwise, everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no such tenant.
    #[error("there is no tenant {0}")]
    NoSuchTenant(TenantId),
    /// It was deleted; it can be brought back or purged.
    #[error(
        "the tenant {0} was deleted: bring it back with `tenants undelete`, or remove it for good with `tenants purge`"
    )]
    Deleted(TenantId),
    /// There is one of this name.
    #[error("there is a tenant {0} already")]
    Exists(TenantId),
    /// It must not be deleted.
    #[error("the tenant {0} is protected: allow it to be deleted with `tenants unprotect`")]
    Protected(TenantId),
    /// Somebody else works on it.
    #[error("another operation on the tenant {0} is under way")]
    Busy(TenantId),
    /// No file may change now.
    #[error("the files are frozen: wait, or thaw them with `crm-cell thaw`")]
    Frozen,
    /// There is nothing to restore it from.
    #[error("{0}")]
    NoSuchFile(String),
    /// What it is to be restored from is not what it should be.
    #[error("{0}")]
    Unfit(String),
    /// There is too little room for it.
    #[error(transparent)]
    LowSpace(#[from] LowSpace),
    /// It cannot be opened.
    #[error("the tenant cannot be opened")]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error("the tenant cannot be read")]
    Read(#[from] StoreError),
    /// No sound copy can be made of it.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A file cannot be written or moved.
    #[error("a file cannot be written or moved")]
    Io(#[from] io::Error),
    /// SQLite cannot change a file.
    #[error("a file cannot be changed")]
    Sql(#[from] sqlx::Error),
}

impl From<Unavailable> for FleetError {
    fn from(why: Unavailable) -> Self {
        Self::Open(why.into())
    }
}
