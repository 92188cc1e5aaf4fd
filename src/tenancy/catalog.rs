//! `catalog.db`: what the cell remembers of all tenants together, so that it need not open them all.
//!
//! A cache over the tenants' files: whatever is in it can be found again there. So a catalog that is damaged, or of
//! another version, is made anew, and one that is behind after a crash does no harm.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex as AsyncMutex;

use super::files::remove_if_there;
use crate::domain::TenantId;

/// `pragma user_version` of the catalog.
const VERSION: i64 = 1;
const SCHEMA: &str = "
    -- Tenants whose files hold events to be delivered, or received ones that are to be tried again.
    create table event_work (tenant_id text primary key) strict, without rowid;
    -- How far the bus has been read: the `ts` of the last event of a topic, in seconds since 1970.
    create table bus_cursors (topic text primary key, ts real not null) strict, without rowid;
    pragma user_version = 1;
";

/// The open catalog. Nothing waits for it but background work.
#[derive(Debug)]
pub(super) struct Catalog {
    connection: AsyncMutex<SqliteConnection>,
    /// It was made just now, and knows nothing.
    is_new: bool,
}

impl Catalog {
    /// Opens the catalog at `path`, or makes one.
    ///
    /// # Errors
    /// The file cannot be opened, and none can be made in its place.
    pub(super) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        if let Ok(connection) = open_present(path).await {
            return Ok(Self { connection: AsyncMutex::new(connection), is_new: false });
        }
        for stale in [path, &path.with_extension("db-journal")] {
            remove_if_there(stale).map_err(sqlx::Error::Io)?;
        }
        let mut connection = options(path).create_if_missing(true).connect().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        Ok(Self { connection: AsyncMutex::new(connection), is_new: true })
    }

    /// The tenants that had events to see to when an earlier process last told; `None` if none did.
    pub(super) async fn event_work(&self) -> Result<Option<Vec<TenantId>>, sqlx::Error> {
        if self.is_new {
            return Ok(None);
        }
        let ids: Vec<String> = sqlx::query_scalar("select tenant_id from event_work order by 1")
            .fetch_all(&mut *self.connection.lock().await)
            .await?;
        Ok(Some(ids.iter().filter_map(|id| id.parse().ok()).collect()))
    }

    /// These tenants have events to see to now, and those have none any more.
    pub(super) async fn set_event_work(
        &self,
        with: &[TenantId],
        without: &[TenantId],
    ) -> Result<(), sqlx::Error> {
        let ids = |tenants: &[TenantId]| {
            let ids: Vec<_> = tenants.iter().map(TenantId::as_str).collect();
            serde_json::Value::from(ids).to_string()
        };
        let mut connection = self.connection.lock().await;
        let mut change = connection.begin().await?;
        sqlx::query("insert or ignore into event_work select value from json_each(?1)")
            .bind(ids(with))
            .execute(&mut *change)
            .await?;
        sqlx::query("delete from event_work where tenant_id in (select value from json_each(?1))")
            .bind(ids(without))
            .execute(&mut *change)
            .await?;
        change.commit().await
    }

    /// How far a topic of the bus has been read, in seconds since 1970; 0 if it never was.
    pub(super) async fn bus_cursor(&self, topic: &str) -> Result<f64, sqlx::Error> {
        let found = sqlx::query_scalar("select ts from bus_cursors where topic = ?1").bind(topic);
        Ok(found.fetch_optional(&mut *self.connection.lock().await).await?.unwrap_or(0.0))
    }

    /// A topic of the bus has been read as far as `ts`.
    pub(super) async fn set_bus_cursor(&self, topic: &str, ts: f64) -> Result<(), sqlx::Error> {
        let set = sqlx::query("insert or replace into bus_cursors (topic, ts) values (?1, ?2)");
        set.bind(topic).bind(ts).execute(&mut *self.connection.lock().await).await?;
        Ok(())
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        // No side file stays when nobody writes. A power loss may damage it: it is a cache.
        .journal_mode(SqliteJournalMode::Truncate)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(2))
        .thread_name(|_| "sqlite-catalog".to_owned())
        .disable_statement_logging()
}

/// The catalog that is there, if it is whole and of this version.
async fn open_present(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = options(path).connect().await?;
    let version: i64 = sqlx::query_scalar("pragma user_version").fetch_one(&mut connection).await?;
    let found: Vec<String> =
        sqlx::query_scalar("pragma integrity_check(1)").fetch_all(&mut connection).await?;
    if version == VERSION && found == ["ok"] {
        return Ok(connection);
    }
    connection.close().await?;
    Err(sqlx::Error::RowNotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        id.parse().expect("a tenant id")
    }

    #[tokio::test]
    async fn it_remembers_and_forgets_tenants_and_cursors() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("catalog.db");
        let catalog = Catalog::open(&path).await.expect("made");
        catalog.set_event_work(&[tenant("b"), tenant("a")], &[]).await.expect("told");
        catalog.set_event_work(&[tenant("a")], &[tenant("b"), tenant("c")]).await.expect("told");
        catalog.set_bus_cursor("erp", 1.5).await.expect("told");
        drop(catalog);

        let catalog = Catalog::open(&path).await.expect("opened");

        assert_eq!(catalog.event_work().await.expect("read"), Some(vec![tenant("a")]));
        assert_eq!(catalog.bus_cursor("erp").await.expect("read"), 1.5);
        assert_eq!(catalog.bus_cursor("oa").await.expect("read"), 0.0);
    }

    #[tokio::test]
    async fn a_damaged_one_and_one_of_another_version_are_made_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("catalog.db");
        for spoil in ["pragma user_version = 99", "drop table event_work; pragma user_version = 0"] {
            let catalog = Catalog::open(&path).await.expect("made");
            sqlx::raw_sql(spoil).execute(&mut *catalog.connection.lock().await).await.expect("spoilt");
            drop(catalog);
            let catalog = Catalog::open(&path).await.expect("made anew");
            assert_eq!(catalog.event_work().await.expect("read"), None);
        }
        std::fs::write(&path, "no database").expect("written");
        let catalog = Catalog::open(&path).await.expect("made anew");
        assert_eq!(catalog.event_work().await.expect("read"), None);
    }
}
