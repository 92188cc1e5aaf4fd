//! `catalog.db`: what the cell remembers of all tenants together, so that it need not open them all.
//!
//! A cache over the tenants' files: whatever is in it can be found again there. So a catalog that is damaged, or of
//! another version, is made anew, and one that is behind after a crash does no harm.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Mutex as AsyncMutex;

use super::files::remove_if_there;
use super::meta::{Meta, State};
use super::roll::Seen;
use crate::domain::{TenantId, Timestamp};

/// `pragma user_version` of the catalog.
const VERSION: i64 = 2;
const SCHEMA: &str = "
    -- Tenants whose files hold events to be delivered, or received ones that are to be tried again.
    create table event_work (tenant_id text primary key) strict, without rowid;
    -- How far the bus has been read: the `ts` of the last event of a topic, in seconds since 1970.
    create table bus_cursors (topic text primary key, ts real not null) strict, without rowid;
    -- Every tenant that has a file, with what was seen when that was opened last; null: it was not.
    create table tenants (
        tenant_id text primary key,
        state text,             -- of the row meta, to select by
        schema_version integer, -- likewise
        meta text,              -- JSON
        accessed_at integer,    -- when a request used it last
        checked_at integer      -- when its file was last looked at as a whole, and found sound
    ) strict, without rowid;
    -- When something was last done that is to be done regularly.
    create table moments (name text primary key, at integer not null) strict, without rowid;
    pragma user_version = 2;
";

/// What the catalog knows of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) tenant: TenantId,
    /// `None` if its file was not opened since the catalog was made.
    pub(super) meta: Option<Meta>,
    pub(super) accessed_at: Option<Timestamp>,
    pub(super) checked_at: Option<Timestamp>,
}

impl Known {
    /// Nothing but that there is such a tenant.
    pub(super) fn nothing_of(tenant: TenantId) -> Self {
        Self { tenant, meta: None, accessed_at: None, checked_at: None }
    }

    fn of_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let moment = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let meta: Option<&str> = row.try_get(1)?;
        Ok(Self {
            tenant: tenant_of_row(row)?,
            meta: meta.and_then(|meta| serde_json::from_str(meta).ok()),
            accessed_at: moment(row.try_get(2)?),
            checked_at: moment(row.try_get(3)?),
        })
    }
}

