//! One SQLite connection of a tenant, with its settings, its deadline and its counters.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _};

use super::Counters;

/// Pages in the WAL after which a commit checkpoints by itself; idle tenants are checkpointed long before.
const WAL_AUTOCHECKPOINT_PAGES: &str = "4000";
/// The WAL file is cut back to this many bytes when SQLite begins it anew.
pub(super) const WAL_LIMIT: u64 = 64 << 20;
/// Brings the WAL into the main file and empties it, unless a snapshot is in the way: waiting for one would keep writes
/// waiting too. The second row: (one was in the way, frames in the WAL, frames copied). Then gives back the memory of the
/// pages: a tenant that rests needs none.
pub(super) const CHECKPOINT: &str = "pragma busy_timeout = 0; pragma wal_checkpoint(truncate); \
    pragma busy_timeout = 5000; pragma shrink_memory";
/// Virtual-machine instructions between two looks at the deadline: about 10 to 50 µs.
const PROGRESS_STEP: i32 = 1000;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one connection of a file that writes.
    Writer,
    /// `query_only`, but opened for writing: a connection opened read-only that closes last leaves the `-wal` behind.
    Reader,
    /// As a reader, but not `query_only`, which would also forbid to write a copy.
    Copier,
    /// Reads a file that nobody changes, without locks or side files: the template.
    Immutable,
}

/// A connection to a tenant's file.
#[derive(Debug)]
pub(crate) struct Connection {
    inner: SqliteConnection,
    deadline: Deadline,
    counters: Arc<Counters>,
}

impl Connection {
    /// Opens an existing file. Never creates one.
    ///
    /// # Errors
    /// What sqlx says; the file may be missing, locked, not a database or unreadable.
    pub(crate) async fn open(path: &Path, role: Role, counters: Arc<Counters>) -> Result<Self, sqlx::Error> {
        let mut inner = options(path, role).connect().await?;
        let deadline = Deadline::default();
        let watched = deadline.clone();
        // Once, at opening: `lock_handle` on every request deadlocks in sqlx 0.9 after 51 calls.
        inner.lock_handle().await?.set_progress_handler(PROGRESS_STEP, move || !watched.is_over());
        Ok(Self { inner, deadline, counters })
    }

    pub(crate) fn raw(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }

    pub(super) fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// Statements that still run after `limit` from now are interrupted.
    pub(crate) fn abort_after(&self, limit: Duration) {
        self.deadline.set(limit);
    }

    /// Counts a statement that is about to be sent, and tells the trace log: without its values, which may be personal data.
    pub(super) fn count_statement(&self, sql: &str) {
        tracing::trace!(sql, "statement");
        self.counters.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes the file and waits until it is closed; an open transaction is rolled back.
    pub(crate) async fn close(self) {
        if let Err(error) = self.inner.close().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "closing a tenant's connection failed");
        }
    }
}

fn options(path: &Path, role: Role) -> SqliteConnectOptions {
    let base = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .disable_statement_logging()
        .thread_name(|id| format!("sqlite-{id}"))
        .pragma("trusted_schema", "off")
        .pragma("cell_size_check", "on")
        .pragma("temp_store", "memory");
    match role {
        Role::Writer => base
            .busy_timeout(Duration::from_millis(5000)) // as in `CHECKPOINT`
            .synchronous(SqliteSynchronous::Full)
            .statement_cache_capacity(128)
            .pragma("journal_size_limit", WAL_LIMIT.to_string())
            .pragma("wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)
            .pragma("secure_delete", "fast"),
        Role::Reader => {
            base.busy_timeout(Duration::from_secs(2)).statement_cache_capacity(32).pragma("query_only", "on")
        }
        Role::Copier => base.busy_timeout(Duration::from_secs(2)).statement_cache_capacity(1),
        Role::Immutable => base.immutable(true).read_only(true).statement_cache_capacity(32),
    }
}

/// When the running statement must be aborted; shared with SQLite's progress handler.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    start: Instant,
    /// Microseconds after `start`; 0 = none.
    over_at: Arc<AtomicU64>,
}

impl Default for Deadline {
    fn default() -> Self {
        Self { start: Instant::now(), over_at: Arc::default() }
    }
}

impl Deadline {
    /// Statements that still run after `limit` from now are interrupted.
    pub(super) fn set(&self, limit: Duration) {
        let over_at = (self.start.elapsed() + limit).as_micros().max(1);
        self.over_at.store(u64::try_from(over_at).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Statements may run for as long as they need.
    pub(super) fn clear(&self) {
        self.over_at.store(0, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let over_at = self.over_at.load(Ordering::Relaxed);
        over_at != 0 && self.start.elapsed().as_micros() > u128::from(over_at)
    }
}
