//! Why a unit of work did not succeed.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Invalid, Resource, Violation};

/// Why a read or a write of a tenant's data did not succeed. Knows nothing of HTTP.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The record does not exist, or not for this caller.
    #[error("{0:?} not found")]
    NotFound(Resource),
    /// The record's version is not the one the caller expected.
    #[error("the record has another version")]
    VersionMismatch,
    /// A field is wrong in a way that only the stored record shows.
    #[error("invalid fields")]
    Invalid(#[from] Invalid),
    /// A rule of the domain forbids it.
    #[error("rule violated: {0:?}")]
    Violation(Violation),
    /// The request id was used for another request.
    #[error("the request id was used with another body")]
    KeyReused,
    /// An earlier request with this id has not finished yet.
    #[error("a request with this id is still running")]
    InProgress,
    /// Too much waits on this tenant.
    #[error("the tenant's queue is full")]
    Overloaded,
    /// The tenant cannot be served now.
    #[error("the tenant is unavailable")]
    Unavailable(#[from] Unavailable),
    /// SQLite refused a statement in a way that is a defect of this program.
    #[error("a statement failed")]
    Sql(#[source] sqlx::Error),
    /// A unit panicked; nothing of it was kept.
    #[error("a unit of work panicked")]
    Panicked,
    /// The value of a unit could not be written or read back.
    #[error("a stored answer is malformed")]
    Answer(#[from] serde_json::Error),
}

impl StoreError {
    /// Whether the same unit may succeed at another time.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::InProgress | Self::Overloaded | Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// Why a tenant cannot be served now, and what became of the write that met it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason} ({})", .outcome.as_str())]
pub struct Unavailable {
    /// What is wrong.
    pub reason: Reason,
    /// What became of the request's write.
    pub outcome: Outcome,
    /// When to try again.
    pub retry_after: Duration,
}

impl Unavailable {
    /// Nothing was written.
    #[must_use]
    pub fn not_written(reason: Reason) -> Self {
        // What an operator decided does not pass by itself.
        let retry_after = Duration::from_secs(if matches!(reason, Reason::ReadOnly) { 60 } else { 1 });
        Self { reason, outcome: Outcome::NotWritten, retry_after }
    }

    /// Whether the write is durable can only be learned by repeating it with the same request id.
    #[must_use]
    pub fn unknown(reason: Reason) -> Self {
        Self { reason, outcome: Outcome::Unknown, retry_after: Duration::from_secs(1) }
    }

    /// The same of a write that may have happened.
    pub(super) fn but_unknown(self) -> Self {
        Self { outcome: Outcome::Unknown, ..self }
    }
}

/// What became of a write that met an unavailable tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was written.
    NotWritten,
    /// It may have been written.
    Unknown,
}

impl Outcome {
    /// The word of contract §3.1.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotWritten => "not-written",
            Self::Unknown => "outcome-unknown",
        }
    }
}

/// What makes a tenant unavailable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Reason {
    /// A statement ran past its deadline.
    #[error("a statement ran past its deadline")]
    Deadline,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The operating system failed a read, a write or a sync.
    #[error("an I/O error")]
    Io,
    /// The transaction of the whole group was lost with another unit's failure.
    #[error("the group's transaction was rolled back")]
    RolledBack,
    /// The file could not be opened.
    #[error("the tenant's file cannot be opened")]
    CannotOpen(#[source] Arc<sqlx::Error>),
    /// The file must not be served until an operator has looked at it.
    #[error("quarantined: {0}")]
    Quarantined(Quarantine),
    /// A migration failed; the data is intact at its old version.
    #[error("the migration failed")]
    Migration(#[source] Arc<sqlx::migrate::MigrateError>),
    /// An operator lets nobody write.
    #[error("the tenant is read-only")]
    ReadOnly,
    /// An operator's work needs the tenant's file for itself.
    #[error("the tenant is being worked on")]
    Busy,
    /// The cell is stopping.
    #[error("the cell is stopping")]
    Stopping,
    /// A task of the tenant ended before its time: it panicked, or the process ends. The next request opens the tenant anew.
    #[error("a task of the tenant has ended")]
    TaskEnded,
}

/// Why a tenant's file must not be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Quarantine {
    /// The path holds something that is not a plain file of ours: a link, a directory, a second name of a file.
    #[error("the path is not a regular file with one name")]
    NotAFile,
    /// There is no file, but a WAL or a journal of it.
    #[error("the file is missing, and its -wal or -journal is left")]
    Missing,
    /// The file is empty or too short to be a database.
    #[error("the file is empty or truncated")]
    Truncated,
    /// The file is not a database, or its content is damaged.
    #[error("the file is damaged or not a database")]
    Corrupt,
    /// The file is a database, but not one of this cell's tenants.
    #[error("the file is not a tenant of this cell")]
    Foreign,
    /// The file is another tenant's.
    #[error("the file belongs to another tenant")]
    Swapped,
    /// The file was removed or replaced while it was open.
    #[error("the file was removed or replaced while it was open")]
    Replaced,
    /// An operator's work was broken off between two states; the next start finishes it.
    #[error("an operation on the file was broken off; it is finished at the next start")]
    Interrupted,
    /// The file was written by a newer version that older ones must not serve.
    #[error("the file needs a newer version of the cell")]
    TooNew,
}
