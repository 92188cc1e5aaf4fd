//! Errors after which a transaction or a connection can no longer be trusted.

use std::sync::Arc;

use sqlx::Error;

use super::Condition;
use crate::tenancy::error::{Quarantine, Reason, StoreError, Unavailable};

/// What kind of failure made a unit's transaction untrustworthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The statement ran past its deadline and was interrupted.
    Deadline,
    /// The disk or the tenant's page limit is full.
    Full,
    /// The operating system failed a read, a write or a sync.
    Io,
    /// The file's content is damaged or not a database: the tenant must not be served.
    Corrupt,
    /// SQLite had rolled the whole transaction back before the statement ran.
    Lost,
    /// Locked by somebody else, out of memory, read-only, cannot be opened, or sqlx's thread is gone.
    Other,
}

impl Fault {
    /// The connection must be closed even if its transaction could be rolled back.
    pub(crate) fn discards_connection(self) -> bool {
        match self {
            Self::Io | Self::Corrupt | Self::Lost | Self::Other => true,
            Self::Deadline | Self::Full => false,
        }
    }
}

/// The worse of two faults: one that discards the connection, if either does, and of those damage to the file.
pub(super) fn worse(a: Option<Fault>, b: Option<Fault>) -> Option<Fault> {
    let badness = |fault: &Option<Fault>| match fault {
        None => 0,
        Some(fault) if !fault.discards_connection() => 1,
        Some(Fault::Corrupt) => 3,
        Some(_) => 2,
    };
    if badness(&b) > badness(&a) { b } else { a }
}

/// Whether `error` means that the transaction it happened in may be gone.
///
/// After `SQLITE_FULL` and its like SQLite undoes either the one statement or the whole transaction; in the second case
/// the connection is silently in autocommit, and whatever a unit does next would commit by itself. So the codes that
/// SQLite documents as rolling back (<https://sqlite.org/lang_transaction.html> §3) and all errors of sqlx's own are
/// faults; constraint violations and plain SQL errors are not.
pub(crate) fn fault_of(error: &Error) -> Option<Fault> {
    match error {
        Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<i32>().ok())?;
            match code & 0xff {
                libsqlite3_sys::SQLITE_INTERRUPT => Some(Fault::Deadline),
                libsqlite3_sys::SQLITE_FULL => Some(Fault::Full),
                libsqlite3_sys::SQLITE_IOERR => Some(Fault::Io),
                libsqlite3_sys::SQLITE_CORRUPT | libsqlite3_sys::SQLITE_NOTADB => Some(Fault::Corrupt),
                libsqlite3_sys::SQLITE_NOMEM
                | libsqlite3_sys::SQLITE_BUSY
                | libsqlite3_sys::SQLITE_LOCKED
                | libsqlite3_sys::SQLITE_READONLY
                | libsqlite3_sys::SQLITE_CANTOPEN
                | libsqlite3_sys::SQLITE_PROTOCOL => Some(Fault::Other),
                libsqlite3_sys::SQLITE_ERROR if database.message().starts_with("no such savepoint") => {
                    Some(Fault::Lost)
                }
                _ => None,
            }
        }
        Error::RowNotFound
        | Error::TypeNotFound { .. }
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::ColumnNotFound(_)
        | Error::ColumnDecode { .. }
        | Error::Encode(_)
        | Error::Decode(_) => None,
        _ => Some(Fault::Other),
    }
}

/// Whether the statement was refused because its connection is `query_only`. The other read-only errors have extended
/// codes.
pub(super) fn is_query_only(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|database| database.code());
    code.and_then(|code| code.parse().ok()) == Some(libsqlite3_sys::SQLITE_READONLY)
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Deadline => Self::Deadline,
            Fault::Full => Self::DiskFull,
            Fault::Io | Fault::Other => Self::Io,
            Fault::Corrupt => Self::Quarantined(Quarantine::Corrupt),
            Fault::Lost => Self::RolledBack,
        }
    }
}

/// The error of a unit that met `fault`, as its caller should see it. Without a fault the unit's own error stands: a
/// statement that was refused is a defect of this program, not of the tenant's file.
pub(super) fn settle(error: StoreError, fault: Option<Fault>) -> StoreError {
    let Some(fault) = fault else { return error };
    tracing::warn!(error = &error as &dyn std::error::Error, "a unit of work met a fault");
    Unavailable::not_written(fault.into()).into()
}

/// Why a tenant is unavailable when its file cannot be opened; a damaged file is quarantined.
pub(super) fn open_failed(error: Error, condition: &Condition) -> Unavailable {
    if fault_of(&error) == Some(Fault::Corrupt) {
        condition.quarantine(Quarantine::Corrupt);
        return super::quarantined(Quarantine::Corrupt);
    }
    tracing::warn!(error = &error as &dyn std::error::Error, "a tenant's file could not be opened");
    Unavailable::not_written(Reason::CannotOpen(Arc::new(error)))
}
