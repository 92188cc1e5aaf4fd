//! The schema of a tenant's file: its migrations and the template that new tenants are made of.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::Context as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteOwnedBuf,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex as AsyncMutex;

use super::files::{remove_if_there, write_new};
use crate::domain::TenantId;

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

/// Where a file says by which versions of the format it is written and read, and what they are for a file in WAL mode:
/// <https://sqlite.org/fileformat2.html#file_format_version_numbers>.
const FORMAT_VERSIONS: Range<usize> = 18..20;
const WAL_FORMAT: u8 = 2;

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

/// An empty tenant without a name: what new tenants are made of, and what a tenant that does not exist reads as.
#[derive(Debug)]
pub(super) struct Template {
    /// Its file, which nobody changes while the process runs. In rollback-journal mode: it needs no side files.
    pub(super) path: PathBuf,
    /// The same in memory, to give it a name there: a connection to each new file would take longer than all the rest.
    blank: AsyncMutex<SqliteConnection>,
}

impl Template {
    /// Runs all migrations on a new file at `path`, replacing what is there.
    ///
    /// # Errors
    /// The file cannot be written, or a migration fails.
    pub(super) async fn build(path: PathBuf) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            // Or the name of one tenant would stay in the unused bytes of the next one's file.
            .pragma("secure_delete", "on")
            .thread_name(|_| "sqlite-template".to_owned())
            .disable_statement_logging();
        let mut blank = options.connect().await.context("opening a database in memory")?;
        check_sqlite(&mut blank).await?;
        MIGRATIONS
            .run_direct(None, &mut blank, false)
            .await
            .context("the migrations do not run on an empty file")?;
        let bytes = blank.serialize(None).await.context("copying the template")?;
        for stale in [&path, &path.with_extension("db-journal")] {
            remove_if_there(stale).with_context(|| format!("cannot replace {}", stale.display()))?;
        }
        write_new(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, blank: AsyncMutex::new(blank) })
    }

    /// The content of a new file for `tenant`: in WAL mode.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) async fn named(&self, tenant: &TenantId, now: i64) -> Result<SqliteOwnedBuf, sqlx::Error> {
        let mut blank = self.blank.lock().await;
        sqlx::query("insert or replace into meta (id, tenant_id, created_at) values (1, ?1, ?2)")
            .bind(tenant.as_str())
            .bind(now)
            .execute(&mut *blank)
            .await?;
        let mut content = blank.serialize(None).await?;
        if let Some(versions) = content.get_mut(FORMAT_VERSIONS) {
            versions.fill(WAL_FORMAT);
        }
        Ok(content)
    }
}