fn tenant_of_row(row: &SqliteRow) -> Result<TenantId, sqlx::Error> {
    let id: &str = row.try_get(0)?;
    id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

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

    /// Makes the list of tenants that of those who have a file.
    pub(super) async fn set_tenants(&self, tenants: &[TenantId]) -> Result<(), sqlx::Error> {
        let ids = serde_json::to_string(tenants).unwrap_or_default();
        let mut connection = self.connection.lock().await;
        let mut change = connection.begin().await?;
        for sql in [
            "delete from tenants where tenant_id not in (select value from json_each(?1))",
            "insert or ignore into tenants (tenant_id) select value from json_each(?1)",
        ] {
            sqlx::query(sql).bind(&ids).execute(&mut *change).await?;
        }
        change.commit().await
    }

    /// Forgets what was seen in all tenants' files. When they were used and looked at is nowhere else.
    pub(super) async fn forget_files(&self) -> Result<(), sqlx::Error> {
        sqlx::query("update tenants set state = null, schema_version = null, meta = null")
            .execute(&mut *self.connection.lock().await)
            .await?;
        Ok(())
    }

    /// Saves what was seen of tenants.
    pub(super) async fn set_seen(&self, seen: &HashMap<TenantId, Seen>) -> Result<(), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let mut change = connection.begin().await?;
        for (tenant, seen) in seen {
            if seen.gone {
                let gone = sqlx::query("delete from tenants where tenant_id = ?1").bind(tenant.as_str());
                gone.execute(&mut *change).await?;
                continue;
            }
            if seen.meta.is_none() && seen.accessed.is_none() && !seen.refused {
                // Of a tenant that may be gone by now.
                let checked = sqlx::query("update tenants set checked_at = ?2 where tenant_id = ?1");
                let checked = checked.bind(tenant.as_str()).bind(seen.checked.map(Timestamp::millis));
                checked.execute(&mut *change).await?;
                continue;
            }
            let meta = seen.meta.as_ref();
            sqlx::query(
                "insert into tenants (tenant_id, state, schema_version, meta, accessed_at, checked_at) \
                 values (?1, ?2, ?3, ?4, ?5, ?6) on conflict do update set \
                 state = coalesce(excluded.state, state), \
                 schema_version = coalesce(excluded.schema_version, schema_version), \
                 meta = coalesce(excluded.meta, meta), \
                 accessed_at = coalesce(excluded.accessed_at, accessed_at), \
                 checked_at = coalesce(excluded.checked_at, checked_at)",
            )
            .bind(tenant.as_str())
            .bind(meta.map(|meta| meta.state.as_str()))
            .bind(meta.map(|meta| meta.schema_version))
            .bind(meta.and_then(|meta| serde_json::to_string(meta).ok()))
            .bind(seen.accessed.map(Timestamp::millis))
            .bind(seen.checked.map(Timestamp::millis))
            .execute(&mut *change)
            .await?;
        }
        change.commit().await
    }

    /// At most `limit` tenants whose ids follow `after`, by id: of this state and schema version, if those are given.
    pub(super) async fn tenants(
        &self,
        after: &str,
        state: Option<State>,
        schema_version: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Known>, sqlx::Error> {
        let rows = sqlx::query(
            "select tenant_id, meta, accessed_at, checked_at from tenants where tenant_id > ?1 \
             and (?2 is null or state = ?2) and (?3 is null or schema_version = ?3) order by tenant_id limit ?4",
        )
        .bind(after)
        .bind(state.map(State::as_str))
        .bind(schema_version)
        .bind(limit)
        .fetch_all(&mut *self.connection.lock().await)
        .await?;
        rows.iter().map(Known::of_row).collect()
    }

    /// What is known of a tenant.
    pub(super) async fn tenant(&self, tenant: &TenantId) -> Result<Option<Known>, sqlx::Error> {
        let sql = "select tenant_id, meta, accessed_at, checked_at from tenants where tenant_id = ?1";
        let row = sqlx::query(sql).bind(tenant.as_str());
        row.fetch_optional(&mut *self.connection.lock().await).await?.as_ref().map(Known::of_row).transpose()
    }

    /// The tenant whose file was not looked at for the longest time, when it was, and how many tenants there are.
    pub(super) async fn longest_unchecked(
        &self,
    ) -> Result<Option<(TenantId, Option<Timestamp>, u64)>, sqlx::Error> {
        let sql = "select tenant_id, checked_at, (select count(*) from tenants) from tenants \
                   order by checked_at, tenant_id limit 1";
        let row = sqlx::query(sql).fetch_optional(&mut *self.connection.lock().await).await?;
        let Some(row) = row else { return Ok(None) };
        let checked_at: Option<i64> = row.try_get(1)?;
        let of: i64 = row.try_get(2)?;
        Ok(Some((tenant_of_row(&row)?, checked_at.map(Timestamp::from_millis), of.unsigned_abs())))
    }

    /// When this was last done; `None` if nobody knows.
    pub(super) async fn moment(&self, name: &str) -> Result<Option<Timestamp>, sqlx::Error> {
        let found = sqlx::query_scalar("select at from moments where name = ?1").bind(name);
        Ok(found.fetch_optional(&mut *self.connection.lock().await).await?.map(Timestamp::from_millis))
    }

    /// This was done at `at`.
    pub(super) async fn set_moment(&self, name: &str, at: Timestamp) -> Result<(), sqlx::Error> {
        let set = sqlx::query("insert or replace into moments (name, at) values (?1, ?2)");
        set.bind(name).bind(at.millis()).execute(&mut *self.connection.lock().await).await?;
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
