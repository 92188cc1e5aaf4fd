//! The schema of a tenant's file: its migrations and the template that new tenants are made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::Context as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

/// `pragma application_id` of every tenant's file: "CRMC".
pub(super) const APPLICATION_ID: i64 = 1_129_467_203;

/// The migrations, compiled in. A file may hold newer ones than this binary knows: `meta.min_reader_version` decides
/// whether it can be served, not sqlx.
pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    migrator.set_ignore_missing(true);
    migrator
});

/// The schema version this binary writes: the number of its last migration, and what that sets `user_version` to.
pub(super) fn latest_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// SQLite versions before this one can lose committed rows of a WAL: <https://sqlite.org/wal.html#the_wal_reset_bug>.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];

/// Asks the SQLite that is really linked, not the headers this was compiled against, for its version.
///
/// # Errors
/// It is too old to be trusted with data.
async fn check_sqlite(connection: &mut SqliteConnection) -> anyhow::Result<()> {
    let version: String = sqlx::query_scalar("select sqlite_version()").fetch_one(connection).await?;
    let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
    anyhow::ensure!(
        numbers.as_slice() >= OLDEST_SQLITE.as_slice(),
        "this binary is linked with SQLite {version}, which can lose committed rows: build it with the bundled one \
         (unset LIBSQLITE3_SYS_USE_PKG_CONFIG)"
    );
    tracing::debug!(version, "SQLite");
    Ok(())
}

/// Brings a file up to date; each migration is one transaction. sqlx's lock for SQLite does nothing: the caller must be
/// the only one who has the file open.
pub(super) async fn migrate(path: &Path) -> Result<(), MigrateError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(MigrateError::Execute)?;
    let done = MIGRATIONS.run_direct(None, &mut connection, false).await;
    let closed = connection.close().await.map_err(MigrateError::Execute);
    done.and(closed)
}

/// Makes WAL the journal mode of a file, for ever. The caller must be the only one who has it open.
pub(super) async fn use_wal(path: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .disable_statement_logging();
    options.connect().await?.close().await
}

/// Writes a consistent copy of a file to `copy`, which must not exist.
pub(super) async fn copy(path: &Path, copy: &Path) -> Result<(), sqlx::Error> {
    let options =
        SqliteConnectOptions::new().filename(path).create_if_missing(false).disable_statement_logging();
    let mut connection = options.connect().await?;
    let done = sqlx::query("vacuum into ?1").bind(copy.to_string_lossy()).execute(&mut connection).await;
    let closed = connection.close().await;
    done.map(|_| ()).and(closed)
}

/// An empty tenant without a name: what new tenants are copied from, and what a tenant that does not exist reads as.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// Its file, which nobody changes while the process runs. In rollback-journal mode: it needs no side files.
    pub(super) path: PathBuf,
    /// The content of the file.
    pub(super) bytes: Arc<[u8]>,
}

impl Template {
    /// Runs all migrations on a new file at `path`, replacing what is there.
    ///
    /// # Errors
    /// The file cannot be written, or a migration fails.
    pub(super) async fn build(path: PathBuf) -> anyhow::Result<Self> {
        for stale in [path.clone(), path.with_extension("db-journal")] {
            match fs::remove_file(&stale) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot replace {}", stale.display()));
                }
                _ => {}
            }
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Memory)
            .synchronous(SqliteSynchronous::Off)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .disable_statement_logging();
        let mut connection =
            options.connect().await.with_context(|| format!("cannot create {}", path.display()))?;
        check_sqlite(&mut connection).await?;
        MIGRATIONS
            .run_direct(None, &mut connection, false)
            .await
            .context("the migrations do not run on an empty file")?;
        connection.close().await.context("closing the template")?;
        // Nobody else has the file open yet: reading it drops no lock of SQLite's.
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path, bytes: bytes.into() })
    }
}
