//! The schema of a tenant's file: its migrations and the template that new tenants are made of.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode,
    SqliteOwnedBuf, SqliteQueryResult, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Mutex as AsyncMutex;

use super::files::{remove_if_there, write_new};
use super::location::side_file;
use super::meta::{Meta, State};
use super::search_text;
use crate::domain::{TenantId, Timestamp};

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

/// `meta.min_reader_version`: the oldest schema whose binary can serve the present one. An older one would not write what
/// keywords are looked for in.
const OLDEST_READER: i64 = 7;
/// How long it waits for those who read, until a WAL can be emptied.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(8);

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
    let done = run(&mut connection).await;
    let closed = connection.close().await.map_err(MigrateError::Execute);
    done.and(closed)
}

async fn run(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    MIGRATIONS.run_direct(Some(search_text::UNFILLED), connection, false).await?;
    search_text::fill(connection).await?;
    MIGRATIONS.run_direct(None, connection, false).await
}

/// Says in a file in which state the tenant is. The caller must be the only one who has it open.
pub(super) async fn set_state(
    path: &Path,
    state: State,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let change = sqlx::query("update meta set state = ?1, reason = ?2, state_since = ?3 where id = 1");
    let change = change.bind(state.as_str()).bind(reason).bind(now.millis());
    change_alone(path, change).await
}

/// Says in a file whether the tenant may be deleted. The caller must be the only one who has it open.
pub(super) async fn set_protected(path: &Path, protected: bool) -> Result<(), sqlx::Error> {
    change_alone(path, sqlx::query("update meta set protected = ?1 where id = 1").bind(protected)).await
}

/// Makes a copy of some tenant's file that of another one. It begins without the first one's members and stored answers, and
/// what the first one has yet to deliver is not delivered twice.
pub(super) async fn rename(
    path: &Path,
    tenant: &TenantId,
    origin: &serde_json::Value,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for sql in [
        "delete from members",
        "delete from idempotency",
        "update outbox set state = 'unpublished', not_before = null, failure = null where state = 'pending'",
        "update inbox set retry_at = null",
    ] {
        change_alone(path, sqlx::query(sql)).await?;
    }
    let change = sqlx::query(
        "update meta set tenant_id = ?1, created_at = ?2, origin = ?3, state = 'active', reason = null, \
         state_since = null, protected = 0 where id = 1",
    );
    let change = change.bind(tenant.as_str()).bind(now.millis()).bind(origin.to_string());
    change_alone(path, change).await
}

/// What a copy or a backup shows to other tools.
const VIEWS: &str = include_str!("views.sql");

/// Gives a copy of a tenant's file the views for other tools, in place of those that it may have. The caller syncs it.
pub(super) async fn add_views(path: &Path) -> Result<(), sqlx::Error> {
    change_views(path, Some(VIEWS)).await
}

/// The names of a file's tables, those of SQLite and of sqlx aside, and indexes that SQLite keeps as tables.
pub(super) async fn table_names(connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let names = "select name from pragma_table_list where schema = 'main' and type = 'table' \
        and name not like 'sqlite\\_%' escape '\\' and name <> '_sqlx_migrations'";
    sqlx::query_scalar(names).fetch_all(connection).await
}

/// A name as SQL takes it, whatever characters it has.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Takes the views for other tools off a file that is to be served.
pub(super) async fn remove_views(path: &Path) -> Result<(), sqlx::Error> {
    change_views(path, None).await
}

async fn change_views(path: &Path, new: Option<&'static str>) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Memory)
        .synchronous(SqliteSynchronous::Off)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let changed = async {
        let old = "select name from sqlite_schema where type = 'view' and name glob 'v[0-9]*_*'";
        let old: Vec<String> = sqlx::query_scalar(old).fetch_all(&mut connection).await?;
        let mut change = connection.begin().await?;
        for name in old {
            let drop = format!("drop view {}", quoted(&name));
            sqlx::query(AssertSqlSafe(drop)).execute(&mut *change).await?;
        }
        if let Some(new) = new {
            sqlx::raw_sql(new).execute(&mut *change).await?;
        }
        change.commit().await
    };
    let changed = changed.await;
    let closed = connection.close().await;
    changed.and(closed)
}

/// Gives a copy of a tenant's file the state and the protection that the tenant has now.
pub(super) async fn take_over(path: &Path, meta: &Meta) -> Result<(), sqlx::Error> {
    let change =
        sqlx::query("update meta set state = ?1, reason = ?2, state_since = ?3, protected = ?4 where id = 1");
    let change = change.bind(meta.state.as_str()).bind(meta.reason.as_deref());
    let change = change.bind(meta.since.map(Timestamp::millis)).bind(meta.protected);
    change_alone(path, change).await
}

/// Runs a statement on a connection of its own, which leaves no WAL behind.
async fn change_alone(path: &Path, change: Query<'_, Sqlite, SqliteArguments>) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let done = change.execute(&mut connection).await;
    let closed = connection.close().await;
    done.and(closed.map(|()| SqliteQueryResult::default())).map(drop)
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

/// Writes a consistent copy of a file to `copy`, which must not exist or be empty.
pub(super) async fn copy(path: &Path, copy: &Path) -> Result<(), sqlx::Error> {
    vacuum_into(path, copy, false).await
}

/// As [`copy`], of a file that nobody changes. Where rows may lie beside it, in a WAL, they are read too; otherwise nothing is
/// made there.
pub(super) async fn copy_resting(path: &Path, copy: &Path) -> Result<(), sqlx::Error> {
    let has_sides = ["-wal", "-journal"].iter().any(|suffix| side_file(path, suffix).exists());
    vacuum_into(path, copy, !has_sides).await
}

async fn vacuum_into(path: &Path, copy: &Path, immutable: bool) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
    let options = options.immutable(immutable).read_only(immutable).disable_statement_logging();
    let mut connection = options.connect().await?;
    let done = sqlx::query("vacuum into ?1").bind(copy.to_string_lossy()).execute(&mut connection).await;
    let closed = connection.close().await;
    done.map(|_| ()).and(closed)
}

/// Brings a file's WAL into it and empties that, waiting for those who read.
pub(super) async fn empty_wal(path: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(CHECKPOINT_WAIT)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let found = sqlx::query("pragma wal_checkpoint(truncate)").fetch_one(&mut connection).await;
    connection.close().await?;
    // One was in the way.
    if found?.try_get::<i64, _>(0)? == 0 { Ok(()) } else { Err(sqlx::Error::PoolTimedOut) }
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
        sqlx::query("insert or replace into meta (id, tenant_id, created_at, min_reader_version) values (1, ?1, ?2, ?3)")
            .bind(tenant.as_str())
            .bind(now)
            .bind(OLDEST_READER)
            .execute(&mut *blank)
            .await?;
        let mut content = blank.serialize(None).await?;
        if let Some(versions) = content.get_mut(FORMAT_VERSIONS) {
            versions.fill(WAL_FORMAT);
        }
        Ok(content)
    }
}
