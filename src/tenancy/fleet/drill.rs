//! The standing drill: every day one tenant's copy is restored beside, and compared with the tenant. A backup that nobody
//! restored is a hope.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::time::sleep;

use super::error::FleetError;
use super::milestones::Milestone;
use crate::domain::{Scope, TenantId, Timestamp};
use crate::tenancy::copies::CopyError;
use crate::tenancy::engine::{LongRead, Read};
use crate::tenancy::error::StoreError;
use crate::tenancy::files::{blocking, make_anew, remove_if_there};
use crate::tenancy::map::Tenants;
use crate::tenancy::schema;

/// How often it is looked whether a drill is due: a twentieth of the time between two, within these bounds.
const SHORTEST_TICK: Duration = Duration::from_millis(50);
const LONGEST_TICK: Duration = Duration::from_secs(600);
/// A tenant that is written to while it is compared is copied again, so often.
const TRIES: usize = 3;
/// What changes without an entry in the journal, by time or by who reads: it is not compared.
const VOLATILE: [&str; 3] = ["idempotency", "outbox", "inbox"];

/// Why a drill failed.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The copy cannot be made or restored.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// What was restored is not what the tenant has.
    #[error("the tables {0} of the restored copy are not what the tenant has")]
    Different(String),
}

impl Tenants {
    /// Restores a tenant's copy beside and compares it with the tenant. `false`: that was written to all the time.
    ///
    /// # Errors
    /// See [`DrillError`].
    pub async fn drill(&self, tenant: &TenantId) -> Result<bool, DrillError> {
        let _one_at_a_time = self.drilling.lock().await;
        let drilled = self.compare_restored(tenant).await;
        let stats = self.stats();
        match &drilled {
            Ok(true) => {
                let now = self.opener().shared.clock.now();
                stats.drills.fetch_add(1, Ordering::Relaxed);
                self.reached(Milestone::Drill, now).await;
                tracing::info!(tenant_id = %tenant, "a copy was restored beside and is what the tenant has");
            }
            Ok(false) => {
                tracing::info!(tenant_id = %tenant, "a tenant that is written to all the time was not drilled");
            }
            // It says nothing of the copy.
            Err(DrillError::Fleet(FleetError::LowSpace(_) | FleetError::Copy(CopyError::LowSpace(_)))) => {}
            Err(error) => {
                stats.drill_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(tenant_id = %tenant, error = error as &dyn Error, "a copy could not be restored as it should");
            }
        }
        drilled
    }

    async fn compare_restored(&self, tenant: &TenantId) -> Result<bool, DrillError> {
        for _ in 0..TRIES {
            if self.copy_state(tenant).is_none_or(super::super::copies::CopyState::is_behind) {
                self.copy(tenant).await.map_err(FleetError::from)?;
            }
            let restored = self.restored(tenant).await?;
            let Some(live) = self.live_digest(tenant).await? else { return Ok(false) };
            if restored.0 != live.0 {
                continue; // written to since
            }
            let differs = live.1.iter().filter(|(table, digest)| restored.1.get(*table) != Some(digest));
            let differs: Vec<_> = differs.map(|(table, _)| table.as_str()).collect();
            if differs.is_empty() {
                return Ok(true);
            }
            return Err(DrillError::Different(differs.join(", ")));
        }
        Ok(false)
    }

    /// The digest of what the tenant's copy holds once it is restored.
    async fn restored(&self, tenant: &TenantId) -> Result<Digested, DrillError> {
        let opener = self.opener();
        let (copy, scratch) = (opener.root.copy_file(tenant), opener.root.unfinished_drill());
        {
            let scratch = scratch.clone();
            blocking(move || make_anew(&scratch)).await.map_err(FleetError::from)?;
        }
        let restored = async {
            schema::copy_resting(&copy, &scratch).await?;
            let content = opener.check_copy(tenant, &scratch).await?;
            if content.schema_version < schema::latest_version() {
                let migrated = schema::migrate(&scratch).await;
                migrated
                    .map_err(|error| FleetError::Unfit(format!("the copy cannot be migrated: {error}")))?;
            }
            let options = SqliteConnectOptions::new().filename(&scratch).immutable(true).read_only(true);
            let mut connection = options.disable_statement_logging().connect().await?;
            let digested = digest(&mut connection).await;
            connection.close().await?;
            Ok::<_, FleetError>(digested?)
        };
        let restored = restored.await;
        blocking(move || remove_if_there(&scratch)).await.map_err(FleetError::from)?;
        Ok(restored?)
    }

    async fn live_digest(&self, tenant: &TenantId) -> Result<Option<Digested>, FleetError> {
        let Some(db) = self.inspect(tenant).await? else { return Ok(None) };
        let digested = db.read_aside(LongRead::Check, Scope::All, async move |read: &mut Read| {
            Ok::<_, StoreError>(digest(read.raw()).await?)
        });
        Ok(Some(digested.await?))
    }

    /// When a drill last went well.
    pub async fn last_drill(&self) -> Option<Timestamp> {
        self.milestone(Milestone::Drill).await
    }
}

/// The number of the last journal entry, and the SHA-256 of each table's rows.
type Digested = (i64, BTreeMap<String, Vec<u8>>);

async fn digest(connection: &mut SqliteConnection) -> Result<Digested, sqlx::Error> {
    let head = sqlx::query_scalar("select coalesce(max(seq), 0) from journal");
    let head = head.fetch_one(&mut *connection).await?;
    let mut tables = schema::table_names(connection).await?;
    tables.retain(|table| !VOLATILE.contains(&table.as_str()));
    let mut digests = BTreeMap::new();
    for table in tables {
        let columns = sqlx::query_scalar("select name from pragma_table_info(?1)").bind(&table);
        let columns: Vec<String> = columns.fetch_all(&mut *connection).await?;
        let columns: Vec<_> = columns.iter().map(|name| format!("quote({})", schema::quoted(name))).collect();
        // In the order of the table itself, which a copy keeps.
        let (row, from) = (columns.join(" || ',' || "), schema::quoted(&table));
        let sql = format!("select {row} from {from} not indexed");
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *connection);
        let mut hash = Sha256::new();
        while let Some(row) = rows.try_next().await? {
            hash.update(row.try_get::<&str, _>(0)?);
            hash.update(b"\n");
        }
        drop(rows);
        digests.insert(table, hash.finalize().to_vec());
    }
    Ok((head, digests))
}

/// Holds one drill in each span of `every`.
pub(super) async fn hold(tenants: Arc<Tenants>, every: Duration) {
    let mut next = 0;
    loop {
        sleep((every / 20).clamp(SHORTEST_TICK, LONGEST_TICK)).await;
        let now = tenants.opener().shared.clock.now();
        let is_due = tenants.last_drill().await.is_none_or(|last| now.since(last) >= every);
        let mut all = tenants.all();
        if !is_due || all.is_empty() {
            continue;
        }
        all.sort();
        // Another one each day, all in their turn; the next one if this one cannot be compared.
        let day = now.millis().unsigned_abs() / u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
        let place = (day.wrapping_add(next) % all.len() as u64) as usize;
        let Some(tenant) = all.get(place) else { continue };
        next = next.wrapping_add(1);
        let _told = tenants.drill(tenant).await;
    }
}
